#pragma once

#include <stdint.h>

/*
 * err: every verdict a library can return about the world, one line each in err.def.
 *
 * Zero is success. ERR_MORE is "not yet", never an error. Everything else has
 * a name, a severity and a sentence, and a counter per worker indexed by it,
 * so the operator's list and the code are one file.
 */
enum err {
	ERR_OK = 0,
	ERR_MORE = 1,
#define ERR(name, severity, sentence) ERR_##name,
#include "base/err.def"
#undef ERR
	ERR_COUNT
};

/* Whom a verdict condemns. */
enum err_severity {
	ERR_SEVERITY_NOTE,       /* counted; nothing is lost */
	ERR_SEVERITY_PACKET,     /* one packet or segment is dropped */
	ERR_SEVERITY_STREAM,     /* one request ends */
	ERR_SEVERITY_CONNECTION, /* one connection ends */
};

/* The name in err.def, as counters and logs show it: "TCP_CHECKSUM". Static memory. */
const char *err_name(enum err verdict);

/* One sentence for an operator. Static memory. */
const char *err_sentence(enum err verdict);

enum err_severity err_severity(enum err verdict);

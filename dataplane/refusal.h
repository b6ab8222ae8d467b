#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * refusal: why a request gets an answer of our own, in the words of either form (refusal.def).
 */
enum refusal_code {
	REFUSAL_NONE,
#define REFUSAL(name, status, infer_status, infer_code, type, code, retry, message) REFUSAL_##name,
#include "dataplane/refusal.def"
#undef REFUSAL
	REFUSAL_COUNT
};

/* How a surface words it: OpenAI's object with the vendor's message beside it, or upper-case codes. */
enum refusal_form { REFUSAL_FORM_OPENAI, REFUSAL_FORM_CODES, REFUSAL_FORM_COUNT };

/* Whether repeating the same request can help, where a client would not know by the status: after a spent failover
 * and with an empty balance it cannot, while others hold the balance it can. */
enum refusal_retry { REFUSAL_RETRY_DEFAULT, REFUSAL_RETRY_NO, REFUSAL_RETRY_YES };

struct refusal {
	enum refusal_code code;
	const char *param;       /* the field it is about, or NULL. Static memory. */
	const char *message;     /* instead of the code's own, or NULL. Static memory. */
	struct bytes subject;    /* what the client named (a model), shown behind the message; may be empty */
	uint64_t limit_bytes;    /* what was exceeded, shown behind the message; 0: nothing */
	uint64_t retry_after_ns; /* 0: no retry-after field */
	const char *allow;       /* with 405 */
};

uint16_t refusal_status(enum refusal_code code, enum refusal_form form);
/* The code whose status this is in OpenAI's form; REFUSAL_BAD_REQUEST if none. */
enum refusal_code refusal_of_status(uint16_t status);
enum refusal_retry refusal_retry(enum refusal_code code);

/* Writes the JSON body into to; returns its length. room >= REFUSAL_BODY_BYTES_MAX. */
#define REFUSAL_BODY_BYTES_MAX 2048
uint32_t refusal_body(const struct refusal *refusal, enum refusal_form form, uint8_t *to, uint32_t room);

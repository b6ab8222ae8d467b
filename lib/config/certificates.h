#pragma once

#include "config/config.h"

/*
 * certificates: the files that listeners and tls.authorities name, read and given to whoever judges them
 * (credentials/credentials.h).
 *
 * Thread: main threads. Memory: a text is the judge's for the length of its call, and wiped then.
 */
/* Of a judge's sentence, who is above lib/config: credentials.c holds it to what his have (CERT_TEXT_BYTES). */
#define CERTIFICATES_TEXT_BYTES 512

struct certificates_judge {
	/* Fills text with what is wrong, of at most CERTIFICATES_TEXT_BYTES. */
	enum err (*pair)(void *owner, uint32_t listener, struct bytes chain, struct bytes key, char *text);
	enum err (*client_ca)(void *owner, uint32_t listener, struct bytes pem, char *text);
	enum err (*authority)(void *owner, const char *authority, struct bytes pem, char *text);
	void *owner;
};

/* ERR_CONFIG_INVALID: complaints say of each file that is refused where it is named and why; name is that of the
 * configuration file. */
enum err certificates_read(const struct config *config, const char *name, const struct certificates_judge *judge,
			   const struct config_complaints *complaints);

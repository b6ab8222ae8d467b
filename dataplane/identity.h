#pragma once

#include "config/config.h"
#include "credentials/credentials.h"

/*
 * identity: the credentials of the configuration, for the first time or once more, and what is said about them.
 *
 * Thread: the main thread. Memory: the credentials'.
 */

/* NULL: complaints say which file and why. served is what runs now: what of it has expired may stay. At the start
 * (served NULL) nothing is refused for having expired, since nothing better is there to be kept. */
struct credentials *identity_load(const struct config *config, const char *name,
				  const struct tls_identity *served,
				  const struct config_complaints *complaints);

/* A log line for each certificate, a warning for one that ends soon, and the same for control (config/served.h).
 * refused: the sequence of a handover that was not taken, and why; 0, "": none. */
void identity_tell(const struct tls_identity *identity, const char *instance, uint64_t refused,
		   const char *reason);

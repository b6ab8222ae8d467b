#pragma once

#include "config/config.h"
#include "tls/identity.h"
#include "tls/target.h"

/*
 * credentials: what the files of a configuration say of who we are and whom we believe, as lib/tls takes it: the
 * listeners' certificates with their keys and their clients' CAs, and the authorities of backends. Both programs
 * judge by it: control, so that a reload is refused before anybody takes it, and the dataplane, since keys go
 * through no other process.
 *
 * Thread: main threads. Owner: who loads them. Memory: keys are in the identity's arena alone; the files' texts
 * are wiped.
 */
struct credentials {
	struct tls_identity *identity;
	struct tls_authorities *authorities; /* perhaps of none */
};

/* Of the files as they are now. NULL: complaints say which one is refused and why; name is that of the
 * configuration file. What has expired at now_s (Unix time; CREDENTIALS_ANY_TIME: at no time) is refused, unless
 * it is served already: a reload of something else would be, too. */
#define CREDENTIALS_ANY_TIME INT64_MIN
struct credentials *credentials_load(const struct config *config, const char *name,
				     const struct identity_prints *served, int64_t now_s,
				     const struct config_complaints *complaints);
void credentials_free(struct credentials *credentials); /* NULL: nothing */

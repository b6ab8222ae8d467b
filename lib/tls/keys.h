#pragma once

#include <mbedtls/ssl.h>
#include <stdatomic.h>

#include "base/check.h"
#include "tls/identity.h"
#include "tls/instance.h"
#include "tls/pair.h"
#include "tls/target.h"
#include "tls/tls.h"

/*
 * keys: an identity and authorities parsed for one worker: what its handshakes sign with, and whom they believe.
 * Private to lib/tls.
 *
 * They are made elsewhere, so that a worker never waits for it, and lie in an arena of their own, so that they go
 * as a whole when other keys have taken their place and the last handshake that began with them is over. What
 * mbedTLS adds to a key while it signs or verifies comes out of the worker's arena.
 *
 * Owner:  whoever made them, then a context. Thread: made by any; used and wiped by the context's worker; what is
 *         left of wiped ones is freed by any.
 * Memory: left out of core dumps; locked, if there is a private key.
 */
struct tls_keys {
	struct instance *instance; /* its arena holds all of this; entered only to make and to free */
	struct tls_keys *next;     /* among those that are wiped */
	uint32_t users;            /* handshakes, and the context as long as they are its newest */
	size_t pair_count;
	struct pair *pairs;
	/* By listener: whom it believes of its clients, and a digest of them; NULL: they need no certificate. */
	struct keys_clients {
		mbedtls_x509_crt *cas;
		uint8_t digest[32];
	} clients[IDENTITY_LISTENERS_MAX];
	/* Whom connections that we open may have to believe. */
	uint32_t authority_count;
	struct keys_authority {
		uint64_t mark; /* tls_find_authority() */
		char name[TLS_AUTHORITY_NAME_BYTES];
		mbedtls_x509_crt cas;
	} *authorities;
};

CHECK_STATIC(TLS_KEYS_MAX <= INSTANCE_LENT_MAX, "each is lent to its context's instance");

/* On the worker, with the context's instance entered: one user more, one less. */
struct tls_keys *keys_get(struct tls_keys *keys);

/* True: it was the last one, and they are wiped. */
bool keys_put(struct tls_keys *keys);

/* NULL: there is none whose certificates these are. */
struct keys_authority *keys_authority(const struct tls_keys *keys, uint64_t mark);

/* Offers the handshake all that the listener shows for that name (empty: none was asked for). Else than 0:
 * mbedTLS's error. */
int keys_choose(struct tls_keys *keys, uint32_t listener, struct bytes host, mbedtls_ssl_context *ssl);

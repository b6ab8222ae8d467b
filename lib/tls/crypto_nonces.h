#pragma once

#include "tls/crypto_p256.h"

/*
 * crypto_nonces: the generator that gives the same nonces for the same key and hash (RFC 6979 3.2), for ECDSA on
 * P-256 with SHA-256. Private to lib/tls.
 *
 * Owner: one signature; what is in it is as secret as the key, and the owner's to wipe.
 */
struct nonces {
	uint8_t key[P256_BYTES];
	uint8_t value[P256_BYTES]; /* the nonce, when nonces_next() was true */
};

/* The private key and, behind it, the hash less n once where it is not below it. */
void nonces_init(struct nonces *n, const uint8_t key_and_hash[2 * P256_BYTES]);

/* False: too often out of range, which does not happen. */
bool nonces_next(struct nonces *n);

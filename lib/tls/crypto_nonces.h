#pragma once

#include "tls/crypto_order.h"

/*
 * crypto_nonces: the generator that gives the same nonces for the same key and hash (RFC 6979 3.2), for ECDSA on
 * P-256 with SHA-256, on P-384 with SHA-384. Private to lib/tls.
 *
 * Owner: one signature; what is in it is as secret as the key, and the owner's to wipe.
 */
struct nonces {
	enum crypto_curve curve;
	uint8_t key[CRYPTO_COORDINATE_BYTES_MAX];
	uint8_t value[CRYPTO_COORDINATE_BYTES_MAX]; /* the nonce, when nonces_next() was true */
};

/* The private key and, behind it, the hash less n once where it is not below it; each of order_bytes(). */
void nonces_init(struct nonces *n, enum crypto_curve curve, const uint8_t *key_and_hash);

/* False: too often out of range, which does not happen. */
bool nonces_next(struct nonces *n);

#pragma once

#include <stdint.h>

/*
 * crypto_p256: numbers modulo the order n of P-256 (FIPS 186-5), for signatures. Private to lib/tls.
 *
 * Pure; no allocation; any thread. Time: the same for all values: no branch and no index depends on one
 * (tests/purity/secrets.c has valgrind look at what the compiler made of it).
 */
#define P256_BYTES 32

struct p256_scalar {
	uint64_t limbs[4]; /* the lowest first */
};

/* From big-endian bytes, less n once where they are not below it. */
struct p256_scalar p256_scalar_read(const uint8_t bytes[P256_BYTES]);
void p256_scalar_write(struct p256_scalar scalar, uint8_t bytes[P256_BYTES]);


/* s = (e + r * d) / k. k is not zero. */
struct p256_scalar p256_scalar_sign(struct p256_scalar e, struct p256_scalar r, struct p256_scalar d,
				    struct p256_scalar k);

#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * crypto_p256: P-256 (FIPS 186-5): numbers modulo its order n, for signatures, and modulo its field's prime p,
 * for where a point is that was computed without divisions. Private to lib/tls.
 *
 * Pure; no allocation; any thread. Time: the same for all values: no branch and no index depends on one
 * (tests/purity/secrets.c has valgrind look at what the compiler made of it).
 */
#define P256_BYTES 32

/* Modulo n or p: who has it knows. */
struct p256_number {
	uint64_t limbs[4]; /* the lowest first */
};

/* From big-endian bytes, less n once where they are not below it. */
struct p256_number p256_scalar_read(const uint8_t bytes[P256_BYTES]);
void p256_number_write(struct p256_number number, uint8_t bytes[P256_BYTES]);

/* s = (e + r * d) / k. k is not zero. */
struct p256_number p256_scalar_sign(struct p256_number e, struct p256_number r, struct p256_number d,
				    struct p256_number k);

/* x = X / Z^2 and y = Y / Z^3, of X, Y and Z modulo p, all of them big-endian. False: Z is zero,
 * the point is infinity. */
bool p256_find_affine(const uint8_t jacobian[3 * P256_BYTES], uint8_t point[2 * P256_BYTES]);

#pragma once

#include <stdint.h>

/*
 * crypto_inverse: 1/x modulo an odd number of at most 256 bits. Private to lib/tls.
 *
 * Bernstein and Yang, "Fast constant-time gcd computation and modular inversion" (2019), with the steps of
 * half a delta and the matrices of 62 bits that libsecp256k1 has, several of whose
 * steps are taken in one word as s2n-bignum does it.
 *
 * Pure; no allocation; any thread. Time: the same for all numbers below one modulus. There is a fixed count of
 * steps, and no branch and no index in them that depends on a number; tests/purity/secrets.c has valgrind look
 * at what the compiler made of it.
 */
#define INVERSE_LIMBS 4

/* In limbs of 62 bits, the lowest first, and 1 / it modulo 2^62. */
struct inverse_modulus {
	int64_t limbs[5];
	uint64_t inverse;
};

/* x below the modulus, in limbs of 64 bits, the lowest first; of zero: zero. out may be x. */
void inverse_of(const struct inverse_modulus *modulus, const uint64_t x[INVERSE_LIMBS],
		uint64_t out[INVERSE_LIMBS]);

#pragma once

#include <stdbool.h>

#include "tls/crypto.h"

/*
 * crypto_ladder_avx2: what two have in common by X25519 (RFC 7748), where the processor has AVX2 and FMA: three
 * fifths of libcrypto's time on a Zen 3. Private to lib/tls.
 *
 * Pure; no allocation; any thread. Time: the same for all scalars and points; tests/purity/secrets.c has valgrind
 * look at what the compiler made of it.
 */

/* Asks the processor, which takes long in a virtual machine, and sees whether it computes rightly: once is
 * enough. */
bool ladder_avx2_is_here(void);

/* Only where ladder_avx2_is_here(). The scalar's bits of RFC 7748 5 are set and cleared, the highest one of u is
 * left out. out may be either; it is zero for the points of small order, in the same time. */
void ladder_avx2_multiply(const uint8_t scalar[CRYPTO_X25519_BYTES], const uint8_t u[CRYPTO_X25519_BYTES],
			  uint8_t out[CRYPTO_X25519_BYTES]);

#pragma once

#include <stdbool.h>

#include "tls/crypto.h"

/*
 * crypto_ladder_avx2: what two have in common by X25519 (RFC 7748), where the processor has AVX2 and FMA: three
 * quarters of the time of crypto_ladder.h, which says what holds here, too. Private to lib/tls.
 */
bool ladder_avx2_is_here(void);
void ladder_avx2_multiply(const uint8_t scalar[CRYPTO_X25519_BYTES], const uint8_t u[CRYPTO_X25519_BYTES],
			  uint8_t out[CRYPTO_X25519_BYTES]);

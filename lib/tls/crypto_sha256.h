#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tls/crypto.h"

/*
 * crypto_sha256: the blocks of SHA-256 (FIPS 180-4 6.2) where the processor has instructions for them: of one
 * message, or of two side by side in the time of one, as HMAC has them. Private to lib/tls.
 *
 * Pure; no allocation; any thread. Time: the same for all messages of a length.
 */
/* Asks the processor, which takes long in a virtual machine: once is enough. */
bool sha256_is_here(void);

/* Only where sha256_is_here(). */
void sha256_blocks(uint32_t state[CRYPTO_SHA2_WORDS], const uint8_t *blocks, size_t count);

/* One block of each. */
void sha256_two(uint32_t first[CRYPTO_SHA2_WORDS], const uint8_t first_block[CRYPTO_SHA256_BLOCK_BYTES],
		uint32_t second[CRYPTO_SHA2_WORDS], const uint8_t second_block[CRYPTO_SHA256_BLOCK_BYTES]);

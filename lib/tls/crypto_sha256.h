#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * crypto_sha256: the blocks of SHA-256 (FIPS 180-4 6.2) where the processor has instructions for them: of one
 * message, or of two side by side in the time of one, as HMAC has them. Private to lib/tls.
 *
 * Pure; no allocation; any thread. Time: the same for all messages of a length.
 */
#define SHA256_STATE_WORDS 8
#define SHA256_BLOCK_BYTES 64

/* Asks the processor, which takes long in a virtual machine: once is enough. */
bool sha256_is_here(void);

/* Only where sha256_is_here(). */
void sha256_blocks(uint32_t state[SHA256_STATE_WORDS], const uint8_t *blocks, size_t count);

/* One block of each. */
void sha256_two(uint32_t first[SHA256_STATE_WORDS], const uint8_t first_block[SHA256_BLOCK_BYTES],
		uint32_t second[SHA256_STATE_WORDS], const uint8_t second_block[SHA256_BLOCK_BYTES]);

#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * toeplitz: the hash by which network cards choose a receive queue (Microsoft's "RSS hashing functions").
 *
 * Each set bit i of the input adds the 32 bits of the key that start at bit i. Sums of four bits are kept in
 * a table, two look-ups per byte.
 *
 * Not a keyed hash in the sense of siphash.h: it is linear, and whoever sees enough of it knows the key.
 */
#define TOEPLITZ_KEY_BYTES 40   /* what all cards have; some have more */
#define TOEPLITZ_INPUT_MAX 36   /* two IPv6 addresses and two ports */

struct toeplitz {
	uint32_t table[TOEPLITZ_INPUT_MAX * 2][16];
};

void toeplitz_init(struct toeplitz *t, const uint8_t key[TOEPLITZ_KEY_BYTES]);

/* len <= TOEPLITZ_INPUT_MAX. */
uint32_t toeplitz_hash(const struct toeplitz *t, const uint8_t *input, size_t len);

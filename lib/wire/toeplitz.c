/* The table is filled from the definition, bit by bit. */
#include "wire/toeplitz.h"

#include "base/check.h"

/* 32 bits of the key from bit `at` on. */
static uint32_t
window(const uint8_t key[TOEPLITZ_KEY_BYTES], size_t at)
{
	uint32_t value = 0;

	for (size_t i = at; i < at + 32; i++)
		value = value << 1 | (key[i / 8] >> (7 - i % 8) & 1);
	return value;
}

void
toeplitz_init(struct toeplitz *t, const uint8_t key[TOEPLITZ_KEY_BYTES])
{
	for (size_t half = 0; half < (size_t)TOEPLITZ_INPUT_MAX * 2; half++) {
		for (uint32_t bits = 0; bits < 16; bits++) {
			uint32_t sum = 0;

			for (size_t i = 0; i < 4; i++)
				if (bits & 8u >> i)
					sum ^= window(key, half * 4 + i);
			t->table[half][bits] = sum;
		}
	}
}

uint32_t
toeplitz_hash(const struct toeplitz *t, const uint8_t *input, size_t len)
{
	uint32_t sum = 0;

	CHECK(len <= TOEPLITZ_INPUT_MAX);
	for (size_t i = 0; i < len; i++)
		sum ^= t->table[2 * i][input[i] >> 4] ^ t->table[2 * i + 1][input[i] & 15];
	return sum;
}

/* Eight bytes at a time from splitmix64 of (key, position / 8). */
#include "stream.h"

#include <endian.h>
#include <string.h>

static uint64_t
word_at(uint64_t key, uint64_t index)
{
	uint64_t z = key + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Whole words where they lie on a multiple of eight; tests that move gigabytes spend their time here. */
void
stream_fill(uint64_t key, uint64_t position, uint8_t *to, size_t n)
{
	uint64_t word = 0;

	for (size_t i = 0; i < n; i++, position++) {
		if (i == 0 || position % 8 == 0)
			word = word_at(key, position / 8);
		if (position % 8 == 0 && n - i >= 8) {
			uint64_t little = htole64(word);

			memcpy(to + i, &little, 8);
			i += 7;
			position += 7;
			continue;
		}
		to[i] = (uint8_t)(word >> position % 8 * 8);
	}
}

size_t
stream_match(uint64_t key, uint64_t position, const uint8_t *from, size_t n)
{
	uint64_t word = 0;

	for (size_t i = 0; i < n; i++, position++) {
		if (i == 0 || position % 8 == 0)
			word = word_at(key, position / 8);
		if (position % 8 == 0 && n - i >= 8) {
			uint64_t little = htole64(word);

			if (memcmp(from + i, &little, 8) == 0) {
				i += 7;
				position += 7;
				continue;
			}
		}
		if (from[i] != (uint8_t)(word >> position % 8 * 8))
			return i;
	}
	return n;
}

#pragma once

#include <stdint.h>

#include "base/check.h"

/*
 * prng: xoshiro256++ (Blackman, Vigna), seeded through splitmix64.
 *
 * Fast, reproducible from one seed, not a secret: what a peer must not guess
 * comes from siphash with a random key.
 */
struct prng {
	uint64_t word[4];
};

static inline void
prng_init(struct prng *p, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

		z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
		p->word[i] = z ^ z >> 31;
	}
}

static inline uint64_t
prng_next(struct prng *p)
{
	uint64_t *s = p->word;
	uint64_t sum = s[0] + s[3];
	uint64_t result = (sum << 23 | sum >> 41) + s[0];
	uint64_t shifted = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= shifted;
	s[3] = s[3] << 45 | s[3] >> 19;
	return result;
}

/* Uniform in [0, n), n > 0 (the bias of multiply-shift is below n / 2^32). */
static inline uint32_t
prng_below(struct prng *p, uint32_t n)
{
	CHECK_HOT(n > 0);
	return (uint32_t)(((prng_next(p) >> 32) * n) >> 32);
}

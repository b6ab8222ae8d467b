#pragma once

#include <stdint.h>

/* random: SplitMix64. The same seed gives the same numbers on every machine, for ever. */
struct random {
	uint64_t state;
};

static inline uint64_t
random_next(struct random *r)
{
	uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* 0 ... count - 1; count is small, so the bias of the remainder does not matter. */
static inline uint32_t
random_below(struct random *r, uint32_t count)
{
	return (uint32_t)(random_next(r) % count);
}

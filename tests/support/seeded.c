#include "seeded.h"

static uint64_t
next(struct seeded *seeded)
{
	uint64_t z = seeded->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

int
seeded_entropy(void *owner, uint8_t *to, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)next(owner);
	return 0;
}

uint64_t
seeded_below(struct seeded *seeded, uint64_t limit)
{
	return next(seeded) % limit;
}

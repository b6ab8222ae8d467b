#pragma once

#include <stdint.h>
#include <time.h>

#include "base/units.h"

/* clock: what all processes of a machine share, and never steps back. */
static inline uint64_t
clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

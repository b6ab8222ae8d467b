#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/units.h"

/* clock: control's two clocks, read here and nowhere else. */

static inline uint64_t
clock_read_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

/* For intervals; the same for every process of this machine. */
static inline uint64_t
clock_now_ns(void)
{
	return clock_read_ns(CLOCK_MONOTONIC);
}

/* For people and for what outlives a boot. */
static inline uint64_t
clock_unix_ns(void)
{
	return clock_read_ns(CLOCK_REALTIME);
}

/* Whether a heartbeat is young enough. It may be younger than now_ns, which was read before. */
#define CLOCK_BEAT_FRESH_NS (2 * NSEC_PER_SEC) /* an older one means: not running */

static inline bool
clock_is_fresh(uint64_t beat_at_ns, uint64_t now_ns)
{
	return beat_at_ns != 0 && (beat_at_ns >= now_ns || now_ns - beat_at_ns < CLOCK_BEAT_FRESH_NS);
}

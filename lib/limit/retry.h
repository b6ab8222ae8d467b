#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * retry: a budget of further tries, so that a backend in trouble does not get more work than one in health.
 *
 * A token bucket that fills with requests and not with time: each request puts `percent` hundredths of a try
 * in, each try after a request's first takes a whole one. So of any number of requests at most
 * percent / 100 as many tries follow, and `burst` once. A percent of 0 means none at all.
 *
 * Owner: one worker; the sum of all workers' tries is bounded because each one's is.
 * Memory: the caller's; zero is a full bucket.
 */
struct retry {
	uint32_t spent_centi; /* hundredths of a try that are missing */
};

struct retry_limit {
	uint32_t percent;
	uint32_t burst;
};

#define RETRY_CENTI 100
#define RETRY_BURST_MAX 1000000 /* times RETRY_CENTI fits */

static inline void
retry_deposit(struct retry *r, const struct retry_limit *limit)
{
	r->spent_centi -= r->spent_centi < limit->percent ? r->spent_centi : limit->percent;
}

static inline bool
retry_can_take(const struct retry *r, const struct retry_limit *limit)
{
	return limit->percent > 0 && r->spent_centi + RETRY_CENTI <= limit->burst * RETRY_CENTI;
}

static inline bool
retry_take(struct retry *r, const struct retry_limit *limit)
{
	if (!retry_can_take(r, limit))
		return false;
	r->spent_centi += RETRY_CENTI;
	return true;
}

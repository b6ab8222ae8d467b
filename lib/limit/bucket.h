#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * bucket: what one API key may still spend, in requests or in LLM tokens.
 *
 * The whole state is one moment, the "theoretical arrival time" of GCRA: the time at which the
 * bucket will be full again. Taking units moves it forward; a take that would move it further than
 * one burst ahead of now is refused. One compare-and-set decides, so the limit is exact whichever
 * core asks.
 *
 * Owner:  shared by all workers; touch it through these calls only.
 * Memory: the caller's; one cell per cache line, so keys do not disturb keys.
 * Time:   now_ns is the worker's loop clock, of one epoch for all workers and below 2^62. Workers
 * may differ by one loop.
 */
struct bucket {
	_Atomic uint64_t full_at_ns;
};

/* A limit as published by the control process; neither is ever 0. */
struct bucket_limit {
	uint64_t ns_per_unit; /* 60e9 / limit per minute; at most BUCKET_NS_PER_UNIT_MAX */
	uint64_t burst_units; /* at most BUCKET_BURST_MAX */
};

/* Their product stays below 2^63, so that no sum in here wraps. */
#define BUCKET_BURST_MAX UINT64_C(100000000)
#define BUCKET_NS_PER_UNIT_MAX UINT64_C(60000000000)

/* True: units are taken. False: nothing is; the caller answers 429. */
bool bucket_take(struct bucket *b, const struct bucket_limit *limit, uint64_t units,
		 uint64_t now_ns);

/* Replaces an estimate already taken by what was really used; may go into debt. */
void bucket_settle(struct bucket *b, const struct bucket_limit *limit, uint64_t taken_units,
		   uint64_t used_units);

/* Nanoseconds until bucket_take() can succeed; UINT64_MAX if it never will. */
uint64_t bucket_wait_ns(const struct bucket *b, const struct bucket_limit *limit, uint64_t units,
			uint64_t now_ns);

/* Units that bucket_take() would give now; 0 in debt. A hint: another worker may take
 * them first. */
uint64_t bucket_remaining(const struct bucket *b, const struct bucket_limit *limit,
			  uint64_t now_ns);

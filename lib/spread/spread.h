#pragma once

#include <stdint.h>

#include "base/prng.h"
#include "spread/prefix.h"

/*
 * spread: which of several sound pods gets the next request. Three policies, each a function of what is
 * known of the pods and nothing else.
 *
 * Owner:  the caller. Thread: any. Memory: none. Time: now_ns where it says so, of one epoch for all workers.
 */
#define SPREAD_PODS_MAX 32

struct spread_pod {
	uint32_t place;         /* in the deployment's list, ascending */
	uint32_t entry;         /* what a pod is known by as long as it lives */
	uint32_t in_flight;     /* requests of all workers */
	uint32_t first_token_us; /* spread_latency_read(); 0: not known */
};

/* Each returns an index into pods; 0 < count <= SPREAD_PODS_MAX. */

/* The first at or behind `place`; the next turn begins behind it. */
uint32_t spread_round_robin(const struct spread_pod *pods, uint32_t count, uint32_t place);

/* Of two at random, the one that costs less: requests in flight, each as long as a first token takes. With
 * one choice the fullest of n pods holds O(log n / log log n) more than the mean, with two O(log log n)
 * (Mitzenmacher, 2001), and two workers with the same old view do not run to the same pod. */
uint32_t spread_least_loaded(const struct spread_pod *pods, uint32_t count, struct prng *prng);

/*
 * Who shares the beginning of a conversation meets again: highest random weight (Thaler, Ravishankar, 1998) of
 * the shortest prefix first, so that a system prompt that many share has one pod, then of longer ones, so that
 * what that pod has no room for is divided by conversation. A pod has room below spread_room(). If none of the
 * prefix's pods has, or there is no prefix, spread_least_loaded() decides.
 */
uint32_t spread_prefix(const struct spread_pod *pods, uint32_t count, const struct prefix *prefix,
		       struct prng *prng);

/* Requests that a pod may hold, this one included: 1.25 times the mean, rounded up (Mirrokni, Thorup,
 * Zadimoghaddam, 2018). */
uint32_t spread_room(const struct spread_pod *pods, uint32_t count);

/*
 * How long a pod takes to its first token, as one word for all workers: a weighted mean, an eighth for the newest,
 * and the time of it. What was read long ago counts less: each SPREAD_LATENCY_HALF_LIFE_NS without news halves
 * it, so that a pod that was slow once is tried again.
 */
#define SPREAD_LATENCY_HALF_LIFE_NS (10 * NSEC_PER_SEC)
uint64_t spread_latency_add(uint64_t word, uint64_t sample_ns, uint64_t now_ns);
uint32_t spread_latency_read(uint64_t word, uint64_t now_ns); /* microseconds; 0: not known */

/* Three policies over an array of candidates. */
#include "spread/spread.h"

#include <stdbool.h>

#include "base/check.h"
#include "base/units.h"

/* A bound of 5 / 4 of the mean. */
#define ROOM_NUMERATOR 5
#define ROOM_DENOMINATOR 4

uint32_t
spread_round_robin(const struct spread_pod *pods, uint32_t count, uint32_t place)
{
	CHECK_HOT(count > 0 && count <= SPREAD_PODS_MAX);
	for (uint32_t i = 0; i < count; i++)
		if (pods[i].place >= place)
			return i;
	return 0;
}

/* True if a costs less. A latency that is known of one only says nothing of the two. */
static bool
is_cheaper(const struct spread_pod *a, const struct spread_pod *b)
{
	uint64_t cost_a = (uint64_t)a->in_flight + 1;
	uint64_t cost_b = (uint64_t)b->in_flight + 1;

	if (a->first_token_us > 0 && b->first_token_us > 0) {
		cost_a *= a->first_token_us;
		cost_b *= b->first_token_us;
	}
	return cost_a < cost_b;
}

uint32_t
spread_least_loaded(const struct spread_pod *pods, uint32_t count, struct prng *prng)
{
	uint32_t one, other;

	CHECK_HOT(count > 0 && count <= SPREAD_PODS_MAX);
	if (count == 1)
		return 0;
	one = prng_below(prng, count);
	other = prng_below(prng, count - 1);
	if (other >= one)
		other++;
	return is_cheaper(&pods[other], &pods[one]) ? other : one;
}

/* splitmix64's finisher: every bit of the input reaches every bit of the weight. */
static uint64_t
mix(uint64_t z)
{
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t
weight_of(uint64_t hash, uint32_t entry)
{
	return mix(hash ^ mix(entry + UINT64_C(0x9e3779b97f4a7c15)));
}

static uint32_t
heaviest(const struct spread_pod *pods, uint32_t count, uint64_t hash)
{
	uint32_t best = 0;
	uint64_t best_weight = weight_of(hash, pods[0].entry);

	for (uint32_t i = 1; i < count; i++) {
		uint64_t weight = weight_of(hash, pods[i].entry);

		if (weight > best_weight) {
			best = i;
			best_weight = weight;
		}
	}
	return best;
}

uint32_t
spread_room(const struct spread_pod *pods, uint32_t count)
{
	uint64_t sum = 1;
	uint64_t parts = (uint64_t)count * ROOM_DENOMINATOR;

	for (uint32_t i = 0; i < count; i++)
		sum += pods[i].in_flight;
	return (uint32_t)((sum * ROOM_NUMERATOR + parts - 1) / parts);
}

uint32_t
spread_prefix(const struct spread_pod *pods, uint32_t count, const struct prefix *prefix,
	      struct prng *prng)
{
	uint32_t room = spread_room(pods, count);

	CHECK_HOT(count > 0 && count <= SPREAD_PODS_MAX && prefix->count <= PREFIX_BLOCKS_MAX);
	for (uint32_t level = 0; level < prefix->count; level++) {
		uint32_t i = heaviest(pods, count, prefix->hash[level]);

		if (pods[i].in_flight < room)
			return i;
	}
	return spread_least_loaded(pods, count, prng);
}

/* --- latency --------------------------------------------------------------------------- */

/* | time in ticks of 2^24 ns, 32 bits, wraps after two years | microseconds, 32 bits | */
#define TICK_SHIFT 24
#define WEIGHT_SHIFT 3 /* an eighth */

static uint32_t
tick_of(uint64_t now_ns)
{
	return (uint32_t)(now_ns >> TICK_SHIFT);
}

uint32_t
spread_latency_read(uint64_t word, uint64_t now_ns)
{
	uint32_t us = (uint32_t)word;
	uint64_t age_ns = (uint64_t)(tick_of(now_ns) - (uint32_t)(word >> 32)) << TICK_SHIFT;
	uint64_t halvings = age_ns / SPREAD_LATENCY_HALF_LIFE_NS;

	/* Two workers' clocks differ by a loop: a little in the future is now. */
	if (age_ns >> (TICK_SHIFT + 31) != 0)
		halvings = 0;
	return halvings > 31 ? 0 : us >> halvings;
}

uint64_t
spread_latency_add(uint64_t word, uint64_t sample_ns, uint64_t now_ns)
{
	uint64_t sample_us = sample_ns / NSEC_PER_USEC + 1;
	uint64_t us = spread_latency_read(word, now_ns);

	if (sample_us > UINT32_MAX)
		sample_us = UINT32_MAX;
	us = us == 0 ? sample_us : us - (us >> WEIGHT_SHIFT) + (sample_us >> WEIGHT_SHIFT);
	if (us == 0)
		us = 1;
	return (uint64_t)tick_of(now_ns) << 32 | us;
}

/* How each policy divides requests among pods. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/units.h"
#include "spread/spread.h"

#define MSEC NSEC_PER_MSEC
#define SEC NSEC_PER_SEC

static struct prng prng;

/* Pods 100, 101, … with nothing to do. */
static void
make_pods(struct spread_pod *pods, uint32_t count)
{
	prng_init(&prng, 42);
	for (uint32_t i = 0; i < count; i++)
		pods[i] = (struct spread_pod){ .place = i, .entry = 100 + i };
}

static struct prefix
prefix_number(uint64_t n)
{
	return (struct prefix){ .count = 1, .hash = { n * UINT64_C(0x9e3779b97f4a7c15) + 1 } };
}

static uint32_t
fullest(const struct spread_pod *pods, uint32_t count)
{
	uint32_t most = 0;

	for (uint32_t i = 0; i < count; i++)
		if (pods[i].in_flight > most)
			most = pods[i].in_flight;
	return most;
}

/* --- round robin ------------------------------------------------------------------------- */

static void
round_robin_takes_the_next_that_is_there(void **state)
{
	struct spread_pod pods[4];

	(void)state;
	make_pods(pods, 4);
	assert_int_equal(spread_round_robin(pods, 4, 0), 0);
	assert_int_equal(spread_round_robin(pods, 4, 3), 3);
	assert_int_equal(spread_round_robin(pods, 4, 4), 0);
	pods[1].place = 5; /* 1 is ill */
	assert_int_equal(spread_round_robin(pods, 2, 1), 1);
	assert_int_equal(spread_round_robin(pods, 2, 6), 0);
}

/* --- least loaded ------------------------------------------------------------------------ */

static void
of_two_pods_the_emptier_one_is_taken(void **state)
{
	struct spread_pod pods[2];

	(void)state;
	make_pods(pods, 2);
	pods[0].in_flight = 3;
	for (int i = 0; i < 100; i++)
		assert_int_equal(spread_least_loaded(pods, 2, &prng), 1);
	pods[1].in_flight = 4;
	for (int i = 0; i < 100; i++)
		assert_int_equal(spread_least_loaded(pods, 2, &prng), 0);
	assert_int_equal(spread_least_loaded(pods, 1, &prng), 0);
}

static void
a_pod_that_is_twice_as_slow_gets_half_as_many(void **state)
{
	struct spread_pod pods[2];

	(void)state;
	make_pods(pods, 2);
	pods[0].first_token_us = 200000;
	pods[1].first_token_us = 100000;
	for (int i = 0; i < 300; i++)
		pods[spread_least_loaded(pods, 2, &prng)].in_flight++;
	assert_in_range(pods[0].in_flight, 98, 102);
}

static void
a_latency_known_of_one_only_says_nothing(void **state)
{
	struct spread_pod pods[2];

	(void)state;
	make_pods(pods, 2);
	pods[0].first_token_us = 1;
	pods[0].in_flight = 1;
	assert_int_equal(spread_least_loaded(pods, 2, &prng), 1);
}

static void
two_choices_keep_the_fullest_near_the_mean(void **state)
{
	struct spread_pod pods[SPREAD_PODS_MAX];

	(void)state;
	make_pods(pods, SPREAD_PODS_MAX);
	for (int i = 0; i < 3200; i++)
		pods[spread_least_loaded(pods, SPREAD_PODS_MAX, &prng)].in_flight++;
	assert_in_range(fullest(pods, SPREAD_PODS_MAX), 100, 104);
}

static void
every_idle_pod_gets_its_share(void **state)
{
	uint32_t got[5] = { 0 };
	struct spread_pod pods[5];

	(void)state;
	make_pods(pods, 5);
	for (int i = 0; i < 10000; i++)
		got[spread_least_loaded(pods, 5, &prng)]++;
	for (int i = 0; i < 5; i++)
		assert_in_range(got[i], 1850, 2150);
}

/* --- prefix ------------------------------------------------------------------------------ */

static void
a_prefix_has_one_pod_and_prefixes_are_divided_evenly(void **state)
{
	uint32_t got[8] = { 0 };
	struct spread_pod pods[8];

	(void)state;
	make_pods(pods, 8);
	for (uint64_t n = 0; n < 8000; n++) {
		struct prefix prefix = prefix_number(n);
		uint32_t i = spread_prefix(pods, 8, &prefix, &prng);

		for (int again = 0; again < 3; again++)
			assert_int_equal(spread_prefix(pods, 8, &prefix, &prng), i);
		got[i]++;
	}
	for (int i = 0; i < 8; i++)
		assert_in_range(got[i], 900, 1100);
}

static void
when_a_pod_leaves_only_its_prefixes_move(void **state)
{
	struct spread_pod pods[8], left[7];
	uint32_t moved = 0;

	(void)state;
	make_pods(pods, 8);
	for (uint32_t i = 0; i < 7; i++)
		left[i] = pods[i < 3 ? i : i + 1];
	for (uint64_t n = 0; n < 8000; n++) {
		struct prefix prefix = prefix_number(n);
		uint32_t before = pods[spread_prefix(pods, 8, &prefix, &prng)].entry;
		uint32_t after = left[spread_prefix(left, 7, &prefix, &prng)].entry;

		assert_true(before == after || before == pods[3].entry);
		moved += before != after;
	}
	assert_in_range(moved, 900, 1100);
}

static void
nobody_gets_by_prefix_more_than_five_quarters_of_the_mean(void **state)
{
	static const uint32_t counts[] = { 2, 3, 8, 32 };
	struct spread_pod pods[SPREAD_PODS_MAX];

	(void)state;
	for (size_t c = 0; c < COUNT_OF(counts); c++) {
		uint32_t count = counts[c];

		make_pods(pods, count);
		/* Everybody has the same system prompt, and every tenth the same conversation. */
		for (uint64_t n = 1; n <= 4000; n++) {
			struct prefix prefix = prefix_number(1);
			uint32_t chosen, before;

			prefix.count = 2;
			prefix.hash[1] = prefix_number(n % 10 == 0 ? 10 : n).hash[0];
			chosen = spread_prefix(pods, count, &prefix, &prng);
			before = pods[chosen].in_flight++;
			assert_true(before < spread_room(pods, count) || before + 1 < 5 * n / 4 / count + 3);
		}
		assert_true(fullest(pods, count) <= 4000 * 5 / 4 / count + 2);
	}
}

static void
what_a_full_pod_cannot_take_is_divided_by_conversation(void **state)
{
	struct prefix prefix = prefix_number(1);
	struct spread_pod pods[4];
	uint32_t first, second;

	(void)state;
	make_pods(pods, 4);
	first = spread_prefix(pods, 4, &prefix, &prng);
	for (int i = 0; i < 4; i++)
		pods[i].in_flight = 10;
	pods[first].in_flight = 20; /* room is 16 */
	for (uint64_t n = 100; n < 120; n++) {
		prefix.count = 2;
		prefix.hash[1] = prefix_number(n).hash[0];
		second = spread_prefix(pods, 4, &prefix, &prng);
		assert_int_not_equal(second, first);
		for (int again = 0; again < 10; again++) {
			uint32_t same = spread_prefix(pods, 4, &prefix, &prng);

			/* Where the conversation's pod is the full one too, load decides. */
			assert_int_not_equal(same, first);
		}
	}
}

static void
without_a_prefix_load_decides(void **state)
{
	struct prefix none = { 0 };
	struct spread_pod pods[2];

	(void)state;
	make_pods(pods, 2);
	pods[1].in_flight = 1;
	for (int i = 0; i < 100; i++)
		assert_int_equal(spread_prefix(pods, 2, &none, &prng), 0);
}

static void
room_is_five_quarters_of_the_mean_rounded_up(void **state)
{
	struct spread_pod pods[4];

	(void)state;
	make_pods(pods, 4);
	assert_int_equal(spread_room(pods, 4), 1);
	for (int i = 0; i < 4; i++)
		pods[i].in_flight = 10;
	assert_int_equal(spread_room(pods, 4), 13); /* 41 * 5 / 16 */
	assert_int_equal(spread_room(pods, 1), 14);
}

/* --- latency ----------------------------------------------------------------------------- */

static void
latency_follows_its_samples_and_forgets(void **state)
{
	uint64_t word = 0;

	(void)state;
	assert_int_equal(spread_latency_read(word, 5 * SEC), 0);
	word = spread_latency_add(word, 80 * MSEC, 100 * SEC);
	assert_in_range(spread_latency_read(word, 100 * SEC), 80000, 80001);
	for (int i = 0; i < 60; i++)
		word = spread_latency_add(word, 160 * MSEC, 100 * SEC);
	assert_in_range(spread_latency_read(word, 100 * SEC), 158000, 160001);
	assert_in_range(spread_latency_read(word, 111 * SEC), 79000, 80001);
	assert_int_equal(spread_latency_read(word, 5000 * SEC), 0);
	/* Another worker's clock is a loop ahead of ours. */
	assert_in_range(spread_latency_read(word, 100 * SEC - 20 * MSEC), 158000, 160001);
}

static void
latency_takes_any_sample(void **state)
{
	(void)state;
	assert_int_equal(spread_latency_read(spread_latency_add(0, UINT64_MAX, SEC), SEC), UINT32_MAX);
	assert_int_equal(spread_latency_read(spread_latency_add(0, 0, SEC), SEC), 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_robin_takes_the_next_that_is_there),
		cmocka_unit_test(of_two_pods_the_emptier_one_is_taken),
		cmocka_unit_test(a_pod_that_is_twice_as_slow_gets_half_as_many),
		cmocka_unit_test(a_latency_known_of_one_only_says_nothing),
		cmocka_unit_test(two_choices_keep_the_fullest_near_the_mean),
		cmocka_unit_test(every_idle_pod_gets_its_share),
		cmocka_unit_test(a_prefix_has_one_pod_and_prefixes_are_divided_evenly),
		cmocka_unit_test(when_a_pod_leaves_only_its_prefixes_move),
		cmocka_unit_test(nobody_gets_by_prefix_more_than_five_quarters_of_the_mean),
		cmocka_unit_test(what_a_full_pod_cannot_take_is_divided_by_conversation),
		cmocka_unit_test(without_a_prefix_load_decides),
		cmocka_unit_test(room_is_five_quarters_of_the_mean_rounded_up),
		cmocka_unit_test(latency_follows_its_samples_and_forgets),
		cmocka_unit_test(latency_takes_any_sample),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a key may spend, second by second: 600 units a minute, 50 at once. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "limit/bucket.h"

#define SEC UINT64_C(1000000000)

static const struct bucket_limit ten_a_second = { .ns_per_unit = SEC / 10, .burst_units = 50 };

static void
refuses_beyond_the_burst_then_refills_at_the_rate(void **state)
{
	struct bucket b = { 0 };

	(void)state;
	assert_true(bucket_take(&b, &ten_a_second, 50, 1 * SEC)); /* the whole burst */
	assert_false(bucket_take(&b, &ten_a_second, 1, 1 * SEC));
	assert_true(bucket_take(&b, &ten_a_second, 10, 2 * SEC)); /* one second's worth */
	assert_false(bucket_take(&b, &ten_a_second, 1, 2 * SEC));
	assert_false(bucket_take(&b, &ten_a_second, 51, 999 * SEC)); /* idling saves up no more */
	assert_true(bucket_take(&b, &ten_a_second, 50, 999 * SEC));
}

static void
overspend_is_paid_back_before_the_next_take(void **state)
{
	struct bucket b = { 0 };

	(void)state;
	assert_true(bucket_take(&b, &ten_a_second, 20, 1 * SEC));
	bucket_settle(&b, &ten_a_second, 20, 80); /* the key now owes 30 */
	assert_false(bucket_take(&b, &ten_a_second, 1, 4 * SEC));
	assert_int_equal(bucket_wait_ns(&b, &ten_a_second, 1, 4 * SEC), SEC / 10);
	assert_true(bucket_take(&b, &ten_a_second, 1, 4 * SEC + SEC / 10));
}

static void
underspend_is_given_back(void **state)
{
	struct bucket b = { 0 };

	(void)state;
	assert_true(bucket_take(&b, &ten_a_second, 50, 1 * SEC));
	bucket_settle(&b, &ten_a_second, 50, 5);
	assert_int_equal(bucket_remaining(&b, &ten_a_second, 1 * SEC), 45);
	assert_true(bucket_take(&b, &ten_a_second, 45, 1 * SEC));
	assert_false(bucket_take(&b, &ten_a_second, 1, 1 * SEC));
}

static void
remaining_and_wait_tell_what_take_will_do(void **state)
{
	struct bucket b = { 0 };

	(void)state;
	assert_int_equal(bucket_remaining(&b, &ten_a_second, 1 * SEC), 50);
	assert_int_equal(bucket_wait_ns(&b, &ten_a_second, 50, 1 * SEC), 0);
	assert_int_equal(bucket_wait_ns(&b, &ten_a_second, 51, 1 * SEC), UINT64_MAX);
	assert_true(bucket_take(&b, &ten_a_second, 48, 1 * SEC));
	assert_int_equal(bucket_remaining(&b, &ten_a_second, 1 * SEC), 2);
	assert_int_equal(bucket_remaining(&b, &ten_a_second, 1 * SEC + SEC / 20),
			 2); /* no half units */
	assert_int_equal(bucket_remaining(&b, &ten_a_second, 1 * SEC + SEC / 10), 3);
	assert_int_equal(bucket_wait_ns(&b, &ten_a_second, 4, 1 * SEC), 2 * SEC / 10);
	bucket_settle(&b, &ten_a_second, 0, 100);
	assert_int_equal(bucket_remaining(&b, &ten_a_second, 1 * SEC), 0);
}

static void
absurd_numbers_saturate_and_never_wrap(void **state)
{
	const struct bucket_limit slow = { .ns_per_unit = BUCKET_NS_PER_UNIT_MAX,
					   .burst_units = BUCKET_BURST_MAX };
	struct bucket b = { 0 };

	(void)state;
	bucket_settle(&b, &slow, 0, UINT64_MAX);
	bucket_settle(&b, &slow, 0, UINT64_MAX); /* debt upon debt */
	assert_false(bucket_take(&b, &slow, 1, SEC));
	assert_int_equal(bucket_remaining(&b, &slow, SEC), 0);
	bucket_settle(&b, &slow, UINT64_MAX, 0);
	assert_true(bucket_take(&b, &slow, BUCKET_BURST_MAX, SEC));

	/* Taken cheaply, given back after the limit became 600 times smaller. */
	b.full_at_ns = 0;
	assert_true(bucket_take(&b, &ten_a_second, 50, 1 * SEC));
	bucket_settle(&b, &slow, 50, 0);
	assert_true(bucket_take(&b, &slow, 1, 2 * SEC));
}

#define TAKES_PER_THREAD 200000
#define SHARED_BURST 100000

struct taker {
	struct bucket *bucket;
	pthread_barrier_t *start;
	uint64_t taken;
};

static void *
take_one_by_one(void *opaque)
{
	static const struct bucket_limit limit = { .ns_per_unit = SEC,
						   .burst_units = SHARED_BURST };
	struct taker *taker = opaque;

	pthread_barrier_wait(taker->start);
	for (int i = 0; i < TAKES_PER_THREAD; i++)
		taker->taken += bucket_take(taker->bucket, &limit, 1, SEC);
	return NULL;
}

static void
exactly_the_burst_passes_when_two_threads_race(void **state)
{
	struct bucket b = { 0 };
	pthread_barrier_t start;
	struct taker takers[2] = { { .bucket = &b, .start = &start },
				   { .bucket = &b, .start = &start } };
	pthread_t threads[2];

	(void)state;
	assert_int_equal(pthread_barrier_init(&start, NULL, 2), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_one_by_one, &takers[i]), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	pthread_barrier_destroy(&start);
	assert_int_equal(takers[0].taken + takers[1].taken, SHARED_BURST);
	assert_int_equal(b.full_at_ns, SEC + SHARED_BURST * SEC);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_beyond_the_burst_then_refills_at_the_rate),
		cmocka_unit_test(overspend_is_paid_back_before_the_next_take),
		cmocka_unit_test(underspend_is_given_back),
		cmocka_unit_test(remaining_and_wait_tell_what_take_will_do),
		cmocka_unit_test(absurd_numbers_saturate_and_never_wrap),
		cmocka_unit_test(exactly_the_burst_passes_when_two_threads_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

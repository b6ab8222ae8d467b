/* One writer, one reader: nothing is lost, doubled or out of order, and a full ring says so. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/ring.h"

static uint32_t numbers[RING_SLOTS + 1];

static void
what_went_in_comes_out_in_order(void **state)
{
	static struct ring ring;

	(void)state;
	assert_null(ring_get(&ring));
	assert_true(ring_put(&ring, &numbers[1]));
	assert_true(ring_put(&ring, &numbers[2]));
	assert_ptr_equal(ring_get(&ring), &numbers[1]);
	assert_true(ring_put(&ring, &numbers[3]));
	assert_ptr_equal(ring_get(&ring), &numbers[2]);
	assert_ptr_equal(ring_get(&ring), &numbers[3]);
	assert_null(ring_get(&ring));
	assert_null(ring_get(&ring));
}

static void
a_full_ring_refuses_until_one_is_read(void **state)
{
	static struct ring ring;

	(void)state;
	for (uint32_t i = 0; i < RING_SLOTS; i++)
		assert_true(ring_put(&ring, &numbers[i]));
	assert_false(ring_put(&ring, &numbers[RING_SLOTS]));
	assert_ptr_equal(ring_get(&ring), &numbers[0]);
	assert_true(ring_put(&ring, &numbers[RING_SLOTS]));
	assert_false(ring_put(&ring, &numbers[0]));
	for (uint32_t i = 1; i <= RING_SLOTS; i++)
		assert_ptr_equal(ring_get(&ring), &numbers[i]);
	assert_null(ring_get(&ring));
}

/* The counters run on for ever; only their difference and their low bits count. */
static void
goes_on_where_the_counters_wrap(void **state)
{
	static struct ring ring;

	(void)state;
	atomic_store(&ring.written, UINT32_MAX - 1);
	atomic_store(&ring.read, UINT32_MAX - 1);
	assert_null(ring_get(&ring));
	for (uint32_t i = 0; i < RING_SLOTS; i++)
		assert_true(ring_put(&ring, &numbers[i]));
	assert_false(ring_put(&ring, &numbers[RING_SLOTS]));
	assert_true(atomic_load(&ring.written) < RING_SLOTS);
	for (uint32_t i = 0; i < RING_SLOTS; i++)
		assert_ptr_equal(ring_get(&ring), &numbers[i]);
	assert_null(ring_get(&ring));
}

#define MESSAGES 300000

struct message {
	uint32_t number;
	uint32_t copy; /* plain memory, written before the put: the reader must see it */
};

static struct message messages[MESSAGES];
static struct ring shared;

static void *
write_all(void *argument)
{
	uint32_t *refused = argument;

	for (uint32_t i = 0; i < MESSAGES; i++) {
		messages[i].number = i;
		messages[i].copy = ~i;
		while (!ring_put(&shared, &messages[i])) {
			++*refused;
			sched_yield();
		}
	}
	return NULL;
}

static void
two_threads_lose_nothing(void **state)
{
	uint32_t refused = 0;
	uint32_t wrong = 0;
	pthread_t writer;

	(void)state;
	assert_int_equal(pthread_create(&writer, NULL, write_all, &refused), 0);
	for (uint32_t expected = 0; expected < MESSAGES;) {
		const struct message *got = ring_get(&shared);

		if (got == NULL) {
			sched_yield();
			continue;
		}
		wrong += got->number != expected || got->copy != ~expected;
		expected++;
	}
	assert_int_equal(pthread_join(writer, NULL), 0);
	assert_int_equal(wrong, 0);
	assert_null(ring_get(&shared));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_went_in_comes_out_in_order),
		cmocka_unit_test(a_full_ring_refuses_until_one_is_read),
		cmocka_unit_test(goes_on_where_the_counters_wrap),
		cmocka_unit_test(two_threads_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

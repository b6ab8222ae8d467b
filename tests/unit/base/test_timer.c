/* The wheel against a sorted list, and the promises of its header one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/prng.h"
#include "base/timer.h"

#define MS NSEC_PER_MSEC

static struct timer_wheel wheel;

static void
a_timer_fires_once_and_never_early(void **state)
{
	struct timer t = { 0 };

	(void)state;
	timer_wheel_init(&wheel, &t, 5 * MS);
	timer_set(&wheel, &t, 1000 * MS + 1);
	assert_true(timer_is_armed(&t));
	assert_null(timer_advance(&wheel, 1000 * MS));
	assert_null(timer_advance(&wheel, 1001 * MS - 1)); /* half a tick is not a tick */
	assert_ptr_equal(timer_advance(&wheel, 1001 * MS), &t);
	assert_false(timer_is_armed(&t));
	assert_null(timer_advance(&wheel, 5000 * MS));
	assert_int_equal(timer_next_at(&wheel), NEVER_NS);
}

static void
a_moment_in_the_past_is_due_at_once(void **state)
{
	struct timer t = { 0 };

	(void)state;
	timer_wheel_init(&wheel, &t, 500 * MS);
	timer_set(&wheel, &t, 3 * MS);
	assert_true(timer_next_at(&wheel) <= 500 * MS);
	assert_ptr_equal(timer_advance(&wheel, 500 * MS), &t);
}

static void
cancelling_and_moving_work_in_every_list(void **state)
{
	struct timer set[3] = { 0 };
	struct timer *a = &set[0];
	struct timer *b = &set[1];
	struct timer *c = &set[2];

	(void)state;
	timer_wheel_init(&wheel, set, 0);
	timer_cancel(&wheel, a); /* not armed: nothing */
	timer_set(&wheel, a, 70 * MS);
	timer_set(&wheel, b, 70 * MS);
	timer_set(&wheel, c, 70 * MS);
	timer_cancel(&wheel, b); /* in the middle */
	timer_set(&wheel, a, 90 * MS);
	assert_ptr_equal(timer_advance(&wheel, 80 * MS), c);
	assert_null(timer_advance(&wheel, 80 * MS));
	timer_set(&wheel, a, 1 * MS); /* now in the due list */
	timer_cancel(&wheel, a);
	assert_null(timer_advance(&wheel, 900 * MS));
	assert_int_equal(wheel.armed, 0);
	assert_int_equal(timer_next_at(&wheel), NEVER_NS);
}

static void
next_at_is_exact_within_64_ticks_and_never_late_beyond(void **state)
{
	struct timer t = { 0 };
	uint64_t now_ns = 64 * MS;
	int wakes = 0;

	(void)state;
	timer_wheel_init(&wheel, &t, now_ns);
	timer_set(&wheel, &t, 64 * MS + 40 * MS);
	assert_int_equal(timer_next_at(&wheel), 104 * MS);
	timer_set(&wheel, &t, 86400 * NSEC_PER_SEC);
	while (timer_advance(&wheel, now_ns) == NULL) {
		assert_true(timer_next_at(&wheel) <= 86400 * NSEC_PER_SEC);
		assert_true(timer_next_at(&wheel) > now_ns);
		now_ns = timer_next_at(&wheel);
		assert_in_range(++wakes, 1, TIMER_LEVELS);
	}
	assert_int_equal(now_ns, 86400 * NSEC_PER_SEC);
}

static void
the_farthest_moment_can_be_set(void **state)
{
	struct timer t = { 0 };

	(void)state;
	timer_wheel_init(&wheel, &t, 123456789 * MS);
	timer_set(&wheel, &t, NEVER_NS - 1);
	assert_null(timer_advance(&wheel, UINT64_C(1) << 62));
	timer_cancel(&wheel, &t);
	assert_int_equal(wheel.armed, 0);
}

static void
one_call_moves_a_bounded_number(void **state)
{
	static struct timer many[3 * TIMER_MOVES_MAX];
	uint32_t fired = 0;
	uint32_t calls = 0;

	(void)state;
	memset(many, 0, sizeof(many));
	timer_wheel_init(&wheel, many, 0);
	for (uint32_t i = 0; i < COUNT_OF(many); i++)
		timer_set(&wheel, &many[i], 70 * MS); /* one slot of level 1 */
	assert_null(timer_advance(&wheel, 64 * MS));
	assert_true(timer_next_at(&wheel) <= 64 * MS); /* behind, and says so */
	timer_cancel(&wheel, &many[0]);                /* wherever it is now */
	while (fired < COUNT_OF(many) - 1) {
		if (timer_advance(&wheel, 70 * MS) != NULL)
			fired++;
		assert_in_range(++calls, 1, COUNT_OF(many) + 8);
	}
	assert_null(timer_advance(&wheel, 9999 * MS));
}

#define COUNT 300

/* Sets, cancels and jumps at random; a plain array says what must fire in which tick. */
static void
agrees_with_an_array(void **state)
{
	static struct timer timers[COUNT];
	static uint64_t at_ns[COUNT];
	static const uint64_t spans_ms[] = { 3, 63, 64, 65, 4096, 70000, 300000, 20000000 };
	struct prng prng;
	uint64_t now_ns = 7777777;

	(void)state;
	prng_init(&prng, 42);
	memset(timers, 0, sizeof(timers));
	memset(at_ns, 0, sizeof(at_ns));
	timer_wheel_init(&wheel, timers, now_ns);
	for (int step = 0; step < 20000; step++) {
		uint32_t i = prng_below(&prng, COUNT);
		uint64_t span_ms = spans_ms[prng_below(&prng, COUNT_OF(spans_ms))];
		uint64_t last_tick = 0;
		struct timer *t;

		if (prng_below(&prng, 8) == 0) {
			timer_cancel(&wheel, &timers[i]);
			at_ns[i] = 0;
		} else {
			at_ns[i] = now_ns + prng_next(&prng) % (span_ms * MS) + 1;
			timer_set(&wheel, &timers[i], at_ns[i]);
		}
		if (prng_below(&prng, 4) != 0)
			continue;
		now_ns += prng_next(&prng) %
			  (spans_ms[prng_below(&prng, COUNT_OF(spans_ms))] * MS / 50 + 1);
		while ((t = timer_advance(&wheel, now_ns)) != NULL) {
			uint64_t tick = (at_ns[t - timers] + MS - 1) / MS;

			assert_int_equal(t->tick, tick);
			assert_true(at_ns[t - timers] <= now_ns);
			assert_true(tick >= last_tick);
			last_tick = tick;
			at_ns[t - timers] = 0;
		}
		for (uint32_t k = 0; k < COUNT; k++) {
			assert_int_equal(timer_is_armed(&timers[k]), at_ns[k] != 0);
			if (at_ns[k] == 0)
				continue;
			assert_true((at_ns[k] + MS - 1) / MS > now_ns / MS);
			assert_true(timer_is_armed_by(&timers[k], at_ns[k]));
			assert_false(timer_is_armed_by(&timers[k], at_ns[k] - MS));
		}
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_timer_fires_once_and_never_early),
		cmocka_unit_test(a_moment_in_the_past_is_due_at_once),
		cmocka_unit_test(cancelling_and_moving_work_in_every_list),
		cmocka_unit_test(next_at_is_exact_within_64_ticks_and_never_late_beyond),
		cmocka_unit_test(the_farthest_moment_can_be_set),
		cmocka_unit_test(one_call_moves_a_bounded_number),
		cmocka_unit_test(agrees_with_an_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Work that pauses on stacks of its own. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "memory.h"
#include "tls/fiber.h"

#define USED_BYTES 4096u

struct work {
	struct fiber *fiber;
	int pauses;
	int done; /* pauses that it came back from */
	int refused;
	double sum;
	bool is_over;
	bool is_aligned;
};

static void
pause_often(void *owner)
{
	struct work *w = owner;
	double sum = 0.5;

	for (int i = 0; i < w->pauses; i++) {
		volatile int mine = i;

		if (!fiber_pause(w->fiber)) {
			w->refused++;
			continue;
		}
		assert_int_equal(mine, i);
		sum += i;
		w->done++;
	}
	w->sum = sum;
	w->is_over = true;
}

static struct fiber_pool *
pool_of(uint32_t count)
{
	struct fiber_pool *pool = fiber_pool_new(count);

	assert_non_null(pool);
	return pool;
}

static void
goes_on_where_it_paused(void **state)
{
	struct fiber_pool *pool = pool_of(1);
	struct work w = { .pauses = 3 };

	(void)state;
	w.fiber = fiber_begin(pool, pause_often, &w);
	assert_non_null(w.fiber);
	for (int i = 0; i < 3; i++) {
		assert_false(fiber_resume(w.fiber));
		assert_int_equal(w.done, i);
	}
	assert_true(fiber_resume(w.fiber));
	assert_true(w.is_over);
	assert_true(w.sum > 3.4 && w.sum < 3.6);
	fiber_pool_free(pool);
}

/* Of values as many as a function may have in registers over a call: ten on aarch64, and eight of its floating
 * point unit. */
static void
keep_many(void *owner)
{
	struct work *w = owner;
	volatile uint64_t from = (uint64_t)w->pauses;
	volatile double part = w->pauses;
	uint64_t a = from, b = from, c = from, d = from, e = from, f = from, g = from, h = from, i = from;
	double p = part, q = part, r = part, s = part, t = part, u = part, v = part, x = part;

	for (int round = 0; round < 3; round++) {
		(void)fiber_pause(w->fiber);
		a += 1, b += 2, c += 3, d += 4, e += 5, f += 6, g += 7, h += 8, i += 9;
		p += 1, q += 2, r += 3, s += 4, t += 5, u += 6, v += 7, x += 8;
	}
	w->sum = p - part + (q - part) * 10 + (r - part) * 100 + (s - part) * 1e3 + (t - part) * 1e4 +
		 (u - part) * 1e5 + (v - part) * 1e6 + (x - part) * 1e7;
	w->is_over = a == from + 3 && b == from + 6 && c == from + 9 && d == from + 12 && e == from + 15 &&
		     f == from + 18 && g == from + 21 && h == from + 24 && i == from + 27;
}

static void
each_has_its_own_registers(void **state)
{
	struct fiber_pool *pool = pool_of(2);
	struct work w[2] = { { .pauses = 1000 }, { .pauses = 70000 } };

	(void)state;
	for (int i = 0; i < 2; i++)
		w[i].fiber = fiber_begin(pool, keep_many, &w[i]);
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 2; i++)
			assert_false(fiber_resume(w[i].fiber));
	for (int i = 0; i < 2; i++) {
		assert_true(fiber_resume(w[i].fiber));
		assert_true(w[i].is_over);
		assert_true(w[i].sum == 3.0 * 87654321);
	}
	fiber_pool_free(pool);
}

static void
many_take_turns(void **state)
{
	static struct work w[40];
	struct fiber_pool *pool = pool_of(40);
	uint32_t over = 0;

	(void)state;
	for (int i = 0; i < 40; i++) {
		w[i] = (struct work){ .pauses = i };
		w[i].fiber = fiber_begin(pool, pause_often, &w[i]);
	}
	assert_null(fiber_begin(pool, pause_often, &w[0]));
	for (int round = 0; round < 40; round++)
		for (int i = 0; i < 40; i++)
			if (!w[i].is_over)
				over += fiber_resume(w[i].fiber);
	assert_int_equal(over, 40);
	for (int i = 0; i < 40; i++)
		assert_int_equal(w[i].done, i);
	/* All stacks are there again. */
	for (int i = 0; i < 40; i++) {
		w[i].fiber = fiber_begin(pool, pause_often, &w[i]);
		assert_non_null(w[i].fiber);
	}
	for (int i = 0; i < 40; i++)
		fiber_cut_short(w[i].fiber);
	fiber_pool_free(pool);
}

static void
who_is_cut_short_comes_to_its_end(void **state)
{
	struct fiber_pool *pool = pool_of(2);
	struct work begun = { .pauses = 5 };
	struct work waiting = { .pauses = 5 };

	(void)state;
	begun.fiber = fiber_begin(pool, pause_often, &begun);
	waiting.fiber = fiber_begin(pool, pause_often, &waiting);
	assert_false(fiber_resume(begun.fiber));
	assert_false(fiber_resume(begun.fiber));
	fiber_cut_short(begun.fiber);
	assert_true(begun.is_over);
	assert_int_equal(begun.done, 1);
	assert_int_equal(begun.refused, 4);
	/* Also who has not run yet. */
	fiber_cut_short(waiting.fiber);
	assert_true(waiting.is_over);
	assert_int_equal(waiting.refused, 5);
	fiber_pool_free(pool);
}

static void
use_stack(void *owner)
{
	struct work *w = owner;
	_Alignas(16) volatile uint8_t secret[USED_BYTES];

	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = 0xa5;
	/* The compiler believes that it knows; the ABI's word for it is where a frame begins. */
	w->is_aligned = ((uintptr_t)__builtin_frame_address(0) & 15) == 0;
	(void)fiber_pause(w->fiber);
	w->is_over = secret[USED_BYTES / 2] == 0xa5;
}

static void
what_was_used_is_zeroed_when_all_is_over(void **state)
{
	struct fiber_pool *pool = pool_of(3);
	struct work w[3];

	(void)state;
	assert_int_equal(fiber_pool_depth(pool), 0);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 3; i++) {
			w[i] = (struct work){ 0 };
			w[i].fiber = fiber_begin(pool, use_stack, &w[i]);
			assert_false(fiber_resume(w[i].fiber));
			assert_true(w[i].is_aligned);
		}
		/* What others still use is not touched. */
		assert_true(fiber_resume(w[round].fiber));
		fiber_pool_wipe(pool);
		assert_int_equal(fiber_pool_depth(pool), 0);
		for (int i = 0; i < 3; i++)
			if (i != round)
				assert_true(fiber_resume(w[i].fiber));
		for (int i = 0; i < 3; i++)
			assert_true(w[i].is_over);
		if (memory_is_plain())
			assert_in_range(fiber_pool_depth(pool), USED_BYTES, FIBER_STACK_BYTES);
		fiber_pool_wipe(pool);
		assert_int_equal(fiber_pool_depth(pool), 0);
	}
	fiber_pool_free(pool);
}

static void
stacks_are_locked_and_in_no_core_dump(void **state)
{
	struct fiber_pool *pool;
	struct memory_flags flags;

	(void)state;
	if (!memory_is_plain())
		skip();
	pool = pool_of(1);
	/* The stack's mapping, not the pool's: the guard lies between them. */
	flags = memory_flags((uint8_t *)pool + 2 * FIBER_GUARD_BYTES);
	assert_true(flags.is_undumped);
	assert_true(flags.is_locked);
	fiber_pool_free(pool);
}

static int
sink(int depth)
{
	volatile uint8_t some[256];

	some[depth % 256] = (uint8_t)depth;
	return depth == 0 ? 0 : sink(depth - 1) + some[depth % 256];
}

static void
sink_deep(void *owner)
{
	*(int *)owner = sink(1 << 20);
}

static void
a_stack_that_is_too_short_stops_the_process(void **state)
{
	struct fiber_pool *pool = pool_of(2);
	int depth = 0;
	int status = 0;
	pid_t child = fork();

	(void)state;
	if (child == 0) {
		/* Both: the second one's neighbour is the first. */
		(void)signal(SIGSEGV, SIG_DFL);
		(void)fiber_begin(pool, sink_deep, &depth);
		(void)fiber_resume(fiber_begin(pool, sink_deep, &depth));
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	fiber_pool_free(pool);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_on_where_it_paused),
		cmocka_unit_test(each_has_its_own_registers),
		cmocka_unit_test(many_take_turns),
		cmocka_unit_test(who_is_cut_short_comes_to_its_end),
		cmocka_unit_test(what_was_used_is_zeroed_when_all_is_over),
		cmocka_unit_test(stacks_are_locked_and_in_no_core_dump),
		cmocka_unit_test(a_stack_that_is_too_short_stops_the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What x-sluice-overhead-us counts: time inside of turns in which bytes passed, never time between turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dataplane/overhead.h"

static void
nothing_was_done_yet(void **state)
{
	struct overhead o = { 0 };

	(void)state;
	assert_int_equal(overhead_until_ns(&o, 1000, 1000), 0);
	assert_int_equal(overhead_until_ns(&o, 1000, 1250), 250);
}

static void
the_last_note_of_a_turn_counts(void **state)
{
	struct overhead o = { 0 };

	(void)state;
	overhead_note(&o, 1000, 1100);
	overhead_note(&o, 1000, 1300);
	overhead_note(&o, 1000, 1300);
	assert_int_equal(overhead_until_ns(&o, 1000, 1300), 300);
	assert_int_equal(overhead_until_ns(&o, 1000, 1310), 310);
	assert_int_equal(overhead_until_ns(&o, 5000, 5007), 307);
}

static void
turns_add_up_and_what_is_between_them_does_not(void **state)
{
	struct overhead o = { 0 };

	(void)state;
	overhead_note(&o, 1000, 1100);
	overhead_note(&o, 900000, 900020);
	overhead_note(&o, 900000, 900030);
	overhead_note(&o, 2000000, 2000004);
	assert_int_equal(overhead_until_ns(&o, 2000000, 2000004), 134);
	assert_int_equal(overhead_until_ns(&o, 7000000, 7000001), 135);
}

/* Workers read the clock once per turn; a reading of before it is no time spent. */
static void
a_clock_that_stands_costs_nothing(void **state)
{
	struct overhead o = { 0 };

	(void)state;
	overhead_note(&o, 1000, 999);
	assert_int_equal(overhead_until_ns(&o, 1000, 1000), 0);
	overhead_note(&o, 2000, 2000);
	assert_int_equal(overhead_until_ns(&o, 3000, 3001), 1);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_was_done_yet),
		cmocka_unit_test(the_last_note_of_a_turn_counts),
		cmocka_unit_test(turns_add_up_and_what_is_between_them_does_not),
		cmocka_unit_test(a_clock_that_stands_costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

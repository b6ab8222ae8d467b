/* Reproducible from a seed; below() stays below and reaches everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/prng.h"

static void
the_same_seed_gives_the_same_numbers_another_does_not(void **state)
{
	struct prng a, b, c;
	int same = 0;

	(void)state;
	prng_init(&a, 7);
	prng_init(&b, 7);
	prng_init(&c, 8);
	for (int i = 0; i < 100; i++) {
		uint64_t x = prng_next(&a);

		assert_int_equal(x, prng_next(&b));
		same += x == prng_next(&c);
	}
	assert_int_equal(same, 0);
}

static void
gives_the_published_sequence(void **state)
{
	struct prng p = { { 1, 2, 3, 4 } };

	(void)state;
	/* First outputs of the authors' xoshiro256plusplus.c from this state. */
	assert_int_equal(prng_next(&p), UINT64_C(41943041));
	assert_int_equal(prng_next(&p), UINT64_C(58720359));
	assert_int_equal(prng_next(&p), UINT64_C(3588806011781223));
}

static void
below_reaches_each_value_about_equally(void **state)
{
	uint32_t count[10] = { 0 };
	struct prng p;

	(void)state;
	prng_init(&p, 1);
	for (int i = 0; i < 10000; i++)
		count[prng_below(&p, 10)]++;
	for (int i = 0; i < 10; i++)
		assert_in_range(count[i], 850, 1150);
	assert_int_equal(prng_below(&p, 1), 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_seed_gives_the_same_numbers_another_does_not),
		cmocka_unit_test(gives_the_published_sequence),
		cmocka_unit_test(below_reaches_each_value_about_equally),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

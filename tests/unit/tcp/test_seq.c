/* Arithmetic modulo 2^32, at every place where 32 bits end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/units.h"
#include "base/prng.h"
#include "tcp/seq.h"

static const uint32_t bases[] = {
	0, 1, 99, 0x7ffffffe, 0x7fffffff, 0x80000000, 0x80000001, 0xffffff9c, 0xfffffffe, 0xffffffff,
};
static const int32_t distances[] = {
	0, 1, 2, 1460, 65535, 1 << 24, 0x3fffffff, 0x40000000, 0x7ffffffe, 0x7fffffff,
};

static void
assert_pair(uint32_t base, int32_t ahead)
{
	uint32_t later = base + (uint32_t)ahead;

	assert_int_equal(seq_diff(later, base), ahead);
	assert_int_equal(seq_diff(base, later), -ahead);
	assert_int_equal(seq_lt(base, later), ahead > 0);
	assert_int_equal(seq_gt(later, base), ahead > 0);
	assert_true(seq_le(base, later));
	assert_true(seq_ge(later, base));
	assert_int_equal(seq_lt(later, base), 0);
	assert_int_equal(seq_gt(base, later), 0);
	assert_int_equal(seq_le(later, base), ahead == 0);
	assert_int_equal(seq_ge(base, later), ahead == 0);
	assert_int_equal(seq_max(base, later), later);
	assert_int_equal(seq_max(later, base), later);
	assert_int_equal(seq_min(base, later), base);
	assert_int_equal(seq_min(later, base), base);
}

static void
comparison_is_that_of_distances(void **state)
{
	struct prng prng;

	(void)state;
	prng_init(&prng, 11);
	for (size_t i = 0; i < COUNT_OF(bases); i++)
		for (size_t k = 0; k < COUNT_OF(distances); k++)
			assert_pair(bases[i], distances[k]);
	for (uint32_t i = 0; i < 1000000; i++)
		assert_pair((uint32_t)prng_next(&prng), (int32_t)(prng_next(&prng) & INT32_MAX));
}

/* A number in [first, first + len) stays in it, wherever the range lies. */
static void
a_range_is_the_same_everywhere(void **state)
{
	struct prng prng;

	(void)state;
	prng_init(&prng, 12);
	for (uint32_t i = 0; i < 1000000; i++) {
		uint32_t first = bases[prng_below(&prng, COUNT_OF(bases))] + prng_below(&prng, 200) - 100;
		uint32_t len = 1 + prng_below(&prng, 1 << 30);
		uint32_t at = prng_below(&prng, 1u << 31);

		assert_int_equal(seq_ge(first + at, first) && seq_lt(first + at, first + len), at < len);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(comparison_is_that_of_distances),
		cmocka_unit_test(a_range_is_the_same_everywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

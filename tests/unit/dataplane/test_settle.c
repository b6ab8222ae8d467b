/* Integer money: rounded half up once, never negative, never wrapped (T97). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dataplane/settle.h"

static int64_t
cost(uint64_t input_nano, uint64_t output_nano, uint64_t prompt, uint64_t completion)
{
	struct shm_price price = { .input_nano_per_mtoken = input_nano,
				   .output_nano_per_mtoken = output_nano };

	return settle_cost_nano(&price, &(struct settle_counts){ prompt, completion, USAGE_NO_UNIT, 0 });
}

static int64_t
unit_cost(enum usage_unit unit, uint64_t units, uint64_t prompt)
{
	struct shm_price price = { .input_nano_per_mtoken = 1, .request_nano = 500, .image_nano = 40000000,
				   .second_nano = 100000, .character_nano_per_million = 15000000000,
				   .byte_nano_per_million = 250000000 };

	return settle_cost_nano(&price, &(struct settle_counts){ prompt, 0, unit, units });
}

static void
cost_is_tokens_times_price_rounded_half_up(void **state)
{
	(void)state;
	assert_int_equal(cost(150000000, 600000000, 18, 24), 2700 + 14400);
	assert_int_equal(cost(1, 0, 499999, 0), 0);
	assert_int_equal(cost(1, 0, 500000, 0), 1);
	assert_int_equal(cost(1, 1, 250000, 250000), 1); /* once per request, not once per kind */
	assert_int_equal(cost(0, 0, UINT64_MAX, UINT64_MAX), 0);
	assert_int_equal(cost(5, 5, 0, 0), 0);
}

static void
what_does_not_fit_is_the_largest_amount(void **state)
{
	(void)state;
	assert_int_equal(cost(UINT64_MAX, 0, UINT64_MAX, 0), INT64_MAX);
	assert_int_equal(cost(UINT64_C(1) << 63, 0, 1000000, 0), INT64_MAX);
	assert_int_equal(cost((UINT64_C(1) << 63) - 1, 0, 1000000, 0), INT64_MAX);
	assert_int_equal(cost(UINT64_C(1) << 53, 0, 1000000, 0), INT64_C(1) << 53);
}

static void
units_cost_what_their_rate_says(void **state)
{
	(void)state;
	assert_int_equal(unit_cost(USAGE_REQUESTS, 1, 0), 500);
	assert_int_equal(unit_cost(USAGE_IMAGES, 3, 0), 120000000);
	assert_int_equal(unit_cost(USAGE_MILLISECONDS, 8470, 0), 847000);
	assert_int_equal(unit_cost(USAGE_MILLISECONDS, 1, 0), 100);
	assert_int_equal(unit_cost(USAGE_CHARACTERS, 33, 0), 495000);
	assert_int_equal(unit_cost(USAGE_BYTES, 3, 0), 750);
	assert_int_equal(unit_cost(USAGE_BYTES, 1, 500000), 251); /* 250 and a half, rounded once */
	assert_int_equal(unit_cost(USAGE_NO_UNIT, 99, 0), 0);
	assert_int_equal(unit_cost(USAGE_IMAGES, UINT64_MAX, 0), INT64_MAX);
	assert_int_equal(unit_cost(USAGE_MILLISECONDS, UINT64_MAX, UINT64_MAX), INT64_MAX);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(units_cost_what_their_rate_says),
		cmocka_unit_test(cost_is_tokens_times_price_rounded_half_up),
		cmocka_unit_test(what_does_not_fit_is_the_largest_amount),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Further tries are a fifth of the requests, and ten once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/prng.h"
#include "limit/retry.h"

static const struct retry_limit fifth = { .percent = 20, .burst = 10 };

static void
the_burst_is_there_at_once_and_then_a_fifth_of_the_requests(void **state)
{
	struct retry r = { 0 };
	uint32_t taken = 0;

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_true(retry_take(&r, &fifth));
	assert_false(retry_take(&r, &fifth));
	for (int request = 0; request < 1000; request++) {
		retry_deposit(&r, &fifth);
		taken += retry_take(&r, &fifth);
	}
	assert_int_equal(taken, 200);
}

static void
what_is_not_used_is_saved_up_to_the_burst_and_no_further(void **state)
{
	struct retry r = { 0 };
	uint32_t taken = 0;

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_true(retry_take(&r, &fifth));
	for (int request = 0; request < 1000000; request++)
		retry_deposit(&r, &fifth);
	while (retry_take(&r, &fifth))
		taken++;
	assert_int_equal(taken, 10);
}

static void
can_take_tells_what_take_will_do(void **state)
{
	struct retry r = { 0 };
	struct prng prng;
	uint64_t requests = 0, tries = 0;

	(void)state;
	prng_init(&prng, 7);
	for (int i = 0; i < 100000; i++) {
		if (prng_below(&prng, 3) == 0) {
			bool can = retry_can_take(&r, &fifth);
			bool did = retry_take(&r, &fifth);

			assert_int_equal(can, did);
			tries += did;
		} else {
			retry_deposit(&r, &fifth);
			requests++;
		}
		assert_true(tries * 100 <= requests * 20 + 10 * 100);
	}
	assert_true(tries > 10000);
}

static void
no_share_means_no_further_try(void **state)
{
	static const struct retry_limit none = { .percent = 0, .burst = 10 };
	struct retry r = { 0 };

	(void)state;
	retry_deposit(&r, &none);
	assert_false(retry_take(&r, &none));
}

static void
a_smaller_burst_than_before_is_paid_off_first(void **state)
{
	static const struct retry_limit two = { .percent = 50, .burst = 2 };
	struct retry r = { 0 };

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_true(retry_take(&r, &fifth));
	for (int i = 0; i < 17; i++) {
		assert_false(retry_take(&r, &two));
		retry_deposit(&r, &two);
	}
	assert_false(retry_take(&r, &two));
	retry_deposit(&r, &two);
	assert_true(retry_take(&r, &two));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_burst_is_there_at_once_and_then_a_fifth_of_the_requests),
		cmocka_unit_test(what_is_not_used_is_saved_up_to_the_burst_and_no_further),
		cmocka_unit_test(can_take_tells_what_take_will_do),
		cmocka_unit_test(no_share_means_no_further_try),
		cmocka_unit_test(a_smaller_burst_than_before_is_paid_off_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

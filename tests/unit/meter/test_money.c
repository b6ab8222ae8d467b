/* Dollars to nano-dollars and back, without floating point. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "meter/money.h"

static int64_t
parsed(const char *text)
{
	int64_t nano = -1;

	assert_true(money_parse(text, &nano));
	return nano;
}

static void
dollars_become_nano_dollars_exactly(void **state)
{
	(void)state;
	assert_int_equal(parsed("25"), 25000000000);
	assert_int_equal(parsed("0.15"), 150000000);
	assert_int_equal(parsed(".5"), 500000000);
	assert_int_equal(parsed("3."), 3000000000);
	assert_int_equal(parsed("-1.000000001"), -1000000001);
	assert_int_equal(parsed("0.1234567890"), 123456789);
	assert_int_equal(parsed("9000000000"), 9000000000000000000);
}

static void
what_is_no_amount_is_refused(void **state)
{
	static const char *const wrong[] = { "", "-", ".", "1,5", "1e3", "$1", "0.0000000001", " 1",
					     "1 ", "9000000001", "99999999999999999999" };
	int64_t nano;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(money_parse(wrong[i], &nano));
}

static void
nano_dollars_are_shown_with_two_decimals_or_as_many_as_they_need(void **state)
{
	char text[MONEY_TEXT_BYTES];

	(void)state;
	money_emit(25000000000, text);
	assert_string_equal(text, "25.00");
	money_emit(150000000, text);
	assert_string_equal(text, "0.15");
	money_emit(1, text);
	assert_string_equal(text, "0.000000001");
	money_emit(-12500000, text);
	assert_string_equal(text, "-0.0125");
	money_emit(0, text);
	assert_string_equal(text, "0.00");
	money_emit(1000000000, text);
	assert_string_equal(text, "1.00");
	money_emit(100000000, text);
	assert_string_equal(text, "0.10");
	money_emit(-1, text);
	assert_string_equal(text, "-0.000000001");
	money_emit(INT64_MAX, text);
	assert_string_equal(text, "9223372036.854775807");
	money_emit(INT64_MIN, text);
	assert_string_equal(text, "-9223372036.854775808");
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(dollars_become_nano_dollars_exactly),
		cmocka_unit_test(what_is_no_amount_is_refused),
		cmocka_unit_test(nano_dollars_are_shown_with_two_decimals_or_as_many_as_they_need),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

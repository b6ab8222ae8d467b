/* Numbers and vectors, and that nothing beyond the end is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tls/cursor.h"

static void
numbers_have_their_first_byte_highest(void **state)
{
	struct bytes rest = BYTES_LITERAL("\x01\x02\x03\xff\xff\xff\xff\x04");
	uint32_t number;

	(void)state;
	assert_true(cursor_number(&rest, 1, &number));
	assert_int_equal(number, 1);
	assert_true(cursor_number(&rest, 2, &number));
	assert_int_equal(number, 0x203);
	assert_true(cursor_number(&rest, 4, &number));
	assert_int_equal(number, UINT32_MAX);
	assert_int_equal(rest.len, 1);
	assert_false(cursor_number(&rest, 2, &number));
	assert_int_equal(rest.len, 1);
	assert_true(cursor_number(&rest, 1, &number));
	assert_int_equal(number, 4);
	assert_false(cursor_number(&rest, 1, &number));
}

static void
a_vector_is_there_whole_or_not_at_all(void **state)
{
	static const char text[] = "\x00\x02hi\x00\x00\x00\x03you";

	(void)state;
	for (size_t len = 0; len <= sizeof(text) - 1; len++) {
		struct bytes rest = bytes_make(text, len);
		struct bytes part;

		assert_int_equal(cursor_vector(&rest, 2, &part), len >= 4);
		if (len < 4)
			continue;
		assert_true(bytes_equal(part, BYTES_LITERAL("hi")));
		assert_int_equal(cursor_vector(&rest, 2, &part), len >= 6);
		if (len < 6)
			continue;
		assert_int_equal(part.len, 0);
		assert_int_equal(cursor_vector(&rest, 2, &part), len >= 11);
		if (len < 11)
			continue;
		assert_true(bytes_equal(part, BYTES_LITERAL("you")) && rest.len == 0);
	}
}

/* The longest length that a width can say is longer than what follows. */
static void
a_length_beyond_the_end_takes_nothing(void **state)
{
	(void)state;
	for (size_t width = 1; width <= 3; width++) {
		struct bytes rest = bytes_make("\xff\xff\xff\xff", 4);
		struct bytes part = BYTES_NONE;

		assert_false(cursor_vector(&rest, width, &part));
		assert_int_equal(part.len, 0);
		assert_false(cursor_take(&rest, SIZE_MAX, &part));
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_have_their_first_byte_highest),
		cmocka_unit_test(a_vector_is_there_whole_or_not_at_all),
		cmocka_unit_test(a_length_beyond_the_end_takes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

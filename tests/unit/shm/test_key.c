/* API keys: what they look like. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "shm/key.h"

static const uint8_t random_bytes[KEY_RANDOM_BYTES] = { 1, 2, 3, 250, 99, 7, 0, 0, 5, 6, 7, 8, 9,
							10, 11, 12 };

static void
a_key_has_prefix_22_digits_and_a_checksum(void **state)
{
	char text[KEY_TEXT_BYTES_MAX + 1];

	(void)state;
	assert_int_equal(key_emit(BYTES_LITERAL("eco_"), random_bytes, text), 4 + 22 + 6);
	assert_int_equal(strlen(text), 32);
	assert_memory_equal(text, "eco_", 4);
	assert_true(key_is_well_formed(bytes_from_text(text), BYTES_LITERAL("eco_")));
	assert_false(key_is_well_formed(bytes_from_text(text), BYTES_LITERAL("sk-infer-")));
}

static void
every_single_changed_byte_is_noticed(void **state)
{
	char text[KEY_TEXT_BYTES_MAX + 1];
	size_t len = key_emit(BYTES_LITERAL("sk-infer-"), random_bytes, text);

	(void)state;
	for (size_t i = 0; i < len; i++) {
		for (int c = 0; c < 256; c++) {
			char kept = text[i];

			if ((char)c == kept)
				continue;
			text[i] = (char)c;
			assert_false(key_is_well_formed(bytes_make(text, len),
							BYTES_LITERAL("sk-infer-")));
			text[i] = kept;
		}
	}
	assert_false(key_is_well_formed(bytes_make(text, len - 1), BYTES_LITERAL("sk-infer-")));
	assert_false(key_is_well_formed(BYTES_NONE, BYTES_LITERAL("sk-infer-")));
}

static void
a_mistyped_key_is_told_from_one_of_another_form(void **state)
{
	char text[KEY_TEXT_BYTES_MAX + 1];
	size_t len = key_emit(BYTES_LITERAL("eco_"), random_bytes, text);

	(void)state;
	assert_int_equal(key_form(bytes_make(text, len), BYTES_LITERAL("eco_")), KEY_MADE);
	text[9] = text[9] == 'x' ? 'y' : 'x';
	assert_int_equal(key_form(bytes_make(text, len), BYTES_LITERAL("eco_")), KEY_MISTYPED);
	text[9] = '-';
	assert_int_equal(key_form(bytes_make(text, len), BYTES_LITERAL("eco_")), KEY_FOREIGN);
	assert_int_equal(key_form(bytes_make(text, len - 1), BYTES_LITERAL("eco_")), KEY_FOREIGN);
	assert_int_equal(key_form(BYTES_LITERAL("eco_0123456789abcdefghij"), BYTES_LITERAL("eco_")),
			 KEY_FOREIGN);
	assert_int_equal(key_form(BYTES_NONE, BYTES_NONE), KEY_FOREIGN);
	/* The form of keys that were given out: digits and polynomial may not change. */
	assert_int_equal(key_form(BYTES_LITERAL("eco_0SPIz5JNfIxleb5Q4iTM5Q0L2KQk"), BYTES_LITERAL("eco_")),
			 KEY_MADE);
}

static void
all_random_bits_reach_the_text(void **state)
{
	uint8_t most[KEY_RANDOM_BYTES], other[KEY_RANDOM_BYTES];
	char a[KEY_TEXT_BYTES_MAX + 1], b[KEY_TEXT_BYTES_MAX + 1];

	(void)state;
	memset(most, 0xff, sizeof(most));
	key_emit(BYTES_LITERAL("eco_"), most, a);
	for (int bit = 0; bit < 128; bit++) {
		memcpy(other, most, sizeof(other));
		other[bit / 8] ^= (uint8_t)(1 << bit % 8);
		key_emit(BYTES_LITERAL("eco_"), other, b);
		assert_string_not_equal(a, b);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_has_prefix_22_digits_and_a_checksum),
		cmocka_unit_test(a_mistyped_key_is_told_from_one_of_another_form),
		cmocka_unit_test(every_single_changed_byte_is_noticed),
		cmocka_unit_test(all_random_bits_reach_the_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

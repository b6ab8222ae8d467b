/* API keys: what they look like, and that the hash is HMAC-SHA-256. */
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

/* RFC 4231 test case 2 with its key padded to 32 bytes by zeros, which HMAC does anyway. */
static void
the_hash_is_hmac_sha_256(void **state)
{
	static const uint8_t expected[32] = {
		0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24,
		0x26, 0x08, 0x95, 0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27,
		0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43,
	};
	uint8_t secret[32] = "Jefe", hash[32];
	struct key_pepper pepper;

	(void)state;
	key_pepper_init(&pepper, secret);
	key_hash(&pepper, BYTES_LITERAL("what do ya want for nothing?"), hash);
	assert_memory_equal(hash, expected, sizeof(hash));
	key_hash(&pepper, BYTES_LITERAL("what do ya want for nothing?"), hash);
	assert_memory_equal(hash, expected, sizeof(hash));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_has_prefix_22_digits_and_a_checksum),
		cmocka_unit_test(every_single_changed_byte_is_noticed),
		cmocka_unit_test(all_random_bits_reach_the_text),
		cmocka_unit_test(the_hash_is_hmac_sha_256),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

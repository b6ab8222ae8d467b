/* The hash of an API key against published HMAC-SHA-256 values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tls/keyhash.h"

/* RFC 4231 4.2: a key shorter than the pepper is the same HMAC key as the one filled up with
 * zeroes. */
static void
gives_the_value_of_rfc_4231_case_1(void **state)
{
	static const uint8_t expected[KEYHASH_BYTES] = {
		0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53, 0x5c, 0xa8, 0xaf,
		0xce, 0xaf, 0x0b, 0xf1, 0x2b, 0x88, 0x1d, 0xc2, 0x00, 0xc9, 0x83,
		0x3d, 0xa7, 0x26, 0xe9, 0x37, 0x6c, 0x2e, 0x32, 0xcf, 0xf7,
	};
	uint8_t pepper[KEYHASH_PEPPER_BYTES] = { 0 };
	uint8_t hash[KEYHASH_BYTES];

	(void)state;
	memset(pepper, 0x0b, 20);
	keyhash_make(pepper, BYTES_LITERAL("Hi There"), hash);
	assert_memory_equal(hash, expected, sizeof(hash));
	assert_true(keyhash_equal(hash, expected));
}

/* RFC 4231 4.3. */
static void
gives_the_value_of_rfc_4231_case_2(void **state)
{
	static const uint8_t expected[KEYHASH_BYTES] = {
		0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24,
		0x26, 0x08, 0x95, 0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27,
		0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43,
	};
	uint8_t pepper[KEYHASH_PEPPER_BYTES] = "Jefe";
	uint8_t hash[KEYHASH_BYTES];

	(void)state;
	keyhash_make(pepper, BYTES_LITERAL("what do ya want for nothing?"), hash);
	assert_memory_equal(hash, expected, sizeof(hash));
}

static void
another_pepper_or_key_gives_another_hash(void **state)
{
	uint8_t pepper[KEYHASH_PEPPER_BYTES] = { 1 };
	uint8_t first[KEYHASH_BYTES];
	uint8_t other[KEYHASH_BYTES];

	(void)state;
	keyhash_make(pepper, BYTES_LITERAL("sk-1"), first);
	keyhash_make(pepper, BYTES_LITERAL("sk-1"), other);
	assert_true(keyhash_equal(first, other));
	keyhash_make(pepper, BYTES_LITERAL("sk-2"), other);
	assert_false(keyhash_equal(first, other));
	keyhash_make(pepper, BYTES_NONE, other);
	assert_false(keyhash_equal(first, other));
	pepper[31] = 1;
	keyhash_make(pepper, BYTES_LITERAL("sk-1"), other);
	assert_false(keyhash_equal(first, other));
	memcpy(other, first, sizeof(other));
	other[31] ^= 0x80;
	assert_false(keyhash_equal(first, other));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_the_value_of_rfc_4231_case_1),
		cmocka_unit_test(gives_the_value_of_rfc_4231_case_2),
		cmocka_unit_test(another_pepper_or_key_gives_another_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

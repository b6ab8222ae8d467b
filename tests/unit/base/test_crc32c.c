/* CRC-32C against published values, and both bodies against each other at every length and
 * alignment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/crc32c.c"

/* The second opinion: bit by bit, from the polynomial alone. */
static uint32_t
bit_by_bit(const uint8_t *ptr, size_t len)
{
	uint32_t crc = ~UINT32_C(0);

	for (size_t i = 0; i < len; i++) {
		crc ^= ptr[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ ((crc & 1) != 0 ? UINT32_C(0x82f63b78) : 0);
	}
	return ~crc;
}

/* RFC 3720 B.4 and the usual check value. */
static void
gives_the_published_values(void **state)
{
	uint8_t block[32];

	(void)state;
	assert_int_equal(crc32c_sum("123456789", 9), 0xe3069283);
	assert_int_equal(crc32c_sum("", 0), 0);
	memset(block, 0, sizeof(block));
	assert_int_equal(crc32c_sum(block, sizeof(block)), 0x8a9136aa);
	memset(block, 0xff, sizeof(block));
	assert_int_equal(crc32c_sum(block, sizeof(block)), 0x62a8ab43);
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)i;
	assert_int_equal(crc32c_sum(block, sizeof(block)), 0x46dd794e);
}

static void
agrees_with_the_polynomial_at_every_length_and_alignment(void **state)
{
	uint8_t block[300];

	(void)state;
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i * 31 + 7);
	for (size_t at = 0; at < 9; at++)
		for (size_t len = 0; len + at <= sizeof(block); len++) {
			uint32_t expected = bit_by_bit(block + at, len);

			assert_int_equal(crc32c_sum(block + at, len), expected);
			assert_int_equal(~update_portable(~UINT32_C(0), block + at, len), expected);
		}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_the_published_values),
		cmocka_unit_test(agrees_with_the_polynomial_at_every_length_and_alignment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

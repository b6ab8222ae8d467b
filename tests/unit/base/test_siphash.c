/* Vectors of the reference implementation for 2-4; independence from alignment for both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/siphash.h"

static struct siphash_key
reference_key(void)
{
	uint8_t bytes[16];

	for (uint8_t i = 0; i < 16; i++)
		bytes[i] = i;
	return siphash_key_make(bytes);
}

static void
gives_the_published_values(void **state)
{
	struct siphash_key key = reference_key();
	uint8_t data[64];

	(void)state;
	for (uint8_t i = 0; i < 64; i++)
		data[i] = i;
	/* The paper's appendix A, and neighbours from the reference code's vectors.h. */
	assert_int_equal(siphash_2_4(&key, data, 15), UINT64_C(0xa129ca6149be45e5));
	assert_int_equal(siphash_2_4(&key, data, 0), UINT64_C(0x726fdb47dd0e0e31));
	assert_int_equal(siphash_2_4(&key, data, 1), UINT64_C(0x74f839c593dc67fd));
	assert_int_equal(siphash_2_4(&key, data, 8), UINT64_C(0x93f5f5799a932462));
}

static void
every_byte_and_the_length_count(void **state)
{
	struct siphash_key key = reference_key();
	uint8_t data[37] = { 0 };
	uint64_t plain = siphash_1_3(&key, data, sizeof(data));

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++) {
		data[i] = 1;
		assert_int_not_equal(siphash_1_3(&key, data, sizeof(data)), plain);
		data[i] = 0;
	}
	assert_int_not_equal(siphash_1_3(&key, data, sizeof(data) - 1), plain);
	assert_int_not_equal(siphash_2_4(&key, data, sizeof(data)), plain);
}

static void
alignment_does_not_matter(void **state)
{
	struct siphash_key key = reference_key();
	uint8_t room[80];
	uint64_t first = 0;

	(void)state;
	for (size_t shift = 0; shift < 8; shift++) {
		for (size_t i = 0; i < 37; i++)
			room[shift + i] = (uint8_t)(i * 7);
		if (shift == 0)
			first = siphash_1_3(&key, room, 37);
		assert_int_equal(siphash_1_3(&key, room + shift, 37), first);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_the_published_values),
		cmocka_unit_test(every_byte_and_the_length_count),
		cmocka_unit_test(alignment_does_not_matter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The fast sum against the slow one of RFC 1071, for every length, alignment and cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "seeded.h"
#include "wire/csum.h"

#define BYTES 200

/* RFC 1071 section 4.1, in network order as it lies in memory. */
static uint16_t
slow(const uint8_t *at, size_t len)
{
	uint32_t sum = 0;
	uint8_t out[2];
	uint16_t value;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)at[i] << 8 : at[i];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	sum = ~sum;
	out[0] = (uint8_t)(sum >> 8);
	out[1] = (uint8_t)sum;
	memcpy(&value, out, sizeof(value));
	return value;
}

static void
fill(uint8_t *bytes, uint64_t seed)
{
	struct seeded seeded = { seed };

	for (size_t i = 0; i < BYTES; i++)
		bytes[i] = (uint8_t)seeded_below(&seeded, 256);
}

static void
every_length_and_alignment_sums_as_the_rfc_says(void **state)
{
	uint8_t bytes[BYTES];

	(void)state;
	for (uint64_t seed = 1; seed < 20; seed++) {
		fill(bytes, seed);
		for (size_t from = 0; from < 9; from++)
			for (size_t len = 0; from + len <= BYTES; len++)
				assert_int_equal(csum_finish(csum_add(0, bytes + from, len)),
						 slow(bytes + from, len));
	}
}

static void
a_message_may_be_cut_anywhere(void **state)
{
	uint8_t bytes[BYTES];

	(void)state;
	fill(bytes, 7);
	for (size_t cut = 0; cut <= BYTES; cut++) {
		uint64_t sum = csum_add(0, bytes, cut);

		sum = cut % 2 == 0 ? csum_add(sum, bytes + cut, BYTES - cut) :
				     csum_add_odd(sum, bytes + cut, BYTES - cut);
		assert_int_equal(csum_finish(sum), slow(bytes, BYTES));
	}
}

static void
carries_are_never_lost(void **state)
{
	uint8_t ones[BYTES];
	uint64_t sum = 0;
	uint16_t odd;

	(void)state;
	memset(ones, 0xff, sizeof(ones));
	for (int i = 0; i < 1000; i++)
		sum = csum_add(sum, ones, sizeof(ones));
	assert_int_equal(csum_finish(sum), 0); /* minus zero is the sum of any number of them */
	odd = csum_finish(csum_add_odd(sum, ones, 1));
	assert_memory_equal(&odd, "\xff\x00", 2); /* the complement of 00ff */
}

static void
a_message_with_its_checksum_in_it_is_good_and_one_changed_bit_is_not(void **state)
{
	uint8_t bytes[BYTES];
	uint16_t checksum;

	(void)state;
	fill(bytes, 3);
	memset(bytes + 10, 0, 2);
	checksum = csum_finish(csum_add(0, bytes, BYTES));
	memcpy(bytes + 10, &checksum, 2);
	assert_true(csum_is_good(csum_add(0, bytes, BYTES)));
	for (size_t bit = 0; bit < BYTES * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(csum_is_good(csum_add(0, bytes, BYTES)));
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void
the_pseudo_header_is_that_of_the_addresses_family(void **state)
{
	/* 10.1.2.3 > 192.168.4.5, TCP, 0x1234 bytes; and the same numbers as IPv6. */
	uint8_t src[16] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3 };
	uint8_t dst[16] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 4, 5 };
	const uint8_t v4[12] = { 10, 1, 2, 3, 192, 168, 4, 5, 0, 6, 0x12, 0x34 };
	uint8_t v6[40];

	(void)state;
	assert_int_equal(csum_finish(csum_pseudo(src, dst, 6, 0x1234)), slow(v4, sizeof(v4)));
	dst[0] = 0xfd; /* one of them is none of IPv4: both count in full */
	memcpy(v6, src, 16);
	memcpy(v6 + 16, dst, 16);
	memcpy(v6 + 32, "\0\1\x12\x34\0\0\0\x3a", 8);
	assert_int_equal(csum_finish(csum_pseudo(src, dst, 58, 0x11234)), slow(v6, sizeof(v6)));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length_and_alignment_sums_as_the_rfc_says),
		cmocka_unit_test(a_message_may_be_cut_anywhere),
		cmocka_unit_test(carries_are_never_lost),
		cmocka_unit_test(a_message_with_its_checksum_in_it_is_good_and_one_changed_bit_is_not),
		cmocka_unit_test(the_pseudo_header_is_that_of_the_addresses_family),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Microsoft's verification suite for RSS, and what linearity says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "frame.h"
#include "wire/toeplitz.h"

static const uint8_t key[TOEPLITZ_KEY_BYTES] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
	0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
	0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

struct row {
	const char *src;
	uint16_t src_port;
	const char *dst;
	uint16_t dst_port;
	uint32_t addresses;
	uint32_t with_ports;
};

static const struct row rows[] = {
	{ "66.9.149.187", 2794, "161.142.100.80", 1766, 0x323e8fc2, 0x51ccc178 },
	{ "199.92.111.2", 14230, "65.69.140.83", 4739, 0xd718262a, 0xc626b0ea },
	{ "24.19.198.95", 12898, "12.22.207.184", 38024, 0xd2d0a5de, 0x5c2b394a },
	{ "38.27.205.30", 48228, "209.142.163.6", 2217, 0x82989176, 0xafc7327f },
	{ "153.39.163.191", 44251, "202.188.127.2", 1303, 0x5d1809c5, 0x10e828a2 },
	{ "3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2cc18cd5, 0x40207d3d },
	{ "3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0f0c461c, 0xdde51bbf },
	{ "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024, 0x4b61e985,
	  0x02d1feef },
};

static void
the_verification_suite_is_met(void **state)
{
	struct toeplitz t;

	(void)state;
	toeplitz_init(&t, key);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ip_addr src = frame_address(rows[i].src), dst = frame_address(rows[i].dst);
		size_t skip = i < 5 ? 12 : 0;
		struct frame f = { .len = 0 };
		uint8_t ports[4] = { (uint8_t)(rows[i].src_port >> 8), (uint8_t)rows[i].src_port,
				     (uint8_t)(rows[i].dst_port >> 8), (uint8_t)rows[i].dst_port };

		frame_append(&f, src.byte + skip, 16 - skip);
		frame_append(&f, dst.byte + skip, 16 - skip);
		assert_int_equal(toeplitz_hash(&t, f.bytes, f.len), rows[i].addresses);
		frame_append(&f, ports, 4);
		assert_int_equal(toeplitz_hash(&t, f.bytes, f.len), rows[i].with_ports);
	}
}

static void
the_last_bit_reaches_the_end_of_the_key(void **state)
{
	uint8_t one_bit_key[TOEPLITZ_KEY_BYTES] = { [39] = 2 };
	uint8_t input[TOEPLITZ_INPUT_MAX] = { [35] = 1 };
	struct toeplitz t;

	(void)state;
	toeplitz_init(&t, one_bit_key);
	assert_int_equal(toeplitz_hash(&t, input, sizeof(input)), 1); /* key bits 287 to 318 */
	assert_int_equal(toeplitz_hash(&t, input, 35), 0);
	assert_int_equal(toeplitz_hash(&t, input, 0), 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_verification_suite_is_met),
		cmocka_unit_test(the_last_bit_reaches_the_end_of_the_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

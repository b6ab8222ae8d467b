/* Header and options: what is emitted is parsed back; what is broken is survived. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/prng.h"
#include "wire/tcphdr.h"

/* A header with these option bytes, padded with 0, parsed. */
static enum err
parse_with(const uint8_t *options, uint32_t n, struct tcphdr *h)
{
	uint8_t raw[TCPHDR_BYTES_MAX] = { 0 };
	uint32_t len = (TCPHDR_BYTES + n + 3) / 4 * 4;

	raw[12] = (uint8_t)(len / 4 << 4);
	memcpy(raw + TCPHDR_BYTES, options, n);
	return tcphdr_parse(bytes_make(raw, len), h);
}

#define PARSE(h, ...)                                                                  \
	do {                                                                           \
		const uint8_t options_[] = { __VA_ARGS__ };                            \
		assert_int_equal(parse_with(options_, sizeof(options_), (h)), ERR_OK); \
	} while (0)

static void
every_set_of_options_comes_back(void **state)
{
	(void)state;
	for (uint32_t set = 0; set < 16; set++) {
		for (uint8_t sacks = 0; sacks <= TCPHDR_SACK_MAX; sacks++) {
			struct tcphdr in = {
				.src_port = 0xabcd,
				.dst_port = 443,
				.seq = 0xdeadbeef,
				.ack = 0x01020304,
				.window = 0xfffe,
				.flags = 0xff,
			};
			struct tcphdr out;
			uint8_t raw[TCPHDR_BYTES_MAX + 8];

			in.options = (uint8_t)set;
			in.mss = set & TCPHDR_HAS_MSS ? 1460 : 0;
			in.shift = set & TCPHDR_HAS_SHIFT ? 14 : 0;
			in.ts_value = set & TCPHDR_HAS_TIMES ? 0xfedcba98 : 0;
			in.ts_echo = set & TCPHDR_HAS_TIMES ? 0x89abcdef : 0;
			in.sack_count = sacks;
			for (uint32_t i = 0; i < sacks; i++)
				in.sack[i] = (struct tcphdr_sack){ 1000 * i, 1000 * i + 0x80000000u };
			if (tcphdr_bytes(&in) > TCPHDR_BYTES_MAX)
				continue;
			tcphdr_emit(&in, raw);
			assert_int_equal(tcphdr_parse(bytes_make(raw, sizeof(raw)), &out), ERR_OK);
			assert_int_equal(out.header_bytes, tcphdr_bytes(&in));
			in.header_bytes = out.header_bytes;
			assert_memory_equal(&in, &out, sizeof(in));
		}
	}
}

static void
a_header_cut_short_is_refused(void **state)
{
	struct tcphdr in = { .options = TCPHDR_HAS_TIMES };
	struct tcphdr out = { .seq = 77 };
	uint8_t raw[TCPHDR_BYTES_MAX];

	(void)state;
	tcphdr_emit(&in, raw);
	for (uint32_t len = 0; len < tcphdr_bytes(&in); len++)
		assert_int_equal(tcphdr_parse(bytes_make(raw, len), &out), ERR_TCP_HEADER);
	raw[12] = 4 << 4; /* 16 bytes */
	assert_int_equal(tcphdr_parse(bytes_make(raw, 32), &out), ERR_TCP_HEADER);
	assert_int_equal(out.seq, 77); /* untouched */
}

static void
unknown_options_are_skipped(void **state)
{
	struct tcphdr h;

	(void)state;
	PARSE(&h, 34, 2, 254, 4, 1, 2, 1, 1, 2, 4, 0x05, 0xb4);
	assert_int_equal(h.options, TCPHDR_HAS_MSS);
	assert_int_equal(h.mss, 1460);
}

static void
the_end_option_ends(void **state)
{
	struct tcphdr h;

	(void)state;
	PARSE(&h, 3, 3, 7, 0, 2, 4, 5, 0xb4);
	assert_int_equal(h.options, TCPHDR_HAS_SHIFT);
}

static void
a_bad_length_ends_the_options_and_keeps_those_before(void **state)
{
	static const uint8_t lengths[] = { 0, 1, 9, 255 };

	(void)state;
	for (uint32_t i = 0; i < sizeof(lengths); i++) {
		struct tcphdr h;

		PARSE(&h, 3, 3, 7, 2, lengths[i], 5, 0xb4, 1);
		assert_int_equal(h.options, TCPHDR_HAS_SHIFT);
	}
}

static void
a_known_option_of_another_length_is_skipped(void **state)
{
	struct tcphdr h;

	(void)state;
	PARSE(&h, 2, 3, 5, 8, 4, 1, 2, 4, 3, 0, 5, 4, 0, 0, 3, 3, 2);
	assert_int_equal(h.options, TCPHDR_HAS_SHIFT);
	assert_int_equal(h.sack_count, 0);
}

static void
an_option_that_begins_on_the_last_byte_is_survived(void **state)
{
	struct tcphdr h;

	(void)state;
	PARSE(&h, 1, 1, 1, 2);
	assert_int_equal(h.options, 0);
}

static void
random_bytes_never_read_beyond_the_header(void **state)
{
	struct prng prng;

	(void)state;
	prng_init(&prng, 5);
	for (int i = 0; i < 50000; i++) {
		uint32_t len = prng_below(&prng, 70);
		uint8_t *raw = malloc(len > 0 ? len : 1); /* its own allocation: ASan watches the end */
		struct tcphdr h;

		assert_non_null(raw);
		for (uint32_t k = 0; k < len; k++)
			raw[k] = (uint8_t)(prng_below(&prng, 2) ? prng_next(&prng) : prng_below(&prng, 11));
		if (len > 12)
			raw[12] = (uint8_t)(prng_below(&prng, 16) << 4);
		if (tcphdr_parse(bytes_make(raw, len), &h) == ERR_OK) {
			assert_true(h.header_bytes <= len);
			assert_true(h.sack_count <= TCPHDR_SACK_MAX);
		}
		free(raw);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_set_of_options_comes_back),
		cmocka_unit_test(a_header_cut_short_is_refused),
		cmocka_unit_test(unknown_options_are_skipped),
		cmocka_unit_test(the_end_option_ends),
		cmocka_unit_test(a_bad_length_ends_the_options_and_keeps_those_before),
		cmocka_unit_test(a_known_option_of_another_length_is_skipped),
		cmocka_unit_test(an_option_that_begins_on_the_last_byte_is_survived),
		cmocka_unit_test(random_bytes_never_read_beyond_the_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

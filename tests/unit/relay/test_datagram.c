/* Marks, repairs and ICMP errors, judged by the tests' own reader of frames. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "datagram.h"
#include "frame.h"

#define A "02:00:00:00:00:0a"
#define B "02:00:00:00:00:0b"
#define IP_AT 14

static const char *
described(const struct frame *f)
{
	static char text[200];

	frame_describe(f, text, sizeof(text));
	return text;
}

static void
tcp4(struct frame *f, size_t payload_bytes)
{
	frame_tcp(f, B, A, "10.0.0.1", 1000, "10.0.0.2", 80, payload_bytes);
}

static void
tcp6(struct frame *f, size_t payload_bytes)
{
	frame_tcp(f, B, A, "fd00::1", 1000, "fd00::2", 80, payload_bytes);
}

static struct impair_frame
look(const struct frame *f)
{
	return datagram_look(bytes_make(f->bytes, f->len));
}

static void
sees_lengths_and_ecn(void **state)
{
	static struct frame f;

	(void)state;
	tcp4(&f, 100);
	assert_int_equal(look(&f).bytes, f.len);
	assert_int_equal(look(&f).ip_bytes, f.len - IP_AT);
	assert_false(look(&f).may_mark);
	f.bytes[IP_AT + 1] |= 2;
	assert_true(look(&f).may_mark);
	f.bytes[IP_AT + 1] |= 3;
	assert_false(look(&f).may_mark);
	tcp6(&f, 100);
	assert_int_equal(look(&f).ip_bytes, f.len - IP_AT);
	f.bytes[IP_AT + 1] |= 0x10;
	assert_true(look(&f).may_mark);
	frame_arp(&f, B, 1, A, "10.0.0.1", "10.0.0.2");
	assert_int_equal(look(&f).ip_bytes, 0);
	assert_int_equal(look(&f).bytes, f.len);
	f.len = 20;
	assert_int_equal(look(&f).ip_bytes, 0);
}

static void
marks_keep_the_header_right(void **state)
{
	static struct frame f;

	(void)state;
	tcp4(&f, 9);
	f.bytes[IP_AT + 1] |= 2;
	datagram_mark(f.bytes, (uint32_t)f.len);
	assert_int_equal(f.bytes[IP_AT + 1] & 3, 3);
	assert_string_equal(described(&f), "tcp 10.0.0.1:1000 > 10.0.0.2:80");
	tcp6(&f, 9);
	datagram_mark(f.bytes, (uint32_t)f.len);
	assert_int_equal(f.bytes[IP_AT + 1] & 0x30, 0x30);
	assert_string_equal(described(&f), "tcp fd00::1:1000 > fd00::2:80");
}

static void
a_flipped_bit_breaks_the_checksum_and_repair_makes_it_fit(void **state)
{
	static struct frame f;

	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		(v6 ? tcp6 : tcp4)(&f, 33);
		f.bytes[f.len - 3] ^= 0x10;
		assert_non_null(strstr(described(&f), " bad"));
		datagram_repair(f.bytes, (uint32_t)f.len);
		assert_null(strstr(described(&f), " bad"));
	}
	tcp4(&f, 33);
	f.bytes[IP_AT + 8] ^= 0x10; /* TTL */
	assert_non_null(strstr(described(&f), " bad"));
	datagram_repair(f.bytes, (uint32_t)f.len);
	assert_null(strstr(described(&f), " bad"));
}

static size_t
bytes_that_differ(const struct frame *f, const struct frame *g)
{
	size_t count = 0;

	for (size_t i = 0; i < f->len; i++)
		count += f->bytes[i] != g->bytes[i];
	return count;
}

/* Whatever lengths and offsets a flipped bit makes up, nothing is written but two checksums and the mark. */
static void
repair_survives_any_flipped_bit(void **state)
{
	static struct frame f;

	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		(v6 ? tcp6 : tcp4)(&f, 5);
		for (size_t bit = 0; bit < f.len * 8; bit++) {
			static struct frame flipped;
			static struct frame g;

			flipped = f;
			flipped.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			g = flipped;
			datagram_repair(g.bytes, (uint32_t)g.len);
			datagram_mark(g.bytes, (uint32_t)g.len);
			assert_in_range(bytes_that_differ(&flipped, &g), 0, 2 + 2 + 1);
			assert_int_equal(look(&g).bytes, f.len);
			assert_in_range(look(&g).ip_bytes, 0, f.len - IP_AT);
			assert_false(look(&g).may_mark && look(&flipped).may_mark);
		}
	}
}

static uint32_t
too_big(const struct frame *f, struct frame *answer)
{
	answer->len = datagram_too_big(bytes_make(f->bytes, f->len), 1300, answer->bytes);
	return (uint32_t)answer->len;
}

static void
too_big_is_answered_with_the_mtu_and_a_quote(void **state)
{
	static struct frame answer;
	static struct frame f;

	(void)state;
	tcp4(&f, 1400);
	f.bytes[IP_AT + 6] |= 0x40;
	datagram_repair(f.bytes, (uint32_t)f.len);
	assert_int_equal(too_big(&f, &answer), IP_AT + 576);
	assert_null(strstr(described(&answer), " bad"));
	assert_memory_equal(answer.bytes, f.bytes + 6, 6);
	assert_memory_equal(answer.bytes + 6, f.bytes, 6);
	assert_int_equal(answer.bytes[IP_AT + 20], 3);
	assert_int_equal(answer.bytes[IP_AT + 21], 4);
	assert_int_equal(answer.bytes[IP_AT + 26] << 8 | answer.bytes[IP_AT + 27], 1300);
	assert_memory_equal(answer.bytes + IP_AT + 28, f.bytes + IP_AT, 548);

	tcp6(&f, 1400);
	assert_int_equal(too_big(&f, &answer), IP_AT + 1280);
	assert_null(strstr(described(&answer), " bad"));
	assert_int_equal(answer.bytes[IP_AT + 40], 2);
	assert_int_equal(answer.bytes[IP_AT + 46] << 8 | answer.bytes[IP_AT + 47], 1300);
	assert_memory_equal(answer.bytes + IP_AT + 48, f.bytes + IP_AT, 1232);
}

static void
errors_and_fragmentable_packets_get_no_answer(void **state)
{
	static struct frame answer;
	static struct frame again;
	static struct frame f;

	(void)state;
	tcp4(&f, 1400);
	f.bytes[IP_AT + 6] &= (uint8_t)~0x40;
	assert_int_equal(too_big(&f, &answer), 0);
	tcp6(&f, 1400);
	too_big(&f, &answer);
	assert_int_equal(too_big(&answer, &again), 0);
	frame_arp(&f, B, 1, A, "10.0.0.1", "10.0.0.2");
	assert_int_equal(too_big(&f, &answer), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sees_lengths_and_ecn),
		cmocka_unit_test(marks_keep_the_header_right),
		cmocka_unit_test(a_flipped_bit_breaks_the_checksum_and_repair_makes_it_fit),
		cmocka_unit_test(repair_survives_any_flipped_bit),
		cmocka_unit_test(too_big_is_answered_with_the_mtu_and_a_quote),
		cmocka_unit_test(errors_and_fragmentable_packets_get_no_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

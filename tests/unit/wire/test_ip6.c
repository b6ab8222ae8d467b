/* The IPv6 header and the walk over what follows it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "frame.h"
#include "wire/ip4.h"
#include "wire/ip6.h"

#define HOP_BY_HOP 0
#define ROUTING 43
#define FRAGMENT 44
#define OPTIONS 60
#define NOTHING 59

/* A packet whose first header is `first`, its rest in hex. */
static void
make(struct frame *f, uint8_t first, const char *hex)
{
	frame_ethernet(f, "02:00:00:00:00:01", "02:00:00:00:00:02", 0x86dd);
	frame_ip(f, "fd00::2", "fd00::1", first);
	frame_append_hex(f, hex);
	f->bytes[18] = 0;
	f->bytes[19] = (uint8_t)(f->len - 54);
}

static enum err
parse(uint8_t first, const char *hex, struct ip6 *ip)
{
	struct frame f;

	make(&f, first, hex);
	return ip6_parse(bytes_make(f.bytes + 14, f.len - 14), f.len - 14, ip);
}

static enum err
verdict(uint8_t first, const char *hex)
{
	struct ip6 ip;

	return parse(first, hex, &ip);
}

static void
a_plain_packet_is_read_up_to_its_own_length(void **state)
{
	struct frame f;
	struct ip6 ip;

	(void)state;
	make(&f, IP_TCP, "0102030405060708");
	f.bytes[15] = 0x10; /* ECN 1 */
	frame_append_hex(&f, "ffff");
	assert_int_equal(ip6_parse(bytes_make(f.bytes + 14, f.len - 14), f.len - 14, &ip), ERR_OK);
	assert_int_equal(ip.upper_protocol, IP_TCP);
	assert_int_equal(ip.upper_offset, 40);
	assert_int_equal(ip.total_bytes, 48);
	assert_int_equal(ip.ecn, 1);
	assert_int_equal(ip.hop_limit, 64);
	assert_false(ip.has_extensions);
	assert_int_equal(ip.src[15], 2);
	assert_int_equal(ip.dst[15], 1);
}

static void
extension_headers_are_walked(void **state)
{
	struct ip6 ip;

	(void)state;
	/* hop-by-hop with padding, destination options of 16 bytes, routing of type 4 with none left */
	assert_int_equal(parse(HOP_BY_HOP,
			       "3c00 0104 00000000  2b01 010c 000000000000000000000000  0600 0400 00000000 abcd",
			       &ip),
			 ERR_OK);
	assert_int_equal(ip.upper_protocol, IP_TCP);
	assert_int_equal(ip.upper_offset, 40 + 8 + 16 + 8);
	assert_true(ip.has_extensions);
	assert_false(ip.is_fragment);
	assert_int_equal(parse(NOTHING, "", &ip), ERR_OK);
	assert_int_equal(ip.upper_protocol, NOTHING);
}

static void
a_fragment_says_where_it_belongs(void **state)
{
	struct ip6 ip;

	(void)state;
	/* Behind destination options: what names the fragment header is the byte at 40. */
	assert_int_equal(parse(OPTIONS, "2c00 0104 00000000 0600 0568 12345678 0102030405060708", &ip), ERR_OK);
	assert_true(ip.is_fragment);
	assert_false(ip.more_fragments);
	assert_int_equal(ip.fragment_offset, 0x568);
	assert_int_equal(ip.fragment_id, 0x12345678);
	assert_int_equal(ip.fragment_at, 48);
	assert_int_equal(ip.fragment_next_at, 40);
	assert_int_equal(ip.upper_protocol, IP_TCP);
	/* A first one: the chain goes on behind it. */
	assert_int_equal(parse(FRAGMENT, "3c00 0001 00000001 0600 0104 00000000 0102030405060708", &ip), ERR_OK);
	assert_true(ip.is_fragment && ip.more_fragments);
	assert_int_equal(ip.fragment_next_at, 6);
	assert_int_equal(ip.upper_protocol, IP_TCP);
	assert_int_equal(ip.upper_next_at, 48);
	assert_int_equal(ip.upper_offset, 56);
	/* And ends in another piece (RFC 7112). */
	assert_int_equal(parse(FRAGMENT, "3c00 0001 00000001", &ip), ERR_IP_FRAGMENT_TINY);
	assert_int_equal(parse(FRAGMENT, "3c00 0001 00000001 0601 0104 00000000", &ip), ERR_IP_FRAGMENT_TINY);
	assert_int_equal(parse(FRAGMENT, "2c00 0001 00000001 0600 0000 00000002", &ip), ERR_IP_MALFORMED);
}

static void
what_may_be_an_error_is_found_behind_any_headers(void **state)
{
	static const struct {
		uint8_t first;
		const char *rest;
		bool may_be;
	} rows[] = {
		{ IP_TCP, "0102030405060708", false },
		{ IP_ICMP6, "0104000000000000", true },
		{ IP_ICMP6, "8000000000000000", false },
		{ IP_ICMP6, "", true },
		{ OPTIONS, "3a00 8000 00000000 0104000000000000", true },
		{ OPTIONS, "3a00 8000 00000000 8000000000000000", false },
		{ ROUTING, "0600 0001 00000000 0102030405060708", false },
		{ FRAGMENT, "3a00 0000 00000000 0104000000000000", true },
		{ FRAGMENT, "3aff 0000 00000000 8000000000000000", false }, /* that byte is no length */
		{ OPTIONS, "3a01 0000 00000000", true },                    /* not seen to the end */
		{ OPTIONS, "3c00 0000 00000000", true },
		{ NOTHING, "", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct frame f;

		make(&f, rows[i].first, rows[i].rest);
		assert_int_equal(ip6_may_be_error(bytes_make(f.bytes + 14, f.len - 14)), rows[i].may_be);
	}
}

static void
an_atomic_fragment_is_a_packet_and_others_are_not(void **state)
{
	struct ip6 ip;

	(void)state;
	assert_int_equal(parse(FRAGMENT, "0600 0000 12345678 abcd", &ip), ERR_OK);
	assert_false(ip.is_fragment);
	assert_int_equal(ip.upper_offset, 48);
	assert_int_equal(ip.upper_protocol, IP_TCP);
	assert_int_equal(parse(FRAGMENT, "0600 0001 12345678 abcd", &ip), ERR_OK);
	assert_true(ip.is_fragment);
	assert_int_equal(parse(FRAGMENT, "0600 0008 12345678 abcd", &ip), ERR_OK);
	assert_true(ip.is_fragment);
	/* What follows a fragment header of a part is not looked at: it may be anything. */
	assert_int_equal(parse(FRAGMENT, "2b00 0008 12345678 0600 0001", &ip), ERR_OK);
	assert_true(ip.is_fragment);
}

static void
routing_headers_that_want_more_hops_are_refused(void **state)
{
	(void)state;
	assert_int_equal(verdict(ROUTING, "0600 0001 00000000"), ERR_IP_SOURCE_ROUTE);
	assert_int_equal(verdict(ROUTING, "0600 0000 00000000"), ERR_IP_SOURCE_ROUTE); /* RFC 5095 */
	assert_int_equal(verdict(ROUTING, "0600 0201 00000000"), ERR_IP_SOURCE_ROUTE);
	assert_int_equal(verdict(ROUTING, "0600 0200 00000000"), ERR_OK);
}

static void
options_tell_by_themselves_whether_they_may_be_skipped(void **state)
{
	(void)state;
	assert_int_equal(verdict(OPTIONS, "0600 1e04 00000000"), ERR_OK);        /* 00: skip */
	assert_int_equal(verdict(OPTIONS, "0600 5e04 00000000"), ERR_IP_OPTION); /* 01: discard */
	assert_int_equal(verdict(OPTIONS, "0600 9e04 00000000"), ERR_IP_OPTION); /* 10: and say so */
	assert_int_equal(verdict(HOP_BY_HOP, "0600 c204 00010000"), ERR_IP_OPTION); /* jumbogram */
	assert_int_equal(verdict(HOP_BY_HOP, "0600 0502 0000 0100"), ERR_OK);    /* router alert, pad */
	assert_int_equal(verdict(OPTIONS, "0600 000000000000"), ERR_OK);         /* six of one byte */
	assert_int_equal(verdict(OPTIONS, "0600 1e05 00000000"), ERR_IP_MALFORMED);
	assert_int_equal(verdict(OPTIONS, "0600 0103 0000001e"), ERR_IP_MALFORMED);
}

static void
the_walk_has_bounds(void **state)
{
	struct frame f, more = { .len = 0 };
	struct ip6 ip;

	(void)state;
	/* Nine headers of 8 bytes. */
	make(&f, OPTIONS, "");
	for (int i = 0; i < 9; i++)
		frame_append_hex(&more, i < 8 ? "3c00 0104 00000000" : "0600 0104 00000000");
	frame_append(&f, more.bytes, more.len);
	f.bytes[19] = (uint8_t)more.len;
	assert_int_equal(ip6_parse(bytes_make(f.bytes + 14, f.len - 14), f.len - 14, &ip),
			 ERR_IP_MALFORMED);
	f.bytes[14 + 40 + 7 * 8] = IP_TCP; /* eight */
	assert_int_equal(ip6_parse(bytes_make(f.bytes + 14, f.len - 14), f.len - 14, &ip), ERR_OK);
	/* Two of 128 bytes each are as much as there may be; 136 and 128 are too much. */
	for (uint8_t units = 15; units <= 16; units++) {
		make(&f, OPTIONS, "");
		memset(more.bytes, 0, sizeof(more.bytes));
		more.len = (units + 1u) * 8 + 128;
		more.bytes[0] = OPTIONS;
		more.bytes[1] = units;
		more.bytes[(units + 1) * 8] = IP_TCP;
		more.bytes[(units + 1) * 8 + 1] = 15;
		frame_append(&f, more.bytes, more.len);
		f.bytes[18] = (uint8_t)(more.len >> 8);
		f.bytes[19] = (uint8_t)more.len;
		assert_int_equal(ip6_parse(bytes_make(f.bytes + 14, f.len - 14), f.len - 14, &ip),
				 units == 15 ? ERR_OK : ERR_IP_MALFORMED);
	}
	/* One of 264 bytes, and hop-by-hop options in the middle. */
	assert_int_equal(verdict(OPTIONS, "0620 0104 00000000"), ERR_IP_MALFORMED);
	assert_int_equal(verdict(OPTIONS, "0000 0104 00000000 0600 0104 00000000"), ERR_IP_MALFORMED);
}

static void
lengths_that_lie_are_refused(void **state)
{
	struct frame f;
	struct ip6 ip;

	(void)state;
	make(&f, OPTIONS, "0601 010c 000000000000000000000000");
	for (size_t len = 0; len < 56; len++)
		assert_int_equal(ip6_parse(bytes_make(f.bytes + 14, len), len, &ip), ERR_IP_MALFORMED);
	assert_int_equal(ip6_parse(bytes_make(f.bytes + 14, 56), 56, &ip), ERR_OK);
	f.bytes[19] = 15; /* the payload ends inside the header */
	assert_int_equal(ip6_parse(bytes_make(f.bytes + 14, 56), 56, &ip), ERR_IP_MALFORMED);
	f.bytes[14] = 0x40;
	assert_int_equal(ip6_parse(bytes_make(f.bytes + 14, 56), 56, &ip), ERR_IP_MALFORMED);
}

static void
headers_behind_the_first_piece_are_told_apart(void **state)
{
	struct frame f;
	struct ip6 ip;

	(void)state;
	make(&f, OPTIONS, "0601 010c 000000000000000000000000");
	for (size_t len = 0; len < 56; len++)
		assert_int_equal(ip6_parse(bytes_make(f.bytes + 14, len), 56, &ip), ERR_IP_HEADERS_SPLIT);
	make(&f, IP_TCP, "0102030405060708");
	assert_int_equal(ip6_parse(bytes_make(f.bytes + 14, 40), 48, &ip), ERR_OK);
}

static void
what_is_written_reads_back(void **state)
{
	struct ip6 out = { .ecn = 2, .hop_limit = 255, .upper_protocol = IP_ICMP6, .total_bytes = 60,
			   .src = { 0xfd, 1 }, .dst = { 0xfd, 2 } };
	uint8_t bytes[60] = { 0 };
	struct ip6 in;

	(void)state;
	ip6_emit(&out, bytes);
	assert_int_equal(ip6_parse(bytes_make(bytes, 60), 60, &in), ERR_OK);
	assert_int_equal(in.ecn, 2);
	assert_int_equal(in.hop_limit, 255);
	assert_int_equal(in.upper_protocol, IP_ICMP6);
	assert_int_equal(in.total_bytes, 60);
	assert_memory_equal(in.src, out.src, 16);
	assert_memory_equal(in.dst, out.dst, 16);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plain_packet_is_read_up_to_its_own_length),
		cmocka_unit_test(extension_headers_are_walked),
		cmocka_unit_test(a_fragment_says_where_it_belongs),
		cmocka_unit_test(what_may_be_an_error_is_found_behind_any_headers),
		cmocka_unit_test(an_atomic_fragment_is_a_packet_and_others_are_not),
		cmocka_unit_test(routing_headers_that_want_more_hops_are_refused),
		cmocka_unit_test(options_tell_by_themselves_whether_they_may_be_skipped),
		cmocka_unit_test(the_walk_has_bounds),
		cmocka_unit_test(lengths_that_lie_are_refused),
		cmocka_unit_test(headers_behind_the_first_piece_are_told_apart),
		cmocka_unit_test(what_is_written_reads_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

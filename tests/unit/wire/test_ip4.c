/* The IPv4 header: what is taken, what is refused and why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "frame.h"
#include "wire/csum.h"
#include "wire/ip4.h"

/* A datagram of 20 + 12 bytes. */
static void
make(struct frame *f)
{
	frame_ethernet(f, "02:00:00:00:00:01", "02:00:00:00:00:02", 0x0800);
	frame_ip(f, "10.0.0.2", "10.0.0.1", 17);
	frame_append_hex(f, "000102030405060708090a0b");
	frame_end(f);
}

static enum err
parse(const struct frame *f, struct ip4 *ip)
{
	return ip4_parse(bytes_make(f->bytes + 14, f->len - 14), f->len - 14, true, ip);
}

/* With options in hex, a multiple of 4 bytes, and a right checksum. */
static enum err
parse_with_options(const char *hex)
{
	struct frame f, options = { .len = 0 };
	struct ip4 ip;
	uint16_t checksum;
	size_t len;

	frame_append_hex(&options, hex);
	make(&f);
	f.len = 34;
	frame_append(&f, options.bytes, options.len);
	len = f.len - 14;
	f.bytes[14] = (uint8_t)(0x40 | len / 4);
	f.bytes[17] = (uint8_t)len;
	f.bytes[24] = f.bytes[25] = 0;
	checksum = csum_finish(csum_add(0, f.bytes + 14, len));
	memcpy(f.bytes + 24, &checksum, 2);
	return parse(&f, &ip);
}

static void
a_datagram_is_read_up_to_its_own_length(void **state)
{
	struct frame f;
	struct ip4 ip;

	(void)state;
	make(&f);
	f.bytes[15] = 0x03; /* congestion experienced */
	frame_end(&f);
	frame_append_hex(&f, "ffffffff"); /* padding */
	assert_int_equal(parse(&f, &ip), ERR_OK);
	assert_int_equal(ip.total_bytes, 32);
	assert_int_equal(ip.header_bytes, 20);
	assert_int_equal(ip.protocol, IP_UDP);
	assert_int_equal(ip.ecn, 3);
	assert_int_equal(ip.ttl, 64);
	assert_false(ip.is_fragment);
	assert_memory_equal(ip.src, "\x0a\0\0\x02", 4);
	assert_memory_equal(ip.dst, "\x0a\0\0\x01", 4);
}

static void
lengths_that_lie_are_refused(void **state)
{
	struct frame f;
	struct ip4 ip;

	(void)state;
	make(&f);
	for (size_t len = 0; len < 32; len++)
		assert_int_equal(ip4_parse(bytes_make(f.bytes + 14, len), len, true, &ip),
				 ERR_IP_MALFORMED);
	f.bytes[14] = 0x44; /* a header of 16 bytes */
	assert_int_equal(parse(&f, &ip), ERR_IP_MALFORMED);
	f.bytes[14] = 0x4f; /* of 60, of 32 that there are */
	assert_int_equal(parse(&f, &ip), ERR_IP_MALFORMED);
	f.bytes[14] = 0x65;
	assert_int_equal(parse(&f, &ip), ERR_IP_MALFORMED);
	make(&f);
	f.bytes[17] = 19; /* the total is less than the header */
	assert_int_equal(parse(&f, &ip), ERR_IP_MALFORMED);
}

static void
a_chain_counts_whole_but_its_header_must_be_in_one_piece(void **state)
{
	struct frame f;
	struct ip4 ip;

	(void)state;
	make(&f);
	assert_int_equal(ip4_parse(bytes_make(f.bytes + 14, 20), 32, true, &ip), ERR_OK);
	assert_int_equal(ip4_parse(bytes_make(f.bytes + 14, 19), 32, true, &ip), ERR_IP_HEADERS_SPLIT);
	f.bytes[14] = 0x46;
	assert_int_equal(ip4_parse(bytes_make(f.bytes + 14, 20), 32, false, &ip), ERR_IP_HEADERS_SPLIT);
}

static void
a_wrong_checksum_counts_only_if_the_port_has_not_looked(void **state)
{
	struct frame f;
	struct ip4 ip;

	(void)state;
	make(&f);
	f.bytes[24] ^= 1;
	assert_int_equal(parse(&f, &ip), ERR_IP_CHECKSUM);
	assert_int_equal(ip4_parse(bytes_make(f.bytes + 14, 32), 32, false, &ip), ERR_OK);
}

static void
the_header_of_a_piece_becomes_that_of_the_whole(void **state)
{
	struct frame f;
	struct ip4 ip;

	(void)state;
	make(&f);
	f.bytes[18] = 0x12;
	f.bytes[19] = 0x34;
	f.bytes[20] = 0x21;
	f.bytes[21] = 0x02;
	frame_end(&f);
	assert_int_equal(parse(&f, &ip), ERR_OK);
	assert_int_equal(ip.id, 0x1234);
	assert_true(ip.more_fragments);
	assert_int_equal(ip.fragment_offset, 0x102 * 8);
	ip4_make_whole(f.bytes + 14, 20, 30);
	assert_int_equal(parse(&f, &ip), ERR_OK); /* the checksum is right */
	assert_int_equal(ip.total_bytes, 30);
	assert_false(ip.is_fragment);
	assert_int_equal(ip.id, 0x1234);
}

static void
fragments_are_told_apart(void **state)
{
	struct frame f;
	struct ip4 ip;

	(void)state;
	make(&f);
	f.bytes[20] = 0x20; /* more follow */
	frame_end(&f);
	assert_int_equal(parse(&f, &ip), ERR_OK);
	assert_true(ip.is_fragment);
	f.bytes[20] = 0x00;
	f.bytes[21] = 0x01; /* the last one */
	frame_end(&f);
	assert_int_equal(parse(&f, &ip), ERR_OK);
	assert_true(ip.is_fragment);
	f.bytes[21] = 0x00; /* neither, although it may be cut */
	frame_end(&f);
	assert_int_equal(parse(&f, &ip), ERR_OK);
	assert_false(ip.is_fragment);
}

static void
options_are_skipped_but_source_routes_refused(void **state)
{
	(void)state;
	assert_int_equal(parse_with_options("01010101"), ERR_OK);
	assert_int_equal(parse_with_options("94040000"), ERR_OK); /* router alert */
	assert_int_equal(parse_with_options("00ffffff"), ERR_OK); /* nothing counts behind the end */
	assert_int_equal(parse_with_options("83030400"), ERR_IP_SOURCE_ROUTE);
	assert_int_equal(parse_with_options("01890304"), ERR_IP_SOURCE_ROUTE);
	assert_int_equal(parse_with_options("94000000"), ERR_IP_MALFORMED); /* of no length */
	assert_int_equal(parse_with_options("94010000"), ERR_IP_MALFORMED);
	assert_int_equal(parse_with_options("94050000"), ERR_IP_MALFORMED); /* past the header */
	assert_int_equal(parse_with_options("01010194"), ERR_IP_MALFORMED); /* without its length */
}

static void
what_is_written_is_atomic_and_reads_back(void **state)
{
	struct ip4 out = { .ecn = 2, .ttl = 64, .protocol = IP_TCP, .total_bytes = 20,
			   .src = { 1, 2, 3, 4 }, .dst = { 5, 6, 7, 8 } };
	struct ip4 in;
	uint8_t bytes[IP4_HEADER_BYTES];

	(void)state;
	ip4_emit(&out, bytes);
	assert_int_equal(ip4_parse(bytes_make(bytes, 20), 20, true, &in), ERR_OK);
	assert_int_equal(in.ecn, 2);
	assert_int_equal(in.protocol, IP_TCP);
	assert_memory_equal(in.src, out.src, 4);
	assert_memory_equal(in.dst, out.dst, 4);
	assert_memory_equal(bytes + 4, "\0\0\x40\0", 4); /* identification 0, may not be cut: RFC 6864 */
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_datagram_is_read_up_to_its_own_length),
		cmocka_unit_test(lengths_that_lie_are_refused),
		cmocka_unit_test(a_chain_counts_whole_but_its_header_must_be_in_one_piece),
		cmocka_unit_test(a_wrong_checksum_counts_only_if_the_port_has_not_looked),
		cmocka_unit_test(the_header_of_a_piece_becomes_that_of_the_whole),
		cmocka_unit_test(fragments_are_told_apart),
		cmocka_unit_test(options_are_skipped_but_source_routes_refused),
		cmocka_unit_test(what_is_written_is_atomic_and_reads_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

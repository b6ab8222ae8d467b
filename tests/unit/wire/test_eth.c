/* Frames with and without a tag, and ARP inside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "frame.h"
#include "wire/arp.h"
#include "wire/eth.h"

#define US "02:00:00:00:00:01"
#define PEER "02:00:00:00:00:02"

static struct bytes
bytes_of(const struct frame *f)
{
	return bytes_make(f->bytes, f->len);
}

static void
an_untagged_frame_is_read_and_written_alike(void **state)
{
	struct frame f;
	struct eth eth;
	uint8_t again[18];

	(void)state;
	frame_ethernet(&f, US, PEER, 0x0800);
	assert_true(eth_parse(bytes_of(&f), &eth));
	assert_int_equal(eth.type, ETH_TYPE_IP4);
	assert_int_equal(eth.vlan, 0);
	assert_int_equal(eth.header_bytes, 14);
	assert_memory_equal(eth.dst.byte, "\x02\0\0\0\0\x01", 6);
	assert_memory_equal(eth.src.byte, "\x02\0\0\0\0\x02", 6);
	assert_int_equal(eth_emit(&eth, again), 14);
	assert_memory_equal(again, f.bytes, 14);
}

static void
a_tag_is_read_without_its_priority_and_written(void **state)
{
	struct frame f;
	struct eth eth;
	uint8_t again[18];

	(void)state;
	frame_ethernet(&f, US, PEER, 0x8100);
	frame_append_hex(&f, "e123 86dd");
	assert_true(eth_parse(bytes_of(&f), &eth));
	assert_int_equal(eth.vlan, 0x123);
	assert_int_equal(eth.type, ETH_TYPE_IP6);
	assert_int_equal(eth.header_bytes, 18);
	assert_int_equal(eth_emit(&eth, again), 18);
	assert_memory_equal(again + 12, "\x81\x00\x01\x23\x86\xdd", 6);
}

static void
what_is_short_doubly_tagged_or_has_a_length_is_refused(void **state)
{
	struct frame f;
	struct eth eth;

	(void)state;
	frame_ethernet(&f, US, PEER, 0x0800);
	for (size_t len = 0; len < 14; len++)
		assert_false(eth_parse(bytes_make(f.bytes, len), &eth));
	frame_ethernet(&f, US, PEER, 0x05dc); /* IEEE 802.3: 1500 bytes follow */
	assert_false(eth_parse(bytes_of(&f), &eth));
	frame_ethernet(&f, US, PEER, 0x8100);
	frame_append_hex(&f, "0001");
	assert_false(eth_parse(bytes_of(&f), &eth));
	frame_append_hex(&f, "8100 0002 0800");
	assert_false(eth_parse(bytes_of(&f), &eth));
}

static void
arp_is_read_and_written_alike(void **state)
{
	struct frame f;
	struct arp arp;
	uint8_t again[ARP_BYTES];

	(void)state;
	frame_arp(&f, US, 2, PEER, "10.0.0.2", "10.0.0.1");
	assert_true(arp_parse(bytes_after(bytes_of(&f), 14), &arp));
	assert_int_equal(arp.operation, ARP_REPLY);
	assert_memory_equal(arp.sender_ip, "\x0a\0\0\x02", 4);
	assert_memory_equal(arp.target_ip, "\x0a\0\0\x01", 4);
	assert_memory_equal(arp.sender_mac.byte, "\x02\0\0\0\0\x02", 6);
	arp_emit(&arp, again);
	assert_memory_equal(again, f.bytes + 14, ARP_BYTES);
}

static void
arp_of_another_kind_or_cut_short_is_refused(void **state)
{
	static const int at[] = { 0, 1, 2, 3, 4, 5, 6, 7 }; /* each byte up to the operation */
	struct frame f;
	struct arp arp;

	(void)state;
	frame_arp(&f, US, 1, PEER, "10.0.0.2", "10.0.0.1");
	for (size_t len = 0; len < ARP_BYTES; len++)
		assert_false(arp_parse(bytes_make(f.bytes + 14, len), &arp));
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		f.bytes[14 + at[i]] ^= 0x40;
		assert_false(arp_parse(bytes_after(bytes_of(&f), 14), &arp));
		f.bytes[14 + at[i]] ^= 0x40;
	}
	assert_true(arp_parse(bytes_after(bytes_of(&f), 14), &arp));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_untagged_frame_is_read_and_written_alike),
		cmocka_unit_test(a_tag_is_read_without_its_priority_and_written),
		cmocka_unit_test(what_is_short_doubly_tagged_or_has_a_length_is_refused),
		cmocka_unit_test(arp_is_read_and_written_alike),
		cmocka_unit_test(arp_of_another_kind_or_cut_short_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

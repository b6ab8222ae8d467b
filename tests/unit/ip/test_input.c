/* What a frame is: ours, for TCP, to be answered, or to be dropped by name; and whose it is. */
#include "station.h"

#define V4 "10.0.0.2", 5000, "10.0.0.1", 443

static void
start(void **state, struct station *s)
{
	(void)state;
	station_start(s, false);
}

/* Gives f; it must be dropped for that reason and nothing said. */
static void
assert_dropped(struct station *s, const struct frame *f, enum err why)
{
	uint64_t before = s->ip.drops[why];

	assert_int_equal(station_give(s, f), IP_NOTHING);
	assert_int_equal(s->ip.drops[why], before + 1);
	assert_string_equal(station_says(s), "");
}

static void
a_segment_comes_out_at_its_tcp_header(void **state)
{
	struct station s;
	struct frame f;
	struct pkt *p;

	start(state, &s);
	frame_tcp(&f, US, PEER, V4, 10);
	f.bytes[15] = 3;
	frame_end(&f);
	frame_append_hex(&f, "00000000"); /* padding */
	p = frame_to_pkt(&f, 0, &s.pool);
	assert_int_equal(ip_input(&s.ip, p, false, s.now_ns, &s.received), IP_SEGMENT);
	p = s.received.segment;
	assert_int_equal(pkt_total(p), 30);
	assert_memory_equal(pkt_data(p), f.bytes + 34, 30);
	assert_int_equal(pkt_meta(p)->ecn, 3);
	assert_int_equal(pkt_meta(p)->l4_csum, PKT_CSUM_UNKNOWN);
	assert_true(ip_equal(&pkt_meta(p)->src, &(struct ip_addr){ { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff,
								      10, 0, 0, 2 } }));
	pkt_free(p);
	frame_tcp(&f, US, PEER, "fd00::2", 5000, "fd00::1", 443, 10);
	assert_int_equal(station_give(&s, &f), IP_SEGMENT);
	station_stop(&s);
}

static void
a_segment_in_pieces_is_taken_if_its_headers_are_in_the_first(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_tcp(&f, US, PEER, V4, 3000);
	assert_int_equal(station_give_in_pieces(&s, &f, 34, false), IP_SEGMENT);
	assert_int_equal(station_give_in_pieces(&s, &f, 100, false), IP_SEGMENT);
	assert_int_equal(station_give_in_pieces(&s, &f, 33, false), IP_NOTHING);
	assert_int_equal(s.ip.drops[ERR_IP_HEADERS_SPLIT], 1);
	assert_int_equal(station_give_in_pieces(&s, &f, 13, false), IP_NOTHING);
	assert_int_equal(s.ip.drops[ERR_ETH_MALFORMED], 1);
	frame_append_hex(&f, "ffffffffffff"); /* padding, a piece of its own */
	assert_int_equal(station_give_in_pieces(&s, &f, 3054 - PKT_ROOM_BYTES, false), IP_SEGMENT);
	station_stop(&s);
}

static void
frames_of_others_are_dropped(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_tcp(&f, OTHER, PEER, V4, 0);
	assert_dropped(&s, &f, ERR_ETH_NOT_OURS);
	frame_tcp(&f, US, US, V4, 0);
	assert_dropped(&s, &f, ERR_ETH_BAD_SOURCE);
	frame_tcp(&f, US, "03:00:00:00:00:02", V4, 0);
	assert_dropped(&s, &f, ERR_ETH_BAD_SOURCE);
	frame_ethernet(&f, US, PEER, 0x8100); /* of VLAN 5 */
	frame_append_hex(&f, "0005 0800");
	assert_dropped(&s, &f, ERR_ETH_NOT_OURS);
	frame_ethernet(&f, US, PEER, 0x88cc);
	assert_dropped(&s, &f, ERR_ETH_TYPE);
	frame_tcp(&f, US, PEER, "10.0.0.2", 5000, "10.0.0.3", 443, 0);
	assert_dropped(&s, &f, ERR_IP_NOT_OURS);
	station_stop(&s);
}

/* T17 */
static void
sources_that_nobody_can_answer_are_dropped(void **state)
{
	static const char *const v4[] = { "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255",
					  "10.0.0.255", "10.0.0.0", "10.0.0.1" };
	static const char *const v6[] = { "::", "::1", "ff02::1", "fd00::1", "::ffff:10.0.0.2" };
	struct station s;
	struct frame f;

	start(state, &s);
	for (size_t i = 0; i < sizeof(v4) / sizeof(v4[0]); i++) {
		frame_tcp(&f, US, PEER, v4[i], 5000, "10.0.0.1", 443, 0);
		assert_dropped(&s, &f, ERR_IP_BAD_SOURCE);
		frame_echo(&f, US, PEER, v4[i], "10.0.0.1", 8);
		assert_dropped(&s, &f, ERR_ICMP_NOT_ANSWERED);
	}
	for (size_t i = 0; i < sizeof(v6) / sizeof(v6[0]); i++) {
		frame_tcp(&f, US, PEER, v6[i], 5000, "fd00::1", 443, 0);
		assert_dropped(&s, &f, ERR_IP_BAD_SOURCE);
		frame_echo(&f, US, PEER, v6[i], "fd00::1", 8);
		assert_dropped(&s, &f, i == 4 ? ERR_IP_BAD_SOURCE : ERR_ICMP_NOT_ANSWERED);
	}
	station_stop(&s);
}

/* T17: nobody sends what no router would pass on (RFC 1122 section 3.2.1.7 would take it). */
static void
packets_without_time_to_live_are_dropped(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_tcp(&f, US, PEER, V4, 0);
	f.bytes[22] = 0;
	frame_end(&f);
	assert_dropped(&s, &f, ERR_IP_HOP_LIMIT);
	f.bytes[22] = 1;
	frame_end(&f);
	assert_int_equal(station_give(&s, &f), IP_SEGMENT);
	frame_echo(&f, US, PEER, "10.0.0.2", "10.0.0.1", 8);
	f.bytes[22] = 0;
	frame_end(&f);
	assert_dropped(&s, &f, ERR_IP_HOP_LIMIT);
	frame_tcp(&f, US, PEER, "fd00::2", 5000, "fd00::1", 443, 0);
	f.bytes[21] = 0;
	assert_dropped(&s, &f, ERR_IP_HOP_LIMIT);
	station_stop(&s);
}

/* T18: each length field with each value around what is there, and each frame cut at each byte. */
static void
wrong_lengths_are_dropped(void **state)
{
	struct station s;
	struct frame whole, f;

	start(state, &s);
	for (int kind = 0; kind < 6; kind++) {
		switch (kind) {
		case 0:
			frame_tcp(&whole, US, PEER, V4, 7);
			break;
		case 1:
			frame_tcp(&whole, US, PEER, "fd00::2", 5000, "fd00::1", 443, 7);
			break;
		case 2:
			frame_echo(&whole, US, PEER, "10.0.0.2", "10.0.0.1", 7);
			break;
		case 3:
			frame_echo(&whole, US, PEER, "fd00::2", "fd00::1", 7);
			break;
		case 4:
			frame_nd(&whole, US, PEER, "fd00::2", "fd00::1", 135, 0, "fd00::1", PEER);
			break;
		default:
			frame_arp(&whole, ALL, 1, PEER, "10.0.0.2", "10.0.0.1");
			whole.len = 14 + 28;
			break;
		}
		for (size_t len = 0; len < whole.len; len++) { /* no piece of it is taken for all */
			f = whole;
			f.len = len;
			assert_int_equal(station_give(&s, &f), IP_NOTHING);
			assert_string_equal(station_says(&s), "");
		}
		for (uint32_t value = 0; value < 0x10000 && kind < 4; value++) {
			bool v6 = kind % 2 != 0;
			size_t at = v6 ? 18 : 16;
			size_t room = whole.len - 14 - (v6 ? 40 : 0);

			f = whole;
			f.bytes[at] = (uint8_t)(value >> 8);
			f.bytes[at + 1] = (uint8_t)value;
			if (!v6) {
				struct pkt *p = frame_to_pkt(&f, 0, &s.pool);

				/* Only the length is wrong. */
				pkt_meta(p)->l3_csum = PKT_CSUM_GOOD;
				if (ip_input(&s.ip, p, false, s.now_ns, &s.received) == IP_SEGMENT) {
					assert_in_range(value, 20, room);
					assert_int_equal(pkt_total(s.received.segment), value - 20);
					pkt_free(s.received.segment);
				}
			} else if (station_give(&s, &f) == IP_SEGMENT) {
				assert_in_range(value, 0, room);
			}
			while (*station_says(&s) != '\0')
				assert_null(strstr(s.said, "bad"));
		}
		for (uint32_t header = 0; header < 0x100 && kind == 0; header++) { /* version and length */
			struct pkt *p;

			f = whole;
			f.bytes[14] = (uint8_t)header;
			p = frame_to_pkt(&f, 0, &s.pool);
			pkt_meta(p)->l3_csum = PKT_CSUM_GOOD;
			if (ip_input(&s.ip, p, false, s.now_ns, &s.received) != IP_SEGMENT)
				continue;
			assert_in_range(header, 0x45, 0x4f);
			assert_int_equal(pkt_total(s.received.segment), whole.len - 14 - (header & 15) * 4);
			pkt_free(s.received.segment);
		}
	}
	station_stop(&s);
}

static void
a_segment_in_a_frame_for_all_is_dropped(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_tcp(&f, ALL, PEER, V4, 0);
	assert_dropped(&s, &f, ERR_TCP_ADDRESS);
	frame_tcp(&f, "33:33:00:00:00:01", PEER, "fd00::2", 5000, "fd00::1", 443, 0);
	assert_dropped(&s, &f, ERR_TCP_ADDRESS);
	station_stop(&s);
}

static void
what_the_port_says_of_checksums_counts(void **state)
{
	struct station s;
	struct frame f;
	struct pkt *p;

	start(state, &s);
	frame_tcp(&f, US, PEER, V4, 0);
	f.bytes[24] ^= 1;
	assert_dropped(&s, &f, ERR_IP_CHECKSUM);
	p = frame_to_pkt(&f, 0, &s.pool);
	pkt_meta(p)->l3_csum = PKT_CSUM_NONE; /* known good, not filled in */
	assert_int_equal(ip_input(&s.ip, p, false, s.now_ns, &s.received), IP_SEGMENT);
	pkt_free(s.received.segment);
	frame_tcp(&f, US, PEER, V4, 0);
	p = frame_to_pkt(&f, 0, &s.pool);
	pkt_meta(p)->l3_csum = PKT_CSUM_BAD;
	assert_int_equal(ip_input(&s.ip, p, false, s.now_ns, &s.received), IP_NOTHING);
	assert_int_equal(s.ip.drops[ERR_IP_CHECKSUM], 2);
	station_stop(&s);
}

static void
atomic_fragments_are_packets(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_ethernet(&f, US, PEER, 0x86dd);
	frame_ip(&f, "fd00::2", "fd00::1", 44);
	frame_append_hex(&f, "0600 0000 00000001 1388 01bb 00000001 00000000 50 02 ffff 0000 0000");
	f.bytes[19] = 28;
	assert_int_equal(station_give(&s, &f), IP_SEGMENT);
	/* Twice, or with a routing header behind it that is used up. */
	memmove(f.bytes + 62, f.bytes + 54, 28);
	memcpy(f.bytes + 54, "\x2c\0\0\0\0\0\0\1", 8);
	f.bytes[19] = 36;
	f.len += 8;
	assert_dropped(&s, &f, ERR_IP_MALFORMED);
	memcpy(f.bytes + 62, "\x06\0\x04\0\0\0\0\1", 8);
	f.bytes[54] = 43;
	assert_int_equal(station_give(&s, &f), IP_SEGMENT);
	station_stop(&s);
}

static void
other_protocols_get_no_answer(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_ethernet(&f, US, PEER, 0x0800);
	frame_ip(&f, "10.0.0.2", "10.0.0.1", 17);
	frame_append_hex(&f, "1388 0035 0008 0000");
	frame_end(&f);
	assert_dropped(&s, &f, ERR_IP_PROTOCOL);
	frame_ethernet(&f, US, PEER, 0x86dd);
	frame_ip(&f, "fd00::2", "fd00::1", 17);
	frame_append_hex(&f, "1388 0035 0008 0000");
	frame_end(&f);
	assert_dropped(&s, &f, ERR_IP_PROTOCOL);
	station_stop(&s);
}

/* --- output ------------------------------------------------------------------------------- */

static void
what_cannot_be_sent_is_dropped_by_name(void **state)
{
	struct ip_config config;
	struct station s;
	struct pkt *p;

	start(state, &s);
	station_config(&config, false);
	memset(&config.ports[0].gateway_v4, 0, sizeof(config.ports[0].gateway_v4));
	ip_init(&s.ip, &config, &s.pool, s.now_ns);
	station_send(&s, "192.0.2.1");
	assert_int_equal(s.ip.drops[ERR_IP_NO_ROUTE], 1);
	station_send(&s, "fe80::77"); /* of which link? */
	assert_int_equal(s.ip.drops[ERR_IP_NO_ROUTE], 2);
	p = pkt_alloc(&s.pool);
	pkt_append(p, 1481);
	pkt_meta(p)->src = frame_address("10.0.0.1");
	pkt_meta(p)->dst = frame_address("10.0.0.2");
	ip_output(&s.ip, p, s.now_ns);
	assert_int_equal(s.ip.drops[ERR_IP_TOO_BIG], 1);
	p = pkt_alloc(&s.pool);
	pkt_append(p, 20);
	pkt_prepend(p, PKT_HEADROOM_BYTES - 10);
	pkt_meta(p)->dst = frame_address("10.0.0.2");
	ip_output(&s.ip, p, s.now_ns);
	assert_int_equal(s.ip.drops[ERR_IP_NO_HEADROOM], 1);
	assert_string_equal(station_says(&s), "");
	station_stop(&s);
}

static void
sources_are_those_of_the_route(void **state)
{
	struct ip_config config;
	struct station s;
	struct ip_addr to, source;

	start(state, &s);
	station_config(&config, false);
	config.ports[0].address_count = 5;
	config.ports[0].addresses[1] = (struct ip_address){ frame_address("fe80::1"), 64 };
	config.ports[0].addresses[2] = (struct ip_address){ frame_address("fd00::1"), 64 };
	config.ports[0].addresses[3] = (struct ip_address){ frame_address("10.0.0.129"), 96 + 25 };
	config.ports[0].addresses[4] = (struct ip_address){ frame_address("fd00:1::1"), 64 };
	ip_init(&s.ip, &config, &s.pool, s.now_ns);
	to = frame_address("10.0.0.2");
	assert_true(ip_source_for(&s.ip, &to, &source));
	assert_int_equal(source.byte[15], 1);
	to = frame_address("10.0.0.200"); /* the longer prefix */
	assert_true(ip_source_for(&s.ip, &to, &source));
	assert_int_equal(source.byte[15], 129);
	to = frame_address("2001:db8::1"); /* not from an address that ends at the link */
	assert_true(ip_source_for(&s.ip, &to, &source));
	assert_int_equal(source.byte[0], 0xfd);
	to = frame_address("fd00:1::7");
	assert_true(ip_source_for(&s.ip, &to, &source));
	assert_int_equal(source.byte[3], 1);
	to = frame_address("fe80::7");
	assert_true(ip_source_for(&s.ip, &to, &source));
	assert_int_equal(source.byte[0], 0xfe);
	station_stop(&s);
}

static void
frames_of_a_tagged_port_are_tagged(void **state)
{
	struct ip_config config;
	struct station s;
	struct frame f;
	struct pkt *p;

	start(state, &s);
	station_config(&config, false);
	config.ports[0].vlan = 5;
	ip_init(&s.ip, &config, &s.pool, s.now_ns);
	frame_arp(&f, ALL, 1, PEER, "10.0.0.2", "10.0.0.1");
	assert_dropped(&s, &f, ERR_ETH_NOT_OURS);
	memmove(f.bytes + 16, f.bytes + 12, f.len - 12);
	memcpy(f.bytes + 12, "\x81\x00\x00\x05", 4);
	f.len += 4;
	station_give(&s, &f);
	p = ip_transmit_next(&s.ip);
	assert_non_null(p);
	assert_memory_equal(pkt_data(p) + 12, "\x81\x00\x00\x05\x08\x06", 6);
	pkt_free(p);
	station_stop(&s);
}

/* --- start -------------------------------------------------------------------------------- */

static void
addresses_are_announced_three_times_and_asked_about_once(void **state)
{
	struct station s;

	(void)state;
	station_start(&s, true);
	assert_true(ip_next_at(&s.ip) <= s.now_ns);
	ip_advance(&s.ip, s.now_ns);
	for (int i = 0; i < 3; i++) {
		assert_string_equal(station_says(&s), "mld to-exclude :: > ff02::16 group ff02::1:ff00:1");
		if (i == 0)
			assert_string_equal(station_says(&s), "arp ask 0.0.0.0 about 10.0.0.1 to " ALL);
		assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.1 to " ALL);
		if (i == 0)
			assert_string_equal(station_says(&s),
					    "ns :: > ff02::1:ff00:1 about fd00::1 to 33:33:ff:00:00:01");
		assert_string_equal(station_says(&s),
				    "na fd00::1 > ff02::1 about fd00::1 to 33:33:00:00:00:01 override");
		assert_string_equal(station_says(&s), "");
		station_sleep(&s, NSEC_PER_SEC);
	}
	assert_string_equal(station_says(&s), "");
	assert_true(ip_next_at(&s.ip) == NEVER_NS);
	station_stop(&s);
}

static void
who_claims_our_address_is_contradicted_now_and_then(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_arp(&f, ALL, 1, OTHER, "10.0.0.1", "10.0.0.1");
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.1 to " ALL);
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "");
	station_sleep(&s, 10 * NSEC_PER_SEC);
	frame_nd(&f, "33:33:00:00:00:01", OTHER, "fd00::1", "ff02::1", 136, 0x20, "fd00::1", OTHER);
	station_give(&s, &f);
	assert_string_equal(station_says(&s),
			    "na fd00::1 > ff02::1 about fd00::1 to 33:33:00:00:00:01 override");
	assert_int_equal(s.ip.drops[ERR_IP_ADDRESS_CONFLICT], 3);
	station_stop(&s);
}

static void
who_wants_our_address_is_told(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_arp(&f, ALL, 1, OTHER, "0.0.0.0", "10.0.0.1");
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "arp answer 10.0.0.1 about 0.0.0.0 to " OTHER);
	frame_nd(&f, "33:33:ff:00:00:01", OTHER, "::", "ff02::1:ff00:1", 135, 0, "fd00::1", NULL);
	station_give(&s, &f);
	assert_string_equal(station_says(&s),
			    "na fd00::1 > ff02::1 about fd00::1 to 33:33:00:00:00:01 override");
	station_stop(&s);
}

/* --- several workers -------------------------------------------------------------------------- */

static struct ip_peek
peek_at(struct station *s, const struct frame *f)
{
	struct pkt *p = frame_to_pkt(f, 0, &s->pool);
	struct ip_peek peek;

	ip_peek(p, &peek);
	pkt_free(p);
	return peek;
}

static void
a_frame_tells_whose_it_is(void **state)
{
	struct ip_peek segment, error;
	struct station s;
	struct frame f;

	start(state, &s);
	frame_arp(&f, ALL, 1, PEER, "10.0.0.2", "10.0.0.1");
	assert_int_equal(peek_at(&s, &f).kind, IP_PEEK_EVERYONE);
	frame_nd(&f, US, PEER, "fd00::2", "fd00::1", 136, 0x60, "fd00::2", PEER);
	assert_int_equal(peek_at(&s, &f).kind, IP_PEEK_EVERYONE);
	f.bytes[21] = 254; /* it came through a router: nobody learns from it, so nobody else needs a copy */
	assert_int_equal(peek_at(&s, &f).kind, IP_PEEK_LOCAL);
	frame_nd(&f, US, PEER, "fd00::2", "fd00::1", 134, 0, "fd00::2", PEER); /* a router's */
	assert_int_equal(peek_at(&s, &f).kind, IP_PEEK_LOCAL);
	frame_echo(&f, US, PEER, "10.0.0.2", "10.0.0.1", 8);
	assert_int_equal(peek_at(&s, &f).kind, IP_PEEK_LOCAL);
	frame_tcp(&f, US, PEER, V4, 0);
	segment = peek_at(&s, &f);
	assert_int_equal(segment.kind, IP_PEEK_FLOW);
	assert_int_equal(segment.src_port, 5000);
	assert_int_equal(segment.dst_port, 443);
	/* An error about what we sent to that peer belongs to the same flow, whoever sends it. */
	frame_ethernet(&f, US, GATEWAY, 0x0800);
	frame_ip(&f, "192.0.2.1", "10.0.0.1", 1);
	frame_append_hex(&f, "0301 0000 00000000 45000028000040004006 0000 0a000001 0a000002 01bb 1388 00000007");
	frame_end(&f);
	error = peek_at(&s, &f);
	assert_memory_equal(&error, &segment, sizeof(error));
	station_stop(&s);
}

static void
who_only_listens_learns_and_says_nothing(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_arp(&f, ALL, 1, PEER, "10.0.0.2", "10.0.0.1");
	station_give_in_pieces(&s, &f, 0, true);
	assert_string_equal(station_says(&s), "");
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	frame_nd(&f, US, PEER, "fd00::2", "fd00::1", 135, 0, "fd00::1", PEER);
	station_give_in_pieces(&s, &f, 0, true);
	assert_string_equal(station_says(&s), "");
	assert_string_equal(station_route(&s, "fd00::2"), PEER);
	frame_arp(&f, ALL, 1, OTHER, "10.0.0.1", "10.0.0.1");
	station_give_in_pieces(&s, &f, 0, true);
	assert_string_equal(station_says(&s), "");
	frame_echo(&f, US, PEER, "10.0.0.2", "10.0.0.1", 8);
	station_give_in_pieces(&s, &f, 0, true);
	assert_string_equal(station_says(&s), "");
	station_stop(&s);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_segment_comes_out_at_its_tcp_header),
		cmocka_unit_test(a_segment_in_pieces_is_taken_if_its_headers_are_in_the_first),
		cmocka_unit_test(frames_of_others_are_dropped),
		cmocka_unit_test(sources_that_nobody_can_answer_are_dropped),
		cmocka_unit_test(packets_without_time_to_live_are_dropped),
		cmocka_unit_test(wrong_lengths_are_dropped),
		cmocka_unit_test(a_segment_in_a_frame_for_all_is_dropped),
		cmocka_unit_test(what_the_port_says_of_checksums_counts),
		cmocka_unit_test(atomic_fragments_are_packets),
		cmocka_unit_test(other_protocols_get_no_answer),
		cmocka_unit_test(what_cannot_be_sent_is_dropped_by_name),
		cmocka_unit_test(sources_are_those_of_the_route),
		cmocka_unit_test(frames_of_a_tagged_port_are_tagged),
		cmocka_unit_test(addresses_are_announced_three_times_and_asked_about_once),
		cmocka_unit_test(who_claims_our_address_is_contradicted_now_and_then),
		cmocka_unit_test(who_wants_our_address_is_told),
		cmocka_unit_test(a_frame_tells_whose_it_is),
		cmocka_unit_test(who_only_listens_learns_and_says_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

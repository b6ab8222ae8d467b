/* Fragments: what becomes a frame again, and what is never kept. */
#include "station.h"

#define V4 "10.0.0.2", 5000, "10.0.0.1", 443
#define V6 "fd00::2", 5000, "fd00::1", 443
#define SEC NSEC_PER_SEC

static void
start(void **state, struct station *s)
{
	(void)state;
	station_start(s, false);
}

/* A segment with 2980 bytes behind its header: three pieces of 1000. */
static void
segment(struct frame *f, bool v6)
{
	if (v6)
		frame_tcp(f, US, PEER, V6, 2980);
	else
		frame_tcp(f, US, PEER, V4, 2980);
}

static void
piece(struct frame *f, const struct frame *whole, int i, uint32_t id)
{
	frame_fragment(f, whole, 0, 1000u * (size_t)i, 1000, i < 2, id);
}

/* What has come must be whole, apart from what differs in an IPv4 header. */
static void
assert_whole(struct station *s, const struct frame *whole)
{
	struct frame back, again;
	struct pkt *p = s->received.frame;

	back.len = pkt_total(p);
	pkt_copy_out(p, 0, back.bytes, (uint32_t)back.len);
	frame_describe(&back, s->said, sizeof(s->said));
	assert_null(strstr(s->said, "bad"));
	assert_int_equal(back.len, whole->len);
	assert_memory_equal(back.bytes, whole->bytes, 18);
	assert_memory_equal(back.bytes + 26, whole->bytes + 26, whole->len - 26);
	assert_int_equal(ip_input(&s->ip, p, false, s->now_ns, &s->received), IP_SEGMENT);
	assert_int_equal(pkt_meta(s->received.segment)->l4_csum, PKT_CSUM_UNKNOWN);
	frame_from_pkt(&again, s->received.segment);
	assert_memory_equal(again.bytes, whole->bytes + whole->len - again.len, again.len);
	assert_int_equal(again.len, 3000);
	assert_int_equal(s->pool.used, 0);
}

static void
pieces_in_any_order_become_what_was_sent(void **state)
{
	static const uint8_t orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
					      { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
	struct station s;
	struct frame whole, f;

	start(state, &s);
	for (uint32_t n = 0; n < 24; n++) {
		bool v6 = n % 2 != 0;

		segment(&whole, v6);
		for (int i = 0; i < 3; i++) {
			struct frame *p = &f;

			piece(p, &whole, orders[n / 2 % 6][i], n);
			/* In one buffer, and with some of the content in a second one. */
			assert_int_equal(station_give_in_pieces(&s, p, n < 12 ? 0 : 300, false),
					 i < 2 ? IP_NOTHING : IP_FRAME);
		}
		assert_whole(&s, &whole);
	}
	station_stop(&s);
}

static void
options_before_the_fragment_header_stay(void **state)
{
	struct station s;
	struct frame whole, f;

	start(state, &s);
	segment(&whole, true);
	memmove(whole.bytes + 62, whole.bytes + 54, whole.len - 54);
	memcpy(whole.bytes + 54, "\x06\0\x01\x04\0\0\0\0", 8); /* destination options: padding */
	whole.len += 8;
	whole.bytes[20] = 60;
	frame_end(&whole);
	for (int i = 0; i < 3; i++) {
		frame_fragment(&f, &whole, 8, 1000u * (size_t)i, 1000, i < 2, 9);
		assert_int_equal(station_give(&s, &f), i < 2 ? IP_NOTHING : IP_FRAME);
	}
	assert_whole(&s, &whole);
	/* And behind it: the first piece has them, the others only name them. */
	for (int i = 0; i < 3; i++) {
		frame_fragment(&f, &whole, 0, 1000u * (size_t)i, i < 2 ? 1000 : 1008, i < 2, 10);
		assert_int_equal(station_give(&s, &f), i < 2 ? IP_NOTHING : IP_FRAME);
	}
	assert_whole(&s, &whole);
	station_stop(&s);
}

static void
a_tagged_port_reassembles_too(void **state)
{
	struct ip_config config;
	struct station s;
	struct frame whole, f;

	start(state, &s);
	station_config(&config, false);
	config.ports[0].vlan = 5;
	ip_init(&s.ip, &config, &s.pool, s.now_ns);
	segment(&whole, false);
	for (int i = 0; i < 3; i++) {
		piece(&f, &whole, i, 1);
		memmove(f.bytes + 16, f.bytes + 12, f.len - 12);
		memcpy(f.bytes + 12, "\x81\x00\x00\x05", 4);
		f.len += 4;
		assert_int_equal(station_give(&s, &f), i < 2 ? IP_NOTHING : IP_FRAME);
	}
	assert_int_equal(ip_input(&s.ip, s.received.frame, false, s.now_ns, &s.received), IP_SEGMENT);
	pkt_free(s.received.segment);
	station_stop(&s);
}

static void
an_echo_in_pieces_is_answered(void **state)
{
	struct station s;
	struct frame whole, f;

	start(state, &s);
	station_is_asked_by(&s, PEER, "10.0.0.2");
	frame_echo(&whole, US, PEER, "10.0.0.2", "10.0.0.1", 1400);
	frame_fragment(&f, &whole, 0, 704, 704, false, 3);
	assert_int_equal(station_give(&s, &f), IP_NOTHING);
	frame_fragment(&f, &whole, 0, 0, 704, true, 3);
	assert_int_equal(station_give(&s, &f), IP_FRAME);
	assert_int_equal(ip_input(&s.ip, s.received.frame, false, s.now_ns, &s.received), IP_NOTHING);
	assert_string_equal(station_says(&s), "icmp 0 10.0.0.1 > 10.0.0.2");
	station_stop(&s);
}

static void
datagrams_are_told_apart_by_who_sent_them_and_their_number(void **state)
{
	struct station s;
	struct frame whole, f;

	start(state, &s);
	segment(&whole, false);
	piece(&f, &whole, 0, 1);
	station_give(&s, &f);
	piece(&f, &whole, 1, 2); /* of another one */
	station_give(&s, &f);
	frame_tcp(&whole, US, OTHER, "10.0.0.3", 5000, "10.0.0.1", 443, 2980);
	piece(&f, &whole, 2, 1);
	assert_int_equal(station_give(&s, &f), IP_NOTHING);
	segment(&whole, false);
	piece(&f, &whole, 1, 1);
	assert_int_equal(station_give(&s, &f), IP_NOTHING);
	piece(&f, &whole, 2, 1);
	assert_int_equal(station_give(&s, &f), IP_FRAME);
	pkt_free(s.received.frame);
	assert_int_equal(s.pool.used, 2);
	station_stop(&s);
}

static void
the_same_piece_twice_is_dropped_once(void **state)
{
	struct station s;
	struct frame whole, f;

	start(state, &s);
	segment(&whole, true);
	for (int i = 0; i < 3; i++) {
		piece(&f, &whole, i, 1);
		assert_int_equal(station_give(&s, &f), i < 2 ? IP_NOTHING : IP_FRAME);
		if (i < 2)
			station_give(&s, &f);
	}
	assert_int_equal(s.ip.drops[ERR_IP_FRAGMENT_DUPLICATE], 2);
	assert_whole(&s, &whole);
	station_stop(&s);
}

/* T12 */
static void
overlaps_kill_their_datagram(void **state)
{
	/* Offset, length and "more" of what follows pieces 0 and 2 of three. */
	static const struct {
		size_t offset, len;
		bool more;
	} rows[] = {
		{ 992, 1008, true },  /* into the first */
		{ 1000, 1008, true }, /* into the last */
		{ 0, 1200, true },    /* over the first */
		{ 992, 8, true },     /* inside the first */
		{ 2000, 992, true },  /* inside the last */
		{ 1000, 1000, false }, /* a second end */
	};
	struct station s;
	struct frame whole, f;

	start(state, &s);
	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		bool v6 = i % 2 != 0;

		segment(&whole, v6);
		for (int k = 0; k < 3; k += 2) {
			piece(&f, &whole, k, 1);
			assert_int_equal(station_give(&s, &f), IP_NOTHING);
		}
		frame_fragment(&f, &whole, 0, rows[i / 2].offset, rows[i / 2].len, rows[i / 2].more, 1);
		assert_int_equal(station_give(&s, &f), IP_NOTHING);
		assert_int_equal(s.pool.used, 0);
		piece(&f, &whole, 1, 1); /* it stays dead */
		assert_int_equal(station_give(&s, &f), IP_NOTHING);
		assert_int_equal(s.pool.used, 0);
		assert_int_equal(s.ip.drops[ERR_IP_FRAGMENT_OVERLAP], 4 * (i + 1));
		station_sleep(&s, 5 * SEC);
	}
	/* A piece behind the end. */
	piece(&f, &whole, 2, 1);
	station_give(&s, &f);
	frame_tcp(&whole, US, PEER, V6, 3980);
	frame_fragment(&f, &whole, 0, 3000, 1000, true, 1);
	assert_int_equal(station_give(&s, &f), IP_NOTHING);
	assert_int_equal(s.pool.used, 0);
	station_stop(&s);
}

static void
what_stays_incomplete_is_dropped_after_five_seconds(void **state)
{
	struct station s;
	struct frame whole, f;

	start(state, &s);
	segment(&whole, false);
	for (int i = 0; i < 2; i++) {
		piece(&f, &whole, i, 1);
		station_give(&s, &f);
		assert_int_equal(ip_next_at(&s.ip), s.now_ns + (uint64_t)(5 - i) * SEC);
		station_sleep(&s, SEC);
	}
	station_sleep(&s, 3 * SEC - 1);
	assert_int_equal(s.pool.used, 2);
	station_sleep(&s, 1);
	assert_int_equal(s.pool.used, 0);
	assert_int_equal(s.ip.drops[ERR_IP_FRAGMENT_TIMEOUT], 2);
	assert_true(ip_next_at(&s.ip) == NEVER_NS);
	station_stop(&s);
}

/* T12: a million pieces of datagrams that never end; segments pass as before. */
static void
a_flood_of_pieces_holds_a_bounded_number_of_buffers(void **state)
{
	struct station s;
	struct frame whole, honest, f;

	start(state, &s);
	segment(&whole, false);
	frame_tcp(&honest, US, PEER, V4, 10);
	for (uint32_t i = 0; i < 1000000; i++) {
		frame_fragment(&f, &whole, 0, 64u * (1 + i % 5), 64, true, i / 5 & 0xffff);
		station_give(&s, &f);
		assert_in_range(s.pool.used, 1, IP_FRAGMENT_BUFFERS_MAX);
		if (i % 1000 == 0)
			assert_int_equal(station_give(&s, &honest), IP_SEGMENT);
		if (i % 100 == 0)
			station_sleep(&s, NSEC_PER_MSEC / 10);
	}
	station_sleep(&s, 5 * SEC);
	assert_int_equal(s.pool.used, 0);
	assert_int_equal(s.ip.datagrams.buffers, 0);
	station_stop(&s);
}

static void
buffers_are_taken_from_who_has_waited_longest(void **state)
{
	struct station s;
	struct frame whole, f;

	start(state, &s);
	segment(&whole, false);
	for (uint32_t id = 0; id < 20; id++) {
		for (size_t k = 0; k < 15; k++) {
			frame_fragment(&f, &whole, 0, 64 * (k + 1), 64, true, id);
			station_give(&s, &f);
		}
		station_sleep(&s, NSEC_PER_MSEC);
	}
	assert_in_range(s.pool.used, IP_FRAGMENT_BUFFERS_MAX - 15, IP_FRAGMENT_BUFFERS_MAX);
	assert_int_equal(s.ip.drops[ERR_IP_FRAGMENT_LIMIT], 300 - s.pool.used);
	for (uint32_t id = 19;; id--) { /* the last one is still there */
		frame_fragment(&f, &whole, 0, 64, 64, true, id);
		station_give(&s, &f);
		assert_int_equal(s.ip.drops[ERR_IP_FRAGMENT_DUPLICATE], 20 - id);
		if (id == 5)
			break;
	}
	station_stop(&s);
}

static void
one_datagram_has_so_many_pieces_and_bytes(void **state)
{
	struct station s;
	struct frame whole, f;

	start(state, &s);
	segment(&whole, false);
	for (size_t k = 0; k <= IP_FRAGMENTS_MAX; k++) {
		frame_fragment(&f, &whole, 0, 64 * k, 64, true, 1);
		station_give(&s, &f);
	}
	assert_int_equal(s.ip.drops[ERR_IP_FRAGMENT_LIMIT], IP_FRAGMENTS_MAX + 1);
	assert_int_equal(s.pool.used, 0);
	frame_fragment(&f, &whole, 0, 64, 64, true, 2);
	f.bytes[20] |= (IP_DATAGRAM_BYTES_MAX / 8) >> 8 & 0x1f; /* its end lies beyond */
	f.bytes[21] = (IP_DATAGRAM_BYTES_MAX / 8) & 0xff;
	memset(f.bytes + 24, 0, 2);
	frame_end(&f);
	station_give(&s, &f);
	assert_int_equal(s.ip.drops[ERR_IP_FRAGMENT_LIMIT], IP_FRAGMENTS_MAX + 2);
	assert_int_equal(s.pool.used, 0);
	station_stop(&s);
}

/* Gives f; it must be dropped at once for that reason. */
static void
assert_dropped(struct station *s, const struct frame *f, enum err why)
{
	uint64_t before = s->ip.drops[why];

	assert_int_equal(station_give(s, f), IP_NOTHING);
	assert_int_equal(s->ip.drops[why], before + 1);
	assert_int_equal(s->pool.used, 0);
	assert_string_equal(station_says(s), "");
}

/* T12, RFC 1858, RFC 3128, RFC 7112: what a filter looks at lies in the first piece. */
static void
headers_in_two_pieces_are_refused(void **state)
{
	struct station s;
	struct frame whole, f;

	start(state, &s);
	for (int v6 = 0; v6 < 2; v6++) {
		segment(&whole, v6 != 0);
		whole.bytes[v6 != 0 ? 66 : 46] = 0x60; /* 24 bytes of TCP header */
		frame_end(&whole);
		for (size_t len = 8; len < 24; len += 8) {
			frame_fragment(&f, &whole, 0, 0, len, true, 1);
			assert_dropped(&s, &f, ERR_IP_FRAGMENT_TINY);
		}
		frame_fragment(&f, &whole, 0, 0, 24, true, 1);
		assert_int_equal(station_give(&s, &f), IP_NOTHING);
		station_sleep(&s, 5 * SEC);
	}
	segment(&whole, false);
	for (size_t offset = 8; offset < 24; offset += 8) {
		frame_fragment(&f, &whole, 0, offset, 8, true, 1);
		assert_dropped(&s, &f, ERR_IP_FRAGMENT_TINY);
	}
	/* Extension headers that go on in the second piece. */
	segment(&whole, true);
	memmove(whole.bytes + 78, whole.bytes + 54, whole.len - 54);
	memset(whole.bytes + 54, 0, 24);
	memcpy(whole.bytes + 54, "\x06\x02\x01\x14", 4);
	whole.len += 24;
	whole.bytes[20] = 60;
	for (size_t len = 8; len < 48; len += 8) {
		frame_fragment(&f, &whole, 0, 0, len, true, 1);
		assert_dropped(&s, &f, ERR_IP_FRAGMENT_TINY);
	}
	station_stop(&s);
}

static void
what_nobody_here_wants_is_not_kept(void **state)
{
	struct station s;
	struct frame whole, f;

	start(state, &s);
	for (int v6 = 0; v6 < 2; v6++) {
		segment(&whole, v6 != 0);
		whole.bytes[v6 != 0 ? 20 : 23] = 17; /* UDP */
		frame_fragment(&f, &whole, 0, 0, 1000, true, 1);
		assert_dropped(&s, &f, ERR_IP_FRAGMENT);
	}
	frame_tcp(&whole, US, PEER, "10.0.0.2", 5000, "10.0.0.9", 443, 2980);
	piece(&f, &whole, 0, 1);
	assert_dropped(&s, &f, ERR_IP_NOT_OURS);
	frame_tcp(&whole, US, PEER, "10.0.0.255", 5000, "10.0.0.1", 443, 2980);
	piece(&f, &whole, 0, 1);
	assert_dropped(&s, &f, ERR_IP_BAD_SOURCE);
	frame_tcp(&whole, ALL, PEER, V4, 2980);
	piece(&f, &whole, 0, 1);
	assert_dropped(&s, &f, ERR_TCP_ADDRESS);
	segment(&whole, false);
	frame_fragment(&f, &whole, 0, 1000, 1001, true, 1); /* not a multiple of 8 */
	assert_dropped(&s, &f, ERR_IP_MALFORMED);
	frame_fragment(&f, &whole, 0, 1000, 0, false, 1);
	assert_dropped(&s, &f, ERR_IP_MALFORMED);
	piece(&f, &whole, 0, 1);
	assert_int_equal(station_give_in_pieces(&s, &f, 0, true), IP_NOTHING); /* who only listens */
	assert_int_equal(s.pool.used, 0);
	station_stop(&s);
}

/* RFC 6980 */
static void
discovery_in_pieces_is_dropped(void **state)
{
	struct station s;
	struct frame whole, f;

	start(state, &s);
	frame_nd(&whole, US, PEER, "fd00::2", "fd00::1", 135, 0, "fd00::1", PEER);
	frame_fragment(&f, &whole, 0, 0, 24, true, 1);
	assert_dropped(&s, &f, ERR_ND_MALFORMED);
	frame_fragment(&f, &whole, 0, 24, 8, false, 1);
	assert_int_equal(station_give(&s, &f), IP_NOTHING);
	assert_string_equal(station_says(&s), "");
	station_stop(&s);
}

static void
all_pieces_belong_to_one_worker(void **state)
{
	struct ip_peek first, later;
	struct station s;
	struct frame whole, f;
	struct pkt *p;

	start(state, &s);
	for (int v6 = 0; v6 < 2; v6++) {
		segment(&whole, v6 != 0);
		for (int i = 0; i < 3; i++) {
			piece(&f, &whole, i, 0x1234);
			p = frame_to_pkt(&f, 0, &s.pool);
			ip_peek(p, i == 0 ? &first : &later);
			pkt_free(p);
			assert_int_equal(first.kind, IP_PEEK_FLOW);
			assert_int_equal(first.dst_port, 0x1234);
			if (i > 0)
				assert_memory_equal(&first, &later, sizeof(first));
		}
	}
	station_stop(&s);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_in_any_order_become_what_was_sent),
		cmocka_unit_test(options_before_the_fragment_header_stay),
		cmocka_unit_test(a_tagged_port_reassembles_too),
		cmocka_unit_test(an_echo_in_pieces_is_answered),
		cmocka_unit_test(datagrams_are_told_apart_by_who_sent_them_and_their_number),
		cmocka_unit_test(the_same_piece_twice_is_dropped_once),
		cmocka_unit_test(overlaps_kill_their_datagram),
		cmocka_unit_test(what_stays_incomplete_is_dropped_after_five_seconds),
		cmocka_unit_test(a_flood_of_pieces_holds_a_bounded_number_of_buffers),
		cmocka_unit_test(buffers_are_taken_from_who_has_waited_longest),
		cmocka_unit_test(one_datagram_has_so_many_pieces_and_bytes),
		cmocka_unit_test(headers_in_two_pieces_are_refused),
		cmocka_unit_test(what_nobody_here_wants_is_not_kept),
		cmocka_unit_test(discovery_in_pieces_is_dropped),
		cmocka_unit_test(all_pieces_belong_to_one_worker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

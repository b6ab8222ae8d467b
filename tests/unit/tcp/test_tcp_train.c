/* Segments that leave together in one packet (TSO), against the same ones alone: what is on the wire once the
 * packets are cut must not differ in a byte, whatever is lost on the way. */
#include "pair.h"

#define TRACE_MAX 20000u
#define SEGMENT_MAX (TCPHDR_BYTES_MAX + 1460u)

struct trace {
	uint64_t hash[TRACE_MAX]; /* of each segment's bytes and its ECN field */
	uint32_t count;
	uint32_t packets; /* that they left in */
	uint32_t largest_bytes;
	uint32_t most_pieces;
};

static struct trace alone, together;
static uint32_t lose_one_in;

static uint64_t
hash_of(const uint8_t *bytes, uint32_t n, uint64_t hash)
{
	for (uint32_t i = 0; i < n; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3u;
	return hash;
}

/* One segment of the packet that flat holds, headers included; *bytes gets it, without a checksum. */
static uint32_t
cut(const uint8_t *flat, uint32_t header, uint32_t payload, uint32_t at, uint32_t mss, uint8_t *bytes)
{
	uint32_t n = payload - at < mss ? payload - at : mss;
	uint32_t seq = ((uint32_t)flat[4] << 24 | (uint32_t)flat[5] << 16 | (uint32_t)flat[6] << 8 | flat[7]) + at;

	memcpy(bytes, flat, header);
	memcpy(bytes + header, flat + header + at, n);
	for (int i = 0; i < 4; i++)
		bytes[4 + i] = (uint8_t)(seq >> (24 - 8 * i));
	if (at + n < payload)
		bytes[TCPHDR_FLAGS_OFFSET] &= (uint8_t)~(TCPHDR_PSH | TCPHDR_FIN);
	memset(bytes + TCPHDR_CHECKSUM_OFFSET, 0, 2);
	return header + n;
}

static void
deliver(struct side *from, struct side *to, const struct pkt *packet, const uint8_t *bytes, uint32_t n)
{
	struct pkt *p = pkt_alloc(&from->payload);

	assert_non_null(p);
	memcpy(pkt_append(p, n), bytes, n);
	pkt_meta(p)->src = pkt_meta(packet)->src;
	pkt_meta(p)->dst = pkt_meta(packet)->dst;
	pkt_meta(p)->ecn = pkt_meta(packet)->ecn;
	pkt_meta(p)->l4_csum = PKT_CSUM_GOOD;
	tcp_input(to->tcp, p, pair.now_ns);
	tcp_check(to->tcp);
}

/* Cuts p as a port does, notes the segments, loses some and delivers the others. */
static void
pass(struct trace *trace, struct side *from, struct side *to, const struct pkt *p)
{
	static uint8_t flat[65536];
	uint8_t bytes[SEGMENT_MAX];
	uint32_t total = pkt_total(p);
	uint32_t header, mss;

	pkt_copy_out(p, 0, flat, total);
	header = (flat[12] >> 4) * 4u;
	mss = pkt_meta(p)->tso_mss > 0 ? pkt_meta(p)->tso_mss : total;
	if (pkt_meta(p)->tso_mss > 0) {
		assert_true(total - header > mss);
		if (total - header > trace->largest_bytes)
			trace->largest_bytes = total - header;
		if (pkt_segments(p) - 1 > trace->most_pieces)
			trace->most_pieces = pkt_segments(p) - 1;
	}
	trace->packets++;
	for (uint32_t at = 0; at == 0 || at < total - header; at += mss) {
		uint32_t n = cut(flat, header, total - header, at, mss, bytes);

		assert_true(trace->count < TRACE_MAX);
		trace->hash[trace->count++] = hash_of(bytes, n, 0xcbf29ce484222325u ^ pkt_meta(p)->ecn);
		if (lose_one_in == 0 || trace->hash[trace->count - 1] % lose_one_in != 0)
			deliver(from, to, p, bytes, n);
	}
}

static bool
carry_cut(struct trace *trace, struct side *from, struct side *to)
{
	struct pkt *p;
	bool any = false;

	while ((p = tcp_transmit_next(from->tcp)) != NULL) {
		any = true;
		pass(trace, from, to, p);
		pkt_free(p);
	}
	return any;
}

static void
exchange(struct trace *trace)
{
	bool any = true;

	for (int round = 0; any; round++) {
		assert_true(round < 1000);
		side_output(&pair.a);
		side_output(&pair.b);
		any = carry_cut(trace, &pair.a, &pair.b);
		any |= carry_cut(trace, &pair.b, &pair.a);
		side_events(&pair.a);
		side_events(&pair.b);
	}
}

/* Both sides send, in pieces of odd lengths, and close. */
static void
talk(struct trace *trace, uint32_t tso_bytes_max, uint16_t tso_pieces_max, uint32_t piece)
{
	struct tcp_config config = config_default();
	const uint32_t whole = 300000;

	config.tso_bytes_max = tso_bytes_max;
	config.tso_pieces_max = tso_pieces_max;
	config.ecn_connect = true;
	memset(trace, 0, sizeof(*trace));
	pair_init(&config);
	establish();
	for (int step = 0; step < 100000 && !(pair.a.received == whole && pair.b.received == whole); step++) {
		write_stream(&pair.a, (uint32_t)(whole - pair.a.written), piece);
		write_stream(&pair.b, (uint32_t)(whole - pair.b.written), piece);
		exchange(trace);
		pair.now_ns += MS;
	}
	assert_int_equal(pair.a.received, whole);
	assert_int_equal(pair.b.received, whole);
	tcp_close(pair.a.tcp, pair.a.conn);
	tcp_close(pair.b.tcp, pair.b.conn);
	for (int step = 0; step < 100; step++) {
		exchange(trace);
		pair.now_ns += MS;
	}
	pair_fini();
}

static void
compare(uint32_t tso_bytes_max, uint16_t tso_pieces_max, uint32_t piece)
{
	talk(&alone, 0, 0, piece);
	talk(&together, tso_bytes_max, tso_pieces_max, piece);
	assert_int_equal(alone.packets, alone.count);
	assert_int_equal(together.count, alone.count);
	for (uint32_t i = 0; i < alone.count; i++)
		assert_int_equal(together.hash[i], alone.hash[i]);
	assert_true(together.largest_bytes <= tso_bytes_max);
	assert_true(together.most_pieces <= tso_pieces_max);
}

static void
cut_packets_are_the_segments_that_would_have_left(void **state)
{
	(void)state;
	lose_one_in = 0;
	compare(65000, 40, 1800);
	assert_true(together.packets < alone.packets / 2);
	assert_true(together.largest_bytes > 10 * 1448);
	compare(65000, 40, 77);
	compare(65000, 3, 1800);
	compare(3000, 40, 1800);
	assert_true(together.largest_bytes > 1448);
}

static void
loss_changes_nothing_about_it(void **state)
{
	(void)state;
	lose_one_in = 19;
	compare(65000, 40, 1800);
	assert_true(together.packets < alone.packets);
	compare(65000, 40, 77);
	lose_one_in = 5;
	compare(20000, 9, 1999);
}

static void
bytes_of_one_buffer_are_shown_by_one_piece(void **state)
{
	(void)state;
	lose_one_in = 0;
	/* Most segments begin in the middle of a buffer of 1800 bytes; 40,000 bytes lie in 23 or 24 of them. */
	compare(40000, 24, 1800);
	assert_true(together.largest_bytes > 40000 - 1448);
}

static void
an_empty_pool_sends_what_fits(void **state)
{
	struct tcp_config config = config_default();

	(void)state;
	config.tso_bytes_max = 65000;
	config.tso_pieces_max = 40;
	pair_init(&config);
	establish();
	/* The pool runs dry inside of every third packet; all of it arrives all the same. */
	write_stream(&pair.a, 200000, 900);
	for (int step = 0; step < 5000 && pair.b.received < 200000; step++) {
		pair.a.bare.fail_in = 2 + (uint32_t)step % 9;
		lose_one_in = 0;
		memset(&together, 0, sizeof(together));
		exchange(&together);
		pair.now_ns += MS;
	}
	pair.a.bare.fail_in = 0;
	assert_int_equal(pair.b.received, 200000);
	pair_fini();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut_packets_are_the_segments_that_would_have_left),
		cmocka_unit_test(loss_changes_nothing_about_it),
		cmocka_unit_test(bytes_of_one_buffer_are_shown_by_one_piece),
		cmocka_unit_test(an_empty_pool_sends_what_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

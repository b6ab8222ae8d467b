/* What software makes of a frame for a port that cannot, and what a port that can is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dataplane/net.h"
#include "dataplane/offload.h"
#include "frame.h"
#include "wire/ip6.h"
#include "wire/order.h"
#include "wire/tcphdr.h"

#define US "02:00:00:00:00:01"
#define PEER "02:00:00:00:00:02"
#define ALL "ff:ff:ff:ff:ff:ff"
#define TCP_BYTES 20
#define FIRST_SEQ UINT32_C(0xfffffc00) /* wraps behind the first segment */

struct bench {
	struct pkt_pool header;
	struct pkt_pool bare;
	struct pkt_pool payload;
	bool v4;
};

static void
open_bench(struct bench *b, bool v4)
{
	pkt_pool_init(&b->header, 256);
	pkt_pool_init(&b->bare, 1024);
	pkt_pool_init(&b->payload, 256);
	b->v4 = v4;
}

static void
close_bench(const struct bench *b)
{
	assert_int_equal(b->header.used, 0);
	assert_int_equal(b->bare.used, 0);
	assert_int_equal(b->payload.used, 0);
}

static uint8_t
payload_byte(uint32_t i)
{
	return (uint8_t)(i * 7 + (i >> 8));
}

/* As the stack makes one: headers and the first `with_header` bytes of payload in one packet, the rest attached
 * in pieces. */
static struct pkt *
make(struct bench *b, uint32_t payload, uint32_t with_header, uint32_t piece, uint16_t mss, uint8_t flags)
{
	struct pkt *p = pkt_alloc(&b->header);
	struct pkt_meta *meta = pkt_meta(p);
	struct frame f;
	uint32_t at;

	frame_tcp(&f, PEER, US, b->v4 ? "10.0.0.1" : "fd00::1", 443, b->v4 ? "10.0.0.2" : "fd00::2", 50000, 0);
	meta->l2_bytes = 14;
	meta->l3_bytes = b->v4 ? 20 : 40;
	meta->l4_bytes = TCP_BYTES;
	f.len = 14u + meta->l3_bytes + TCP_BYTES; /* without padding */
	memcpy(pkt_append(p, (uint32_t)f.len), f.bytes, f.len);
	order_put32(pkt_data(p) + 14 + meta->l3_bytes + 4, FIRST_SEQ);
	pkt_data(p)[14 + meta->l3_bytes + 13] = flags;
	meta->src = frame_address(b->v4 ? "10.0.0.1" : "fd00::1");
	meta->dst = frame_address(b->v4 ? "10.0.0.2" : "fd00::2");
	meta->tso_mss = mss;
	meta->l4_csum = PKT_CSUM_PSEUDO;
	for (at = 0; at < with_header; at++)
		*pkt_append(p, 1) = payload_byte(at);
	while (at < payload) {
		uint32_t n = payload - at < piece ? payload - at : piece;
		struct pkt *whole = pkt_alloc(&b->payload);
		struct pkt *shown;

		for (uint32_t i = 0; i < n; i++)
			*pkt_append(whole, 1) = payload_byte(at + i);
		shown = pkt_attach(&b->bare, whole, 0, n);
		pkt_free(whole);
		pkt_chain(p, shown);
		at += n;
	}
	/* The lengths as ip_send() writes them. */
	if (b->v4)
		order_put16(pkt_data(p) + 14 + 2, (uint16_t)(pkt_total(p) - 14));
	else
		order_put16(pkt_data(p) + 14 + 4, (uint16_t)(pkt_total(p) - 14 - 40));
	return p;
}

/* Judges one segment with eyes of its own (frame_describe), and takes it. */
static void
check_segment(const struct bench *b, struct pkt *p, uint32_t sent, uint32_t n, uint8_t flags)
{
	uint32_t header = 14u + (b->v4 ? 20 : 40) + TCP_BYTES;
	struct frame f;
	char text[128];

	assert_int_equal(pkt_meta(p)->l4_csum, PKT_CSUM_PSEUDO);
	assert_int_equal(pkt_meta(p)->tso_mss, 0);
	offload_finish(p);
	assert_int_equal(pkt_meta(p)->l4_csum, PKT_CSUM_UNKNOWN);
	frame_from_pkt(&f, p);
	frame_describe(&f, text, sizeof(text));
	assert_string_equal(text, b->v4 ? "tcp 10.0.0.1:443 > 10.0.0.2:50000" : "tcp fd00::1:443 > fd00::2:50000");
	assert_int_equal(f.len, header + n);
	assert_int_equal(order_get32(f.bytes + header - TCP_BYTES + 4), FIRST_SEQ + sent);
	assert_int_equal(f.bytes[header - TCP_BYTES + 13], flags);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(f.bytes[header + i], payload_byte(sent + i));
}

static void
split_and_check(bool v4, uint32_t payload, uint32_t with_header, uint32_t piece, uint16_t mss)
{
	uint8_t flags = TCPHDR_ACK | TCPHDR_PSH | TCPHDR_FIN | TCPHDR_CWR;
	struct pkt_queue out = { 0 };
	struct bench b;
	uint32_t sent = 0;
	struct pkt *p;

	open_bench(&b, v4);
	assert_true(offload_split(make(&b, payload, with_header, piece, mss, flags), &b.header, &b.bare, &out));
	assert_int_equal(out.count, (payload + mss - 1) / mss);
	while ((p = pkt_queue_get(&out)) != NULL) {
		uint32_t n = payload - sent < mss ? payload - sent : mss;
		bool last = sent + n == payload;

		check_segment(&b, p, sent, n,
			      (uint8_t)(TCPHDR_ACK | (last ? TCPHDR_PSH | TCPHDR_FIN : 0) |
					(sent == 0 ? TCPHDR_CWR : 0)));
		sent += n;
	}
	assert_int_equal(sent, payload);
	close_bench(&b);
}

static void
segments_have_every_byte_once_and_headers_of_their_own(void **state)
{
	(void)state;
	for (int v4 = 0; v4 < 2; v4++) {
		split_and_check(v4, 8000, 0, 2000, 1448);
		split_and_check(v4, 1449, 0, 1449, 1448); /* the last has one byte */
		split_and_check(v4, 2896, 0, 1000, 1448); /* ends with a full one */
		split_and_check(v4, 5000, 333, 777, 999); /* odd pieces, data beside the headers */
		split_and_check(v4, 300, 300, 1, 100);	  /* all of it there */
		split_and_check(v4, 40, 0, 1, 7);	  /* a piece per byte */
	}
}

static void
an_empty_pool_drops_the_rest_and_keeps_nothing(void **state)
{
	uint32_t failed = 0;

	(void)state;
	for (uint32_t nth = 1; nth <= 6; nth++) {
		for (int which = 0; which < 2; which++) {
			struct pkt_queue out = { 0 };
			struct bench b;
			struct pkt *frame, *p;
			uint32_t made = 0;

			open_bench(&b, true);
			frame = make(&b, 4000, 0, 1500, 1000, TCPHDR_ACK);
			(which == 0 ? &b.header : &b.bare)->fail_in = nth;
			if (!offload_split(frame, &b.header, &b.bare, &out))
				failed++;
			while ((p = pkt_queue_get(&out)) != NULL)
				check_segment(&b, p, 1000 * made++, 1000, TCPHDR_ACK);
			close_bench(&b);
		}
	}
	/* Four headers; pieces: 1000, 500 + 500, 1000, 1000. */
	assert_int_equal(failed, 4 + 5);
}

static void
a_frame_that_asks_for_nothing_is_left_alone(void **state)
{
	struct bench b;
	struct pkt *p;
	uint8_t before[54];

	(void)state;
	open_bench(&b, true);
	p = make(&b, 100, 0, 100, 0, TCPHDR_ACK);
	pkt_meta(p)->l4_csum = PKT_CSUM_UNKNOWN;
	memcpy(before, pkt_data(p), sizeof(before));
	offload_finish(p);
	assert_memory_equal(before, pkt_data(p), sizeof(before));
	pkt_free(p);
	close_bench(&b);
}

/* --- the stack above --------------------------------------------------------------------------- */

/* A SYN of ours to 10.0.0.2, as the frame that reaches the port. */
static struct pkt *
first_frame(struct net *net, struct pkt_pool *pool, void **tcp_memory, bool checksum_offload)
{
	uint64_t now_ns = 1000 * NSEC_PER_SEC;
	static struct steering steering;
	struct tcp_config tcp = { .conns_max = 64,
				  .half_open_max = 64,
				  .time_wait_max = 64,
				  .ranges_max = 256,
				  .mss_v4 = 1460,
				  .mss_v6 = 1440,
				  .recv_bytes_max = 65535,
				  .send_bytes_max = 65536,
				  .window_shift = 8,
				  .seed = 7,
				  .checksum_offload = checksum_offload };
	struct tcp_tuple tuple = { frame_address("10.0.0.1"), frame_address("10.0.0.2"), 4000, 80 };
	struct net_config config = { .count = 1, .steering = &steering, .pool = pool };
	struct frame arp;
	struct pkt *p;
	tcp_conn_t conn;

	steering_init(&steering, 1, 1);
	*tcp_memory = aligned_alloc(CACHE_LINE_BYTES, (tcp_bytes(&tcp) + 63) & ~(size_t)63);
	config.tcp = tcp_init(*tcp_memory, &tcp, pool, pool, now_ns);
	config.ip.port_count = 1;
	config.ip.ports[0] = (struct ip_port){ .mac = { { 2, 0, 0, 0, 0, 1 } },
					       .mtu_bytes = 1500,
					       .address_count = 1,
					       .addresses = { { frame_address("10.0.0.1"), 120 } } };
	net_init(net, &config, now_ns);
	frame_arp(&arp, US, 1, PEER, "10.0.0.2", "10.0.0.1");
	net_receive(net, frame_to_pkt(&arp, 0, pool), now_ns);
	while ((p = net_transmit_next(net)) != NULL)
		pkt_free(p);
	assert_int_equal(tcp_connect(config.tcp, &tuple, 0, &conn, now_ns), ERR_OK);
	tcp_output_ready(config.tcp, now_ns);
	net_output(net, now_ns);
	p = net_transmit_next(net);
	assert_non_null(p);
	return p;
}

static void
a_port_with_checksums_gets_the_pseudo_headers_sum(void **state)
{
	struct frame frames[2];
	char text[128];

	(void)state;
	for (int offload = 0; offload < 2; offload++) {
		static struct net net;
		struct pkt_pool pool;
		void *tcp_memory;
		struct pkt *p;

		pkt_pool_init(&pool, 1000);
		p = first_frame(&net, &pool, &tcp_memory, offload == 1);
		assert_int_equal(pkt_meta(p)->l4_csum, offload ? PKT_CSUM_PSEUDO : PKT_CSUM_UNKNOWN);
		assert_int_equal(pkt_meta(p)->l2_bytes, 14);
		assert_int_equal(pkt_meta(p)->l3_bytes, 20);
		assert_int_equal(pkt_meta(p)->l4_bytes, 40); /* MSS, SACK, timestamps, shift */
		if (offload) {
			/* 10.0.0.1 + 10.0.0.2 + TCP + 40 bytes, added by hand, not inverted. */
			assert_int_equal(order_get16(pkt_data(p) + 14 + 20 + 16), 0x1400 + 3 + 6 + 40);
			frame_from_pkt(&frames[0], (pkt_ref(p), p));
			frame_describe(&frames[0], text, sizeof(text));
			assert_string_equal(text, "tcp 10.0.0.1:4000 > 10.0.0.2:80 bad");
		}
		offload_finish(p);
		frame_from_pkt(&frames[offload], p);
		frame_describe(&frames[offload], text, sizeof(text));
		assert_string_equal(text, "tcp 10.0.0.1:4000 > 10.0.0.2:80");
		net_fini(&net);
		tcp_fini(net.tcp);
		free(tcp_memory);
		assert_int_equal(pool.used, 0);
	}
	assert_int_equal(frames[0].len, frames[1].len);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segments_have_every_byte_once_and_headers_of_their_own),
		cmocka_unit_test(an_empty_pool_drops_the_rest_and_keeps_nothing),
		cmocka_unit_test(a_frame_that_asks_for_nothing_is_left_alone),
		cmocka_unit_test(a_port_with_checksums_gets_the_pseudo_headers_sum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

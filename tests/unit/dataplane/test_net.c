/* Two workers on one port: a frame reaches its owner whichever of them gets it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dataplane/net.h"
#include "frame.h"

#define US "02:00:00:00:00:01"
#define PEER "02:00:00:00:00:02"
#define ALL "ff:ff:ff:ff:ff:ff"
#define COUNT 3

struct worker_of_test {
	struct net net;
	struct pkt_pool pool;
	void *tcp_memory;
};

struct fleet_of_test {
	struct worker_of_test workers[COUNT];
	struct ring rings[COUNT][COUNT]; /* from, to */
	struct steering steering;
	uint64_t now_ns;
};

static struct tcp *
open_tcp(struct worker_of_test *w, uint64_t now_ns)
{
	struct tcp_config config = {
		.conns_max = 64,
		.half_open_max = 64,
		.time_wait_max = 64,
		.ranges_max = 256,
		.mss_v4 = 1460,
		.mss_v6 = 1440,
		.recv_bytes_max = 65535,
		.send_bytes_max = 65536,
		.window_shift = 8,
		.seed = 7,
	};

	net_serve_tcp(&w->net, &config);
	w->tcp_memory = aligned_alloc(CACHE_LINE_BYTES, (tcp_bytes(&config) + 63) & ~(size_t)63);
	return tcp_init(w->tcp_memory, &config, &w->pool, &w->pool, now_ns);
}

static struct fleet_of_test *
start(void)
{
	struct fleet_of_test *fleet = aligned_alloc(CACHE_LINE_BYTES, sizeof(*fleet));

	memset(fleet, 0, sizeof(*fleet));
	fleet->now_ns = 1000 * NSEC_PER_SEC;
	steering_init(&fleet->steering, COUNT, 42);
	for (uint16_t i = 0; i < COUNT; i++) {
		struct worker_of_test *w = &fleet->workers[i];
		struct net_config config = { .index = i,
					     .count = COUNT,
					     .steering = &fleet->steering,
					     .pool = &w->pool };
		struct ip_port *port = &config.ip.ports[0];

		pkt_pool_init(&w->pool, 5000);
		config.tcp = open_tcp(w, fleet->now_ns);
		config.ip.port_count = 1;
		config.ip.hash_key = 42;
		port->mac = (struct eth_addr){ { 2, 0, 0, 0, 0, 1 } };
		port->mtu_bytes = 1500;
		port->gateway_v4 = frame_address("10.0.0.254");
		port->address_count = 2;
		port->addresses[0] = (struct ip_address){ frame_address("10.0.0.1"), 120 };
		port->addresses[1] = (struct ip_address){ frame_address("fd00::1"), 64 };
		net_init(&w->net, &config, fleet->now_ns);
		for (uint16_t j = 0; j < COUNT; j++) {
			w->net.to[j] = j != i ? &fleet->rings[i][j] : NULL;
			w->net.from[j] = j != i ? &fleet->rings[j][i] : NULL;
		}
	}
	return fleet;
}

static void
stop(struct fleet_of_test *fleet)
{
	for (int i = 0; i < COUNT; i++) {
		net_fini(&fleet->workers[i].net);
		tcp_fini(fleet->workers[i].net.tcp);
		free(fleet->workers[i].tcp_memory);
	}
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(fleet->workers[i].pool.used, 0);
	free(fleet);
}

static void
give(struct fleet_of_test *fleet, int worker, const struct frame *f)
{
	struct worker_of_test *w = &fleet->workers[worker];

	net_receive(&w->net, frame_to_pkt(f, 0, &w->pool), fleet->now_ns);
}

/* One turn of everybody; counts frames out per worker, and drops them. */
static void
turn(struct fleet_of_test *fleet, uint32_t out[COUNT])
{
	for (int i = 0; i < COUNT; i++) {
		struct net *net = &fleet->workers[i].net;
		struct pkt *p;

		net_receive_forwarded(net, fleet->now_ns);
		net_output(net, fleet->now_ns);
		for (out[i] = 0; (p = net_transmit_next(net)) != NULL; out[i]++)
			pkt_free(p);
	}
}

/* The worker that a segment from port src_port ends at. */
static int
owner_of(const struct fleet_of_test *fleet, uint16_t src_port)
{
	struct ip_addr peer = frame_address("10.0.0.2"), us = frame_address("10.0.0.1");

	return steering_owner(&fleet->steering, &peer, &us, src_port, 443);
}

static uint64_t
segments_in(const struct fleet_of_test *fleet, int worker)
{
	return tcp_stats(fleet->workers[worker].net.tcp)->segments_in;
}

static void
everybody_owns_a_share_of_the_flows(void **state)
{
	struct fleet_of_test *fleet = start();
	uint32_t share[COUNT] = { 0 };

	(void)state;
	for (uint32_t port = 1024; port < 1024 + 30000; port++)
		share[owner_of(fleet, (uint16_t)port)]++;
	for (int i = 0; i < COUNT; i++)
		assert_in_range(share[i], 9500, 10500);
	stop(fleet);
}

/* The first two rows of Microsoft's verification suite, against tables that show the hash's last bits. */
static void
a_card_that_hashes_decides(void **state)
{
	static const uint8_t key[TOEPLITZ_KEY_BYTES] = {
		0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
		0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
		0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
	};
	struct ip_addr v4[2] = { frame_address("66.9.149.187"), frame_address("161.142.100.80") };
	struct ip_addr v6[2] = { frame_address("3ffe:2501:200:1fff::7"),
				 frame_address("3ffe:2501:200:3::1") };
	struct steering_rss rss = { .count = 128 }, other = { .count = 64 };
	struct steering s;

	(void)state;
	memcpy(rss.key, key, sizeof(key));
	steering_init(&s, 128, 42);
	for (uint16_t i = 0; i < 128; i++)
		rss.table[i] = 127 - i;
	steering_follow(&s, &(struct steering_rss){ .count = 0 }); /* a port that does not know */
	steering_follow(&s, &rss);
	steering_follow(&s, &other);
	assert_int_equal(steering_owner(&s, &v4[0], &v4[1], 2794, 1766), 127 - (0x51ccc178 & 127));
	assert_int_equal(steering_owner(&s, &v6[0], &v6[1], 2794, 1766), 127 - (0x40207d3d & 127));
}

static void
a_segment_ends_at_its_owner_whoever_gets_it(void **state)
{
	struct fleet_of_test *fleet = start();
	uint32_t out[COUNT];
	struct frame f;

	(void)state;
	for (int at = 0; at < COUNT; at++) {
		for (uint16_t port = 2000; port < 2050; port++) {
			uint64_t before = segments_in(fleet, owner_of(fleet, port));

			frame_tcp(&f, US, PEER, "10.0.0.2", port, "10.0.0.1", 443, 0);
			give(fleet, at, &f);
			turn(fleet, out);
			assert_int_equal(segments_in(fleet, owner_of(fleet, port)), before + 1);
		}
	}
	assert_int_equal(segments_in(fleet, 0) + segments_in(fleet, 1) + segments_in(fleet, 2),
			 COUNT * 50);
	stop(fleet);
}

/* T24: the same SYNs again, with another mapping of the port each time. */
static void
t24_a_segment_at_the_wrong_worker_makes_no_second_connection(void **state)
{
	struct fleet_of_test *fleet = start();
	uint32_t owned[COUNT] = { 0 };
	uint32_t out[COUNT];
	struct frame f;

	(void)state;
	for (int i = 0; i < COUNT; i++)
		tcp_listen(fleet->workers[i].net.tcp, &(struct ip_addr){ { 0 } }, 443, 0);
	for (uint16_t port = 2000; port < 2030; port++)
		owned[owner_of(fleet, port)]++;
	for (int at = 0; at < COUNT; at++) {
		for (uint16_t port = 2000; port < 2030; port++) {
			frame_tcp(&f, US, PEER, "10.0.0.2", port, "10.0.0.1", 443, 0);
			give(fleet, at, &f);
			turn(fleet, out);
		}
		for (int i = 0; i < COUNT; i++)
			assert_int_equal(tcp_stats(fleet->workers[i].net.tcp)->half_open, owned[i]);
	}
	stop(fleet);
}

static void
an_error_ends_where_its_flow_does(void **state)
{
	struct fleet_of_test *fleet = start();
	uint64_t forwarded;
	struct frame f;
	uint16_t port = 2000;

	(void)state;
	while (owner_of(fleet, port) != 2)
		port++;
	frame_ethernet(&f, US, PEER, 0x0800);
	frame_ip(&f, "192.0.2.1", "10.0.0.1", 1);
	frame_append_hex(&f, "0301 0000 00000000 45000028000040004006 0000 0a000001 0a000002 01bb 0000 00000007");
	f.bytes[f.len - 6] = (uint8_t)(port >> 8);
	f.bytes[f.len - 5] = (uint8_t)port;
	frame_end(&f);
	give(fleet, 0, &f);
	forwarded = fleet->workers[0].net.frames_forwarded;
	assert_int_equal(forwarded, 1);
	assert_non_null(fleet->rings[0][2].slots[0]);
	stop(fleet);
}

/* A datagram in pieces that come to different workers. */
static void
pieces_meet_and_what_they_make_ends_at_its_owner(void **state)
{
	struct fleet_of_test *fleet = start();
	uint32_t out[COUNT];
	struct frame whole, f;

	(void)state;
	for (uint32_t id = 0; id < 50; id++) {
		uint16_t port = (uint16_t)(2000 + id);
		uint64_t before = segments_in(fleet, owner_of(fleet, port));

		frame_tcp(&whole, US, PEER, "10.0.0.2", port, "10.0.0.1", 443, 1980);
		for (size_t i = 0; i < 2; i++) {
			frame_fragment(&f, &whole, 0, 1000 * i, 1000, i == 0, id);
			give(fleet, (int)((id + i) % COUNT), &f);
			turn(fleet, out);
			turn(fleet, out);
		}
		assert_int_equal(segments_in(fleet, owner_of(fleet, port)), before + 1);
	}
	stop(fleet);
}

/* An error about a SYN of ours, given to any worker, reaches the cache of who owns the connection. */
static void
a_narrow_path_is_learnt_from_an_error_about_what_is_in_flight(void **state)
{
	struct fleet_of_test *fleet = start();
	struct ip_addr far = frame_address("192.0.2.1");
	struct worker_of_test *w = &fleet->workers[1];
	struct tcp_tuple tuple = { frame_address("10.0.0.1"), far, 0, 80 };
	uint8_t header[8];
	uint32_t out[COUNT];
	struct pkt *syn;
	struct frame f;
	tcp_conn_t conn;

	(void)state;
	assert_int_equal(tcp_connect(w->net.tcp, &tuple, 0, &conn, fleet->now_ns), ERR_OK);
	tcp_output_ready(w->net.tcp, fleet->now_ns);
	syn = tcp_transmit_next(w->net.tcp);
	assert_non_null(syn);
	pkt_copy_out(syn, 0, header, sizeof(header));
	pkt_free(syn);
	for (int forged = 1; forged >= 0; forged--) {
		frame_ethernet(&f, US, PEER, 0x0800);
		frame_ip(&f, "10.0.0.254", "10.0.0.1", 1);
		frame_append_hex(&f, "0304 0000 0000 0578 450005dc000040004006 0000 0a000001 c0000201");
		header[4] ^= (uint8_t)(0x40 * forged); /* another number */
		frame_append(&f, header, sizeof(header));
		header[4] ^= (uint8_t)(0x40 * forged);
		frame_end(&f);
		give(fleet, 0, &f);
		turn(fleet, out);
		assert_int_equal(ip_mtu_to(&w->net.ip, &far, fleet->now_ns).path_bytes,
				 forged ? 1500 : 1400);
	}
	assert_int_equal(w->net.config.index, 1);
	stop(fleet);
}

static void
what_tcp_says_of_progress_confirms_the_neighbour(void **state)
{
	struct fleet_of_test *fleet = start();
	struct ip_addr peer = frame_address("10.0.0.2");
	struct tcp_config config = { .owner = NULL };
	struct worker_of_test *w = &fleet->workers[0];
	uint32_t out[COUNT], reachable = 0;
	struct frame f;

	(void)state;
	frame_arp(&f, ALL, 1, PEER, "10.0.0.2", "10.0.0.1");
	give(fleet, 0, &f);
	turn(fleet, out);
	net_serve_tcp(&w->net, &config);
	config.path_works(&peer, fleet->now_ns, config.owner);
	for (uint32_t i = 0; i < IP_NEIGHBOURS; i++)
		reachable += w->net.ip.neighbours[i].state == IP_NEIGHBOUR_REACHABLE;
	assert_int_equal(reachable, 1);
	stop(fleet);
}

static void
a_neighbour_is_known_to_all_and_answered_once(void **state)
{
	struct fleet_of_test *fleet = start();
	uint32_t out[COUNT];
	struct frame f;

	(void)state;
	frame_arp(&f, ALL, 1, PEER, "10.0.0.2", "10.0.0.1");
	give(fleet, 1, &f);
	turn(fleet, out);
	assert_int_equal(out[0], 0);
	assert_int_equal(out[1], 1);
	assert_int_equal(out[2], 0);
	/* Everybody can send there without a question: a reset to each unknown segment. */
	for (uint16_t port = 2000; port < 2050; port++) {
		frame_tcp(&f, US, PEER, "10.0.0.2", port, "10.0.0.1", 443, 0);
		give(fleet, 0, &f);
		turn(fleet, out);
		assert_int_equal(out[owner_of(fleet, port)], 1);
		assert_int_equal(out[0] + out[1] + out[2], 1);
	}
	stop(fleet);
}

static void
an_echo_is_answered_by_who_gets_it(void **state)
{
	struct fleet_of_test *fleet = start();
	uint32_t out[COUNT];
	struct frame f;

	(void)state;
	frame_arp(&f, ALL, 1, PEER, "10.0.0.2", "10.0.0.1");
	give(fleet, 0, &f);
	turn(fleet, out);
	for (int at = 0; at < COUNT; at++) {
		frame_echo(&f, US, PEER, "10.0.0.2", "10.0.0.1", 100);
		give(fleet, at, &f);
		turn(fleet, out);
		assert_int_equal(out[at], 1);
	}
	stop(fleet);
}

static void
a_full_ring_drops_and_counts(void **state)
{
	struct fleet_of_test *fleet = start();
	uint32_t out[COUNT], turns = 0;
	uint16_t port = 2000;
	struct frame f;

	(void)state;
	while (owner_of(fleet, port) != 2)
		port++;
	frame_tcp(&f, US, PEER, "10.0.0.2", port, "10.0.0.1", 443, 0);
	for (uint32_t i = 0; i < RING_SLOTS + 5; i++)
		give(fleet, 0, &f);
	assert_int_equal(fleet->workers[0].net.ip.drops[ERR_FORWARD_RING_FULL], 5);
	for (; segments_in(fleet, 2) < RING_SLOTS; turns++)
		turn(fleet, out);
	assert_int_equal(turns, RING_SLOTS / NET_FORWARDED_PER_TURN); /* bounded turns */
	stop(fleet);
}

static void
without_packets_for_copies_the_frame_is_still_handled(void **state)
{
	struct fleet_of_test *fleet = start();
	uint32_t out[COUNT];
	struct frame f;
	struct pkt *p;

	(void)state;
	frame_arp(&f, ALL, 1, PEER, "10.0.0.2", "10.0.0.1");
	p = frame_to_pkt(&f, 0, &fleet->workers[0].pool);
	fleet->workers[0].pool.fail_in = 1; /* the first of the two copies */
	net_receive(&fleet->workers[0].net, p, fleet->now_ns);
	assert_int_equal(fleet->workers[0].net.ip.drops[ERR_POOL_EMPTY], 1);
	turn(fleet, out);
	assert_int_equal(out[0], 1);
	stop(fleet);
}

static void
what_waits_in_rings_is_freed_at_the_end(void **state)
{
	struct fleet_of_test *fleet = start();
	struct frame f;

	(void)state;
	for (uint16_t port = 2000; port < 2100; port++) {
		frame_tcp(&f, US, PEER, "10.0.0.2", port, "10.0.0.1", 443, 0);
		give(fleet, 0, &f);
	}
	stop(fleet);
}

/* A queue that got a frame although the card's own hash and table say another: what we were told is wrong. */
static void
a_card_that_does_not_keep_to_its_table_is_counted(void **state)
{
	struct fleet_of_test *fleet = start();
	struct steering_rss rss = { .count = 64 };
	struct frame f;
	int counted = 0;

	(void)state;
	for (uint16_t i = 0; i < rss.count; i++)
		rss.table[i] = i % COUNT;
	steering_follow(&fleet->steering, &rss);
	for (uint16_t port = 2000; port < 2016; port++) {
		int owner = owner_of(fleet, port);
		int at = (owner + 1) % COUNT;
		struct pkt *p;

		frame_tcp(&f, US, PEER, "10.0.0.2", port, "10.0.0.1", 443, 0);
		for (int lies = 0; lies < 2; lies++) {
			p = frame_to_pkt(&f, 0, &fleet->workers[at].pool);
			/* The flow's hash in the wrong queue; or a hash of other fields in its own. */
			pkt_meta(p)->rss_hash = lies ? 64u + (uint32_t)owner : 64u + (uint32_t)at;
			net_receive(&fleet->workers[at].net, p, fleet->now_ns);
			counted += lies;
			assert_int_equal(fleet->workers[0].net.frames_missteered +
						 fleet->workers[1].net.frames_missteered +
						 fleet->workers[2].net.frames_missteered,
					 counted);
		}
	}
	stop(fleet);
}

/* Pieces hold no ports but in the first: they meet where their number leads, and go on as a whole. */
static void
pieces_of_a_segment_meet_and_end_at_its_owner(void **state)
{
	struct fleet_of_test *fleet = start();
	uint32_t out[COUNT];
	struct frame whole, piece;

	(void)state;
	for (uint16_t port = 2000; port < 2020; port++) {
		int owner = owner_of(fleet, port);
		uint64_t before = segments_in(fleet, owner);

		frame_tcp(&whole, US, PEER, "10.0.0.2", port, "10.0.0.1", 443, 100);
		for (int n = 0; n < 2; n++) {
			struct pkt *p;
			size_t from = n == 0 ? 0 : 64, bytes = n == 0 ? 64 : 56;

			piece = whole;
			memmove(piece.bytes + 34, whole.bytes + 34 + from, bytes);
			piece.len = 34 + bytes;
			piece.bytes[17] = (uint8_t)(20 + bytes);
			piece.bytes[18] = (uint8_t)(port >> 8);
			piece.bytes[19] = (uint8_t)port; /* identification */
			piece.bytes[20] = n == 0 ? 0x20 : 0;
			piece.bytes[21] = (uint8_t)(from / 8);
			p = frame_to_pkt(&piece, 0, &fleet->workers[n].pool);
			pkt_meta(p)->l3_csum = PKT_CSUM_GOOD; /* the card has seen to the header */
			net_receive(&fleet->workers[n].net, p, fleet->now_ns);
		}
		turn(fleet, out);
		turn(fleet, out);
		assert_int_equal(segments_in(fleet, owner), before + 1);
	}
	stop(fleet);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(everybody_owns_a_share_of_the_flows),
		cmocka_unit_test(a_card_that_hashes_decides),
		cmocka_unit_test(a_card_that_does_not_keep_to_its_table_is_counted),
		cmocka_unit_test(pieces_of_a_segment_meet_and_end_at_its_owner),
		cmocka_unit_test(a_segment_ends_at_its_owner_whoever_gets_it),
		cmocka_unit_test(t24_a_segment_at_the_wrong_worker_makes_no_second_connection),
		cmocka_unit_test(an_error_ends_where_its_flow_does),
		cmocka_unit_test(pieces_meet_and_what_they_make_ends_at_its_owner),
		cmocka_unit_test(a_narrow_path_is_learnt_from_an_error_about_what_is_in_flight),
		cmocka_unit_test(what_tcp_says_of_progress_confirms_the_neighbour),
		cmocka_unit_test(a_neighbour_is_known_to_all_and_answered_once),
		cmocka_unit_test(an_echo_is_answered_by_who_gets_it),
		cmocka_unit_test(a_full_ring_drops_and_counts),
		cmocka_unit_test(without_packets_for_copies_the_frame_is_still_handled),
		cmocka_unit_test(what_waits_in_rings_is_freed_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Peers that hold, shred or lie: T9 to T11 and T20 to T22 of the threat list. Each test's name is the row's
 * promise; tests/README.md has the table. */
#include "stranger.h"

static uint32_t
held(const struct pkt_pool *pool)
{
	struct pkt_pool_stats stats = pkt_pool_stats(pool);

	return stats.total - stats.free;
}

static struct segment
modern_peer(uint32_t host, uint16_t port)
{
	struct segment s = from_stranger(host, port, SEGMENT_ACK);

	s.seq = 5000;
	s.has_mss = true;
	s.mss = 1460;
	s.has_sack_ok = true;
	return s;
}

/* --- T9: small segments and SACK holes ----------------------------------------------------- */

static void
t9_a_tiny_mss_is_raised_to_a_floor(void **state)
{
	static const uint16_t offers[] = { 0, 1, 8, 47, 48, 64 };
	struct tcp_config config = stack_config();

	(void)state;
	world_open(&config);
	for (uint32_t i = 0; i < COUNT_OF(offers); i++) {
		struct segment peer = modern_peer(5, (uint16_t)(1000 + i));
		struct segment last;
		struct segment s;
		tcp_conn_t conn;

		peer.mss = offers[i];
		conn = shake(&peer, &last);
		assert_int_equal(write_bytes(conn, 480, 480), 480);
		assert_true(take(&s));
		assert_in_range(s.payload.len, TCP_MSS_MIN, 64);
		assert_in_range(take_all(), 1, 480 / TCP_MSS_MIN);
		tcp_abort(world.stack.tcp, conn);
		take_all();
	}
	stack_close(&world.stack);
}

static void
t9_a_tiny_mss_can_be_refused(void **state)
{
	struct tcp_config config = stack_config();
	struct segment peer = modern_peer(5, 1000);
	struct segment last;

	(void)state;
	config.peer_mss_min = 216;
	world_open(&config);
	peer.flags = SEGMENT_SYN;
	for (peer.mss = 0; peer.mss < 216; peer.mss++)
		assert_int_equal(give(&peer), ERR_TCP_SMALL_MSS);
	assert_int_equal(take_all(), 0);
	assert_int_equal(world.stack.tcp->table.refs, 0);
	assert_int_equal(tcp_stats(world.stack.tcp)->drops[ERR_TCP_SMALL_MSS], 216);
	shake(&peer, &last); /* 216 */
	peer.src_port++;
	peer.has_mss = false; /* which means 536 */
	shake(&peer, &last);
	stack_close(&world.stack);
}

/* For a minute: every second segment is reported as received, then the others, and never anything acknowledged. */
static void
shred(tcp_conn_t conn, struct segment ack, uint32_t mss, uint32_t rounds)
{
	uint32_t una = ack.ack;
	uint32_t edge = una;

	for (uint32_t n = 0; n < rounds; n++) {
		struct segment s;

		write_bytes(conn, 4 * mss, mss);
		while (take(&s))
			if ((int32_t)(s.seq + (uint32_t)s.payload.len - edge) > 0)
				edge = s.seq + (uint32_t)s.payload.len;
		ack.sacks = 0;
		for (uint32_t i = 0; i < 4 && edge - una > 2 * mss * (i + 1); i++) {
			uint32_t left = una + mss * (1 + 2 * ((n + i * 7) % ((edge - una) / mss / 2)));

			ack.sack[ack.sacks++] = (struct segment_sack){ left, left + mss };
		}
		give(&ack);
		assert_in_range(tcp_stats(world.stack.tcp)->ranges, 0, world.stack.tcp->conn_ranges_max);
		if (n % 16 == 0)
			tcp_check(world.stack.tcp);
		pass(5 * MS);
		if (!tcp_is_live(world.stack.tcp, conn) || tcp_stats(world.stack.tcp)->conns == 0)
			break;
	}
}

static void
t9_sack_holes_in_small_segments_stay_within_bounds(void **state)
{
	static const uint16_t sizes[] = { 8, 48, 64 };
	struct tcp_config config = stack_config();

	(void)state;
	world_open(&config);
	for (uint32_t i = 0; i < COUNT_OF(sizes); i++) {
		struct segment peer = modern_peer(5, (uint16_t)(1000 + i));
		struct segment last;
		struct tcp_event e;
		tcp_conn_t conn;

		peer.mss = sizes[i];
		conn = shake(&peer, &last);
		shred(conn, last, sizes[i] < TCP_MSS_MIN ? TCP_MSS_MIN : sizes[i], 12000);
		/* It never acknowledged anything: it is given up, and everything is back. */
		pass(60 * SEC);
		take_all();
		while (tcp_event_next(world.stack.tcp, &e))
			assert_true(e.bits & TCP_EVENT_ERROR || e.bits & TCP_EVENT_WRITABLE);
		tcp_close(world.stack.tcp, conn);
		assert_int_equal(tcp_stats(world.stack.tcp)->conns, 0);
		assert_true(stack_pools_are_full(&world.stack));
	}
	stack_close(&world.stack);
}

/* --- T10: SACKs without end ------------------------------------------------------------------ */

static void
t10_sacks_that_move_about_change_nothing_but_the_sender(void **state)
{
	struct tcp_config config = stack_config();
	struct segment peer = modern_peer(5, 1000);
	struct segment last;
	struct segment s;
	tcp_conn_t conn;
	uint32_t edge;
	uint32_t una;
	uint64_t sent;

	(void)state;
	config.user_timeout_ns = 3600 * SEC;
	world_open(&config);
	conn = shake(&peer, &last);
	write_bytes(conn, 200000, 1460);
	una = last.ack;
	edge = una;
	while (take(&s))
		edge = s.seq + (uint32_t)s.payload.len;
	assert_true(edge - una >= 8 * 1000);
	sent = tcp_stats(world.stack.tcp)->segments_out;
	for (uint32_t n = 0; n < 20000; n++) {
		last.sacks = 3;
		for (uint32_t i = 0; i < 3; i++) {
			uint32_t left = una + 1 + prng_below(&world.prng, edge - una + 3000);
			uint32_t right = left + prng_below(&world.prng, 4000) - 500; /* some lie */

			last.sack[i] = (struct segment_sack){ left, right };
		}
		give(&last);
		while (take(&s))
			if ((int32_t)(s.seq + (uint32_t)s.payload.len - edge) > 0)
				edge = s.seq + (uint32_t)s.payload.len;
		if (n % 64 == 0)
			tcp_check(world.stack.tcp);
		assert_in_range(tcp_stats(world.stack.tcp)->ranges, 0, world.stack.tcp->conn_ranges_max);
	}
	/* One moment, nothing acknowledged: what SACKs alone bring out is at most what was queued, once more. */
	assert_in_range(tcp_stats(world.stack.tcp)->segments_out - sent, 0, 2 * 200000 / 1460 + 2);
	last.sacks = 0;
	last.ack = edge;
	assert_int_equal(give(&last), ERR_OK);
	tcp_abort(world.stack.tcp, conn);
	take_all();
	stack_close(&world.stack);
}

/* Between two gigabytes and four after a reduction its end would look as if it lay ahead, and the marks of all
 * that time would be ignored. */
static void
an_ecn_reduction_is_forgotten_once_it_is_acknowledged(void **state)
{
	struct tcp_config config = stack_config();
	struct segment peer = modern_peer(5, 1000);
	struct segment last;
	struct segment s;
	struct tcp_conn *c;
	uint64_t reductions;
	tcp_conn_t conn;

	(void)state;
	world_open(&config);
	conn = shake(&peer, &last);
	c = pool_find(&world.stack.tcp->conns, conn);
	c->ecn_ok = true;
	assert_int_equal(write_bytes(conn, 200000, 1460), 200000);
	assert_true(take_all() > 4);
	last.flags |= SEGMENT_ECE;
	for (uint32_t i = 0; i < 2; i++) {
		last.ack += 1460;
		give(&last);
	}
	reductions = tcp_stats(world.stack.tcp)->ecn_reductions;
	assert_int_equal(reductions, 1);
	assert_true(c->flight->ecn_seen);
	last.flags = SEGMENT_ACK;
	for (uint32_t i = 0; i < 40 && c->flight != NULL && c->flight->ecn_seen; i++) {
		pass(10 * MS);
		while (take(&s))
			;
		last.ack += 1460;
		give(&last);
	}
	assert_non_null(c->flight);
	assert_false(c->flight->ecn_seen);
	/* As it was, half of all numbers later. */
	c->flight->ecn_end = c->snd_una + UINT32_C(0x40000000);
	c->ecn_cwr = false;
	last.flags |= SEGMENT_ECE;
	last.ack += 1460;
	give(&last);
	assert_int_equal(tcp_stats(world.stack.tcp)->ecn_reductions, reductions + 1);
	tcp_abort(world.stack.tcp, conn);
	take_all();
	stack_close(&world.stack);
}

/* --- T11: out of order ------------------------------------------------------------------------ */

#define SHREDDERS 40u

static void
t11_every_second_byte_pins_a_bounded_number_of_buffers(void **state)
{
	struct tcp_config config = stack_config();
	static tcp_conn_t conns[SHREDDERS];
	static struct segment last[SHREDDERS];
	uint32_t most = 0;
	struct segment s;
	struct pkt *p;

	(void)state;
	config.conns_max = SHREDDERS;
	config.ranges_max = 4096;
	world_open(&config);
	for (uint32_t i = 0; i < SHREDDERS; i++) {
		struct segment peer = modern_peer(5 + i, 1000);

		conns[i] = shake(&peer, &last[i]);
	}
	for (uint32_t n = 0; n < 600; n++) {
		for (uint32_t i = 0; i < SHREDDERS; i++) {
			s = last[i];
			s.seq += 2 + 2 * (n * 37 % 600);
			s.payload = bytes_make("x", 1);
			give(&s);
			take_all();
		}
		if (held(world.stack.receive_pool) > most)
			most = held(world.stack.receive_pool);
		if (n % 50 == 0)
			tcp_check(world.stack.tcp);
	}
	assert_in_range(most, 1, SHREDDERS * TCP_CONN_RUNS_MIN);
	assert_in_range(most, 1, config.ranges_max / 4 + SHREDDERS);
	/* Sending does not suffer, and what comes in order is taken. */
	for (uint32_t i = 0; i < SHREDDERS; i++) {
		assert_int_equal(write_bytes(conns[i], 100, 100), 100);
		assert_true(take(&s));
		assert_int_equal(s.payload.len, 100);
		take_all();
		s = last[i];
		s.payload = bytes_make("ab", 2);
		assert_int_equal(give(&s), ERR_OK);
		p = tcp_take(world.stack.tcp, conns[i]);
		assert_non_null(p);
		pkt_free(p);
		take_all();
	}
	stack_close(&world.stack);
}

#define RECEIVE_PACKETS 106u
#define SMALL_BYTES 204u

/* Runs pin the last buffer of the receive pool, so that what would fill the hole can not come in. They are given
 * up, though SACK has reported them (RFC 2018 section 8 allows that), and the stream arrives. */
static void
t11_runs_that_pin_the_last_buffer_are_given_up(void **state)
{
	static struct pkt *elsewhere[8192];
	struct tcp_config config = stack_config();
	struct segment peer = modern_peer(5, 1000);
	uint32_t taken = 0;
	uint32_t sacks = 0;
	uint32_t end = SMALL_BYTES; /* of what was sent; the first segment was lost */
	uint8_t payload[SMALL_BYTES];
	struct segment last;
	struct segment s;
	uint32_t base;
	tcp_conn_t conn;
	struct pkt *p;

	(void)state;
	config.recv_bytes_max = 491131;
	config.policies[TCP_POLICY_ACCEPTED].recv_bytes_start = config.recv_bytes_max;
	peer.has_wscale = true;
	peer.wscale = 7;
	world_open(&config);
	world.stack.tcp->config.watched_pools[0] =
		(struct tcp_watched_pool){ world.stack.receive_pool, 8192 - RECEIVE_PACKETS };
	for (uint32_t i = 0; i < 8192 - RECEIVE_PACKETS; i++)
		elsewhere[i] = pkt_alloc(world.stack.receive_pool);
	conn = shake(&peer, &last);
	take_all();
	pass(1 * MS); /* a look at the pools: the next is a millisecond away */
	base = last.seq;
	memset(payload, 'x', sizeof(payload));
	/* All at once, before the pools are looked at. Every second one, so that none is copied to another. */
	for (; pkt_pool_stats(world.stack.receive_pool).free > 0; end += 2 * SMALL_BYTES) {
		s = last;
		s.seq = base + end;
		s.payload = (struct bytes){ payload, SMALL_BYTES };
		assert_int_equal(give(&s), ERR_OK);
	}
	assert_int_equal(pkt_pool_stats(world.stack.receive_pool).free, 0);
	while (take(&s))
		sacks = s.sacks;
	assert_int_equal(sacks, 3);
	pass(0);
	assert_int_equal(pkt_pool_stats(world.stack.receive_pool).free, 0);
	/* Nothing comes in any more; who sleeps until the engine wants a turn must be told of one. */
	assert_true(tcp_next_at(world.stack.tcp) <= world.now_ns + 1 * MS);
	pass(1 * MS);
	tcp_check(world.stack.tcp);
	assert_int_equal(pkt_pool_stats(world.stack.receive_pool).free, RECEIVE_PACKETS);
	pass(1 * MS);
	assert_int_equal(tcp_stats(world.stack.tcp)->pressure, TCP_PRESSURE_NONE);
	take_all();
	for (uint32_t at = 0; at < end; at += SMALL_BYTES) {
		s = last;
		s.seq = base + at;
		s.payload = (struct bytes){ payload, SMALL_BYTES };
		assert_int_equal(give(&s), ERR_OK);
		while (take(&s)) {
			assert_int_equal(s.sacks, 0);
			assert_int_equal(s.ack, base + at + SMALL_BYTES);
		}
		while ((p = tcp_take(world.stack.tcp, conn)) != NULL) {
			taken += pkt_total(p);
			tcp_consumed(world.stack.tcp, conn, pkt_total(p));
			pkt_free(p);
		}
		pass(1 * MS);
	}
	assert_int_equal(taken, end);
	take_all();
	for (uint32_t i = 0; i < 8192 - RECEIVE_PACKETS; i++)
		pkt_free(elsewhere[i]);
	stack_close(&world.stack);
}

/* --- T9, T20: what many need ----------------------------------------------------------------- */

#define HOGS 64u

/* Readers who stop can take all descriptors by small pieces; they are taken back from who goes nowhere. */
static void
t20_readers_that_stop_give_their_descriptors_back(void **state)
{
	struct tcp_config config = stack_config();
	static tcp_conn_t conns[HOGS];
	struct segment peer = modern_peer(5 + HOGS, 1000);
	struct segment last;
	tcp_conn_t conn;

	(void)state;
	config.conns_max = HOGS + 1;
	config.ranges_max = HOGS * 64;
	world_open(&config);
	world.stack.tcp->config.watched_pools[0].pool = world.stack.payload_pool;
	for (uint32_t i = 0; i < HOGS; i++) {
		struct segment hog = modern_peer(5 + i, 1000);
		struct segment held_back;

		hog.window = 0;
		conns[i] = shake(&hog, &held_back);
		take_all();
	}
	conn = shake(&peer, &last);
	take_all();
	for (uint32_t i = 0; i < HOGS; i++)
		write_bytes(conns[i], 1 << 20, 10);
	tcp_check(world.stack.tcp);
	assert_int_equal(tcp_send_pieces(world.stack.tcp, conn), 0);
	for (uint32_t i = 0; i < 1500; i++) {
		pass(1 * MS);
		take_all();
	}
	assert_in_range(tcp_stats(world.stack.tcp)->shed, 1, HOGS / 2);
	assert_true(tcp_is_live(world.stack.tcp, conn));
	assert_int_equal(write_bytes(conn, 40, 10), 40);
	assert_in_range(take_all(), 1, 4);
	assert_int_equal(tcp_unsent(world.stack.tcp, conn), 0);
	stack_close(&world.stack);
}

/* Half of all descriptors in queues to send is no reason to drop what lies behind a hole. */
static void
t20_readers_that_stop_do_not_keep_others_from_having_holes(void **state)
{
	struct tcp_config config = stack_config();
	struct segment peer = modern_peer(5 + HOGS, 1000);
	struct segment last;

	(void)state;
	config.conns_max = HOGS + 1;
	config.ranges_max = HOGS * 64;
	world_open(&config);
	for (uint32_t i = 0; i < HOGS; i++) {
		struct segment hog = modern_peer(5 + i, 1000);
		struct segment held_back;

		hog.window = 0;
		assert_int_equal(write_bytes(shake(&hog, &held_back), 320, 10), 320);
		take_all();
	}
	shake(&peer, &last);
	last.seq += 100;
	last.payload = bytes_make("x", 1);
	assert_int_equal(give(&last), ERR_OK);
	take_all();
	stack_close(&world.stack);
}

/* A few flights of tiny segments do not take all that flights are noted in. */
static void
t9_flights_of_tiny_segments_leave_blocks_to_others(void **state)
{
	struct tcp_config config = stack_config();
	static tcp_conn_t conns[4];
	static struct segment last[4];
	struct segment peer = modern_peer(50, 1000);
	struct segment ack;
	struct segment s;
	tcp_conn_t conn;

	(void)state;
	config.ranges_max = 8192;
	config.blocks_max = 64;
	world_open(&config);
	for (uint32_t i = 0; i < 4; i++) {
		struct segment hog = modern_peer(5 + i, 1000);

		hog.mss = 64;
		conns[i] = shake(&hog, &last[i]);
	}
	for (uint32_t i = 0; i < 4; i++)
		write_bytes(conns[i], 1 << 20, 1000);
	/* The windows open, and all is sent; then they say no more. */
	for (uint32_t n = 0; n < 400; n++) {
		while (take(&s)) {
			uint32_t i = ((uint32_t)s.dst.byte[14] << 8 | s.dst.byte[15]) - 5;

			if (n < 30)
				last[i].ack = s.seq + (uint32_t)s.payload.len;
		}
		for (uint32_t i = 0; i < 4 && n < 30; i++)
			give(&last[i]);
		pass(MS / 4);
	}
	take_all();
	tcp_check(world.stack.tcp);
	conn = shake(&peer, &ack);
	assert_int_equal(write_bytes(conn, 1000, 1000), 1000);
	assert_in_range(take_all(), 1, 4);
	assert_int_equal(tcp_unsent(world.stack.tcp, conn), 0);
	assert_in_range(world.stack.tcp->blocks.free, 4, 64);
	stack_close(&world.stack);
}

/* --- T20 to T22: peers that stop --------------------------------------------------------------- */

#define HOLDERS 200u

static void
t20_a_window_of_zero_holds_no_more_than_was_queued_and_ends_when_told(void **state)
{
	struct tcp_config config = stack_config();
	static tcp_conn_t conns[HOLDERS];
	static struct segment last[HOLDERS];
	uint32_t before;

	(void)state;
	config.conns_max = HOLDERS;
	config.ranges_max = 8192;
	config.send_bytes_max = 16384;
	world_open(&config);
	for (uint32_t i = 0; i < HOLDERS; i++) {
		struct segment peer = modern_peer(5 + i, 1000);

		peer.window = 0;
		conns[i] = shake(&peer, &last[i]);
		write_bytes(conns[i], 1 << 20, 1024);
	}
	before = held(world.stack.payload_pool);
	assert_in_range(before, HOLDERS, HOLDERS * 16384 / 1024);
	/* Ten minutes of answered probes: nothing grows, nothing ends by itself. */
	for (uint32_t s = 0; s < 600; s++) {
		struct segment out;

		pass(1 * SEC);
		while (take(&out)) {
			uint32_t i = ((uint32_t)out.dst.byte[14] << 8 | out.dst.byte[15]) - 5;

			give(&last[i]);
		}
		assert_int_equal(held(world.stack.payload_pool), before);
	}
	assert_int_equal(tcp_stats(world.stack.tcp)->conns, HOLDERS);
	/* Half is aborted: gone at once. Half is closed: an orphan gets no more patience than anybody. */
	for (uint32_t i = 0; i < HOLDERS; i++) {
		if (i % 2 == 0)
			tcp_abort(world.stack.tcp, conns[i]);
		else
			tcp_close(world.stack.tcp, conns[i]);
	}
	take_all();
	assert_in_range(held(world.stack.payload_pool), 0, before / 2);
	for (uint32_t s = 0; s < 150; s++) {
		struct segment out;

		pass(1 * SEC);
		while (take(&out)) {
			uint32_t i = ((uint32_t)out.dst.byte[14] << 8 | out.dst.byte[15]) - 5;

			give(&last[i]);
		}
	}
	assert_int_equal(tcp_stats(world.stack.tcp)->conns, 0);
	assert_int_equal(held(world.stack.payload_pool), 0);
	stack_close(&world.stack);
}

/* New bytes that leave in answer to n bytes acknowledged in `pieces` ACKs. */
static uint32_t
growth(uint32_t port, uint32_t pieces)
{
	struct segment peer = modern_peer(5, (uint16_t)port);
	struct segment last;
	uint32_t flight = 0;
	uint32_t fresh = 0;
	struct segment s;
	tcp_conn_t conn = shake(&peer, &last);

	write_bytes(conn, 300000, 1460);
	while (take(&s))
		flight += (uint32_t)s.payload.len;
	for (uint32_t i = 1; i <= pieces; i++) {
		struct segment ack = last;

		ack.ack += (uint32_t)((uint64_t)flight * i / pieces);
		give(&ack);
		while (take(&s))
			fresh += (uint32_t)s.payload.len;
	}
	pass(100 * MS); /* paced */
	while (take(&s))
		fresh += (uint32_t)s.payload.len;
	tcp_abort(world.stack.tcp, conn);
	take_all();
	return fresh;
}

static void
t21_divided_acks_bring_out_no_more_than_whole_ones(void **state)
{
	struct tcp_config config = stack_config();
	uint32_t divided;
	uint32_t usual;

	(void)state;
	world_open(&config);
	usual = growth(1000, 5); /* an ACK for every second segment */
	divided = growth(1001, 2000);
	assert_true(usual >= 10 * 1460);
	/* Slow start: as much again as was acknowledged, and one segment of rounding. */
	assert_in_range(divided, 1, usual + 2 * 1460);
	stack_close(&world.stack);
}

static void
t21_acks_of_what_was_never_sent_bring_out_nothing(void **state)
{
	struct tcp_config config = stack_config();
	struct segment peer = modern_peer(5, 1000);
	struct segment last;
	struct segment s;
	uint32_t edge;
	tcp_conn_t conn;

	(void)state;
	world_open(&config);
	conn = shake(&peer, &last);
	edge = last.ack;
	write_bytes(conn, 300000, 1460);
	while (take(&s))
		edge = s.seq + (uint32_t)s.payload.len;
	for (uint32_t i = 1; i < 300; i++) {
		struct segment ack = last;

		ack.ack = edge + i * 1460;
		assert_int_equal(give(&ack), ERR_TCP_BAD_ACK);
		while (take(&s))
			assert_int_equal(s.payload.len, 0); /* the true number, at a limited rate */
	}
	tcp_abort(world.stack.tcp, conn);
	take_all();
	stack_close(&world.stack);
}

#define LEAVERS 2000u

/* Half of the clients send their FIN and vanish, half vanish before ours is acknowledged. */
static void
t22_clients_that_close_and_vanish_are_gone_in_a_minute(void **state)
{
	struct tcp_config config = stack_config();
	static tcp_conn_t conns[LEAVERS];

	(void)state;
	config.conns_max = LEAVERS;
	config.orphans_max = LEAVERS;
	config.time_wait_max = LEAVERS;
	world_open(&config);
	for (uint32_t i = 0; i < LEAVERS; i++) {
		struct segment peer = modern_peer(5 + i, 1000);
		struct segment last;
		struct tcp_event e;

		conns[i] = shake(&peer, &last);
		if (i % 4 == 0) { /* CLOSE-WAIT, then LAST-ACK */
			last.flags |= SEGMENT_FIN;
			assert_int_equal(give(&last), ERR_OK);
			assert_true(tcp_event_next(world.stack.tcp, &e) && e.bits & TCP_EVENT_EOF);
		}
		tcp_close(world.stack.tcp, conns[i]);
		take_all();
		if (i % 4 == 1) { /* our FIN is acknowledged, theirs never comes: FIN-WAIT-2 */
			last.ack++;
			assert_int_equal(give(&last), ERR_OK);
		}
		if (i % 4 == 2) { /* both: CLOSING */
			last.flags |= SEGMENT_FIN;
			give(&last);
		}
		take_all();
	}
	assert_int_equal(tcp_stats(world.stack.tcp)->conns, LEAVERS);
	assert_int_equal(tcp_stats(world.stack.tcp)->orphans, LEAVERS);
	for (uint32_t s = 0; s < 62; s++) {
		pass(1 * SEC);
		take_all();
	}
	assert_int_equal(tcp_stats(world.stack.tcp)->conns, 0);
	assert_int_equal(tcp_stats(world.stack.tcp)->orphans, 0);
	assert_int_equal(world.stack.tcp->table.refs, 0);
	stack_close(&world.stack);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(t9_a_tiny_mss_is_raised_to_a_floor),
		cmocka_unit_test(t9_a_tiny_mss_can_be_refused),
		cmocka_unit_test(t9_sack_holes_in_small_segments_stay_within_bounds),
		cmocka_unit_test(t10_sacks_that_move_about_change_nothing_but_the_sender),
		cmocka_unit_test(an_ecn_reduction_is_forgotten_once_it_is_acknowledged),
		cmocka_unit_test(t11_every_second_byte_pins_a_bounded_number_of_buffers),
		cmocka_unit_test(t11_runs_that_pin_the_last_buffer_are_given_up),
		cmocka_unit_test(t20_readers_that_stop_give_their_descriptors_back),
		cmocka_unit_test(t20_readers_that_stop_do_not_keep_others_from_having_holes),
		cmocka_unit_test(t9_flights_of_tiny_segments_leave_blocks_to_others),
		cmocka_unit_test(t20_a_window_of_zero_holds_no_more_than_was_queued_and_ends_when_told),
		cmocka_unit_test(t21_divided_acks_bring_out_no_more_than_whole_ones),
		cmocka_unit_test(t21_acks_of_what_was_never_sent_bring_out_nothing),
		cmocka_unit_test(t22_clients_that_close_and_vanish_are_gone_in_a_minute),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Memory pressure, level by level: when each begins and ends, and what it does to connections. The watched pool
 * is a gauge that a test fills by hand, except where a peer does it. */
#include "peer.h"

#define GAUGE 100u

static struct pkt_pool gauge;
static struct pkt *taken[GAUGE];
static uint32_t taken_count;

/* So many of a hundred packets are out from now on; b has a look at it. */
static void
fill_to(uint32_t percent)
{
	while (taken_count < percent)
		assert_non_null(taken[taken_count++] = pkt_alloc(&gauge));
	while (taken_count > percent)
		pkt_free(taken[--taken_count]);
	pair.now_ns += 1 * MS;
	tcp_advance(pair.b.tcp, pair.now_ns);
	tcp_check(pair.b.tcp);
}

static uint32_t
level(void)
{
	return tcp_stats(pair.b.tcp)->pressure;
}

static void
pressure_init(struct tcp_config *config)
{
	pkt_pool_init(&gauge, GAUGE);
	taken_count = 0;
	pair_init(config);
	pair.b.tcp->config.watched_pools[0].pool = &gauge;
}

static void
pressure_fini(void)
{
	fill_to(0);
	pair_fini();
}

/* --- levels ---------------------------------------------------------------------------------- */

static void
each_level_begins_at_its_percent_and_ends_five_below(void **state)
{
	static const struct {
		uint32_t percent, level;
	} steps[] = {
		{ 74, 0 }, { 75, 1 }, { 70, 1 }, { 69, 0 }, { 75, 1 }, { 84, 1 }, { 85, 2 }, { 80, 2 },
		{ 79, 1 }, { 92, 3 }, { 87, 3 }, { 86, 2 }, { 96, 3 }, { 97, 4 }, { 92, 4 }, { 91, 3 },
		{ 100, 4 }, { 0, 0 },
	};

	(void)state;
	pressure_init(NULL);
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		fill_to(steps[i].percent);
		assert_int_equal(level(), steps[i].level);
	}
	assert_int_equal(tcp_stats(pair.b.tcp)->pressure_rises, 7);
	pressure_fini();
}

static void
the_pools_are_looked_at_once_in_a_millisecond(void **state)
{
	(void)state;
	pressure_init(NULL);
	fill_to(80);
	assert_int_equal(level(), 1);
	while (taken_count > 0)
		pkt_free(taken[--taken_count]);
	tcp_advance(pair.b.tcp, pair.now_ns + 1 * MS - 1);
	assert_int_equal(level(), 1);
	/* And again without any other reason, as long as there is pressure. */
	assert_true(tcp_next_at(pair.b.tcp) <= pair.now_ns + 10 * MS);
	tcp_advance(pair.b.tcp, pair.now_ns + 1 * MS);
	assert_int_equal(level(), 0);
	assert_true(tcp_next_at(pair.b.tcp) == NEVER_NS);
	pressure_fini();
}

static void
the_fullest_pool_counts_without_what_rings_hold(void **state)
{
	struct pkt_pool other;
	struct pkt *p;

	(void)state;
	pressure_init(NULL);
	pkt_pool_init(&other, 4);
	pair.b.tcp->config.watched_pools[3].pool = &other;
	fill_to(80);
	assert_int_equal(level(), 1);
	pair.b.tcp->config.watched_pools[0].held = 50;
	fill_to(80); /* 30 of 50 */
	assert_int_equal(level(), 0);
	fill_to(90);
	assert_int_equal(level(), 1);
	fill_to(10);
	assert_int_equal(level(), 0);
	p = pkt_alloc(&other);
	for (int i = 0; i < 3; i++)
		pkt_chain(p, pkt_alloc(&other));
	fill_to(10);
	assert_int_equal(level(), 4);
	pkt_free(p);
	pressure_fini();
}

static void
received_data_that_nobody_takes_is_pressure_of_its_own(void **state)
{
	struct tcp_config config = config_default();

	(void)state;
	config.recv_truesize_max = 100 * KIB;
	pair_init(&config);
	establish();
	pair.b.reading = false;
	write_stream(&pair.a, 56 * KIB, 1400);
	run_for(5 * MS);
	assert_true(tcp_stats(pair.b.tcp)->recv_truesize >= 75 * KIB);
	assert_true(level() > 0);
	take_all(&pair.b, pair.b.conn);
	assert_int_equal(tcp_stats(pair.b.tcp)->recv_truesize, 0);
	run_for(20 * MS);
	assert_int_equal(level(), 0);
	assert_int_equal(pair.b.received, 56 * KIB);
	pair_fini();
}

/* --- 85 %: two segments ------------------------------------------------------------------------- */

static void
who_holds_nothing_goes_on_with_two_segments(void **state)
{
	uint32_t edge;

	(void)state;
	pressure_init(NULL);
	establish();
	write_stream(&pair.a, 10000, 1400);
	run_for(1 * MS);
	fill_to(85);
	edge = conn_at(&pair.b)->rcv_adv;
	write_stream(&pair.a, 100000, 1400);
	/* What was promised is still taken, to the last byte, and then a bit at a time. */
	run_for(5 * SEC);
	assert_true(seq_gt(conn_at(&pair.b)->rcv_nxt, edge));
	assert_int_equal(pair.b.received, 110000);
	assert_in_range(conn_at(&pair.a)->snd_wnd, 1460, 2 * 1460);
	assert_int_equal(level(), TCP_PRESSURE_EDGE);
	pressure_fini();
}

/* As for a record of TLS, which is of no use before it is whole. */
static void
who_needs_more_has_a_window_for_it(void **state)
{
	(void)state;
	pressure_init(NULL);
	establish();
	write_stream(&pair.a, 10000, 1400);
	run_for(1 * MS);
	fill_to(85);
	write_stream(&pair.a, 100000, 1400);
	run_for(5 * SEC);
	assert_int_equal(pair.b.received, 110000);
	pair.b.reading = false;
	tcp_set_need(pair.b.tcp, pair.b.conn, true);
	write_stream(&pair.a, 100000, 1400);
	run_for(5 * SEC);
	assert_in_range(tcp_unconsumed(pair.b.tcp, pair.b.conn), TCP_NEED_BYTES - 1400, TCP_NEED_BYTES + 1400);
	pressure_fini();
}

/* A short record, and behind it a long one that the window for the first does not reach the end of: the step is
 * too small for any other owner, and what the segments pin too much. The peer is told at once. */
static void
who_needs_a_bit_more_than_was_promised_has_it(void **state)
{
	struct pkt *p;

	(void)state;
	pressure_init(NULL);
	establish();
	write_stream(&pair.a, 10000, 1400);
	run_for(1 * MS);
	fill_to(85);
	write_stream(&pair.a, 100000, 1400);
	run_for(5 * SEC);
	pair.b.reading = false;
	write_stream(&pair.a, 1000, 1000);
	run_for(1 * MS);
	tcp_set_need(pair.b.tcp, pair.b.conn, true);
	write_stream(&pair.a, 100000, 1000);
	run_for(5 * SEC);
	tcp_set_need(pair.b.tcp, pair.b.conn, false);
	p = tcp_take(pair.b.tcp, pair.b.conn);
	tcp_consumed(pair.b.tcp, pair.b.conn, pkt_total(p));
	pkt_free(p);
	run_for(1 * MS);
	assert_in_range(tcp_unconsumed(pair.b.tcp, pair.b.conn), 1, TCP_NEED_BYTES - 900);
	assert_true(conn_at(&pair.b)->mss_seen > 1000);
	tcp_set_need(pair.b.tcp, pair.b.conn, true);
	run_for(1 * MS);
	assert_in_range(conn_at(&pair.a)->snd_wnd, 1000 - 8, 1000 + 8);
	run_for(5 * SEC);
	assert_in_range(tcp_unconsumed(pair.b.tcp, pair.b.conn), TCP_NEED_BYTES - 8, TCP_NEED_BYTES + 8);
	pressure_fini();
}

static void
who_holds_more_gets_no_edge(void **state)
{
	uint32_t edge;

	(void)state;
	pressure_init(NULL);
	establish();
	fill_to(85);
	pair.b.reading = false;
	edge = conn_at(&pair.b)->rcv_adv;
	write_stream(&pair.a, 100000, 1400);
	run_for(2 * SEC);
	assert_in_range(conn_at(&pair.b)->rcv_adv, edge, edge + 8); /* the header's unit */
	assert_int_equal(conn_at(&pair.b)->rcv_nxt, conn_at(&pair.b)->rcv_adv);
	assert_int_equal(conn_at(&pair.a)->snd_wnd, 0);
	pressure_fini();
}

static void
at_the_end_no_edge_moves_and_the_peer_hears_when_it_may_again(void **state)
{
	uint32_t edge;

	(void)state;
	pressure_init(NULL);
	establish();
	write_stream(&pair.a, 10000, 1400);
	run_for(1 * MS);
	fill_to(97);
	edge = conn_at(&pair.b)->rcv_adv;
	write_stream(&pair.a, 100000, 1400);
	run_for(300 * MS); /* the sender's override timer for the last bit of the window */
	assert_int_equal(conn_at(&pair.b)->rcv_adv, edge);
	assert_int_equal(conn_at(&pair.b)->rcv_nxt, edge);
	assert_int_equal(conn_at(&pair.a)->snd_wnd, 0);
	/* The walk tells it; the peer's next probe is farther away. */
	fill_to(85);
	run_for(3 * MS);
	assert_in_range(conn_at(&pair.a)->snd_wnd, 1460, 2 * 1460);
	fill_to(10);
	run_for(3 * MS);
	assert_int_equal(pair.b.received, 110000);
	pressure_fini();
}

static struct tcp_segment
segment(struct tcp_conn *c, uint32_t from, uint32_t len)
{
	struct tcp_segment s = { .seq = c->rcv_nxt + from, .len = len, .pkt = pkt_alloc(&pair.a.payload) };
	uint8_t *to = pkt_append(s.pkt, len);

	for (uint32_t i = 0; i < len; i++)
		to[i] = stream_byte(s.seq - c->irs - 1 + i);
	return s;
}

static enum err
insert(struct tcp_conn *c, uint32_t from, uint32_t len)
{
	struct tcp_segment s = segment(c, from, len);
	bool out_of_order;
	enum err verdict = tcp_reass_insert(pair.b.tcp, c, &s, &out_of_order);

	pkt_free(s.pkt);
	return verdict;
}

static void
nothing_is_kept_beyond_a_hole(void **state)
{
	struct tcp_conn *c;

	(void)state;
	pressure_init(NULL);
	establish();
	c = conn_at(&pair.b);
	assert_int_equal(insert(c, 5000, 1000), ERR_OK);
	fill_to(85);
	assert_int_equal(insert(c, 9000, 1000), ERR_TCP_PRESSURE);
	assert_int_equal(insert(c, 0, 5000 - 3200), ERR_OK); /* in order is always taken */
	assert_int_equal(tcp_runs_count(pair.b.tcp, c), 1);
	fill_to(79);
	assert_int_equal(insert(c, 9000, 1000), ERR_OK);
	assert_int_equal(tcp_runs_count(pair.b.tcp, c), 2);
	pressure_fini();
}

/* --- 92 %: cookies, copies ------------------------------------------------------------------------ */

static void
handshakes_leave_nothing_but_cookies(void **state)
{
	(void)state;
	pressure_init(NULL);
	fill_to(92);
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 0), ERR_OK);
	start_connect();
	side_output(&pair.a);
	carry(&pair.a, &pair.b);
	assert_int_equal(tcp_stats(pair.b.tcp)->half_open, 0);
	assert_int_equal(tcp_stats(pair.b.tcp)->cookies_sent, 1);
	settle();
	assert_int_equal(tcp_stats(pair.b.tcp)->cookies_accepted, 1);
	assert_true(pair.b.events & TCP_EVENT_ACCEPTED);
	pressure_fini();
}

static void
pieces_are_copied_together_and_what_waits_is_freed(void **state)
{
	struct tcp_conn *c;

	(void)state;
	pressure_init(NULL);
	establish();
	c = conn_at(&pair.b);
	assert_int_equal(insert(c, 5000, 1000), ERR_OK);
	fill_to(91);
	assert_int_equal(tcp_runs_count(pair.b.tcp, c), 1);
	fill_to(92);
	assert_int_equal(tcp_runs_count(pair.b.tcp, c), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(insert(c, 0, 500), ERR_OK);
	assert_int_equal(c->rcvq.count, 1);
	fill_to(10);
	for (int i = 0; i < 4; i++)
		assert_int_equal(insert(c, 0, 500), ERR_OK);
	assert_int_equal(c->rcvq.count, 5);
	pressure_fini();
}

static void
what_is_queued_already_is_copied_together_too(void **state)
{
	struct tcp_conn *c;

	(void)state;
	pressure_init(NULL);
	establish();
	c = conn_at(&pair.b);
	for (uint32_t i = 0; i < 40; i++)
		assert_int_equal(insert(c, 0, i % 7 == 0 ? 1400 : 300 + i), ERR_OK);
	assert_int_equal(c->rcvq.count, 40);
	fill_to(91);
	assert_int_equal(c->rcvq.count, 40);
	fill_to(92);
	assert_in_range(c->rcvq.count, 11, 16); /* 20,000 bytes, 2 KiB in each at most */
	assert_true(c->rcvq.tail != NULL && pkt_meta(c->rcvq.tail)->queue_next == NULL);
	take_all(&pair.b, pair.b.conn);
	assert_int_equal(pair.b.received, c->rcv_nxt - c->irs - 1);
	pressure_fini();
}

#define PILES 90u
#define PILE_PKTS 55u

/* How many of b's connections have all packets that they got still one by one. */
static uint32_t
count_piles(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < pair.b.tcp->conns.count; i++) {
		const struct tcp_conn *c = pool_at(&pair.b.tcp->conns, i);

		count += pool_is_lent(&pair.b.tcp->conns, i) && c->rcvq.count == PILE_PKTS;
	}
	return count;
}

/* One turn of the loop looks at 4096 packets, whoever holds them, and the next one goes on from there. */
static void
a_step_of_the_walk_has_a_bound(void **state)
{
	struct tcp_config config = config_default();

	(void)state;
	config.conns_max = PILES;
	pressure_init(&config);
	pair.b.reading = false;
	pair.a.payload.total = 2 * POOL_PACKETS;
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 0), ERR_OK);
	for (uint32_t i = 0; i < PILES; i++) {
		start_connect();
		settle();
		for (uint32_t k = 0; k < PILE_PKTS; k++)
			assert_int_equal(insert(conn_at(&pair.b), 0, 900), ERR_OK);
	}
	assert_int_equal(count_piles(), PILES);
	fill_to(92);
	assert_in_range(count_piles(), PILES - 4096 / PILE_PKTS - 1, PILES - 4096 / PILE_PKTS + 1);
	fill_to(92);
	assert_int_equal(count_piles(), 0);
	pair.a.payload.total = POOL_PACKETS;
	pressure_fini();
}

/* --- 97 %: shedding ---------------------------------------------------------------------------------- */

#define CONNS 6u

static tcp_conn_t clients[CONNS];
static tcp_conn_t servers[CONNS];

/* Opens connections a second apart; the ends that a has lie in clients, b's in servers. */
static void
open_some(uint32_t count)
{
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 0), ERR_OK);
	for (uint32_t i = 0; i < count; i++) {
		start_connect();
		run_for(1 * SEC);
		clients[i] = pair.a.conn;
		servers[i] = pair.b.conn;
	}
}

static void
who_went_nowhere_the_longest_ends_first(void **state)
{
	struct tcp_config config = config_default();

	(void)state;
	config.recv_bytes_max = 8000;
	pressure_init(&config);
	open_some(4);
	/* 0 and 2 are sent more than they read, 1 holds nothing, 3 has just been written to. */
	pair.a.reading = false;
	pair.b.conn = servers[2];
	write_stream(&pair.b, 20000, 1400);
	run_for(1 * SEC);
	pair.b.conn = servers[0];
	write_stream(&pair.b, 20000, 1400);
	run_for(2 * SEC);
	pair.b.conn = servers[3];
	write_stream(&pair.b, 20000, 1400);
	settle();
	fill_to(97);
	side_events(&pair.b);
	assert_int_equal(tcp_stats(pair.b.tcp)->shed, 1);
	assert_true(pair.b.events & TCP_EVENT_ERROR);
	assert_int_equal(pair.b.reason, ERR_TCP_SHED);
	assert_int_equal(((struct tcp_conn *)pool_find(&pair.b.tcp->conns, servers[2]))->state, TCP_CLOSED);
	fill_to(96); /* not below 92 yet: the next one */
	assert_int_equal(tcp_stats(pair.b.tcp)->shed, 2);
	assert_int_equal(((struct tcp_conn *)pool_find(&pair.b.tcp->conns, servers[0]))->state, TCP_CLOSED);
	fill_to(97);
	fill_to(97);
	assert_int_equal(tcp_stats(pair.b.tcp)->shed, 2); /* idle and busy ones stay */
	fill_to(91);
	run_for(2 * SEC);
	assert_int_equal(tcp_stats(pair.b.tcp)->shed, 2);
	pressure_fini();
}

static void
a_connection_whose_owner_reads_is_not_shed(void **state)
{
	(void)state;
	pressure_init(NULL);
	establish();
	pair.b.reading = false;
	for (int i = 0; i < 30; i++) {
		struct pkt *p;

		write_stream(&pair.a, 3000, 1400);
		fill_to(50);
		run_for(100 * MS);
		fill_to(97); /* with 3000 bytes that wait to be read */
		p = tcp_take(pair.b.tcp, pair.b.conn);
		while (p != NULL) {
			tcp_consumed(pair.b.tcp, pair.b.conn, pkt_total(p));
			pkt_free(p);
			p = tcp_take(pair.b.tcp, pair.b.conn);
		}
	}
	assert_int_equal(tcp_stats(pair.b.tcp)->shed, 0);
	/* Once it stops, it may go. */
	fill_to(50);
	write_stream(&pair.a, 3000, 1400);
	run_for(1100 * MS);
	fill_to(97);
	assert_int_equal(tcp_stats(pair.b.tcp)->shed, 1);
	pressure_fini();
}

/* The memory is full, the peer acknowledges so many bytes each 100 ms, and the owner goes on to send. Returns
 * after how many of these the connection was shed; 0: not in six seconds. */
static uint32_t
trickle(uint32_t held, uint32_t acked, uint32_t sent)
{
	uint32_t shed_at = 0;

	established();
	pkt_pool_init(&gauge, GAUGE);
	taken_count = 0;
	pair.b.tcp->config.watched_pools[0].pool = &gauge;
	write_stream(&pair.b, held, 1400);
	assert_false(is_silent());
	for (uint32_t i = 1; i <= 60 && shed_at == 0; i++) {
		pair.now_ns += 99 * MS;
		fill_to(97);
		shed_at = tcp_stats(pair.b.tcp)->shed > 0 ? i : 0;
		peer.ack += acked;
		send_flags(TCPHDR_ACK, 0, 0);
		write_stream(&pair.b, sent, 1400);
		is_silent();
	}
	pressure_fini();
	return shed_at;
}

static void
a_byte_now_and_then_keeps_no_memory(void **state)
{
	(void)state;
	assert_in_range(trickle(30000, 0, 0), 10, 12);
	assert_in_range(trickle(30000, 1, 0), 20, 23);
	assert_in_range(trickle(30000, 100, 0), 20, 23);
	assert_in_range(trickle(30000, 180, 180), 20, 23);
	/* Who is slow but reads, and who has all that there is for him, stays. */
	assert_int_equal(trickle(30000, 300, 0), 0);
	assert_int_equal(trickle(30000, 300, 300), 0);
	assert_int_equal(trickle(100, 20, 20), 0);
}

/* --- T20 ------------------------------------------------------------------------------------------------ */

#define HOLDERS 200u

/* Peers that ask and never read fill the pool of what is sent. The pool is kept below its end, and an honest
 * client gets its answer. */
static void
zero_window_holders_do_not_keep_the_memory(void **state)
{
	struct tcp_config config = config_default();
	tcp_conn_t honest;

	(void)state;
	config.conns_max = 2 * HOLDERS;
	config.ranges_max = 8192;
	config.recv_bytes_max = 4000;
	pair_init(&config);
	pair.b.tcp->config.watched_pools[0].pool = &pair.b.payload;
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 0), ERR_OK);
	pair.a.reading = false;
	for (uint32_t i = 0; i < HOLDERS; i++) {
		start_connect();
		settle();
		write_stream(&pair.b, 40 * 1400, 1400);
		run_for(50 * MS);
		/* What the owner was told, it closes. */
		for (uint32_t k = 0; k < pair.b.tcp->conns.count; k++) {
			struct tcp_conn *c = pool_at(&pair.b.tcp->conns, k);

			if (pool_is_lent(&pair.b.tcp->conns, k) && c->state == TCP_CLOSED)
				tcp_close(pair.b.tcp, pool_handle(&pair.b.tcp->conns, c));
		}
		assert_true(pkt_pool_stats(&pair.b.payload).free > 0);
	}
	assert_true(tcp_stats(pair.b.tcp)->shed > HOLDERS / 4);
	assert_in_range(tcp_stats(pair.b.tcp)->pressure_rises, 1, 10 * HOLDERS);
	pair.a.received = 0;
	pair.b.written = 0;
	start_connect();
	run_for(50 * MS);
	honest = pair.a.conn;
	assert_int_equal(write_stream(&pair.b, 10000, 1400), 10000);
	for (int i = 0; i < 50; i++) {
		run_for(20 * MS);
		take_all(&pair.a, honest);
	}
	assert_int_equal(pair.a.received, 10000);
	pair_fini();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_level_begins_at_its_percent_and_ends_five_below),
		cmocka_unit_test(the_pools_are_looked_at_once_in_a_millisecond),
		cmocka_unit_test(the_fullest_pool_counts_without_what_rings_hold),
		cmocka_unit_test(received_data_that_nobody_takes_is_pressure_of_its_own),
		cmocka_unit_test(who_holds_nothing_goes_on_with_two_segments),
		cmocka_unit_test(who_needs_more_has_a_window_for_it),
		cmocka_unit_test(who_needs_a_bit_more_than_was_promised_has_it),
		cmocka_unit_test(who_holds_more_gets_no_edge),
		cmocka_unit_test(at_the_end_no_edge_moves_and_the_peer_hears_when_it_may_again),
		cmocka_unit_test(nothing_is_kept_beyond_a_hole),
		cmocka_unit_test(handshakes_leave_nothing_but_cookies),
		cmocka_unit_test(pieces_are_copied_together_and_what_waits_is_freed),
		cmocka_unit_test(what_is_queued_already_is_copied_together_too),
		cmocka_unit_test(a_step_of_the_walk_has_a_bound),
		cmocka_unit_test(who_went_nowhere_the_longest_ends_first),
		cmocka_unit_test(a_connection_whose_owner_reads_is_not_shed),
		cmocka_unit_test(a_byte_now_and_then_keeps_no_memory),
		cmocka_unit_test(zero_window_holders_do_not_keep_the_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

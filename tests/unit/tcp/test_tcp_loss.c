/* Lost segments, closed windows, empty pools: the stream arrives whole, and nobody waits for ever. */
#include "pair.h"

#include "base/prng.h"

static struct prng prng;
static uint32_t loss_percent;

static bool
lose_some(const struct tcphdr *h, uint32_t n, uint32_t len)
{
	(void)h;
	(void)n;
	(void)len;
	return prng_below(&prng, 100) < loss_percent;
}

static uint32_t lose_from;
static uint32_t lose_to;

/* Loses the data segments lose_from..lose_to of a side, counted from 1. */
static uint32_t data_seen;

static bool
lose_data_range(const struct tcphdr *h, uint32_t n, uint32_t len)
{
	(void)h;
	(void)n;
	if (len == 0)
		return false;
	data_seen++;
	return data_seen >= lose_from && data_seen <= lose_to;
}

static void
lose_data(uint32_t from, uint32_t to)
{
	data_seen = 0;
	lose_from = from;
	lose_to = to;
	pair.a.lose = lose_data_range;
}

static bool
lose_all(const struct tcphdr *h, uint32_t n, uint32_t len)
{
	(void)h;
	(void)n;
	(void)len;
	return true;
}

static void
one_lost_segment_is_sent_again_without_a_timer(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	lose_data(3, 3);
	write_stream(&pair.a, 10 * 1448, 1448);
	settle(); /* no time passes */
	assert_int_equal(pair.b.received, 10 * 1448);
	assert_int_equal(tcp_stats(pair.a.tcp)->fast_retransmits, 1);
	assert_int_equal(tcp_stats(pair.a.tcp)->retransmits, 1);
	assert_int_equal(tcp_stats(pair.a.tcp)->rtos, 0);
	pair_fini();
}

static void
two_holes_are_filled_in_one_recovery(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	lose_data(2, 3);
	write_stream(&pair.a, 10 * 1448, 1448);
	settle();
	assert_int_equal(pair.b.received, 10 * 1448);
	assert_int_equal(tcp_stats(pair.a.tcp)->fast_retransmits, 1);
	assert_int_equal(tcp_stats(pair.a.tcp)->rtos, 0);
	assert_true(conn_at(&pair.a)->flight == NULL);
	pair_fini();
}

static void
a_lost_tail_is_sent_again_by_the_timer(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	lose_data(10, 10);
	write_stream(&pair.a, 10 * 1448, 1448);
	run_for(199 * MS);
	assert_int_equal(pair.b.received, 9 * 1448);
	run_for(2 * MS);
	assert_int_equal(pair.b.received, 10 * 1448);
	assert_int_equal(tcp_stats(pair.a.tcp)->rtos, 1);
	assert_int_equal(conn_at(&pair.a)->backoff, 0); /* collapsed by the timestamp's sample */
	pair_fini();
}

static void
the_timer_backs_off_by_doubling(void **state)
{
	uint32_t before;

	(void)state;
	pair_init(NULL);
	establish();
	pair.a.lose = lose_all;
	before = pair.a.sent;
	write_stream(&pair.a, 10, 10);
	run_for(199 * MS);
	assert_int_equal(pair.a.sent - before, 1);
	run_for(2 * MS); /* 200 ms */
	assert_int_equal(pair.a.sent - before, 2);
	run_for(398 * MS);
	assert_int_equal(pair.a.sent - before, 2);
	run_for(3 * MS); /* 600 ms */
	assert_int_equal(pair.a.sent - before, 3);
	run_for(800 * MS); /* 1400 ms */
	assert_int_equal(pair.a.sent - before, 4);
	pair.a.lose = NULL;
	run_for(1700 * MS);
	assert_int_equal(pair.b.received, 10);
	pair_fini();
}

static void
the_first_timeout_lowers_the_threshold_the_second_does_not(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	pair.a.lose = lose_all;
	write_stream(&pair.a, 10 * 1448, 1448);
	run_for(210 * MS); /* a probe first */
	assert_int_equal(conn_at(&pair.a)->ssthresh, 7 * 1448);
	assert_int_equal(conn_at(&pair.a)->cwnd, 1448);
	run_for(401 * MS);
	assert_int_equal(conn_at(&pair.a)->ssthresh, 7 * 1448);
	pair_fini();
}

static void
a_lost_fin_is_sent_again_in_every_closing_state(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	pair.a.lose = lose_all;
	tcp_close(pair.a.tcp, pair.a.conn);
	run_for(1 * MS);
	pair.a.lose = NULL;
	run_for(1 * SEC);
	assert_true(pair.b.events & TCP_EVENT_EOF);
	pair.b.lose = lose_all;
	tcp_close(pair.b.tcp, pair.b.conn); /* LAST-ACK */
	run_for(1 * MS);
	assert_int_equal(tcp_stats(pair.a.tcp)->time_wait, 0);
	pair.b.lose = NULL;
	run_for(1 * SEC);
	assert_int_equal(tcp_stats(pair.a.tcp)->time_wait, 1);
	assert_int_equal(tcp_stats(pair.b.tcp)->conns, 0);
	pair_fini();
}

static void
time_wait_answers_a_repeated_fin(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	tcp_close(pair.a.tcp, pair.a.conn);
	settle();
	tcp_close(pair.b.tcp, pair.b.conn);
	side_output(&pair.b);
	pair.a.lose = lose_all; /* the last ACK */
	settle();
	assert_int_equal(tcp_stats(pair.b.tcp)->conns, 1);
	pair.a.lose = NULL;
	run_for(1 * SEC);
	assert_int_equal(tcp_stats(pair.b.tcp)->conns, 0);
	pair_fini();
}

static void
the_stream_survives_heavy_loss_both_ways(void **state)
{
	struct tcp_config config = config_default();

	(void)state;
	config.user_timeout_ns = 600 * SEC;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		uint32_t a_left = 200000;
		uint32_t b_left = 200000;

		prng_init(&prng, seed);
		loss_percent = (uint32_t)(2 + seed % 5 * 3);
		pair_init(&config);
		establish();
		pair.a.lose = lose_some;
		pair.b.lose = lose_some;
		for (int i = 0; i < 10000 && (a_left > 0 || b_left > 0); i++) {
			uint32_t piece = 1 + prng_below(&prng, 1800);

			a_left -= write_stream(&pair.a, a_left < 9000 ? a_left : 9000, piece);
			b_left -= write_stream(&pair.b, b_left < 700 ? b_left : 700, 100);
			run_for(50 * MS);
		}
		assert_int_equal(a_left + b_left, 0);
		tcp_shutdown(pair.a.tcp, pair.a.conn);
		tcp_shutdown(pair.b.tcp, pair.b.conn);
		for (int i = 0; i < 100 && (pair.a.received < 200000 || pair.b.received < 200000); i++)
			run_for(60 * SEC);
		pair.a.lose = NULL;
		pair.b.lose = NULL;
		run_for(120 * SEC);
		assert_int_equal(pair.b.received, 200000);
		assert_int_equal(pair.a.received, 200000);
		assert_true(pair.a.events & pair.b.events & TCP_EVENT_EOF);
		assert_false((pair.a.events | pair.b.events) & TCP_EVENT_ERROR);
		assert_int_equal(state_of(&pair.a), TCP_CLOSED);
		assert_int_equal(state_of(&pair.b), TCP_CLOSED);
		pair_fini();
	}
}

/* --- windows ------------------------------------------------------------------------- */

static struct tcp_config
small_window(void)
{
	struct tcp_config config = config_default();

	config.recv_bytes_max = 8000;
	config.window_shift = 0;
	return config;
}

static void
a_reader_who_stops_stops_the_sender_and_starts_it_again(void **state)
{
	struct tcp_config config = small_window();

	(void)state;
	pair_init(&config);
	establish();
	pair.b.reading = false;
	write_stream(&pair.a, 50000, 1000);
	run_for(10 * SEC);
	assert_int_equal(conn_at(&pair.b)->rcv_unconsumed, 8000);
	assert_int_equal(conn_at(&pair.a)->snd_wnd, 0);
	assert_int_equal(conn_at(&pair.a)->rtx_kind, TCP_RTX_PERSIST);
	pair.b.reading = true;
	take_all(&pair.b, pair.b.conn);
	settle(); /* the window update, not a probe, starts it */
	assert_true(pair.b.received > 40000);
	run_for(1 * SEC);
	assert_int_equal(pair.b.received, 50000);
	pair_fini();
}

static void
a_lost_window_update_is_found_by_a_probe(void **state)
{
	struct tcp_config config = small_window();

	(void)state;
	pair_init(&config);
	establish();
	pair.b.reading = false;
	write_stream(&pair.a, 20000, 1000);
	run_for(2 * SEC);
	pair.b.lose = lose_all;
	pair.b.reading = true;
	take_all(&pair.b, pair.b.conn);
	run_for(1 * MS);
	pair.b.lose = NULL;
	run_for(60 * SEC);
	assert_int_equal(pair.b.received, 20000);
	pair_fini();
}

static void
a_closed_window_may_stay_closed_for_a_day(void **state)
{
	struct tcp_config config = small_window();

	(void)state;
	pair_init(&config);
	establish();
	pair.b.reading = false;
	write_stream(&pair.a, 20000, 1000);
	run_for(86400 * SEC);
	assert_false(pair.a.events & TCP_EVENT_ERROR); /* MUST-37: probes are answered */
	pair.b.reading = true;
	take_all(&pair.b, pair.b.conn);
	run_for(60 * SEC);
	assert_int_equal(pair.b.received, 20000);
	pair_fini();
}

static void
a_closed_window_without_answers_ends_and_so_does_an_orphans(void **state)
{
	struct tcp_config config = small_window();

	(void)state;
	pair_init(&config);
	establish();
	pair.b.reading = false;
	write_stream(&pair.a, 20000, 1000);
	run_for(1 * SEC);
	pair.b.lose = lose_all;
	run_for(120 * SEC);
	assert_int_equal(pair.a.reason, ERR_TCP_TIMEOUT);
	pair_fini();

	pair_init(&config);
	establish();
	pair.b.reading = false;
	write_stream(&pair.a, 20000, 1000);
	run_for(1 * SEC);
	tcp_close(pair.a.tcp, pair.a.conn);
	run_for(120 * SEC);
	assert_int_equal(tcp_stats(pair.a.tcp)->conns, 0);
	pair_fini();
}

static void
a_fin_behind_a_closed_window_arrives(void **state)
{
	struct tcp_config config = small_window();

	(void)state;
	pair_init(&config);
	establish();
	pair.b.reading = false;
	write_stream(&pair.a, 8000, 1000);
	tcp_shutdown(pair.a.tcp, pair.a.conn);
	assert_int_equal(state_of(&pair.a), TCP_FIN_WAIT_1);
	run_for(5 * SEC);
	pair.b.reading = true;
	take_all(&pair.b, pair.b.conn);
	run_for(60 * SEC);
	assert_int_equal(pair.b.received, 8000);
	assert_true(pair.b.events & TCP_EVENT_EOF);
	pair_fini();
}

static void
a_window_below_a_segment_does_not_hang(void **state)
{
	struct tcp_config config = config_default();

	(void)state;
	config.recv_bytes_max = 700; /* the peer's whole buffer is half a segment */
	config.window_shift = 0;
	pair_init(&config);
	establish();
	write_stream(&pair.a, 5000, 1000);
	run_for(10 * SEC);
	assert_int_equal(pair.b.received, 5000);
	pair_fini();
}

static uint32_t edge_seen;
static bool edge_known;

static bool
watch_edge(const struct tcphdr *h, uint32_t n, uint32_t len)
{
	uint32_t edge = h->ack + ((uint32_t)h->window << pair.config.window_shift);

	(void)n;
	(void)len;
	if (h->flags & (TCPHDR_SYN | TCPHDR_RST))
		return false;
	if (edge_known)
		assert_true(seq_ge(edge, edge_seen));
	edge_seen = edge;
	edge_known = true;
	return prng_below(&prng, 100) < 3;
}

static void
the_promised_edge_never_moves_left(void **state)
{
	struct tcp_config config = config_default();

	(void)state;
	config.recv_bytes_max = 20000;
	config.window_shift = 8;
	for (uint64_t seed = 1; seed <= 10; seed++) {
		uint32_t left = 300000;

		prng_init(&prng, seed);
		edge_known = false;
		pair_init(&config);
		establish();
		pair.b.lose = watch_edge;
		for (int i = 0; i < 20000 && left > 0; i++) {
			left -= write_stream(&pair.a, left < 5000 ? left : 5000,
					     1 + prng_below(&prng, 300));
			pair.b.reading = prng_below(&prng, 3) == 0;
			if (pair.b.reading)
				take_all(&pair.b, pair.b.conn);
			run_for(5 * MS);
		}
		pair.b.reading = true;
		take_all(&pair.b, pair.b.conn);
		run_for(100 * SEC);
		assert_int_equal(pair.b.received, 300000);
		pair_fini();
	}
}

/* --- acknowledgments ------------------------------------------------------------------ */

static void
acks_are_few_and_not_late(void **state)
{
	uint32_t before;

	(void)state;
	pair_init(NULL);
	establish();
	for (int i = 0; i < 20; i++) { /* beyond the quick ones */
		write_stream(&pair.a, 100, 100);
		run_for(50 * MS);
	}
	before = pair.b.sent;
	write_stream(&pair.a, 100, 100);
	run_for(20 * MS);
	assert_int_equal(pair.b.sent, before);
	run_for(10 * MS); /* 25 ms have passed */
	assert_int_equal(pair.b.sent, before + 1);
	write_stream(&pair.a, 10 * 1448, 1448);
	side_output(&pair.a);
	carry(&pair.a, &pair.b); /* a burst of ten */
	side_output(&pair.b);
	carry(&pair.b, &pair.a);
	assert_int_equal(pair.b.sent, before + 2);
	pair_fini();
}

static void
holes_are_reported_by_sack_newest_first(void **state)
{
	uint32_t base;

	(void)state;
	pair_init(NULL);
	establish();
	base = conn_at(&pair.b)->rcv_nxt;
	lose_data(1, 1);
	write_stream(&pair.a, 1448, 1448);
	side_output(&pair.a);
	carry(&pair.a, &pair.b);
	lose_data(2, 2);
	write_stream(&pair.a, 3 * 1448, 1448);
	side_output(&pair.a);
	carry(&pair.a, &pair.b);
	side_output(&pair.b);
	carry(&pair.b, &pair.a);
	assert_int_equal(pair.b.last.ack, base);
	assert_int_equal(pair.b.last.sack_count, 2);
	assert_int_equal(pair.b.last.sack[0].start - base, 3 * 1448);
	assert_int_equal(pair.b.last.sack[0].end - base, 4 * 1448);
	assert_int_equal(pair.b.last.sack[1].start - base, 1448);
	assert_int_equal(pair.b.last.sack[1].end - base, 2 * 1448);
	run_for(5 * SEC);
	assert_int_equal(pair.b.received, 4 * 1448);
	pair_fini();
}

/* --- empty pools ------------------------------------------------------------------------ */

/* The n-th allocation of one pool of one side fails, for all n that a whole life needs. */
static void
each_failing_allocation_is_survived(void **state)
{
	(void)state;
	for (uint32_t which = 0; which < 4; which++) {
		for (uint32_t n = 1; n < 60; n++) {
			struct pkt_pool *pools[4];

			pair_init(NULL);
			pools[0] = &pair.a.headers;
			pools[1] = &pair.a.bare;
			pools[2] = &pair.b.headers;
			pools[3] = &pair.b.bare;
			pools[which]->fail_in = n;
			assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 0), ERR_OK);
			start_connect();
			run_for(10 * SEC);
			assert_true(pair.b.events & TCP_EVENT_ACCEPTED);
			write_stream(&pair.a, 20000, 1000);
			write_stream(&pair.b, 20000, 1000);
			run_for(10 * SEC);
			assert_int_equal(pair.a.received, 20000);
			assert_int_equal(pair.b.received, 20000);
			tcp_close(pair.a.tcp, pair.a.conn);
			run_for(10 * SEC);
			tcp_close(pair.b.tcp, pair.b.conn);
			run_for(30 * SEC);
			assert_int_equal(tcp_stats(pair.b.tcp)->conns, 0);
			assert_int_equal(tcp_stats(pair.a.tcp)->conns, 0);
			pair_fini();
		}
	}
}

static void
a_long_drought_ends_when_packets_come_back(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	write_stream(&pair.a, 20000, 1000);
	pair.a.headers.total = 0;
	run_for(3 * SEC);
	assert_int_equal(pair.b.received, 0);
	pair.a.headers.total = POOL_PACKETS;
	run_for(3 * SEC);
	assert_int_equal(pair.b.received, 20000);
	pair_fini();
}

static void
without_descriptors_send_says_so_and_keeps_nothing(void **state)
{
	struct tcp_config config = config_default();

	(void)state;
	config.ranges_max = 4;
	pair_init(&config);
	establish();
	assert_int_equal(write_stream(&pair.a, 1000, 100), 400);
	settle();
	assert_int_equal(pair.b.received, 400);
	assert_int_equal(write_stream(&pair.a, 400, 100), 400);
	pair_fini();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_lost_segment_is_sent_again_without_a_timer),
		cmocka_unit_test(two_holes_are_filled_in_one_recovery),
		cmocka_unit_test(a_lost_tail_is_sent_again_by_the_timer),
		cmocka_unit_test(the_timer_backs_off_by_doubling),
		cmocka_unit_test(the_first_timeout_lowers_the_threshold_the_second_does_not),
		cmocka_unit_test(a_lost_fin_is_sent_again_in_every_closing_state),
		cmocka_unit_test(time_wait_answers_a_repeated_fin),
		cmocka_unit_test(the_stream_survives_heavy_loss_both_ways),
		cmocka_unit_test(a_reader_who_stops_stops_the_sender_and_starts_it_again),
		cmocka_unit_test(a_lost_window_update_is_found_by_a_probe),
		cmocka_unit_test(a_closed_window_may_stay_closed_for_a_day),
		cmocka_unit_test(a_closed_window_without_answers_ends_and_so_does_an_orphans),
		cmocka_unit_test(a_fin_behind_a_closed_window_arrives),
		cmocka_unit_test(a_window_below_a_segment_does_not_hang),
		cmocka_unit_test(the_promised_edge_never_moves_left),
		cmocka_unit_test(acks_are_few_and_not_late),
		cmocka_unit_test(holes_are_reported_by_sack_newest_first),
		cmocka_unit_test(each_failing_allocation_is_survived),
		cmocka_unit_test(a_long_drought_ends_when_packets_come_back),
		cmocka_unit_test(without_descriptors_send_says_so_and_keeps_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Two stacks in memory: connections open, carry data both ways, and close in every order. */
#include "pair.h"

static void
a_connection_opens_carries_and_closes(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	assert_int_equal(write_stream(&pair.a, 1000, 100), 1000);
	assert_int_equal(write_stream(&pair.b, 100000, 1400), 100000);
	run_for(1 * SEC);
	assert_int_equal(pair.b.received, 1000);
	assert_int_equal(pair.a.received, 100000);
	assert_int_equal(tcp_unacked(pair.a.tcp, pair.a.conn), 0);
	tcp_close(pair.a.tcp, pair.a.conn);
	assert_false(tcp_is_live(pair.a.tcp, pair.a.conn));
	run_for(1 * SEC);
	assert_true(pair.b.events & TCP_EVENT_EOF);
	tcp_close(pair.b.tcp, pair.b.conn);
	run_for(1 * SEC);
	assert_int_equal(tcp_stats(pair.a.tcp)->conns, 0);
	assert_int_equal(tcp_stats(pair.b.tcp)->conns, 0);
	assert_int_equal(tcp_stats(pair.a.tcp)->time_wait, 1);
	run_for(60 * SEC);
	assert_int_equal(tcp_stats(pair.a.tcp)->time_wait, 0);
	assert_int_equal(tcp_stats(pair.a.tcp)->retransmits, 0);
	assert_int_equal(tcp_stats(pair.b.tcp)->retransmits, 0);
	assert_int_equal(tcp_next_at(pair.a.tcp), NEVER_NS);
	pair_fini();
}

static void
events_name_the_listener_and_the_user(void **state)
{
	struct tcp_event e;

	(void)state;
	pair_init(NULL);
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 99), ERR_OK);
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 1), ERR_TCP_IN_USE);
	start_connect();
	tcp_output_ready(pair.a.tcp, pair.now_ns);
	carry(&pair.a, &pair.b);
	carry(&pair.b, &pair.a);
	assert_true(tcp_event_next(pair.a.tcp, &e));
	assert_int_equal(e.bits, TCP_EVENT_CONNECTED);
	assert_int_equal(e.user, 7);
	assert_int_equal(e.conn, pair.a.conn);
	assert_false(tcp_event_next(pair.a.tcp, &e));
	tcp_output_ready(pair.a.tcp, pair.now_ns);
	carry(&pair.a, &pair.b);
	assert_true(tcp_event_next(pair.b.tcp, &e));
	assert_int_equal(e.bits, TCP_EVENT_ACCEPTED);
	assert_int_equal(e.listener_user, 99);
	tcp_set_user(pair.b.tcp, e.conn, 1234);
	pair.b.conn = e.conn;
	tcp_notify_below(pair.b.tcp, e.conn, 0);
	assert_true(tcp_event_next(pair.b.tcp, &e));
	assert_int_equal(e.user, 1234);
	assert_int_equal(e.bits, TCP_EVENT_WRITABLE);
	pair_fini();
}

static void
a_half_close_lets_the_other_direction_go_on(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	write_stream(&pair.a, 500, 500);
	tcp_shutdown(pair.a.tcp, pair.a.conn);
	run_for(1 * SEC);
	assert_true(pair.b.events & TCP_EVENT_EOF);
	assert_int_equal(pair.b.received, 500);
	assert_int_equal(state_of(&pair.a), TCP_FIN_WAIT_2);
	assert_int_equal(state_of(&pair.b), TCP_CLOSE_WAIT);
	run_for(200 * SEC); /* an owner may wait as long as it likes */
	assert_int_equal(write_stream(&pair.b, 50000, 1000), 50000);
	tcp_shutdown(pair.b.tcp, pair.b.conn);
	assert_int_equal(state_of(&pair.b), TCP_LAST_ACK); /* queued is enough */
	run_for(1 * SEC);
	assert_int_equal(pair.a.received, 50000);
	assert_true(pair.a.events & TCP_EVENT_EOF);
	assert_int_equal(tcp_stats(pair.a.tcp)->time_wait, 1);
	/* Both owners still hold their handles. */
	assert_int_equal(state_of(&pair.a), TCP_CLOSED);
	assert_int_equal(state_of(&pair.b), TCP_CLOSED);
	tcp_close(pair.a.tcp, pair.a.conn);
	tcp_close(pair.b.tcp, pair.b.conn);
	assert_int_equal(tcp_stats(pair.a.tcp)->conns, 0);
	assert_int_equal(tcp_stats(pair.b.tcp)->conns, 0);
	pair_fini();
}

static void
both_ends_may_close_at_once(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	tcp_shutdown(pair.a.tcp, pair.a.conn);
	tcp_shutdown(pair.b.tcp, pair.b.conn);
	side_output(&pair.a);
	side_output(&pair.b);
	carry(&pair.a, &pair.b);
	assert_int_equal(state_of(&pair.b), TCP_CLOSING);
	run_for(1 * SEC);
	assert_int_equal(tcp_stats(pair.a.tcp)->time_wait, 1);
	assert_int_equal(tcp_stats(pair.b.tcp)->time_wait, 1);
	assert_true(pair.a.events & TCP_EVENT_EOF);
	assert_false((pair.a.events | pair.b.events) & TCP_EVENT_ERROR);
	pair_fini();
}

static void
both_ends_may_open_at_once(void **state)
{
	struct tcp_tuple ab = { v4(1), v4(2), 2000, 3000 };
	struct tcp_tuple ba = { v4(2), v4(1), 3000, 2000 };

	(void)state;
	pair_init(NULL);
	assert_int_equal(tcp_connect(pair.a.tcp, &ab, 1, &pair.a.conn, pair.now_ns), ERR_OK);
	assert_int_equal(tcp_connect(pair.b.tcp, &ba, 2, &pair.b.conn, pair.now_ns), ERR_OK);
	side_output(&pair.a);
	side_output(&pair.b);
	carry(&pair.a, &pair.b);
	carry(&pair.b, &pair.a);
	assert_int_equal(state_of(&pair.a), TCP_SYN_RCVD);
	assert_int_equal(state_of(&pair.b), TCP_SYN_RCVD);
	settle();
	assert_int_equal(state_of(&pair.a), TCP_ESTABLISHED);
	assert_int_equal(state_of(&pair.b), TCP_ESTABLISHED);
	write_stream(&pair.a, 30000, 1000);
	write_stream(&pair.b, 30000, 1000);
	run_for(1 * SEC);
	assert_int_equal(pair.a.received, 30000);
	assert_int_equal(pair.b.received, 30000);
	assert_int_equal(tcp_stats(pair.a.tcp)->conns, 1);
	pair_fini();
}

static bool
lose_first(const struct tcphdr *h, uint32_t n, uint32_t len)
{
	(void)h;
	(void)len;
	return n == 1;
}

static void
both_may_open_at_once_though_a_syn_is_lost(void **state)
{
	struct tcp_tuple ab = { v4(1), v4(2), 2000, 3000 };
	struct tcp_tuple ba = { v4(2), v4(1), 3000, 2000 };

	(void)state;
	pair_init(NULL);
	pair.b.lose = lose_first;
	assert_int_equal(tcp_connect(pair.a.tcp, &ab, 1, &pair.a.conn, pair.now_ns), ERR_OK);
	assert_int_equal(tcp_connect(pair.b.tcp, &ba, 2, &pair.b.conn, pair.now_ns), ERR_OK);
	run_for(4 * SEC);
	assert_int_equal(state_of(&pair.a), TCP_ESTABLISHED);
	assert_int_equal(state_of(&pair.b), TCP_ESTABLISHED);
	pair_fini();
}

static void
unread_data_turns_a_close_into_a_reset(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	pair.b.reading = false;
	write_stream(&pair.a, 100, 100);
	settle();
	tcp_close(pair.b.tcp, pair.b.conn);
	settle();
	assert_true(pair.a.events & TCP_EVENT_ERROR);
	assert_int_equal(pair.a.reason, ERR_TCP_RESET);
	assert_int_equal(tcp_stats(pair.b.tcp)->conns, 0);
	assert_int_equal(state_of(&pair.a), TCP_CLOSED);
	assert_int_equal(write_stream(&pair.a, 1, 1), 0); /* ERR_TCP_CLOSING, no crash */
	tcp_close(pair.a.tcp, pair.a.conn);
	pair_fini();
}

static void
data_for_a_closed_owner_is_answered_by_a_reset(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	tcp_close(pair.b.tcp, pair.b.conn);
	settle();
	write_stream(&pair.a, 100, 100);
	settle();
	assert_int_equal(tcp_stats(pair.b.tcp)->drops[ERR_TCP_AFTER_CLOSE], 1);
	assert_int_equal(pair.a.reason, ERR_TCP_RESET);
	assert_int_equal(tcp_stats(pair.b.tcp)->conns, 0);
	pair_fini();
}

static void
an_abort_reaches_the_peer(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	write_stream(&pair.a, 5000, 1000);
	tcp_abort(pair.a.tcp, pair.a.conn);
	assert_false(tcp_is_live(pair.a.tcp, pair.a.conn));
	settle();
	assert_int_equal(pair.b.reason, ERR_TCP_RESET);
	assert_int_equal(tcp_stats(pair.a.tcp)->resets_out, 1);
	pair_fini();
}

static void
nobody_listening_refuses_at_once(void **state)
{
	(void)state;
	pair_init(NULL);
	start_connect();
	settle();
	assert_true(pair.a.events & TCP_EVENT_ERROR);
	assert_int_equal(pair.a.reason, ERR_TCP_REFUSED);
	assert_true(tcp_is_live(pair.a.tcp, pair.a.conn)); /* until its owner closes it */
	tcp_close(pair.a.tcp, pair.a.conn);
	assert_false(tcp_is_live(pair.a.tcp, pair.a.conn));
	pair_fini();
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
a_syn_into_the_void_is_sent_again_and_given_up(void **state)
{
	(void)state;
	pair_init(NULL);
	pair.a.lose = lose_all;
	start_connect();
	run_for(999 * MS);
	assert_int_equal(pair.a.sent, 1);
	run_for(2 * MS);
	assert_int_equal(pair.a.sent, 2); /* 1 s */
	run_for(2 * SEC);
	assert_int_equal(pair.a.sent, 3); /* 3 s */
	run_for(4 * SEC);
	assert_int_equal(pair.a.sent, 4); /* 7 s */
	run_for(170 * SEC);
	assert_false(pair.a.events & TCP_EVENT_ERROR);
	run_for(5 * SEC);
	assert_int_equal(pair.a.reason, ERR_TCP_TIMEOUT); /* 180 s, MUST-23 */
	pair_fini();
}

static void
data_into_the_void_ends_the_connection_after_the_user_timeout(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	run_for(5 * SEC);
	pair.a.lose = lose_all;
	write_stream(&pair.a, 10, 10);
	run_for(30 * SEC - 2 * MS);
	assert_false(pair.a.events & TCP_EVENT_ERROR);
	run_for(4 * MS);
	assert_int_equal(pair.a.reason, ERR_TCP_TIMEOUT);
	pair_fini();
}

static void
an_orphan_does_not_wait_for_ever_for_the_peers_fin(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	tcp_close(pair.a.tcp, pair.a.conn);
	run_for(59 * SEC);
	assert_int_equal(tcp_stats(pair.a.tcp)->conns, 1);
	run_for(2 * SEC);
	assert_int_equal(tcp_stats(pair.a.tcp)->conns, 0);
	pair_fini();
}

/* T22. Clients close or vanish; what we have closed keeps its place for a while only, and only so many. */
#define VANISHING 300u
#define ORPHANS_MAX 100u

static void
open_vanishing(void)
{
	struct tcp_config config = config_default();

	config.conns_max = VANISHING;
	config.orphans_max = ORPHANS_MAX;
	pair_init(&config);
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 0), ERR_OK);
	for (uint32_t i = 0; i < VANISHING; i++) {
		start_connect();
		settle();
	}
	assert_int_equal(pair.b.accepted, VANISHING);
}

/* The handle of the i-th connection that b accepted; each has its own place. */
static tcp_conn_t
accepted(uint32_t i)
{
	return pool_handle(&pair.b.tcp->conns, pool_at(&pair.b.tcp->conns, i));
}

static void
the_oldest_orphan_makes_room_for_the_next(void **state)
{
	(void)state;
	open_vanishing();
	pair.a.lose = lose_all;
	for (uint32_t i = 0; i < ORPHANS_MAX; i++)
		tcp_close(pair.b.tcp, accepted(i));
	settle();
	assert_int_equal(tcp_stats(pair.b.tcp)->orphans, ORPHANS_MAX);
	assert_int_equal(tcp_stats(pair.b.tcp)->resets_out, 0);
	for (uint32_t i = ORPHANS_MAX; i < VANISHING; i++) {
		tcp_close(pair.b.tcp, accepted(i));
		tcp_check(pair.b.tcp);
		/* The first in goes, and nobody else. */
		assert_false(pool_is_lent(&pair.b.tcp->conns, i - ORPHANS_MAX));
		assert_true(pool_is_lent(&pair.b.tcp->conns, i - ORPHANS_MAX + 1));
	}
	settle();
	assert_int_equal(tcp_stats(pair.b.tcp)->orphans, ORPHANS_MAX);
	assert_int_equal(tcp_stats(pair.b.tcp)->resets_out, VANISHING - ORPHANS_MAX);
	assert_int_equal(tcp_stats(pair.b.tcp)->drops[ERR_TCP_ORPHAN_EVICTED], VANISHING - ORPHANS_MAX);
	pair_fini();
}

/* In FIN-WAIT-1 (nobody acknowledges), in FIN-WAIT-2 (nobody closes), in LAST-ACK (closed and vanished): a minute
 * later the table is empty. */
static void
a_table_of_orphans_drains_in_a_minute(void **state)
{
	(void)state;
	open_vanishing();
	for (uint32_t i = 0; i < 30; i++) {
		tcp_close(pair.b.tcp, accepted(i));
		settle(); /* a acknowledges and stays in CLOSE-WAIT */
	}
	for (uint32_t i = 0; i < VANISHING; i++) {
		struct tcp_conn *c = pool_at(&pair.a.tcp->conns, i);

		if (pool_is_lent(&pair.a.tcp->conns, i) && c->state == TCP_ESTABLISHED && i % 3 == 0)
			tcp_shutdown(pair.a.tcp, pool_handle(&pair.a.tcp->conns, c));
	}
	settle();
	pair.a.lose = lose_all;
	for (uint32_t i = 30; i < ORPHANS_MAX; i++)
		tcp_close(pair.b.tcp, accepted(i));
	for (uint32_t i = ORPHANS_MAX; i < VANISHING; i++)
		tcp_abort(pair.b.tcp, accepted(i));
	settle();
	assert_int_equal(tcp_stats(pair.b.tcp)->orphans, ORPHANS_MAX);
	run_for(61 * SEC);
	assert_int_equal(tcp_stats(pair.b.tcp)->conns, 0);
	assert_int_equal(tcp_stats(pair.b.tcp)->orphans, 0);
	pair_fini();
}

static void
many_open_at_once_and_each_is_accepted_once(void **state)
{
	struct tcp_tuple tuple = { v4(1), v4(2), 0, SERVER_PORT };
	tcp_conn_t conn;

	(void)state;
	pair_init(NULL);
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 0), ERR_OK);
	for (int i = 0; i < 60; i++)
		assert_int_equal(tcp_connect(pair.a.tcp, &tuple, 0, &conn, pair.now_ns), ERR_OK);
	run_for(1 * SEC); /* 16 half-open places: the others complete by their cookies */
	assert_int_equal(pair.b.accepted, 60);
	assert_int_equal(tcp_stats(pair.b.tcp)->conns, 60);
	assert_true(tcp_stats(pair.b.tcp)->cookies_accepted >= 44);
	pair_fini();
}

static void
a_full_table_of_connections_refuses_and_recovers(void **state)
{
	struct tcp_config config = config_default();
	struct tcp_tuple tuple = { v4(1), v4(2), 0, SERVER_PORT };
	tcp_conn_t conn;

	(void)state;
	config.conns_max = 2;
	pair_init(&config);
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 0), ERR_OK);
	assert_int_equal(tcp_connect(pair.a.tcp, &tuple, 0, &pair.a.conn, pair.now_ns), ERR_OK);
	assert_int_equal(tcp_connect(pair.a.tcp, &tuple, 0, &conn, pair.now_ns), ERR_OK);
	assert_int_equal(tcp_connect(pair.a.tcp, &tuple, 0, &conn, pair.now_ns), ERR_POOL_EMPTY);
	settle();
	assert_int_equal(pair.b.accepted, 2);
	tcp_abort(pair.a.tcp, conn);
	settle();
	assert_int_equal(tcp_connect(pair.a.tcp, &tuple, 0, &conn, pair.now_ns), ERR_OK);
	settle();
	pair_fini();
}

static void
room_and_queues_are_told_as_they_are(void **state)
{
	struct tcp_config config = config_default();
	struct pkt *p;

	(void)state;
	config.send_bytes_max = 3000;
	pair_init(&config);
	establish();
	assert_int_equal(tcp_send_room(pair.a.tcp, pair.a.conn), 3000);
	assert_int_equal(write_stream(&pair.a, 2000, 1000), 2000);
	assert_int_equal(tcp_unsent(pair.a.tcp, pair.a.conn), 2000);
	assert_int_equal(tcp_send_room(pair.a.tcp, pair.a.conn), 1000);
	p = pkt_alloc(&pair.a.payload);
	memset(pkt_append(p, 1001), 0, 1001);
	assert_int_equal(tcp_send(pair.a.tcp, pair.a.conn, p, false), ERR_TCP_SEND_FULL);
	pkt_free(p); /* still ours */
	tcp_notify_below(pair.a.tcp, pair.a.conn, 500);
	side_output(&pair.a);
	assert_int_equal(tcp_unsent(pair.a.tcp, pair.a.conn), 0);
	assert_int_equal(tcp_unacked(pair.a.tcp, pair.a.conn), 2000);
	assert_false(pair.a.events & TCP_EVENT_WRITABLE);
	settle();
	assert_true(pair.a.events & TCP_EVENT_WRITABLE);
	assert_int_equal(tcp_send_room(pair.a.tcp, pair.a.conn), 3000);
	pair_fini();
}

/* Whoever keeps connections is told by the call, events or not, that one has become useless. */
static void
a_kept_connection_is_quiet_until_the_peer_says_something(void **state)
{
	struct pkt *p;

	(void)state;
	pair_init(NULL);
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 0), ERR_OK);
	start_connect();
	assert_false(tcp_is_quiet(pair.a.tcp, pair.a.conn)); /* not open yet */
	settle();
	assert_true(tcp_is_quiet(pair.a.tcp, pair.a.conn));
	write_stream(&pair.b, 10, 10);
	pair.a.reading = false;
	settle();
	assert_false(tcp_is_quiet(pair.a.tcp, pair.a.conn));
	/* What was taken and leads nowhere yet counts, given back or not. */
	p = tcp_take(pair.a.tcp, pair.a.conn);
	assert_false(tcp_is_quiet(pair.a.tcp, pair.a.conn));
	tcp_untake(pair.a.tcp, pair.a.conn, p);
	assert_false(tcp_is_quiet(pair.a.tcp, pair.a.conn));
	take_all(&pair.a, pair.a.conn);
	assert_true(tcp_is_quiet(pair.a.tcp, pair.a.conn));
	tcp_shutdown(pair.b.tcp, pair.b.conn);
	side_output(&pair.b);
	carry(&pair.b, &pair.a);
	assert_false(tcp_is_quiet(pair.a.tcp, pair.a.conn));
	settle();
	assert_true(pair.a.events & TCP_EVENT_EOF);
	pair_fini();
	pair_init(NULL);
	establish();
	assert_true(tcp_is_quiet(pair.a.tcp, pair.a.conn));
	tcp_abort(pair.b.tcp, pair.b.conn);
	carry(&pair.b, &pair.a);
	assert_false(tcp_is_quiet(pair.a.tcp, pair.a.conn));
	pair_fini();
}

/* What is given back lies in front of what came behind it, pins what it pinned, and comes again. */
static void
what_was_taken_can_be_given_back(void **state)
{
	uint32_t pinned;
	struct pkt *p;

	(void)state;
	pair_init(NULL);
	establish();
	pair.b.reading = false;
	write_stream(&pair.a, 3000, 1000);
	settle();
	pinned = conn_at(&pair.b)->rcv_truesize;
	p = tcp_take(pair.b.tcp, pair.b.conn);
	assert_true(conn_at(&pair.b)->rcv_truesize < pinned);
	tcp_untake(pair.b.tcp, pair.b.conn, p);
	assert_int_equal(conn_at(&pair.b)->rcv_truesize, pinned);
	assert_int_equal(tcp_stats(pair.b.tcp)->recv_truesize, pinned);
	tcp_check(pair.b.tcp);
	/* The only one. */
	take_all(&pair.b, pair.b.conn);
	write_stream(&pair.a, 100, 100);
	settle();
	tcp_untake(pair.b.tcp, pair.b.conn, tcp_take(pair.b.tcp, pair.b.conn));
	write_stream(&pair.a, 1000, 1000);
	settle();
	take_all(&pair.b, pair.b.conn);
	assert_int_equal(pair.b.received, 4100);
	assert_int_equal(tcp_stats(pair.b.tcp)->recv_truesize, 0);
	pair_fini();
}

static void
data_may_be_queued_before_the_connection_is_open(void **state)
{
	(void)state;
	pair_init(NULL);
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 0), ERR_OK);
	start_connect();
	assert_int_equal(write_stream(&pair.a, 700, 700), 700);
	tcp_shutdown(pair.a.tcp, pair.a.conn);
	run_for(1 * SEC);
	assert_int_equal(pair.b.received, 700);
	assert_true(pair.b.events & TCP_EVENT_EOF);
	assert_int_equal(state_of(&pair.a), TCP_FIN_WAIT_2);
	pair_fini();
}

static void
keep_alive_finds_a_dead_peer_and_spares_a_silent_one(void **state)
{
	struct tcp_config config = config_default();

	(void)state;
	config.keepalive_ns = 60 * SEC;
	pair_init(&config);
	establish();
	run_for(600 * SEC);
	assert_false((pair.a.events | pair.b.events) & TCP_EVENT_ERROR);
	assert_int_equal(pair.a.last.flags, TCPHDR_ACK);
	pair.b.lose = lose_all;
	pair.a.lose = lose_all;
	run_for(60 * SEC);
	assert_false(pair.a.events & TCP_EVENT_ERROR);
	run_for(61 * SEC);
	assert_int_equal(pair.a.reason, ERR_TCP_TIMEOUT);
	pair_fini();
}

static void
without_keep_alive_silence_is_golden(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	run_for(1 * SEC);
	pair.a.sent = 0;
	pair.b.sent = 0;
	run_for(30 * 86400 * SEC);
	assert_int_equal(pair.a.sent + pair.b.sent, 0);
	write_stream(&pair.a, 10, 10); /* PAWS must not mistake the age */
	run_for(1 * SEC);
	assert_int_equal(pair.b.received, 10);
	pair_fini();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_connection_opens_carries_and_closes),
		cmocka_unit_test(events_name_the_listener_and_the_user),
		cmocka_unit_test(a_half_close_lets_the_other_direction_go_on),
		cmocka_unit_test(both_ends_may_close_at_once),
		cmocka_unit_test(both_ends_may_open_at_once),
		cmocka_unit_test(both_may_open_at_once_though_a_syn_is_lost),
		cmocka_unit_test(unread_data_turns_a_close_into_a_reset),
		cmocka_unit_test(data_for_a_closed_owner_is_answered_by_a_reset),
		cmocka_unit_test(an_abort_reaches_the_peer),
		cmocka_unit_test(nobody_listening_refuses_at_once),
		cmocka_unit_test(a_syn_into_the_void_is_sent_again_and_given_up),
		cmocka_unit_test(data_into_the_void_ends_the_connection_after_the_user_timeout),
		cmocka_unit_test(an_orphan_does_not_wait_for_ever_for_the_peers_fin),
		cmocka_unit_test(the_oldest_orphan_makes_room_for_the_next),
		cmocka_unit_test(a_table_of_orphans_drains_in_a_minute),
		cmocka_unit_test(many_open_at_once_and_each_is_accepted_once),
		cmocka_unit_test(a_full_table_of_connections_refuses_and_recovers),
		cmocka_unit_test(room_and_queues_are_told_as_they_are),
		cmocka_unit_test(a_kept_connection_is_quiet_until_the_peer_says_something),
		cmocka_unit_test(what_was_taken_can_be_given_back),
		cmocka_unit_test(data_may_be_queued_before_the_connection_is_open),
		cmocka_unit_test(keep_alive_finds_a_dead_peer_and_spares_a_silent_one),
		cmocka_unit_test(without_keep_alive_silence_is_golden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* One engine (b) and a stranger who guesses (RFC 5961): sweeps of what he may send. What strangers can do in
 * bulk is in test_tcp_attack.c and test_tcp_flood.c. */
#include "peer.h"

#include "base/prng.h"

/* --- T5 to T8: blind segments -------------------------------------------------------- */

static void
assert_stream_lives(void)
{
	uint64_t before = pair.b.received;

	assert_int_equal(state_of(&pair.b), TCP_ESTABLISHED);
	assert_int_equal(send_flags(TCPHDR_ACK | TCPHDR_PSH, 0, 10), ERR_OK);
	peer.seq += 10;
	side_output(&pair.b);
	side_events(&pair.b);
	assert_int_equal(pair.b.received - before, 10);
	assert_false(pair.b.events & TCP_EVENT_ERROR);
	answer(&(struct tcphdr){ 0 });
}

static void
resets_all_over_the_window_end_nothing_but_the_exact_one_does(void **state)
{
	uint32_t window;

	(void)state;
	established();
	window = conn_at(&pair.b)->rcv_adv - conn_at(&pair.b)->rcv_nxt;
	assert_true(window > 10000);
	for (uint32_t at = 1; at <= window; at++)
		assert_int_equal(send_flags(TCPHDR_RST, (int32_t)at, 0), ERR_TCP_CHALLENGED);
	for (uint32_t at = 1; at < 5000; at++) {
		assert_int_equal(send_flags(TCPHDR_RST, (int32_t)(window + at), 0), ERR_TCP_STRAY_RESET);
		assert_int_equal(send_flags(TCPHDR_RST | TCPHDR_ACK, -(int32_t)at, 0), ERR_TCP_STRAY_RESET);
	}
	answer(&(struct tcphdr){ 0 });
	assert_int_equal(tcp_stats(pair.b.tcp)->challenge_acks, TCP_CHALLENGES_MAX);
	assert_stream_lives();
	assert_int_equal(send_flags(TCPHDR_RST, 0, 0), ERR_TCP_RESET);
	assert_true(is_silent());
	assert_int_equal(pair.b.reason, ERR_TCP_RESET);
	pair_fini();
}

static void
syns_all_over_the_number_space_reset_nothing(void **state)
{
	(void)state;
	established();
	for (uint32_t i = 0; i < 4096; i++) {
		enum err verdict = send_flags(TCPHDR_SYN, (int32_t)(i << 20 | i), 0);

		assert_true(verdict == ERR_TCP_CHALLENGED || verdict == ERR_TCP_OUT_OF_WINDOW);
		if (i % 64 == 0)
			assert_stream_lives();
	}
	assert_stream_lives();
	pair_fini();
}

static void
injected_data_needs_an_acknowledgment_that_fits(void **state)
{
	struct prng prng;
	uint32_t taken = 0;

	(void)state;
	prng_init(&prng, 7);
	established();
	for (uint32_t i = 0; i < 1000; i++) {
		struct tcphdr h = { .seq = peer.seq + prng_below(&prng, 1000), .ack = (uint32_t)prng_next(&prng),
				    .flags = TCPHDR_ACK | TCPHDR_PSH };

		taken += inject(&h, 100) == ERR_OK;
		answer(&(struct tcphdr){ 0 });
	}
	/* One in 70,000 guesses lies in [una - largest window, nxt]. */
	assert_int_equal(taken, 0);
	assert_int_equal(pair.b.received, 0);
	assert_false(pair.b.events & TCP_EVENT_READABLE);
	assert_int_equal(conn_at(&pair.b)->rcv_nxt, peer.seq);
	assert_stream_lives();
	pair_fini();
}

/* Opens a second connection of the peer; the first one's numbers are in *first afterwards. */
static void
second_connection(uint32_t *first_seq, uint32_t *first_ack, tcp_conn_t *first_conn)
{
	*first_seq = peer.seq;
	*first_ack = peer.ack;
	*first_conn = pair.b.conn;
	peer.port++;
	peer.seq = 5000000;
	peer.first = peer.seq + 1;
	handshake_syn(TCPHDR_HAS_SACK_OK | TCPHDR_HAS_SHIFT);
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 0), ERR_OK);
	assert_true(is_silent());
	side_events(&pair.b);
	assert_true(pair.b.conn != *first_conn);
}

/* CVE-2016-5696: what is spent on one connection must not show on another. */
static void
challenges_spent_on_one_connection_are_not_missing_on_another(void **state)
{
	uint32_t seq, ack;
	tcp_conn_t conn;
	struct tcphdr h;

	(void)state;
	established();
	second_connection(&seq, &ack, &conn);
	for (uint32_t i = 0; i < 1000; i++) {
		send_flags(TCPHDR_RST, 100, 0);
		answer(&h);
	}
	assert_int_equal(tcp_stats(pair.b.tcp)->challenge_acks, TCP_CHALLENGES_MAX);
	peer.port--;
	peer.seq = seq;
	peer.ack = ack;
	for (uint32_t i = 0; i < 1000; i++) {
		send_flags(TCPHDR_RST, 100, 0);
		assert_int_equal(answer(&h), i < TCP_CHALLENGES_MAX);
	}
	assert_int_equal(tcp_stats(pair.b.tcp)->challenge_acks, 2 * TCP_CHALLENGES_MAX);
	pair_fini();
}

/* Two ends that both believe to be connected and agree on no number (smoltcp#29). */
static void
two_confused_ends_fall_silent(void **state)
{
	uint32_t sent;

	(void)state;
	pair_init(NULL);
	establish();
	for (int i = 0; i < 2; i++) {
		struct tcp_conn *c = conn_at(i == 0 ? &pair.a : &pair.b);

		c->rcv_nxt += 1000000;
		c->rcv_adv += 1000000;
		c->last_ack_sent += 1000000;
	}
	sent = pair.a.sent + pair.b.sent;
	write_stream(&pair.a, 100, 100);
	write_stream(&pair.b, 100, 100);
	run_for(5 * SEC);
	/* Ten challenges each in five seconds, and answers to each retransmission. */
	assert_in_range(pair.a.sent + pair.b.sent - sent, 4, 2 * (TCP_CHALLENGES_MAX + 1) + 40);
	run_for(60 * SEC);
	sent = pair.a.sent + pair.b.sent;
	run_for(60 * SEC);
	assert_int_equal(pair.a.sent + pair.b.sent, sent);
	pair_fini();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(resets_all_over_the_window_end_nothing_but_the_exact_one_does),
		cmocka_unit_test(syns_all_over_the_number_space_reset_nothing),
		cmocka_unit_test(injected_data_needs_an_acknowledgment_that_fits),
		cmocka_unit_test(challenges_spent_on_one_connection_are_not_missing_on_another),
		cmocka_unit_test(two_confused_ends_fall_silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

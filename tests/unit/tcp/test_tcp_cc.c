/* Congestion control: CUBIC in integers against RFC 9438 in floating point, and the end of slow start. */
#include "pair.h"

#include "tcp/cc.h"

#define MSS 1448u

static struct tcp_conn conn;
static struct tcp_flight flight;

static double
cube_root(double n)
{
	double x = n > 1 ? n : 1;

	for (int i = 0; i < 200; i++)
		x -= (x * x * x - n) / (3 * x * x);
	return x;
}

/* A connection in congestion avoidance with that window. */
static void
start(uint32_t segments, uint32_t rtt_ms)
{
	memset(&conn, 0, sizeof(conn));
	memset(&flight, 0, sizeof(flight));
	conn.flight = &flight;
	conn.mss = MSS;
	conn.srtt_us = rtt_ms * 1000;
	conn.cwnd = segments * MSS;
	flight.cwnd_limited = true;
}

static void
lose(void)
{
	conn.ssthresh = tcp_cc_cubic.reduce(&conn, conn.cwnd);
	conn.cwnd = conn.ssthresh;
	flight.in_epoch = false;
	flight.carry = 0;
}

/* A round trip in which a whole window is acknowledged, segment by segment. */
static void
round_trip(uint64_t *now_ns)
{
	uint32_t segments = conn.cwnd / MSS;
	uint64_t rtt_ns = conn.srtt_us * NSEC_PER_USEC;

	for (uint32_t i = 0; i < segments; i++) {
		*now_ns += rtt_ns / segments;
		tcp_cc_cubic.avoid(&conn, MSS, *now_ns);
	}
}

static void
assert_near(double got, double wanted, double part)
{
	if (got < wanted * (1 - part) || got > wanted * (1 + part))
		fail_msg("%f is not near %f", got, wanted);
}

static void
the_window_follows_the_curve(void **state)
{
	static const uint32_t tops[] = { 100, 400, 2000 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(tops); i++) {
		double top = tops[i];
		double k = cube_root(top * 0.3 / 0.4);
		uint64_t begin_ns = 5 * SEC, now_ns = begin_ns;

		start(tops[i], 100);
		lose();
		assert_near(conn.cwnd / (double)MSS, top * 0.7, 0.001);
		while (now_ns - begin_ns < (uint64_t)(1.5 * k * 1e9)) {
			double t, lag;

			round_trip(&now_ns);
			t = (double)(now_ns - begin_ns) / 1e9;
			lag = 0.4 * (t - k) * (t - k) * (t - k) + top;
			assert_near(conn.cwnd / (double)MSS, lag, 0.03);
		}
		assert_true(conn.cwnd > tops[i] * MSS);
	}
}

static void
a_loss_costs_three_tenths_and_a_second_one_gives_way(void **state)
{
	(void)state;
	start(100, 50);
	lose();
	assert_int_equal(conn.cwnd, 70 * MSS);
	assert_int_equal(conn.cwnd_top, 100 * MSS);
	/* Fast convergence: the top of somebody whose share shrinks lies below where the loss was. */
	lose();
	assert_int_equal(conn.cwnd, 49 * MSS);
	assert_int_equal(conn.cwnd_top, 70 * MSS * 17 / 20);
}

static void
what_was_not_used_is_not_remembered(void **state)
{
	(void)state;
	start(100, 50);
	flight.cwnd_limited = false;
	assert_int_equal(tcp_cc_cubic.reduce(&conn, 20 * MSS), 14 * MSS);
	assert_int_equal(conn.cwnd_top, 20 * MSS);
}

/* Section 4.8: K is 0, and the window at the begin of avoidance is the top. */
static void
after_a_timeout_the_curve_begins_where_slow_start_ended(void **state)
{
	struct tcp tcp = { .cc = &tcp_cc_cubic };
	uint64_t now_ns = 5 * SEC;

	(void)state;
	start(400, 100);
	tcp_cc_timeout(&tcp, &conn, conn.cwnd, true);
	assert_int_equal(conn.cwnd, MSS);
	assert_int_equal(conn.ssthresh, 280 * MSS);
	conn.cwnd = conn.ssthresh;
	for (uint32_t i = 0; i < 20; i++)
		round_trip(&now_ns);
	/* Two seconds, 0.4 * 2^3 segments; back to the old top it would be 77 by now. Reno's rate is larger. */
	assert_near(conn.cwnd / (double)MSS, 280 + 20, 0.02);
}

/* Section 4.3: where the cubic is slower, 9/17 of a segment for each round trip, and a whole one above the top. */
static void
on_a_short_path_it_is_as_fast_as_reno(void **state)
{
	uint64_t now_ns = 5 * SEC;

	(void)state;
	start(20, 5);
	lose();
	for (uint32_t i = 0; i < 8; i++)
		round_trip(&now_ns);
	assert_near(conn.cwnd / (double)MSS, 14 + 8 * 9 / 17.0, 0.05);
	while (conn.cwnd < 20 * MSS)
		round_trip(&now_ns);
	for (uint32_t i = 0; i < 10; i++)
		round_trip(&now_ns);
	assert_near(conn.cwnd / (double)MSS, 30, 0.06);
}

/* Section 4.2: after a long silence the curve is far above; it is approached by half a window per round trip. */
static void
no_round_trip_brings_more_than_half_a_window(void **state)
{
	uint64_t now_ns = 5 * SEC;

	(void)state;
	start(100, 100);
	lose();
	round_trip(&now_ns);
	now_ns += 30 * SEC;
	for (uint32_t i = 0; i < 10; i++) {
		uint32_t before = conn.cwnd;

		round_trip(&now_ns);
		/* Compounded, since each ACK looks at the window again. */
		assert_true(conn.cwnd <= before + before / 3 * 2);
		assert_true(conn.cwnd > before);
	}
}

/* --- HyStart++: RFC 9406 ------------------------------------------------------------------- */

/* One round of slow start, every segment acknowledged after rtt_us (plus a little for each later one). */
static void
slow_round(const struct tcp *t, uint32_t rtt_us, uint32_t jitter_us)
{
	uint32_t end;

	conn.snd_nxt = conn.snd_una + conn.cwnd;
	flight.limited_end = conn.snd_nxt;
	end = conn.snd_nxt;
	for (uint32_t i = 0; seq_lt(conn.snd_una, end); i++) {
		conn.snd_una += MSS;
		conn.snd_nxt += 2 * MSS;
		flight.cwnd_limited = true;
		flight.limited_end = conn.snd_nxt;
		tcp_cc_acked(t, &conn, MSS, rtt_us + i % 4 * jitter_us, SEC);
	}
}

static void
start_slowly(uint32_t segments)
{
	start(segments, 20);
	conn.ssthresh = TCP_CWND_MAX;
	conn.snd_una = UINT32_MAX - 99;
	flight.round_end = conn.snd_una;
	flight.round_min_us = UINT32_MAX;
	flight.last_min_us = UINT32_MAX;
}

static void
slow_start_doubles_as_long_as_the_path_is_empty(void **state)
{
	(void)state;
	pair_init(NULL);
	start_slowly(16);
	for (uint32_t i = 0; i < 6; i++) {
		uint32_t before = conn.cwnd;

		slow_round(pair.a.tcp, 20000, 500);
		assert_int_equal(conn.cwnd, 2 * before);
	}
	assert_true(conn.ssthresh == TCP_CWND_MAX);
	pair_fini();
}

/* A queue that grows: a quarter of the pace, and after five rounds of it congestion avoidance. */
static void
slow_start_ends_when_the_delay_rises_and_stays(void **state)
{
	uint32_t before;

	(void)state;
	pair_init(NULL);
	start_slowly(16);
	slow_round(pair.a.tcp, 20000, 0);
	slow_round(pair.a.tcp, 20000, 0);
	slow_round(pair.a.tcp, 25000, 0); /* 5 ms more than an eighth of 20 would be */
	before = conn.cwnd;
	slow_round(pair.a.tcp, 26000, 0);
	assert_in_range(conn.cwnd, before + before / 5, before + before / 2);
	for (uint32_t i = 0; i < 6; i++)
		slow_round(pair.a.tcp, 26000, 0);
	assert_true(conn.ssthresh <= conn.cwnd);
	pair_fini();
}

static void
a_delay_that_was_jitter_does_not_end_slow_start(void **state)
{
	uint32_t before;

	(void)state;
	pair_init(NULL);
	start_slowly(16);
	slow_round(pair.a.tcp, 20000, 0);
	slow_round(pair.a.tcp, 20000, 0);
	slow_round(pair.a.tcp, 25000, 0);
	slow_round(pair.a.tcp, 20000, 0);
	slow_round(pair.a.tcp, 20000, 0);
	before = conn.cwnd;
	slow_round(pair.a.tcp, 20000, 0);
	assert_in_range(conn.cwnd, 2 * before, 2 * before + MSS); /* the last segment may be a whole one */
	assert_true(conn.ssthresh == TCP_CWND_MAX);
	pair_fini();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_window_follows_the_curve),
		cmocka_unit_test(a_loss_costs_three_tenths_and_a_second_one_gives_way),
		cmocka_unit_test(what_was_not_used_is_not_remembered),
		cmocka_unit_test(after_a_timeout_the_curve_begins_where_slow_start_ended),
		cmocka_unit_test(on_a_short_path_it_is_as_fast_as_reno),
		cmocka_unit_test(no_round_trip_brings_more_than_half_a_window),
		cmocka_unit_test(slow_start_doubles_as_long_as_the_path_is_empty),
		cmocka_unit_test(slow_start_ends_when_the_delay_rises_and_stays),
		cmocka_unit_test(a_delay_that_was_jitter_does_not_end_slow_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

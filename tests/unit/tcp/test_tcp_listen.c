/* What a passive open knows about the path when its handshake ends. */
#include "stranger.h"

#define WIRE_NS (10 * MS)

/* SYN, after wait_ns (and `repeats` of the SYN on the way) the last ACK; returns the connection's RTO. */
static uint64_t
rto_after(uint16_t port, bool times, uint32_t repeats, uint64_t wait_ns)
{
	struct segment s = from_stranger(5, port, SEGMENT_SYN);
	struct segment answer;
	struct tcp_event e;
	uint64_t rto_ns;

	s.seq = 77;
	s.has_mss = true;
	s.mss = 1460;
	s.has_ts = times;
	s.ts_val = 1;
	for (uint32_t i = 0; i <= repeats; i++) {
		pass(wait_ns / 10);
		assert_int_equal(give(&s), ERR_OK);
		assert_true(take(&answer));
	}
	pass(wait_ns);
	s.flags = SEGMENT_ACK;
	s.seq++;
	s.has_mss = false;
	s.ack = answer.seq + 1;
	s.ts_ecr = answer.ts_val;
	assert_int_equal(give(&s), ERR_OK);
	assert_true(tcp_event_next(world.stack.tcp, &e));
	rto_ns = tcp_rto_ns(pool_find(&world.stack.tcp->conns, e.conn));
	tcp_abort(world.stack.tcp, e.conn);
	take_all();
	return rto_ns;
}

/* The timestamp of a SYN-ACK is rounded down by up to 64 ms: it is no clock for this. */
static void
the_first_sample_is_the_handshakes_own_time(void **state)
{
	struct tcp_config config = stack_config();

	(void)state;
	world_open(&config);
	for (uint32_t ms = 0; ms < 70; ms++) {
		/* 10 ms, or a tick more: 3 samples of that are below the least RTO. */
		assert_int_equal(rto_after((uint16_t)(1000 + ms), true, 0, WIRE_NS), 200 * MS);
		assert_int_equal(rto_after((uint16_t)(2000 + ms), false, 0, WIRE_NS), 200 * MS);
		assert_in_range(rto_after((uint16_t)(3000 + ms), true, 0, 30 * WIRE_NS), 900 * MS, 903 * MS);
		pass(1 * MS);
	}
	stack_close(&world.stack);
}

static void
of_several_syn_acks_or_a_cookie_nothing_is_learned(void **state)
{
	struct tcp_config config = stack_config();

	(void)state;
	world_open(&config);
	assert_int_equal(rto_after(1000, true, 1, WIRE_NS), TCP_RTO_INITIAL_NS);
	stack_close(&world.stack);
	config.half_open_max = 0;
	world_open(&config);
	assert_int_equal(rto_after(1000, true, 0, WIRE_NS), TCP_RTO_INITIAL_NS);
	stack_close(&world.stack);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_sample_is_the_handshakes_own_time),
		cmocka_unit_test(of_several_syn_acks_or_a_cookie_nothing_is_learned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The receive window: how it grows, that it never goes back, and in which steps it moves. One stack (b) receives
 * from a sender made of plain numbers, which obeys the window and a slow start of its own. */
#include "pair.h"

#include "base/prng.h"

#define PORT 5555u
#define FIRST 1000000u
#define MSS 1460u

struct reply {
	uint64_t at_ns; /* when the sender has it */
	uint32_t ack;
	uint32_t edge;
	uint32_t time;
};

/* A bulk sender at the other end of a path. Acknowledgments are a ring: one for two segments in flight at most. */
#define REPLIES 32768u

static struct sender {
	struct reply replies[REPLIES];
	uint32_t head;
	uint32_t tail;
	uint64_t rtt_ns;
	uint64_t gap_ns; /* between two segments: the rate of the line */
	bool times;
	uint8_t shift; /* the stack's, 0 if we asked for none */
	uint32_t una;
	uint32_t nxt;
	uint32_t edge;     /* the largest ever offered */
	uint32_t known;    /* the largest that the sender has heard of */
	uint32_t cwnd;
	uint32_t ack;
	uint32_t echo;
	uint32_t window;   /* as the last segment said */
	uint32_t sent;     /* segments of the stack's */
} sender;

static struct pkt *
segment_make(uint32_t seq, uint8_t flags, uint8_t options, uint32_t len)
{
	struct tcphdr h = {
		.src_port = PORT,
		.dst_port = SERVER_PORT,
		.seq = seq,
		.ack = sender.ack,
		.flags = flags,
		.window = 65535,
		.mss = MSS,
		.shift = 7,
		.options = options,
		.ts_value = (uint32_t)(pair.now_ns / MS),
		.ts_echo = sender.echo,
	};
	struct pkt *p = pkt_alloc(&pair.a.headers);
	uint8_t *to;

	assert_non_null(p);
	tcphdr_emit(&h, pkt_append(p, tcphdr_bytes(&h)));
	to = pkt_append(p, len);
	for (uint32_t i = 0; i < len; i++)
		to[i] = stream_byte(seq - FIRST - 1 + i);
	pkt_meta(p)->src = v4(1);
	pkt_meta(p)->dst = v4(2);
	pkt_meta(p)->l4_csum = PKT_CSUM_GOOD;
	return p;
}

/* What the stack says now, on its way to the sender. */
static void
collect(void)
{
	struct tcphdr h;
	struct pkt *p;

	tcp_advance(pair.b.tcp, pair.now_ns);
	side_events(&pair.b);
	tcp_output_ready(pair.b.tcp, pair.now_ns);
	while ((p = tcp_transmit_next(pair.b.tcp)) != NULL) {
		struct reply *r = &sender.replies[sender.tail++ % REPLIES];

		assert_int_equal(tcphdr_parse(bytes_make(pkt_data(p), pkt_len(p)), &h), ERR_OK);
		pkt_free(p);
		assert_true(sender.tail - sender.head < REPLIES);
		sender.sent++;
		sender.window = (uint32_t)h.window << (h.flags & TCPHDR_SYN ? 0 : sender.shift);
		*r = (struct reply){ pair.now_ns + sender.rtt_ns, h.ack, h.ack + sender.window, h.ts_value };
		/* SHLD-14: no promise is taken back. */
		assert_true(seq_ge(r->edge, sender.edge));
		sender.edge = r->edge;
		if (h.flags & TCPHDR_SYN)
			sender.ack = h.seq + 1;
	}
}

static void
put(struct pkt *p)
{
	assert_int_equal(tcp_input(pair.b.tcp, p, pair.now_ns), ERR_OK);
}

static void
begin(const struct tcp_config *config, uint64_t rtt_ns, uint8_t options)
{
	pair_init(config);
	memset(&sender, 0, sizeof(sender));
	sender.rtt_ns = rtt_ns;
	sender.gap_ns = 12 * NSEC_PER_USEC; /* 1 Gbit/s */
	sender.times = (options & TCPHDR_HAS_TIMES) != 0;
	sender.shift = options & TCPHDR_HAS_SHIFT ? pair.config.window_shift : 0;
	sender.edge = FIRST;
	sender.cwnd = 10 * MSS;
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 0), ERR_OK);
	put(segment_make(FIRST, TCPHDR_SYN, options | TCPHDR_HAS_MSS, 0));
	collect();
	sender.una = FIRST + 1;
	sender.nxt = FIRST + 1;
	pair.now_ns += rtt_ns;
	assert_int_equal(sender.head + 1, sender.tail);
	sender.known = sender.edge;
	sender.echo = sender.replies[sender.head++ % REPLIES].time;
	put(segment_make(FIRST + 1, TCPHDR_ACK, options & TCPHDR_HAS_TIMES, 0));
	collect();
	assert_true(pair.b.events & TCP_EVENT_ACCEPTED);
	assert_int_equal(sender.sent, 1);
}

static struct tcp_conn *
conn(void)
{
	return conn_at(&pair.b);
}

/* What the two windows allow, one segment after the other. */
static void
send_allowed(void)
{
	while (sender.nxt - sender.una + MSS <= sender.cwnd &&
	       seq_le(sender.nxt + MSS, sender.known)) {
		put(segment_make(sender.nxt, TCPHDR_ACK, sender.times ? TCPHDR_HAS_TIMES : 0, MSS));
		sender.nxt += MSS;
		collect();
		pair.now_ns += sender.gap_ns;
	}
}

/* Sends for a while; returns what arrived, and stops as soon as the buffer is full_bytes. */
static uint32_t
bulk(uint64_t span_ns, uint32_t full_bytes)
{
	uint64_t end_ns = pair.now_ns + span_ns;
	uint32_t begin_seq = sender.nxt;

	while (pair.now_ns < end_ns && conn()->rcv_max < full_bytes) {
		struct reply r;

		send_allowed();
		/* A delayed ACK may be all there is to wait for. */
		while (sender.head == sender.tail) {
			uint64_t next_ns = tcp_next_at(pair.b.tcp);

			if (next_ns > end_ns) {
				pair.now_ns = end_ns;
				return sender.nxt - begin_seq;
			}
			pair.now_ns = next_ns > pair.now_ns ? next_ns : pair.now_ns + 1;
			collect();
		}
		r = sender.replies[sender.head++ % REPLIES];
		if (r.at_ns > pair.now_ns)
			pair.now_ns = r.at_ns;
		if (seq_gt(r.ack, sender.una)) {
			sender.cwnd += r.ack - sender.una; /* slow start */
			sender.una = r.ack;
		}
		sender.echo = r.time;
		sender.known = seq_max(sender.known, r.edge);
	}
	tcp_check(pair.b.tcp);
	return sender.nxt - begin_seq;
}

static struct tcp_config
wide_config(void)
{
	struct tcp_config config = config_default();

	config.recv_bytes_max = 16 * MIB - 256;
	config.window_shift = 8;
	return config;
}

#define ALL (TCPHDR_HAS_TIMES | TCPHDR_HAS_SACK_OK | TCPHDR_HAS_SHIFT)

/* --- growing -------------------------------------------------------------------------------- */

static void
a_long_fat_path_has_its_window_within_three_seconds(void **state)
{
	struct tcp_config config = wide_config();
	uint64_t begin_ns;

	(void)state;
	begin(&config, 150 * MS, ALL);
	begin_ns = pair.now_ns;
	assert_int_equal(conn()->rcv_max, 64 * KIB);
	bulk(10 * SEC, config.recv_bytes_max);
	assert_int_equal(conn()->rcv_max, config.recv_bytes_max);
	assert_in_range(pair.now_ns - begin_ns, 0, 3 * SEC);
	pair_fini();
}

/* The window is never what stops a slow start: as much has arrived as if it had been open from the start. */
static void
growing_is_ahead_of_slow_start(void **state)
{
	struct tcp_config config = wide_config();
	uint32_t tuned, open;

	(void)state;
	begin(&config, 150 * MS, ALL);
	tuned = bulk(1350 * MS, UINT32_MAX);
	pair_fini();
	config.policies[TCP_POLICY_ACCEPTED].recv_bytes_start = config.recv_bytes_max;
	begin(&config, 150 * MS, ALL);
	open = bulk(1350 * MS, UINT32_MAX);
	pair_fini();
	assert_true(open > 5 * MIB);
	assert_true(tuned >= open / 10 * 9);
}

static void
without_timestamps_a_window_is_the_clock(void **state)
{
	struct tcp_config config = wide_config();
	uint64_t begin_ns;

	(void)state;
	begin(&config, 150 * MS, TCPHDR_HAS_SHIFT);
	begin_ns = pair.now_ns;
	bulk(10 * SEC, config.recv_bytes_max);
	assert_int_equal(conn()->rcv_max, config.recv_bytes_max);
	assert_in_range(pair.now_ns - begin_ns, 0, 4 * SEC);
	pair_fini();
}

static void
without_scaling_the_field_is_the_bound(void **state)
{
	struct tcp_config config = wide_config();

	(void)state;
	begin(&config, 20 * MS, TCPHDR_HAS_TIMES);
	bulk(2 * SEC, UINT32_MAX);
	assert_int_equal(conn()->rcv_max, UINT16_MAX);
	pair_fini();
}

/* 100 kB per second over 50 ms are 5 kB per round trip. */
static void
a_slow_stream_gets_no_more_than_it_began_with(void **state)
{
	struct tcp_config config = wide_config();

	(void)state;
	begin(&config, 50 * MS, ALL);
	for (int i = 0; i < 400; i++) {
		put(segment_make(sender.nxt, TCPHDR_ACK | TCPHDR_PSH, TCPHDR_HAS_TIMES, 1000));
		sender.nxt += 1000;
		collect();
		pair.now_ns += 10 * MS;
		sender.echo = sender.replies[(sender.tail - 1) % REPLIES].time - 50;
	}
	assert_int_equal(conn()->rcv_max, 64 * KIB);
	assert_int_equal(pair.b.received, 400000);
	pair_fini();
}

/* An owner that reads once a second is what limits, not the window. */
static void
an_owner_that_is_slow_gets_no_more(void **state)
{
	struct tcp_config config = wide_config();

	(void)state;
	begin(&config, 50 * MS, ALL);
	pair.b.reading = false;
	for (int i = 0; i < 20; i++) {
		bulk(1 * SEC, UINT32_MAX);
		take_all(&pair.b, pair.b.conn);
		collect();
	}
	assert_true(pair.b.received > 10 * 60000);
	assert_int_equal(conn()->rcv_max, 64 * KIB);
	pair_fini();
}

static void
under_pressure_nothing_grows(void **state)
{
	struct tcp_config config = wide_config();
	struct pkt_pool gauge;
	struct pkt *taken[75];

	(void)state;
	pkt_pool_init(&gauge, COUNT_OF(taken) * 100 / 75);
	config.watched_pools[0].pool = &gauge;
	begin(&config, 50 * MS, ALL);
	for (size_t i = 0; i < COUNT_OF(taken); i++)
		taken[i] = pkt_alloc(&gauge);
	pair.now_ns += 1 * MS;
	bulk(1 * SEC, UINT32_MAX);
	assert_int_equal(tcp_stats(pair.b.tcp)->pressure, TCP_PRESSURE_GROWTH);
	assert_int_equal(conn()->rcv_max, 64 * KIB);
	assert_true(pair.b.received > 1 * MIB);
	for (size_t i = 0; i < COUNT_OF(taken); i++)
		pkt_free(taken[i]);
	pair.now_ns += 1 * MS;
	bulk(1 * SEC, UINT32_MAX);
	assert_int_equal(tcp_stats(pair.b.tcp)->pressure, TCP_PRESSURE_NONE);
	assert_true(conn()->rcv_max > 1 * MIB);
	pair_fini();
}

static void
a_policy_raises_the_window_and_never_lowers_it(void **state)
{
	struct tcp_config config = wide_config();

	(void)state;
	config.policies[2].recv_bytes_start = 1 * MIB;
	config.policies[3].recv_bytes_start = 4 * KIB;
	config.policies[3].recv_bytes_max = 8 * KIB;
	begin(&config, 50 * MS, ALL);
	tcp_set_policy(pair.b.tcp, pair.b.conn, 2);
	assert_int_equal(conn()->rcv_max, 1 * MIB);
	tcp_set_policy(pair.b.tcp, pair.b.conn, 3);
	assert_int_equal(conn()->rcv_max, 1 * MIB);
	bulk(1 * SEC, UINT32_MAX);
	assert_int_equal(conn()->rcv_max, 1 * MIB);
	pair_fini();
}

static void
each_kind_of_peer_begins_with_its_own_window(void **state)
{
	struct tcp_config config = wide_config();

	(void)state;
	pair_init(&config);
	establish();
	assert_int_equal(conn_at(&pair.a)->rcv_max, 256 * KIB);
	assert_int_equal(conn_at(&pair.b)->rcv_max, 64 * KIB);
	pair_fini();
}

/* --- moving ----------------------------------------------------------------------------------- */

/* MUST-39 and SHLD-14, whatever the owner reads and the peer sends: the edge stands still or moves by a segment,
 * by half the buffer, or to the very end of what is free. */
static void
the_edge_moves_in_steps_that_are_worth_a_segment(void **state)
{
	static const uint32_t buffers[] = { 500, 1000, 2900, 5000, 20000, 65535, 200000 };
	struct prng prng;

	(void)state;
	for (uint64_t seed = 1; seed <= 140; seed++) {
		struct tcp_config config = config_default();
		uint32_t edge, unit;

		prng_init(&prng, seed);
		config.recv_bytes_max = buffers[seed % COUNT_OF(buffers)];
		config.window_shift = config.recv_bytes_max > UINT16_MAX ? 2 : 0;
		begin(&config, 0, ALL);
		pair.b.reading = false;
		edge = sender.edge;
		unit = 1u << sender.shift;
		for (int step = 0; step < 300; step++) {
			uint32_t room = sender.edge - sender.nxt;
			uint32_t len = prng_below(&prng, 3) == 0 ? MSS : 1 + prng_below(&prng, 200);
			struct pkt *p;
			uint32_t free_bytes, gain, least, half;

			len = len < room ? len : room;
			if (len > 0 && prng_below(&prng, 3) > 0) {
				enum err verdict;

				p = segment_make(sender.nxt, TCPHDR_ACK, TCPHDR_HAS_TIMES, len);
				verdict = tcp_input(pair.b.tcp, p, pair.now_ns);
				if (verdict == ERR_OK)
					sender.nxt += len;
				else /* rounding has added up, or small pieces pin whole buffers */
					assert_true(verdict == ERR_TCP_PRESSURE &&
						    (conn()->rcv_unconsumed + len > conn()->rcv_max ||
						     conn()->rcv_truesize > 4 * conn()->rcv_max));
			} else if ((p = tcp_take(pair.b.tcp, pair.b.conn)) != NULL) {
				uint32_t n = pkt_total(p);

				pkt_free(p);
				tcp_consumed(pair.b.tcp, pair.b.conn, n);
			}
			if (prng_below(&prng, 8) == 0)
				pair.now_ns += prng_below(&prng, 40) * MS;
			collect();
			tcp_check(pair.b.tcp);
			gain = sender.edge - edge;
			edge = sender.edge;
			free_bytes = conn()->rcv_max - conn()->rcv_unconsumed;
			half = conn()->rcv_max / 2;
			least = half < conn()->mss_seen ? half : conn()->mss_seen;
			/* A unit of the field's is what rounding may take or add. */
			if (gain > unit && gain + unit < least)
				assert_true(edge - sender.nxt + unit >= free_bytes &&
					    conn()->rcv_unconsumed == 0);
			assert_true(edge - sender.nxt <= free_bytes + unit || gain <= unit);
		}
		pair_fini();
	}
}

/* --- acknowledging ------------------------------------------------------------------------------ */

/* MUST-58, MUST-59: what has arrived is worked through before it is acknowledged, and one ACK is for all of it, in
 * the first 16 segments and behind them. RFC 5681 section 4.2: but each segment beyond a hole has its own. */
static void
a_burst_is_acknowledged_once_up_to_a_hole(void **state)
{
	struct tcp_config config = wide_config();

	(void)state;
	begin(&config, 50 * MS, ALL);
	for (uint32_t burst = 0; burst < 4; burst++) {
		uint32_t before = sender.sent;
		uint32_t hole = sender.nxt + 7 * MSS;

		for (uint32_t i = 0; i < 32; i++) {
			if (burst != 3 || sender.nxt != hole)
				put(segment_make(sender.nxt, TCPHDR_ACK, TCPHDR_HAS_TIMES, MSS));
			sender.nxt += MSS;
		}
		collect();
		assert_int_equal(sender.sent - before, burst == 3 ? 24 : 1);
		assert_int_equal(sender.replies[(sender.tail - 1) % REPLIES].ack, burst == 3 ? hole : sender.nxt);
		pair.now_ns += 50 * MS;
		collect();
		assert_int_equal(sender.sent - before, burst == 3 ? 24 : 1);
	}
	pair_fini();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_long_fat_path_has_its_window_within_three_seconds),
		cmocka_unit_test(growing_is_ahead_of_slow_start),
		cmocka_unit_test(without_timestamps_a_window_is_the_clock),
		cmocka_unit_test(without_scaling_the_field_is_the_bound),
		cmocka_unit_test(a_slow_stream_gets_no_more_than_it_began_with),
		cmocka_unit_test(an_owner_that_is_slow_gets_no_more),
		cmocka_unit_test(under_pressure_nothing_grows),
		cmocka_unit_test(a_policy_raises_the_window_and_never_lowers_it),
		cmocka_unit_test(each_kind_of_peer_begins_with_its_own_window),
		cmocka_unit_test(the_edge_moves_in_steps_that_are_worth_a_segment),
		cmocka_unit_test(a_burst_is_acknowledged_once_up_to_a_hole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The reassembler against a map of bytes, and the table against an array: random, many times. */
#include "pair.h"

#include "base/prng.h"

#define STREAM 6000u
#define WINDOW 5000u

static struct tcp_config
small_config(void)
{
	struct tcp_config config = config_default();

	config.recv_bytes_max = WINDOW;
	config.window_shift = 0;
	return config;
}

/* A piece of the stream as a segment that input has already judged. */
static struct tcp_segment
segment(struct tcp_conn *c, uint32_t base, uint32_t from, uint32_t len)
{
	struct tcp_segment s = { .seq = base + from, .len = len };
	uint8_t *to;

	(void)c;
	s.pkt = pkt_alloc(&pair.a.payload);
	assert_non_null(s.pkt);
	to = pkt_append(s.pkt, len);
	for (uint32_t i = 0; i < len; i++)
		to[i] = stream_byte(from + i);
	return s;
}

/* Every byte that was accepted is delivered once and in order, whatever the order and overlap. */
static void
any_order_and_overlap_gives_the_stream(void **state)
{
	struct tcp_config config = small_config();
	struct prng prng;

	(void)state;
	for (uint64_t seed = 1; seed <= 300; seed++) {
		bool here[STREAM] = { false };
		uint32_t piece_max = seed % 3 == 0 ? 1400 : 60;
		struct tcp_conn *c;
		uint32_t base;
		uint32_t steps = 0;

		prng_init(&prng, seed);
		pair_init(&config);
		establish();
		c = conn_at(&pair.b);
		base = c->rcv_nxt;
		while (pair.b.received < STREAM) {
			uint32_t done = c->rcv_nxt - base;
			uint32_t edge = c->rcv_adv - base < STREAM ? c->rcv_adv - base : STREAM;
			uint32_t from = done + prng_below(&prng, edge - done);
			uint32_t len = 1 + prng_below(&prng, piece_max);
			struct tcp_segment s;
			bool out_of_order;

			assert_in_range(++steps, 1, 100000);
			if (prng_below(&prng, 3) == 0)
				from = done;
			if (len > edge - from)
				len = edge - from;
			s = segment(c, base, from, len);
			if (tcp_reass_insert(pair.b.tcp, c, &s, &out_of_order) == ERR_OK)
				memset(here + from, true, len);
			pkt_free(s.pkt);
			tcp_check(pair.b.tcp);
			/* rcv_nxt is exactly the first byte that never came, as far as none was
			 * dropped under pressure. */
			for (uint32_t i = 0; i < c->rcv_nxt - base; i++)
				assert_true(here[i]);
			take_all(&pair.b, pair.b.conn);
			c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt + WINDOW);
		}
		assert_int_equal(tcp_runs_count(pair.b.tcp, c), 0);
		assert_int_equal(c->rcv_truesize, 0);
		pair_fini();
	}
}

/* A byte as it is in the n-th copy of the stream that a peer sends. */
static uint8_t
copy_byte(uint32_t position, uint32_t copy)
{
	return (uint8_t)(position * 31 + copy * 101 + (copy >> 3));
}

/* The n-th copy of [from, from + len), in one buffer or in two, sometimes held by somebody else as well. */
static struct tcp_segment
copy_segment(uint32_t base, uint32_t from, uint32_t len, uint32_t copy, uint32_t cut)
{
	struct tcp_segment s = { .seq = base + from, .len = len, .pkt = pkt_alloc(&pair.a.payload) };
	uint32_t first = cut < len ? cut : len;
	uint8_t *to = pkt_append(s.pkt, first);

	for (uint32_t i = 0; i < len; i++) {
		if (i == first) {
			struct pkt *second = pkt_alloc(&pair.a.payload);

			to = pkt_append(second, len - first) - first;
			pkt_chain(s.pkt, second);
		}
		to[i] = copy_byte(from + i, copy);
	}
	return s;
}

/* Each copy of a byte is another; the owner reads the one that came first. */
static void
the_first_copy_of_a_byte_wins(void **state)
{
	struct tcp_config config = config_default();
	struct prng prng;

	(void)state;
	config.policies[TCP_POLICY_ACCEPTED].recv_bytes_start = config.recv_bytes_max;
	for (uint64_t seed = 1; seed <= 400; seed++) {
		uint16_t copy_of[STREAM] = { 0 }; /* 0: never came */
		uint32_t piece_max = 1 + (uint32_t)(seed * 37 % 1900);
		uint32_t done = 0;
		uint32_t base;
		struct tcp_conn *c;

		prng_init(&prng, seed);
		pair_init(&config);
		establish();
		c = conn_at(&pair.b);
		base = c->rcv_nxt;
		for (uint16_t copy = 1; done < STREAM; copy++) {
			uint32_t here = c->rcv_nxt - base;
			uint32_t from = here + prng_below(&prng, STREAM - here);
			uint32_t len = 1 + prng_below(&prng, piece_max);
			bool is_shared = prng_below(&prng, 8) == 0;
			struct tcp_segment s;
			struct pkt *p;
			bool out_of_order;

			assert_in_range(copy, 1, 60000);
			if (prng_below(&prng, 4) == 0)
				from = here;
			len = len < STREAM - from ? len : STREAM - from;
			s = copy_segment(base, from, len, copy, prng_below(&prng, 2000));
			p = s.pkt;
			is_shared = is_shared && pkt_next(p) == NULL; /* chains are cut */
			if (is_shared)
				pkt_ref(p);
			if (tcp_reass_insert(pair.b.tcp, c, &s, &out_of_order) == ERR_OK && !is_shared)
				for (uint32_t i = from; i < from + len; i++)
					copy_of[i] = copy_of[i] != 0 ? copy_of[i] : copy;
			/* Of a shared one only the part before the first overlap may have been taken. */
			for (uint32_t i = from; is_shared && i < from + len && copy_of[i] == 0; i++)
				if (seq_lt(base + i, c->rcv_nxt))
					copy_of[i] = copy;
			for (const struct tcp_run *run = tcp_runs_newest(pair.b.tcp, c); is_shared && run != NULL;
			     run = tcp_runs_older(pair.b.tcp, run))
				for (uint32_t i = from; i < from + len; i++)
					if (seq_ge(base + i, run->start) && seq_lt(base + i, run->end) &&
					    copy_of[i] == 0)
						copy_of[i] = copy;
			pkt_free(s.pkt);
			if (is_shared)
				pkt_free(p);
			tcp_check(pair.b.tcp);
			while ((p = tcp_take(pair.b.tcp, pair.b.conn)) != NULL) {
				uint32_t n = pkt_total(p);

				for (uint32_t i = 0; i < n; i++) {
					uint8_t byte;

					pkt_copy_out(p, i, &byte, 1);
					assert_int_not_equal(copy_of[done + i], 0);
					assert_int_equal(byte, copy_byte(done + i, copy_of[done + i]));
				}
				done += n;
				tcp_consumed(pair.b.tcp, pair.b.conn, n);
				pkt_free(p);
			}
		}
		pair_fini();
	}
}

/* T11: one byte, every second, on a thousand connections. Memory has its bound whatever comes, data in order goes
 * on, and a connection beside them does not notice. */
#define ATTACKED 1000u
#define HOLES_EACH 200u

static void
every_second_byte_on_many_connections(void **state)
{
	struct tcp_config config = config_default();
	struct tcp_conn *c;
	bool out_of_order;
	uint32_t pinned;

	(void)state;
	config.conns_max = ATTACKED + 8;
	config.ranges_max = 4096;
	pair_init(&config);
	establish();
	for (uint32_t k = 0; k < ATTACKED; k++) {
		struct tcphdr syn = { .seq = 5000, .options = TCPHDR_HAS_SHIFT | TCPHDR_HAS_SACK_OK };
		struct tcp_tuple tuple = { v4(2), v4(9), SERVER_PORT, (uint16_t)(1000 + k) };

		c = tcp_conn_open(pair.b.tcp, &tuple, 1, pair.now_ns);
		tcp_conn_set_peer(pair.b.tcp, c, &syn, pair.now_ns);
		c->passive = true;
		c->snd_una = c->snd_nxt = c->snd_max = 2;
		tcp_conn_established(pair.b.tcp, c, pair.now_ns);
		for (uint32_t i = 0; i < HOLES_EACH; i++) {
			struct tcp_segment s = segment(c, c->rcv_nxt, 1 + 2 * i, 1);
			enum err verdict = tcp_reass_insert(pair.b.tcp, c, &s, &out_of_order);

			assert_true(verdict == ERR_OK || verdict == ERR_TCP_PRESSURE);
			assert_in_range(tcp_runs_count(pair.b.tcp, c), 0, TCP_CONN_RUNS_MIN);
			pkt_free(s.pkt);
		}
		assert_true(c->rcv_truesize <= 3 * c->rcv_max);
	}
	pinned = POOL_PACKETS - pkt_pool_stats(&pair.a.payload).free;
	assert_in_range(pinned, TCP_CONN_RUNS_MIN, config.ranges_max / 4);
	assert_true(pair.b.tcp->ranges.free >= config.ranges_max / 4 * 3);
	tcp_check(pair.b.tcp);
	/* In order: the first hole of the last one is filled. */
	{
		struct tcp_segment s = segment(c, c->rcv_nxt, 0, 1);

		assert_int_equal(tcp_reass_insert(pair.b.tcp, c, &s, &out_of_order), ERR_OK);
		pkt_free(s.pkt);
	}
	/* The bystander's queue of ranges is as long as ever. */
	pair.a.written = 0;
	for (uint32_t n = 0; n < 20; n++) {
		write_stream(&pair.a, 10000, 1400);
		run_for(1 * MS);
	}
	assert_int_equal(pair.b.received, 200000);
	pair_fini();
}

/* Memory is used up by runs: data in order is taken all the same, and the highest run goes, not the lowest. */
static void
data_in_order_evicts_the_highest_run(void **state)
{
	struct tcp_config config = small_config();
	struct tcp_segment s;
	struct tcp_conn *c;
	struct pkt *held[20] = { NULL };
	bool out_of_order;
	uint32_t evicted = 0;
	uint32_t last = 0;

	(void)state;
	config.recv_bytes_max = 3000;
	pair_init(&config);
	establish();
	pair.b.reading = false;
	c = conn_at(&pair.b);
	for (uint32_t i = 0; !(c->rcv_truesize / 2 > c->rcv_max); i++) {
		s = segment(c, c->rcv_nxt, 500 + 10 * i, 1);
		assert_int_equal(tcp_reass_insert(pair.b.tcp, c, &s, &out_of_order), ERR_OK);
		last = 500 + 10 * i;
	}
	s = segment(c, c->rcv_nxt, last + 10, 1);
	assert_int_equal(tcp_reass_insert(pair.b.tcp, c, &s, &out_of_order), ERR_TCP_PRESSURE);
	pkt_free(s.pkt);
	assert_true(tcp_runs_count(pair.b.tcp, c) >= 3);
	/* Packets that can not be copied together, until four times the window is pinned and far beyond. */
	for (uint32_t i = 0; i < 20 && tcp_runs_count(pair.b.tcp, c) > 1; i++) {
		uint32_t first = tcp_runs_first(pair.b.tcp, c)->start;
		uint32_t highest = tcp_runs_last(pair.b.tcp, c)->start;
		uint32_t runs = tcp_runs_count(pair.b.tcp, c);
		bool is_full = c->rcv_truesize / 4 > c->rcv_max;

		s = segment(c, c->rcv_nxt, 0, 10);
		held[i] = s.pkt;
		pkt_ref(held[i]);
		assert_int_equal(tcp_reass_insert(pair.b.tcp, c, &s, &out_of_order), ERR_OK);
		tcp_check(pair.b.tcp);
		assert_int_equal(tcp_runs_first(pair.b.tcp, c)->start, first);
		assert_int_equal(tcp_runs_last(pair.b.tcp, c)->start != highest, is_full);
		evicted += runs - tcp_runs_count(pair.b.tcp, c);
	}
	assert_in_range(evicted, 2, 20);
	for (uint32_t i = 0; i < COUNT_OF(held); i++)
		pkt_free(held[i]);
	pair_fini();
}

static void
more_runs_than_allowed_are_refused_and_in_order_data_never(void **state)
{
	struct tcp_config config = config_default();
	struct tcp_conn *c;
	uint32_t base;
	bool out_of_order;

	(void)state;
	config.ranges_max = 100000;
	config.policies[TCP_POLICY_ACCEPTED].recv_bytes_start = 100 * KIB;
	pair_init(&config);
	establish();
	c = conn_at(&pair.b);
	base = c->rcv_nxt;
	/* One per KiB of the window, unless they pin twice of it before. */
	for (uint32_t i = 0; i < 200; i++) {
		struct tcp_segment s = segment(c, base, 2 + 3 * i, 1);
		bool full = tcp_runs_count(pair.b.tcp, c) == 100 || c->rcv_truesize / 2 > c->rcv_max;
		enum err expected = full ? ERR_TCP_PRESSURE : ERR_OK;

		assert_int_equal(tcp_reass_insert(pair.b.tcp, c, &s, &out_of_order), expected);
		assert_true(out_of_order);
		pkt_free(s.pkt);
	}
	assert_in_range(tcp_runs_count(pair.b.tcp, c), TCP_CONN_RUNS_MIN + 1, 100);
	for (uint32_t i = 0; i < 100; i++) {
		struct tcp_segment s = segment(c, base, i, 1);

		assert_true(seq_gt(base + i + 1, c->rcv_nxt) || i < c->rcv_nxt - base);
		if (base + i == c->rcv_nxt)
			assert_int_equal(tcp_reass_insert(pair.b.tcp, c, &s, &out_of_order), ERR_OK);
		pkt_free(s.pkt);
		tcp_check(pair.b.tcp);
	}
	assert_int_equal(c->rcv_nxt - base, 100);
	pair_fini();
}

static void
one_byte_segments_do_not_pin_a_buffer_each(void **state)
{
	struct tcp_config config = small_config();
	struct tcp_conn *c;
	uint32_t base;
	bool out_of_order;

	(void)state;
	pair_init(&config);
	establish();
	c = conn_at(&pair.b);
	base = c->rcv_nxt;
	for (uint32_t i = 0; i < 2000; i++) {
		struct tcp_segment s = segment(c, base, i, 1);

		assert_int_equal(tcp_reass_insert(pair.b.tcp, c, &s, &out_of_order), ERR_OK);
	}
	assert_in_range(c->rcvq.count, 1, 2);
	take_all(&pair.b, pair.b.conn);
	assert_int_equal(pair.b.received, 2000);
	pair_fini();
}

/* --- the set of runs -------------------------------------------------------------------------- */

#define SET_NUMBERS 3000u

/* Where run i would lie: numbers wrap in the middle of them. */
static uint32_t
set_start(uint32_t i)
{
	return UINT32_C(0) - SET_NUMBERS * 5 + 10 * i;
}

static void
assert_same_run(const struct tcp_run *run, const bool *here, uint32_t i)
{
	assert_int_equal(run != NULL, i < SET_NUMBERS && here[i]);
	if (run != NULL)
		assert_int_equal(run->start, set_start(i));
}

/* Against an array; it grows, in order or at random, and shrinks. tcp_runs_check() looks at the balance. */
static void
runs_agree_with_an_array(void **state)
{
	static bool here[SET_NUMBERS];
	struct tcp_config config = config_default();
	struct prng prng;
	struct tcp_conn *c;
	struct tcp *t;
	uint32_t count = 0;
	uint32_t newest = 0;

	(void)state;
	config.ranges_max = SET_NUMBERS;
	pair_init(&config);
	establish();
	t = pair.b.tcp;
	c = conn_at(&pair.b);
	prng_init(&prng, 5);
	memset(here, 0, sizeof(here));
	for (uint32_t step = 0; step < 60000; step++) {
		uint32_t i = step / 6000 % 3 == 0 ? step % SET_NUMBERS : prng_below(&prng, SET_NUMBERS);
		bool grows = prng_below(&prng, 10) < (step / 6000 % 2 == 0 ? 9u : 2u);
		uint32_t low = i;
		uint32_t high = i + 1;

		if (!here[i] && grows) {
			tcp_runs_add(t, c, set_start(i), set_start(i) + 5);
			newest = i;
		} else if (here[i] && !grows) {
			tcp_runs_remove(t, c, tcp_runs_before(t, c, set_start(i) + 3));
			newest = SET_NUMBERS;
		} else if (here[i]) {
			tcp_runs_changed(t, c, tcp_runs_before(t, c, set_start(i)));
			newest = i;
		}
		count += !here[i] && grows;
		count -= here[i] && !grows;
		here[i] = grows;
		assert_int_equal(tcp_runs_count(t, c), count);
		if (newest < SET_NUMBERS && here[newest])
			assert_int_equal(tcp_runs_newest(t, c)->start, set_start(newest));
		while (high < SET_NUMBERS && !here[high])
			high++;
		assert_same_run(tcp_runs_after(t, c, set_start(i)), here, high);
		while (low > 0 && !here[low])
			low--;
		assert_same_run(tcp_runs_before(t, c, set_start(i) + 9), here, low);
		if (step % 500 == 0)
			tcp_runs_check(t, c);
	}
	assert_in_range(count, 1, SET_NUMBERS);
	tcp_runs_forget(t, c);
	assert_int_equal(tcp_runs_count(t, c), 0);
	assert_int_equal(t->ranges.free, t->ranges.count);
	pair_fini();
}

/* A sender overshoots: every second segment of a large window is missing. All others are kept, and with the last
 * hole filled nothing has to come twice. */
static void
every_second_segment_of_a_large_window_is_kept(void **state)
{
	const uint32_t segments = 4000;
	struct tcp_config config = config_default();
	struct tcp_conn *c;
	uint32_t base;
	bool out_of_order;

	(void)state;
	config.ranges_max = 4 * 65536;
	config.recv_bytes_max = 8 << 20;
	config.window_shift = 8;
	config.policies[TCP_POLICY_ACCEPTED].recv_bytes_start = config.recv_bytes_max;
	pair_init(&config);
	establish();
	c = conn_at(&pair.b);
	base = c->rcv_nxt;
	for (uint32_t odd = 2; odd-- > 0;) {
		for (uint32_t i = odd; i < segments; i += 2) {
			struct tcp_segment s = segment(c, base, 1448 * i, 1448);

			c->rcv_adv = seq_max(c->rcv_adv, base + 1448 * segments);
			assert_int_equal(tcp_reass_insert(pair.b.tcp, c, &s, &out_of_order), ERR_OK);
		}
		tcp_check(pair.b.tcp);
		assert_int_equal(tcp_runs_count(pair.b.tcp, c), odd * segments / 2);
	}
	assert_int_equal(c->rcv_nxt - base, 1448 * segments);
	take_all(&pair.b, pair.b.conn);
	assert_int_equal(pair.b.received, 1448 * segments);
	pair_fini();
}

/* One with a large window can not take the last of the runs' quarter of the pool. */
static void
a_greedy_window_leaves_runs_for_others(void **state)
{
	struct tcp_config config = config_default();
	struct tcp_conn *c;
	bool out_of_order;
	uint32_t runs = 0;

	(void)state;
	config.ranges_max = 1600;
	config.recv_bytes_max = 8 << 20;
	config.window_shift = 8;
	config.policies[TCP_POLICY_ACCEPTED].recv_bytes_start = config.recv_bytes_max;
	pair_init(&config);
	establish();
	c = conn_at(&pair.b);
	c->rcv_adv = c->rcv_nxt + (4 << 20);
	for (uint32_t i = 0; i < 1000; i++) {
		struct tcp_segment s = segment(c, c->rcv_nxt, 1 + 2 * i, 1);

		runs += tcp_reass_insert(pair.b.tcp, c, &s, &out_of_order) == ERR_OK;
		pkt_free(s.pkt);
	}
	assert_int_equal(runs, 1600 / 16 * 3);
	assert_int_equal(tcp_runs_count(pair.b.tcp, c), runs);
	pair_fini();
}

/* RFC 2883 section 4: the block after the one that tells of a duplicate is the run that has it; then the others,
 * the one that changed last first (RFC 2018). */
static void
blocks_are_reported_newest_first(void **state)
{
	static const uint32_t order[] = { 1, 5, 3, 7 };
	struct tcp_config config = config_default();
	struct tcphdr h = { 0 };
	struct tcp_segment s;
	struct tcp_conn *c;
	bool out_of_order;

	(void)state;
	pair_init(&config);
	establish();
	c = conn_at(&pair.b);
	for (size_t i = 0; i < COUNT_OF(order); i++) {
		s = segment(c, c->rcv_nxt, 1000 * order[i], 900);
		assert_int_equal(tcp_reass_insert(pair.b.tcp, c, &s, &out_of_order), ERR_OK);
	}
	tcp_reass_sack(pair.b.tcp, c, &h, 3);
	assert_int_equal(h.sack_count, 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(h.sack[i].start - c->rcv_nxt, 1000 * order[COUNT_OF(order) - 1 - i]);
	s = segment(c, c->rcv_nxt, 5100, 200);
	assert_int_equal(tcp_reass_insert(pair.b.tcp, c, &s, &out_of_order), ERR_OK);
	pkt_free(s.pkt);
	tcp_reass_sack(pair.b.tcp, c, &h, 3);
	assert_int_equal(h.sack_count, 3);
	assert_int_equal(h.sack[0].start - c->rcv_nxt, 5100);
	assert_int_equal(h.sack[0].end - c->rcv_nxt, 5300);
	assert_int_equal(h.sack[1].start - c->rcv_nxt, 5000);
	assert_int_equal(h.sack[2].start - c->rcv_nxt, 7000);
	pair_fini();
}

/* --- the table --------------------------------------------------------------------------- */

#define OBJECTS 700u

static void
the_table_agrees_with_an_array(void **state)
{
	static struct tcp_conn *objects[OBJECTS];
	struct tcp_config config = config_default();
	struct prng prng;

	(void)state;
	config.conns_max = OBJECTS;
	config.half_open_max = 0;
	config.time_wait_max = 0;
	pair_init(&config);
	prng_init(&prng, 3);
	memset(objects, 0, sizeof(objects));
	for (int step = 0; step < 1000000; step++) {
		uint32_t i = prng_below(&prng, OBJECTS);
		struct tcp_tuple tuple = { v4(1), v4(2), (uint16_t)(i * 91), (uint16_t)(i % 7) };
		uint32_t ref;

		/* Fill up to the last place, then empty, in turns. */
		if (objects[i] == NULL && prng_below(&prng, 10) < (step / 10000 % 2 ? 2 : 9)) {
			objects[i] = tcp_conn_open(pair.a.tcp, &tuple, 1, 0);
			assert_non_null(objects[i]);
		} else if (objects[i] != NULL && prng_below(&prng, 10) < (step / 10000 % 2 ? 9 : 2)) {
			tcp_conn_orphan(pair.a.tcp, objects[i]);
			tcp_conn_set_state(objects[i], TCP_SYN_SENT);
			tcp_conn_end(pair.a.tcp, objects[i], ERR_OK);
			objects[i] = NULL;
		}
		ref = tcp_table_find(pair.a.tcp, &tuple);
		if (objects[i] == NULL)
			assert_int_equal(ref, 0);
		else
			assert_ptr_equal(pool_at(&pair.a.tcp->conns, tcp_ref_index(ref)), objects[i]);
	}
	for (uint32_t i = 0; i < OBJECTS; i++) {
		if (objects[i] == NULL)
			continue;
		tcp_conn_orphan(pair.a.tcp, objects[i]);
		tcp_conn_set_state(objects[i], TCP_SYN_SENT);
		tcp_conn_end(pair.a.tcp, objects[i], ERR_OK);
	}
	assert_int_equal(pair.a.tcp->table.refs, 0);
	for (uint32_t i = 0; i < pair.a.tcp->table.bucket_count; i++) {
		assert_int_equal(pair.a.tcp->table.buckets[i].used, 0);
		assert_int_equal(pair.a.tcp->table.buckets[i].overflow, 0);
	}
	pair_fini();
}

/* --- numbers --------------------------------------------------------------------------------- */

static void
numbers_of_one_tuple_grow_and_of_two_have_nothing_in_common(void **state)
{
	struct tcp_tuple tuple = { v4(1), v4(2), 1000, 443 };
	uint32_t last = 0;

	(void)state;
	pair_init(NULL);
	last = tcp_isn_make(pair.a.tcp, &tuple, 0);
	for (uint64_t now_ns = 10 * MS; now_ns < 100 * SEC; now_ns += 10 * MS) {
		uint32_t isn = tcp_isn_make(pair.a.tcp, &tuple, now_ns);

		assert_int_equal(isn - last, 2500); /* 4 microseconds each */
		last = isn;
	}
	tuple.local_port++;
	assert_int_not_equal(tcp_isn_make(pair.a.tcp, &tuple, 0) >> 16, last >> 16);
	assert_int_not_equal(tcp_isn_make(pair.b.tcp, &tuple, 0), tcp_isn_make(pair.a.tcp, &tuple, 0));
	pair_fini();
}

static void
a_cookie_timestamp_is_never_in_the_future(void **state)
{
	(void)state;
	for (uint32_t now = 0; now < 1000; now++) {
		for (uint8_t shift = 0; shift <= 14; shift++) {
			uint32_t value = tcp_cookie_ts_make(now - 500, true, shift, now & 1, now >> 1 & 1);
			bool has_shift, sack_ok, ecn_ok;
			uint8_t read;

			assert_true(seq_le(value, now - 500));
			assert_true(now - 500 - value < 64);
			tcp_cookie_ts_read(value, &has_shift, &read, &sack_ok, &ecn_ok);
			assert_true(has_shift);
			assert_int_equal(read, shift);
			assert_int_equal(sack_ok, now & 1);
			assert_int_equal(ecn_ok, now >> 1 & 1);
		}
	}
}

static bool
is_odd_port(const struct tcp_tuple *tuple, void *owner)
{
	(*(uint32_t *)owner)++;
	return tuple->local_port % 2 == 1;
}

static void
ports_are_free_ours_and_run_out(void **state)
{
	struct tcp_config config = config_default();
	struct tcp_tuple tuple = { v4(1), v4(2), 0, 80 };
	uint32_t asked = 0;
	tcp_conn_t conn;

	(void)state;
	config.ephemeral_port_min = 20000;
	config.ephemeral_port_max = 20019;
	config.is_mine = is_odd_port;
	config.owner = &asked;
	pair_init(&config);
	assert_int_equal(tcp_listen(pair.a.tcp, &pair.a.address, 20001, 0), ERR_OK);
	for (int i = 0; i < 9; i++) {
		struct tcp_tuple got;

		assert_int_equal(tcp_connect(pair.a.tcp, &tuple, 0, &conn, pair.now_ns), ERR_OK);
		tcp_tuple_of(pair.a.tcp, conn, &got);
		assert_in_range(got.local_port, 20003, 20019);
		assert_int_equal(got.local_port % 2, 1);
	}
	assert_true(asked > 9);
	assert_int_equal(tcp_connect(pair.a.tcp, &tuple, 0, &conn, pair.now_ns), ERR_TCP_NO_PORT);
	tuple.remote_port = 81; /* another destination: all are free again */
	assert_int_equal(tcp_connect(pair.a.tcp, &tuple, 0, &conn, pair.now_ns), ERR_OK);
	pair_fini();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_order_and_overlap_gives_the_stream),
		cmocka_unit_test(the_first_copy_of_a_byte_wins),
		cmocka_unit_test(every_second_byte_on_many_connections),
		cmocka_unit_test(data_in_order_evicts_the_highest_run),
		cmocka_unit_test(more_runs_than_allowed_are_refused_and_in_order_data_never),
		cmocka_unit_test(one_byte_segments_do_not_pin_a_buffer_each),
		cmocka_unit_test(runs_agree_with_an_array),
		cmocka_unit_test(every_second_segment_of_a_large_window_is_kept),
		cmocka_unit_test(a_greedy_window_leaves_runs_for_others),
		cmocka_unit_test(blocks_are_reported_newest_first),
		cmocka_unit_test(the_table_agrees_with_an_array),
		cmocka_unit_test(numbers_of_one_tuple_grow_and_of_two_have_nothing_in_common),
		cmocka_unit_test(a_cookie_timestamp_is_never_in_the_future),
		cmocka_unit_test(ports_are_free_ours_and_run_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

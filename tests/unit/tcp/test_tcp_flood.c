/* Floods and guesses from strangers: T1 to T4, T23, T25 and T26 of the threat list. Each test's name is the
 * row's promise; tests/README.md has the table. */
#include "stranger.h"

#include "link.h"
#include "wire/toeplitz.h"

/* --- T1: SYN flood ------------------------------------------------------------------------ */

#define HONEST 300u
#define FLOOD_PER_MS 64u
#define HALF_OPEN 64u

struct honest {
	struct stack stack;
	struct link *to;
	struct link *back;
	uint32_t connected;
	tcp_conn_t streaming; /* open since before the flood */
	uint64_t streamed;
};

static void
serve_honest(struct honest *h)
{
	struct tcp_event e;
	struct pkt *p;

	while (tcp_event_next(world.stack.tcp, &e)) {
		while ((p = tcp_take(world.stack.tcp, e.conn)) != NULL) {
			h->streamed += pkt_total(p);
			tcp_consumed(world.stack.tcp, e.conn, pkt_total(p));
			pkt_free(p);
		}
	}
	while (tcp_event_next(h->stack.tcp, &e))
		h->connected += (e.bits & TCP_EVENT_CONNECTED) != 0;
}

/* One millisecond: the flood's SYNs, the honest ones' segments over a wire of 10 ms, the server. */
static void
flood_turn(struct honest *h, bool flooding)
{
	struct tcp *server = world.stack.tcp;
	struct pkt *p;

	pass(1 * MS);
	for (uint32_t i = 0; flooding && i < FLOOD_PER_MS; i++) {
		struct segment s = from_stranger(0x400000 + prng_below(&world.prng, 0x3fffff),
						 (uint16_t)(1 + prng_below(&world.prng, 65535)), SEGMENT_SYN);

		s.seq = (uint32_t)prng_next(&world.prng);
		s.has_mss = true;
		s.mss = 1460;
		s.has_ts = prng_below(&world.prng, 2) == 0;
		assert_int_equal(give(&s), ERR_OK);
	}
	tcp_advance(h->stack.tcp, world.now_ns);
	tcp_output_ready(h->stack.tcp, world.now_ns);
	while ((p = tcp_transmit_next(h->stack.tcp)) != NULL)
		link_send(h->to, p, world.now_ns);
	while ((p = link_receive(h->to, world.now_ns)) != NULL)
		tcp_input(server, p, world.now_ns);
	serve_honest(h);
	tcp_output_ready(server, world.now_ns);
	while ((p = tcp_transmit_next(server)) != NULL) {
		if (pkt_meta(p)->dst.byte[13] >= 0x40)
			pkt_free(p); /* to an address that somebody else has */
		else
			link_send(h->back, p, world.now_ns);
	}
	while ((p = link_receive(h->back, world.now_ns)) != NULL)
		tcp_input(h->stack.tcp, p, world.now_ns);
	serve_honest(h);
	assert_in_range(tcp_stats(server)->half_open, 0, HALF_OPEN);
	assert_true(server->table.refs <= 2 * HONEST + HALF_OPEN);
}

static void
t1_a_syn_flood_keeps_no_state_and_honest_clients_connect(void **state)
{
	static const struct link_faults wire = { .delay_ns = 5 * MS };
	struct tcp_config config = stack_config();
	struct honest h = { 0 };
	struct tcp_tuple tuple = { v4(2), v4(1), 0, PORT };
	uint32_t opened = 0;
	tcp_conn_t conn;

	(void)state;
	config.conns_max = 2 * HONEST;
	config.half_open_max = HALF_OPEN;
	world_open(&config);
	config.hash_key[0]++;
	stack_open(&h.stack, &config, &pools_plenty, world.now_ns);
	h.to = link_new(&wire, world.stack.receive_pool, 1);
	h.back = link_new(&wire, h.stack.receive_pool, 2);
	assert_int_equal(tcp_connect(h.stack.tcp, &tuple, 0, &h.streaming, world.now_ns), ERR_OK);
	for (uint32_t ms = 0; ms < 30; ms++)
		flood_turn(&h, false);
	assert_int_equal(h.connected, 1);
	for (uint32_t ms = 0; ms < 3000; ms++) {
		if (ms % 10 == 0 && opened < HONEST) {
			assert_int_equal(tcp_connect(h.stack.tcp, &tuple, 0, &conn, world.now_ns), ERR_OK);
			opened++;
		}
		if (ms % 20 == 0) {
			struct pkt *p = stack_payload(&h.stack, 1, 0, 100, 0);

			assert_int_equal(tcp_send(h.stack.tcp, h.streaming, p, false), ERR_OK);
		}
		flood_turn(&h, true);
	}
	for (uint32_t ms = 0; ms < 30; ms++)
		flood_turn(&h, true);
	tcp_check(world.stack.tcp);
	assert_int_equal(opened, HONEST);
	assert_true(h.connected - 1 >= HONEST * 99 / 100);
	assert_int_equal(tcp_stats(world.stack.tcp)->accepted, h.connected);
	assert_true(tcp_stats(world.stack.tcp)->cookies_accepted >= HONEST * 9 / 10); /* nobody's entry lived */
	assert_int_equal(h.streamed, 3000 / 20 * 100);
	/* Nothing is held for the flood: 194,000 SYNs later every packet is back. */
	link_flush(h.to);
	link_flush(h.back);
	tcp_fini(h.stack.tcp);
	tcp_fini(world.stack.tcp);
	assert_true(stack_pools_are_full(&h.stack));
	assert_true(stack_pools_are_full(&world.stack));
	free(h.stack.memory);
	free(world.stack.memory);
	link_free(h.to);
	link_free(h.back);
}

/* --- T2: guessed cookies -------------------------------------------------------------------- */

/* More SYNs than entries: from here on cookies count. */
static void
force_cookies(const struct tcp_config *config)
{
	for (uint32_t i = 0; i <= config->half_open_max; i++) {
		struct segment s = from_stranger(0x100000 + i, 5000, SEGMENT_SYN);

		assert_int_equal(give(&s), ERR_OK);
	}
	take_all();
}

static void
t2_random_acks_open_nothing_and_answers_have_a_rate(void **state)
{
	struct tcp_config config = stack_config();
	uint32_t step_bits = 0;
	uint32_t refs;

	(void)state;
	world_open(&config);
	force_cookies(&config);
	refs = world.stack.tcp->table.refs;
	step_bits = (uint32_t)(world.now_ns / TCP_COOKIE_STEP_NS) << 27;
	for (uint32_t i = 0; i < 200000; i++) {
		struct segment s = from_stranger(prng_below(&world.prng, 0xffffff) + 2,
						 (uint16_t)(1 + prng_below(&world.prng, 65535)), SEGMENT_ACK);

		/* The guess knows what can be known: only the 24 bits of the MAC are missing. */
		s.seq = (uint32_t)prng_next(&world.prng);
		s.ack = (step_bits | ((uint32_t)prng_next(&world.prng) >> 5)) + 1;
		assert_int_not_equal(give(&s), ERR_OK);
	}
	assert_int_equal(tcp_stats(world.stack.tcp)->accepted, 0);
	assert_int_equal(world.stack.tcp->table.refs, refs);
	assert_int_equal(tcp_stats(world.stack.tcp)->resets_out, TCP_RESETS_BURST);
	take_all();
	stack_close(&world.stack);
}

/* A last ACK of host:port for the cookie `iss`, as it comes back. */
static enum err
finish(uint32_t host, uint16_t port, uint32_t irs, uint32_t iss)
{
	struct segment s = from_stranger(host, port, SEGMENT_ACK);

	s.seq = irs + 1;
	s.ack = iss + 1;
	return give(&s);
}

static uint32_t
cookie_for(uint32_t host, uint16_t port, uint32_t irs)
{
	struct segment s = from_stranger(host, port, SEGMENT_SYN);
	uint32_t iss;

	s.seq = irs;
	s.has_mss = true;
	s.mss = 1460;
	assert_int_equal(give(&s), ERR_OK);
	assert_true(take(&s));
	iss = s.seq;
	take_all();
	return iss;
}

static void
t2_a_cookie_is_bound_to_everything_it_was_made_for(void **state)
{
	struct tcp_config config = stack_config();
	uint32_t iss;

	(void)state;
	config.half_open_max = 0;
	world_open(&config);
	iss = cookie_for(5, 1000, 77);
	for (uint32_t bit = 0; bit < 32; bit++)
		assert_int_equal(finish(5, 1000, 77, iss ^ UINT32_C(1) << bit), ERR_TCP_COOKIE);
	for (uint32_t bit = 0; bit < 32; bit++)
		assert_int_equal(finish(5, 1000, 77 ^ UINT32_C(1) << bit, iss), ERR_TCP_COOKIE);
	assert_int_equal(finish(6, 1000, 77, iss), ERR_TCP_COOKIE);
	assert_int_equal(finish(5, 1001, 77, iss), ERR_TCP_COOKIE);
	assert_int_equal(finish(5, 1000, 77, iss), ERR_OK);
	iss = cookie_for(5, 1002, 77);
	pass(2 * TCP_COOKIE_STEP_NS);
	assert_int_equal(finish(5, 1002, 77, iss), ERR_TCP_COOKIE); /* too old */
	take_all();
	stack_close(&world.stack);
}

static void
t2_cookie_keys_change_without_losing_a_handshake(void **state)
{
	struct tcp_config config = stack_config();
	uint64_t key_ns = TCP_COOKIE_KEY_STEPS * TCP_COOKIE_STEP_NS;
	struct siphash_key before;
	struct stack other;
	uint32_t iss;

	(void)state;
	config.half_open_max = 0;
	world_open(&config);
	/* Just before the change, and the last ACK just behind it. */
	pass(key_ns - world.now_ns % key_ns - 1 * SEC);
	iss = cookie_for(5, 1000, 77);
	before = world.stack.tcp->cookie_keys[(world.now_ns / key_ns) % 2].key;
	pass(2 * SEC);
	cookie_for(9, 1000, 77);
	assert_memory_not_equal(&before, &world.stack.tcp->cookie_keys[(world.now_ns / key_ns) % 2].key,
				sizeof(before));
	assert_int_equal(finish(5, 1000, 77, iss), ERR_OK);
	/* Another worker has other secrets but this one, and may get the last ACK. */
	iss = cookie_for(5, 1001, 77);
	config.hash_key[3] ^= 1;
	config.seed++;
	other = world.stack;
	stack_open(&world.stack, &config, &pools_plenty, world.now_ns);
	assert_int_equal(tcp_listen(world.stack.tcp, &(struct ip_addr){ { 0 } }, PORT, 0), ERR_OK);
	world.stack.tcp->evicted_at_ns = world.now_ns; /* it is under attack as well */
	assert_int_equal(finish(5, 1001, 77, iss), ERR_OK);
	/* A process with another secret does not believe it. */
	take_all();
	stack_close(&world.stack);
	config.cookie_key[3] ^= 1;
	stack_open(&world.stack, &config, &pools_plenty, world.now_ns);
	assert_int_equal(tcp_listen(world.stack.tcp, &(struct ip_addr){ { 0 } }, PORT, 0), ERR_OK);
	world.stack.tcp->evicted_at_ns = world.now_ns;
	assert_int_equal(finish(5, 1001, 77, iss), ERR_TCP_COOKIE);
	take_all();
	stack_close(&world.stack);
	world.stack = other;
	stack_close(&world.stack);
}

/* --- T3 and T4: numbers and clocks ------------------------------------------------------------ */

#define NUMBERS 100000u

static uint32_t
gcd(uint32_t a, uint32_t b)
{
	while (b != 0) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static void
t3_the_numbers_of_syn_acks_show_no_pattern(void **state)
{
	struct tcp_config config = stack_config();
	static uint32_t low[256], high[256], delta_byte[256];
	uint32_t ones[24] = { 0 };
	uint32_t divisor = 0;
	uint32_t last = 0;

	(void)state;
	config.half_open_max = 0;
	world_open(&config);
	memset(low, 0, sizeof(low));
	memset(high, 0, sizeof(high));
	memset(delta_byte, 0, sizeof(delta_byte));
	for (uint32_t i = 0; i < NUMBERS; i++) {
		/* One host, one port after the other, the same number of its own: all that it can hold still. */
		uint32_t iss = cookie_for(5 + i / 60000, (uint16_t)(1000 + i % 60000), 77);

		low[iss & 0xff]++;
		high[iss >> 16 & 0xff]++;
		delta_byte[(iss - last) >> 8 & 0xff]++;
		for (uint32_t bit = 0; bit < COUNT_OF(ones); bit++)
			ones[bit] += iss >> bit & 1;
		if (i > 0)
			divisor = gcd(divisor, iss - last);
		last = iss;
	}
	assert_true(chi_square(low, 256) < 400);
	assert_true(chi_square(high, 256) < 400);
	assert_true(chi_square(delta_byte, 256) < 400);
	for (uint32_t bit = 0; bit < COUNT_OF(ones); bit++)
		assert_in_range(ones[bit], NUMBERS * 49 / 100, NUMBERS * 51 / 100);
	assert_int_equal(divisor, 1);
	stack_close(&world.stack);
}

static void
t3_a_tuples_number_moves_forward_and_differs_after_a_restart(void **state)
{
	struct tcp_config config = stack_config();
	struct tcp_tuple tuple = { v4(1), v4(9), 5000, PORT };
	uint32_t spread[256] = { 0 };
	uint32_t first;

	(void)state;
	world_open(&config);
	/* RFC 6528: 4 us steps for one tuple, so a reincarnation is beyond what the old one sent. */
	first = tcp_isn_make(world.stack.tcp, &tuple, world.now_ns);
	for (uint64_t ms = 1; ms < 4000; ms++)
		assert_int_equal(tcp_isn_make(world.stack.tcp, &tuple, world.now_ns + ms * MS) - first, ms * 250);
	/* And nothing to be learned about another tuple. */
	for (uint32_t i = 0; i < NUMBERS / 2; i++) {
		tuple.local_port = (uint16_t)(1024 + i);
		spread[tcp_isn_make(world.stack.tcp, &tuple, world.now_ns) >> 24]++;
	}
	assert_true(chi_square(spread, 256) < 400);
	tuple.local_port = 5000;
	stack_close(&world.stack);
	config.hash_key[0] ^= 1;
	config.cookie_key[0] ^= 1;
	world_open(&config);
	assert_true(tcp_isn_make(world.stack.tcp, &tuple, world.now_ns) - first > 1u << 20);
	stack_close(&world.stack);
}

static uint32_t
clock_of(uint32_t host, uint16_t port)
{
	struct segment s = from_stranger(host, port, SEGMENT_SYN);
	uint32_t value;

	s.has_ts = true;
	s.ts_val = 1;
	assert_int_equal(give(&s), ERR_OK);
	assert_true(take(&s));
	assert_true(s.has_ts);
	value = s.ts_val;
	take_all();
	return value;
}

static void
t4_timestamps_of_two_hosts_are_unrelated(void **state)
{
	struct tcp_config config = stack_config();
	uint32_t top[256] = { 0 };
	uint32_t differences[256] = { 0 };
	uint32_t last = 0;
	uint32_t same;

	(void)state;
	config.half_open_max = 0;
	world_open(&config);
	for (uint32_t i = 0; i < 50000; i++) {
		uint32_t value = clock_of(2 + i, 1000);

		top[value >> 24]++;
		differences[(value - last) >> 24]++;
		last = value;
	}
	assert_true(chi_square(top, 256) < 400); /* so none of them is the time since we started */
	assert_true(chi_square(differences, 256) < 400);
	/* One host's goes on from connection to connection, or TIME-WAIT could not tell new from old. */
	same = clock_of(5, 2000);
	pass(10 * SEC);
	assert_in_range(clock_of(5, 3000) - same, 10 * 1000 - 64, 10 * 1000 + 64);
	stack_close(&world.stack);
}

/* --- T23: tuples chosen to collide -------------------------------------------------------------- */

#define CHOSEN 3000u

static uint32_t
crc32_of(const uint8_t *bytes, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
	}
	return ~crc;
}

enum chosen_by { BY_CHANCE, BY_TOEPLITZ, BY_CRC };

/* What an attacker can compute at home: tuples whose hash is the same in its last 12 bits under the key that
 * all drivers come with, or under CRC-32. */
static struct tcp_tuple
choose(const struct toeplitz *toeplitz, enum chosen_by by)
{
	for (;;) {
		struct tcp_tuple t = { v4(1), v4(2 + prng_below(&world.prng, 0xfffff0)), PORT,
				       (uint16_t)(1 + prng_below(&world.prng, 65535)) };
		uint8_t text[12];
		uint32_t hash = 0;

		memcpy(text, t.remote.byte + 12, 4);
		memcpy(text + 4, t.local.byte + 12, 4);
		text[8] = (uint8_t)(t.remote_port >> 8);
		text[9] = (uint8_t)t.remote_port;
		text[10] = PORT >> 8;
		text[11] = PORT & 0xff;
		if (by == BY_TOEPLITZ)
			hash = toeplitz_hash(toeplitz, text, sizeof(text));
		else if (by == BY_CRC)
			hash = crc32_of(text, sizeof(text));
		if ((hash & 0xfff) == 0 && tcp_table_find(world.stack.tcp, &t) == 0)
			return t;
	}
}

/* Buckets that a search for the tuple looks at. */
static uint32_t
probes_of(const struct tcp_table *table, const struct tcp_tuple *tuple, uint32_t ref)
{
	uint64_t hash = tcp_table_hash(world.stack.tcp, tuple);
	uint32_t at = (uint32_t)((hash & UINT32_MAX) * table->bucket_count >> 32);

	for (uint32_t probes = 1;; probes++, at = (at + 1) % table->bucket_count) {
		assert_true(probes <= table->bucket_count);
		for (uint32_t i = 0; i < TCP_BUCKET_REFS; i++)
			if (table->buckets[at].ref[i] == ref)
				return probes;
	}
}

static uint32_t
total_probes(enum chosen_by by)
{
	/* Of Microsoft's verification suite, and of most drivers. */
	static const uint8_t key[TOEPLITZ_KEY_BYTES] = {
		0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
		0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
		0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
	};
	struct tcp_config config = stack_config();
	static struct toeplitz toeplitz;
	static struct tcp_tuple tuples[CHOSEN];
	uint32_t total = 0;
	tcp_conn_t conn;

	config.conns_max = CHOSEN;
	world_open(&config);
	toeplitz_init(&toeplitz, key);
	for (uint32_t i = 0; i < CHOSEN; i++) {
		tuples[i] = choose(&toeplitz, by);
		assert_int_equal(tcp_connect(world.stack.tcp, &tuples[i], 0, &conn, world.now_ns), ERR_OK);
	}
	for (uint32_t i = 0; i < CHOSEN; i++)
		total += probes_of(&world.stack.tcp->table, &tuples[i],
				   tcp_table_find(world.stack.tcp, &tuples[i]));
	stack_close(&world.stack);
	return total;
}

static void
t23_chosen_tuples_do_not_make_searches_longer(void **state)
{
	uint32_t chance = total_probes(BY_CHANCE);

	(void)state;
	assert_in_range(chance, CHOSEN, 2 * CHOSEN);
	assert_in_range(total_probes(BY_TOEPLITZ), CHOSEN, chance * 5 / 4);
	assert_in_range(total_probes(BY_CRC), CHOSEN, chance * 5 / 4);
}

/* --- T25: ports ------------------------------------------------------------------------------------ */

static void
t25_sixteen_ports_end_in_a_clean_error_and_come_back(void **state)
{
	struct tcp_config config = stack_config();
	struct tcp_tuple tuple = { v4(1), v4(9), 0, 8000 };
	struct tcp_tuple other = { v4(1), v4(10), 0, 8000 };
	tcp_conn_t conns[16];
	tcp_conn_t extra;
	uint32_t seen = 0;

	(void)state;
	config.conns_max = 64;
	config.ephemeral_port_min = 20000;
	config.ephemeral_port_max = 20015;
	world_open(&config);
	for (uint32_t i = 0; i < 16; i++) {
		struct tcp_tuple chosen;

		assert_int_equal(tcp_connect(world.stack.tcp, &tuple, 0, &conns[i], world.now_ns), ERR_OK);
		tcp_tuple_of(world.stack.tcp, conns[i], &chosen);
		assert_in_range(chosen.local_port, 20000, 20015);
		seen |= 1u << (chosen.local_port - 20000);
	}
	assert_int_equal(seen, 0xffff);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(tcp_connect(world.stack.tcp, &tuple, 0, &extra, world.now_ns), ERR_TCP_NO_PORT);
	assert_int_equal(tcp_stats(world.stack.tcp)->conns, 16); /* the refused ones left nothing */
	/* Another backend has ports of its own. */
	assert_int_equal(tcp_connect(world.stack.tcp, &other, 0, &extra, world.now_ns), ERR_OK);
	take_all();
	tcp_abort(world.stack.tcp, conns[7]);
	assert_int_equal(tcp_connect(world.stack.tcp, &tuple, 0, &conns[7], world.now_ns), ERR_OK);
	assert_int_equal(tcp_connect(world.stack.tcp, &tuple, 0, &extra, world.now_ns), ERR_TCP_NO_PORT);
	take_all();
	stack_close(&world.stack);
}

static void
t25_the_next_port_is_anybodys_guess(void **state)
{
	struct tcp_config config = stack_config();
	struct tcp_tuple tuple = { v4(1), v4(9), 0, 8000 };
	uint32_t ports[256] = { 0 };
	uint32_t steps[256] = { 0 };
	uint16_t last = 0;

	(void)state;
	config.ephemeral_port_min = 32768;
	world_open(&config);
	for (uint32_t i = 0; i < 50000; i++) {
		struct tcp_tuple chosen;
		tcp_conn_t conn;

		assert_int_equal(tcp_connect(world.stack.tcp, &tuple, 0, &conn, world.now_ns), ERR_OK);
		tcp_tuple_of(world.stack.tcp, conn, &chosen);
		ports[(chosen.local_port - 32768) >> 7]++;
		steps[(uint16_t)(chosen.local_port - last) % 32768 >> 7]++;
		last = chosen.local_port;
		tcp_abort(world.stack.tcp, conn);
		take_all();
	}
	assert_true(chi_square(ports, 256) < 400);
	assert_true(chi_square(steps, 256) < 400);
	stack_close(&world.stack);
}

/* --- T26: storms and reflection ------------------------------------------------------------------------ */

static void
t26_a_storm_of_strays_gets_a_bounded_number_of_resets(void **state)
{
	struct tcp_config config = stack_config();
	uint32_t answers = 0;

	(void)state;
	world_open(&config);
	for (uint32_t ms = 0; ms < 1000; ms++) {
		for (uint32_t i = 0; i < 300; i++) {
			struct segment s = from_stranger(2 + i, (uint16_t)(ms + 1), SEGMENT_ACK);

			s.dst_port = (uint16_t)(i % 2 == 0 ? PORT : 9);
			s.seq = (uint32_t)prng_next(&world.prng);
			s.ack = (uint32_t)prng_next(&world.prng);
			give(&s);
		}
		answers += take_all();
		pass(1 * MS);
	}
	assert_in_range(answers, TCP_RESETS_PER_SECOND, TCP_RESETS_PER_SECOND + TCP_RESETS_BURST);
	assert_int_equal(tcp_stats(world.stack.tcp)->drops[ERR_TCP_RESET_LIMITED], 300000 - answers);
	assert_int_equal(world.stack.tcp->table.refs, 0);
	stack_close(&world.stack);
}

static void
t26_a_reset_is_never_answered(void **state)
{
	struct tcp_config config = stack_config();
	struct segment options = from_stranger(5, 1000, SEGMENT_SYN);
	struct segment last;

	(void)state;
	world_open(&config);
	shake(&options, &last);
	take_all();
	for (uint32_t flags = 0; flags < 64; flags++) {
		for (uint32_t i = 0; i < 6; i++) {
			struct segment s = from_stranger(i < 3 ? 77 : 5, i < 3 ? 1 : 1000,
							 (uint8_t)(flags | SEGMENT_RST));

			s.dst_port = (uint16_t)(i % 3 == 0 ? 9 : PORT);
			s.seq = last.seq + 70000 + i; /* outside the connection's window */
			s.ack = last.ack;
			give(&s);
			assert_int_equal(take_all(), 0);
		}
	}
	assert_int_equal(tcp_stats(world.stack.tcp)->conns, 1);
	stack_close(&world.stack);
}

static void
t26_what_nobody_answers_is_repeated_at_a_bounded_rate(void **state)
{
	struct tcp_config config = stack_config();
	uint32_t repeats = 0;

	(void)state;
	config.half_open_max = 6000;
	world_open(&config);
	for (uint32_t i = 0; i < 6000; i++) {
		struct segment s = from_stranger(2 + i, 1000, SEGMENT_SYN);

		assert_int_equal(give(&s), ERR_OK);
		assert_int_equal(take_all(), 1); /* one for one */
	}
	/* All are due again in the same second. */
	for (uint32_t ms = 0; ms < 2000; ms++) {
		pass(1 * MS);
		repeats += take_all();
	}
	assert_in_range(repeats, TCP_SYN_ACK_REPEATS_BURST, TCP_SYN_ACK_REPEATS_PER_SECOND * 2);
	assert_int_equal(tcp_stats(world.stack.tcp)->half_open, 6000);
	/* A client that is still there asks again, and is answered. */
	for (uint32_t i = 0; i < 100; i++) {
		struct segment s = from_stranger(2 + i, 1000, SEGMENT_SYN);

		assert_int_equal(give(&s), ERR_OK);
		assert_int_equal(take_all(), 1);
	}
	stack_close(&world.stack);
}

/* An MSS option is all that an answer may be longer by: with Ethernet's padding nothing at all. */
static void
t26_an_answer_before_the_handshake_is_no_longer_than_its_question(void **state)
{
	struct tcp_config config = stack_config();

	(void)state;
	world_open(&config);
	for (uint32_t options = 0; options < 16; options++) {
		struct segment s = from_stranger(2 + options, 1000, SEGMENT_SYN);
		uint8_t flat[SEGMENT_BYTES_MAX];
		size_t asked;
		struct pkt *p;

		s.has_mss = options & 1;
		s.mss = 1460;
		s.has_wscale = options & 2;
		s.wscale = 7;
		s.has_sack_ok = options & 4;
		s.has_ts = options & 8;
		asked = segment_emit(&s, flat);
		assert_int_equal(give(&s), ERR_OK);
		p = tcp_transmit_next(world.stack.tcp);
		assert_non_null(p);
		assert_true(pkt_total(p) <= asked + (s.has_mss ? 0 : 4));
		pkt_free(p);
	}
	stack_close(&world.stack);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(t1_a_syn_flood_keeps_no_state_and_honest_clients_connect),
		cmocka_unit_test(t2_random_acks_open_nothing_and_answers_have_a_rate),
		cmocka_unit_test(t2_a_cookie_is_bound_to_everything_it_was_made_for),
		cmocka_unit_test(t2_cookie_keys_change_without_losing_a_handshake),
		cmocka_unit_test(t3_the_numbers_of_syn_acks_show_no_pattern),
		cmocka_unit_test(t3_a_tuples_number_moves_forward_and_differs_after_a_restart),
		cmocka_unit_test(t4_timestamps_of_two_hosts_are_unrelated),
		cmocka_unit_test(t23_chosen_tuples_do_not_make_searches_longer),
		cmocka_unit_test(t25_sixteen_ports_end_in_a_clean_error_and_come_back),
		cmocka_unit_test(t25_the_next_port_is_anybodys_guess),
		cmocka_unit_test(t26_a_storm_of_strays_gets_a_bounded_number_of_resets),
		cmocka_unit_test(t26_a_reset_is_never_answered),
		cmocka_unit_test(t26_what_nobody_answers_is_repeated_at_a_bounded_rate),
		cmocka_unit_test(t26_an_answer_before_the_handshake_is_no_longer_than_its_question),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What holds for every state, every flag and every place: rules by themselves, not one example each. */
#include "peer.h"

#include "base/prng.h"

/* --- every flag in every state ----------------------------------------------------------- */

enum stage {
	STAGE_CLOSED, /* nobody listens */
	STAGE_LISTEN,
	STAGE_HALF_OPEN,
	STAGE_SYN_SENT,
	STAGE_SYN_RCVD,
	STAGE_TIME_WAIT,
	STAGE_ESTABLISHED, /* synchronized connections from here on */
	STAGE_FIN_WAIT_1,
	STAGE_FIN_WAIT_2,
	STAGE_CLOSE_WAIT,
	STAGE_CLOSING,
	STAGE_LAST_ACK,
	STAGES
};

static void
shut_down(void)
{
	struct tcphdr h;

	tcp_shutdown(pair.b.tcp, pair.b.conn);
	assert_true(answer(&h));
	assert_true(h.flags & TCPHDR_FIN);
}

static void
peer_fin(void)
{
	assert_int_equal(send_flags(TCPHDR_ACK | TCPHDR_FIN, 0, 0), ERR_OK);
	peer.seq++;
	assert_false(is_silent());
}

static void
syn_sent(void)
{
	struct tcp_tuple tuple = { v4(2), v4(1), SERVER_PORT, 5555 };
	struct tcphdr h;

	listen_only();
	assert_int_equal(tcp_connect(pair.b.tcp, &tuple, 0, &pair.b.conn, pair.now_ns), ERR_OK);
	assert_true(answer(&h));
	peer.ack = h.seq + 1;
}

/* b is in that stage; peer.seq is what it expects, peer.ack what it may be told. */
static void
reach(enum stage stage)
{
	if (stage == STAGE_TIME_WAIT) {
		time_wait(false);
		return;
	}
	if (stage == STAGE_SYN_SENT || stage == STAGE_SYN_RCVD) {
		syn_sent();
		if (stage == STAGE_SYN_RCVD) {
			assert_int_equal(send_flags(TCPHDR_SYN, 0, 0), ERR_OK);
			peer.seq++;
			assert_false(is_silent());
		}
		return;
	}
	listen_only();
	if (stage == STAGE_CLOSED)
		assert_int_equal(tcp_unlisten(pair.b.tcp, &pair.b.address, SERVER_PORT), ERR_OK);
	if (stage <= STAGE_LISTEN)
		return;
	handshake_syn(0);
	if (stage == STAGE_HALF_OPEN)
		return;
	send_flags(TCPHDR_ACK, 0, 0);
	assert_true(is_silent());
	if (stage == STAGE_CLOSE_WAIT || stage == STAGE_LAST_ACK)
		peer_fin();
	if (stage != STAGE_ESTABLISHED && stage != STAGE_CLOSE_WAIT)
		shut_down();
	if (stage == STAGE_FIN_WAIT_2) {
		peer.ack++;
		send_flags(TCPHDR_ACK, 0, 0);
	}
	if (stage == STAGE_CLOSING)
		peer_fin();
}

struct outcome {
	enum err verdict;
	uint32_t answers;
	uint8_t flags; /* of all of them */
	int state;
	uint32_t half_open;
	uint32_t time_wait;
};

static struct outcome
try(enum stage stage, uint8_t flags, int32_t at, uint32_t ack_ahead, uint32_t len)
{
	struct tcphdr h = { 0 };
	struct outcome o = { 0 };
	struct pkt *p;

	reach(stage);
	pair.b.reading = false;
	h.seq = peer.seq + (uint32_t)at;
	h.ack = flags & TCPHDR_ACK ? peer.ack + ack_ahead : 0;
	h.flags = flags;
	o.verdict = inject(&h, len);
	side_output(&pair.b);
	while ((p = tcp_transmit_next(pair.b.tcp)) != NULL) {
		assert_int_equal(tcphdr_parse(bytes_make(pkt_data(p), pkt_len(p)), &h), ERR_OK);
		o.answers++;
		o.flags |= h.flags;
		pkt_free(p);
	}
	o.state = state_of(&pair.b);
	o.half_open = tcp_stats(pair.b.tcp)->half_open;
	o.time_wait = tcp_stats(pair.b.tcp)->time_wait;
	pair_fini(); /* and every packet is back */
	return o;
}

static const int stage_state[STAGES] = {
	[STAGE_SYN_SENT] = TCP_SYN_SENT,	 [STAGE_SYN_RCVD] = TCP_SYN_RCVD,
	[STAGE_ESTABLISHED] = TCP_ESTABLISHED, [STAGE_FIN_WAIT_1] = TCP_FIN_WAIT_1,
	[STAGE_FIN_WAIT_2] = TCP_FIN_WAIT_2,	 [STAGE_CLOSE_WAIT] = TCP_CLOSE_WAIT,
	[STAGE_CLOSING] = TCP_CLOSING,	 [STAGE_LAST_ACK] = TCP_LAST_ACK,
};

static void
assert_unmoved(enum stage stage, const struct outcome *o)
{
	if (stage == STAGE_HALF_OPEN)
		assert_int_equal(o->half_open, 1);
	else if (stage == STAGE_TIME_WAIT)
		assert_int_equal(o->time_wait, 1);
	else if (stage > STAGE_LISTEN)
		assert_int_equal(o->state, stage_state[stage]);
	else
		assert_int_equal(o->half_open, 0);
}

static void
assert_reset_rules(enum stage stage, uint8_t flags, int32_t at, uint32_t ack_ahead,
		   const struct outcome *o)
{
	bool ends = at == 0 && stage >= STAGE_HALF_OPEN;

	if (stage == STAGE_SYN_SENT)
		ends = flags & TCPHDR_ACK && ack_ahead == 0;
	assert_false(o->flags & (TCPHDR_RST | TCPHDR_SYN | TCPHDR_FIN));
	if (!ends) {
		assert_unmoved(stage, o);
		return;
	}
	assert_int_equal(o->answers, 0);
	assert_int_equal(o->half_open, 0);
	assert_int_equal(o->time_wait, 0);
	if (stage != STAGE_HALF_OPEN && stage != STAGE_TIME_WAIT)
		assert_int_equal(o->state, TCP_CLOSED);
}

static void
assert_rules(enum stage stage, uint8_t flags, int32_t at, uint32_t ack_ahead, const struct outcome *o)
{
	/* A wrong ACK before the connection is there is reset; our SYN, or the ACK of the peer's, comes too. */
	assert_true(o->answers <= (stage == STAGE_SYN_SENT || stage == STAGE_SYN_RCVD ? 2 : 1));
	if (flags & TCPHDR_RST) {
		assert_reset_rules(stage, flags, at, ack_ahead, o);
		return;
	}
	if (stage >= STAGE_TIME_WAIT) /* nothing but a reset resets, and nothing is reset by us */
		assert_false(o->flags & TCPHDR_RST);
	if (flags & TCPHDR_SYN) {
		if (stage >= STAGE_ESTABLISHED)
			assert_unmoved(stage, o);
	} else if (!(flags & TCPHDR_ACK)) {
		assert_unmoved(stage, o);
		if (stage != STAGE_TIME_WAIT) /* which drops what takes no number without a word */
			assert_int_not_equal(o->verdict, ERR_OK);
	} else if (ack_ahead != 0 && stage >= STAGE_SYN_SENT) {
		assert_unmoved(stage, o); /* it acknowledges what was never sent */
	}
	if (stage == STAGE_CLOSED) {
		assert_int_equal(o->answers, 1);
		assert_true(o->flags & TCPHDR_RST);
	}
}

static const int32_t places[] = { 0, 1, -1, 200000 };

static void
every_flag_in_every_state_keeps_the_rules(void **state)
{
	static const uint32_t ahead[] = { 0, 100000 };

	(void)state;
	for (enum stage stage = 0; stage < STAGES; stage++)
		for (uint8_t flags = 0; flags < 32; flags++)
			for (size_t i = 0; i < COUNT_OF(places); i++)
				for (size_t k = 0; k < COUNT_OF(ahead); k++) {
					struct outcome o;

					if (flags & TCPHDR_PSH)
						continue;
					o = try(stage, flags, places[i], ahead[k], 0);
					assert_rules(stage, flags, places[i], ahead[k], &o);
					o = try(stage, flags, places[i], ahead[k], 5);
					assert_rules(stage, flags, places[i], ahead[k], &o);
				}
}

static void
push_and_urgent_change_nothing(void **state)
{
	(void)state;
	for (enum stage stage = 0; stage < STAGES; stage++)
		for (uint8_t flags = 0; flags < 32; flags++)
			for (size_t i = 0; i < COUNT_OF(places); i++) {
				struct outcome plain, loud;

				if (flags & TCPHDR_PSH)
					continue;
				plain = try(stage, flags, places[i], 0, 5);
				loud = try(stage, flags | TCPHDR_PSH | TCPHDR_URG, places[i], 0, 5);
				assert_memory_equal(&plain, &loud, sizeof(plain));
			}
}

/* --- opens ------------------------------------------------------------------------------- */

static void
nobody_is_called_at_a_group_or_at_nowhere(void **state)
{
	static const uint8_t bad[][4] = { { 224, 0, 0, 1 }, { 239, 1, 2, 3 }, { 255, 255, 255, 255 }, { 0 } };
	struct tcp_tuple tuple = { v4(2), { { 0xff, 2, [15] = 1 } }, 0, 80 };
	tcp_conn_t conn;

	(void)state;
	listen_only();
	assert_int_equal(tcp_connect(pair.b.tcp, &tuple, 0, &conn, pair.now_ns), ERR_TCP_ADDRESS);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		tuple.remote = v4(1);
		memcpy(tuple.remote.byte + 12, bad[i], 4);
		assert_int_equal(tcp_connect(pair.b.tcp, &tuple, 0, &conn, pair.now_ns), ERR_TCP_ADDRESS);
		tuple.remote = v4(1);
		memcpy(tuple.local.byte + 12, bad[i], 4);
		assert_int_equal(tcp_connect(pair.b.tcp, &tuple, 0, &conn, pair.now_ns), ERR_TCP_ADDRESS);
		tuple.local = v4(2);
	}
	assert_true(is_silent());
	pair_fini();
}

/* Our own open over a tuple that waits: timestamps protect it from what the old one's peer may still send, and its
 * numbers lie beyond all that the old one can have used. */
static void
an_open_over_a_waiting_tuple_begins_beyond_its_numbers(void **state)
{
	struct tcp_tuple tuple = { v4(2), v4(1), SERVER_PORT, 5555 };
	struct tcphdr h;
	tcp_conn_t conn;

	(void)state;
	time_wait(true);
	assert_int_equal(tcp_connect(pair.b.tcp, &tuple, 0, &conn, pair.now_ns), ERR_TCP_IN_USE);
	pair.now_ns += 2 * SEC;
	assert_int_equal(tcp_connect(pair.b.tcp, &tuple, 0, &conn, pair.now_ns), ERR_OK);
	assert_int_equal(tcp_stats(pair.b.tcp)->time_wait, 0);
	assert_true(answer(&h));
	assert_int_equal(h.flags & (TCPHDR_SYN | TCPHDR_ACK), TCPHDR_SYN);
	assert_int_equal(h.seq, peer.ack + 65537);
	pair_fini();
}

/* RFC 6056: the place is random, not the next after the last. */
static void
ports_begin_anywhere(void **state)
{
	struct tcp_config config = config_default();
	uint32_t bins[16] = { 0 };
	uint32_t neighbours = 0;
	uint16_t last = 0;

	(void)state;
	config.ephemeral_port_min = 16384;
	config.ephemeral_port_max = 65535;
	pair_init(&config);
	for (uint32_t i = 0; i < 1600; i++) {
		struct tcp_tuple tuple = { v4(2), v4(1), 0, 80 };
		tcp_conn_t conn;

		assert_int_equal(tcp_connect(pair.b.tcp, &tuple, 0, &conn, pair.now_ns), ERR_OK);
		tcp_tuple_of(pair.b.tcp, conn, &tuple);
		tcp_abort(pair.b.tcp, conn);
		answer(&(struct tcphdr){ 0 });
		assert_true(tuple.local_port >= 16384);
		bins[(tuple.local_port - 16384) / 3072]++;
		neighbours += (uint16_t)(tuple.local_port - last) <= 1;
		last = tuple.local_port;
	}
	for (uint32_t i = 0; i < COUNT_OF(bins); i++)
		assert_in_range(bins[i], 50, 150); /* 100 each, five standard deviations */
	assert_true(neighbours < 5);
	pair_fini();
}

/* --- acknowledgments --------------------------------------------------------------------- */

static void
a_burst_is_answered_by_one_ack(void **state)
{
	uint32_t answers = 0;
	struct tcphdr h;
	struct pkt *p;

	(void)state;
	established();
	for (uint32_t i = 0; i < 32; i++) {
		assert_int_equal(send_flags(TCPHDR_ACK, 0, 1000), ERR_OK);
		peer.seq += 1000;
	}
	side_output(&pair.b);
	while ((p = tcp_transmit_next(pair.b.tcp)) != NULL) {
		assert_int_equal(tcphdr_parse(bytes_make(pkt_data(p), pkt_len(p)), &h), ERR_OK);
		answers++;
		pkt_free(p);
	}
	assert_int_equal(answers, 1);
	assert_int_equal(h.ack, peer.seq);
	pair_fini();
}

/* Everything that b sends now carries the stream's bytes at its numbers, and nothing below una. */
static uint32_t
assert_stream_from(uint32_t una, uint32_t first)
{
	uint32_t segments = 0;
	struct tcphdr h;
	struct pkt *p;

	side_output(&pair.b);
	while ((p = tcp_transmit_next(pair.b.tcp)) != NULL) {
		assert_int_equal(tcphdr_parse(bytes_make(pkt_data(p), pkt_len(p)), &h), ERR_OK);
		for (uint32_t i = h.header_bytes; i < pkt_total(p); i++) {
			uint8_t byte;

			pkt_copy_out(p, i, &byte, 1);
			assert_int_equal(byte, stream_byte(h.seq + i - h.header_bytes - first));
		}
		if (pkt_total(p) > h.header_bytes)
			assert_true(seq_ge(h.seq, una));
		segments++;
		pkt_free(p);
	}
	return segments;
}

static void
an_ack_may_end_anywhere(void **state)
{
	struct prng prng;
	uint32_t first, una, end;

	(void)state;
	prng_init(&prng, 3);
	for (uint32_t round = 0; round < 60; round++) {
		established();
		first = una = peer.ack;
		end = first + write_stream(&pair.b, 12000, 1 + prng_below(&prng, 2000));
		assert_stream_from(una, first);
		while (una != end) {
			uint32_t step = 1 + prng_below(&prng, prng_below(&prng, 4) == 0 ? 3000 : 40);

			una = seq_min(una + step, conn_at(&pair.b)->snd_max);
			inject(&(struct tcphdr){ .seq = peer.seq, .ack = una, .flags = TCPHDR_ACK }, 0);
			assert_int_equal(conn_at(&pair.b)->snd_una, una);
			assert_stream_from(una, first);
			if (prng_below(&prng, 20) == 0) { /* a timeout in between: the rest from there */
				pair.now_ns = tcp_next_at(pair.b.tcp) + 300 * MS;
				assert_stream_from(una, first);
			}
		}
		assert_int_equal(tcp_unacked(pair.b.tcp, pair.b.conn), 0);
		pair_fini();
	}
}

static void
a_round_trip_ends_when_the_segment_arrived(void **state)
{
	struct tcp_config config = config_default();
	struct tcphdr syn = { .flags = TCPHDR_SYN, .options = TCPHDR_HAS_MSS, .mss = 1400 };
	uint64_t sent_ns;
	struct tcphdr h;

	(void)state;
	config.rto_min_ns = 1 * MS;
	pair_init(&config);
	memset(&peer, 0, sizeof(peer));
	peer.port = 5555;
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 0), ERR_OK);
	inject(&syn, 0);
	assert_true(answer(&h));
	peer.seq = 1;
	peer.ack = h.seq + 1;
	send_flags(TCPHDR_ACK, 0, 0);
	side_output(&pair.b);
	for (int i = 0; i < 20; i++) {
		write_stream(&pair.b, 100, 100);
		assert_true(answer(&h));
		peer.ack += 100;
		pair.now_ns += 10 * MS;
		send_flags(TCPHDR_ACK, 0, 0); /* arrives after 10 ms, and the worker is late by 500 */
		pair.now_ns += 500 * MS;
		answer(&h);
	}
	write_stream(&pair.b, 100, 100);
	assert_true(answer(&h));
	sent_ns = pair.now_ns;
	pair.now_ns = tcp_next_at(pair.b.tcp);
	while (!answer(&h))
		pair.now_ns = tcp_next_at(pair.b.tcp);
	assert_int_equal(h.seq, peer.ack);
	assert_true(pair.now_ns - sent_ns < 100 * MS);
	pair_fini();
}

/* --- T19: more bytes than numbers ----------------------------------------------------------- */

#define PIECE_BYTES 1448u
#define LONG_BYTES ((UINT64_C(1) << 32) + 64 * MIB)

/* Each piece begins with its place in the stream. */
static void
write_pieces(uint64_t *written)
{
	while (*written < LONG_BYTES && tcp_send_room(pair.a.tcp, pair.a.conn) >= PIECE_BYTES &&
	       tcp_send_pieces(pair.a.tcp, pair.a.conn) > 0) {
		struct pkt *p = pkt_alloc(&pair.a.payload);

		assert_non_null(p);
		memcpy(pkt_append(p, PIECE_BYTES), written, sizeof(*written));
		assert_int_equal(tcp_send(pair.a.tcp, pair.a.conn, p, true), ERR_OK);
		*written += PIECE_BYTES;
	}
}

static void
read_pieces(uint64_t *read)
{
	struct pkt *p;

	while ((p = tcp_take(pair.b.tcp, pair.b.conn)) != NULL) {
		uint64_t n = pkt_total(p);
		uint64_t first = (*read + PIECE_BYTES - 1) / PIECE_BYTES * PIECE_BYTES;

		for (uint64_t at = first; at + 8 <= *read + n; at += PIECE_BYTES) {
			uint64_t stamp;

			pkt_copy_out(p, (uint32_t)(at - *read), (uint8_t *)&stamp, sizeof(stamp));
			assert_int_equal(stamp, at);
		}
		*read += n;
		pkt_free(p);
		tcp_consumed(pair.b.tcp, pair.b.conn, (uint32_t)n);
	}
}

static struct pkt *kept;
static uint64_t duplicates;

/* One in a hundred arrives twice, the second time much later: an old duplicate. */
static void
carry_with_old_duplicates(struct side *from, struct side *to)
{
	static uint32_t n;
	struct pkt *p;

	while ((p = tcp_transmit_next(from->tcp)) != NULL) {
		pkt_meta(p)->l4_csum = PKT_CSUM_GOOD;
		if (from == &pair.a && ++n % 50 == 0) {
			if (kept != NULL) {
				tcp_input(to->tcp, kept, pair.now_ns);
				kept = NULL;
				duplicates++;
			} else if ((kept = pkt_alloc(&from->headers)) != NULL) {
				uint32_t bytes = pkt_total(p);

				*pkt_meta(kept) = *pkt_meta(p);
				pkt_copy_out(p, 0, pkt_append(kept, bytes), bytes);
			}
		}
		tcp_input(to->tcp, p, pair.now_ns);
	}
}

static void
a_transfer_longer_than_the_number_space(void **state)
{
	struct tcp_config config = config_default();
	uint64_t written = 0, read = 0;
	uint32_t irs;

	(void)state;
	config.recv_bytes_max = 4 * MIB;
	config.send_bytes_max = 4 * MIB;
	config.window_shift = 8;
	pair_init(&config);
	establish();
	pair.a.reading = pair.b.reading = false;
	irs = conn_at(&pair.b)->irs;
	for (uint64_t turns = 0; read < LONG_BYTES / PIECE_BYTES * PIECE_BYTES; turns++) {
		assert_true(turns < 100 * LONG_BYTES / PIECE_BYTES);
		write_pieces(&written);
		tcp_advance(pair.a.tcp, pair.now_ns);
		tcp_output_ready(pair.a.tcp, pair.now_ns);
		carry_with_old_duplicates(&pair.a, &pair.b);
		side_events(&pair.b);
		read_pieces(&read);
		tcp_advance(pair.b.tcp, pair.now_ns);
		tcp_output_ready(pair.b.tcp, pair.now_ns);
		carry_with_old_duplicates(&pair.b, &pair.a);
		pair.now_ns += 20 * NSEC_PER_USEC;
		if (turns % 100000 == 0) {
			tcp_check(pair.a.tcp);
			tcp_check(pair.b.tcp);
		}
	}
	pkt_free(kept);
	kept = NULL;
	assert_true(read > UINT32_MAX);
	assert_int_equal(conn_at(&pair.b)->rcv_nxt, irs + 1 + (uint32_t)read);
	/* PAWS may drop those of an earlier millisecond, and nothing else. */
	assert_in_range(tcp_stats(pair.b.tcp)->drops[ERR_TCP_PAWS], 0, duplicates);
	assert_int_equal(tcp_stats(pair.a.tcp)->retransmits, 0);
	pair_fini();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_flag_in_every_state_keeps_the_rules),
		cmocka_unit_test(push_and_urgent_change_nothing),
		cmocka_unit_test(nobody_is_called_at_a_group_or_at_nowhere),
		cmocka_unit_test(an_open_over_a_waiting_tuple_begins_beyond_its_numbers),
		cmocka_unit_test(ports_begin_anywhere),
		cmocka_unit_test(a_burst_is_answered_by_one_ack),
		cmocka_unit_test(an_ack_may_end_anywhere),
		cmocka_unit_test(a_round_trip_ends_when_the_segment_arrived),
		cmocka_unit_test(a_transfer_longer_than_the_number_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* One stack (b) and segments made by hand: the answers that the RFCs ask for, one by one. */
#include "peer.h"

/* --- the handshake ------------------------------------------------------------------- */

static void
a_syn_ack_answers_with_what_was_offered_and_no_more(void **state)
{
	struct tcphdr h;

	(void)state;
	listen_only();
	h = handshake_syn(0);
	assert_int_equal(h.options, TCPHDR_HAS_MSS);
	assert_int_equal(h.mss, 1460);
	assert_int_equal(h.window, 65535); /* never scaled in a SYN */
	pair_fini();
	listen_only();
	peer.times = true;
	h = handshake_syn(TCPHDR_HAS_SACK_OK | TCPHDR_HAS_SHIFT);
	assert_int_equal(h.options, TCPHDR_HAS_MSS | TCPHDR_HAS_SACK_OK | TCPHDR_HAS_SHIFT | TCPHDR_HAS_TIMES);
	assert_int_equal(h.ts_echo, 5000);
	assert_int_equal(h.shift, 3);
	pair_fini();
}

static void
a_repeated_syn_is_answered_by_the_same_number(void **state)
{
	struct tcphdr first;
	struct tcphdr h;

	(void)state;
	listen_only();
	pair.now_ns = 1023 * SEC; /* the next step of the cookie's clock begins */
	first = handshake_syn(0);
	pair.now_ns += 2 * SEC;
	tcp_advance(pair.b.tcp, pair.now_ns);
	peer.seq--;
	h = handshake_syn(0);
	assert_int_equal(first.seq, h.seq);
	assert_int_equal(tcp_stats(pair.b.tcp)->half_open, 1);
	pair_fini();
}

static void
the_syn_ack_is_repeated_and_given_up(void **state)
{
	struct tcphdr h;
	uint32_t repeats = 0;

	(void)state;
	listen_only();
	handshake_syn(0);
	for (int second = 0; second < 100; second++) {
		pair.now_ns += SEC;
		repeats += answer(&h);
	}
	assert_int_equal(repeats, 5);
	assert_int_equal(tcp_stats(pair.b.tcp)->half_open, 0);
	assert_int_equal(tcp_next_at(pair.b.tcp), NEVER_NS);
	pair_fini();
}

static void
data_and_fin_on_the_last_ack_are_taken(void **state)
{
	struct tcphdr h;

	(void)state;
	listen_only();
	handshake_syn(0);
	assert_int_equal(send_flags(TCPHDR_ACK | TCPHDR_FIN, 0, 50), ERR_OK);
	assert_true(answer(&h));
	assert_int_equal(h.ack, peer.seq + 51);
	assert_int_equal(pair.b.received, 50);
	assert_true(pair.b.events & TCP_EVENT_EOF);
	pair_fini();
}

static void
a_reset_of_the_exact_number_ends_a_half_open_another_does_not(void **state)
{
	(void)state;
	listen_only();
	handshake_syn(0);
	assert_int_equal(send_flags(TCPHDR_RST, 1, 0), ERR_TCP_STRAY_RESET);
	assert_int_equal(tcp_stats(pair.b.tcp)->half_open, 1);
	assert_int_equal(send_flags(TCPHDR_RST, 0, 0), ERR_TCP_RESET);
	assert_int_equal(tcp_stats(pair.b.tcp)->half_open, 0);
	assert_true(is_silent());
	pair_fini();
}

static void
a_wrong_last_ack_is_reset_and_the_right_one_still_works(void **state)
{
	struct tcphdr h;

	(void)state;
	listen_only();
	handshake_syn(0);
	peer.ack += 12345;
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 0), ERR_TCP_BAD_ACK);
	assert_true(answer(&h));
	assert_int_equal(h.flags, TCPHDR_RST);
	assert_int_equal(h.seq, peer.ack);
	peer.ack -= 12345;
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 0), ERR_OK);
	side_output(&pair.b);
	assert_int_equal(pair.b.accepted, 1);
	pair_fini();
}

static void
twice_the_same_last_ack_in_a_burst_is_one_connection(void **state)
{
	(void)state;
	listen_only();
	handshake_syn(0);
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 0), ERR_OK);
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 0), ERR_OK);
	side_output(&pair.b);
	assert_int_equal(pair.b.accepted, 1);
	assert_int_equal(tcp_stats(pair.b.tcp)->conns, 1);
	pair_fini();
}

static void
closing_the_listener_ends_its_handshakes(void **state)
{
	struct tcphdr h;

	(void)state;
	listen_only();
	handshake_syn(0);
	assert_int_equal(tcp_unlisten(pair.b.tcp, &pair.b.address, SERVER_PORT), ERR_OK);
	assert_int_equal(tcp_unlisten(pair.b.tcp, &pair.b.address, SERVER_PORT), ERR_TCP_NO_LISTENER);
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 0), ERR_TCP_NO_CONNECTION);
	assert_true(answer(&h));
	assert_int_equal(h.flags, TCPHDR_RST);
	pair_fini();
}

static void
flags_without_sense_do_not_open(void **state)
{
	struct tcphdr h;

	(void)state;
	listen_only();
	assert_int_equal(send_flags(0, 0, 0), ERR_TCP_BAD_FLAGS);
	assert_int_equal(send_flags(TCPHDR_FIN, 0, 0), ERR_TCP_BAD_FLAGS);
	assert_int_equal(send_flags(TCPHDR_SYN | TCPHDR_FIN, 0, 0), ERR_TCP_BAD_FLAGS);
	assert_int_equal(send_flags(TCPHDR_RST, 0, 0), ERR_TCP_STRAY_RESET);
	assert_int_equal(send_flags(TCPHDR_RST | TCPHDR_ACK, 0, 0), ERR_TCP_STRAY_RESET);
	assert_true(is_silent());
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 0), ERR_TCP_COOKIE);
	assert_true(answer(&h));
	assert_int_equal(h.flags, TCPHDR_RST);
	assert_int_equal(tcp_stats(pair.b.tcp)->half_open, 0);
	pair_fini();
}

/* The cache holds 16; others push this one out; its last ACK is a cookie. */
static void
flood(void)
{
	uint16_t port = peer.port;
	struct tcphdr syn = { .flags = TCPHDR_SYN };
	struct tcphdr h;

	for (peer.port = 10000; peer.port < 10020; peer.port++)
		inject(&syn, 0);
	peer.port = port;
	assert_true(answer(&h));
}

static void
an_evicted_handshake_completes_by_its_cookie(void **state)
{
	struct tcphdr h;

	(void)state;
	listen_only();
	peer.times = true;
	handshake_syn(TCPHDR_HAS_SACK_OK | TCPHDR_HAS_SHIFT);
	flood();
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 100), ERR_OK);
	assert_true(answer(&h));
	assert_int_equal(pair.b.accepted, 1);
	assert_int_equal(pair.b.received, 100);
	assert_int_equal(conn_at(&pair.b)->mss_path, 1380); /* 1400 rounded down */
	assert_int_equal(conn_at(&pair.b)->snd_shift, 2);
	assert_true(conn_at(&pair.b)->sack_ok);
	assert_true(seq_ge(h.ts_value, peer.ts_echo)); /* the clock does not go back */
	pair_fini();
}

static void
a_cookie_without_timestamps_gives_up_scaling_and_sack(void **state)
{
	(void)state;
	listen_only();
	handshake_syn(TCPHDR_HAS_SACK_OK | TCPHDR_HAS_SHIFT);
	flood();
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 0), ERR_OK);
	side_output(&pair.b);
	assert_int_equal(conn_at(&pair.b)->snd_shift, 0);
	assert_int_equal(conn_at(&pair.b)->rcv_shift, 0);
	assert_false(conn_at(&pair.b)->sack_ok);
	pair_fini();
}

static void
a_forged_late_or_foreign_cookie_is_refused(void **state)
{
	struct tcphdr h;

	(void)state;
	listen_only();
	handshake_syn(0);
	flood();
	peer.ack ^= 0x40;
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 0), ERR_TCP_COOKIE);
	peer.ack ^= 0x40;
	peer.port++;
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 0), ERR_TCP_COOKIE);
	peer.port--;
	assert_int_equal(send_flags(TCPHDR_ACK, 1, 0), ERR_TCP_COOKIE); /* another SYN's number */
	pair.now_ns += 129 * SEC;
	flood(); /* cookies still count, this one is too old */
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 0), ERR_TCP_COOKIE);
	assert_true(answer(&h));
	assert_int_equal(pair.b.accepted, 0);
	pair_fini();
}

static void
without_an_eviction_no_cookie_is_believed(void **state)
{
	(void)state;
	listen_only();
	handshake_syn(0);
	assert_int_equal(send_flags(TCPHDR_RST, 0, 0), ERR_TCP_RESET);
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 0), ERR_TCP_COOKIE);
	pair_fini();
}

/* --- RFC 5961, 7323, 793 acceptability --------------------------------------------------- */

static void
only_the_exact_reset_resets(void **state)
{
	struct tcphdr h;

	(void)state;
	established();
	assert_int_equal(send_flags(TCPHDR_RST, -1, 0), ERR_TCP_STRAY_RESET);
	assert_true(is_silent());
	assert_int_equal(send_flags(TCPHDR_RST, 1, 0), ERR_TCP_CHALLENGED);
	assert_true(answer(&h));
	assert_int_equal(h.flags, TCPHDR_ACK);
	assert_int_equal(h.ack, peer.seq);
	assert_int_equal(send_flags(TCPHDR_RST, 100000000, 0), ERR_TCP_STRAY_RESET);
	assert_true(is_silent());
	assert_int_equal(send_flags(TCPHDR_RST, 0, 0), ERR_TCP_RESET);
	side_output(&pair.b);
	assert_int_equal(pair.b.reason, ERR_TCP_RESET);
	assert_true(is_silent());
	pair_fini();
}

static void
a_syn_in_a_connection_is_challenged_wherever_it_lies(void **state)
{
	struct tcphdr h;

	(void)state;
	established();
	for (int32_t shift = -1; shift <= 1; shift++) {
		send_flags(TCPHDR_SYN, shift, 0);
		assert_true(answer(&h));
		assert_int_equal(h.flags, TCPHDR_ACK);
	}
	assert_int_equal(state_of(&pair.b), TCP_ESTABLISHED);
	pair_fini();
}

static void
challenges_are_limited_per_connection_and_come_back(void **state)
{
	struct tcphdr h;
	uint32_t answers = 0;

	(void)state;
	established();
	for (int i = 0; i < 100; i++) {
		send_flags(TCPHDR_SYN, 0, 0);
		answers += answer(&h);
	}
	assert_int_equal(answers, 10);
	assert_int_equal(tcp_stats(pair.b.tcp)->challenge_acks, 10);
	pair.now_ns += 5 * SEC;
	send_flags(TCPHDR_SYN, 0, 0);
	assert_true(answer(&h));
	pair_fini();
}

static void
old_data_is_always_acknowledged_again(void **state)
{
	struct tcphdr h;

	(void)state;
	established();
	send_flags(TCPHDR_ACK, 0, 100);
	peer.seq += 100;
	assert_true(answer(&h));
	for (int i = 0; i < 100; i++) {
		assert_int_equal(send_flags(TCPHDR_ACK, -100, 100), ERR_TCP_OUT_OF_WINDOW);
		assert_true(answer(&h));
		assert_int_equal(h.ack, peer.seq);
		assert_int_equal(h.sack_count, 1); /* and reported, RFC 2883 */
		assert_int_equal(h.sack[0].start, peer.seq - 100);
		assert_int_equal(h.sack[0].end, peer.seq);
	}
	assert_int_equal(pair.b.received, 100);
	pair_fini();
}

static void
an_ack_of_the_future_or_the_far_past_is_not_used(void **state)
{
	struct tcphdr h;

	(void)state;
	established();
	peer.ack += 1;
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 10), ERR_TCP_BAD_ACK);
	assert_true(answer(&h));
	assert_int_equal(h.ack, peer.seq); /* the data was not taken */
	peer.ack -= 1 + 70000;
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 10), ERR_OK); /* within the largest window: 240000 */
	peer.ack -= 300000;
	assert_int_equal(send_flags(TCPHDR_ACK, 10, 10), ERR_TCP_BAD_ACK);
	pair_fini();
}

static void
a_segment_without_ack_is_dropped(void **state)
{
	(void)state;
	established();
	assert_int_equal(send_flags(0, 0, 10), ERR_TCP_BAD_FLAGS);
	assert_true(is_silent());
	pair_fini();
}

static void
an_old_timestamp_is_refused_unless_very_old_itself(void **state)
{
	struct tcphdr h;

	(void)state;
	established();
	peer.ts_value = 4999;
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 10), ERR_TCP_PAWS);
	assert_true(answer(&h));
	assert_int_equal(h.ack, peer.seq);
	assert_int_equal(send_flags(TCPHDR_RST, 1, 0), ERR_TCP_CHALLENGED); /* no PAWS for resets */
	peer.ts_value = 5000;
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 10), ERR_OK);
	peer.seq += 10;
	assert_true(answer(&h));
	pair.now_ns += 25 * 86400 * SEC;
	peer.ts_value = 17; /* the clock wrapped while all was quiet */
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 10), ERR_OK);
	assert_true(answer(&h));
	assert_int_equal(h.ts_echo, 17);
	pair_fini();
}

static void
the_echo_is_of_the_segment_that_advanced_the_edge(void **state)
{
	struct tcphdr h;

	(void)state;
	established();
	peer.ts_value = 6000;
	send_flags(TCPHDR_ACK, 100, 100); /* beyond a hole */
	assert_true(answer(&h));
	assert_int_equal(h.ts_echo, 5000);
	peer.ts_value = 7000;
	send_flags(TCPHDR_ACK, 0, 100);
	assert_true(answer(&h));
	assert_int_equal(h.ack, peer.seq + 200);
	assert_int_equal(h.ts_echo, 7000);
	pair_fini();
}

static void
a_segment_without_timestamps_is_still_taken(void **state)
{
	(void)state;
	established();
	peer.times = false;
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 10), ERR_OK);
	side_output(&pair.b);
	assert_int_equal(pair.b.received, 10);
	pair_fini();
}

static void
urgent_data_is_ordinary_data(void **state)
{
	(void)state;
	established();
	assert_int_equal(send_flags(TCPHDR_ACK | TCPHDR_URG, 0, 10), ERR_OK);
	side_output(&pair.b);
	assert_int_equal(pair.b.received, 10);
	pair_fini();
}

static void
a_fin_before_its_data_waits_for_it(void **state)
{
	struct tcphdr h;

	(void)state;
	established();
	assert_int_equal(send_flags(TCPHDR_ACK | TCPHDR_FIN, 100, 0), ERR_OK);
	assert_true(answer(&h));
	assert_int_equal(h.ack, peer.seq);
	assert_int_equal(state_of(&pair.b), TCP_ESTABLISHED);
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 100), ERR_OK);
	assert_true(answer(&h));
	assert_int_equal(h.ack, peer.seq + 101);
	assert_int_equal(state_of(&pair.b), TCP_CLOSE_WAIT);
	assert_int_equal(pair.b.received, 100);
	pair_fini();
}

static void
a_flipped_bit_changes_nothing(void **state)
{
	(void)state;
	established();
	for (uint32_t bit = 0; bit < (TCPHDR_BYTES + 12 + 10) * 8; bit++) {
		struct tcphdr h = { .seq = peer.seq, .ack = peer.ack, .flags = TCPHDR_ACK };
		struct pkt *p = segment_make(&h, 10);
		enum err verdict;

		pkt_data(p)[bit / 8] ^= (uint8_t)(1u << bit % 8);
		verdict = tcp_input(pair.b.tcp, p, pair.now_ns);
		assert_true(verdict == ERR_TCP_CHECKSUM || verdict == ERR_TCP_HEADER);
	}
	assert_true(is_silent());
	assert_int_equal(pair.b.received, 0);
	pair_fini();
}

static void
the_port_may_vouch_for_the_checksum(void **state)
{
	static const struct {
		enum pkt_csum said;
		enum err verdict;
	} cases[] = {
		{ PKT_CSUM_GOOD, ERR_OK },
		{ PKT_CSUM_NONE, ERR_OK },
		{ PKT_CSUM_BAD, ERR_TCP_CHECKSUM },
		{ PKT_CSUM_UNKNOWN, ERR_TCP_CHECKSUM },
	};

	(void)state;
	for (uint32_t i = 0; i < COUNT_OF(cases); i++) {
		struct tcphdr h;
		struct pkt *p;

		established();
		h = (struct tcphdr){ .seq = peer.seq, .ack = peer.ack, .flags = TCPHDR_ACK };
		p = segment_make(&h, 10);
		pkt_data(p)[TCPHDR_CHECKSUM_OFFSET] ^= 1;
		pkt_meta(p)->l4_csum = (uint8_t)cases[i].said;
		assert_int_equal(tcp_input(pair.b.tcp, p, pair.now_ns), cases[i].verdict);
		pair_fini();
	}
}

static void
group_and_zero_addresses_are_not_spoken_to(void **state)
{
	static const struct ip_addr bad[] = {
		{ { [10] = 0xff, [11] = 0xff, 224, 0, 0, 1 } },
		{ { [10] = 0xff, [11] = 0xff, 255, 255, 255, 255 } },
		{ { [10] = 0xff, [11] = 0xff } },
		{ { 0xff, 2, [15] = 1 } },
		{ { 0 } },
	};

	(void)state;
	listen_only();
	for (uint32_t i = 0; i < 2 * COUNT_OF(bad); i++) {
		struct tcphdr h = { .seq = 1, .flags = i % 3 == 0 ? TCPHDR_ACK : TCPHDR_SYN };
		struct pkt *p = segment_make(&h, 0);

		/* From one, and to one. */
		*(i % 2 == 0 ? &pkt_meta(p)->src : &pkt_meta(p)->dst) = bad[i / 2];
		pkt_meta(p)->l4_csum = PKT_CSUM_GOOD;
		assert_int_equal(tcp_input(pair.b.tcp, p, pair.now_ns), ERR_TCP_ADDRESS);
	}
	assert_true(is_silent());
	pair_fini();
}

/* --- TIME-WAIT ---------------------------------------------------------------------------- */

static void
time_wait_accepts_a_newer_incarnation_only(void **state)
{
	static const struct {
		bool times;
		int32_t clock; /* against the last timestamp */
		int32_t seq;   /* against the last number */
		bool accepted;
	} cases[] = {
		{ true, 1, 1000, true },  { true, 1, -1000, true },   { true, -1, 1000, false },
		{ true, -1, -1000, false }, { false, 0, -1000, false },
	};

	(void)state;
	for (uint32_t i = 0; i < COUNT_OF(cases); i++) {
		struct tcphdr h;

		time_wait(cases[i].times);
		peer.ts_value += (uint32_t)cases[i].clock;
		send_flags(TCPHDR_SYN, cases[i].seq, 0);
		assert_true(answer(&h));
		assert_int_equal(h.flags, cases[i].accepted ? TCPHDR_SYN | TCPHDR_ACK : TCPHDR_ACK);
		assert_int_equal(tcp_stats(pair.b.tcp)->time_wait, !cases[i].accepted);
		pair_fini();
	}
}

/* Without timestamps our own number must be newer too; it is a cookie, so it is half the time, and
 * otherwise the old ACK makes the peer reset. Either way the peer gets through. */
static void
time_wait_without_timestamps_never_goes_back_in_numbers(void **state)
{
	(void)state;
	for (uint32_t step = 1; step < 40; step++) {
		struct tcphdr h;
		uint32_t old;

		time_wait(false);
		old = peer.ack;
		send_flags(TCPHDR_SYN, (int32_t)(step * 1000), 0);
		assert_true(answer(&h));
		if (h.flags & TCPHDR_SYN) {
			assert_true(seq_gt(h.seq, old));
		} else {
			assert_int_equal(h.flags, TCPHDR_ACK);
			assert_int_equal(send_flags(TCPHDR_RST, 0, 0), ERR_TCP_RESET);
			send_flags(TCPHDR_SYN, (int32_t)(step * 1000), 0);
			assert_true(answer(&h));
			assert_int_equal(h.flags, TCPHDR_SYN | TCPHDR_ACK);
		}
		pair_fini();
	}
}

/* The same of a client whose segments could be larger than ours: the cookie has what is agreed on. */
static void
time_wait_without_timestamps_judges_the_number_that_will_be_sent(void **state)
{
	uint32_t reopened = 0;

	(void)state;
	for (uint32_t step = 1; step < 40; step++) {
		struct tcphdr syn = { .flags = TCPHDR_SYN, .mss = 8960, .options = TCPHDR_HAS_MSS };
		struct tcphdr h;

		time_wait_of(false, syn.mss);
		syn.seq = peer.seq + step * 1000;
		inject(&syn, 0);
		assert_true(answer(&h));
		assert_true(h.flags == TCPHDR_ACK || seq_gt(h.seq, peer.ack));
		reopened += h.flags == (TCPHDR_SYN | TCPHDR_ACK);
		pair_fini();
	}
	assert_in_range(reopened, 1, 38);
}

static void
several_syns_in_one_burst_reopen_once(void **state)
{
	struct tcphdr h;

	(void)state;
	time_wait(true);
	peer.ts_value++;
	send_flags(TCPHDR_SYN, 1000, 0);
	send_flags(TCPHDR_SYN, 1000, 0);
	send_flags(TCPHDR_SYN, 1000, 0);
	assert_true(answer(&h));
	assert_int_equal(tcp_stats(pair.b.tcp)->half_open, 1);
	pair_fini();
}

static void
time_wait_is_ended_by_the_exact_reset_only_and_never_answers_an_ack(void **state)
{
	struct tcphdr h;

	(void)state;
	time_wait(true);
	assert_int_equal(send_flags(TCPHDR_RST, 1, 0), ERR_TCP_STRAY_RESET);
	send_flags(TCPHDR_ACK, 0, 0);
	assert_true(is_silent());
	send_flags(TCPHDR_ACK | TCPHDR_FIN, -1, 0);
	assert_true(answer(&h));
	assert_int_equal(h.ack, peer.seq);
	assert_int_equal(send_flags(TCPHDR_RST, 0, 0), ERR_TCP_RESET);
	assert_int_equal(tcp_stats(pair.b.tcp)->time_wait, 0);
	pair_fini();
}

static void
a_repeated_fin_starts_time_wait_again(void **state)
{
	struct tcphdr h;

	(void)state;
	time_wait(true);
	pair.now_ns += 50 * SEC;
	send_flags(TCPHDR_ACK | TCPHDR_FIN, -1, 0);
	answer(&h);
	pair.now_ns += 50 * SEC;
	side_output(&pair.b);
	assert_int_equal(tcp_stats(pair.b.tcp)->time_wait, 1);
	pair.now_ns += 11 * SEC;
	side_output(&pair.b);
	assert_int_equal(tcp_stats(pair.b.tcp)->time_wait, 0);
	pair_fini();
}

/* --- ICMP ---------------------------------------------------------------------------------- */

static void
icmp_is_believed_only_about_what_is_in_flight(void **state)
{
	struct tcp_tuple tuple = { v4(2), v4(1), SERVER_PORT, 5555 };
	struct tcphdr h;

	(void)state;
	established();
	tcp_icmp(pair.b.tcp, &tuple, peer.ack, false, 1300, pair.now_ns);
	assert_int_equal(conn_at(&pair.b)->mss_path, 1400);
	write_stream(&pair.b, 1388, 1388);
	assert_true(answer(&h));
	tcp_icmp(pair.b.tcp, &tuple, peer.ack + 5000, false, 1300, pair.now_ns);
	assert_int_equal(conn_at(&pair.b)->mss_path, 1400);
	tcp_icmp(pair.b.tcp, &tuple, peer.ack, false, 1300, pair.now_ns);
	assert_int_equal(conn_at(&pair.b)->mss_path, 1260);
	assert_true(answer(&h)); /* again, smaller, at once */
	assert_int_equal(tcp_stats(pair.b.tcp)->rtos, 0);
	tcp_icmp(pair.b.tcp, &tuple, peer.ack, false, 68, pair.now_ns);
	assert_int_equal(conn_at(&pair.b)->mss_path, 512); /* the floor */
	tcp_icmp(pair.b.tcp, &tuple, peer.ack, true, 0, pair.now_ns);
	assert_int_equal(state_of(&pair.b), TCP_ESTABLISHED); /* soft, against SHLD-26 */
	pair_fini();
}

/* A layer below that knows of one narrow path, behind a link of 9000. */
static struct below {
	uint16_t path_bytes;
	uint32_t narrowed_to;
	uint32_t worked;
} below;

static struct tcp_mtu
below_mtu(const struct ip_addr *remote, uint64_t now_ns, void *owner)
{
	const struct below *b = owner;

	assert_true(tcp_address_is_v4(remote) && now_ns == pair.now_ns);
	return (struct tcp_mtu){ 9000, b->path_bytes };
}

static void
below_narrowed(const struct ip_addr *remote, uint32_t mtu_bytes, uint64_t now_ns, void *owner)
{
	struct below *b = owner;

	assert_true(remote->byte[15] == 1 && now_ns == pair.now_ns);
	b->narrowed_to = mtu_bytes;
}

static void
below_works(const struct ip_addr *remote, uint64_t now_ns, void *owner)
{
	struct below *b = owner;

	assert_true(remote->byte[15] == 1 && now_ns == pair.now_ns);
	b->worked++;
}

static void
paths_are_the_layers_below(void **state)
{
	struct tcp_config config = config_default();
	struct tcp_tuple tuple = { v4(2), v4(1), SERVER_PORT, 5555 };
	struct tcphdr h;

	(void)state;
	below = (struct below){ .path_bytes = 1300 };
	config.mtu = below_mtu;
	config.path_narrowed = below_narrowed;
	config.path_works = below_works;
	config.owner = &below;
	listen_only();
	pair_fini();
	pair_init(&config);
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 0), ERR_OK);
	h = handshake_syn(TCPHDR_HAS_SACK_OK);
	assert_int_equal(h.mss, 8960); /* the link's, whatever the way from there is like (RFC 6691) */
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 0), ERR_OK);
	assert_true(is_silent());
	assert_int_equal(conn_at(&pair.b)->mss_path, 1260); /* the path's; the peer would take 1400 */
	below.worked = 0;
	write_stream(&pair.b, 1260, 1260);
	assert_true(answer(&h));
	tcp_icmp(pair.b.tcp, &tuple, peer.ack + 5000, false, 1200, pair.now_ns);
	tcp_icmp(pair.b.tcp, &tuple, peer.ack, false, 1400, pair.now_ns);
	assert_int_equal(below.narrowed_to, 0); /* not in flight; not narrower */
	tcp_icmp(pair.b.tcp, &tuple, peer.ack, false, 1200, pair.now_ns);
	assert_int_equal(below.narrowed_to, 1200);
	assert_int_equal(below.worked, 0);
	send_flags(TCPHDR_ACK, 0, 0); /* of nothing new */
	assert_int_equal(below.worked, 0);
	peer.ack += 1260;
	send_flags(TCPHDR_ACK, 0, 0);
	assert_int_equal(below.worked, 1);
	pair_fini();
}

static void
icmp_port_unreachable_ends_an_active_open(void **state)
{
	struct tcp_tuple tuple;
	struct tcphdr h;

	(void)state;
	listen_only();
	tuple = (struct tcp_tuple){ v4(2), v4(1), 0, 9999 };
	assert_int_equal(tcp_connect(pair.b.tcp, &tuple, 0, &pair.b.conn, pair.now_ns), ERR_OK);
	assert_true(answer(&h));
	tcp_tuple_of(pair.b.tcp, pair.b.conn, &tuple);
	tcp_icmp(pair.b.tcp, &tuple, h.seq, false, 0, pair.now_ns);
	side_output(&pair.b);
	assert_false(pair.b.events & TCP_EVENT_ERROR);
	tcp_icmp(pair.b.tcp, &tuple, h.seq, true, 0, pair.now_ns);
	side_output(&pair.b);
	assert_int_equal(pair.b.reason, ERR_TCP_UNREACHABLE);
	pair_fini();
}

/* --- segment sizes ---------------------------------------------------------------------------- */

static void
the_peers_mss_is_obeyed_within_reason(void **state)
{
	static const struct {
		uint16_t offered;
		uint16_t used;
	} cases[] = { { 0, 48 }, { 1, 48 }, { 48, 48 }, { 536, 536 }, { 65535, 1460 } };

	(void)state;
	for (uint32_t i = 0; i < COUNT_OF(cases); i++) {
		struct tcphdr syn = { .flags = TCPHDR_SYN, .options = TCPHDR_HAS_MSS };
		struct tcphdr h;
		struct pkt *p;

		listen_only();
		syn.seq = peer.seq++;
		syn.mss = cases[i].offered;
		inject(&syn, 0);
		assert_true(answer(&h));
		peer.ack = h.seq + 1;
		send_flags(TCPHDR_ACK, 0, 0);
		side_output(&pair.b);
		write_stream(&pair.b, 2000, 2000);
		side_output(&pair.b);
		p = tcp_transmit_next(pair.b.tcp);
		assert_non_null(p);
		assert_int_equal(pkt_total(p), TCPHDR_BYTES + cases[i].used);
		pkt_free(p);
		assert_true(answer(&h));
		pair_fini();
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_syn_ack_answers_with_what_was_offered_and_no_more),
		cmocka_unit_test(a_repeated_syn_is_answered_by_the_same_number),
		cmocka_unit_test(the_syn_ack_is_repeated_and_given_up),
		cmocka_unit_test(data_and_fin_on_the_last_ack_are_taken),
		cmocka_unit_test(a_reset_of_the_exact_number_ends_a_half_open_another_does_not),
		cmocka_unit_test(a_wrong_last_ack_is_reset_and_the_right_one_still_works),
		cmocka_unit_test(twice_the_same_last_ack_in_a_burst_is_one_connection),
		cmocka_unit_test(closing_the_listener_ends_its_handshakes),
		cmocka_unit_test(flags_without_sense_do_not_open),
		cmocka_unit_test(an_evicted_handshake_completes_by_its_cookie),
		cmocka_unit_test(a_cookie_without_timestamps_gives_up_scaling_and_sack),
		cmocka_unit_test(a_forged_late_or_foreign_cookie_is_refused),
		cmocka_unit_test(without_an_eviction_no_cookie_is_believed),
		cmocka_unit_test(only_the_exact_reset_resets),
		cmocka_unit_test(a_syn_in_a_connection_is_challenged_wherever_it_lies),
		cmocka_unit_test(challenges_are_limited_per_connection_and_come_back),
		cmocka_unit_test(old_data_is_always_acknowledged_again),
		cmocka_unit_test(an_ack_of_the_future_or_the_far_past_is_not_used),
		cmocka_unit_test(a_segment_without_ack_is_dropped),
		cmocka_unit_test(an_old_timestamp_is_refused_unless_very_old_itself),
		cmocka_unit_test(the_echo_is_of_the_segment_that_advanced_the_edge),
		cmocka_unit_test(a_segment_without_timestamps_is_still_taken),
		cmocka_unit_test(urgent_data_is_ordinary_data),
		cmocka_unit_test(a_fin_before_its_data_waits_for_it),
		cmocka_unit_test(a_flipped_bit_changes_nothing),
		cmocka_unit_test(the_port_may_vouch_for_the_checksum),
		cmocka_unit_test(group_and_zero_addresses_are_not_spoken_to),
		cmocka_unit_test(time_wait_accepts_a_newer_incarnation_only),
		cmocka_unit_test(time_wait_without_timestamps_never_goes_back_in_numbers),
		cmocka_unit_test(time_wait_without_timestamps_judges_the_number_that_will_be_sent),
		cmocka_unit_test(several_syns_in_one_burst_reopen_once),
		cmocka_unit_test(time_wait_is_ended_by_the_exact_reset_only_and_never_answers_an_ack),
		cmocka_unit_test(a_repeated_fin_starts_time_wait_again),
		cmocka_unit_test(icmp_is_believed_only_about_what_is_in_flight),
		cmocka_unit_test(paths_are_the_layers_below),
		cmocka_unit_test(icmp_port_unreachable_ends_an_active_open),
		cmocka_unit_test(the_peers_mss_is_obeyed_within_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

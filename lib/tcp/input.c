/*
 * Segments of connections come in (from demux.c): the steps of RFC 9293 section 3.10.7.3 (SYN-SENT) and
 * 3.10.7.4 (all others) in their order, with PAWS (RFC 7323 section 5) in front of the first and the stricter
 * rules of RFC 5961 inside; the fifth is ack.c. Nothing is sent here for a live connection but one ACK for each
 * segment out of order: flags say what tcp_output() has to do.
 */
#include "tcp/internal.h"

/* --- helpers ---------------------------------------------------------------------- */

bool
tcp_challenge_allowed(struct tcp_conn *c, uint64_t now_ns)
{
	uint32_t now_ms = (uint32_t)(now_ns / NSEC_PER_MSEC);

	if (now_ms - c->challenge_at_ms >= TCP_CHALLENGE_WINDOW_NS / NSEC_PER_MSEC) {
		c->challenge_at_ms = now_ms;
		c->challenges = 0;
	}
	if (c->challenges >= TCP_CHALLENGES_MAX)
		return false;
	c->challenges++;
	return true;
}

static void
ack_at_once(struct tcp *t, struct tcp_conn *c)
{
	c->ack_now = true;
	tcp_conn_touch(t, c);
}

static void
challenge(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	if (!tcp_challenge_allowed(c, now_ns))
		return;
	t->stats.challenge_acks++;
	ack_at_once(t, c);
}

static void
drop_front(struct tcp_segment *s, uint32_t n)
{
	CHECK_HOT(n <= s->len);
	s->seq += n;
	s->len -= n;
	if (s->len == 0) {
		pkt_free(s->pkt);
		s->pkt = NULL;
	} else if (n > 0) {
		s->pkt = pkt_drop_front(s->pkt, n);
	}
}

static void
keep_front(struct tcp_segment *s, uint32_t n)
{
	if (n >= s->len)
		return;
	s->fin = false;
	if (n == 0) {
		pkt_free(s->pkt);
		s->pkt = NULL;
	} else {
		pkt_trim(s->pkt, s->len - n);
	}
	s->len = n;
}

/* --- SYN-SENT: section 3.10.7.3 ---------------------------------------------------- */

static enum err
input_syn_sent(struct tcp *t, struct tcp_conn *c, struct tcp_segment *s, uint64_t now_ns)
{
	bool has_ack = (s->h.flags & TCPHDR_ACK) != 0;

	if (has_ack && (seq_le(s->h.ack, c->iss) || seq_gt(s->h.ack, c->snd_max))) {
		if (s->h.flags & TCPHDR_RST)
			return ERR_TCP_STRAY_RESET;
		/* The peer is in an old incarnation: the reset ends it, and one SYN right after it
		 * saves the second until the timer. Once only, or two such ends would storm. */
		tcp_input_refuse(t, s);
		if (!c->syn_retried) {
			c->syn_retried = true;
			c->snd_nxt = c->iss;
			tcp_conn_touch(t, c);
		}
		return ERR_TCP_BAD_ACK;
	}
	if (s->h.flags & TCPHDR_RST) {
		if (!has_ack)
			return ERR_TCP_STRAY_RESET;
		tcp_conn_end(t, c, ERR_TCP_REFUSED);
		return ERR_OK;
	}
	if (!(s->h.flags & TCPHDR_SYN))
		return ERR_TCP_BAD_FLAGS;
	tcp_conn_set_peer(t, c, &s->h, now_ns);
	c->ecn_ok = has_ack && t->config.ecn_connect && tcp_ecn_is_taken(&s->h);
	c->heard_at_ns = now_ns;
	if (!has_ack) {
		tcp_conn_set_state(c, TCP_SYN_RCVD);
		c->snd_nxt = c->iss; /* the next segment is SYN,ACK */
		tcp_conn_touch(t, c);
		return ERR_OK;
	}
	if (c->retries == 0 && !c->syn_retried)
		tcp_rtt_sample(t, c, (now_ns - c->progress_at_ns) / NSEC_PER_USEC, now_ns);
	else if (c->ts_ok && s->h.ts_echo != 0)
		tcp_rtt_sample(t, c, (uint64_t)(tcp_conn_timestamp(c, now_ns) - s->h.ts_echo) * 1000, now_ns);
	c->snd_una = s->h.ack;
	c->snd_nxt = seq_max(c->snd_nxt, c->snd_una);
	tcp_rto_arm(c, TCP_RTX_NONE, now_ns);
	c->progress_at_ns = now_ns;
	tcp_conn_established(t, c, now_ns);
	/* Data or FIN on a SYN-ACK is not acknowledged; the peer sends it again. */
	ack_at_once(t, c);
	return ERR_OK;
}

/* --- first: sequence number ---------------------------------------------------------- */

/* RFC 7323 section 5.3, R1, and section 5.5: a clock of before 24 days may have wrapped. */
static bool
is_timestamp_old(const struct tcp_conn *c, const struct tcp_segment *s, uint64_t now_ns)
{
	uint32_t age_s = (uint32_t)(now_ns / NSEC_PER_SEC) - c->ts_recent_at_s;

	return seq_lt(s->h.ts_value, c->ts_recent) && age_s <= TCP_PAWS_VALID_NS / NSEC_PER_SEC;
}

static enum err
check_paws(struct tcp *t, struct tcp_conn *c, const struct tcp_segment *s, uint64_t now_ns)
{
	if (!c->ts_ok || !(s->h.options & TCPHDR_HAS_TIMES) || s->h.flags & TCPHDR_RST)
		return ERR_OK;
	if (!is_timestamp_old(c, s, now_ns))
		return ERR_OK;
	if (s->len > 0)
		ack_at_once(t, c);
	else
		challenge(t, c, now_ns);
	return ERR_TCP_PAWS;
}

/* Is any part of the segment inside the window that was promised? One number beyond it is let
 * in: a bare ACK of a peer that has filled the window has it, and a FIN there takes no memory. */
static bool
is_acceptable(const struct tcp_conn *c, const struct tcp_segment *s)
{
	uint32_t end = s->seq + s->len + (s->fin ? 1 : 0);

	if (end == s->seq)
		return seq_ge(s->seq, c->rcv_nxt) && seq_le(s->seq, c->rcv_adv);
	return seq_gt(end, c->rcv_nxt) && (seq_lt(s->seq, c->rcv_adv) || s->seq == c->rcv_nxt);
}

static enum err
check_sequence(struct tcp *t, struct tcp_conn *c, struct tcp_segment *s, uint64_t now_ns)
{
	if (is_acceptable(c, s))
		return ERR_OK;
	if (s->h.flags & TCPHDR_RST)
		return ERR_TCP_STRAY_RESET;
	/* An old segment with data says that our ACK was lost: always answered, and reported as a
	 * duplicate (RFC 2883). Without data the answer is limited, or two confused ends storm. */
	if (s->len > 0 || s->fin) {
		if (seq_lt(s->seq, c->rcv_nxt) && s->len > 0) {
			c->dsack = true;
			c->dsack_start = s->seq;
			c->dsack_end = seq_min(s->seq + s->len, c->rcv_nxt);
		}
		ack_at_once(t, c);
	} else {
		challenge(t, c, now_ns);
	}
	return ERR_TCP_OUT_OF_WINDOW;
}

/* RFC 7323 section 4.3: only from a segment that begins where our last ACK pointed, or before. */
static void
note_timestamp(struct tcp_conn *c, const struct tcp_segment *s, uint64_t now_ns)
{
	if (!c->ts_ok || !(s->h.options & TCPHDR_HAS_TIMES))
		return;
	if (seq_gt(s->seq, c->last_ack_sent) || is_timestamp_old(c, s, now_ns))
		return;
	c->ts_recent = s->h.ts_value;
	c->ts_recent_at_s = (uint32_t)(now_ns / NSEC_PER_SEC);
}

/* --- second and fourth: RST and SYN -------------------------------------------------- */

/* RFC 5961 section 3.2: only the exact number resets. */
static enum err
check_reset(struct tcp *t, struct tcp_conn *c, const struct tcp_segment *s, uint64_t now_ns)
{
	bool refused = c->state == TCP_SYN_RCVD;
	/* Only our FIN's ACK was missing; while data is unacknowledged a reset is bad news in any state. */
	bool over = (c->state == TCP_CLOSING || c->state == TCP_LAST_ACK) &&
		    c->send_head_range == NULL;

	if (!(s->h.flags & TCPHDR_RST))
		return ERR_OK;
	if (s->h.seq != c->rcv_nxt) {
		challenge(t, c, now_ns);
		return ERR_TCP_CHALLENGED;
	}
	tcp_conn_end(t, c, over ? ERR_OK : refused ? ERR_TCP_REFUSED : ERR_TCP_RESET);
	return ERR_TCP_RESET;
}

static enum err
check_syn(struct tcp *t, struct tcp_conn *c, const struct tcp_segment *s, uint64_t now_ns)
{
	if (!(s->h.flags & TCPHDR_SYN))
		return ERR_OK;
	challenge(t, c, now_ns);
	return ERR_TCP_CHALLENGED;
}

/* --- fifth: ACK --------------------------------------------------------------------- */

/* RFC 5961 section 5.2. */
static enum err
check_ack(struct tcp *t, struct tcp_conn *c, const struct tcp_segment *s, uint64_t now_ns)
{
	if (!(s->h.flags & TCPHDR_ACK))
		return ERR_TCP_BAD_FLAGS;
	if (c->state == TCP_SYN_RCVD) {
		if (seq_gt(s->h.ack, c->snd_una) && seq_le(s->h.ack, c->snd_max))
			return ERR_OK;
		tcp_input_refuse(t, s);
		return ERR_TCP_BAD_ACK;
	}
	if (seq_gt(s->h.ack, c->snd_max) || seq_lt(s->h.ack, c->snd_una - c->snd_wnd_max)) {
		if (s->len > 0)
			ack_at_once(t, c);
		else
			challenge(t, c, now_ns);
		return ERR_TCP_BAD_ACK;
	}
	return ERR_OK;
}

/* --- seventh: payload ------------------------------------------------------------------ */

static bool
is_receiving(const struct tcp_conn *c)
{
	return !c->fin_done && (c->state == TCP_ESTABLISHED || c->state == TCP_FIN_WAIT_1 ||
				c->state == TCP_FIN_WAIT_2);
}

/* When to acknowledge what just came in order: RFC 9293 section 3.8.6.3. */
static void
schedule_ack(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	c->ack_pending = true;
	if ((c->quick_acks > 0 && !c->held) || c->rcv_nxt - c->last_ack_sent >= 2u * c->mss_seen) {
		if (c->quick_acks > 0)
			c->quick_acks--;
		ack_at_once(t, c);
		return;
	}
	if (c->output_at_ns > now_ns + t->config.delayed_ack_ns)
		c->output_at_ns = now_ns + t->config.delayed_ack_ns;
	tcp_conn_arm(t, c);
}

static enum err
process_payload(struct tcp *t, struct tcp_conn *c, struct tcp_segment *s, uint64_t now_ns)
{
	uint32_t before = c->rcv_nxt;
	bool out_of_order;
	enum err verdict;

	if (c->ts_ok && s->h.options & TCPHDR_HAS_TIMES && s->h.ts_echo != 0)
		tcp_window_measure(c, s->h.ts_echo, now_ns);
	if (s->len > c->mss_seen)
		c->mss_seen = (uint16_t)(s->len < UINT16_MAX ? s->len : UINT16_MAX);
	verdict = tcp_reass_insert(t, c, s, &out_of_order);
	if (verdict != ERR_OK) {
		ack_at_once(t, c);
		return verdict;
	}
	if (c->rcv_nxt != before)
		tcp_conn_notify(t, c, TCP_EVENT_READABLE);
	if (out_of_order) {
		/* The sender has few segments out now: a delayed ACK of the odd one would cost it a part of each
		 * round trip. */
		c->quick_acks = TCP_QUICK_ACKS;
		c->ack_each = true;
		ack_at_once(t, c);
	} else {
		schedule_ack(t, c, now_ns);
	}
	return ERR_OK;
}

/* Cuts off what was received before and what lies beyond the promise. */
static void
trim(struct tcp *t, struct tcp_conn *c, struct tcp_segment *s)
{
	if (seq_lt(s->seq, c->rcv_nxt)) {
		uint32_t old = c->rcv_nxt - s->seq;

		if (s->len > 0) {
			c->dsack = true;
			c->dsack_start = s->seq;
			c->dsack_end = c->rcv_nxt;
			ack_at_once(t, c);
		}
		/* The FIN's number may be what is left. */
		drop_front(s, old < s->len ? old : s->len);
		s->seq = c->rcv_nxt;
	}
	if (seq_gt(s->seq + s->len, c->rcv_adv)) {
		keep_front(s, c->rcv_adv - s->seq);
		ack_at_once(t, c);
	}
}

/* --- eighth: FIN ----------------------------------------------------------------------- */

/* The peer's FIN, once it is reached. c may be gone after this. */
static void
process_fin(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	if (!c->fin_seen || c->fin_done || c->rcv_nxt != c->fin_seq)
		return;
	c->fin_done = true;
	tcp_reass_free(t, c); /* a peer may have sent something behind its end; it leads nowhere */
	c->rcv_nxt++;
	c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt); /* a FIN may lie one beyond the window */
	tcp_conn_notify(t, c, TCP_EVENT_EOF);
	ack_at_once(t, c);
	switch (c->state) {
	case TCP_ESTABLISHED:
		tcp_conn_set_state(c, TCP_CLOSE_WAIT);
		return;
	case TCP_FIN_WAIT_1: /* our FIN's ACK would have made it FIN-WAIT-2 in step five */
		tcp_conn_set_state(c, TCP_CLOSING);
		return;
	default:
		CHECK(c->state == TCP_FIN_WAIT_2);
		tcp_conn_set_state(c, TCP_TIME_WAIT);
		tcp_time_wait_enter(t, c, now_ns);
		return;
	}
}

static void
note_fin(struct tcp_conn *c, const struct tcp_segment *s)
{
	if (!s->fin || c->fin_seen)
		return;
	c->fin_seen = true;
	c->fin_seq = s->seq + s->len;
}

/* --- the steps --------------------------------------------------------------------------- */

/* A repeated SYN of the peer in SYN-RCVD has done its work: without it the segment is judged like
 * any other (the SYN,ACK of a simultaneous open). */
static void
forget_known_syn(struct tcp *t, struct tcp_conn *c, struct tcp_segment *s)
{
	if (c->state != TCP_SYN_RCVD || (s->h.flags & (TCPHDR_SYN | TCPHDR_RST)) != TCPHDR_SYN ||
	    s->h.seq != c->irs)
		return;
	if (!(s->h.flags & TCPHDR_ACK)) {
		c->snd_nxt = c->iss; /* our SYN,ACK did not arrive */
		tcp_conn_touch(t, c);
		return;
	}
	s->h.flags &= (uint8_t)~TCPHDR_SYN;
	s->h.seq++;
	s->seq++;
	s->h.window = (uint16_t)(s->h.window >> c->snd_shift); /* it was not scaled */
	ack_at_once(t, c);
}

static enum err
input_synchronized(struct tcp *t, struct tcp_conn *c, struct tcp_segment *s, uint64_t now_ns)
{
	enum err verdict;

	/* RFC 5681 section 4.2: one ACK for each segment out of order, in a burst as well. A sender repairs at the
	 * rate at which they come. */
	if (c->ack_each && s->len > 0)
		tcp_output_ack(t, c, now_ns);
	forget_known_syn(t, c, s);
	if ((verdict = check_paws(t, c, s, now_ns)) != ERR_OK ||
	    (verdict = check_sequence(t, c, s, now_ns)) != ERR_OK ||
	    (verdict = check_reset(t, c, s, now_ns)) != ERR_OK ||
	    (verdict = check_syn(t, c, s, now_ns)) != ERR_OK ||
	    (verdict = check_ack(t, c, s, now_ns)) != ERR_OK)
		return verdict;
	note_timestamp(c, s, now_ns);
	tcp_ecn_received(t, c, s);
	c->heard_at_ns = now_ns;
	if (c->keepalive_probes > 0) {
		c->keepalive_probes = 0;
		c->idle_at_ns = now_ns + tcp_conn_policy(t, c)->keepalive_ns;
	}
	if (tcp_ack_process(t, c, s, now_ns))
		return ERR_OK;
	/* Sixth: the urgent pointer is ignored, its data is delivered in line (README). */
	if (s->len == 0 && !s->fin)
		return ERR_OK;
	if (!is_receiving(c))
		return ERR_TCP_OUT_OF_WINDOW;
	trim(t, c, s);
	if (s->len > 0 && c->orphan) {
		tcp_conn_reset(t, c, ERR_OK);
		return ERR_TCP_AFTER_CLOSE;
	}
	note_fin(c, s);
	verdict = s->len > 0 ? process_payload(t, c, s, now_ns) : ERR_OK;
	if (s->fin)
		ack_at_once(t, c);
	process_fin(t, c, now_ns);
	return verdict;
}

enum err
tcp_input_conn(struct tcp *t, struct tcp_conn *c, struct tcp_segment *s, uint64_t now_ns)
{
	if (c->state == TCP_SYN_SENT)
		return input_syn_sent(t, c, s, now_ns);
	return input_synchronized(t, c, s, now_ns);
}

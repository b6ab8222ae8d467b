/*
 * Output: what is due now, from the connection's state and the time alone. Nobody schedules a segment; input,
 * timers and calls change the state and touch the connection, and this file sends once per burst.
 *
 * Order: SYN; what was found lost; new data, with the FIN on the last piece: as far as windows, pacer, sender
 * SWS avoidance and the burst limit allow; a probe; a bare ACK if no other segment carried it. Whatever leaves
 * carries the newest ACK and window, and only here, through window.c, are rcv_adv and last_ack_sent written.
 */
#include "tcp/cc.h"
#include "tcp/internal.h"

static uint32_t
smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* --- one segment ------------------------------------------------------------------ */

static struct tcphdr
header_make(const struct tcp_conn *c, uint32_t seq, uint8_t flags, uint64_t now_ns)
{
	struct tcphdr h = { .seq = seq, .flags = flags };

	if (c->state != TCP_SYN_SENT) {
		h.flags |= TCPHDR_ACK | (c->ecn_echo ? TCPHDR_ECE : 0);
		h.ack = c->rcv_nxt;
	}
	if (c->ts_ok) {
		h.options |= TCPHDR_HAS_TIMES;
		h.ts_value = tcp_conn_timestamp(c, now_ns);
		h.ts_echo = c->state == TCP_SYN_SENT ? 0 : c->ts_recent;
	}
	return h;
}

/* SACK blocks, as many as leave at least half of a segment to data. */
static void
add_sack(const struct tcp *t, const struct tcp_conn *c, struct tcphdr *h)
{
	uint32_t max = TCP_SACK_BLOCKS_MAX;

	if (!c->sack_ok || (c->runs == 0 && !c->dsack))
		return;
	while (max > 0 && 12 + 4 + 8 * max > c->mss_path / 2u)
		max--;
	if (max > 0)
		tcp_reass_sack(t, c, h, max);
}

/* Everything that carries an ACK has now said it. */
static void
acknowledged(struct tcp_conn *c)
{
	c->last_ack_sent = c->rcv_nxt;
	c->ack_now = false;
	c->ack_each = false;
	c->ack_pending = false;
	c->output_at_ns = NEVER_NS;
	c->dsack = false;
}

/* How much of len bytes from seq fits into TCP_SEGMENT_PIECES_MAX pieces. */
static uint32_t
pieces_fit(const struct tcp_range *r, uint32_t seq, uint32_t len)
{
	uint32_t fit = 0;

	for (uint32_t pieces = 0; pieces < TCP_SEGMENT_PIECES_MAX && fit < len; pieces++) {
		fit += r->len - (seq + fit - r->seq);
		r = r->next;
	}
	return smaller(fit, len);
}

/* Puts len bytes of stream behind the header in p, copied or by reference. False: pool empty; what
 * was added hangs on p. */
static bool
add_payload(struct tcp *t, struct pkt *p, const struct tcp_range *r, uint32_t seq, uint32_t len)
{
	if (len > TCP_COPY_BYTES_MAX || len > pkt_tailroom(p))
		return tcp_train_attach(t, p, r, seq, len);
	while (len > 0) {
		uint32_t skip = seq - r->seq;
		uint32_t n = smaller(r->len - skip, len);

		pkt_copy_out(r->pkt, r->offset + skip, pkt_append(p, n), n);
		seq += n;
		len -= n;
		r = r->next;
	}
	return true;
}

/* Sends len bytes of stream from h->seq, which lies in r, in a packet of their own or, if the port cuts packets
 * into segments of mss bytes, behind the segment before. False: a pool is empty, nothing was sent or changed. */
static bool
emit(struct tcp *t, struct tcp_conn *c, struct tcphdr *h, const struct tcp_range *r, uint32_t len, uint32_t mss,
     uint64_t now_ns)
{
	bool syn = (h->flags & TCPHDR_SYN) != 0;
	uint32_t adv = c->rcv_adv;
	uint8_t ecn = len > 0 ? tcp_ecn_of_data(c, h) : 0;
	struct pkt *p;

	if (tcp_train_add(t, h, r, len, mss, ecn))
		return true;
	if (c->state == TCP_SYN_SENT)
		h->window = (uint16_t)smaller(c->rcv_max, UINT16_MAX);
	else
		h->window = tcp_window_offer(t, c, syn);
	p = tcp_emit_header(t, &c->tuple, h);
	if (p == NULL || !add_payload(t, p, r, h->seq, len)) {
		pkt_free(p);
		c->rcv_adv = adv;
		return false;
	}
	pkt_meta(p)->ecn = ecn;
	if (h->flags & TCPHDR_CWR && !syn)
		c->ecn_cwr = false;
	if (len > 0)
		c->sent_at_ms = (uint32_t)(now_ns / NSEC_PER_MSEC);
	if (h->flags & TCPHDR_ACK)
		acknowledged(c);
	tcp_train_begin(t, p, h, len, mss);
	return true;
}

/* --- what is due ------------------------------------------------------------------ */

/* Numbers up to end have been sent. */
static void
advance_to(struct tcp_conn *c, uint32_t end, uint64_t now_ns)
{
	/* What is sent once more is the same attempt, unless a window was closed in between. */
	if (c->snd_una == c->snd_max || c->rtx_kind == TCP_RTX_PERSIST || c->rtx_kind == TCP_RTX_OVERRIDE)
		c->progress_at_ns = now_ns;
	c->snd_nxt = end;
	c->snd_max = seq_max(c->snd_max, end);
	while (c->send_next_range != NULL &&
	       seq_ge(end, c->send_next_range->seq + c->send_next_range->len))
		c->send_next_range = c->send_next_range->next;
}

static bool
send_syn(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	struct tcphdr h = header_make(c, c->iss, TCPHDR_SYN, now_ns);
	bool first = c->state == TCP_SYN_SENT;

	h.options |= TCPHDR_HAS_MSS;
	h.mss = tcp_conn_own_mss(t, &c->tuple.remote);
	/* A SYN offers everything; a SYN-ACK only what the peer's SYN offered. */
	if (first)
		h.options |= TCPHDR_HAS_TIMES | TCPHDR_HAS_SACK_OK | TCPHDR_HAS_SHIFT;
	else
		h.options |= (c->sack_ok ? TCPHDR_HAS_SACK_OK : 0) |
			     (c->rcv_shift > 0 || c->snd_shift > 0 ? TCPHDR_HAS_SHIFT : 0);
	if (first)
		h.ts_value = tcp_conn_timestamp(c, now_ns);
	/* A path that loses SYNs of this kind must not be mistaken for one that loses all (section 6.1.1.1). */
	if (first && t->config.ecn_connect && c->retries == 0)
		h.flags |= TCPHDR_ECE | TCPHDR_CWR;
	h.shift = t->config.window_shift;
	if (!emit(t, c, &h, NULL, 0, 0, now_ns))
		return false;
	if (c->snd_max != c->iss)
		t->stats.retransmits++;
	advance_to(c, c->iss + 1, now_ns);
	if (c->rtx_kind != TCP_RTX_RTO)
		tcp_rto_arm(c, TCP_RTX_RTO, now_ns);
	return true;
}

/* Payload bytes of the next segment at seq; *h gets its options. */
static uint32_t
segment_limit(const struct tcp *t, const struct tcp_conn *c, struct tcphdr *h)
{
	uint32_t options;

	add_sack(t, c, h);
	options = tcphdr_bytes(h) - TCPHDR_BYTES;
	CHECK_HOT(options < c->mss_path);
	return c->mss_path - options;
}

enum step {
	STEP_SENT,
	STEP_NOTHING,
	STEP_NO_PACKET,
};

/* A segment of the flight once more, cut as it was. */
static enum step
send_again(struct tcp *t, struct tcp_conn *c, struct tcp_chunk *chunk, struct tcp_sent *sent, uint64_t now_ns)
{
	struct tcphdr h = header_make(c, sent->seq, sent->flags & TCP_SENT_FIN ? TCPHDR_FIN : 0, now_ns);
	const struct tcp_range *r = sent->len > 0 ? pool_at(&t->ranges, sent->range) : NULL;

	/* SACK blocks would not fit beside a full segment. The next bare ACK has them. */
	if (sent->len > 0 && sent->seq + sent->len == c->snd_end)
		h.flags |= TCPHDR_PSH;
	if (!emit(t, c, &h, r, sent->len, 0, now_ns))
		return STEP_NO_PACKET;
	t->stats.retransmits++;
	tcp_flight_resent(c->flight, chunk, sent, now_ns);
	tcp_loss_sent(c, sent->len, true, now_ns);
	if (sent->seq == c->snd_una)
		tcp_loss_restart(c, now_ns);
	tcp_loss_arm(t, c, now_ns);
	return STEP_SENT;
}

static bool
fits_window(const struct tcp_conn *c, const struct tcp_sent *sent)
{
	return seq_le(sent->seq + sent->len, c->snd_una + c->snd_wnd);
}

/* Data waits, and nothing but the congestion window or the pacer holds it back. */
static void
note_limited(struct tcp_conn *c)
{
	if (c->flight == NULL)
		return;
	c->flight->cwnd_limited = true;
	c->flight->limited_end = c->snd_nxt;
}

/* The first segment that was found lost. */
static enum step
send_lost(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	struct tcp_chunk *chunk;
	struct tcp_sent *sent;

	if (c->flight == NULL || c->flight->lost_bytes == c->flight->resent_bytes)
		return STEP_NOTHING;
	if (tcp_flight_pipe(c) >= c->cwnd) {
		note_limited(c);
		return STEP_NOTHING;
	}
	sent = tcp_flight_next_lost(c->flight, &chunk);
	/* What the window does not admit any more is the timeout's business. */
	if (sent == NULL || !fits_window(c, sent) || !tcp_loss_may_send(c, now_ns))
		return STEP_NOTHING;
	return send_again(t, c, chunk, sent, now_ns);
}

/* What the peer's window and, unless it is a probe, the congestion window let through beyond snd_nxt; negative if
 * the peer took back what is in flight. */
static int32_t
usable_window(struct tcp_conn *c, bool probe)
{
	int32_t offered = seq_diff(c->snd_una + c->snd_wnd, c->snd_nxt);
	int32_t allowed = (int32_t)(c->cwnd - tcp_flight_pipe(c));

	return probe || allowed > offered ? offered : allowed;
}

/* Sender SWS avoidance (RFC 9293 section 3.8.6.2.1); Nagle is off. What the owner holds waits as if the window did
 * not take it, and as long at most. */
static bool
is_worth_sending(const struct tcp_conn *c, uint32_t len, uint32_t limit, bool all)
{
	bool held = c->held && !c->pushed && !c->fin_queued;

	return (all && !held) || len >= limit || len >= c->snd_wnd_max / 2 || c->send_anyway ||
	       seq_lt(c->snd_nxt, c->snd_max);
}

/* A FIN with nothing before it in flight needs no memory: it is where the stream ends, like a SYN where it begins.
 * So a worker can always close. */
static void
note_lone_fin(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	if (seq_lt(c->snd_nxt, c->snd_max))
		t->stats.retransmits++;
	advance_to(c, c->snd_nxt + 1, now_ns);
	tcp_loss_arm(t, c, now_ns);
}

/* Notes the segment that has just left from snd_nxt. */
static void
note_sent(struct tcp *t, struct tcp_conn *c, uint32_t range, uint32_t len, bool fin, uint64_t now_ns)
{
	bool is_first = c->snd_una == c->snd_nxt;

	if (seq_lt(c->snd_nxt, c->snd_max))
		t->stats.retransmits++;
	tcp_flight_append(c, len, fin, range, now_ns);
	advance_to(c, c->snd_nxt + len + fin, now_ns);
	tcp_loss_sent(c, len, false, now_ns);
	if (is_first)
		tcp_loss_restart(c, now_ns);
	if (c->rtx_kind != TCP_RTX_REORDER)
		tcp_loss_arm(t, c, now_ns);
}

/* New data. probe: one segment for an answer, whatever cwnd says (RFC 8985 section 7.3). */
static enum step
send_next(struct tcp *t, struct tcp_conn *c, bool probe, uint64_t now_ns)
{
	struct tcphdr h = header_make(c, c->snd_nxt, 0, now_ns);
	const struct tcp_range *r = c->send_next_range;
	uint32_t mss = segment_limit(t, c, &h);
	uint32_t limit = mss;
	uint32_t unsent = tcp_conn_send_limit(c) - c->snd_nxt; /* the FIN counts */
	int32_t usable = usable_window(c, probe);
	uint32_t pieces = limit;
	uint32_t len;
	bool is_lone_fin;
	bool fin;
	bool all;

	if (unsent == 0)
		return STEP_NOTHING;
	if (seq_lt(c->snd_nxt, c->snd_una + c->snd_wnd) && unsent > (usable > 0 ? (uint32_t)usable : 0))
		note_limited(c);
	if (usable <= 0)
		return STEP_NOTHING;
	len = seq_lt(c->snd_nxt, c->snd_end) ? c->snd_end - c->snd_nxt : 0;
	len = smaller(smaller(len, limit), (uint32_t)usable);
	/* As many pieces as one segment can have make a full segment as well. */
	if (len > 0)
		pieces = pieces_fit(r, c->snd_nxt, len);
	if (pieces < len)
		len = limit = pieces;
	all = c->snd_nxt + len == c->snd_end;
	fin = all && c->fin_queued && len < (uint32_t)usable;
	if (!is_worth_sending(c, len, limit, all))
		return STEP_NOTHING;
	if (fin)
		h.flags |= TCPHDR_FIN;
	if (len > 0 && all && !c->more)
		h.flags |= TCPHDR_PSH;
	if (len == 0 && !fin)
		return STEP_NOTHING;
	if (!probe && !tcp_loss_may_send(c, now_ns)) {
		note_limited(c);
		return STEP_NOTHING;
	}
	if (!tcp_flight_may_grow(t, c))
		return STEP_NOTHING;
	is_lone_fin = len == 0 && c->flight == NULL;
	if ((!is_lone_fin && !tcp_flight_reserve(t, c)) || !emit(t, c, &h, r, len, mss, now_ns))
		return STEP_NO_PACKET;
	c->send_anyway = false;
	if (all)
		c->pushed = false;
	if (is_lone_fin)
		note_lone_fin(t, c, now_ns);
	else
		note_sent(t, c, len > 0 ? pool_index(&t->ranges, r) : 0, len, fin, now_ns);
	return STEP_SENT;
}

/* RFC 8985 section 7.3: new data if there is some and the window lets it, else the last segment again. */
static bool
send_tail_probe(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	struct tcp_chunk *chunk;
	struct tcp_sent *tail;
	enum step step;

	c->probe_resent = false;
	step = send_next(t, c, true, now_ns);
	if (step == STEP_NOTHING && c->flight != NULL) {
		tail = tcp_flight_tail(c->flight, &chunk);
		if (tail == NULL || !fits_window(c, tail))
			return true;
		c->probe_resent = true;
		step = send_again(t, c, chunk, tail, now_ns);
	}
	if (step == STEP_NO_PACKET)
		return false;
	c->is_probing = true;
	c->probe_end = c->snd_nxt;
	tcp_loss_restart(c, now_ns);
	tcp_loss_arm(t, c, now_ns);
	return true;
}

/* A window or keep-alive probe: nothing, at a number that the peer has acknowledged, which it must
 * answer. Where peers leave those unanswered, a byte that the window does not admit. */
static bool
send_probe(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	bool byte = c->rtx_kind == TCP_RTX_PERSIST && c->persist_silent > TCP_PERSIST_SILENT_MAX &&
		    c->snd_nxt == c->snd_una;
	struct tcphdr h = header_make(c, byte ? c->snd_una : c->snd_una - 1, 0, now_ns);
	bool fin = byte && c->snd_una == c->snd_end;

	if (fin)
		h.flags |= TCPHDR_FIN;
	if (!emit(t, c, &h, c->send_head_range, byte && !fin ? 1 : 0, 0, now_ns))
		return false;
	if (byte)
		c->snd_max = seq_max(c->snd_max, c->snd_una + 1);
	return true;
}

static bool
send_ack(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	/* snd_max, not snd_nxt: after a rewind the peer's rcv_nxt may be beyond snd_nxt, and what
	 * is to the left of it would be answered instead of read. Nor beyond the peer's window. */
	uint32_t seq = seq_min(c->snd_max, c->snd_una + c->snd_wnd);
	struct tcphdr h = header_make(c, seq_max(seq, c->snd_una), 0, now_ns);

	add_sack(t, c, &h);
	return emit(t, c, &h, NULL, 0, 0, now_ns);
}

void
tcp_output_ack(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	if (!send_ack(t, c, now_ns))
		return;
	tcp_conn_touch(t, c); /* output_at_ns is no more; it may have been another try at something else */
	tcp_conn_arm(t, c);
}

/* Something waits for a window, or for its owner: one of the three kinds of the slot must watch it. */
static void
arm_for_unsent(const struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	bool waiting = seq_lt(c->snd_nxt, tcp_conn_send_limit(c));
	bool flying = c->snd_nxt != c->snd_una;

	if (flying || !waiting) {
		if (c->rtx_kind == TCP_RTX_PERSIST || c->rtx_kind == TCP_RTX_OVERRIDE)
			tcp_loss_arm(t, c, now_ns);
		return;
	}
	if (c->snd_wnd == 0) {
		if (c->rtx_kind != TCP_RTX_PERSIST)
			tcp_rto_arm(c, TCP_RTX_PERSIST, now_ns);
	} else if (c->rtx_kind != TCP_RTX_OVERRIDE) {
		tcp_rto_arm(c, TCP_RTX_OVERRIDE, now_ns);
	}
}

/* True: everything due was sent, or waits for a window. */
static bool
output_synchronized(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	enum step step = STEP_SENT;

	if (c->snd_una == c->snd_max && seq_lt(c->snd_nxt, c->snd_end) && c->sent_at_ms != 0 &&
	    (uint32_t)(now_ns / NSEC_PER_MSEC) - c->sent_at_ms > c->rto_us / 1000)
		tcp_cc_idle(c);
	if (c->send_tail) {
		if (!send_tail_probe(t, c, now_ns))
			return false;
		c->send_tail = false;
	}
	for (uint32_t n = 0; step == STEP_SENT; n++) {
		if (n == TCP_BURST_SEGMENTS_MAX) {
			tcp_conn_touch(t, c);
			break;
		}
		step = send_lost(t, c, now_ns);
		if (step == STEP_NOTHING)
			step = send_next(t, c, false, now_ns);
	}
	if (c->flight != NULL && c->snd_una == c->snd_nxt)
		tcp_flight_free(t, c); /* lent, and then there was no packet */
	if (step == STEP_NO_PACKET)
		return false;
	arm_for_unsent(t, c, now_ns);
	if (c->send_probe) {
		if (!send_probe(t, c, now_ns))
			return false;
		c->send_probe = false;
	}
	if (c->ack_now || tcp_window_update_due(t, c))
		return send_ack(t, c, now_ns);
	return true;
}

void
tcp_output(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	bool done = true;

	switch (c->state) {
	case TCP_CLOSED:
		return;
	case TCP_SYN_SENT:
	case TCP_SYN_RCVD:
		if (c->snd_nxt == c->iss)
			done = send_syn(t, c, now_ns);
		else if (c->ack_now && c->state == TCP_SYN_RCVD)
			done = send_ack(t, c, now_ns);
		break;
	default:
		done = output_synchronized(t, c, now_ns);
		break;
	}
	tcp_train_end(t);
	if (!done && c->output_at_ns > now_ns + TCP_RETRY_NS)
		c->output_at_ns = now_ns + TCP_RETRY_NS;
	tcp_conn_arm(t, c);
}

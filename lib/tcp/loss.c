/*
 * Loss: what an ACK, a timer or the time itself says about segments that did not arrive, and what that does to
 * the congestion window.
 *
 *   with SACK      RACK (RFC 8985): lost is what was sent a reordering window before something that arrived.
 *                  A probe asks about a tail that nothing would tell about (TLP).
 *   without        three duplicate ACKs, then a hole per partial ACK (RFC 5681, RFC 6582)
 *   recovery       Proportional Rate Reduction (RFC 9937)
 *   timeout        RFC 6298; what was sent too recently to be lost stays (RFC 8985 section 6.3)
 *   undo           Eifel detection by timestamps (RFC 3522), response as RFC 4015
 *   pacing         only beyond an initial window, and in steps of the timer's tick
 */
#include "tcp/cc.h"
#include "tcp/internal.h"

#define DUPLICATES_FOR_LOSS 3u
#define REORDER_STEPS_MAX 16u
#define REORDER_ROUNDS 16u                          /* RFC 8985 section 6.2, step 4 */
#define PROBE_LONE_US 200000u                       /* what a receiver may delay a lone segment's ACK */
#define PROBE_MIN_US 2000u                          /* two ticks */
#define PACE_AHEAD_NS (2 * NSEC_PER_MSEC)           /* sent at once; timers come a tick late */
#define BLACK_HOLE_MSS_V4 1024u
#define BLACK_HOLE_MSS_V6 1220u                     /* every IPv6 path carries this */
#define TIMEOUTS_FOR_BLACK_HOLE 2u
#define TIMEOUTS_FOR_RENEGING 2u                    /* then SACKs are not believed any more */

static uint32_t
larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static uint32_t
smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static bool
is_later(uint32_t a_us, uint32_t a_end, uint32_t b_us, uint32_t b_end)
{
	return seq_gt(a_us, b_us) || (a_us == b_us && seq_gt(a_end, b_end));
}

bool
tcp_loss_is_dsack(const struct tcp_conn *c, const struct tcp_segment *s)
{
	const struct tcphdr_sack *first = &s->h.sack[0];

	if (!c->sack_ok || s->h.sack_count == 0)
		return false;
	if (seq_le(first->end, s->h.ack))
		return true;
	return s->h.sack_count > 1 && seq_ge(first->start, s->h.sack[1].start) &&
	       seq_le(first->end, s->h.sack[1].end);
}

/* --- RACK: RFC 8985 section 6 -------------------------------------------------------------- */

/* Step 2. An ACK of a segment sent twice that came too early, or echoes a clock before the second time, is the
 * first one's. */
static void
note_newest(struct tcp_conn *c, const struct tcp_segment *s, const struct tcp_delivery *d, uint64_t now_ns)
{
	struct tcp_flight *f = c->flight;
	uint32_t rtt_us = tcp_clock_us(now_ns) - d->sent_us;
	uint64_t sent_ns = now_ns - (uint64_t)rtt_us * NSEC_PER_USEC;

	if (d->segments == 0)
		return;
	if (d->sent_sends > 1) {
		if (rtt_us < c->rtt_min_us)
			return;
		if (c->ts_ok && s->h.options & TCPHDR_HAS_TIMES &&
		    seq_lt(s->h.ts_echo, tcp_conn_timestamp(c, sent_ns)))
			return;
	}
	if (f->has_rack && !is_later(d->sent_us, d->sent_end, f->rack_us, f->rack_end))
		return;
	f->rack_us = d->sent_us;
	f->rack_end = d->sent_end;
	f->rack_rtt_us = rtt_us;
	f->has_rack = true;
}

/* Step 4: the window grows with each round trip in which a retransmission proved unnecessary. */
static void
note_duplicate(struct tcp_conn *c, const struct tcp_segment *s)
{
	struct tcp_flight *f = c->flight;

	/* On each ACK, not on each duplicate: a round that nobody ended would come back after 2 GiB. */
	if (f->dsack_seen && seq_ge(c->snd_una, f->dsack_round))
		f->dsack_seen = false;
	if (!tcp_loss_is_dsack(c, s) || c->is_probing || f->dsack_seen)
		return;
	f->dsack_seen = true;
	f->dsack_round = c->snd_nxt;
	c->reorder_steps = (uint8_t)smaller(larger(c->reorder_steps, 1) + 1, REORDER_STEPS_MAX);
	c->reorder_rounds = REORDER_ROUNDS;
}

static uint32_t
reorder_window_us(const struct tcp_conn *c)
{
	const struct tcp_flight *f = c->flight;
	uint32_t steps = larger(c->reorder_steps, 1);

	if (!c->reordering_seen &&
	    (f->mode != TCP_FLIGHT_OPEN || f->sacked_segments >= DUPLICATES_FOR_LOSS))
		return 0;
	return smaller(steps * (c->rtt_min_us / 4), c->srtt_us);
}

/* Whether the newest segment that arrived was sent after this one. What left in one burst did so in the order of
 * numbers, but not retransmissions: those count only if the clock says so, or a peer that SACKs within a
 * microsecond would have them sent again with each ACK. */
static bool
is_overtaken(const struct tcp_flight *f, const struct tcp_sent *sent)
{
	if (sent->sends > 1)
		return seq_gt(f->rack_us, sent->sent_us);
	return is_later(f->rack_us, f->rack_end, sent->sent_us, tcp_sent_end(sent));
}

/* Step 5. Returns how long to wait for segments that were only just overtaken; 0: for none. *found: something
 * was lost. */
static uint32_t
find_lost(struct tcp_conn *c, uint64_t now_ns, bool *found)
{
	struct tcp_flight *f = c->flight;
	uint32_t patience_us = f->rack_rtt_us + reorder_window_us(c);
	uint32_t wait_us = 0;

	if (!f->has_rack || (f->sacked_bytes == 0 && f->resent_bytes == 0 && !c->is_probing &&
				    f->mode == TCP_FLIGHT_OPEN))
		return 0;
	for (struct tcp_chunk *chunk = f->head; chunk != NULL; chunk = chunk->next) {
		if (chunk->open == 0)
			continue;
		for (uint32_t i = chunk->first; i < chunk->stop; i++) {
			struct tcp_sent *sent = &chunk->sent[i];
			int32_t left_us;

			if (sent->flags & TCP_SENT_SACKED ||
			    (sent->flags & (TCP_SENT_LOST | TCP_SENT_RESENT)) == TCP_SENT_LOST)
				continue;
			if (!is_overtaken(f, sent)) {
				/* Whatever follows was sent later still, the first time and again. */
				if (sent->sends == 1)
					return wait_us;
				continue;
			}
			left_us = (int32_t)(sent->sent_us + patience_us - tcp_clock_us(now_ns));
			/* More than that is left only of what was sent before the clock's last half turn. */
			if (left_us > 0 && (uint32_t)left_us <= patience_us) {
				wait_us = larger(wait_us, (uint32_t)left_us);
				continue;
			}
			tcp_flight_lost(f, chunk, sent);
			*found = true;
		}
	}
	return wait_us;
}

/* --- without SACK ---------------------------------------------------------------------------- */

static bool
lose_head(struct tcp_conn *c)
{
	struct tcp_chunk *chunk;
	struct tcp_sent *head = tcp_flight_head(c->flight, &chunk);

	if (head == NULL || head->flags & TCP_SENT_LOST)
		return false;
	tcp_flight_lost(c->flight, chunk, head);
	return true;
}

/* RFC 5681 section 3.2, RFC 6582 section 3.2: each duplicate stands for a segment that left the network, and is
 * corrected when the acknowledgment moves. Returns what of d's bytes is news. */
static uint32_t
count_duplicates(struct tcp_conn *c, uint32_t delivered, uint32_t acked, bool duplicate, bool *found)
{
	struct tcp_flight *f = c->flight;

	if (acked > 0) {
		uint32_t known = smaller(f->duplicate_bytes, acked > c->mss ? acked - c->mss : 0);

		f->duplicate_bytes -= known;
		delivered -= smaller(known, delivered);
		f->dupacks = 0;
		if (f->mode == TCP_FLIGHT_RECOVERY && seq_lt(c->snd_una, f->recover))
			*found = lose_head(c) || *found;
		else
			f->duplicate_bytes = 0;
	}
	if (duplicate && tcp_flight_pipe(c) > c->mss) {
		f->dupacks++;
		f->duplicate_bytes += c->mss;
		delivered += c->mss;
	}
	if ((f->mode == TCP_FLIGHT_OPEN || f->mode == TCP_FLIGHT_REDUCED) && f->dupacks >= DUPLICATES_FOR_LOSS)
		*found = lose_head(c) || *found;
	return delivered;
}

/* --- recovery ---------------------------------------------------------------------------------- */

static void
remember(struct tcp_conn *c)
{
	struct tcp_flight *f = c->flight;

	f->can_undo = true;
	f->has_resent = false;
	f->undo_cwnd = c->cwnd;
	f->undo_ssthresh = c->ssthresh;
	f->undo_top = c->cwnd_top;
}

/* RFC 9937 section 6.2: on entering. */
static void
enter(struct tcp *t, struct tcp_conn *c, enum tcp_flight_mode mode, uint32_t acked, uint32_t sacked)
{
	struct tcp_flight *f = c->flight;
	uint32_t flight = c->snd_nxt - c->snd_una;

	remember(c);
	f->mode = (uint8_t)mode;
	f->recover = c->snd_nxt;
	f->prr_delivered = 0;
	f->prr_out = 0;
	f->prr_flight = larger(flight - (f->sacked_bytes - sacked) + acked, 1);
	tcp_cc_reduce(t, c, flight + acked);
	tcp_ecn_reduced(c);
}

/* On each ACK of recovery that delivers something. safe: una moved and nothing more was lost. */
static void
reduce_rate(struct tcp_conn *c, uint32_t delivered, bool safe)
{
	struct tcp_flight *f = c->flight;
	uint32_t pipe = tcp_flight_pipe(c);
	int64_t quota;

	if (delivered == 0 && f->prr_out > 0)
		return;
	f->prr_delivered += delivered;
	if (pipe > c->ssthresh) {
		quota = (int64_t)(((uint64_t)f->prr_delivered * c->ssthresh + f->prr_flight - 1) / f->prr_flight) -
			f->prr_out;
	} else {
		quota = larger(f->prr_delivered - smaller(f->prr_delivered, f->prr_out), delivered);
		if (safe)
			quota += c->mss;
		if (quota > c->ssthresh - pipe)
			quota = c->ssthresh - pipe;
	}
	if (quota < 0)
		quota = 0;
	if (f->prr_out == 0 && quota < c->mss)
		quota = c->mss; /* the fast retransmission itself */
	c->cwnd = larger(pipe + (uint32_t)quota, c->mss);
}

static void
leave(struct tcp_conn *c)
{
	struct tcp_flight *f = c->flight;

	if (f->mode != TCP_FLIGHT_TIMEOUT)
		c->cwnd = larger(c->ssthresh, c->mss);
	f->mode = TCP_FLIGHT_OPEN;
	f->dupacks = 0;
	f->duplicate_bytes = 0;
	f->can_undo = false;
	if (c->reorder_rounds > 0 && --c->reorder_rounds == 0)
		c->reorder_steps = 1;
}

/* The first acknowledgment after a retransmission echoes what was sent before it: nothing was lost. */
static bool
is_spurious(const struct tcp_conn *c, const struct tcp_segment *s)
{
	const struct tcp_flight *f = c->flight;

	return f->can_undo && f->has_resent && c->ts_ok && s->h.options & TCPHDR_HAS_TIMES &&
	       seq_lt(s->h.ts_echo, f->undo_ts);
}

static void
undo(struct tcp *t, struct tcp_conn *c)
{
	struct tcp_flight *f = c->flight;

	t->stats.undone++;
	tcp_flight_unlose(f);
	c->cwnd = larger(c->cwnd, f->undo_cwnd);
	c->ssthresh = larger(c->ssthresh, f->undo_ssthresh);
	c->cwnd_top = f->undo_top;
	f->mode = TCP_FLIGHT_OPEN;
	f->can_undo = false;
	f->dupacks = 0;
	f->duplicate_bytes = 0;
	f->in_epoch = false;
}

/* --- an ACK ---------------------------------------------------------------------------------------- */

/* The reordering timer, else what the flight waits for. Nothing moves an RTO that runs but a new ACK. */
static void
arm_after_ack(const struct tcp *t, struct tcp_conn *c, uint32_t acked, uint32_t wait_us, uint64_t now_ns)
{
	if (acked > 0)
		tcp_loss_restart(c, now_ns);
	if (wait_us > 0) {
		c->rtx_kind = TCP_RTX_REORDER;
		c->rtx_at_ns = now_ns + (uint64_t)wait_us * NSEC_PER_USEC;
	} else if (acked > 0 || c->rtx_kind == TCP_RTX_REORDER || c->rtx_kind == TCP_RTX_PROBE) {
		tcp_loss_arm(t, c, now_ns);
	}
}

/* A round trip that this ACK measured without doubt, for slow start; 0: none. */
static uint32_t
round_trip_us(const struct tcp_delivery *d, uint64_t now_ns)
{
	return d->segments > 0 && !d->was_resent ? larger(tcp_clock_us(now_ns) - d->sent_us, 1) : 0;
}

void
tcp_loss_acked(struct tcp *t, struct tcp_conn *c, const struct tcp_segment *s, const struct tcp_delivery *d,
	       uint32_t acked, bool duplicate, uint64_t now_ns)
{
	struct tcp_flight *f = c->flight;
	uint32_t delivered = d->bytes;
	uint32_t wait_us = 0;
	bool found = false;

	note_duplicate(c, s);
	if (acked > 0 && is_spurious(c, s))
		undo(t, c);
	if (acked > 0 && f->has_resent)
		f->can_undo = false;
	note_newest(c, s, d, now_ns);
	if (d->was_overtaken)
		c->reordering_seen = true;
	if (f->mode != TCP_FLIGHT_OPEN && seq_ge(c->snd_una, f->recover))
		leave(c);
	if (c->sack_ok)
		wait_us = find_lost(c, now_ns, &found);
	else
		delivered = count_duplicates(c, delivered, acked, duplicate, &found);
	if ((f->mode == TCP_FLIGHT_OPEN && f->lost_bytes > 0) || (f->mode == TCP_FLIGHT_REDUCED && found)) {
		t->stats.fast_retransmits++;
		if (f->mode == TCP_FLIGHT_OPEN)
			enter(t, c, TCP_FLIGHT_RECOVERY, acked, d->sacked_bytes);
		f->mode = TCP_FLIGHT_RECOVERY;
	}
	if (f->mode == TCP_FLIGHT_OPEN && tcp_ecn_wants_reduction(c, s)) {
		t->stats.ecn_reductions++;
		enter(t, c, TCP_FLIGHT_REDUCED, acked, d->sacked_bytes);
		f->can_undo = false;
	}
	if (f->mode == TCP_FLIGHT_RECOVERY || f->mode == TCP_FLIGHT_REDUCED)
		reduce_rate(c, delivered, acked > 0 && !found);
	else if (acked > 0)
		tcp_cc_acked(t, c, acked, round_trip_us(d, now_ns), now_ns);
	arm_after_ack(t, c, acked, wait_us, now_ns);
}

void
tcp_loss_reorder_expired(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	struct tcp_flight *f = c->flight;
	bool found = false;
	uint32_t wait_us = find_lost(c, now_ns, &found);

	if (found && f->mode == TCP_FLIGHT_REDUCED) {
		t->stats.fast_retransmits++;
		f->mode = TCP_FLIGHT_RECOVERY;
	} else if (found && f->mode == TCP_FLIGHT_OPEN) {
		t->stats.fast_retransmits++;
		enter(t, c, TCP_FLIGHT_RECOVERY, 0, 0);
		reduce_rate(c, 0, false);
	}
	tcp_loss_arm(t, c, now_ns);
	if (wait_us > 0) {
		c->rtx_kind = TCP_RTX_REORDER;
		c->rtx_at_ns = now_ns + (uint64_t)wait_us * NSEC_PER_USEC;
	}
}

/* --- tail loss probe: RFC 8985 section 7 -------------------------------------------------------------- */

/* A flight that something is known to be missing from is answered without being asked. */
static bool
can_probe(const struct tcp_conn *c)
{
	const struct tcp_flight *f = c->flight;

	return c->sack_ok && !c->is_probing && c->srtt_us != 0 && f->mode == TCP_FLIGHT_OPEN &&
	       f->sacked_bytes == 0 && c->backoff == 0;
}

static uint64_t
probe_after_ns(const struct tcp_conn *c)
{
	struct tcp_chunk *chunk;
	const struct tcp_sent *head = tcp_flight_head(c->flight, &chunk);
	bool is_lone = head != NULL && tcp_sent_end(head) == c->snd_nxt;
	uint64_t after_us = larger(2 * c->srtt_us, PROBE_MIN_US) + (is_lone ? PROBE_LONE_US : 0);

	return after_us * NSEC_PER_USEC;
}

void
tcp_loss_probe_acked(const struct tcp *t, struct tcp_conn *c, const struct tcp_segment *s, uint32_t acked)
{
	if (!c->is_probing || seq_lt(s->h.ack, c->probe_end))
		return;
	if (!c->probe_resent || tcp_loss_is_dsack(c, s)) {
		c->is_probing = false;
	} else if (seq_gt(s->h.ack, c->probe_end)) {
		/* Both would have been answered. One was: the probe repaired a loss, and that was congestion. */
		c->is_probing = false;
		if (c->flight != NULL && c->flight->mode == TCP_FLIGHT_OPEN) {
			tcp_cc_reduce(t, c, c->snd_nxt - c->snd_una + acked);
			c->cwnd = c->ssthresh;
		}
	} else if (acked == 0 && s->len == 0 && s->h.sack_count == 0) {
		c->is_probing = false; /* both were answered, without a report */
	}
}

/* --- the slot ------------------------------------------------------------------------------------------ */

void
tcp_loss_restart(struct tcp_conn *c, uint64_t now_ns)
{
	if (c->flight != NULL)
		c->flight->rto_at_ns = now_ns + tcp_rto_ns(c);
}

void
tcp_loss_arm(const struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	const struct tcp_flight *f = c->flight;
	uint64_t end_ns = c->progress_at_ns + tcp_conn_policy(t, c)->user_timeout_ns;

	if (c->snd_una == c->snd_nxt) {
		tcp_rto_arm(c, TCP_RTX_NONE, now_ns);
		return;
	}
	tcp_rto_arm(c, TCP_RTX_RTO, now_ns); /* of a lone FIN, without a flight */
	if (f != NULL)
		c->rtx_at_ns = f->rto_at_ns;
	if (c->rtx_at_ns > end_ns)
		c->rtx_at_ns = end_ns;
	if (f != NULL && can_probe(c) && now_ns + probe_after_ns(c) < c->rtx_at_ns) {
		c->rtx_kind = TCP_RTX_PROBE;
		c->rtx_at_ns = now_ns + probe_after_ns(c);
	}
}

/* --- timeout --------------------------------------------------------------------------------------------- */

/* RFC 8985 section 6.3: the head, and all that had the time to be answered. */
static void
lose_old(struct tcp_conn *c, uint64_t now_ns)
{
	struct tcp_flight *f = c->flight;
	uint32_t rtt_us = f->has_rack ? f->rack_rtt_us : c->srtt_us;

	for (struct tcp_chunk *chunk = f->head; chunk != NULL; chunk = chunk->next)
		for (uint32_t i = chunk->first; i < chunk->stop; i++) {
			struct tcp_sent *sent = &chunk->sent[i];
			bool is_head = sent->seq == c->snd_una;

			if (is_head || !c->sack_ok || tcp_clock_us(now_ns) - sent->sent_us >= rtt_us)
				tcp_flight_lost(f, chunk, sent);
		}
}

/* A full segment that is lost again and again may be too large for a hop that does not say so: smaller ones are
 * tried (RFC 4821 section 7.7, downwards only). True: the flight was cut anew. */
static bool
leave_black_hole(struct tcp *t, struct tcp_conn *c, const struct tcp_sent *head)
{
	uint32_t floor = tcp_address_is_v4(&c->tuple.remote) ? BLACK_HOLE_MSS_V4 : BLACK_HOLE_MSS_V6;

	if (c->backoff < TIMEOUTS_FOR_BLACK_HOLE || head->len < c->mss || c->mss_path <= floor)
		return false;
	t->stats.black_holes++;
	tcp_conn_set_mss(c, larger(c->mss_path / 2u, floor));
	c->cwnd = c->mss; /* one segment, as after any timeout */
	tcp_loss_rewind(t, c);
	return true;
}

void
tcp_loss_timeout(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	struct tcp_flight *f = c->flight;
	struct tcp_chunk *chunk;
	struct tcp_sent *head = tcp_flight_head(f, &chunk);
	/* Once per event: neither again for the same piece, nor after recovery has reduced it. */
	bool first = f->mode == TCP_FLIGHT_OPEN ||
		     (f->mode == TCP_FLIGHT_TIMEOUT && f->timeout_una != c->snd_una);

	if (f->mode == TCP_FLIGHT_OPEN || f->mode == TCP_FLIGHT_REDUCED)
		remember(c);
	f->mode = TCP_FLIGHT_TIMEOUT;
	f->recover = c->snd_nxt;
	f->timeout_una = c->snd_una;
	f->dupacks = 0;
	f->duplicate_bytes = 0;
	c->is_probing = false;
	c->send_tail = false;
	if (head->flags & TCP_SENT_SACKED || c->backoff >= TIMEOUTS_FOR_RENEGING)
		tcp_flight_unsack(c);
	lose_old(c, now_ns);
	tcp_cc_timeout(t, c, c->snd_nxt - c->snd_una, first);
	tcp_ecn_reduced(c);
	/* The peer took its window back: what does not fit any more waits like what was never sent. */
	if (!leave_black_hole(t, c, head) &&
	    seq_gt(tcp_sent_end(head), c->snd_una + c->snd_wnd))
		tcp_loss_rewind(t, c);
}

void
tcp_loss_rewind(struct tcp *t, struct tcp_conn *c)
{
	tcp_flight_free(t, c);
	c->snd_nxt = c->snd_una;
	c->send_next_range = c->send_head_range;
	c->is_probing = false;
	c->send_tail = false;
	if (c->rtx_kind == TCP_RTX_RTO || c->rtx_kind == TCP_RTX_PROBE || c->rtx_kind == TCP_RTX_REORDER) {
		c->rtx_kind = TCP_RTX_NONE;
		c->rtx_at_ns = NEVER_NS;
	}
	tcp_conn_touch(t, c);
}

/* --- pacing ------------------------------------------------------------------------------------------------ */

bool
tcp_loss_may_send(struct tcp_conn *c, uint64_t now_ns)
{
	struct tcp_flight *f = c->flight;

	if (f == NULL)
		return true;
	f->wake_at_ns = NEVER_NS;
	if (f->pace_at_ns <= now_ns + PACE_AHEAD_NS)
		return true;
	f->wake_at_ns = f->pace_at_ns - PACE_AHEAD_NS;
	return false;
}

/* Twice the window per round trip while it doubles, a fifth more than it after that: enough not to be what
 * limits (as Linux). */
static void
pace(struct tcp_conn *c, uint32_t len, uint64_t now_ns)
{
	struct tcp_flight *f = c->flight;
	uint64_t percent = c->cwnd < c->ssthresh / 2 ? 200 : 120;

	if (c->cwnd <= tcp_cc_burst(c) || c->srtt_us == 0)
		return;
	if (f->pace_at_ns < now_ns)
		f->pace_at_ns = now_ns;
	f->pace_at_ns += (uint64_t)len * c->srtt_us * NSEC_PER_USEC / c->cwnd * 100 / percent;
}

void
tcp_loss_sent(struct tcp_conn *c, uint32_t len, bool again, uint64_t now_ns)
{
	struct tcp_flight *f = c->flight;

	pace(c, len, now_ns);
	if (f->mode == TCP_FLIGHT_RECOVERY || f->mode == TCP_FLIGHT_REDUCED)
		f->prr_out += len;
	if (again && f->can_undo && !f->has_resent) {
		f->has_resent = true;
		f->undo_ts = tcp_conn_timestamp(c, now_ns);
	}
}

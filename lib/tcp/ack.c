/*
 * The fifth step of RFC 9293 section 3.10.7.4: what an acceptable segment's ACK, its window and its SACK blocks
 * say. The queue and the flight are told here, round trips are measured, windows noted; what it means for loss is
 * loss.c's.
 */
#include "tcp/internal.h"

static void
update_window(struct tcp_conn *c, const struct tcp_segment *s, uint32_t window)
{
	if (seq_lt(s->h.ack, c->snd_una))
		return;
	/* RFC 9293 section 3.10.7.4 looks at the sequence number first. But a new ACK on a retransmission,
	 * which has an old one, moves una, and the old window counted from there would end too far right. */
	if (seq_le(s->h.ack, c->snd_wl2) &&
	    (seq_gt(c->snd_wl1, s->h.seq) ||
	     (c->snd_wl1 == s->h.seq && seq_gt(c->snd_wl2, s->h.ack))))
		return;
	c->snd_wnd = window;
	c->snd_wl1 = seq_max(c->snd_wl1, s->h.seq);
	c->snd_wl2 = s->h.ack;
	if (window > c->snd_wnd_max)
		c->snd_wnd_max = window;
}

/* Karn (RFC 6298 section 3): what was sent once tells the time by itself, else the timestamp does. But a
 * duplicate that the peer reports is answered with the first one's timestamp; taken for a round trip, each lost
 * ACK would lengthen the timeout by itself. The report is the answer to the last transmission. */
static void
sample_rtt(struct tcp *t, struct tcp_conn *c, const struct tcp_segment *s, const struct tcp_delivery *d,
	   uint64_t now_ns)
{
	if (d->segments > 0 && (!d->was_resent || tcp_loss_is_dsack(c, s)))
		tcp_rtt_sample(t, c, tcp_clock_us(now_ns) - d->sent_us, now_ns);
	else if (c->ts_ok && s->h.options & TCPHDR_HAS_TIMES && s->h.ts_echo != 0)
		tcp_rtt_sample(t, c, (uint64_t)(tcp_conn_timestamp(c, now_ns) - s->h.ts_echo) * 1000, now_ns);
}

/* ack > snd_una. */
static void
new_ack(struct tcp *t, struct tcp_conn *c, const struct tcp_segment *s, struct tcp_delivery *d, uint64_t now_ns)
{
	uint32_t ack = s->h.ack;
	uint32_t range = 0;

	tcp_conn_release(t, c, ack);
	if (c->send_head_range != NULL)
		range = pool_index(&t->ranges, c->send_head_range);
	if (c->flight != NULL)
		tcp_flight_acked(t, c, ack, range, d);
	c->snd_una = ack;
	c->snd_nxt = seq_max(c->snd_nxt, ack);
	c->soft_error = false;
	c->progress_at_ns = now_ns;
	if (t->config.path_works != NULL)
		t->config.path_works(&c->tuple.remote, now_ns, t->config.owner);
	sample_rtt(t, c, s, d, now_ns);
	tcp_conn_notify_writable(t, c);
}

static bool
is_duplicate(const struct tcp_conn *c, const struct tcp_segment *s, uint32_t window)
{
	return s->h.ack == c->snd_una && c->snd_una != c->snd_max && s->len == 0 &&
	       !(s->h.flags & (TCPHDR_SYN | TCPHDR_FIN)) && window == c->snd_wnd &&
	       window != 0;
}

/* True: the connection is gone. */
static bool
fin_acked(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	switch (c->state) {
	case TCP_FIN_WAIT_1:
		tcp_conn_set_state(c, TCP_FIN_WAIT_2);
		if (c->orphan)
			c->idle_at_ns = now_ns + t->config.fin_wait_ns;
		return false;
	case TCP_CLOSING:
		tcp_conn_set_state(c, TCP_TIME_WAIT);
		tcp_time_wait_enter(t, c, now_ns);
		return true;
	case TCP_LAST_ACK:
		tcp_conn_end(t, c, ERR_OK);
		return true;
	default:
		return false;
	}
}

/* The slot when no flight is left: a probe's byte or something rewound may have been acknowledged. */
static void
flight_over(struct tcp *t, struct tcp_conn *c)
{
	tcp_flight_free(t, c);
	c->send_tail = false;
	if (c->rtx_kind == TCP_RTX_RTO || c->rtx_kind == TCP_RTX_PROBE || c->rtx_kind == TCP_RTX_REORDER) {
		c->rtx_kind = TCP_RTX_NONE;
		c->rtx_at_ns = NEVER_NS;
	}
}

bool
tcp_ack_process(struct tcp *t, struct tcp_conn *c, const struct tcp_segment *s, uint64_t now_ns)
{
	uint32_t window = (uint32_t)s->h.window << (s->h.flags & TCPHDR_SYN ? 0 : c->snd_shift);
	bool duplicate = is_duplicate(c, s, window);
	uint32_t fin_end = c->snd_end + 1;
	uint32_t una = c->snd_una;
	struct tcp_delivery d = { 0 };

	c->persist_silent = 0;
	if (c->state == TCP_SYN_RCVD) {
		c->snd_wnd = window;
		c->snd_wnd_max = window;
		c->snd_wl1 = s->h.seq;
		c->snd_wl2 = s->h.ack;
		tcp_conn_established(t, c, now_ns);
	}
	if (seq_gt(s->h.ack, una))
		new_ack(t, c, s, &d, now_ns);
	if (c->sack_ok)
		for (uint32_t i = 0; i < s->h.sack_count; i++)
			tcp_flight_sack(c, s->h.sack[i].start, s->h.sack[i].end, &d);
	tcp_loss_probe_acked(t, c, s, c->snd_una - una);
	if (c->flight != NULL && seq_ge(s->h.ack, una))
		tcp_loss_acked(t, c, s, &d, c->snd_una - una, duplicate, now_ns);
	if (c->snd_una == c->snd_nxt)
		flight_over(t, c);
	update_window(c, s, window);
	if ((c->flight != NULL && c->flight->lost_bytes > 0) || seq_lt(c->snd_nxt, tcp_conn_send_limit(c)))
		tcp_conn_touch(t, c);
	if (c->fin_queued && c->snd_una == fin_end && fin_acked(t, c, now_ns))
		return true;
	tcp_conn_arm(t, c);
	return false;
}

/* What must hold between any two calls, for tests and the simulator: each line is a promise of another file.
 * Numbers in remarks are those of the list in README.md. */
#include "tcp/internal.h"

/* 1: the send queue is contiguous from una to snd_end, and the three pointers are in order. */
static void
check_send_queue(const struct tcp *t, const struct tcp_conn *c)
{
	uint32_t seq = tcp_conn_is_synchronized(c) ? c->snd_una : c->iss + 1;
	uint32_t sent = seq_max(c->snd_nxt, c->iss + 1);
	uint32_t count = 0;
	bool has_next = false;

	CHECK(seq_le(c->snd_una, c->snd_nxt) && seq_le(c->snd_nxt, c->snd_max));
	CHECK(seq_le(c->snd_max, tcp_conn_send_limit(c)));
	for (const struct tcp_range *r = c->send_head_range; r != NULL; r = r->next) {
		CHECK(r->seq == seq && r->len > 0 && r->offset + r->len <= pkt_len(r->pkt));
		CHECK(r->next != NULL || r == c->send_tail_range);
		CHECK(r != c->send_next_range ||
		      (seq_ge(sent, r->seq) && seq_lt(sent, r->seq + r->len)));
		has_next |= r == c->send_next_range;
		seq += r->len;
		count++;
	}
	CHECK(count == c->ranges && count <= t->conn_ranges_max);
	CHECK(has_next == seq_lt(sent, c->snd_end));
	CHECK(count == 0 || seq == c->snd_end);
	CHECK((c->send_head_range == NULL) == (c->send_tail_range == NULL));
}

/* 3 and 4: the promise is ahead, runs are sorted, disjoint, apart, and inside of it. */
static void
check_receive_queues(const struct tcp *t, const struct tcp_conn *c)
{
	uint32_t edge = c->rcv_nxt;
	uint32_t truesize = 0;
	uint32_t queued = 0;
	uint32_t count = 0;

	if (c->state == TCP_SYN_SENT)
		return;
	CHECK(seq_le(c->rcv_nxt, c->rcv_adv) || c->state == TCP_CLOSED);
	for (const struct pkt *p = c->rcvq.head; p != NULL; p = pkt_meta(p)->queue_next) {
		truesize += pkt_truesize(p);
		queued += pkt_total(p);
	}
	CHECK(queued <= c->rcv_unconsumed);
	for (const struct tcp_run *run = tcp_runs_first(t, c); run != NULL;
	     run = tcp_runs_after(t, c, run->start)) {
		uint32_t in_run = 0;

		CHECK(seq_lt(edge, run->start) && seq_lt(run->start, run->end));
		CHECK(seq_le(run->end, c->rcv_adv));
		for (const struct pkt *p = run->head; p != NULL; p = pkt_meta(p)->queue_next) {
			in_run += pkt_total(p);
			truesize += pkt_truesize(p);
		}
		CHECK(in_run == run->end - run->start);
		edge = run->end;
		count++;
	}
	CHECK(count == tcp_runs_count(t, c));
	tcp_runs_check(t, c);
	CHECK(truesize == c->rcv_truesize);
}

/* 5 */
static void
check_congestion(const struct tcp_conn *c)
{
	if (!tcp_conn_is_synchronized(c))
		return;
	CHECK(c->mss > 0 && c->mss <= c->mss_path);
	CHECK(c->cwnd >= c->mss && c->ssthresh >= 2u * c->mss);
	CHECK(c->rto_us <= TCP_RTO_MAX_NS / NSEC_PER_USEC && c->rto_us > 0);
}

/* 8: whoever waits for the peer is woken if the peer stays silent. */
static void
check_liveness(const struct tcp_conn *c)
{
	bool turn = tcp_link_is_linked(&c->output_link) || c->output_at_ns != NEVER_NS;
	bool flying = c->snd_nxt != c->snd_una;
	bool waiting = seq_lt(c->snd_nxt, tcp_conn_send_limit(c));
	uint64_t at_ns = c->rtx_at_ns;

	CHECK((c->rtx_kind == TCP_RTX_NONE) == (c->rtx_at_ns == NEVER_NS));
	CHECK(!flying || c->rtx_kind == TCP_RTX_RTO || c->rtx_kind == TCP_RTX_PROBE ||
	      c->rtx_kind == TCP_RTX_REORDER);
	CHECK(!waiting || flying || c->rtx_kind != TCP_RTX_NONE || turn);
	CHECK(!c->ack_pending || turn);
	CHECK(!c->ack_now || turn);
	CHECK(!c->ack_each || c->ack_now);
	CHECK(!c->send_tail || turn);
	CHECK(!c->send_probe || turn);
	if (c->state == TCP_SYN_SENT || c->state == TCP_SYN_RCVD || c->state == TCP_FIN_WAIT_1 ||
	    c->state == TCP_CLOSING || c->state == TCP_LAST_ACK)
		CHECK(c->rtx_kind != TCP_RTX_NONE || turn);
	if (c->state == TCP_FIN_WAIT_2 && c->orphan)
		CHECK(c->idle_at_ns != NEVER_NS);
	if (c->output_at_ns < at_ns)
		at_ns = c->output_at_ns;
	if (c->idle_at_ns < at_ns)
		at_ns = c->idle_at_ns;
	CHECK(at_ns == NEVER_NS || timer_is_armed_by(&c->timer, at_ns) ||
	      tcp_link_is_linked(&c->output_link));
}

/* 2, 6 and 9 */
static void
check_conn(const struct tcp *t, const struct tcp_conn *c)
{
	uint32_t ref = tcp_ref_make(TCP_REF_CONN, pool_index(&t->conns, c));

	CHECK(c->state < TCP_TIME_WAIT);
	CHECK(c->in_table == (c->state != TCP_CLOSED));
	check_receive_queues(t, c);
	if (c->state == TCP_CLOSED) {
		CHECK(!c->orphan && !timer_is_armed(&c->timer) && c->send_head_range == NULL);
		CHECK(!tcp_link_is_linked(&c->output_link));
		return;
	}
	CHECK(tcp_table_find(t, &c->tuple) == ref);
	check_send_queue(t, c);
	CHECK(c->flight != NULL || c->snd_una == c->snd_nxt || !tcp_conn_is_synchronized(c) ||
	      c->snd_una == c->snd_end);
	if (c->flight != NULL)
		tcp_flight_check(c);
	check_congestion(c);
	check_liveness(c);
}

void
tcp_check(const struct tcp *t)
{
	uint32_t in_table = 0;
	uint32_t orphans = 0;
	uint32_t ranges = 0;
	uint32_t runs = 0;
	uint64_t truesize = 0;

	/* Pools lend what came back last, so those that are out are among the first. */
	for (uint32_t i = 0, left = t->conns.count - t->conns.free; left > 0; i++) {
		const struct tcp_conn *c = pool_at(&t->conns, i);

		CHECK(i < t->conns.count);
		if (!pool_is_lent(&t->conns, i))
			continue;
		left--;
		check_conn(t, c);
		in_table += c->in_table;
		orphans += c->orphan;
		ranges += c->ranges;
		runs += tcp_runs_count(t, c);
		truesize += c->rcv_truesize;
	}
	for (uint32_t i = 0, left = t->half_opens.count - t->half_opens.free; left > 0; i++) {
		const struct tcp_half_open *h = pool_at(&t->half_opens, i);

		CHECK(i < t->half_opens.count);
		if (!pool_is_lent(&t->half_opens, i))
			continue;
		left--;
		CHECK(tcp_table_find(t, &h->tuple) == tcp_ref_make(TCP_REF_HALF_OPEN, i));
		CHECK(timer_is_armed(&h->timer));
		in_table++;
	}
	for (uint32_t i = 0, left = t->time_waits.count - t->time_waits.free; left > 0; i++) {
		const struct tcp_time_wait *w = pool_at(&t->time_waits, i);

		CHECK(i < t->time_waits.count);
		if (!pool_is_lent(&t->time_waits, i))
			continue;
		left--;
		CHECK(tcp_table_find(t, &w->tuple) == tcp_ref_make(TCP_REF_TIME_WAIT, i));
		in_table++;
	}
	CHECK((t->stats.time_wait > 0) == timer_is_armed(&t->time_wait_timer));
	CHECK(in_table == t->table.refs);
	CHECK(ranges == t->stats.ranges && ranges + runs == t->ranges.count - t->ranges.free);
	CHECK(t->stats.conns == t->conns.count - t->conns.free);
	CHECK(t->stats.orphans == orphans && orphans <= t->config.orphans_max);
	for (const struct tcp_link *link = tcp_link_first(t, &t->orphan_list); link != NULL;
	     link = tcp_link_next(t, &t->orphan_list, link)) {
		CHECK(TCP_OWNER_OF(link, const struct tcp_conn, event_link)->orphan && orphans > 0);
		orphans--;
	}
	CHECK(orphans == 0);
	CHECK(t->stats.recv_truesize == truesize);
	CHECK(t->stats.half_open == t->half_opens.count - t->half_opens.free);
	CHECK(t->stats.time_wait == t->time_waits.count - t->time_waits.free);
}

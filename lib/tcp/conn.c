/* A connection's life: open, close, the calls of its owner, the events for it. The only file that
 * writes state. */
#include "tcp/cc.h"
#include "tcp/internal.h"

static uint32_t
smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* --- states ------------------------------------------------------------------- */

#define TO(state) (1u << (TCP_##state))

/* RFC 9293 section 3.3.2, figure 5, plus the way out of each state by reset or timeout. */
static const uint16_t legal_next[TCP_STATES] = {
	[TCP_CLOSED] = TO(SYN_SENT) | TO(ESTABLISHED),
	[TCP_SYN_SENT] = TO(CLOSED) | TO(SYN_RCVD) | TO(ESTABLISHED),
	[TCP_SYN_RCVD] = TO(CLOSED) | TO(ESTABLISHED),
	[TCP_ESTABLISHED] = TO(CLOSED) | TO(FIN_WAIT_1) | TO(CLOSE_WAIT),
	[TCP_FIN_WAIT_1] = TO(CLOSED) | TO(FIN_WAIT_2) | TO(CLOSING) | TO(TIME_WAIT),
	[TCP_FIN_WAIT_2] = TO(CLOSED) | TO(TIME_WAIT),
	[TCP_CLOSE_WAIT] = TO(CLOSED) | TO(LAST_ACK),
	[TCP_CLOSING] = TO(CLOSED) | TO(TIME_WAIT),
	[TCP_LAST_ACK] = TO(CLOSED),
	[TCP_TIME_WAIT] = TO(CLOSED),
};

void
tcp_conn_set_state(struct tcp_conn *c, enum tcp_state state)
{
	CHECK(legal_next[c->state] & 1u << state);
	c->state = (uint8_t)state;
}

/* --- open ---------------------------------------------------------------------- */

bool
tcp_address_is_usable(const struct ip_addr *a)
{
	static const struct ip_addr zero;

	if (tcp_address_is_v4(a))
		return a->byte[12] != 0 && a->byte[12] < 224; /* this network, multicast, broadcast */
	return a->byte[0] != 0xff && memcmp(a, &zero, sizeof(zero)) != 0;
}

/* The largest segment in a packet of that size, headers without options (RFC 6691). */
static uint16_t
mss_of(const struct ip_addr *remote, uint32_t mtu_bytes)
{
	CHECK(mtu_bytes >= 60 + TCP_MSS_MIN);
	return (uint16_t)(mtu_bytes - (tcp_address_is_v4(remote) ? 40 : 60));
}

uint16_t
tcp_conn_own_mss(const struct tcp *t, const struct ip_addr *remote)
{
	if (t->config.mtu != NULL)
		return mss_of(remote, t->config.mtu(remote, t->now_ns, t->config.owner).link_bytes);
	return tcp_address_is_v4(remote) ? t->config.mss_v4 : t->config.mss_v6;
}

/* What is known of the path when a connection begins. */
static uint16_t
first_path_mss(const struct tcp *t, const struct ip_addr *remote)
{
	if (t->config.mtu == NULL)
		return tcp_conn_own_mss(t, remote);
	return mss_of(remote, t->config.mtu(remote, t->now_ns, t->config.owner).path_bytes);
}

struct tcp_conn *
tcp_conn_open(struct tcp *t, const struct tcp_tuple *tuple, uint32_t iss, uint64_t now_ns)
{
	struct tcp_conn *c = pool_get(&t->conns);

	if (c == NULL)
		return NULL;
	c->tuple = *tuple;
	c->iss = iss;
	c->snd_una = iss;
	c->snd_nxt = iss;
	c->snd_max = iss;
	c->snd_end = iss + 1;
	c->ts_offset = tcp_ts_offset(t, tuple);
	c->rto_us = (uint32_t)(TCP_RTO_INITIAL_NS / NSEC_PER_USEC);
	c->rtx_at_ns = NEVER_NS;
	c->output_at_ns = NEVER_NS;
	c->idle_at_ns = NEVER_NS;
	c->progress_at_ns = now_ns;
	c->heard_at_ns = now_ns;
	c->quick_acks = TCP_QUICK_ACKS;
	c->rcv_max = tcp_window_first(t, c->policy);
	c->mss_seen = TCP_MSS_DEFAULT_V4;
	c->timer.kind = TCP_TIMER_CONN;
	tcp_conn_set_mss(c, first_path_mss(t, &tuple->remote));
	tcp_table_insert(t, tuple, tcp_ref_make(TCP_REF_CONN, pool_index(&t->conns, c)));
	c->in_table = true;
	t->stats.conns++;
	return c;
}

void
tcp_conn_set_mss(struct tcp_conn *c, uint32_t mss_path)
{
	if (mss_path < TCP_MSS_MIN)
		mss_path = TCP_MSS_MIN;
	c->mss_path = (uint16_t)smaller(mss_path, UINT16_MAX);
	c->mss = (uint16_t)(c->mss_path - (c->ts_ok ? 12 : 0));
}

void
tcp_conn_set_peer(struct tcp *t, struct tcp_conn *c, const struct tcphdr *syn, uint64_t now_ns)
{
	uint32_t mss = tcp_address_is_v4(&c->tuple.remote) ? TCP_MSS_DEFAULT_V4 : TCP_MSS_DEFAULT_V6;

	if (syn->options & TCPHDR_HAS_MSS)
		mss = syn->mss;
	c->irs = syn->seq;
	c->rcv_nxt = syn->seq + 1;
	c->last_ack_sent = c->rcv_nxt;
	c->ts_ok = (syn->options & TCPHDR_HAS_TIMES) != 0;
	c->sack_ok = (syn->options & TCPHDR_HAS_SACK_OK) != 0;
	if (c->ts_ok) {
		c->ts_recent = syn->ts_value;
		c->ts_recent_at_s = (uint32_t)(now_ns / NSEC_PER_SEC);
	}
	if (syn->options & TCPHDR_HAS_SHIFT) {
		c->snd_shift = (uint8_t)smaller(syn->shift, TCPHDR_SHIFT_MAX);
		c->rcv_shift = t->config.window_shift;
	}
	tcp_window_begin(t, c, now_ns);
	tcp_conn_set_mss(c, smaller(c->mss_path, mss));
	c->snd_wnd = syn->window; /* never scaled in a SYN */
	c->snd_wnd_max = c->snd_wnd;
	c->snd_wl1 = syn->seq;
	c->snd_wl2 = syn->ack;
}

void
tcp_conn_established(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	tcp_conn_set_state(c, TCP_ESTABLISHED);
	if (c->retries > 0 && c->srtt_us == 0)
		c->rto_us = (uint32_t)(TCP_RTO_AFTER_SYN_LOSS_NS / NSEC_PER_USEC); /* RFC 6298 section 5.7 */
	c->backoff = 0;
	tcp_cc_init(c);
	if (tcp_conn_policy(t, c)->keepalive_ns != 0)
		c->idle_at_ns = now_ns + tcp_conn_policy(t, c)->keepalive_ns;
	if (c->fin_queued)
		tcp_conn_set_state(c, TCP_FIN_WAIT_1);
	if (c->passive) {
		t->stats.accepted++;
		tcp_conn_notify(t, c, TCP_EVENT_ACCEPTED);
	} else {
		t->stats.connected++;
		tcp_conn_notify(t, c, TCP_EVENT_CONNECTED);
	}
	tcp_conn_notify_writable(t, c);
	tcp_conn_touch(t, c);
}

/* --- end ----------------------------------------------------------------------- */

static void
free_send_queue(struct tcp *t, struct tcp_conn *c)
{
	while (c->send_head_range != NULL) {
		struct tcp_range *r = c->send_head_range;

		c->send_head_range = r->next;
		pkt_free(r->pkt);
		pool_put(&t->ranges, r);
		t->stats.ranges--;
	}
	c->send_tail_range = NULL;
	c->send_next_range = NULL;
	c->ranges = 0;
	tcp_flight_free(t, c);
}

static void
free_receive_queue(struct tcp *t, struct tcp_conn *c)
{
	struct pkt *p;

	while ((p = pkt_queue_get(&c->rcvq)) != NULL)
		pkt_free(p);
	tcp_conn_unpin(t, c, c->rcv_truesize);
}

static void
conn_free(struct tcp *t, struct tcp_conn *c)
{
	CHECK(c->orphan && c->state == TCP_CLOSED && !c->in_table);
	free_receive_queue(t, c);
	tcp_link_remove(t, &c->event_link);
	pool_put(&t->conns, c);
	t->stats.conns--;
	t->stats.orphans--;
}

void
tcp_conn_end(struct tcp *t, struct tcp_conn *c, enum err reason)
{
	if (c->in_table)
		tcp_table_remove(t, &c->tuple, tcp_ref_make(TCP_REF_CONN, pool_index(&t->conns, c)));
	c->in_table = false;
	timer_cancel(&t->wheel, &c->timer);
	tcp_link_remove(t, &c->output_link);
	free_send_queue(t, c);
	tcp_reass_free(t, c);
	tcp_conn_set_state(c, TCP_CLOSED);
	if (c->orphan) {
		conn_free(t, c);
		return;
	}
	if (reason != ERR_OK) {
		c->reason = (uint16_t)reason;
		tcp_conn_notify(t, c, TCP_EVENT_ERROR);
	}
}

void
tcp_conn_reset(struct tcp *t, struct tcp_conn *c, enum err reason)
{
	struct tcphdr h = {
		.seq = c->snd_max,
		.ack = c->rcv_nxt,
		.flags = TCPHDR_RST | TCPHDR_ACK,
	};

	/* Nobody has heard of a connection in SYN-SENT. A reset that finds no packet is lost like
	 * any other: the peer's next segment is answered by one. */
	if (c->state != TCP_SYN_SENT && tcp_emit_bare(t, &c->tuple, &h))
		t->stats.resets_out++;
	tcp_conn_end(t, c, reason);
}

/* --- the owner's calls ----------------------------------------------------------- */

static struct tcp_conn *
conn_of(const struct tcp *t, tcp_conn_t conn)
{
	struct tcp_conn *c = pool_find(&t->conns, conn);

	CHECK(c != NULL && !c->orphan);
	return c;
}

bool
tcp_is_live(const struct tcp *t, tcp_conn_t conn)
{
	const struct tcp_conn *c = pool_find(&t->conns, conn);

	return c != NULL && !c->orphan;
}

bool
tcp_is_quiet(const struct tcp *t, tcp_conn_t conn)
{
	const struct tcp_conn *c = conn_of(t, conn);

	return c->state == TCP_ESTABLISHED && c->rcv_unconsumed == 0;
}

void
tcp_tuple_of(const struct tcp *t, tcp_conn_t conn, struct tcp_tuple *tuple)
{
	*tuple = conn_of(t, conn)->tuple;
}

void
tcp_set_user(struct tcp *t, tcp_conn_t conn, uint64_t user)
{
	conn_of(t, conn)->user = user;
}

void
tcp_set_policy(struct tcp *t, tcp_conn_t conn, uint32_t policy)
{
	struct tcp_conn *c = conn_of(t, conn);

	CHECK(policy < TCP_POLICIES_MAX);
	c->policy = (uint8_t)policy;
	if (!tcp_conn_is_synchronized(c))
		return;
	tcp_window_raise(t, c);
	c->keepalive_probes = 0;
	c->idle_at_ns = NEVER_NS;
	if (tcp_conn_policy(t, c)->keepalive_ns != 0)
		c->idle_at_ns = t->now_ns + tcp_conn_policy(t, c)->keepalive_ns;
	tcp_conn_arm(t, c);
	tcp_conn_touch(t, c);
}

struct pkt *
tcp_take(struct tcp *t, tcp_conn_t conn)
{
	struct tcp_conn *c = conn_of(t, conn);
	struct pkt *p = pkt_queue_get(&c->rcvq);

	if (p != NULL)
		tcp_conn_unpin(t, c, pkt_truesize(p));
	return p;
}

void
tcp_untake(struct tcp *t, tcp_conn_t conn, struct pkt *p)
{
	struct tcp_conn *c = conn_of(t, conn);

	tcp_conn_pin(t, c, pkt_truesize(p));
	pkt_queue_put_front(&c->rcvq, p);
	CHECK_HOT(pkt_total(p) <= c->rcv_unconsumed);
}

void
tcp_consumed(struct tcp *t, tcp_conn_t conn, uint32_t n)
{
	struct tcp_conn *c = conn_of(t, conn);

	CHECK(n <= c->rcv_unconsumed);
	c->rcv_unconsumed -= n;
	tcp_window_consumed(t, c);
	tcp_conn_touch(t, c);
}

uint32_t
tcp_unconsumed(const struct tcp *t, tcp_conn_t conn)
{
	return conn_of(t, conn)->rcv_unconsumed;
}

void
tcp_set_need(struct tcp *t, tcp_conn_t conn, bool needs_more)
{
	struct tcp_conn *c = conn_of(t, conn);

	if (needs_more && !c->needs_more)
		tcp_conn_touch(t, c); /* the window may have been closed long ago */
	c->needs_more = needs_more;
}

void
tcp_push(struct tcp *t, tcp_conn_t conn)
{
	struct tcp_conn *c = conn_of(t, conn);
	bool acks = c->ack_pending && c->quick_acks > 0 && !c->ack_now;

	c->pushed = seq_lt(c->snd_nxt, c->snd_end);
	if (acks) {
		c->quick_acks--;
		c->ack_now = true;
	}
	if (acks || c->pushed)
		tcp_conn_touch(t, c);
}

void
tcp_hold(struct tcp *t, tcp_conn_t conn, bool holds)
{
	conn_of(t, conn)->held = holds;
	if (!holds)
		tcp_push(t, conn);
}

static bool
can_send(const struct tcp_conn *c)
{
	switch (c->state) {
	case TCP_SYN_SENT:
	case TCP_SYN_RCVD:
	case TCP_ESTABLISHED:
	case TCP_CLOSE_WAIT:
		return !c->fin_queued;
	default:
		return false;
	}
}

static uint32_t
send_room(const struct tcp *t, const struct tcp_conn *c)
{
	uint32_t queued = tcp_conn_queued(c);

	if (!can_send(c) || c->ranges >= t->conn_ranges_max || queued >= t->config.send_bytes_max)
		return 0;
	return t->config.send_bytes_max - queued;
}

uint32_t
tcp_send_room(const struct tcp *t, tcp_conn_t conn)
{
	return send_room(t, conn_of(t, conn));
}

uint32_t
tcp_unsent(const struct tcp *t, tcp_conn_t conn)
{
	const struct tcp_conn *c = conn_of(t, conn);
	uint32_t sent = seq_max(c->snd_max, c->iss + 1);

	if (c->send_head_range == NULL) /* nothing queued, or the connection has ended */
		return 0;
	return seq_lt(sent, c->snd_end) ? c->snd_end - sent : 0;
}

uint32_t
tcp_unacked(const struct tcp *t, tcp_conn_t conn)
{
	return tcp_conn_queued(conn_of(t, conn));
}

static void
append_range(struct tcp_conn *c, struct tcp_range *r)
{
	if (c->send_tail_range != NULL)
		c->send_tail_range->next = r;
	else
		c->send_head_range = r;
	c->send_tail_range = r;
	if (c->send_next_range == NULL)
		c->send_next_range = r;
	c->ranges++;
}

static void
queue(struct tcp *t, struct tcp_conn *c, struct pkt *p)
{
	struct tcp_range *r = pool_get(&t->ranges);

	t->stats.ranges++;
	r->pkt = p;
	r->len = pkt_len(p);
	r->seq = c->snd_end;
	c->snd_end += r->len;
	append_range(c, r);
}

uint32_t
tcp_send_pieces(const struct tcp *t, tcp_conn_t conn)
{
	const struct tcp_conn *c = conn_of(t, conn);
	uint32_t room = t->conn_ranges_max - c->ranges;

	return room < t->ranges.free ? room : t->ranges.free;
}

enum err
tcp_send(struct tcp *t, tcp_conn_t conn, struct pkt *p, bool more)
{
	struct tcp_conn *c = conn_of(t, conn);
	uint32_t pieces = pkt_segments(p);

	if (!can_send(c))
		return ERR_TCP_CLOSING;
	if (pkt_total(p) > send_room(t, c) || pieces > t->conn_ranges_max - c->ranges)
		return ERR_TCP_SEND_FULL;
	if (pieces > t->ranges.free)
		return ERR_POOL_EMPTY;
	c->more = more;
	while (p != NULL) {
		struct pkt *rest = pkt_unchain(p);

		if (pkt_len(p) == 0)
			pkt_free(p);
		else
			queue(t, c, p);
		p = rest;
	}
	tcp_conn_touch(t, c);
	return ERR_OK;
}

void
tcp_notify_below(struct tcp *t, tcp_conn_t conn, uint32_t bytes)
{
	struct tcp_conn *c = conn_of(t, conn);

	c->notify = true;
	c->notify_below_bytes = bytes;
	tcp_conn_notify_writable(t, c);
}

/* The FIN has its number from here on, and the state says so at once: a closed window must not keep
 * the connection ESTABLISHED. */
static void
queue_fin(struct tcp *t, struct tcp_conn *c)
{
	if (!can_send(c))
		return;
	c->fin_queued = true;
	c->more = false;
	if (c->state == TCP_ESTABLISHED)
		tcp_conn_set_state(c, TCP_FIN_WAIT_1);
	else if (c->state == TCP_CLOSE_WAIT)
		tcp_conn_set_state(c, TCP_LAST_ACK);
	tcp_conn_touch(t, c);
}

void
tcp_shutdown(struct tcp *t, tcp_conn_t conn)
{
	queue_fin(t, conn_of(t, conn));
}

void
tcp_conn_orphan(struct tcp *t, struct tcp_conn *c)
{
	if (c->orphan)
		return;
	c->orphan = true;
	c->events = 0;
	tcp_link_remove(t, &c->event_link);
	tcp_link_append(t, &t->orphan_list, &c->event_link); /* nobody hears its events any more */
	t->stats.orphans++;
}

/* The oldest has had the most time to end by itself. */
static void
evict_orphan(struct tcp *t)
{
	struct tcp_link *oldest = tcp_link_first(t, &t->orphan_list);

	t->stats.drops[ERR_TCP_ORPHAN_EVICTED]++;
	tcp_conn_reset(t, TCP_OWNER_OF(oldest, struct tcp_conn, event_link), ERR_OK);
}

void
tcp_close(struct tcp *t, tcp_conn_t conn)
{
	struct tcp_conn *c = conn_of(t, conn);

	tcp_conn_orphan(t, c);
	if (t->stats.orphans > t->config.orphans_max) /* which is 1 at least, so it is not c */
		evict_orphan(t);
	if (c->state == TCP_CLOSED) {
		conn_free(t, c);
	} else if (c->state == TCP_SYN_SENT) {
		tcp_conn_end(t, c, ERR_OK);
	} else if (c->rcvq.count > 0) {
		tcp_conn_reset(t, c, ERR_OK);
	} else {
		queue_fin(t, c);
		if (c->state == TCP_FIN_WAIT_2) {
			c->idle_at_ns = t->now_ns + t->config.fin_wait_ns;
			tcp_conn_arm(t, c);
		}
	}
}

void
tcp_abort(struct tcp *t, tcp_conn_t conn)
{
	struct tcp_conn *c = conn_of(t, conn);

	tcp_conn_orphan(t, c);
	if (c->state == TCP_CLOSED)
		conn_free(t, c);
	else
		tcp_conn_reset(t, c, ERR_OK);
}

/* --- the send queue and acknowledgments ------------------------------------------- */

void
tcp_conn_release(struct tcp *t, struct tcp_conn *c, uint32_t ack)
{
	while (c->send_head_range != NULL && seq_gt(ack, c->send_head_range->seq)) {
		struct tcp_range *r = c->send_head_range;
		uint32_t n = smaller(ack - r->seq, r->len);

		if (n < r->len) {
			r->seq += n;
			r->offset += n;
			r->len -= n;
			return;
		}
		if (c->send_next_range == r) /* a window probe's byte, or what was rewound */
			c->send_next_range = r->next;
		c->send_head_range = r->next;
		if (r->next == NULL)
			c->send_tail_range = NULL;
		c->ranges--;
		pkt_free(r->pkt);
		pool_put(&t->ranges, r);
		t->stats.ranges--;
	}
}

/* --- events ------------------------------------------------------------------------ */

void
tcp_conn_touch(struct tcp *t, struct tcp_conn *c)
{
	if (c->state != TCP_CLOSED && !tcp_link_is_linked(&c->output_link))
		tcp_link_append(t, &t->output_list, &c->output_link);
}

void
tcp_conn_notify(struct tcp *t, struct tcp_conn *c, uint32_t bits)
{
	if (c->orphan)
		return;
	c->events = (uint16_t)(c->events | bits);
	if (!tcp_link_is_linked(&c->event_link))
		tcp_link_append(t, &t->event_list, &c->event_link);
}

void
tcp_conn_notify_writable(struct tcp *t, struct tcp_conn *c)
{
	if (!c->notify || c->state == TCP_SYN_SENT || c->state == TCP_SYN_RCVD ||
	    tcp_conn_queued(c) > c->notify_below_bytes)
		return;
	/* Many small pieces fill the queue before bytes do; an owner told of room that is not there
	 * would ask again, for ever. */
	if (c->ranges >= t->conn_ranges_max)
		return;
	c->notify = false;
	tcp_conn_notify(t, c, TCP_EVENT_WRITABLE);
}

bool
tcp_event_next(struct tcp *t, struct tcp_event *event)
{
	struct tcp_link *link = tcp_link_first(t, &t->event_list);
	struct tcp_conn *c;

	if (link == NULL)
		return false;
	tcp_link_remove(t, link);
	c = TCP_OWNER_OF(link, struct tcp_conn, event_link);
	*event = (struct tcp_event){
		.conn = pool_handle(&t->conns, c),
		.user = c->user,
		.listener_user = c->passive ? t->listeners[c->listener].user : 0,
		.bits = c->events,
		.reason = (enum err)c->reason,
	};
	c->events = 0;
	return true;
}

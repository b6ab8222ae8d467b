/*
 * Passive opens. A SYN makes a half-open entry if there is room, after the oldest has left if need
 * be; the SYN-ACK is the same either way, because its sequence number is always a valid cookie
 * (cookie.c). So an evicted handshake completes without its entry, with the MSS rounded down and,
 * unless the client sends timestamps, without window scaling and SACK.
 */
#include "tcp/internal.h"

static uint32_t
smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* --- listeners --------------------------------------------------------------------- */

struct tcp_listener *
tcp_listener_find(const struct tcp *t, const struct ip_addr *local, uint16_t port)
{
	static const struct ip_addr any;
	const struct tcp_listener *found = NULL;

	for (uint32_t i = 0; i < TCP_LISTENERS_MAX; i++) {
		const struct tcp_listener *l = &t->listeners[i];

		if (!l->used || l->port != port)
			continue;
		if (memcmp(&l->local, local, sizeof(*local)) == 0)
			return (struct tcp_listener *)l;
		if (memcmp(&l->local, &any, sizeof(any)) == 0)
			found = l;
	}
	return (struct tcp_listener *)found;
}

static struct tcp_listener *
listener_exact(struct tcp *t, const struct ip_addr *local, uint16_t port)
{
	struct tcp_listener *l = tcp_listener_find(t, local, port);

	return l != NULL && memcmp(&l->local, local, sizeof(*local)) == 0 ? l : NULL;
}

enum err
tcp_listen(struct tcp *t, const struct ip_addr *local, uint16_t port, uint64_t user)
{
	if (port == 0 || listener_exact(t, local, port) != NULL)
		return ERR_TCP_IN_USE;
	for (uint32_t i = 0; i < TCP_LISTENERS_MAX; i++) {
		struct tcp_listener *l = &t->listeners[i];

		if (l->used)
			continue;
		*l = (struct tcp_listener){ true, port, *local, user };
		return ERR_OK;
	}
	return ERR_TCP_LISTENERS;
}

enum err
tcp_unlisten(struct tcp *t, const struct ip_addr *local, uint16_t port)
{
	struct tcp_listener *l = listener_exact(t, local, port);
	struct tcp_link *link = tcp_link_first(t, &t->half_open_list);

	if (l == NULL)
		return ERR_TCP_NO_LISTENER;
	l->used = false;
	/* Handshakes that nobody will accept any more end here; their last ACK is answered by a
	 * reset. */
	while (link != NULL) {
		struct tcp_half_open *h = TCP_OWNER_OF(link, struct tcp_half_open, age);

		link = tcp_link_next(t, &t->half_open_list, link);
		if (tcp_listener_find(t, &h->tuple.local, h->tuple.local_port) == NULL)
			tcp_half_open_free(t, h);
	}
	return ERR_OK;
}

/* --- half-open entries ---------------------------------------------------------------- */

void
tcp_half_open_free(struct tcp *t, struct tcp_half_open *h)
{
	tcp_table_remove(t, &h->tuple,
			 tcp_ref_make(TCP_REF_HALF_OPEN, pool_index(&t->half_opens, h)));
	timer_cancel(&t->wheel, &h->timer);
	tcp_link_remove(t, &h->age);
	pool_put(&t->half_opens, h);
	t->stats.half_open--;
}

/* The end of an entry whose handshake did not complete. A client whose last ACK we could not use believes that it
 * is connected, and would wait for ever if it has nothing to send: it is told. */
static void
half_open_give_up(struct tcp *t, struct tcp_half_open *h)
{
	struct tcphdr reset = {
		.seq = h->iss + 1,
		.ack = h->irs + 1,
		.flags = TCPHDR_RST | TCPHDR_ACK,
	};

	if (h->acked && tcp_emit_bare(t, &h->tuple, &reset))
		t->stats.resets_out++;
	tcp_half_open_free(t, h);
}

static struct tcp_half_open *
half_open_make(struct tcp *t, const struct tcp_tuple *tuple, uint64_t now_ns)
{
	struct tcp_half_open *h;

	if (t->half_opens.count == 0 || t->stats.pressure >= TCP_PRESSURE_COOKIES) {
		t->evicted_at_ns = now_ns;
		return NULL;
	}
	if (t->half_opens.free == 0) {
		half_open_give_up(t, TCP_OWNER_OF(tcp_link_first(t, &t->half_open_list),
						      struct tcp_half_open, age));
		t->evicted_at_ns = now_ns;
		t->stats.drops[ERR_TCP_HALF_OPEN_EVICTED]++;
	}
	h = pool_get(&t->half_opens);
	h->tuple = *tuple;
	h->timer.kind = TCP_TIMER_HALF_OPEN;
	tcp_link_append(t, &t->half_open_list, &h->age);
	tcp_table_insert(t, tuple, tcp_ref_make(TCP_REF_HALF_OPEN, pool_index(&t->half_opens, h)));
	t->stats.half_open++;
	return h;
}

static uint16_t
first_window(const struct tcp *t)
{
	return tcp_window_first(t, TCP_POLICY_ACCEPTED);
}

static void
send_syn_ack(struct tcp *t, const struct tcp_half_open *h, uint64_t now_ns)
{
	uint32_t clock = (uint32_t)(now_ns / NSEC_PER_MSEC) + tcp_ts_offset(t, &h->tuple);
	struct tcphdr out = {
		.seq = h->iss,
		.ack = h->irs + 1,
		.flags = TCPHDR_SYN | TCPHDR_ACK | (h->ecn_ok ? TCPHDR_ECE : 0),
		.window = first_window(t),
		.options = TCPHDR_HAS_MSS,
		.mss = tcp_conn_own_mss(t, &h->tuple.remote),
	};

	if (h->ts_ok) {
		out.options |= TCPHDR_HAS_TIMES;
		out.ts_value = tcp_cookie_ts_make(clock, h->has_shift, h->shift, h->sack_ok, h->ecn_ok);
		out.ts_echo = h->ts_recent;
	}
	if (h->has_shift) {
		out.options |= TCPHDR_HAS_SHIFT;
		out.shift = t->config.window_shift;
	}
	if (h->sack_ok)
		out.options |= TCPHDR_HAS_SACK_OK;
	/* Without a packet the timer, or the client's, tries again. */
	if (tcp_emit_bare(t, &h->tuple, &out))
		t->stats.cookies_sent++;
}

static uint64_t
retry_at(const struct tcp_half_open *h, uint64_t now_ns)
{
	return now_ns + (TCP_RTO_INITIAL_NS << h->retries);
}

void
tcp_half_open_expired(struct tcp *t, struct tcp_half_open *h, uint64_t now_ns)
{
	if (h->retries == t->config.syn_acks_max) {
		half_open_give_up(t, h);
		return;
	}
	h->retries++;
	/* Silent if there are too many: a client that lost it repeats its SYN and is answered. */
	if (tcp_syn_ack_may_repeat(t, now_ns)) {
		t->stats.retransmits++;
		send_syn_ack(t, h, now_ns);
	}
	timer_set(&t->wheel, &h->timer, retry_at(h, now_ns));
}

/* --- a SYN ------------------------------------------------------------------------------ */

static uint16_t
peer_mss(const struct tcp *t, const struct tcp_segment *s)
{
	uint32_t mss = tcp_address_is_v4(&s->tuple.remote) ? TCP_MSS_DEFAULT_V4 : TCP_MSS_DEFAULT_V6;

	if (s->h.options & TCPHDR_HAS_MSS)
		mss = s->h.mss;
	if (mss < TCP_MSS_MIN)
		mss = TCP_MSS_MIN;
	return (uint16_t)smaller(mss, tcp_conn_own_mss(t, &s->tuple.remote));
}

uint32_t
tcp_syn_ack_iss(struct tcp *t, const struct tcp_segment *s, uint64_t now_ns)
{
	return tcp_cookie_make(t, &s->tuple, s->h.seq, peer_mss(t, s), now_ns);
}

static void
fill(struct tcp *t, struct tcp_half_open *h, const struct tcp_segment *s, uint64_t now_ns)
{
	h->tuple = s->tuple;
	h->irs = s->h.seq;
	h->mss = peer_mss(t, s);
	h->iss = tcp_syn_ack_iss(t, s, now_ns);
	h->window = s->h.window;
	h->ts_ok = (s->h.options & TCPHDR_HAS_TIMES) != 0;
	h->ts_recent = s->h.ts_value;
	h->has_shift = (s->h.options & TCPHDR_HAS_SHIFT) != 0;
	h->shift = (uint8_t)smaller(s->h.shift, TCPHDR_SHIFT_MAX);
	h->sack_ok = (s->h.options & TCPHDR_HAS_SACK_OK) != 0;
	h->ecn_ok = tcp_ecn_is_offered(&s->h);
}

static enum err
input_syn(struct tcp *t, struct tcp_segment *s, uint64_t now_ns)
{
	struct tcp_half_open passing = { 0 };
	struct tcp_half_open *h;

	if (s->h.options & TCPHDR_HAS_MSS && s->h.mss < t->config.peer_mss_min)
		return ERR_TCP_SMALL_MSS;
	h = half_open_make(t, &s->tuple, now_ns);
	/* Data or FIN with the SYN is not acknowledged; the client sends it again. */
	if (h == NULL) {
		fill(t, &passing, s, now_ns);
		send_syn_ack(t, &passing, now_ns);
		return ERR_OK;
	}
	fill(t, h, s, now_ns);
	send_syn_ack(t, h, now_ns);
	timer_set(&t->wheel, &h->timer, retry_at(h, now_ns));
	return ERR_OK;
}

/* --- the last ACK ------------------------------------------------------------------------- */

/* When the SYN-ACK of an entry left, 0 if that is not certain: one second, or up to a tick more, before its
 * timer. */
static uint64_t
syn_ack_sent_at(const struct tcp_half_open *h)
{
	if (h->retries > 0 || h->challenges > 0)
		return 0; /* which of several is acknowledged? */
	return timer_at_ns(&h->timer) - TCP_RTO_INITIAL_NS - TIMER_TICK_NS;
}

/* Makes the connection that h describes and gives it the segment, which may carry data. h is a copy:
 * the entry, if there was one, is gone from the table by now. sent_at_ns: of the SYN-ACK; 0: not known. */
static enum err
complete(struct tcp *t, const struct tcp_half_open *h, const struct tcp_listener *l,
	 struct tcp_segment *s, uint64_t sent_at_ns, uint64_t now_ns)
{
	struct tcphdr syn = {
		.seq = h->irs,
		.window = h->window,
		.options = TCPHDR_HAS_MSS,
		.mss = h->mss,
		.shift = h->shift,
		.ts_value = h->ts_recent,
	};
	struct tcp_conn *c = tcp_conn_open(t, &h->tuple, h->iss, now_ns);

	CHECK(c != NULL);
	if (h->ts_ok)
		syn.options |= TCPHDR_HAS_TIMES;
	if (h->has_shift)
		syn.options |= TCPHDR_HAS_SHIFT;
	if (h->sack_ok)
		syn.options |= TCPHDR_HAS_SACK_OK;
	tcp_conn_set_peer(t, c, &syn, now_ns);
	c->passive = true;
	c->listener = (uint8_t)(l - t->listeners);
	c->ecn_ok = h->ecn_ok;
	c->retries = h->retries;
	c->snd_una = h->iss + 1;
	c->snd_nxt = c->snd_una;
	c->snd_max = c->snd_una;
	c->snd_wl2 = c->snd_una;
	tcp_conn_established(t, c, now_ns);
	/* The SYN's window was never scaled: take this segment's, whatever its number. */
	c->snd_wnd = (uint32_t)s->h.window << c->snd_shift;
	if (c->snd_wnd > c->snd_wnd_max)
		c->snd_wnd_max = c->snd_wnd;
	/* Its time, if it was sent once and its entry is still there; else the echo, whose low bits carry options:
	 * rounded down, so the path seems longer by up to 64 ms, but not three seconds as RFC 6298 section 5.7 has
	 * it. */
	if (sent_at_ns != 0 && now_ns > sent_at_ns)
		tcp_rtt_sample(t, c, (now_ns - sent_at_ns) / NSEC_PER_USEC, now_ns);
	else if (c->ts_ok && h->retries > 0 && s->h.options & TCPHDR_HAS_TIMES && s->h.ts_echo != 0)
		tcp_rtt_sample(t, c, (uint64_t)(tcp_conn_timestamp(c, now_ns) - s->h.ts_echo) * 1000, now_ns);
	return tcp_input_conn(t, c, s, now_ns);
}

/* Whether an ACK can belong to an entry that had to leave: else none is tried as a cookie. */
static bool
may_be_evicted(const struct tcp *t, uint64_t now_ns)
{
	return t->evicted_at_ns != 0 && now_ns - t->evicted_at_ns <= TCP_COOKIE_WATCH_NS;
}

enum err
tcp_input_half_open(struct tcp *t, struct tcp_half_open *h, struct tcp_segment *s, uint64_t now_ns)
{
	const struct tcp_listener *l;
	struct tcp_half_open copy;
	uint64_t sent_at_ns;
	uint16_t mss;

	if (s->h.flags & TCPHDR_RST) {
		if (s->h.seq != h->irs + 1)
			return ERR_TCP_STRAY_RESET;
		tcp_half_open_free(t, h);
		return ERR_TCP_RESET;
	}
	if (s->h.flags & TCPHDR_SYN) {
		/* The same SYN again, or another: a new incarnation learns the number of the old from the
		 * SYN-ACK and resets it. Limited, like any answer to a segment without data. */
		if (s->h.flags & TCPHDR_ACK)
			return ERR_TCP_BAD_FLAGS;
		if (h->challenges++ >= TCP_CHALLENGES_MAX) {
			h->challenges = TCP_CHALLENGES_MAX;
			return ERR_TCP_CHALLENGED;
		}
		send_syn_ack(t, h, now_ns);
		return ERR_OK;
	}
	if (!(s->h.flags & TCPHDR_ACK))
		return ERR_TCP_BAD_FLAGS;
	copy = *h;
	sent_at_ns = syn_ack_sent_at(h);
	if (s->h.ack != h->iss + 1) {
		/* An earlier SYN-ACK of ours, whose entry was evicted in between. If none was, it is a copy of an
		 * earlier connection's: new numbers are what keeps a SYN and an ACK of it from opening another. */
		if (!may_be_evicted(t, now_ns) ||
		    !tcp_cookie_check(t, &s->tuple, h->irs, s->h.ack - 1, now_ns, &mss)) {
			tcp_input_refuse(t, s);
			return ERR_TCP_BAD_ACK;
		}
		copy.iss = s->h.ack - 1;
		sent_at_ns = 0;
	}
	if (seq_lt(s->h.seq, h->irs + 1) || seq_gt(s->h.seq, h->irs + 1 + first_window(t)))
		return ERR_TCP_OUT_OF_WINDOW;
	l = tcp_listener_find(t, &h->tuple.local, h->tuple.local_port);
	CHECK(l != NULL); /* tcp_unlisten() would have freed h */
	if (t->conns.free == 0) {
		h->acked = true; /* and stays: each SYN-ACK that it repeats is another chance */
		return ERR_POOL_EMPTY;
	}
	tcp_half_open_free(t, h);
	return complete(t, &copy, l, s, sent_at_ns, now_ns);
}

/* A last ACK whose entry was evicted. */
static enum err
input_cookie(struct tcp *t, const struct tcp_listener *l, struct tcp_segment *s, uint64_t now_ns)
{
	struct tcp_half_open h = {
		.tuple = s->tuple,
		.irs = s->h.seq - 1,
		.iss = s->h.ack - 1,
		.window = s->h.window,
	};

	if (!may_be_evicted(t, now_ns) ||
	    !tcp_cookie_check(t, &s->tuple, h.irs, h.iss, now_ns, &h.mss)) {
		tcp_input_refuse(t, s);
		return ERR_TCP_COOKIE;
	}
	if (t->conns.free == 0) {
		tcp_input_refuse(t, s); /* nothing remembers it, so it must know now */
		return ERR_POOL_EMPTY;
	}
	if (s->h.options & TCPHDR_HAS_TIMES) {
		bool has_shift, sack_ok, ecn_ok;

		tcp_cookie_ts_read(s->h.ts_echo, &has_shift, &h.shift, &sack_ok, &ecn_ok);
		h.ts_ok = true;
		h.ts_recent = s->h.ts_value;
		h.has_shift = has_shift;
		h.sack_ok = sack_ok;
		h.ecn_ok = ecn_ok;
	}
	t->stats.cookies_accepted++;
	return complete(t, &h, l, s, 0, now_ns);
}

/* RFC 9293 section 3.10.7.1 and 3.10.7.2. */
enum err
tcp_input_listen(struct tcp *t, struct tcp_segment *s, uint64_t now_ns)
{
	const struct tcp_listener *l = tcp_listener_find(t, &s->tuple.local, s->tuple.local_port);
	uint8_t flags = s->h.flags & (TCPHDR_SYN | TCPHDR_ACK | TCPHDR_RST | TCPHDR_FIN);

	if (flags & TCPHDR_RST)
		return ERR_TCP_STRAY_RESET;
	if (l == NULL) {
		tcp_input_refuse(t, s);
		return ERR_TCP_NO_CONNECTION;
	}
	if (flags & TCPHDR_SYN && flags & TCPHDR_ACK) {
		tcp_input_refuse(t, s);
		return ERR_TCP_BAD_FLAGS;
	}
	if (flags & TCPHDR_ACK)
		return input_cookie(t, l, s, now_ns);
	if (flags != TCPHDR_SYN)
		return ERR_TCP_BAD_FLAGS;
	return input_syn(t, s, now_ns);
}

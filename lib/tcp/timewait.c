/* TIME-WAIT: 64 bytes each, one length of stay for all, so one timer at the head of a queue. */
#include "tcp/internal.h"

static uint32_t
now_ms(uint64_t now_ns)
{
	return (uint32_t)(now_ns / NSEC_PER_MSEC);
}

static struct tcp_time_wait *
at(const struct tcp *t, uint32_t index_plus_1)
{
	return index_plus_1 == 0 ? NULL : pool_at(&t->time_waits, index_plus_1 - 1);
}

static void
append(struct tcp *t, struct tcp_time_wait *w)
{
	uint32_t self = pool_index(&t->time_waits, w) + 1;

	w->prev = t->time_wait_tail;
	w->next = 0;
	if (w->prev != 0)
		at(t, w->prev)->next = self;
	else
		t->time_wait_head = self;
	t->time_wait_tail = self;
}

static void
unlink(struct tcp *t, struct tcp_time_wait *w)
{
	if (w->prev != 0)
		at(t, w->prev)->next = w->next;
	else
		t->time_wait_head = w->next;
	if (w->next != 0)
		at(t, w->next)->prev = w->prev;
	else
		t->time_wait_tail = w->prev;
}

/* The timer watches the head; it may be early, never late. */
static void
arm(struct tcp *t, uint64_t now_ns)
{
	const struct tcp_time_wait *w = at(t, t->time_wait_head);
	uint32_t age_ms;
	uint64_t age_ns;

	if (w == NULL || timer_is_armed(&t->time_wait_timer))
		return;
	age_ms = now_ms(now_ns) - w->entered_ms;
	age_ns = age_ms * NSEC_PER_MSEC;
	timer_set(&t->wheel, &t->time_wait_timer,
		  age_ns >= t->config.time_wait_ns ? now_ns : now_ns + t->config.time_wait_ns - age_ns);
}

void
tcp_time_wait_free(struct tcp *t, struct tcp_time_wait *w)
{
	tcp_table_remove(t, &w->tuple,
			 tcp_ref_make(TCP_REF_TIME_WAIT, pool_index(&t->time_waits, w)));
	unlink(t, w);
	pool_put(&t->time_waits, w);
	t->stats.time_wait--;
	if (t->time_wait_head == 0)
		timer_cancel(&t->wheel, &t->time_wait_timer);
}

static void
acknowledge(struct tcp *t, const struct tcp_time_wait *w, uint64_t now_ns)
{
	struct tcphdr h = {
		.seq = w->snd_nxt,
		.ack = w->rcv_nxt,
		.flags = TCPHDR_ACK,
		.window = w->window,
	};

	if (w->ts_ok) {
		h.options = TCPHDR_HAS_TIMES;
		h.ts_value = now_ms(now_ns) + tcp_ts_offset(t, &w->tuple);
		h.ts_echo = w->ts_recent;
	}
	/* Without a packet the peer's next FIN asks again. */
	tcp_emit_bare(t, &w->tuple, &h);
}

void
tcp_time_wait_enter(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	uint32_t window = (c->rcv_adv - c->rcv_nxt) >> c->rcv_shift;
	struct tcp_time_wait wait = {
		.tuple = c->tuple,
		.rcv_nxt = c->rcv_nxt,
		.snd_nxt = c->snd_max,
		.ts_recent = c->ts_recent,
		.entered_ms = now_ms(now_ns),
		.window = (uint16_t)(window < UINT16_MAX ? window : UINT16_MAX),
		.ts_ok = c->ts_ok,
	};
	bool ack = c->ack_now;
	struct tcp_time_wait *w;

	CHECK(c->state == TCP_TIME_WAIT);
	tcp_conn_end(t, c, ERR_OK);
	if (t->time_waits.count == 0) {
		if (ack)
			acknowledge(t, &wait, now_ns);
		t->stats.drops[ERR_TCP_TIME_WAIT_EVICTED]++;
		return;
	}
	if (t->time_waits.free == 0) {
		tcp_time_wait_free(t, at(t, t->time_wait_head));
		t->stats.drops[ERR_TCP_TIME_WAIT_EVICTED]++;
	}
	w = pool_get(&t->time_waits);
	*w = wait;
	append(t, w);
	tcp_table_insert(t, &w->tuple, tcp_ref_make(TCP_REF_TIME_WAIT, pool_index(&t->time_waits, w)));
	t->stats.time_wait++;
	arm(t, now_ns);
	if (ack)
		acknowledge(t, w, now_ns);
}

/* At most TCP_TIMERS_PER_ADVANCE leave at once; the rest with the next advance. */
void
tcp_time_wait_expired(struct tcp *t, uint64_t now_ns)
{
	struct tcp_time_wait *w;

	for (uint32_t n = 0; n < TCP_TIMERS_PER_ADVANCE; n++) {
		w = at(t, t->time_wait_head);
		if (w == NULL || (now_ms(now_ns) - w->entered_ms) * NSEC_PER_MSEC < t->config.time_wait_ns)
			break;
		tcp_time_wait_free(t, w);
	}
	arm(t, now_ns);
}

bool
tcp_time_wait_is_reusable(const struct tcp_time_wait *w, uint64_t now_ns)
{
	return w->ts_ok && (now_ms(now_ns) - w->entered_ms) * NSEC_PER_MSEC >= TCP_TIME_WAIT_REUSE_NS;
}

/* RFC 6191: a SYN that is newer by its timestamp, or by its number where there is none. Our own number must
 * be beyond the old ones too if no timestamp tells the client's PAWS; it is a cookie, so it is what
 * it is: then the answer is the old ACK, the client resets, and its next SYN finds nothing. */
static bool
is_new_incarnation(struct tcp *t, const struct tcp_time_wait *w, const struct tcp_segment *s,
		   uint64_t now_ns)
{
	bool has_times = (s->h.options & TCPHDR_HAS_TIMES) != 0;

	if (w->ts_ok && has_times)
		return seq_gt(s->h.ts_value, w->ts_recent) ||
		       (s->h.ts_value == w->ts_recent && seq_gt(s->h.seq, w->rcv_nxt));
	if (seq_le(s->h.seq, w->rcv_nxt))
		return false;
	return seq_gt(tcp_syn_ack_iss(t, s, now_ns), w->snd_nxt);
}

enum err
tcp_input_time_wait(struct tcp *t, struct tcp_time_wait *w, struct tcp_segment *s, uint64_t now_ns,
		    bool *reopen)
{
	uint8_t flags = s->h.flags;

	if (flags & TCPHDR_RST) {
		/* Exactly the next number: weaker than RFC 1337, but a rebooted peer gets through. */
		if (s->h.seq != w->rcv_nxt)
			return ERR_TCP_STRAY_RESET;
		tcp_time_wait_free(t, w);
		return ERR_TCP_RESET;
	}
	if ((flags & (TCPHDR_SYN | TCPHDR_ACK)) == TCPHDR_SYN &&
	    is_new_incarnation(t, w, s, now_ns) &&
	    tcp_listener_find(t, &w->tuple.local, w->tuple.local_port) != NULL) {
		tcp_time_wait_free(t, w);
		*reopen = true;
		return ERR_OK;
	}
	/* Only what takes a number is answered: two ends in TIME-WAIT must not talk for ever. */
	if (s->len == 0 && !(flags & (TCPHDR_SYN | TCPHDR_FIN)))
		return ERR_OK;
	if (flags & TCPHDR_FIN && s->seq + s->len + 1 == w->rcv_nxt) {
		/* The peer's FIN again: our ACK was lost, the time starts again. */
		w->entered_ms = now_ms(now_ns);
		unlink(t, w);
		append(t, w);
	}
	acknowledge(t, w, now_ns);
	return ERR_TCP_OUT_OF_WINDOW;
}

/*
 * The timers of a connection share one entry of the wheel, at the earliest of four deadlines:
 *
 *   rtx_at_ns     retransmission (RFC 6298), tail loss probe or reordering (RFC 8985), window probe (RFC 9293
 *                 section 3.8.6.1), or the override of sender SWS avoidance, and of what is held; rtx_kind
 *                 says which, they exclude each other
 *   wake_at_ns    of the flight: the pacer lets more go
 *   output_at_ns  a delayed ACK, or another try at sending after a pool was empty
 *   idle_at_ns    keep-alive, or the end of an orphan's FIN-WAIT-2
 *
 * The entry is lazy: a deadline that moves away leaves it where it is, and the early wake-up finds
 * nothing due. The user timeout needs no deadline of its own: it shortens the first.
 */
#include "tcp/internal.h"

static uint64_t
earlier(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns < b_ns ? a_ns : b_ns;
}

void
tcp_conn_arm(struct tcp *t, struct tcp_conn *c)
{
	uint64_t at_ns = earlier(c->rtx_at_ns, earlier(c->output_at_ns, c->idle_at_ns));

	if (c->flight != NULL)
		at_ns = earlier(at_ns, c->flight->wake_at_ns);

	if (at_ns == NEVER_NS)
		return;
	if (!timer_is_armed_by(&c->timer, at_ns))
		timer_set(&t->wheel, &c->timer, at_ns);
}

void
tcp_rto_arm(struct tcp_conn *c, enum tcp_rtx_kind kind, uint64_t now_ns)
{
	if (kind != c->rtx_kind && kind == TCP_RTX_PERSIST) {
		c->persist_silent = 0;
		c->backoff = 0;
	}
	c->rtx_kind = (uint8_t)kind;
	switch (kind) {
	case TCP_RTX_NONE:
		c->rtx_at_ns = NEVER_NS;
		break;
	case TCP_RTX_OVERRIDE:
		c->rtx_at_ns = now_ns + TCP_OVERRIDE_NS;
		break;
	default:
		c->rtx_at_ns = now_ns + tcp_rto_ns(c);
		break;
	}
}

/* How long a connection may go without progress: RFC 9293 section 3.8.3, R2. */
static uint64_t
patience_ns(const struct tcp *t, const struct tcp_conn *c)
{
	return tcp_conn_is_synchronized(c) ? tcp_conn_policy(t, c)->user_timeout_ns : TCP_SYN_TIMEOUT_NS;
}

static enum err
timeout_reason(const struct tcp_conn *c)
{
	return c->soft_error ? ERR_TCP_UNREACHABLE : ERR_TCP_TIMEOUT;
}

/* RFC 6298 section 5.4 to 5.6. */
static bool
retransmission_expired(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	uint64_t end_ns = c->progress_at_ns + patience_ns(t, c);

	if (now_ns >= end_ns) {
		if (tcp_conn_is_synchronized(c))
			tcp_conn_reset(t, c, timeout_reason(c));
		else
			tcp_conn_end(t, c, timeout_reason(c));
		return false;
	}
	t->stats.rtos++;
	if (c->backoff < UINT8_MAX)
		c->backoff++;
	if (c->flight == NULL) {
		if (!tcp_conn_is_synchronized(c) && c->retries < UINT8_MAX)
			c->retries++;
		c->snd_nxt = c->snd_una; /* the SYN or the FIN again */
		tcp_rto_arm(c, TCP_RTX_RTO, now_ns);
		c->rtx_at_ns = earlier(c->rtx_at_ns, end_ns);
	} else {
		tcp_loss_timeout(t, c, now_ns);
		tcp_loss_restart(c, now_ns);
		if (c->flight != NULL)
			tcp_loss_arm(t, c, now_ns);
	}
	return true;
}

/* RFC 9293 section 3.8.6.1. As long as probes are answered the connection stays open (MUST-37),
 * unless nobody owns it: a peer may not hold an orphan's memory by a closed window. */
static bool
persist_expired(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	uint64_t patience = tcp_conn_policy(t, c)->user_timeout_ns;
	bool silent = c->persist_silent > TCP_PERSIST_SILENT_MAX &&
		      now_ns - c->heard_at_ns >= patience;
	bool unowned = c->orphan && now_ns - c->progress_at_ns >= patience;

	if (silent || unowned) {
		tcp_conn_reset(t, c, timeout_reason(c));
		return false;
	}
	if (c->persist_silent < UINT8_MAX)
		c->persist_silent++;
	if (c->backoff < UINT8_MAX)
		c->backoff++;
	c->send_probe = true;
	tcp_rto_arm(c, TCP_RTX_PERSIST, now_ns);
	return true;
}

static bool
rtx_expired(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	switch ((enum tcp_rtx_kind)c->rtx_kind) {
	case TCP_RTX_RTO:
		return retransmission_expired(t, c, now_ns);
	case TCP_RTX_PERSIST:
		return persist_expired(t, c, now_ns);
	case TCP_RTX_OVERRIDE:
		c->send_anyway = true;
		tcp_rto_arm(c, TCP_RTX_NONE, now_ns);
		return true;
	case TCP_RTX_PROBE:
		c->send_tail = true;
		c->rtx_kind = TCP_RTX_RTO;
		c->rtx_at_ns = c->flight->rto_at_ns;
		return true;
	case TCP_RTX_REORDER:
		tcp_loss_reorder_expired(t, c, now_ns);
		return true;
	case TCP_RTX_NONE:
		break;
	}
	CHECK(false);
	return true;
}

static void
output_expired(struct tcp_conn *c)
{
	c->output_at_ns = NEVER_NS;
	if (c->ack_pending)
		c->ack_now = true;
}

/* Keep-alive (RFC 9293 section 3.8.4), or FIN-WAIT-2 without an owner. */
static bool
idle_expired(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	const struct tcp_policy *policy = tcp_conn_policy(t, c);
	uint64_t due_ns = c->heard_at_ns + policy->keepalive_ns;

	if (c->orphan && c->state == TCP_FIN_WAIT_2) {
		tcp_conn_end(t, c, ERR_TCP_TIMEOUT);
		return false;
	}
	if (policy->keepalive_ns == 0) {
		c->idle_at_ns = NEVER_NS;
		return true;
	}
	if (due_ns > now_ns || c->rtx_kind != TCP_RTX_NONE) {
		c->keepalive_probes = 0;
		c->idle_at_ns = due_ns > now_ns ? due_ns : now_ns + policy->keepalive_ns;
		return true;
	}
	if (c->keepalive_probes >= policy->keepalive_probes) {
		tcp_conn_reset(t, c, timeout_reason(c));
		return false;
	}
	c->keepalive_probes++;
	c->send_probe = true;
	c->idle_at_ns = now_ns + policy->keepalive_step_ns;
	return true;
}

void
tcp_conn_expired(struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	CHECK(c->state != TCP_CLOSED);
	/* Each call below may end the connection; then there is no c to look at. */
	if (c->rtx_at_ns <= now_ns) {
		if (!rtx_expired(t, c, now_ns))
			return;
		tcp_conn_touch(t, c);
	}
	if (c->output_at_ns <= now_ns) {
		output_expired(c);
		tcp_conn_touch(t, c);
	}
	if (c->flight != NULL && c->flight->wake_at_ns <= now_ns) {
		c->flight->wake_at_ns = NEVER_NS;
		tcp_conn_touch(t, c);
	}
	if (c->idle_at_ns <= now_ns) {
		if (!idle_expired(t, c, now_ns))
			return;
		tcp_conn_touch(t, c);
	}
	tcp_conn_arm(t, c);
}

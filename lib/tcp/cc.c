/* What all congestion controls share: the initial window (RFC 6928), slow start with HyStart++ (RFC 9406), the
 * restart after idle, the timeout. */
#include "tcp/cc.h"

#include "tcp/internal.h"

/* RFC 9406 section 4.3. */
#define RTT_STEP_MIN_US 4000u
#define RTT_STEP_MAX_US 16000u
#define RTT_DIVISOR 8u
#define ROUND_SAMPLES 8u
#define CSS_DIVISOR 4u
#define CSS_ROUNDS 5u

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

static uint32_t
initial_window(const struct tcp_conn *c)
{
	if (c->retries > 1)
		return c->mss; /* RFC 6928 section 2: the SYN was lost more than once */
	return smaller(10u * c->mss, larger(2u * c->mss, 14600));
}

uint32_t
tcp_cc_burst(const struct tcp_conn *c)
{
	return smaller(10u * c->mss, larger(2u * c->mss, 14600));
}

void
tcp_cc_grow(struct tcp_conn *c, uint32_t bytes)
{
	c->cwnd = smaller(c->cwnd + bytes, TCP_CWND_MAX);
}

void
tcp_cc_init(struct tcp_conn *c)
{
	c->cwnd = initial_window(c);
	c->ssthresh = TCP_CWND_MAX;
}

/* --- HyStart++ ---------------------------------------------------------------------------- */

static void
begin_round(struct tcp_conn *c)
{
	struct tcp_flight *f = c->flight;

	f->last_min_us = f->round_min_us;
	f->round_min_us = UINT32_MAX;
	f->round_samples = 0;
	f->round_end = c->snd_nxt;
	/* The delay stayed: slow start is over. */
	if (f->css_rounds > 0 && f->css_rounds++ == CSS_ROUNDS) {
		c->ssthresh = larger(c->cwnd, 2u * c->mss);
		f->css_rounds = 0;
	}
}

/* Whether the round trip has grown since the last round as it does when a queue begins to fill. */
static bool
has_queue(const struct tcp_flight *f)
{
	uint32_t step_us;

	if (f->round_samples < ROUND_SAMPLES || f->round_min_us == UINT32_MAX || f->last_min_us == UINT32_MAX)
		return false;
	step_us = smaller(larger(f->last_min_us / RTT_DIVISOR, RTT_STEP_MIN_US), RTT_STEP_MAX_US);
	return f->round_min_us >= f->last_min_us + step_us;
}

static void
measure_round(struct tcp_flight *f, uint32_t rtt_us)
{
	f->round_min_us = smaller(f->round_min_us, rtt_us);
	if (f->round_samples < ROUND_SAMPLES)
		f->round_samples++;
	if (f->css_rounds == 0 && has_queue(f)) {
		f->css_base_us = f->round_min_us;
		f->css_rounds = 1;
	} else if (f->css_rounds > 0 && f->round_samples >= ROUND_SAMPLES && f->round_min_us < f->css_base_us) {
		f->css_rounds = 0; /* it was jitter */
	}
}

static void
slow_start(struct tcp_conn *c, uint32_t bytes, uint32_t rtt_us)
{
	struct tcp_flight *f = c->flight;

	if (rtt_us != 0)
		measure_round(f, rtt_us);
	/* No limit per ACK as RFC 3465 has: output is paced. */
	tcp_cc_grow(c, f->css_rounds > 0 ? bytes / CSS_DIVISOR : bytes);
	if (seq_ge(c->snd_una, f->round_end))
		begin_round(c);
}

/* --- what happened ------------------------------------------------------------------------- */

void
tcp_cc_acked(const struct tcp *t, struct tcp_conn *c, uint32_t bytes, uint32_t rtt_us, uint64_t now_ns)
{
	struct tcp_flight *f = c->flight;

	/* A window that was not used proves nothing about the path (RFC 7661 in spirit). */
	if (!f->cwnd_limited)
		return;
	if (seq_gt(c->snd_una, f->limited_end))
		f->cwnd_limited = false;
	if (c->cwnd < c->ssthresh) {
		slow_start(c, bytes, rtt_us);
	} else {
		f->round_end = c->snd_nxt; /* or the slow start after a timeout could meet one that is 2 GiB old */
		t->cc->avoid(c, bytes, now_ns);
	}
}

void
tcp_cc_reduce(const struct tcp *t, struct tcp_conn *c, uint32_t flight)
{
	c->ssthresh = larger(t->cc->reduce(c, flight), 2u * c->mss);
	c->flight->in_epoch = false;
	c->flight->css_rounds = 0;
	c->flight->carry = 0;
}

void
tcp_cc_timeout(const struct tcp *t, struct tcp_conn *c, uint32_t flight, bool first)
{
	if (first)
		tcp_cc_reduce(t, c, flight);
	c->flight->in_epoch = false;
	c->cwnd = c->mss;
	/* RFC 9438 section 4.8: the curve begins anew where slow start ends, not below where it was lost. */
	c->cwnd_top = c->ssthresh;
}

void
tcp_cc_idle(struct tcp_conn *c)
{
	c->cwnd = smaller(c->cwnd, initial_window(c));
}

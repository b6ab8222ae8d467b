/* Round-trip time and retransmission timeout, RFC 6298, in microseconds. */
#include "tcp/internal.h"

/* The clock's step, "G" in the RFC. */
#define GRANULARITY_US ((uint32_t)(TIMER_TICK_NS / NSEC_PER_USEC))
#define RTO_MAX_US ((uint32_t)(TCP_RTO_MAX_NS / NSEC_PER_USEC))

/* For how long a minimum counts: a path may change for a longer one. */
#define MIN_VALID_MS 300000u

static uint32_t
larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static void
note_minimum(struct tcp_conn *c, uint32_t sample_us, uint64_t now_ns)
{
	uint32_t now_ms = (uint32_t)(now_ns / NSEC_PER_MSEC);

	if (c->rtt_min_us != 0 && sample_us > c->rtt_min_us && now_ms - c->rtt_min_at_ms < MIN_VALID_MS)
		return;
	c->rtt_min_us = sample_us;
	c->rtt_min_at_ms = now_ms;
}

void
tcp_rtt_sample(const struct tcp *t, struct tcp_conn *c, uint64_t measured_us, uint64_t now_ns)
{
	/* A path may be faster than the clock, but no round trip takes no time: everything divides by it. */
	uint32_t sample_us = measured_us < RTO_MAX_US ? larger((uint32_t)measured_us, 1) : RTO_MAX_US;

	note_minimum(c, sample_us, now_ns);
	if (c->srtt_us == 0) {
		c->srtt_us = sample_us;
		c->rttvar_us = sample_us / 2;
	} else {
		uint32_t error_us = sample_us > c->srtt_us ? sample_us - c->srtt_us : c->srtt_us - sample_us;

		c->rttvar_us = (3 * c->rttvar_us + error_us) / 4;
		c->srtt_us = larger((uint32_t)((7 * (uint64_t)c->srtt_us + sample_us) / 8), 1);
	}
	c->rto_us = c->srtt_us + larger(4 * c->rttvar_us, GRANULARITY_US);
	c->rto_us = larger(c->rto_us, (uint32_t)(t->config.rto_min_ns / NSEC_PER_USEC));
	if (c->rto_us > RTO_MAX_US)
		c->rto_us = RTO_MAX_US;
	/* Section 5.7: a new measurement collapses the backed-off timer. */
	c->backoff = 0;
}

uint64_t
tcp_rto_ns(const struct tcp_conn *c)
{
	uint32_t shift = c->backoff < 16 ? c->backoff : 16;
	uint64_t rto_ns = (uint64_t)c->rto_us * NSEC_PER_USEC << shift;

	return rto_ns < TCP_RTO_MAX_NS ? rto_ns : TCP_RTO_MAX_NS;
}

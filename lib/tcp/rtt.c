/* Round-trip time and retransmission timeout, RFC 6298. */
#include "tcp/internal.h"

/* The clock's step, "G" in the RFC. */
#define GRANULARITY_NS TIMER_TICK_NS

void
tcp_rtt_sample(const struct tcp *t, struct tcp_conn *c, uint64_t sample_ns)
{
	uint64_t spread_ns;

	if (sample_ns == 0)
		sample_ns = 1;
	if (sample_ns > TCP_RTO_MAX_NS)
		sample_ns = TCP_RTO_MAX_NS;
	if (c->srtt_ns == 0) {
		c->srtt_ns = sample_ns;
		c->rttvar_ns = sample_ns / 2;
	} else {
		uint64_t error_ns = sample_ns > c->srtt_ns ? sample_ns - c->srtt_ns :
							     c->srtt_ns - sample_ns;

		c->rttvar_ns = (3 * c->rttvar_ns + error_ns) / 4;
		c->srtt_ns = (7 * c->srtt_ns + sample_ns) / 8;
		if (c->srtt_ns == 0)
			c->srtt_ns = 1;
	}
	spread_ns = 4 * c->rttvar_ns > GRANULARITY_NS ? 4 * c->rttvar_ns : GRANULARITY_NS;
	c->rto_ns = c->srtt_ns + spread_ns;
	if (c->rto_ns < t->config.rto_min_ns)
		c->rto_ns = t->config.rto_min_ns;
	if (c->rto_ns > TCP_RTO_MAX_NS)
		c->rto_ns = TCP_RTO_MAX_NS;
	/* Section 5.7: a new measurement collapses the backed-off timer. */
	c->backoff = 0;
}

uint64_t
tcp_rto_ns(const struct tcp_conn *c)
{
	uint32_t shift = c->backoff < 16 ? c->backoff : 16;
	uint64_t rto_ns = c->rto_ns << shift;

	return rto_ns < TCP_RTO_MAX_NS ? rto_ns : TCP_RTO_MAX_NS;
}

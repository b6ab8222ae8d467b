/* NewReno's congestion avoidance: RFC 5681 section 3.1, byte counting of RFC 3465. */
#include "tcp/cc.h"
#include "tcp/internal.h"

static uint32_t
reduce(struct tcp_conn *c, uint32_t flight)
{
	(void)c;
	return flight / 2;
}

static void
avoid(struct tcp_conn *c, uint32_t bytes, uint64_t now_ns)
{
	struct tcp_flight *f = c->flight;

	(void)now_ns;
	f->carry += bytes;
	if (f->carry >= c->cwnd) {
		f->carry -= c->cwnd;
		tcp_cc_grow(c, c->mss);
	}
}

const struct tcp_cc tcp_cc_newreno = { reduce, avoid };

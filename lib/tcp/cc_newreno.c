/* NewReno: RFC 5681 with the window arithmetic of RFC 6582, initial window of RFC 6928. */
#include "tcp/cc.h"

#include "tcp/internal.h"

#define CWND_MAX (UINT32_C(1) << 30)

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

static void
grow(struct tcp_conn *c, uint32_t bytes)
{
	c->cwnd = smaller(c->cwnd + bytes, CWND_MAX);
}

void
tcp_cc_init(struct tcp_conn *c)
{
	c->cwnd = initial_window(c);
	c->ssthresh = CWND_MAX;
	c->acked_bytes = 0;
}

void
tcp_cc_acked(struct tcp_conn *c, uint32_t bytes)
{
	/* A window that was not used proves nothing about the path (RFC 7661 in spirit). */
	if (!c->cwnd_limited)
		return;
	if (c->cwnd < c->ssthresh) {
		grow(c, smaller(bytes, 2u * c->mss)); /* RFC 3465 with L = 2 */
		return;
	}
	c->acked_bytes += bytes;
	if (c->acked_bytes >= c->cwnd) {
		c->acked_bytes -= c->cwnd;
		grow(c, c->mss);
	}
}

void
tcp_cc_loss(struct tcp_conn *c, uint32_t flight)
{
	c->ssthresh = larger(flight / 2, 2u * c->mss);
	c->cwnd = c->ssthresh + 3u * c->mss;
	c->acked_bytes = 0;
}

void
tcp_cc_duplicate(struct tcp_conn *c, uint32_t n)
{
	grow(c, n * c->mss);
}

void
tcp_cc_partial(struct tcp_conn *c, uint32_t bytes)
{
	c->cwnd -= smaller(bytes, c->cwnd - c->mss);
	if (bytes >= c->mss)
		grow(c, c->mss);
}

void
tcp_cc_recovered(struct tcp_conn *c, uint32_t flight)
{
	c->cwnd = smaller(c->ssthresh, larger(flight, c->mss) + c->mss);
}

void
tcp_cc_rto(struct tcp_conn *c, uint32_t flight, bool first)
{
	if (first)
		c->ssthresh = larger(flight / 2, 2u * c->mss);
	c->cwnd = c->mss;
	c->acked_bytes = 0;
}

void
tcp_cc_idle(struct tcp_conn *c)
{
	c->cwnd = smaller(c->cwnd, initial_window(c));
}

/*
 * The receive window: which right edge to promise and when to say so (RFC 9293 section 3.8.6.2.2). The emitter
 * asks; nobody else writes rcv_adv.
 */
#include "tcp/internal.h"

static uint32_t
smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* The right edge that the buffer allows, whatever was promised. Memory counts as well as bytes: when
 * small packets pin more than twice the window, no new edge is given. */
static uint32_t
edge_wanted(const struct tcp_conn *c)
{
	if (c->rcv_unconsumed >= c->rcv_max || c->rcv_truesize / 2 > c->rcv_max)
		return c->rcv_nxt;
	return c->rcv_nxt + (c->rcv_max - c->rcv_unconsumed);
}

/* Receiver SWS avoidance (RFC 9293 section 3.8.6.2.2): the edge moves by a segment or half the
 * buffer at least, or to the end. */
static bool
edge_may_move(const struct tcp_conn *c, uint32_t edge)
{
	int32_t gain = seq_diff(edge, c->rcv_adv);

	if (gain <= 0)
		return false;
	return (uint32_t)gain >= smaller(c->mss_seen, c->rcv_max / 2) || c->rcv_unconsumed == 0;
}

/* Promises are kept: what rounding would take back, it adds (at most one
 * unit, which tcp_input_conn() bounds again). */
uint16_t
tcp_window_offer(struct tcp_conn *c, bool syn)
{
	uint32_t shift = syn ? 0 : c->rcv_shift;
	uint32_t promised = c->rcv_adv - c->rcv_nxt;
	uint32_t edge = edge_wanted(c);
	uint32_t field;

	field = promised >> shift;
	if (edge_may_move(c, edge))
		field = (edge - c->rcv_nxt) >> shift;
	if (field << shift < promised)
		field++;
	if (field > UINT16_MAX)
		field = UINT16_MAX;
	c->rcv_adv = seq_max(c->rcv_adv, c->rcv_nxt + (field << shift));
	return (uint16_t)field;
}

bool
tcp_window_update_due(const struct tcp_conn *c)
{
	uint32_t edge = edge_wanted(c);
	uint32_t step = smaller(2u * c->mss_seen, c->rcv_max / 2);
	int32_t gain = seq_diff(edge, c->rcv_adv);

	/* What a SYN could not offer for want of scaling goes with the first ACK of data. */
	if (c->fin_done || gain <= 0 || c->rcv_nxt == c->irs + 1)
		return false;
	if (c->rcv_adv == c->rcv_nxt)
		step = smaller(c->mss_seen, c->rcv_max / 2);
	return (uint32_t)gain >= step;
}

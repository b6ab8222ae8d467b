/*
 * The receive window: which right edge to promise and when to say so (RFC 9293 section 3.8.6.2.2), and how
 * large the buffer behind it is. The emitter asks; nobody else writes rcv_adv.
 *
 * The buffer begins small and follows what arrives and is consumed in a round trip (dynamic right-sizing): as
 * soon as that is more than half of it, it becomes four times that. A sender in slow start doubles per round
 * trip, so it never meets the edge; one that the window limits is found at once; an owner that is slow gets no
 * more than it uses, even if it reads a full buffer at a time. The buffer never shrinks: what was promised stays
 * promised.
 */
#include "tcp/internal.h"

#define TUNE_UNKNOWN_RTT_US 1000000 /* a round without any measure */

static uint32_t
smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* What may be promised beyond what was consumed. When memory is short, two segments: who fills it does not stop
 * those whose data is consumed as it comes. Or what the owner needs to go on at all. */
static uint32_t
buffer_bytes(const struct tcp *t, const struct tcp_conn *c)
{
	uint32_t segment = c->mss_seen > c->mss_path ? c->mss_seen : c->mss_path;
	uint32_t least = c->needs_more && 2 * segment < TCP_NEED_BYTES ? TCP_NEED_BYTES : 2 * segment;

	if (t->stats.pressure < TCP_PRESSURE_EDGE)
		return c->rcv_max;
	return t->stats.pressure < TCP_PRESSURE_SHED ? smaller(least, c->rcv_max) : 0;
}

/* The right edge that the buffer allows, whatever was promised. Memory counts as well as bytes: when
 * small packets pin more than twice the window, no new edge is given but for what the owner needs. */
static uint32_t
edge_wanted(const struct tcp *t, const struct tcp_conn *c)
{
	uint32_t bytes = buffer_bytes(t, c);

	if (c->rcv_truesize / 2 > bytes)
		bytes = c->needs_more ? smaller(bytes, TCP_NEED_BYTES) : 0;
	if (c->rcv_unconsumed >= bytes)
		return c->rcv_nxt;
	return c->rcv_nxt + (bytes - c->rcv_unconsumed);
}

/* The owner needs what nobody has been promised: no step is too small for it. */
static bool
promise_is_short(const struct tcp_conn *c)
{
	return c->needs_more && c->rcv_adv - (c->rcv_nxt - c->rcv_unconsumed) < TCP_NEED_BYTES;
}

/* Receiver SWS avoidance (RFC 9293 section 3.8.6.2.2): the edge moves by a segment or half the
 * buffer at least, or to the end. */
static bool
edge_may_move(const struct tcp_conn *c, uint32_t edge)
{
	int32_t gain = seq_diff(edge, c->rcv_adv);

	if (gain <= 0)
		return false;
	return (uint32_t)gain >= smaller(c->mss_seen, c->rcv_max / 2) || c->rcv_unconsumed == 0 ||
	       promise_is_short(c);
}

/* Promises are kept: what rounding would take back, it adds. A unit with each ACK that moves nothing else, so
 * the edge creeps beyond the buffer; tcp_reass_insert() has room for that and ends it. */
uint16_t
tcp_window_offer(const struct tcp *t, struct tcp_conn *c, bool syn)
{
	uint32_t shift = syn ? 0 : c->rcv_shift;
	uint32_t promised = c->rcv_adv - c->rcv_nxt;
	uint32_t edge = edge_wanted(t, c);
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
tcp_window_update_due(const struct tcp *t, const struct tcp_conn *c)
{
	/* As far as the field can say it: updates that move nothing would go with every segment. */
	uint32_t offer = (edge_wanted(t, c) - c->rcv_nxt) >> c->rcv_shift << c->rcv_shift;
	uint32_t step = smaller(2u * c->mss_seen, c->rcv_max / 2);
	int32_t gain = seq_diff(c->rcv_nxt + offer, c->rcv_adv);

	/* What a SYN could not offer for want of scaling goes with the first ACK of data. */
	if (c->fin_done || gain <= 0 || c->rcv_nxt == c->irs + 1)
		return false;
	if (c->rcv_adv == c->rcv_nxt)
		step = smaller(c->mss_seen, c->rcv_max / 2);
	if (promise_is_short(c))
		step = 1;
	return (uint32_t)gain >= step;
}

/* --- the buffer --------------------------------------------------------------------- */

uint16_t
tcp_window_first(const struct tcp *t, uint32_t policy)
{
	return (uint16_t)smaller(t->config.policies[policy].recv_bytes_start, UINT16_MAX);
}

static uint32_t
clock_us(uint64_t now_ns)
{
	return (uint32_t)(now_ns / NSEC_PER_USEC);
}

/* The largest window that the header's field can tell. */
static uint32_t
field_bytes_max(const struct tcp_conn *c)
{
	return (uint32_t)UINT16_MAX << c->rcv_shift;
}

void
tcp_window_raise(const struct tcp *t, struct tcp_conn *c)
{
	uint32_t start = smaller(tcp_conn_policy(t, c)->recv_bytes_start, field_bytes_max(c));

	if (c->rcv_max < start)
		c->rcv_max = start;
}

void
tcp_window_begin(const struct tcp *t, struct tcp_conn *c, uint64_t now_ns)
{
	c->rcv_adv = c->rcv_nxt + c->rcv_max; /* as our SYN said, which is never scaled */
	tcp_window_raise(t, c);
	c->tune_seq = c->rcv_nxt;
	c->tune_at_us = clock_us(now_ns);
}

/* A smaller round trip is believed at once, since everything that disturbs the measure makes it larger: an echo
 * waits for the peer's next data. A larger one slowly, for a path that has changed. */
static void
note_rtt(struct tcp_conn *c, uint32_t rtt_us)
{
	if (c->tune_rtt_us == 0 || rtt_us < c->tune_rtt_us)
		c->tune_rtt_us = rtt_us > 0 ? rtt_us : 1;
	else
		c->tune_rtt_us += (rtt_us - c->tune_rtt_us) / 8;
}

void
tcp_window_measure(struct tcp_conn *c, uint32_t echo, uint64_t now_ns)
{
	int32_t ms = seq_diff(tcp_conn_timestamp(c, now_ns), echo);

	if (ms < 0 || ms > TCP_TUNE_RTT_MS_MAX)
		return; /* not our clock, or a pause */
	note_rtt(c, ms > 0 ? (uint32_t)ms * 1000 : 1000);
}

static void
grow(const struct tcp *t, struct tcp_conn *c, uint32_t bytes)
{
	uint32_t max = smaller(tcp_conn_policy(t, c)->recv_bytes_max, field_bytes_max(c));

	if (t->stats.pressure >= TCP_PRESSURE_GROWTH)
		return;
	c->rcv_max = smaller(bytes, max) > c->rcv_max ? smaller(bytes, max) : c->rcv_max;
}

void
tcp_window_consumed(struct tcp *t, struct tcp_conn *c)
{
	int32_t used = seq_diff(c->rcv_nxt - c->rcv_unconsumed, c->tune_seq);
	uint32_t elapsed_us = clock_us(t->now_ns) - c->tune_at_us;
	uint64_t bytes = used > 0 ? (uint32_t)used : 0;

	if (c->state == TCP_CLOSED)
		return;
	/* Without timestamps: the time in which a whole window came is a round trip or longer. */
	if (!c->ts_ok && c->rcv_nxt - c->tune_seq >= c->rcv_max)
		note_rtt(c, elapsed_us);
	if (elapsed_us > c->tune_rtt_us)
		bytes = bytes * c->tune_rtt_us / elapsed_us;
	if (bytes > c->rcv_max / 2)
		grow(t, c, 4 * smaller((uint32_t)bytes, TCP_RECV_BYTES_MAX / 4));
	if (elapsed_us >= (c->tune_rtt_us != 0 ? c->tune_rtt_us : TUNE_UNKNOWN_RTT_US)) {
		c->tune_seq = c->rcv_nxt;
		c->tune_at_us = clock_us(t->now_ns);
	}
}

uint64_t
tcp_window_idle_ns(const struct tcp_conn *c, uint64_t now_ns)
{
	return (clock_us(now_ns) - c->tune_at_us) * NSEC_PER_USEC;
}

/*
 * What a host may do, whatever the segments say:
 *
 *   taken    payload that comes next and fits is taken, or the verdict says why not
 *   steps    a segment costs a bounded number of steps (in the build that counts them)
 *   resets   a reset is not answered by a reset
 *   earned   no self-excited traffic: every bare acknowledgment was earned
 *   held     a buffer has as many references as somebody holds
 */
#include "sim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"

/* Dataless segments that look wrong are answered at most this often (RFC 5961 section 7): by a connection, and
 * by what has no connection any more. */
#define CHALLENGES_PER_5S 24
/* Measured: 4,000, for an acknowledgment of 256 ranges; 300 are usual. */
#define STEPS_PER_SEGMENT_MAX 8000
#define HOLDERS_MAX 65536
/* Of so many turns, the references are counted in one. */
#define COUNT_EVERY_TURNS 512

uint64_t sim_steps;

/* What gcc calls at every basic block under -fsanitize-coverage=trace-pc. */
void __sanitizer_cov_trace_pc(void);
void
__sanitizer_cov_trace_pc(void)
{
	sim_steps++;
}

/* --- taken, steps, resets: one segment in ---------------------------------------------- */

static uint8_t
flags_of(const struct pkt *p)
{
	return pkt_len(p) >= 14 ? pkt_data(p)[13] : 0;
}

/* The connection for which this is the next payload; NULL if it is not. */
static struct tcp_conn *
conn_of_next(struct tcp *t, const struct segment *s)
{
	struct tcp_tuple tuple = { s->dst, s->src, s->dst_port, s->src_port };
	uint32_t ref = tcp_table_find(t, &tuple);
	struct tcp_conn *c;

	if (tcp_ref_kind(ref) != TCP_REF_CONN)
		return NULL;
	c = pool_at(&t->conns, tcp_ref_index(ref));
	if ((c->state != TCP_ESTABLISHED && c->state != TCP_FIN_WAIT_1 && c->state != TCP_FIN_WAIT_2) ||
	    c->orphan || c->rcv_nxt == c->rcv_adv || s->seq != c->rcv_nxt || s->payload.len == 0 ||
	    (s->flags & ~(SEGMENT_PSH | SEGMENT_ECE | SEGMENT_CWR)) != SEGMENT_ACK)
		return NULL;
	return c;
}

void
watch_input(struct world *w, struct host *h, struct pkt *p)
{
	struct tcp *t = h->stack.tcp;
	bool is_reset = (flags_of(p) & SEGMENT_RST) != 0;
	uint64_t resets = tcp_stats(t)->resets_out;
	uint64_t steps = sim_steps;
	uint8_t flat[SEGMENT_BYTES_MAX];
	struct tcp_conn *next = NULL;
	uint64_t handle = 0;
	struct segment s;
	uint32_t rcv_nxt = 0;
	enum err verdict;

	/* Whoever moves our edge or takes numbers earns an answer; so does each of two in one burst. */
	h->budget.acks_earned++;
	if (segment_parse_pkt(p, flat, &s)) {
		if (segment_seq_len(&s) == 0 && !is_reset)
			h->budget.acks_earned--;
		next = conn_of_next(t, &s);
	}
	if (next != NULL) {
		handle = pool_handle(&t->conns, next);
		rcv_nxt = next->rcv_nxt;
	}
	verdict = tcp_input(t, p, w->now_ns);
	if (is_reset && tcp_stats(t)->resets_out != resets)
		sim_fail(w, "host %u answers a reset by a reset", h->index);
	if (next != NULL && verdict == ERR_OK && pool_find(&t->conns, handle) == next &&
	    next->state != TCP_CLOSED && next->rcv_nxt == rcv_nxt)
		sim_fail(w, "host %u loses payload that was next and fits, and says nothing", h->index);
	if (sim_steps - steps > STEPS_PER_SEGMENT_MAX)
		sim_fail(w, "host %u needs %" PRIu64 " steps for one segment", h->index, sim_steps - steps);
}

void
watch_burst(struct world *w, struct host *h, struct pkt *const *packets, uint32_t count)
{
	struct tcp *t = h->stack.tcp;
	uint64_t resets = tcp_stats(t)->resets_out;
	uint64_t steps = sim_steps;
	uint32_t other = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint8_t flat[SEGMENT_BYTES_MAX];
		struct segment s;

		other += (flags_of(packets[i]) & SEGMENT_RST) == 0;
		h->budget.acks_earned += !segment_parse_pkt(packets[i], flat, &s) || segment_seq_len(&s) > 0;
	}
	tcp_input_burst(t, packets, count, w->now_ns);
	if (other == 0 && tcp_stats(t)->resets_out != resets)
		sim_fail(w, "host %u answers a reset by a reset", h->index);
	if (sim_steps - steps > (count + 1u) * (uint64_t)STEPS_PER_SEGMENT_MAX)
		sim_fail(w, "host %u needs %" PRIu64 " steps for %u segments", h->index, sim_steps - steps, count);
}

void
watch_output(struct world *w, struct host *h)
{
	struct tcp *t = h->stack.tcp;
	uint64_t sent = tcp_stats(t)->segments_out;
	uint64_t steps = sim_steps;
	uint64_t reasons;

	tcp_output_ready(t, w->now_ns);
	reasons = tcp_stats(t)->segments_out - sent + tcp_stats(t)->conns + 1;
	if (sim_steps - steps > reasons * STEPS_PER_SEGMENT_MAX)
		sim_fail(w, "host %u needs %" PRIu64 " steps to send, with %" PRIu64 " reasons", h->index,
			 sim_steps - steps, reasons);
}

/* --- earned ---------------------------------------------------------------------------- */

void
watch_call(struct host *h)
{
	h->budget.acks_earned++;
}

void
watch_timers(struct world *w, struct host *h)
{
	/* Each connection may probe; what waits for a delayed ACK was earned by its segment. */
	if (tcp_next_at(h->stack.tcp) <= w->now_ns)
		h->budget.acks_earned += tcp_stats(h->stack.tcp)->conns;
}

void
watch_sent(struct world *w, struct host *h, const struct pkt *p)
{
	uint8_t flat[SEGMENT_BYTES_MAX];
	struct segment s;

	(void)w;
	if (segment_parse_pkt(p, flat, &s) && segment_seq_len(&s) == 0 && (s.flags & SEGMENT_RST) == 0)
		h->budget.acks_sent++;
}

static void
check_budget(const struct world *w, const struct host *h)
{
	const struct tcp_stats *stats = tcp_stats(h->stack.tcp);
	uint64_t periods = 2 + (w->now_ns - w->start_ns) / (5 * NSEC_PER_SEC);
	uint64_t opened = stats->accepted + stats->connected + w->plan.pairs;

	if (h->budget.acks_sent > h->budget.acks_earned + opened + periods * w->plan.pairs * CHALLENGES_PER_5S)
		sim_fail(w, "host %u: %" PRIu64 " bare acknowledgments, and reasons for %" PRIu64, h->index,
			 h->budget.acks_sent, h->budget.acks_earned);
}

/* --- held ------------------------------------------------------------------------------ */

struct holders {
	const struct pkt *held[HOLDERS_MAX]; /* one for each reference on a segment */
	uint32_t count;
};

static struct holders holders;

static void
hold_chain(const struct pkt *p, void *owner)
{
	(void)owner;
	for (; p != NULL && holders.count < HOLDERS_MAX; p = pkt_next(p))
		holders.held[holders.count++] = p;
}

static void
hold_queue(const struct pkt *head)
{
	for (const struct pkt *p = head; p != NULL; p = pkt_meta(p)->queue_next)
		hold_chain(p, NULL);
}

static void
hold_conn(const struct tcp *t, const struct tcp_conn *c)
{
	for (const struct tcp_range *r = c->send_head_range; r != NULL; r = r->next)
		if (holders.count < HOLDERS_MAX)
			holders.held[holders.count++] = r->pkt; /* a range shows one segment of a chain */
	hold_queue(c->rcvq.head);
	for (const struct tcp_run *run = tcp_runs_newest(t, c); run != NULL; run = tcp_runs_older(t, run))
		hold_queue(run->head);
}

static int
compare_pkts(const void *a, const void *b)
{
	const struct pkt *p = *(const struct pkt *const *)a;
	const struct pkt *q = *(const struct pkt *const *)b;

	if (p->buffer != q->buffer)
		return p->buffer < q->buffer ? -1 : 1;
	return p < q ? -1 : p > q;
}

/* Sorted by buffer and segment: every run of equal ones is compared with what is written in them. */
static void
check_references(const struct world *w, struct host *h)
{
	uint32_t used[4] = { 0 };

	for (uint32_t i = 0; i < holders.count;) {
		const struct pkt_buffer *buffer = holders.held[i]->buffer;
		uint32_t segments = 0;

		while (i < holders.count && holders.held[i]->buffer == buffer) {
			const struct pkt *p = holders.held[i];
			uint32_t refs = 0;

			for (; i < holders.count && holders.held[i] == p; i++)
				refs++;
			if (refs != p->refs)
				sim_fail(w, "host %u: a segment has %u references and %u holders", h->index,
					 p->refs, refs);
			segments++;
			if (p->pool != NULL)
				used[p->pool - h->stack.pools]++;
		}
		if (segments != buffer->refs)
			sim_fail(w, "host %u: a buffer has %u references and %u segments", h->index, buffer->refs,
				 segments);
		if (buffer->pool != &h->card_pool)
			used[buffer->pool - h->stack.pools]++;
	}
	for (uint32_t i = 0; i < COUNT_OF(used); i++)
		if (used[i] != h->stack.pools[i].used)
			sim_fail(w, "host %u: %u packets of pool %u are out, and %u are held", h->index,
				 h->stack.pools[i].used, i, used[i]);
}

static void
count_holders(struct world *w, struct host *h)
{
	struct tcp *t = h->stack.tcp;

	holders.count = 0;
	for (uint32_t i = 0; i < t->conns.count; i++)
		if (pool_is_lent(&t->conns, i))
			hold_conn(t, pool_at(&t->conns, i));
	hold_queue(t->transmit.head);
	hold_queue(h->forwarded.head);
	for (uint32_t to = 0; to < w->hosts; to++)
		link_visit_held(w->link[h->index][to], hold_chain, NULL);
	for (const struct pkt *p = h->stolen; p != NULL; p = pkt_meta(p)->queue_next)
		hold_chain(p, NULL);
	CHECK(holders.count < HOLDERS_MAX);
	qsort(holders.held, holders.count, sizeof(holders.held[0]), compare_pkts);
	check_references(w, h);
}

void
watch_turn(struct world *w, struct host *h)
{
	check_budget(w, h);
	if (h->turns % COUNT_EVERY_TURNS == 0)
		count_holders(w, h);
}

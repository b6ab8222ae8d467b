/*
 * Received payload: in order to rcvq, beyond a hole to a sorted set of disjoint runs (runs.c). A sender that
 * overshoots a long path loses every second segment of a window, and what is dropped here comes again for nothing:
 * so a connection may have a run per KiB of its window, TCP_CONN_RUNS_MIN at least. Runs are lent from the pool of
 * ranges, a quarter of it for all; what they pin counts against twice the window, like all that is queued. So
 * memory has a bound that a peer can not move, and each search is logarithmic (CVE-2018-5390). Payload of up to
 * TCP_COPY_BYTES_MAX is copied into the packet before it, so that small segments do not pin large buffers.
 *
 * Where segments overlap, the first copy of a byte is the one that the owner reads: whoever sees the stream on its
 * way sees what we do. Data in order is taken even if runs have used up the memory: the highest go.
 */
#include "tcp/internal.h"

/* Memory that queued payload may pin, in multiples of the window. Beyond the first no new
 * window is given (window.c) and everything is copied together; beyond the second data is dropped. */
#define TRUESIZE_COPY 2u
#define TRUESIZE_MAX 4u
#define SQUEEZE_STEPS_MAX 256u /* packets of one connection looked at in one go: from its head, each time */

static uint32_t
smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static bool
is_pressed(const struct tcp_conn *c, uint32_t multiple)
{
	return c->rcv_truesize / multiple > c->rcv_max;
}

/* Whether n bytes may be written behind tail: it must be ours alone and in one piece. */
static bool
can_copy(const struct tcp *t, const struct tcp_conn *c, const struct pkt *tail, uint32_t n)
{
	bool wanted = n <= TCP_COPY_BYTES_MAX || is_pressed(c, TRUESIZE_COPY) ||
		      t->stats.pressure >= TCP_PRESSURE_COOKIES;

	return tail != NULL && wanted && pkt_next(tail) == NULL && pkt_refs(tail) == 1 && pkt_tailroom(tail) >= n;
}

/* Takes p. */
static void
queue_payload(struct tcp *t, struct tcp_conn *c, struct pkt_queue *q, struct pkt *p)
{
	uint32_t n = pkt_total(p);

	if (can_copy(t, c, q->tail, n)) {
		pkt_copy_out(p, 0, pkt_append(q->tail, n), n);
		pkt_free(p);
		return;
	}
	tcp_conn_pin(t, c, pkt_truesize(p));
	pkt_queue_put(q, p);
}

void
tcp_reass_squeeze(struct tcp *t, struct tcp_conn *c, uint32_t *steps)
{
	struct pkt *p = c->rcvq.head;

	for (uint32_t n = 0; p != NULL && n < SQUEEZE_STEPS_MAX && *steps > 0; n++, --*steps) {
		struct pkt *next = pkt_meta(p)->queue_next;
		uint32_t len = next != NULL ? pkt_total(next) : 0;

		if (next == NULL || !can_copy(t, c, p, len)) {
			p = next;
			continue;
		}
		pkt_copy_out(next, 0, pkt_append(p, len), len);
		pkt_meta(p)->queue_next = pkt_meta(next)->queue_next;
		if (c->rcvq.tail == next)
			c->rcvq.tail = p;
		c->rcvq.count--;
		tcp_conn_unpin(t, c, pkt_truesize(next));
		pkt_free(next);
	}
}

/* from's packets follow to's. */
static void
queue_join(struct pkt_queue *to, struct pkt_queue *from)
{
	if (from->head == NULL)
		return;
	if (to->tail != NULL)
		pkt_meta(to->tail)->queue_next = from->head;
	else
		to->head = from->head;
	to->tail = from->tail;
	to->count += from->count;
	*from = (struct pkt_queue){ 0 };
}

/* --- runs ----------------------------------------------------------------------------- */

static struct pkt_queue
queue_of(const struct tcp_run *run)
{
	return (struct pkt_queue){ run->head, run->tail, run->pkts };
}

static void
set_queue(struct tcp_run *run, const struct pkt_queue *q)
{
	run->head = q->head;
	run->tail = q->tail;
	run->pkts = q->count;
}

static void
drop_packets(struct tcp *t, struct tcp_conn *c, struct tcp_run *run)
{
	struct pkt_queue q = queue_of(run);
	struct pkt *p;

	while ((p = pkt_queue_get(&q)) != NULL) {
		tcp_conn_unpin(t, c, pkt_truesize(p));
		pkt_free(p);
	}
}

static void
run_free(struct tcp *t, struct tcp_conn *c, struct tcp_run *run)
{
	drop_packets(t, c, run);
	tcp_runs_remove(t, c, run);
}

void
tcp_reass_free(struct tcp *t, struct tcp_conn *c)
{
	for (struct tcp_run *run = tcp_runs_newest(t, c); run != NULL; run = tcp_runs_older(t, run))
		drop_packets(t, c, run);
	tcp_runs_forget(t, c);
}

/* One that has few may take the last of the quarter of the pool, one that has many may not: it would leave none
 * for the holes of others. What senders hold of the pool is no reason to drop. */
static bool
can_add_run(const struct tcp *t, const struct tcp_conn *c)
{
	uint32_t count = tcp_runs_count(t, c);
	uint32_t sixteenth = t->ranges.count / 16;
	uint32_t left = t->ranges.free + t->stats.ranges; /* by the runs of all */

	if (t->ranges.free == 0)
		return false;
	if (count < TCP_CONN_RUNS_MIN)
		return left > 12 * sixteenth;
	return count < c->rcv_max / KIB && left > 13 * sixteenth;
}

/* p's bytes follow the run's. Takes p. */
static void
run_append(struct tcp *t, struct tcp_conn *c, struct tcp_run *run, struct pkt *p)
{
	struct pkt_queue q = queue_of(run);

	queue_payload(t, c, &q, p);
	set_queue(run, &q);
}

static void
run_put_front(struct tcp *t, struct tcp_conn *c, struct tcp_run *run, struct pkt *p)
{
	struct pkt_queue q = queue_of(run);

	tcp_conn_pin(t, c, pkt_truesize(p));
	pkt_queue_put_front(&q, p);
	set_queue(run, &q);
}

/* Joins the run with the one after it if they touch. */
static void
run_join_next(struct tcp *t, struct tcp_conn *c, struct tcp_run *run)
{
	struct tcp_run *next = tcp_runs_after(t, c, run->start);
	struct pkt_queue q = queue_of(run);
	struct pkt_queue more;

	if (next == NULL || next->start != run->end)
		return;
	more = queue_of(next);
	queue_join(&q, &more);
	set_queue(run, &q);
	run->end = next->end;
	tcp_runs_remove(t, c, next);
}

/* n bytes of run from offset on. */
static void
run_copy_out(const struct tcp_run *run, uint32_t offset, uint8_t *to, uint32_t n)
{
	for (const struct pkt *p = run->head; n > 0; p = pkt_meta(p)->queue_next) {
		uint32_t total = pkt_total(p);
		uint32_t part = total > offset ? smaller(total - offset, n) : 0;

		if (part > 0)
			pkt_copy_out(p, offset, to, part);
		offset -= smaller(offset, total);
		to += part;
		n -= part;
	}
}

static bool
is_ours_alone(const struct pkt *p)
{
	for (; p != NULL; p = pkt_next(p))
		if (pkt_refs(p) != 1)
			return false;
	return true;
}

/* Writes run over the bytes of s that it covers; s covers run whole. */
static void
overlay(const struct tcp_run *run, const struct tcp_segment *s)
{
	uint32_t first = run->start - s->seq;
	uint32_t last = run->end - s->seq;
	uint32_t at = 0;

	for (const struct pkt *p = s->pkt; p != NULL && at < last; p = pkt_next(p)) {
		uint32_t end = at + pkt_len(p);
		uint32_t from = at > first ? at : first;
		uint32_t to = smaller(end, last);

		if (from < to)
			run_copy_out(run, from - first, pkt_data(p) + (from - at), to - from);
		at = end;
	}
}

static void
cut_at(struct tcp_segment *s, uint32_t seq)
{
	pkt_trim(s->pkt, s->seq + s->len - seq);
	s->len = seq - s->seq;
}

/* Makes s say what the runs say already that begin at s->seq or behind it: those that s covers are written over
 * it, at one that reaches further it ends. A packet that others hold too ends before the first. Those covered are
 * freed next, so the steps for them are paid for by the segments that brought them. */
static void
keep_first_copy(const struct tcp *t, const struct tcp_conn *c, struct tcp_segment *s)
{
	const struct tcp_run *run = tcp_runs_after(t, c, s->seq - 1);

	for (; run != NULL && seq_lt(run->start, s->seq + s->len); run = tcp_runs_after(t, c, run->start)) {
		if (seq_gt(run->end, s->seq + s->len) || !is_ours_alone(s->pkt)) {
			cut_at(s, run->start);
			return;
		}
		overlay(run, s);
	}
}

/* The runs that s covers. */
static uint32_t
free_covered(struct tcp *t, struct tcp_conn *c, const struct tcp_segment *s)
{
	uint32_t n = 0;
	struct tcp_run *run;

	while ((run = tcp_runs_after(t, c, s->seq - 1)) != NULL && seq_le(run->end, s->seq + s->len)) {
		run_free(t, c, run);
		n++;
	}
	return n;
}

/* [s->seq, s->seq + s->len) beyond a hole. */
static enum err
insert_beyond(struct tcp *t, struct tcp_conn *c, struct tcp_segment *s)
{
	struct tcp_run *before = tcp_runs_before(t, c, s->seq);
	struct tcp_run *after;
	uint32_t end = s->seq + s->len;
	bool replaces;

	if (before != NULL && seq_gt(before->end, s->seq)) {
		uint32_t known = before->end - s->seq;

		/* The run that has it is the block after the one that says so (RFC 2883 section 4). */
		tcp_runs_changed(t, c, before);
		c->dsack = true;
		c->dsack_start = s->seq;
		c->dsack_end = seq_min(before->end, end);
		if (known >= s->len)
			return ERR_OK; /* all of it is here already */
		s->pkt = pkt_drop_front(s->pkt, known);
		s->seq += known;
		s->len -= known;
	}
	keep_first_copy(t, c, s);
	replaces = free_covered(t, c, s) > 0;
	end = s->seq + s->len;
	if (before != NULL && before->end == s->seq) {
		run_append(t, c, before, s->pkt);
		before->end = end;
		tcp_runs_changed(t, c, before);
		s->pkt = NULL;
		run_join_next(t, c, before);
		return ERR_OK;
	}
	after = tcp_runs_after(t, c, s->seq);
	if (after != NULL && after->start == end) {
		run_put_front(t, c, after, s->pkt);
		after->start = s->seq;
		tcp_runs_changed(t, c, after);
		s->pkt = NULL;
		return ERR_OK;
	}
	if (!replaces && !can_add_run(t, c))
		return ERR_TCP_PRESSURE;
	run_append(t, c, tcp_runs_add(t, c, s->seq, end), s->pkt);
	s->pkt = NULL;
	return ERR_OK;
}

/* After rcv_nxt has moved: what the first runs now continue goes to rcvq, what it has passed goes. None lies
 * across it (keep_first_copy). */
static void
take_runs(struct tcp *t, struct tcp_conn *c)
{
	struct tcp_run *run;

	while ((run = tcp_runs_first(t, c)) != NULL && seq_le(run->start, c->rcv_nxt)) {
		struct pkt_queue q = queue_of(run);

		if (seq_le(run->end, c->rcv_nxt)) {
			run_free(t, c, run);
			continue;
		}
		CHECK_HOT(run->start == c->rcv_nxt);
		c->rcv_unconsumed += run->end - c->rcv_nxt;
		c->rcv_nxt = run->end;
		queue_join(&c->rcvq, &q);
		tcp_runs_remove(t, c, run);
	}
}

enum err
tcp_reass_insert(struct tcp *t, struct tcp_conn *c, struct tcp_segment *s, bool *out_of_order)
{
	if (s->seq != c->rcv_nxt) {
		*out_of_order = true;
		if (is_pressed(c, TRUESIZE_COPY) || t->stats.pressure >= TCP_PRESSURE_EDGE)
			return ERR_TCP_PRESSURE;
		return insert_beyond(t, c, s);
	}
	*out_of_order = c->runs != 0;
	while (is_pressed(c, TRUESIZE_MAX) && c->runs != 0)
		run_free(t, c, tcp_runs_last(t, c));
	/* Rounding has promised more than the buffer (window.c); full segments never meet this bound. */
	if (is_pressed(c, TRUESIZE_MAX) ||
	    c->rcv_unconsumed + s->len > c->rcv_max + c->rcv_max / 8 + (UINT32_C(2) << c->rcv_shift))
		return ERR_TCP_PRESSURE;
	keep_first_copy(t, c, s);
	c->rcv_nxt += s->len;
	c->rcv_unconsumed += s->len;
	queue_payload(t, c, &c->rcvq, s->pkt);
	s->pkt = NULL;
	take_runs(t, c);
	return ERR_OK;
}

/* --- SACK -------------------------------------------------------------------------------- */

void
tcp_reass_sack(const struct tcp *t, const struct tcp_conn *c, struct tcphdr *h, uint32_t max)
{
	const struct tcp_run *run = tcp_runs_newest(t, c);

	h->sack_count = 0;
	if (c->dsack)
		h->sack[h->sack_count++] = (struct tcphdr_sack){ c->dsack_start, c->dsack_end };
	for (; run != NULL && h->sack_count < max; run = tcp_runs_older(t, run))
		h->sack[h->sack_count++] = (struct tcphdr_sack){ run->start, run->end };
}

/*
 * Received payload: in order to rcvq, beyond a hole to a sorted list of disjoint runs. Runs are lent from the
 * pool of ranges, at most TCP_RUNS_MAX per connection and a quarter of the pool for all, so neither
 * a search nor the memory grows with what a peer sends (CVE-2018-5390). Payload of up to
 * TCP_COPY_BYTES_MAX is copied into the packet before it, so that small segments do not pin large buffers.
 */
#include "tcp/internal.h"

/* Memory that queued payload may pin, in multiples of the window. Beyond the first no new
 * window is given (window.c) and everything is copied together; beyond the second data is dropped. */
#define TRUESIZE_COPY 2u
#define TRUESIZE_MAX 4u

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

static void
queue_put_front(struct pkt_queue *q, struct pkt *p)
{
	pkt_meta(p)->queue_next = q->head;
	q->head = p;
	if (q->tail == NULL)
		q->tail = p;
	q->count++;
}

/* --- runs ----------------------------------------------------------------------------- */

/* link points at the run. Its packets must be gone, or are freed. */
static void
run_free(struct tcp *t, struct tcp_conn *c, struct tcp_run **link)
{
	struct tcp_run *run = *link;
	struct pkt *p;

	while ((p = pkt_queue_get(&run->pkts)) != NULL) {
		tcp_conn_unpin(t, c, pkt_truesize(p));
		pkt_free(p);
	}
	c->run_bytes -= run->end - run->start;
	c->run_count--;
	*link = run->next;
	pool_put(&t->ranges, run);
}

void
tcp_reass_free(struct tcp *t, struct tcp_conn *c)
{
	while (c->runs != NULL)
		run_free(t, c, &c->runs);
}

static bool
can_add_run(const struct tcp *t, const struct tcp_conn *c)
{
	/* The last three quarters of the pool are for sending. */
	return c->run_count < TCP_RUNS_MAX && t->ranges.free > t->ranges.count / 4 * 3;
}

/* Joins the run at link with the one after it if they touch. */
static void
run_join_next(struct tcp *t, struct tcp_conn *c, struct tcp_run *run)
{
	struct tcp_run *next = run->next;

	if (next == NULL || next->start != run->end)
		return;
	queue_join(&run->pkts, &next->pkts);
	c->run_bytes += next->end - next->start; /* run_free() takes them off again */
	run->end = next->end;
	run_free(t, c, &run->next);
}

/* [s->seq, s->seq + s->len) beyond a hole. Overlap: what is there stays, unless the new segment
 * covers it whole, which needs no splitting. */
static enum err
insert_beyond(struct tcp *t, struct tcp_conn *c, struct tcp_segment *s)
{
	struct tcp_run **link = &c->runs;
	struct tcp_run *before = NULL;
	struct tcp_run *run;
	uint32_t end = s->seq + s->len;

	if (c->run_bytes + s->len > c->rcv_max / 4 * 3)
		return ERR_TCP_PRESSURE;
	/* At most TCP_RUNS_MAX steps. */
	while (*link != NULL && seq_le((*link)->start, s->seq)) {
		before = *link;
		link = &before->next;
	}
	if (before != NULL && seq_gt(before->end, s->seq)) {
		uint32_t known = before->end - s->seq;

		c->dsack = true;
		c->dsack_start = s->seq;
		c->dsack_end = seq_min(before->end, end);
		if (known >= s->len)
			return ERR_OK; /* all of it is here already */
		s->pkt = pkt_drop_front(s->pkt, known);
		s->seq += known;
		s->len -= known;
	}
	while (*link != NULL && seq_le((*link)->end, end))
		run_free(t, c, link);
	if (*link != NULL && seq_lt((*link)->start, end)) {
		pkt_trim(s->pkt, end - (*link)->start);
		end = (*link)->start;
		s->len = end - s->seq;
	}
	c->run_stamp++;
	if (before != NULL && before->end == s->seq) {
		queue_payload(t, c, &before->pkts, s->pkt);
		before->end = end;
		before->stamp = c->run_stamp;
		c->run_bytes += s->len;
		s->pkt = NULL;
		run_join_next(t, c, before);
		return ERR_OK;
	}
	if (*link != NULL && (*link)->start == end) {
		run = *link;
		tcp_conn_pin(t, c, pkt_truesize(s->pkt));
		queue_put_front(&run->pkts, s->pkt);
		run->start = s->seq;
		run->stamp = c->run_stamp;
		c->run_bytes += s->len;
		s->pkt = NULL;
		return ERR_OK;
	}
	if (!can_add_run(t, c))
		return ERR_TCP_PRESSURE;
	run = pool_get(&t->ranges);
	*run = (struct tcp_run){ .next = *link, .start = s->seq, .end = end, .stamp = c->run_stamp };
	*link = run;
	c->run_count++;
	c->run_bytes += s->len;
	queue_payload(t, c, &run->pkts, s->pkt);
	s->pkt = NULL;
	return ERR_OK;
}

/* After rcv_nxt has moved: what the first runs now continue goes to rcvq, what is old goes. */
static bool
take_runs(struct tcp *t, struct tcp_conn *c)
{
	bool filled = c->runs != NULL;

	while (c->runs != NULL && seq_le(c->runs->start, c->rcv_nxt)) {
		struct tcp_run *run = c->runs;
		uint32_t old = c->rcv_nxt - run->start;

		while (old > 0 && run->pkts.head != NULL) {
			struct pkt *p = run->pkts.head;
			uint32_t n = pkt_total(p);

			if (n > old) {
				/* Through the queue, because the head may be another after it. */
				p = pkt_queue_get(&run->pkts);
				tcp_conn_unpin(t, c, pkt_truesize(p));
				p = pkt_drop_front(p, old);
				tcp_conn_pin(t, c, pkt_truesize(p));
				queue_put_front(&run->pkts, p);
				break;
			}
			p = pkt_queue_get(&run->pkts);
			tcp_conn_unpin(t, c, pkt_truesize(p));
			pkt_free(p);
			old -= n;
		}
		if (seq_gt(run->end, c->rcv_nxt)) {
			c->rcv_unconsumed += run->end - c->rcv_nxt;
			c->rcv_nxt = run->end;
		}
		queue_join(&c->rcvq, &run->pkts);
		run_free(t, c, &c->runs);
	}
	return filled;
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
	*out_of_order = c->runs != NULL;
	if (is_pressed(c, TRUESIZE_MAX))
		tcp_reass_free(t, c);
	/* Rounding has promised more than the buffer (window.c); full segments never meet this bound. */
	if (is_pressed(c, TRUESIZE_MAX) ||
	    c->rcv_unconsumed + s->len > c->rcv_max + c->rcv_max / 8 + (UINT32_C(2) << c->rcv_shift))
		return ERR_TCP_PRESSURE;
	c->rcv_nxt += s->len;
	c->rcv_unconsumed += s->len;
	queue_payload(t, c, &c->rcvq, s->pkt);
	s->pkt = NULL;
	take_runs(t, c);
	return ERR_OK;
}

/* --- SACK -------------------------------------------------------------------------------- */

/* The newest run below a stamp. */
static const struct tcp_run *
newest_before(const struct tcp_conn *c, uint32_t stamp)
{
	const struct tcp_run *found = NULL;

	for (const struct tcp_run *run = c->runs; run != NULL; run = run->next)
		if (seq_lt(run->stamp, stamp) && (found == NULL || seq_gt(run->stamp, found->stamp)))
			found = run;
	return found;
}

void
tcp_reass_sack(const struct tcp_conn *c, struct tcphdr *h, uint32_t max)
{
	uint32_t stamp = c->run_stamp + 1;

	h->sack_count = 0;
	if (c->dsack)
		h->sack[h->sack_count++] = (struct tcphdr_sack){ c->dsack_start, c->dsack_end };
	while (h->sack_count < max) {
		const struct tcp_run *run = newest_before(c, stamp);

		if (run == NULL)
			return;
		h->sack[h->sack_count++] = (struct tcphdr_sack){ run->start, run->end };
		stamp = run->stamp;
	}
}

/*
 * Received payload: in order to rcvq, beyond a hole to a sorted list of disjoint runs. Runs are lent from the
 * pool of ranges, at most TCP_RUNS_MAX per connection and a quarter of the pool for all, and have three quarters
 * of the buffer, so neither a search nor the memory grows with what a peer sends (CVE-2018-5390). Payload of up to
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
#define SQUEEZE_STEPS_MAX 256u /* packets of one connection looked at in one go */

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
tcp_reass_squeeze(struct tcp *t, struct tcp_conn *c)
{
	struct pkt *p = c->rcvq.head;

	for (uint32_t n = 0; p != NULL && n < SQUEEZE_STEPS_MAX; n++) {
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

/* At most TCP_RUNS_MAX steps. */
static uint32_t
run_bytes(const struct tcp_conn *c)
{
	uint32_t bytes = 0;

	for (const struct tcp_run *run = c->runs; run != NULL; run = run->next)
		bytes += run->end - run->start;
	return bytes;
}

static void
free_highest(struct tcp *t, struct tcp_conn *c)
{
	struct tcp_run **link = &c->runs;

	while ((*link)->next != NULL)
		link = &(*link)->next;
	run_free(t, c, link);
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
	run->end = next->end;
	run_free(t, c, &run->next);
}

/* n bytes of run from offset on. */
static void
run_copy_out(const struct tcp_run *run, uint32_t offset, uint8_t *to, uint32_t n)
{
	for (const struct pkt *p = run->pkts.head; n > 0; p = pkt_meta(p)->queue_next) {
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

/* Makes s say what the runs say already, from run on, the first that begins behind s->seq: those that s covers
 * are written over it, at one that reaches further it ends. A packet that others hold too ends before the first.
 * At most TCP_RUNS_MAX steps. */
static void
keep_first_copy(const struct tcp_run *run, struct tcp_segment *s)
{
	for (; run != NULL && seq_lt(run->start, s->seq + s->len); run = run->next) {
		if (seq_gt(run->end, s->seq + s->len) || !is_ours_alone(s->pkt)) {
			cut_at(s, run->start);
			return;
		}
		overlay(run, s);
	}
}

/* [s->seq, s->seq + s->len) beyond a hole. */
static enum err
insert_beyond(struct tcp *t, struct tcp_conn *c, struct tcp_segment *s)
{
	struct tcp_run **link = &c->runs;
	struct tcp_run *before = NULL;
	struct tcp_run *run;
	uint32_t end = s->seq + s->len;
	bool replaces = false;

	if (run_bytes(c) + s->len > c->rcv_max / 4 * 3)
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
	keep_first_copy(*link, s);
	end = s->seq + s->len;
	while (*link != NULL && seq_le((*link)->end, end)) {
		run_free(t, c, link);
		replaces = true;
	}
	c->run_stamp++;
	if (before != NULL && before->end == s->seq) {
		queue_payload(t, c, &before->pkts, s->pkt);
		before->end = end;
		before->stamp = c->run_stamp;
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
		s->pkt = NULL;
		return ERR_OK;
	}
	if (!replaces && !can_add_run(t, c))
		return ERR_TCP_PRESSURE;
	run = pool_get(&t->ranges);
	*run = (struct tcp_run){ .next = *link, .start = s->seq, .end = end, .stamp = c->run_stamp };
	*link = run;
	c->run_count++;
	queue_payload(t, c, &run->pkts, s->pkt);
	s->pkt = NULL;
	return ERR_OK;
}

/* After rcv_nxt has moved: what the first runs now continue goes to rcvq, what it has passed goes. None lies
 * across it (keep_first_copy). */
static void
take_runs(struct tcp *t, struct tcp_conn *c)
{
	while (c->runs != NULL && seq_le(c->runs->start, c->rcv_nxt)) {
		struct tcp_run *run = c->runs;

		if (seq_gt(run->end, c->rcv_nxt)) {
			CHECK_HOT(run->start == c->rcv_nxt);
			c->rcv_unconsumed += run->end - c->rcv_nxt;
			c->rcv_nxt = run->end;
			queue_join(&c->rcvq, &run->pkts);
		}
		run_free(t, c, &c->runs);
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
	*out_of_order = c->runs != NULL;
	while (is_pressed(c, TRUESIZE_MAX) && c->runs != NULL)
		free_highest(t, c);
	/* Rounding has promised more than the buffer (window.c); full segments never meet this bound. */
	if (is_pressed(c, TRUESIZE_MAX) ||
	    c->rcv_unconsumed + s->len > c->rcv_max + c->rcv_max / 8 + (UINT32_C(2) << c->rcv_shift))
		return ERR_TCP_PRESSURE;
	keep_first_copy(c->runs, s);
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

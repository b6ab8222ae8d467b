/*
 * Received packets as one chain. What TCP did not copy together is chained as it is, unless it fits behind the
 * packet before it or is not ours alone to write into.
 */
#include "dataplane/inflow.h"

#include "base/check.h"
#include "dataplane/worker.h"

CHECK_STATIC(TLS_WIRE_BYTES_MAX <= TCP_NEED_BYTES, "a record can be waited for");

/* Of two packets in a row: the second did not fit behind the first. What comes before and behind a record has one
 * more each. */
#define NEIGHBOURS_BYTES_MIN 1024
CHECK_STATIC(TLS_WIRE_BYTES_MAX / NEIGHBOURS_BYTES_MIN * 2 + 4 <= INFLOW_PIECES_MAX, "a record's packets");

static void
take_back(struct worker *w)
{
	struct pkt *p;

	while ((p = pkt_queue_get(&w->lent)) != NULL)
		pkt_free(p);
}

static void
note_taken(struct worker *w, struct inflow *in, tcp_conn_t conn)
{
	if (in->taken.list != NULL)
		return;
	in->conn = conn;
	list_append(&w->inflows, &in->taken);
}

static void
forget_taken(struct inflow *in)
{
	if (in->taken.list != NULL)
		list_leave(&in->taken);
}

void
inflow_end_turn(struct worker *w)
{
	struct inflow *in;

	take_back(w);
	while ((in = LIST_MEMBER(w->inflows.first, struct inflow, taken)) != NULL) {
		forget_taken(in);
		if (in->received != NULL)
			tcp_untake(w->tcp, in->conn, in->received);
		in->received = NULL;
	}
}

void
inflow_end(struct worker *w, struct inflow *in)
{
	forget_taken(in);
	if (in->received != NULL)
		pkt_queue_put(&w->lent, in->received);
	*in = (struct inflow){ 0 };
}

static struct pkt *
last_of(struct pkt *p)
{
	while (pkt_next(p) != NULL)
		p = pkt_next(p);
	return p;
}

static bool
fits_behind(const struct pkt *last, uint32_t len)
{
	return pkt_refs(last) == 1 && pkt_tailroom(last) >= len;
}

/* A packet of our own with p's bytes; takes p. NULL: there is no memory. */
static struct pkt *
own(struct worker *w, struct pkt *p)
{
	uint32_t len = pkt_len(p);
	struct pkt *copy = pkt_alloc(w->config.payload_pool);

	if (copy != NULL && pkt_tailroom(copy) >= len) {
		memcpy(pkt_append(copy, len), pkt_data(p), len);
	} else {
		pkt_free(copy);
		copy = NULL;
	}
	pkt_free(p);
	return copy;
}

/* Takes the one segment p. */
static void
add_segment(struct worker *w, struct inflow *in, struct pkt *p)
{
	uint32_t len = pkt_len(p);

	if (in->received != NULL && fits_behind(last_of(in->received), len)) {
		memcpy(pkt_append(in->received, len), pkt_data(p), len);
		pkt_free(p);
		return;
	}
	if (pkt_refs(p) != 1 || (in->received != NULL && len + pkt_tailroom(p) < NEIGHBOURS_BYTES_MIN))
		p = own(w, p);
	if (p == NULL)
		in->has_lost = true;
	else if (in->received == NULL)
		in->received = p;
	else
		pkt_chain(in->received, p);
}

/* Takes p. */
static void
add_packet(struct worker *w, struct inflow *in, struct pkt *p)
{
	while (p != NULL) {
		struct pkt *rest = pkt_unchain(p);

		if (pkt_len(p) == 0)
			pkt_free(p);
		else
			add_segment(w, in, p);
		p = rest;
	}
}

/* At least `bytes` of what TCP has are here; ERR_MORE: there are not so many yet. */
static enum err
gather(struct worker *w, struct inflow *in, tcp_conn_t conn, uint32_t bytes)
{
	if (tcp_unconsumed(w->tcp, conn) < bytes)
		return ERR_MORE;
	note_taken(w, in, conn);
	while (!in->has_lost && (in->received == NULL || pkt_total(in->received) < bytes)) {
		struct pkt *p = tcp_take(w->tcp, conn);

		CHECK(p != NULL);
		add_packet(w, in, p);
	}
	return in->has_lost ? ERR_POOL_EMPTY : ERR_OK;
}

/* n bytes at the front have been used. Their packets may still be looked at. */
static void
drop(struct worker *w, struct inflow *in, tcp_conn_t conn, uint32_t n)
{
	if (n > 0)
		tcp_consumed(w->tcp, conn, n);
	while (in->received != NULL && n >= pkt_len(in->received)) {
		struct pkt *p = in->received;

		n -= pkt_len(p);
		in->received = pkt_unchain(p);
		pkt_queue_put(&w->lent, p);
	}
	if (n > 0)
		pkt_pull(in->received, n);
}

/* --- bytes as they came ---------------------------------------------------------------------- */

struct bytes
inflow_peek(struct worker *w, struct inflow *in, tcp_conn_t conn)
{
	CHECK(in->plain_left == 0);
	if (in->received == NULL && gather(w, in, conn, 1) != ERR_OK)
		return BYTES_NONE;
	return bytes_make(pkt_data(in->received), pkt_len(in->received));
}

void
inflow_use(struct worker *w, struct inflow *in, tcp_conn_t conn, size_t n)
{
	drop(w, in, conn, (uint32_t)n);
}

bool
inflow_discard(struct worker *w, struct inflow *in, tcp_conn_t conn)
{
	if (in->received == NULL && gather(w, in, conn, 1) != ERR_OK)
		return false;
	drop(w, in, conn, pkt_total(in->received));
	return true;
}

/* --- plaintext ------------------------------------------------------------------------------- */

/* Of n bytes at the front those that lie together. */
static struct bytes
front(const struct inflow *in, uint32_t n)
{
	if (n > TLS_RECORD_BYTES_MAX)
		n = TLS_RECORD_BYTES_MAX;
	if (n > pkt_len(in->received))
		n = pkt_len(in->received);
	return bytes_make(pkt_data(in->received), n);
}

/* The packets that are here. False: they are too many. */
static bool
cut(struct worker *w, const struct inflow *in, struct pieces *pieces)
{
	size_t count = 0;

	for (struct pkt *p = in->received; p != NULL; p = pkt_next(p)) {
		if (count == INFLOW_PIECES_MAX)
			return false;
		w->pieces[count++] = (struct piece){ pkt_data(p), pkt_len(p) };
	}
	*pieces = (struct pieces){ w->pieces, count };
	return true;
}

static void
await(struct worker *w, struct inflow *in, tcp_conn_t conn, size_t bytes)
{
	in->wanted = (uint32_t)bytes;
	tcp_set_need(w->tcp, conn, bytes > 0);
}

/* The next record is opened; ERR_OK: that may have been all there was to it. */
static enum err
open_record(struct worker *w, struct inflow *in, tcp_conn_t conn, struct tls_conn *tls)
{
	struct tls_opened opened;
	struct pieces pieces;
	enum err verdict;

	for (;;) {
		verdict = gather(w, in, conn, in->wanted > 0 ? in->wanted : 1);
		if (verdict != ERR_OK)
			return verdict;
		if (!cut(w, in, &pieces))
			return ERR_POOL_EMPTY;
		verdict = tls_open(tls, &pieces, w->now_ns, &opened);
		if (verdict != ERR_MORE)
			break;
		CHECK(opened.wanted > in->wanted);
		await(w, in, conn, opened.wanted);
	}
	if (verdict != ERR_OK)
		return verdict;
	await(w, in, conn, 0);
	in->plain_left = (uint32_t)opened.len;
	in->behind = opened.len > 0 ? (uint32_t)(opened.taken - opened.offset - opened.len) : 0;
	drop(w, in, conn, (uint32_t)(opened.len > 0 ? opened.offset : opened.taken));
	return ERR_OK;
}

enum err
inflow_peek_plain(struct worker *w, struct inflow *in, tcp_conn_t conn, struct tls_conn *tls,
		  struct bytes *piece)
{
	enum err verdict;

	/* A peer has few records in a row that say nothing (RECORDS_USELESS_MAX). */
	while (in->plain_left == 0) {
		verdict = open_record(w, in, conn, tls);
		if (verdict != ERR_OK)
			return verdict;
	}
	verdict = in->received != NULL ? ERR_OK : gather(w, in, conn, 1);
	if (verdict != ERR_OK)
		return verdict;
	*piece = front(in, in->plain_left);
	return ERR_OK;
}

void
inflow_use_plain(struct worker *w, struct inflow *in, tcp_conn_t conn, uint32_t n)
{
	CHECK(n <= in->plain_left);
	in->plain_left -= n;
	drop(w, in, conn, n);
	if (in->plain_left == 0) {
		drop(w, in, conn, in->behind);
		in->behind = 0;
	}
}

enum err
inflow_plain(struct worker *w, struct inflow *in, tcp_conn_t conn, struct tls_conn *tls, struct bytes *piece)
{
	enum err verdict;

	take_back(w);
	if (tls != NULL) {
		verdict = inflow_peek_plain(w, in, conn, tls, piece);
		if (verdict == ERR_OK)
			inflow_use_plain(w, in, conn, (uint32_t)piece->len);
		return verdict;
	}
	verdict = in->received != NULL ? ERR_OK : gather(w, in, conn, 1);
	if (verdict == ERR_OK) {
		*piece = front(in, pkt_total(in->received));
		drop(w, in, conn, (uint32_t)piece->len);
	}
	return verdict;
}

/*
 * The segments in flight: which were sent when, and what became of them. The scoreboard of SACK, RACK's list and
 * Karn's memory in one. Segments are noted in the order of their numbers, in chunks lent from the pool of blocks;
 * nothing is ever moved or split. A SACK block that covers a segment in part says nothing about it: receivers
 * report what arrived, and that was whole segments.
 *
 * The work of an ACK is bounded by the segments it is about, and by the chunks before them: a chunk counts what
 * can still be SACKed or sent again in it, and one with nothing is stepped over.
 */
#include "tcp/internal.h"

static uint32_t
numbers(const struct tcp_sent *sent)
{
	return sent->len + (sent->flags & TCP_SENT_FIN ? 1u : 0u);
}

static void *
block_get(struct tcp *t)
{
	void *block = pool_get(&t->blocks);

	if (block != NULL)
		t->stats.blocks++;
	return block;
}

static void
block_put(struct tcp *t, void *block)
{
	pool_put(&t->blocks, block);
	t->stats.blocks--;
}

/* --- what is noted ------------------------------------------------------------------ */

static bool
begin(struct tcp *t, struct tcp_conn *c)
{
	struct tcp_flight *f = block_get(t);

	if (f == NULL)
		return false;
	f->wake_at_ns = NEVER_NS;
	f->fack = c->snd_una;
	f->round_end = c->snd_nxt;
	f->round_min_us = UINT32_MAX;
	f->last_min_us = UINT32_MAX;
	c->flight = f;
	return true;
}

/* The last quarter of the pool is for first chunks: flights of many tiny segments, never acknowledged, leave to
 * everyone else a flight of his own. */
bool
tcp_flight_may_grow(const struct tcp *t, const struct tcp_conn *c)
{
	const struct tcp_flight *f = c->flight;

	if (f == NULL || f->tail == NULL || f->tail->stop < TCP_CHUNK_SENT)
		return true;
	return t->blocks.free > t->blocks.count / 4;
}

bool
tcp_flight_reserve(struct tcp *t, struct tcp_conn *c)
{
	struct tcp_flight *f;
	struct tcp_chunk *chunk;

	if (c->flight == NULL && !begin(t, c))
		return false;
	f = c->flight;
	if (f->tail != NULL && f->tail->stop < TCP_CHUNK_SENT)
		return true;
	chunk = block_get(t);
	if (chunk == NULL)
		return false;
	if (f->tail != NULL)
		f->tail->next = chunk;
	else
		f->head = chunk;
	f->tail = chunk;
	return true;
}

void
tcp_flight_append(struct tcp_conn *c, uint32_t len, bool fin, uint32_t range, uint64_t now_ns)
{
	struct tcp_chunk *chunk = c->flight->tail;

	chunk->sent[chunk->stop++] = (struct tcp_sent){
		.seq = c->snd_nxt,
		.sent_us = tcp_clock_us(now_ns),
		.range = range,
		.len = (uint16_t)len,
		.flags = fin ? TCP_SENT_FIN : 0,
		/* Rewound, or a window probe before: not the first time (Karn). */
		.sends = seq_lt(c->snd_nxt, c->snd_max) ? 2 : 1,
	};
	chunk->open++;
}

void
tcp_flight_free(struct tcp *t, struct tcp_conn *c)
{
	struct tcp_flight *f = c->flight;

	if (f == NULL)
		return;
	while (f->head != NULL) {
		struct tcp_chunk *chunk = f->head;

		f->head = chunk->next;
		block_put(t, chunk);
	}
	block_put(t, f);
	c->flight = NULL;
}

/* --- what the peer has --------------------------------------------------------------- */

static bool
is_later(uint32_t a_us, uint32_t a_end, uint32_t b_us, uint32_t b_end)
{
	return seq_gt(a_us, b_us) || (a_us == b_us && seq_gt(a_end, b_end));
}

/* Takes sent out of the sums that its flags put it in. */
static void
forget_flags(struct tcp_flight *f, struct tcp_chunk *chunk, const struct tcp_sent *sent)
{
	uint32_t n = numbers(sent);

	if (sent->flags & TCP_SENT_SACKED) {
		f->sacked_bytes -= n;
		f->sacked_segments--;
		return;
	}
	if (!(sent->flags & TCP_SENT_LOST)) {
		chunk->open--;
		return;
	}
	f->lost_bytes -= n;
	if (sent->flags & TCP_SENT_RESENT) {
		f->resent_bytes -= n;
		chunk->open--;
	} else {
		chunk->resend--;
	}
}

/* sent arrived, as the peer has just said for the first time. */
static void
deliver(const struct tcp_conn *c, const struct tcp_sent *sent, struct tcp_delivery *d)
{
	uint32_t end = tcp_sent_end(sent);

	if (sent->sends > 1)
		d->was_resent = true;
	else if (seq_lt(end, c->flight->fack))
		d->was_overtaken = true;
	if (d->segments == 0 || is_later(sent->sent_us, end, d->sent_us, d->sent_end)) {
		d->sent_us = sent->sent_us;
		d->sent_end = end;
		d->sent_sends = sent->sends;
	}
	d->segments++;
	d->bytes += numbers(sent);
}

/* The head is acknowledged in part; the rest begins in range. */
static void
cut_head(struct tcp_flight *f, struct tcp_sent *sent, uint32_t n, uint32_t range)
{
	if (sent->flags & TCP_SENT_SACKED)
		f->sacked_bytes -= n;
	else if (sent->flags & TCP_SENT_LOST)
		f->lost_bytes -= n;
	if (!(sent->flags & TCP_SENT_SACKED) && sent->flags & TCP_SENT_RESENT)
		f->resent_bytes -= n;
	sent->seq += n;
	sent->len = (uint16_t)(sent->len - n);
	sent->range = range;
}

void
tcp_flight_acked(struct tcp *t, struct tcp_conn *c, uint32_t ack, uint32_t range, struct tcp_delivery *d)
{
	struct tcp_flight *f = c->flight;

	while (f->head != NULL) {
		struct tcp_chunk *chunk = f->head;
		struct tcp_sent *sent = &chunk->sent[chunk->first];

		if (chunk->first == chunk->stop) {
			f->head = chunk->next;
			if (chunk->next == NULL)
				f->tail = NULL;
			block_put(t, chunk);
			continue;
		}
		if (seq_gt(tcp_sent_end(sent), ack)) {
			if (seq_gt(ack, sent->seq)) {
				d->bytes += sent->flags & TCP_SENT_SACKED ? 0 : ack - sent->seq;
				cut_head(f, sent, ack - sent->seq, range);
			}
			break;
		}
		if (!(sent->flags & TCP_SENT_SACKED))
			deliver(c, sent, d);
		forget_flags(f, chunk, sent);
		chunk->first++;
	}
	f->fack = seq_max(f->fack, ack);
}

static void
sack_one(struct tcp_conn *c, struct tcp_chunk *chunk, struct tcp_sent *sent, struct tcp_delivery *d)
{
	struct tcp_flight *f = c->flight;

	if (sent->flags & TCP_SENT_SACKED)
		return;
	deliver(c, sent, d);
	d->sacked_bytes += numbers(sent);
	forget_flags(f, chunk, sent);
	sent->flags = (uint8_t)((sent->flags & TCP_SENT_FIN) | TCP_SENT_SACKED);
	f->sacked_bytes += numbers(sent);
	f->sacked_segments++;
	f->fack = seq_max(f->fack, tcp_sent_end(sent));
}

void
tcp_flight_sack(struct tcp_conn *c, uint32_t start, uint32_t end, struct tcp_delivery *d)
{
	/* A block that is not of this flight is not believed. */
	if (c->flight == NULL || seq_le(start, c->snd_una) || seq_ge(start, end) || seq_gt(end, c->snd_nxt))
		return;
	for (struct tcp_chunk *chunk = c->flight->head; chunk != NULL; chunk = chunk->next) {
		if (chunk->open + chunk->resend == 0 ||
		    seq_le(tcp_sent_end(&chunk->sent[chunk->stop - 1]), start))
			continue;
		for (uint32_t i = chunk->first; i < chunk->stop; i++) {
			struct tcp_sent *sent = &chunk->sent[i];

			if (seq_gt(tcp_sent_end(sent), end))
				return;
			if (seq_ge(sent->seq, start))
				sack_one(c, chunk, sent, d);
		}
	}
}

/* --- what is lost --------------------------------------------------------------------- */

struct tcp_sent *
tcp_flight_next_lost(const struct tcp_flight *f, struct tcp_chunk **chunk)
{
	for (struct tcp_chunk *k = f->head; k != NULL; k = k->next) {
		if (k->resend == 0)
			continue;
		for (uint32_t i = k->first; i < k->stop; i++) {
			struct tcp_sent *sent = &k->sent[i];

			if ((sent->flags & (TCP_SENT_SACKED | TCP_SENT_LOST | TCP_SENT_RESENT)) == TCP_SENT_LOST) {
				*chunk = k;
				return sent;
			}
		}
	}
	return NULL;
}

struct tcp_sent *
tcp_flight_head(const struct tcp_flight *f, struct tcp_chunk **chunk)
{
	if (f->head == NULL || f->head->first == f->head->stop)
		return NULL;
	*chunk = f->head;
	return &f->head->sent[f->head->first];
}

struct tcp_sent *
tcp_flight_tail(const struct tcp_flight *f, struct tcp_chunk **chunk)
{
	struct tcp_chunk *last = f->tail;

	if (last == NULL)
		return NULL;
	/* tcp_flight_reserve() may have put an empty one behind. */
	if (last->first == last->stop) {
		last = f->head;
		while (last != f->tail && last->next != f->tail)
			last = last->next;
	}
	if (last->first == last->stop)
		return NULL;
	*chunk = last;
	return &last->sent[last->stop - 1];
}

void
tcp_flight_resent(struct tcp_flight *f, struct tcp_chunk *chunk, struct tcp_sent *sent, uint64_t now_ns)
{
	sent->sent_us = tcp_clock_us(now_ns);
	if (sent->sends < UINT8_MAX)
		sent->sends++;
	if ((sent->flags & (TCP_SENT_LOST | TCP_SENT_RESENT)) != TCP_SENT_LOST)
		return; /* a probe: the first one may still arrive */
	sent->flags |= TCP_SENT_RESENT;
	f->resent_bytes += numbers(sent);
	chunk->resend--;
	chunk->open++;
}

void
tcp_flight_lost(struct tcp_flight *f, struct tcp_chunk *chunk, struct tcp_sent *sent)
{
	if (sent->flags & TCP_SENT_SACKED)
		return;
	if (sent->flags & TCP_SENT_RESENT) {
		sent->flags = (uint8_t)(sent->flags & ~TCP_SENT_RESENT);
		f->resent_bytes -= numbers(sent);
	} else if (sent->flags & TCP_SENT_LOST) {
		return;
	} else {
		sent->flags |= TCP_SENT_LOST;
		f->lost_bytes += numbers(sent);
	}
	chunk->open--;
	chunk->resend++;
}

void
tcp_flight_unlose(struct tcp_flight *f)
{
	for (struct tcp_chunk *chunk = f->head; chunk != NULL; chunk = chunk->next) {
		for (uint32_t i = chunk->first; i < chunk->stop; i++) {
			struct tcp_sent *sent = &chunk->sent[i];

			if (!(sent->flags & TCP_SENT_SACKED))
				sent->flags &= TCP_SENT_FIN;
		}
		chunk->open = (uint8_t)(chunk->open + chunk->resend);
		chunk->resend = 0;
	}
	f->lost_bytes = 0;
	f->resent_bytes = 0;
}

void
tcp_flight_unsack(struct tcp_conn *c)
{
	struct tcp_flight *f = c->flight;

	for (struct tcp_chunk *chunk = f->head; chunk != NULL; chunk = chunk->next)
		for (uint32_t i = chunk->first; i < chunk->stop; i++) {
			if (!(chunk->sent[i].flags & TCP_SENT_SACKED))
				continue;
			chunk->sent[i].flags &= TCP_SENT_FIN;
			chunk->open++;
		}
	f->sacked_bytes = 0;
	f->sacked_segments = 0;
	f->fack = c->snd_una;
}

uint32_t
tcp_flight_pipe(const struct tcp_conn *c)
{
	const struct tcp_flight *f = c->flight;
	uint32_t flight = c->snd_nxt - c->snd_una;
	uint32_t gone;

	if (f == NULL)
		return 0;
	gone = f->sacked_bytes + f->lost_bytes + f->duplicate_bytes;
	return (gone < flight ? flight - gone : 0) + f->resent_bytes;
}

/* --- for tests ------------------------------------------------------------------------- */

void
tcp_flight_check(const struct tcp_conn *c)
{
	const struct tcp_flight *f = c->flight;
	struct tcp_flight sum = { 0 };
	uint32_t seq = c->snd_una;

	for (const struct tcp_chunk *chunk = f->head; chunk != NULL; chunk = chunk->next) {
		uint32_t open = 0;
		uint32_t resend = 0;

		CHECK(chunk->first <= chunk->stop && chunk->stop <= TCP_CHUNK_SENT);
		CHECK(chunk->first == 0 || chunk == f->head);
		CHECK((chunk->next == NULL) == (chunk == f->tail));
		for (uint32_t i = chunk->first; i < chunk->stop; i++) {
			const struct tcp_sent *sent = &chunk->sent[i];
			uint32_t n = numbers(sent);

			CHECK(sent->seq == seq && n > 0 && sent->sends > 0);
			seq += n;
			if (sent->flags & TCP_SENT_SACKED) {
				CHECK(seq_le(seq, f->fack));
				sum.sacked_bytes += n;
				sum.sacked_segments++;
				continue;
			}
			CHECK(!(sent->flags & TCP_SENT_RESENT) || sent->flags & TCP_SENT_LOST);
			sum.lost_bytes += sent->flags & TCP_SENT_LOST ? n : 0;
			sum.resent_bytes += sent->flags & TCP_SENT_RESENT ? n : 0;
			if ((sent->flags & (TCP_SENT_LOST | TCP_SENT_RESENT)) == TCP_SENT_LOST)
				resend++;
			else
				open++;
		}
		CHECK(open == chunk->open && resend == chunk->resend);
	}
	CHECK(seq == c->snd_nxt);
	CHECK(sum.sacked_bytes == f->sacked_bytes && sum.sacked_segments == f->sacked_segments);
	CHECK(sum.lost_bytes == f->lost_bytes && sum.resent_bytes == f->resent_bytes);
}

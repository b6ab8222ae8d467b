#pragma once

#include <stdlib.h>

#include "base/check.h"

/*
 * pkt_body on malloc, for tests: every buffer and every segment is an allocation of its own, so that ASan
 * sees a use after the last free, and a pool counts what is out, so that a test sees a leak.
 */
struct pkt_pool {
	uint32_t total;
	uint32_t used;
	/* The n-th allocation from now fails, once, if this is n > 0: for tests of empty pools. */
	uint32_t fail_in;
};

/* The bytes behind a segment; attached segments share them. */
struct pkt_buffer {
	struct pkt_pool *pool;
	uint32_t refs;
	uint8_t bytes[PKT_HEADROOM_BYTES + PKT_ROOM_BYTES];
};

struct pkt {
	struct pkt_meta meta;
	struct pkt_pool *pool; /* of an attached segment's own unit, else NULL */
	struct pkt_buffer *buffer;
	struct pkt *next;
	uint8_t *data;
	uint32_t len;
	uint32_t total; /* right in the head only */
	uint32_t refs;
};

static inline void
pkt_pool_init(struct pkt_pool *pool, uint32_t total)
{
	*pool = (struct pkt_pool){ .total = total };
}

static inline struct pkt_pool_stats
pkt_pool_stats(const struct pkt_pool *pool)
{
	return (struct pkt_pool_stats){ pool->total, pool->total - pool->used };
}

static inline bool
pkt_pool_take(struct pkt_pool *pool)
{
	if (pool->fail_in > 0 && --pool->fail_in == 0)
		return false;
	if (pool->used == pool->total)
		return false;
	pool->used++;
	return true;
}

static inline void
pkt_pool_give(struct pkt_pool *pool)
{
	CHECK(pool->used > 0);
	pool->used--;
}

static inline struct pkt *
pkt_alloc(struct pkt_pool *pool)
{
	struct pkt *p;

	if (!pkt_pool_take(pool))
		return NULL;
	p = calloc(1, sizeof(*p));
	CHECK(p != NULL);
	p->buffer = malloc(sizeof(*p->buffer));
	CHECK(p->buffer != NULL);
	p->buffer->pool = pool;
	p->buffer->refs = 1;
	p->data = p->buffer->bytes + PKT_HEADROOM_BYTES;
	p->refs = 1;
	return p;
}

static inline struct pkt *
pkt_attach(struct pkt_pool *pool, struct pkt *from, uint32_t offset, uint32_t len)
{
	struct pkt *p;

	CHECK(offset <= from->len && len <= from->len - offset);
	if (!pkt_pool_take(pool))
		return NULL;
	p = calloc(1, sizeof(*p));
	CHECK(p != NULL);
	p->pool = pool;
	p->buffer = from->buffer;
	p->buffer->refs++;
	p->data = from->data + offset;
	p->len = len;
	p->total = len;
	p->refs = 1;
	return p;
}

static inline bool
pkt_extend(struct pkt *head, const struct pkt *from, uint32_t offset, uint32_t len)
{
	struct pkt *last = head;

	CHECK(offset <= from->len && len <= from->len - offset);
	while (last->next != NULL)
		last = last->next;
	if (last->pool == NULL || last->buffer != from->buffer || last->data + last->len != from->data + offset)
		return false;
	last->len += len;
	head->total += len;
	return true;
}

static inline void
pkt_ref(struct pkt *p)
{
	for (; p != NULL; p = p->next)
		p->refs++;
}

static inline void
pkt_free_segment(struct pkt *p)
{
	CHECK(p->refs > 0);
	if (--p->refs > 0)
		return;
	if (--p->buffer->refs == 0) {
		pkt_pool_give(p->buffer->pool);
		free(p->buffer);
	}
	if (p->pool != NULL)
		pkt_pool_give(p->pool);
	free(p);
}

static inline void
pkt_free(struct pkt *p)
{
	while (p != NULL) {
		struct pkt *next = p->next;

		pkt_free_segment(p);
		p = next;
	}
}

static inline uint32_t
pkt_refs(const struct pkt *p)
{
	return p->refs + p->buffer->refs - 1;
}

static inline uint8_t *
pkt_data(const struct pkt *p)
{
	return p->data;
}

static inline uint32_t
pkt_len(const struct pkt *p)
{
	return p->len;
}

static inline uint32_t
pkt_total(const struct pkt *p)
{
	return p->total;
}

static inline struct pkt *
pkt_next(const struct pkt *p)
{
	return p->next;
}

static inline uint32_t
pkt_segments(const struct pkt *p)
{
	uint32_t count = 0;

	for (; p != NULL; p = p->next)
		count++;
	return count;
}

static inline uint32_t
pkt_truesize(const struct pkt *p)
{
	return pkt_segments(p) * (uint32_t)(sizeof(struct pkt) + sizeof(struct pkt_buffer));
}

static inline uint32_t
pkt_headroom(const struct pkt *p)
{
	return (uint32_t)(p->data - p->buffer->bytes);
}

/* A shared buffer has no room: its bytes are somebody else's as well. */
static inline uint32_t
pkt_tailroom(const struct pkt *p)
{
	if (p->pool != NULL)
		return 0;
	return (uint32_t)(p->buffer->bytes + sizeof(p->buffer->bytes) - (p->data + p->len));
}

static inline uint8_t *
pkt_prepend(struct pkt *p, uint32_t n)
{
	if (p->pool != NULL || pkt_headroom(p) < n)
		return NULL;
	p->data -= n;
	p->len += n;
	p->total += n;
	return p->data;
}

static inline uint8_t *
pkt_append(struct pkt *p, uint32_t n)
{
	struct pkt *last = p;
	uint8_t *to;

	while (last->next != NULL)
		last = last->next;
	if (pkt_tailroom(last) < n)
		return NULL;
	to = last->data + last->len;
	last->len += n;
	p->total += n;
	return to;
}

static inline uint8_t *
pkt_pull(struct pkt *p, uint32_t n)
{
	CHECK(n <= p->len);
	p->data += n;
	p->len -= n;
	p->total -= n;
	return p->data;
}

static inline void
pkt_trim(struct pkt *p, uint32_t n)
{
	CHECK(n <= p->total);
	p->total -= n;
	while (n > 0) {
		struct pkt *before = NULL;
		struct pkt *last = p;
		uint32_t cut;

		while (last->next != NULL) {
			before = last;
			last = last->next;
		}
		cut = n < last->len ? n : last->len;
		last->len -= cut;
		n -= cut;
		if (last->len == 0 && before != NULL) {
			before->next = NULL;
			pkt_free_segment(last);
		}
	}
}

static inline void
pkt_chain(struct pkt *head, struct pkt *tail)
{
	struct pkt *last = head;

	while (last->next != NULL)
		last = last->next;
	last->next = tail;
	head->total += tail->total;
}

static inline struct pkt *
pkt_unchain(struct pkt *head)
{
	struct pkt *rest = head->next;

	head->next = NULL;
	if (rest != NULL)
		rest->total = head->total - head->len;
	head->total = head->len;
	return rest;
}

static inline struct pkt_meta *
pkt_meta(const struct pkt *p)
{
	return &((struct pkt *)p)->meta;
}

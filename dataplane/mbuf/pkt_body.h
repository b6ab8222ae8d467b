#pragma once

#include <rte_mbuf.h>

#include "base/check.h"

/*
 * pkt_body on rte_mbuf: struct pkt is one, struct pkt_pool is an rte_mempool of them, struct pkt_meta is
 * their private area. Attached segments are indirect mbufs.
 */

static inline struct rte_mbuf *
pkt_mbuf(const struct pkt *p)
{
	return (struct rte_mbuf *)p;
}

static inline struct pkt *
pkt_of_mbuf(struct rte_mbuf *m)
{
	return (struct pkt *)m;
}

static inline struct pkt_meta *
pkt_meta(const struct pkt *p)
{
	return rte_mbuf_to_priv(pkt_mbuf(p));
}

/* Walks the caches of all cores: for a look each millisecond, not for each packet. */
static inline struct pkt_pool_stats
pkt_pool_stats(const struct pkt_pool *pool)
{
	const struct rte_mempool *mp = (const struct rte_mempool *)pool;

	return (struct pkt_pool_stats){ mp->size, rte_mempool_avail_count(mp) };
}

static inline struct pkt *
pkt_alloc(struct pkt_pool *pool)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc((struct rte_mempool *)pool);

	if (m == NULL)
		return NULL;
	memset(pkt_meta(pkt_of_mbuf(m)), 0, sizeof(struct pkt_meta));
	return pkt_of_mbuf(m);
}

static inline struct pkt *
pkt_attach(struct pkt_pool *pool, struct pkt *from, uint32_t offset, uint32_t len)
{
	struct rte_mbuf *m;

	CHECK(offset + len <= pkt_mbuf(from)->data_len);
	m = rte_pktmbuf_alloc((struct rte_mempool *)pool);
	if (m == NULL)
		return NULL;
	rte_pktmbuf_attach(m, pkt_mbuf(from));
	m->data_off = (uint16_t)(m->data_off + offset);
	m->data_len = (uint16_t)len;
	m->pkt_len = len;
	m->nb_segs = 1;
	m->next = NULL;
	memset(pkt_meta(pkt_of_mbuf(m)), 0, sizeof(struct pkt_meta));
	return pkt_of_mbuf(m);
}

static inline bool
pkt_extend(struct pkt *head, const struct pkt *from, uint32_t offset, uint32_t len)
{
	const struct rte_mbuf *source = pkt_mbuf(from);
	struct rte_mbuf *last = rte_pktmbuf_lastseg(pkt_mbuf(head));

	CHECK(offset + len <= source->data_len);
	if (RTE_MBUF_DIRECT(last) || last->buf_addr != source->buf_addr ||
	    last->data_off + last->data_len != source->data_off + offset ||
	    last->data_len + len > UINT16_MAX)
		return false;
	last->data_len = (uint16_t)(last->data_len + len);
	pkt_mbuf(head)->pkt_len += len;
	return true;
}

static inline void
pkt_ref(struct pkt *p)
{
	rte_pktmbuf_refcnt_update(pkt_mbuf(p), 1);
}

static inline void
pkt_free(struct pkt *p)
{
	rte_pktmbuf_free(pkt_mbuf(p));
}

static inline uint32_t
pkt_refs(const struct pkt *p)
{
	const struct rte_mbuf *m = pkt_mbuf(p);
	uint32_t refs = rte_mbuf_refcnt_read(m);

	/* Whoever else shows the same bytes counts as well. */
	return RTE_MBUF_CLONED(m) ?
		       refs + rte_mbuf_refcnt_read(rte_mbuf_from_indirect((struct rte_mbuf *)(uintptr_t)m)) - 1 :
		       refs;
}

static inline uint8_t *
pkt_data(const struct pkt *p)
{
	return rte_pktmbuf_mtod(pkt_mbuf(p), uint8_t *);
}

static inline uint32_t
pkt_len(const struct pkt *p)
{
	return pkt_mbuf(p)->data_len;
}

static inline uint32_t
pkt_total(const struct pkt *p)
{
	return pkt_mbuf(p)->pkt_len;
}

static inline struct pkt *
pkt_next(const struct pkt *p)
{
	return pkt_of_mbuf(pkt_mbuf(p)->next);
}

static inline uint32_t
pkt_segments(const struct pkt *p)
{
	return pkt_mbuf(p)->nb_segs;
}

static inline uint32_t
pkt_truesize(const struct pkt *p)
{
	uint32_t bytes = 0;

	for (const struct rte_mbuf *m = pkt_mbuf(p); m != NULL; m = m->next)
		bytes += (uint32_t)sizeof(*m) + (uint32_t)sizeof(struct pkt_meta) + m->buf_len;
	return bytes;
}

static inline uint32_t
pkt_headroom(const struct pkt *p)
{
	return rte_pktmbuf_headroom(pkt_mbuf(p));
}

/* An indirect mbuf has no room: its bytes are somebody else's as well. */
static inline uint32_t
pkt_tailroom(const struct pkt *p)
{
	return RTE_MBUF_DIRECT(pkt_mbuf(p)) ? rte_pktmbuf_tailroom(pkt_mbuf(p)) : 0;
}

static inline uint8_t *
pkt_prepend(struct pkt *p, uint32_t n)
{
	if (!RTE_MBUF_DIRECT(pkt_mbuf(p)))
		return NULL;
	return (uint8_t *)rte_pktmbuf_prepend(pkt_mbuf(p), (uint16_t)n);
}

static inline uint8_t *
pkt_append(struct pkt *p, uint32_t n)
{
	if (pkt_tailroom(pkt_of_mbuf(rte_pktmbuf_lastseg(pkt_mbuf(p)))) < n)
		return NULL;
	return (uint8_t *)rte_pktmbuf_append(pkt_mbuf(p), (uint16_t)n);
}

static inline uint8_t *
pkt_pull(struct pkt *p, uint32_t n)
{
	CHECK(n <= pkt_len(p));
	return (uint8_t *)rte_pktmbuf_adj(pkt_mbuf(p), (uint16_t)n);
}

static inline void
pkt_trim(struct pkt *p, uint32_t n)
{
	struct rte_mbuf *head = pkt_mbuf(p);

	CHECK(n <= head->pkt_len);
	head->pkt_len -= n;
	while (n > 0) {
		struct rte_mbuf *before = NULL;
		struct rte_mbuf *last = head;
		uint32_t cut;

		while (last->next != NULL) {
			before = last;
			last = last->next;
		}
		cut = n < last->data_len ? n : last->data_len;
		last->data_len = (uint16_t)(last->data_len - cut);
		n -= cut;
		if (last->data_len == 0 && before != NULL) {
			before->next = NULL;
			head->nb_segs--;
			rte_pktmbuf_free_seg(last);
		}
	}
}

static inline void
pkt_chain(struct pkt *head, struct pkt *tail)
{
	CHECK(rte_pktmbuf_chain(pkt_mbuf(head), pkt_mbuf(tail)) == 0);
}

static inline struct pkt *
pkt_unchain(struct pkt *p)
{
	struct rte_mbuf *head = pkt_mbuf(p);
	struct rte_mbuf *rest = head->next;

	if (rest != NULL) {
		rest->pkt_len = head->pkt_len - head->data_len;
		rest->nb_segs = (uint16_t)(head->nb_segs - 1);
	}
	head->next = NULL;
	head->nb_segs = 1;
	head->pkt_len = head->data_len;
	return pkt_of_mbuf(rest);
}

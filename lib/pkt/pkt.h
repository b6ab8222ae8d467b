#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * pkt: one packet buffer, or a chain of them. The contract; the body is linked
 * in by include directory: dataplane/mbuf/pkt_body.h is rte_mbuf,
 * lib/pkt/heap/pkt_body.h is malloc, for tests, one allocation per buffer so
 * that ASan sees every use after free.
 *
 * Owner:  whoever holds the pointer. A call that takes a packet owns it from
 *         then on, whatever it returns, unless its header says otherwise.
 * Thread: one worker's; a packet changes worker only through a ring.
 * Memory: a pool per worker and kind; empty pool = NULL, never a wait.
 *
 *   room:  [ headroom | data (len) | tailroom ]   x segments in a chain
 *
 * A chain is freed as a whole. Payload that is queued for retransmission never
 * changes again: a (re)transmission is a fresh header packet plus pkt_attach()
 * pieces, because a driver may still read the earlier one.
 */
struct pkt;
struct pkt_pool;

/* Front room of a fresh packet: Ethernet + VLAN + IPv6 + TCP with options fit. */
#define PKT_HEADROOM_BYTES 128
/* Data room of an ordinary packet behind the headroom. */
#define PKT_ROOM_BYTES 2048

/* What the port said about a checksum that it received. */
enum pkt_csum {
	PKT_CSUM_UNKNOWN, /* not looked at: verify in software */
	PKT_CSUM_GOOD,
	PKT_CSUM_BAD,
	PKT_CSUM_NONE, /* data known good, field not filled in (software port on this host) */
	/* On transmit only: the field holds the sum of the pseudo header (RFC 9293 section 3.1), for a TSO
	 * packet without the length; the port, or dataplane/offload.c for it, does the rest. */
	PKT_CSUM_PSEUDO,
};

/* Addresses as every layer above wire/ sees them: IPv4 as ::ffff:a.b.c.d. */
struct ip_addr {
	uint8_t byte[16];
};

/*
 * What travels with a packet besides its bytes. Filled by the port on receive
 * and by the layer that owns the packet after that.
 */
struct pkt_meta {
	/* set by the port */
	uint8_t port;    /* index of the port it came from or leaves by */
	uint8_t l3_csum; /* enum pkt_csum */
	uint8_t l4_csum; /* enum pkt_csum */
	uint8_t ecn;     /* IP ECN field, both directions */
	uint32_t rss_hash;
	/* for the holder's own lists and positions: a sequence number, an offset */
	uint32_t seq;
	uint32_t mark;
	struct pkt *queue_next;
	/* TCP to IP on transmit, IP to TCP on receive */
	struct ip_addr src;
	struct ip_addr dst;
	/* on transmit, for a port that finishes checksums or segments */
	uint16_t tso_mss; /* payload bytes of one segment; 0: the packet is one segment */
	uint8_t l2_bytes;
	uint8_t l3_bytes;
	uint8_t l4_bytes; /* the TCP header with its options */
};

struct pkt_pool_stats {
	uint32_t total;
	uint32_t free;
};

#include "pkt_body.h"

/*
 * The body defines, all static inline:
 *
 * struct pkt_pool_stats pkt_pool_stats(const struct pkt_pool *pool);
 *     Not for each packet: it may look at every core's cache.
 * struct pkt *pkt_alloc(struct pkt_pool *pool);
 *     One empty segment with PKT_HEADROOM_BYTES in front. NULL when the pool is empty.
 * struct pkt *pkt_attach(struct pkt_pool *pool, struct pkt *from, uint32_t offset, uint32_t len);
 *     A segment that shows len bytes of ONE segment `from` (offset inside it) and holds a
 *     reference on it. pool is a pool of bare headers. NULL when that pool is empty.
 * bool pkt_extend(struct pkt *head, const struct pkt *from, uint32_t offset, uint32_t len);
 *     If the last segment of the chain is attached to `from`'s bytes and shows the ones right before
 *     offset, it shows len more: true, and no segment is needed.
 * void pkt_ref(struct pkt *p);            One more reference on every segment of the chain.
 * void pkt_free(struct pkt *p);           One reference less on every segment. NULL is fine.
 * uint32_t pkt_refs(const struct pkt *p); References on this segment and on its bytes: 1, nobody else has them.
 *
 * uint8_t *pkt_data(const struct pkt *p);  First byte of this segment.
 * uint32_t pkt_len(const struct pkt *p);   Bytes in this segment.
 * uint32_t pkt_total(const struct pkt *p); Bytes in the chain. Only the head knows.
 * uint32_t pkt_truesize(const struct pkt *p); Memory that the chain pins, buffers included.
 * struct pkt *pkt_next(const struct pkt *p); Next segment of the chain or NULL.
 * uint32_t pkt_segments(const struct pkt *p);
 * uint32_t pkt_headroom(const struct pkt *p); pkt_tailroom(const struct pkt *p): of this segment.
 *
 * uint8_t *pkt_prepend(struct pkt *p, uint32_t n); New first byte; NULL without headroom.
 * uint8_t *pkt_append(struct pkt *p, uint32_t n);  First new byte, at the end of the LAST
 *                                                  segment; NULL without tailroom there.
 * uint8_t *pkt_pull(struct pkt *p, uint32_t n); Drops n bytes from the front of the first
 *     segment (n <= pkt_len); returns the new first byte.
 * void pkt_trim(struct pkt *p, uint32_t n);  Drops n bytes from the end of the chain, freeing
 *     segments that become empty, never the first.
 * void pkt_chain(struct pkt *head, struct pkt *tail); tail's segments follow head's; head owns.
 * struct pkt *pkt_unchain(struct pkt *head);  Cuts off and returns what follows the first
 *     segment (NULL if nothing); the returned packet is a chain head of its own.
 *
 * struct pkt_meta *pkt_meta(const struct pkt *p);  Of the head; zeroed by pkt_alloc/pkt_attach.
 */

/* Copies n bytes from offset of the chain; the caller knows that they are there. */
void pkt_copy_out(const struct pkt *p, uint32_t offset, void *to, uint32_t n);

/* Drops n bytes from the front of a chain, freeing emptied segments; returns the new head, which
 * has the old head's meta. NULL when nothing is left. n <= pkt_total. */
struct pkt *pkt_drop_front(struct pkt *p, uint32_t n);

/* A FIFO of packets through pkt_meta.queue_next. Zero-initialised is empty. */
struct pkt_queue {
	struct pkt *head;
	struct pkt *tail;
	uint32_t count;
};

static inline void
pkt_queue_put(struct pkt_queue *q, struct pkt *p)
{
	pkt_meta(p)->queue_next = NULL;
	if (q->tail != NULL)
		pkt_meta(q->tail)->queue_next = p;
	else
		q->head = p;
	q->tail = p;
	q->count++;
}

static inline void
pkt_queue_put_front(struct pkt_queue *q, struct pkt *p)
{
	pkt_meta(p)->queue_next = q->head;
	q->head = p;
	if (q->tail == NULL)
		q->tail = p;
	q->count++;
}

/* NULL when empty. */
static inline struct pkt *
pkt_queue_get(struct pkt_queue *q)
{
	struct pkt *p = q->head;

	if (p == NULL)
		return NULL;
	q->head = pkt_meta(p)->queue_next;
	if (q->head == NULL)
		q->tail = NULL;
	q->count--;
	pkt_meta(p)->queue_next = NULL;
	return p;
}

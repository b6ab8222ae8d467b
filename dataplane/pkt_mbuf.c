/* The pools behind pkt_body.h on rte_mbuf. */
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>
#include <stdio.h>

#include "dataplane/pools.h"

/* Shares of a worker's packet memory, in hundredths: receive, payload; headers and bare bodies are counted by
 * the payload packets that they carry. */
#define RECEIVE_SHARE 30
#define PAYLOAD_SHARE 50
#define HEADER_ROOM_BYTES 512
#define COUNT_MIN 1024
#define CACHE 128
/* Ethernet and one tag. */
#define FRAME_EXTRA_BYTES 18
/* Ring slots of software ports are multiples of 1024, and must fit into a packet. */
#define JUMBO_EXTRA_BYTES 255
/* What the mempool adds to an object. */
#define OBJECT_EXTRA_BYTES 128

static uint32_t
full_bytes(const struct pools_plan *plan)
{
	uint32_t room = (plan->frame_bytes + JUMBO_EXTRA_BYTES) & ~UINT32_C(63);

	if (plan->frame_bytes <= PKT_ROOM_BYTES)
		room = PKT_ROOM_BYTES;
	return room + PKT_HEADROOM_BYTES;
}

static uint32_t
object_bytes(uint32_t room_bytes)
{
	return (uint32_t)sizeof(struct rte_mbuf) + (uint32_t)sizeof(struct pkt_meta) + room_bytes +
	       OBJECT_EXTRA_BYTES;
}

static uint32_t
share(uint64_t memory_bytes, uint32_t hundredths, uint32_t each_bytes)
{
	uint64_t count = memory_bytes / 100 * hundredths / each_bytes;

	return count < COUNT_MIN ? COUNT_MIN : count > 1 << 20 ? 1 << 20 : (uint32_t)count;
}

void
pools_plan(struct pools_plan *plan, uint32_t mtu_bytes, uint32_t descriptors, uint64_t memory_bytes)
{
	plan->frame_bytes = mtu_bytes + FRAME_EXTRA_BYTES;
	plan->receive = share(memory_bytes, RECEIVE_SHARE, object_bytes(full_bytes(plan))) + descriptors;
	plan->payload = share(memory_bytes, PAYLOAD_SHARE, object_bytes(full_bytes(plan)));
	/* A port may hold a segment's header and body while the next transmission is made. */
	plan->header = plan->payload / 2 + COUNT_MIN + descriptors;
	plan->bare = plan->payload + COUNT_MIN + descriptors;
}

void
pools_parts(const struct pools_plan *plan, struct pools_part parts[POOLS_PARTS])
{
	uint32_t full = object_bytes(full_bytes(plan));

	parts[0] = (struct pools_part){ "receive", plan->receive, full };
	parts[1] = (struct pools_part){ "payload", plan->payload, full };
	parts[2] = (struct pools_part){ "header", plan->header,
					object_bytes(PKT_HEADROOM_BYTES + HEADER_ROOM_BYTES) };
	parts[3] = (struct pools_part){ "bare", plan->bare, object_bytes(0) };
}

uint64_t
pools_bytes(const struct pools_plan *plan)
{
	struct pools_part parts[POOLS_PARTS];
	uint64_t bytes = 0;

	pools_parts(plan, parts);
	for (int i = 0; i < POOLS_PARTS; i++)
		bytes += (uint64_t)parts[i].count * parts[i].each_bytes;
	return bytes;
}

uint64_t
pools_receive_bytes(const struct pools_plan *plan)
{
	return (uint64_t)plan->receive *
	       (sizeof(struct rte_mbuf) + sizeof(struct pkt_meta) + full_bytes(plan));
}

/*
 * rte_pktmbuf_pool_create(), but for one flag. Without huge pages it would put no object across a border of
 * 4 KiB, since devices see physical pages; that takes most of a page per packet. Such memory is only used by
 * software ports, which see what we see (or behind an IOMMU that maps it so), and for them it is in one piece.
 */
static struct rte_mempool *
create_pool(const char *name, uint32_t count, uint16_t room_bytes)
{
	struct rte_pktmbuf_pool_private sizes = {
		.mbuf_data_room_size = room_bytes,
		.mbuf_priv_size = sizeof(struct pkt_meta),
	};
	uint32_t element_bytes =
		(uint32_t)(sizeof(struct rte_mbuf) + sizeof(struct pkt_meta)) + room_bytes;
	struct rte_mempool *pool = rte_mempool_create_empty(
		name, count, element_bytes, CACHE, sizeof(sizes), SOCKET_ID_ANY,
		rte_eal_has_hugepages() ? 0 : RTE_MEMPOOL_F_NO_IOVA_CONTIG);
	int rc;

	if (pool == NULL)
		return NULL;
	rc = rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL);
	if (rc == 0) {
		rte_pktmbuf_pool_init(pool, &sizes);
		rc = rte_mempool_populate_default(pool);
	}
	if (rc < 0) {
		rte_mempool_free(pool);
		rte_errno = -rc;
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

static struct pkt_pool *
open_one(const char *kind, uint32_t worker, uint32_t count, uint32_t room_bytes, char *text,
	 size_t room)
{
	char name[RTE_MEMPOOL_NAMESIZE];
	struct rte_mempool *pool;

	snprintf(name, sizeof(name), "%s_%u", kind, worker);
	pool = create_pool(name, count, (uint16_t)room_bytes);
	if (pool == NULL)
		snprintf(text, room,
			 "no memory for %u %s packets of worker %u: %s; raise memory.size or lower it "
			 "to shrink the pools",
			 count, kind, worker, rte_strerror(rte_errno));
	return (struct pkt_pool *)pool;
}

bool
pools_open(struct pools *pools, const struct pools_plan *plan, uint32_t worker, char *text,
	   size_t room)
{
	pools->receive = open_one("receive", worker, plan->receive, full_bytes(plan), text, room);
	if (pools->receive == NULL)
		return false;
	pools->payload = open_one("payload", worker, plan->payload, full_bytes(plan), text, room);
	if (pools->payload == NULL)
		return false;
	pools->header = open_one("header", worker, plan->header,
				 PKT_HEADROOM_BYTES + HEADER_ROOM_BYTES, text, room);
	if (pools->header == NULL)
		return false;
	pools->bare = open_one("bare", worker, plan->bare, 0, text, room);
	return pools->bare != NULL;
}

uint32_t
pools_used(const struct pools *pools)
{
	const struct pkt_pool *all[] = { pools->receive, pools->payload, pools->header, pools->bare };
	uint32_t used = 0;

	for (int i = 0; i < 4; i++)
		used += rte_mempool_in_use_count((const struct rte_mempool *)all[i]);
	return used;
}

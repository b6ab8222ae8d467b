#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pkt/pkt.h"

/*
 * pools: a worker's packet buffers, and the written sum of what they take.
 *
 * Owner: the worker that they are named after; a forwarded packet returns to its own pool from another core.
 * Memory: the EAL's, taken once at start.
 */
struct pools {
	struct pkt_pool *receive; /* full-size, filled by the port */
	struct pkt_pool *payload; /* full-size, what is sent and must be kept until acknowledged */
	struct pkt_pool *header;  /* headers and small payloads of segments on their way out */
	struct pkt_pool *bare;    /* bodies of attached segments */
};

struct pools_plan {
	uint32_t receive;
	uint32_t payload;
	uint32_t header;
	uint32_t bare;
	uint32_t frame_bytes; /* largest frame: MTU and Ethernet header */
};

/* From what a worker may hold: its rings, which have `descriptors` packets each way at all times, and what its
 * connections may have in flight, which gets the rest of memory_bytes. */
void pools_plan(struct pools_plan *plan, uint32_t mtu_bytes, uint32_t descriptors, uint64_t memory_bytes);

/* One of the four as a term of a sum: each_bytes is all that a packet takes. */
#define POOLS_PARTS 4
struct pools_part {
	const char *name;
	uint32_t count;
	uint32_t each_bytes;
};
void pools_parts(const struct pools_plan *plan, struct pools_part parts[POOLS_PARTS]);

/* What received data pins if it has the whole receive pool, as pkt_truesize() counts. */
uint64_t pools_receive_bytes(const struct pools_plan *plan);

/* Bytes of a plan, for the EAL's memory and the start-up report. */
uint64_t pools_bytes(const struct pools_plan *plan);

/* False: text says which pool could not be had. */
bool pools_open(struct pools *pools, const struct pools_plan *plan, uint32_t worker, char *text,
		size_t room);

/* Buffers that are out, of all four. */
uint32_t pools_used(const struct pools *pools);

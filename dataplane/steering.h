#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkt/pkt.h"
#include "wire/toeplitz.h"

/*
 * steering: which worker owns a flow.
 *
 * A card that hashes addresses and ports sends a flow's frames to one queue, so the owner is who has that
 * queue: the same hash, with the card's own key and table, in software. Where no port has such a hash (or
 * does not say which), a keyed hash decides, and frames go from whom the port gave them to their owner.
 *
 * Owner:  filled at start by the main thread, read by all workers.
 */
#define STEERING_TABLE_MAX 2048

/* How a port distributes frames: the queue is table[hash % count]. */
struct steering_rss {
	uint8_t key[TOEPLITZ_KEY_BYTES];
	uint16_t count; /* 0: unknown */
	uint16_t table[STEERING_TABLE_MAX];
};

struct steering {
	uint16_t worker_count;
	uint64_t key;
	struct steering_rss rss;
	struct toeplitz toeplitz;
};

/* key: random. */
void steering_init(struct steering *s, uint16_t worker_count, uint64_t key);

/* Lets a port decide; the first one does, a second is ignored. Every queue must be a worker's. */
void steering_follow(struct steering *s, const struct steering_rss *rss);

/* The owner of a flow, as its received segments look. */
uint16_t steering_owner(const struct steering *s, const struct ip_addr *src,
			const struct ip_addr *dst, uint16_t src_port, uint16_t dst_port);

/* The queue that a port's own hash of a frame leads to. False: no port says how it distributes. */
bool steering_queue_of(const struct steering *s, uint32_t hash, uint16_t *queue);

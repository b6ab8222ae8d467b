#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/steering.h"
#include "pkt/pkt.h"
#include "wire/eth.h"

/*
 * port: one Ethernet device of DPDK: queue pairs, bursts, and what it can and cannot do.
 *
 * Thread: port_open() and port_close() by the main thread; a queue by one worker.
 * Memory: packets that the device does not take wait in a bounded queue; beyond it they are dropped and
 *         counted.
 */
#define PORT_QUEUES_MAX 64
#define PORT_BURST 32
#define PORT_RSS_KEY_BYTES 52 /* the longest that a card has */
#define PORT_WAITING_MAX 512 /* packets per queue that the device has not taken yet */

struct port_queue {
	uint32_t waiting_count;
	struct rte_mbuf *waiting[PORT_WAITING_MAX];
	uint64_t dropped;
} __attribute__((aligned(64)));

struct port {
	uint16_t id;    /* DPDK's */
	uint8_t index;  /* ours: pkt_meta.port */
	uint16_t queue_count;
	bool can_chain; /* takes packets of several segments; else they are copied together */
	struct eth_addr mac;
	char name[64];
	char driver[32];
	struct steering_rss rss;
	struct port_queue *queues;
};

struct port_config {
	const char *device; /* as after --vdev or -a */
	uint8_t index;
	uint16_t queue_count;
	uint16_t mtu_bytes;
	const uint8_t *rss_key; /* PORT_RSS_KEY_BYTES, random; for a port that has a use for it */
	struct pkt_pool *receive_pools[PORT_QUEUES_MAX]; /* by queue */
};

/* Probes, configures and starts. False: text says what and what to do. */
bool port_open(struct port *port, const struct port_config *config, char *text, size_t room);
void port_close(struct port *port);

/* At most PORT_BURST frames, meta filled. Returns how many. */
uint32_t port_receive(struct port *port, uint16_t queue, struct pkt *frames[PORT_BURST]);

/* Takes the frame; it leaves with the next port_flush() at the latest. pool: for a copy. */
void port_transmit(struct port *port, uint16_t queue, struct pkt *frame, struct pkt_pool *pool);
void port_flush(struct port *port, uint16_t queue);

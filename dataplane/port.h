#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/pools.h"
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
#define PORT_DESCRIPTORS 1024 /* of a queue, as asked for; the device may choose */
#define PORT_RSS_KEY_BYTES 52 /* the longest that a card has */
#define PORT_WAITING_MAX 512 /* packets per queue that the device has not taken yet */

struct port_queue {
	uint32_t waiting_count;
	uint32_t prepared_count; /* of them: the driver has looked at them and agreed */
	struct rte_mbuf *waiting[PORT_WAITING_MAX];
	uint64_t dropped;
	uint64_t refused; /* by the driver's check; finished in software */
} __attribute__((aligned(64)));

/* Whether a device does something for us. */
enum port_wish {
	PORT_AUTO, /* if it can */
	PORT_ON,   /* or the port is not opened */
	PORT_OFF,
};

struct port_wishes {
	enum port_wish receive_checksum;
	enum port_wish ip_checksum;
	enum port_wish tcp_checksum;
	enum port_wish tso;
};

/* What it does. */
struct port_offload {
	bool receive_checksum;
	bool ip_checksum;
	bool tcp_checksum;
	bool tso_v4;
	bool tso_v6;
	bool even_pieces; /* sums are wrong if a piece before the last has an odd length */
	uint16_t pieces_max;     /* of one packet (nb_mtu_seg_max); UINT16_MAX: any number */
	uint16_t tso_pieces_max; /* of one that the device cuts (nb_seg_max) */
};

struct port {
	uint16_t id;    /* DPDK's */
	uint8_t index;  /* ours: pkt_meta.port */
	uint16_t queue_count;
	bool can_chain; /* takes packets of several segments; else they are copied together */
	struct eth_addr mac;
	char name[64];
	char driver[32];
	struct steering_rss rss;
	struct port_offload offload;
	uint16_t receive_descriptors; /* packets that a queue's ring has at all times */
	struct port_queue *queues;
};

struct port_config {
	const char *device; /* as after --vdev or -a */
	uint8_t index;
	uint16_t queue_count;
	uint16_t mtu_bytes;
	struct port_wishes wishes;
	const uint8_t *rss_key; /* PORT_RSS_KEY_BYTES, random; for a port that has a use for it */
	struct pkt_pool *receive_pools[PORT_QUEUES_MAX]; /* by queue */
};

/* Probes, configures and starts. False: text says what and what to do. */
bool port_open(struct port *port, const struct port_config *config, char *text, size_t room);
void port_close(struct port *port);

/* At most PORT_BURST frames, meta filled. Returns how many. */
uint32_t port_receive(struct port *port, uint16_t queue, struct pkt *frames[PORT_BURST]);

/* Takes the frame; it leaves with the next port_flush() at the latest. What the device cannot do to it is done
 * here, in packets of the worker's pools. */
void port_transmit(struct port *port, uint16_t queue, struct pkt *frame, const struct pools *pools);
void port_flush(struct port *port, uint16_t queue, const struct pools *pools);

/* Whether the link carries frames; true for devices that do not know. It may ask the kernel: main thread. */
bool port_is_up(const struct port *port);

/* Frames that were to be sent and were not: too many waited, or no packet was free to cut them. */
uint64_t port_send_drops(const struct port *port, uint16_t queue);

/* "receive ip tcp, send ip tcp tso4 tso6", for the log; what is missing is done in software. */
void port_describe_offload(const struct port *port, char *text, size_t room);

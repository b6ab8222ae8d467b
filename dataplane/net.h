#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/ring.h"
#include "dataplane/steering.h"
#include "ip/ip.h"
#include "tcp/tcp.h"

/*
 * net: frames to segments and back for one worker, and the way of a frame to the worker that owns it.
 *
 * Every flow has one owner (steering.h); ports choose workers in their own ways (RSS, fanout), so a frame
 * may arrive at another one, which then puts it into a ring.
 * Frames that teach a neighbour are shown to all, and answered by the one that got them.
 *
 * Owner and thread: one worker; the rings are the only thing shared, one writer and one reader each.
 * Memory: given at start. A full ring drops, counted.
 */
#define NET_WORKERS_MAX 64

struct net_config {
	uint16_t index;
	uint16_t count;     /* of workers */
	const struct steering *steering; /* of all workers */
	struct ip_config ip;
	struct tcp *tcp;
	struct pkt_pool *pool; /* for what ip makes, and for copies */
	/* Of a port that is shared with the kernel: frames that may wait for it; 0: not shared. */
	uint32_t kernel_queue[IP_PORTS_MAX];
};

struct net {
	struct net_config config;
	struct tcp *tcp;
	struct ip ip;
	struct ring *to[NET_WORKERS_MAX];   /* to[i]: what worker i owns; NULL for itself */
	struct ring *from[NET_WORKERS_MAX];
	uint64_t frames_in;
	uint64_t frames_out;
	uint64_t frames_forwarded;
	uint64_t frames_to_kernel;
	uint64_t frames_missteered; /* the port's own hash says another worker than the one that got it */
	struct ring *kernel[IP_PORTS_MAX]; /* by port: frames that are not ours (exception.h); NULL: not shared */
	/* Segments of the burst being received; TCP gets them together. */
	uint32_t segment_count;
	struct pkt *segments[TCP_INPUT_BURST_MAX];
};

/* Gives config, from which net's TCP will be made, what TCP asks of the layers below: whose a flow is, and what
 * its path carries. net is asked from net_init() on. */
void net_serve_tcp(struct net *net, struct tcp_config *config);

/* config is copied. Rings are the caller's, and set in net after this. */
void net_init(struct net *net, const struct net_config *config, uint64_t now_ns);

/* Frees what waits in the rings that are read here and for the kernel, and in ip. Other workers have stopped. */
void net_fini(struct net *net);

/* Frames from a port, in their order, meta.port set; takes them. Any number: TCP gets its segments in bursts of
 * TCP_INPUT_BURST_MAX at most. */
void net_receive_burst(struct net *net, struct pkt *const *frames, uint32_t count, uint64_t now_ns);
void net_receive(struct net *net, struct pkt *frame, uint64_t now_ns);

/* Frames that other workers have passed on, at most NET_FORWARDED_PER_TURN. Returns how many. */
#define NET_FORWARDED_PER_TURN 128
uint32_t net_receive_forwarded(struct net *net, uint64_t now_ns);

/* Turns TCP's segments into frames, and runs the neighbours' timers. */
void net_output(struct net *net, uint64_t now_ns);

/* The next frame to send; NULL when there is none. The caller owns it. */
struct pkt *net_transmit_next(struct net *net);

/* When net_output() must run next for the neighbours' sake; NEVER_NS if nothing is due. */
uint64_t net_next_at(const struct net *net);

#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ring.h"
#include "pkt/pkt.h"
#include "wire/eth.h"

/*
 * tap: an interface of the kernel that shares a port with us, and the thread between the two (exception.h says
 * which frames are whose).
 *
 *   worker i ── to_kernel[i] ──▶ thread ── write ──▶ TAP interface, MAC of the port ──▶ sshd, bird, …
 *   worker 0 ◀── from_kernel ─── thread ◀── read ──
 *
 * A thread, and no DPDK port nor a worker's descriptor: a write runs the kernel's whole receive path before it
 * returns, and workers make no system calls. The price is up to TAP_IDLE_NS of latency after silence.
 * The kernel sees and sends untagged frames, whatever the port's VLAN is.
 *
 * Thread: tap_open() and tap_close() by the main thread; the descriptor is its own thread's.
 * Memory: rings, bounded by the configuration; packets from worker 0's pool, one per frame that waits.
 */
#define TAP_FRAME_BYTES_MAX 65600 /* also a datagram that was in fragments */
#define TAP_IDLE_NS (1 * NSEC_PER_MSEC)

struct tap_config {
	const char *name; /* of the interface; an existing one of this name is used as it is configured */
	struct eth_addr mac;
	uint16_t vlan;
	uint16_t mtu_bytes;
	uint8_t port;     /* index: pkt_meta.port of what comes from the kernel */
	uint32_t rate;    /* frames per second each way; a tenth of a second's worth at once */
	uint32_t queue;   /* frames that wait for worker 0 */
	uint32_t workers;
	struct pkt_pool *pool;
};

struct tap {
	struct tap_config config;
	int fd;
	pthread_t thread;
	_Atomic bool stop;
	struct ring *to_kernel; /* by worker */
	struct ring *from_kernel;
	/* Written by the thread, shown by worker 0. */
	_Atomic uint64_t frames_in; /* from the kernel */
	_Atomic uint64_t over_rate;
	_Atomic uint64_t refused; /* the kernel's interface is down or full, or no packet was free here */
	/* the thread's own: theoretical arrival times of GCRA */
	uint64_t to_full_at_ns;
	uint64_t from_full_at_ns;
	uint8_t frame[TAP_FRAME_BYTES_MAX];
};

/* What one takes, beside the packets that wait. */
static inline uint64_t
tap_bytes(uint32_t workers)
{
	return sizeof(struct tap) + sizeof(struct ring) * (workers + 1);
}

/* False: text says what failed and what to do. */
bool tap_open(struct tap *tap, const struct tap_config *config, char *text, size_t room);

/* Ends the thread and frees what waits. The workers must have stopped. */
void tap_close(struct tap *tap);

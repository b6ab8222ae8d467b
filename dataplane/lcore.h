#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "dataplane/net.h"
#include "dataplane/pools.h"
#include "dataplane/port.h"
#include "dataplane/tap.h"
#include "dataplane/worker.h"

/*
 * lcore: the loop around one worker: ports in, worker's turn, ports out, and what it tells the main thread.
 *
 * Thread: lcore_run() is a core's whole life. The main thread writes `drain`, `cut`, `stop`, `links_up`,
 *         `unix_minus_monotonic_ns`, `keys`, `upstream_keys`, `settings` and `tickets`, and reads `in_flight`,
 *         `settings_taken` and `tickets_taken`; the rest is the core's own.
 */
/* What a core takes over at the top of a turn. */
struct lcore_settings {
	struct worker_config worker; /* of it, what worker_adopt() reads */
	bool may_sleep;
};

struct lcore {
	struct worker *worker;
	struct net net;
	struct pools pools;
	struct port *ports;
	uint32_t port_count;
	struct tap *taps[IP_PORTS_MAX]; /* by port, of the worker that sends for the kernel; NULL: none */
	uint16_t queue;      /* of every port */
	bool may_sleep;      /* idle = "sleep" */
	/* Newest settings, NULL: those of the start. What they point at is not written while any core has not
	 * taken what came after it. */
	const struct lcore_settings *_Atomic settings;
	const struct lcore_settings *_Atomic settings_taken;
	struct tls_keys *_Atomic keys; /* to be taken with them; NULL: those that it has */
	struct tls_keys *_Atomic upstream_keys; /* the same, of connections to backends */
	/* Secrets of session tickets, in the same way. */
	const struct ticket_secrets *_Atomic tickets;
	const struct ticket_secrets *_Atomic tickets_taken;
	_Atomic bool drain; /* worker_drain() */
	_Atomic bool cut;   /* worker_cut() */
	_Atomic bool stop;
	bool was_cut;
	_Atomic uint32_t links_up[IP_PORTS_MAX]; /* times that a port's link came up */
	uint32_t links_seen[IP_PORTS_MAX];       /* of these, by the core */
	_Atomic int64_t unix_minus_monotonic_ns; /* the wall clock may be set while we run */
	_Atomic uint32_t in_flight; /* requests */
};

/* For eal_launch(): argument is a struct lcore. */
int lcore_run(void *argument);

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/list.h"
#include "base/timer.h"
#include "dataplane/inflow.h"
#include "dataplane/outflow.h"
#include "http/h1.h"
#include "shm/layout.h"
#include "tcp/tcp.h"

/*
 * upstream: one connection to a backend, and the worker's pool of kept-alive ones per pod.
 *
 * A connection serves one exchange at a time. It returns to the pool only after a complete, well-framed
 * answer with nothing behind it; anything else closes it: what it said next could be taken for the
 * answer to another client.
 *
 * Owner: the worker; lent to one exchange. Memory: a fixed pool; when it is full, the longest idle
 * connection of any pod is closed to make room.
 */
enum upstream_state {
	UPSTREAM_FREE,
	UPSTREAM_CONNECTING,
	UPSTREAM_SECURING, /* TCP is there, the TLS handshake is under way */
	UPSTREAM_BUSY,
	UPSTREAM_IDLE,
	UPSTREAM_STATE_COUNT
};

struct exchange;
struct head_buffer;
struct worker;

struct upstream {
	tcp_conn_t conn;
	struct exchange *exchange;
	struct head_buffer *head; /* of the answer, until it is complete */
	struct inflow in;
	struct outflow out;
	struct tls_conn *tls;     /* secure.h; NULL: in clear text */
	uint64_t manner;          /* secure_manner() of its pod */
	uint32_t pod_entry;
	uint64_t pod_id;
	uint8_t address[16]; /* where it leads; the pod may have moved since */
	uint16_t port;
	enum upstream_state state;
	bool fresh; /* has not answered anything yet */
	bool eof;
	bool is_over;     /* TLS ended, one way or the other */
	bool ended_well;  /* by close_notify */
	bool ends_gently; /* an alert is on its way */
	struct h1_scan scan;
	struct h1_body body_in;
	uint8_t interim_heads;
	bool reusable;
	bool retiring; /* its pod drains or has moved: not to be kept */
	struct list_node line; /* the worker's: idle ones, or whose TLS handshake goes on */
	/* idle ones of its pod, newest first: by hand, since there are as many heads as pods may be */
	struct upstream *pod_next;
	struct upstream *pod_prev;
	struct timer timer; /* idle */
};

/* Whether this is the place where the pod is now, and it is spoken to in this manner. */
bool upstream_leads_to(const struct worker *w, const struct upstream *u, const struct shm_pod_place *place);

/* A connection to the pod for this exchange: a kept one (unless fresh_only), or a new one that is being
 * opened. NULL: none could be had; the pod is not to blame. */
struct upstream *upstream_get(struct worker *w, struct exchange *x, uint32_t pod_entry,
			      const struct shm_pod_place *place, bool fresh_only);

/* The TLS handshake is over. u may be gone after it. */
void upstream_secured(struct worker *w, struct upstream *u);

/* Its end was not said by who could: what has come may be a part. */
bool upstream_was_cut(const struct upstream *u);

/* The exchange is done with a healthy connection: back to the pool, or closed. */
void upstream_put(struct worker *w, struct upstream *u);

/* Reset and gone; the exchange must have let go of it. */
void upstream_abort(struct worker *w, struct upstream *u);

void upstream_event(struct worker *w, struct upstream *u, const struct tcp_event *event);
void upstream_timer_expired(struct worker *w, struct upstream *u);

/* After the tables have changed, a few connections per turn: those to pods that drain, are in maintenance, have
 * gone or have another address now are not kept; a request at a pod in maintenance ends here. */
void upstream_sweep(struct worker *w);

/* The same for what has changed beside the tables. */
void upstream_sweep_again(struct worker *w);

/* Copies bytes into TCP. False: no packet or no room; the connection is of no use any more. */
bool upstream_send(struct worker *w, struct upstream *u, struct bytes plain, bool more);
bool upstream_has_room(const struct worker *w, const struct upstream *u);

/* The next unread bytes of the answer (a part of one packet); empty when there are none now. */
struct bytes upstream_peek(struct worker *w, struct upstream *u);
void upstream_use(struct worker *w, struct upstream *u, uint32_t n);

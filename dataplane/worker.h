#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/prng.h"
#include "base/timer.h"
#include "dataplane/body.h"
#include "dataplane/client.h"
#include "dataplane/exchange.h"
#include "dataplane/h2.h"
#include "dataplane/net.h"
#include "dataplane/route.h"
#include "dataplane/settle.h"
#include "dataplane/stage.h"
#include "dataplane/upstream.h"
#include "limit/retry.h"
#include "limit/sources.h"
#include "meter/spool.h"
#include "meter/tab.h"
#include "shm/counters.h"
#include "shm/table.h"
#include "tcp/tcp.h"
#include "tls/tls.h"

/*
 * worker: everything one core owns above TCP, and the turn of its loop. No NIC, no clock, no I/O: the
 * simulator runs it as it is.
 *
 * Owner:  one core. Workers share nothing but the shared-memory cells.
 * Time:   worker_turn() is given the loop's clock (monotonic, one for all workers).
 * Memory: everything is allocated by worker_new() from the counts in the configuration; nothing later.
 */
struct worker_counts {
	uint32_t clients;   /* connections of clients */
	uint32_t handshakes; /* of them at once in TLS handshakes */
	uint32_t exchanges; /* requests in flight */
	uint32_t upstreams; /* connections to backends, idle ones included */
	uint32_t upstream_handshakes; /* of them at once in TLS handshakes */
	uint32_t heads;     /* buffers for heads being read, HEAD_BUFFER_BYTES each */
	uint32_t blocks;    /* bodies in flight, BODY_BLOCK_BYTES each */
};

struct worker_times {
	uint64_t handshake_ns;
	uint64_t header_ns;  /* from the first byte of a head to its end */
	uint64_t idle_ns;    /* between requests */
	uint64_t body_ns;    /* between bytes of a body */
	uint64_t stall_ns;   /* client takes nothing of its answer */
	uint64_t connect_ns;
	uint64_t connect_tls_ns; /* and for its TLS */
	uint64_t response_head_ns;
	uint64_t first_event_ns;
	uint64_t between_events_ns;
	uint64_t keep_alive_ns; /* between comments while the first event is awaited; 0: none */
	uint64_t upstream_idle_ns;
	uint64_t request_ns; /* all of it */
	uint64_t body_grace_ns;
	uint64_t body_total_ns;
	uint64_t h2_idle_ns;   /* without a stream */
	uint64_t h2_window_ns; /* what a stream has ready is not taken */
};

/* What one peer may do; bounds.h and the libraries have constants that none of these exceeds. */
struct worker_limits {
	uint32_t per_source; /* connections of one network here: this worker's share */
	uint32_t handshakes; /* of them a network that has an eighth pushes nobody else out */
	uint32_t handshakes_per_source; /* of one network, whoever else there is */
	uint32_t requests; /* of one connection */
	struct h1_limits head;
	uint32_t json_depth;
	uint32_t json_keys;
	uint32_t hold_tokens;     /* of a completion that the request does not bound */
	uint32_t hold_tokens_max; /* of one that it does */
	uint64_t body_rate_bytes; /* per second; 0: any */
	uint32_t event_bytes;
	uint32_t event_line_bytes;
};

#define WORKER_LISTENERS_MAX 8

struct listener {
	struct ip_addr address; /* all zero: any */
	uint16_t port;
	bool tls;
	bool http2; /* offered by ALPN; without TLS, spoken from the start (RFC 9113 3.3) */
};

/* One edge of the API: one prefix of paths, with its own form of keys and fields. Texts live as long as the
 * worker. */
struct worker_surface {
	bool enabled;
	bool validate_strict;      /* every field of json/validate.h, or only `model` and `stream` */
	const char *prefix;        /* "/v1" */
	const char *key_prefix;    /* "eco_" */
	const char *header_prefix; /* "x-ecolink-" */
	uint32_t requests_per_minute; /* of a key whose plan does not say; 0: any number */
	uint64_t body_bytes_max;   /* JSON */
	uint64_t upload_bytes_max; /* forms */
	uint64_t file_bytes_max;   /* the file in them */
	enum refusal_form refusal_form;
	bool reset_is_unix;        /* x-ratelimit-reset; else the seconds left */
	const char *cors;          /* origins that may read answers, or "*"; "", NULL: none */
	bool tells_overhead;       /* x-sluice-overhead-us */
};

struct worker_config {
	uint16_t index;
	/* The loop's, read for overhead.h and in worker_shake() alone; NULL: no surface may tell its overhead, and
	 * of handshakes there is one step a turn. */
	uint64_t (*clock)(void);
	struct worker_counts counts;
	struct worker_times times;
	struct worker_limits limits;
	struct route_limits routing;
	struct h2_limits h2;
	struct listener listeners[WORKER_LISTENERS_MAX];
	uint32_t listener_count;
	struct shm shm;
	struct net *net;             /* below tcp: its counters are shown with the worker's */
	struct tcp *tcp;             /* its user words are the worker's */
	struct tls_context *tls;     /* NULL: no TLS listener */
	struct tls_context *upstream_tls; /* NULL: backends in clear text only */
	struct spool_writer *spool;
	struct tab_header *tab; /* of counts.exchanges lines */
	struct pkt_pool *payload_pool; /* packets for what is sent */
	struct ip_addr source_v4;      /* of connections to backends; all zero: none */
	struct ip_addr source_v6;
	struct worker_surface surfaces[SHM_SURFACE_COUNT];
	uint64_t proxy_bytes_max; /* bodies of the verbatim pass-through */
	uint8_t id_key[16];            /* request ids; random per worker and start */
	int64_t unix_minus_monotonic_ns;
};

/* Lines of clients that have something to do of which no event will remind, in the order in which they came. */
enum ready {
	READY_CLIENTS,    /* all but: */
	READY_BEGUN,      /* in a handshake that has had a step */
	READY_NEW,        /* in a handshake that has had none */
	READY_LINES
};

struct worker {
	/* every turn */
	uint64_t now_ns;
	struct tcp *tcp;
	struct timer_wheel timers;
	struct list ready[READY_LINES];
	struct shm shm;
	struct shm_worker *shared; /* counters, beats */

	/* pools */
	struct client *clients;
	struct list clients_free;
	/* in TLS handshakes: who has sent nothing or no whole ClientHello yet, and whom we have answered */
	struct list handshakes_silent;
	struct list handshakes_answered;
	/* who has a head buffer: for a head, or for what was sent behind a request that runs */
	struct list heads_begun;
	struct list heads_behind;
	struct list strangers;
	struct sources sources;
	struct exchange *exchanges;
	struct exchange *exchange_free;
	struct upstream *upstreams;
	struct upstream *upstream_free;
	struct list upstreams_idle; /* the oldest first */
	struct list securing;       /* whose TLS handshake may go on */
	struct upstream **pod_idle;     /* by pod entry: newest idle connection */
	uint32_t *deployment_turn;      /* by deployment entry: round robin */
	struct retry *retry_of_model;   /* by model entry: further tries */
	struct retry *retry_of_instance;
	struct prng prng;               /* of the policies */
	uint32_t pod_capacity;
	uint32_t deployment_capacity;
	uint32_t model_capacity;
	uint32_t instance_capacity;
	uint64_t swept_generation;      /* upstream_sweep() */
	uint32_t swept_upstreams;
	uint32_t clients_to_sweep;      /* client_tls_sweep() */
	uint32_t beliefs[WORKER_LISTENERS_MAX]; /* by listener: how often it came to believe clients by others */
	uint8_t *heads;
	struct head_buffer *head_free;
	struct body_store bodies;
	uint32_t *account_blocks; /* by account entry: of `bodies`. An entry that rests goes on with its number. */
	struct settle_refusals refusals; /* of this second */
	struct settle_refusals *account_refusals; /* by account entry */
	uint32_t account_capacity;
	uint32_t clients_used;
	uint32_t exchanges_used;
	uint32_t upstreams_used;
	uint32_t heads_used;

	/* scratch of one step */
	struct stage stage;
	struct pkt_queue lent; /* inflow.h */
	struct list inflows; /* that have taken something in this turn */
	struct piece pieces[INFLOW_PIECES_MAX];
	struct h1_request request;
	struct h1_response response;
	uint8_t answer[ANSWER_HEAD_BYTES_MAX];

	struct tls_context *tls;
	struct h2_shared *h2; /* NULL: not offered */
	struct spool_writer *spool;
	struct tab_header *tab;
	struct worker_config config;
	uint64_t next_request;
	uint64_t handshake_steps;
	uint64_t counters[(int)ERR_COUNT + (int)COUNTER_COUNT];
	bool draining;
	void *memory; /* what worker_free() frees */
};

/* NULL: no memory. A message of what was needed is the caller's (worker_bytes). */
struct worker *worker_new(const struct worker_config *config, uint64_t now_ns);
uint64_t worker_bytes(const struct worker_config *config);

/* The terms of worker_bytes(). */
enum worker_part_index {
	WORKER_PART_WORKER,
	WORKER_PART_CLIENTS,
	WORKER_PART_SOURCES,
	WORKER_PART_EXCHANGES,
	WORKER_PART_UPSTREAMS,
	WORKER_PART_PODS,
	WORKER_PART_DEPLOYMENTS,
	WORKER_PART_MODELS,
	WORKER_PART_INSTANCES,
	WORKER_PART_ACCOUNTS,
	WORKER_PART_REFUSALS,
	WORKER_PART_HEADS,
	WORKER_PART_BLOCKS,
	WORKER_PART_BLOCK_LINKS,
	WORKER_PARTS
};

struct worker_part {
	const char *name;
	uint32_t count;
	uint32_t each_bytes;
	uint64_t bytes; /* in whole cache lines */
};

/* Of the shared tables' capacities those of pods, deployments, models, instances and accounts count. Returns the
 * sum. */
uint64_t worker_parts(const struct worker_counts *counts, const struct shm_capacity *tables,
		      struct worker_part parts[WORKER_PARTS]);

/* Drops every connection; frees what is held. */
void worker_free(struct worker *w);

/* Takes over times, limits, routing, surfaces and HTTP/2's limits, between two turns: what begins has the new
 * ones, timers that run keep theirs, and what sizes memory stays. Texts must live as long as the worker. */
void worker_adopt(struct worker *w, const struct worker_config *settings);

/* Opens the listeners. */
enum err worker_listen(struct worker *w);

/* The end, in three steps between turns. No new connections; what runs goes on, and is the last of its
 * connection. */
void worker_drain(struct worker *w);

/* What still runs is answered with 503, or cut behind an error event, and settled. */
void worker_cut(struct worker *w);

/* Every connection is reset. */
void worker_disconnect(struct worker *w);

/*
 * One turn after the burst's frames went into net_receive(): timers, ready clients, events, then output.
 * Frames to send wait in net_transmit_next(). Returns true if it found work.
 */
bool worker_turn(struct worker *w, uint64_t now_ns);

/*
 * Handshakes' share of the turn, when what worker_turn() had to send is on its way: HANDSHAKE_TURN_NS, and what
 * the step takes that is under way then. Those that are begun go first, so that a storm ends in connections and
 * not in a thousand that are half done; before them what several compute at once, which is one step. Returns true
 * if there was a step; then frames may wait again.
 */
bool worker_shake(struct worker *w);

/* When worker_turn() must run next if nothing arrives; now_ns if work is left over. */
uint64_t worker_next_at(const struct worker *w);

/* Copies counters and gauges into shared memory and tells TLS the time. Cheap; call every few
 * milliseconds. */
void worker_publish_counters(struct worker *w);

static inline void
worker_count(struct worker *w, enum counter counter)
{
	w->counters[counter_at(counter)]++;
}

static inline void
worker_count_by(struct worker *w, enum counter counter, uint64_t n)
{
	w->counters[counter_at(counter)] += n;
}

static inline void
worker_count_verdict(struct worker *w, enum err verdict)
{
	w->counters[verdict]++;
}

/* Unix time of this turn. */
static inline uint64_t
worker_unix_ns(const struct worker *w)
{
	return (uint64_t)((int64_t)w->now_ns + w->config.unix_minus_monotonic_ns);
}

/* Timers name their owner by kind. */
enum worker_timer { TIMER_CLIENT, TIMER_EXCHANGE, TIMER_UPSTREAM };

/* TCP's user word: whose connection. */
#define USER_CLIENT UINT64_C(1)
#define USER_UPSTREAM UINT64_C(2)

static inline uint64_t
worker_user(uint64_t kind, uint64_t index)
{
	return kind << 32 | index;
}

/* One batch of a context's lanes, if one is due (tls.h); false: none is. Either way somebody may go on. */
bool worker_run_lanes(struct worker *w, struct tls_context *tls, uint64_t now_ns);

struct head_buffer *worker_head_get(struct worker *w);
void worker_head_put(struct worker *w, struct head_buffer *head);

struct client *worker_client_get(struct worker *w);
void worker_client_put(struct worker *w, struct client *c);

/* A name of those that a surface's answers have (header_prefix): nobody else says it to a client or a backend. */
bool worker_owns_field(const struct worker *w, struct bytes name);

/* 128 bits that nobody outside can guess (SipHash in counter mode under id_key). */
void worker_request_id(struct worker *w, uint8_t id[16]);

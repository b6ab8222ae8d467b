#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"
#include "dataplane/worker.h"
#include "link.h"
#include "tls_client.h"
#include "town_tls.h"

/*
 * town: the whole worker against clients and backends that know every byte, over a bad wire, from one seed.
 *
 *   clients, backends --- tcp, ip --- link ---> net, tcp, tls, http, admission, relay (one struct worker)
 *                                <--- link ---
 *
 *   town_plan.c     seed -> faults, requests, and what becomes of each
 *   town_router.c   tables, TLS, spool and the worker under test
 *   town_client.c   sends requests, checks answers
 *   town_h2.c       the same over HTTP/2, many requests at once
 *   town_backend.c  checks requests, sends answers, misbehaves as told
 *   town_tls.c      TLS at both, and what backends do wrong with it
 *   town_pods.c     what the operator does with pods, and what routing owes them in every turn
 *   town.c          the clock, and the judgement at the end
 */

#define TOWN_REQUESTS_MAX 48
#define TOWN_CLIENTS_MAX 8
#define TOWN_BACKENDS 4
#define TOWN_TRIES_MAX 8 /* that are remembered */
#define TOWN_MOVES_MAX 8
#define TOWN_BACKEND_PORT 9000
/* A crowd needs more; tools/bench tls-storm has its own. */
#ifndef TOWN_CONNS_MAX
#define TOWN_CONNS_MAX 128
#endif
#ifndef TOWN_SCALE
#define TOWN_SCALE 1 /* of the router's counts */
#endif
#define TOWN_NETWORKS 8 /* that clients over IPv4 may come from */
#define TOWN_TEXT_BYTES_MAX (192 * 1024)
#define TOWN_TRICKLE_BYTES 20 /* a second */

/* What a backend does to the first try of a request. */
enum town_fault {
	FAULT_NONE,
	FAULT_RESET_BEFORE, /* reset once the request is there: another try succeeds */
	FAULT_CLOSE_BEFORE,
	FAULT_BUSY,         /* 503 */
	FAULT_ERROR,        /* 500: the client's answer */
	FAULT_REFUSAL,      /* 422: the client's answer, too */
	FAULT_RESET_INSIDE, /* reset in the middle of the answer: a cut */
	FAULT_SILENT,       /* nothing: the router's timer */
	FAULT_BAD_FRAMING,  /* an answer that breaks HTTP before anything of it can pass */
	FAULT_SILENT_FIRST, /* a head and nothing behind it: the timer of the first event */
	FAULT_SILENT_BETWEEN, /* a part of the answer and nothing behind it */
	FAULT_CLOSE_INSIDE, /* an end in the middle of the answer, over TLS: with and without a word */
	FAULT_COUNT
};

struct town_request {
	uint32_t index;
	uint32_t client;
	bool is_stream;
	bool wants_usage;
	bool is_bad_json;
	bool is_trickled; /* the client sends it slower than it may */
	enum town_fault fault;
	uint32_t faulty_tries; /* how many of them; 0: the first */
	uint32_t prompt_bytes;
	uint32_t events;      /* of a stream */
	uint32_t event_bytes;
	uint32_t answer_bytes;
	uint32_t prompt_tokens;
	uint32_t completion_tokens;
	uint64_t think_ns;    /* client, before it sends */
	uint64_t first_ns;    /* backend, before it answers */
	uint64_t gap_ns;      /* backend, between pieces */
	uint32_t piece_bytes; /* backend, of one write */
	bool chunked;         /* backend's framing of a JSON answer */
	bool until_close;     /* or none: its end is the connection's; over TLS */
	bool closes;          /* the backend ends the connection behind the answer; over TLS */
	bool renews;          /* and says a KeyUpdate in front of it */
	bool is_aborted;      /* the client leaves, after abort_after_bytes of the answer */
	uint32_t abort_after_bytes;
	uint64_t abort_after_ns; /* or when this has passed since it asked; 0: not so */
	bool may_be_refused;  /* 503 without a try is an answer */
	/* what happened */
	uint64_t sent_ns;
	uint64_t over_ns;
	uint32_t tries;       /* seen by backends */
	uint32_t pods[TOWN_TRIES_MAX]; /* which ones */
	uint32_t served;      /* answers that a backend sent whole */
	char id[32];          /* from the backend's view */
	bool is_over;
	uint16_t status;
	bool was_cut;
	bool was_left;
};

/* What the operator wants of a pod, from a moment on. */
struct town_move {
	uint64_t at_ns;
	uint32_t pod; /* never the first: somebody has to work */
	enum shm_pod_state state;
};

struct town_plan {
	uint64_t seed;
	bool is_v6;
	bool is_tls;
	uint16_t tls_version; /* the newest that clients speak; 0: any */
	bool is_calm;    /* the wire loses nothing */
	bool is_https;   /* backends speak TLS */
	bool is_pods_tls_by_hand; /* but the town leaves that to the test */
	bool has_lanes;  /* the router computes handshakes together (lanes_twin.h), where libcrypto is */
	enum town_trust trust[TOWN_BACKENDS]; /* the first is good */
	/* A session of one version is offered with that version alone, so that a backend keeps its own. */
	bool is_tls12[TOWN_BACKENDS];
	enum err shake_fault; /* that good pods may find in a handshake of the router's */
	uint32_t shakes; /* handshakes that backends spoil */
	bool has_our_clients; /* half of those over TLS are lib/tls */
	bool is_h2;      /* clients speak HTTP/2, each all its requests on one connection */
	struct h2_limits h2; /* of the worker; zero: such as no honest client meets */
	bool has_faults; /* of backends */
	uint16_t ports;  /* that the router opens from, per backend; 0: as many as there are */
	uint32_t models; /* in its catalogue, besides the one that is asked for */
	struct link_faults link[2];
	uint32_t client_count;
	uint32_t request_count;
	uint64_t start_ns;
	uint32_t networks;    /* that clients come from, over IPv4 only; 0: one */
	uint32_t per_source;  /* connections that the clients' network may have; 0: all */
	uint32_t heads;       /* of the router; 0: as many as anybody needs */
	uint32_t handshakes;  /* at once, at the router; 0: as many as there are */
	uint32_t handshakes_per_source; /* 0: all of them */
	/* routing */
	enum shm_policy policy;
	uint32_t pods;        /* at most TOWN_BACKENDS */
	uint32_t first_pods;  /* of the first deployment; the second one has the others */
	uint32_t retry_percent;
	uint32_t retry_burst;
	uint32_t eject_percent;
	bool is_tight;        /* the budget may well run out */
	bool may_fail;        /* tries may run out as well */
	enum shm_resend resend;
	uint32_t move_count;
	struct town_move moves[TOWN_MOVES_MAX];
};

/* What is known of a pod that must not get requests. */
struct town_pod {
	enum shm_pod_state state;
	uint32_t in_flight_max; /* it had so many when it was last looked at, and may only lose */
	uint32_t turns;         /* since it was moved */
	uint32_t refusals;      /* of its certificate */
};

/* One connection of the town's side. */
struct town_conn {
	bool is_used;
	bool is_backend;
	tcp_conn_t conn;
	bool is_connected;
	enum err reason; /* why it was lost; ERR_OK: by its end */
	/* bytes to send, in pieces */
	uint8_t *out;
	uint32_t out_len;
	uint32_t out_sent;
	uint32_t piece_bytes;
	uint64_t gap_ns;
	uint64_t send_at_ns;
	bool reset_after_out; /* FAULT_RESET_INSIDE */
	bool close_after_out;
	bool is_mute; /* no close_notify then */
	/* bytes received */
	uint8_t *in;
	uint32_t in_len;
	uint32_t request; /* under way; TOWN_REQUESTS_MAX: none */
	struct town_tls tls;
	bool tls_open;
	enum town_shake shake;
	struct town_h2 *h2; /* town_h2.c; NULL: HTTP/1.1 */
	uint64_t wake_at_ns; /* client: next request */
	uint32_t client;
	uint32_t pod; /* of a backend */
	bool is_done;
};

struct town {
	struct town_plan plan;
	struct prng prng;
	struct prng tls_prng; /* of town_tls.c, so that towns without it are what they were */
	uint64_t now_ns;
	bool is_verbose;
	struct town_request requests[TOWN_REQUESTS_MAX];
	/* the router */
	struct pkt_pool router_header, router_bare, router_payload, router_receive;
	struct net router_net;
	struct tcp *router_tcp;
	void *router_tcp_memory;
	struct worker *worker;
	struct shm shm;
	void *shm_memory;
	struct spool_writer spool;
	void *spool_memory;
	struct tab_header *tab;
	struct tls_context *tls;
	struct tls_context *upstream_tls;
	size_t upstream_blocks; /* of its memory, at the start */
	/* the town */
	struct tls_context *town_tls;
	uint32_t shakes_done;
	struct pkt_pool town_header, town_bare, town_payload, town_receive;
	struct net town_net;
	struct tcp *town_tcp;
	void *town_tcp_memory;
	struct town_conn conns[TOWN_CONNS_MAX];
	uint32_t over;
	uint64_t again_at_ns[TOWN_REQUESTS_MAX]; /* by client: one that was refused connects again; 0: none */
	struct town_pod pods[TOWN_BACKENDS];
	uint32_t moves_done;
	uint32_t cuts_allowed; /* requests that were at a pod when it went into maintenance */
	uint32_t cuts;
	uint32_t refused;      /* 502, 503, 504 where a budget or the operator may have been the reason */
	struct link *link[2]; /* 0: to the router, 1: from it */
	uint64_t turns;       /* that the router had */
	/* Is shown each frame that the router gets, before its turn, and that it sent, behind it; or NULL. */
	void (*saw)(struct town *t, bool from_router, const struct pkt *frame);
	/* If set, does a part of the router's turn and returns how long it took, in ns; nothing that the town does
	 * takes any time. */
	uint64_t (*work)(struct town *t, void (*part)(struct town *t));
	void (*turned)(struct town *t); /* called behind each of them; or NULL */
};

/* A town by its seed, from its plan to its judgement. */
void town_run(uint64_t seed, bool is_verbose);

/* The same piece by piece, for a plan that was made by hand: t->plan, t->requests, t->prng and t->now_ns are set.
 * town_go() runs until then, or until every request is over if stop_when_over; town_finish() judges and frees. */
void town_open(struct town *t);
void town_go(struct town *t, uint64_t until_ns, bool stop_when_over);
void town_finish(struct town *t);
/* Nothing of a request may be left in the worker. */
void town_judge_pools(struct town *t);
void town_fail(const struct town *t, const char *format, ...)
	__attribute__((format(printf, 2, 3), noreturn));

void plan_make_town(struct town *t, uint64_t seed);

/* Deterministic text of a request: `what` 0 prompt, 1 answer, 2 + k event k. No character of it needs an
 * escape. */
void town_text(const struct town *t, uint32_t request, uint32_t what, char *to, uint32_t bytes);

/* The body that the client sends, and the one that a backend must get. Returns the length. */
uint32_t town_request_body(const struct town *t, const struct town_request *r, bool edited, char *to);

/* The payload that a backend makes, and the one that the client must get. Returns the length. */
uint32_t town_answer_body(const struct town *t, const struct town_request *r, bool from_backend, char *to);

void pods_put(struct town *t, uint32_t pod, enum shm_pod_state state);
void pods_turn(struct town *t);   /* before the router's turn: moves that are due */
void pods_judge(struct town *t);  /* behind it */
uint64_t pods_next_at(const struct town *t);
void pods_judge_end(struct town *t);

void router_open(struct town *t);
void router_close(struct town *t);

/* --- connections of the town -------------------------------------------------------------- */

struct town_conn *conn_get(struct town *t, tcp_conn_t conn, bool is_backend);
void conn_put(struct town *t, struct town_conn *c);
struct ip_addr town_address(const struct town *t, bool of_router);

/* Appends to what is to be sent (clear text for TLS clients: sealed on the way). */
void conn_write(struct town *t, struct town_conn *c, const void *bytes, uint32_t n);
void conn_pump(struct town *t, struct town_conn *c);
/* Stock mbedTLS for a client's connection, in any version that the router speaks. */
struct tls_client *conn_tls(struct town *t);

/* What came for a request, however it was framed. */
struct town_answer {
	uint16_t status;
	uint32_t len;
	char body[TOWN_TEXT_BYTES_MAX];
};
void client_check_complete(struct town *t, const struct town_request *r, const struct town_answer *a);
/* A part of the right one, maybe an error event behind it. */
void client_check_cut(struct town *t, const struct town_request *r, struct town_answer *a, const char *reason);
/* --- clients ---------------------------------------------------------------------------- */

void client_begin(struct town *t, uint32_t client);
/* The connection is gone; what is left of the client's requests goes over another one. */
void client_go_on(struct town *t, struct town_conn *c);
/* It was refused for its network: another one in a second. */
void client_again(struct town *t, struct town_conn *c);

struct town_h2 *h2_client_new(struct town *t, struct town_conn *c);
void h2_client_free(struct town_h2 *h);
void h2_client_wake(struct town *t, struct town_conn *c);
void h2_client_received(struct town *t, struct town_conn *c);
void h2_client_lost(struct town *t, struct town_conn *c);

void client_received(struct town *t, struct town_conn *c);
void client_wake(struct town *t, struct town_conn *c);
void client_lost(struct town *t, struct town_conn *c);
void backend_received(struct town *t, struct town_conn *c);

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/timer.h"
#include "dataplane/admit.h"
#include "dataplane/body.h"
#include "dataplane/bounds.h"
#include "http/sse.h"
#include "json/scan.h"
#include "json/splice.h"
#include "json/usage.h"
#include "meter/usage.h"
#include "spread/prefix.h"

/*
 * exchange: one request from its admitted head to its settled answer: collects the body, picks pods, tries
 * them, relays the answer, settles once.
 *
 * Owner: the stream it answers on. Memory: a fixed pool; none left is a 503.
 */
enum exchange_state {
	EXCHANGE_FREE,
	EXCHANGE_BODY,    /* collecting */
	EXCHANGE_CONNECT, /* waiting for a connection */
	EXCHANGE_HEAD,    /* sending the request, waiting for the answer's head */
	EXCHANGE_RELAY,   /* the client has its head; the body follows */
	EXCHANGE_STATE_COUNT
};

struct stream;
struct upstream;
struct worker;

/* What of a stream's usage the client must not see, because it did not ask for it. */
enum usage_hiding {
	HIDE_NOTHING,
	HIDE_RUNNING, /* it asked for the event at the end, not for usage in every event: null there */
	HIDE_ALL,     /* the event at the end, and the member in all others */
};

#define BYTES_NOT_DECLARED UINT64_MAX

struct exchange {
	struct stream *stream; /* where the answer goes; NULL: the client is gone */
	struct upstream *upstream;
	struct exchange *next_free;
	struct timer timer;
	enum exchange_state state;
	struct admission admission;

	/* the request */
	enum h1_method method;
	union { /* by admission.body_kind */
		struct json_scan json;
		struct multipart form;
	};
	struct body body;
	struct body_reader reader;
	uint64_t declared_bytes; /* of the body, as the head says; BYTES_NOT_DECLARED */
	uint64_t received_bytes;
	bool body_complete;
	bool body_waits; /* the client is not read until the backend has taken more */
	bool begun;      /* admitted; tries have begun */
	bool sends_chunks;
	struct json_splices splices;
	uint32_t splice_next;
	struct bytes insert;     /* what is left of the splice being sent */
	bool request_sent;       /* every byte is in TCP */
	enum usage_hiding hiding; /* what we asked for and the client did not */
	bool is_stream;
	uint8_t fields[UPSTREAM_FIELDS_BYTES];
	uint32_t fields_len;
	struct body kept; /* the end of the target, then, of the pass-through, fields */
	uint32_t kept_target_bytes;
	char method_text[PROXY_METHOD_BYTES_MAX];
	uint8_t method_len; /* 0: by the route */

	/* tries */
	uint32_t tries;
	bool session_tried;         /* a handshake with a kept session failed, which is nobody's fault once */
	bool next_is_paid;          /* it stands in for one whose kept connection was gone */
	uint64_t deadline_ns;       /* of the whole request */
	uint32_t tried[TRIES_MAX];  /* pod entries that failed, or no connection could be had to */
	uint32_t tried_count;
	bool last_resort_used;      /* a pod that probes call down was tried */
	bool any_sent;              /* some backend got a request byte */
	bool timed_out;             /* the last try ended by a timer */
	bool backend_spoke;         /* some try ended by a bad answer, not by a refused connection */
	bool is_over_time;          /* the deadline has passed */
	bool is_stopped;            /* this process ends */
	uint32_t busy_tries;        /* those that a pod was too busy for */
	uint64_t pause_ns;          /* what the last of them asked for; 0: nothing */
	uint64_t pause_ns_min;      /* and the shortest of all */
	uint64_t try_at_ns;
	uint64_t try_sent_at_ns;
	uint32_t deployment_entry;
	uint32_t pod_entry;
	bool holds_probe;           /* the slot of the pod's half-open state (route.h) */
	bool prefix_known;
	struct prefix prefix;       /* of `messages`, if the target's policy asks for it */
	uint64_t pod_id;
	struct shm_short_name region;

	/* the answer */
	bool answered; /* the client has a byte of it */
	bool is_events;
	bool reads_answer; /* for what it was billed by */
	bool wraps_id;     /* the answer is gathered, and its id is replaced */
	bool waits_for_client; /* what the backend sends is not read until the client has taken more */
	bool settled;
	uint16_t status;
	struct json_usage usage;
	struct json_usage_scan usage_scan;
	struct sse sse;
	struct body event; /* what has come of an event that has not ended */
	bool event_passing;   /* longer than the buffer: passes as it comes */
	uint32_t event_data_at; /* where the first data line's value starts in the event; 0: not yet */
	uint32_t event_lines;   /* data lines of the event */
	uint64_t silent_until_ns; /* the first event must come before it */
	uint64_t events;
	uint64_t events_told; /* of them, those up to the backend's last word on usage */
	uint64_t payload_bytes;
	uint64_t used_tokens; /* as settled */

	/* moments */
	uint64_t admitted_at_ns;
	uint64_t sent_at_ns;
	uint64_t first_byte_at_ns;
};

/* A request with a body (or none) was admitted by its head. NULL: there is no room for it; *refusal says whose. */
struct exchange *exchange_open(struct worker *w, struct stream *s, const struct admission *admission,
			       const struct h1_request *request, struct refusal *refusal);

/* A piece of the body. False: refused; *refusal says why. */
bool exchange_body(struct worker *w, struct exchange *x, struct bytes piece, struct refusal *refusal);

/* Pieces have come, or the body is complete: admits the request as soon as it can be, starts trying, sends
 * on what there is. False: refused. True: it goes on, or it is over and stream->exchange is not x any more. */
bool exchange_push(struct worker *w, struct exchange *x, bool complete, struct refusal *refusal);

/* True if a piece of the body may be read. If not, stream_take_body() tells when it may. */
bool exchange_takes_body(struct exchange *x);

/* The refusal is the answer, or what was answered already is cut. x is gone after it. */
void exchange_refuse(struct worker *w, struct exchange *x, const struct refusal *refusal);

/* The client is gone: resets the backend, settles what was served. */
void exchange_cancel(struct worker *w, struct exchange *x);

/* This process ends: what was not answered is refused, the rest is cut. x is gone after it. */
void exchange_stop(struct worker *w, struct exchange *x);

/* The client has room again. */
void exchange_resume(struct worker *w, struct exchange *x);

/* Lets go of everything; the stream's pointer is cleared. */
void exchange_close(struct worker *w, struct exchange *x);

/* The only writer of the state; CHECKs that it may follow. For relay.c, when the answer's head has come. */
void exchange_set_state(struct exchange *x, enum exchange_state state);

void exchange_timer_expired(struct worker *w, struct exchange *x);

/* The next look at the exchange: at at_ns, or when the whole request has taken too long. */
void exchange_set_timer(struct worker *w, struct exchange *x, uint64_t at_ns);

/* A time that the target may set (0: it does not). */
uint64_t exchange_time_ns(uint32_t target_ms, uint64_t configured_ns);

/* --- from the upstream ------------------------------------------------------------------ */

/* TCP is there, TLS is not. */
void exchange_securing(struct worker *w, struct exchange *x);
void exchange_connected(struct worker *w, struct exchange *x);
void exchange_readable(struct worker *w, struct exchange *x);
void exchange_writable(struct worker *w, struct exchange *x);
/* Lost before its end: refused, reset, timed out. */
void exchange_upstream_lost(struct worker *w, struct exchange *x, enum err reason);

/* --- between exchange.c and relay.c --------------------------------------------------------- */

/* The try failed. Tries another pod, or answers, or cuts. The upstream is gone after it. */
enum try_end {
	TRY_REFUSED,    /* no connection */
	TRY_SESSION,    /* no connection by a TLS session that was kept */
	TRY_RESET,      /* lost after it */
	TRY_TIMED_OUT,  /* one of the target's timers */
	TRY_BUSY,       /* the pod said so; x->pause_ns: for how long */
	TRY_BAD_STATUS, /* 502, 504 */
	TRY_BAD_ANSWER, /* not HTTP, or not what it began as */
	TRY_LOCAL,      /* we lacked something, or the tables changed */
	TRY_MAINT,      /* the operator took the pod away */
	TRY_OVER_TIME,  /* the whole request took too long */
	TRY_STOPPED,    /* this process ends */
};
void exchange_try_failed(struct worker *w, struct exchange *x, enum try_end end);

/* The answer is complete: the upstream goes back to its pool, the stream ends. */
void exchange_finished(struct worker *w, struct exchange *x);

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
#include "meter/usage.h"

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

struct exchange {
	struct stream *stream; /* where the answer goes; NULL: the client is gone */
	struct upstream *upstream;
	struct exchange *next_free;
	struct timer timer;
	enum exchange_state state;
	struct admission admission;

	/* the request */
	enum h1_method method;
	struct json_scan json;
	struct body body;
	struct body_reader reader;
	struct json_splices splices;
	uint32_t splice_next;
	struct bytes insert;     /* what is left of the splice being sent */
	bool request_sent;       /* every byte is in TCP */
	enum usage_hiding hiding; /* what we asked for and the client did not */
	bool is_stream;
	uint8_t fields[UPSTREAM_FIELDS_BYTES];
	uint32_t fields_len;

	/* tries */
	uint32_t tries;
	uint32_t tried[TRIES_MAX];  /* pod entries that failed on a fresh connection */
	uint32_t tried_count;
	bool last_resort_used;      /* a pod that probes call down was tried */
	bool any_sent;              /* some backend got a request byte */
	bool timed_out;             /* the last try ended by a timer */
	bool backend_spoke;         /* some try ended by a bad answer, not by a refused connection */
	uint32_t pod_entry;
	uint64_t pod_id;
	struct shm_short_name region;

	/* the answer */
	bool answered; /* the client has a byte of it */
	bool is_events;
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
	uint64_t payload_bytes;

	/* moments */
	uint64_t admitted_at_ns;
	uint64_t sent_at_ns;
	uint64_t first_byte_at_ns;
};

/* A request with a body (or none) was admitted by its head. NULL: the pool is empty. */
struct exchange *exchange_open(struct worker *w, struct stream *s, const struct admission *admission,
			       const struct h1_request *request);

/* A piece of the body. False: refused; *refusal says why. */
bool exchange_body(struct worker *w, struct exchange *x, struct bytes piece, struct refusal *refusal);

/* The body is complete: admits it and starts trying. False: refused. */
bool exchange_start(struct worker *w, struct exchange *x, struct refusal *refusal);

/* The request is refused while its body comes, or at its end: answers, and closes. */
void exchange_refuse(struct worker *w, struct exchange *x, const struct refusal *refusal);

/* The client is gone: resets the backend, settles what was served. */
void exchange_cancel(struct worker *w, struct exchange *x);

/* The client has room again. */
void exchange_resume(struct worker *w, struct exchange *x);

/* Lets go of everything; the stream's pointer is cleared. */
void exchange_close(struct worker *w, struct exchange *x);

void exchange_timer_expired(struct worker *w, struct exchange *x);

/* --- from the upstream ------------------------------------------------------------------ */

void exchange_connected(struct worker *w, struct exchange *x);
void exchange_readable(struct worker *w, struct exchange *x);
void exchange_writable(struct worker *w, struct exchange *x);
/* Lost before its end: refused, reset, timed out. */
void exchange_upstream_lost(struct worker *w, struct exchange *x, enum err reason);

/* --- between exchange.c and relay.c --------------------------------------------------------- */

/* The try failed. Tries another pod, or answers, or cuts. The upstream is gone after it. */
enum try_end { TRY_REFUSED, TRY_RESET, TRY_TIMED_OUT, TRY_BUSY, TRY_BAD_STATUS, TRY_BAD_ANSWER };
void exchange_try_failed(struct worker *w, struct exchange *x, enum try_end end);

/* The answer is complete: the upstream goes back to its pool, the stream ends. */
void exchange_finished(struct worker *w, struct exchange *x);

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/units.h"
#include "dataplane/stream.h"
#include "http/h2_guard.h"

/*
 * h2: a client's connection that chose HTTP/2 (RFC 9113), on nghttp2; each of its streams is a struct stream.
 *
 * nghttp2 keeps the protocol's state and writes frames. Bytes, fields, limits and time are ours: h2_guard counts
 * frames before nghttp2 sees them, h2_head judges requests, and a stream's payload waits with us until its
 * windows and TCP have room, so that a backend is read no faster than its client reads.
 *
 * Owner:  the client (struct client, state CLIENT_H2).
 * Memory: of one arena per worker, made at start and part of its written sum; each connection has a cap. Who
 *         meets either is refused: a stream by REFUSED_STREAM, a connection by its end. Payload that waits lies
 *         in body blocks, but for the first KiB.
 * Calls:  nghttp2 must not be entered from its own callbacks, so what answers there only leaves its answer, and
 *         h2_turn() sends it. Nothing here frees the client.
 */
struct client;
struct h2;
struct h2_shared; /* per worker: the arena, and what all sessions have in common */

struct h2_limits {
	uint64_t bytes; /* the arena; 0: HTTP/2 is not offered */
	/* of one connection */
	uint64_t connection_bytes; /* of the arena */
	uint32_t streams;          /* at once */
	uint32_t streams_unauthenticated; /* before a request of it had a valid key */
	uint32_t stream_window_bytes;     /* of a stream's request body (RFC 9113 6.9.2) */
	uint32_t connection_window_bytes; /* of all of them */
	uint32_t frame_bytes;             /* longest payload of a frame (RFC 9113 6.5.2) */
	uint32_t table_bytes;             /* of each of the two HPACK tables (RFC 7541 4.1) */
	uint32_t acks;                    /* of PING and SETTINGS that wait to be sent */
	uint32_t progress_bytes; /* what a client takes of a stream within h2_window_ns, or it stalls */
	struct h2_guard_limits guard;
};

/* NULL: no memory. All sessions must have been closed before it is freed. */
struct h2_shared *h2_shared_new(const struct h2_limits *limits);
/* Other limits from now on; what a connection was told when it began holds for it until it ends. */
void h2_shared_limit(struct h2_shared *shared, const struct h2_limits *limits);
void h2_shared_free(struct h2_shared *shared);
uint64_t h2_shared_bytes_used(const struct h2_shared *shared);

/* --- for client.c --------------------------------------------------------------------- */

/* Sets c->h2 and queues our SETTINGS. False: no memory. */
bool h2_open(struct worker *w, struct client *c);

/* Says GOAWAY, for want of memory; h2_close() follows. */
void h2_dismiss(struct worker *w, struct client *c);

/* Cancels what runs, frees all. */
void h2_close(struct worker *w, struct client *c);

void h2_input(struct worker *w, struct client *c, struct bytes piece);

/* Behind the input of a turn, when TCP has room again, or when it was asked for: sends, resumes, cancels. False:
 * the connection is over, and what was to be said is with TCP. */
bool h2_turn(struct worker *w, struct client *c);

bool h2_has_streams(const struct client *c);

/* True once when the connection is no longer idle: it is to be looked at H2_LOOK_NS later. */
#define H2_LOOK_NS NSEC_PER_SEC
bool h2_needs_look(struct client *c);

/* Looks at what must not take forever. False: over, as h2_turn(). Otherwise *after_ns says when to look again. */
bool h2_look(struct worker *w, struct client *c, uint64_t *after_ns);

/* --- for stream.c ---------------------------------------------------------------------- */

/* fields: lines of HTTP/1 text, which are written to. */
void h2_put_head(struct worker *w, struct stream *s, struct h1_writer *fields, uint64_t payload_bytes);
void h2_put(struct worker *w, struct stream *s, struct bytes run);
void h2_flush(struct worker *w, struct stream *s);
bool h2_has_room(struct worker *w, struct stream *s);
enum err h2_may_take(struct worker *w, struct stream *s, uint64_t bytes);
void h2_again(struct worker *w, struct stream *s);
/* The window moves on by what came and was kept. */
void h2_take_body(struct worker *w, struct stream *s);
void h2_end(struct worker *w, struct stream *s);
void h2_cut(struct worker *w, struct stream *s);

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "http/h1.h"

/*
 * stream: one request's place towards the client. What answers a request (exchange.c and relay.c for a
 * backend, answer.c for us) talks to a stream and does not know which HTTP carries it.
 *
 * An answer: stream_head_begin(), fields into the writer, stream_head_end(), pieces of payload, stream_end().
 * One that cannot be completed: stream_cut(). Fields are written once, as HTTP/1 text; what frames the
 * message (connection, content-length, transfer-encoding) is the stream's own business.
 *
 * Owner:  the client. A stream and the exchange that answers on it point to each other until one lets go.
 * Memory: the client's. Output never frees a stream; a client whose output was lost is reset when it runs.
 */
struct client;
struct exchange;
struct worker;

struct stream {
	struct client *client;
	struct exchange *exchange; /* NULL: nothing runs, or the answer is our own */
	uint32_t *share;           /* of its account in the body store; NULL: without a key */
	uint16_t status;           /* of the answer */
	bool chunked;
	bool payload_unwanted;     /* the request was HEAD */
	bool listing;              /* our list of models is on its way, as the client takes it */
	bool listing_begun;
	uint32_t listing_models;    /* how far it is in the models, */
	uint32_t listing_instances; /* then in the instances */
	uint32_t listing_account;   /* of this account */
};

/* A complete request head (which may borrow). True: s->exchange was opened for its body. False: answered, or
 * being answered; the client may be gone after it. */
bool stream_request(struct worker *w, struct stream *s, const struct h1_request *request);

/* How many bytes of payload follow a head, besides a number of them. */
#define STREAM_BYTES_UNKNOWN UINT64_MAX
#define STREAM_BYTES_NONE (UINT64_MAX - 1) /* the status or the method forbids payload */

/* Fields go into the writer, which lies in the worker's answer buffer. */
struct h1_writer stream_head_begin(struct worker *w, struct stream *s, uint16_t status);
void stream_head_end(struct worker *w, struct stream *s, struct h1_writer *writer, uint64_t payload_bytes);

/* A piece of payload: begin with its size, then runs that make it up. It leaves with stream_flush(), or
 * before. stream_payload() is a piece of one run. */
void stream_piece_begin(struct worker *w, struct stream *s, uint64_t bytes);
void stream_put(struct worker *w, struct stream *s, struct bytes run);
void stream_piece_end(struct worker *w, struct stream *s);
void stream_payload(struct worker *w, struct stream *s, struct bytes payload);
void stream_flush(struct worker *w, struct stream *s);

/* True while the client takes this answer fast enough. If false, stream_resume() follows when it does. */
bool stream_has_room(struct worker *w, struct stream *s);

/* ERR_OK: so much payload has a place, even if the client takes nothing now. Else which store is full. */
enum err stream_may_take(struct worker *w, struct stream *s, uint64_t bytes);

/* Nothing of the client is read from now on but its end; what answers is waited for. */
void stream_wait(struct worker *w, struct stream *s);

/* stream_resume() follows in the next turn, if there is room by then, else when there is. */
void stream_again(struct worker *w, struct stream *s);

/* A piece of the request's body may be read again. */
void stream_take_body(struct worker *w, struct stream *s);

/* The answer is complete; nothing answers on this stream any more. The client may be gone after it. */
void stream_end(struct worker *w, struct stream *s);

/* The answer under way cannot be completed, and must not look as if it were. As stream_end(). */
void stream_cut(struct worker *w, struct stream *s);

/* --- from the client ---------------------------------------------------------------- */

/* The client has room again. */
void stream_resume(struct worker *w, struct stream *s);

/* The client is gone: cancels the exchange. */
void stream_cancel(struct worker *w, struct stream *s);

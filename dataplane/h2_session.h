#pragma once

#include <nghttp2/nghttp2.h>

#include "dataplane/body.h"
#include "dataplane/h2.h"
#include "http/h2_guard.h"
#include "http/h2_head.h"

/*
 * h2_session: one connection and its streams, as h2.c (the connection), h2_answer.c (what streams send) and
 * h2_memory.c see them. Private to them.
 */
struct h2_stream {
	struct stream stream; /* first: what answers knows this part only */
	struct h2_stream *next;
	struct h2_stream *prev;
	int32_t id;
	bool held;       /* something answers on it, or may: freed by whoever is last */
	bool closed;     /* nghttp2 has forgotten it */
	bool body_done;  /* END_STREAM came */
	bool has_head;   /* the answer's was put */
	bool is_ours;    /* no backend's answer, nor a list: a refusal, mostly */
	bool deferred;   /* nghttp2 waits for more payload */
	bool ended;      /* no more payload comes: END_STREAM behind it */
	bool cut;        /* no more payload comes: a reset behind it */
	bool wants_room; /* the answer waits for h2_has_room() */
	uint64_t body_at_ns;   /* the last piece of the body */
	/* When the answer had left whole before the request was: what comes is dropped. 0: it has not */
	uint64_t lingers_at_ns;
	uint64_t untaken_bytes; /* of the body: they came, and the window has not moved on */
	/* payload that waits: the first bytes, then blocks */
	uint8_t *few; /* NULL, or H2_FEW_BYTES of the arena */
	uint32_t few_bytes;
	uint32_t few_read;
	struct body blocks;
	struct body_reader reader;
	/* whether the client takes it */
	uint64_t taken_bytes;
	uint64_t seen_bytes; /* of taken_bytes, at the last progress */
	uint64_t progress_at_ns;
};

struct h2 {
	struct worker *worker;
	struct client *client;
	nghttp2_session *session;
	nghttp2_mem memory;
	struct h2_shared *shared;
	uint64_t bytes; /* of the arena */
	struct h2_stream *first;
	struct h2_stream *begun; /* whose head is coming */
	uint32_t streams;
	uint32_t requests;
	bool receiving; /* inside nghttp2, so that it must not be entered */
	bool sending;
	bool cancels;   /* a stream was closed while it was held */
	bool condemned; /* nothing more is read; over as soon as the word was said */
	bool failed;    /* nghttp2 is of no use any more */
	bool leaving;   /* GOAWAY was said */
	bool looked_at; /* each H2_LOOK_NS, not when it has idled too long */
	uint64_t head_at_ns; /* when the header block under way began */
	uint64_t idle_at_ns; /* since when there is no stream */
	struct h2_guard guard;
	struct h2_head head;
};

/* Payload that is kept without a block, since an answer of our own must not take one. */
#define H2_FEW_BYTES 1024

/* --- h2_memory.c ---------------------------------------------------------------- */

struct h2_shared {
	struct h2_limits limits;
	struct arena *arena;
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
};

/* Zeroed; counted for this connection. NULL: the arena or the connection's share is used up. */
void *h2_alloc(struct h2 *h, size_t bytes);
void h2_release(struct h2 *h, void *block);

/* The session's memory functions. */
nghttp2_mem h2_memory_of(struct h2 *h);

/* --- h2_answer.c ------------------------------------------------------------------ */

uint64_t h2_waiting_bytes(const struct h2_stream *s);
void h2_drop_waiting(struct worker *w, struct h2_stream *s);

/* nghttp2 is asked to go on with the stream if something can be sent. */
void h2_wake(struct h2_stream *s);
int h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *frame_head, size_t bytes,
		 nghttp2_data_source *source, void *user_data);

/* --- h2.c ------------------------------------------------------------------------------- */

/* Everything that may go out now, unless nghttp2 is at work further up. */
void h2_output(struct worker *w, struct h2 *h);

/* RST_STREAM, when it is its turn. */
void h2_reset(struct h2 *h, int32_t id, uint32_t code);

/* Nobody needs the stream any more. */
void h2_stream_free(struct worker *w, struct h2_stream *s);

static inline struct h2_stream *
h2_stream_of(struct stream *s)
{
	return (struct h2_stream *)s;
}

/*
 * What a stream sends: a head at once, payload as the windows and TCP take it.
 *
 * nghttp2 asks for payload when the peer's windows allow some (read_data), then has it written (h2_send_data). In
 * between it waits here. The end is a flag behind the payload; a cut is a failure behind it, which nghttp2 turns
 * into RST_STREAM(INTERNAL_ERROR), so that what was said before still arrives (RFC 9113 8.1: never END_STREAM).
 */
#include "base/check.h"
#include "dataplane/client.h"
#include "dataplane/h2_session.h"
#include "dataplane/worker.h"

/* What may wait for a client before its backend is not read any more. */
#define WAITING_BYTES_HIGH BODY_BLOCK_BYTES
/* An event that was gathered, and a full piece of the backend's. */
#define STEP_BYTES_MAX (EVENT_BYTES_MAX + TLS_RECORD_BYTES_MAX)
/* A backend's, and of ours: :status, content-length, cache-control, 3 of the request, 6 and 3 of its limits, the
 * overhead, 3 of CORS, 3 of a refusal. */
#define FIELDS_MAX (H1_FIELDS_MAX + 32)

/* --- head ------------------------------------------------------------------------ */

static void
add_field(nghttp2_nv *fields, size_t *count, uint8_t *name, size_t name_bytes, uint8_t *value,
	  size_t value_bytes)
{
	CHECK(*count < FIELDS_MAX);
	fields[(*count)++] = (nghttp2_nv){ name, value, name_bytes, value_bytes, NGHTTP2_NV_FLAG_NONE };
}

/* Lines as h1_emit_field() wrote them; names in lower case (RFC 9113 8.2). */
static void
split_lines(const struct h1_writer *lines, nghttp2_nv *fields, size_t *count)
{
	uint8_t *at = lines->ptr;
	uint8_t *end = lines->ptr + lines->len;

	while (at < end) {
		uint8_t *colon = memchr(at, ':', (size_t)(end - at));
		uint8_t *cr = colon != NULL ? memchr(colon, '\r', (size_t)(end - colon)) : NULL;

		CHECK(colon != NULL && cr != NULL && end - cr >= 2);
		for (uint8_t *c = at; c < colon; c++)
			*c = bytes_lower(*c);
		add_field(fields, count, at, (size_t)(colon - at), colon + 2, (size_t)(cr - colon) - 2);
		at = cr + 2;
	}
}

static ssize_t
read_data(nghttp2_session *session, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
	  nghttp2_data_source *source, void *user_data)
{
	struct h2_stream *s = source->ptr;
	struct h2 *h = user_data;
	uint64_t waiting = h2_waiting_bytes(s);

	(void)session;
	(void)id;
	(void)to;
	if (waiting > 0 && !client_has_room(h->worker, h->client)) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (waiting == 0 && s->cut)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (waiting == 0 && !s->ended) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (waiting <= room && s->ended)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)(waiting < room ? waiting : room);
}

static void
status_digits(uint8_t to[3], uint16_t status)
{
	to[0] = (uint8_t)('0' + status / 100);
	to[1] = (uint8_t)('0' + status / 10 % 10);
	to[2] = (uint8_t)('0' + status % 10);
}

void
h2_put_head(struct worker *w, struct stream *stream, struct h1_writer *lines, uint64_t payload_bytes)
{
	struct h2_stream *s = h2_stream_of(stream);
	struct h2 *h = stream->client->h2;
	nghttp2_data_provider provider = { .source.ptr = s, .read_callback = read_data };
	bool has_payload = payload_bytes != 0 && payload_bytes != STREAM_BYTES_NONE &&
			   !stream->payload_unwanted;
	nghttp2_nv fields[FIELDS_MAX];
	uint8_t status[3];
	size_t count = 0;
	int result;

	if (s->closed)
		return;
	if (payload_bytes != STREAM_BYTES_UNKNOWN && payload_bytes != STREAM_BYTES_NONE)
		h1_emit_field_number(lines, BYTES_LITERAL("content-length"), payload_bytes);
	CHECK(!lines->overflow);
	status_digits(status, stream->status);
	/* nghttp2 lost the const; it copies. */
	add_field(fields, &count, (uint8_t *)(uintptr_t)":status", 7, status, sizeof(status));
	split_lines(lines, fields, &count);
	s->progress_at_ns = w->now_ns;
	s->blocks.share = stream->share;
	s->has_head = true;
	s->is_ours = stream->exchange == NULL && !stream->listing;
	result = nghttp2_submit_response(h->session, s->id, fields, count, has_payload ? &provider : NULL);
	CHECK(result == 0 || result == NGHTTP2_ERR_NOMEM);
	if (result != 0) {
		h->failed = true;
		client_make_ready(w, stream->client);
	}
}

/* --- payload that waits ------------------------------------------------------------- */

uint64_t
h2_waiting_bytes(const struct h2_stream *s)
{
	return s->few_bytes - s->few_read + (s->blocks.bytes - s->reader.offset);
}

void
h2_drop_waiting(struct worker *w, struct h2_stream *s)
{
	h2_release(s->stream.client->h2, s->few);
	s->few = NULL;
	s->few_bytes = 0;
	s->few_read = 0;
	body_clear(&w->bodies, &s->blocks);
	body_rewind(&s->blocks, &s->reader);
}

/* True: it went where few bytes go. */
static bool
put_few(struct h2_stream *s, struct bytes run)
{
	if (s->blocks.bytes > 0 || run.len > H2_FEW_BYTES - s->few_bytes)
		return false;
	if (s->few == NULL)
		s->few = h2_alloc(s->stream.client->h2, H2_FEW_BYTES);
	if (s->few == NULL)
		return false;
	memcpy(s->few + s->few_bytes, run.ptr, run.len);
	s->few_bytes += (uint32_t)run.len;
	return true;
}

void
h2_put(struct worker *w, struct stream *stream, struct bytes run)
{
	struct h2_stream *s = h2_stream_of(stream);
	enum err verdict;

	if (s->closed || s->cut || run.len == 0 || put_few(s, run))
		return;
	verdict = body_append(&w->bodies, &s->blocks, run);
	if (verdict != ERR_OK) {
		/* A part of the answer is missing: it must not look complete, nor go on and be billed. */
		worker_count_verdict(w, verdict);
		s->cut = true;
		h2_reset(stream->client->h2, s->id, NGHTTP2_INTERNAL_ERROR);
		client_make_ready(w, stream->client);
	}
}

/* The next run of at most max bytes; it is used up with the next call. */
static struct bytes
take_waiting(struct worker *w, struct h2_stream *s, uint64_t max)
{
	struct bytes run;

	if (s->few_read < s->few_bytes) {
		run = bytes_make(s->few + s->few_read, s->few_bytes - s->few_read);
		if (run.len > max)
			run.len = max;
		s->few_read += (uint32_t)run.len;
		return run;
	}
	return body_read(&w->bodies, &s->blocks, &s->reader, max);
}

int
h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *frame_head, size_t bytes,
	     nghttp2_data_source *source, void *user_data)
{
	struct h2_stream *s = source->ptr;
	struct h2 *h = user_data;
	struct worker *w = h->worker;

	(void)session;
	(void)frame;
	stage_put(w, h->client, bytes_make(frame_head, H2_FRAME_HEAD_BYTES));
	while (bytes > 0) {
		struct bytes run = take_waiting(w, s, bytes);

		CHECK(run.len > 0);
		stage_put(w, h->client, run);
		bytes -= run.len;
		s->taken_bytes += run.len;
	}
	if (s->few_read == s->few_bytes) {
		s->few_read = 0;
		s->few_bytes = 0;
	}
	if (s->reader.offset < s->blocks.bytes) {
		body_drop_read(&w->bodies, &s->blocks, &s->reader);
	} else {
		body_clear(&w->bodies, &s->blocks);
		body_rewind(&s->blocks, &s->reader);
	}
	return 0;
}

/* --- for stream.c ------------------------------------------------------------------------ */

void
h2_wake(struct h2_stream *s)
{
	struct client *c = s->stream.client;

	if (!s->deferred || s->closed)
		return;
	if (h2_waiting_bytes(s) == 0 ? !s->ended && !s->cut : !client_has_room(c->h2->worker, c))
		return;
	s->deferred = false;
	if (nghttp2_session_resume_data(c->h2->session, s->id) == NGHTTP2_ERR_NOMEM) {
		c->h2->failed = true;
		client_make_ready(c->h2->worker, c);
	}
}

void
h2_flush(struct worker *w, struct stream *stream)
{
	h2_wake(h2_stream_of(stream));
	h2_output(w, stream->client->h2);
}

/* What one step of the relay may make has a place. A stream that has nothing waiting tries in any case: nothing
 * that its client takes would give it one. */
static bool
may_wait_for(const struct worker *w, const struct h2_stream *s)
{
	return h2_waiting_bytes(s) == 0 || body_may_append(&w->bodies, &s->blocks, STEP_BYTES_MAX) == ERR_OK;
}

enum err
h2_may_take(struct worker *w, struct stream *stream, uint64_t bytes)
{
	const struct h2_stream *s = h2_stream_of(stream);

	if (s->closed || (s->blocks.bytes == 0 && bytes <= H2_FEW_BYTES - s->few_bytes))
		return ERR_OK;
	return body_may_append(&w->bodies, &s->blocks, bytes);
}

bool
h2_has_room(struct worker *w, struct stream *stream)
{
	struct h2_stream *s = h2_stream_of(stream);

	/* What comes for a stream that is gone is dropped until the next turn cancels it. */
	if (s->closed)
		return true;
	/* It is being reset. */
	if (s->cut)
		return false;
	if (h2_waiting_bytes(s) < WAITING_BYTES_HIGH && client_has_room(w, stream->client) &&
	    may_wait_for(w, s))
		return true;
	s->wants_room = true;
	return false;
}

void
h2_again(struct worker *w, struct stream *stream)
{
	h2_stream_of(stream)->wants_room = true;
	client_make_ready(w, stream->client);
}

static void
let_go(struct worker *w, struct h2_stream *s)
{
	struct h2 *h = s->stream.client->h2;

	s->held = false;
	s->wants_room = false;
	if (s->closed) {
		h2_stream_free(w, s);
		return;
	}
	h2_wake(s);
	h2_output(w, h);
}

void
h2_end(struct worker *w, struct stream *stream)
{
	struct h2_stream *s = h2_stream_of(stream);

	s->ended = !s->cut;
	let_go(w, s);
}

void
h2_cut(struct worker *w, struct stream *stream)
{
	struct h2_stream *s = h2_stream_of(stream);

	s->cut = true;
	/* Without a head there is no payload that a reset could follow: the client was too slow. */
	if (!s->has_head && !s->closed)
		h2_reset(stream->client->h2, s->id, NGHTTP2_CANCEL);
	let_go(w, s);
}

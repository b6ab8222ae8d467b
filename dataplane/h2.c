/*
 * An HTTP/2 connection: bytes in through the guard and nghttp2's callbacks, requests to stream.c, frames out.
 *
 * A stream lives until nghttp2 has closed it and nobody holds it. What the peer closes while bytes are read is
 * cancelled at once; what closes while bytes are sent (our own reset) is cancelled by the next h2_turn(), since
 * whoever sends may be the one that holds it.
 *
 * GOAWAY is said after the last request that a connection may make, when the worker drains, when the client is
 * retired or its key of TLS worn, when most streams are reset, and to those who broke a rule or a budget; then
 * nghttp2 ends the session when the last stream has.
 */
#include "dataplane/h2.h"

#include "base/check.h"
#include "dataplane/answer.h"
#include "dataplane/client.h"
#include "dataplane/exchange.h"
#include "dataplane/h2_session.h"
#include "dataplane/worker.h"
#include "tls/arena.h"

CHECK_STATIC(H2_HEAD_MEMORY_BYTES <= HEAD_BUFFER_BYTES, "a head of HTTP/2 fits where one of HTTP/1.1 does");
/* How long an answer of ours, which a client need not have paid for, waits for its window. */
#define OURS_NS (5 * NSEC_PER_SEC)
/* Streams that get room in one turn; the rest in the next. */
#define RESUMED_MAX 128

/* Whether so many eighths of everybody's memory are in use: up to five there are new connections, up to six new
 * streams of strangers, up to seven those of clients with a key; the last is for what is there already. */
static bool
is_used_to(const struct h2_shared *shared, uint32_t eighths)
{
	return h2_shared_bytes_used(shared) > shared->limits.bytes / 8 * eighths;
}

/* --- streams ------------------------------------------------------------------------- */

static struct h2_stream *
stream_new(struct h2 *h, int32_t id)
{
	struct h2_stream *s = h2_alloc(h, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->stream.client = h->client;
	s->id = id;
	s->held = true;
	s->blocks = BODY_OF_ANSWER(NULL);
	s->next = h->first;
	if (h->first != NULL)
		h->first->prev = s;
	h->first = s;
	h->streams++;
	return s;
}

void
h2_stream_free(struct worker *w, struct h2_stream *s)
{
	struct h2 *h = s->stream.client->h2;

	CHECK(s->stream.exchange == NULL);
	h2_drop_waiting(w, s);
	if (h->begun == s)
		h->begun = NULL;
	if (s->prev != NULL)
		s->prev->next = s->next;
	else
		h->first = s->next;
	if (s->next != NULL)
		s->next->prev = s->prev;
	if (!s->closed)
		nghttp2_session_set_stream_user_data(h->session, s->id, NULL);
	h2_release(h, s);
	if (--h->streams == 0)
		h->idle_at_ns = w->now_ns;
}

/* Whatever answers on it ends; then the stream does. */
static void
cancel(struct worker *w, struct h2_stream *s)
{
	stream_cancel(w, &s->stream);
	s->held = false;
	h2_stream_free(w, s);
}

void
h2_reset(struct h2 *h, int32_t id, uint32_t code)
{
	if (nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, id, code) == NGHTTP2_ERR_NOMEM)
		h->failed = true;
}

/* --- the end of a connection ------------------------------------------------------------- */

/* No new streams; those under way go on. */
static void
leave(struct h2 *h)
{
	if (h->leaving)
		return;
	h->leaving = true;
	if (nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
				  nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR, NULL,
				  0) == NGHTTP2_ERR_NOMEM)
		h->failed = true;
}

static void
condemn(struct h2 *h, enum err verdict)
{
	if (h->condemned)
		return;
	worker_count_verdict(h->worker, verdict);
	h->condemned = true;
	h->leaving = true;
	if (nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM) != 0)
		h->failed = true;
}

/* --- requests -------------------------------------------------------------------------------- */

/* The head is not HTTP: the same answer as over HTTP/1.1, and the connection goes on. */
static void
refuse_head(struct worker *w, struct h2_stream *s, enum err verdict)
{
	struct admission admission;
	struct refusal refusal = { .code = refusal_of_status(h1_status_of(verdict)),
				   .message = err_sentence(verdict) };

	worker_count_verdict(w, verdict);
	admit_begin(w, s->stream.client->h2->head.path, &admission);
	answer_refusal(w, &s->stream, &admission, &refusal);
}

static void
send_continue(struct h2 *h, const struct h2_stream *s)
{
	uint8_t status[] = "100";
	/* nghttp2 lost the const; it copies. */
	nghttp2_nv field = { (uint8_t *)(uintptr_t)":status", status, 7, 3, NGHTTP2_NV_FLAG_NONE };

	if (nghttp2_submit_headers(h->session, NGHTTP2_FLAG_NONE, s->id, NULL, &field, 1, NULL) < 0)
		h->failed = true;
}

/* What came of the body goes on, or the exchange begins; it may be over after it. */
static void
push_body(struct worker *w, struct h2_stream *s, bool complete)
{
	struct exchange *x = s->stream.exchange;
	struct refusal refusal = { 0 };

	if (x != NULL && !exchange_push(w, x, complete, &refusal))
		exchange_refuse(w, x, &refusal);
}

static void
body_complete(struct worker *w, struct h2_stream *s)
{
	s->body_done = true;
	push_body(w, s, true);
}

void
h2_take_body(struct worker *w, struct stream *stream)
{
	struct h2_stream *s = h2_stream_of(stream);
	struct h2 *h = stream->client->h2;

	s->body_at_ns = w->now_ns;
	if (s->closed || s->untaken_bytes == 0)
		return;
	if (nghttp2_session_consume_stream(h->session, s->id, s->untaken_bytes) == NGHTTP2_ERR_NOMEM)
		h->failed = true;
	s->untaken_bytes = 0;
	client_make_ready(w, h->client);
}

static void
begin_request(struct worker *w, struct h2 *h, struct h2_stream *s, bool end_stream)
{
	worker_count(w, COUNTER_H2_REQUESTS);
	s->body_at_ns = w->now_ns;
	if (!stream_request(w, &s->stream, &w->request) || end_stream)
		return;
	if (w->request.expect_continue)
		send_continue(h, s);
	/* A request that passes as it comes begins with its head. */
	push_body(w, s, false);
}

static void
head_complete(struct worker *w, struct h2 *h, bool end_stream)
{
	struct h2_stream *s = h->begun;
	struct client *c = h->client;
	enum err verdict = h2_head_end(&h->head, end_stream, &w->request);

	h->begun = NULL;
	s->body_done = end_stream;
	if (verdict == ERR_H2_MALFORMED) {
		worker_count_verdict(w, verdict);
		s->held = false;
		h2_reset(h, s->id, NGHTTP2_PROTOCOL_ERROR);
	} else if (verdict != ERR_OK) {
		refuse_head(w, s, verdict);
	} else {
		begin_request(w, h, s, end_stream);
	}
	/* A head that is refused is one, too. */
	if (++h->requests >= w->config.limits.requests)
		leave(h);
	client_line_put_head(w, c);
	if (verdict == ERR_OK && end_stream)
		body_complete(w, s);
}

/* --- nghttp2's callbacks: input -------------------------------------------------------------- */

static bool
is_request(const nghttp2_frame *frame)
{
	return frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
}

/* Whether there may be one more stream: a stranger has fewer, and none of what is left for those with a key. */
static bool
may_begin(const struct h2 *h)
{
	if (h->client->is_known)
		return !is_used_to(h->shared, 7);
	return !is_used_to(h->shared, 6) && h->streams < h->shared->limits.streams_unauthenticated;
}

static int
begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
	/* Streams share a connection evenly: none is served to its end while others wait (RFC 9218 10). */
	static const nghttp2_extpri fair = { NGHTTP2_EXTPRI_DEFAULT_URGENCY, 1 };
	struct h2 *h = user_data;
	struct worker *w = h->worker;
	struct client *c = h->client;
	struct h2_stream *s;

	if (!is_request(frame))
		return 0;
	/* A head that nghttp2 has refused on its way is not ended; its stream is being reset. */
	h->begun = NULL;
	s = may_begin(h) ? stream_new(h, frame->hd.stream_id) : NULL;
	if (s == NULL || (c->head == NULL && !client_line_take_head(w, c))) {
		if (s != NULL) {
			worker_count_verdict(w, ERR_HEADS_FULL);
			s->closed = true;
			h2_stream_free(w, s);
		}
		h2_reset(h, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	h2_head_init(&h->head, c->head->bytes, &w->config.limits.head);
	h->begun = s;
	if (nghttp2_session_set_stream_user_data(session, s->id, s) != 0 ||
	    nghttp2_session_change_extpri_stream_priority(session, s->id, &fair, 1) == NGHTTP2_ERR_NOMEM)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return 0;
}

static int
take_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_bytes,
	    const uint8_t *value, size_t value_bytes, uint8_t flags, void *user_data)
{
	struct h2 *h = user_data;

	(void)session;
	(void)flags;
	/* Fields of trailers are dropped. */
	if (is_request(frame) && h->begun != NULL)
		h2_head_add(&h->head, bytes_make(name, name_bytes), bytes_make(value, value_bytes));
	return 0;
}

static int
take_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t len,
	  void *user_data)
{
	struct h2 *h = user_data;
	struct worker *w = h->worker;
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
	struct refusal refusal = { 0 };

	(void)flags;
	if (s != NULL && s->stream.exchange != NULL) {
		s->body_at_ns = w->now_ns;
		s->untaken_bytes += len;
		if (exchange_body(w, s->stream.exchange, bytes_make(bytes, len), &refusal))
			push_body(w, s, false);
		else
			exchange_refuse(w, s->stream.exchange, &refusal);
	}
	/* It is kept in blocks, or dropped. Only its own stream waits for a backend that takes nothing. */
	if (nghttp2_session_consume_connection(session, len) == NGHTTP2_ERR_NOMEM)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (s != NULL && s->stream.exchange != NULL && exchange_takes_body(s->stream.exchange))
		h2_take_body(w, &s->stream);
	return 0;
}

static int
frame_received(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
	struct h2 *h = user_data;
	struct worker *w = h->worker;
	bool end_stream = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
	struct h2_stream *s;

	if (is_request(frame)) {
		if (h->begun != NULL && h->begun->id == frame->hd.stream_id)
			head_complete(w, h, end_stream);
		return 0;
	}
	if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) || !end_stream)
		return 0;
	s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (s != NULL)
		body_complete(w, s);
	return 0;
}

static int
stream_closed(nghttp2_session *session, int32_t id, uint32_t code, void *user_data)
{
	struct h2 *h = user_data;
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);

	(void)code;
	if (s == NULL)
		return 0;
	s->closed = true;
	if (h->begun == s) {
		client_line_put_head(h->worker, h->client);
	}
	if (!s->held) {
		h2_stream_free(h->worker, s);
	} else if (h->receiving) {
		cancel(h->worker, s);
	} else {
		h->cancels = true;
		client_make_ready(h->worker, h->client);
	}
	return 0;
}

/* --- nghttp2's callbacks: output --------------------------------------------------------------- */

/* A reset of ours is counted as what made us send it (T65). */
static void
count_reset(struct h2 *h, uint32_t code)
{
	enum err verdict = ERR_OK;

	if (code == NGHTTP2_REFUSED_STREAM)
		verdict = h2_guard_refused_stream(&h->guard, h->worker->now_ns);
	else if (code != NGHTTP2_NO_ERROR && code != NGHTTP2_INTERNAL_ERROR)
		verdict = h2_guard_caused_reset(&h->guard, h->worker->now_ns);
	if (verdict != ERR_OK)
		condemn(h, verdict);
}

static int
frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
	struct h2 *h = user_data;
	struct h2_stream *s;

	if (frame->hd.type == NGHTTP2_RST_STREAM)
		count_reset(h, frame->rst_stream.error_code);
	else if (frame->hd.type == NGHTTP2_DATA)
		h2_guard_data_sent(&h->guard);
	else if (frame->hd.type == NGHTTP2_GOAWAY && !h->leaving) {
		h->leaving = true;
		worker_count_verdict(h->worker, ERR_H2_PROTOCOL);
	}
	if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
	    !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	/* Answered before the request was whole: the rest is not wanted. The reset that says so (RFC 9113 8.1)
	 * comes later, since clients are about that drop the answer with the stream (curl 7.88). */
	s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (s != NULL && !s->body_done)
		s->lingers_at_ns = h->worker->now_ns;
	return 0;
}

static int
frame_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int reason, void *user_data)
{
	struct h2 *h = user_data;

	(void)session;
	if (frame->hd.type == NGHTTP2_HEADERS && reason != NGHTTP2_ERR_STREAM_CLOSED &&
	    reason != NGHTTP2_ERR_STREAM_CLOSING)
		h2_reset(h, frame->hd.stream_id, NGHTTP2_INTERNAL_ERROR);
	return 0;
}

/* --- begin and end ---------------------------------------------------------------------------------- */

static bool
make_options(struct h2_shared *shared)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;

	if (nghttp2_session_callbacks_new(&shared->callbacks) != 0 || nghttp2_option_new(&shared->option) != 0)
		return false;
	callbacks = shared->callbacks;
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, take_header);
	/* What nghttp2 would drop, h2_head condemns. */
	nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, take_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, take_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frame_received);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_closed);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, frame_sent);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, frame_not_sent);
	nghttp2_session_callbacks_set_send_data_callback(callbacks, h2_send_data);
	option = shared->option;
	nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_option_set_no_closed_streams(option, 1);
	/* The guard counts resets, with the worker's clock. */
	nghttp2_option_set_stream_reset_rate_limit(option, UINT32_MAX, UINT32_MAX);
	return true;
}

struct h2_shared *
h2_shared_new(const struct h2_limits *limits)
{
	struct arena *arena = arena_new(limits->bytes);
	struct h2_shared *shared;

	if (arena == NULL)
		return NULL;
	shared = arena_alloc(arena, sizeof(*shared));
	CHECK(shared != NULL);
	shared->arena = arena;
	if (!make_options(shared)) {
		h2_shared_free(shared);
		return NULL;
	}
	h2_shared_limit(shared, limits);
	return shared;
}

void
h2_shared_limit(struct h2_shared *shared, const struct h2_limits *limits)
{
	shared->limits = *limits;
	nghttp2_option_set_max_outbound_ack(shared->option, limits->acks);
	nghttp2_option_set_max_continuations(shared->option, limits->guard.continuations);
	/* A client may allow us more; we use no more. */
	nghttp2_option_set_max_deflate_dynamic_table_size(shared->option, limits->table_bytes);
}

void
h2_shared_free(struct h2_shared *shared)
{
	struct arena *arena;

	if (shared == NULL)
		return;
	nghttp2_session_callbacks_del(shared->callbacks);
	nghttp2_option_del(shared->option);
	arena = shared->arena;
	arena_release(arena, shared);
	CHECK(arena_use(arena).bytes == 0);
	arena_free(arena);
}

uint64_t
h2_shared_bytes_used(const struct h2_shared *shared)
{
	return arena_use(shared->arena).bytes;
}

static bool
begin_session(struct h2 *h)
{
	const struct h2_limits *limits = &h->shared->limits;
	/* Said also where RFC 9113 6.5.2 has the same, so that no other default of nghttp2 holds. */
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, limits->table_bytes },
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits->streams },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits->stream_window_bytes },
		{ NGHTTP2_SETTINGS_MAX_FRAME_SIZE, limits->frame_bytes },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, h->worker->config.limits.head.head_bytes },
		{ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
	};

	return nghttp2_session_server_new3(&h->session, h->shared->callbacks, h, h->shared->option,
					   &h->memory) == 0 &&
	       nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, COUNT_OF(settings)) == 0 &&
	       nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0,
						     (int32_t)limits->connection_window_bytes) == 0;
}

bool
h2_open(struct worker *w, struct client *c)
{
	struct h2 *h = is_used_to(w->h2, 5) ? NULL : arena_alloc(w->h2->arena, sizeof(*h));

	if (h == NULL) {
		worker_count_verdict(w, ERR_H2_MEMORY);
		return false;
	}
	h->worker = w;
	h->client = c;
	h->shared = w->h2;
	h->bytes = sizeof(*h);
	h->memory = h2_memory_of(h);
	h->idle_at_ns = w->now_ns;
	h2_guard_init(&h->guard, &w->h2->limits.guard);
	c->h2 = h;
	if (begin_session(h)) {
		worker_count(w, COUNTER_H2_CONNECTIONS);
		return true;
	}
	h2_close(w, c);
	return false;
}

void
h2_dismiss(struct worker *w, struct client *c)
{
	worker_count_verdict(w, ERR_H2_MEMORY);
	leave(c->h2);
	h2_output(w, c->h2);
}

void
h2_close(struct worker *w, struct client *c)
{
	struct h2 *h = c->h2;

	/* Nothing is sent any more, so that nghttp2 need not know. */
	h->receiving = true;
	while (h->first != NULL) {
		h->first->closed = true;
		cancel(w, h->first);
	}
	nghttp2_session_del(h->session);
	CHECK(h->bytes == sizeof(*h));
	c->h2 = NULL;
	arena_release(w->h2->arena, h);
}

/* --- the turn ----------------------------------------------------------------------------------------- */

void
h2_input(struct worker *w, struct client *c, struct bytes piece)
{
	struct h2 *h = c->h2;
	uint32_t last_stream = h->guard.last_stream;
	enum err verdict;
	ssize_t used;

	if (h->condemned || h->failed)
		return;
	verdict = h2_guard_feed(&h->guard, piece, w->now_ns);
	if (verdict != ERR_OK) {
		condemn(h, verdict);
		return;
	}
	if (h->guard.in_block && h->guard.last_stream != last_stream)
		h->head_at_ns = w->now_ns;
	h->receiving = true;
	used = nghttp2_session_mem_recv(h->session, piece.ptr, piece.len);
	h->receiving = false;
	if (used == (ssize_t)piece.len)
		return;
	/* No client of ours pauses nghttp2: less than all is an error that it does not survive. */
	worker_count_verdict(w, used == NGHTTP2_ERR_NOMEM  ? ERR_H2_MEMORY :
				used == NGHTTP2_ERR_FLOODED ? ERR_H2_FLOOD :
							      ERR_H2_PROTOCOL);
	h->failed = true;
}

void
h2_output(struct worker *w, struct h2 *h)
{
	struct client *c = h->client;

	if (h->receiving || h->sending || h->failed)
		return;
	h->sending = true;
	while (!c->broken && client_has_room(w, c)) {
		const uint8_t *frames;
		ssize_t len = nghttp2_session_mem_send(h->session, &frames);

		if (len < 0)
			h->failed = true;
		if (len <= 0)
			break;
		stage_put(w, c, bytes_make(frames, (size_t)len));
	}
	h->sending = false;
	stage_flush(w, c);
	/* The end of the connection is client.c's, in the next turn. */
	if (h->failed || (h->leaving && h->streams == 0))
		client_make_ready(w, c);
}

static void
cancel_closed(struct worker *w, struct h2 *h)
{
	struct h2_stream *next;

	if (!h->cancels)
		return;
	h->cancels = false;
	for (struct h2_stream *s = h->first; s != NULL; s = next) {
		next = s->next;
		if (s->closed)
			cancel(w, s);
	}
}

/* Answers that waited for room go on. Each may end, and free, any stream, so that they are found again by id. */
static void
resume(struct worker *w, struct h2 *h)
{
	int32_t ids[RESUMED_MAX];
	uint32_t count = 0;

	for (struct h2_stream *s = h->first; s != NULL && count < RESUMED_MAX; s = s->next)
		if (s->wants_room && !s->closed && h2_has_room(w, &s->stream))
			ids[count++] = s->id;
	if (count == RESUMED_MAX)
		client_make_ready(w, h->client);
	for (uint32_t i = 0; i < count; i++) {
		struct h2_stream *s = nghttp2_session_get_stream_user_data(h->session, ids[i]);

		if (s == NULL || !s->wants_room || !h2_has_room(w, &s->stream))
			continue;
		s->wants_room = false;
		stream_resume(w, &s->stream);
	}
}

static void
wake_all(struct h2 *h)
{
	for (struct h2_stream *s = h->first; s != NULL; s = s->next)
		h2_wake(s);
}

bool
h2_turn(struct worker *w, struct client *c)
{
	struct h2 *h = c->h2;

	if ((w->draining || h2_guard_is_wasteful(&h->guard) || client_is_leaving(w, c)) && !h->leaving)
		leave(h);
	cancel_closed(w, h);
	wake_all(h);
	h2_output(w, h);
	resume(w, h);
	cancel_closed(w, h);
	return !h->failed && !h->condemned &&
	       (nghttp2_session_want_read(h->session) != 0 || nghttp2_session_want_write(h->session) != 0);
}

bool
h2_needs_look(struct client *c)
{
	struct h2 *h = c->h2;
	bool needs = !h->looked_at && (h->streams > 0 || h->guard.in_block);

	h->looked_at |= needs;
	return needs;
}

bool
h2_has_streams(const struct client *c)
{
	return c->h2->streams > 0;
}

/* --- time -------------------------------------------------------------------------------------------------- */

/* A body that does not go on, a window that stays shut, a request that nobody reads any more. */
static void
look_at_stream(struct worker *w, struct h2 *h, struct h2_stream *s)
{
	const struct worker_times *times = &w->config.times;

	if (s->lingers_at_ns != 0) {
		if (w->now_ns - s->lingers_at_ns >= LINGER_NS)
			h2_reset(h, s->id, NGHTTP2_NO_ERROR);
		return;
	}
	/* While the backend takes nothing, its own timer ends that. */
	if (s->body_done || s->stream.exchange == NULL || !exchange_takes_body(s->stream.exchange)) {
		s->body_at_ns = w->now_ns;
	} else if (w->now_ns - s->body_at_ns >= times->body_ns) {
		worker_count_verdict(w, ERR_CLIENT_SLOW);
		h2_reset(h, s->id, NGHTTP2_CANCEL);
		return;
	}
	if ((h2_waiting_bytes(s) == 0 && !s->ended && !s->cut) ||
	    s->taken_bytes - s->seen_bytes >= h->shared->limits.progress_bytes) {
		s->seen_bytes = s->taken_bytes;
		s->progress_at_ns = w->now_ns;
	} else if (w->now_ns - s->progress_at_ns >= (s->is_ours ? OURS_NS : times->h2_window_ns)) {
		worker_count_verdict(w, ERR_CLIENT_STALLED);
		h2_reset(h, s->id, NGHTTP2_CANCEL);
	}
}

bool
h2_look(struct worker *w, struct client *c, uint64_t *after_ns)
{
	struct h2 *h = c->h2;
	const struct worker_times *times = &w->config.times;
	bool is_late = (h->guard.in_block && w->now_ns - h->head_at_ns >= times->header_ns) ||
		       (!h->guard.preface_done && w->now_ns - h->idle_at_ns >= times->header_ns);

	for (struct h2_stream *s = h->first; s != NULL; s = s->next)
		if (!s->closed)
			look_at_stream(w, h, s);
	if (is_late)
		condemn(h, ERR_CLIENT_SLOW);
	else if (h->streams == 0 && w->now_ns - h->idle_at_ns >= times->h2_idle_ns)
		leave(h);
	if (!h2_turn(w, c))
		return false;
	h->looked_at = h->streams > 0 || h->guard.in_block || !h->guard.preface_done;
	*after_ns = h->looked_at ? H2_LOOK_NS : h->idle_at_ns + times->h2_idle_ns - w->now_ns;
	return true;
}

/* A client that speaks HTTP/2: a stream for each of its requests as soon as it has thought of it. */
#include <nghttp2/nghttp2.h>
#include <stdlib.h>

#include "base/check.h"
#include "defaults.h"
#include "town.h"

/* One request on its way. */
struct way {
	struct town_request *request;
	int32_t id;
	bool has_id;
	bool is_complete;
	uint32_t body_len;
	uint32_t body_sent;
	uint64_t trickle_at_ns; /* the next piece of one that trickles in; NEVER_NS: none is left */
	uint64_t leave_at_ns;   /* the client cancels it; NEVER_NS: not by the clock */
	char body[TOWN_TEXT_BYTES_MAX];
	struct town_answer answer;
};

struct town_h2 {
	struct town *town;
	struct town_conn *conn;
	nghttp2_session *session;
	uint32_t running;
	bool has_heard;         /* the router said something on this connection */
	uint64_t request_at_ns; /* the client thinks of its next request; NEVER_NS: it has none */
	struct way *ways[TOWN_REQUESTS_MAX]; /* by request */
};

static struct way *
way_of(nghttp2_session *session, int32_t id)
{
	return nghttp2_session_get_stream_user_data(session, id);
}

/* The client's next request that neither is over nor on its way. */
static struct town_request *
next_request(struct town *t, const struct town_conn *c)
{
	for (uint32_t i = 0; i < t->plan.request_count; i++)
		if (t->requests[i].client == c->client && !t->requests[i].is_over && c->h2->ways[i] == NULL)
			return &t->requests[i];
	return NULL;
}

static void
request_over(struct town_h2 *h, struct town_request *r)
{
	if (r->is_over)
		town_fail(h->town, "request %u: over twice", r->index);
	r->is_over = true;
	r->over_ns = h->town->now_ns;
	h->town->over++;
	h->running--;
}

static void
leave(struct town_h2 *h, struct way *way)
{
	way->request->was_left = true;
	request_over(h, way->request);
	CHECK(nghttp2_submit_rst_stream(h->session, 0, way->id, NGHTTP2_CANCEL) == 0);
}

/* --- what nghttp2 says -------------------------------------------------------------------- */

static int
header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
       const uint8_t *value, size_t value_len, uint8_t flags, void *owner)
{
	struct way *way = way_of(session, frame->hd.stream_id);
	struct bytes field = bytes_make(name, name_len);

	(void)flags;
	(void)owner;
	if (way == NULL)
		return 0;
	if (bytes_equal(field, BYTES_LITERAL(":status"))) {
		way->answer.status = 0;
		for (size_t i = 0; i < value_len; i++)
			way->answer.status = (uint16_t)(way->answer.status * 10 + value[i] - '0');
	}
	way->has_id |= bytes_equal(field, BYTES_LITERAL("x-request-id"));
	return 0;
}

static int
data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t len, void *owner)
{
	struct town_h2 *h = owner;
	struct way *way = way_of(session, id);

	(void)flags;
	if (way == NULL)
		return 0;
	if (way->answer.len + len > sizeof(way->answer.body))
		town_fail(h->town, "request %u: too much of an answer", way->request->index);
	memcpy(way->answer.body + way->answer.len, bytes, len);
	way->answer.len += (uint32_t)len;
	return 0;
}

static int
frame_received(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
	struct town_h2 *h = owner;
	struct way *way = frame->hd.stream_id > 0 ? way_of(session, frame->hd.stream_id) : NULL;
	struct town_request *r;

	if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
		town_fail(h->town, "client %u: GOAWAY %u", h->conn->client, frame->goaway.error_code);
	if (way == NULL || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
		return 0;
	r = way->request;
	way->is_complete = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
	if (!r->is_over && r->is_aborted && r->abort_after_ns == 0 && way->answer.len > r->abort_after_bytes)
		leave(h, way);
	return 0;
}

/* Reset without an answer, and not before its grace was over. */
static void
check_trickled(const struct town_h2 *h, const struct town_request *r, const struct way *way, uint32_t code)
{
	if (way->answer.status != 0 || r->tries > 0 || code != NGHTTP2_CANCEL ||
	    h->town->now_ns - r->sent_ns < defaults_worker()->times.body_grace_ns)
		town_fail(h->town, "request %u: reset with %u after %.3f s", r->index, code,
			  (double)(h->town->now_ns - r->sent_ns) / 1e9);
}

static int
stream_closed(nghttp2_session *session, int32_t id, uint32_t code, void *owner)
{
	struct town_h2 *h = owner;
	struct way *way = way_of(session, id);
	struct town_request *r;

	if (way == NULL)
		return 0;
	r = way->request;
	if (!r->is_over && way->is_complete) {
		if (!way->has_id)
			town_fail(h->town, "request %u: no x-request-id", r->index);
		client_check_complete(h->town, r, &way->answer);
		r->status = way->answer.status;
		request_over(h, r);
	} else if (!r->is_over && r->is_trickled) {
		check_trickled(h, r, way, code);
		r->was_cut = true;
		request_over(h, r);
	} else if (!r->is_over) {
		if (code != NGHTTP2_INTERNAL_ERROR)
			town_fail(h->town, "request %u: reset with %u", r->index, code);
		client_check_cut(h->town, r, &way->answer, "RST_STREAM");
		r->was_cut = true;
		request_over(h, r);
	}
	way->trickle_at_ns = NEVER_NS;
	way->leave_at_ns = NEVER_NS;
	nghttp2_session_set_stream_user_data(session, id, NULL);
	return 0;
}

static ssize_t
read_body(nghttp2_session *session, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
	  nghttp2_data_source *source, void *owner)
{
	struct town_h2 *h = owner;
	struct way *way = source->ptr;
	uint32_t n = way->body_len - way->body_sent;

	(void)session;
	(void)id;
	if (way->request->is_trickled) {
		if (h->town->now_ns < way->trickle_at_ns)
			return NGHTTP2_ERR_DEFERRED;
		way->trickle_at_ns = h->town->now_ns + NSEC_PER_SEC;
		if (n > TOWN_TRICKLE_BYTES)
			n = TOWN_TRICKLE_BYTES;
	}
	if (n > room)
		n = (uint32_t)room;
	memcpy(to, way->body + way->body_sent, n);
	way->body_sent += n;
	if (way->body_sent == way->body_len) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		way->trickle_at_ns = NEVER_NS;
	}
	return n;
}

/* --- to the wire ------------------------------------------------------------------------------ */

static void
send_frames(struct town_h2 *h)
{
	struct town_conn *c = h->conn;
	const uint8_t *frames;
	ssize_t n = 0;

	while (c->out_len < TOWN_TEXT_BYTES_MAX && (n = nghttp2_session_mem_send(h->session, &frames)) > 0)
		conn_write(h->town, c, frames, (uint32_t)n);
	CHECK(n >= 0);
	if (c->out_len > c->out_sent)
		c->send_at_ns = h->town->now_ns;
}

struct town_h2 *
h2_client_new(struct town *t, struct town_conn *c)
{
	static const uint32_t windows[] = { 500, 20000, 65535 };
	nghttp2_settings_entry setting = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0 };
	struct town_h2 *h = calloc(1, sizeof(*h));
	nghttp2_session_callbacks *callbacks;

	CHECK(h != NULL && nghttp2_session_callbacks_new(&callbacks) == 0);
	h->town = t;
	h->conn = c;
	h->request_at_ns = c->wake_at_ns;
	nghttp2_session_callbacks_set_on_header_callback(callbacks, header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frame_received);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_closed);
	CHECK(nghttp2_session_client_new(&h->session, callbacks, h) == 0);
	nghttp2_session_callbacks_del(callbacks);
	setting.value = windows[prng_below(&t->prng, COUNT_OF(windows))];
	CHECK(nghttp2_submit_settings(h->session, 0, &setting, 1) == 0);
	send_frames(h);
	return h;
}

void
h2_client_free(struct town_h2 *h)
{
	if (h == NULL)
		return;
	nghttp2_session_del(h->session);
	for (uint32_t i = 0; i < TOWN_REQUESTS_MAX; i++)
		free(h->ways[i]);
	free(h);
}

static nghttp2_nv
field(const char *name, const char *value)
{
	return (nghttp2_nv){ (uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value),
			     NGHTTP2_NV_FLAG_NONE };
}

static void
send_request(struct town_h2 *h, struct town_request *r)
{
	const nghttp2_nv fields[] = {
		field(":method", "POST"),
		field(":scheme", "https"),
		field(":authority", "edge"),
		field(":path", "/v1/chat/completions"),
		field("authorization", "Bearer eco_town0000000000000000"),
	};
	struct way *way = calloc(1, sizeof(*way));
	nghttp2_data_provider provider = { .source.ptr = way, .read_callback = read_body };

	CHECK(way != NULL);
	way->request = r;
	way->trickle_at_ns = r->is_trickled ? h->town->now_ns : NEVER_NS;
	way->leave_at_ns = NEVER_NS;
	if (r->is_aborted && r->abort_after_ns > 0)
		way->leave_at_ns = h->town->now_ns + r->abort_after_ns;
	way->body_len = town_request_body(h->town, r, false, way->body);
	r->sent_ns = h->town->now_ns;
	h->ways[r->index] = way;
	h->running++;
	way->id = nghttp2_submit_request(h->session, NULL, fields, COUNT_OF(fields), &provider, way);
	CHECK(way->id > 0);
}

/* The next moment that asks for something: a request, a piece that trickles, or the end. */
static void
plan_wake(struct town *t, struct town_conn *c)
{
	struct town_h2 *h = c->h2;
	struct town_request *next = next_request(t, c);

	if (next == NULL)
		h->request_at_ns = NEVER_NS;
	else if (h->request_at_ns == NEVER_NS)
		h->request_at_ns = t->now_ns + next->think_ns;
	c->wake_at_ns = next == NULL && h->running == 0 ? t->now_ns : h->request_at_ns;
	for (uint32_t i = 0; i < t->plan.request_count; i++) {
		const struct way *way = h->ways[i];

		if (way != NULL && way->trickle_at_ns < c->wake_at_ns)
			c->wake_at_ns = way->trickle_at_ns;
		if (way != NULL && way->leave_at_ns < c->wake_at_ns)
			c->wake_at_ns = way->leave_at_ns;
	}
	/* What finds no room waits until some was sent. */
	if (c->out_len >= TOWN_TEXT_BYTES_MAX && c->wake_at_ns > t->now_ns + 5 * NSEC_PER_MSEC)
		c->wake_at_ns = t->now_ns + 5 * NSEC_PER_MSEC;
}

static void
trickle_and_leave(struct town *t, struct town_h2 *h)
{
	for (uint32_t i = 0; i < t->plan.request_count; i++) {
		struct way *way = h->ways[i];

		if (way != NULL && way->leave_at_ns <= t->now_ns) {
			way->leave_at_ns = NEVER_NS;
			way->trickle_at_ns = NEVER_NS;
			leave(h, way);
		}
		if (way != NULL && way->trickle_at_ns <= t->now_ns)
			nghttp2_session_resume_data(h->session, way->id);
	}
}

void
h2_client_wake(struct town *t, struct town_conn *c)
{
	struct town_h2 *h = c->h2;
	struct town_request *r = next_request(t, c);

	if (r == NULL && h->running == 0) {
		tcp_close(t->town_tcp, c->conn);
		conn_put(t, c);
		return;
	}
	trickle_and_leave(t, h);
	if (r != NULL && h->request_at_ns <= t->now_ns) {
		c->piece_bytes = 1 + prng_below(&t->prng, 4000);
		h->request_at_ns = NEVER_NS;
		send_request(h, r);
	}
	send_frames(h);
	plan_wake(t, c);
}

void
h2_client_received(struct town *t, struct town_conn *c)
{
	struct town_h2 *h = c->h2;
	ssize_t used = nghttp2_session_mem_recv(h->session, c->in, c->in_len);

	if (used != (ssize_t)c->in_len)
		town_fail(t, "client %u: nghttp2 says %s", c->client, nghttp2_strerror((int)used));
	h->has_heard |= c->in_len > 0;
	c->in_len = 0;
	send_frames(h);
	plan_wake(t, c);
}

void
h2_client_lost(struct town *t, struct town_conn *c)
{
	/* Refused for its network, before a byte of it was read. */
	if (t->plan.per_source > 0 && !c->h2->has_heard) {
		client_again(t, c);
		return;
	}
	if (c->h2->running > 0)
		town_fail(t, "client %u: %u requests were on the connection that was lost (%s)", c->client,
			  c->h2->running, err_name(c->reason));
	client_go_on(t, c);
}

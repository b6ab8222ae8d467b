/*
 * HTTP/1.1 of a client's connection: head, body, and what of a body comes behind an early answer. Each step takes
 * one piece of input: what waits in the head buffer, or fresh plaintext.
 */
#include "dataplane/h1_server.h"

#include "base/check.h"
#include "dataplane/answer.h"
#include "dataplane/client.h"
#include "dataplane/worker.h"

/* The head buffer's first n bytes are used; what the client pipelined moves to the front. */
static void
drop_head_bytes(struct worker *w, struct client *c, uint32_t n)
{
	struct head_buffer *head = c->head;

	CHECK(n <= head->len);
	head->len -= n;
	memmove(head->bytes, head->bytes + n, head->len);
	if (head->len == 0)
		client_line_put_head(w, c);
}

/* Refuses a request whose framing is not understood: nothing behind it can be read. */
static void
refuse_framing(struct worker *w, struct client *c, enum err verdict)
{
	struct admission admission;
	struct refusal refusal = { .code = refusal_of_status(h1_status_of(verdict)),
				   .message = err_sentence(verdict) };

	worker_count_verdict(w, verdict);
	admit_begin(w, h1_likely_path(bytes_make(c->head->bytes, c->head->len)), &admission);
	c->close_after = true;
	c->body_in.done = true;
	answer_refusal(w, &c->stream, &admission, &refusal);
}

static void
send_continue(struct worker *w, struct client *c)
{
	c->owes_continue = false;
	stage_put(w, c, BYTES_LITERAL("HTTP/1.1 100 Continue\r\n\r\n"));
	stage_flush(w, c);
}

/* A complete head: answered, or an exchange collects its body. */
static void
head_complete(struct worker *w, struct client *c)
{
	struct h1_request *request = &w->request;

	c->minor_version = request->head.minor_version;
	c->close_after = !request->head.keep_alive || c->requests + 1 >= w->config.limits.requests ||
			 client_is_leaving(w, c);
	h1_body_init(&c->body_in, &request->head);
	c->owes_continue = request->expect_continue && !c->body_in.done;
	if (!stream_request(w, &c->stream, request))
		return;
	/* Who sends the body without waiting for it needs no word. */
	if (c->owes_continue && request->head.head_bytes == c->head->len)
		send_continue(w, c);
	c->owes_continue = false;
	client_set_state(w, c, CLIENT_BODY, w->config.times.body_ns);
}

/* A head's time begins with its first byte, be that in a record which is not whole. */
static void
note_begun(struct worker *w, struct client *c)
{
	if (c->head_begun)
		return;
	c->head_begun = true;
	client_set_timer(w, c, w->config.times.header_ns);
}

enum client_step
h1_server_head(struct worker *w, struct client *c)
{
	enum err verdict = ERR_MORE;
	struct bytes piece;

	if (c->head != NULL)
		verdict = h1_parse_request(bytes_make(c->head->bytes, c->head->len), &c->scan,
					   &w->request);
	if (verdict == ERR_OK) {
		uint32_t head_bytes = w->request.head.head_bytes;

		head_complete(w, c);
		if (c->state != CLIENT_FREE && c->head != NULL)
			drop_head_bytes(w, c, head_bytes);
		return c->state == CLIENT_FREE ? STEP_GONE : STEP_AGAIN;
	}
	if (verdict != ERR_MORE) {
		refuse_framing(w, c, verdict);
		return STEP_GONE;
	}
	verdict = client_read_plain(w, c, &piece);
	if (verdict == ERR_OK || c->head != NULL || tcp_unconsumed(w->tcp, c->conn) > 0)
		note_begun(w, c);
	if (verdict != ERR_OK)
		return client_input_ended(w, c, verdict);
	if (c->head == NULL && !client_line_take_head(w, c)) {
		worker_count_verdict(w, ERR_HEADS_FULL);
		client_abort(w, c);
		return STEP_GONE;
	}
	CHECK(c->head->len + piece.len <= HEAD_BUFFER_BYTES);
	memcpy(c->head->bytes + c->head->len, piece.ptr, piece.len);
	c->head->len += (uint32_t)piece.len;
	return STEP_AGAIN;
}

/* Keeps what came behind the end of a body for the next request. */
static bool
stash(struct worker *w, struct client *c, struct bytes rest)
{
	CHECK(c->head == NULL && rest.len <= HEAD_BUFFER_BYTES);
	if (rest.len == 0)
		return true;
	if (!client_line_take_head(w, c)) {
		worker_count_verdict(w, ERR_HEADS_FULL);
		return false;
	}
	memcpy(c->head->bytes, rest.ptr, rest.len);
	c->head->len = (uint32_t)rest.len;
	return true;
}

enum body_end { BODY_GOES_ON, BODY_COMPLETE, BODY_REFUSED, BODY_BROKEN };

/* Decodes as much of *input as belongs to the body; x NULL: drops it. */
static enum body_end
feed_body(struct worker *w, struct client *c, struct bytes *input, struct refusal *refusal)
{
	while (!c->body_in.done) {
		struct bytes payload = BYTES_NONE;
		enum err verdict = h1_body_feed(&c->body_in, input, &payload);

		if (verdict == ERR_MORE)
			return BODY_GOES_ON;
		if (verdict != ERR_OK) {
			refusal->code = refusal_of_status(h1_status_of(verdict));
			refusal->message = err_sentence(verdict);
			worker_count_verdict(w, verdict);
			return BODY_BROKEN;
		}
		if (c->stream.exchange != NULL && payload.len > 0 &&
		    !exchange_body(w, c->stream.exchange, payload, refusal))
			return BODY_REFUSED;
	}
	return BODY_COMPLETE;
}

/* What came of the body goes on, or the exchange begins. */
static enum client_step
push_body(struct worker *w, struct client *c, bool complete)
{
	struct exchange *x = c->stream.exchange;
	struct refusal refusal = { 0 };

	if (!exchange_push(w, x, complete, &refusal)) {
		exchange_refuse(w, x, &refusal);
		return STEP_GONE;
	}
	/* It may be over, and this client with it. */
	return c->stream.exchange == x && c->state == CLIENT_BODY ? STEP_AGAIN : STEP_GONE;
}

static enum client_step
body_fed(struct worker *w, struct client *c, enum body_end how, const struct refusal *refusal)
{
	switch (how) {
	case BODY_GOES_ON:
		if (!c->starved)
			client_set_timer(w, c, w->config.times.body_ns);
		return push_body(w, c, false);
	case BODY_BROKEN:
		c->close_after = true;
		c->body_in.done = true;
		exchange_refuse(w, c->stream.exchange, refusal);
		return STEP_GONE;
	case BODY_REFUSED:
		exchange_refuse(w, c->stream.exchange, refusal);
		return STEP_GONE;
	case BODY_COMPLETE:
		break;
	}
	client_wait(w, c);
	return push_body(w, c, true);
}

/* The next input of a body: what stands behind the head, or a fresh piece. */
enum client_step
h1_server_body(struct worker *w, struct client *c)
{
	struct refusal refusal = { 0 };
	struct bytes input = BYTES_NONE;
	enum body_end how;

	if (c->head != NULL) {
		uint32_t offered = c->head->len;

		input = bytes_make(c->head->bytes, offered);
		how = feed_body(w, c, &input, &refusal);
		drop_head_bytes(w, c, offered - (uint32_t)input.len);
		return body_fed(w, c, how, &refusal);
	}
	if (!c->body_in.done) {
		enum err verdict;

		if (!exchange_takes_body(c->stream.exchange))
			return STEP_WAIT;
		verdict = client_read_plain(w, c, &input);
		/* A request that passes as it comes begins with its head. */
		if (verdict == ERR_MORE && !c->eof)
			return push_body(w, c, false) == STEP_AGAIN ? STEP_WAIT : STEP_GONE;
		if (verdict == ERR_MORE) {
			client_abort(w, c);
			return STEP_GONE;
		}
		if (verdict != ERR_OK) {
			client_fail(w, c, verdict);
			return STEP_GONE;
		}
	}
	how = feed_body(w, c, &input, &refusal);
	if (!stash(w, c, how == BODY_COMPLETE ? input : BYTES_NONE)) {
		client_abort(w, c);
		return STEP_GONE;
	}
	return body_fed(w, c, how, &refusal);
}

enum client_step
h1_server_drain(struct worker *w, struct client *c)
{
	struct refusal unused = { 0 };
	struct bytes input = BYTES_NONE;
	enum body_end how;

	if (c->head != NULL) {
		uint32_t offered = c->head->len;

		input = bytes_make(c->head->bytes, offered);
		how = feed_body(w, c, &input, &unused);
		c->drain_bytes += offered - input.len;
		drop_head_bytes(w, c, offered - (uint32_t)input.len);
	} else {
		enum err verdict = client_read_plain(w, c, &input);
		size_t offered = input.len;

		if (verdict != ERR_OK)
			return client_input_ended(w, c, verdict);
		how = feed_body(w, c, &input, &unused);
		c->drain_bytes += offered - input.len;
		if (how == BODY_COMPLETE && !stash(w, c, input)) {
			client_abort(w, c);
			return STEP_GONE;
		}
	}
	if (how == BODY_BROKEN || (how == BODY_GOES_ON && c->drain_bytes > DRAIN_BYTES_MAX)) {
		client_end(w, c);
		return STEP_GONE;
	}
	if (how == BODY_COMPLETE)
		client_set_state(w, c, CLIENT_HEAD, w->config.times.idle_ns);
	return STEP_AGAIN;
}

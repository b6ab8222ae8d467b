/* A request's place on a connection: HTTP/1.1's framing (RFC 9112 6 and 7) is here, HTTP/2's in h2_answer.c. */
#include "dataplane/stream.h"

#include "base/check.h"
#include "dataplane/answer.h"
#include "dataplane/client.h"
#include "dataplane/h2.h"
#include "dataplane/models.h"
#include "dataplane/worker.h"

bool
stream_request(struct worker *w, struct stream *s, const struct h1_request *request)
{
	struct admission admission;
	struct refusal refusal = { 0 };
	bool is_admitted;

	worker_count(w, COUNTER_REQUESTS);
	s->payload_unwanted = request->method == H1_HEAD;
	is_admitted = admit_head(w, request, &admission, &refusal);
	s->share = NULL;
	if (admission.authenticated) {
		CHECK(admission.account_entry < w->account_capacity);
		s->share = &w->account_blocks[admission.account_entry];
		client_note_key(s->client);
	}
	if (!is_admitted) {
		answer_refusal(w, s, &admission, &refusal);
		return false;
	}
	if (route_is_local(admission.route)) {
		answer_local(w, s, &admission);
		return false;
	}
	if (exchange_open(w, s, &admission, request, &refusal) != NULL)
		return true;
	answer_refusal(w, s, &admission, &refusal);
	return false;
}

static void
count_answer(struct worker *w, uint16_t status)
{
	worker_count(w, status < 300 ? COUNTER_ANSWERS_2XX :
			status < 400 ? COUNTER_ANSWERS_3XX :
			status < 500 ? COUNTER_ANSWERS_4XX :
				       COUNTER_ANSWERS_5XX);
}

struct h1_writer
stream_head_begin(struct worker *w, struct stream *s, uint16_t status)
{
	struct h1_writer writer = h1_writer_make(w->answer, sizeof(w->answer));

	s->status = status;
	if (s->client->h2 == NULL)
		h1_emit_status(&writer, status);
	return writer;
}

static void
emit_framing(struct stream *s, struct h1_writer *writer, uint64_t payload_bytes)
{
	struct client *c = s->client;

	s->chunked = payload_bytes == STREAM_BYTES_UNKNOWN && c->minor_version >= 1;
	if (s->chunked)
		h1_emit_field(writer, BYTES_LITERAL("transfer-encoding"), BYTES_LITERAL("chunked"));
	else if (payload_bytes == STREAM_BYTES_UNKNOWN)
		c->close_after = true;
	else if (payload_bytes != STREAM_BYTES_NONE)
		h1_emit_field_number(writer, BYTES_LITERAL("content-length"), payload_bytes);
}

static void
emit_connection(const struct client *c, struct h1_writer *writer)
{
	if (c->close_after)
		h1_emit_field(writer, BYTES_LITERAL("connection"), BYTES_LITERAL("close"));
	else if (c->minor_version == 0)
		h1_emit_field(writer, BYTES_LITERAL("connection"), BYTES_LITERAL("keep-alive"));
}

void
stream_head_end(struct worker *w, struct stream *s, struct h1_writer *writer, uint64_t payload_bytes)
{
	struct client *c = s->client;

	count_answer(w, s->status);
	if (c->h2 != NULL) {
		h2_put_head(w, s, writer, payload_bytes);
		return;
	}
	/* A request body that is longer than what would be drained is not waited for; and whether it will follow
	 * an unmet 100-continue is the client's choice. */
	if (w->draining || client_is_leaving(w, c) ||
	    (!c->body_in.done && (c->owes_continue || c->body_in.framing != H1_BODY_LENGTH ||
				  c->body_in.left_bytes > DRAIN_BYTES_MAX)))
		c->close_after = true;
	emit_framing(s, writer, payload_bytes);
	emit_connection(c, writer);
	h1_emit_end(writer);
	/* A head of at most H1_HEAD_BYTES_MAX came in, a part of it goes out. */
	CHECK(!writer->overflow);
	stage_put(w, c, bytes_make(writer->ptr, writer->len));
}

void
stream_piece_begin(struct worker *w, struct stream *s, uint64_t bytes)
{
	uint8_t chunk_head[H1_CHUNK_HEAD_BYTES_MAX];

	if (s->chunked && !s->payload_unwanted)
		stage_put(w, s->client,
			   bytes_make(chunk_head, h1_emit_chunk_head(chunk_head, bytes)));
}

void
stream_put(struct worker *w, struct stream *s, struct bytes run)
{
	if (s->payload_unwanted)
		return;
	if (s->client->h2 != NULL)
		h2_put(w, s, run);
	else
		stage_put(w, s->client, run);
}

void
stream_piece_end(struct worker *w, struct stream *s)
{
	if (s->chunked && !s->payload_unwanted)
		stage_put(w, s->client, BYTES_LITERAL("\r\n"));
}

void
stream_payload(struct worker *w, struct stream *s, struct bytes payload)
{
	/* A chunk of no bytes would be the last one. */
	if (payload.len == 0)
		return;
	stream_piece_begin(w, s, payload.len);
	stream_put(w, s, payload);
	stream_piece_end(w, s);
}

void
stream_flush(struct worker *w, struct stream *s)
{
	if (s->client->h2 != NULL)
		h2_flush(w, s);
	else
		stage_flush(w, s->client);
}

bool
stream_has_room(struct worker *w, struct stream *s)
{
	return s->client->h2 != NULL ? h2_has_room(w, s) : client_has_room(w, s->client);
}

enum err
stream_may_take(struct worker *w, struct stream *s, uint64_t bytes)
{
	/* Over HTTP/1.1 it is TCP's, which has room for a step's output. */
	return s->client->h2 == NULL || s->payload_unwanted ? ERR_OK : h2_may_take(w, s, bytes);
}

void
stream_wait(struct worker *w, struct stream *s)
{
	/* Over HTTP/2 a stream's input has an end of its own, and the connection is looked at anyway. */
	if (s->client->h2 == NULL)
		client_wait(w, s->client);
}

void
stream_again(struct worker *w, struct stream *s)
{
	if (s->client->h2 != NULL)
		h2_again(w, s);
	else
		client_make_ready(w, s->client);
}

void
stream_take_body(struct worker *w, struct stream *s)
{
	if (s->client->h2 != NULL)
		h2_take_body(w, s);
	else
		client_make_ready(w, s->client);
}

static void
forget_answer(struct stream *s)
{
	CHECK(s->exchange == NULL);
	s->chunked = false;
	s->listing = false;
	s->payload_unwanted = false;
}

void
stream_end(struct worker *w, struct stream *s)
{
	struct client *c = s->client;

	if (c->h2 != NULL) {
		forget_answer(s);
		h2_end(w, s);
		return;
	}
	if (s->chunked && !s->payload_unwanted)
		stage_put(w, c, BYTES_LITERAL("0\r\n\r\n"));
	stage_flush(w, c);
	forget_answer(s);
	client_answered(w, c);
}

void
stream_cut(struct worker *w, struct stream *s)
{
	struct client *c = s->client;

	if (c->h2 != NULL) {
		forget_answer(s);
		h2_cut(w, s);
		return;
	}
	stage_flush(w, c);
	forget_answer(s);
	client_cut(w, c);
}

void
stream_resume(struct worker *w, struct stream *s)
{
	if (s->exchange != NULL)
		exchange_resume(w, s->exchange);
	else if (s->listing)
		models_go_on(w, s);
}

void
stream_cancel(struct worker *w, struct stream *s)
{
	struct exchange *x = s->exchange;

	s->exchange = NULL;
	s->listing = false;
	if (x != NULL)
		exchange_cancel(w, x);
}

/*
 * The answer on its way: head once, then payload, which the stream frames anew for the client. Order at the end:
 * settle, then the last bytes. Before the end: what came in one go is noted once, behind the last of it, since TCP
 * sends nothing of it before the turn is over (worker_turn()).
 */
#include "dataplane/relay.h"

#include "base/check.h"
#include "base/nocase.h"
#include "dataplane/answer.h"
#include "dataplane/event.h"
#include "dataplane/job_answer.h"
#include "dataplane/request.h"
#include "dataplane/route.h"
#include "dataplane/settle.h"
#include "dataplane/stream.h"
#include "dataplane/upstream.h"
#include "dataplane/worker.h"

static void
arm(struct worker *w, struct exchange *x)
{
	const struct shm_target *target = &x->admission.target;
	uint64_t at_ns = w->now_ns + exchange_time_ns(target->between_events_ms,
						      w->config.times.between_events_ns);

	if (x->is_events && x->events == 0 && !x->waits_for_client) {
		if (x->silent_until_ns == 0)
			x->silent_until_ns = w->now_ns + exchange_time_ns(target->first_event_ms,
									  w->config.times.first_event_ns);
		at_ns = w->now_ns + w->config.times.keep_alive_ns;
		if (at_ns > x->silent_until_ns || w->config.times.keep_alive_ns == 0)
			at_ns = x->silent_until_ns;
	}
	exchange_set_timer(w, x, at_ns);
}

/* --- towards the client ------------------------------------------------------------ */

/* Fields of a backend's answer that a client may see; the rest stays inside. */
static bool
may_pass(struct bytes name)
{
	static const char *const allowed[] = {
		"content-type",	    "content-encoding", "content-language", "content-disposition",
		"cache-control",    "retry-after",	"openai-version",   "openai-model",
		"openai-processing-ms",
	};

	for (size_t i = 0; i < COUNT_OF(allowed); i++)
		if (bytes_equal_nocase(name, bytes_from_text(allowed[i])))
			return true;
	return false;
}

/*
 * Fields of a verbatim answer that stay here: those of the connection, those that we write, and those by which
 * an instance would speak for every other path of this host.
 */
static bool
stays_here(const struct worker *w, const struct h1_head *head, struct bytes name)
{
	static const char *const kept[] = {
		"alt-svc",    "clear-site-data", "content-length", "set-cookie", "strict-transport-security",
		"trailer",    "transfer-encoding", "x-request-id",
	};
	static const char *const families[] = { "x-ratelimit-", "x-sluice-", "proxy-" };

	if (h1_is_hop_by_hop(head, name) || worker_owns_field(w, name))
		return true;
	for (size_t i = 0; i < COUNT_OF(kept); i++)
		if (bytes_equal_nocase(name, bytes_from_text(kept[i])))
			return true;
	for (size_t i = 0; i < COUNT_OF(families); i++)
		if (nocase_starts_with(name, bytes_from_text(families[i])))
			return true;
	return false;
}

/* What the backend said of its length holds for the client, unless the payload is edited on its way. */
static uint64_t
payload_bytes_of(const struct exchange *x, const struct h1_response *response)
{
	bool is_told = h1_find(&response->head, BYTES_LITERAL("content-length")) != NULL;

	if (x->method == H1_HEAD)
		return is_told ? response->head.content_length : STREAM_BYTES_NONE;
	if (response->head.framing == H1_BODY_NONE)
		return response->status == 204 || response->status == 304 ? STREAM_BYTES_NONE : 0;
	if (response->head.framing == H1_BODY_LENGTH && !x->is_events && !x->wraps_id)
		return response->head.content_length;
	return STREAM_BYTES_UNKNOWN;
}

static void
put_head(struct worker *w, struct exchange *x, const struct h1_response *response)
{
	struct h1_writer writer = stream_head_begin(w, x->stream, response->status);

	for (uint32_t i = 0; i < response->head.field_count; i++) {
		const struct h1_field *field = &response->head.fields[i];

		/* Where pages are told what they may read, an instance does not tell them otherwise. */
		if (x->admission.cors_origin.len > 0 &&
		    nocase_starts_with(field->name, BYTES_LITERAL("access-control-")))
			continue;
		if (x->admission.route == ROUTE_PROXY ? !stays_here(w, &response->head, field->name) :
							may_pass(field->name))
			h1_emit_field(&writer, field->name, field->value);
	}
	if (x->is_events && h1_find(&response->head, BYTES_LITERAL("cache-control")) == NULL)
		h1_emit_field(&writer, BYTES_LITERAL("cache-control"), BYTES_LITERAL("no-store"));
	answer_fields(w, &writer, &x->admission, bytes_make(x->region.text, x->region.len));
	stream_head_end(w, x->stream, &writer, payload_bytes_of(x, response));
}

/* --- the head -------------------------------------------------------------------------- */

static bool
is_of_type(const struct h1_head *head, const char *wanted)
{
	const struct h1_field *field = h1_find(head, BYTES_LITERAL("content-type"));

	return field != NULL && nocase_starts_with(field->value, bytes_from_text(wanted));
}

/* How the answer passes: as events, verbatim, or read for what it is billed by. What is no JSON is not read:
 * a transcript that says "usage" is none. */
static void
choose_reading(struct exchange *x, const struct h1_response *response)
{
	const struct h1_head *head = &response->head;
	enum route_kind route = x->admission.route;
	bool is_good = response->status < 300 && head->framing != H1_BODY_NONE;
	bool is_json = is_of_type(head, "application/json");

	if (route == ROUTE_PROXY)
		return;
	x->is_events = is_good && is_of_type(head, "text/event-stream");
	x->reads_answer = is_json || route == ROUTE_CHAT || route == ROUTE_JSON;
	x->wraps_id = is_good && is_json && (route == ROUTE_VIDEO || route == ROUTE_VIDEO_JOB);
}

/* A status that says more of the pod than of the request: another pod may do better. */
static bool
wants_another_pod(uint16_t status, enum try_end *how)
{
	*how = status == 429 || status == 503 ? TRY_BUSY : TRY_BAD_STATUS;
	return status == 429 || status == 502 || status == 503 || status == 504;
}

/* What the status says of the pod: busy is not sick, and who refuses a request is well. */
static enum route_outcome
outcome_of(uint16_t status)
{
	if (status == 429 || status == 503)
		return ROUTE_BUSY;
	return status >= 500 ? ROUTE_BAD : ROUTE_GOOD;
}

/* What a Retry-After in seconds asks for (RFC 9110 section 10.2.3); 0: nothing, or a date. */
static uint64_t
pause_of(const struct h1_head *head)
{
	const struct h1_field *field = h1_find(head, BYTES_LITERAL("retry-after"));
	uint64_t seconds = 0;

	if (field == NULL || field->value.len == 0 || field->value.len > 6)
		return 0;
	for (size_t i = 0; i < field->value.len; i++) {
		if (field->value.ptr[i] < '0' || field->value.ptr[i] > '9')
			return 0;
		seconds = seconds * 10 + (uint64_t)(field->value.ptr[i] - '0');
	}
	return seconds * NSEC_PER_SEC;
}

/* The answer's head is complete. False: the try has failed and x may be gone. */
static bool
begin_answer(struct worker *w, struct exchange *x, const struct h1_response *response)
{
	struct upstream *u = x->upstream;
	enum try_end how;

	if (!x->admission.never_resend && wants_another_pod(response->status, &how)) {
		x->pause_ns = pause_of(&response->head);
		exchange_try_failed(w, x, how);
		return false;
	}
	route_report(w, x, outcome_of(response->status), pause_of(&response->head));
	exchange_set_state(x, EXCHANGE_RELAY);
	x->answered = true;
	x->status = response->status;
	x->first_byte_at_ns = w->now_ns;
	choose_reading(x, response);
	h1_body_init(&u->body_in, &response->head);
	/* What is sent once has a connection of its own: kept, it would only push others out. */
	u->reusable = response->head.keep_alive && x->request_sent && !x->admission.never_resend &&
		      response->head.framing != H1_BODY_UNTIL_CLOSE;
	sse_init(&x->sse);
	x->sse.line_bytes_max = w->config.limits.event_line_bytes;
	json_usage_init(&x->usage_scan);
	request_forget(w, x);
	put_head(w, x, response);
	return true;
}

/* --- the end ---------------------------------------------------------------------------------- */

/* The answer is complete: settle, last bytes, next. x is gone after it. */
static void
end_answer(struct worker *w, struct exchange *x)
{
	struct upstream *u = x->upstream;

	if (!x->is_events || x->event_passing)
		event_take_usage(x, &x->usage_scan.usage);
	else if (x->event.bytes > 0)
		event_end_open(w, x);
	settle_exchange(w, x, USAGE_OK);
	if (x->wraps_id && x->event.bytes > 0)
		job_answer_pass(w, x);
	if ((u->head != NULL && u->head->len > 0) || upstream_peek(w, u).len > 0) {
		u->reusable = false;
		worker_count_verdict(w, ERR_UPSTREAM_EXTRA_BYTES);
	}
	worker_head_put(w, u->head);
	u->head = NULL;
	exchange_finished(w, x);
}

/* Payload of an answer that is no event stream. `last`: nothing follows. */
static void
relay_plain(struct worker *w, struct exchange *x, struct bytes payload, bool last)
{
	if (x->wraps_id) {
		job_answer_feed(w, x, payload);
		return;
	}
	if (x->reads_answer)
		json_usage_feed(&x->usage_scan, payload);
	x->payload_bytes += payload.len; /* before the bill, which may be estimated by it */
	if (last) {
		event_take_usage(x, &x->usage_scan.usage);
		settle_exchange(w, x, USAGE_OK);
	}
	stream_payload(w, x->stream, payload);
}

enum feed_end { FEED_MORE, FEED_ENDED };

/* Decodes *input. FEED_ENDED: the answer is over, one way or the other, and x may be gone. */
static enum feed_end
feed(struct worker *w, struct exchange *x, struct bytes *input)
{
	struct upstream *u = x->upstream;

	while (!u->body_in.done) {
		struct bytes payload = BYTES_NONE;
		enum err verdict = h1_body_feed(&u->body_in, input, &payload);

		if (verdict == ERR_MORE)
			return FEED_MORE;
		if (verdict != ERR_OK) {
			worker_count_verdict(w, verdict);
			worker_count_verdict(w, ERR_UPSTREAM_BAD_ANSWER);
			exchange_try_failed(w, x, TRY_BAD_ANSWER);
			return FEED_ENDED;
		}
		if (payload.len == 0)
			continue;
		/* Before it is billed: what has no place is not delivered. */
		verdict = stream_may_take(w, x->stream, x->event.bytes + payload.len);
		if (verdict != ERR_OK) {
			worker_count_verdict(w, verdict);
			exchange_try_failed(w, x, TRY_LOCAL);
			return FEED_ENDED;
		}
		if (!x->is_events) {
			relay_plain(w, x, payload, u->body_in.done);
		} else if (!event_feed(w, x, payload)) {
			worker_count_verdict(w, ERR_UPSTREAM_BAD_ANSWER);
			exchange_try_failed(w, x, TRY_BAD_ANSWER);
			return FEED_ENDED;
		}
	}
	return FEED_ENDED;
}

static void
drop_head_bytes(struct head_buffer *head, uint32_t n)
{
	head->len -= n;
	memmove(head->bytes, head->bytes + n, head->len);
}

/* Decodes what stands in the head buffer behind the head, and gives the buffer back. False: x may be
 * gone. */
static bool
feed_behind_head(struct worker *w, struct exchange *x)
{
	struct upstream *u = x->upstream;
	struct bytes input = bytes_make(u->head->bytes, u->head->len);

	if (feed(w, x, &input) == FEED_ENDED) {
		if (x->upstream != u)
			return false;
		drop_head_bytes(u->head, u->head->len - (uint32_t)input.len);
		end_answer(w, x);
		return false;
	}
	worker_head_put(w, u->head);
	u->head = NULL;
	return true;
}

enum head_end { HEAD_MORE, HEAD_RELAYING, HEAD_GONE };

/* Looks for complete heads in the head buffer. */
static enum head_end
parse_heads(struct worker *w, struct exchange *x)
{
	struct upstream *u = x->upstream;

	for (;;) {
		enum err verdict = h1_parse_response(bytes_make(u->head->bytes, u->head->len), x->method,
						     &u->scan, &w->response);

		if (verdict == ERR_MORE)
			return HEAD_MORE;
		if (verdict != ERR_OK ||
		    (w->response.status < 200 && (w->response.status == 101 ||
						  ++u->interim_heads > INTERIM_HEADS_MAX))) {
			worker_count_verdict(w, verdict != ERR_OK ? verdict : ERR_UPSTREAM_BAD_ANSWER);
			exchange_try_failed(w, x, TRY_BAD_ANSWER);
			return HEAD_GONE;
		}
		if (w->response.status >= 200)
			break;
		u->scan = (struct h1_scan){ 0 };
		drop_head_bytes(u->head, w->response.head.head_bytes);
	}
	if (!begin_answer(w, x, &w->response))
		return HEAD_GONE;
	drop_head_bytes(u->head, w->response.head.head_bytes);
	return feed_behind_head(w, x) ? HEAD_RELAYING : HEAD_GONE;
}

/* One packet's bytes of the answer's head. */
static enum head_end
take_head(struct worker *w, struct exchange *x, struct bytes input)
{
	struct upstream *u = x->upstream;
	uint32_t n = input.len < HEAD_BUFFER_BYTES ? (uint32_t)input.len : HEAD_BUFFER_BYTES;

	if (u->head == NULL)
		u->head = worker_head_get(w);
	if (u->head == NULL) {
		worker_count_verdict(w, ERR_HEADS_FULL);
		exchange_try_failed(w, x, TRY_LOCAL);
		return HEAD_GONE;
	}
	if (n > HEAD_BUFFER_BYTES - u->head->len)
		n = HEAD_BUFFER_BYTES - u->head->len;
	memcpy(u->head->bytes + u->head->len, input.ptr, n);
	u->head->len += n;
	upstream_use(w, u, n);
	return parse_heads(w, x);
}

/* --- the loop ---------------------------------------------------------------------------------- */

/* Whether a body that only the end of the connection ends is all there: a crash looks the same, so that the
 * body itself must say it. */
static bool
is_whole(const struct exchange *x)
{
	bool is_text = x->admission.route == ROUTE_CHAT || x->admission.route == ROUTE_JSON;

	if (!x->reads_answer || x->status >= 300)
		return true;
	if (x->is_events)
		return x->settled || !is_text;
	return x->usage_scan.offset > 0 && x->usage_scan.depth == 0;
}

/* The backend ended its side, and all that it sent was read. */
static void
ended(struct worker *w, struct exchange *x)
{
	struct upstream *u = x->upstream;

	if (x->state == EXCHANGE_RELAY && h1_body_can_end(&u->body_in) && is_whole(x) && !upstream_was_cut(u)) {
		u->reusable = false;
		end_answer(w, x);
		return;
	}
	worker_count_verdict(w, ERR_UPSTREAM_LOST);
	exchange_try_failed(w, x, TRY_RESET);
}

void
relay_run(struct worker *w, struct exchange *x)
{
	struct upstream *u = x->upstream;
	struct stream *s = x->stream;
	bool has_read = false;

	/* A request is not answered before it was sent. */
	if (x->state != EXCHANGE_HEAD && x->state != EXCHANGE_RELAY)
		return;
	x->waits_for_client = false;
	for (;;) {
		struct bytes input;
		size_t offered;
		enum feed_end how;

		if (x->state == EXCHANGE_RELAY && !stream_has_room(w, s)) {
			x->waits_for_client = true;
			break;
		}
		input = upstream_peek(w, u);
		if (input.len == 0) {
			if (u->eof) {
				ended(w, x);
				return;
			}
			break;
		}
		has_read = true;
		if (x->state == EXCHANGE_HEAD) {
			if (take_head(w, x, input) == HEAD_GONE)
				return;
			continue;
		}
		offered = input.len;
		how = feed(w, x, &input);
		if (how == FEED_ENDED && x->upstream != u)
			return;
		upstream_use(w, u, (uint32_t)(offered - input.len));
		if (how == FEED_ENDED) {
			end_answer(w, x);
			return;
		}
		/* Room is judged by what TCP holds, so that what was staged goes there first. */
		stream_flush(w, s);
	}
	if (has_read && x->state == EXCHANGE_RELAY)
		settle_note(w, x);
	stream_flush(w, s);
	if (x->state == EXCHANGE_RELAY)
		arm(w, x);
}

bool
relay_keep_alive(struct worker *w, struct exchange *x)
{
	bool waits = x->state == EXCHANGE_RELAY && x->is_events && x->events == 0 &&
		     w->now_ns < x->silent_until_ns;

	if (!waits)
		return false;
	if (x->event.bytes == 0 && !x->event_passing && stream_has_room(w, x->stream)) {
		event_pass(w, x, BYTES_LITERAL(": keep-alive\n\n"));
		stream_flush(w, x->stream);
	}
	arm(w, x);
	return true;
}

/* --- endings that are not complete ---------------------------------------------------------------- */

static void
put_error_event(struct worker *w, struct exchange *x)
{
	struct refusal refusal = { .code = x->timed_out ? REFUSAL_UPSTREAM_TIMEOUT :
							  REFUSAL_UPSTREAM_FAILED,
				   .message = "The backend was lost before the end of the answer." };
	struct h1_writer writer = h1_writer_make(w->answer, sizeof(w->answer));

	if (x->is_stopped)
		refusal = (struct refusal){ .code = REFUSAL_OVERLOADED,
					    .message = "The router was stopped before the end of the answer." };
	h1_emit_text(&writer, BYTES_LITERAL("data: "));
	writer.len += refusal_body(&refusal, w->config.surfaces[x->admission.surface].refusal_form,
				   writer.ptr + writer.len, REFUSAL_BODY_BYTES_MAX);
	h1_emit_text(&writer, BYTES_LITERAL("\n\n"));
	event_pass(w, x, bytes_make(writer.ptr, writer.len));
}

/* The last event was passed on, and settled the request: only the end of the backend's framing was missing. */
static bool
has_said_all(const struct exchange *x)
{
	return x->is_events && x->settled && x->event.bytes == 0 && !x->event_passing;
}

void
relay_cut(struct worker *w, struct exchange *x)
{
	struct stream *s = x->stream;

	if (has_said_all(x)) {
		exchange_finished(w, x);
		return;
	}
	settle_exchange(w, x, x->timed_out ? USAGE_TIMEOUT : USAGE_UPSTREAM_ERROR);
	worker_count(w, COUNTER_STREAMS_CUT);
	if (x->is_events && !x->event_passing)
		put_error_event(w, x);
	exchange_close(w, x);
	stream_cut(w, s);
}

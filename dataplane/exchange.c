/*
 * A request's life: body, tries, answer, one settlement. The answer's bytes are relay.c's.
 *
 * A try is one backend connection. As long as the client has no byte of an answer, a failed try is followed
 * by another one at a pod that has not failed, at most TRIES_MAX in all; a kept-alive connection that
 * turns out to be dead is nobody's fault and does not rule its pod out.
 */
#include "dataplane/exchange.h"

#include "base/check.h"
#include "dataplane/answer.h"
#include "dataplane/relay.h"
#include "dataplane/route.h"
#include "dataplane/settle.h"
#include "dataplane/stream.h"
#include "dataplane/upstream.h"
#include "dataplane/worker.h"

#define USER_AGENT_BYTES_MAX 256
#define CONTENT_TYPE_BYTES_MAX 128
#define TRACEPARENT_BYTES 55

static void
set_timer(struct worker *w, struct exchange *x, uint64_t after_ns)
{
	x->timer.kind = TIMER_EXCHANGE;
	timer_set(&w->timers, &x->timer, w->now_ns + after_ns);
}

static void
set_state(struct exchange *x, enum exchange_state state)
{
	CHECK(state < EXCHANGE_STATE_COUNT && x->state != EXCHANGE_FREE);
	x->state = state;
}

/* --- begin ---------------------------------------------------------------------------- */

/* A traceparent (W3C Trace Context, version 00) that is well-formed is kept. */
static bool
is_traceparent(struct bytes text)
{
	static const uint8_t dashes[] = { 2, 35, 52 };

	if (text.len != TRACEPARENT_BYTES || text.ptr[0] != '0' || text.ptr[1] != '0')
		return false;
	for (size_t i = 0, dash = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];

		if (dash < sizeof(dashes) && i == dashes[dash]) {
			if (c != '-')
				return false;
			dash++;
		} else if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
			return false;
		}
	}
	return true;
}

static void
emit_traceparent(struct h1_writer *writer, const struct h1_head *head, const struct admission *a)
{
	const struct h1_field *given = h1_find(head, BYTES_LITERAL("traceparent"));
	char made[TRACEPARENT_BYTES];

	if (given != NULL && is_traceparent(given->value)) {
		h1_emit_field(writer, BYTES_LITERAL("traceparent"), given->value);
		return;
	}
	memcpy(made, "00-", 3);
	memcpy(made + 3, a->request_id_text, 32);
	made[35] = '-';
	memcpy(made + 36, a->request_id_text + 16, 16);
	memcpy(made + 52, "-01", 3);
	h1_emit_field(writer, BYTES_LITERAL("traceparent"), bytes_make(made, sizeof(made)));
}

/* What a backend gets of the client's fields is this list and nothing else: fields that we do not know
 * could frame the message anew, or speak for another client. */
static void
prepare_fields(struct exchange *x, const struct h1_request *request)
{
	struct h1_writer writer = h1_writer_make(x->fields, sizeof(x->fields));
	const struct h1_field *agent = h1_find(&request->head, BYTES_LITERAL("user-agent"));
	const struct h1_field *type = h1_find(&request->head, BYTES_LITERAL("content-type"));
	const struct admission *a = &x->admission;

	if (type != NULL && type->value.len <= CONTENT_TYPE_BYTES_MAX)
		h1_emit_field(&writer, BYTES_LITERAL("content-type"), type->value);
	else
		h1_emit_field(&writer, BYTES_LITERAL("content-type"), BYTES_LITERAL("application/json"));
	if (agent != NULL && agent->value.len <= USER_AGENT_BYTES_MAX)
		h1_emit_field(&writer, BYTES_LITERAL("user-agent"), agent->value);
	h1_emit_field(&writer, BYTES_LITERAL("x-request-id"),
		      bytes_make(a->request_id_text, sizeof(a->request_id_text)));
	emit_traceparent(&writer, &request->head, a);
	CHECK(!writer.overflow);
	x->fields_len = (uint32_t)writer.len;
}

struct exchange *
exchange_open(struct worker *w, struct stream *s, const struct admission *admission,
	      const struct h1_request *request)
{
	struct exchange *x = w->exchange_free;

	if (x == NULL) {
		worker_count_verdict(w, ERR_EXCHANGES_FULL);
		return NULL;
	}
	w->exchange_free = x->next_free;
	memset(x, 0, sizeof(*x));
	w->exchanges_used++;
	x->stream = s;
	s->exchange = x;
	x->state = EXCHANGE_BODY;
	x->admission = *admission;
	x->method = request->method;
	x->body = BODY_EMPTY;
	x->event = BODY_EMPTY;
	x->admitted_at_ns = w->now_ns;
	json_scan_init(&x->json);
	prepare_fields(x, request);
	return x;
}

bool
exchange_body(struct worker *w, struct exchange *x, struct bytes piece, struct refusal *refusal)
{
	enum err verdict;

	if (x->body.bytes + piece.len > x->admission.body_bytes_max) {
		refusal->code = REFUSAL_PAYLOAD_TOO_LARGE;
		return false;
	}
	verdict = json_scan_feed(&x->json, piece);
	if (verdict != ERR_OK) {
		worker_count_verdict(w, verdict);
		admit_refuse_json(verdict, &x->json.result, refusal);
		return false;
	}
	verdict = body_append(&w->bodies, &x->body, piece);
	if (verdict != ERR_OK) {
		worker_count_verdict(w, verdict);
		*refusal = (struct refusal){ .code = REFUSAL_OVERLOADED, .retry_after_ns = NSEC_PER_SEC };
		return false;
	}
	return true;
}

/* --- end ---------------------------------------------------------------------------------- */

void
exchange_close(struct worker *w, struct exchange *x)
{
	CHECK(x->upstream == NULL && x->state != EXCHANGE_FREE);
	if (x->stream != NULL)
		x->stream->exchange = NULL;
	timer_cancel(&w->timers, &x->timer);
	body_clear(&w->bodies, &x->body);
	body_clear(&w->bodies, &x->event);
	x->state = EXCHANGE_FREE;
	x->next_free = w->exchange_free;
	w->exchange_free = x;
	w->exchanges_used--;
}

static void
drop_upstream(struct worker *w, struct exchange *x)
{
	struct upstream *u = x->upstream;

	x->upstream = NULL;
	if (u == NULL)
		return;
	u->exchange = NULL;
	upstream_abort(w, u);
}

void
exchange_cancel(struct worker *w, struct exchange *x)
{
	x->stream = NULL;
	drop_upstream(w, x);
	if (x->state != EXCHANGE_BODY && !x->settled)
		worker_count(w, COUNTER_CLIENT_ABORTS);
	settle_exchange(w, x, USAGE_CLIENT_ABORT);
	exchange_close(w, x);
}

void
exchange_refuse(struct worker *w, struct exchange *x, const struct refusal *refusal)
{
	struct stream *s = x->stream;

	/* The refusal may show what the exchange holds, so it is closed last. */
	s->exchange = NULL;
	x->stream = NULL;
	answer_refusal(w, s, &x->admission, refusal);
	exchange_close(w, x);
}

void
exchange_finished(struct worker *w, struct exchange *x)
{
	struct stream *s = x->stream;
	struct upstream *u = x->upstream;

	x->upstream = NULL;
	if (u != NULL)
		upstream_put(w, u);
	exchange_close(w, x);
	stream_end(w, s);
}

/* --- tries ------------------------------------------------------------------------------------ */

/* What the stream is asked to tell for the bill's sake, and so what must be hidden from the client. */
static enum json_ask
plan_usage(struct exchange *x, bool pod_can_run)
{
	const struct json_result *json = &x->json.result;

	x->hiding = HIDE_NOTHING;
	if (!x->is_stream)
		return JSON_ASK_NOTHING;
	if (!json_wants_usage(json))
		x->hiding = HIDE_ALL;
	else if (pod_can_run && !json_wants_running(json))
		x->hiding = HIDE_RUNNING;
	if (x->hiding == HIDE_NOTHING)
		return JSON_ASK_NOTHING;
	return pod_can_run ? JSON_ASK_RUNNING : JSON_ASK_USAGE;
}

/* What `model` becomes for this deployment, and the wish for a usage event in a stream. */
static bool
plan_edits(struct exchange *x, const struct route_pick *pick)
{
	const struct json_result *json = &x->json.result;
	const struct shm_name *served = pick->deployment.served_name.len > 0 ?
						&pick->deployment.served_name :
						&x->admission.target_name;
	struct bytes name = bytes_make(served->text, served->len);

	if (bytes_equal(name, bytes_make(json->model, json->model_len)))
		name = BYTES_NONE;
	return json_plan_splices(json, name, plan_usage(x, pick->pod.running_usage != 0),
				 &x->splices) == ERR_OK;
}

/* Takes the first pod that a connection can be had to. False: none is left. */
static bool
try_next(struct worker *w, struct exchange *x, bool fresh_only)
{
	struct route_pick pick;

	while (x->tries < TRIES_MAX && route_pick(w, x, &pick)) {
		x->tries++;
		x->pod_entry = pick.pod_entry;
		x->pod_id = pick.pod.pod_id;
		x->region = pick.region;
		set_state(x, EXCHANGE_CONNECT);
		if (plan_edits(x, &pick))
			x->upstream = upstream_get(w, x, pick.pod_entry, &pick.pod, fresh_only);
		if (x->upstream == NULL) {
			x->tried[x->tried_count++] = pick.pod_entry;
			continue;
		}
		if (x->upstream->state == UPSTREAM_BUSY)
			exchange_connected(w, x);
		else
			set_timer(w, x, w->config.times.connect_ns);
		return true;
	}
	return false;
}

bool
exchange_start(struct worker *w, struct exchange *x, struct refusal *refusal)
{
	enum err verdict = json_scan_end(&x->json);

	if (verdict != ERR_OK) {
		worker_count_verdict(w, verdict);
		admit_refuse_json(verdict, &x->json.result, refusal);
		return false;
	}
	if (!admit_body(w, &x->json.result, &x->admission, refusal))
		return false;
	x->is_stream = x->json.result.field[JSON_FIELD_STREAM].type == JSON_BOOL &&
		       x->json.result.field[JSON_FIELD_STREAM].boolean;
	if (try_next(w, x, false))
		return true;
	worker_count(w, COUNTER_REFUSED_REGION);
	*refusal = (struct refusal){ .code = REFUSAL_NO_HEALTHY_REGION,
				     .retry_after_ns = NSEC_PER_SEC };
	return false;
}

static void
report_pod(struct worker *w, const struct exchange *x, enum try_end how, bool was_fresh)
{
	bool is_race = how == TRY_RESET && !was_fresh;

	if (how != TRY_BUSY && !is_race)
		route_pod_bad(w, x->pod_entry);
}

/* No try is left: the refusal becomes the answer. */
static void
give_up(struct worker *w, struct exchange *x)
{
	struct refusal refusal = { .code = REFUSAL_NO_HEALTHY_REGION, .retry_after_ns = NSEC_PER_SEC };

	if (x->timed_out)
		refusal = (struct refusal){ .code = REFUSAL_UPSTREAM_TIMEOUT };
	else if (x->backend_spoke)
		refusal = (struct refusal){ .code = REFUSAL_UPSTREAM_FAILED };
	else
		worker_count(w, COUNTER_REFUSED_REGION);
	x->status = refusal_status(refusal.code, x->admission.surface);
	settle_exchange(w, x, x->timed_out ? USAGE_TIMEOUT : USAGE_UPSTREAM_ERROR);
	exchange_refuse(w, x, &refusal);
}

void
exchange_try_failed(struct worker *w, struct exchange *x, enum try_end how)
{
	struct upstream *u = x->upstream;
	bool was_fresh = u->fresh;

	CHECK(u != NULL);
	worker_count(w, COUNTER_UPSTREAM_FAILURES);
	report_pod(w, x, how, was_fresh);
	x->timed_out = how == TRY_TIMED_OUT && x->state != EXCHANGE_CONNECT;
	x->backend_spoke = x->backend_spoke || how == TRY_BAD_ANSWER || how == TRY_BAD_STATUS ||
			   (how == TRY_RESET && was_fresh);
	drop_upstream(w, x);
	timer_cancel(&w->timers, &x->timer);
	if (x->answered) {
		relay_cut(w, x);
		return;
	}
	if (was_fresh || how != TRY_RESET)
		x->tried[x->tried_count++] = x->pod_entry;
	if (x->tries < TRIES_MAX)
		worker_count(w, COUNTER_UPSTREAM_RETRIES);
	if (!try_next(w, x, !was_fresh))
		give_up(w, x);
}

/* --- sending the request -------------------------------------------------------------------------- */

static void
emit_v4(struct h1_writer *writer, const uint8_t v4[4])
{
	for (int i = 0; i < 4; i++) {
		if (i > 0)
			h1_emit_text(writer, BYTES_LITERAL("."));
		h1_emit_number(writer, v4[i]);
	}
}

/* RFC 3986 3.2.2: in brackets; every group is written out. */
static void
emit_v6(struct h1_writer *writer, const uint8_t v6[16])
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < 16; i++) {
		h1_emit_text(writer, i == 0 ? BYTES_LITERAL("[") :
				     i % 2 == 0 ? BYTES_LITERAL(":") :
						  BYTES_NONE);
		h1_emit_text(writer, bytes_make(&digits[v6[i] >> 4], 1));
		h1_emit_text(writer, bytes_make(&digits[v6[i] & 15], 1));
	}
	h1_emit_text(writer, BYTES_LITERAL("]"));
}

static void
emit_host(struct h1_writer *writer, const struct shm_pod *pod)
{
	struct ip_addr address = ip_from_v6(pod->address);

	if (pod->host.len > 0) {
		h1_emit_field(writer, BYTES_LITERAL("host"),
			      bytes_make(pod->host.text, pod->host.len));
		return;
	}
	h1_emit_text(writer, BYTES_LITERAL("host: "));
	if (ip_is_v4(&address))
		emit_v4(writer, pod->address + 12);
	else
		emit_v6(writer, pod->address);
	h1_emit_text(writer, BYTES_LITERAL(":"));
	h1_emit_number(writer, pod->port);
	h1_emit_text(writer, BYTES_LITERAL("\r\n"));
}

/* The tables are read again: between pick and connect they may have changed, and a head must not mix. */
static bool
emit_request_head(struct worker *w, struct exchange *x, struct h1_writer *writer)
{
	const struct shm_target *target = &x->admission.target;
	struct shm_deployment deployment;
	struct shm_pod pod;

	if (shm_read_pod(&w->shm, x->pod_entry, &pod) != ERR_OK || pod.pod_id != x->pod_id)
		return false;
	deployment.base_path.len = 0;
	for (uint32_t i = 0; i < target->deployment_count && i < SHM_TARGET_DEPLOYMENTS_MAX; i++) {
		if (shm_read_deployment(&w->shm, target->deployments[i], &deployment) != ERR_OK)
			continue;
		for (uint32_t p = 0; p < deployment.pod_count && p < SHM_DEPLOYMENT_PODS_MAX; p++)
			if (deployment.pods[p] == x->pod_entry)
				goto found;
	}
	return false;
found:
	h1_emit_text(writer, BYTES_LITERAL("POST "));
	h1_emit_text(writer, bytes_make(deployment.base_path.text, deployment.base_path.len));
	h1_emit_text(writer, x->admission.upstream_path);
	h1_emit_text(writer, BYTES_LITERAL(" HTTP/1.1\r\n"));
	emit_host(writer, &pod);
	h1_emit_text(writer, bytes_make(x->fields, x->fields_len));
	h1_emit_field(writer, BYTES_LITERAL("accept"),
		      x->is_stream ? BYTES_LITERAL("text/event-stream") :
				     BYTES_LITERAL("application/json"));
	if (pod.credential.len > 0)
		h1_emit_field(writer, BYTES_LITERAL("authorization"),
			      bytes_make(pod.credential.text, pod.credential.len));
	h1_emit_field_number(writer, BYTES_LITERAL("content-length"),
			     x->body.bytes + (uint64_t)x->splices.grown_bytes);
	h1_emit_end(writer);
	return !writer->overflow;
}

/* The next run of the edited body; empty at its end. */
static struct bytes
next_run(struct worker *w, struct exchange *x)
{
	uint64_t max = UINT64_MAX;

	if (x->insert.len == 0 && x->splice_next < x->splices.count &&
	    x->splices.splice[x->splice_next].offset == x->reader.offset) {
		const struct json_splice *splice = &x->splices.splice[x->splice_next++];
		uint64_t cut = splice->cut_bytes;

		x->insert = splice->insert;
		while (cut > 0)
			cut -= body_read(&w->bodies, &x->body, &x->reader, cut).len;
	}
	if (x->insert.len > 0) {
		struct bytes run = x->insert;

		x->insert = BYTES_NONE;
		return run;
	}
	if (x->splice_next < x->splices.count)
		max = x->splices.splice[x->splice_next].offset - x->reader.offset;
	return body_read(&w->bodies, &x->body, &x->reader, max);
}

/* As much of the body as the backend's connection has room for. False: the try has failed. */
static bool
send_body(struct worker *w, struct exchange *x)
{
	struct upstream *u = x->upstream;

	while (!x->request_sent) {
		struct bytes run;

		if (!upstream_has_room(w, u)) {
			tcp_notify_below(w->tcp, u->conn, UPSTREAM_UNACKED_BYTES_LOW);
			return true;
		}
		run = next_run(w, x);
		if (run.len == 0) {
			x->request_sent = true;
			return true;
		}
		if (!upstream_send(w, u, run, x->reader.offset < x->body.bytes))
			return false;
	}
	return true;
}

void
exchange_connected(struct worker *w, struct exchange *x)
{
	struct h1_writer writer = h1_writer_make(w->answer, sizeof(w->answer));

	set_state(x, EXCHANGE_HEAD);
	set_timer(w, x, w->config.times.response_head_ns);
	body_rewind(&x->body, &x->reader);
	x->splice_next = 0;
	x->insert = BYTES_NONE;
	x->request_sent = false;
	if (!emit_request_head(w, x, &writer)) {
		exchange_try_failed(w, x, TRY_REFUSED);
		return;
	}
	x->any_sent = true;
	if (x->sent_at_ns == 0)
		x->sent_at_ns = w->now_ns;
	if (!upstream_send(w, x->upstream, bytes_make(writer.ptr, writer.len), true) ||
	    !send_body(w, x))
		exchange_try_failed(w, x, TRY_BUSY);
}

/* --- events and the timer ---------------------------------------------------------------------------- */

void
exchange_writable(struct worker *w, struct exchange *x)
{
	/* An answer that came before the request was out needs no more of it. */
	if (x->state != EXCHANGE_HEAD)
		return;
	set_timer(w, x, w->config.times.response_head_ns);
	if (!send_body(w, x))
		exchange_try_failed(w, x, TRY_BUSY);
}

void
exchange_readable(struct worker *w, struct exchange *x)
{
	relay_run(w, x);
}

void
exchange_resume(struct worker *w, struct exchange *x)
{
	if (x->state == EXCHANGE_RELAY)
		relay_run(w, x);
}

void
exchange_upstream_lost(struct worker *w, struct exchange *x, enum err reason)
{
	worker_count_verdict(w, reason);
	exchange_try_failed(w, x, x->state == EXCHANGE_CONNECT ? TRY_REFUSED : TRY_RESET);
}

void
exchange_timer_expired(struct worker *w, struct exchange *x)
{
	if (relay_keep_alive(w, x))
		return;
	/* While the client takes nothing, the backend is not to blame for its silence. */
	if (x->state == EXCHANGE_RELAY && !stream_has_room(w, x->stream)) {
		set_timer(w, x, w->config.times.between_events_ns);
		return;
	}
	worker_count_verdict(w, ERR_UPSTREAM_TIMED_OUT);
	exchange_try_failed(w, x, TRY_TIMED_OUT);
}

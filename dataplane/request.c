/* Heads are written into the worker's answer buffer; bodies are read out of their blocks, run by run. */
#include "dataplane/request.h"

#include "base/check.h"
#include "base/nocase.h"
#include "dataplane/route.h"
#include "dataplane/settle.h"
#include "dataplane/upstream.h"
#include "dataplane/worker.h"

#define USER_AGENT_BYTES_MAX 256
#define TRACEPARENT_BYTES 55

/* --- what is kept of the client's head ------------------------------------------------------ */

static bool
is_zeros(struct bytes text)
{
	while (text.len > 0 && text.ptr[0] == '0')
		bytes_advance(&text, 1);
	return text.len == 0;
}

/* A field that is meant for the backend too: Connection does not name it (RFC 9110 7.6.1). */
static const struct h1_field *
find_end_to_end(const struct h1_head *head, struct bytes name)
{
	return h1_is_hop_by_hop(head, name) ? NULL : h1_find(head, name);
}

/* A traceparent (W3C Trace Context, version 00) that is well-formed is kept; ids of zeros are not. */
static bool
is_traceparent(struct bytes text)
{
	static const uint8_t dashes[] = { 2, 35, 52 };

	if (text.len != TRACEPARENT_BYTES || text.ptr[0] != '0' || text.ptr[1] != '0' ||
	    is_zeros(bytes_make(text.ptr + 3, 32)) || is_zeros(bytes_make(text.ptr + 36, 16)))
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
	const struct h1_field *given = find_end_to_end(head, BYTES_LITERAL("traceparent"));
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

static void
emit_own_fields(struct h1_writer *writer, const struct exchange *x, const struct h1_request *request)
{
	const struct admission *a = &x->admission;

	h1_emit_field(writer, BYTES_LITERAL("x-request-id"),
		      bytes_make(a->request_id_text, sizeof(a->request_id_text)));
	emit_traceparent(writer, &request->head, a);
}

/* What a backend gets of the client's fields is this list and nothing else: fields that we do not know
 * could frame the message anew, or speak for another client. */
static void
prepare_fields(struct exchange *x, const struct h1_request *request)
{
	struct h1_writer writer = h1_writer_make(x->fields, sizeof(x->fields));
	const struct h1_field *agent = find_end_to_end(&request->head, BYTES_LITERAL("user-agent"));
	const struct h1_field *type = h1_find(&request->head, BYTES_LITERAL("content-type"));

	/* What was read as JSON is sent as JSON: a charset of the client's could make another body of it. */
	if (x->admission.body_kind == BODY_IS_JSON)
		h1_emit_field(&writer, BYTES_LITERAL("content-type"), BYTES_LITERAL("application/json"));
	else if (x->admission.body_kind == BODY_IS_FORM && type != NULL)
		h1_emit_field(&writer, BYTES_LITERAL("content-type"), type->value);
	if (agent != NULL && agent->value.len <= USER_AGENT_BYTES_MAX)
		h1_emit_field(&writer, BYTES_LITERAL("user-agent"), agent->value);
	emit_own_fields(&writer, x, request);
	CHECK(!writer.overflow);
	x->fields_len = (uint32_t)writer.len;
}

/*
 * Fields of the pass-through that stay here: those of this connection; the key and whatever else speaks for
 * the client towards us, which is not the instance's to know; those that a proxy says of itself, which only a
 * trusted one may; names with '_', which some servers take for those with '-'; and those that we write.
 */
static bool
stays_here(const struct worker *w, const struct h1_head *head, struct bytes name)
{
	static const char *const ours[] = {
		"authorization", "cookie",	   "content-length", "expect",	     "forwarded",
		"host",		 "proxy-authorization", "traceparent", "transfer-encoding", "via",
		"x-real-ip",	 "x-request-id",
	};
	static const char *const families[] = { "x-forwarded-", "x-sluice-", "proxy-" };

	if (h1_is_hop_by_hop(head, name) || memchr(name.ptr, '_', name.len) != NULL || worker_owns_field(w, name))
		return true;
	for (size_t i = 0; i < COUNT_OF(ours); i++)
		if (bytes_equal_nocase(name, bytes_from_text(ours[i])))
			return true;
	for (size_t i = 0; i < COUNT_OF(families); i++)
		if (nocase_starts_with(name, bytes_from_text(families[i])))
			return true;
	return false;
}

/* The rest of the path with its query, then the fields: all of it came in one head, so it fits one. */
static enum err
keep_verbatim(struct worker *w, struct exchange *x, const struct h1_request *request)
{
	struct h1_writer writer = h1_writer_make(w->answer, sizeof(w->answer));

	h1_emit_text(&writer, BYTES_LITERAL("/"));
	h1_emit_text(&writer, x->admission.path_rest);
	h1_emit_text(&writer, bytes_after(request->target, request->path.len));
	x->kept_target_bytes = (uint32_t)writer.len;
	for (uint32_t i = 0; i < request->head.field_count; i++) {
		const struct h1_field *field = &request->head.fields[i];

		if (!stays_here(w, &request->head, field->name))
			h1_emit_field(&writer, field->name, field->value);
	}
	emit_own_fields(&writer, x, request);
	CHECK(!writer.overflow && request->method_text.len <= sizeof(x->method_text));
	memcpy(x->method_text, request->method_text.ptr, request->method_text.len);
	x->method_len = (uint8_t)request->method_text.len;
	return body_append(&w->bodies, &x->kept, bytes_make(writer.ptr, writer.len));
}

enum err
request_prepare(struct worker *w, struct exchange *x, const struct h1_request *request)
{
	if (request->head.framing == H1_BODY_LENGTH)
		x->declared_bytes = request->head.content_length;
	else if (request->head.framing == H1_BODY_CHUNKED)
		x->declared_bytes = BYTES_NOT_DECLARED;
	if (x->admission.route == ROUTE_PROXY)
		return keep_verbatim(w, x, request);
	prepare_fields(x, request);
	if (x->admission.route != ROUTE_VIDEO_JOB)
		return ERR_OK;
	x->kept_target_bytes = (uint32_t)x->admission.path_rest.len;
	return body_append(&w->bodies, &x->kept, x->admission.path_rest);
}

struct bytes
request_job_text(struct worker *w, const struct exchange *x)
{
	struct body_reader reader;

	/* A target is shorter than a block, and stands at the front of the first one. */
	CHECK_STATIC(H1_LINE_BYTES_MAX <= BODY_BLOCK_BYTES, "a target is one run");
	body_rewind(&x->kept, &reader);
	return body_read(&w->bodies, &x->kept, &reader, x->kept_target_bytes);
}

/* --- edits ------------------------------------------------------------------------------------ */

/* What the stream is asked to tell for the bill's sake, and so what must be hidden from the client. */
static enum json_ask
plan_usage(struct exchange *x, bool pod_can_run)
{
	const struct json_result *json = &x->json.result;

	x->hiding = HIDE_NOTHING;
	if (!x->is_stream || !x->admission.asks_usage)
		return JSON_ASK_NOTHING;
	if (!json_wants_usage(json))
		x->hiding = HIDE_ALL;
	else if (pod_can_run && !json_wants_running(json))
		x->hiding = HIDE_RUNNING;
	if (x->hiding == HIDE_NOTHING)
		return JSON_ASK_NOTHING;
	return pod_can_run ? JSON_ASK_RUNNING : JSON_ASK_USAGE;
}

static bool
plan_form(struct exchange *x, struct bytes name)
{
	const struct multipart_result *form = &x->form.result;
	struct json_splices *splices = &x->splices;

	splices->count = 0;
	splices->grown_bytes = 0;
	if (bytes_equal(name, bytes_make(form->model, form->model_len)))
		return true;
	if (name.len > sizeof(splices->model_text))
		return false;
	memcpy(splices->model_text, name.ptr, name.len);
	splices->count = 1;
	splices->splice[0] = (struct json_splice){ form->model_start, form->model_end - form->model_start,
						   bytes_make(splices->model_text, name.len) };
	splices->grown_bytes = (int64_t)name.len - (int64_t)splices->splice[0].cut_bytes;
	return true;
}

static bool
plan_json(struct exchange *x, struct bytes name, bool pod_can_run)
{
	const struct json_result *json = &x->json.result;

	if (bytes_equal(name, bytes_make(json->model, json->model_len)))
		name = BYTES_NONE;
	return json_plan_splices(json, name, plan_usage(x, pod_can_run), &x->splices) == ERR_OK;
}

bool
request_plan(struct exchange *x, const struct route_pick *pick)
{
	const struct shm_name *served = pick->deployment.served_name.len > 0 ?
						&pick->deployment.served_name :
						&x->admission.target_name;
	struct bytes name = bytes_make(served->text, served->len);

	switch (x->admission.body_kind) {
	case BODY_IS_JSON:
		return plan_json(x, name, pick->pod.running_usage != 0);
	case BODY_IS_FORM:
		return plan_form(x, name);
	case BODY_IS_NONE:
	case BODY_IS_RAW:
		break;
	}
	return true;
}

/* --- the head ----------------------------------------------------------------------------------- */

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

/* A part of what was kept, which may lie in several blocks. */
static void
emit_kept(struct worker *w, const struct exchange *x, struct h1_writer *writer, uint64_t from, uint64_t to)
{
	struct body_reader reader;

	body_rewind(&x->kept, &reader);
	while (reader.offset < from)
		body_read(&w->bodies, &x->kept, &reader, from - reader.offset);
	while (reader.offset < to)
		h1_emit_text(writer, body_read(&w->bodies, &x->kept, &reader, to - reader.offset));
}

static struct bytes
method_of(const struct exchange *x)
{
	if (x->method_len > 0)
		return bytes_make(x->method_text, x->method_len);
	return x->method == H1_GET ? BYTES_LITERAL("GET") : BYTES_LITERAL("POST");
}

static void
emit_target(struct worker *w, const struct exchange *x, struct h1_writer *writer)
{
	uint8_t scratch[JOB_BYTES_MAX];
	struct job job;

	h1_emit_text(writer, x->admission.upstream_path);
	if (x->admission.route == ROUTE_PROXY) {
		emit_kept(w, x, writer, 0, x->kept_target_bytes);
	} else if (x->admission.route == ROUTE_VIDEO_JOB) {
		CHECK(job_open(w->shm.header->pepper, request_job_text(w, x), scratch, &job));
		h1_emit_text(writer, job.id);
	}
}

static bool
is_about_payload(enum h1_method method)
{
	return method == H1_POST || method == H1_PUT || method == H1_PATCH;
}

static void
emit_framing(struct exchange *x, struct h1_writer *writer)
{
	bool is_known = x->body_complete || x->declared_bytes != BYTES_NOT_DECLARED;
	uint64_t bytes = x->body_complete ? x->body.bytes : x->declared_bytes;

	if (x->admission.body_kind == BODY_IS_NONE)
		return;
	/* What came in chunks to be passed on as it is goes on in chunks. */
	x->sends_chunks = x->admission.body_kind == BODY_IS_RAW && x->declared_bytes == BYTES_NOT_DECLARED;
	CHECK(is_known || x->sends_chunks);
	if (x->sends_chunks)
		h1_emit_field(writer, BYTES_LITERAL("transfer-encoding"), BYTES_LITERAL("chunked"));
	else if (bytes > 0 || is_about_payload(x->method))
		h1_emit_field_number(writer, BYTES_LITERAL("content-length"),
				     bytes + (uint64_t)x->splices.grown_bytes);
}

static void
emit_fields(struct worker *w, struct exchange *x, struct h1_writer *writer)
{
	if (x->admission.route == ROUTE_PROXY) {
		emit_kept(w, x, writer, x->kept_target_bytes, x->kept.bytes);
		return;
	}
	h1_emit_text(writer, bytes_make(x->fields, x->fields_len));
	h1_emit_field(writer, BYTES_LITERAL("accept"),
		      x->is_stream ? BYTES_LITERAL("text/event-stream") :
		      x->admission.route == ROUTE_SPEECH || x->admission.route == ROUTE_TRANSCRIPTION ?
				     BYTES_LITERAL("*/*") :
				     BYTES_LITERAL("application/json"));
}

/* The tables are read again: between pick and connect they may have changed, and a head must not mix. */
static bool
find_deployment(struct worker *w, const struct exchange *x, struct shm_deployment *deployment)
{
	const struct shm_target *target = &x->admission.target;

	for (uint32_t i = 0; i < target->deployment_count && i < SHM_TARGET_DEPLOYMENTS_MAX; i++) {
		if (shm_read_deployment(&w->shm, target->deployments[i], deployment) != ERR_OK)
			continue;
		for (uint32_t p = 0; p < deployment->pod_count && p < SHM_DEPLOYMENT_PODS_MAX; p++)
			if (deployment->pods[p] == x->pod_entry)
				return true;
	}
	return false;
}

static bool
emit_head(struct worker *w, struct exchange *x, struct h1_writer *writer)
{
	struct shm_deployment deployment;
	struct shm_pod pod;

	if (shm_read_pod(&w->shm, x->pod_entry, &pod) != ERR_OK || pod.pod_id != x->pod_id ||
	    !find_deployment(w, x, &deployment))
		return false;
	h1_emit_text(writer, method_of(x));
	h1_emit_text(writer, BYTES_LITERAL(" "));
	h1_emit_text(writer, bytes_make(deployment.base_path.text, deployment.base_path.len));
	emit_target(w, x, writer);
	h1_emit_text(writer, BYTES_LITERAL(" HTTP/1.1\r\n"));
	emit_host(writer, &pod);
	emit_fields(w, x, writer);
	if (pod.credential.len > 0)
		h1_emit_field(writer, BYTES_LITERAL("authorization"),
			      bytes_make(pod.credential.text, pod.credential.len));
	emit_framing(x, writer);
	h1_emit_end(writer);
	return !writer->overflow;
}

bool
request_begin(struct worker *w, struct exchange *x)
{
	struct h1_writer writer = h1_writer_make(w->answer, sizeof(w->answer));

	body_rewind(&x->body, &x->reader);
	x->splice_next = 0;
	x->insert = BYTES_NONE;
	x->request_sent = false;
	if (!emit_head(w, x, &writer))
		return false;
	x->any_sent = true;
	if (x->sent_at_ns == 0)
		x->sent_at_ns = w->now_ns;
	/* Before the first byte of it is in TCP. */
	settle_note(w, x);
	return upstream_send(w, x->upstream, bytes_make(writer.ptr, writer.len), true);
}

/* --- the body -------------------------------------------------------------------------------------- */

/* The next run of the edited body; empty at the end of what is there. */
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

static bool
send_run(struct worker *w, struct exchange *x, struct bytes run)
{
	uint8_t chunk_head[H1_CHUNK_HEAD_BYTES_MAX];
	bool more = x->reader.offset < x->body.bytes;

	if (!x->sends_chunks)
		return upstream_send(w, x->upstream, run, more);
	return upstream_send(w, x->upstream,
			     bytes_make(chunk_head, h1_emit_chunk_head(chunk_head, run.len)), true) &&
	       upstream_send(w, x->upstream, run, true) &&
	       upstream_send(w, x->upstream, BYTES_LITERAL("\r\n"), more || x->body_complete);
}

void
request_forget(struct worker *w, struct exchange *x)
{
	/* JSON that was answered before it was out goes no further. */
	if (x->request_sent || x->admission.body_kind == BODY_IS_JSON)
		body_forget(&w->bodies, &x->body);
	else
		body_drop_read(&w->bodies, &x->body, &x->reader);
}

/* Every byte that is there is in TCP. */
static bool
end_of_runs(struct worker *w, struct exchange *x)
{
	if (!x->body_complete)
		return true;
	x->request_sent = true;
	if (x->admission.never_resend || x->answered)
		request_forget(w, x);
	return !x->sends_chunks || upstream_send(w, x->upstream, BYTES_LITERAL("0\r\n\r\n"), false);
}

bool
request_send(struct worker *w, struct exchange *x)
{
	while (!x->request_sent) {
		struct bytes run;

		if (!upstream_has_room(w, x->upstream)) {
			tcp_notify_below(w->tcp, x->upstream->conn, UPSTREAM_UNACKED_BYTES_LOW);
			return true;
		}
		run = next_run(w, x);
		if (run.len == 0)
			return end_of_runs(w, x);
		if (!send_run(w, x, run))
			return false;
		if (x->admission.never_resend || x->answered)
			request_forget(w, x);
	}
	return true;
}

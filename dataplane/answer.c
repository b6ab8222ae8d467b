/* Answers of our own: refusals, health, models; and the fields that every answer carries. */
#include "dataplane/answer.h"

#include "base/check.h"
#include "dataplane/cors.h"
#include "dataplane/quota.h"
#include "dataplane/worker.h"

/* How long a control process may be silent before the router calls itself not ready: three full
 * reconciliations (one each 10 s). */
#define READY_STALE_NS (30 * NSEC_PER_SEC)

static void
emit(struct h1_writer *writer, const char *text)
{
	h1_emit_text(writer, bytes_from_text(text));
}

/* --- fields ---------------------------------------------------------------------- */

/* Durations as OpenAI writes them: 250ms, 1s, 6m0s. Rounded up, so that nobody comes back too early. */
static void
emit_duration(struct h1_writer *writer, uint64_t ns)
{
	uint64_t seconds = (ns + NSEC_PER_SEC - 1) / NSEC_PER_SEC;

	if (ns < NSEC_PER_SEC) {
		h1_emit_number(writer, (ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC);
		emit(writer, "ms");
		return;
	}
	if (seconds >= 60) {
		h1_emit_number(writer, seconds / 60);
		emit(writer, "m");
	}
	h1_emit_number(writer, seconds % 60);
	emit(writer, "s");
}

static void
emit_family(struct h1_writer *writer, const char *unit, uint64_t per_minute, uint64_t remaining,
	    uint64_t full_in_ns)
{
	emit(writer, "x-ratelimit-limit-");
	h1_emit_field_number(writer, bytes_from_text(unit), per_minute);
	emit(writer, "x-ratelimit-remaining-");
	h1_emit_field_number(writer, bytes_from_text(unit), remaining);
	emit(writer, "x-ratelimit-reset-");
	emit(writer, unit);
	emit(writer, ": ");
	emit_duration(writer, full_in_ns);
	emit(writer, "\r\n");
}

static void
emit_token_fields(struct worker *w, struct h1_writer *writer, const struct admission *a)
{
	const struct bucket *bucket = quota_token_bucket(&w->shm, a->key_entry);

	emit_family(writer, "tokens", a->tokens_per_minute, bucket_remaining(bucket, &a->token_limit, w->now_ns),
		    bucket_wait_ns(bucket, &a->token_limit, a->token_limit.burst_units, w->now_ns));
}

static void
emit_request_fields(struct worker *w, struct h1_writer *writer, const struct admission *a)
{
	const struct bucket *bucket = admit_request_bucket(&w->shm, a->key_entry);
	uint64_t remaining = bucket_remaining(bucket, &a->limit, w->now_ns);
	uint64_t full_in_ns = bucket_wait_ns(bucket, &a->limit, a->limit.burst_units, w->now_ns);
	uint64_t full_in_s = (full_in_ns + NSEC_PER_SEC - 1) / NSEC_PER_SEC;

	emit_family(writer, "requests", a->requests_per_minute, remaining, full_in_ns);
	h1_emit_field_number(writer, BYTES_LITERAL("x-ratelimit-limit"), a->requests_per_minute);
	h1_emit_field_number(writer, BYTES_LITERAL("x-ratelimit-remaining"), remaining);
	/* Seconds left, or the moment in Unix time. */
	if (w->config.surfaces[a->surface].reset_is_unix)
		full_in_s += worker_unix_ns(w) / NSEC_PER_SEC;
	h1_emit_field_number(writer, BYTES_LITERAL("x-ratelimit-reset"), full_in_s);
}

void
answer_fields(struct worker *w, struct h1_writer *writer, const struct admission *admission,
	      struct bytes region)
{
	struct bytes id = bytes_make(admission->request_id_text, sizeof(admission->request_id_text));
	const char *prefix = w->config.surfaces[admission->surface].header_prefix;

	h1_emit_field(writer, BYTES_LITERAL("x-request-id"), id);
	emit(writer, prefix);
	h1_emit_field(writer, BYTES_LITERAL("request-id"), id);
	if (region.len > 0) {
		emit(writer, prefix);
		h1_emit_field(writer, BYTES_LITERAL("region"), region);
	}
	if (admission->authenticated && admission->limit.ns_per_unit > 0)
		emit_request_fields(w, writer, admission);
	if (admission->authenticated && admission->token_limit.ns_per_unit > 0)
		emit_token_fields(w, writer, admission);
	if (w->config.surfaces[admission->surface].tells_overhead && w->config.clock != NULL)
		h1_emit_field_number(writer, BYTES_LITERAL("x-sluice-overhead-us"),
				     overhead_until_ns(&admission->overhead, w->now_ns, w->config.clock()) /
					     NSEC_PER_USEC);
	if (admission->cors_origin.len > 0)
		cors_emit(writer, admission->cors_origin);
}

/* A complete answer with a small JSON or text body. */
static void
send_whole(struct worker *w, struct stream *s, struct h1_writer *writer, struct bytes body)
{
	stream_head_end(w, s, writer, body.len);
	stream_payload(w, s, body);
	stream_end(w, s);
}

/* --- refusals ------------------------------------------------------------------------ */

static void
emit_retry_after(struct h1_writer *writer, uint64_t after_ns)
{
	/* The SDKs ignore what is longer than a minute. */
	uint64_t ms = (after_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;

	if (ms > 60 * MSEC_PER_SEC)
		ms = 60 * MSEC_PER_SEC;
	h1_emit_field_number(writer, BYTES_LITERAL("retry-after"), (ms + 999) / MSEC_PER_SEC);
	h1_emit_field_number(writer, BYTES_LITERAL("retry-after-ms"), ms);
}

void
answer_refusal(struct worker *w, struct stream *s, const struct admission *admission,
	       const struct refusal *refusal)
{
	enum refusal_form form = w->config.surfaces[admission->surface].refusal_form;
	struct h1_writer writer =
		stream_head_begin(w, s, refusal_status(refusal->code, form));
	uint8_t body[REFUSAL_BODY_BYTES_MAX];
	uint32_t body_len = refusal_body(refusal, form, body, sizeof(body));

	h1_emit_field(&writer, BYTES_LITERAL("content-type"), BYTES_LITERAL("application/json"));
	answer_fields(w, &writer, admission, BYTES_NONE);
	if (refusal->retry_after_ns > 0)
		emit_retry_after(&writer, refusal->retry_after_ns);
	if (refusal_forbids_retry(refusal->code))
		h1_emit_field(&writer, BYTES_LITERAL("x-should-retry"), BYTES_LITERAL("false"));
	if (refusal->allow != NULL)
		h1_emit_field(&writer, BYTES_LITERAL("allow"), bytes_from_text(refusal->allow));
	send_whole(w, s, &writer, bytes_make(body, body_len));
}

/* --- health ------------------------------------------------------------------------------ */

static void
answer_text(struct worker *w, struct stream *s, const struct admission *admission, uint16_t status,
	    struct bytes body)
{
	struct h1_writer writer = stream_head_begin(w, s, status);

	answer_fields(w, &writer, admission, BYTES_NONE);
	h1_emit_field(&writer, BYTES_LITERAL("content-type"), BYTES_LITERAL("text/plain"));
	h1_emit_field(&writer, BYTES_LITERAL("cache-control"), BYTES_LITERAL("no-store"));
	send_whole(w, s, &writer, body);
}

static void
answer_ready(struct worker *w, struct stream *s, const struct admission *admission)
{
	uint64_t reconciled_at_ns =
		atomic_load_explicit(&w->shm.header->reconciled_at_ns, memory_order_relaxed);

	if (w->draining)
		answer_text(w, s, admission, 503, BYTES_LITERAL("draining\n"));
	else if (reconciled_at_ns == 0)
		answer_text(w, s, admission, 503, BYTES_LITERAL("no tables yet: start sluice-control\n"));
	else if (w->now_ns > reconciled_at_ns && w->now_ns - reconciled_at_ns > READY_STALE_NS)
		answer_text(w, s, admission, 200,
			    BYTES_LITERAL("ready; tables are stale: sluice-control is silent\n"));
	else
		answer_text(w, s, admission, 200, BYTES_LITERAL("ready\n"));
}

static void
answer_preflight(struct worker *w, struct stream *s, const struct admission *admission)
{
	struct h1_writer writer = stream_head_begin(w, s, 204);

	answer_fields(w, &writer, admission, BYTES_NONE);
	cors_emit_preflight(&writer);
	stream_head_end(w, s, &writer, STREAM_BYTES_NONE);
	stream_end(w, s);
}

/* --- models -------------------------------------------------------------------------------- */

/* As much of a JSON string. */
static void
emit_json_text(struct h1_writer *writer, struct bytes text)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];

		if (c < 0x20) {
			uint8_t escape[6] = { '\\', 'u', '0', '0', '0', (uint8_t)digits[c & 15] };

			escape[4] = (uint8_t)digits[c >> 4];
			h1_emit_text(writer, bytes_make(escape, sizeof(escape)));
			continue;
		}
		if (c == '"' || c == '\\')
			emit(writer, "\\");
		h1_emit_text(writer, bytes_make(&c, 1));
	}
}

static void
emit_model(struct h1_writer *writer, struct bytes name)
{
	emit(writer, "{\"id\":\"");
	emit_json_text(writer, name);
	emit(writer, "\",\"object\":\"model\",\"created\":0,\"owned_by\":\"platform\"}");
}

static void
emit_instance(struct h1_writer *writer, const struct shm_instance *instance)
{
	emit(writer, "{\"id\":\"");
	emit_json_text(writer, bytes_make(instance->name.text, instance->name.len));
	emit(writer, ":");
	h1_emit_number(writer, instance->instance_id);
	emit(writer, "\",\"object\":\"model\",\"created\":0,\"owned_by\":\"user\"}");
}

/* Instances are there for the account that owns them, while they run. */
static bool
is_listed(const struct shm_instance *instance, uint32_t account_entry)
{
	return instance->account == account_entry && instance->state == SHM_INSTANCE_RUNNING;
}

/* One of either kind by its name. */
static bool
emit_named(struct worker *w, struct h1_writer *writer, struct bytes name, uint32_t account_entry)
{
	struct shm_model model;
	struct shm_instance instance;
	struct bytes front;
	uint64_t instance_id;
	uint32_t entry;

	if (shm_find_model(&w->shm, name, &model, &entry) == ERR_OK) {
		emit_model(writer, bytes_make(model.name.text, model.name.len));
		return true;
	}
	if (!admit_split_instance(name, &front, &instance_id) ||
	    shm_find_instance(&w->shm, instance_id, &instance, &entry) != ERR_OK ||
	    !bytes_equal(front, bytes_make(instance.name.text, instance.name.len)) ||
	    !is_listed(&instance, account_entry))
		return false;
	emit_instance(writer, &instance);
	return true;
}

/* A name as it stands in a path: SDKs write its '/' and ':' as %2F and %3A. Of one that is too long or wrong
 * nothing is left, and so no model has it. */
static struct bytes
decode_name(struct bytes text, uint8_t name[SHM_NAME_BYTES])
{
	size_t len = 0;

	for (; text.len > 0; bytes_advance(&text, 1)) {
		uint8_t c = text.ptr[0];

		if (c == '%') {
			int high = text.len > 2 ? bytes_hex_digit(text.ptr[1]) : -1;
			int low = text.len > 2 ? bytes_hex_digit(text.ptr[2]) : -1;

			if (high < 0 || low < 0)
				return BYTES_NONE;
			c = (uint8_t)(high << 4 | low);
			bytes_advance(&text, 2);
		}
		if (len == SHM_NAME_BYTES)
			return BYTES_NONE;
		name[len++] = c;
	}
	return bytes_make(name, len);
}

static void
answer_model(struct worker *w, struct stream *s, const struct admission *admission)
{
	struct h1_writer writer;
	uint8_t body[SHM_NAME_BYTES * 6 + 128];
	struct h1_writer body_writer = h1_writer_make(body, sizeof(body));
	uint8_t name_bytes[SHM_NAME_BYTES];
	struct bytes name = decode_name(admission->path_rest, name_bytes);

	if (!emit_named(w, &body_writer, name, admission->account_entry)) {
		struct refusal refusal = { .code = REFUSAL_MODEL_NOT_FOUND, .param = "model", .subject = name };

		answer_refusal(w, s, admission, &refusal);
		return;
	}
	CHECK(!body_writer.overflow);
	writer = stream_head_begin(w, s, 200);
	h1_emit_field(&writer, BYTES_LITERAL("content-type"), BYTES_LITERAL("application/json"));
	answer_fields(w, &writer, admission, BYTES_NONE);
	send_whole(w, s, &writer, bytes_make(body_writer.ptr, body_writer.len));
}

/* The list may be long: it leaves in pieces, as the client takes them. */
static void
begin_listing(struct worker *w, struct stream *s, const struct admission *admission)
{
	struct h1_writer writer = stream_head_begin(w, s, 200);

	h1_emit_field(&writer, BYTES_LITERAL("content-type"), BYTES_LITERAL("application/json"));
	answer_fields(w, &writer, admission, BYTES_NONE);
	stream_head_end(w, s, &writer, STREAM_BYTES_UNKNOWN);
	stream_payload(w, s, BYTES_LITERAL("{\"object\":\"list\",\"data\":["));
	s->listing = true;
	s->listing_models = 0;
	s->listing_instances = 0;
	s->listing_account = admission->account_entry;
	s->listing_begun = false;
	stream_wait(w, s);
	answer_listing(w, s);
}

enum listed { LISTED_ONE, LISTED_NONE, LISTED_ALL };

/* Looks at one entry: of the models, then of the instances. */
static enum listed
list_entry(struct worker *w, struct stream *s, struct h1_writer *writer)
{
	const struct shm_capacity *tables = &w->shm.header->capacity;
	struct shm_instance instance;
	struct shm_model model;
	bool is_model = s->listing_models < tables->count[SHM_MODELS];

	if (!is_model && s->listing_instances >= tables->count[SHM_INSTANCES])
		return LISTED_ALL;
	if (is_model ? shm_read_model(&w->shm, s->listing_models++, &model) != ERR_OK :
		       shm_read_instance(&w->shm, s->listing_instances++, &instance) != ERR_OK ||
			       !is_listed(&instance, s->listing_account))
		return LISTED_NONE;
	if (s->listing_begun)
		emit(writer, ",");
	s->listing_begun = true;
	if (is_model)
		emit_model(writer, bytes_make(model.name.text, model.name.len));
	else
		emit_instance(writer, &instance);
	return LISTED_ONE;
}

void
answer_listing(struct worker *w, struct stream *s)
{
	uint32_t entries = 0;
	size_t put_bytes = 0;

	for (; entries < LISTING_ENTRIES_PER_TURN && stream_has_room(w, s); entries++) {
		uint8_t line[SHM_NAME_BYTES * 6 + 128];
		struct h1_writer writer = h1_writer_make(line, sizeof(line));
		enum listed listed = list_entry(w, s, &writer);

		if (listed == LISTED_ALL) {
			stream_payload(w, s, BYTES_LITERAL("]}"));
			stream_end(w, s);
			return;
		}
		CHECK(!writer.overflow);
		stream_payload(w, s, bytes_make(writer.ptr, writer.len));
		put_bytes += writer.len;
		/* Room is judged by what TCP holds, so that what was put goes there first. */
		if (put_bytes >= RECORD_PLAIN_BYTES) {
			stream_flush(w, s);
			put_bytes = 0;
		}
	}
	stream_flush(w, s);
	if (entries == LISTING_ENTRIES_PER_TURN)
		stream_again(w, s);
}

void
answer_local(struct worker *w, struct stream *s, const struct admission *admission)
{
	switch (admission->route) {
	case ROUTE_HEALTH:
		answer_text(w, s, admission, 200, BYTES_LITERAL("ok\n"));
		return;
	case ROUTE_READY:
		answer_ready(w, s, admission);
		return;
	case ROUTE_PREFLIGHT:
		answer_preflight(w, s, admission);
		return;
	case ROUTE_MODEL:
		answer_model(w, s, admission);
		return;
	default:
		CHECK(admission->route == ROUTE_MODELS);
		begin_listing(w, s, admission);
		return;
	}
}

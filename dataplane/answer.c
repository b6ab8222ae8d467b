/* Answers of our own: refusals and health; and the fields that every answer carries. */
#include "dataplane/answer.h"

#include "base/check.h"
#include "dataplane/cors.h"
#include "dataplane/models.h"
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

void
answer_whole(struct worker *w, struct stream *s, struct h1_writer *writer, struct bytes body)
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
	if (refusal_retry(refusal->code) != REFUSAL_RETRY_DEFAULT)
		h1_emit_field(&writer, BYTES_LITERAL("x-should-retry"),
			      refusal_retry(refusal->code) == REFUSAL_RETRY_YES ? BYTES_LITERAL("true") :
										  BYTES_LITERAL("false"));
	if (refusal->allow != NULL)
		h1_emit_field(&writer, BYTES_LITERAL("allow"), bytes_from_text(refusal->allow));
	answer_whole(w, s, &writer, bytes_make(body, body_len));
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
	if (status == 503)
		emit_retry_after(&writer, NSEC_PER_SEC);
	answer_whole(w, s, &writer, body);
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
		models_answer(w, s, admission);
		return;
	default:
		CHECK(admission->route == ROUTE_MODELS);
		models_list(w, s, admission);
		return;
	}
}

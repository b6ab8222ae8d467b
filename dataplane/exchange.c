/*
 * A request's life: body, tries, answer, one settlement. The backend's bytes are request.c's, the answer's
 * relay.c's.
 *
 * A try may begin before the body is complete: where it passes as it comes, and where all that is wanted of it
 * is known. What still comes is then pushed on.
 *
 * A try is one backend connection. As long as the client has no byte of an answer, a failed try is followed
 * by another one at a pod that has not failed, as far as routing.tries and the target's budget go; a kept-alive
 * connection that turns out to be dead is nobody's fault and does not rule its pod out.
 */
#include "dataplane/exchange.h"

#include "base/check.h"
#include "dataplane/answer.h"
#include "dataplane/hold.h"
#include "dataplane/quota.h"
#include "dataplane/relay.h"
#include "dataplane/request.h"
#include "dataplane/route.h"
#include "dataplane/secure.h"
#include "dataplane/settle.h"
#include "dataplane/stream.h"
#include "dataplane/upstream.h"
#include "dataplane/worker.h"

/* A client that owes its body keeps the slot of a half-open pod so long. */
#define PROBE_BODY_NS_MAX (2 * NSEC_PER_SEC)

static void
set_timer(struct worker *w, struct exchange *x, uint64_t after_ns)
{
	exchange_set_timer(w, x, w->now_ns + after_ns);
}

void
exchange_set_timer(struct worker *w, struct exchange *x, uint64_t at_ns)
{
	x->timer.kind = TIMER_EXCHANGE;
	timer_set(&w->timers, &x->timer, at_ns < x->deadline_ns ? at_ns : x->deadline_ns);
}

uint64_t
exchange_time_ns(uint32_t target_ms, uint64_t configured_ns)
{
	return target_ms > 0 ? target_ms * NSEC_PER_MSEC : configured_ns;
}

void
exchange_set_state(struct exchange *x, enum exchange_state state)
{
	static const uint32_t before[EXCHANGE_STATE_COUNT] = {
		[EXCHANGE_FREE] = 1u << EXCHANGE_BODY | 1u << EXCHANGE_CONNECT | 1u << EXCHANGE_HEAD |
				  1u << EXCHANGE_RELAY,
		[EXCHANGE_BODY] = 1u << EXCHANGE_FREE,
		/* Again while nothing was answered. */
		[EXCHANGE_CONNECT] = 1u << EXCHANGE_BODY | 1u << EXCHANGE_CONNECT | 1u << EXCHANGE_HEAD,
		[EXCHANGE_HEAD] = 1u << EXCHANGE_CONNECT,
		[EXCHANGE_RELAY] = 1u << EXCHANGE_HEAD,
	};

	CHECK(before[state] & 1u << x->state);
	x->state = state;
}

/* --- begin ---------------------------------------------------------------------------- */

static void
begin_scan(const struct worker *w, struct exchange *x, const struct h1_request *request)
{
	struct bytes boundary;

	if (x->admission.body_kind == BODY_IS_JSON) {
		json_scan_init(&x->json);
		json_scan_bound(&x->json, w->config.limits.json_depth, w->config.limits.json_keys);
	} else if (x->admission.body_kind == BODY_IS_FORM) {
		const struct h1_field *type = h1_find(&request->head, BYTES_LITERAL("content-type"));

		/* Admission has looked at it. */
		CHECK(type != NULL && multipart_boundary(type->value, &boundary) == ERR_OK);
		multipart_init(&x->form, boundary);
	}
}

/* A body may take timeouts.body_grace, and a second more for each limits.body_rate bytes that have come. One that
 * passes through comes as fast as its backend takes it. */
static uint64_t
body_due_at_ns(const struct worker *w, const struct exchange *x)
{
	uint64_t rate_bytes = w->config.limits.body_rate_bytes;
	uint64_t at_ns = x->admitted_at_ns + w->config.times.body_total_ns;
	uint64_t by_rate_ns = x->admitted_at_ns + w->config.times.body_grace_ns;

	if (x->admission.never_resend)
		return UINT64_MAX;
	if (rate_bytes == 0)
		return at_ns;
	by_rate_ns += x->received_bytes / rate_bytes * NSEC_PER_SEC +
		      x->received_bytes % rate_bytes * NSEC_PER_SEC / rate_bytes;
	return by_rate_ns < at_ns ? by_rate_ns : at_ns;
}

static void
wait_for_body(struct worker *w, struct exchange *x)
{
	exchange_set_timer(w, x, body_due_at_ns(w, x));
}

/* Something is used up: by everybody, or by the account itself. */
static void
refuse_full(struct worker *w, enum err verdict, struct refusal *refusal)
{
	worker_count_verdict(w, verdict);
	*refusal = (struct refusal){ .code = REFUSAL_OVERLOADED, .retry_after_ns = NSEC_PER_SEC };
	if (verdict == ERR_BODY_SHARE_FULL) {
		refusal->code = REFUSAL_RATE_LIMITED;
		refusal->message = "The account's requests in flight hold as much memory as one account may have.";
	}
}

struct exchange *
exchange_open(struct worker *w, struct stream *s, const struct admission *admission,
	      const struct h1_request *request, struct refusal *refusal)
{
	struct exchange *x = w->exchange_free;
	enum err verdict;

	if (x == NULL) {
		refuse_full(w, ERR_EXCHANGES_FULL, refusal);
		return NULL;
	}
	w->exchange_free = x->next_free;
	memset(x, 0, sizeof(*x));
	w->exchanges_used++;
	x->stream = s;
	s->exchange = x;
	exchange_set_state(x, EXCHANGE_BODY);
	x->admission = *admission;
	x->method = request->method;
	x->body = BODY_OF_REQUEST(s->share);
	x->event = BODY_OF_ANSWER(s->share);
	x->kept = BODY_OF_REQUEST(s->share);
	x->admitted_at_ns = w->now_ns;
	x->deadline_ns = w->now_ns + w->config.times.request_ns;
	begin_scan(w, x, request);
	verdict = request_prepare(w, x, request);
	if (verdict != ERR_OK) {
		refuse_full(w, verdict, refusal);
		exchange_close(w, x);
		return NULL;
	}
	wait_for_body(w, x);
	return x;
}

static bool
is_scanned(struct worker *w, struct exchange *x, enum err verdict, struct refusal *refusal)
{
	if (verdict == ERR_OK)
		return true;
	worker_count_verdict(w, verdict);
	if (x->admission.body_kind == BODY_IS_JSON)
		admit_refuse_json(verdict, &x->json.result, refusal);
	else
		admit_refuse_form(verdict, &x->form.result, refusal);
	return false;
}

static bool
refuse_size(uint64_t limit_bytes, struct refusal *refusal)
{
	*refusal = (struct refusal){ .code = REFUSAL_PAYLOAD_TOO_LARGE, .limit_bytes = limit_bytes };
	return false;
}

static bool
file_fits(const struct exchange *x, struct refusal *refusal)
{
	uint64_t most = x->admission.file_bytes_max;

	return x->form.result.file_bytes <= most || refuse_size(most, refusal);
}

static bool
scan_piece(struct worker *w, struct exchange *x, struct bytes piece, struct refusal *refusal)
{
	switch (x->admission.body_kind) {
	case BODY_IS_JSON:
		return is_scanned(w, x, json_scan_feed(&x->json, piece), refusal);
	case BODY_IS_FORM:
		return is_scanned(w, x, multipart_feed(&x->form, piece), refusal) && file_fits(x, refusal);
	case BODY_IS_NONE:
	case BODY_IS_RAW:
		break;
	}
	return true;
}

static bool
scan_end(struct worker *w, struct exchange *x, struct refusal *refusal)
{
	switch (x->admission.body_kind) {
	case BODY_IS_JSON:
		return is_scanned(w, x, json_scan_end(&x->json), refusal);
	case BODY_IS_FORM:
		return is_scanned(w, x, multipart_end(&x->form), refusal);
	case BODY_IS_NONE:
	case BODY_IS_RAW:
		break;
	}
	return true;
}

bool
exchange_body(struct worker *w, struct exchange *x, struct bytes piece, struct refusal *refusal)
{
	enum err verdict;

	x->received_bytes += piece.len;
	if (x->received_bytes > x->admission.body_bytes_max)
		return refuse_size(x->admission.body_bytes_max, refusal);
	if (x->admission.body_kind == BODY_IS_NONE)
		return true;
	if (!scan_piece(w, x, piece, refusal))
		return false;
	verdict = body_append(&w->bodies, &x->body, piece);
	if (verdict != ERR_OK)
		refuse_full(w, verdict, refusal);
	return verdict == ERR_OK;
}

/* --- end ---------------------------------------------------------------------------------- */

void
exchange_close(struct worker *w, struct exchange *x)
{
	CHECK(x->upstream == NULL && x->state != EXCHANGE_FREE);
	CHECK(x->settled || !x->any_sent);
	route_release(w, x);
	hold_release(w, &x->admission);
	quota_release(w, &x->admission, x->used_tokens);
	if (x->stream != NULL)
		x->stream->exchange = NULL;
	timer_cancel(&w->timers, &x->timer);
	body_clear(&w->bodies, &x->body);
	body_clear(&w->bodies, &x->event);
	body_clear(&w->bodies, &x->kept);
	exchange_set_state(x, EXCHANGE_FREE);
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

	drop_upstream(w, x);
	if (!x->answered)
		x->status = refusal_status(refusal->code, w->config.surfaces[x->admission.surface].refusal_form);
	settle_exchange(w, x, USAGE_CLIENT_ABORT);
	if (x->answered) {
		exchange_close(w, x);
		stream_cut(w, s);
		return;
	}
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

/* Whether what has happened leaves the request free to go to another pod. */
static bool
may_resend(const struct exchange *x)
{
	bool never_sent_only =
		x->admission.never_resend || x->admission.target.resend == SHM_RESEND_NEVER_SENT;

	CHECK(!x->answered);
	return !x->is_over_time && !x->is_stopped && !(never_sent_only && x->any_sent);
}

/* Picks for the next try, if there may be one. */
static bool
may_try(struct worker *w, struct exchange *x, struct route_pick *pick)
{
	bool can_pay = route_budget_can_take(w, x);
	bool is_insured;

	if (x->tries >= w->config.routing.tries || x->tried_count == TRIES_MAX || !may_resend(x))
		return false;
	if (x->tries > 0 && !x->next_is_paid && !can_pay) {
		worker_count(w, COUNTER_RETRIES_DENIED);
		return false;
	}
	/* Whether a try behind this one could be paid for as well is close enough. A client that owes its body
	 * could keep a slot for as long as it likes. */
	is_insured = can_pay && x->body_complete && !x->admission.never_resend &&
		     x->tries + 1 < w->config.routing.tries;
	return x->admission.job_pod_id != 0 ? route_pick_pod(w, x, pick) : route_pick(w, x, is_insured, pick);
}

/* A request's first try is free, each further one is paid for from the target's budget. */
static void
pay_for_try(struct worker *w, struct exchange *x)
{
	if (x->tries++ > 0 && !x->next_is_paid) {
		route_budget_take(w, x);
		worker_count(w, COUNTER_UPSTREAM_RETRIES);
	}
	x->next_is_paid = false;
	worker_count(w, COUNTER_UPSTREAM_TRIES);
}

static void
note_overhead(const struct worker *w, struct exchange *x)
{
	if (w->config.surfaces[x->admission.surface].tells_overhead && w->config.clock != NULL)
		overhead_note(&x->admission.overhead, w->now_ns, w->config.clock());
}

static void
wait_for_connection(struct worker *w, struct exchange *x)
{
	set_timer(w, x, exchange_time_ns(x->admission.target.connect_ms, w->config.times.connect_ns));
	note_overhead(w, x);
}

void
exchange_securing(struct worker *w, struct exchange *x)
{
	set_timer(w, x, exchange_time_ns(x->admission.target.tls_ms, w->config.times.connect_tls_ns));
}

/* Takes the first pod that a connection can be had to. False: none is left. */
static bool
try_next(struct worker *w, struct exchange *x, bool fresh_only)
{
	struct route_pick pick;

	while (may_try(w, x, &pick)) {
		x->deployment_entry = pick.deployment_entry;
		x->pod_entry = pick.pod_entry;
		x->pod_id = pick.pod.pod_id;
		x->region = pick.region;
		x->holds_probe = pick.is_probe;
		exchange_set_state(x, EXCHANGE_CONNECT);
		if (request_plan(x, &pick))
			x->upstream = upstream_get(w, x, pick.pod_entry, &pick.pod, fresh_only);
		if (x->upstream == NULL) {
			x->tried[x->tried_count++] = pick.pod_entry;
			route_report(w, x, ROUTE_NEUTRAL, 0);
			continue;
		}
		pay_for_try(w, x);
		x->try_at_ns = w->now_ns;
		if (x->upstream->state == UPSTREAM_BUSY)
			exchange_connected(w, x);
		else
			wait_for_connection(w, x);
		return true;
	}
	return false;
}

/* What is asked about is the job's id in the path. */
static bool
admit_question(struct worker *w, struct exchange *x, struct refusal *refusal)
{
	uint8_t scratch[JOB_BYTES_MAX];
	struct job job = { 0 };

	if (!job_open(w->shm.header->pepper, request_job_text(w, x), scratch, &job))
		job.account_id = 0; /* nobody's */
	return admit_job(w, &job, &x->admission, refusal);
}

static bool
admit(struct worker *w, struct exchange *x, struct refusal *refusal)
{
	switch (x->admission.body_kind) {
	case BODY_IS_JSON:
		x->is_stream = x->json.result.field[JSON_FIELD_STREAM].type == JSON_BOOL &&
			       x->json.result.field[JSON_FIELD_STREAM].boolean;
		return admit_body(w, &x->json.result, &x->admission, refusal);
	case BODY_IS_FORM:
		x->is_stream = x->form.result.streams;
		return admit_form(w, &x->form.result,
				  x->body_complete ? x->received_bytes : x->declared_bytes, &x->admission,
				  refusal);
	case BODY_IS_RAW:
		return admit_proxy(w, &x->admission, refusal);
	case BODY_IS_NONE:
		break;
	}
	return admit_question(w, x, refusal);
}

/* Whether all that a try needs to know of the body is known. */
static bool
may_begin(const struct exchange *x)
{
	return x->body_complete || x->admission.body_kind == BODY_IS_RAW ||
	       (x->admission.body_kind == BODY_IS_FORM && x->form.result.has_model &&
		x->declared_bytes != BYTES_NOT_DECLARED);
}

static bool
begin(struct worker *w, struct exchange *x, struct refusal *refusal)
{
	if (!admit(w, x, refusal))
		return false;
	x->begun = true;
	x->deadline_ns = x->admitted_at_ns +
			 exchange_time_ns(x->admission.target.request_ms, w->config.times.request_ns);
	route_budget_open(w, x);
	/* A kept connection may turn out to be dead, which is one try more than these have. */
	if (try_next(w, x, x->admission.never_resend))
		return true;
	worker_count(w, COUNTER_REFUSED_REGION);
	*refusal = (struct refusal){ .code = REFUSAL_NO_HEALTHY_REGION,
				     .retry_after_ns = NSEC_PER_SEC };
	return false;
}

static bool
has_body_room(const struct exchange *x)
{
	return !x->admission.never_resend || x->body.bytes - x->reader.offset < BODY_UNSENT_BYTES_MAX;
}

bool
exchange_takes_body(struct exchange *x)
{
	x->body_waits = !has_body_room(x);
	return !x->body_waits;
}

/* An answer that came before the request was out needs no more of it, unless the request was still coming: then
 * it may be made of what comes. */
static bool
takes_more(const struct exchange *x)
{
	return x->state == EXCHANGE_HEAD ||
	       (x->state == EXCHANGE_RELAY && x->admission.body_kind != BODY_IS_JSON);
}

/* What there is of the body goes to the backend. x may be gone after it. */
static void
push_body(struct worker *w, struct exchange *x)
{
	if (!request_send(w, x)) {
		exchange_try_failed(w, x, TRY_LOCAL);
		return;
	}
	note_overhead(w, x);
	if (x->body_waits && has_body_room(x)) {
		x->body_waits = false;
		stream_take_body(w, x->stream);
	}
}

/* For the answer's head; or for the client that owes its body to a pod whose slot it has. */
static void
wait_for_head(struct worker *w, struct exchange *x)
{
	uint64_t after_ns = exchange_time_ns(x->admission.target.response_head_ms,
					     w->config.times.response_head_ns);

	if (x->holds_probe && !x->body_complete && after_ns > PROBE_BODY_NS_MAX)
		after_ns = PROBE_BODY_NS_MAX;
	set_timer(w, x, after_ns);
}

bool
exchange_push(struct worker *w, struct exchange *x, bool complete, struct refusal *refusal)
{
	x->body_complete = complete;
	if (complete && !scan_end(w, x, refusal))
		return false;
	if (!x->begun && !may_begin(x)) {
		note_overhead(w, x);
		return true;
	}
	if (!x->begun)
		return begin(w, x, refusal);
	/* From here on it is the backend that is waited for. */
	if (complete && x->state == EXCHANGE_HEAD)
		wait_for_head(w, x);
	if (takes_more(x))
		push_body(w, x);
	return true;
}

/* A kept connection that its backend had closed when the request came, or a kept session that it does not want any
 * more: nobody's fault. A backend that takes its time and then dies is another matter. */
static bool
is_race(const struct worker *w, const struct exchange *x, enum try_end how)
{
	return how == TRY_SESSION || (how == TRY_RESET && !x->upstream->fresh && !x->answered &&
				      w->now_ns - x->try_sent_at_ns < STALE_RESET_NS_MAX);
}

static enum route_outcome
outcome_of(const struct exchange *x, enum try_end how)
{
	switch (how) {
	case TRY_RESET:
	case TRY_TIMED_OUT:
		/* A backend that waits no longer for a body is not to blame for the client that owes it. */
		return x->body_complete || x->state == EXCHANGE_CONNECT ? ROUTE_BAD : ROUTE_NEUTRAL;
	case TRY_BUSY:
		return ROUTE_BUSY;
	case TRY_LOCAL:
	case TRY_MAINT:
	case TRY_OVER_TIME:
	case TRY_STOPPED:
		return ROUTE_NEUTRAL;
	default:
		return ROUTE_BAD;
	}
}

/* What the tries came to: the answer, when no other is left. */
static struct refusal
refusal_of_tries(const struct exchange *x)
{
	if (x->is_stopped)
		return (struct refusal){
			.code = REFUSAL_OVERLOADED,
			.message = "The router is being restarted. Retry shortly.",
			.retry_after_ns = NSEC_PER_SEC,
		};
	if (x->timed_out)
		return (struct refusal){ .code = REFUSAL_UPSTREAM_TIMEOUT };
	if (x->backend_spoke)
		return (struct refusal){ .code = REFUSAL_UPSTREAM_FAILED };
	if (x->busy_tries > 0)
		return (struct refusal){
			.code = REFUSAL_OVERLOADED,
			.message = "The backends of this model are busy. Retry as retry-after says.",
			.retry_after_ns = x->pause_ns_min,
		};
	return (struct refusal){ .code = REFUSAL_NO_HEALTHY_REGION, .retry_after_ns = NSEC_PER_SEC };
}

/* No try is left: the refusal becomes the answer. */
static void
give_up(struct worker *w, struct exchange *x)
{
	struct refusal refusal = refusal_of_tries(x);

	if (refusal.code == REFUSAL_NO_HEALTHY_REGION)
		worker_count(w, COUNTER_REFUSED_REGION);
	x->status = refusal_status(refusal.code, w->config.surfaces[x->admission.surface].refusal_form);
	settle_exchange(w, x, x->timed_out ? USAGE_TIMEOUT : USAGE_UPSTREAM_ERROR);
	exchange_refuse(w, x, &refusal);
}

static void
note_busy(struct worker *w, struct exchange *x)
{
	uint64_t pause_ns = x->pause_ns > 0 ? x->pause_ns : w->config.routing.busy_ns;

	/* The least that a retry-after can say. */
	if (pause_ns < NSEC_PER_SEC)
		pause_ns = NSEC_PER_SEC;
	if (x->busy_tries++ == 0 || pause_ns < x->pause_ns_min)
		x->pause_ns_min = pause_ns;
	x->pause_ns = 0;
}

/* How it ended, for the pod's account and for the refusal if no other try follows. */
static void
note_end(struct worker *w, struct exchange *x, enum try_end how, bool was_race)
{
	if (how != TRY_STOPPED)
		worker_count(w, COUNTER_UPSTREAM_FAILURES);
	route_report(w, x, was_race ? ROUTE_NEUTRAL : outcome_of(x, how), x->pause_ns);
	x->is_over_time = how == TRY_OVER_TIME;
	x->is_stopped = how == TRY_STOPPED;
	x->timed_out = x->is_over_time || (how == TRY_TIMED_OUT && x->state != EXCHANGE_CONNECT);
	x->backend_spoke = x->backend_spoke || how == TRY_BAD_ANSWER || how == TRY_BAD_STATUS ||
			   (how == TRY_RESET && !was_race);
	if (how == TRY_BUSY)
		note_busy(w, x);
}

/* What the next try may be. A race is no try of the pod, and free: each kept connection stands for a good answer,
 * each kept session, which is forgotten now, for a good handshake, so that there are no more of these than of
 * those. */
static void
note_try(struct worker *w, struct exchange *x, enum try_end how, bool was_race)
{
	if (!was_race) {
		x->tried[x->tried_count++] = x->pod_entry;
		return;
	}
	worker_count(w, how == TRY_SESSION ? COUNTER_UPSTREAM_SESSIONS_STALE : COUNTER_UPSTREAM_STALE);
	x->tries--;
	x->next_is_paid = true;
	x->last_resort_used = false;
}

void
exchange_try_failed(struct worker *w, struct exchange *x, enum try_end how)
{
	bool was_race;

	CHECK(x->upstream != NULL);
	if (how == TRY_SESSION || how == TRY_TIMED_OUT)
		secure_forget(x->upstream);
	if (how == TRY_SESSION && x->session_tried)
		how = TRY_REFUSED;
	x->session_tried |= how == TRY_SESSION;
	was_race = is_race(w, x, how);
	note_end(w, x, how, was_race);
	drop_upstream(w, x);
	/* By the try that was abandoned: nobody pays for it. */
	x->request_sent = x->request_sent && x->answered;
	timer_cancel(&w->timers, &x->timer);
	if (x->answered) {
		relay_cut(w, x);
		return;
	}
	note_try(w, x, how, was_race);
	if (x->admission.never_resend && x->any_sent) {
		/* Whatever it did with the request, it was asked once. */
		x->backend_spoke = true;
		give_up(w, x);
		return;
	}
	if (!try_next(w, x, was_race || x->admission.never_resend))
		give_up(w, x);
}

void
exchange_connected(struct worker *w, struct exchange *x)
{
	exchange_set_state(x, EXCHANGE_HEAD);
	x->try_sent_at_ns = w->now_ns;
	wait_for_head(w, x);
	if (!request_begin(w, x)) {
		exchange_try_failed(w, x, TRY_LOCAL);
		return;
	}
	push_body(w, x);
}

void
exchange_stop(struct worker *w, struct exchange *x)
{
	struct refusal refusal;

	if (x->upstream != NULL) {
		exchange_try_failed(w, x, TRY_STOPPED);
		return;
	}
	x->is_stopped = true;
	refusal = refusal_of_tries(x);
	exchange_refuse(w, x, &refusal);
}

/* --- events and the timer ---------------------------------------------------------------------------- */

void
exchange_writable(struct worker *w, struct exchange *x)
{
	if (x->state == EXCHANGE_HEAD)
		wait_for_head(w, x);
	if (takes_more(x))
		push_body(w, x);
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
	if (reason == ERR_TCP_SHED)
		exchange_try_failed(w, x, TRY_LOCAL);
	else if (secure_was_resuming(x->upstream))
		exchange_try_failed(w, x, TRY_SESSION);
	else
		exchange_try_failed(w, x, x->state == EXCHANGE_CONNECT ? TRY_REFUSED : TRY_RESET);
}

/* The client sends too slowly, or for too long: no answer of ours would help it. */
static void
cut_slow_client(struct worker *w, struct exchange *x)
{
	struct stream *s = x->stream;

	worker_count_verdict(w, ERR_CLIENT_SLOW);
	drop_upstream(w, x);
	settle_exchange(w, x, USAGE_CLIENT_ABORT);
	exchange_close(w, x);
	stream_cut(w, s);
}

static bool
is_client_slow(const struct worker *w, const struct exchange *x)
{
	return !x->body_complete && w->now_ns >= body_due_at_ns(w, x);
}

void
exchange_timer_expired(struct worker *w, struct exchange *x)
{
	if (is_client_slow(w, x) || (x->state == EXCHANGE_BODY && w->now_ns >= x->deadline_ns)) {
		cut_slow_client(w, x);
		return;
	}
	if (x->state == EXCHANGE_BODY) {
		wait_for_body(w, x);
		return;
	}
	if (w->now_ns >= x->deadline_ns) {
		worker_count_verdict(w, ERR_REQUEST_OVER_TIME);
		exchange_try_failed(w, x, TRY_OVER_TIME);
		return;
	}
	if (relay_keep_alive(w, x))
		return;
	/* While the client takes little, the backend is not to blame for its silence: it is not read. */
	if (x->state == EXCHANGE_RELAY && x->waits_for_client) {
		relay_run(w, x);
		return;
	}
	if (x->state == EXCHANGE_HEAD && x->holds_probe && !x->body_complete) {
		/* The try goes on; another request may ask the pod meanwhile. */
		route_release(w, x);
		wait_for_head(w, x);
		return;
	}
	/* Nor while the client sends nothing: that is the client's own timer. */
	if (x->state == EXCHANGE_HEAD && !x->body_complete && x->reader.offset == x->body.bytes) {
		wait_for_head(w, x);
		return;
	}
	worker_count_verdict(w, x->upstream != NULL && x->upstream->state == UPSTREAM_SECURING ?
					ERR_UPSTREAM_TLS_TIMED_OUT :
					ERR_UPSTREAM_TIMED_OUT);
	exchange_try_failed(w, x, TRY_TIMED_OUT);
}

/* Cost in integer nano-dollars, one debit, one record. */
#include "dataplane/settle.h"

#include "base/check.h"
#include "dataplane/hold.h"
#include "dataplane/quota.h"
#include "dataplane/worker.h"

/* What a request asked for is billed up to here; no backend makes more at once. */
#define WANTED_COUNT_MAX 1000
#define WANTED_MILLISECONDS_MAX (24 * 3600 * MSEC_PER_SEC)

/* Events of a whole stream that carry no token: the role and the finish. */
#define EVENTS_WITHOUT_TOKEN_MAX 2

#define PER 1000000 /* sums are kept in millionths of a nano-dollar until they are rounded */

/* Adds rate x count / per to a sum in millionths; stays at the largest sum if it does not fit. */
static unsigned __int128
add(unsigned __int128 sum, uint64_t rate, uint64_t count, uint64_t per)
{
	unsigned __int128 most = ~(unsigned __int128)0 - PER;
	unsigned __int128 cost = (unsigned __int128)rate * count;

	if (__builtin_mul_overflow(cost, (unsigned __int128)(PER / per), &cost) ||
	    __builtin_add_overflow(sum, cost, &sum) || sum > most)
		return most;
	return sum;
}

/* What one unit costs, or `*per` of them. */
static uint64_t
rate_of(const struct shm_price *price, enum usage_unit unit, uint64_t *per)
{
	*per = 1;
	switch (unit) {
	case USAGE_REQUESTS:
		return price->request_nano;
	case USAGE_IMAGES:
		return price->image_nano;
	case USAGE_MILLISECONDS:
		*per = MSEC_PER_SEC;
		return price->second_nano;
	case USAGE_CHARACTERS:
		*per = PER;
		return price->character_nano_per_million;
	case USAGE_BYTES:
		*per = PER;
		return price->byte_nano_per_million;
	default:
		return 0;
	}
}

static bool
has_rate(const struct shm_price *price, enum usage_unit unit)
{
	uint64_t per;

	return rate_of(price, unit, &per) > 0;
}

bool
settle_is_free(const struct shm_price *price)
{
	for (int unit = USAGE_NO_UNIT; unit < USAGE_UNIT_COUNT; unit++)
		if (has_rate(price, (enum usage_unit)unit))
			return false;
	return price->input_nano_per_mtoken == 0 && price->output_nano_per_mtoken == 0;
}

bool
settle_is_priced(const struct shm_price *price, enum route_kind route, bool says_length)
{
	if (settle_is_free(price))
		return true;
	switch (route) {
	case ROUTE_CHAT:
	case ROUTE_JSON:
		return price->input_nano_per_mtoken > 0 || price->output_nano_per_mtoken > 0 ||
		       has_rate(price, USAGE_REQUESTS);
	case ROUTE_IMAGES:
		return has_rate(price, USAGE_IMAGES) || has_rate(price, USAGE_REQUESTS);
	case ROUTE_SPEECH:
		return has_rate(price, USAGE_CHARACTERS) || has_rate(price, USAGE_REQUESTS);
	case ROUTE_TRANSCRIPTION:
		return has_rate(price, USAGE_BYTES) || has_rate(price, USAGE_REQUESTS);
	case ROUTE_VIDEO:
		return has_rate(price, USAGE_REQUESTS) || (says_length && has_rate(price, USAGE_MILLISECONDS));
	case ROUTE_PROXY:
		return has_rate(price, USAGE_REQUESTS);
	default:
		return true;
	}
}

int64_t
settle_cost_nano(const struct shm_price *price, const struct settle_counts *counts)
{
	unsigned __int128 sum = 0;
	uint64_t per;
	uint64_t rate = rate_of(price, counts->unit, &per);

	sum = add(sum, price->input_nano_per_mtoken, counts->prompt_tokens, PER);
	sum = add(sum, price->output_nano_per_mtoken, counts->completion_tokens, PER);
	sum = add(sum, rate, counts->units, per);
	sum = (sum + PER / 2) / PER;
	return sum > INT64_MAX ? INT64_MAX : (int64_t)sum;
}

static uint64_t
since_us(uint64_t from_ns, uint64_t to_ns)
{
	return from_ns != 0 && to_ns > from_ns ? (to_ns - from_ns) / NSEC_PER_USEC : 0;
}

static void
set_units(struct usage_record *record, enum usage_unit unit, uint64_t units)
{
	record->unit = (uint8_t)unit;
	record->units = units;
}

uint64_t
settle_wanted_count(const struct json_result *json)
{
	const struct json_value *n = &json->field[JSON_FIELD_N];

	if (n->type != JSON_NUMBER || !n->integer || n->number < 1)
		return 1;
	return n->number < WANTED_COUNT_MAX ? (uint64_t)n->number : WANTED_COUNT_MAX;
}

static uint64_t
milliseconds_of(const struct json_value *seconds)
{
	if (seconds->type == JSON_STRING && seconds->integer && seconds->number > 0)
		return (uint64_t)seconds->number * MSEC_PER_SEC;
	return seconds->type == JSON_NUMBER && seconds->number_milli > 0 ? (uint64_t)seconds->number_milli : 0;
}

uint64_t
settle_wanted_milliseconds(const struct json_result *json)
{
	uint64_t seconds = milliseconds_of(&json->field[JSON_FIELD_SECONDS]);
	uint64_t duration = milliseconds_of(&json->field[JSON_FIELD_DURATION]);
	uint64_t milliseconds = seconds > duration ? seconds : duration;

	return milliseconds < WANTED_MILLISECONDS_MAX ? milliseconds : WANTED_MILLISECONDS_MAX;
}

/* By its length, where somebody told one and it costs something, or the other unit does not either. */
static bool
counts_by_length(const struct exchange *x, uint64_t milliseconds, enum usage_unit otherwise)
{
	const struct shm_price *price = &x->admission.price;

	return milliseconds > 0 && (has_rate(price, USAGE_MILLISECONDS) || !has_rate(price, otherwise));
}

static int64_t
units_nano(const struct exchange *x, enum usage_unit unit, uint64_t units)
{
	return settle_cost_nano(&x->admission.price, &(struct settle_counts){ .unit = unit, .units = units });
}

static uint64_t
whole_seconds(uint64_t milliseconds)
{
	return (milliseconds + MSEC_PER_SEC - 1) / MSEC_PER_SEC * MSEC_PER_SEC;
}

/* Videos are paid when their job is made; of those that nobody told the length of each is one request. A length
 * that the client alone tells is one that the backend need not have heeded: it counts in whole seconds, and only
 * where it costs more than the requests do. */
static void
count_video(const struct exchange *x, struct usage_record *record)
{
	bool is_told = x->usage.has_length;
	uint64_t each = is_told ? x->usage.milliseconds :
				  whole_seconds(settle_wanted_milliseconds(&x->json.result));
	uint64_t count = settle_wanted_count(&x->json.result), milliseconds;

	if (__builtin_mul_overflow(each, count, &milliseconds))
		milliseconds = UINT64_MAX;
	if (counts_by_length(x, milliseconds, USAGE_REQUESTS) &&
	    (is_told || units_nano(x, USAGE_MILLISECONDS, milliseconds) > units_nano(x, USAGE_REQUESTS, count)))
		set_units(record, USAGE_MILLISECONDS, milliseconds);
	else
		set_units(record, USAGE_REQUESTS, count);
	if (!is_told)
		record->source = USAGE_ESTIMATED;
}

static void
count_audio(const struct exchange *x, enum usage_unit otherwise, uint64_t units, struct usage_record *record)
{
	uint64_t milliseconds = x->usage.has_length ? x->usage.milliseconds : 0;

	if (counts_by_length(x, milliseconds, otherwise))
		set_units(record, USAGE_MILLISECONDS, milliseconds);
	else
		set_units(record, otherwise, units);
}

/* Of routes whose own unit may have no rate; that of a video's job is its making's. */
static bool
may_be_a_request(enum route_kind route)
{
	return route_has_tokens(route) || route == ROUTE_IMAGES || route == ROUTE_SPEECH ||
	       route == ROUTE_TRANSCRIPTION;
}

/* What is not counted in tokens: by the backend's word where it gives one, else by what was asked for. Of two
 * units one that has a rate counts: the client chooses what the answer tells, not whether it costs anything. What
 * has no unit that costs anything is one request, where that has a rate. */
static void
count_units(const struct exchange *x, struct usage_record *record)
{
	const struct shm_price *price = &x->admission.price;

	switch (x->admission.route) {
	case ROUTE_IMAGES:
		if (x->usage.data_count == 0 && !x->usage.present)
			record->source = USAGE_ESTIMATED;
		set_units(record, USAGE_IMAGES,
			  x->usage.data_count > 0 ? x->usage.data_count : settle_wanted_count(&x->json.result));
		break;
	case ROUTE_SPEECH:
		count_audio(x, USAGE_CHARACTERS, x->json.result.input_characters, record);
		break;
	case ROUTE_TRANSCRIPTION:
		count_audio(x, USAGE_BYTES, x->form.result.file_bytes, record);
		break;
	case ROUTE_VIDEO:
		count_video(x, record);
		break;
	case ROUTE_PROXY:
		set_units(record, USAGE_REQUESTS, 1);
		break;
	default:
		break;
	}
	if (may_be_a_request(x->admission.route) && !has_rate(price, (enum usage_unit)record->unit) &&
	    has_rate(price, USAGE_REQUESTS))
		set_units(record, USAGE_REQUESTS, 1);
}

static void
estimate_prompt(const struct exchange *x, struct usage_record *record)
{
	record->source = USAGE_ESTIMATED;
	record->prompt_tokens = x->admission.body_kind == BODY_IS_JSON ? quota_prompt_tokens(&x->json.result) :
									 quota_tokens_of_bytes(x->body.bytes);
}

static void
estimate_completion(const struct exchange *x, struct usage_record *record)
{
	record->source = USAGE_ESTIMATED;
	if (!x->admission.completes)
		return;
	record->completion_tokens = x->is_events ? x->events : quota_tokens_of_bytes(x->payload_bytes);
}

/* Events since the backend's last word, which may have come early: a running count, or the prompt's alone. Of a
 * whole stream it is the last word if it has the events' number, wherever it stands. */
static uint64_t
events_untold(const struct exchange *x, enum usage_outcome outcome)
{
	uint64_t told = x->usage.completion_tokens;

	if (x->events <= x->events_told ||
	    (outcome == USAGE_OK && (told >= x->events || x->events - told <= EVENTS_WITHOUT_TOKEN_MAX)))
		return 0;
	return x->events - x->events_told;
}

/* The sum tells what is missing of the two. */
static void
take_prompt(const struct exchange *x, struct usage_record *record)
{
	const struct json_usage *u = &x->usage;

	record->prompt_tokens = u->prompt_tokens;
	if (u->odd_prompt || (!u->has_prompt && !(u->has_total && u->total_tokens >= u->completion_tokens)))
		estimate_prompt(x, record);
	else if (!u->has_prompt)
		record->prompt_tokens = u->total_tokens - u->completion_tokens;
}

static void
take_completion(const struct exchange *x, enum usage_outcome outcome, struct usage_record *record)
{
	const struct json_usage *u = &x->usage;
	uint64_t untold = x->is_events && x->admission.completes ? events_untold(x, outcome) : 0;

	record->completion_tokens = u->completion_tokens;
	if (u->odd_completion || (!u->has_completion && x->admission.completes &&
				  !(u->has_total && u->has_prompt && u->total_tokens >= u->prompt_tokens))) {
		estimate_completion(x, record);
		return;
	}
	if (!u->has_completion && x->admission.completes)
		record->completion_tokens = u->total_tokens - u->prompt_tokens;
	if (untold > 0)
		record->source = USAGE_RUNNING;
	if (__builtin_add_overflow(record->completion_tokens, untold, &record->completion_tokens))
		record->completion_tokens = UINT64_MAX;
}

/* A backend has answered, or does the work for a client that has left. A try that was abandoned is never
 * billed. */
static bool
has_work(const struct exchange *x)
{
	return x->answered || x->request_sent;
}

/* What was served, by the best word there is: the backend's own, else a count of events and an estimate
 * of the prompt, and of what is not counted in tokens what was asked for. */
static void
count(const struct exchange *x, enum usage_outcome outcome, struct usage_record *record)
{
	bool is_error = x->status >= 400 || (outcome != USAGE_CLIENT_ABORT && !x->answered);

	record->suspect = x->usage.suspect;
	if (x->usage.present && (x->usage.has_prompt || x->usage.has_completion)) {
		record->source = outcome == USAGE_OK ? USAGE_FINAL : USAGE_RUNNING;
		take_completion(x, outcome, record);
		take_prompt(x, record);
	} else if (x->usage.present && x->usage.has_total && !x->admission.completes) {
		/* What rerankers say: all of it is prompt. */
		record->source = USAGE_FINAL;
		record->prompt_tokens = x->usage.total_tokens;
	} else if (is_error || !has_work(x) || !route_has_tokens(x->admission.route)) {
		record->source = USAGE_FINAL;
	} else {
		estimate_prompt(x, record);
		estimate_completion(x, record);
	}
	if (is_error || !has_work(x))
		return;
	count_units(x, record);
	if (!x->answered)
		record->source = USAGE_ESTIMATED;
}

/* The price of a count may be any number: what no request can cost is taken for a mistake, and bounded, so that a
 * ledger of such records adds up. */
static void
set_cost(const struct shm_price *price, struct usage_record *record)
{
	int64_t cost = settle_cost_nano(
		price, &(struct settle_counts){ record->prompt_tokens, record->completion_tokens,
						(enum usage_unit)record->unit, record->units });

	record->suspect |= cost > SETTLE_COST_NANO_MAX;
	record->cost_nano = cost < SETTLE_COST_NANO_MAX ? cost : SETTLE_COST_NANO_MAX;
}

static void
fill(const struct worker *w, const struct exchange *x, enum usage_outcome outcome, struct usage_record *record)
{
	const struct admission *a = &x->admission;

	*record = (struct usage_record){ .outcome = (uint8_t)outcome };
	count(x, outcome, record);
	memcpy(record->request_id, a->request_id, sizeof(record->request_id));
	record->key_id = a->key_id;
	record->account_id = a->account_id;
	record->model_id = a->model_id;
	record->instance_id = a->instance_id;
	record->pod_id = x->pod_id;
	record->price_id = a->price.price_id;
	record->price_version = a->price.version;
	record->status = x->status;
	record->stream = x->is_events;
	record->operation = (uint8_t)a->operation;
	set_cost(&a->price, record);
	record->finished_at_unix_ns = worker_unix_ns(w);
	record->queue_us = since_us(x->admitted_at_ns, x->sent_at_ns);
	record->connect_us = since_us(x->try_at_ns, x->try_sent_at_ns);
	record->first_byte_us = since_us(x->admitted_at_ns, x->first_byte_at_ns);
	record->total_us = since_us(x->admitted_at_ns, w->now_ns);
	record->request_bytes = x->body.bytes;
	record->response_bytes = x->payload_bytes;
	record->worker = w->config.index;
	record->region_len = x->region.len < sizeof(record->region) ? x->region.len :
								       (uint16_t)sizeof(record->region);
	memcpy(record->region, x->region.text, record->region_len);
}

static bool
counts_refusal(struct settle_refusals *refusals, uint32_t second, uint32_t most)
{
	if (refusals->second != second)
		*refusals = (struct settle_refusals){ .second = second };
	return refusals->count < most && ++refusals->count > 0;
}

/* What the requests in flight need of the spool, and as many that pay, come first. */
static bool
may_record_refusal(struct worker *w, uint32_t account_entry)
{
	uint32_t second = (uint32_t)(w->now_ns / NSEC_PER_SEC);

	return spool_room(w->spool) > 2 * (uint64_t)w->config.counts.exchanges &&
	       counts_refusal(&w->account_refusals[account_entry], second, SETTLE_REFUSALS_PER_ACCOUNT) &&
	       counts_refusal(&w->refusals, second, SETTLE_REFUSALS_PER_WORKER);
}

void
settle_refusal(struct worker *w, const struct admission *a, const struct refusal *refusal)
{
	struct usage_record record = {
		.outcome = USAGE_REFUSED,
		.key_id = a->key_id,
		.account_id = a->account_id,
		.model_id = a->model_id,
		.instance_id = a->instance_id,
		.price_id = a->price.price_id,
		.price_version = a->price.version,
		.status = refusal_status(refusal->code, w->config.surfaces[a->surface].refusal_form),
		.finished_at_unix_ns = worker_unix_ns(w),
		.worker = w->config.index,
	};
	enum err verdict;

	if (!may_record_refusal(w, a->account_entry)) {
		worker_count(w, COUNTER_REFUSED_UNRECORDED);
		return;
	}
	memcpy(record.request_id, a->request_id, sizeof(record.request_id));
	verdict = tab_close(w->tab, TAB_NO_LINE, w->spool, &record);
	CHECK(verdict == ERR_OK); /* there was room */
	worker_count(w, COUNTER_USAGE_RECORDS);
}

static uint32_t
line_of(const struct worker *w, const struct exchange *x)
{
	return (uint32_t)(x - w->exchanges);
}

void
settle_note(struct worker *w, struct exchange *x)
{
	struct usage_record record;

	if (x->settled || !x->any_sent)
		return;
	fill(w, x, USAGE_CRASHED, &record);
	/* A crash never has the backend's last word. */
	if (record.source == USAGE_FINAL)
		record.source = USAGE_RUNNING;
	tab_write(w->tab, line_of(w, x), &record);
}

void
settle_exchange(struct worker *w, struct exchange *x, enum usage_outcome outcome)
{
	struct usage_record record;
	enum err verdict;

	if (x->settled || !x->any_sent)
		return;
	x->settled = true;
	fill(w, x, outcome, &record);
	x->used_tokens = record.prompt_tokens + record.completion_tokens;
	hold_settle(w, &x->admission, record.cost_nano);
	verdict = tab_close(w->tab, line_of(w, x), w->spool, &record);
	/* Admission keeps one record's room for every request in flight. */
	CHECK(verdict == ERR_OK);
	worker_count(w, COUNTER_USAGE_RECORDS);
}

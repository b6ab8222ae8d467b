/* Cost in integer nano-dollars, one debit, one record. */
#include "dataplane/settle.h"

#include "base/check.h"
#include "dataplane/quota.h"
#include "dataplane/worker.h"

/* What a request asked for is billed up to here; no backend makes more at once. */
#define WANTED_COUNT_MAX 1000
#define WANTED_MILLISECONDS_MAX (24 * 3600 * MSEC_PER_SEC)

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

/* How many the request asked for. */
static uint64_t
wanted_count(const struct exchange *x)
{
	const struct json_value *n = &x->json.result.field[JSON_FIELD_N];

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

/* Milliseconds of video that the request asked for; 0: it does not say. Of two lengths the longer one counts,
 * since each is some backend's. */
static uint64_t
wanted_milliseconds(const struct exchange *x)
{
	uint64_t seconds = milliseconds_of(&x->json.result.field[JSON_FIELD_SECONDS]);
	uint64_t duration = milliseconds_of(&x->json.result.field[JSON_FIELD_DURATION]);
	uint64_t milliseconds = seconds > duration ? seconds : duration;

	return milliseconds < WANTED_MILLISECONDS_MAX ? milliseconds : WANTED_MILLISECONDS_MAX;
}

/* A video is paid when its job is made; what nobody told the length of is one request. */
static void
count_video(const struct exchange *x, struct usage_record *record)
{
	uint64_t milliseconds = wanted_milliseconds(x);

	if (x->usage.has_length)
		set_units(record, USAGE_MILLISECONDS, x->usage.milliseconds);
	else if (milliseconds == 0)
		set_units(record, USAGE_REQUESTS, 1);
	else
		set_units(record, USAGE_MILLISECONDS, milliseconds * wanted_count(x));
	if (!x->usage.has_length)
		record->source = USAGE_ESTIMATED;
}

/* What is not counted in tokens: by the backend's word where it gives one, else by what was asked for. */
static void
count_units(const struct exchange *x, struct usage_record *record)
{
	switch (x->admission.route) {
	case ROUTE_IMAGES:
		if (x->usage.data_count == 0 && !x->usage.present)
			record->source = USAGE_ESTIMATED;
		set_units(record, USAGE_IMAGES, x->usage.data_count > 0 ? x->usage.data_count : wanted_count(x));
		break;
	case ROUTE_SPEECH:
		if (x->usage.has_length)
			set_units(record, USAGE_MILLISECONDS, x->usage.milliseconds);
		else
			set_units(record, USAGE_CHARACTERS, x->json.result.input_characters);
		break;
	case ROUTE_TRANSCRIPTION:
		if (x->usage.has_length)
			set_units(record, USAGE_MILLISECONDS, x->usage.milliseconds);
		else
			set_units(record, USAGE_BYTES, x->form.result.file_bytes);
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
	record->completion_tokens = x->is_events ? x->events : quota_tokens_of_bytes(x->payload_bytes);
}

/* What was served, by the best word there is: the backend's own, else a count of events and an estimate
 * of the prompt. A try that ended without an answer for the client is never billed. */
static void
count_tokens(const struct exchange *x, enum usage_outcome outcome, struct usage_record *record)
{
	bool is_error = x->status >= 400 || (outcome != USAGE_CLIENT_ABORT && !x->answered);

	record->suspect = x->usage.suspect;
	if (x->usage.present && (x->usage.has_prompt || x->usage.has_completion)) {
		record->source = outcome == USAGE_OK ? USAGE_FINAL : USAGE_RUNNING;
		record->prompt_tokens = x->usage.prompt_tokens;
		record->completion_tokens = x->usage.completion_tokens;
		if (x->usage.odd_prompt)
			estimate_prompt(x, record);
		if (x->usage.odd_completion)
			estimate_completion(x, record);
	} else if (is_error || !route_has_tokens(x->admission.route)) {
		record->source = USAGE_FINAL;
	} else {
		estimate_prompt(x, record);
		estimate_completion(x, record);
	}
	if (x->answered && !is_error)
		count_units(x, record);
}

/* Where another account has the entry meanwhile, the record alone carries the cost: the ledger goes by its
 * account_id, and a new cell begins with what the ledger has. */
static void
debit(struct worker *w, const struct admission *a, int64_t cost_nano)
{
	if (quota_is_same_account(w, a))
		atomic_fetch_add_explicit(&shm_balance(&w->shm, a->account_entry)->taken_nano, cost_nano,
					  memory_order_relaxed);
}

void
settle_exchange(struct worker *w, struct exchange *x, enum usage_outcome outcome)
{
	const struct admission *a = &x->admission;
	struct usage_record record = { .outcome = (uint8_t)outcome };
	enum err verdict;

	if (x->settled || !x->any_sent)
		return;
	x->settled = true;
	count_tokens(x, outcome, &record);
	x->used_tokens = record.prompt_tokens + record.completion_tokens;
	memcpy(record.request_id, a->request_id, sizeof(record.request_id));
	record.key_id = a->key_id;
	record.account_id = a->account_id;
	record.model_id = a->model_id;
	record.instance_id = a->instance_id;
	record.pod_id = x->pod_id;
	record.price_id = a->price.price_id;
	record.price_version = a->price.version;
	record.status = x->status;
	record.stream = x->is_events;
	record.cost_nano = settle_cost_nano(
		&a->price, &(struct settle_counts){ record.prompt_tokens, record.completion_tokens,
						    (enum usage_unit)record.unit, record.units });
	record.finished_at_unix_ns = worker_unix_ns(w);
	record.queue_us = since_us(x->admitted_at_ns, x->sent_at_ns);
	record.first_byte_us = since_us(x->admitted_at_ns, x->first_byte_at_ns);
	record.total_us = since_us(x->admitted_at_ns, w->now_ns);
	record.request_bytes = x->body.bytes;
	record.response_bytes = x->payload_bytes;
	record.worker = w->config.index;
	record.region_len = x->region.len < sizeof(record.region) ? x->region.len :
								     (uint16_t)sizeof(record.region);
	memcpy(record.region, x->region.text, record.region_len);
	debit(w, a, record.cost_nano);
	verdict = spool_append(w->spool, &record);
	/* Admission keeps one record's room for every request in flight. */
	CHECK(verdict == ERR_OK);
	worker_count(w, COUNTER_USAGE_RECORDS);
}

/* Estimates of cost by route, and the one hold of a request. */
#include "dataplane/hold.h"

#include "base/check.h"
#include "dataplane/quota.h"
#include "dataplane/settle.h"
#include "dataplane/worker.h"
#include "shm/balance.h"

/* What a file or a text is taken to last when a backend may bill it by the second: speech at 64 kbit/s, and read
 * aloud at 10 characters a second. */
#define FILE_BYTES_PER_SECOND 8000
#define CHARACTERS_PER_SECOND 10
/* What models that count audio in tokens make of a second. */
#define AUDIO_TOKENS_PER_SECOND 10

/* A video of which the request does not say how long it is to be. */
#define VIDEO_MILLISECONDS_DEFAULT (10 * MSEC_PER_SEC)

void
hold_reset(const struct shm *shm)
{
	for (uint32_t entry = 0; entry < shm->header->capacity.count[SHM_BALANCES]; entry++)
		atomic_store(&shm_balance(shm, entry)->held_nano, 0);
}

static int64_t
units_nano(const struct admission *a, enum usage_unit unit, uint64_t units)
{
	return settle_cost_nano(&a->price, &(struct settle_counts){ .unit = unit, .units = units });
}

static int64_t
larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* What has no unit that costs anything is billed as one request. */
static int64_t
or_request(int64_t nano, const struct admission *a)
{
	return larger(nano, units_nano(a, USAGE_REQUESTS, 1));
}

static int64_t
video_nano(const struct admission *a, const struct json_result *json)
{
	uint64_t milliseconds = settle_wanted_milliseconds(json), count = settle_wanted_count(json);

	/* By the request, unless somebody says how long it is, or has become. */
	return larger(units_nano(a, USAGE_REQUESTS, count),
		      units_nano(a, USAGE_MILLISECONDS,
				 count * (milliseconds > 0 ? milliseconds : VIDEO_MILLISECONDS_DEFAULT)));
}

/* Tokens that a backend may tell of beside the unit, where the price has a rate for them. */
static int64_t
with_tokens(int64_t nano, const struct admission *a, uint64_t prompt_tokens)
{
	int64_t more = settle_cost_nano(&a->price, &(struct settle_counts){ .prompt_tokens = prompt_tokens }), sum;

	return __builtin_add_overflow(nano, more, &sum) ? INT64_MAX : sum;
}

static int64_t
speech_nano(const struct admission *a, const struct json_result *json)
{
	return larger(units_nano(a, USAGE_CHARACTERS, json->input_characters),
		      units_nano(a, USAGE_MILLISECONDS,
				 json->input_characters * (MSEC_PER_SEC / CHARACTERS_PER_SECOND)));
}

static int64_t
transcription_nano(const struct admission *a, uint64_t form_bytes)
{
	int64_t nano = larger(units_nano(a, USAGE_BYTES, form_bytes),
			      units_nano(a, USAGE_MILLISECONDS,
					 form_bytes / (FILE_BYTES_PER_SECOND / MSEC_PER_SEC)));

	return with_tokens(nano, a, form_bytes / (FILE_BYTES_PER_SECOND / AUDIO_TOKENS_PER_SECOND));
}

static int64_t
tokens_nano(const struct worker *w, const struct admission *a, const struct json_result *json)
{
	const struct worker_limits *limits = &w->config.limits;
	uint32_t default_tokens = a->target.hold_tokens > 0 ? a->target.hold_tokens : limits->hold_tokens;
	struct settle_counts counts = { .prompt_tokens = quota_prompt_tokens(json),
					.unit = USAGE_REQUESTS,
					.units = 1 };

	if (a->completes)
		counts.completion_tokens =
			quota_completion_tokens(json, a->rules, default_tokens, limits->hold_tokens_max);
	return settle_cost_nano(&a->price, &counts);
}

int64_t
hold_estimate_nano(const struct worker *w, const struct admission *a, const struct json_result *json,
		   uint64_t form_bytes)
{
	switch (a->route) {
	case ROUTE_CHAT:
	case ROUTE_JSON:
		return tokens_nano(w, a, json);
	case ROUTE_IMAGES:
		return with_tokens(or_request(units_nano(a, USAGE_IMAGES, settle_wanted_count(json)), a), a,
				   quota_prompt_tokens(json));
	case ROUTE_SPEECH:
		return with_tokens(or_request(speech_nano(a, json), a), a, quota_prompt_tokens(json));
	case ROUTE_TRANSCRIPTION:
		return or_request(transcription_nano(a, form_bytes), a);
	case ROUTE_VIDEO:
		return with_tokens(video_nano(a, json), a, quota_prompt_tokens(json));
	case ROUTE_PROXY:
		return units_nano(a, USAGE_REQUESTS, 1);
	default:
		return 0;
	}
}

/* Where anything costs, something must be there, whatever the estimate is. */
static int64_t
nano_to_hold(const struct worker *w, const struct admission *a, const struct json_result *json,
	     uint64_t form_bytes)
{
	return larger(hold_estimate_nano(w, a, json, form_bytes), settle_is_free(&a->price) ? 0 : 1);
}

bool
hold_take(struct worker *w, const struct json_result *json, uint64_t form_bytes, struct admission *a,
	  struct refusal *refusal)
{
	int64_t nano = nano_to_hold(w, a, json, form_bytes);

	switch (balance_hold(shm_balance(&w->shm, a->account_entry), nano)) {
	case BALANCE_HELD:
		a->held_nano = nano;
		return true;
	case BALANCE_IN_FLIGHT:
		refusal->code = REFUSAL_BALANCE_IN_FLIGHT;
		refusal->retry_after_ns = QUOTA_RETRY_NS;
		return false;
	case BALANCE_EMPTY:
		break;
	}
	refusal->code = REFUSAL_INSUFFICIENT_BALANCE;
	if (a->completes && balance_available_nano(shm_balance(&w->shm, a->account_entry)) > 0)
		refusal->message = "The account's balance does not cover what this request may cost. "
				   "Top up, or ask for fewer tokens (max_tokens).";
	return false;
}

void
hold_settle(struct worker *w, struct admission *a, int64_t cost_nano)
{
	/* Where another account has the entry meanwhile, the record alone carries the cost: the ledger goes by its
	 * account_id, and a new cell begins with what the ledger has. */
	if (quota_is_same_account(w, a))
		balance_settle(shm_balance(&w->shm, a->account_entry), a->held_nano, cost_nano);
	a->held_nano = 0;
}

void
hold_release(struct worker *w, struct admission *a)
{
	if (a->held_nano > 0)
		hold_settle(w, a, 0);
}

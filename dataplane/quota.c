/* Tokens by bucket, requests in flight by a count. */
#include "dataplane/quota.h"

#include "base/check.h"
#include "dataplane/worker.h"

/* Bytes that make a token, when the backend does not say (English text, BPE). */
#define ESTIMATE_BYTES_PER_TOKEN 4

/* Of a picture inside the request: what the large vision models make of a megapixel. */
#define ESTIMATE_TOKENS_PER_DATA_URL 1024

/* Debt is paid off within so long, however much a backend says that it has served. */
#define DEBT_NS_MAX (3600 * NSEC_PER_SEC)

void
quota_reset(const struct shm *shm)
{
	for (uint32_t entry = 0; entry < shm->header->capacity.count[SHM_BALANCES]; entry++)
		atomic_store(&shm_balance(shm, entry)->in_flight, 0);
}

struct bucket *
quota_token_bucket(const struct shm *shm, uint32_t key_entry)
{
	CHECK_STATIC(sizeof(struct bucket) == sizeof(uint64_t), "a bucket is one cell");
	return (struct bucket *)&shm_bucket(shm, key_entry)->token_full_at_ns;
}

uint64_t
quota_tokens_of_bytes(uint64_t bytes)
{
	return bytes / ESTIMATE_BYTES_PER_TOKEN;
}

/* Numbers that stand for tokens: a digit and a comma are one at the least, twice what text makes of them. */
static bool
is_of_token_ids(const struct json_value *value)
{
	return value->type == JSON_ARRAY && (value->first == JSON_NUMBER || value->first == JSON_ARRAY);
}

static uint64_t
token_id_bytes(const struct json_value *value)
{
	return is_of_token_ids(value) ? value->end - value->start : 0;
}

uint64_t
quota_prompt_tokens(const struct json_result *json)
{
	uint64_t bytes = json->object_end - json->object_start;

	CHECK(bytes >= json->data_url_bytes);
	return quota_tokens_of_bytes(bytes - json->data_url_bytes +
				     token_id_bytes(&json->field[JSON_FIELD_PROMPT]) +
				     token_id_bytes(&json->field[JSON_FIELD_INPUT])) +
	       (uint64_t)json->data_urls * ESTIMATE_TOKENS_PER_DATA_URL;
}

/* At most `most`. */
static uint64_t
positive(const struct json_value *value, uint64_t most)
{
	if (value->type != JSON_NUMBER || !value->integer || value->number <= 0)
		return 0;
	return (uint64_t)value->number < most ? (uint64_t)value->number : most;
}

/* A list of texts, or of lists of tokens, is as many prompts; one of numbers is one. */
static uint64_t
prompts_of(const struct json_result *json)
{
	const struct json_value *prompt = &json->field[JSON_FIELD_PROMPT];

	return prompt->type == JSON_ARRAY && prompt->first != JSON_NUMBER && prompt->elements > 0 ?
		       prompt->elements :
		       1;
}

/* Answers that are made: of best_of of them n are given. */
static uint64_t
answers_of(const struct json_result *json, enum json_path path)
{
	uint64_t n = positive(&json->field[JSON_FIELD_N], UINT32_MAX);
	uint64_t best_of = positive(&json->field[JSON_FIELD_BEST_OF], UINT32_MAX);

	if (path == JSON_PATH_COMPLETIONS && best_of > n)
		return best_of;
	return path != JSON_PATH_RESPONSES && n > 0 ? n : 1;
}

/* Of an answer, by the fields that mean something to this path: a backend ignores the others. */
static uint64_t
answer_bound(const struct json_result *json, enum json_path path, uint32_t tokens_max)
{
	uint64_t bound = positive(&json->field[JSON_FIELD_MAX_TOKENS], tokens_max);
	uint64_t newer = positive(&json->field[JSON_FIELD_MAX_COMPLETION_TOKENS], tokens_max);

	if (path == JSON_PATH_RESPONSES)
		return positive(&json->field[JSON_FIELD_MAX_OUTPUT_TOKENS], tokens_max);
	return path == JSON_PATH_CHAT && newer > bound ? newer : bound;
}

uint64_t
quota_completion_tokens(const struct json_result *json, enum json_path path, uint32_t default_tokens,
			uint32_t tokens_max)
{
	uint64_t bound = answer_bound(json, path, tokens_max);
	uint64_t sum;

	if (bound == 0)
		bound = default_tokens < tokens_max ? default_tokens : tokens_max;
	if (__builtin_mul_overflow(bound, answers_of(json, path), &sum) ||
	    (path == JSON_PATH_COMPLETIONS && __builtin_mul_overflow(sum, prompts_of(json), &sum)))
		return UINT64_MAX;
	return sum;
}

/* What the request may use up, as far as it says; at most half of the burst. */
static uint64_t
estimate(const struct json_result *json, enum json_path path, const struct bucket_limit *limit)
{
	uint64_t most = (limit->burst_units + 1) / 2;
	uint64_t prompt = quota_prompt_tokens(json);
	uint64_t answers = quota_completion_tokens(json, path, 0, UINT32_MAX);

	CHECK_STATIC(BUCKET_BURST_MAX <= UINT32_MAX / 2, "a sum does not wrap");
	if (prompt >= most || answers >= most)
		return most;
	return prompt + answers < 1 ? 1 : prompt + answers < most ? prompt + answers : most;
}

/* Counted for every account, since a plan may get its limit while requests are in flight. */
static bool
enter(struct worker *w, struct admission *a)
{
	struct shm_balance_cell *cell = shm_balance(&w->shm, a->account_entry);
	uint32_t count = atomic_load_explicit(&cell->in_flight, memory_order_relaxed);

	do {
		if (a->in_flight_max > 0 && count >= a->in_flight_max)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&cell->in_flight, &count, count + 1, memory_order_relaxed,
							memory_order_relaxed));
	a->is_in_flight = true;
	return true;
}

/* An entry that changes too fast to be read is still that account's: one that was freed rests, and does not change
 * meanwhile. */
bool
quota_is_same_account(const struct worker *w, const struct admission *a)
{
	struct shm_account account;
	enum err verdict = shm_read_account(&w->shm, a->account_entry, &account);

	return verdict == ERR_SHM_BUSY || (verdict == ERR_OK && account.account_id == a->account_id);
}

static bool
is_same_key(const struct worker *w, const struct admission *a)
{
	struct shm_key key;
	enum err verdict = shm_read_key(&w->shm, a->key_entry, &key);

	return verdict == ERR_SHM_BUSY || (verdict == ERR_OK && key.key_id == a->key_id);
}

/* Never below 0: a count begins anew with a process, or with another account. */
static void
leave(struct worker *w, struct admission *a)
{
	struct shm_balance_cell *cell = shm_balance(&w->shm, a->account_entry);
	uint32_t count = atomic_load_explicit(&cell->in_flight, memory_order_relaxed);

	a->is_in_flight = false;
	if (!quota_is_same_account(w, a))
		return;
	/* Who sees it go sees the request's debit and record, too: control repairs balances by that. */
	while (count > 0 &&
	       !atomic_compare_exchange_weak_explicit(&cell->in_flight, &count, count - 1, memory_order_release,
						      memory_order_relaxed))
		;
}

static bool
take_tokens(struct worker *w, const struct json_result *json, struct admission *a, struct refusal *refusal)
{
	struct bucket *bucket = quota_token_bucket(&w->shm, a->key_entry);
	uint64_t units = estimate(json, a->rules, &a->token_limit);

	if (bucket_take(bucket, &a->token_limit, units, w->now_ns)) {
		a->taken_tokens = units;
		return true;
	}
	refusal->code = REFUSAL_RATE_LIMITED;
	refusal->message = "The token limit of this API key is reached. Wait as retry-after says.";
	refusal->retry_after_ns = bucket_wait_ns(bucket, &a->token_limit, units, w->now_ns);
	return false;
}

bool
quota_take(struct worker *w, const struct json_result *json, struct admission *a, struct refusal *refusal)
{
	if (!enter(w, a)) {
		worker_count(w, COUNTER_REFUSED_CONCURRENCY);
		refusal->code = REFUSAL_RATE_LIMITED;
		refusal->message = "The account has as many requests in flight as its plan allows.";
		refusal->retry_after_ns = QUOTA_RETRY_NS;
		return false;
	}
	if (json == NULL || a->token_limit.ns_per_unit == 0 || take_tokens(w, json, a, refusal))
		return true;
	leave(w, a);
	worker_count(w, COUNTER_REFUSED_TOKENS);
	return false;
}

void
quota_release(struct worker *w, struct admission *a, uint64_t used_tokens)
{
	const struct bucket_limit *limit = &a->token_limit;

	if (!a->is_in_flight)
		return;
	leave(w, a);
	if (limit->ns_per_unit > 0 && a->taken_tokens != used_tokens && is_same_key(w, a)) {
		uint64_t most = a->taken_tokens + DEBT_NS_MAX / limit->ns_per_unit;

		bucket_settle(quota_token_bucket(&w->shm, a->key_entry), limit, a->taken_tokens,
			      used_tokens < most ? used_tokens : most);
	}
	a->taken_tokens = 0;
}

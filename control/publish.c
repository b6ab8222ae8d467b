/*
 * Rows to bodies. Each noun has one query, used with "id = ?" and with "id > ? ORDER BY id", and one function
 * that makes the body of its row.
 *
 * Order matters only between nouns: a row is published after those that it refers to (enum noun's order)
 * and removed before them, so a worker that follows a reference finds something there. What a row refers
 * to and cannot be found (its table was full) is published as SHM_NONE or left out, and counted.
 */
#include "publish.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "config/log.h"

#define CHANGES_AT_ONCE 1000
#define CHANGES_KEPT "100000"

union body {
	struct shm_account account;
	struct shm_plan plan;
	struct shm_price price;
	struct shm_region region;
	struct shm_pod pod;
	struct shm_deployment deployment;
	struct shm_model model;
	struct shm_alias alias;
	struct shm_instance instance;
	struct shm_key key;
};

static const enum shm_section tables[NOUN_COUNT] = {
	[NOUN_ACCOUNT] = SHM_ACCOUNTS, [NOUN_PLAN] = SHM_PLANS,
	[NOUN_PRICE] = SHM_PRICES,     [NOUN_REGION] = SHM_REGIONS,
	[NOUN_POD] = SHM_PODS,         [NOUN_DEPLOYMENT] = SHM_DEPLOYMENTS,
	[NOUN_MODEL] = SHM_MODELS,     [NOUN_ALIAS] = SHM_ALIASES,
	[NOUN_INSTANCE] = SHM_INSTANCES, [NOUN_KEY] = SHM_KEYS,
};

/* Columns TARGET_ROUTING and on of what can be asked for; TARGET_PRICE and TARGET_DEPLOYMENTS stand before. Behind
 * them stands what only an instance has. */
#define ROUTING                                                                                    \
	" policy, resend, coalesce(retry_percent, 65535), connect_ms, response_head_ms, first_event_ms," \
	" between_events_ms, request_ms, hold_tokens"
enum {
	TARGET_PRICE = 2,
	TARGET_DEPLOYMENTS,
	TARGET_ROUTING,
	INSTANCE_ACCOUNT = TARGET_ROUTING + 9,
	INSTANCE_STATE,
};

enum {
	ACCOUNT_CREDITED = 2,
	ACCOUNT_SPENT,
	ACCOUNT_SPENT_HERE,
};

/* ?1 is for the id, ?2 for the count, ?3 is this router. Column 0 is the id. Lists come as comma-separated ids, in
 * order. */
static const char *const queries[NOUN_COUNT] = {
	[NOUN_ACCOUNT] = "SELECT id, suspended, credited_nano, spent_nano, coalesce((SELECT spent_nano FROM"
			 " node_spending s WHERE s.account_id = accounts.id AND s.node = ?3), 0) FROM accounts",
	[NOUN_PLAN] = "SELECT id, requests_per_minute, burst, tokens_per_minute, token_burst,"
		      " concurrent_requests, body_bytes FROM plans",
	[NOUN_PRICE] =
		"SELECT id, version, input_nano_per_mtoken, output_nano_per_mtoken, request_nano,"
		" image_nano, second_nano, character_nano_per_million, byte_nano_per_million FROM prices",
	[NOUN_REGION] = "SELECT id, name FROM regions",
	[NOUN_POD] = "SELECT id, address, port, host, credential, state, running_usage FROM pods",
	[NOUN_DEPLOYMENT] =
		"SELECT id, region_id, served_name, base_path,"
		" (SELECT group_concat(CAST(pod_id AS TEXT), ',') FROM"
		" (SELECT pod_id FROM deployment_pods WHERE deployment_id = deployments.id"
		" ORDER BY position, pod_id) AS p) FROM deployments",
	[NOUN_MODEL] =
		"SELECT id, name, coalesce(price_id, 0), (SELECT group_concat(CAST(d AS TEXT), ',') FROM"
		" (SELECT id AS d FROM deployments WHERE model_id = models.id ORDER BY position, id) AS l),"
		ROUTING " FROM models",
	[NOUN_ALIAS] = "SELECT id, name, model_id FROM aliases",
	[NOUN_INSTANCE] =
		"SELECT id, name, coalesce(price_id, 0), (SELECT group_concat(CAST(d AS TEXT), ',') FROM"
		" (SELECT id AS d FROM deployments WHERE instance_id = instances.id"
		" ORDER BY position, id) AS l)," ROUTING ", account_id, state FROM instances",
	[NOUN_KEY] = "SELECT id, hash, account_id, plan_id, revoked, surface FROM keys",
};

/* --- row to body ------------------------------------------------------------------------- */

static uint32_t
refer(const struct publish *p, enum noun noun, int64_t id)
{
	uint32_t entry = entries_find(&p->entries[noun], (uint64_t)id);

	CHECK_STATIC(ENTRIES_NONE == SHM_NONE, "one word for no entry");
	return id == 0 ? SHM_NONE : entry;
}

static uint32_t
refer_list(const struct publish *p, enum noun noun, struct bytes ids, uint32_t *entries,
	   uint32_t max)
{
	uint32_t count = 0;
	int64_t id = 0;

	for (size_t i = 0; i <= ids.len && ids.len > 0; i++) {
		if (i < ids.len && ids.ptr[i] != ',') {
			id = id * 10 + (ids.ptr[i] - '0');
			continue;
		}
		if (count < max && refer(p, noun, id) != SHM_NONE)
			entries[count++] = refer(p, noun, id);
		id = 0;
	}
	return count;
}

static bool
copy_name(struct shm_name *name, struct bytes text)
{
	if (text.len > sizeof(name->text))
		return false;
	name->len = (uint16_t)text.len;
	if (text.len > 0)
		memcpy(name->text, text.ptr, text.len);
	return true;
}

static bool
copy_short_name(struct shm_short_name *name, struct bytes text)
{
	if (text.len > sizeof(name->text))
		return false;
	name->len = (uint16_t)text.len;
	if (text.len > 0)
		memcpy(name->text, text.ptr, text.len);
	return true;
}

/* As buckets count (limit/bucket.h). */
static void
make_limit(uint64_t per_minute, uint64_t burst, uint64_t *ns_per_unit, uint64_t *burst_units)
{
	*ns_per_unit = per_minute == 0 ? 0 : 60 * NSEC_PER_SEC / per_minute;
	*burst_units = burst == 0 ? per_minute : burst;
}

static void
make_plan(struct shm_plan *plan, struct statement *row)
{
	plan->requests_per_minute = (uint64_t)store_column_int64(row, 1);
	make_limit(plan->requests_per_minute, (uint64_t)store_column_int64(row, 2),
		   &plan->request_ns_per_unit, &plan->request_burst_units);
	plan->tokens_per_minute = (uint64_t)store_column_int64(row, 3);
	make_limit(plan->tokens_per_minute, (uint64_t)store_column_int64(row, 4),
		   &plan->token_ns_per_unit, &plan->token_burst_units);
	plan->in_flight_max = (uint32_t)store_column_int64(row, 5);
	plan->body_bytes_max = (uint64_t)store_column_int64(row, 6);
	plan->live = 1;
}

static bool
make_address(uint8_t address[16], struct bytes text)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	char copy[INET6_ADDRSTRLEN] = "";

	if (text.len >= sizeof(copy))
		return false;
	memcpy(copy, text.ptr, text.len);
	if (inet_pton(AF_INET6, copy, address) == 1)
		return true;
	memcpy(address, mapped, sizeof(mapped));
	return inet_pton(AF_INET, copy, address + 12) == 1;
}

static bool
make_pod(struct shm_pod *pod, struct statement *row)
{
	pod->port = (uint16_t)store_column_int64(row, 2);
	pod->state = (uint8_t)store_column_int64(row, 5);
	pod->running_usage = (uint8_t)store_column_int64(row, 6);
	pod->live = 1;
	return make_address(pod->address, store_column_text(row, 1)) &&
	       copy_short_name(&pod->host, store_column_text(row, 3)) &&
	       copy_name(&pod->credential, store_column_text(row, 4));
}

static uint32_t
column_u32(struct statement *row, int at)
{
	int64_t value = store_column_int64(row, at);

	return value < 0 ? 0 : value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static void
make_target(const struct publish *p, struct shm_target *target, struct statement *row)
{
	int at = TARGET_ROUTING;

	CHECK_STATIC(SHM_RETRY_AS_CONFIGURED == 65535, "as the queries say");
	target->price = refer(p, NOUN_PRICE, store_column_int64(row, TARGET_PRICE));
	target->deployment_count =
		refer_list(p, NOUN_DEPLOYMENT, store_column_text(row, TARGET_DEPLOYMENTS),
			   target->deployments, SHM_TARGET_DEPLOYMENTS_MAX);
	target->policy = (uint8_t)store_column_int64(row, at++);
	target->resend = (uint8_t)store_column_int64(row, at++);
	target->retry_percent = (uint16_t)store_column_int64(row, at++);
	target->connect_ms = column_u32(row, at++);
	target->response_head_ms = column_u32(row, at++);
	target->first_event_ms = column_u32(row, at++);
	target->between_events_ms = column_u32(row, at++);
	target->request_ms = column_u32(row, at++);
	target->hold_tokens = column_u32(row, at);
}

static void
make_account(struct shm_account *account, struct statement *row)
{
	account->suspended = (uint8_t)store_column_int64(row, 1);
	account->live = 1;
}

static void
make_price(struct shm_price *price, struct statement *row)
{
	price->version = (uint32_t)store_column_int64(row, 1);
	price->input_nano_per_mtoken = (uint64_t)store_column_int64(row, 2);
	price->output_nano_per_mtoken = (uint64_t)store_column_int64(row, 3);
	price->request_nano = (uint64_t)store_column_int64(row, 4);
	price->image_nano = (uint64_t)store_column_int64(row, 5);
	price->second_nano = (uint64_t)store_column_int64(row, 6);
	price->character_nano_per_million = (uint64_t)store_column_int64(row, 7);
	price->byte_nano_per_million = (uint64_t)store_column_int64(row, 8);
	price->live = 1;
}

static bool
make_region(struct shm_region *region, struct statement *row)
{
	region->live = 1;
	return copy_short_name(&region->name, store_column_text(row, 1));
}

static bool
make_deployment(const struct publish *p, struct shm_deployment *deployment, struct statement *row)
{
	deployment->region = refer(p, NOUN_REGION, store_column_int64(row, 1));
	deployment->pod_count = refer_list(p, NOUN_POD, store_column_text(row, 4), deployment->pods,
					   SHM_DEPLOYMENT_PODS_MAX);
	deployment->live = 1;
	return deployment->region != SHM_NONE &&
	       copy_name(&deployment->served_name, store_column_text(row, 2)) &&
	       copy_name(&deployment->base_path, store_column_text(row, 3));
}

static bool
make_model(const struct publish *p, struct shm_model *model, struct statement *row)
{
	model->live = 1;
	make_target(p, &model->target, row);
	return copy_name(&model->name, store_column_text(row, 1));
}

static bool
make_alias(const struct publish *p, struct shm_alias *alias, struct statement *row)
{
	alias->model = refer(p, NOUN_MODEL, store_column_int64(row, 2));
	alias->live = 1;
	return alias->model != SHM_NONE && copy_name(&alias->name, store_column_text(row, 1));
}

static bool
make_instance(const struct publish *p, struct shm_instance *instance, struct statement *row)
{
	instance->account = refer(p, NOUN_ACCOUNT, store_column_int64(row, INSTANCE_ACCOUNT));
	instance->state = (uint8_t)store_column_int64(row, INSTANCE_STATE);
	instance->live = 1;
	make_target(p, &instance->target, row);
	return instance->account != SHM_NONE && copy_name(&instance->name, store_column_text(row, 1));
}

static bool
make_key(const struct publish *p, struct shm_key *key, struct statement *row)
{
	struct bytes hash = store_column_blob(row, 1);

	if (hash.len != sizeof(key->hash))
		return false;
	memcpy(key->hash, hash.ptr, sizeof(key->hash));
	key->account = refer(p, NOUN_ACCOUNT, store_column_int64(row, 2));
	key->plan = refer(p, NOUN_PLAN, store_column_int64(row, 3));
	key->revoked = (uint8_t)store_column_int64(row, 4);
	key->surface = (uint8_t)store_column_int64(row, 5);
	key->live = 1;
	return key->account != SHM_NONE && key->plan != SHM_NONE;
}

/* False: this row cannot be published. The body comes zeroed, padding included. */
static bool
make_body(const struct publish *p, enum noun noun, struct statement *row, union body *body)
{
	uint64_t id = (uint64_t)store_column_int64(row, 0);

	switch (noun) {
	case NOUN_ACCOUNT:
		body->account.account_id = id;
		make_account(&body->account, row);
		return true;
	case NOUN_PLAN:
		body->plan.plan_id = id;
		make_plan(&body->plan, row);
		return true;
	case NOUN_PRICE:
		body->price.price_id = id;
		make_price(&body->price, row);
		return true;
	case NOUN_REGION:
		body->region.region_id = id;
		return make_region(&body->region, row);
	case NOUN_POD:
		body->pod.pod_id = id;
		return make_pod(&body->pod, row);
	case NOUN_DEPLOYMENT:
		body->deployment.deployment_id = id;
		return make_deployment(p, &body->deployment, row);
	case NOUN_MODEL:
		body->model.model_id = id;
		return make_model(p, &body->model, row);
	case NOUN_ALIAS:
		body->alias.alias_id = id;
		return make_alias(p, &body->alias, row);
	case NOUN_INSTANCE:
		body->instance.instance_id = id;
		return make_instance(p, &body->instance, row);
	case NOUN_KEY:
		body->key.key_id = id;
		return make_key(p, &body->key, row);
	case NOUN_COUNT:
		break;
	}
	CHECK(false);
	return false;
}

/* --- body to table ----------------------------------------------------------------------- */

static enum err
put(struct publish *p, enum noun noun, uint32_t entry, const union body *body, bool *changed)
{
	switch (noun) {
	case NOUN_ACCOUNT:
		return shm_put_account(&p->shm, entry, &body->account, changed);
	case NOUN_PLAN:
		return shm_put_plan(&p->shm, entry, &body->plan, changed);
	case NOUN_PRICE:
		return shm_put_price(&p->shm, entry, &body->price, changed);
	case NOUN_REGION:
		return shm_put_region(&p->shm, entry, &body->region, changed);
	case NOUN_POD:
		return shm_put_pod(&p->shm, entry, &body->pod, changed);
	case NOUN_DEPLOYMENT:
		return shm_put_deployment(&p->shm, entry, &body->deployment, changed);
	case NOUN_MODEL:
		return shm_put_model(&p->shm, entry, &body->model, changed);
	case NOUN_ALIAS:
		return shm_put_alias(&p->shm, entry, &body->alias, changed);
	case NOUN_INSTANCE:
		return shm_put_instance(&p->shm, entry, &body->instance, changed);
	case NOUN_KEY:
		return shm_put_key(&p->shm, entry, &body->key, changed);
	case NOUN_COUNT:
		break;
	}
	CHECK(false);
	return ERR_OK;
}

/* The id that an entry is live for, 0 if it is not. */
static uint64_t
live_id(const struct shm *shm, enum noun noun, uint32_t entry)
{
	union body b;

	switch (noun) {
	case NOUN_ACCOUNT:
		return shm_read_account(shm, entry, &b.account) == ERR_OK ? b.account.account_id : 0;
	case NOUN_PLAN:
		return shm_read_plan(shm, entry, &b.plan) == ERR_OK ? b.plan.plan_id : 0;
	case NOUN_PRICE:
		return shm_read_price(shm, entry, &b.price) == ERR_OK ? b.price.price_id : 0;
	case NOUN_REGION:
		return shm_read_region(shm, entry, &b.region) == ERR_OK ? b.region.region_id : 0;
	case NOUN_POD:
		return shm_read_pod(shm, entry, &b.pod) == ERR_OK ? b.pod.pod_id : 0;
	case NOUN_DEPLOYMENT:
		return shm_read_deployment(shm, entry, &b.deployment) == ERR_OK
			       ? b.deployment.deployment_id
			       : 0;
	case NOUN_MODEL:
		return shm_read_model(shm, entry, &b.model) == ERR_OK ? b.model.model_id : 0;
	case NOUN_ALIAS:
		return shm_read_alias(shm, entry, &b.alias) == ERR_OK ? b.alias.alias_id : 0;
	case NOUN_INSTANCE:
		return shm_read_instance(shm, entry, &b.instance) == ERR_OK ? b.instance.instance_id
									    : 0;
	case NOUN_KEY:
		return shm_read_key(shm, entry, &b.key) == ERR_OK ? b.key.key_id : 0;
	case NOUN_COUNT:
		break;
	}
	return 0;
}

/*
 * Hot cells of an entry that is about to stand for a new id. Plain stores: no worker can know the entry, it
 * has either never been live or rested long enough.
 */
static void
make_cells(struct publish *p, enum noun noun, uint32_t entry, struct statement *row)
{
	if (noun == NOUN_ACCOUNT) {
		struct shm_balance_cell *cell = shm_balance(&p->shm, entry);

		atomic_store(&cell->held_nano, 0);
		atomic_store(&cell->elsewhere_nano, 0);
		atomic_store(&cell->in_flight, 0);
		atomic_store(&cell->spent_nano, store_column_int64(row, ACCOUNT_SPENT_HERE));
	} else if (noun == NOUN_KEY) {
		struct shm_bucket_cell *cell = shm_bucket(&p->shm, entry);

		atomic_store(&cell->request_full_at_ns, 0);
		atomic_store(&cell->token_full_at_ns, 0);
	} else if (noun == NOUN_POD) {
		struct shm_pod_health *health = shm_pod_health(&p->shm, entry);

		atomic_store(&health->probe_state, SHM_PROBE_UNKNOWN);
		atomic_store(&health->probe_latency_us, 0);
		atomic_store(&health->eject_until_ns, 0);
		atomic_store(&health->eject_errors, 0);
		atomic_store(&health->eject_row, 0);
		atomic_store(&health->eject_prober, 0);
		atomic_store(&health->in_flight, 0);
		atomic_store(&health->busy_until_ns, 0);
		atomic_store(&health->first_token, 0);
	}
}

/* Each round meets the row again: a line for the first of its kind and a count say as much as a line for each. */
static void
refuse(struct publish *p, enum noun noun, int64_t id, const char *why)
{
	struct publish_refused *refused = &p->refused[noun];

	p->rows_refused++;
	refused->rows_now += p->in_round;
	if (!refused->told_other)
		LOG_ERROR("row_not_published", LOG_TEXT("noun", noun_name(noun)), LOG_NUMBER("id", id),
			  LOG_TEXT("why", why), LOG_TEXT("others", "are counted in sluice_table_unpublished"));
	refused->told_other = true;
}

static void
refuse_full(struct publish *p, enum noun noun, int64_t id, uint64_t now_ns)
{
	struct publish_refused *refused = &p->refused[noun];
	char why[PUBLISH_WHY_BYTES];

	p->rows_refused++;
	refused->rows_now += p->in_round;
	if (!refused->told_full && !publish_has_room(p, noun, now_ns, why))
		LOG_ERROR("table_full", LOG_TEXT("noun", noun_name(noun)), LOG_NUMBER("id", id),
			  LOG_TEXT("why", why), LOG_TEXT("others", "are counted in sluice_table_unpublished"));
	refused->told_full = true;
}

static void
count_refused(struct publish_refused *refused)
{
	if (refused->rows_now == 0)
		refused->told_full = refused->told_other = false;
	refused->rows = refused->rows_now;
	refused->rows_now = 0;
}

bool
publish_has_room(const struct publish *p, enum noun noun, uint64_t now_ns, char why[PUBLISH_WHY_BYTES])
{
	const struct entries *entries = &p->entries[noun];
	const char *name = noun_plural(noun);

	if (entries_has_room(entries, now_ns))
		return true;
	snprintf(why, PUBLISH_WHY_BYTES,
		 "the table of %s is full: %u of %u entries are in use, %u rest for %llu minutes after they"
		 " were deleted; raise capacity.%s in sluice.yaml, which takes effect when the shared file is"
		 " made anew",
		 name, entries->count, entries->capacity, entries->resting_count,
		 (unsigned long long)(ENTRIES_REST_NS / (60 * NSEC_PER_SEC)), name);
	return false;
}

static bool
remove_entry(struct publish *p, enum noun noun, uint32_t entry, uint64_t now_ns)
{
	union body gone;
	bool changed;

	memset(&gone, 0, sizeof(gone));
	CHECK(put(p, noun, entry, &gone, &changed) == ERR_OK); /* deleting needs no room */
	entries_free(&p->entries[noun], entry, now_ns);
	p->rows_removed++;
	return true;
}

/* What control alone writes of a balance. The ledger adds to both sums at once: the difference is the others'. */
static void
put_money(struct shm_balance_cell *cell, struct statement *row)
{
	int64_t spent = store_column_int64(row, ACCOUNT_SPENT), here = store_column_int64(row, ACCOUNT_SPENT_HERE);

	atomic_store_explicit(&cell->elsewhere_nano, spent > here ? spent - here : 0, memory_order_relaxed);
	atomic_store_explicit(&cell->credited_nano, store_column_int64(row, ACCOUNT_CREDITED),
			      memory_order_relaxed);
}

/* True if the tables had to change. */
static bool
publish_row(struct publish *p, enum noun noun, struct statement *row, uint64_t now_ns)
{
	int64_t id = store_column_int64(row, 0);
	struct entries *entries = &p->entries[noun];
	uint32_t entry = entries_find(entries, (uint64_t)id);
	bool is_new = entry == ENTRIES_NONE, changed = false;
	union body body;
	enum err verdict;

	memset(&body, 0, sizeof(body));
	if (!make_body(p, noun, row, &body)) {
		refuse(p, noun, id, "it or what it refers to does not fit the tables");
		return is_new ? false : remove_entry(p, noun, entry, now_ns);
	}
	if (is_new) {
		entry = entries_take(entries, (uint64_t)id, now_ns);
		if (entry == ENTRIES_NONE) {
			refuse_full(p, noun, id, now_ns);
			return false;
		}
		make_cells(p, noun, entry, row);
	}
	if (noun == NOUN_ACCOUNT)
		put_money(shm_balance(&p->shm, entry), row);
	verdict = put(p, noun, entry, &body, &changed);
	if (verdict != ERR_OK) {
		refuse(p, noun, id, err_sentence(verdict));
		if (is_new)
			entries_free(entries, entry, now_ns);
		return false;
	}
	entries->seen[entry] = p->round;
	p->rows_published += changed;
	return changed;
}

/* Publishes or removes one row. True in *changed if the tables had to change. */
static enum err
publish_id(struct publish *p, enum noun noun, int64_t id, bool may_put, bool may_remove,
	   uint64_t now_ns, bool *changed)
{
	struct statement *statement = p->one[noun];
	uint32_t entry = entries_find(&p->entries[noun], (uint64_t)id);
	enum err verdict = ERR_OK;

	*changed = false;
	store_bind_int64(statement, 1, id);
	switch (store_step(statement)) {
	case STORE_ROW:
		if (may_put)
			*changed = publish_row(p, noun, statement, now_ns);
		break;
	case STORE_DONE:
		if (may_remove && entry != ENTRIES_NONE)
			*changed = remove_entry(p, noun, entry, now_ns);
		break;
	default:
		verdict = store_failed(p->store);
	}
	store_reset(statement);
	return verdict;
}

/* --- reported changes -------------------------------------------------------------------- */

struct change {
	int noun;
	int64_t id;
};

static enum err
read_changes(struct publish *p, struct change *changes, size_t *count, int64_t *seq)
{
	enum store_step step;

	*count = 0;
	store_bind_int64(p->changes, 1, *seq);
	while ((step = store_step(p->changes)) == STORE_ROW) {
		*seq = store_column_int64(p->changes, 0);
		changes[(*count)++] = (struct change){ (int)store_column_int64(p->changes, 1),
						       store_column_int64(p->changes, 2) };
	}
	store_reset(p->changes);
	return step == STORE_DONE ? ERR_OK : store_failed(p->store);
}

static enum err
publish_pass(struct publish *p, const struct change *changes, size_t count, enum noun noun,
	     bool removing, uint64_t now_ns)
{
	for (size_t i = 0; i < count; i++) {
		enum err verdict;
		bool changed;

		if (changes[i].noun != (int)noun || changes[i].id == 0)
			continue;
		verdict = publish_id(p, noun, changes[i].id, !removing, removing, now_ns, &changed);
		if (verdict != ERR_OK)
			return verdict;
	}
	return ERR_OK;
}

enum err
publish_changes(struct publish *p, uint64_t now_ns)
{
	static struct change changes[CHANGES_AT_ONCE];
	size_t count;

	do {
		int64_t seq = p->change_seq;
		enum err verdict = read_changes(p, changes, &count, &seq);

		for (int n = 0; n < NOUN_COUNT && verdict == ERR_OK; n++)
			verdict = publish_pass(p, changes, count, (enum noun)n, false, now_ns);
		for (int n = NOUN_COUNT - 1; n >= 0 && verdict == ERR_OK; n--)
			verdict = publish_pass(p, changes, count, (enum noun)n, true, now_ns);
		if (verdict != ERR_OK)
			return verdict;
		p->change_seq = seq;
	} while (count == CHANGES_AT_ONCE);
	return ERR_OK;
}

/* --- what others spend ------------------------------------------------------------------- */

/* Accounts that another router has spent of within ten seconds by the server's clock. A commit that took longer
 * is found by the reconciliation. Columns as those of accounts. */
static const char spending_sql[] =
	"SELECT id, suspended, credited_nano, spent_nano, coalesce((SELECT spent_nano FROM node_spending s"
	" WHERE s.account_id = accounts.id AND s.node = ?3), 0) FROM accounts WHERE id > ?1 AND id IN"
	" (SELECT account_id FROM node_spending WHERE node <> ?3 AND"
	" at >= CAST(extract(epoch FROM clock_timestamp()) AS BIGINT) - 10) ORDER BY id LIMIT ?2";

enum err
publish_spending(struct publish *p, uint64_t now_ns)
{
	enum store_step step;
	int rows = 0;

	if (p->spending == NULL || now_ns < p->spending_at_ns)
		return ERR_OK;
	store_bind_int64(p->spending, 1, p->spending_after_id);
	store_bind_int64(p->spending, 2, PUBLISH_SLICE_ROWS);
	while ((step = store_step(p->spending)) == STORE_ROW) {
		uint32_t entry;

		p->spending_after_id = store_column_int64(p->spending, 0);
		entry = entries_find(&p->entries[NOUN_ACCOUNT], (uint64_t)p->spending_after_id);
		if (entry != ENTRIES_NONE)
			put_money(shm_balance(&p->shm, entry), p->spending);
		rows++;
	}
	store_reset(p->spending);
	if (step != STORE_DONE)
		return store_failed(p->store);
	if (rows < PUBLISH_SLICE_ROWS) {
		p->spending_after_id = 0;
		p->spending_at_ns = now_ns + PUBLISH_SPENDING_NS;
	}
	return ERR_OK;
}

/* --- reconciliation ---------------------------------------------------------------------- */

static enum err
step_rows(struct publish *p, enum noun noun, uint64_t now_ns)
{
	struct statement *statement = p->next[noun];
	enum store_step step;
	int rows = 0;

	store_bind_int64(statement, 1, p->after_id);
	store_bind_int64(statement, 2, PUBLISH_SLICE_ROWS);
	while ((step = store_step(statement)) == STORE_ROW) {
		p->after_id = store_column_int64(statement, 0);
		p->repaired += publish_row(p, noun, statement, now_ns);
		rows++;
	}
	store_reset(statement);
	if (step != STORE_DONE)
		return store_failed(p->store);
	if (rows < PUBLISH_SLICE_ROWS) {
		p->step++;
		p->after_id = 0;
	}
	return ERR_OK;
}

/* Entries that the round has not met: their rows are gone, unless they came while it ran. */
static enum err
step_sweep(struct publish *p, enum noun noun, uint64_t now_ns)
{
	struct entries *entries = &p->entries[noun];
	int asked = 0;

	for (; p->after_id < entries->fresh; p->after_id++) {
		uint32_t entry = (uint32_t)p->after_id;
		enum err verdict;
		bool changed;

		if (entries->id_of[entry] == 0 || entries->seen[entry] == p->round)
			continue;
		if (asked++ == PUBLISH_SLICE_ROWS)
			return ERR_OK;
		verdict = publish_id(p, noun, (int64_t)entries->id_of[entry], false, true, now_ns,
				     &changed);
		if (verdict != ERR_OK)
			return verdict;
		p->repaired += changed;
	}
	p->step++;
	p->after_id = 0;
	return ERR_OK;
}

/*
 * Reported changes that are published need not be kept. Of several routers each deletes what all that live
 * (node.h) have read; one that was away for longer finds by its reconciliation what it has missed. At most
 * CHANGES_KEPT stay for one that lives and does not read.
 */
static const char forget_own[] = "DELETE FROM changes WHERE seq <= ?1";
static const char forget_shared[] =
	"DELETE FROM changes WHERE seq <= ?1 AND (seq <= ?1 - " CHANGES_KEPT " OR seq <= (SELECT"
	" coalesce(min(change_seq), 0) FROM nodes WHERE"
	" beat_at > CAST(extract(epoch FROM clock_timestamp()) AS BIGINT) - 60))";
static enum err
forget_changes(struct publish *p)
{
	struct statement *statement = store_prepare(p->store, store_is_shared(p->store) ? forget_shared
										    : forget_own);
	enum err verdict;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, p->change_seq);
	verdict = store_run(p->store, statement);
	store_finalize(statement);
	return verdict;
}

static void
begin_round(struct publish *p, uint64_t now_ns)
{
	p->in_round = true;
	p->round++;
	p->step = 0;
	p->after_id = 0;
	p->round_started_at_ns = now_ns;
}

bool
publish_is_due(const struct publish *p, uint64_t now_ns)
{
	return p->in_round || p->rounds == 0 || now_ns - p->round_started_at_ns >= PUBLISH_ROUND_NS;
}

enum err
publish_step(struct publish *p, uint64_t now_ns, bool *more)
{
	enum err verdict;

	*more = false;
	if (!publish_is_due(p, now_ns))
		return ERR_OK;
	if (!p->in_round)
		begin_round(p, now_ns);
	if (p->step < NOUN_COUNT)
		verdict = step_rows(p, (enum noun)p->step, now_ns);
	else
		verdict = step_sweep(p, (enum noun)(2 * NOUN_COUNT - 1 - p->step), now_ns);
	if (verdict != ERR_OK)
		return verdict;
	*more = p->step < 2 * NOUN_COUNT;
	if (*more)
		return ERR_OK;
	for (int n = 0; n < NOUN_COUNT; n++)
		count_refused(&p->refused[n]);
	p->in_round = false;
	p->rounds++;
	p->round_ns = now_ns - p->round_started_at_ns;
	atomic_store(&p->shm.header->reconciled_at_ns, now_ns);
	return forget_changes(p);
}

void
publish_took(struct publish *p, uint64_t slice_ns)
{
	p->busy_ns += slice_ns;
	if (slice_ns > p->slice_ns_max)
		p->slice_ns_max = slice_ns;
	if (!p->in_round) {
		p->round_busy_ns = p->busy_ns;
		p->busy_ns = 0;
	}
}

enum err
publish_all(struct publish *p, uint64_t now_ns)
{
	bool more;

	begin_round(p, now_ns);
	do {
		enum err verdict = publish_step(p, now_ns, &more);

		if (verdict != ERR_OK)
			return verdict;
	} while (more);
	return ERR_OK;
}

/* --- beginning and end ------------------------------------------------------------------- */

static bool
read_back(struct publish *p, enum noun noun, uint64_t now_ns)
{
	uint32_t capacity = p->shm.header->capacity.count[tables[noun]];

	if (!entries_init(&p->entries[noun], capacity))
		return false;
	for (uint32_t entry = 0; entry < capacity; entry++) {
		uint64_t id = live_id(&p->shm, noun, entry);

		if (id != 0 && entries_restore(&p->entries[noun], entry, id))
			continue;
		if (id != 0) {
			union body gone;
			bool changed;

			/* Two entries for one id: a file that something else wrote into. */
			memset(&gone, 0, sizeof(gone));
			CHECK(put(p, noun, entry, &gone, &changed) == ERR_OK);
			LOG_ERROR("entry_twice", LOG_TEXT("noun", noun_name(noun)),
				  LOG_NUMBER("id", id));
		}
		if (shm_is_used(&p->shm, tables[noun], entry))
			entries_rest(&p->entries[noun], entry, now_ns);
	}
	return true;
}

/* The first round takes all rows, and with them whatever was reported until now. */
static enum err
skip_changes(struct publish *p)
{
	struct statement *statement = store_prepare(p->store, "SELECT coalesce(max(seq), 0) FROM changes");
	enum err verdict = ERR_OK;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	if (store_step(statement) == STORE_ROW)
		p->change_seq = store_column_int64(statement, 0);
	else
		verdict = store_failed(p->store);
	store_finalize(statement);
	return verdict;
}

static bool
prepare(struct publish *p, enum noun noun)
{
	char sql[600];

	snprintf(sql, sizeof(sql), "%s WHERE id = ?1", queries[noun]);
	p->one[noun] = store_prepare(p->store, sql);
	snprintf(sql, sizeof(sql), "%s WHERE id > ?1 ORDER BY id LIMIT ?2", queries[noun]);
	p->next[noun] = store_prepare(p->store, sql);
	for (int i = 0; i < 2 && noun == NOUN_ACCOUNT; i++) {
		struct statement *statement = i == 0 ? p->one[noun] : p->next[noun];

		if (statement != NULL)
			store_bind_text(statement, 3, bytes_from_text(p->store->node));
	}
	return p->one[noun] != NULL && p->next[noun] != NULL;
}

enum err
publish_init(struct publish *p, struct store *store, struct shm shm, uint64_t now_ns)
{
	enum err verdict = ERR_OK;

	*p = (struct publish){ .store = store, .shm = shm };
	if (shm_repair(&p->shm) != ERR_OK)
		return ERR_SHM_FULL;
	if (store_is_shared(store)) {
		p->spending = store_prepare(store, spending_sql);
		if (p->spending == NULL)
			return ERR_STORE_FAILED;
		store_bind_text(p->spending, 3, bytes_from_text(store->node));
	}
	p->changes = store_prepare(store, "SELECT seq, kind, id FROM changes WHERE seq > ?1"
					  " ORDER BY seq LIMIT 1000");
	CHECK_STATIC(CHANGES_AT_ONCE == 1000, "as the query says");
	for (int n = 0; n < NOUN_COUNT && verdict == ERR_OK; n++)
		if (!prepare(p, (enum noun)n) || !read_back(p, (enum noun)n, now_ns))
			verdict = ERR_STORE_FAILED;
	if (verdict == ERR_OK && p->changes != NULL)
		verdict = skip_changes(p);
	if (verdict != ERR_OK || p->changes == NULL) {
		publish_fini(p);
		return ERR_STORE_FAILED;
	}
	return ERR_OK;
}

void
publish_fini(struct publish *p)
{
	for (int n = 0; n < NOUN_COUNT; n++) {
		store_finalize(p->one[n]);
		store_finalize(p->next[n]);
		entries_fini(&p->entries[n]);
	}
	store_finalize(p->changes);
	store_finalize(p->spending);
}

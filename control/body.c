/*
 * Rows to bodies. Each noun has one query, used with "id = ?" and with "id > ? ORDER BY id", and one function
 * that makes the body of its row. What a row refers to and cannot be found (its table was full) is SHM_NONE in
 * the body, left out of a list, or reason enough not to publish the row.
 */
#include "body.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/siphash.h"
#include "base/units.h"
#include "pin.h"
#include "shape.h"

#define PLAN_MAX INT64_C(60000000000) /* a minute; beyond it a unit takes no time, which means: no limit */

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
	" between_events_ms, request_ms, hold_tokens, tls_ms"
enum {
	TARGET_PRICE = 2,
	TARGET_DEPLOYMENTS,
	TARGET_ROUTING,
	INSTANCE_ACCOUNT = TARGET_ROUTING + 10,
	INSTANCE_STATE,
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
	[NOUN_POD] = "SELECT id, address, port, host, credential, state, running_usage,"
		     " scheme, tls_name, tls_ca, tls_pin FROM pods",
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
	[NOUN_KEY] = "SELECT id, hash, account_id, plan_id, revoked, surface, CASE WHEN expires_at IS NULL THEN 0"
		     " WHEN expires_at < 1 THEN 1 ELSE expires_at END FROM keys",
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
copy_text(char *to, size_t room, uint16_t *len, struct bytes text)
{
	if (text.len > room)
		return false;
	*len = (uint16_t)text.len;
	if (text.len > 0)
		memcpy(to, text.ptr, text.len);
	return true;
}

static bool
copy_name(struct shm_name *name, struct bytes text)
{
	return copy_text(name->text, sizeof(name->text), &name->len, text);
}

/* As buckets count (limit/bucket.h). */
static void
make_limit(uint64_t per_minute, uint64_t burst, uint64_t *ns_per_unit, uint64_t *burst_units)
{
	*ns_per_unit = per_minute == 0 ? 0 : 60 * NSEC_PER_SEC / per_minute;
	*burst_units = burst == 0 ? per_minute : burst;
}

/* Numbers that the API would not have let in come from somebody's SQL, and some would mean "no limit" here. */
static bool
are_within(struct statement *row, int first, int last, int64_t max)
{
	for (int at = first; at <= last; at++)
		if (store_column_int64(row, at) < 0 || store_column_int64(row, at) > max)
			return false;
	return true;
}

static bool
make_plan(struct shm_plan *plan, struct statement *row)
{
	if (!are_within(row, 1, 4, PLAN_MAX) || !are_within(row, 5, 5, UINT32_MAX) ||
	    !are_within(row, 6, 6, INT64_MAX))
		return false;
	plan->requests_per_minute = (uint64_t)store_column_int64(row, 1);
	make_limit(plan->requests_per_minute, (uint64_t)store_column_int64(row, 2),
		   &plan->request_ns_per_unit, &plan->request_burst_units);
	plan->tokens_per_minute = (uint64_t)store_column_int64(row, 3);
	make_limit(plan->tokens_per_minute, (uint64_t)store_column_int64(row, 4),
		   &plan->token_ns_per_unit, &plan->token_burst_units);
	plan->in_flight_max = (uint32_t)store_column_int64(row, 5);
	plan->body_bytes_max = (uint64_t)store_column_int64(row, 6);
	plan->live = 1;
	return true;
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

/* The host as it was told, not where it was found. */
static void
make_host(struct shm_pod *pod, struct bytes name)
{
	int len = snprintf(pod->host.text, sizeof(pod->host.text), "%.*s:%u", (int)name.len,
			   (const char *)name.ptr, pod->port);

	CHECK_STATIC(SHAPE_ADDRESS_BYTES_MAX + sizeof(":65535") <= sizeof(pod->host.text), "it fits");
	pod->host.len = (uint16_t)len;
}

/* Where its name has been looked up, here or in a life before, the address stays: the store does not have it. */
static bool
make_named(const struct publish *p, struct shm_pod *pod, struct bytes name)
{
	struct siphash_key key = siphash_key_make(p->shm.header->instance_id);
	uint32_t entry = entries_find(&p->entries[NOUN_POD], pod->pod_id);
	struct shm_pod before;

	if (name.len == 0 || name.len > SHAPE_ADDRESS_BYTES_MAX)
		return false;
	pod->name_hash = siphash_2_4(&key, name.ptr, name.len) | 1;
	memset(pod->address, 0, sizeof(pod->address));
	if (pod->host.len == 0)
		make_host(pod, name);
	if (entry != ENTRIES_NONE && shm_read_pod(&p->shm, entry, &before) == ERR_OK &&
	    before.name_hash == pod->name_hash)
		memcpy(pod->address, before.address, sizeof(pod->address));
	return true;
}

static bool
make_tls(struct shm_pod *pod, struct statement *row)
{
	struct bytes name = store_column_text(row, 8);
	struct bytes authority = store_column_text(row, 9);
	int pin_count;

	if (store_column_int64(row, 7) == 0)
		return true;
	if (authority.len >= sizeof(pod->tls.authority.text))
		return false;
	pin_count = pin_parse(store_column_text(row, 10), pod->tls.pins);
	/* Nobody is believed without a reason, whatever somebody's SQL has written. */
	if (pin_count < 0 || (pin_count == 0 && authority.len == 0))
		return false;
	pod->is_tls = 1;
	pod->tls.pin_count = (uint8_t)pin_count;
	pod->tls.authority.len = (uint16_t)authority.len;
	if (authority.len > 0)
		memcpy(pod->tls.authority.text, authority.ptr, authority.len);
	return copy_name(&pod->tls.name, name.len > 0 ? name : store_column_text(row, 1));
}

static bool
make_pod(const struct publish *p, struct shm_pod *pod, struct statement *row)
{
	struct bytes address = store_column_text(row, 1);

	if (!are_within(row, 2, 2, UINT16_MAX) || !are_within(row, 5, 5, SHM_POD_MAINT))
		return false;
	pod->port = (uint16_t)store_column_int64(row, 2);
	pod->state = (uint8_t)store_column_int64(row, 5);
	pod->running_usage = (uint8_t)store_column_int64(row, 6);
	pod->live = 1;
	return copy_name(&pod->host, store_column_text(row, 3)) &&
	       copy_name(&pod->credential, store_column_text(row, 4)) && make_tls(pod, row) &&
	       (make_address(pod->address, address) || make_named(p, pod, address));
}

static bool
make_target(const struct publish *p, struct shm_target *target, struct statement *row)
{
	int at = TARGET_ROUTING;

	CHECK_STATIC(SHM_RETRY_AS_CONFIGURED == 65535, "as the queries say");
	if (!are_within(row, at, at, SHM_POLICY_PREFIX) ||
	    !are_within(row, at + 1, at + 1, SHM_RESEND_NEVER_SENT) ||
	    !are_within(row, at + 2, at + 2, SHM_RETRY_AS_CONFIGURED) ||
	    !are_within(row, at + 3, at + 9, UINT32_MAX))
		return false;
	target->price = refer(p, NOUN_PRICE, store_column_int64(row, TARGET_PRICE));
	target->deployment_count =
		refer_list(p, NOUN_DEPLOYMENT, store_column_text(row, TARGET_DEPLOYMENTS),
			   target->deployments, SHM_TARGET_DEPLOYMENTS_MAX);
	target->policy = (uint8_t)store_column_int64(row, at++);
	target->resend = (uint8_t)store_column_int64(row, at++);
	target->retry_percent = (uint16_t)store_column_int64(row, at++);
	target->connect_ms = (uint32_t)store_column_int64(row, at++);
	target->response_head_ms = (uint32_t)store_column_int64(row, at++);
	target->first_event_ms = (uint32_t)store_column_int64(row, at++);
	target->between_events_ms = (uint32_t)store_column_int64(row, at++);
	target->request_ms = (uint32_t)store_column_int64(row, at++);
	target->hold_tokens = (uint32_t)store_column_int64(row, at++);
	target->tls_ms = (uint32_t)store_column_int64(row, at);
	return true;
}

static void
make_account(struct shm_account *account, struct statement *row)
{
	account->suspended = store_column_int64(row, 1) != 0;
	account->live = 1;
}

static bool
make_price(struct shm_price *price, struct statement *row)
{
	if (!are_within(row, 1, 1, UINT32_MAX) || !are_within(row, 2, 8, INT64_MAX))
		return false;
	price->version = (uint32_t)store_column_int64(row, 1);
	price->input_nano_per_mtoken = (uint64_t)store_column_int64(row, 2);
	price->output_nano_per_mtoken = (uint64_t)store_column_int64(row, 3);
	price->request_nano = (uint64_t)store_column_int64(row, 4);
	price->image_nano = (uint64_t)store_column_int64(row, 5);
	price->second_nano = (uint64_t)store_column_int64(row, 6);
	price->character_nano_per_million = (uint64_t)store_column_int64(row, 7);
	price->byte_nano_per_million = (uint64_t)store_column_int64(row, 8);
	price->live = 1;
	return true;
}

static bool
make_region(struct shm_region *region, struct statement *row)
{
	region->live = 1;
	return copy_text(region->name.text, sizeof(region->name.text), &region->name.len,
			 store_column_text(row, 1));
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
	return make_target(p, &model->target, row) && copy_name(&model->name, store_column_text(row, 1));
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
	return are_within(row, INSTANCE_STATE, INSTANCE_STATE, SHM_INSTANCE_CREDIT_DEPLETED) &&
	       make_target(p, &instance->target, row) && instance->account != SHM_NONE &&
	       copy_name(&instance->name, store_column_text(row, 1));
}

/* The latest that the table holds: 2106. */
static uint32_t
column_end_s(struct statement *row, int at)
{
	int64_t value = store_column_int64(row, at);

	return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static bool
make_key(const struct publish *p, struct shm_key *key, struct statement *row)
{
	struct bytes hash = store_column_blob(row, 1);

	if (hash.len != sizeof(key->hash) || !are_within(row, 5, 5, SHM_SURFACE_COUNT - 1))
		return false;
	memcpy(key->hash, hash.ptr, sizeof(key->hash));
	key->account = refer(p, NOUN_ACCOUNT, store_column_int64(row, 2));
	key->plan = refer(p, NOUN_PLAN, store_column_int64(row, 3));
	key->revoked = store_column_int64(row, 4) != 0;
	key->surface = (uint8_t)store_column_int64(row, 5);
	key->expires_at_s = column_end_s(row, 6);
	key->live = 1;
	return key->account != SHM_NONE && key->plan != SHM_NONE;
}

bool
body_make(const struct publish *p, enum noun noun, struct statement *row, union body *body)
{
	uint64_t id = (uint64_t)store_column_int64(row, 0);

	switch (noun) {
	case NOUN_ACCOUNT:
		body->account.account_id = id;
		make_account(&body->account, row);
		return true;
	case NOUN_PLAN:
		body->plan.plan_id = id;
		return make_plan(&body->plan, row);
	case NOUN_PRICE:
		body->price.price_id = id;
		return make_price(&body->price, row);
	case NOUN_REGION:
		body->region.region_id = id;
		return make_region(&body->region, row);
	case NOUN_POD:
		body->pod.pod_id = id;
		return make_pod(p, &body->pod, row);
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

enum err
body_put(struct publish *p, enum noun noun, uint32_t entry, const union body *body, bool *changed)
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

uint64_t
body_live_id(const struct shm *shm, enum noun noun, uint32_t entry)
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

/* --- queries -------------------------------------------------------------------------------- */

enum shm_section
body_table(enum noun noun)
{
	return tables[noun];
}

const char *
body_query(enum noun noun)
{
	return queries[noun];
}

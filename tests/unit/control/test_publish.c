/* The tables say what the store says: each change alone, and everything after a restart. */
#include <arpa/inet.h>

#include "shm/balance.h"
#include "pin.h"
#include "world.h"

static const struct shm *
tables(const struct world *w)
{
	return &w->control.publish.shm;
}

static uint64_t
generation(const struct world *w)
{
	return atomic_load(&tables(w)->header->generation);
}

/* One of everything. */
static void
make_catalogue(struct world *w)
{
	static const uint8_t hash[32] = "any thirty-two bytes, as a hash";

	world_put(w, NOUN_ACCOUNT, "demo", "{}");
	world_put(w, NOUN_PLAN, "std", "{\"requests_per_minute\":200}");
	world_put(w, NOUN_PRICE, "small",
		  "{\"input_nano_per_mtoken\":5,\"output_nano_per_mtoken\":9,\"request_nano\":1,"
		  "\"image_nano\":2,\"second_nano\":3,\"character_nano_per_million\":4,"
		  "\"byte_nano_per_million\":6}");
	world_put(w, NOUN_REGION, "mv", "{}");
	world_put(w, NOUN_REGION, "fra", "{}");
	world_put(w, NOUN_POD, "p1", "{\"address\":\"10.0.0.1\",\"port\":8000}");
	world_put(w, NOUN_POD, "p2", "{\"address\":\"fd00::2\",\"port\":8001,\"host\":\"gpu\"}");
	world_put(w, NOUN_MODEL, "llama", "{\"price\":\"small\"}");
	world_put(w, NOUN_ALIAS, "l", "{\"model\":\"llama\"}");
	world_put(w, NOUN_INSTANCE, "", "{\"name\":\"my-llama\",\"account\":\"demo\"}");
	world_put(w, NOUN_DEPLOYMENT, "far",
		  "{\"model\":\"llama\",\"region\":\"fra\",\"position\":1,\"pods\":[\"p2\"]}");
	world_put(w, NOUN_DEPLOYMENT, "near",
		  "{\"model\":\"llama\",\"region\":\"mv\",\"pods\":[\"p2\",\"p1\"],"
		  "\"served_name\":\"l-8b\",\"base_path\":\"/142\"}");
	world_sql_blob(w, "INSERT INTO keys(hash, prefix, surface, account_id, plan_id) VALUES"
			  " (?1, 'eco_', 0, 1, 1)", bytes_make(hash, sizeof(hash)));
	assert_int_equal(publish_changes(&w->control.publish, w->now_ns), ERR_OK);
}

static struct shm_model
find_model(const struct world *w, const char *name)
{
	struct shm_model model;
	uint32_t entry;

	assert_int_equal(shm_find_model(tables(w), bytes_from_text(name), &model, &entry), ERR_OK);
	return model;
}

static bool
has_model(const struct world *w, const char *name)
{
	struct shm_model model;
	uint32_t entry;

	return shm_find_model(tables(w), bytes_from_text(name), &model, &entry) == ERR_OK;
}

static void
a_model_leads_to_price_regions_and_pods(void **state)
{
	static const uint8_t p1[16] = { [10] = 0xff, [11] = 0xff, 10, 0, 0, 1 };
	struct world *w = world_make();
	struct shm_deployment near;
	struct shm_region region;
	struct shm_model model;
	struct shm_price price;
	struct shm_pod pod;
	uint8_t p2[16];

	(void)state;
	make_catalogue(w);
	model = find_model(w, "l");
	assert_int_equal(model.model_id, 1);
	assert_int_equal(shm_read_price(tables(w), model.target.price, &price), ERR_OK);
	assert_int_equal(price.input_nano_per_mtoken, 5);
	assert_int_equal(price.version, 1);
	assert_int_equal(price.output_nano_per_mtoken, 9);
	assert_int_equal(price.request_nano, 1);
	assert_int_equal(price.image_nano, 2);
	assert_int_equal(price.second_nano, 3);
	assert_int_equal(price.character_nano_per_million, 4);
	assert_int_equal(price.byte_nano_per_million, 6);
	assert_int_equal(model.target.deployment_count, 2);
	assert_int_equal(shm_read_deployment(tables(w), model.target.deployments[0], &near), ERR_OK);
	assert_int_equal(shm_read_region(tables(w), near.region, &region), ERR_OK);
	assert_true(bytes_equal(shm_short_name_bytes(&region.name), BYTES_LITERAL("mv")));
	assert_true(bytes_equal(shm_name_bytes(&near.served_name), BYTES_LITERAL("l-8b")));
	assert_true(bytes_equal(shm_name_bytes(&near.base_path), BYTES_LITERAL("/142")));
	assert_int_equal(near.pod_count, 2); /* in the order given */
	assert_int_equal(shm_read_pod(tables(w), near.pods[0], &pod), ERR_OK);
	inet_pton(AF_INET6, "fd00::2", p2);
	assert_memory_equal(pod.address, p2, 16);
	assert_int_equal(pod.port, 8001);
	assert_true(bytes_equal(shm_name_bytes(&pod.host), BYTES_LITERAL("gpu")));
	assert_int_equal(shm_read_pod(tables(w), near.pods[1], &pod), ERR_OK);
	assert_memory_equal(pod.address, p1, 16);
	world_free(w);
}

static struct shm_pod
find_pod(struct world *w, const char *deployment_model)
{
	struct shm_model model = find_model(w, deployment_model);
	struct shm_deployment deployment;
	struct shm_pod pod;

	assert_int_equal(shm_read_deployment(tables(w), model.target.deployments[0], &deployment), ERR_OK);
	assert_int_equal(shm_read_pod(tables(w), deployment.pods[0], &pod), ERR_OK);
	return pod;
}

#define PIN "sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static void
a_pod_says_whom_it_must_be(void **state)
{
	struct world *w = world_make();
	struct shm_pod pod;
	const char *name;
	char body[512];

	(void)state;
	make_catalogue(w);
	pod = find_pod(w, "llama");
	assert_false(pod.is_tls);
	name = pod.port == 8001 ? "p2" : "p1";
	snprintf(body, sizeof(body),
		 "{\"scheme\":\"https\",\"tls_ca\":\"ours\",\"tls_name\":\"a.test\","
		 "\"tls_pin\":\"" PIN ";" PIN "\"}");
	world_put(w, NOUN_POD, name, body);
	pod = find_pod(w, "llama");
	assert_true(pod.is_tls);
	assert_true(bytes_equal(bytes_make(pod.tls.authority.text, pod.tls.authority.len), BYTES_LITERAL("ours")));
	assert_true(bytes_equal(shm_name_bytes(&pod.tls.name), BYTES_LITERAL("a.test")));
	assert_int_equal(pod.tls.pin_count, 2);
	for (int i = 0; i < 32; i++)
		assert_int_equal(pod.tls.pins[1][i], i);
	/* Without a name of its own it is where it is. */
	world_put(w, NOUN_POD, name, "{\"tls_name\":\"\",\"tls_pin\":\"\"}");
	pod = find_pod(w, "llama");
	assert_int_equal(pod.tls.pin_count, 0);
	assert_true(pod.tls.name.len > 0);
	world_put(w, NOUN_POD, name, "{\"scheme\":\"http\",\"tls_ca\":\"\"}");
	pod = find_pod(w, "llama");
	assert_false(pod.is_tls);
	assert_int_equal(pod.tls.name.len, 0);
	world_free(w);
}

static void
pins_have_one_text(void **state)
{
	static const char *const wrong[] = {
		"sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
		PIN ";", ";" PIN, PIN PIN, PIN ";" PIN ";" PIN,
		"sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
		/* The last digit has bits behind the last byte. */
		"sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=",
		"sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh_=", "sha256//",
	};
	uint8_t pins[SHM_POD_PINS_MAX][32];

	(void)state;
	assert_int_equal(pin_parse(BYTES_NONE, pins), 0);
	assert_int_equal(pin_parse(BYTES_LITERAL(PIN), pins), 1);
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		assert_int_equal(pin_parse(bytes_from_text(wrong[i]), pins), -1);
}

static void
a_target_says_how_it_is_routed(void **state)
{
	struct world *w = world_make();
	struct shm_instance instance;
	struct shm_target target;
	uint32_t entry;

	(void)state;
	make_catalogue(w);
	target = find_model(w, "llama").target;
	assert_int_equal(target.policy, SHM_POLICY_ROUND_ROBIN);
	assert_int_equal(target.resend, SHM_RESEND_UNTIL_FIRST_BYTE);
	assert_int_equal(target.retry_percent, SHM_RETRY_AS_CONFIGURED);
	assert_int_equal(target.connect_ms, 0);
	assert_int_equal(target.hold_tokens, 0);
	world_put(w, NOUN_MODEL, "llama",
		  "{\"policy\":\"prefix\",\"resend\":\"never-sent\",\"retry_percent\":0,\"connect_ms\":1,"
		  "\"response_head_ms\":2,\"first_event_ms\":3,\"between_events_ms\":4,\"request_ms\":5,"
		  "\"hold_tokens\":6,\"tls_ms\":7}");
	target = find_model(w, "llama").target;
	assert_int_equal(target.policy, SHM_POLICY_PREFIX);
	assert_int_equal(target.resend, SHM_RESEND_NEVER_SENT);
	assert_int_equal(target.retry_percent, 0);
	assert_int_equal(target.connect_ms, 1);
	assert_int_equal(target.response_head_ms, 2);
	assert_int_equal(target.first_event_ms, 3);
	assert_int_equal(target.between_events_ms, 4);
	assert_int_equal(target.request_ms, 5);
	assert_int_equal(target.hold_tokens, 6);
	assert_int_equal(target.tls_ms, 7);
	world_put(w, NOUN_MODEL, "llama", "{\"retry_percent\":null}");
	assert_int_equal(find_model(w, "llama").target.retry_percent, SHM_RETRY_AS_CONFIGURED);
	assert_int_equal(find_model(w, "llama").target.deployment_count, 2);
	world_sql(w, "UPDATE instances SET policy = 1, request_ms = 7, hold_tokens = 8");
	assert_int_equal(publish_changes(&w->control.publish, w->now_ns), ERR_OK);
	assert_int_equal(shm_find_instance(tables(w), 1, &instance, &entry), ERR_OK);
	assert_int_equal(instance.target.policy, SHM_POLICY_LEAST_LOADED);
	assert_int_equal(instance.target.request_ms, 7);
	assert_int_equal(instance.target.hold_tokens, 8);
	assert_int_equal(instance.state, SHM_INSTANCE_RUNNING);
	world_free(w);
}

static void
a_plan_becomes_nanoseconds_per_request(void **state)
{
	struct world *w = world_make();
	struct shm_plan plan;

	(void)state;
	make_catalogue(w);
	assert_int_equal(shm_read_plan(tables(w), 0, &plan), ERR_OK);
	assert_int_equal(plan.requests_per_minute, 200);
	assert_int_equal(plan.request_ns_per_unit, 300 * NSEC_PER_MSEC);
	assert_int_equal(plan.request_burst_units, 200);
	world_put(w, NOUN_PLAN, "std", "{\"burst\":10}");
	shm_read_plan(tables(w), 0, &plan);
	assert_int_equal(plan.request_burst_units, 10);
	world_put(w, NOUN_PLAN, "std", "{\"requests_per_minute\":0}");
	shm_read_plan(tables(w), 0, &plan);
	assert_int_equal(plan.request_ns_per_unit, 0); /* no limit */
	assert_int_equal(plan.token_ns_per_unit, 0);
	assert_int_equal(plan.in_flight_max, 0);
	assert_int_equal(plan.body_bytes_max, 0);
	world_put(w, NOUN_PLAN, "std", "{\"tokens_per_minute\":60000,\"concurrent_requests\":4}");
	shm_read_plan(tables(w), 0, &plan);
	assert_int_equal(plan.tokens_per_minute, 60000);
	assert_int_equal(plan.token_ns_per_unit, NSEC_PER_MSEC);
	assert_int_equal(plan.token_burst_units, 60000);
	assert_int_equal(plan.in_flight_max, 4);
	world_put(w, NOUN_PLAN, "std", "{\"body_bytes\":65536}");
	shm_read_plan(tables(w), 0, &plan);
	assert_int_equal(plan.body_bytes_max, 65536);
	assert_int_equal(plan.in_flight_max, 4);
	world_put(w, NOUN_PLAN, "std", "{\"token_burst\":1000}");
	shm_read_plan(tables(w), 0, &plan);
	assert_int_equal(plan.token_burst_units, 1000);
	world_free(w);
}

static void
one_change_touches_one_entry(void **state)
{
	struct world *w = world_make();
	uint64_t before;

	(void)state;
	make_catalogue(w);
	before = generation(w);
	world_put(w, NOUN_PRICE, "small", "{\"output_nano_per_mtoken\":10}");
	assert_int_equal(generation(w), before + 1);
	world_put(w, NOUN_PRICE, "small", "{\"output_nano_per_mtoken\":10}");
	assert_int_equal(generation(w), before + 1);
	assert_int_equal(publish_all(&w->control.publish, w->now_ns), ERR_OK);
	assert_int_equal(generation(w), before + 1); /* nothing to repair */
	assert_int_equal(w->control.publish.repaired, 0);
	world_free(w);
}

static void
a_deleted_deployment_leaves_its_model_before_it_goes(void **state)
{
	struct world *w = world_make();

	(void)state;
	make_catalogue(w);
	assert_int_equal(noun_delete(&w->control.store, NOUN_DEPLOYMENT, 2), ERR_OK);
	control_publish(&w->control);
	assert_int_equal(find_model(w, "llama").target.deployment_count, 1);
	/* A model with deployments or aliases stays. */
	assert_int_equal(noun_delete(&w->control.store, NOUN_MODEL, 1), ERR_STORE_CONFLICT);
	assert_int_equal(noun_delete(&w->control.store, NOUN_DEPLOYMENT, 1), ERR_OK);
	assert_int_equal(noun_delete(&w->control.store, NOUN_ALIAS, 1), ERR_OK);
	assert_int_equal(noun_delete(&w->control.store, NOUN_MODEL, 1), ERR_OK);
	assert_int_equal(noun_delete(&w->control.store, NOUN_MODEL, 1), ERR_STORE_NOT_FOUND);
	control_publish(&w->control);
	assert_false(has_model(w, "llama"));
	assert_false(has_model(w, "l"));
	world_free(w);
}

static void
a_deleted_pod_leaves_its_deployments(void **state)
{
	struct world *w = world_make();
	struct shm_deployment near;

	(void)state;
	make_catalogue(w);
	world_sql(w, "DELETE FROM pods WHERE id = 2"); /* an operator with an SQL shell; the API refuses it */
	control_publish(&w->control);
	shm_read_deployment(tables(w), find_model(w, "l").target.deployments[0], &near);
	assert_int_equal(near.pod_count, 1);
	world_free(w);
}

static void
a_revoked_key_is_published_as_such(void **state)
{
	struct world *w = world_make();
	struct shm_key key;

	(void)state;
	make_catalogue(w);
	assert_int_equal(shm_read_key(tables(w), 0, &key), ERR_OK);
	assert_int_equal(key.revoked, 0);
	world_sql(w, "UPDATE keys SET revoked = 1"); /* an operator with an SQL shell */
	control_publish(&w->control);
	assert_int_equal(shm_read_key(tables(w), 0, &key), ERR_OK);
	assert_int_equal(key.revoked, 1);
	assert_int_equal(key.expires_at_s, 0);
	world_sql(w, "UPDATE keys SET expires_at = 1900000000");
	control_publish(&w->control);
	assert_int_equal(shm_read_key(tables(w), 0, &key), ERR_OK);
	assert_int_equal(key.expires_at_s, 1900000000);
	world_sql(w, "UPDATE keys SET expires_at = -1"); /* has passed; 0 would be never */
	control_publish(&w->control);
	assert_int_equal(shm_read_key(tables(w), 0, &key), ERR_OK);
	assert_int_equal(key.expires_at_s, 1);
	world_sql(w, "UPDATE keys SET expires_at = 4294967296");
	control_publish(&w->control);
	assert_int_equal(shm_read_key(tables(w), 0, &key), ERR_OK);
	assert_int_equal(key.expires_at_s, UINT32_MAX);
	world_sql(w, "DELETE FROM keys");
	control_publish(&w->control);
	assert_int_equal(shm_read_key(tables(w), 0, &key), ERR_SHM_NOT_FOUND);
	world_free(w);
}

static void
money_put_in_shows_in_the_cell_and_workers_debits_stay(void **state)
{
	struct world *w = world_make();
	struct shm_balance_cell *cell = shm_balance(tables(w), 0);
	bool credited;

	(void)state;
	make_catalogue(w);
	assert_int_equal(store_top_up(&w->control.store, 1, 1000, "r", &credited), ERR_OK);
	control_publish(&w->control);
	assert_int_equal(balance_available_nano(cell), 1000);
	atomic_fetch_add(&cell->spent_nano, 300); /* a worker settles */
	/* The ledger learns of it later, and must not take it twice. */
	world_sql(w, "UPDATE accounts SET spent_nano = spent_nano + 300;"
		     "INSERT INTO node_spending(node, account_id, spent_nano) VALUES ('test', 1, 300)");
	control_publish(&w->control);
	assert_int_equal(balance_available_nano(cell), 700);
	store_top_up(&w->control.store, 1, 50, "", &credited);
	control_publish(&w->control);
	assert_int_equal(balance_available_nano(cell), 750);
	/* Control dies, perhaps between the commit and the cell, and comes back. */
	world_restart(w);
	assert_int_equal(balance_available_nano(cell), 750);
	world_free(w);
}

static void
new_tables_get_their_balances_from_the_store(void **state)
{
	struct world *w = world_make();
	bool credited;

	(void)state;
	make_catalogue(w);
	store_top_up(&w->control.store, 1, 1000, "", &credited);
	world_sql(w, "UPDATE accounts SET spent_nano = 400;"
		     "INSERT INTO node_spending(node, account_id, spent_nano) VALUES"
		     " ('test', 1, 300), ('other', 1, 100)");
	free(w->control.share.shm.header); /* a reboot: /dev/shm is empty */
	world_make_shm(w);
	world_restart(w);
	assert_int_equal(balance_available_nano(shm_balance(tables(w), 0)), 600);
	assert_int_equal(atomic_load(&shm_balance(tables(w), 0)->spent_nano), 300);
	assert_int_equal(atomic_load(&shm_balance(tables(w), 0)->elsewhere_nano), 100);
	world_free(w);
}

static void
coming_back_keeps_entries_and_publishes_only_differences(void **state)
{
	struct world *w = world_make();
	struct shm_model before, after;
	uint64_t old_generation;

	(void)state;
	make_catalogue(w);
	before = find_model(w, "llama");
	old_generation = generation(w);
	world_restart(w);
	assert_int_equal(generation(w), old_generation);
	after = find_model(w, "llama");
	assert_memory_equal(&before, &after, sizeof(before));

	/* While control was away: one row came, one went, one changed. */
	publish_fini(&w->control.publish);
	world_sql(w, "INSERT INTO models(name) VALUES ('new'); DELETE FROM aliases;"
		     "UPDATE prices SET input_nano_per_mtoken = 6; DELETE FROM changes");
	world_attach(w);
	assert_int_equal(generation(w), old_generation + 3);
	assert_true(has_model(w, "new"));
	assert_false(has_model(w, "l"));
	world_free(w);
}

static void
the_reconciliation_finds_what_nobody_reported(void **state)
{
	struct world *w = world_make();
	bool more = true;

	(void)state;
	make_catalogue(w);
	world_sql(w, "UPDATE models SET name = 'renamed'; INSERT INTO models(name) VALUES ('n');"
		     "DELETE FROM aliases; DELETE FROM changes");
	assert_true(has_model(w, "llama"));
	assert_int_equal(publish_step(&w->control.publish, w->now_ns + 1, &more), ERR_OK);
	assert_false(more); /* not yet time */
	w->now_ns += PUBLISH_ROUND_NS;
	do {
		assert_int_equal(publish_step(&w->control.publish, w->now_ns, &more), ERR_OK);
	} while (more);
	assert_true(has_model(w, "renamed"));
	assert_true(has_model(w, "n"));
	assert_false(has_model(w, "llama"));
	assert_false(has_model(w, "l"));
	assert_int_equal(w->control.publish.repaired, 3);
	assert_int_equal(atomic_load(&tables(w)->header->reconciled_at_ns), w->now_ns);
	world_free(w);
}

/* Nobody has changed a row: what differs has happened to the memory (F7). */
static void
a_round_puts_right_what_the_tables_say_wrongly(void **state)
{
	struct world *w = world_make();
	struct shm *shm = &w->control.publish.shm;
	struct shm_model model, before;
	struct shm_price price;
	struct shm_key key;
	bool changed;

	(void)state;
	make_catalogue(w);
	before = model = find_model(w, "llama");
	model.target.price = 7;
	assert_int_equal(shm_put_model(shm, 0, &model, &changed), ERR_OK);
	assert_int_equal(shm_read_price(shm, 0, &price), ERR_OK);
	price.output_nano_per_mtoken ^= UINT64_C(1) << 40;
	assert_int_equal(shm_put_price(shm, 0, &price, &changed), ERR_OK);
	assert_int_equal(shm_read_key(shm, 0, &key), ERR_OK);
	key.account ^= 2;
	assert_int_equal(shm_put_key(shm, 0, &key, &changed), ERR_OK);
	assert_int_equal(publish_all(&w->control.publish, w->now_ns), ERR_OK);
	assert_int_equal(w->control.publish.repaired, 3);
	model = find_model(w, "llama");
	assert_memory_equal(&model, &before, sizeof(model));
	assert_int_equal(shm_read_price(shm, 0, &price), ERR_OK);
	assert_int_equal(price.output_nano_per_mtoken, 9);
	assert_int_equal(shm_read_key(shm, 0, &key), ERR_OK);
	assert_int_equal(key.account, 0);
	world_free(w);
}

static void
a_full_table_refuses_the_row_and_tells(void **state)
{
	struct world *w = world_make();
	char name[16], why[PUBLISH_WHY_BYTES];

	(void)state;
	for (int i = 0; i < 9; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		world_put(w, NOUN_MODEL, name, "{}");
		assert_int_equal(has_model(w, name), i < 8);
		assert_int_equal(publish_has_room(&w->control.publish, NOUN_MODEL, w->now_ns, why), i < 7);
	}
	assert_non_null(strstr(why, "8 of 8 entries are in use, 0 rest"));
	assert_non_null(strstr(why, "capacity.models"));
	assert_int_equal(w->control.publish.rows_refused, 1);
	assert_int_equal(publish_all(&w->control.publish, w->now_ns), ERR_OK);
	assert_int_equal(w->control.publish.refused[NOUN_MODEL].rows, 1);
	assert_true(w->control.publish.refused[NOUN_MODEL].told_full);
	/* Room comes with a deletion, once no worker can remember the entry. */
	world_sql(w, "DELETE FROM models WHERE name = 'm0'");
	control_publish(&w->control);
	assert_int_equal(publish_all(&w->control.publish, w->now_ns), ERR_OK);
	assert_false(has_model(w, "m8"));
	assert_false(publish_has_room(&w->control.publish, NOUN_MODEL, w->now_ns, why));
	assert_non_null(strstr(why, "7 of 8 entries are in use, 1 rest"));
	assert_int_equal(publish_all(&w->control.publish, w->now_ns + ENTRIES_REST_NS), ERR_OK);
	assert_true(has_model(w, "m8"));
	assert_int_equal(w->control.publish.refused[NOUN_MODEL].rows, 0);
	assert_false(w->control.publish.refused[NOUN_MODEL].told_full);
	world_free(w);
}

/* A request may remember an entry for as long as it runs, whoever restarts meanwhile. */
static void
entries_rest_across_a_restart(void **state)
{
	struct world *w = world_make();
	char name[16];

	(void)state;
	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		world_put(w, NOUN_MODEL, name, "{}");
	}
	world_sql(w, "DELETE FROM models WHERE name IN ('m0', 'm3', 'm7')"); /* at both ends, and in between */
	control_publish(&w->control);
	world_restart(w);
	assert_int_equal(w->control.publish.entries[NOUN_MODEL].count, 5);
	for (int i = 8; i < 11; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		world_put(w, NOUN_MODEL, name, "{}");
		assert_false(has_model(w, name));
	}
	assert_int_equal(publish_all(&w->control.publish, w->now_ns + ENTRIES_REST_NS - 1), ERR_OK);
	assert_int_equal(w->control.publish.entries[NOUN_MODEL].count, 5);
	assert_int_equal(publish_all(&w->control.publish, w->now_ns + ENTRIES_REST_NS), ERR_OK);
	assert_int_equal(w->control.publish.entries[NOUN_MODEL].count, 8);
	assert_true(has_model(w, "m8") && has_model(w, "m9") && has_model(w, "m10"));
	world_free(w);
}

static void
a_thousand_reported_changes_are_published_in_one_call(void **state)
{
	struct world *w = world_make();
	struct shm_key key;

	(void)state;
	make_catalogue(w);
	world_sql(w, "BEGIN"); /* one commit: each is a write to the disk */
	for (int i = 0; i < 2500; i++)
		world_sql(w, i % 2 ? "UPDATE keys SET revoked = 0" : "UPDATE keys SET revoked = 1");
	world_sql(w, "UPDATE keys SET surface = 1; COMMIT");
	control_publish(&w->control);
	assert_int_equal(shm_read_key(tables(w), 0, &key), ERR_OK);
	assert_int_equal(key.surface, 1);
	assert_int_equal(key.revoked, 0);
	world_free(w);
}

/* A slice at a time, however many there are; those that are not published yet stay. */
static void
changes_are_forgotten_in_slices(void **state)
{
	int64_t many = 3 * PUBLISH_SLICE_ROWS + 7, left, before;
	struct world *w = world_make();
	bool more = true;
	char sql[200];
	int slices = 0;

	(void)state;
	make_catalogue(w);
	/* Numbers have holes: transactions that were rolled back took them. */
	snprintf(sql, sizeof(sql), "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %lld)"
				   " INSERT INTO changes(seq, kind, id) SELECT 1000 + 2 * i, 0, 0 FROM n",
		 (long long)many);
	world_sql(w, sql);
	assert_int_equal(publish_changes(&w->control.publish, w->now_ns), ERR_OK);
	assert_int_equal(w->control.publish.change_seq, 1000 + 2 * many);
	if (world_is_postgres()) /* what all that live have read; here it is one, which has read all */
		world_sql(w, "INSERT INTO nodes(name, id, beat_at, change_seq) VALUES ('one', 'one',"
			     " CAST(extract(epoch FROM clock_timestamp()) AS BIGINT), 1000000)");
	world_sql(w, "INSERT INTO changes(seq, kind, id) VALUES (100000, 0, 0)");
	w->now_ns += PUBLISH_ROUND_NS;
	for (left = world_number(w, "SELECT count(*) FROM changes"); more; left = before) {
		assert_int_equal(publish_step(&w->control.publish, w->now_ns, &more), ERR_OK);
		before = world_number(w, "SELECT count(*) FROM changes");
		assert_true(left - before <= PUBLISH_SLICE_ROWS);
		slices += before < left;
		assert_true(more == publish_is_due(&w->control.publish, w->now_ns));
	}
	assert_in_range(slices, 6, 8);
	assert_int_equal(world_number(w, "SELECT min(seq) FROM changes"), 100000);
	assert_int_equal(w->control.publish.rounds, 2);
	/* A file that cannot be written stops no round. A server that refuses is taken for one that is away. */
	if (!world_is_postgres())
		world_sql(w, "PRAGMA query_only = ON");
	for (uint64_t rounds = 3; rounds < 5 && !world_is_postgres(); rounds++) {
		w->now_ns += PUBLISH_ROUND_NS;
		while (publish_step(&w->control.publish, w->now_ns, &more) == ERR_OK)
			assert_true(more);
		assert_false(publish_is_due(&w->control.publish, w->now_ns));
		assert_int_equal(w->control.publish.rounds, rounds);
	}
	world_free(w);
}

static uint32_t moves;

static void
note_move(void *owner, uint32_t entry)
{
	(void)entry;
	assert_ptr_equal(owner, &moves);
	moves++;
}

static void
blame(struct shm_pod_health *health)
{
	atomic_store(&health->probe_state, SHM_PROBE_DOWN);
	atomic_store(&health->gauges_until_ns, UINT64_MAX);
	atomic_store(&health->eject_errors, 2);
	atomic_store(&health->eject_row, 3);
	atomic_store(&health->eject_until_ns, UINT64_MAX);
	atomic_store(&health->busy_until_ns, UINT64_MAX);
	atomic_store(&health->in_flight, 5);
}

static bool
is_blamed(struct shm_pod_health *health)
{
	bool is = atomic_load(&health->probe_state) != SHM_PROBE_UNKNOWN;

	assert_int_equal(atomic_load(&health->eject_errors) != 0, is);
	assert_int_equal(atomic_load(&health->eject_row) != 0, is);
	assert_int_equal(atomic_load(&health->eject_until_ns) != 0, is);
	assert_int_equal(atomic_load(&health->busy_until_ns) != 0, is);
	assert_int_equal(atomic_load(&health->gauges_until_ns) != 0, is);
	assert_int_equal(atomic_load(&health->in_flight), 5); /* they are there still */
	return is;
}

/* What was known of its health was of another place; everything else that changes says nothing about that. */
static void
a_pod_that_is_set_elsewhere_begins_anew(void **state)
{
	static const struct {
		const char *json;
		bool moves;
	} changes[] = {
		{ "{\"host\":\"gpu\"}", false },	 { "{\"state\":\"drain\"}", false },
		{ "{\"address\":\"10.0.0.1\"}", false }, { "{\"address\":\"10.0.0.2\"}", true },
		{ "{\"port\":81}", true },		 { "{\"port\":81,\"running_usage\":true}", false },
		{ "{\"address\":\"fd00::1\"}", true },
	};
	struct world *w = world_make();
	struct shm_pod_health *health = shm_pod_health(&w->control.publish.shm, 0);

	(void)state;
	w->control.publish.moved = note_move;
	w->control.publish.moved_owner = &moves;
	moves = 0;
	world_put(w, NOUN_POD, "gpu", "{\"address\":\"10.0.0.1\",\"port\":80}");
	assert_int_equal(moves, 0);
	for (size_t i = 0; i < COUNT_OF(changes); i++) {
		blame(health);
		moves = 0;
		world_put(w, NOUN_POD, "gpu", changes[i].json);
		if (is_blamed(health) == changes[i].moves || (moves == 1) != changes[i].moves)
			fail_msg("%s: %u moves", changes[i].json, moves);
	}
	world_free(w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_model_leads_to_price_regions_and_pods),
		cmocka_unit_test(a_pod_says_whom_it_must_be),
		cmocka_unit_test(pins_have_one_text),
		cmocka_unit_test(a_target_says_how_it_is_routed),
		cmocka_unit_test(a_plan_becomes_nanoseconds_per_request),
		cmocka_unit_test(one_change_touches_one_entry),
		cmocka_unit_test(a_deleted_deployment_leaves_its_model_before_it_goes),
		cmocka_unit_test(a_deleted_pod_leaves_its_deployments),
		cmocka_unit_test(a_revoked_key_is_published_as_such),
		cmocka_unit_test(money_put_in_shows_in_the_cell_and_workers_debits_stay),
		cmocka_unit_test(new_tables_get_their_balances_from_the_store),
		cmocka_unit_test(coming_back_keeps_entries_and_publishes_only_differences),
		cmocka_unit_test(the_reconciliation_finds_what_nobody_reported),
		cmocka_unit_test(a_round_puts_right_what_the_tables_say_wrongly),
		cmocka_unit_test(a_full_table_refuses_the_row_and_tells),
		cmocka_unit_test(entries_rest_across_a_restart),
		cmocka_unit_test(a_thousand_reported_changes_are_published_in_one_call),
		cmocka_unit_test(changes_are_forgotten_in_slices),
		cmocka_unit_test(a_pod_that_is_set_elsewhere_begins_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

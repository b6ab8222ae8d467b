/*
 * What an entry refers to is there as long as it is, whatever is published or removed with it (rule 6 of lib/shm).
 *
 * The two files that decide about the order are built into this test, which looks before each row of theirs: a
 * worker does at any moment, and control may die there.
 */
#include "row.h"
#include "world.h"

static enum err look_and_publish(struct publish *p, enum noun noun, int64_t id, bool may_put, bool may_remove,
				 uint64_t now_ns, bool *changed);
static bool look_and_publish_row(struct publish *p, enum noun noun, struct statement *row, uint64_t now_ns);

#define row_publish_id look_and_publish
#define row_publish look_and_publish_row
#include "../../../control/publish.c"
#include "../../../control/round.c"
#undef row_publish_id
#undef row_publish

static uint32_t looks;

static void
check_target(const struct shm *shm, const struct shm_target *target)
{
	struct shm_deployment deployment;
	struct shm_price price;

	if (target->price != SHM_NONE)
		assert_int_equal(shm_read_price(shm, target->price, &price), ERR_OK);
	for (uint32_t i = 0; i < target->deployment_count; i++)
		assert_int_equal(shm_read_deployment(shm, target->deployments[i], &deployment), ERR_OK);
}

static void
check_deployment(const struct shm *shm, const struct shm_deployment *deployment)
{
	struct shm_region region;
	struct shm_pod pod;

	assert_int_equal(shm_read_region(shm, deployment->region, &region), ERR_OK);
	for (uint32_t i = 0; i < deployment->pod_count; i++)
		assert_int_equal(shm_read_pod(shm, deployment->pods[i], &pod), ERR_OK);
}

/* Everything that is live, and what it leads to; how much that is. */
static uint32_t
check_references(const struct shm *shm)
{
	const uint32_t *count = shm->header->capacity.count;
	uint32_t live = 0;

	for (uint32_t e = 0; e < count[SHM_DEPLOYMENTS]; e++) {
		struct shm_deployment deployment;

		if (shm_read_deployment(shm, e, &deployment) == ERR_OK && ++live)
			check_deployment(shm, &deployment);
	}
	for (uint32_t e = 0; e < count[SHM_MODELS]; e++) {
		struct shm_model model;

		if (shm_read_model(shm, e, &model) == ERR_OK && ++live)
			check_target(shm, &model.target);
	}
	for (uint32_t e = 0; e < count[SHM_ALIASES]; e++) {
		struct shm_alias alias;
		struct shm_model model;

		if (shm_read_alias(shm, e, &alias) == ERR_OK && ++live)
			assert_int_equal(shm_read_model(shm, alias.model, &model), ERR_OK);
	}
	for (uint32_t e = 0; e < count[SHM_INSTANCES]; e++) {
		struct shm_instance instance;
		struct shm_account account;

		if (shm_read_instance(shm, e, &instance) == ERR_OK && ++live) {
			check_target(shm, &instance.target);
			assert_int_equal(shm_read_account(shm, instance.account, &account), ERR_OK);
		}
	}
	for (uint32_t e = 0; e < count[SHM_KEYS]; e++) {
		struct shm_account account;
		struct shm_plan plan;
		struct shm_key key;

		if (shm_read_key(shm, e, &key) == ERR_OK && ++live) {
			assert_int_equal(shm_read_account(shm, key.account, &account), ERR_OK);
			assert_int_equal(shm_read_plan(shm, key.plan, &plan), ERR_OK);
		}
	}
	return live;
}

static enum err
look_and_publish(struct publish *p, enum noun noun, int64_t id, bool may_put, bool may_remove, uint64_t now_ns,
		 bool *changed)
{
	check_references(&p->shm);
	looks++;
	return row_publish_id(p, noun, id, may_put, may_remove, now_ns, changed);
}

static bool
look_and_publish_row(struct publish *p, enum noun noun, struct statement *row, uint64_t now_ns)
{
	check_references(&p->shm);
	looks++;
	return row_publish(p, noun, row, now_ns);
}

/* What refers stands before what it refers to: changes are told in this order, too. */
static const char remove_everything[] =
	"BEGIN; DELETE FROM keys; DELETE FROM aliases; DELETE FROM deployments; DELETE FROM models;"
	" DELETE FROM instances; DELETE FROM pods; DELETE FROM regions; DELETE FROM prices; DELETE FROM plans;"
	" DELETE FROM accounts; COMMIT";
#define OBJECTS 7 /* that refer to others */

static void
make_everything(struct world *w)
{
	static const uint8_t hash[32] = "any thirty-two bytes, as a hash";

	world_sql(w, "BEGIN; INSERT INTO accounts(id, name) VALUES (1, 'demo');"
		     "INSERT INTO plans(id, name) VALUES (1, 'std');"
		     "INSERT INTO prices(id, name, input_nano_per_mtoken, output_nano_per_mtoken) VALUES"
		     " (1, 'p', 1, 2);"
		     "INSERT INTO regions(id, name) VALUES (1, 'mv'), (2, 'tx');"
		     "INSERT INTO pods(id, name, address, port) VALUES (1, 'a', '10.0.0.1', 80),"
		     " (2, 'b', '10.0.0.2', 80);"
		     "INSERT INTO models(id, name, price_id) VALUES (1, 'm', 1), (2, 'n', 1);"
		     "INSERT INTO aliases(id, name, model_id) VALUES (1, 'l', 1);"
		     "INSERT INTO instances(id, name, account_id, price_id) VALUES (1, 'mine', 1, 1);"
		     "INSERT INTO deployments(id, name, model_id, region_id) VALUES (1, 'd', 1, 1);"
		     "INSERT INTO deployments(id, name, instance_id, region_id) VALUES (2, 'e', 1, 2);"
		     "INSERT INTO deployment_pods(deployment_id, pod_id, position) VALUES (1, 2, 0), (1, 1, 1),"
		     " (2, 2, 0)");
	world_sql_blob(w, "INSERT INTO keys(hash, prefix, surface, account_id, plan_id) VALUES"
			  " (?1, 'eco_', 0, 1, 1)", bytes_make(hash, sizeof(hash)));
	world_sql(w, "COMMIT");
}

static void
publish_reported(struct world *w)
{
	looks = 0;
	assert_int_equal(publish_changes(&w->control.publish, w->now_ns), ERR_OK);
	assert_true(looks > OBJECTS);
}

/* As if nothing had been reported. */
static void
publish_round(struct world *w)
{
	world_sql(w, "DELETE FROM changes");
	looks = 0;
	assert_int_equal(publish_all(&w->control.publish, w->now_ns), ERR_OK);
	assert_true(looks > OBJECTS);
}

static void
come_and_go(void (*publish)(struct world *w))
{
	struct world *w = world_make();

	make_everything(w);
	publish(w);
	assert_int_equal(check_references(&w->control.publish.shm), OBJECTS);
	world_sql(w, remove_everything);
	publish(w);
	assert_int_equal(check_references(&w->control.publish.shm), 0);
	world_free(w);
}

static void
reported_changes_never_lead_nowhere(void **state)
{
	(void)state;
	come_and_go(publish_reported);
}

static void
a_round_never_leads_nowhere(void **state)
{
	(void)state;
	come_and_go(publish_round);
}

/* One commit that replaces what a model refers to and deletes what it referred to. */
static void
a_replaced_reference_never_leads_nowhere(void **state)
{
	struct world *w = world_make();

	(void)state;
	make_everything(w);
	publish_reported(w);
	world_sql(w, "BEGIN; INSERT INTO prices(id, name, input_nano_per_mtoken, output_nano_per_mtoken) VALUES"
		     " (2, 'q', 3, 4); UPDATE models SET price_id = 2; UPDATE instances SET price_id = 2;"
		     "INSERT INTO pods(id, name, address, port) VALUES (3, 'c', '10.0.0.3', 80);"
		     "INSERT INTO regions(id, name) VALUES (3, 'fra'); UPDATE deployments SET region_id = 3;"
		     "INSERT INTO deployments(id, name, model_id, region_id) VALUES (3, 'f', 1, 3);"
		     "INSERT INTO deployment_pods(deployment_id, pod_id, position) VALUES (2, 3, 2), (3, 3, 0);"
		     "DELETE FROM deployments WHERE id = 1; DELETE FROM pods WHERE id = 2;"
		     "DELETE FROM regions WHERE id < 3; DELETE FROM prices WHERE id = 1; COMMIT");
	publish_reported(w);
	assert_int_equal(check_references(&w->control.publish.shm), OBJECTS);
	world_free(w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(reported_changes_never_lead_nowhere),
		cmocka_unit_test(a_round_never_leads_nowhere),
		cmocka_unit_test(a_replaced_reference_never_leads_nowhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Whose instances end, and whose do not. */
#include "world.h"

#include "credit.h"

static const struct {
	const char *account;
	int64_t credited, spent;
	const char *before, *after;
} rows[] = {
	{ "has", 100, 99, "running", "running" },
	{ "all", 100, 100, "running", "credit_depleted" },
	{ "over", 100, 101, "running", "credit_depleted" },
	{ "stopped", 100, 101, "stopped", "stopped" },
	{ "never", 0, 0, "running", "running" },
	{ "free", 5, 0, "running", "running" },
	{ "taken", -5, 1, "running", "credit_depleted" },
};

static void
check_state(struct world *w, int64_t id, const char *state)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *object;

	assert_int_equal(noun_get(&w->control.store, NOUN_INSTANCE, id, doc, &object), ERR_OK);
	assert_string_equal(yyjson_mut_get_str(yyjson_mut_obj_get(object, "state")), state);
	yyjson_mut_doc_free(doc);
}

static void
who_has_used_up_his_money_has_no_instances(void **state)
{
	struct world *w = world_make();
	struct credit credit = { .store = &w->control.store };
	int64_t ids[COUNT_OF(rows)];
	char text[160];
	bool more, any;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		world_put(w, NOUN_ACCOUNT, rows[i].account, "{}");
		snprintf(text, sizeof(text),
			 "UPDATE accounts SET credited_nano = %lld, spent_nano = %lld WHERE name = '%s'",
			 (long long)rows[i].credited, (long long)rows[i].spent, rows[i].account);
		world_sql(w, text);
		snprintf(text, sizeof(text), "{\"name\":\"i\",\"account\":\"%s\",\"state\":\"%s\"}",
			 rows[i].account, rows[i].before);
		ids[i] = world_put(w, NOUN_INSTANCE, "", text);
	}
	assert_int_equal(credit_step(&credit, &more, &any), ERR_OK);
	assert_true(more && any);
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		check_state(w, ids[i], rows[i].after);
	assert_int_equal(
		world_number(w, "SELECT count(*) FROM audit WHERE verb = 'deplete' AND who = 'control'"), 3);
	assert_int_equal(credit.ended, 3);
	/* The round ends, and the next one finds nothing. */
	assert_int_equal(credit_step(&credit, &more, &any), ERR_OK);
	assert_false(more || any);
	assert_int_equal(credit_step(&credit, &more, &any), ERR_OK);
	assert_true(more && !any);
	/* A top-up brings none back. */
	world_sql(w, "UPDATE accounts SET credited_nano = 1000");
	credit.after_id = 0;
	assert_int_equal(credit_step(&credit, &more, &any), ERR_OK);
	check_state(w, ids[1], "credit_depleted");
	world_free(w);
}

#define MANY 150 /* more than a step ends */

static int64_t
running(struct world *w)
{
	return world_number(w, "SELECT count(*) FROM instances WHERE state = 0");
}

/* Of a step's bound nobody is left out, and one that cannot be ended stands in nobody's way. */
static void
all_of_many_end_but_the_one_that_cannot(void **state)
{
	struct world *w = world_make();
	struct credit credit = { .store = &w->control.store };
	char text[200];
	bool more, any;

	(void)state;
	world_put(w, NOUN_ACCOUNT, "empty", "{}");
	world_sql(w, "UPDATE accounts SET credited_nano = 1, spent_nano = 1");
	world_put(w, NOUN_INSTANCE, "", "{\"name\":\"first\",\"account\":\"empty\",\"state\":\"running\"}");
	for (int i = 1; i < MANY; i++) {
		snprintf(text, sizeof(text),
			 "INSERT INTO instances(name, account_id, state) SELECT 'i%d', account_id, state"
			 " FROM instances WHERE name = 'first'", i);
		world_sql(w, text);
	}
	assert_int_equal(running(w), MANY);
	if (!world_is_postgres())
		world_sql(w, "CREATE TRIGGER stuck BEFORE UPDATE ON instances WHEN OLD.name = 'i7'"
			     " BEGIN SELECT RAISE(ABORT, 'stuck'); END");
	else
		world_sql(w, "UPDATE instances SET state = 1 WHERE name = 'i7'");
	for (int step = 0; step < 4; step++)
		assert_int_equal(credit_step(&credit, &more, &any) != ERR_OK, !world_is_postgres() && step == 0);
	assert_int_equal(running(w), world_is_postgres() ? 0 : 1);
	assert_int_equal(credit.ended, MANY - 1);
	world_free(w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_has_used_up_his_money_has_no_instances),
		cmocka_unit_test(all_of_many_end_but_the_one_that_cannot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The store: it migrates forward only, keeps its pepper, and counts money once. */
#include <sqlite3.h>

#include "schema.h"
#include "world.h"

static void
a_new_store_has_the_newest_schema(void **state)
{
	struct world *w = world_make();

	(void)state;
	assert_int_equal(world_number(w, "PRAGMA user_version"), SCHEMA_VERSION);
	assert_int_equal(world_number(w, "PRAGMA synchronous"), 2); /* FULL */
	assert_int_equal(world_number(w, "PRAGMA foreign_keys"), 1);
	world_free(w);
}

static void
a_store_of_a_newer_release_is_refused_and_untouched(void **state)
{
	struct world *w = world_make();
	struct store store;

	(void)state;
	world_sql(w, "PRAGMA user_version = 99");
	assert_int_equal(store_open(&store, w->store_path), ERR_STORE_NEWER);
	assert_non_null(strstr(store.problem, "99"));
	assert_int_equal(world_number(w, "PRAGMA user_version"), 99);
	world_free(w);
}

static void
a_store_of_the_first_release_keeps_its_prices_and_its_ledger(void **state)
{
	struct world *w = world_make();
	struct world first = { 0 };
	char path[300];
	sqlite3 *old;

	(void)state;
	assert_true(snprintf(path, sizeof(path), "%s.old", w->store_path) < (int)sizeof(path));
	assert_int_equal(sqlite3_open(path, &old), SQLITE_OK);
	assert_int_equal(sqlite3_exec(old, schema_migrations[0], NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(old, "PRAGMA user_version = 1; INSERT INTO prices(name,"
					   " input_nano_per_mtoken, output_nano_per_mtoken)"
					   " VALUES ('small', 5, 9); INSERT INTO ledger VALUES ('n', 1, 0,"
					   " 1, x'00', 1, 1, 1, 0, 1, 'mv', 1, 1, 200, 0, 0, 0, 0, 7, 8,"
					   " 9, 1, 1, 1, 1, 1, 1)",
				      NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(old);
	assert_int_equal(store_open(&first.control.store, path), ERR_OK);
	assert_int_equal(world_number(&first, "SELECT output_nano_per_mtoken + image_nano FROM prices"), 9);
	assert_int_equal(world_number(&first, "SELECT cost_nano + unit + units FROM ledger"), 9);
	world_sql(&first, "UPDATE prices SET second_nano = 4");
	assert_int_equal(world_number(&first, "SELECT max(version) FROM price_versions"), 2);
	assert_int_equal(world_number(&first, "SELECT second_nano FROM price_versions WHERE version = 1"), 0);
	store_close(&first.control.store);
	unlink(path);
	world_free(w);
}

static void
the_pepper_is_made_once(void **state)
{
	struct world *w = world_make();
	uint8_t again[32];
	struct store store;

	(void)state;
	assert_int_equal(store_open(&store, w->store_path), ERR_OK);
	assert_int_equal(store_pepper(&store, again), ERR_OK);
	assert_memory_equal(again, w->control.pepper, 32);
	store_close(&store);
	world_free(w);
}

static void
another_connections_commit_is_noticed_once(void **state)
{
	struct world *w = world_make();
	struct store other;

	(void)state;
	assert_int_equal(store_open(&other, w->store_path), ERR_OK);
	store_changed_elsewhere(&w->control.store);
	assert_false(store_changed_elsewhere(&w->control.store));
	assert_int_equal(store_run_script(&other, "INSERT INTO regions(name) VALUES ('mv')"), ERR_OK);
	assert_true(store_changed_elsewhere(&w->control.store));
	assert_false(store_changed_elsewhere(&w->control.store));
	world_sql(w, "INSERT INTO regions(name) VALUES ('own')");
	assert_false(store_changed_elsewhere(&w->control.store));
	store_close(&other);
	world_free(w);
}

static void
a_top_up_with_a_reference_counts_once(void **state)
{
	struct world *w = world_make();
	struct store *store = &w->control.store;
	int64_t id = world_put(w, NOUN_ACCOUNT, "demo", "{}");
	bool credited = false;

	(void)state;
	assert_int_equal(store_top_up(store, id, 500, "invoice 1", &credited), ERR_OK);
	assert_true(credited);
	assert_int_equal(store_top_up(store, id, 500, "invoice 1", &credited), ERR_OK);
	assert_false(credited);
	assert_int_equal(store_top_up(store, id, 70, "", &credited), ERR_OK);
	assert_true(credited);
	assert_int_equal(store_top_up(store, id, 70, "", &credited), ERR_OK); /* no reference: again */
	assert_true(credited);
	assert_int_equal(store_top_up(store, id, -40, "correction", &credited), ERR_OK);
	assert_int_equal(world_number(w, "SELECT credited_nano FROM accounts"), 600);
	assert_int_equal(world_number(w, "SELECT sum(amount_nano) FROM topups"), 600);
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit WHERE verb = 'top-up'"), 4);
	world_free(w);
}

static void
a_top_up_of_nobody_leaves_nothing_behind(void **state)
{
	struct world *w = world_make();
	bool credited = false;

	(void)state;
	assert_int_not_equal(store_top_up(&w->control.store, 77, 500, "x", &credited), ERR_OK);
	assert_false(credited);
	assert_int_equal(world_number(w, "SELECT count(*) FROM topups"), 0);
	world_free(w);
}

static void
a_changed_price_is_a_new_version_and_the_old_one_is_kept(void **state)
{
	struct world *w = world_make();

	(void)state;
	world_put(w, NOUN_PRICE, "small",
		  "{\"input_nano_per_mtoken\":5,\"output_nano_per_mtoken\":9}");
	world_put(w, NOUN_PRICE, "small", "{\"input_nano_per_mtoken\":5}"); /* no change */
	assert_int_equal(world_number(w, "SELECT version FROM prices"), 1);
	world_put(w, NOUN_PRICE, "small", "{\"input_nano_per_mtoken\":6}");
	assert_int_equal(world_number(w, "SELECT version FROM prices"), 2);
	assert_int_equal(world_number(w, "SELECT input_nano_per_mtoken FROM price_versions"
					 " WHERE version = 1"), 5);
	assert_int_equal(world_number(w, "SELECT input_nano_per_mtoken FROM price_versions"
					 " WHERE version = 2"), 6);
	world_put(w, NOUN_PRICE, "small", "{\"image_nano\":7}");
	world_put(w, NOUN_PRICE, "small", "{\"image_nano\":7}"); /* no change */
	assert_int_equal(world_number(w, "SELECT max(version) FROM price_versions"), 3);
	assert_int_equal(world_number(w, "SELECT image_nano FROM price_versions"
					 " WHERE version = 3"), 7);
	world_free(w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_store_has_the_newest_schema),
		cmocka_unit_test(a_store_of_a_newer_release_is_refused_and_untouched),
		cmocka_unit_test(a_store_of_the_first_release_keeps_its_prices_and_its_ledger),
		cmocka_unit_test(the_pepper_is_made_once),
		cmocka_unit_test(another_connections_commit_is_noticed_once),
		cmocka_unit_test(a_top_up_with_a_reference_counts_once),
		cmocka_unit_test(a_top_up_of_nobody_leaves_nothing_behind),
		cmocka_unit_test(a_changed_price_is_a_new_version_and_the_old_one_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

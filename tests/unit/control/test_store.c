/* The store: it migrates forward only, keeps its pepper, and counts money once. */
#include <poll.h>
#include <sqlite3.h>

#include "schema.h"
#include "world.h"

/* As far as the driver has one, the statement that says which schema a store has. */
static const char *
version_sql(void)
{
	return world_is_postgres() ? "SELECT version FROM schema_version" : "PRAGMA user_version";
}

static void
every_step_has_a_text_for_each_driver(void **state)
{
	(void)state;
	for (int i = 0; i < SCHEMA_VERSION; i++) {
		assert_non_null(schema_migrations[i]);
		assert_int_equal(schema_postgres[i] != NULL, i + 1 >= SCHEMA_POSTGRES_FIRST);
	}
}

static void
a_new_store_has_the_newest_schema(void **state)
{
	struct world *w = world_make();

	(void)state;
	assert_int_equal(world_number(w, version_sql()), SCHEMA_VERSION);
	if (!world_is_postgres()) {
		assert_int_equal(world_number(w, "PRAGMA synchronous"), 2); /* FULL */
		assert_int_equal(world_number(w, "PRAGMA foreign_keys"), 1);
	}
	world_free(w);
}

static void
a_store_of_a_newer_release_is_refused_and_untouched(void **state)
{
	struct world *w = world_make();
	struct store store;

	(void)state;
	world_sql(w, world_is_postgres() ? "UPDATE schema_version SET version = 99" : "PRAGMA user_version = 99");
	assert_int_equal(world_open_store(w, &store), ERR_STORE_NEWER);
	assert_non_null(strstr(store.problem, "99"));
	assert_int_equal(world_number(w, version_sql()), 99);
	world_free(w);
}

/* --- migrations -------------------------------------------------------------------------- */

/* Rows as the first release could write them; everything later has a default. */
static const char old_rows[] =
	"INSERT INTO accounts(name, credited_nano, spent_nano) VALUES ('a', 1000, 400);"
	"INSERT INTO topups(account_id, amount_nano, reference) VALUES (1, 1000, 'r');"
	"INSERT INTO plans(name, requests_per_minute) VALUES ('std', 60);"
	"INSERT INTO prices(name, input_nano_per_mtoken, output_nano_per_mtoken) VALUES ('small', 5, 9);"
	"UPDATE prices SET output_nano_per_mtoken = 8;"
	"INSERT INTO regions(name) VALUES ('mv');"
	"INSERT INTO pods(name, address, port) VALUES ('p', '10.0.0.1', 8000);"
	"INSERT INTO models(name, price_id) VALUES ('m', 1);"
	"INSERT INTO aliases(name, model_id) VALUES ('x', 1);"
	"INSERT INTO instances(name, account_id) VALUES ('i', 1);"
	"INSERT INTO deployments(name, model_id, region_id) VALUES ('d', 1, 1);"
	"INSERT INTO deployment_pods VALUES (1, 1, 0);"
	"INSERT INTO audit(verb, noun, subject, detail) VALUES ('create', 'account', 1, '');"
	"INSERT INTO keys(hash, prefix, surface, account_id, plan_id) VALUES (%1$s, 'eco_abcd', 0, 1, 1);"
	"INSERT INTO ledger(node, epoch, worker, sequence, request_id, key_id, account_id, model_id,"
	" instance_id, pod_id, region, price_id, price_version, status, outcome, source, stream, suspect,"
	" prompt_tokens, completion_tokens, cost_nano, finished_at_ns, queue_us, first_byte_us, total_us,"
	" request_bytes, response_bytes) VALUES"
	" ('n', 1, 0, 1, %1$s, 1, 1, 1, 0, 1, 'mv', 1, 2, 200, 0, 0, 0, 0, 7, 8, 400, 1, 1, 1, 1, 1, 1);";

static void
write_old_sqlite(const char *path, int version)
{
	char sql[4096];
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	for (int i = 0; i < version; i++)
		assert_int_equal(sqlite3_exec(db, schema_migrations[i], NULL, NULL, NULL), SQLITE_OK);
	snprintf(sql, sizeof(sql), old_rows, "x'0042'");
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", version);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void
run_postgres(PGconn *conn, const char *sql)
{
	PQclear(PQexec(conn, sql));
	assert_string_equal(PQerrorMessage(conn), "");
}

static void
write_old_postgres(const char *where, int version)
{
	PGconn *conn = PQconnectdb(where);
	char sql[4096];

	run_postgres(conn, "CREATE TABLE schema_version (version BIGINT NOT NULL)");
	for (int i = 0; i < version; i++)
		if (schema_postgres[i] != NULL)
			run_postgres(conn, schema_postgres[i]);
	snprintf(sql, sizeof(sql), old_rows, "'\\x0042'");
	run_postgres(conn, sql);
	snprintf(sql, sizeof(sql), "INSERT INTO schema_version VALUES (%d)", version);
	run_postgres(conn, sql);
	PQfinish(conn);
}

static void
expect_old_rows(struct world *w)
{
	static const char *const tables[] = { "accounts", "topups", "plans", "prices", "regions", "pods", "models",
					      "aliases", "instances", "deployments", "deployment_pods", "audit",
					      "keys", "ledger" };
	char sql[64];

	for (size_t i = 0; i < COUNT_OF(tables); i++) {
		snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", tables[i]);
		assert_int_equal(world_number(w, sql), 1);
	}
	assert_int_equal(world_number(w, "SELECT credited_nano - spent_nano FROM accounts"), 600);
	assert_int_equal(world_number(w, "SELECT cost_nano + unit + units FROM ledger"), 400);
	assert_int_equal(world_number(w, "SELECT count(*) FROM price_versions"), 2);
	assert_int_equal(world_number(w, "SELECT max(output_nano_per_mtoken) FROM price_versions"), 9);
	/* Its triggers live, and know of what is new. */
	world_sql(w, "UPDATE prices SET second_nano = 4");
	assert_int_equal(world_number(w, "SELECT max(version) FROM price_versions"), 3);
	assert_int_equal(world_number(w, "SELECT second_nano FROM price_versions WHERE version = 3"), 4);
	assert_int_equal(world_number(w, "SELECT second_nano FROM price_versions WHERE version = 2"), 0);
	assert_int_equal(world_number(w, "SELECT kind FROM changes ORDER BY seq DESC LIMIT 1"), NOUN_PRICE);
}

static void
a_store_of_each_earlier_release_keeps_its_rows(void **state)
{
	(void)state;
	for (int version = 1; version <= SCHEMA_VERSION; version++) {
		struct world w = { .folder = WORLD_FOLDER };

		if (world_is_postgres() && version < SCHEMA_POSTGRES_FIRST)
			continue;
		assert_non_null(mkdtemp(w.folder));
		snprintf(w.store_path, sizeof(w.store_path), "%s/store", w.folder);
		if (world_is_postgres()) {
			world_make_schema(&w);
			write_old_postgres(w.where, version);
		} else {
			write_old_sqlite(w.store_path, version);
		}
		assert_int_equal(world_open_store(&w, &w.control.store), ERR_OK);
		assert_int_equal(world_number(&w, version_sql()), SCHEMA_VERSION);
		if (version < 10)
			assert_int_equal(world_number(&w, "SELECT sum(spent_nano) FROM node_spending"
							  " WHERE node = 'n'"), 400);
		expect_old_rows(&w);
		store_close(&w.control.store);
		world_remove_store(&w);
	}
}

/* --- the rest ---------------------------------------------------------------------------- */

/* Numbers to the last bit, any byte, an empty text that is not NULL. */
static void
values_come_back_as_they_went(void **state)
{
	static const int64_t numbers[] = { 0, -1, 1, INT64_MIN, INT64_MAX, INT64_C(1) << 53, 255, -32769 };
	struct world *w = world_make();
	struct store *store = &w->control.store;
	struct statement *put = store_prepare(store, "UPDATE meta SET value = ?1 WHERE name = ?2");
	struct statement *get = store_prepare(store, "SELECT value, name, NULL FROM meta WHERE name = ?1");
	struct statement *spend = store_prepare(store, "UPDATE accounts SET spent_nano = ?1 WHERE id = 1");
	struct statement *spent = store_prepare(store, "SELECT spent_nano FROM accounts");
	uint8_t all[256];

	(void)state;
	world_put(w, NOUN_ACCOUNT, "a", "{}");
	world_sql_blob(w, "INSERT INTO meta(name, value) VALUES ('', ?1)", BYTES_LITERAL("x"));
	for (int i = 0; i < 256; i++)
		all[i] = (uint8_t)(255 - i);
	for (size_t len = 0; len <= sizeof(all); len += 64) {
		store_bind_blob(put, 1, bytes_make(all, len));
		store_bind_text(put, 2, BYTES_NONE);
		assert_int_equal(store_run(store, put), ERR_OK);
		assert_int_equal(store_changes(put), 1);
		store_bind_text(get, 1, BYTES_NONE);
		assert_int_equal(store_step(get), STORE_ROW);
		assert_true(bytes_equal(store_column_blob(get, 0), bytes_make(all, len)));
		assert_int_equal(store_column_kind(get, 1), STORE_TEXT);
		assert_int_equal(store_column_text(get, 1).len, 0);
		assert_true(store_column_is_null(get, 2));
		assert_int_equal(store_column_int64(get, 2), 0);
		assert_int_equal(store_step(get), STORE_DONE);
		store_reset(get);
	}
	for (size_t i = 0; i < COUNT_OF(numbers); i++) {
		store_bind_int64(spend, 1, numbers[i]);
		assert_int_equal(store_run(store, spend), ERR_OK);
		assert_int_equal(store_step(spent), STORE_ROW);
		assert_int_equal(store_column_kind(spent, 0), STORE_INTEGER);
		assert_true(store_column_int64(spent, 0) == numbers[i]);
		store_reset(spent);
		if (numbers[i] != INT64_MIN)
			assert_true(world_number(w, "SELECT sum(spent_nano) FROM accounts") == numbers[i]);
	}
	store_finalize(put);
	store_finalize(get);
	store_finalize(spend);
	store_finalize(spent);
	world_free(w);
}

static void
an_id_that_was_chosen_is_not_given_again(void **state)
{
	struct world *w = world_make();

	(void)state;
	world_put(w, NOUN_REGION, "a", "{}");
	world_sql(w, "INSERT INTO regions(id, name) VALUES (7, 'seven')");
	assert_int_equal(world_put(w, NOUN_REGION, "b", "{}"), 8);
	world_sql(w, "INSERT INTO regions(id, name) VALUES (3, 'three')");
	assert_int_equal(world_put(w, NOUN_REGION, "c", "{}"), 9);
	world_free(w);
}

/* What the triggers and constraints refuse, and the sentence for it. */
static void
constraints_refuse_with_a_sentence(void **state)
{
	static const struct {
		const char *sql, *sentence;
	} rows[] = {
		{ "INSERT INTO aliases(name, model_id) VALUES ('m', 1)", "a model has this name" },
		{ "UPDATE aliases SET name = 'm'", "a model has this name" },
		{ "INSERT INTO models(name) VALUES ('x')", "an alias has this name" },
		{ "UPDATE models SET name = 'x'", "an alias has this name" },
		{ "INSERT INTO models(name) VALUES ('m')", "something else has this name or number already" },
		{ "INSERT INTO models(name) VALUES (NULL)", "a value that must be there is missing" },
		{ "DELETE FROM models", "something else still refers to it" },
		{ "INSERT INTO aliases(name, model_id) VALUES ('y', 99)", "what it refers to is gone" },
		{ "INSERT INTO deployments(name, region_id) VALUES ('d', 1)",
		  "a deployment is of one model or one instance" },
		{ "INSERT INTO deployments(name, model_id, region_id) VALUES ('d1', 1, 1), ('d2', 1, 1),"
		  " ('d3', 1, 1), ('d4', 1, 1), ('d5', 1, 1), ('d6', 1, 1), ('d7', 1, 1), ('d8', 1, 1),"
		  " ('d9', 1, 1)",
		  "a model or instance has at most 8 deployments" },
	};
	struct world *w = world_make();

	(void)state;
	world_sql(w, "INSERT INTO models(name) VALUES ('m'); INSERT INTO aliases(name, model_id) VALUES ('x', 1);"
		     "INSERT INTO regions(name) VALUES ('mv')");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_int_equal(store_run_script(&w->control.store, rows[i].sql), ERR_STORE_CONFLICT);
		if (strstr(w->control.store.problem, rows[i].sentence) == NULL ||
		    strstr(w->control.store.problem, "constraint") != NULL)
			fail_msg("%s: %s", rows[i].sql, w->control.store.problem);
	}
	world_sql(w, "INSERT INTO deployments(name, model_id, region_id) VALUES ('d', 1, 1)");
	for (int i = 1; i <= 33; i++) {
		char sql[160];

		snprintf(sql, sizeof(sql), "INSERT INTO pods(id, name, address, port) VALUES (%d, 'p%d', '::', 1);"
			 "INSERT INTO deployment_pods SELECT id, %d, 0 FROM deployments", i, i, i);
		assert_int_equal(store_run_script(&w->control.store, sql), i <= 32 ? ERR_OK : ERR_STORE_CONFLICT);
	}
	assert_string_equal(w->control.store.problem, "a deployment has at most 32 pods");
	world_free(w);
}

static void
the_pepper_is_made_once(void **state)
{
	struct world *w = world_make();
	uint8_t again[32];
	struct store store;

	(void)state;
	assert_int_equal(world_open_store(w, &store), ERR_OK);
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
	assert_int_equal(world_open_store(w, &other), ERR_OK);
	store_changed_elsewhere(&w->control.store);
	if (!world_is_postgres()) /* which looks now and then, too */
		assert_false(store_changed_elsewhere(&w->control.store));
	assert_int_equal(store_run_script(&other, "INSERT INTO regions(name) VALUES ('mv')"), ERR_OK);
	for (int i = 0; i < 1000 && !store_changed_elsewhere(&w->control.store); i++)
		poll(NULL, 0, 10);
	assert_int_equal(publish_changes(&w->control.publish, w->now_ns), ERR_OK);
	assert_int_equal(w->control.publish.entries[NOUN_REGION].count, 1);
	if (!world_is_postgres()) {
		assert_false(store_changed_elsewhere(&w->control.store));
		world_sql(w, "INSERT INTO regions(name) VALUES ('own')");
		assert_false(store_changed_elsewhere(&w->control.store));
	}
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

/* More than a server is told at once; what is there already writes nothing, and is no error. */
static void
what_is_posted_is_told_when_it_is_settled(void **state)
{
	enum { POSTS = 2500 };
	struct world *w = world_make();
	struct store *store = &w->control.store;
	struct statement *put = store_prepare(store, "INSERT INTO meta(name, value) VALUES (?1, ?2)"
						     " ON CONFLICT (name) DO NOTHING");
	static int64_t changes[POSTS];
	char name[16];

	(void)state;
	for (int round = 0; round < 2; round++) {
		assert_int_equal(store_begin(store), ERR_OK);
		for (int i = 0; i < POSTS; i++) {
			changes[i] = -1;
			snprintf(name, sizeof(name), "name %d", i / 2);
			store_bind_text(put, 1, bytes_from_text(name));
			store_bind_blob(put, 2, bytes_from_text(name));
			assert_int_equal(store_post(put, i % 5 == 0 ? NULL : &changes[i]), ERR_OK);
		}
		/* A question in between sees it all; the commit settles the rest. */
		assert_int_equal(world_number(w, "SELECT count(*) FROM meta WHERE name LIKE 'name %'"), POSTS / 2);
		store_bind_text(put, 1, BYTES_LITERAL("last"));
		assert_int_equal(store_post(put, &changes[0]), ERR_OK);
		assert_int_equal(store_commit(store), ERR_OK);
		assert_int_equal(changes[0], round == 0);
		for (int i = 1; i < POSTS; i++)
			assert_int_equal(changes[i], i % 5 == 0 ? -1 : round == 0 && i % 2 == 0);
	}
	assert_int_equal(store_settle(store), ERR_OK); /* nothing is under way */
	store_finalize(put);
	world_free(w);
}

/* Post, or the settling behind it, says so, whichever way the batch ends; then all goes on. */
static void
a_post_that_fails_undoes_the_batch(void **state)
{
	enum { BY_SETTLE, BY_COMMIT, BY_QUESTION, BY_ROLLBACK, WAYS };
	struct world *w = world_make();
	struct store *store = &w->control.store;
	struct statement *put = store_prepare(store, "INSERT INTO regions(name) VALUES (?1)");
	static const char *const names[] = { "a", "b", "a", "c" };

	(void)state;
	for (int way = 0; way < WAYS; way++) {
		int64_t changes[4] = { -1, -1, -1, -1 };
		enum err verdict = store_begin(store);

		for (int i = 0; i < 4 && verdict == ERR_OK; i++) {
			store_bind_text(put, 1, bytes_from_text(names[i]));
			verdict = store_post(put, &changes[i]);
		}
		if (verdict == ERR_OK && way == BY_SETTLE)
			verdict = store_settle(store);
		else if (verdict == ERR_OK && way == BY_COMMIT)
			verdict = store_commit(store);
		else if (verdict == ERR_OK && way == BY_QUESTION)
			verdict = store_run_script(store, "UPDATE plans SET burst = 1");
		if (way != BY_ROLLBACK || verdict != ERR_OK) {
			assert_int_equal(verdict, ERR_STORE_CONFLICT);
			assert_string_not_equal(store->problem, "");
			assert_int_equal(changes[1], 1);
		}
		assert_int_equal(changes[2], -1);
		assert_int_equal(changes[3], -1);
		store_rollback(store);
		assert_int_equal(world_number(w, "SELECT count(*) FROM regions"), 0);
	}
	assert_int_equal(store_begin(store), ERR_OK);
	store_bind_text(put, 1, BYTES_LITERAL("a"));
	assert_int_equal(store_post(put, NULL), ERR_OK);
	assert_int_equal(store_commit(store), ERR_OK);
	assert_int_equal(world_number(w, "SELECT count(*) FROM regions"), 1);
	store_finalize(put);
	world_free(w);
}

/* What takes too long is ended, and nothing else is. */
static void
a_statement_ends_where_its_time_does(void **state)
{
	static const char endless[] = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE"
				      " i < 1000000000) SELECT count(*) FROM n";
	struct world *w = world_make();
	struct store *store = &w->control.store;
	struct statement *statement = store_prepare(store, endless);

	(void)state;
	assert_non_null(statement);
	assert_int_equal(store_limit(store, 50), ERR_OK);
	assert_int_equal(store_step(statement), STORE_BROKEN);
	assert_int_equal(store_failed(store), ERR_STORE_TOO_LONG);
	store_finalize(statement);
	assert_int_equal(world_number(w, "SELECT 7"), 7);
	assert_int_equal(store_limit(store, 0), ERR_OK);
	assert_int_equal(world_number(w, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE"
					 " i < 300000) SELECT count(*) FROM n"), 300000);
	world_free(w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_statement_ends_where_its_time_does),
		cmocka_unit_test(every_step_has_a_text_for_each_driver),
		cmocka_unit_test(a_new_store_has_the_newest_schema),
		cmocka_unit_test(a_store_of_a_newer_release_is_refused_and_untouched),
		cmocka_unit_test(a_store_of_each_earlier_release_keeps_its_rows),
		cmocka_unit_test(values_come_back_as_they_went),
		cmocka_unit_test(an_id_that_was_chosen_is_not_given_again),
		cmocka_unit_test(constraints_refuse_with_a_sentence),
		cmocka_unit_test(the_pepper_is_made_once),
		cmocka_unit_test(another_connections_commit_is_noticed_once),
		cmocka_unit_test(a_top_up_with_a_reference_counts_once),
		cmocka_unit_test(a_top_up_of_nobody_leaves_nothing_behind),
		cmocka_unit_test(a_changed_price_is_a_new_version_and_the_old_one_is_kept),
		cmocka_unit_test(what_is_posted_is_told_when_it_is_settled),
		cmocka_unit_test(a_post_that_fails_undoes_the_batch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

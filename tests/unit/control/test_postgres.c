/* What only a server does: it goes away, several write at once, and it must never see its password in a log. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>

#include "node.h"
#include "postgres.h"
#include "schema.h"
#include "world.h"

/* Another connection to the world's schema, without a store around it. */
static PGconn *
connect_bare(const struct world *w)
{
	PGconn *conn = PQconnectdb(w->where);

	assert_int_equal(PQstatus(conn), CONNECTION_OK);
	return conn;
}

static void
run_bare(PGconn *conn, const char *sql)
{
	PQclear(PQexec(conn, sql));
	assert_string_equal(PQerrorMessage(conn), "");
}

static int
backend_of(struct world *w)
{
	return PQbackendPID(((struct postgres *)w->control.store.handle)->conn);
}

/* The server ends the store's session, as when it is restarted. */
static void
cut(struct world *w, PGconn *other)
{
	char sql[80];

	snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d, 5000)", backend_of(w));
	run_bare(other, sql);
}

static void
come_back(struct world *w)
{
	for (int i = 0; i < 2000 && store_file(&w->control.store) < 0; i++) {
		store_changed_elsewhere(&w->control.store);
		poll(NULL, 0, 10);
	}
	assert_int_not_equal(store_file(&w->control.store), -1);
}

static void
statements_outlive_the_connection(void **state)
{
	struct world *w = world_make();
	PGconn *other = connect_bare(w);
	struct statement *count = store_prepare(&w->control.store, "SELECT count(*) FROM regions WHERE id > ?1");

	(void)state;
	world_put(w, NOUN_REGION, "a", "{}");
	for (int life = 0; life < 3; life++) {
		for (int i = 0; i < 3; i++) { /* its text, then prepared, then again */
			store_bind_int64(count, 1, 0);
			assert_int_equal(store_step(count), STORE_ROW);
			assert_int_equal(store_column_int64(count, 0), 1);
			store_reset(count);
		}
		cut(w, other);
		assert_int_equal(store_step(count), STORE_BROKEN);
		assert_int_equal(store_failed(&w->control.store), ERR_STORE_AWAY);
		store_reset(count);
		assert_int_equal(store_begin(&w->control.store), ERR_STORE_AWAY); /* at once, and says so again */
		assert_non_null(strstr(w->control.store.problem, "the database is away"));
		come_back(w);
	}
	/* The tables go on where they were, by old statements, too. */
	run_bare(other, "INSERT INTO regions(name) VALUES ('b')");
	assert_int_equal(publish_changes(&w->control.publish, w->now_ns), ERR_OK);
	assert_int_equal(w->control.publish.entries[NOUN_REGION].count, 2);
	store_finalize(count);
	PQfinish(other);
	world_free(w);
}

static void
a_transaction_that_is_cut_leaves_nothing(void **state)
{
	struct world *w = world_make();
	struct store *store = &w->control.store;
	PGconn *other = connect_bare(w);

	(void)state;
	assert_int_equal(store_begin(store), ERR_OK);
	assert_int_equal(store_run_script(store, "INSERT INTO regions(name) VALUES ('a')"), ERR_OK);
	cut(w, other);
	assert_int_equal(store_run_script(store, "INSERT INTO regions(name) VALUES ('b')"), ERR_STORE_AWAY);
	come_back(w);
	assert_int_equal(world_number(w, "SELECT count(*) FROM regions"), 0);
	assert_int_equal(store_begin(store), ERR_OK);
	assert_int_equal(store_run_script(store, "INSERT INTO regions(name) VALUES ('c')"), ERR_OK);
	cut(w, other);
	assert_int_equal(store_commit(store), ERR_STORE_AWAY);
	assert_non_null(strstr(store->problem, "not known"));
	come_back(w);
	assert_int_equal(world_number(w, "SELECT count(*) FROM regions"), 0);
	PQfinish(other);
	world_free(w);
}

static enum err
post_regions(struct store *store, struct statement *put, int count)
{
	enum err verdict = store_begin(store);

	for (int i = 0; i < count && verdict == ERR_OK; i++) {
		char name[16];

		snprintf(name, sizeof(name), "region %d", i);
		store_bind_text(put, 1, bytes_from_text(name));
		verdict = store_post(put, NULL);
	}
	return verdict;
}

/* Of what was under way nothing is there, the next connection knows nothing of it, and statements go on. */
static void
a_flight_that_is_cut_leaves_nothing(void **state)
{
	struct world *w = world_make();
	struct store *store = &w->control.store;
	struct statement *put = store_prepare(store, "INSERT INTO regions(name) VALUES (?1)");
	PGconn *other = connect_bare(w);

	(void)state;
	for (int life = 0; life < 4; life++) {
		assert_int_equal(post_regions(store, put, 20), ERR_OK);
		if (life % 2 == 0)
			assert_int_equal(store_settle(store), ERR_OK);
		cut(w, other);
		if (life == 1)
			assert_int_equal(store_settle(store), ERR_STORE_AWAY);
		assert_int_equal(store_commit(store), ERR_STORE_AWAY);
		assert_non_null(strstr(store->problem, "the database"));
		assert_int_equal(post_regions(store, put, 1), ERR_STORE_AWAY);
		come_back(w);
		assert_int_equal(world_number(w, "SELECT count(*) FROM regions"), 0);
	}
	assert_int_equal(post_regions(store, put, 20), ERR_OK);
	assert_int_equal(store_commit(store), ERR_OK);
	assert_int_equal(world_number(w, "SELECT count(*) FROM regions"), 20);
	store_finalize(put);
	PQfinish(other);
	world_free(w);
}

static enum err
add_batch(struct world *w, struct ledger *ledger, PGconn *cutter)
{
	enum err verdict = ledger_begin(ledger);

	for (uint64_t i = 1; i <= 200 && verdict == ERR_OK; i++) {
		struct usage_record record = { .sequence = i, .account_id = 1 + i % 2, .cost_nano = 3 };

		if (i == 150 && cutter != NULL)
			cut(w, cutter);
		verdict = ledger_add(ledger, 7, 0, &record);
	}
	return ledger_end(ledger, verdict);
}

/* The ledger's records come again after whatever went wrong, and are paid for once. */
static void
a_batch_that_is_cut_is_billed_once(void **state)
{
	struct world *w = world_make();
	struct ledger *ledger = &w->control.ledger;
	PGconn *other = connect_bare(w);

	(void)state;
	world_put(w, NOUN_ACCOUNT, "a", "{}");
	world_put(w, NOUN_ACCOUNT, "b", "{}");
	assert_int_equal(add_batch(w, ledger, other), ERR_STORE_AWAY);
	assert_int_equal(ledger->records, 0);
	come_back(w);
	assert_int_equal(world_number(w, "SELECT count(*) FROM ledger"), 0);
	assert_int_equal(add_batch(w, ledger, NULL), ERR_OK);
	assert_int_equal(ledger->records, 200);
	assert_int_equal(add_batch(w, ledger, NULL), ERR_OK); /* as if its answer had been lost */
	assert_int_equal(ledger->replayed, 200);
	assert_int_equal(ledger->batch.spending_count, 0);
	assert_int_equal(world_number(w, "SELECT count(*) FROM ledger"), 200);
	assert_int_equal(world_number(w, "SELECT spent_nano FROM accounts WHERE id = 1"), 300);
	assert_int_equal(world_number(w, "SELECT CAST(sum(spent_nano) AS BIGINT) FROM node_spending"), 600);
	PQfinish(other);
	world_free(w);
}

/* COMMIT of a failed transaction is a rollback that the server calls a success. */
static void
a_failed_transaction_is_not_committed(void **state)
{
	struct world *w = world_make();
	struct store *store = &w->control.store;

	(void)state;
	assert_int_equal(store_begin(store), ERR_OK);
	assert_int_equal(store_run_script(store, "INSERT INTO regions(name) VALUES ('a')"), ERR_OK);
	assert_int_equal(store_run_script(store, "INSERT INTO regions(name) VALUES ('a')"), ERR_STORE_CONFLICT);
	assert_int_equal(store_commit(store), ERR_STORE_FAILED);
	assert_int_equal(world_number(w, "SELECT count(*) FROM regions"), 0);
	world_free(w);
}

/* A writer that has its number and not committed yet holds up those who would get a higher one. */
static void
changes_come_in_the_order_of_their_commits(void **state)
{
	struct world *w = world_make();
	PGconn *first = connect_bare(w), *second = connect_bare(w);

	(void)state;
	run_bare(first, "BEGIN; INSERT INTO regions(name) VALUES ('first')");
	assert_int_equal(PQsendQuery(second, "INSERT INTO regions(name) VALUES ('second')"), 1);
	for (int i = 0; i < 20; i++) { /* it cannot have been let in before the first is through */
		assert_int_equal(PQconsumeInput(second), 1);
		assert_int_equal(PQisBusy(second), 1);
		assert_int_equal(publish_changes(&w->control.publish, w->now_ns), ERR_OK);
		assert_int_equal(w->control.publish.entries[NOUN_REGION].count, 0);
		poll(NULL, 0, 10);
	}
	run_bare(first, "COMMIT");
	PQclear(PQgetResult(second));
	assert_string_equal(PQerrorMessage(second), "");
	assert_int_equal(publish_changes(&w->control.publish, w->now_ns), ERR_OK);
	assert_int_equal(w->control.publish.entries[NOUN_REGION].count, 2);
	assert_int_equal(world_number(w, "SELECT id FROM changes ORDER BY seq LIMIT 1"), 1);
	PQfinish(first);
	PQfinish(second);
	world_free(w);
}

struct writer {
	pthread_t thread;
	PGconn *conn;
	int number;
	int done;
};

/* Two statements a transaction, in an order that would lock up if rows were locked first. */
static void *
write_much(void *owner)
{
	struct writer *writer = owner;

	for (int i = 0; i < 50; i++) {
		char sql[256];
		PGresult *result;

		snprintf(sql, sizeof(sql), "BEGIN; UPDATE plans SET burst = %d WHERE id = %d;"
			 "UPDATE plans SET burst = %d WHERE id = %d;"
			 " INSERT INTO regions(name) VALUES ('%d-%d'); COMMIT",
			 i, 1 + writer->number % 2, i, 2 - writer->number % 2, writer->number, i);
		result = PQexec(writer->conn, sql);
		writer->done += PQresultStatus(result) == PGRES_COMMAND_OK;
		PQclear(result);
	}
	return NULL;
}

/* A reader that remembers the highest number misses none of many writers' rows. */
static void
a_reader_misses_nothing_of_many_writers(void **state)
{
	struct world *w = world_make();
	struct statement *read = store_prepare(&w->control.store, "SELECT seq, kind FROM changes WHERE seq > ?1"
								  " ORDER BY seq");
	struct writer writers[4] = { 0 };
	int64_t seq = 0, regions = 0;
	int running = 1;

	(void)state;
	world_sql(w, "INSERT INTO plans(name) VALUES ('a'), ('b')");
	for (int i = 0; i < 4; i++) {
		writers[i].number = i;
		writers[i].conn = connect_bare(w);
		pthread_create(&writers[i].thread, NULL, write_much, &writers[i]);
	}
	for (int rounds = 0; running || rounds == 0; rounds = running ? 0 : rounds + 1) {
		running = world_number(w, "SELECT count(*) FROM regions") < 200;
		store_bind_int64(read, 1, seq);
		while (store_step(read) == STORE_ROW) {
			seq = store_column_int64(read, 0);
			regions += store_column_int64(read, 1) == NOUN_REGION;
		}
		store_reset(read);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(writers[i].thread, NULL);
		assert_int_equal(writers[i].done, 50); /* nobody was a deadlock's victim */
		PQfinish(writers[i].conn);
	}
	assert_int_equal(regions, 200);
	store_finalize(read);
	world_free(w);
}

static void *
open_and_close(void *owner)
{
	struct store store;
	enum err verdict = store_connect(&store, owner);

	if (verdict == ERR_OK)
		store_close(&store);
	return verdict == ERR_OK ? owner : NULL;
}

static void
routers_that_start_together_migrate_once(void **state)
{
	struct world w = { .folder = WORLD_FOLDER };
	pthread_t threads[5];

	(void)state;
	assert_non_null(mkdtemp(w.folder));
	world_make_schema(&w);
	for (int i = 0; i < 5; i++)
		pthread_create(&threads[i], NULL, open_and_close, w.where);
	for (int i = 0; i < 5; i++) {
		void *good;

		pthread_join(threads[i], &good);
		assert_non_null(good);
	}
	assert_int_equal(world_open_store(&w, &w.control.store), ERR_OK);
	assert_int_equal(world_number(&w, "SELECT version FROM schema_version"), SCHEMA_VERSION);
	assert_int_equal(world_number(&w, "SELECT count(*) FROM schema_version"), 1);
	store_close(&w.control.store);
	world_remove_store(&w);
}

/* The transaction of a router that was cut off may still be alive when the router is back. */
static void
who_waits_for_a_lock_gives_up_and_is_told_to_come_again(void **state)
{
	struct world *w = world_make();
	PGconn *other = connect_bare(w);

	(void)state;
	world_sql(w, "SET lock_timeout = 50; INSERT INTO plans(name) VALUES ('a')");
	run_bare(other, "BEGIN; UPDATE plans SET burst = 1");
	assert_int_equal(store_run_script(&w->control.store, "UPDATE plans SET burst = 2"), ERR_STORE_AWAY);
	run_bare(other, "COMMIT");
	assert_int_equal(store_run_script(&w->control.store, "UPDATE plans SET burst = 2"), ERR_OK);
	PQfinish(other);
	world_free(w);
}

/* Another router puts the pod into a deployment while it is deleted here: the deletion waits, and is refused. */
static void
what_another_router_refers_to_is_not_deleted(void **state)
{
	struct world *w = world_make();
	PGconn *other = connect_bare(w);
	PGresult *result;

	(void)state;
	world_put(w, NOUN_REGION, "r", "{}");
	world_put(w, NOUN_MODEL, "m", "{}");
	world_put(w, NOUN_POD, "p", "{\"address\":\"::1\",\"port\":1}");
	world_put(w, NOUN_DEPLOYMENT, "d", "{\"model\":\"m\",\"region\":\"r\"}");
	run_bare(other, "BEGIN; INSERT INTO deployment_pods VALUES (1, 1, 0)");
	assert_int_equal(PQsendQuery(other, "SELECT pg_sleep(0.3); COMMIT"), 1);
	assert_int_equal(noun_delete(&w->control.store, NOUN_POD, 1), ERR_STORE_CONFLICT);
	assert_string_equal(w->control.store.problem, "pod p is still in deployment d: take it out first "
						      "(sluicectl deployment set d --pods '')");
	while ((result = PQgetResult(other)) != NULL)
		PQclear(result);
	assert_int_equal(world_number(w, "SELECT count(*) FROM deployment_pods"), 1);
	PQfinish(other);
	world_free(w);
}

static void
a_name_lives_once(void **state)
{
	struct world *w = world_make();
	struct node first, second;
	char folder[100];

	(void)state;
	snprintf(folder, sizeof(folder), "%s/other", w->folder);
	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(node_claim(&first, &w->control.store, w->spool_path), ERR_OK);
	assert_int_equal(node_claim(&second, &w->control.store, folder), ERR_STORE_CONFLICT); /* its name */
	assert_non_null(strstr(w->control.store.problem, "another router named \"test\" lives"));
	assert_int_equal(node_turn(&first, 7, 1), ERR_OK);
	assert_int_equal(world_number(w, "SELECT change_seq FROM nodes"), 7);
	/* It dies; after the lease, another may have the name, and then this one is told. */
	world_sql(w, "UPDATE nodes SET beat_at = beat_at - 16");
	assert_int_equal(node_claim(&second, &w->control.store, folder), ERR_OK);
	assert_int_equal(node_turn(&first, 8, 1 + NODE_BEAT_MS * NSEC_PER_MSEC), ERR_STORE_CONFLICT);
	node_release(&second);
	node_release(&first);
	assert_int_equal(node_claim(&first, &w->control.store, w->spool_path), ERR_OK); /* given up: at once */
	node_release(&first);
	for (int i = 0; i < 2; i++) {
		char path[120];

		snprintf(path, sizeof(path), "%s/node.id", i == 0 ? folder : w->spool_path);
		unlink(path);
	}
	rmdir(folder);
	world_free(w);
}

struct clone {
	struct world *w;
	_Atomic bool is_to_end;
};

/* The original beats, as often as it can. */
static void *
live_on(void *owner)
{
	struct clone *clone = owner;
	PGconn *conn = connect_bare(clone->w);

	while (!atomic_load(&clone->is_to_end)) {
		PQclear(PQexec(conn, "UPDATE nodes SET beat_at = beat_at + 1"));
		poll(NULL, 0, 20);
	}
	PQfinish(conn);
	return NULL;
}

/* A machine was cloned with its spool folder: both have the same id. One that has crashed only starts again. */
static void
a_clone_does_not_start_beside_its_original(void **state)
{
	struct world *w = world_make();
	struct clone clone = { .w = w };
	struct node original, copy;
	char folder[100], path[120], own[120];
	pthread_t thread;
	int file;

	(void)state;
	assert_int_equal(node_claim(&original, &w->control.store, w->spool_path), ERR_OK);
	snprintf(own, sizeof(own), "%s/node.id", w->spool_path);
	snprintf(folder, sizeof(folder), "%s/copy", w->folder);
	snprintf(path, sizeof(path), "%s/node.id", folder);
	assert_int_equal(mkdir(folder, 0700), 0);
	file = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(write(file, original.id, 32), 32);
	close(file);
	pthread_create(&thread, NULL, live_on, &clone);
	assert_int_equal(node_claim(&copy, &w->control.store, folder), ERR_STORE_CONFLICT);
	assert_non_null(strstr(w->control.store.problem, "cloned"));
	atomic_store(&clone.is_to_end, true);
	pthread_join(thread, NULL);
	/* Nobody beats: the lease is a crash's. If it was none, the original is told. */
	assert_int_equal(node_claim(&copy, &w->control.store, folder), ERR_OK);
	assert_int_equal(node_turn(&copy, 1, 1), ERR_OK);
	assert_int_equal(node_turn(&original, 1, 1), ERR_STORE_CONFLICT);
	node_release(&original);
	assert_int_equal(world_number(w, "SELECT count(*) FROM nodes WHERE beat_at > 0"), 1);
	node_release(&copy);
	assert_int_equal(world_number(w, "SELECT count(*) FROM nodes WHERE beat_at > 0"), 0);
	unlink(path);
	unlink(own);
	rmdir(folder);
	world_free(w);
}

/* What others have spent is told within one look, and is not deleted before all have read it. */
static void
what_others_spend_is_told(void **state)
{
	struct world *w = world_make();
	struct shm_balance_cell *cell;
	bool credited;

	(void)state;
	world_put(w, NOUN_ACCOUNT, "a", "{}");
	assert_int_equal(store_top_up(&w->control.store, 1, 1000, "", &credited), ERR_OK);
	control_publish(&w->control);
	cell = shm_balance(&w->control.publish.shm, 0);
	world_sql(w, "UPDATE accounts SET spent_nano = 350;"
		     "INSERT INTO node_spending(node, account_id, spent_nano) VALUES"
		     " ('test', 1, 50), ('other', 1, 300)");
	assert_int_equal(atomic_load(&cell->elsewhere_nano), 0);
	assert_int_equal(publish_spending(&w->control.publish, w->now_ns), ERR_OK);
	assert_int_equal(atomic_load(&cell->elsewhere_nano), 300);
	assert_int_equal(atomic_load(&cell->credited_nano), 1000);
	world_sql(w, "UPDATE accounts SET spent_nano = 360; UPDATE node_spending SET spent_nano = 310"
		     " WHERE node = 'other'");
	assert_int_equal(publish_spending(&w->control.publish, w->now_ns), ERR_OK); /* not yet time */
	assert_int_equal(atomic_load(&cell->elsewhere_nano), 300);
	assert_int_equal(publish_spending(&w->control.publish, w->now_ns + PUBLISH_SPENDING_NS), ERR_OK);
	assert_int_equal(atomic_load(&cell->elsewhere_nano), 310);
	world_free(w);
}

static void
changes_stay_until_every_living_router_has_read_them(void **state)
{
	struct world *w = world_make();

	(void)state;
	world_sql(w, "INSERT INTO nodes(name, id, beat_at, change_seq) VALUES"
		     " ('slow', 'x', CAST(extract(epoch FROM now()) AS BIGINT), 2),"
		     " ('dead', 'y', CAST(extract(epoch FROM now()) AS BIGINT) - 100, 0)");
	for (int i = 0; i < 5; i++)
		world_sql(w, "INSERT INTO regions(name) SELECT 'r' || count(*) FROM regions");
	control_publish(&w->control);
	w->now_ns += PUBLISH_ROUND_NS;
	assert_int_equal(publish_all(&w->control.publish, w->now_ns), ERR_OK);
	assert_int_equal(world_number(w, "SELECT min(seq) FROM changes"), 3);
	world_sql(w, "UPDATE nodes SET change_seq = 5");
	assert_int_equal(publish_all(&w->control.publish, w->now_ns + PUBLISH_ROUND_NS), ERR_OK);
	assert_int_equal(world_number(w, "SELECT count(*) FROM changes"), 0);
	world_free(w);
}

static void
a_connection_string_is_never_repeated(void **state)
{
	static const char *const wrong[] = {
		"postgresql://u:hunter@2@host/db", "postgresql://u:hun/ter2@host/db", "host=h password='hunter2",
		"postgresql://u:hunter2@[::1/db", "hunter2", "password=hunter 2",
		"password=hunter2 host=h",
		"postgresql://u:hunter2@h/db",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		struct store store;

		assert_int_equal(store_connect(&store, wrong[i]), ERR_STORE_INVALID);
		assert_null(strstr(store.problem, "hun"));
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(statements_outlive_the_connection),
		cmocka_unit_test(a_transaction_that_is_cut_leaves_nothing),
		cmocka_unit_test(a_flight_that_is_cut_leaves_nothing),
		cmocka_unit_test(a_batch_that_is_cut_is_billed_once),
		cmocka_unit_test(a_failed_transaction_is_not_committed),
		cmocka_unit_test(changes_come_in_the_order_of_their_commits),
		cmocka_unit_test(a_reader_misses_nothing_of_many_writers),
		cmocka_unit_test(routers_that_start_together_migrate_once),
		cmocka_unit_test(who_waits_for_a_lock_gives_up_and_is_told_to_come_again),
		cmocka_unit_test(what_another_router_refers_to_is_not_deleted),
		cmocka_unit_test(a_name_lives_once),
		cmocka_unit_test(a_clone_does_not_start_beside_its_original),
		cmocka_unit_test(what_others_spend_is_told),
		cmocka_unit_test(changes_stay_until_every_living_router_has_read_them),
		cmocka_unit_test(a_connection_string_is_never_repeated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

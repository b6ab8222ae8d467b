#pragma once

/*
 * world: a store in a temporary folder and the tables it is published to, for control's unit tests.
 *
 * With SLUICE_TEST_POSTGRES (a connection string as "host=… dbname=… user=…") every world is a schema of its own
 * in that database instead: the same tests say the same of both drivers.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <libpq-fe.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "control.h"
#include "noun.h"

/* In memory: what a store keeps through a power cut is not tested here, and each commit would wait for a disk. */
#define WORLD_FOLDER "/dev/shm/sluice-test-XXXXXX"

struct world {
	struct control control;
	char folder[64];
	char store_path[80];
	char where[200]; /* of PostgreSQL; empty: SQLite */
	char spool_path[80];
	char config_path[96];
	struct config config;
	uint64_t now_ns;
};

static const struct shm_capacity world_capacity = { .count = {
	[SHM_KEYS] = 32, [SHM_ACCOUNTS] = 8, [SHM_PLANS] = 8, [SHM_MODELS] = 8,
	[SHM_ALIASES] = 8, [SHM_PRICES] = 8, [SHM_INSTANCES] = 8, [SHM_DEPLOYMENTS] = 8,
	[SHM_PODS] = 8, [SHM_REGIONS] = 4,
} };

static inline void
world_make_shm(struct world *w)
{
	static const uint8_t instance_id[16] = { 1 };
	uint64_t bytes = shm_bytes(&world_capacity, 1);
	void *memory = aligned_alloc(CACHE_LINE_BYTES, bytes);

	assert_non_null(memory);
	memset(memory, 0, bytes);
	shm_format(memory, &world_capacity, 1, instance_id, w->control.pepper);
	assert_int_equal(shm_attach(&w->control.share.shm, memory, bytes), ERR_OK);
}

static inline void
world_attach(struct world *w)
{
	assert_int_equal(publish_init(&w->control.publish, &w->control.store,
				      w->control.share.shm, w->now_ns), ERR_OK);
	assert_int_equal(publish_all(&w->control.publish, w->now_ns), ERR_OK);
}

static inline void
world_complain(void *owner, const char *text)
{
	(void)owner;
	fail_msg("%s", text);
}

/* What runs is what a file in the folder says. */
static inline void
world_configure(struct world *w)
{
	/* A reload reads them. */
	static const char text[] = "ports: [{device: net_tap0, addresses: [192.0.2.1/24]}]\n"
				   "listeners: [{certificates: [{chain: " SUPPORT_CERT_FOLDER "/edge.pem, key: "
				   SUPPORT_CERT_FOLDER "/edge.key}]}]\n";
	static const struct config_complaints complaints = { .line = world_complain };
	FILE *file;

	snprintf(w->config_path, sizeof(w->config_path), "%s/sluice.yaml", w->folder);
	file = fopen(w->config_path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(config_load(&w->config, w->config_path, &complaints), ERR_OK);
	w->control.reload.path = w->config_path;
	w->control.reload.folder = w->folder;
	w->control.reload.running = &w->config;
	assert_int_equal(config_read(w->config_path, &w->control.reload.now.text, &complaints), ERR_OK);
}

static inline bool
world_is_postgres(void)
{
	return getenv("SLUICE_TEST_POSTGRES") != NULL;
}

/* Another connection to the same store. */
static inline enum err
world_open_store(const struct world *w, struct store *store)
{
	return w->where[0] != '\0' ? store_connect(store, w->where) : store_open(store, w->store_path);
}

/* A schema that nobody has used; named like the folder. */
static inline void
world_make_schema(struct world *w)
{
	const char *name = strrchr(w->folder, '-') + 1, *server = getenv("SLUICE_TEST_POSTGRES");
	PGconn *conn = PQconnectdb(server);
	char sql[64];

	snprintf(sql, sizeof(sql), "CREATE SCHEMA \"%s\"", name);
	PQclear(PQexec(conn, sql));
	assert_string_equal(PQerrorMessage(conn), "");
	PQfinish(conn);
	snprintf(w->where, sizeof(w->where), "%s options='-c search_path=\"%s\"'", server, name);
}

static inline void
world_drop_schema(const struct world *w)
{
	PGconn *conn = PQconnectdb(w->where);
	char sql[64];

	snprintf(sql, sizeof(sql), "DROP SCHEMA \"%s\" CASCADE", strrchr(w->folder, '-') + 1);
	PQclear(PQexec(conn, "SET client_min_messages = warning"));
	PQclear(PQexec(conn, sql));
	assert_string_equal(PQerrorMessage(conn), "");
	PQfinish(conn);
}

/* An empty store is made once: reading its migrations takes longer than most tests. */
static inline void
world_put_template(const struct world *w)
{
	static uint8_t template[4 * 1024 * 1024];
	static size_t bytes;
	struct store store;
	FILE *file;

	if (bytes == 0) {
		assert_int_equal(store_open(&store, w->store_path), ERR_OK);
		store_close(&store);
		file = fopen(w->store_path, "r");
		assert_non_null(file);
		bytes = fread(template, 1, sizeof(template), file);
		assert_in_range(bytes, 1, sizeof(template) - 1);
	} else {
		file = fopen(w->store_path, "w");
		assert_non_null(file);
		assert_int_equal(fwrite(template, 1, bytes, file), bytes);
	}
	assert_int_equal(fclose(file), 0);
}

static inline struct world *
world_make(void)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	snprintf(w->folder, sizeof(w->folder), WORLD_FOLDER);
	assert_non_null(mkdtemp(w->folder));
	snprintf(w->store_path, sizeof(w->store_path), "%s/store", w->folder);
	snprintf(w->spool_path, sizeof(w->spool_path), "%s/spool", w->folder);
	w->now_ns = 1000 * NSEC_PER_SEC;
	w->control.instance = "test";
	w->control.key_prefixes[SHM_SURFACE_ECOLINK] = "eco_";
	w->control.key_prefixes[SHM_SURFACE_INFER] = "sk-infer-";
	w->control.key_prefixes[SHM_SURFACE_THIRD] = "sk-third-";
	w->control.key_prefixes[SHM_SURFACE_FOURTH] = "sk-fourth-";
	if (world_is_postgres())
		world_make_schema(w);
	else
		world_put_template(w);
	assert_int_equal(world_open_store(w, &w->control.store), ERR_OK);
	assert_int_equal(store_pepper(&w->control.store, w->control.pepper), ERR_OK);
	assert_int_equal(ledger_init(&w->control.ledger, &w->control.store, "test", w->spool_path),
			 ERR_OK);
	assert_int_equal(tickets_init(&w->control.tickets, &w->control.store, 0, 0), ERR_OK);
	tabs_init(&w->control.tabs, &w->control.ledger);
	assert_int_equal(reconcile_init(&w->control.reconcile, &w->control.tabs), ERR_OK);
	world_make_shm(w);
	world_attach(w);
	world_configure(w);
	return w;
}

/* Control dies and comes back: the tables stay as they are, all else is made again. */
static inline void
world_restart(struct world *w)
{
	publish_fini(&w->control.publish);
	reconcile_fini(&w->control.reconcile);
	tabs_fini(&w->control.tabs);
	ledger_fini(&w->control.ledger);
	store_close(&w->control.store);
	assert_int_equal(world_open_store(w, &w->control.store), ERR_OK);
	assert_int_equal(ledger_init(&w->control.ledger, &w->control.store, "test", w->spool_path),
			 ERR_OK);
	tabs_init(&w->control.tabs, &w->control.ledger);
	assert_int_equal(reconcile_init(&w->control.reconcile, &w->control.tabs), ERR_OK);
	world_attach(w);
}

/* The store's files or schema, and the folder. */
static inline void
world_remove_store(struct world *w)
{
	static const char *const ends[] = { "", "-wal", "-shm" };
	char path[128];

	if (w->where[0] != '\0')
		world_drop_schema(w);
	for (size_t i = 0; i < COUNT_OF(ends); i++) {
		snprintf(path, sizeof(path), "%s%s", w->store_path, ends[i]);
		unlink(path);
	}
	rmdir(w->folder);
}

static inline void
world_free(struct world *w)
{
	char path[128];

	publish_fini(&w->control.publish);
	reconcile_fini(&w->control.reconcile);
	tabs_fini(&w->control.tabs);
	tickets_fini(&w->control.tickets);
	ledger_fini(&w->control.ledger);
	store_close(&w->control.store);
	free(w->control.share.shm.header);
	reload_fini(&w->control.reload);
	unlink(w->config_path);
	snprintf(path, sizeof(path), "%s/test.settings", w->folder);
	unlink(path);
	rmdir(w->spool_path);
	world_remove_store(w);
	free(w);
}

/* Makes or changes an object and publishes it; returns its id. */
static inline int64_t
world_put(struct world *w, enum noun noun, const char *name, const char *json)
{
	yyjson_doc *body = yyjson_read(json, strlen(json), 0);
	struct bytes reference = bytes_from_text(name);
	int64_t id = 0;
	bool created;
	enum err verdict;

	assert_non_null(body);
	if (name[0] != '\0' && noun_resolve(&w->control.store, noun, reference, &id) != ERR_OK)
		id = 0;
	verdict = noun_put(&w->control.store, noun, &id, reference, yyjson_doc_get_root(body), NULL,
			   0, &created);
	if (verdict != ERR_OK)
		print_message("%s: %s\n", name, w->control.store.problem);
	assert_int_equal(verdict, ERR_OK);
	yyjson_doc_free(body);
	assert_int_equal(publish_changes(&w->control.publish, w->now_ns), ERR_OK);
	return id;
}

static inline void
world_sql(struct world *w, const char *sql)
{
	enum err verdict = store_run_script(&w->control.store, sql);

	if (verdict != ERR_OK)
		print_message("%s: %s\n", sql, w->control.store.problem);
	assert_int_equal(verdict, ERR_OK);
}

/* A statement with one value, ?1. */
static inline void
world_sql_blob(struct world *w, const char *sql, struct bytes blob)
{
	struct statement *statement = store_prepare(&w->control.store, sql);

	assert_non_null(statement);
	store_bind_blob(statement, 1, blob);
	assert_int_equal(store_run(&w->control.store, statement), ERR_OK);
	store_finalize(statement);
}

static inline int64_t
world_number(struct world *w, const char *sql)
{
	struct statement *statement = store_prepare(&w->control.store, sql);
	int64_t number;

	assert_non_null(statement);
	assert_int_equal(store_step(statement), STORE_ROW);
	number = store_column_int64(statement, 0);
	store_finalize(statement);
	return number;
}

/* control.c's share of the program, for the API's sake. */
void
control_publish(struct control *control)
{
	assert_int_equal(publish_changes(&control->publish, 1000 * NSEC_PER_SEC), ERR_OK);
}

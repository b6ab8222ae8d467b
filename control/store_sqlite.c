/* The store in one file, with a write-ahead log. Every commit is on disk when it returns (synchronous = FULL). */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "clock.h"
#include "driver.h"
#include "schema.h"

#define BUSY_TIMEOUT_MS 500 /* for another process's commit; longer than any sane one */

struct sqlite {
	sqlite3 *db;
	int64_t data_version;
	uint64_t until_cpu_ns; /* store_limit() */
	uint64_t until_ns;
};

struct sqlite_statement {
	struct statement base;
	sqlite3 *db;
	sqlite3_stmt *stmt;
};

static struct sqlite *
sqlite_of(struct store *store)
{
	return store->handle;
}

static sqlite3_stmt *
stmt_of(struct statement *statement)
{
	return ((struct sqlite_statement *)statement)->stmt;
}

/* A constraint's refusal as a sentence; what the database says of it names columns. */
static const char *
sentence_of(int code, const char *message)
{
	static const char check[] = "CHECK constraint failed: ";

	switch (code) {
	case SQLITE_CONSTRAINT_FOREIGNKEY:
		return STORE_REFERRED;
	case SQLITE_CONSTRAINT_UNIQUE:
	case SQLITE_CONSTRAINT_PRIMARYKEY:
	case SQLITE_CONSTRAINT_ROWID:
		return STORE_TAKEN;
	case SQLITE_CONSTRAINT_NOTNULL:
		return STORE_MISSING;
	case SQLITE_CONSTRAINT_DATATYPE:
		return STORE_OVERFLOW; /* a sum that has become a floating point number */
	case SQLITE_CONSTRAINT_CHECK: /* the constraint's name is a sentence */
		return strncmp(message, check, strlen(check)) == 0 ? message + strlen(check) : message;
	default:
		return message; /* a trigger's own */
	}
}

static enum err
sqlite_failed(struct store *store)
{
	sqlite3 *db = sqlite_of(store)->db;
	int code = sqlite3_extended_errcode(db);

	if ((code & 0xff) == SQLITE_INTERRUPT)
		return store_refuse(store, ERR_STORE_TOO_LONG, "it takes too long");
	return store_refuse(store,
			    (code & 0xff) == SQLITE_CONSTRAINT ? ERR_STORE_CONFLICT : ERR_STORE_FAILED, "%s",
			    sentence_of(code, sqlite3_errmsg(db)));
}

static enum err
sqlite_run_script(struct store *store, const char *sql)
{
	int code = sqlite3_exec(sqlite_of(store)->db, sql, NULL, NULL, NULL);

	return code == SQLITE_OK ? ERR_OK : sqlite_failed(store);
}

/* --- statements -------------------------------------------------------------------------- */

static struct statement *
sqlite_prepare(struct store *store, const char *sql)
{
	sqlite3 *db = sqlite_of(store)->db;
	struct sqlite_statement *statement = malloc(sizeof(*statement));

	if (statement == NULL) {
		store_refuse(store, ERR_STORE_FAILED, "no memory for a statement");
		return NULL;
	}
	*statement = (struct sqlite_statement){ .db = db };
	if (sqlite3_prepare_v2(db, sql, -1, &statement->stmt, NULL) != SQLITE_OK) {
		sqlite_failed(store);
		free(statement);
		return NULL;
	}
	return &statement->base;
}

static void
sqlite_finalize(struct statement *statement)
{
	sqlite3_finalize(stmt_of(statement));
	free(statement);
}

static void
sqlite_bind_null(struct statement *statement, int at)
{
	CHECK(sqlite3_bind_null(stmt_of(statement), at) == SQLITE_OK);
}

static void
sqlite_bind_int64(struct statement *statement, int at, int64_t value)
{
	CHECK(sqlite3_bind_int64(stmt_of(statement), at, value) == SQLITE_OK);
}

static void
sqlite_bind_text(struct statement *statement, int at, struct bytes text)
{
	const char *ptr = text.len > 0 ? (const char *)text.ptr : "";

	CHECK(sqlite3_bind_text(stmt_of(statement), at, ptr, (int)text.len, SQLITE_TRANSIENT) == SQLITE_OK);
}

static void
sqlite_bind_blob(struct statement *statement, int at, struct bytes blob)
{
	CHECK(sqlite3_bind_blob(stmt_of(statement), at, blob.len > 0 ? (const void *)blob.ptr : "",
				(int)blob.len, SQLITE_TRANSIENT) == SQLITE_OK);
}

static enum store_step
sqlite_step(struct statement *statement)
{
	switch (sqlite3_step(stmt_of(statement))) {
	case SQLITE_ROW:
		return STORE_ROW;
	case SQLITE_DONE:
		return STORE_DONE;
	default:
		return STORE_BROKEN;
	}
}

static void
sqlite_reset(struct statement *statement)
{
	sqlite3_reset(stmt_of(statement)); /* what it returns is what the step has told */
}

/* The file answers at once. */
static enum err
sqlite_post(struct statement *statement, int64_t *changes)
{
	enum err verdict = store_run(statement->store, statement);

	if (verdict == ERR_OK && changes != NULL)
		*changes = sqlite3_changes(((struct sqlite_statement *)statement)->db);
	return verdict;
}

static enum err
sqlite_settle(struct store *store)
{
	(void)store;
	return ERR_OK;
}

static int64_t
sqlite_changes(struct statement *statement)
{
	return sqlite3_changes(((struct sqlite_statement *)statement)->db);
}

static int
sqlite_column_count(struct statement *statement)
{
	return sqlite3_column_count(stmt_of(statement));
}

static const char *
sqlite_column_name(struct statement *statement, int at)
{
	return sqlite3_column_name(stmt_of(statement), at);
}

static enum store_kind
sqlite_column_kind(struct statement *statement, int at)
{
	switch (sqlite3_column_type(stmt_of(statement), at)) {
	case SQLITE_NULL:
		return STORE_NULL;
	case SQLITE_INTEGER:
		return STORE_INTEGER;
	case SQLITE_BLOB:
		return STORE_BLOB;
	default:
		return STORE_TEXT;
	}
}

static int64_t
sqlite_column_int64(struct statement *statement, int at)
{
	return sqlite3_column_int64(stmt_of(statement), at);
}

static struct bytes
sqlite_column_text(struct statement *statement, int at)
{
	const unsigned char *text = sqlite3_column_text(stmt_of(statement), at);

	if (text == NULL)
		return BYTES_NONE;
	return bytes_make(text, (size_t)sqlite3_column_bytes(stmt_of(statement), at));
}

static struct bytes
sqlite_column_blob(struct statement *statement, int at)
{
	const void *blob = sqlite3_column_blob(stmt_of(statement), at);

	if (blob == NULL)
		return BYTES_NONE;
	return bytes_make(blob, (size_t)sqlite3_column_bytes(stmt_of(statement), at));
}

/* --- transactions ------------------------------------------------------------------------ */

static enum err
sqlite_begin(struct store *store)
{
	return sqlite_run_script(store, "BEGIN IMMEDIATE");
}

static enum err
sqlite_commit(struct store *store)
{
	return sqlite_run_script(store, "COMMIT");
}

static void
sqlite_rollback(struct store *store)
{
	sqlite3 *db = sqlite_of(store)->db;

	/* Fails when SQLite has rolled back by itself, which is as good. */
	if (!sqlite3_get_autocommit(db))
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
}

/* --- opening ----------------------------------------------------------------------------- */

static enum err
read_number(struct store *store, const char *sql, int64_t *number)
{
	struct statement *statement = store_prepare(store, sql);
	enum err verdict = ERR_OK;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	if (sqlite_step(statement) == STORE_ROW)
		*number = sqlite_column_int64(statement, 0);
	else
		verdict = sqlite_failed(store);
	sqlite_finalize(statement);
	return verdict;
}

static enum err
migrate(struct store *store)
{
	enum err verdict = store_begin(store);
	int64_t version = 0;
	char sql[64];

	if (verdict != ERR_OK)
		return verdict;
	verdict = read_number(store, "PRAGMA user_version", &version);
	if (verdict == ERR_OK && version > SCHEMA_VERSION)
		verdict = store_refuse(store, ERR_STORE_NEWER,
				       "the store has schema %lld, this release knows %d",
				       (long long)version, SCHEMA_VERSION);
	for (; verdict == ERR_OK && version < SCHEMA_VERSION; version++)
		verdict = sqlite_run_script(store, schema_migrations[version]);
	if (verdict == ERR_OK) {
		snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", SCHEMA_VERSION);
		verdict = sqlite_run_script(store, sql);
	}
	if (verdict == ERR_OK)
		return store_commit(store);
	store_rollback(store);
	return verdict;
}

static void
sqlite_close(struct store *store)
{
	struct sqlite *sqlite = sqlite_of(store);

	if (sqlite == NULL)
		return;
	sqlite3_close(sqlite->db);
	free(sqlite);
	store->handle = NULL;
}

static enum err
sqlite_open(struct store *store, const char *path)
{
	struct sqlite *sqlite = calloc(1, sizeof(*sqlite));
	mode_t mask;
	int code;
	enum err verdict;

	if (sqlite == NULL)
		return store_refuse(store, ERR_STORE_FAILED, "no memory for the store");
	store->handle = sqlite;
	mask = umask(077); /* hashes, credentials and the pepper: the owner's eyes only */
	code = sqlite3_open_v2(path, &sqlite->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
	umask(mask);
	if (code != SQLITE_OK) {
		verdict = sqlite_failed(store);
	} else {
		sqlite3_extended_result_codes(sqlite->db, 1);
		sqlite3_busy_timeout(sqlite->db, BUSY_TIMEOUT_MS);
		/* secure_delete: what is deleted (keys, secrets of tickets) becomes zeros. */
		verdict = sqlite_run_script(store, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
						   "PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;");
	}
	if (verdict == ERR_OK)
		verdict = migrate(store);
	if (verdict == ERR_OK)
		verdict = read_number(store, "PRAGMA data_version", &sqlite->data_version);
	if (verdict != ERR_OK)
		sqlite_close(store);
	return verdict;
}

#define LOOK_EVERY 10000 /* instructions of a statement: a fraction of a millisecond */
#define WALL_TIMES 4

/* Called from within a statement. */
static int
is_over(void *owner)
{
	const struct sqlite *sqlite = owner;

	return clock_read_ns(CLOCK_THREAD_CPUTIME_ID) > sqlite->until_cpu_ns || clock_now_ns() > sqlite->until_ns;
}

static enum err
sqlite_limit(struct store *store, uint32_t ms)
{
	struct sqlite *sqlite = sqlite_of(store);

	sqlite->until_cpu_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID) + ms * NSEC_PER_MSEC;
	sqlite->until_ns = clock_now_ns() + WALL_TIMES * ms * NSEC_PER_MSEC;
	sqlite3_progress_handler(sqlite->db, LOOK_EVERY, ms > 0 ? is_over : NULL, sqlite);
	return ERR_OK;
}

/* The log has pages as they were; the file has zeros. */
static enum err
sqlite_scrub(struct store *store)
{
	sqlite3 *db = sqlite_of(store)->db;
	int code;

	/* The loop waits for nobody's reading. */
	sqlite3_busy_timeout(db, 0);
	code = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	sqlite3_busy_timeout(db, BUSY_TIMEOUT_MS);
	if ((code & 0xff) == SQLITE_BUSY)
		return ERR_MORE;
	return code == SQLITE_OK ? ERR_OK : sqlite_failed(store);
}

static bool
sqlite_changed_elsewhere(struct store *store)
{
	struct sqlite *sqlite = sqlite_of(store);
	int64_t now = sqlite->data_version;

	/* On failure nothing is known; the reconciliation finds what this missed. */
	if (read_number(store, "PRAGMA data_version", &now) != ERR_OK || now == sqlite->data_version)
		return false;
	sqlite->data_version = now;
	return true;
}

static int
sqlite_file(struct store *store)
{
	(void)store;
	return -1;
}

const struct store_driver store_sqlite = {
	.open = sqlite_open,
	.close = sqlite_close,
	.begin = sqlite_begin,
	.commit = sqlite_commit,
	.rollback = sqlite_rollback,
	.run_script = sqlite_run_script,
	.failed = sqlite_failed,
	.limit = sqlite_limit,
	.scrub = sqlite_scrub,
	.changed_elsewhere = sqlite_changed_elsewhere,
	.file = sqlite_file,
	.prepare = sqlite_prepare,
	.finalize = sqlite_finalize,
	.bind_null = sqlite_bind_null,
	.bind_int64 = sqlite_bind_int64,
	.bind_text = sqlite_bind_text,
	.bind_blob = sqlite_bind_blob,
	.step = sqlite_step,
	.reset = sqlite_reset,
	.post = sqlite_post,
	.settle = sqlite_settle,
	.changes = sqlite_changes,
	.column_count = sqlite_column_count,
	.column_name = sqlite_column_name,
	.column_kind = sqlite_column_kind,
	.column_int64 = sqlite_column_int64,
	.column_text = sqlite_column_text,
	.column_blob = sqlite_column_blob,
};

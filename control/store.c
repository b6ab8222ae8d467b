/* Opening, migrating, and the few operations that every user of the store shares. */
#include "store.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/check.h"
#include "schema.h"

#define BUSY_TIMEOUT_MS 500 /* for another process's commit; longer than any sane one */

enum err
store_refuse(struct store *store, enum err verdict, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(store->problem, sizeof(store->problem), format, arguments);
	va_end(arguments);
	return verdict;
}

enum err
store_failed(struct store *store)
{
	int code = sqlite3_extended_errcode(store->db);

	if (code == SQLITE_CONSTRAINT_FOREIGNKEY)
		return store_refuse(store, ERR_STORE_CONFLICT,
				    "something else still refers to it, or what it refers to is gone");
	return store_refuse(store,
			    (code & 0xff) == SQLITE_CONSTRAINT ? ERR_STORE_CONFLICT
							       : ERR_STORE_FAILED,
			    "%s", sqlite3_errmsg(store->db));
}

static enum err
run_sql(struct store *store, const char *sql)
{
	return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK ? ERR_OK
									   : store_failed(store);
}

sqlite3_stmt *
store_prepare(struct store *store, const char *sql)
{
	sqlite3_stmt *statement = NULL;

	if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK)
		store_failed(store);
	return statement;
}

enum err
store_run(struct store *store, sqlite3_stmt *statement)
{
	enum err verdict = sqlite3_step(statement) == SQLITE_DONE ? ERR_OK : store_failed(store);

	sqlite3_reset(statement);
	return verdict;
}

static enum err
read_number(struct store *store, const char *sql, int64_t *number)
{
	sqlite3_stmt *statement = store_prepare(store, sql);
	enum err verdict = ERR_OK;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	if (sqlite3_step(statement) == SQLITE_ROW)
		*number = sqlite3_column_int64(statement, 0);
	else
		verdict = store_failed(store);
	sqlite3_finalize(statement);
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
		verdict = run_sql(store, schema_migrations[version]);
	if (verdict == ERR_OK) {
		snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", SCHEMA_VERSION);
		verdict = run_sql(store, sql);
	}
	if (verdict == ERR_OK)
		return store_commit(store);
	store_rollback(store);
	return verdict;
}

enum err
store_open(struct store *store, const char *path)
{
	mode_t mask = umask(077); /* hashes, credentials and the pepper: the owner's eyes only */
	int code;
	enum err verdict;

	*store = (struct store){ 0 };
	code = sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
	umask(mask);
	if (code != SQLITE_OK) {
		verdict = store_failed(store);
	} else {
		sqlite3_extended_result_codes(store->db, 1);
		sqlite3_busy_timeout(store->db, BUSY_TIMEOUT_MS);
		verdict = run_sql(store, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
					 "PRAGMA foreign_keys = ON;");
	}
	if (verdict == ERR_OK)
		verdict = migrate(store);
	if (verdict == ERR_OK)
		verdict = read_number(store, "PRAGMA data_version", &store->data_version);
	if (verdict != ERR_OK)
		store_close(store);
	return verdict;
}

void
store_close(struct store *store)
{
	sqlite3_close(store->db);
	store->db = NULL;
}

enum err
store_begin(struct store *store)
{
	return run_sql(store, "BEGIN IMMEDIATE");
}

enum err
store_commit(struct store *store)
{
	enum err verdict = run_sql(store, "COMMIT");

	if (verdict != ERR_OK)
		store_rollback(store);
	return verdict;
}

void
store_rollback(struct store *store)
{
	/* Fails when SQLite has rolled back by itself, which is as good. */
	if (!sqlite3_get_autocommit(store->db))
		sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
}

static enum err
insert_pepper(struct store *store, const uint8_t pepper[32])
{
	sqlite3_stmt *statement = store_prepare(
		store, "INSERT INTO meta(name, value) VALUES ('pepper', ?1) ON CONFLICT DO NOTHING");
	enum err verdict;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	sqlite3_bind_blob(statement, 1, pepper, 32, SQLITE_STATIC);
	verdict = store_run(store, statement);
	sqlite3_finalize(statement);
	return verdict;
}

enum err
store_pepper(struct store *store, uint8_t pepper[32])
{
	uint8_t fresh[32];
	enum err verdict;
	sqlite3_stmt *statement;

	if (getrandom(fresh, sizeof(fresh), 0) != sizeof(fresh))
		return store_refuse(store, ERR_STORE_FAILED, "no random bytes");
	verdict = insert_pepper(store, fresh);
	if (verdict != ERR_OK)
		return verdict;
	statement = store_prepare(store, "SELECT value FROM meta WHERE name = 'pepper'");
	if (statement == NULL)
		return ERR_STORE_FAILED;
	if (sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_bytes(statement, 0) == 32)
		memcpy(pepper, sqlite3_column_blob(statement, 0), 32);
	else
		verdict = store_refuse(store, ERR_STORE_FAILED, "the pepper is damaged");
	sqlite3_finalize(statement);
	return verdict;
}

bool
store_changed_elsewhere(struct store *store)
{
	int64_t now = store->data_version;

	/* On failure nothing is known; the reconciliation finds what this missed. */
	if (read_number(store, "PRAGMA data_version", &now) != ERR_OK || now == store->data_version)
		return false;
	store->data_version = now;
	return true;
}

void
store_bind_text(sqlite3_stmt *statement, int at, struct bytes text)
{
	const char *ptr = text.len > 0 ? (const char *)text.ptr : "";

	sqlite3_bind_text(statement, at, ptr, (int)text.len, SQLITE_TRANSIENT);
}

struct bytes
store_column_text(sqlite3_stmt *statement, int at)
{
	const unsigned char *text = sqlite3_column_text(statement, at);

	if (text == NULL)
		return BYTES_NONE;
	return bytes_make(text, (size_t)sqlite3_column_bytes(statement, at));
}

enum err
store_audit(struct store *store, const char *verb, const char *noun, int64_t subject,
	    const char *detail)
{
	sqlite3_stmt *statement = store_prepare(
		store, "INSERT INTO audit(verb, noun, subject, detail) VALUES (?1, ?2, ?3, ?4)");
	enum err verdict;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_text(statement, 1, bytes_from_text(verb));
	store_bind_text(statement, 2, bytes_from_text(noun));
	sqlite3_bind_int64(statement, 3, subject);
	store_bind_text(statement, 4, bytes_from_text(detail));
	verdict = store_run(store, statement);
	sqlite3_finalize(statement);
	return verdict;
}

/* True in *is_new unless a top-up with this reference exists. */
static enum err
insert_top_up(struct store *store, int64_t account_id, int64_t amount_nano, const char *reference,
	      bool *is_new)
{
	sqlite3_stmt *statement = store_prepare(
		store, "INSERT INTO topups(account_id, amount_nano, reference) VALUES (?1, ?2, ?3)"
		       " ON CONFLICT(reference) DO NOTHING");
	enum err verdict;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	sqlite3_bind_int64(statement, 1, account_id);
	sqlite3_bind_int64(statement, 2, amount_nano);
	if (reference[0] != '\0')
		store_bind_text(statement, 3, bytes_from_text(reference));
	verdict = store_run(store, statement);
	*is_new = sqlite3_changes(store->db) == 1;
	sqlite3_finalize(statement);
	return verdict;
}

static enum err
add_credit(struct store *store, int64_t account_id, int64_t amount_nano)
{
	sqlite3_stmt *statement = store_prepare(
		store, "UPDATE accounts SET credited_nano = credited_nano + ?2 WHERE id = ?1");
	enum err verdict;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	sqlite3_bind_int64(statement, 1, account_id);
	sqlite3_bind_int64(statement, 2, amount_nano);
	verdict = store_run(store, statement);
	if (verdict == ERR_OK && sqlite3_changes(store->db) != 1)
		verdict = store_refuse(store, ERR_STORE_NOT_FOUND, "no such account");
	sqlite3_finalize(statement);
	return verdict;
}

enum err
store_top_up(struct store *store, int64_t account_id, int64_t amount_nano, const char *reference,
	     bool *credited)
{
	enum err verdict = store_begin(store);
	bool is_new = false;
	char detail[64];

	if (verdict != ERR_OK)
		return verdict;
	snprintf(detail, sizeof(detail), "%lld nano-dollars", (long long)amount_nano);
	verdict = insert_top_up(store, account_id, amount_nano, reference, &is_new);
	if (verdict == ERR_OK && is_new)
		verdict = add_credit(store, account_id, amount_nano);
	if (verdict == ERR_OK && is_new)
		verdict = store_audit(store, "top-up", "account", account_id, detail);
	if (verdict != ERR_OK) {
		store_rollback(store);
		return verdict;
	}
	verdict = store_commit(store);
	if (verdict == ERR_OK)
		*credited = is_new;
	return verdict;
}

#pragma once

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * store: the truth, in SQLite with a write-ahead log.
 *
 * Every commit is on disk when it returns (synchronous = FULL): money is in here. One connection, one
 * thread; another process may write too (an SQL shell) and is noticed by store_changed_elsewhere().
 *
 * Memory: the caller's struct; store_close() frees what SQLite allocated.
 * Errors: ERR_STORE_*; store.problem then has a sentence for a person. SQL text never comes from outside;
 *         values are always bound.
 */
struct store {
	sqlite3 *db;
	int64_t data_version;
	char problem[256];
};

/* Opens or makes the file and migrates it forward. ERR_STORE_NEWER: it is from a later release. */
enum err store_open(struct store *store, const char *path);
void store_close(struct store *store);

/* 32 random bytes made with the store: the secret of the keys' hashes. */
enum err store_pepper(struct store *store, uint8_t pepper[32]);

/* Writers take the write lock at once, so that a transaction cannot fail half-way for it. */
enum err store_begin(struct store *store);
enum err store_commit(struct store *store);
void store_rollback(struct store *store);

/* NULL: store->problem tells why. The caller finalizes. */
sqlite3_stmt *store_prepare(struct store *store, const char *sql);

/* Runs a statement that returns no rows. ERR_STORE_CONFLICT: a constraint refused it. */
enum err store_run(struct store *store, sqlite3_stmt *statement);

/* The verdict for SQLite's last answer, which was neither DONE nor ROW. Fills problem. */
enum err store_failed(struct store *store);

/* Sets problem and returns the verdict. */
__attribute__((format(printf, 3, 4)))
enum err store_refuse(struct store *store, enum err verdict, const char *format, ...);

/* True once after each commit by somebody else. */
bool store_changed_elsewhere(struct store *store);

/* Of the current transaction: who did what is kept beside what was done. */
enum err store_audit(struct store *store, const char *verb, const char *noun, int64_t subject,
		     const char *detail);

/* Credits an account. With a reference (an invoice number, say) a repeated call changes nothing and
 * *credited is false. Amounts may be negative: a correction. */
enum err store_top_up(struct store *store, int64_t account_id, int64_t amount_nano,
		      const char *reference, bool *credited);

void store_bind_text(sqlite3_stmt *statement, int at, struct bytes text);
struct bytes store_column_text(sqlite3_stmt *statement, int at); /* until the next step */

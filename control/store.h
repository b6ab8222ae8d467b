#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * store: the truth, in an SQL database behind one interface.
 *
 * A driver (driver.h) does the work: SQLite with a write-ahead log (store_sqlite.c), or a PostgreSQL server that
 * several routers share (store_postgres.c). A commit is on disk when it returns: money is in here. One connection,
 * one thread; others may write too (an SQL shell, another router) and are noticed by store_changed_elsewhere().
 *
 * A server can be away: every call then returns ERR_STORE_AWAY at once, and store_changed_elsewhere(), called in
 * every turn, makes a new connection. Statements outlive it. A transaction does not: begin again. A commit that
 * returns ERR_STORE_AWAY may have been made; what is written must be harmless to write twice.
 *
 * SQL is what all drivers understand: placeholders are ?1, ?2…; an id that the store gave comes from
 * RETURNING; a column is one of the four kinds of enum store_kind; lists are group_concat(TEXT, ','). SQL text
 * never comes from outside; values are always bound.
 *
 * Memory: the caller's struct; store_close() frees what the driver allocated. Statements are finalized first.
 * Errors: ERR_STORE_*; store.problem then has a sentence for a person.
 */
#define STORE_PROBLEM_BYTES 2048 /* six of the longest names, and what is said of them */

struct store {
	const struct store_driver *driver;
	void *handle; /* the driver's */
	char node[64]; /* whose spending is this router's own: ledger_init() */
	const struct audit_caller *caller; /* who is behind what is written now; NULL: control itself */
	char problem[STORE_PROBLEM_BYTES];
};

/* A prepared statement, the values bound to it and the row that it is at. */
struct statement;

enum store_step {
	STORE_ROW,    /* columns can be read until the next step, reset or finalize */
	STORE_DONE,
	STORE_BROKEN, /* store_failed() has the verdict */
};

enum store_kind {
	STORE_NULL,
	STORE_INTEGER,
	STORE_TEXT,
	STORE_BLOB,
};

/* Opens or makes the SQLite file and migrates it forward. ERR_STORE_NEWER: it is from a later release. */
enum err store_open(struct store *store, const char *path);

/* The same with a PostgreSQL server: postgresql://… or key=value pairs. Waits some seconds for it. */
enum err store_connect(struct store *store, const char *where);
void store_close(struct store *store);

/* 32 random bytes made with the store: the secret of the keys' hashes. */
enum err store_pepper(struct store *store, uint8_t pepper[32]);

/* Writers take the write lock at once, so that a transaction cannot fail half-way for it. */
enum err store_begin(struct store *store);
enum err store_commit(struct store *store);
void store_rollback(struct store *store);

/* --- statements -------------------------------------------------------------------------- */

/* NULL: store->problem tells why. The caller finalizes; finalizing NULL is nothing. */
struct statement *store_prepare(struct store *store, const char *sql);
void store_finalize(struct statement *statement);

/* Places count from 1. Values are copied, and stay bound until they are bound anew. */
void store_bind_null(struct statement *statement, int at);
void store_bind_int64(struct statement *statement, int at, int64_t value);
void store_bind_text(struct statement *statement, int at, struct bytes text);
void store_bind_blob(struct statement *statement, int at, struct bytes blob);

/* The first step runs it. After STORE_DONE and STORE_BROKEN, or in between, store_reset() makes it ready again. */
enum store_step store_step(struct statement *statement);
void store_reset(struct statement *statement);

/* Columns count from 0. An integer of NULL or of no number is 0; a text or blob of NULL is BYTES_NONE. The byte
 * behind a text is 0. */
int store_column_count(struct statement *statement);
const char *store_column_name(struct statement *statement, int at);
enum store_kind store_column_kind(struct statement *statement, int at);
bool store_column_is_null(struct statement *statement, int at);
int64_t store_column_int64(struct statement *statement, int at);
struct bytes store_column_text(struct statement *statement, int at);
struct bytes store_column_blob(struct statement *statement, int at);

/* Runs a statement that returns no rows, and resets it. ERR_STORE_CONFLICT: a constraint refused it. */
enum err store_run(struct store *store, struct statement *statement);

/* The same without waiting for a server's answer: a batch costs as many round trips as it has store_settle()s.
 * The verdict, and in *changes how many rows it wrote, are there after the next store_settle() or store_commit(),
 * which return the first verdict that is not ERR_OK; nothing that was posted behind that one is done. Whatever
 * else is asked of the store settles, too. Only in a transaction; *changes (NULL: not wanted) lives until then. */
enum err store_post(struct statement *statement, int64_t *changes);
enum err store_settle(struct store *store);

/* How many rows the last store_run() wrote. */
int64_t store_changes(struct statement *statement);

/* Runs statements without values or answers, separated by semicolons. */
enum err store_run_script(struct store *store, const char *sql);

/*
 * From now on a statement that takes longer is STORE_BROKEN, and store_failed() is ERR_STORE_TOO_LONG; 0: none is.
 * It is the time of the processor for a file, so that a busy machine fails nobody, and never more than four times
 * as long by the clock; a server's statement_timeout else.
 */
enum err store_limit(struct store *store, uint32_t ms);

/* The verdict for the last step, which was STORE_BROKEN. Fills problem. */
enum err store_failed(struct store *store);

/* Sets problem and returns the verdict. */
__attribute__((format(printf, 3, 4)))
enum err store_refuse(struct store *store, enum err verdict, const char *format, ...);

/* SQL: the sum of an integer expression, which is named three times; one that does not fit stays at the largest,
 * where sum() alone would fail the whole statement. Billions and the rest are summed apart. */
#define STORE_BILLIONS(x) "sum((" x ") / 1000000000)"
#define STORE_REST(x) "sum((" x ") - (" x ") / 1000000000 * 1000000000)"
#define STORE_SUM(x)                                                                               \
	"CAST(CASE WHEN " STORE_BILLIONS(x) " + " STORE_REST(x) " / 1000000000 >= 9223372036"      \
	" THEN 9223372036854775807"                                                                \
	" ELSE " STORE_BILLIONS(x) " * 1000000000 + " STORE_REST(x) " END AS BIGINT)"

/* --- for everybody ----------------------------------------------------------------------- */

/* Called in every turn. True after commits by somebody else, at most a turn later than store_file() is readable;
 * with a server now and then for nothing. */
bool store_changed_elsewhere(struct store *store);

/* After a commit: what it deleted lies in no file of ours any more. ERR_MORE: another process reads, try again
 * later. A server's files are its own: they keep it until they are cleaned. */
enum err store_scrub(struct store *store);

/* Readable when somebody else has committed, or -1. Changes with the connection. */
int store_file(struct store *store);

/* Other routers may use the same store. */
bool store_is_shared(const struct store *store);

/* Credits an account. With a reference (an invoice number, say) a repeated call changes nothing and
 * *credited is false; ERR_STORE_CONFLICT if it was another account's or another amount. Amounts may be
 * negative: a correction. */
enum err store_top_up(struct store *store, int64_t account_id, int64_t amount_nano,
		      const char *reference, bool *credited);

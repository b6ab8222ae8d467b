/* What is the same for every driver: handing on, and the few operations that all users share. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "audit.h"
#include "base/check.h"
#include "driver.h"
#include "meter/money.h"

enum err
store_refuse(struct store *store, enum err verdict, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(store->problem, sizeof(store->problem), format, arguments);
	va_end(arguments);
	return verdict;
}

/* --- handing on -------------------------------------------------------------------------- */

enum err
store_open(struct store *store, const char *path)
{
	*store = (struct store){ .driver = &store_sqlite };
	return store->driver->open(store, path);
}

enum err
store_connect(struct store *store, const char *where)
{
	*store = (struct store){ .driver = &store_postgres };
	return store->driver->open(store, where);
}

bool
store_is_shared(const struct store *store)
{
	return store->driver->is_shared;
}

int
store_file(struct store *store)
{
	return store->driver->file(store);
}

void
store_close(struct store *store)
{
	store->driver->close(store);
}

enum err
store_begin(struct store *store)
{
	return store->driver->begin(store);
}

enum err
store_commit(struct store *store)
{
	enum err verdict = store->driver->commit(store);

	if (verdict != ERR_OK)
		store_rollback(store);
	return verdict;
}

void
store_rollback(struct store *store)
{
	store->driver->rollback(store);
}

enum err
store_run_script(struct store *store, const char *sql)
{
	return store->driver->run_script(store, sql);
}

enum err
store_failed(struct store *store)
{
	return store->driver->failed(store);
}

bool
store_changed_elsewhere(struct store *store)
{
	return store->driver->changed_elsewhere(store);
}

struct statement *
store_prepare(struct store *store, const char *sql)
{
	struct statement *statement = store->driver->prepare(store, sql);

	if (statement != NULL)
		statement->store = store;
	return statement;
}

void
store_finalize(struct statement *statement)
{
	if (statement != NULL)
		statement->store->driver->finalize(statement);
}

void
store_bind_null(struct statement *statement, int at)
{
	statement->store->driver->bind_null(statement, at);
}

void
store_bind_int64(struct statement *statement, int at, int64_t value)
{
	statement->store->driver->bind_int64(statement, at, value);
}

void
store_bind_text(struct statement *statement, int at, struct bytes text)
{
	statement->store->driver->bind_text(statement, at, text);
}

void
store_bind_blob(struct statement *statement, int at, struct bytes blob)
{
	statement->store->driver->bind_blob(statement, at, blob);
}

enum store_step
store_step(struct statement *statement)
{
	return statement->store->driver->step(statement);
}

void
store_reset(struct statement *statement)
{
	statement->store->driver->reset(statement);
}

int64_t
store_changes(struct statement *statement)
{
	return statement->store->driver->changes(statement);
}

int
store_column_count(struct statement *statement)
{
	return statement->store->driver->column_count(statement);
}

const char *
store_column_name(struct statement *statement, int at)
{
	return statement->store->driver->column_name(statement, at);
}

enum store_kind
store_column_kind(struct statement *statement, int at)
{
	return statement->store->driver->column_kind(statement, at);
}

bool
store_column_is_null(struct statement *statement, int at)
{
	return store_column_kind(statement, at) == STORE_NULL;
}

int64_t
store_column_int64(struct statement *statement, int at)
{
	return statement->store->driver->column_int64(statement, at);
}

struct bytes
store_column_text(struct statement *statement, int at)
{
	return statement->store->driver->column_text(statement, at);
}

struct bytes
store_column_blob(struct statement *statement, int at)
{
	return statement->store->driver->column_blob(statement, at);
}

enum err
store_run(struct store *store, struct statement *statement)
{
	enum err verdict = store_step(statement) == STORE_DONE ? ERR_OK : store_failed(store);

	store_reset(statement);
	return verdict;
}

enum err
store_post(struct statement *statement, int64_t *changes)
{
	return statement->store->driver->post(statement, changes);
}

enum err
store_settle(struct store *store)
{
	return store->driver->settle(store);
}

enum err
store_scrub(struct store *store)
{
	return store->driver->scrub(store);
}

enum err
store_limit(struct store *store, uint32_t ms)
{
	return store->driver->limit(store, ms);
}

/* --- operations -------------------------------------------------------------------------- */

static enum err
insert_pepper(struct store *store, const uint8_t pepper[32])
{
	struct statement *statement = store_prepare(
		store, "INSERT INTO meta(name, value) VALUES ('pepper', ?1) ON CONFLICT DO NOTHING");
	enum err verdict;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_blob(statement, 1, bytes_make(pepper, 32));
	verdict = store_run(store, statement);
	store_finalize(statement);
	return verdict;
}

static enum err
read_pepper(struct store *store, struct statement *statement, uint8_t pepper[32])
{
	struct bytes blob;

	if (store_step(statement) != STORE_ROW)
		return store_failed(store);
	blob = store_column_blob(statement, 0);
	if (blob.len != 32)
		return store_refuse(store, ERR_STORE_FAILED, "the pepper is damaged");
	memcpy(pepper, blob.ptr, 32);
	return ERR_OK;
}

enum err
store_pepper(struct store *store, uint8_t pepper[32])
{
	uint8_t fresh[32];
	enum err verdict;
	struct statement *statement;

	if (getrandom(fresh, sizeof(fresh), 0) != sizeof(fresh))
		return store_refuse(store, ERR_STORE_FAILED, "no random bytes");
	verdict = insert_pepper(store, fresh);
	if (verdict != ERR_OK)
		return verdict;
	statement = store_prepare(store, "SELECT value FROM meta WHERE name = 'pepper'");
	if (statement == NULL)
		return ERR_STORE_FAILED;
	verdict = read_pepper(store, statement, pepper);
	store_finalize(statement);
	return verdict;
}

/* True in *is_new unless a top-up with this reference exists. */
static enum err
insert_top_up(struct store *store, int64_t account_id, int64_t amount_nano, const char *reference,
	      bool *is_new)
{
	struct statement *statement = store_prepare(
		store, "INSERT INTO topups(account_id, amount_nano, reference) VALUES (?1, ?2, ?3)"
		       " ON CONFLICT(reference) DO NOTHING");
	enum err verdict;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, account_id);
	store_bind_int64(statement, 2, amount_nano);
	if (reference[0] == '\0')
		store_bind_null(statement, 3);
	else
		store_bind_text(statement, 3, bytes_from_text(reference));
	verdict = store_run(store, statement);
	*is_new = store_changes(statement) == 1;
	store_finalize(statement);
	return verdict;
}

/* A reference that stands for another top-up: a payment that would vanish without a word. */
static enum err
check_repeat(struct store *store, int64_t account_id, int64_t amount_nano, const char *reference)
{
	struct statement *statement =
		store_prepare(store, "SELECT t.account_id, t.amount_nano, a.name FROM topups t"
				     " JOIN accounts a ON a.id = t.account_id WHERE t.reference = ?1");
	char dollars[MONEY_TEXT_BYTES];
	enum err verdict = ERR_OK;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_text(statement, 1, bytes_from_text(reference));
	if (store_step(statement) != STORE_ROW) {
		verdict = store_failed(store);
	} else if (store_column_int64(statement, 0) != account_id ||
		   store_column_int64(statement, 1) != amount_nano) {
		struct bytes name = store_column_text(statement, 2);

		money_emit(store_column_int64(statement, 1), dollars);
		verdict = store_refuse(store, ERR_STORE_CONFLICT,
				       "reference \"%s\" stands for a top-up of account %.*s by %s dollars"
				       " already; nothing was credited", reference, (int)name.len,
				       (const char *)name.ptr, dollars);
	}
	store_finalize(statement);
	return verdict;
}

/* The credit behind it, and the account's name, as the audit tells them. */
static enum err
add_credit(struct store *store, int64_t account_id, int64_t amount_nano, int64_t *credited_nano, char name[128])
{
	struct statement *statement =
		store_prepare(store, "UPDATE accounts SET credited_nano = credited_nano + ?2 WHERE id = ?1"
				     " RETURNING credited_nano, name");
	enum err verdict = ERR_OK;
	enum store_step step;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, account_id);
	store_bind_int64(statement, 2, amount_nano);
	step = store_step(statement);
	if (step == STORE_ROW) {
		struct bytes text = store_column_text(statement, 1);

		*credited_nano = store_column_int64(statement, 0);
		snprintf(name, 128, "%.*s", (int)text.len, (const char *)text.ptr);
		step = store_step(statement);
	} else if (step == STORE_DONE) {
		verdict = store_refuse(store, ERR_STORE_NOT_FOUND, "no such account");
	}
	if (step == STORE_BROKEN)
		verdict = store_failed(store);
	store_finalize(statement);
	return verdict;
}

/* In the transaction of the top-up. */
static enum err
credit(struct store *store, int64_t account_id, int64_t amount_nano, const char *reference)
{
	char changed[96], name[128];
	struct audit_change change = { .verb = "top-up", .noun = "account", .subject = account_id,
				       .name = name, .changed = changed, .detail = reference };
	int64_t credited_nano = 0;
	enum err verdict = add_credit(store, account_id, amount_nano, &credited_nano, name);

	if (verdict != ERR_OK)
		return verdict;
	snprintf(changed, sizeof(changed), "{\"credited_nano\":[%lld,%lld]}",
		 (long long)(credited_nano - amount_nano), (long long)credited_nano);
	return audit_write(store, &change);
}

enum err
store_top_up(struct store *store, int64_t account_id, int64_t amount_nano, const char *reference,
	     bool *credited)
{
	enum err verdict = store_begin(store);
	bool is_new = false;

	if (verdict != ERR_OK)
		return verdict;
	verdict = insert_top_up(store, account_id, amount_nano, reference, &is_new);
	if (verdict == ERR_OK && is_new)
		verdict = credit(store, account_id, amount_nano, reference);
	else if (verdict == ERR_OK)
		verdict = check_repeat(store, account_id, amount_nano, reference);
	if (verdict != ERR_OK) {
		store_rollback(store);
		return verdict;
	}
	verdict = store_commit(store);
	if (verdict == ERR_OK)
		*credited = is_new;
	return verdict;
}

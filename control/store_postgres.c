/*
 * The store on a PostgreSQL server, which several routers may share.
 *
 * A statement that runs once is sent with its text; from the second time on it is prepared on the server, and
 * again in each new connection: those who hold it do not notice that one came between. Values go out as text
 * (bytea as it is), rows come back in binary: a bigint is eight bytes, whatever the settings.
 *
 * What is posted goes out in libpq's pipeline mode: the server works while we send, and one wait is for all.
 *
 * The outcome of a COMMIT whose answer is lost is not known, and is reported as ERR_STORE_AWAY. Whoever repeats
 * it does no harm: ledger rows are keyed, top-ups have references, puts say what shall be.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "clock.h"
#include "driver.h"
#include "postgres.h"
#include "schema.h"

#define PARAMETERS_MAX 64
#define NAME_BYTES 24

/* Types as the protocol numbers them (pg_type.dat); they never change. */
enum {
	OID_NONE = 0,
	OID_BOOL = 16,
	OID_BYTEA = 17,
	OID_INT8 = 20,
	OID_INT2 = 21,
	OID_INT4 = 23,
	OID_TEXT = 25,
	OID_NUMERIC = 1700,
};

struct value {
	Oid type; /* OID_NONE: as its place needs it */
	bool is_bound;
	bool is_null;
	char *bytes; /* with a 0 behind them */
	size_t len;
	size_t room;
};

struct postgres_statement {
	struct statement base;
	struct postgres *pg;
	char *sql;
	char name[NAME_BYTES];
	uint64_t prepared_in; /* life of the connection; 0: never */
	bool was_run;
	int count;
	struct value values[PARAMETERS_MAX];
	PGresult *result; /* of the run under way */
	int row;
	int64_t changes;
};

static struct postgres *
postgres_of(struct store *store)
{
	return store->handle;
}

static struct postgres_statement *
self(struct statement *statement)
{
	return (struct postgres_statement *)statement;
}

static enum err
pg_failed(struct store *store)
{
	return postgres_of(store)->verdict;
}

static enum err
pg_run_script(struct store *store, const char *sql)
{
	return postgres_query(postgres_of(store), sql, POSTGRES_ANSWER_MS, NULL);
}

/* --- making statements ------------------------------------------------------------------- */

/* ?1 becomes $1, group_concat string_agg (as long as it lasts, and shorter); texts in quotes stay. */
static char *
translate(const char *sql)
{
	static const char theirs[] = "group_concat(", ours[] = "string_agg(";
	char *text = malloc(strlen(sql) + 1), *to = text;
	bool quoted = false;

	while (text != NULL && *sql != '\0') {
		quoted ^= *sql == '\'';
		if (!quoted && strncmp(sql, theirs, sizeof(theirs) - 1) == 0) {
			memcpy(to, ours, sizeof(ours) - 1);
			to += sizeof(ours) - 1;
			sql += sizeof(theirs) - 1;
			continue;
		}
		*to++ = *sql == '?' && !quoted ? '$' : *sql;
		sql++;
	}
	if (text != NULL)
		*to = '\0';
	return text;
}

static struct statement *
pg_prepare(struct store *store, const char *sql)
{
	struct postgres_statement *s = calloc(1, sizeof(*s));

	if (s == NULL || (s->sql = translate(sql)) == NULL) {
		free(s);
		store_refuse(store, ERR_STORE_FAILED, "no memory for a statement");
		return NULL;
	}
	s->pg = postgres_of(store);
	snprintf(s->name, sizeof(s->name), "s%" PRIu64, ++s->pg->statements);
	return &s->base;
}

static void
pg_reset(struct statement *statement)
{
	PQclear(self(statement)->result);
	self(statement)->result = NULL;
}

static void
pg_finalize(struct statement *statement)
{
	struct postgres_statement *s = self(statement);
	char sql[NAME_BYTES + 16];

	pg_reset(statement);
	postgres_land(s->pg, POSTGRES_ANSWER_MS); /* what is under way refers to it */
	/* In a transaction that has failed the server refuses even this. It ends with the connection. */
	if (s->pg->conn != NULL && s->prepared_in == s->pg->life &&
	    PQtransactionStatus(s->pg->conn) != PQTRANS_INERROR) {
		snprintf(sql, sizeof(sql), "DEALLOCATE %s", s->name);
		pg_run_script(statement->store, sql);
	}
	for (int i = 0; i < PARAMETERS_MAX; i++)
		free(s->values[i].bytes);
	free(s->sql);
	free(s);
}

/* --- binding ----------------------------------------------------------------------------- */

static void
bind(struct statement *statement, int at, Oid type, struct bytes bytes)
{
	struct postgres_statement *s = self(statement);
	struct value *value = &s->values[at - 1];

	CHECK(at >= 1 && at <= PARAMETERS_MAX);
	if (value->room <= bytes.len) {
		free(value->bytes);
		value->room = bytes.len + 32;
		value->bytes = malloc(value->room);
		CHECK(value->bytes != NULL);
	}
	if (bytes.len > 0)
		memcpy(value->bytes, bytes.ptr, bytes.len);
	value->bytes[bytes.len] = '\0';
	value->len = bytes.len;
	value->type = type;
	value->is_bound = true;
	value->is_null = false;
	if (at > s->count)
		s->count = at;
}

static void
pg_bind_null(struct statement *statement, int at)
{
	bind(statement, at, OID_NONE, BYTES_NONE);
	self(statement)->values[at - 1].is_null = true;
}

static void
pg_bind_int64(struct statement *statement, int at, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, value);
	bind(statement, at, OID_INT8, bytes_from_text(text));
}

/* Its place says what it is: an id may come as digits. */
static void
pg_bind_text(struct statement *statement, int at, struct bytes text)
{
	bind(statement, at, OID_NONE, text);
}

static void
pg_bind_blob(struct statement *statement, int at, struct bytes blob)
{
	bind(statement, at, OID_BYTEA, blob);
}

/* --- running ----------------------------------------------------------------------------- */

/* What PQsend…() takes. */
struct arguments {
	Oid types[PARAMETERS_MAX];
	const char *values[PARAMETERS_MAX];
	int lengths[PARAMETERS_MAX];
	int formats[PARAMETERS_MAX];
};

static void
fill_arguments(const struct postgres_statement *s, struct arguments *a)
{
	for (int i = 0; i < s->count; i++) {
		const struct value *v = &s->values[i];

		/* A place that the SQL does not have must have a type nevertheless. */
		a->types[i] = v->is_bound ? v->type : OID_TEXT;
		a->values[i] = v->is_bound && !v->is_null ? v->bytes : NULL;
		a->lengths[i] = (int)v->len;
		a->formats[i] = v->type == OID_BYTEA;
	}
}

static bool
prepare_on_server(struct postgres_statement *s, const Oid types[])
{
	struct postgres *pg = s->pg;
	PGresult *result;
	enum err verdict;

	if (s->prepared_in == pg->life)
		return true;
	if (PQsendPrepare(pg->conn, s->name, s->sql, s->count, types) == 0) {
		postgres_lose(pg, PQerrorMessage(pg->conn));
		return false;
	}
	result = postgres_collect(pg, POSTGRES_ANSWER_MS);
	verdict = postgres_judge(pg, result);
	PQclear(result);
	if (verdict == ERR_OK)
		s->prepared_in = pg->life;
	return verdict == ERR_OK;
}

static bool
send(struct postgres_statement *s)
{
	PGconn *conn = s->pg->conn;
	struct arguments a;
	int sent;

	fill_arguments(s, &a);
	if (!s->was_run) {
		sent = PQsendQueryParams(conn, s->sql, s->count, a.types, a.values, a.lengths, a.formats, 1);
	} else {
		if (!prepare_on_server(s, a.types))
			return false;
		sent = PQsendQueryPrepared(conn, s->name, s->count, a.values, a.lengths, a.formats, 1);
	}
	if (sent == 0)
		postgres_lose(s->pg, PQerrorMessage(conn));
	return sent != 0;
}

static bool
run(struct postgres_statement *s)
{
	PGresult *result;

	if (s->pg->conn == NULL) {
		postgres_away(s->pg);
		return false;
	}
	if (postgres_land(s->pg, POSTGRES_ANSWER_MS) != ERR_OK || !send(s))
		return false;
	s->was_run = true;
	result = postgres_collect(s->pg, POSTGRES_ANSWER_MS);
	if (postgres_judge(s->pg, result) != ERR_OK) {
		PQclear(result);
		return false;
	}
	s->result = result;
	s->row = -1;
	s->changes = strtoll(PQcmdTuples(result), NULL, 10);
	return true;
}

static enum store_step
pg_step(struct statement *statement)
{
	struct postgres_statement *s = self(statement);

	if (s->result == NULL && !run(s))
		return STORE_BROKEN;
	if (s->row < PQntuples(s->result))
		s->row++;
	return s->row < PQntuples(s->result) ? STORE_ROW : STORE_DONE;
}

/* Prepared on its way, if it is not: what is posted is posted again. */
static enum err
pg_post(struct statement *statement, int64_t *changes)
{
	struct postgres_statement *s = self(statement);
	struct postgres *pg = s->pg;
	struct arguments a;
	enum err verdict = postgres_board(pg);

	fill_arguments(s, &a);
	if (verdict == ERR_OK && s->prepared_in != pg->life) {
		if (PQsendPrepare(pg->conn, s->name, s->sql, s->count, a.types) == 0)
			return postgres_lose(pg, PQerrorMessage(pg->conn));
		postgres_note(pg, NULL, &s->prepared_in);
		verdict = postgres_board(pg);
	}
	if (verdict != ERR_OK)
		return verdict;
	if (PQsendQueryPrepared(pg->conn, s->name, s->count, a.values, a.lengths, a.formats, 1) == 0)
		return postgres_lose(pg, PQerrorMessage(pg->conn));
	postgres_note(pg, changes, NULL);
	s->was_run = true;
	return ERR_OK;
}

static enum err
pg_settle(struct store *store)
{
	return postgres_land(postgres_of(store), POSTGRES_ANSWER_MS);
}

static enum err
pg_limit(struct store *store, uint32_t ms)
{
	char sql[64];

	if (ms > 0)
		snprintf(sql, sizeof(sql), "SET statement_timeout = %u", ms);
	else
		snprintf(sql, sizeof(sql), "SET statement_timeout = " POSTGRES_STATEMENT_MS);
	postgres_of(store)->is_limited = ms > 0;
	return postgres_query(postgres_of(store), sql, POSTGRES_ANSWER_MS, NULL);
}

static int64_t
pg_changes(struct statement *statement)
{
	return self(statement)->changes;
}

/* --- columns ----------------------------------------------------------------------------- */

static int
pg_column_count(struct statement *statement)
{
	return PQnfields(self(statement)->result);
}

static const char *
pg_column_name(struct statement *statement, int at)
{
	return PQfname(self(statement)->result, at);
}

static enum store_kind
pg_column_kind(struct statement *statement, int at)
{
	const struct postgres_statement *s = self(statement);

	if (PQgetisnull(s->result, s->row, at))
		return STORE_NULL;
	switch (PQftype(s->result, at)) {
	case OID_BOOL:
	case OID_INT2:
	case OID_INT4:
	case OID_INT8:
	case OID_NUMERIC:
		return STORE_INTEGER;
	case OID_BYTEA:
		return STORE_BLOB;
	default:
		return STORE_TEXT;
	}
}

static struct bytes
pg_column_bytes(struct statement *statement, int at)
{
	const struct postgres_statement *s = self(statement);

	if (PQgetisnull(s->result, s->row, at))
		return BYTES_NONE;
	return bytes_make(PQgetvalue(s->result, s->row, at), (size_t)PQgetlength(s->result, s->row, at));
}

static uint64_t
read_big_endian(const uint8_t *bytes, size_t len)
{
	uint64_t value = bytes[0] >= 0x80 ? UINT64_MAX : 0;

	for (size_t i = 0; i < len; i++)
		value = value << 8 | bytes[i];
	return value;
}

/*
 * What sums of bigint are: four words (digits, weight, sign, scale), then digits of base 10000, the first of which
 * counts 10000^weight. A sum that no int64 holds stays at the largest.
 */
static int64_t
read_numeric(struct bytes bytes)
{
	uint64_t digits = read_big_endian(bytes.ptr, 2), weight = read_big_endian(bytes.ptr + 2, 2);
	bool is_negative = read_big_endian(bytes.ptr + 4, 2) == 0x4000;
	int64_t value = 0;

	for (uint64_t i = 0; i <= weight && (int16_t)weight >= 0; i++) {
		int64_t digit = i < digits ? (int64_t)read_big_endian(bytes.ptr + 8 + 2 * i, 2) : 0;

		if (__builtin_mul_overflow(value, 10000, &value) || __builtin_add_overflow(value, digit, &value))
			return is_negative ? INT64_MIN : INT64_MAX;
	}
	return is_negative ? -value : value;
}

static int64_t
pg_column_int64(struct statement *statement, int at)
{
	struct bytes bytes = pg_column_bytes(statement, at);

	if (bytes.len == 0)
		return 0;
	if (pg_column_kind(statement, at) != STORE_INTEGER)
		return strtoll((const char *)bytes.ptr, NULL, 10);
	if (PQftype(self(statement)->result, at) == OID_NUMERIC)
		return read_numeric(bytes);
	return (int64_t)read_big_endian(bytes.ptr, bytes.len);
}

/* --- transactions ------------------------------------------------------------------------ */

static enum err
pg_begin(struct store *store)
{
	enum err verdict = pg_run_script(store, "BEGIN");

	postgres_of(store)->in_transaction = verdict == ERR_OK;
	return verdict;
}

/* Behind what is under way: the server does not come to it if something of that fails. */
static enum err
commit_with_flight(struct postgres *pg)
{
	enum err verdict = postgres_board(pg);

	if (verdict != ERR_OK)
		return verdict;
	if (PQsendQueryParams(pg->conn, "COMMIT", 0, NULL, NULL, NULL, NULL, 0) == 0)
		return postgres_lose(pg, PQerrorMessage(pg->conn));
	postgres_note(pg, NULL, NULL);
	return postgres_land(pg, POSTGRES_ANSWER_MS);
}

static enum err
commit_alone(struct postgres *pg)
{
	PGresult *result = NULL;
	enum err verdict = postgres_query(pg, "COMMIT", POSTGRES_ANSWER_MS, &result);

	/* A transaction in which something failed is rolled back by COMMIT, which calls that a success. */
	if (verdict == ERR_OK && strcmp(PQcmdStatus(result), "COMMIT") != 0)
		verdict = pg->verdict = store_refuse(pg->store, ERR_STORE_FAILED,
						     "the transaction was rolled back");
	PQclear(result);
	return verdict;
}

static enum err
pg_commit(struct store *store)
{
	struct postgres *pg = postgres_of(store);
	bool was_connected = pg->conn != NULL;
	enum err verdict = pg->flight_count > 0 ? commit_with_flight(pg) : commit_alone(pg);

	if (pg->conn != NULL && PQtransactionStatus(pg->conn) == PQTRANS_IDLE)
		pg->in_transaction = false;
	if (was_connected && pg->conn == NULL)
		store_refuse(store, ERR_STORE_AWAY,
			     "the database went away during the commit; whether it was made is not known: look, or"
			     " ask again");
	return verdict;
}

static void
pg_rollback(struct store *store)
{
	struct postgres *pg = postgres_of(store);
	char problem[sizeof(store->problem)];

	if (!pg->in_transaction || pg->conn == NULL)
		return;
	/* What led here is what the caller wants to tell. */
	memcpy(problem, store->problem, sizeof(problem));
	postgres_land(pg, POSTGRES_ANSWER_MS); /* whatever comes of it */
	if (pg->conn != NULL && pg_run_script(store, "ROLLBACK") != ERR_OK && pg->conn != NULL)
		postgres_lose(pg, "it does not roll back");
	memcpy(store->problem, problem, sizeof(problem));
	pg->in_transaction = false;
}

/* --- opening ----------------------------------------------------------------------------- */

static enum err
read_version(struct store *store, int64_t *version)
{
	struct statement *statement = store_prepare(store, "SELECT version FROM schema_version");
	enum store_step step;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	step = pg_step(statement);
	if (step == STORE_ROW)
		*version = pg_column_int64(statement, 0);
	pg_finalize(statement);
	return step == STORE_BROKEN ? pg_failed(store) : ERR_OK;
}

/* Routers that start together come here one after the other. */
static enum err
migrate_locked(struct store *store)
{
	struct postgres *pg = postgres_of(store);
	int64_t version = 0;
	char sql[96];
	enum err verdict = postgres_query(pg, "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;"
					      " SELECT pg_advisory_xact_lock(" POSTGRES_LOCKS ", 1);"
					      " CREATE TABLE IF NOT EXISTS"
					      " schema_version (version BIGINT NOT NULL)",
					  POSTGRES_MIGRATE_MS, NULL);

	if (verdict == ERR_OK)
		verdict = read_version(store, &version);
	if (verdict != ERR_OK)
		return verdict;
	if (version > SCHEMA_VERSION)
		return store_refuse(store, ERR_STORE_NEWER, "the store has schema %lld, this release knows %d",
				    (long long)version, SCHEMA_VERSION);
	if (version == SCHEMA_VERSION)
		return ERR_OK;
	for (; verdict == ERR_OK && version < SCHEMA_VERSION; version++)
		if (schema_postgres[version] != NULL)
			verdict = postgres_query(pg, schema_postgres[version], POSTGRES_MIGRATE_MS, NULL);
	if (verdict != ERR_OK)
		return verdict;
	snprintf(sql, sizeof(sql), "DELETE FROM schema_version; INSERT INTO schema_version VALUES (%d)",
		 SCHEMA_VERSION);
	return pg_run_script(store, sql);
}

static enum err
migrate(struct store *store)
{
	enum err verdict = pg_begin(store);

	if (verdict == ERR_OK)
		verdict = migrate_locked(store);
	if (verdict == ERR_OK)
		return pg_commit(store);
	pg_rollback(store);
	return verdict;
}

static void
pg_close(struct store *store)
{
	struct postgres *pg = postgres_of(store);

	if (pg == NULL)
		return;
	postgres_fini(pg);
	free(pg);
	store->handle = NULL;
}

static enum err
pg_open(struct store *store, const char *where)
{
	struct postgres *pg = calloc(1, sizeof(*pg));
	enum err verdict;

	if (pg == NULL)
		return store_refuse(store, ERR_STORE_FAILED, "no memory for the store");
	store->handle = pg;
	verdict = postgres_init(pg, store, where);
	if (verdict == ERR_OK)
		verdict = postgres_wait(pg, POSTGRES_OPEN_MS);
	if (verdict == ERR_OK)
		verdict = migrate(store);
	if (verdict != ERR_OK)
		pg_close(store);
	return verdict;
}

static enum err
pg_scrub(struct store *store)
{
	(void)store;
	return ERR_OK;
}

static bool
pg_changed_elsewhere(struct store *store)
{
	struct postgres *pg = postgres_of(store);
	uint64_t now_ns = clock_now_ns();

	postgres_turn(pg);
	if (pg->conn == NULL || (!pg->has_rung && now_ns < pg->poll_at_ns))
		return false;
	pg->has_rung = false;
	pg->poll_at_ns = now_ns + POSTGRES_POLL_MS * NSEC_PER_MSEC;
	return true;
}

static int
pg_file(struct store *store)
{
	struct postgres *pg = postgres_of(store);

	return pg->conn != NULL ? PQsocket(pg->conn) : -1;
}

const struct store_driver store_postgres = {
	.is_shared = true,
	.open = pg_open,
	.close = pg_close,
	.begin = pg_begin,
	.commit = pg_commit,
	.rollback = pg_rollback,
	.run_script = pg_run_script,
	.failed = pg_failed,
	.limit = pg_limit,
	.scrub = pg_scrub,
	.changed_elsewhere = pg_changed_elsewhere,
	.file = pg_file,
	.prepare = pg_prepare,
	.finalize = pg_finalize,
	.bind_null = pg_bind_null,
	.bind_int64 = pg_bind_int64,
	.bind_text = pg_bind_text,
	.bind_blob = pg_bind_blob,
	.step = pg_step,
	.reset = pg_reset,
	.post = pg_post,
	.settle = pg_settle,
	.changes = pg_changes,
	.column_count = pg_column_count,
	.column_name = pg_column_name,
	.column_kind = pg_column_kind,
	.column_int64 = pg_column_int64,
	.column_text = pg_column_bytes,
	.column_blob = pg_column_bytes,
};

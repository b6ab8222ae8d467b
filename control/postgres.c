/*
 * The connection's life: nobody -> dialling (a thread) -> session set up -> in use -> lost -> dialling…
 *
 * Why a thread: getaddrinfo() inside libpq blocks, and control's loop must go on probing pods while a name
 * server is as dead as the database.
 */
#include "postgres.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "clock.h"
#include "config/log.h"
#include "driver.h"

/* For one session: bounds for what a statement may take, durable commits, and the doorbell. */
static const char session_sql[] =
	"SET statement_timeout = " POSTGRES_STATEMENT_MS "; SET lock_timeout = " POSTGRES_LOCK_MS ";"
	" SET idle_in_transaction_session_timeout = 30000; SET client_min_messages = warning;"
	" SELECT set_config('synchronous_commit', 'on', false)"
	" WHERE current_setting('synchronous_commit') = 'off'; LISTEN sluice";

/* --- dialling ---------------------------------------------------------------------------- */

enum { DIAL_WORKING, DIAL_DONE, DIAL_ABANDONED };

struct dial {
	char *where;
	PGconn *conn; /* DIAL_DONE: the loop's */
	_Atomic int state;
};

static void
free_dial(struct dial *dial)
{
	PQfinish(dial->conn);
	free(dial->where);
	free(dial);
}

/* What stands before dbname may be overruled by the connection string, what stands behind it may not. */
static void *
dial(void *owner)
{
	struct dial *d = owner;
	const char *const names[] = {
		"connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count",
		"tcp_user_timeout", "target_session_attrs", "application_name", "dbname", "client_encoding",
		NULL,
	};
	const char *const values[] = {
		"3", "5", "2", "3", "10000", "read-write", "sluice-control", d->where, "UTF8", NULL,
	};
	int working = DIAL_WORKING;

	d->conn = PQconnectdbParams(names, values, 1);
	if (!atomic_compare_exchange_strong(&d->state, &working, DIAL_DONE))
		free_dial(d);
	return NULL;
}

static void
begin_dial(struct postgres *pg)
{
	struct dial *d = calloc(1, sizeof(*d));
	pthread_attr_t attributes;
	pthread_t thread;
	int code = ENOMEM;

	pg->redial_at_ns = clock_now_ns() + POSTGRES_REDIAL_MS * NSEC_PER_MSEC;
	if (d != NULL && (d->where = strdup(pg->where)) != NULL) {
		pthread_attr_init(&attributes);
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
		code = pthread_create(&thread, &attributes, dial, d);
		pthread_attr_destroy(&attributes);
	}
	if (code == 0) {
		pg->dial = d;
		return;
	}
	store_refuse(pg->store, ERR_STORE_AWAY, "no thread to connect with: %s", strerror(code));
	if (d != NULL)
		free_dial(d);
}

/* libpq's words have line breaks; the first line is for people. */
static enum err
refuse_with(struct postgres *pg, enum err verdict, const char *message)
{
	pg->verdict = verdict;
	return store_refuse(pg->store, verdict, "%.*s", (int)strcspn(message, "\n"), message);
}

enum err
postgres_away(struct postgres *pg)
{
	pg->verdict = ERR_STORE_AWAY;
	return store_refuse(pg->store, ERR_STORE_AWAY, "the database is away: %s", pg->why);
}

static void
note_why(struct postgres *pg, const char *why)
{
	snprintf(pg->why, sizeof(pg->why), "%.*s", (int)strcspn(why, "\n"), why);
	postgres_away(pg);
}

enum err
postgres_lose(struct postgres *pg, const char *why)
{
	note_why(pg, why);
	if (pg->conn != NULL)
		LOG_ERROR("store_away", LOG_TEXT("problem", pg->why));
	PQfinish(pg->conn);
	pg->conn = NULL;
	pg->in_transaction = false;
	pg->flight_count = 0;
	return ERR_STORE_AWAY;
}

/* libpq prints what is no error to stderr, where log lines are JSON; errors come with their results. */
static void
hush(void *owner, const char *message)
{
	(void)owner;
	(void)message;
}

/* What libpq says of TLS, and what of the connection string decides it. */
static const char *
tls_hint(const char *why)
{
	static const struct {
		const char *words, *hint;
	} hints[] = {
		{ "certificate verify failed", "sslrootcert is not the CA of the server's certificate" },
		{ "does not match host name", "host must be a name that the server's certificate has" },
		{ "root certificate file", "sslrootcert must name the CA of the server's certificate" },
		{ "server does not support SSL", "sslmode wants TLS, which the server does not speak" },
	};

	for (size_t i = 0; i < COUNT_OF(hints); i++)
		if (strstr(why, hints[i].words) != NULL)
			return hints[i].hint;
	return NULL;
}

static void
note_dial(struct postgres *pg, const char *why)
{
	const char *hint = tls_hint(why);
	char text[sizeof(pg->why)];

	pg->is_misset = hint != NULL;
	if (hint == NULL) {
		note_why(pg, why);
		return;
	}
	snprintf(text, sizeof(text), "%.*s (store.connection: %s)", (int)strcspn(why, "\n"), why, hint);
	note_why(pg, text);
}

/* A dial that has ended becomes the connection, if it reached anybody. */
static void
take_dial(struct postgres *pg)
{
	struct dial *d = pg->dial;

	if (atomic_load(&d->state) != DIAL_DONE)
		return;
	pg->dial = NULL;
	pg->redial_at_ns = clock_now_ns() + POSTGRES_REDIAL_MS * NSEC_PER_MSEC;
	if (PQstatus(d->conn) != CONNECTION_OK) {
		note_dial(pg, PQerrorMessage(d->conn));
		free_dial(d);
		return;
	}
	pg->conn = d->conn;
	d->conn = NULL;
	free_dial(d);
	PQsetNoticeProcessor(pg->conn, hush, NULL);
	if (PQsetnonblocking(pg->conn, 1) != 0) {
		postgres_lose(pg, PQerrorMessage(pg->conn));
		return;
	}
	if (postgres_query(pg, session_sql, POSTGRES_ANSWER_MS, NULL) != ERR_OK) {
		if (pg->conn != NULL)
			postgres_lose(pg, PQerrorMessage(pg->conn));
		return;
	}
	pg->life++;
	pg->has_rung = true;
	if (pg->life > 1)
		LOG_INFO("store_back");
}

/* --- asking ------------------------------------------------------------------------------ */

static uint64_t
deadline_of(int timeout_ms)
{
	return clock_now_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
}

/* False: the time is over, or poll() failed. */
static bool
wait_for(struct postgres *pg, short events, uint64_t deadline_ns)
{
	struct pollfd file = { .fd = PQsocket(pg->conn), .events = events };
	uint64_t now_ns = clock_now_ns();
	int left_ms = now_ns >= deadline_ns ? 0 : (int)((deadline_ns - now_ns) / NSEC_PER_MSEC) + 1;
	int count = poll(&file, 1, left_ms);

	return count > 0 || (count < 0 && errno == EINTR);
}

static PGresult *
next_result(struct postgres *pg, uint64_t deadline_ns, bool *is_lost)
{
	int more;

	while ((more = PQflush(pg->conn)) != 0 || PQisBusy(pg->conn)) {
		if (more < 0 || !wait_for(pg, more > 0 ? POLLIN | POLLOUT : POLLIN, deadline_ns)) {
			*is_lost = true;
			postgres_lose(pg, more < 0 ? PQerrorMessage(pg->conn) : "no answer in time");
			return NULL;
		}
		if (PQconsumeInput(pg->conn) == 0) {
			*is_lost = true;
			postgres_lose(pg, PQerrorMessage(pg->conn));
			return NULL;
		}
	}
	return PQgetResult(pg->conn);
}

static bool
is_error(const PGresult *result)
{
	return result != NULL && PQresultStatus(result) == PGRES_FATAL_ERROR;
}

PGresult *
postgres_collect(struct postgres *pg, int timeout_ms)
{
	uint64_t deadline_ns = deadline_of(timeout_ms);
	PGresult *kept = NULL, *result;
	bool is_lost = false;

	while ((result = next_result(pg, deadline_ns, &is_lost)) != NULL) {
		if (is_error(kept)) {
			PQclear(result);
		} else {
			PQclear(kept);
			kept = result;
		}
	}
	/* A server that is told to stop says so in a result and hangs up. */
	if (!is_lost && PQstatus(pg->conn) == CONNECTION_BAD) {
		is_lost = true;
		postgres_lose(pg, is_error(kept) ? PQresultErrorField(kept, PG_DIAG_MESSAGE_PRIMARY) ?: "" :
				  PQerrorMessage(pg->conn));
	}
	if (is_lost) {
		PQclear(kept);
		return NULL;
	}
	return kept;
}

/* Classes of SQLSTATE (PostgreSQL, appendix A). */
static enum err
verdict_of(const char *state)
{
	static const char *const later[] = { "08", "40", "53", "55", "57", "58" };

	if (strncmp(state, "23", 2) == 0 || strcmp(state, "P0001") == 0)
		return ERR_STORE_CONFLICT; /* a constraint, or a trigger of ours */
	if (strcmp(state, "25006") == 0)
		return ERR_STORE_AWAY; /* this one has become a standby */
	for (size_t i = 0; i < COUNT_OF(later); i++)
		if (strncmp(state, later[i], 2) == 0)
			return ERR_STORE_AWAY;
	return ERR_STORE_FAILED;
}

enum err
postgres_judge(struct postgres *pg, const PGresult *result)
{
	static const struct {
		const char *state, *sentence;
	} sentences[] = {
		{ "23503", STORE_REFERRED },
		{ "23505", STORE_TAKEN },
		{ "23502", STORE_MISSING },
		{ "22003", STORE_OVERFLOW },
	};
	const char *state, *message;

	if (result == NULL)
		return pg->verdict;
	if (PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK ||
	    PQresultStatus(result) == PGRES_EMPTY_QUERY)
		return ERR_OK;
	state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	if (state == NULL || message == NULL)
		return refuse_with(pg, ERR_STORE_FAILED, PQresultErrorMessage(result));
	if (strcmp(state, "25006") == 0)
		return postgres_lose(pg, message);
	if (strcmp(state, "57014") == 0 && pg->is_limited)
		return refuse_with(pg, ERR_STORE_TOO_LONG, "it takes too long");
	for (size_t i = 0; i < COUNT_OF(sentences); i++)
		if (strcmp(state, sentences[i].state) == 0)
			return refuse_with(pg, ERR_STORE_CONFLICT, sentences[i].sentence);
	if (strcmp(state, "23514") == 0) /* the constraint's name is a sentence */
		message = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME) ?: message;
	return refuse_with(pg, verdict_of(state), message);
}

enum err
postgres_query(struct postgres *pg, const char *sql, int timeout_ms, PGresult **result)
{
	PGresult *answer;
	enum err verdict;

	if (pg->conn == NULL)
		return postgres_away(pg);
	verdict = postgres_land(pg, timeout_ms);
	if (verdict != ERR_OK)
		return verdict;
	if (PQsendQuery(pg->conn, sql) == 0)
		return postgres_lose(pg, PQerrorMessage(pg->conn));
	answer = postgres_collect(pg, timeout_ms);
	verdict = postgres_judge(pg, answer);
	if (result != NULL)
		*result = answer;
	else
		PQclear(answer);
	return verdict;
}

/* --- flights ----------------------------------------------------------------------------- */

enum err
postgres_board(struct postgres *pg)
{
	enum err verdict = ERR_OK;

	if (pg->flight_count == POSTGRES_FLIGHT_MAX)
		verdict = postgres_land(pg, POSTGRES_ANSWER_MS);
	if (verdict == ERR_OK && pg->conn == NULL)
		verdict = postgres_away(pg);
	if (verdict == ERR_OK && PQenterPipelineMode(pg->conn) == 0)
		verdict = postgres_lose(pg, PQerrorMessage(pg->conn));
	return verdict;
}

void
postgres_note(struct postgres *pg, int64_t *changes, uint64_t *prepared_in)
{
	CHECK(pg->flight_count < POSTGRES_FLIGHT_MAX);
	if (prepared_in != NULL)
		*prepared_in = pg->life; /* what is sent behind it may count on it */
	pg->flight[pg->flight_count++] = (struct postgres_question){ changes, prepared_in };
}

/* The verdict of the answer to one question. */
static enum err
hear_answer(struct postgres *pg, const struct postgres_question *question, const PGresult *result)
{
	bool is_good = PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK;

	if (question->prepared_in != NULL && !is_good)
		*question->prepared_in = 0;
	if (question->changes != NULL && is_good)
		*question->changes = strtoll(PQcmdTuples((PGresult *)result), NULL, 10);
	if (PQresultStatus(result) == PGRES_PIPELINE_ABORTED)
		return ERR_OK; /* for the one before it, which has told */
	return postgres_judge(pg, result);
}

/* Each question has results and a NULL behind them; behind the last one stands what ends the flight. */
static enum err
hear_flight(struct postgres *pg, uint64_t deadline_ns)
{
	enum err verdict = ERR_OK, heard;
	bool is_lost = false;
	uint32_t at = 0;

	while (at <= pg->flight_count) {
		PGresult *result = next_result(pg, deadline_ns, &is_lost);
		ExecStatusType status = PQresultStatus(result);

		if (is_lost)
			return ERR_STORE_AWAY;
		if (result == NULL) {
			at++;
			continue;
		}
		if (status == PGRES_PIPELINE_SYNC || at == pg->flight_count) {
			PQclear(result);
			return status == PGRES_PIPELINE_SYNC ? verdict : postgres_lose(pg, "an answer to nothing");
		}
		heard = hear_answer(pg, &pg->flight[at], result);
		PQclear(result);
		verdict = verdict == ERR_OK ? heard : verdict;
		if (pg->conn == NULL)
			return verdict;
		/* A server that is told to stop says so in a result and hangs up. */
		if (PQstatus(pg->conn) == CONNECTION_BAD)
			return postgres_lose(pg, pg->store->problem);
	}
	return postgres_lose(pg, PQerrorMessage(pg->conn));
}

enum err
postgres_land(struct postgres *pg, int timeout_ms)
{
	enum err verdict;

	if (pg->conn == NULL || PQpipelineStatus(pg->conn) == PQ_PIPELINE_OFF)
		return ERR_OK;
	if (PQpipelineSync(pg->conn) == 0)
		return postgres_lose(pg, PQerrorMessage(pg->conn));
	verdict = hear_flight(pg, deadline_of(timeout_ms));
	pg->flight_count = 0;
	if (pg->conn != NULL && (PQgetResult(pg->conn) != NULL || PQexitPipelineMode(pg->conn) == 0))
		return postgres_lose(pg, "an answer to nothing");
	return verdict;
}

/* --- turns ------------------------------------------------------------------------------- */

static void
read_notifications(struct postgres *pg)
{
	PGnotify *notify;

	if (PQconsumeInput(pg->conn) == 0 || PQstatus(pg->conn) == CONNECTION_BAD) {
		postgres_lose(pg, PQerrorMessage(pg->conn));
		return;
	}
	while ((notify = PQnotifies(pg->conn)) != NULL) {
		pg->has_rung = pg->has_rung || notify->be_pid != PQbackendPID(pg->conn);
		PQfreemem(notify);
	}
}

void
postgres_turn(struct postgres *pg)
{
	if (pg->conn != NULL)
		read_notifications(pg);
	else if (pg->dial != NULL)
		take_dial(pg);
	else if (clock_now_ns() >= pg->redial_at_ns)
		begin_dial(pg);
}

enum err
postgres_wait(struct postgres *pg, int timeout_ms)
{
	uint64_t deadline_ns = deadline_of(timeout_ms);

	while (pg->conn == NULL && !pg->is_misset && clock_now_ns() < deadline_ns) {
		postgres_turn(pg);
		if (pg->conn == NULL)
			poll(NULL, 0, 5);
	}
	return pg->conn != NULL ? ERR_OK : postgres_away(pg);
}

/* --- beginning and end ------------------------------------------------------------------- */

/* What libpq would read another way than it is meant, and then repeat in its errors: a bare @ or / in the password
 * moves the host's beginning. */
static bool
is_plain(const char *where)
{
	const char *rest = strstr(where, "://"), *at;

	if (rest == NULL)
		return true;
	at = strchr(rest + 3, '@');
	if (at == NULL)
		return true;
	return strchr(at + 1, '@') == NULL && memchr(rest + 3, '/', (size_t)(at - rest - 3)) == NULL;
}

enum err
postgres_init(struct postgres *pg, struct store *store, const char *where)
{
	PQconninfoOption *options = is_plain(where) ? PQconninfoParse(where, NULL) : NULL;

	bool has_password = false;

	*pg = (struct postgres){ .store = store, .verdict = ERR_STORE_AWAY };
	if (options == NULL)
		return refuse_with(pg, ERR_STORE_INVALID, "this is no connection string of PostgreSQL");
	for (const PQconninfoOption *option = options; option->keyword != NULL; option++)
		has_password |= strcmp(option->keyword, "password") == 0 && option->val != NULL;
	PQconninfoFree(options);
	if (has_password)
		return refuse_with(pg, ERR_STORE_INVALID, "a password does not belong into sluice.yaml, which is"
				   " shown and logged: name a file that has it (passfile=FILE, mode 0600)");
	pg->where = strdup(where);
	if (pg->where == NULL)
		return refuse_with(pg, ERR_STORE_FAILED, "no memory for the store");
	note_why(pg, "it was not reached yet");
	return ERR_OK;
}

void
postgres_fini(struct postgres *pg)
{
	int working = DIAL_WORKING;

	PQfinish(pg->conn);
	/* The thread frees what it finds abandoned. */
	if (pg->dial != NULL && !atomic_compare_exchange_strong(&pg->dial->state, &working, DIAL_ABANDONED))
		free_dial(pg->dial);
	free(pg->where);
	*pg = (struct postgres){ 0 };
}

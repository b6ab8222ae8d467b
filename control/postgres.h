#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "store.h"

/*
 * postgres: one connection to a PostgreSQL server that may go away at any time; store_postgres.c and its tests
 * use it.
 *
 * Nothing here waits for longer than POSTGRES_ANSWER_MS: libpq runs without blocking, an answer that does not
 * come in time costs the connection, and connecting (names, TCP, TLS, authentication) is done by a thread of
 * its own that hands over what it got. While there is no connection every call returns ERR_STORE_AWAY at once.
 *
 * Owner: control's loop. The thread has nothing but its struct dial.
 */
#define POSTGRES_ANSWER_MS 6000        /* the server gives up after POSTGRES_STATEMENT_MS */
#define POSTGRES_STATEMENT_MS "5000"
#define POSTGRES_LOCK_MS "3000"
#define POSTGRES_REDIAL_MS 500         /* between the end of one attempt and the next */
#define POSTGRES_OPEN_MS 15000         /* at the start only: for a first connection */
#define POSTGRES_MIGRATE_MS 600000     /* at the start only: for the locks and the work of migrations */
#define POSTGRES_POLL_MS 500           /* without a doorbell */
#define POSTGRES_FLIGHT_MAX 1024       /* questions that are under way at once */

/* A question that was sent behind others whose answers are not there yet. */
struct postgres_question {
	int64_t *changes;      /* takes the number of rows; NULL: nobody wants it */
	uint64_t *prepared_in; /* of a statement that is being prepared: `life`, or 0 if that fails; or NULL */
};

struct postgres {
	struct store *store; /* takes the problems */
	char *where;         /* connection string, without a password */
	PGconn *conn;        /* NULL: away */
	struct dial *dial;   /* NULL: nobody is connecting */
	uint64_t life;       /* connections so far; what was prepared in another one is gone */
	uint64_t redial_at_ns;
	uint64_t poll_at_ns;
	bool in_transaction;
	bool has_rung;       /* a notification came, or a connection */
	uint64_t statements; /* so far: each has a name of its own */
	enum err verdict;    /* of what failed last */
	char why[400];       /* it is away */
	bool is_misset;      /* because of what the connection string says: time does not help */
	struct postgres_question flight[POSTGRES_FLIGHT_MAX];
	uint32_t flight_count;
	bool is_limited; /* store_limit(): a statement that takes too long is that, and no fault of the server */
};

/* ERR_STORE_INVALID: where is no connection string. The problem never repeats a piece of it. */
enum err postgres_init(struct postgres *pg, struct store *store, const char *where);
void postgres_fini(struct postgres *pg);

/* Connects, or takes over a connection that is ready; reads notifications. Never waits. */
void postgres_turn(struct postgres *pg);

/* Waits for a connection. ERR_STORE_AWAY: none came in time, or none can come (is_misset). */
enum err postgres_wait(struct postgres *pg, int timeout_ms);

/* Verdict of the last result of sql. *result is the caller's to clear if it is wanted (not NULL). */
enum err postgres_query(struct postgres *pg, const char *sql, int timeout_ms, PGresult **result);

/*
 * A flight: questions sent one behind the other (libpq's pipeline mode) and answered together, in one round trip.
 * board: the next PQsend…() belongs to one; a full one lands first. note: of what was sent. land: waits for all
 * answers; the first verdict that is not ERR_OK. Behind that one the server has done nothing more of the flight.
 */
enum err postgres_board(struct postgres *pg);
void postgres_note(struct postgres *pg, int64_t *changes, uint64_t *prepared_in);
enum err postgres_land(struct postgres *pg, int timeout_ms);

/* What was sent is answered: the last result, or the first error. NULL: the connection is gone. */
PGresult *postgres_collect(struct postgres *pg, int timeout_ms);

/* The verdict of a result (NULL as postgres_collect() says), and the problem. */
enum err postgres_judge(struct postgres *pg, const PGresult *result);

/* Says that there is no connection, and why. */
enum err postgres_away(struct postgres *pg);

/* What has come so far is nothing more to be had: the connection is closed, a new one begins. */
enum err postgres_lose(struct postgres *pg, const char *why);

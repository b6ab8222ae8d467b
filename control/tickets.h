#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <yyjson.h>

#include "store.h"
#include "tls/ticket_secrets.h"
#include "unix_socket.h"

/*
 * tickets: the secrets that TLS session tickets are sealed with: one row each in the store, so that all routers of
 * one database have the same, rotated, and handed to this machine's dataplane.
 *
 * A secret seals for one lifetime of tickets, a day at the most, and stays while tickets of it may live. The one
 * that comes next is made as soon as the one before it begins, so that every router has it long before its time,
 * and goes on for a while when the store is away or all controls are dead. Whoever finds one missing makes it:
 * numbers are a primary key, so of two routers that do one wins and both read its row.
 *
 * They are keys to past sessions (of TLS 1.2; those of 1.3 have an ephemeral key besides): in locked memory here,
 * never in the shared file, in no log, no answer and no audit. The dataplane asks for them at a socket,
 * <folder>/<instance>.tickets, that only this user may open, and gets one message now and at each change.
 *
 * Owner: control's loop. Memory: one locked page of secrets.
 */
#define TICKETS_USE_S_MAX 86400 /* a day */
#define TICKETS_LEAD_S 10 /* of one that is late: for the other routers to read it */
/* The next one begins within a day, by clocks that differ by less than another one. */
#define TICKETS_AHEAD_S_MAX (2 * TICKETS_USE_S_MAX)
#define TICKETS_LOOK_NS (10 * NSEC_PER_SEC) /* without being told of a change */
#define TICKETS_READERS_MAX 4 /* one dataplane, and those that are about to be forgotten */

struct tickets {
	struct store *store;
	uint32_t lifetime_s; /* 0: no tickets, nothing is made */
	uint64_t look_at_ns;
	bool is_dirty; /* the store's files may still have what was deleted */
	struct arena *arena;
	struct ticket_secrets *secrets;
	uint64_t newest; /* number of the newest row, also if it is damaged */
	uint64_t ends_at_s[TICKET_SECRETS_MAX]; /* of each, when the last of its tickets is dead */
	/* the socket */
	char path[UNIX_SOCKET_PATH_MAX + 1]; /* empty: not listening */
	int listening;
	int readers[TICKETS_READERS_MAX]; /* the oldest first */
	uint32_t reader_count;
};

/* Reads the secrets, and makes them if there are none. now_s is Unix time. */
enum err tickets_init(struct tickets *tickets, struct store *store, uint32_t lifetime_s, uint64_t now_s);
void tickets_fini(struct tickets *tickets);

/* False: why is logged; the dataplane then has secrets of its own. */
bool tickets_listen(struct tickets *tickets, const char *folder, const char *instance);

/* Hands over what is asked for; looks into the store if it is time, or something in it has changed. */
enum err tickets_turn(struct tickets *tickets, bool has_changed, uint64_t now_ns, uint64_t now_s);

/* A new one seals from now on; tickets of the older ones stay good. One row of the audit. */
enum err tickets_rotate(struct tickets *tickets, uint64_t now_s);

/* The same, and all tickets that are out are void: at once here, within a second at other routers. */
enum err tickets_revoke(struct tickets *tickets, uint64_t now_s);

/* Seconds since the secret that seals now began. */
uint64_t tickets_age_s(const struct tickets *tickets, uint64_t now_s);

/* Numbers and times, no secret. */
yyjson_mut_val *tickets_show(const struct tickets *tickets, yyjson_mut_doc *doc, uint64_t now_s);

/* To all that have asked: after a change. tickets_serve.c. */
void tickets_tell(struct tickets *tickets);
/* To who asks now. */
void tickets_serve(struct tickets *tickets);

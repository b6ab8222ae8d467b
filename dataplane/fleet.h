#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "credentials/credentials.h"
#include "dataplane/lcore.h"
#include "dataplane/settings.h"
#include "dataplane/spool_files.h"
#include "dataplane/spool_sync.h"
#include "dataplane/steering.h"
#include "tls/arena.h"
#include "tls/tls.h"

/*
 * fleet: all workers of the process, built from one configuration.
 *
 * Thread: the main thread. Owner: main.c. Memory: taken by fleet_open() and kept until fleet_close().
 */
struct fleet {
	const struct config *config;
	struct shm shm;
	struct spool_files spool;
	struct spool_sync sync;
	bool is_syncing;
	const struct credentials *credentials; /* during fleet_open() */
	uint32_t port_count;
	struct port ports[CONFIG_PORTS_MAX];
	bool is_down[CONFIG_PORTS_MAX]; /* the port's link, when it was looked at last */
	uint64_t links_at_ns;           /* when it is looked at next */
	struct tap *taps[CONFIG_PORTS_MAX]; /* NULL: not shared with the kernel */
	struct steering steering;
	struct pools_plan pools_plan;
	uint32_t count;
	struct lcore *lcores;
	void *tcp_memory[NET_WORKERS_MAX];
	struct ring *rings;
	struct settings_texts texts;
	struct lcore_settings settings[2]; /* the cores' newest ones, and those before them */
	const struct lcore_settings *newest; /* NULL: the start's */
	struct arena *arena; /* locked, of the tickets' secrets: */
	struct ticket_secrets *tickets[2]; /* the cores' newest ones, and those before them */
	const struct ticket_secrets *newest_tickets; /* one of them */
};

/* config and shm must outlive it; tickets are copied. False: text says what failed and what to do. */
bool fleet_open(struct fleet *fleet, const struct config *config, const struct shm *shm,
		const struct credentials *credentials, const struct ticket_secrets *tickets, char *text,
		size_t room);

bool fleet_start(struct fleet *fleet);

/* Looks at the links and the wall clock now and then, and tells the workers of what came up or was set. */
void fleet_tend(struct fleet *fleet, uint64_t now_ns);

/* Other settings for all workers: what has class live or drain; and keys and authorities for new handshakes. They
 * are read now.
 * Only when fleet_may_reload(). Else than NULL: why nothing happened. */
const char *fleet_reload(struct fleet *fleet, const struct config *config,
			 const struct credentials *credentials);

/* All workers have the last ones. */
bool fleet_has_reloaded(const struct fleet *fleet);

/* And there is room for the next keys: not while handshakes still need those of several reloads ago. Gives back
 * the memory of keys that nobody needs any more. */
bool fleet_may_reload(struct fleet *fleet);

/* Where the next secrets of tickets are written, and then given to all workers. NULL: they have not all taken the
 * last ones. */
struct ticket_secrets *fleet_tickets_place(struct fleet *fleet);
void fleet_set_tickets(struct fleet *fleet);

/* No new connections; requests under way go on, and each is the last of its connection. */
void fleet_drain(struct fleet *fleet);

/* Requests under way end here, each with an answer that says so. */
void fleet_cut(struct fleet *fleet);

/* Requests under way. */
uint32_t fleet_in_flight(const struct fleet *fleet);

/* Ends the loops and waits for them. */
void fleet_stop(struct fleet *fleet);
void fleet_close(struct fleet *fleet);

#pragma once

#include <signal.h>
#include <stdbool.h>

#include "config/handover.h"
#include "config/served.h"
#include "dataplane/fleet.h"

/*
 * reload: the main thread's part in a changed configuration: what control hands over, or SIGHUP asks for, is
 * parsed here, the certificates and authorities that it names are read, and all is given to the workers; a trial
 * that nobody confirms is undone here, whether control lives or not. What is undone has the certificates and
 * authorities that it had, whatever has become of their files.
 *
 * Thread: the main thread, between two looks at the spool. Owner: main.c.
 */
struct reload {
	const char *path;       /* sluice.yaml */
	struct config *running; /* what workers have, or are about to get */
	struct fleet *fleet;
	uint64_t seen;          /* the shared file's word, when it was looked at last */
	uint64_t sequence;      /* of what runs */
	bool is_told;           /* that the workers have it */
	struct handover found;  /* its trial ends here, too */
	struct credentials *credentials; /* what the workers have, with its files as they were */
	struct credentials *before; /* in a trial, what they had (the same, if it was refused); NULL: unknown */
	/* what the last attempt complained about */
	char reason[SERVED_REASON_BYTES];
};

/* What has been running since the start. The credentials become r's. */
void reload_init(struct reload *r, const char *path, struct config *running, struct fleet *fleet,
		 const struct handover *found, struct credentials *credentials);
void reload_fini(struct reload *r);

/* hup: somebody asked for sluice.yaml to be read again. */
void reload_turn(struct reload *r, bool hup, uint64_t now_ns);

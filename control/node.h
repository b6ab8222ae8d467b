#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "store.h"

/*
 * node: this router among those that share one database.
 *
 * A router's name keys its ledger rows and its share of what accounts have spent, so no two living ones may have
 * the same. A row of `nodes` is the lease of a name: it belongs to the id in <spool>/node.id, which stays with the
 * spool folder, and lapses NODE_LEASE_S after its last beat by the server's clock. Nobody else has the folder
 * (lock.h).
 *
 * A machine that was cloned has the id, too. Who finds its own id's lease running (a crash leaves it so) watches
 * it for NODE_WATCH_MS first: if somebody else beats, it does not start. Should both have started nevertheless,
 * the row has the number of the later one's life, and the earlier one is told by its next beat.
 *
 * The row also says how far this router has read `changes`; who deletes old ones looks at all rows.
 */
#define NODE_LEASE_S 15
#define NODE_BEAT_MS 2000
#define NODE_WATCH_MS 3000 /* longer than NODE_BEAT_MS and the clock's second */

struct node {
	struct store *store; /* NULL: a store of its own, nothing to do */
	char id[49]; /* 32 digits of the file's, 16 of this life's */
	uint64_t beat_at_ns;
	struct statement *beat;
};

/* Takes the name; waits as said above. ERR_STORE_CONFLICT: a living router has it. */
enum err node_claim(struct node *node, struct store *store, const char *folder);

/* Renews the lease when it is time. ERR_STORE_CONFLICT: another router has the name now. Anything else that is
 * wrong is for the next time. */
enum err node_turn(struct node *node, int64_t change_seq, uint64_t now_ns);

/* Gives the name up, if the store is there. */
void node_release(struct node *node);

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tabs.h"

/*
 * reconcile: three sums of one worker's records that nobody makes from each other must agree: what the worker
 * counted in shared memory (the totals of its tab), how far its segments in the spool go, and the rows of the
 * ledger. Totals name the record that they go up to, so that they are exact beside a running worker: the ledger's
 * rows are summed up to that one, once it has them.
 *
 * A round looks at each known tab. It goes on from the sums of the round before; a full one adds all rows up
 * again. A dead dataplane's tab is looked at once more when it is settled, and is deleted if it agrees; one that
 * does not stays, and is an alarm until somebody has looked and removed the file.
 *
 * Owner: control's loop. Time: the caller's. Bounds: a slice reads RECONCILE_ROWS rows of the ledger.
 */
#define RECONCILE_EVERY_NS (UINT64_C(60) * 1000000000)
/* Their costs are SETTLE_COST_NANO_MAX at most: a sum of so many fits what a database adds up. */
#define RECONCILE_ROWS 5000

struct reconcile {
	struct tabs *tabs;
	struct statement *sum;
	uint64_t begin_at_ns; /* the next round */
	bool is_running;
	bool is_full; /* the round under way */
	/* for metrics; the differences are those of the last look at each tab that is there */
	uint64_t rounds;
	uint64_t ended_at_ns; /* 0: none has */
	uint64_t checked;     /* records that were compared */
	uint64_t failures;    /* looks that an error ended */
};

enum err reconcile_init(struct reconcile *r, struct tabs *tabs);
void reconcile_fini(struct reconcile *r);

/* A full round from now on; one that runs begins anew. */
void reconcile_ask(struct reconcile *r, uint64_t now_ns);

/* One slice. *more: there may be something left to do at once. */
enum err reconcile_step(struct reconcile *r, uint64_t now_ns, bool *more);

/* Counted minus found, over all tabs; magnitudes, so that two of them do not hide each other. */
struct reconcile_difference reconcile_difference(const struct reconcile *r);

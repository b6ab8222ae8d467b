#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/layout.h"

/*
 * repair: what this router has spent of an account, as its balance cell says it, made what the ledger says.
 *
 * They part when a process dies between two stores: the dataplane between a debit and its record (the request is
 * billed from its tab, and its cell debited again), or control between the commit of such rows and the cell.
 * Nothing is lost by that but what the cell says; the ledger and the account are exact.
 *
 * Two looks. The first, one of the round over all rows, finds a difference and no request of the account in
 * flight: each debit that the cell has then has its record. The second comes as soon as all that was recorded at
 * the first one is in the ledger, a fraction of a second later: a cell that is the same, and differs, is wrong.
 * The exchange fails if somebody has settled since; who is let in meanwhile and settles later adds to what is
 * right. An account that has no such moment without a request is not repaired before it has.
 *
 * Owner:  publish. Memory: 16 bytes for each entry, made by repair_init(). Time: the caller's, CLOCK_MONOTONIC.
 */
#define REPAIR_WAITING_MAX 1024 /* for their second look; others have it in the next round */
#define REPAIR_LINES_MAX 16 /* logged of a round; all are counted */

struct repair_note {
	uint64_t at_ns; /* of the first look; 0: there was none */
	int64_t spent_nano;
};

struct repair {
	struct repair_note *notes; /* by entry */
	uint64_t settled_at_ns;    /* the loop's: what was over at this time is in the ledger; 0: nobody knows */
	uint32_t lines;            /* logged in this round */
	uint32_t waiting[REPAIR_WAITING_MAX]; /* a ring of entries, oldest first */
	uint32_t head;
	uint32_t count;
	/* for metrics */
	uint64_t repaired;
	uint64_t repaired_nano; /* magnitudes */
};

/* False: no memory. */
bool repair_init(struct repair *r, uint32_t capacity);
void repair_fini(struct repair *r);

/* The entry has a new account. */
void repair_forget(struct repair *r, uint32_t entry);

void repair_begin_round(struct repair *r);

/* The next entry whose second look may be made. False: none now. */
bool repair_next(struct repair *r, uint32_t *entry);

/* ledger_nano: of this router, read from the store just now. */
void repair_look(struct repair *r, uint32_t entry, struct shm_balance_cell *cell, uint64_t account_id,
		 int64_t ledger_nano, uint64_t now_ns);

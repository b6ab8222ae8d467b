#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ledger.h"
#include "meter/filename.h"
#include "meter/tab.h"

/*
 * tabs: requests that a dataplane left open when it died: one record each, outcome `crashed`, at the last count
 * that its tab (meter/tab.h) has, at the price of their admission.
 *
 * A tab is a dead one's when the lock on its file is free. Its lines are read when everything of its worker's
 * segments is in the ledger, with what they have behind their counts: then the ledger says whether a line that was
 * being closed is settled, and whether one that is open was closed behind what a power cut kept of it. A line's
 * row is keyed by its place, so that control may die anywhere and read the tab again. A tab is deleted when it is
 * settled and what it summed agrees with the ledger (reconcile.h).
 *
 * Owner: control's loop. Bounds: TABS_MAX known tabs, more wait; TABS_BATCH_LINES lines a slice, or fewer when
 * TABS_BATCH_ROWS rows of the ledger were looked over for them.
 */
#define TABS_MAX 256
#define TABS_BATCH_LINES 256
#define TABS_BATCH_SHARED 64 /* to a server: each line is two questions and answers */
#define TABS_BATCH_ROWS 20000

/* The first page of a file. */
union tabs_page {
	struct tab_header header;
	uint8_t octets[TAB_HEADER_BYTES];
};

/* How far the reconciliation (reconcile.h) is with a tab. */
enum tabs_look_phase {
	TABS_LOOK_NONE,  /* not looked at yet */
	TABS_LOOK_BEGUN, /* its totals are to be read */
	TABS_LOOK_SUMS,  /* the ledger's rows are being added up */
	TABS_LOOK_DONE,
};

struct reconcile_difference {
	uint64_t records;
	uint64_t cost_nano;
	uint64_t tokens;
};

struct tabs_look {
	enum tabs_look_phase phase;
	bool is_last;            /* it was dead and settled when its totals were read */
	struct tab_totals goal;  /* what it has counted */
	struct tab_totals found; /* in the ledger, up to found.sequence */
	uint64_t rows;           /* the same: how many */
	struct reconcile_difference difference;
};

struct tabs_tab {
	char name[FILENAME_BYTES];
	int file;
	uint64_t epoch;
	uint32_t worker;
	uint32_t capacity;
	uint32_t next_line; /* to settle; capacity: all are */
	bool is_met;        /* by the scan under way */
	bool is_dead;
	bool is_settleable; /* a scan of the segments began behind its death */
	bool is_unreadable; /* since the last scan: the disk has said so of it, or of a segment of its worker */
	bool is_told;       /* it is in the log */
	bool is_recovered;  /* what its segments have and do not count is counted */
	bool is_done;       /* agrees with the ledger: may go */
	struct tabs_look look;
};

struct tabs {
	struct ledger *ledger;
	struct tabs_tab tab[TABS_MAX];
	uint32_t count;
	uint32_t turn;
	/* Told of what was spent, behind the commit: the balance cells of the shared file. NULL: nobody. */
	void (*spent)(void *owner, uint64_t account_id, int64_t cost_nano);
	void *owner;
	/* for metrics */
	uint64_t crashed;    /* records made of lines */
	uint64_t damaged;    /* lines whose checksum is wrong: not billed */
	uint64_t unreadable; /* files that are no tabs, or cannot be read, at the last scan */
	bool is_crowded;     /* more files than TABS_MAX */
};

void tabs_init(struct tabs *tabs, struct ledger *ledger);
void tabs_fini(struct tabs *tabs);

/* Looks for new tabs and for deaths, and deletes those that are done. Behind ledger_scan(). */
void tabs_scan(struct tabs *tabs);

/* Settles one batch of lines of one dead tab. *more: there may be something left. A tab that cannot be read waits
 * for the next scan, and keeps no other one waiting. */
enum err tabs_settle(struct tabs *tabs, bool *more);

/* Dead ones that could not be read when it was last tried. */
uint32_t tabs_unreadable(const struct tabs *tabs);

/* Lines that wait to be settled are counted as their tabs' capacity: 0 says that none waits. */
uint64_t tabs_pending(const struct tabs *tabs);

/* What was over at this time, or was cut by a death before it, is in the ledger; 0: nobody knows. */
uint64_t tabs_settled_at_ns(const struct tabs *tabs);

/* The header's page as it is now; ERR_MORE: it moves, come again. */
enum err tabs_read_totals(const struct tabs_tab *tab, struct tab_totals *totals);

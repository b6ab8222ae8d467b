#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "meter/filename.h"
#include "meter/spool.h"
#include "store.h"
#include "tally.h"

/*
 * ledger: usage records out of the dataplane's spool segments into the store.
 *
 * A batch of records is one transaction: the rows that were not there yet, and what they cost, added to
 * their accounts' spent_nano. A server is waited for three times (BEGIN; all rows; all accounts and COMMIT),
 * however many they are. Only then does `drained` advance in the segment. Killed anywhere, control
 * reads some records again and inserts none of them twice: (node, epoch, worker, sequence) is unique.
 * The balance cells are not touched: workers debited them.
 *
 * Owner: control's loop. Bounds: LEDGER_SEGMENTS_MAX mapped segments; a batch has LEDGER_BATCH_MAX records.
 */
#define LEDGER_SEGMENTS_MAX 1024
#define LEDGER_BATCH_MAX 2048
#define LEDGER_BATCH_MIN 128 /* what batches that fail or take long are halved to */
#define LEDGER_BATCH_NS (UINT64_C(50) * 1000000) /* long: control's loop does nothing else meanwhile */
/* How long an unsealed segment of a dead dataplane stays. */
#define LEDGER_FORGET_NS (UINT64_C(600) * 1000000000)

struct ledger_segment {
	char name[FILENAME_BYTES];
	struct spool_header *header; /* its page is all that is mapped */
	uint64_t bytes;              /* of the file */
	bool is_dead;                /* nobody writes into it, and its tab is settled */
	uint64_t idle_since_ns;
	bool is_met; /* by the scan under way */
	bool is_new; /* found by it */
	bool is_unreadable; /* since the last scan: the disk has said so */
	bool is_told;       /* it is in the log */
};

/* Costs of a batch, so that an account is written once in it. */
struct ledger_spending {
	uint64_t account_id;
	int64_t cost_nano;
};

struct ledger_batch {
	struct ledger_spending spending[LEDGER_BATCH_MAX];
	uint32_t spending_count;
	uint32_t count; /* records that were added */
	struct usage_record added[LEDGER_BATCH_MAX];
	int64_t inserted[LEDGER_BATCH_MAX]; /* rows that each became: 1, or 0 if it was there already */
	uint64_t records;  /* ledger_end(): new ones, */
	uint64_t replayed; /* and the others */
};

struct ledger {
	struct store *store;
	struct tally *tally; /* is told of each row that was committed; NULL: nobody */
	char node[64];
	char folder[256];
	struct ledger_segment segments[LEDGER_SEGMENTS_MAX];
	uint32_t segment_count;
	uint32_t turn; /* the segment to drain next */
	struct statement *insert;
	struct statement *spend;      /* of the account, by all routers */
	struct statement *spend_here; /* of it, by this one */
	struct statement *look;    /* for a record */
	struct statement *look_id; /* for a request's */
	struct ledger_batch batch;
	uint64_t batch_max; /* records of the next one */
	struct usage_record records_read[LEDGER_BATCH_MAX];
	uint64_t scanned_at_ns;
	uint64_t complete_at_ns; /* what the spool had at this time is in the ledger; 0: nobody knows */
	/* for metrics */
	uint64_t records;  /* new rows */
	uint64_t replayed; /* records that were in the ledger already */
	uint64_t gaps;     /* sequence numbers that never came */
	uint64_t damaged;  /* records whose checksum or number is wrong: not billed */
	uint64_t recovered; /* records behind what a header that was written too early says */
	uint64_t spool_bytes; /* of the segments, at the last scan */
	uint64_t free_bytes;  /* of their disk */
	uint64_t retired;  /* segments deleted */
	uint64_t foreign;  /* files of the folder that are no segments, at the last scan */
	bool is_crowded;   /* more files than LEDGER_SEGMENTS_MAX */
};

/* The folder is made if it is missing. ERR_STORE_FAILED: problem in the store. */
enum err ledger_init(struct ledger *l, struct store *store, const char *node, const char *folder);
void ledger_fini(struct ledger *l);

/* What was mapped is not any more. */
void ledger_forget_segments(struct ledger *l);

/* Looks for new segments and deletes those that are done with. current_epoch: of the living dataplane. */
void ledger_scan(struct ledger *l, uint64_t current_epoch, uint64_t now_ns);

/* Drains one batch of one segment. *more: there may be something left. A segment that cannot be read waits for the
 * next scan, and keeps no other one waiting: only what the store says is an error. */
enum err ledger_drain(struct ledger *l, uint64_t now_ns, bool *more);

/* All of all segments. ERR_SPOOL_FILE: but for some that cannot be read; `problem` in the store names one. */
enum err ledger_drain_all(struct ledger *l, uint64_t now_ns);

/* Segments that could not be read when it was last tried. */
uint32_t ledger_unreadable(const struct ledger *l);

/* A transaction of at most LEDGER_BATCH_MAX records, and what they cost. ledger_end() commits it if `verdict`, of
 * what was done in between, is ERR_OK, and else undoes it; it is called in any case, unless ledger_begin() failed.
 * What the batch spent stays in l->batch until the next one. */
enum err ledger_begin(struct ledger *l);
enum err ledger_add(struct ledger *l, uint64_t epoch, uint32_t worker, const struct usage_record *record);
enum err ledger_end(struct ledger *l, enum err verdict);

/* No further record of that worker comes: its segments go when they are drained. */
void ledger_bury(struct ledger *l, uint64_t epoch, uint32_t worker);

/* Everything that is in segments of that worker is in the ledger. */
bool ledger_is_drained(const struct ledger *l, uint64_t epoch, uint32_t worker);

/* The same up to a sequence. */
bool ledger_has_drained(const struct ledger *l, uint64_t epoch, uint32_t worker, uint64_t sequence);

/* The last record that a worker's segments have; 0: there are none. */
uint64_t ledger_last_sequence(const struct ledger *l, uint64_t epoch, uint32_t worker);

enum err ledger_has(struct ledger *l, uint64_t epoch, uint32_t worker, uint64_t sequence, bool *has);

/* The same of a record of that request, behind a sequence. Reads every row from there on. */
enum err ledger_has_request(struct ledger *l, uint64_t epoch, uint32_t worker, uint64_t behind_sequence,
			    const uint8_t request_id[16], bool *has);

/* Of a dead worker: records that its segments have behind what they count, as a kill between the two stores and a
 * power cut leave them, are counted, so that they are drained. *any: some were, come again. ERR_SPOOL_FILE: a
 * segment cannot be read; nobody knows what it has. */
enum err ledger_recover(struct ledger *l, uint64_t epoch, uint32_t worker, bool *any);

/* Records that are written and not in the ledger yet. */
uint64_t ledger_pending(const struct ledger *l);

/* How long the oldest of them has been waiting, by its own time; 0: there is none. */
uint64_t ledger_lag_ns(const struct ledger *l, uint64_t now_unix_ns);

/* The highest epoch in the spool folder or the ledger; 0: none. */
enum err ledger_last_epoch(struct ledger *l, uint64_t *epoch);

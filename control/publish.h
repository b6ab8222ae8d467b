#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "entries.h"
#include "noun.h"
#include "repair.h"
#include "shm/table.h"
#include "store.h"

struct resolve;

/*
 * publish: makes the shared tables say what the store says.
 *
 * Two ways, which do the same to each row: publish_changes() takes the rows that the store's triggers have
 * reported since the last call; publish_step() goes through all rows in slices, round after round, and
 * finds whatever the first way missed. A row that is published already is not touched.
 *
 * Owner: control's loop. Time: now_ns is CLOCK_MONOTONIC.
 */
#define PUBLISH_SLICE_ROWS 2000         /* a few milliseconds: changes and probes come in between */
#define PUBLISH_SPENDING_NS (UINT64_C(300) * 1000000)
#define PUBLISH_ROUND_NS (UINT64_C(10) * 1000000000)

struct publish {
	struct store *store;
	struct resolve *resolve;            /* told which pods have names; NULL: nobody looks them up */
	void (*moved)(void *owner, uint32_t entry); /* told of each pod that is elsewhere now; NULL: nobody */
	void *moved_owner;
	struct shm shm;
	struct entries entries[NOUN_COUNT];
	struct statement *one[NOUN_COUNT];  /* the row of an id */
	struct statement *next[NOUN_COUNT]; /* rows after an id */
	struct repair repair;           /* of balances */
	struct statement *changes;
	struct statement *spending;     /* of other routers; NULL: there are none */
	int64_t spending_after_id;
	uint64_t spending_at_ns;
	int64_t change_seq;             /* reported changes up to here are published */
	/* the round of reconciliation under way */
	bool in_round;
	uint32_t round;
	int step;                       /* noun, then NOUN_COUNT + noun for the sweeps */
	int64_t after_id;
	uint64_t round_started_at_ns;
	bool is_forgetting;             /* behind the round: changes that nobody needs any more */
	/* for metrics */
	uint64_t rows_published;
	uint64_t rows_removed;
	uint64_t rows_refused;          /* no room, or a row that cannot be published */
	struct publish_refused {
		uint32_t rows;          /* of the last whole round */
		uint32_t rows_now;      /* of the round under way */
		bool told_full;         /* logged: once until a round refuses nothing */
		bool told_other;
	} refused[NOUN_COUNT];
	uint64_t rounds;
	uint64_t repaired;              /* differences that only a reconciliation found */
	uint64_t round_ns;              /* of the last whole round, from its beginning to its end */
	uint64_t round_busy_ns;         /* what its slices took of that */
	uint64_t busy_ns;               /* the same of the round under way */
	uint64_t slice_ns_max;          /* longest slice there was */
};

/* Reads the map of entries back from the tables. The store and the mapping outlive the publisher.
 * ERR_STORE_FAILED, or ERR_SHM_FULL if the tables cannot be repaired. */
enum err publish_init(struct publish *p, struct store *store, struct shm shm, uint64_t now_ns);
void publish_fini(struct publish *p);

/* Everything that committed before the call is in the tables after it. */
enum err publish_changes(struct publish *p, uint64_t now_ns);

/* False: a new object of this kind would be in the store and not in its table. Then why says so in a sentence that
 * names the setting. */
#define PUBLISH_WHY_BYTES 320
bool publish_has_room(const struct publish *p, enum noun noun, uint64_t now_ns, char why[PUBLISH_WHY_BYTES]);

/* Tells the balances what other routers on the same database have spent; looks every PUBLISH_SPENDING_NS. */
enum err publish_spending(struct publish *p, uint64_t now_ns);

/* The pod's name, which is published, stands for this address from now on. What was known of its health was of the
 * other one. */
void publish_move_pod(struct publish *p, uint32_t entry, uint64_t pod_id, const uint8_t address[16]);

/* Second looks at balances that may be wrong (repair.h), PUBLISH_REPAIR_ROWS at most. */
#define PUBLISH_REPAIR_ROWS 16 /* each is a question to the store */
enum err publish_repair(struct publish *p, uint64_t now_ns);

/* One slice of the reconciliation, or of forgetting changes behind it; begins a round when PUBLISH_ROUND_NS have
 * passed since the last began. *more: there is another slice. */
enum err publish_step(struct publish *p, uint64_t now_ns, bool *more);

/* True if publish_step() has something to do: a round is under way or due. */
bool publish_is_due(const struct publish *p, uint64_t now_ns);

/* What the last slice took: for metrics. */
void publish_took(struct publish *p, uint64_t slice_ns);

/* A whole round at once: before the tables are shown to anybody. */
enum err publish_all(struct publish *p, uint64_t now_ns);

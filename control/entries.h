#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * entries: which entry of one shared table stands for which of the store's ids.
 *
 * Kept nowhere: it is read back from the live entries when control attaches. A freed entry rests before it
 * stands for another id, because a worker may still hold its number in a request; never-used entries are
 * given out first, and freed ones in the order in which they were freed.
 *
 * Owner: publish. Memory: entries_init() allocates for the capacity, once; entries_fini() frees.
 * Time:  now_ns is CLOCK_MONOTONIC.
 */
#define ENTRIES_REST_NS (UINT64_C(600) * 1000000000)
#define ENTRIES_NONE UINT32_MAX

struct entries {
	uint32_t capacity;
	uint32_t count;      /* in use */
	uint32_t fresh;      /* entries from here on have never been used */
	uint64_t *id_of;     /* by entry; 0: free */
	uint32_t *seen;      /* by entry: the last reconciliation that met it */
	uint64_t *freed_at;  /* by entry */
	uint32_t *resting;   /* ring of freed entries, oldest first */
	uint32_t resting_head;
	uint32_t resting_count;
	uint32_t *slots;     /* entry + 1 by hash of its id; 0: empty; a power of two >= 2 * capacity */
	uint32_t slot_mask;
};

/* False: no memory. */
bool entries_init(struct entries *e, uint32_t capacity);
void entries_fini(struct entries *e);

/* ENTRIES_NONE: the id has none. */
uint32_t entries_find(const struct entries *e, uint64_t id);

/* While attaching: entry stands for id. False: another entry does already. */
bool entries_restore(struct entries *e, uint32_t entry, uint64_t id);

/* While attaching: the entry is free now but has been used. */
void entries_rest(struct entries *e, uint32_t entry, uint64_t now_ns);

/* True if entries_take() would find one. */
bool entries_has_room(const struct entries *e, uint64_t now_ns);

/* An entry for a new id. ENTRIES_NONE: all are used or rest. */
uint32_t entries_take(struct entries *e, uint64_t id, uint64_t now_ns);

void entries_free(struct entries *e, uint32_t entry, uint64_t now_ns);

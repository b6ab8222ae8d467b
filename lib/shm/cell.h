#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/table.h"

/*
 * cell: one table of two-version cells and one index of names, as table.c sees them. Private to lib/shm.
 *
 * Owner and thread: as table.h says.
 */

/* Bytes of one entry's cell; 0 for a section that has none. */
uint64_t cell_bytes(enum shm_section table);

/* The body's size, and where its `live` byte stands. */
uint32_t cell_body_bytes(enum shm_section table);
uint32_t cell_live_offset(enum shm_section table);

/* Copies the body whether it is live or not; ERR_SHM_NOT_FOUND only beyond the table's end. */
enum err cell_read(const struct shm *shm, enum shm_section table, uint32_t entry, void *body);

/* The same of its first bytes alone, a whole number of words. */
enum err cell_read_head(const struct shm *shm, enum shm_section table, uint32_t entry, void *head, uint32_t bytes);

/* Starts to fetch the entry's first line; nothing beyond the table's end. */
void cell_prefetch(const struct shm *shm, enum shm_section table, uint32_t entry);

/* Publishes a body. The entry is within the table. */
void cell_write(struct shm *shm, enum shm_section table, uint32_t entry, const void *body);

uint64_t cell_version(const struct shm *shm, enum shm_section table, uint32_t entry);

/* --- index ------------------------------------------------------------------------------ */

/* Slots for so many entries: a power of two, at least twice as many. */
uint32_t index_slots(uint32_t entries);

/* Position of a probe sequence. */
struct index_walk {
	_Atomic uint64_t *slots;
	uint64_t home;
	uint64_t mask;
	uint32_t tag;
	uint32_t probe;
};

struct index_walk index_begin(const struct shm *shm, enum shm_section index, uint64_t hash);

/* The next slot with the hash's tag: its reference (entry, with SHM_SLOT_ALIAS for an alias). False when
 * no further slot can have it. */
bool index_next(struct index_walk *walk, uint32_t *reference);

/* Enters a reference unless it is there. ERR_SHM_FULL: no room within SHM_PROBES_MAX slots. */
enum err index_insert(struct shm *shm, enum shm_section index, uint64_t hash, uint32_t reference);

/* Takes every slot of this reference under this hash out. */
void index_remove(struct shm *shm, enum shm_section index, uint64_t hash, uint32_t reference);

/* The hash of what a slot's reference leads to; false if that is not live. */
typedef bool index_hash_of(const struct shm *shm, enum shm_section index, uint32_t reference,
			   uint64_t *hash);

/* Removes slots whose reference is dead or hashes to something else. */
void index_sweep(struct shm *shm, enum shm_section index, index_hash_of *hash_of);

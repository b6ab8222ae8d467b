/*
 * The indexes: open addressing, linear probing, at most SHM_PROBES_MAX slots from home.
 *
 * One writer; readers walk at the same time. A slot only ever changes in one 64-bit store. Deleting leaves
 * a tombstone; entering reuses them, and tombstones that stand before an empty slot become empty again, so
 * a table that is churned for months keeps short walks. Live slots never move, so a reader misses nothing.
 */
#include "shm/cell.h"

static uint64_t
slot_load(_Atomic uint64_t *slot)
{
	return atomic_load_explicit(slot, memory_order_acquire);
}

static void
slot_store(_Atomic uint64_t *slot, uint64_t value)
{
	atomic_store_explicit(slot, value, memory_order_release);
}

static bool
is_free(uint64_t value)
{
	return value == 0 || value == SHM_SLOT_TOMBSTONE;
}

static uint64_t
slot_value(uint64_t hash, uint32_t reference)
{
	/* reference + 1 is never 0, and a tombstone's lower half is, so no value is taken for either. */
	return (hash >> 32) << 32 | ((uint64_t)reference + 1);
}

uint32_t
index_slots(uint32_t entries)
{
	uint32_t slots = 8;

	while (slots < 2 * (uint64_t)entries)
		slots *= 2;
	return slots;
}

struct index_walk
index_begin(const struct shm *shm, enum shm_section index, uint64_t hash)
{
	struct shm_header *header = shm->header;
	uint64_t mask = header->capacity.count[index] - 1;

	return (struct index_walk){
		.slots = (_Atomic uint64_t *)(void *)((char *)header + header->offset[index]),
		.home = hash & mask,
		.mask = mask,
		.tag = (uint32_t)(hash >> 32),
	};
}

bool
index_next(struct index_walk *walk, uint32_t *reference)
{
	while (walk->probe < SHM_PROBES_MAX && walk->probe <= walk->mask) {
		uint64_t value = slot_load(&walk->slots[(walk->home + walk->probe) & walk->mask]);

		walk->probe++;
		if (value == 0)
			return false;
		if (value >> 32 == walk->tag && (uint32_t)value != 0) {
			*reference = (uint32_t)value - 1;
			return true;
		}
	}
	return false;
}

static uint64_t
probes_max(uint64_t mask)
{
	return mask + 1 < SHM_PROBES_MAX ? mask + 1 : SHM_PROBES_MAX;
}

enum err
index_insert(struct shm *shm, enum shm_section index, uint64_t hash, uint32_t reference)
{
	struct index_walk walk = index_begin(shm, index, hash);
	uint64_t wanted = slot_value(hash, reference);
	_Atomic uint64_t *free_slot = NULL;

	for (uint64_t i = 0; i < probes_max(walk.mask); i++) {
		_Atomic uint64_t *slot = &walk.slots[(walk.home + i) & walk.mask];
		uint64_t value = slot_load(slot);

		if (value == wanted)
			return ERR_OK;
		if (is_free(value) && free_slot == NULL)
			free_slot = slot;
		if (value == 0)
			break;
	}
	if (free_slot == NULL)
		return ERR_SHM_FULL;
	slot_store(free_slot, wanted);
	return ERR_OK;
}

/* A tombstone before an empty slot hides nothing: no walk goes past it. */
static void
trim_tombstones(struct index_walk *walk, uint64_t at)
{
	if (slot_load(&walk->slots[(at + 1) & walk->mask]) != 0)
		return;
	for (uint64_t i = 0; i < SHM_PROBES_MAX; i++) {
		_Atomic uint64_t *slot = &walk->slots[(at - i) & walk->mask];

		if (slot_load(slot) != SHM_SLOT_TOMBSTONE)
			return;
		slot_store(slot, 0);
	}
}

void
index_remove(struct shm *shm, enum shm_section index, uint64_t hash, uint32_t reference)
{
	struct index_walk walk = index_begin(shm, index, hash);
	uint64_t unwanted = slot_value(hash, reference);

	for (uint64_t i = 0; i < probes_max(walk.mask); i++) {
		uint64_t at = (walk.home + i) & walk.mask;
		uint64_t value = slot_load(&walk.slots[at]);

		if (value == 0)
			return;
		if (value == unwanted) {
			slot_store(&walk.slots[at], SHM_SLOT_TOMBSTONE);
			trim_tombstones(&walk, at);
		}
	}
}

void
index_sweep(struct shm *shm, enum shm_section index, index_hash_of *hash_of)
{
	struct index_walk walk = index_begin(shm, index, 0);

	for (uint64_t at = 0; at <= walk.mask; at++) {
		uint64_t value = slot_load(&walk.slots[at]);
		uint64_t hash;

		if (is_free(value))
			continue;
		if (!hash_of(shm, index, (uint32_t)value - 1, &hash) ||
		    slot_value(hash, (uint32_t)value - 1) != value)
			slot_store(&walk.slots[at], SHM_SLOT_TOMBSTONE);
	}
	for (uint64_t i = 0; i <= walk.mask; i++) {
		uint64_t at = walk.mask - i;

		if (slot_load(&walk.slots[at]) == SHM_SLOT_TOMBSTONE)
			trim_tombstones(&walk, at);
	}
}

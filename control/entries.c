/* Open addressing with backward shifts, so that deleting leaves nothing behind. */
#include "entries.h"

#include <stdlib.h>

#include "base/check.h"

bool
entries_init(struct entries *e, uint32_t capacity)
{
	uint32_t slots = 8;

	while (slots < 2 * (uint64_t)capacity)
		slots *= 2;
	*e = (struct entries){ .capacity = capacity, .slot_mask = slots - 1 };
	e->id_of = calloc(capacity + 1, sizeof(*e->id_of));
	e->seen = calloc(capacity + 1, sizeof(*e->seen));
	e->freed_at = calloc(capacity + 1, sizeof(*e->freed_at));
	e->resting = calloc(capacity + 1, sizeof(*e->resting));
	e->slots = calloc(slots, sizeof(*e->slots));
	if (e->id_of && e->seen && e->freed_at && e->resting && e->slots)
		return true;
	entries_fini(e);
	return false;
}

void
entries_fini(struct entries *e)
{
	free(e->id_of);
	free(e->seen);
	free(e->freed_at);
	free(e->resting);
	free(e->slots);
	*e = (struct entries){ 0 };
}

static uint32_t
home(const struct entries *e, uint64_t id)
{
	return (uint32_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 32) & e->slot_mask;
}

/* The slot of an id, or the empty one where it would go. */
static uint32_t
slot_of(const struct entries *e, uint64_t id)
{
	uint32_t at = home(e, id);

	while (e->slots[at] != 0 && e->id_of[e->slots[at] - 1] != id)
		at = (at + 1) & e->slot_mask;
	return at;
}

uint32_t
entries_find(const struct entries *e, uint64_t id)
{
	uint32_t value = e->slots[slot_of(e, id)];

	return value == 0 ? ENTRIES_NONE : value - 1;
}

bool
entries_restore(struct entries *e, uint32_t entry, uint64_t id)
{
	CHECK(entry < e->capacity && e->id_of[entry] == 0 && id != 0);
	if (entries_find(e, id) != ENTRIES_NONE)
		return false;
	e->slots[slot_of(e, id)] = entry + 1;
	e->id_of[entry] = id;
	e->count++;
	if (entry >= e->fresh)
		e->fresh = entry + 1;
	return true;
}

void
entries_rest(struct entries *e, uint32_t entry, uint64_t now_ns)
{
	CHECK(entry < e->capacity && e->id_of[entry] == 0 && e->resting_count < e->capacity);
	e->freed_at[entry] = now_ns;
	e->resting[(e->resting_head + e->resting_count++) % e->capacity] = entry;
	if (entry >= e->fresh)
		e->fresh = entry + 1;
}

bool
entries_has_room(const struct entries *e, uint64_t now_ns)
{
	return e->fresh < e->capacity ||
	       (e->resting_count > 0 && now_ns - e->freed_at[e->resting[e->resting_head]] >= ENTRIES_REST_NS);
}

uint32_t
entries_take(struct entries *e, uint64_t id, uint64_t now_ns)
{
	uint32_t entry;

	if (!entries_has_room(e, now_ns))
		return ENTRIES_NONE;
	if (e->fresh < e->capacity) {
		entry = e->fresh;
	} else {
		entry = e->resting[e->resting_head];
		e->resting_head = (e->resting_head + 1) % e->capacity;
		e->resting_count--;
	}
	CHECK(entries_restore(e, entry, id));
	return entry;
}

void
entries_free(struct entries *e, uint32_t entry, uint64_t now_ns)
{
	uint32_t hole;

	CHECK(entry < e->capacity && e->id_of[entry] != 0);
	hole = slot_of(e, e->id_of[entry]);
	/* Whoever had to walk over the hole moves into it. */
	for (uint32_t at = (hole + 1) & e->slot_mask; e->slots[at] != 0;
	     at = (at + 1) & e->slot_mask) {
		uint32_t wanted = home(e, e->id_of[e->slots[at] - 1]);

		if (((at - wanted) & e->slot_mask) >= ((at - hole) & e->slot_mask)) {
			e->slots[hole] = e->slots[at];
			hole = at;
		}
	}
	e->slots[hole] = 0;
	e->id_of[entry] = 0;
	e->count--;
	entries_rest(e, entry, now_ns);
}

/* The wheel. See timer.h for the idea; the invariant everywhere: a timer on level L shares all bits
 * above group L with w->tick and is greater in group L, so the first occupied slot of the first
 * occupied level is the earliest. */
#include "base/timer.h"

#include <string.h>

#include "base/check.h"

#define GROUP_BITS 6
#define SLOT_DUE (TIMER_LEVELS * TIMER_SLOTS)
#define TICK_MAX ((UINT64_C(1) << (TIMER_LEVELS * GROUP_BITS)) - 1)

CHECK_STATIC(TIMER_SLOTS == 1 << GROUP_BITS, "one bit of the occupancy word per slot");
CHECK_STATIC(SLOT_DUE + 1 < 1 << 10, "struct timer.home holds every place");
CHECK_STATIC(UINT64_MAX / TIMER_TICK_NS < TICK_MAX, "struct timer.tick holds every moment");

/* The first tick at which at_ns has passed. */
static uint64_t
tick_after(uint64_t at_ns)
{
	return at_ns / TIMER_TICK_NS + (at_ns % TIMER_TICK_NS != 0);
}

/* A timer's place in the wheel's memory: eights of bytes behind its begin, + 1. */
static uint32_t
place_of(const struct timer_wheel *w, const struct timer *t)
{
	size_t offset = (size_t)((const uint8_t *)t - w->base);

	CHECK_HOT((const uint8_t *)t >= w->base && offset < TIMER_REACH_BYTES && offset % 8 == 0);
	return (uint32_t)(offset / 8) + 1;
}

static struct timer *
at(const struct timer_wheel *w, uint32_t place)
{
	return place == 0 ? NULL : (struct timer *)(void *)(w->base + (size_t)(place - 1) * 8);
}

static void
push(struct timer_wheel *w, uint32_t *head, struct timer *t, uint32_t slot)
{
	uint32_t self = place_of(w, t);

	t->home = (slot + 1) & 0x3ff;
	t->next = *head;
	t->prev = 0;
	if (t->next != 0)
		at(w, t->next)->prev = self;
	*head = self;
}

static void
unlink(struct timer_wheel *w, struct timer *t)
{
	uint32_t self = place_of(w, t);
	uint32_t home = (uint32_t)t->home - 1;
	uint32_t level = home / TIMER_SLOTS;
	uint32_t slot = home % TIMER_SLOTS;

	if (t->next != 0)
		at(w, t->next)->prev = t->prev;
	if (t->prev != 0) {
		at(w, t->prev)->next = t->next;
	} else if (home < SLOT_DUE && w->slots[level][slot] == self) {
		w->slots[level][slot] = t->next;
		if (t->next == 0)
			w->occupied[level] &= ~(UINT64_C(1) << slot);
	} else if (w->due == self) {
		w->due = t->next;
	} else {
		CHECK(w->moving == self);
		w->moving = t->next;
	}
	t->home = 0;
	t->next = 0;
	t->prev = 0;
}

static void
place(struct timer_wheel *w, struct timer *t)
{
	uint64_t tick = t->tick;
	uint32_t level;
	uint32_t slot;

	if (tick <= w->tick) {
		push(w, &w->due, t, SLOT_DUE);
		return;
	}
	level = (uint32_t)(63 - __builtin_clzll(tick ^ w->tick)) / GROUP_BITS;
	CHECK_HOT(level < TIMER_LEVELS);
	slot = (uint32_t)(tick >> (level * GROUP_BITS)) % TIMER_SLOTS;
	push(w, &w->slots[level][slot], t, level * TIMER_SLOTS + slot);
	w->occupied[level] |= UINT64_C(1) << slot;
}

/* The level of the earliest occupied slot, its number and first tick; TIMER_LEVELS if none. */
static uint32_t
earliest(const struct timer_wheel *w, uint32_t *slot, uint64_t *tick)
{
	for (uint32_t level = 0; level < TIMER_LEVELS; level++) {
		uint32_t shift = level * GROUP_BITS;

		if (w->occupied[level] == 0)
			continue;
		*slot = (uint32_t)__builtin_ctzll(w->occupied[level]);
		*tick = (w->tick >> shift >> GROUP_BITS << GROUP_BITS | *slot) << shift;
		return level;
	}
	return TIMER_LEVELS;
}

/* Moves a slot's whole list to an empty one. The timers keep the slot's number: unlink() looks at the
 * slot's head first, and nothing is placed there again before the wheel has passed it. */
static void
take_slot(struct timer_wheel *w, uint32_t level, uint32_t slot)
{
	uint32_t *to = level == 0 ? &w->due : &w->moving;

	CHECK_HOT(*to == 0 && w->slots[level][slot] != 0);
	*to = w->slots[level][slot];
	w->slots[level][slot] = 0;
	w->occupied[level] &= ~(UINT64_C(1) << slot);
}

void
timer_wheel_init(struct timer_wheel *w, void *base, uint64_t now_ns)
{
	CHECK((uintptr_t)base % 8 == 0);
	memset(w, 0, sizeof(*w));
	w->base = base;
	w->tick = now_ns / TIMER_TICK_NS;
}

void
timer_set(struct timer_wheel *w, struct timer *t, uint64_t at_ns)
{
	timer_cancel(w, t);
	t->tick = tick_after(at_ns) & TICK_MAX;
	place(w, t);
	w->armed++;
}

void
timer_cancel(struct timer_wheel *w, struct timer *t)
{
	if (!timer_is_armed(t))
		return;
	CHECK_HOT(w->armed > 0);
	unlink(w, t);
	w->armed--;
}

bool
timer_is_armed_by(const struct timer *t, uint64_t at_ns)
{
	return timer_is_armed(t) && t->tick <= tick_after(at_ns);
}

struct timer *
timer_advance(struct timer_wheel *w, uint64_t now_ns)
{
	uint64_t target = now_ns / TIMER_TICK_NS;

	for (uint32_t moves = 0; moves < TIMER_MOVES_MAX;) {
		struct timer *t;
		uint32_t level;
		uint32_t slot = 0;
		uint64_t tick = 0;

		if ((t = at(w, w->due)) != NULL) {
			timer_cancel(w, t);
			__builtin_prefetch(at(w, w->due), 1); /* while this one fires */
			return t;
		}
		if ((t = at(w, w->moving)) != NULL) {
			unlink(w, t);
			place(w, t);
			moves++;
			continue;
		}
		level = earliest(w, &slot, &tick);
		if (level == TIMER_LEVELS || tick > target) {
			if (target > w->tick)
				w->tick = target;
			return NULL;
		}
		w->tick = tick;
		take_slot(w, level, slot);
	}
	return NULL;
}

uint64_t
timer_next_at(const struct timer_wheel *w)
{
	uint32_t slot;
	uint64_t tick;

	if (w->due != 0 || w->moving != 0)
		return w->tick * TIMER_TICK_NS;
	if (earliest(w, &slot, &tick) == TIMER_LEVELS)
		return NEVER_NS;
	return tick * TIMER_TICK_NS;
}

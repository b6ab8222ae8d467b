/* The wheel. See timer.h for the idea; the invariant everywhere: a timer on level L shares all bits
 * above group L with w->tick and is greater in group L, so the first occupied slot of the first
 * occupied level is the earliest. */
#include "base/timer.h"

#include <string.h>

#include "base/check.h"

#define GROUP_BITS 6
#define SLOT_DUE (TIMER_LEVELS * TIMER_SLOTS)

CHECK_STATIC(TIMER_SLOTS == 1 << GROUP_BITS, "one bit of the occupancy word per slot");

/* The first tick at which at_ns has passed. */
static uint64_t
tick_after(uint64_t at_ns)
{
	return at_ns / TIMER_TICK_NS + (at_ns % TIMER_TICK_NS != 0);
}

static void
push(struct timer **head, struct timer *t, uint32_t slot)
{
	t->slot = slot;
	t->next = *head;
	if (t->next != NULL)
		t->next->link = &t->next;
	t->link = head;
	*head = t;
}

static void
unlink(struct timer_wheel *w, struct timer *t)
{
	uint32_t level = t->slot / TIMER_SLOTS;
	uint32_t slot = t->slot % TIMER_SLOTS;

	*t->link = t->next;
	if (t->next != NULL)
		t->next->link = t->link;
	t->link = NULL;
	t->next = NULL;
	if (t->slot < SLOT_DUE && w->slots[level][slot] == NULL)
		w->occupied[level] &= ~(UINT64_C(1) << slot);
}

static void
place(struct timer_wheel *w, struct timer *t)
{
	uint64_t tick = tick_after(t->at_ns);
	uint32_t level;
	uint32_t slot;

	if (tick <= w->tick) {
		push(&w->due, t, SLOT_DUE);
		return;
	}
	level = (uint32_t)(63 - __builtin_clzll(tick ^ w->tick)) / GROUP_BITS;
	CHECK_HOT(level < TIMER_LEVELS);
	slot = (uint32_t)(tick >> (level * GROUP_BITS)) % TIMER_SLOTS;
	push(&w->slots[level][slot], t, level * TIMER_SLOTS + slot);
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

/* Moves a slot's whole list to an empty one. The timers keep the slot's number, which is right for
 * unlink(): nothing is placed there again before the wheel has passed it. */
static void
take_slot(struct timer_wheel *w, uint32_t level, uint32_t slot)
{
	struct timer **to = level == 0 ? &w->due : &w->moving;

	CHECK_HOT(*to == NULL && w->slots[level][slot] != NULL);
	*to = w->slots[level][slot];
	(*to)->link = to;
	w->slots[level][slot] = NULL;
	w->occupied[level] &= ~(UINT64_C(1) << slot);
}

void
timer_wheel_init(struct timer_wheel *w, uint64_t now_ns)
{
	memset(w, 0, sizeof(*w));
	w->tick = now_ns / TIMER_TICK_NS;
}

void
timer_set(struct timer_wheel *w, struct timer *t, uint64_t at_ns)
{
	timer_cancel(w, t);
	t->at_ns = at_ns;
	place(w, t);
	w->armed++;
}

void
timer_cancel(struct timer_wheel *w, struct timer *t)
{
	if (t->link == NULL)
		return;
	CHECK_HOT(w->armed > 0);
	unlink(w, t);
	w->armed--;
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

		if ((t = w->due) != NULL) {
			timer_cancel(w, t);
			return t;
		}
		if ((t = w->moving) != NULL) {
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

	if (w->due != NULL || w->moving != NULL)
		return w->tick * TIMER_TICK_NS;
	if (earliest(w, &slot, &tick) == TIMER_LEVELS)
		return NEVER_NS;
	return tick * TIMER_TICK_NS;
}

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/units.h"

/*
 * timer: a hierarchical timing wheel (Varghese and Lauck), ticks of one millisecond.
 *
 * A timer sits on the level of the highest group of six bits in which its tick
 * differs from the wheel's; when the wheel reaches a slot of a higher level, the
 * slot's timers move down. So setting and cancelling are O(1), a timer moves at
 * most TIMER_LEVELS - 1 times in its life, and it fires at most one tick late.
 *
 * Owner:  struct timer is embedded in what it wakes; the wheel only links it.
 * Thread: the wheel's.
 * Time:   now_ns and at_ns are one monotonic clock. A timer never fires early. It
 *         may fire late by a tick, and by what the caller leaves undone.
 * Memory: about 2 KiB per wheel, 16 B per timer: a million of them are worth 32-bit
 *         links. So all timers of a wheel lie in one piece of memory that the wheel is
 *         told about, TIMER_REACH_BYTES at most.
 */
struct timer {
	uint32_t next; /* place in the wheel's memory; 0: the last of its list */
	uint32_t prev; /* 0: the first of its list */
	uint64_t tick : 48;
	uint64_t home : 10; /* where place() put it, + 1; 0: not armed */
	uint64_t kind : 6;  /* the owner's word: which of its timers this is */
};

CHECK_STATIC(sizeof(struct timer) == 16, "one in each of a million connections");

#define TIMER_TICK_NS NSEC_PER_MSEC
#define TIMER_LEVELS 8 /* 64^8 ticks: 8,900 years, so no deadline is too far */
#define TIMER_SLOTS 64
#define TIMER_REACH_BYTES ((size_t)(UINT32_MAX - 1) * 8)

/* Timers that one call of timer_advance() moves down at most. What is left over goes on with the
 * next call; timer_next_at() says so. */
#define TIMER_MOVES_MAX 256

struct timer_wheel {
	uint64_t tick; /* everything up to here has left the slots */
	uint8_t *base;
	uint32_t due;
	uint32_t moving; /* out of a slot that was reached, not yet on its lower level */
	uint64_t occupied[TIMER_LEVELS];
	uint32_t slots[TIMER_LEVELS][TIMER_SLOTS];
	uint32_t armed;
};

/* base: 8-byte aligned; every timer of this wheel lies at or up to TIMER_REACH_BYTES behind it. */
void timer_wheel_init(struct timer_wheel *w, void *base, uint64_t now_ns);

/* Arms t, which may be armed already, in this wheel. A moment in the past is due at once.
 * t must be all zero before its first use. */
void timer_set(struct timer_wheel *w, struct timer *t, uint64_t at_ns);

/* Disarms t; nothing if it is not armed. */
void timer_cancel(struct timer_wheel *w, struct timer *t);

static inline bool
timer_is_armed(const struct timer *t)
{
	return t->home != 0;
}

/* When an armed timer fires: what timer_set() was told, rounded up to a tick. */
static inline uint64_t
timer_at_ns(const struct timer *t)
{
	return t->tick * TIMER_TICK_NS;
}

/* Whether t is armed and fires no later than it would after timer_set(at_ns). */
bool timer_is_armed_by(const struct timer *t, uint64_t at_ns);

/* Asks for the memory that moving t will touch: its neighbours. */
static inline void
timer_prefetch(const struct timer_wheel *w, const struct timer *t)
{
	if (t->next != 0)
		__builtin_prefetch(w->base + (size_t)(t->next - 1) * 8, 1);
	if (t->prev != 0)
		__builtin_prefetch(w->base + (size_t)(t->prev - 1) * 8, 1);
}

/* Disarms and returns one timer whose moment has come, in order of their ticks; NULL if there is
 * none, or if TIMER_MOVES_MAX is used up. Call until NULL, or until the caller's own budget
 * ends. */
struct timer *timer_advance(struct timer_wheel *w, uint64_t now_ns);

/* When timer_advance() must be called next: never later than the earliest deadline rounded up to
 * its tick, possibly earlier. NEVER_NS if nothing is armed. */
uint64_t timer_next_at(const struct timer_wheel *w);

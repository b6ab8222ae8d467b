#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
 * Memory: about 4 KiB per wheel, 32 B per timer; no pointer to the wheel inside.
 */
struct timer {
	struct timer *next;
	struct timer **link; /* what points at this timer; NULL while not armed */
	uint64_t at_ns;
	uint32_t slot;
	uint32_t kind; /* the owner's word: which of its timers this is */
};

#define TIMER_TICK_NS NSEC_PER_MSEC
#define TIMER_LEVELS 8 /* 64^8 ticks: 8,900 years, so no deadline is too far */
#define TIMER_SLOTS 64

/* Timers that one call of timer_advance() moves down at most. What is left over goes on with the
 * next call; timer_next_at() says so. */
#define TIMER_MOVES_MAX 256

struct timer_wheel {
	uint64_t tick; /* everything up to here has left the slots */
	struct timer *due;
	struct timer *moving; /* out of a slot that was reached, not yet on its lower level */
	uint64_t occupied[TIMER_LEVELS];
	struct timer *slots[TIMER_LEVELS][TIMER_SLOTS];
	uint32_t armed;
};

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ns);

/* Arms t, which may be armed already, in this wheel. A moment in the past is due at once.
 * t must be all zero before its first use. */
void timer_set(struct timer_wheel *w, struct timer *t, uint64_t at_ns);

/* Disarms t; nothing if it is not armed. */
void timer_cancel(struct timer_wheel *w, struct timer *t);

static inline bool
timer_is_armed(const struct timer *t)
{
	return t->link != NULL;
}

/* Disarms and returns one timer whose moment has come, in order of their ticks; NULL if there is
 * none, or if TIMER_MOVES_MAX is used up. Call until NULL, or until the caller's own budget
 * ends. */
struct timer *timer_advance(struct timer_wheel *w, uint64_t now_ns);

/* When timer_advance() must be called next: never later than the earliest deadline rounded up to
 * its tick, possibly earlier. NEVER_NS if nothing is armed. */
uint64_t timer_next_at(const struct timer_wheel *w);

/* Relaxed atomics: each word is a fact of its own, and a report that comes late by a loop is late in any order. */
#include "spread/eject.h"

#include "base/check.h"

static uint64_t
load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

enum eject_state
eject_state(const struct eject *e, uint64_t now_ns)
{
	uint64_t until_ns = load(&e->until_ns);

	if (until_ns == 0)
		return EJECT_IN;
	return until_ns <= now_ns ? EJECT_HALF_OPEN : EJECT_OUT;
}

uint64_t
eject_half_open_ns(const struct eject *e, uint64_t now_ns)
{
	uint64_t until_ns = load(&e->until_ns);

	return until_ns != 0 && until_ns < now_ns ? now_ns - until_ns : 0;
}

bool
eject_probe(struct eject *e, uint16_t worker, uint64_t now_ns)
{
	uint32_t free_slot = 0;

	if (eject_state(e, now_ns) != EJECT_HALF_OPEN ||
	    !atomic_compare_exchange_strong_explicit(&e->prober, &free_slot, 1 + (uint32_t)worker,
						     memory_order_acq_rel, memory_order_relaxed))
		return false;
	/* The probe before this one may have ended between the two looks, with the pod in or out. */
	if (eject_state(e, now_ns) == EJECT_HALF_OPEN)
		return true;
	eject_release(e);
	return false;
}

void
eject_release(struct eject *e)
{
	CHECK_HOT(atomic_load_explicit(&e->prober, memory_order_relaxed) != 0);
	atomic_store_explicit(&e->prober, 0, memory_order_release);
}

bool
eject_good(struct eject *e)
{
	if (atomic_load_explicit(&e->errors, memory_order_relaxed) != 0)
		atomic_store_explicit(&e->errors, 0, memory_order_relaxed);
	if (load(&e->until_ns) == 0)
		return false;
	atomic_store_explicit(&e->row, 0, memory_order_relaxed);
	atomic_store_explicit(&e->until_ns, 0, memory_order_relaxed);
	return true;
}

bool
eject_bad(struct eject *e, const struct eject_limits *limits, bool is_probe, uint64_t now_ns,
	  uint64_t *for_ns)
{
	uint32_t errors = atomic_fetch_add_explicit(&e->errors, 1, memory_order_relaxed) + 1;
	uint32_t row = atomic_load_explicit(&e->row, memory_order_relaxed);
	uint64_t time_ns = limits->time_ns;

	if (limits->errors == 0)
		return false;
	if (eject_state(e, now_ns) == EJECT_IN ? errors < limits->errors : !is_probe)
		return false;
	while (row-- > 0 && time_ns < limits->time_ns_max)
		time_ns *= 2;
	*for_ns = time_ns < limits->time_ns_max ? time_ns : limits->time_ns_max;
	return true;
}

void
eject_out(struct eject *e, uint64_t until_ns)
{
	CHECK_HOT(until_ns > 0);
	atomic_fetch_add_explicit(&e->row, 1, memory_order_relaxed);
	atomic_store_explicit(&e->until_ns, until_ns, memory_order_relaxed);
}

void
eject_undo(struct eject *e)
{
	atomic_fetch_sub_explicit(&e->row, 1, memory_order_relaxed);
	atomic_store_explicit(&e->until_ns, 0, memory_order_relaxed);
}

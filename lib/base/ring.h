#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/units.h"

/*
 * ring: a bounded queue of pointers between one writer and one reader.
 *
 * Thread: ring_put() by one thread, ring_get() by one other; no locks, no waiting.
 * Memory: the struct; RING_SLOTS is a bound, not a hint: a full ring refuses.
 */
#define RING_SLOTS 1024 /* a power of two */

struct ring {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint32_t written; /* by the writer */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint32_t read;    /* by the reader */
	_Alignas(CACHE_LINE_BYTES) void *slots[RING_SLOTS];
};

static inline bool
ring_put(struct ring *ring, void *what)
{
	uint32_t at = atomic_load_explicit(&ring->written, memory_order_relaxed);

	if (at - atomic_load_explicit(&ring->read, memory_order_acquire) == RING_SLOTS)
		return false;
	ring->slots[at % RING_SLOTS] = what;
	atomic_store_explicit(&ring->written, at + 1, memory_order_release);
	return true;
}

/* For the writer: at most this many are in it. */
static inline uint32_t
ring_count(const struct ring *ring)
{
	return atomic_load_explicit(&ring->written, memory_order_relaxed) -
	       atomic_load_explicit(&ring->read, memory_order_acquire);
}

/* NULL when empty. */
static inline void *
ring_get(struct ring *ring)
{
	uint32_t at = atomic_load_explicit(&ring->read, memory_order_relaxed);
	void *what;

	if (at == atomic_load_explicit(&ring->written, memory_order_acquire))
		return NULL;
	what = ring->slots[at % RING_SLOTS];
	atomic_store_explicit(&ring->read, at + 1, memory_order_release);
	return what;
}

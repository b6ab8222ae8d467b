#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * arena: a bounded heap in memory that is taken once, for what must not grow or must be wiped.
 *
 * Two-level segregated fit: allocate and free in constant time, neighbours merge at once. Free
 * memory is always zero, so that a secret does not outlive its block and nothing has to be cleared
 * on allocation.
 *
 * Owner:  whoever made it: an instance (instance.h), an identity, authorities, HTTP/2, secrets of tickets.
 * Thread: one at a time.
 * Memory: mapped when made, left out of core dumps, unmapped when freed; never grows.
 * Limits: ARENA_BYTES_MAX. Exhaustion is NULL and a count; the handshake that met it fails.
 */
struct arena;

#define ARENA_BYTES_MIN (64u * 1024)
#define ARENA_BYTES_MAX (UINT64_C(1) << 36)

/* NULL when the kernel has no memory. */
struct arena *arena_new(size_t bytes);

/* Zeroes what is still allocated. */
void arena_free(struct arena *arena);

/* Zeroed, aligned to 16; NULL when there is no block of that size. */
void *arena_alloc(struct arena *arena, size_t bytes);

/* block may be NULL. Freeing twice, or what is not a block of this arena, stops the process. */
void arena_release(struct arena *arena, void *block);

/* How long a block is: at least what was asked for. */
size_t arena_block_bytes(const void *block);

/* Keeps what has been allocated so far (keys, at start) out of swap. False: the kernel's limit
 * forbids it. */
bool arena_lock_used(struct arena *arena);

/* All of it, now and later; counts in whole against the limit. */
bool arena_lock(struct arena *arena);

/* Whether memory of this address is the arena's. */
bool arena_has(const struct arena *arena, const void *memory);

struct arena_use {
	size_t blocks; /* allocated now */
	size_t bytes; /* allocated now, with headers */
	size_t bytes_peak;
	uint64_t refusals; /* allocations that found no room */
};
struct arena_use arena_use(const struct arena *arena);

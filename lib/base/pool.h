#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * pool: a fixed number of equal objects in the caller's memory, named by handles.
 *
 * A handle is index and generation. An object's generation is odd while it is
 * out and even while it is in the pool, so a stale handle is recognised until
 * its slot has been reused 2^31 times. 0 is never a handle.
 *
 * Owner:  the caller; pool_get() lends an object, pool_put() takes it back.
 * Thread: one.
 * Memory: pool_bytes(), 64-byte aligned; objects follow each other, aligned to 64 bytes if
 *         their size is a multiple of 64 and to 8 otherwise. 4 bytes of bookkeeping for each;
 *         a free object's first 4 bytes link it. Objects that were never lent are not touched, so
 *         that a pool which is larger than what is used costs no memory of the machine's.
 */
struct pool {
	uint8_t *objects;
	uint32_t *generations;
	uint32_t object_bytes;
	uint32_t count;
	uint32_t free_head;
	uint32_t fresh; /* the first of those that were never lent */
	uint32_t free;
};

#define POOL_COUNT_MAX UINT32_C(0x40000000)

size_t pool_bytes(uint32_t count, uint32_t object_bytes);

/* memory: pool_bytes(count, object_bytes). */
void pool_init(struct pool *pool, void *memory, uint32_t count, uint32_t object_bytes);

/* An object with all bytes zero, or NULL if none is left. The last one returned is lent first. */
void *pool_get(struct pool *pool);

/* object must be lent. */
void pool_put(struct pool *pool, void *object);

/* The name of a lent object. */
uint64_t pool_handle(const struct pool *pool, const void *object);

/* The lent object of that name; NULL if it was returned since, or never existed. */
void *pool_find(const struct pool *pool, uint64_t handle);

static inline void *
pool_at(const struct pool *pool, uint32_t index)
{
	return pool->objects + (size_t)index * pool->object_bytes;
}

static inline uint32_t
pool_index(const struct pool *pool, const void *object)
{
	return (uint32_t)((size_t)((const uint8_t *)object - pool->objects) / pool->object_bytes);
}

/* Asks for the bookkeeping that pool_handle() and pool_find() read. */
static inline void
pool_prefetch(const struct pool *pool, uint32_t index)
{
	__builtin_prefetch(&pool->generations[index]);
}

/* Whether the object at index < count is lent. */
static inline bool
pool_is_lent(const struct pool *pool, uint32_t index)
{
	return (pool->generations[index] & 1) != 0;
}

/* Fixed objects with generations: objects first, then the generations. */
#include "base/pool.h"

#include <string.h>

#include "base/check.h"
#include "base/units.h"

#define NO_SLOT UINT32_MAX

static size_t
round_up(size_t n)
{
	return (n + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
}

static uint32_t *
next_free(const struct pool *pool, uint32_t index)
{
	return pool_at(pool, index);
}

size_t
pool_bytes(uint32_t count, uint32_t object_bytes)
{
	return round_up((size_t)count * object_bytes) +
	       round_up((size_t)count * sizeof(uint32_t));
}

void
pool_init(struct pool *pool, void *memory, uint32_t count, uint32_t object_bytes)
{
	CHECK(count <= POOL_COUNT_MAX && object_bytes > 0 && object_bytes % 8 == 0);
	CHECK((uintptr_t)memory % CACHE_LINE_BYTES == 0);
	pool->objects = memory;
	pool->generations = (uint32_t *)(void *)(pool->objects + round_up((size_t)count * object_bytes));
	pool->object_bytes = object_bytes;
	pool->count = count;
	pool->free = count;
	pool->free_head = NO_SLOT;
	pool->fresh = 0;
	memset(pool->generations, 0, (size_t)count * sizeof(*pool->generations));
}

void *
pool_get(struct pool *pool)
{
	uint32_t index = pool->free_head;
	void *object;

	if (index != NO_SLOT)
		pool->free_head = *next_free(pool, index);
	else if (pool->fresh < pool->count)
		index = pool->fresh++;
	else
		return NULL;
	pool->generations[index]++;
	pool->free--;
	object = pool_at(pool, index);
	memset(object, 0, pool->object_bytes);
	return object;
}

void
pool_put(struct pool *pool, void *object)
{
	uint32_t index = pool_index(pool, object);

	CHECK(index < pool->count && pool_at(pool, index) == object && pool_is_lent(pool, index));
	pool->generations[index]++;
	*next_free(pool, index) = pool->free_head;
	pool->free_head = index;
	pool->free++;
}

uint64_t
pool_handle(const struct pool *pool, const void *object)
{
	uint32_t index = pool_index(pool, object);

	CHECK_HOT(index < pool->count && pool_is_lent(pool, index));
	return (uint64_t)pool->generations[index] << 32 | index;
}

void *
pool_find(const struct pool *pool, uint64_t handle)
{
	uint32_t index = (uint32_t)handle;
	uint32_t generation = (uint32_t)(handle >> 32);

	if (index >= pool->count || (generation & 1) == 0 ||
	    pool->generations[index] != generation)
		return NULL;
	return pool_at(pool, index);
}

#pragma once

/*
 * heap_arena: lib/tls/arena.h on malloc, so that the sanitizers see every block; included by fuzz targets, whose
 * arena goes before the library's. With instance.c, so that a target can seed its generators anew for every input.
 */
#include <stddef.h>
#include <stdlib.h>

#include "seeded.h"
#include "tls/arena.h"

struct block {
	struct block *next;
	struct block **here; /* what points to this block */
	size_t len;
	_Alignas(16) uint8_t bytes[];
};

struct arena {
	struct arena_use use;
	struct block *blocks;
};

struct arena *
arena_new(size_t bytes)
{
	(void)bytes;
	return calloc(1, sizeof(struct arena));
}

static void
unlink_block(struct block *b)
{
	*b->here = b->next;
	if (b->next != NULL)
		b->next->here = b->here;
	free(b);
}

void
arena_free(struct arena *arena)
{
	while (arena->blocks != NULL)
		unlink_block(arena->blocks);
	free(arena);
}

void *
arena_alloc(struct arena *arena, size_t bytes)
{
	struct block *b = calloc(1, sizeof(*b) + bytes);

	b->here = &arena->blocks;
	b->next = arena->blocks;
	if (b->next != NULL)
		b->next->here = &b->next;
	arena->blocks = b;
	b->len = bytes;
	arena->use.blocks++;
	return b->bytes;
}

void
arena_release(struct arena *arena, void *memory)
{
	if (memory == NULL)
		return;
	arena->use.blocks--;
	unlink_block((struct block *)((uint8_t *)memory - offsetof(struct block, bytes)));
}

bool
arena_has(const struct arena *arena, const void *memory)
{
	for (const struct block *b = arena->blocks; b != NULL; b = b->next)
		if (b->bytes == memory)
			return true;
	return false;
}

size_t
arena_block_bytes(const void *memory)
{
	const void *block = (const uint8_t *)memory - offsetof(struct block, bytes);

	return ((const struct block *)block)->len;
}

bool
arena_lock_used(struct arena *arena)
{
	(void)arena;
	return true;
}

bool
arena_lock(struct arena *arena)
{
	(void)arena;
	return true;
}

struct arena_use
arena_use(const struct arena *arena)
{
	return arena->use;
}

#include "tls/instance.c"

/* The same input draws the same numbers; seed is what the context has its entropy from. */
static void
reseed(struct instance *instance, struct seeded *seed, uint64_t number)
{
	struct instance *before = instance_enter(instance);

	seed->state = number;
	mbedtls_ctr_drbg_free(&instance->random);
	mbedtls_ctr_drbg_init(&instance->random);
	CHECK(start(instance));
	instance_leave(before);
}

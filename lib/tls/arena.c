/*
 * Two-level segregated fit (Masmano et al., 2004). Blocks lie one behind the other; each knows the
 * one before it. A list per size class holds the free ones; a bit per class says which lists are
 * not empty.
 *
 *   | arena | block, payload | block, payload | ... | end: a used block of size 0 |
 */
#include "tls/arena.h"

#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"

#define UNIT 16u /* sizes are multiples; the low bits of a size are flags */
#define FREE ((size_t)1) /* flag in block.size */

#define SECOND_LEVEL_BITS 4
#define SECOND_LEVELS (1u << SECOND_LEVEL_BITS)
#define SMALL_BYTES (UNIT << SECOND_LEVEL_BITS) /* below: one class per UNIT */
#define SMALL_BITS 8
#define FIRST_LEVELS 30
#define EXACT_TRIES 8 /* blocks looked at when no class has only blocks that are large enough */

CHECK_STATIC(1u << SMALL_BITS == SMALL_BYTES, "the first level starts where small sizes end");
CHECK_STATIC(ARENA_BYTES_MAX >> (SMALL_BITS + FIRST_LEVELS - 2) <= 1, "every size has a class");

struct block {
	struct block *before; /* in memory; NULL: the first */
	size_t size; /* of the payload, and FREE */
};

/* In the payload of a free block. */
struct links {
	struct block *next;
	struct block *prev;
};

CHECK_STATIC(sizeof(struct block) == UNIT && sizeof(struct links) == UNIT,
	     "headers keep the alignment");

struct arena {
	size_t mapped_bytes;
	struct arena_use use;
	struct block *first;
	struct block *end;
	uint32_t first_map; /* bit f: second_map[f] != 0 */
	uint32_t second_map[FIRST_LEVELS]; /* bit s: lists[f][s] != NULL */
	struct block *lists[FIRST_LEVELS][SECOND_LEVELS];
};

static size_t
size_of(const struct block *b)
{
	return b->size & ~FREE;
}

static bool
is_free(const struct block *b)
{
	return (b->size & FREE) != 0;
}

static uint8_t *
payload_of(struct block *b)
{
	return (uint8_t *)(b + 1);
}

static struct links *
links_of(struct block *b)
{
	return (struct links *)(void *)payload_of(b);
}

static struct block *
after(struct block *b)
{
	return (struct block *)(void *)(payload_of(b) + size_of(b));
}

struct class
{
	unsigned int first;
	unsigned int second;
};

/* The class whose blocks are at least as large as the least size of it; size is a multiple
 * of UNIT. */
static struct class class_of(size_t size)
{
	unsigned int log2;

	if (size < SMALL_BYTES)
		return (struct class){ 0, (unsigned int)(size / UNIT) };
	log2 = 63u - (unsigned int)__builtin_clzll(size);
	return (struct class){ log2 - SMALL_BITS + 1,
			       (unsigned int)(size >> (log2 - SECOND_LEVEL_BITS)) - SECOND_LEVELS };
}

/* Rounded up to the least size of the next class, so that any block found there is large enough. */
static size_t
search_size(size_t size)
{
	if (size < SMALL_BYTES)
		return size;
	return size + ((size_t)1 << (63 - __builtin_clzll(size) - SECOND_LEVEL_BITS)) - 1;
}

static void
insert(struct arena *arena, struct block *b)
{
	struct class c = class_of(size_of(b));
	struct block **list = &arena->lists[c.first][c.second];

	b->size |= FREE;
	links_of(b)->next = *list;
	links_of(b)->prev = NULL;
	if (*list != NULL)
		links_of(*list)->prev = b;
	*list = b;
	arena->first_map |= 1u << c.first;
	arena->second_map[c.first] |= 1u << c.second;
}

/* Leaves the whole payload zero. */
static void
take_out(struct arena *arena, struct block *b)
{
	struct class c = class_of(size_of(b));
	struct links *links = links_of(b);

	if (links->next != NULL)
		links_of(links->next)->prev = links->prev;
	if (links->prev != NULL) {
		links_of(links->prev)->next = links->next;
	} else {
		arena->lists[c.first][c.second] = links->next;
		if (links->next == NULL) {
			arena->second_map[c.first] &= ~(1u << c.second);
			if (arena->second_map[c.first] == 0)
				arena->first_map &= ~(1u << c.first);
		}
	}
	memset(links, 0, sizeof(*links));
	b->size &= ~FREE;
}

/* Of the class that has smaller ones, too: what was freed where another of the same size is wanted. */
static struct block *
find_exact(const struct arena *arena, size_t size)
{
	struct class c = class_of(size);
	struct block *b;

	if (c.first >= FIRST_LEVELS)
		return NULL;
	b = arena->lists[c.first][c.second];
	for (int tries = 0; b != NULL && tries < EXACT_TRIES; tries++) {
		if (size_of(b) >= size)
			return b;
		b = links_of(b)->next;
	}
	return NULL;
}

static struct block *
find_larger(const struct arena *arena, size_t size)
{
	struct class c = class_of(search_size(size));
	uint32_t map;

	if (c.first >= FIRST_LEVELS)
		return NULL;
	map = arena->second_map[c.first] & (~UINT32_C(0) << c.second);
	if (map == 0) {
		uint32_t larger =
			c.first + 1 < 32 ? arena->first_map & (~UINT32_C(0) << (c.first + 1)) : 0;

		if (larger == 0)
			return NULL;
		c.first = (unsigned int)__builtin_ctz(larger);
		map = arena->second_map[c.first];
	}
	return arena->lists[c.first][__builtin_ctz(map)];
}

static struct block *
find(const struct arena *arena, size_t size)
{
	struct block *b = find_larger(arena, size);

	return b != NULL ? b : find_exact(arena, size);
}

/* Gives back what b has above size, when that is worth a block of its own. */
static void
split(struct arena *arena, struct block *b, size_t size)
{
	size_t rest = size_of(b) - size;
	struct block *tail;

	if (rest < sizeof(struct block) + UNIT)
		return;
	b->size = size;
	tail = after(b);
	tail->before = b;
	tail->size = rest - sizeof(struct block);
	after(tail)->before = tail;
	insert(arena, tail);
}

struct arena *
arena_new(size_t bytes)
{
	struct arena *arena;
	size_t head = (sizeof(*arena) + UNIT - 1) / UNIT * UNIT;

	CHECK(bytes >= ARENA_BYTES_MIN && bytes <= ARENA_BYTES_MAX);
	bytes = bytes / UNIT * UNIT;
	arena = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (arena == MAP_FAILED)
		return NULL;
	/* Only old kernels without the advice refuse it, and those are not supported. */
	(void)madvise(arena, bytes, MADV_DONTDUMP);
	arena->mapped_bytes = bytes;
	arena->first = (struct block *)(void *)((uint8_t *)arena + head);
	arena->end = (struct block *)(void *)((uint8_t *)arena + bytes - sizeof(struct block));
	arena->first->size = (size_t)((uint8_t *)arena->end - payload_of(arena->first));
	arena->end->before = arena->first;
	insert(arena, arena->first);
	return arena;
}

void
arena_free(struct arena *arena)
{
	if (arena == NULL)
		return;
	for (struct block *b = arena->first; b != arena->end; b = after(b))
		if (!is_free(b))
			explicit_bzero(payload_of(b), size_of(b));
	munmap(arena, arena->mapped_bytes);
}

void *
arena_alloc(struct arena *arena, size_t bytes)
{
	size_t size = bytes < UNIT ? UNIT : (bytes + UNIT - 1) / UNIT * UNIT;
	struct block *b = bytes > arena->mapped_bytes ? NULL : find(arena, size);

	if (b == NULL) {
		arena->use.refusals++;
		return NULL;
	}
	take_out(arena, b);
	split(arena, b, size);
	arena->use.blocks++;
	arena->use.bytes += size_of(b) + sizeof(struct block);
	if (arena->use.bytes > arena->use.bytes_peak)
		arena->use.bytes_peak = arena->use.bytes;
	return payload_of(b);
}

/* The second of two free neighbours becomes zeroes in the payload of the first. */
static struct block *
merge(struct block *b, struct block *next)
{
	b->size += sizeof(struct block) + size_of(next);
	memset(next, 0, sizeof(*next));
	after(b)->before = b;
	return b;
}

void
arena_release(struct arena *arena, void *memory)
{
	struct block *b;
	struct block *next;

	if (memory == NULL)
		return;
	b = (struct block *)memory - 1;
	CHECK(b >= arena->first && b < arena->end);
	CHECK(!is_free(b));
	next = after(b);
	CHECK(next <= arena->end && next->before == b);
	arena->use.blocks--;
	arena->use.bytes -= size_of(b) + sizeof(struct block);
	memset(memory, 0, size_of(b));
	if (is_free(next)) {
		take_out(arena, next);
		merge(b, next);
	}
	if (b->before != NULL && is_free(b->before)) {
		take_out(arena, b->before);
		b = merge(b->before, b);
	}
	insert(arena, b);
}

size_t
arena_block_bytes(const void *block)
{
	return size_of((const struct block *)block - 1);
}

bool
arena_lock_used(struct arena *arena)
{
	struct block *last = arena->end;

	while (last != arena->first && is_free(last->before))
		last = last->before;
	return mlock(arena, (size_t)((uint8_t *)last - (uint8_t *)arena)) == 0;
}

bool
arena_lock(struct arena *arena)
{
	return mlock(arena, arena->mapped_bytes) == 0;
}

bool
arena_has(const struct arena *arena, const void *memory)
{
	return (const struct block *)memory > arena->first && (const struct block *)memory < arena->end;
}

struct arena_use
arena_use(const struct arena *arena)
{
	return arena->use;
}

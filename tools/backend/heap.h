#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/units.h"

/*
 * heap: who is due next; a binary heap of nodes that lie inside their owners.
 *
 * Memory: one array of pointers, made once; at most `capacity` nodes.
 */
struct heap_node {
	uint64_t due_ns; /* NEVER_NS: not in the heap */
	uint32_t at;
};

struct heap {
	struct heap_node **nodes;
	uint32_t count;
	uint32_t capacity;
};

bool heap_init(struct heap *heap, uint32_t capacity);
void heap_fini(struct heap *heap);

/* Puts it in, moves it, or with NEVER_NS takes it out. */
void heap_set(struct heap *heap, struct heap_node *node, uint64_t due_ns);

/* The earliest, or NULL. */
struct heap_node *heap_first(const struct heap *heap);

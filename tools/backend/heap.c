/* Sift up, sift down; every node knows its place, so that it can be moved. */
#include "heap.h"

#include <stdlib.h>

#include "base/check.h"

bool
heap_init(struct heap *heap, uint32_t capacity)
{
	*heap = (struct heap){ .capacity = capacity };
	heap->nodes = calloc(capacity, sizeof(*heap->nodes));
	return heap->nodes != NULL;
}

void
heap_fini(struct heap *heap)
{
	free(heap->nodes);
	*heap = (struct heap){ 0 };
}

static void
put(struct heap *heap, uint32_t at, struct heap_node *node)
{
	heap->nodes[at] = node;
	node->at = at;
}

static void
sift_up(struct heap *heap, struct heap_node *node)
{
	uint32_t at = node->at;

	while (at && heap->nodes[(at - 1) / 2]->due_ns > node->due_ns) {
		put(heap, at, heap->nodes[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	put(heap, at, node);
}

static void
sift_down(struct heap *heap, struct heap_node *node)
{
	uint32_t at = node->at, child;

	while ((child = 2 * at + 1) < heap->count) {
		if (child + 1 < heap->count &&
		    heap->nodes[child + 1]->due_ns < heap->nodes[child]->due_ns)
			child++;
		if (heap->nodes[child]->due_ns >= node->due_ns)
			break;
		put(heap, at, heap->nodes[child]);
		at = child;
	}
	put(heap, at, node);
}

void
heap_set(struct heap *heap, struct heap_node *node, uint64_t due_ns)
{
	bool was_in = node->due_ns != NEVER_NS;

	if (!was_in && due_ns == NEVER_NS)
		return;
	node->due_ns = due_ns;
	if (!was_in) {
		CHECK(heap->count < heap->capacity);
		put(heap, heap->count++, node);
	}
	if (due_ns != NEVER_NS) {
		sift_up(heap, node);
		sift_down(heap, node);
		return;
	}
	heap->count--;
	if (node->at != heap->count) {
		struct heap_node *last = heap->nodes[heap->count];

		put(heap, node->at, last);
		sift_up(heap, last);
		sift_down(heap, last);
	}
}

struct heap_node *
heap_first(const struct heap *heap)
{
	return heap->count ? heap->nodes[0] : NULL;
}

#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

/*
 * list: members in a row, through nodes that lie in them; whoever knows the node can take its member out.
 *
 * Each call costs the same however long the list is. A node is in one list at a time, and knows in which.
 *
 * Owner:  of a list, who has it; of a node, its member. Zero is an empty list, and a node in none.
 * Thread: one.
 * Memory: 24 bytes in each member.
 */
struct list_node {
	struct list *list; /* NULL: in none */
	struct list_node *next;
	struct list_node *previous;
};

struct list {
	struct list_node *first;
	struct list_node *last;
	uint32_t count;
};

static inline void
list_append(struct list *list, struct list_node *node)
{
	CHECK(node->list == NULL);
	*node = (struct list_node){ .list = list, .previous = list->last };
	if (list->last != NULL)
		list->last->next = node;
	else
		list->first = node;
	list->last = node;
	list->count++;
}

static inline void
list_prepend(struct list *list, struct list_node *node)
{
	CHECK(node->list == NULL);
	*node = (struct list_node){ .list = list, .next = list->first };
	if (list->first != NULL)
		list->first->previous = node;
	else
		list->last = node;
	list->first = node;
	list->count++;
}

static inline void
list_leave(struct list_node *node)
{
	struct list *list = node->list;

	CHECK(list != NULL && list->count > 0);
	if (node->previous != NULL)
		node->previous->next = node->next;
	else
		list->first = node->next;
	if (node->next != NULL)
		node->next->previous = node->previous;
	else
		list->last = node->previous;
	list->count--;
	*node = (struct list_node){ 0 };
}

/* NULL for NULL. */
static inline void *
list_member(struct list_node *node, size_t offset)
{
	return node != NULL ? (char *)node - offset : NULL;
}

/* The member that a node, or none, lies in: LIST_MEMBER(list->first, struct client, turn). */
#define LIST_MEMBER(node, type, name) ((type *)list_member(node, offsetof(type, name)))

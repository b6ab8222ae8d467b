#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

/*
 * items: a configuration key by key, for those that compare two of them and for those that take over what may
 * change while a process runs.
 *
 * Memory: a list is the caller's, of a fixed size (about 300 KiB: static, or from the heap).
 */
#define CONFIG_KEY_BYTES 96
#define CONFIG_VALUE_BYTES CONFIG_PATH_BYTES
#define CONFIG_ITEMS_MAX 768 /* with all lists full there are fewer (test_items) */

struct config_item {
	char key[CONFIG_KEY_BYTES];     /* "limits.requests", "ports[0].mtu" */
	char value[CONFIG_VALUE_BYTES]; /* as it would be written */
	const char *class;              /* "live", "drain", "restart" (schema.h) */
};

struct config_items {
	uint32_t count;
	struct config_item item[CONFIG_ITEMS_MAX];
};

struct config_change {
	const struct config_item *before; /* NULL: an element of a list that was not there */
	const struct config_item *after;  /* NULL: one that is not there any more */
};

/* In the schema's order. */
void items_list(const struct config *config, struct config_items *items);

/* The class by the name that a key of the schema has; NULL: no such class. Never freed. */
const char *items_class(const char *name);

/* Who must start again before a changed value holds: "sluice-control", "sluice-dataplane", "both programs", or
 * "both programs with a new shared file"; NULL: a reload takes it over. Never freed. */
const char *items_restart_of(const struct config_item *item);

/* What differs, in the order of `before`, then what only `after` has. Returns how many; changes may be NULL, and
 * has room for 2 * CONFIG_ITEMS_MAX. */
uint32_t items_compare(const struct config_items *before, const struct config_items *after,
		       struct config_change *changes);

/* Everything of fresh that is live or drain, into *running, whose other keys stay. Such a mixture may be one that
 * no file would be allowed to say: complaints then, called after name, and *running is untouched. */
enum err items_take_over(struct config *running, const struct config *fresh, const char *name,
			 const struct config_complaints *complaints);

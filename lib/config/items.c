/* One walk along the schema lists, another takes over. */
#include "config/items.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "config/schema.h"
#include "config/value.h"

/* Who reads it at its start, by the first of these that the key begins with. */
static const struct {
	const char *begin, *reader;
} readers[] = {
	{ "store.", "sluice-control" },
	{ "admin.", "sluice-control" },
	{ "instance", "both programs" },
	{ "spool.path", "both programs" },
	{ "dumpable", "both programs" },
	{ "workers", "both programs with a new shared file" },
	{ "capacity.", "both programs with a new shared file" },
	{ "", "sluice-dataplane" },
};

static void
add_value(const struct key *key, const char *name, const void *field, struct config_items *items)
{
	struct config_item *item = &items->item[items->count++];

	CHECK(items->count <= CONFIG_ITEMS_MAX);
	snprintf(item->key, sizeof(item->key), "%s", name);
	value_print(key, field, item->value, sizeof(item->value));
	item->class = schema_class_name(key->class);
}

static void
list_table(const struct key *table, const char *before, const uint8_t *base, struct config_items *items);

static void
list_elements(const struct key *key, const char *name, const uint8_t *base, struct config_items *items)
{
	struct key element = *key->element;
	uint32_t count;

	element.class = key->class;
	memcpy(&count, base + key->count_offset, sizeof(count));
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *field = base + key->offset + i * key->bytes;
		char indexed[CONFIG_KEY_BYTES];

		CHECK(snprintf(indexed, sizeof(indexed), "%s[%" PRIu32 "]", name, i) < CONFIG_KEY_BYTES);
		if (element.type == KEY_SECTION)
			list_table(element.inside, indexed, field, items);
		else
			add_value(&element, indexed, field, items);
	}
}

static void
list_table(const struct key *table, const char *before, const uint8_t *base, struct config_items *items)
{
	for (const struct key *key = table; key->name != NULL; key++) {
		char name[CONFIG_KEY_BYTES];

		CHECK(snprintf(name, sizeof(name), "%s%s%s", before, before[0] != '\0' ? "." : "", key->name) <
		      CONFIG_KEY_BYTES);
		if (key->type == KEY_SECTION)
			list_table(key->inside, name, base, items);
		else if (key->type == KEY_LIST)
			list_elements(key, name, base, items);
		else
			add_value(key, name, base + key->offset, items);
	}
}

void
items_list(const struct config *config, struct config_items *items)
{
	items->count = 0;
	list_table(schema_root, "", (const uint8_t *)config, items);
}

const char *
items_class(const char *name)
{
	for (int class = KEY_LIVE; class <= KEY_RESTART; class++)
		if (strcmp(name, schema_class_name((enum key_class)class)) == 0)
			return schema_class_name((enum key_class)class);
	return NULL;
}

/* Two lists are mostly alike, so that the same place is looked at first. */
static const struct config_item *
find(const struct config_items *items, const char *key, uint32_t near)
{
	if (near < items->count && strcmp(items->item[near].key, key) == 0)
		return &items->item[near];
	for (uint32_t i = 0; i < items->count; i++)
		if (strcmp(items->item[i].key, key) == 0)
			return &items->item[i];
	return NULL;
}

uint32_t
items_compare(const struct config_items *before, const struct config_items *after, struct config_change *changes)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < before->count; i++) {
		const struct config_item *item = &before->item[i];
		const struct config_item *other = find(after, item->key, i);

		if (other != NULL && strcmp(other->value, item->value) == 0)
			continue;
		if (changes != NULL)
			changes[count] = (struct config_change){ item, other };
		count++;
	}
	for (uint32_t i = 0; i < after->count; i++) {
		if (find(before, after->item[i].key, i) != NULL)
			continue;
		if (changes != NULL)
			changes[count] = (struct config_change){ NULL, &after->item[i] };
		count++;
	}
	return count;
}

static void
take_list(const struct key *key, uint8_t *to, const uint8_t *from)
{
	memcpy(to + key->offset, from + key->offset, key->max * key->bytes);
	memcpy(to + key->count_offset, from + key->count_offset, sizeof(uint32_t));
}

/* A list is taken as a whole or not at all; what may change inside of one is take_listeners()'s. */
static void
take_table(const struct key *table, uint8_t *to, const uint8_t *from)
{
	for (const struct key *key = table; key->name != NULL; key++) {
		if (key->type == KEY_SECTION)
			take_table(key->inside, to, from);
		else if (key->class == KEY_RESTART)
			continue;
		else if (key->type == KEY_LIST)
			take_list(key, to, from);
		else
			memcpy(to + key->offset, from + key->offset, key->bytes);
	}
}

static bool
is_same_place(const struct config_listener *a, const struct config_listener *b)
{
	return a->port == b->port && a->address.is_set == b->address.is_set &&
	       memcmp(a->address.ip, b->address.ip, sizeof(a->address.ip)) == 0;
}

/* A listener is known by its place, wherever in its list it stands; one that is not there any more keeps what it
 * has until a restart. */
static void
take_listeners(struct config *to, const struct config *from)
{
	for (uint32_t i = 0; i < to->listener_count; i++) {
		struct config_listener *listener = &to->listeners[i];

		for (uint32_t j = 0; j < from->listener_count; j++) {
			if (!is_same_place(listener, &from->listeners[j]))
				continue;
			memcpy(listener->client_ca, from->listeners[j].client_ca, sizeof(listener->client_ca));
			listener->certificate_count = from->listeners[j].certificate_count;
			memcpy(listener->certificates, from->listeners[j].certificates,
			       sizeof(listener->certificates));
		}
	}
}

enum err
items_take_over(struct config *running, const struct config *fresh, const char *name,
		const struct config_complaints *complaints)
{
	struct config mixed = *running;
	enum err verdict;

	take_table(schema_root, (uint8_t *)&mixed, (const uint8_t *)fresh);
	take_listeners(&mixed, fresh);
	verdict = config_check(&mixed, name, complaints);
	if (verdict == ERR_OK)
		*running = mixed;
	return verdict;
}

const char *
items_restart_of(const struct config_item *item)
{
	size_t at = 0;

	if (item->class != schema_class_name(KEY_RESTART))
		return NULL;
	while (strncmp(item->key, readers[at].begin, strlen(readers[at].begin)) != 0)
		at++; /* the last one begins every key */
	return readers[at].reader;
}

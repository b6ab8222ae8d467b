#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * schema: the keys of sluice.yaml as data. Private to lib/config.
 *
 * A table describes the keys of one mapping. Offsets count from the start of the struct that the
 * table's owner names: struct config for plain sections, the element for lists.
 */
enum key_type {
	KEY_TEXT,
	KEY_PATH, /* text; made relative to the configuration file's folder */
	KEY_COUNT, /* uint32_t */
	KEY_PORT, /* uint16_t */
	KEY_SIZE, /* uint64_t bytes, written with a unit */
	KEY_DURATION, /* uint64_t nanoseconds, written with a unit */
	KEY_BOOL,
	KEY_CHOICE, /* an enum: index into choices */
	KEY_ADDRESS, /* struct config_address without prefix; fallback "any" allows "any" */
	KEY_NETWORK, /* struct config_address with prefix */
	KEY_SECTION, /* inside */
	KEY_LIST, /* min to max elements, each as element says */
};

/* What becomes of a changed value when the file is read again. */
enum key_class {
	KEY_LIVE, /* taken over at once, for all requests and connections */
	KEY_DRAIN, /* taken over for new connections; those that are there keep the old value until they end */
	KEY_RESTART, /* stays as it was until the processes start again */
};

struct key {
	const char *name;
	enum key_type type;
	size_t offset;
	size_t bytes; /* of the field; of one element for lists */
	uint64_t min; /* of the value; characters of a text; elements of a list */
	uint64_t max;
	const char *fallback; /* as it would be written; NULL: required */
	enum key_class class;
	const char *help;
	const char *const *choices; /* NULL-terminated */
	const struct key *inside; /* table, ends with a NULL name */
	const struct key *element; /* one row */
	size_t count_offset; /* of a list: uint32_t */
};

extern const struct key schema_root[];

const char *schema_type_name(enum key_type type);
const char *schema_class_name(enum key_class class);

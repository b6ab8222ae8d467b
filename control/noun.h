#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

#include "shm/layout.h"
#include "store.h"

/*
 * noun: what an operator can name: list, get, put and delete, as JSON objects, for all of them alike.
 *
 * One table in noun.c says which members each kind has, where they are stored and what they may hold; SQL is
 * made from that table and never from what a client sends. The order of the enum is the order of
 * dependency (each refers to earlier ones only) and is written into the store's triggers: append only.
 */
enum noun {
	NOUN_ACCOUNT,
	NOUN_PLAN,
	NOUN_PRICE,
	NOUN_REGION,
	NOUN_POD,
	NOUN_DEPLOYMENT,
	NOUN_MODEL,
	NOUN_ALIAS,
	NOUN_INSTANCE,
	NOUN_KEY,
	NOUN_COUNT
};

#define NOUN_FIELDS_MAX 20
#define NOUN_LIST_MAX 10000
#define NOUN_ID_DIGITS_MAX 15 /* of one that is asked for: what JSON's readers hold, and far from the last one */

/* A column's value. */
struct noun_value {
	const char *column;
	enum { NOUN_NULL, NOUN_NUMBER, NOUN_TEXT, NOUN_BLOB } kind;
	int64_t number;
	struct bytes text;
};

const char *noun_name(enum noun noun);   /* "account" */
const char *noun_plural(enum noun noun); /* "accounts": in addresses and the store */
const char *noun_surface(enum shm_surface surface); /* "ecolink": as keys name it */
bool noun_find(struct bytes plural, enum noun *noun);

/* Digits are an id, anything else a name. Instances and keys have ids only. ERR_STORE_NOT_FOUND: problem has the
 * name that was probably meant. */
enum err noun_resolve(struct store *store, enum noun noun, struct bytes reference, int64_t *id);

/* The same for what may well not be there: nothing is looked for that is near. */
enum err noun_look_up(struct store *store, enum noun noun, struct bytes reference, int64_t *id);

/* One object into doc. */
enum err noun_get(struct store *store, enum noun noun, int64_t id, yyjson_mut_doc *doc,
		  yyjson_mut_val **object);

/* What a list is narrowed to. */
struct noun_filter {
	int64_t after_id;
	uint32_t limit; /* at most NOUN_LIST_MAX */
	uint32_t count;
	struct {
		const char *field;
		const char *value;
	} equal[4];
};

/* An array of objects in the order of their ids. */
enum err noun_list(struct store *store, enum noun noun, const struct noun_filter *filter,
		   yyjson_mut_doc *doc, yyjson_mut_val **array);

/* Makes what body says true of the object: members that it lacks keep their value, or get their default in
 * a new object. *id is 0 for one that has yet to get its id; name, if not empty, is its name. extra are
 * columns that no client sets. One transaction with its audit row. ERR_STORE_INVALID, ERR_STORE_CONFLICT:
 * problem says what and nothing has changed. */
enum err noun_put(struct store *store, enum noun noun, int64_t *id, struct bytes name,
		  yyjson_val *body, const struct noun_value *extra, size_t extra_count,
		  bool *created);

enum err noun_delete(struct store *store, enum noun noun, int64_t id);

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

#include "noun.h"

/*
 * shape: which members the objects and calls of the admin API have, and what each may hold.
 *
 * One table: what is read (noun.c), refused (api.c), told (openapi.c) and made into SQL follows from it.
 */
enum field_kind {
	FIELD_TEXT,
	FIELD_NUMBER,
	FIELD_FLAG,
	FIELD_CHOICE,
	FIELD_REFERENCE, /* in JSON the other's name, or its id where it has no name */
	FIELD_POD_LIST,
};

enum field_flags {
	FIELD_REQUIRED = 1, /* of a new object */
	FIELD_READ_ONLY = 2,
	FIELD_FIXED = 4, /* once made */
	FIELD_NULLABLE = 8,
	FIELD_SECRET = 16, /* is never shown: "<name>_set" tells whether there is one */
	FIELD_UNTOLD = 32, /* of a new object only, and in no answer */
};

#define FIELD_PODS_MAX 32
#define SHAPE_ADDRESS_BYTES_MAX 183 /* of a pod's name: with a port it is its Host field (struct shm_pod) */

typedef const char *field_check(struct bytes text); /* NULL: fine; else what is wrong */

struct field {
	const char *name;
	const char *column;
	enum field_kind kind;
	unsigned flags;
	int64_t max; /* of a number, or bytes of a text */
	int64_t min;
	const char *const *choices; /* ends with NULL */
	enum noun target;
	field_check *check;
	const char *pattern; /* what check() lets through, as far as a regular expression says it */
	const char *help;
};

struct shape {
	const char *name;
	const char *plural;
	const char *help;
	const struct field *fields; /* ends with a NULL name */
	bool has_name; /* a unique one, to be referred to by */
};

const struct shape *shape_of(enum noun noun);

/* NULL: none has the name. */
const struct field *shape_field(const struct field *fields, const char *name);

/* The name that was probably meant by one that no field has; NULL: nothing is near. */
const char *shape_nearest(const struct field *fields, const char *name);

/* Whether a list can be narrowed by it. */
bool shape_is_filter(const struct field *field);

#define SHAPE_PROBLEM_BYTES 256

/* Every member of the object is a field that can be written, and stands once. False: problem says which is not.
 * owner is what the problem calls the object. */
bool shape_has_only(const struct field *fields, const char *owner, yyjson_val *object,
		    char problem[SHAPE_PROBLEM_BYTES]);

/* The value is of the field's kind and within its bounds; what a reference stands for is the store's to tell. */
bool shape_fits(const struct field *field, yyjson_val *value, char problem[SHAPE_PROBLEM_BYTES]);

/* The index of a choice that shape_fits(); -1: there is none such. */
int shape_choice(const struct field *field, yyjson_val *value);
const char *shape_choice_name(const struct field *field, int64_t number); /* NULL: none */
int shape_choice_of(const struct field *field, const char *text);

/* What a noun's unique name may be: NULL if it may, else what is wrong. */
const char *shape_check_name(enum noun noun, struct bytes name);

bool shape_is_all_digits(struct bytes text);

/* UTF-8 without control characters. */
bool shape_is_text(struct bytes text);

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * json: walks a whole JSON text in memory; enough of RFC 8259 to read a request and to refuse nonsense.
 *
 * Shares no line with the router's own scanner: the two are each other's second opinion.
 *
 *	struct json_walk walk = json_members(object);
 *	while (json_next(&walk)) use(walk.name, walk.value);
 *	if (walk.wrong) ...
 */
#define JSON_DEPTH_MAX 128

struct json_walk {
	struct bytes rest;
	struct bytes name;  /* as it stands between the quotes; empty in an array */
	struct bytes value; /* whole value with its quotes or brackets */
	bool is_object;
	bool is_first;
	bool wrong;
};

/* True: exactly one value with only white space around it; *value is the value. */
bool json_whole(struct bytes text, struct bytes *value);

/* Over members of an object, or elements of an array; wrong at once if the value is neither. */
struct json_walk json_members(struct bytes value);
struct json_walk json_elements(struct bytes value);

bool json_next(struct json_walk *walk);

/* Whether the member just walked to has that name, of at most 59 bytes, escapes undone. */
bool json_is_named(const struct json_walk *walk, const char *name);

/* The member of that name, the last one if it is there twice. */
bool json_member(struct bytes object, const char *name, struct bytes *value);

/* What a string says, escapes undone, cut at out_size - 1 bytes, with a NUL. False: it is no string. */
bool json_text(struct bytes value, char *out, size_t out_size, size_t *len);

bool json_is(struct bytes value, const char *literal);
bool json_number(struct bytes value, uint64_t *number);

#pragma once

#include <stdbool.h>

#include "base/bytes.h"

/*
 * form: parts of a whole multipart/form-data body in memory (RFC 7578), strict.
 *
 * Shares no line with lib/http: the two are each other's second opinion.
 */
struct form_walk {
	struct bytes rest;
	char delimiter[80]; /* "--boundary" */
	struct bytes name;  /* as it stands between its quotes */
	struct bytes value;
	bool is_file;
	bool wrong;
};

/* False: the type names no boundary, or the body does not begin with it. */
bool form_begin(struct form_walk *walk, struct bytes content_type, struct bytes body);

/* False: there are no more, or walk->wrong. */
bool form_next(struct form_walk *walk);

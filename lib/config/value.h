#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/schema.h"

/* value: one scalar as written in the file, into the field that its key names. Private to
 * lib/config. */

#define VALUE_COMPLAINT_BYTES 512

/* False: complaint says in one sentence what is wrong and what to write; the field is untouched.
 * text ends with NUL; folder is what relative paths are relative to ("" or ending in '/'). */
bool value_parse(const struct key *key, const char *text, const char *folder, void *field,
		 char complaint[VALUE_COMPLAINT_BYTES]);

/* The field as value_parse() would read it. text has room for CONFIG_VALUE_BYTES. */
void value_print(const struct key *key, const void *field, char *text, size_t room);

/* The closest of NULL-ended names, or NULL when none is close enough to be meant. Control uses it, too. */
const char *value_nearest(const char *word, const char *const *names);

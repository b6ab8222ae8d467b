#pragma once

#include <stddef.h>

/*
 * json_cases: documents of the classes of the public JSON parsing test corpus, written anew: 'y'
 * must be read, 'n' must not, and 'i' may be by RFC 8259, but parsers differ, so we refuse it. Each
 * is tried as the value of a member of an object, since a request is an object.
 */
struct json_case {
	char class; /* y, n, i */
	const char *text;
	size_t len;
};

extern const struct json_case json_cases[];
extern const size_t json_case_count;

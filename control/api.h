#pragma once

#include <stddef.h>

#include "base/bytes.h"
#include "control.h"

/*
 * api: one call of the admin API: method, path and body in, status and JSON out. Knows no HTTP library.
 *
 *   GET    /admin/v1/status | usage | <nouns>[?account=…&name=…&after=…&limit=…]
 *   POST   /admin/v1/<nouns>                  a new one
 *   GET    /admin/v1/<nouns>/<name or id>
 *   PUT    /admin/v1/<nouns>/<name or id>     makes or changes
 *   DELETE /admin/v1/<nouns>/<name or id>
 *   POST   /admin/v1/accounts/<…>/top-up      {"amount_nano": …, "reference": …}
 *   POST   /admin/v1/keys/<id>/rotate         the answer has the new key, once
 *   POST   /admin/v1/keys/<id>/revoke
 */
#define API_QUERIES_MAX 16

struct api_query {
	const char *name;
	const char *value; /* "" for none */
};

struct api_call {
	const char *method;
	const char *path; /* decoded */
	struct bytes body;
	struct api_query queries[API_QUERIES_MAX];
	size_t query_count;
};

struct api_answer {
	int status;
	const char *content_type;
	char *text; /* malloc'ed; NULL: no memory, answer 500 */
	size_t len;
};

void api_answer(struct control *control, const struct api_call *call, struct api_answer *answer);

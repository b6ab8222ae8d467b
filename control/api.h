#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "control.h"
#include "shape.h"

/*
 * api: one call of the admin API: method, path and body in, status and JSON out. Knows no HTTP library.
 *
 * What calls there are is one table (api.c): it routes, it says who may call, which methods an address has,
 * which members and queries a call takes, and it is what the OpenAPI document is made from (openapi.h).
 */
#define API_QUERIES_MAX 16
#define API_ROOT "/admin/v1/"
#define API_LIST_MAX NOUN_LIST_MAX

/* What a caller's token allows; each may what those before it may. */
enum api_role { API_ANYBODY, API_READ, API_ADMIN };

struct api_query {
	const char *name;
	const char *value; /* "" for none */
};

struct api_call {
	const char *method;
	const char *path; /* decoded */
	enum api_role role;
	const char *who;        /* as the audit tells the caller; NULL: nobody who may change anything */
	const char *request_id; /* NULL: none */
	struct bytes body;
	struct api_query queries[API_QUERIES_MAX];
	size_t query_count;
	bool has_too_many_queries; /* those beyond the bound are not here */
};

struct api_answer {
	int status;
	const char *content_type;
	char allow[64]; /* with 405: the methods that the address has; else "" */
	char *text;     /* malloc'ed; NULL: no memory, answer 500 */
	size_t len;
};

void api_answer(struct control *control, const struct api_call *call, struct api_answer *answer);

struct answering;

/* What a body is made of, and an answer. The fields of the row are added to a noun's. */
enum api_form {
	API_FIELDS,     /* of the row alone; without any: an empty object, or nothing */
	API_NEW_NOUN,   /* what a new object may be given */
	API_NOUN,       /* in a body: what may change; in an answer: all of it */
	API_NOUN_LIST,
	API_OBJECT,     /* whatever the summary says */
	API_TEXT,
};

/* A row of the table. */
struct api_route {
	const char *method;
	const char *path; /* with {nouns} for every noun's plural, {reference} for a name or an id */
	const char *name; /* of the operation; "_<noun>" is added where the path has {nouns} */
	enum api_role role;
	const char *summary;
	void (*answer)(struct answering *a);
	const struct field *queries;
	bool has_filters; /* each text and reference of the noun is a query, too */
	const char *verb; /* in the audit; NULL: create, change or delete */
	enum noun noun;   /* of a path without {nouns} whose forms are a noun's */
	enum api_form takes;
	const struct field *members;
	enum api_form tells;
	const struct field *told;
};

/* The rows in their order; NULL behind the last. */
const struct api_route *api_route(size_t at);

#pragma once

#include <stdint.h>
#include <yyjson.h>

#include "store.h"

/*
 * audit: who changed what, from what to what: one row for each change, written in the change's own transaction.
 *
 * Rows are never changed. Secrets are not in them: keys' texts and hashes are no members of objects, and a
 * pod's credential is told as changed without its text.
 */

/* Who is behind the changes that are made now. */
struct audit_caller {
	const char *who;        /* "admin token 5f0c12aa, uid 0" */
	const char *request_id; /* as the answer's x-request-id tells it */
	const char *verb;       /* "rotate", where "change" says too little; NULL: does not */
};

/* One change; texts are never NULL. */
struct audit_change {
	const char *verb; /* "create", "change", "delete", "top-up" */
	const char *noun;
	int64_t subject; /* id; 0: none */
	const char *name;
	const char *changed; /* {"member": [before, after]}, as JSON text */
	const char *detail;
};

/* Of the current transaction. Without a store->caller it was control itself. */
enum err audit_write(struct store *store, const struct audit_change *change);

/* {"member": [before, after]} of what differs; either may be NULL: there was none. secret_written is a member
 * whose values are not told, or NULL. To be freed; NULL: no memory. */
char *audit_difference(yyjson_mut_val *before, yyjson_mut_val *after, const char *secret_written);

/* What a list is narrowed to; NULL and 0: not. */
struct audit_filter {
	const char *noun;
	const char *name;
	int64_t subject;
	int64_t after_id;
	bool newest_first;
	uint32_t limit;
};

enum err audit_list(struct store *store, const struct audit_filter *filter, yyjson_mut_doc *doc,
		    yyjson_mut_val **array);

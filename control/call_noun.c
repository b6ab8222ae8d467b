/* The calls that all nouns have, and the accounts' own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answering.h"
#include "base/check.h"
#include "config/value.h"

void
call_list(struct answering *a)
{
	struct noun_filter filter = {
		.after_id = answering_query_number(a, "after", 0),
		.limit = (uint32_t)answering_query_number(a, "limit", 1000),
	};
	yyjson_mut_val *array;
	enum err verdict;

	for (size_t i = 0; i < a->call->query_count; i++) {
		const struct api_query *q = &a->call->queries[i];

		if (shape_field(a->route->queries, q->name) != NULL)
			continue;
		CHECK_STATIC(COUNT_OF(filter.equal) == 4, "as the refusal says");
		if (filter.count == COUNT_OF(filter.equal)) {
			answering_refuse(a, 400, "invalid", "too many filters: at most 4");
			return;
		}
		filter.equal[filter.count].field = q->name;
		filter.equal[filter.count++].value = q->value;
	}
	verdict = noun_list(&a->control->store, a->noun, &filter, a->doc, &array);
	if (verdict != ERR_OK) {
		answering_refuse_verdict(a, verdict);
		return;
	}
	a->root = yyjson_mut_obj(a->doc);
	yyjson_mut_obj_add_str(a->doc, a->root, "object", "list");
	yyjson_mut_obj_add_bool(a->doc, a->root, "has_more", yyjson_mut_arr_size(array) == filter.limit);
	yyjson_mut_obj_add_val(a->doc, a->root, "data", array);
	a->status = 200;
}

/* A pod's tls_ca is a name of tls.authorities, here; what another router wrote may be one that only it has, and
 * such a pod is one that ours do not reach (UPSTREAM_NO_TRUST). False: the call is refused. */
static bool
knows_authority(struct answering *a)
{
	const struct config *config = a->control->reload.running;
	const char *names[CONFIG_AUTHORITIES_MAX + 1] = { NULL };
	yyjson_val *member = a->noun == NOUN_POD ? answering_member(a, "tls_ca") : NULL;
	const char *wanted = yyjson_get_str(member);
	const char *nearest;
	char message[256];

	/* What is no text is refused with the other members. */
	if (wanted == NULL || wanted[0] == '\0' || yyjson_get_len(member) >= CONFIG_AUTHORITY_BYTES)
		return true;
	for (uint32_t i = 0; i < config->authority_count; i++) {
		names[i] = config->authorities[i].name;
		if (strcmp(names[i], wanted) == 0)
			return true;
	}
	nearest = value_nearest(wanted, names);
	snprintf(message, sizeof(message), "tls_ca: tls.authorities of this router has no \"%s\"%s%s%s", wanted,
		 nearest != NULL ? "; did you mean \"" : "", nearest != NULL ? nearest : "",
		 nearest != NULL ? "\"?" : "");
	answering_refuse(a, 400, "invalid", message);
	return false;
}

static void
put(struct answering *a, int64_t id, struct bytes name, bool is_new)
{
	bool created;
	enum err verdict;

	if (!answering_has_body(a) || (is_new && !answering_has_room(a)) || !knows_authority(a))
		return;
	verdict = noun_put(&a->control->store, a->noun, &id, name, a->body, NULL, 0, &created);
	if (verdict != ERR_OK) {
		answering_refuse_verdict(a, verdict);
		return;
	}
	control_publish(a->control);
	answering_show(a, a->noun, id, created ? 201 : 200);
}

void
call_create(struct answering *a)
{
	put(a, 0, BYTES_NONE, true);
}

void
call_get(struct answering *a)
{
	int64_t id;

	if (answering_resolve(a, &id))
		answering_show(a, a->noun, id, 200);
}

void
call_put(struct answering *a)
{
	int64_t id = 0;
	enum err verdict = noun_look_up(&a->control->store, a->noun, a->reference, &id);

	CHECK_STATIC(NOUN_ID_DIGITS_MAX == 15, "as the refusal says");
	if (verdict == ERR_OK && a->noun == NOUN_KEY && !call_key_may_change(a, id))
		return;
	if (verdict == ERR_OK)
		put(a, id, BYTES_NONE, false);
	else if (verdict != ERR_STORE_NOT_FOUND || a->noun == NOUN_KEY)
		answering_refuse_verdict(a, verdict); /* a key is made by POST: somebody must take its text */
	else if (shape_is_all_digits(a->reference) && a->reference.len > NOUN_ID_DIGITS_MAX)
		answering_refuse(a, 400, "invalid", "an id has at most 15 digits");
	else if (shape_is_all_digits(a->reference))
		put(a, strtoll((const char *)a->reference.ptr, NULL, 10), BYTES_NONE, true);
	else
		put(a, 0, a->reference, true);
}

void
call_delete(struct answering *a)
{
	int64_t id;
	enum err verdict;

	if (!answering_resolve(a, &id))
		return;
	verdict = noun_delete(&a->control->store, a->noun, id);
	if (verdict != ERR_OK) {
		answering_refuse_verdict(a, verdict);
		return;
	}
	control_publish(a->control);
	a->root = yyjson_mut_obj(a->doc);
	yyjson_mut_obj_add_bool(a->doc, a->root, "deleted", true);
	a->status = 200;
}

void
call_top_up(struct answering *a)
{
	yyjson_val *amount = answering_member(a, "amount_nano");
	yyjson_val *reference = answering_member(a, "reference");
	bool credited;
	int64_t id;
	enum err verdict;

	if (!answering_has_body(a) || !answering_resolve(a, &id))
		return;
	if (yyjson_get_sint(amount) == 0) {
		answering_refuse(a, 400, "invalid", "the amount is 0: there is nothing to credit");
		return;
	}
	verdict = store_top_up(&a->control->store, id, yyjson_get_sint(amount),
			       reference != NULL ? yyjson_get_str(reference) : "", &credited);
	if (verdict != ERR_OK) {
		answering_refuse_verdict(a, verdict);
		return;
	}
	control_publish(a->control);
	answering_show(a, NOUN_ACCOUNT, id, 200);
	if (a->status != 200)
		return;
	yyjson_mut_obj_add_sint(a->doc, a->root, "amount_nano", yyjson_get_sint(amount));
	yyjson_mut_obj_add_bool(a->doc, a->root, "repeated", !credited);
}

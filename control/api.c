/* The table of calls, and the way of a call through it: address, method, role, queries, body, answer. */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answering.h"
#include "clock.h"
#include "audit.h"
#include "shm/key.h"
#include "base/check.h"
#include "config/log.h"

#define TOP_UP_NANO_MAX INT64_C(1000000000000000000) /* a billion dollars */
#define TIME_MAX_S INT64_C(9000000000)
#define QUERY_BYTES_MAX 256
#define NOUNS "{nouns}"
#define REFERENCE "{reference}"

/* --- the table --------------------------------------------------------------------------- */

#define AFTER                                                                                      \
	{ .name = "after", .kind = FIELD_NUMBER, .max = INT64_MAX, .help = "only ids above it" }
#define LIMIT                                                                                      \
	{ .name = "limit", .kind = FIELD_NUMBER, .min = 1, .max = API_LIST_MAX,                    \
	  .help = "at most so many; 1000 if not said" }

static const struct field list_queries[] = { AFTER, LIMIT, { 0 } };

static const char *const usage_groups[] = { "account", "key", "model", "instance", "region", "pod", "hour",
					    "request", NULL };
#define OF_ONE(called, of)                                                                         \
	{ .name = called, .kind = FIELD_REFERENCE, .target = of,                                   \
	  .help = "of this one only; by id also a deleted one" }

static const struct field usage_queries[] = {
	{ .name = "by", .kind = FIELD_CHOICE, .choices = usage_groups,
	  .help = "what the sums are of; account if not said" },
	{ .name = "since", .kind = FIELD_NUMBER, .max = TIME_MAX_S, .help = "Unix time" },
	{ .name = "until", .kind = FIELD_NUMBER, .max = TIME_MAX_S, .help = "Unix time" },
	OF_ONE("account", NOUN_ACCOUNT), OF_ONE("key", NOUN_KEY), OF_ONE("model", NOUN_MODEL),
	OF_ONE("instance", NOUN_INSTANCE), OF_ONE("pod", NOUN_POD),
	{ .name = "region", .kind = FIELD_TEXT, .max = 46, .help = "of this one only" },
	{ .name = "after", .kind = FIELD_TEXT, .max = 192, .help = "`next` of the page before" },
	LIMIT,
	{ 0 },
};

static const char *const orders[] = { "oldest", "newest", NULL };
/* All nouns, and sluice.yaml's settings (test_calls). */
static const char *const audited_nouns[] = { "account", "plan", "price", "region", "pod", "deployment", "model",
					     "alias", "instance", "key", "settings", NULL };
static const struct field audit_queries[] = {
	{ .name = "noun", .kind = FIELD_CHOICE, .choices = audited_nouns, .help = "changes of such" },
	{ .name = "subject", .kind = FIELD_NUMBER, .min = 1, .max = INT64_MAX, .help = "changes of this id" },
	{ .name = "name", .kind = FIELD_TEXT, .max = 240, .help = "changes of what had this name" },
	{ .name = "order", .kind = FIELD_CHOICE, .choices = orders,
	  .help = "which come first; oldest if not said" },
	AFTER, LIMIT,
	{ 0 },
};

static const struct field top_up_members[] = {
	{ .name = "amount_nano", .kind = FIELD_NUMBER, .flags = FIELD_REQUIRED, .min = -TOP_UP_NANO_MAX,
	  .max = TOP_UP_NANO_MAX, .help = "nano-dollars; below 0: a correction" },
	{ .name = "reference", .kind = FIELD_TEXT, .max = 128,
	  .help = "an invoice's number, say: with one, repeating the call changes nothing" },
	{ 0 },
};
static const struct field top_up_told[] = {
	{ .name = "amount_nano", .kind = FIELD_NUMBER, .min = -TOP_UP_NANO_MAX, .max = TOP_UP_NANO_MAX,
	  .help = "nano-dollars of this top-up" },
	{ .name = "repeated", .kind = FIELD_FLAG,
	  .help = "true: its reference was credited before, and nothing has changed" },
	{ 0 },
};
static const struct field new_key_members[] = {
	{ .name = "key", .kind = FIELD_TEXT, .max = KEY_BYTES_MAX,
	  .help = "an existing key's text, instead of a new one" },
	{ 0 },
};
static const struct field key_told[] = {
	{ .name = "key", .kind = FIELD_TEXT, .max = KEY_BYTES_MAX, .help = "its text, this once" },
	{ 0 },
};
static const struct field rotate_members[] = {
	{ .name = "grace_s", .kind = FIELD_NUMBER, .max = 90 * 86400,
	  .help = "how long the old text is still taken; 0: not at all" },
	{ 0 },
};
static const struct field rotate_told[] = {
	{ .name = "key", .kind = FIELD_TEXT, .max = KEY_BYTES_MAX, .help = "its text, this once" },
	{ .name = "old_id", .kind = FIELD_NUMBER, .flags = FIELD_NULLABLE, .max = INT64_MAX,
	  .help = "of the key with the old text, which expires; null: it has ended, and the id is the same" },
	{ 0 },
};
static const struct field deleted_told[] = { { .name = "deleted", .kind = FIELD_FLAG }, { 0 } };
static const struct field health_told[] = { { .name = "status", .kind = FIELD_TEXT, .max = 8 }, { 0 } };

static const struct field reload_members[] = {
	{ .name = "confirm_within_ms", .kind = FIELD_NUMBER, .min = RELOAD_CONFIRM_NS_MIN / NSEC_PER_MSEC,
	  .max = RELOAD_CONFIRM_NS_MAX / NSEC_PER_MSEC,
	  .help = "without a confirmation until then, what was before comes back" },
	{ 0 },
};

/* Of two rows that fit an address, the first one counts. */
static const struct api_route routes[] = {
	{ "GET", "/healthz", "health", API_ANYBODY, "Whether control runs", call_health,
	  .tells = API_FIELDS, .told = health_told },
	{ "GET", "/metrics", "metrics", API_READ, "All counters, for Prometheus", call_metrics,
	  .tells = API_TEXT },
	{ "GET", API_ROOT "openapi.json", "openapi", API_READ, "This document", call_openapi,
	  .tells = API_OBJECT },
	{ "GET", API_ROOT "status", "status", API_READ, "Dataplane, tables, pods, ledger", call_status,
	  .tells = API_OBJECT },
	{ "GET", API_ROOT "usage", "usage", API_READ, "Sums of the ledger, or its single requests",
	  call_usage, .queries = usage_queries, .tells = API_OBJECT },
	{ "POST", API_ROOT "reconcile", "reconcile", API_ADMIN,
	  "Compares the workers' counters, the spool and the whole ledger; status has the outcome",
	  call_reconcile, .tells = API_OBJECT },
	{ "GET", API_ROOT "audit", "audit", API_READ, "Who changed what, when, from what to what", call_audit,
	  .queries = audit_queries, .tells = API_OBJECT },
	{ "GET", API_ROOT "config", "config", API_READ, "Every key of sluice.yaml as it runs", call_show_config,
	  .tells = API_OBJECT },
	{ "GET", API_ROOT "reload", "show_reload", API_READ,
	  "What the last reload changed, and whether it is on trial", call_show_reload, .tells = API_OBJECT },
	{ "POST", API_ROOT "reload", "reload", API_ADMIN, "Reads sluice.yaml again, for both programs",
	  call_reload, .members = reload_members, .tells = API_OBJECT },
	{ "POST", API_ROOT "reload/confirm", "confirm_reload", API_ADMIN, "What is on trial stays",
	  call_confirm_reload, .tells = API_OBJECT },
	{ "POST", API_ROOT "reload/undo", "undo_reload", API_ADMIN, "What was before the trial comes back now",
	  call_undo_reload, .tells = API_OBJECT },
	{ "GET", API_ROOT "tickets", "show_tickets", API_READ,
	  "The secrets that TLS session tickets are sealed with, by number and time", call_show_tickets,
	  .tells = API_OBJECT },
	{ "POST", API_ROOT "tickets/rotate", "rotate_tickets", API_ADMIN,
	  "A new secret for tickets from now on; those that are out stay good", call_rotate_tickets,
	  .tells = API_OBJECT },
	{ "POST", API_ROOT "tickets/revoke", "revoke_tickets", API_ADMIN,
	  "All tickets that are out are void: who comes back with one makes a full handshake",
	  call_revoke_tickets, .tells = API_OBJECT },
	{ "POST", API_ROOT "accounts/" REFERENCE "/top-up", "top_up_account", API_ADMIN,
	  "Adds to the balance", call_top_up, .noun = NOUN_ACCOUNT, .members = top_up_members,
	  .tells = API_NOUN, .told = top_up_told },
	{ "POST", API_ROOT "keys/" REFERENCE "/rotate", "rotate_key", API_ADMIN,
	  "A new text; the old one ends at once, or with grace_s: stays, and the new one is a new key",
	  call_rotate_key, .noun = NOUN_KEY, .verb = "rotate", .members = rotate_members, .tells = API_NOUN,
	  .told = rotate_told },
	{ "POST", API_ROOT "keys/" REFERENCE "/revoke", "revoke_key", API_ADMIN,
	  "Ends the key", call_revoke_key, .noun = NOUN_KEY, .verb = "revoke", .tells = API_NOUN },
	{ "GET", API_ROOT NOUNS, "list", API_READ, "All, or those that match; in the order of their ids",
	  call_list, .queries = list_queries, .has_filters = true, .tells = API_NOUN_LIST },
	{ "POST", API_ROOT "keys", "create_key", API_ADMIN, "A new one; its text is told this once",
	  call_create_key, .noun = NOUN_KEY, .takes = API_NEW_NOUN, .members = new_key_members,
	  .tells = API_NOUN, .told = key_told },
	{ "POST", API_ROOT NOUNS, "create", API_ADMIN, "A new one", call_create, .takes = API_NEW_NOUN,
	  .tells = API_NOUN },
	{ "GET", API_ROOT NOUNS "/" REFERENCE, "get", API_READ, "One object", call_get, .tells = API_NOUN },
	{ "PUT", API_ROOT NOUNS "/" REFERENCE, "put", API_ADMIN,
	  "Changes what the body says, or makes the object; a key is made by POST only", call_put,
	  .takes = API_NOUN, .tells = API_NOUN },
	{ "DELETE", API_ROOT NOUNS "/" REFERENCE, "delete", API_ADMIN,
	  "Deletes it; 409 while something refers to it", call_delete, .tells = API_FIELDS, .told = deleted_told },
};

const struct api_route *
api_route(size_t at)
{
	return at < COUNT_OF(routes) ? &routes[at] : NULL;
}

/* --- what the calls share ---------------------------------------------------------------- */

void
answering_refuse(struct answering *a, int status, const char *code, const char *message)
{
	yyjson_mut_val *error = yyjson_mut_obj(a->doc);
	char plain[STORE_PROBLEM_BYTES];

	/* A name that was cut to fit may end within a character. */
	snprintf(plain, sizeof(plain), "%s", message);
	for (char *c = plain; !shape_is_text(bytes_from_text(plain)) && *c != '\0'; c++)
		if ((unsigned char)*c >= 0x7f || *c < ' ')
			*c = '?';

	a->status = status;
	a->root = yyjson_mut_obj(a->doc);
	yyjson_mut_obj_add_str(a->doc, error, "code", code);
	yyjson_mut_obj_add_strcpy(a->doc, error, "message", plain);
	yyjson_mut_obj_add_val(a->doc, a->root, "error", error);
}

void
answering_refuse_verdict(struct answering *a, enum err verdict)
{
	const char *problem = a->control->store.problem;

	switch (verdict) {
	case ERR_STORE_NOT_FOUND:
		answering_refuse(a, 404, "not_found", problem);
		break;
	case ERR_STORE_CONFLICT:
		answering_refuse(a, 409, "conflict", problem);
		break;
	case ERR_STORE_INVALID:
		answering_refuse(a, 400, "invalid", problem);
		break;
	case ERR_STORE_TOO_LONG:
		answering_refuse(a, 503, "too_long", problem);
		break;
	case ERR_STORE_AWAY:
		answering_refuse(a, 503, "store_away", problem);
		break;
	default:
		LOG_ERROR("store_failed", LOG_TEXT("path", a->call->path),
			  LOG_TEXT("problem", problem));
		answering_refuse(a, 500, "store_failed", problem);
	}
}

const char *
answering_query(const struct answering *a, const char *name)
{
	for (size_t i = 0; i < a->call->query_count; i++)
		if (strcmp(a->call->queries[i].name, name) == 0)
			return a->call->queries[i].value;
	return NULL;
}

int64_t
answering_query_number(const struct answering *a, const char *name, int64_t fallback)
{
	const char *text = answering_query(a, name);

	return text != NULL ? strtoll(text, NULL, 10) : fallback;
}

yyjson_val *
answering_member(const struct answering *a, const char *name)
{
	return yyjson_obj_get(a->body, name);
}

bool
answering_has_body(struct answering *a)
{
	if (a->body != NULL)
		return true;
	answering_refuse(a, 400, "invalid", "the body is not a JSON object");
	return false;
}

bool
answering_has_room(struct answering *a)
{
	char why[PUBLISH_WHY_BYTES];

	if (publish_has_room(&a->control->publish, a->noun, clock_now_ns(), why))
		return true;
	answering_refuse(a, 409, "table_full", why);
	return false;
}

bool
answering_resolve(struct answering *a, int64_t *id)
{
	enum err verdict = noun_resolve(&a->control->store, a->noun, a->reference, id);

	if (verdict != ERR_OK)
		answering_refuse_verdict(a, verdict);
	return verdict == ERR_OK;
}

void
answering_show(struct answering *a, enum noun noun, int64_t id, int status)
{
	enum err verdict = noun_get(&a->control->store, noun, id, a->doc, &a->root);

	if (verdict != ERR_OK)
		answering_refuse_verdict(a, verdict);
	else
		a->status = status;
}

/* --- address and method ------------------------------------------------------------------ */

/* What the path names, if it is one of this row's. {reference} at the end takes all that is left: names of
 * models have slashes; before a further piece it is one piece. */
static bool
fits_path(const struct api_route *route, const char *path, enum noun *noun, struct bytes *reference)
{
	const char *pattern = route->path;

	*noun = route->noun;
	while (*pattern != '\0') {
		if (strncmp(pattern, NOUNS, strlen(NOUNS)) == 0) {
			size_t len = strcspn(path, "/");

			if (!noun_find(bytes_make(path, len), noun))
				return false;
			path += len;
			pattern += strlen(NOUNS);
		} else if (strncmp(pattern, REFERENCE, strlen(REFERENCE)) == 0) {
			size_t len;

			pattern += strlen(REFERENCE);
			len = *pattern != '\0' ? strcspn(path, "/") : strlen(path);
			if (len == 0)
				return false;
			*reference = bytes_make(path, len);
			path += len;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return *path == '\0';
}

/* Rows of one address have the same path, or a noun's own beside the one with {nouns} in its place. */
static void
add_allowed(char allow[64], const char *method)
{
	size_t len = strlen(allow);

	if (strstr(allow, method) == NULL)
		snprintf(allow + len, 64 - len, "%s%s", len > 0 ? ", " : "", method);
}

/* Whether an action's row: its address is no other row's, though {reference} at the end would take it. */
static bool
is_action(const struct api_route *route)
{
	const char *reference = strstr(route->path, REFERENCE);

	return reference != NULL && reference[strlen(REFERENCE)] != '\0';
}

/* The row; else what is refused. */
static bool
find_route(struct answering *a, char allow[64])
{
	bool is_of_action = false;

	for (size_t i = 0; i < COUNT_OF(routes); i++) {
		enum noun noun;
		struct bytes reference = BYTES_NONE;

		if (!fits_path(&routes[i], a->call->path, &noun, &reference))
			continue;
		if (allow[0] != '\0' && is_of_action && !is_action(&routes[i]))
			break;
		is_of_action = is_action(&routes[i]);
		add_allowed(allow, routes[i].method);
		if (strcmp(routes[i].method, a->call->method) != 0)
			continue;
		a->route = &routes[i];
		a->noun = noun;
		a->reference = reference;
		allow[0] = '\0';
		return true;
	}
	if (allow[0] == '\0') {
		answering_refuse(a, 404, "not_found",
				 "no such address; GET " API_ROOT "openapi.json has them all");
	} else {
		char message[128];

		snprintf(message, sizeof(message), "this address has no such method; it has %s", allow);
		answering_refuse(a, 405, "method_not_allowed", message);
	}
	return false;
}

static bool
is_allowed(struct answering *a)
{
	enum api_role needed = a->route != NULL ? a->route->role : API_READ;

	if (a->call->role >= needed)
		return true;
	if (a->call->role == API_ANYBODY)
		answering_refuse(a, 401, "unauthorized",
				 "the bearer token is missing or wrong; the file of admin.token_file has it");
	else
		answering_refuse(a, 403, "read_only",
				 "this token may only read; the file of admin.token_file has one that may change");
	return false;
}

/* Names are looked up in a database that knows nothing but text. */
static bool
is_text(struct answering *a)
{
	bool is = shape_is_text(bytes_from_text(a->call->path));

	for (size_t i = 0; i < a->call->query_count; i++)
		is = is && shape_is_text(bytes_from_text(a->call->queries[i].name)) &&
		     shape_is_text(bytes_from_text(a->call->queries[i].value));
	if (!is)
		answering_refuse(a, 400, "invalid", "the address or a query is no text of UTF-8");
	return is;
}

/* --- queries and body -------------------------------------------------------------------- */

static const struct field *
find_query(const struct answering *a, const char *name)
{
	const struct field *f = NULL;

	if (a->route->queries != NULL)
		f = shape_field(a->route->queries, name);
	if (f == NULL && a->route->has_filters)
		f = shape_field(shape_of(a->noun)->fields, name);
	return f != NULL && (shape_field(a->route->queries, name) == f || shape_is_filter(f)) ? f : NULL;
}

static bool
refuse_query(struct answering *a, const char *name)
{
	const char *nearest = a->route->queries != NULL ? shape_nearest(a->route->queries, name) : NULL;
	char message[256];

	if (nearest == NULL && a->route->has_filters)
		nearest = shape_nearest(shape_of(a->noun)->fields, name);
	if (nearest != NULL && find_query(a, nearest) == NULL)
		nearest = NULL;
	snprintf(message, sizeof(message), "there is no query \"%.64s\"%s%s%s", name,
		 nearest != NULL ? "; did you mean \"" : "", nearest != NULL ? nearest : "",
		 nearest != NULL ? "\"?" : "");
	answering_refuse(a, 400, "invalid", message);
	return false;
}

/* The query's text as the JSON value that it would be in a body. */
static bool
fits_query(struct answering *a, const struct field *f, const char *text)
{
	yyjson_doc *doc = NULL;
	char *problem = a->control->store.problem;
	bool fits;

	if (strlen(text) > QUERY_BYTES_MAX) {
		snprintf(problem, SHAPE_PROBLEM_BYTES, "%s is too long", f->name);
		fits = false;
	} else if (f->kind == FIELD_NUMBER || f->kind == FIELD_FLAG) {
		doc = yyjson_read(text, strlen(text), 0);
		fits = shape_fits(f, yyjson_doc_get_root(doc), problem);
	} else if (f->kind == FIELD_CHOICE) {
		char quoted[QUERY_BYTES_MAX + 3];

		snprintf(quoted, sizeof(quoted), "\"%s\"", text);
		doc = yyjson_read(quoted, strlen(quoted), 0);
		fits = shape_fits(f, yyjson_doc_get_root(doc), problem);
	} else {
		fits = true; /* what is looked for: that there is none like it is an answer, too */
	}
	yyjson_doc_free(doc);
	if (!fits)
		answering_refuse(a, 400, "invalid", problem);
	return fits;
}

static bool
take_queries(struct answering *a)
{
	CHECK_STATIC(API_QUERIES_MAX == 16, "as the refusal says");
	if (a->call->has_too_many_queries) {
		answering_refuse(a, 400, "invalid", "too many queries: at most 16");
		return false;
	}
	for (size_t i = 0; i < a->call->query_count; i++) {
		const struct api_query *q = &a->call->queries[i];
		const struct field *f = find_query(a, q->name);

		if (f == NULL)
			return refuse_query(a, q->name);
		if (!fits_query(a, f, q->value))
			return false;
		for (size_t j = 0; j < i; j++) {
			if (strcmp(a->call->queries[j].name, q->name) == 0) {
				answering_refuse(a, 400, "invalid", "a query stands twice");
				return false;
			}
		}
	}
	return true;
}

/* The members of a body that is no noun's: those of the row, each fitting, none missing. */
static bool
take_members(struct answering *a)
{
	static const struct field none[] = { { 0 } };
	const struct field *fields = a->route->members != NULL ? a->route->members : none;
	char *problem = a->control->store.problem;
	bool fits = a->body == NULL || shape_has_only(fields, "the call", a->body, problem);

	for (const struct field *f = fields; fits && f->name != NULL; f++) {
		yyjson_val *value = answering_member(a, f->name);

		if (value != NULL)
			fits = shape_fits(f, value, problem);
		else if ((f->flags & FIELD_REQUIRED) != 0 && a->body == NULL)
			return answering_has_body(a);
		else if ((f->flags & FIELD_REQUIRED) != 0)
			fits = snprintf(problem, SHAPE_PROBLEM_BYTES, "%s is missing", f->name) < 0;
	}
	if (!fits)
		answering_refuse(a, 400, "invalid", problem);
	return fits;
}

static bool
take_body(struct answering *a, yyjson_doc **doc)
{
	yyjson_read_err error = { .code = 0 };
	char message[256];

	if (a->call->body.len > 0) {
		*doc = yyjson_read_opts((char *)(uintptr_t)a->call->body.ptr, a->call->body.len, 0, NULL, &error);
		a->body = yyjson_doc_get_root(*doc);
	}
	if (a->call->body.len > 0 && !yyjson_is_obj(a->body)) {
		snprintf(message, sizeof(message), "the body is not a JSON object%s%s",
			 *doc == NULL ? ": " : "", *doc == NULL ? error.msg : "");
		if (*doc == NULL)
			snprintf(message + strlen(message), sizeof(message) - strlen(message), " at byte %zu",
				 error.pos);
		answering_refuse(a, 400, "invalid", message);
		return false;
	}
	return a->route->takes != API_FIELDS || take_members(a);
}

/* --- one call ---------------------------------------------------------------------------- */

static void
answer_as(struct answering *a, struct audit_caller *caller)
{
	caller->verb = a->route->verb;
	a->control->store.caller = caller;
	a->route->answer(a);
	a->control->store.caller = NULL;
}

void
api_answer(struct control *control, const struct api_call *call, struct api_answer *answer)
{
	struct answering a = { .control = control, .call = call };
	struct audit_caller caller = { .who = call->who != NULL ? call->who : "",
				       .request_id = call->request_id != NULL ? call->request_id : "" };
	yyjson_doc *body = NULL;
	bool has_route;

	*answer = (struct api_answer){ .status = 500, .content_type = "application/json" };
	a.doc = yyjson_mut_doc_new(NULL);
	if (a.doc == NULL)
		return;
	has_route = find_route(&a, answer->allow);
	if (!is_allowed(&a))
		answer->allow[0] = '\0';
	else if (has_route && is_text(&a) && take_queries(&a) && take_body(&a, &body))
		answer_as(&a, &caller);
	answer->status = a.status;
	if (a.content_type != NULL) {
		answer->content_type = a.content_type;
		answer->text = a.text;
		answer->len = a.text_len;
	} else {
		yyjson_mut_doc_set_root(a.doc, a.root);
		answer->text = yyjson_mut_write(a.doc, 0, &answer->len);
	}
	yyjson_doc_free(body);
	yyjson_mut_doc_free(a.doc);
}

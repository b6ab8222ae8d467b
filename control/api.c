/* Routes by hand: a path has at most four pieces, and the nouns are a table already. */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "clock.h"
#include "config/log.h"
#include "noun.h"
#include "report.h"
#include "shm/key.h"
#include "tls/keyhash.h"

#define TOP_UP_NANO_MAX INT64_C(1000000000000000000) /* a billion dollars */
#define SHOWN_DIGITS 4 /* of a key, after its prefix: enough to recognise, too few to guess from */
#define KEY_IMPORT_BYTES_MIN 20
#define KEY_IMPORT_BYTES_MAX 200

/* One call on its way. */
struct answering {
	struct control *control;
	const struct api_call *call;
	yyjson_mut_doc *doc;
	yyjson_doc *body; /* NULL: none was sent */
	int status;
	yyjson_mut_val *root;
};

static bool
is_method(const struct answering *a, const char *method)
{
	return strcmp(a->call->method, method) == 0;
}

static void
refuse(struct answering *a, int status, const char *code, const char *message)
{
	yyjson_mut_val *error = yyjson_mut_obj(a->doc);

	a->status = status;
	a->root = yyjson_mut_obj(a->doc);
	yyjson_mut_obj_add_str(a->doc, error, "code", code);
	yyjson_mut_obj_add_strcpy(a->doc, error, "message", message);
	yyjson_mut_obj_add_val(a->doc, a->root, "error", error);
}

static void
refuse_verdict(struct answering *a, enum err verdict)
{
	const char *problem = a->control->store.problem;

	switch (verdict) {
	case ERR_STORE_NOT_FOUND:
		refuse(a, 404, "not_found", problem);
		break;
	case ERR_STORE_CONFLICT:
		refuse(a, 409, "conflict", problem);
		break;
	case ERR_STORE_INVALID:
		refuse(a, 400, "invalid", problem);
		break;
	default:
		LOG_ERROR("store_failed", LOG_TEXT("path", a->call->path),
			  LOG_TEXT("problem", problem));
		refuse(a, 500, "store_failed", problem);
	}
}

static void
refuse_method(struct answering *a)
{
	refuse(a, 405, "method_not_allowed", "this address has no such method");
}

static const char *
query(const struct answering *a, const char *name)
{
	for (size_t i = 0; i < a->call->query_count; i++)
		if (strcmp(a->call->queries[i].name, name) == 0)
			return a->call->queries[i].value;
	return NULL;
}

/* False: it is there and no number; the call is refused. */
static bool
query_number(struct answering *a, const char *name, int64_t max, int64_t *number)
{
	const char *text = query(a, name);
	char *end = NULL;
	long long value;

	if (text == NULL)
		return true;
	value = strtoll(text, &end, 10);
	if (end == text || *end != '\0' || value < 0 || value > max) {
		refuse(a, 400, "invalid", "a number in the query is none, or too large");
		return false;
	}
	*number = value;
	return true;
}

static bool
has_body(struct answering *a)
{
	if (a->body != NULL && yyjson_is_obj(yyjson_doc_get_root(a->body)))
		return true;
	refuse(a, 400, "invalid", "the body is not a JSON object");
	return false;
}

/* The object after a write, and the workers told. */
static void
show(struct answering *a, enum noun noun, int64_t id, int status)
{
	enum err verdict = noun_get(&a->control->store, noun, id, a->doc, &a->root);

	if (verdict != ERR_OK)
		refuse_verdict(a, verdict);
	else
		a->status = status;
}

/* --- keys -------------------------------------------------------------------------------- */

struct new_key {
	char text[KEY_IMPORT_BYTES_MAX + 1];
	char shown[KEY_PREFIX_BYTES_MAX + SHOWN_DIGITS + 1];
	uint8_t hash[KEYHASH_BYTES];
};

static const char *
prefix_of(const struct control *control, const char *surface)
{
	for (int i = 0; i < SHM_SURFACE_COUNT; i++)
		if (strcmp(surface, noun_surface((enum shm_surface)i)) == 0)
			return control->key_prefixes[i];
	/* The call is refused for it when the key is put. */
	return control->key_prefixes[SHM_SURFACE_ECOLINK];
}

static void
finish_key(const struct control *control, const char *prefix, struct new_key *key)
{
	snprintf(key->shown, sizeof(key->shown), "%.*s", (int)(strlen(prefix) + SHOWN_DIGITS),
		 key->text);
	keyhash_make(control->pepper, bytes_from_text(key->text), key->hash);
}

static bool
make_key(struct answering *a, const char *prefix, struct new_key *key)
{
	uint8_t random[KEY_RANDOM_BYTES];

	if (getrandom(random, sizeof(random), 0) != sizeof(random) ||
	    strlen(prefix) > KEY_PREFIX_BYTES_MAX) {
		refuse(a, 500, "store_failed", "no random bytes for a key");
		return false;
	}
	key_emit(bytes_from_text(prefix), random, key->text);
	explicit_bzero(random, sizeof(random));
	finish_key(a->control, prefix, key);
	return true;
}

/* A key that exists elsewhere already, brought along. */
static bool
import_key(struct answering *a, const char *prefix, yyjson_val *given, struct new_key *key)
{
	const char *text = yyjson_get_str(given);
	size_t len = yyjson_get_len(given);

	if (text == NULL || len < KEY_IMPORT_BYTES_MIN || len > KEY_IMPORT_BYTES_MAX ||
	    strncmp(text, prefix, strlen(prefix)) != 0 ||
	    strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_") != len) {
		refuse(a, 400, "invalid", "key does not have the form of this surface's keys");
		return false;
	}
	memcpy(key->text, text, len + 1);
	finish_key(a->control, prefix, key);
	return true;
}

static void
show_key(struct answering *a, int64_t id, const struct new_key *key, int status)
{
	show(a, NOUN_KEY, id, status);
	if (a->status == status)
		yyjson_mut_obj_add_strcpy(a->doc, a->root, "key", key->text);
}

#define KEY_COLUMNS(key)                                                                           \
	{                                                                                          \
		{ .column = "hash", .kind = NOUN_BLOB, .text = bytes_make((key)->hash, 32) },      \
		{ .column = "prefix", .kind = NOUN_TEXT, .text = bytes_from_text((key)->shown) },  \
	}

/* The body without "key", which is no column. */
static yyjson_doc *
body_without_key(const struct answering *a)
{
	yyjson_mut_doc *copy = yyjson_doc_mut_copy(a->body, NULL);
	yyjson_doc *result;

	yyjson_mut_obj_remove_key(yyjson_mut_doc_get_root(copy), "key");
	result = yyjson_mut_doc_imut_copy(copy, NULL);
	yyjson_mut_doc_free(copy);
	return result;
}

static void
create_key(struct answering *a)
{
	yyjson_val *root, *given;
	const char *surface, *prefix;
	struct new_key key;
	yyjson_doc *body;
	int64_t id = 0;
	bool created;
	enum err verdict;

	if (!has_body(a))
		return;
	root = yyjson_doc_get_root(a->body);
	given = yyjson_obj_get(root, "key");
	surface = yyjson_get_str(yyjson_obj_get(root, "surface"));
	prefix = prefix_of(a->control, surface != NULL ? surface : "");
	if (given != NULL ? !import_key(a, prefix, given, &key) : !make_key(a, prefix, &key))
		return;
	body = body_without_key(a);
	verdict = noun_put(&a->control->store, NOUN_KEY, &id, BYTES_NONE, yyjson_doc_get_root(body),
			   (const struct noun_value[])KEY_COLUMNS(&key), 2, &created);
	yyjson_doc_free(body);
	if (verdict != ERR_OK) {
		refuse_verdict(a, verdict);
	} else {
		control_publish(a->control);
		show_key(a, id, &key, 201);
	}
	explicit_bzero(&key, sizeof(key));
}

/* The surface of a key, as its object shows it. False: the call is refused. */
static bool
surface_of(struct answering *a, int64_t id, const char **surface)
{
	yyjson_mut_val *object;
	enum err verdict = noun_get(&a->control->store, NOUN_KEY, id, a->doc, &object);

	if (verdict != ERR_OK) {
		refuse_verdict(a, verdict);
		return false;
	}
	*surface = yyjson_mut_get_str(yyjson_mut_obj_get(object, "surface"));
	return true;
}

/* Writes the given columns of a key. */
static bool
change_key(struct answering *a, int64_t id, const char *json, const struct noun_value *extra,
	   size_t extra_count)
{
	yyjson_doc *body = yyjson_read(json, strlen(json), 0);
	bool created;
	enum err verdict = noun_put(&a->control->store, NOUN_KEY, &id, BYTES_NONE,
				    yyjson_doc_get_root(body), extra, extra_count, &created);

	yyjson_doc_free(body);
	if (verdict != ERR_OK) {
		refuse_verdict(a, verdict);
		return false;
	}
	control_publish(a->control);
	return true;
}

static void
rotate_key(struct answering *a, int64_t id)
{
	struct new_key key;
	const char *surface;

	if (!surface_of(a, id, &surface) || !make_key(a, prefix_of(a->control, surface), &key))
		return;
	if (change_key(a, id, "{}", (const struct noun_value[])KEY_COLUMNS(&key), 2))
		show_key(a, id, &key, 200);
	explicit_bzero(&key, sizeof(key));
}

static void
revoke_key(struct answering *a, int64_t id)
{
	const struct noun_value at = { .column = "revoked_at", .kind = NOUN_NUMBER,
				       .number = (int64_t)(clock_unix_ns() / NSEC_PER_SEC) };
	const char *surface;

	if (surface_of(a, id, &surface) && change_key(a, id, "{\"revoked\":true}", &at, 1))
		show(a, NOUN_KEY, id, 200);
}

/* --- accounts ---------------------------------------------------------------------------- */

static void
top_up(struct answering *a, int64_t id)
{
	yyjson_val *root, *amount, *reference;
	bool credited;
	enum err verdict;

	if (!has_body(a))
		return;
	root = yyjson_doc_get_root(a->body);
	amount = yyjson_obj_get(root, "amount_nano");
	reference = yyjson_obj_get(root, "reference");
	if (!yyjson_is_int(amount) || yyjson_get_sint(amount) > TOP_UP_NANO_MAX ||
	    yyjson_get_sint(amount) < -TOP_UP_NANO_MAX || yyjson_get_sint(amount) == 0 ||
	    (yyjson_is_uint(amount) && yyjson_get_uint(amount) > (uint64_t)TOP_UP_NANO_MAX)) {
		refuse(a, 400, "invalid", "amount_nano is not an integer of nano-dollars");
		return;
	}
	if (reference != NULL && (!yyjson_is_str(reference) || yyjson_get_len(reference) > 128)) {
		refuse(a, 400, "invalid", "reference is not a string of at most 128 bytes");
		return;
	}
	verdict = store_top_up(&a->control->store, id, yyjson_get_sint(amount),
			       reference != NULL ? yyjson_get_str(reference) : "", &credited);
	if (verdict != ERR_OK) {
		refuse_verdict(a, verdict);
		return;
	}
	control_publish(a->control);
	show(a, NOUN_ACCOUNT, id, 200);
	if (a->status == 200)
		yyjson_mut_obj_add_bool(a->doc, a->root, "credited", credited);
}

/* --- any noun ---------------------------------------------------------------------------- */

static void
list(struct answering *a, enum noun noun)
{
	struct noun_filter filter = { .limit = 1000 };
	yyjson_mut_val *array;
	int64_t limit = filter.limit;
	enum err verdict;

	if (!query_number(a, "after", INT64_MAX, &filter.after_id) ||
	    !query_number(a, "limit", NOUN_LIST_MAX, &limit))
		return;
	filter.limit = (uint32_t)limit;
	for (size_t i = 0; i < a->call->query_count; i++) {
		const struct api_query *q = &a->call->queries[i];

		if (strcmp(q->name, "after") == 0 || strcmp(q->name, "limit") == 0)
			continue;
		if (filter.count == COUNT_OF(filter.equal)) {
			refuse(a, 400, "invalid", "too many filters");
			return;
		}
		filter.equal[filter.count].field = q->name;
		filter.equal[filter.count++].value = q->value;
	}
	verdict = noun_list(&a->control->store, noun, &filter, a->doc, &array);
	if (verdict != ERR_OK) {
		refuse_verdict(a, verdict);
		return;
	}
	a->root = yyjson_mut_obj(a->doc);
	yyjson_mut_obj_add_str(a->doc, a->root, "object", "list");
	yyjson_mut_obj_add_bool(a->doc, a->root, "has_more",
				yyjson_mut_arr_size(array) == filter.limit);
	yyjson_mut_obj_add_val(a->doc, a->root, "data", array);
	a->status = 200;
}

static void
put(struct answering *a, enum noun noun, int64_t id, struct bytes name)
{
	bool created;
	enum err verdict;

	if (!has_body(a))
		return;
	verdict = noun_put(&a->control->store, noun, &id, name, yyjson_doc_get_root(a->body), NULL,
			   0, &created);
	if (verdict != ERR_OK) {
		refuse_verdict(a, verdict);
		return;
	}
	control_publish(a->control);
	show(a, noun, id, created ? 201 : 200);
}

static void
answer_collection(struct answering *a, enum noun noun)
{
	if (is_method(a, "GET"))
		list(a, noun);
	else if (!is_method(a, "POST"))
		refuse_method(a);
	else if (noun == NOUN_KEY)
		create_key(a);
	else
		put(a, noun, 0, BYTES_NONE);
}

static void
answer_put(struct answering *a, enum noun noun, struct bytes reference)
{
	int64_t id = 0;
	enum err verdict = noun_resolve(&a->control->store, noun, reference, &id);

	if (verdict == ERR_OK) {
		put(a, noun, id, BYTES_NONE);
	} else if (verdict != ERR_STORE_NOT_FOUND || noun == NOUN_KEY) {
		refuse_verdict(a, verdict); /* a key is made by POST: somebody must take its text */
	} else if (reference.ptr[0] >= '0' && reference.ptr[0] <= '9' &&
		   strspn((const char *)reference.ptr, "0123456789") == reference.len) {
		put(a, noun, strtoll((const char *)reference.ptr, NULL, 10), BYTES_NONE);
	} else {
		put(a, noun, 0, reference);
	}
}

static void
delete(struct answering *a, enum noun noun, int64_t id)
{
	enum err verdict = noun_delete(&a->control->store, noun, id);

	if (verdict != ERR_OK) {
		refuse_verdict(a, verdict);
		return;
	}
	control_publish(a->control);
	a->root = yyjson_mut_obj(a->doc);
	yyjson_mut_obj_add_bool(a->doc, a->root, "deleted", true);
	a->status = 200;
}

static void
answer_object(struct answering *a, enum noun noun, struct bytes reference)
{
	int64_t id;
	enum err verdict;

	if (is_method(a, "PUT")) {
		answer_put(a, noun, reference);
		return;
	}
	verdict = noun_resolve(&a->control->store, noun, reference, &id);
	if (verdict != ERR_OK)
		refuse_verdict(a, verdict);
	else if (is_method(a, "GET"))
		show(a, noun, id, 200);
	else if (is_method(a, "DELETE"))
		delete (a, noun, id);
	else
		refuse_method(a);
}

static void
answer_action(struct answering *a, enum noun noun, struct bytes reference, const char *action)
{
	int64_t id;
	enum err verdict = noun_resolve(&a->control->store, noun, reference, &id);

	if (verdict != ERR_OK)
		refuse_verdict(a, verdict);
	else if (strcmp(action, "top-up") == 0)
		top_up(a, id);
	else if (strcmp(action, "rotate") == 0)
		rotate_key(a, id);
	else
		revoke_key(a, id);
}

static const char *
action_of(const struct answering *a, enum noun noun, const char *last)
{
	static const struct {
		enum noun noun;
		const char *action;
	} actions[] = { { NOUN_ACCOUNT, "top-up" }, { NOUN_KEY, "rotate" }, { NOUN_KEY, "revoke" } };

	for (size_t i = 0; i < COUNT_OF(actions) && is_method(a, "POST"); i++)
		if (actions[i].noun == noun && strcmp(actions[i].action, last) == 0)
			return actions[i].action;
	return NULL;
}

static void
answer_noun(struct answering *a, const char *path)
{
	const char *slash = strchr(path, '/');
	size_t len = slash != NULL ? (size_t)(slash - path) : strlen(path);
	const char *last, *action;
	enum noun noun;

	if (!noun_find(bytes_make(path, len), &noun)) {
		refuse(a, 404, "not_found", "no such address");
		return;
	}
	if (slash == NULL || slash[1] == '\0') {
		answer_collection(a, noun);
		return;
	}
	last = strrchr(slash + 1, '/');
	action = last != NULL ? action_of(a, noun, last + 1) : NULL;
	if (action != NULL)
		answer_action(a, noun, bytes_make(slash + 1, (size_t)(last - slash - 1)), action);
	else
		answer_object(a, noun, bytes_from_text(slash + 1)); /* model names have slashes */
}

/* --- reports ----------------------------------------------------------------------------- */

static void
answer_usage(struct answering *a)
{
	struct report_usage asked = { .by = "account", .until_s = INT64_C(9000000000) };
	const char *account = query(a, "account");
	int64_t limit = 1000;
	enum err verdict = ERR_OK;

	if (query(a, "by") != NULL)
		asked.by = query(a, "by");
	if (!query_number(a, "since", INT64_C(9000000000), &asked.since_s) ||
	    !query_number(a, "until", INT64_C(9000000000), &asked.until_s) ||
	    !query_number(a, "limit", NOUN_LIST_MAX, &limit))
		return;
	asked.limit = (uint32_t)limit;
	if (account != NULL)
		verdict = noun_resolve(&a->control->store, NOUN_ACCOUNT, bytes_from_text(account),
				       &asked.account_id);
	if (verdict == ERR_OK) {
		yyjson_mut_val *rows;

		verdict = report_usage_rows(a->control, &asked, a->doc, &rows);
		a->root = yyjson_mut_obj(a->doc);
		if (verdict == ERR_OK)
			yyjson_mut_obj_add_val(a->doc, a->root, "data", rows);
		a->status = 200;
	}
	if (verdict != ERR_OK)
		refuse_verdict(a, verdict);
}

static void
route(struct answering *a)
{
	static const char root[] = "/admin/v1/";
	const char *path = a->call->path + sizeof(root) - 1;

	if (strncmp(a->call->path, root, sizeof(root) - 1) != 0) {
		refuse(a, 404, "not_found", "no such address");
	} else if (strcmp(path, "status") == 0 && is_method(a, "GET")) {
		a->root = report_status(a->control, a->doc);
		a->status = 200;
	} else if (strcmp(path, "usage") == 0 && is_method(a, "GET")) {
		answer_usage(a);
	} else {
		answer_noun(a, path);
	}
}

static void
answer_metrics(struct control *control, struct api_answer *answer)
{
	answer->status = 200;
	answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
	answer->text = report_metrics(control, &answer->len);
}

void
api_answer(struct control *control, const struct api_call *call, struct api_answer *answer)
{
	struct answering a = { .control = control, .call = call };

	*answer = (struct api_answer){ .status = 500, .content_type = "application/json" };
	if (strcmp(call->path, "/metrics") == 0 && strcmp(call->method, "GET") == 0) {
		answer_metrics(control, answer);
		return;
	}
	a.doc = yyjson_mut_doc_new(NULL);
	if (a.doc == NULL)
		return;
	if (call->body.len > 0)
		a.body = yyjson_read((const char *)call->body.ptr, call->body.len, 0);
	route(&a);
	yyjson_mut_doc_set_root(a.doc, a.root);
	answer->status = a.status;
	answer->text = yyjson_mut_write(a.doc, 0, &answer->len);
	yyjson_doc_free(a.body);
	yyjson_mut_doc_free(a.doc);
}

/* Keys: made, brought along, rotated, revoked. Their text is in one answer and in no log. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "answering.h"
#include "clock.h"
#include "keys.h"
#include "shm/key.h"
#include "tls/keyhash.h"

#define SHOWN_DIGITS 4 /* of a key's end: of its checksum, which tells nothing about the rest */
#define SHOWN_GAP "..."
#define KEY_IMPORT_BYTES_MIN 20
#define KEY_IMPORT_BYTES_MAX KEY_BYTES_MAX

struct new_key {
	char text[KEY_IMPORT_BYTES_MAX + 1];
	char shown[KEY_PREFIX_BYTES_MAX + sizeof(SHOWN_GAP) + SHOWN_DIGITS];
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
	snprintf(key->shown, sizeof(key->shown), "%.*s" SHOWN_GAP "%s", KEY_PREFIX_BYTES_MAX, prefix,
		 key->text + strlen(key->text) - SHOWN_DIGITS);
	keyhash_make(control->pepper, bytes_from_text(key->text), key->hash);
}

static bool
make_key(struct answering *a, const char *prefix, struct new_key *key)
{
	uint8_t random[KEY_RANDOM_BYTES];

	if (getrandom(random, sizeof(random), 0) != sizeof(random) ||
	    strlen(prefix) > KEY_PREFIX_BYTES_MAX) {
		answering_refuse(a, 500, "store_failed", "no random bytes for a key");
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
		answering_refuse(a, 400, "invalid", "key does not have the form of this surface's keys");
		return false;
	}
	if (key_form(bytes_make(text, len), bytes_from_text(prefix)) == KEY_MISTYPED) {
		answering_refuse(a, 400, "invalid", "key has the form of keys made here, but a wrong checksum: "
						    "it is mistyped, and no request would be let in with it");
		return false;
	}
	memcpy(key->text, text, len + 1);
	finish_key(a->control, prefix, key);
	return true;
}

static void
show_key(struct answering *a, int64_t id, const struct new_key *key, int status)
{
	answering_show(a, NOUN_KEY, id, status);
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
	yyjson_mut_doc *copy = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_val_mut_copy(copy, a->body);
	yyjson_doc *result;

	yyjson_mut_obj_remove_key(root, "key");
	result = yyjson_mut_val_imut_copy(root, NULL);
	yyjson_mut_doc_free(copy);
	return result;
}

/* Whether the key that the body describes ends later than now, or never. False: the call is refused. */
static bool
ends_later(struct answering *a)
{
	yyjson_val *expires_at = answering_member(a, "expires_at");
	time_t now_s = (time_t)(clock_unix_ns() / NSEC_PER_SEC);
	char message[160], now[32];
	struct tm utc;

	if (!yyjson_is_int(expires_at) || yyjson_get_sint(expires_at) > now_s)
		return true; /* what is no time is refused with the other members */
	gmtime_r(&now_s, &utc);
	strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", &utc);
	snprintf(message, sizeof(message),
		 "expires_at is in the past: it is %s now, Unix time %lld (sluicectl key revoke ends a key at"
		 " once)", now, (long long)now_s);
	answering_refuse(a, 400, "invalid", message);
	return false;
}

void
call_create_key(struct answering *a)
{
	yyjson_val *given = answering_member(a, "key");
	const char *surface = yyjson_get_str(answering_member(a, "surface"));
	const char *prefix = prefix_of(a->control, surface != NULL ? surface : "");
	struct new_key key;
	yyjson_doc *body;
	int64_t id = 0;
	bool created;
	enum err verdict;

	if (!answering_has_body(a) || !ends_later(a) || !answering_has_room(a))
		return;
	if (given != NULL ? !import_key(a, prefix, given, &key) : !make_key(a, prefix, &key))
		return;
	body = body_without_key(a);
	verdict = noun_put(&a->control->store, NOUN_KEY, &id, BYTES_NONE, yyjson_doc_get_root(body),
			   (const struct noun_value[])KEY_COLUMNS(&key), 2, &created);
	yyjson_doc_free(body);
	if (verdict != ERR_OK) {
		answering_refuse_verdict(a, verdict);
	} else {
		control_publish(a->control);
		show_key(a, id, &key, 201);
	}
	explicit_bzero(&key, sizeof(key));
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
		answering_refuse_verdict(a, verdict);
		return false;
	}
	control_publish(a->control);
	return true;
}

/* A revoked key stays so: who should be let in again gets a new one. False: the call is refused. */
static bool
is_live(struct answering *a, int64_t id, const char **surface)
{
	yyjson_mut_val *object;
	enum err verdict = noun_get(&a->control->store, NOUN_KEY, id, a->doc, &object);

	if (verdict != ERR_OK) {
		answering_refuse_verdict(a, verdict);
		return false;
	}
	if (yyjson_mut_get_bool(yyjson_mut_obj_get(object, "revoked"))) {
		answering_refuse(a, 409, "conflict", "the key is revoked; make a new one");
		return false;
	}
	*surface = yyjson_mut_get_str(yyjson_mut_obj_get(object, "surface"));
	return true;
}

bool
call_key_may_change(struct answering *a, int64_t id)
{
	const char *surface;

	return ends_later(a) && (!yyjson_is_false(answering_member(a, "revoked")) || is_live(a, id, &surface));
}

/* The old key stays as it is until it expires, so that no request is refused in between; the new text is a new
 * key's. */
static bool
rotate_with_grace(struct answering *a, const struct new_key *key, int64_t grace_s, int64_t *id)
{
	struct store *store = &a->control->store;
	enum err verdict = keys_succeed(store, *id, bytes_make(key->hash, sizeof(key->hash)),
					bytes_from_text(key->shown),
					(int64_t)(clock_unix_ns() / NSEC_PER_SEC) + grace_s, id);

	if (verdict != ERR_OK)
		answering_refuse_verdict(a, verdict);
	else
		control_publish(a->control);
	return verdict == ERR_OK;
}

void
call_rotate_key(struct answering *a)
{
	int64_t grace_s = yyjson_get_sint(answering_member(a, "grace_s"));
	struct new_key key;
	const char *surface;
	int64_t id, old_id;
	bool done;

	/* With a grace it is one key more. */
	if (!answering_resolve(a, &id) || !is_live(a, id, &surface) || (grace_s > 0 && !answering_has_room(a)) ||
	    !make_key(a, prefix_of(a->control, surface), &key))
		return;
	old_id = id;
	if (grace_s > 0)
		done = rotate_with_grace(a, &key, grace_s, &id);
	else
		done = change_key(a, id, "{}", (const struct noun_value[])KEY_COLUMNS(&key), 2);
	if (done)
		show_key(a, id, &key, 200);
	if (done && a->status == 200 && grace_s > 0)
		yyjson_mut_obj_add_sint(a->doc, a->root, "old_id", old_id);
	else if (done && a->status == 200)
		yyjson_mut_obj_add_null(a->doc, a->root, "old_id");
	explicit_bzero(&key, sizeof(key));
}

void
call_revoke_key(struct answering *a)
{
	const struct noun_value at = { .column = "revoked_at", .kind = NOUN_NUMBER,
				       .number = (int64_t)(clock_unix_ns() / NSEC_PER_SEC) };
	int64_t id;

	if (answering_resolve(a, &id) &&
	    change_key(a, id, "{\"revoked\":true}", &at, 1))
		answering_show(a, NOUN_KEY, id, 200);
}

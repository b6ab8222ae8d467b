#include "keys.h"

#include <stdio.h>
#include <stdlib.h>

#include "audit.h"
#include "noun.h"

static enum err
insert_successor(struct store *store, int64_t old_id, struct bytes hash, struct bytes shown, int64_t *new_id)
{
	struct statement *statement = store_prepare(
		store, "INSERT INTO keys(name, hash, prefix, surface, account_id, plan_id, expires_at)"
		       " SELECT name, ?2, ?3, surface, account_id, plan_id, expires_at FROM keys WHERE id = ?1"
		       " RETURNING id");
	enum err verdict = ERR_OK;
	enum store_step step;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, old_id);
	store_bind_blob(statement, 2, hash);
	store_bind_text(statement, 3, shown);
	step = store_step(statement);
	if (step == STORE_ROW) {
		*new_id = store_column_int64(statement, 0);
		step = store_step(statement);
	} else if (step == STORE_DONE) {
		verdict = store_refuse(store, ERR_STORE_NOT_FOUND, "no key %lld", (long long)old_id);
	}
	if (step == STORE_BROKEN)
		verdict = store_failed(store);
	store_finalize(statement);
	return verdict;
}

static enum err
shorten(struct store *store, int64_t id, int64_t expires_at)
{
	struct statement *statement =
		store_prepare(store, "UPDATE keys SET expires_at = ?2"
				     " WHERE id = ?1 AND (expires_at IS NULL OR expires_at > ?2)");
	enum err verdict;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, id);
	store_bind_int64(statement, 2, expires_at);
	verdict = store_run(store, statement);
	store_finalize(statement);
	return verdict;
}

static enum err
tell(struct store *store, int64_t old_id, int64_t new_id, yyjson_mut_val *before, yyjson_mut_val *after)
{
	char *changed = audit_difference(before, after, NULL);
	char detail[64];
	const struct audit_change change = { .verb = "rotate", .noun = "key", .subject = old_id, .name = "",
					     .changed = changed, .detail = detail };
	enum err verdict;

	if (changed == NULL)
		return store_refuse(store, ERR_STORE_FAILED, "no memory");
	snprintf(detail, sizeof(detail), "followed by key %lld", (long long)new_id);
	verdict = audit_write(store, &change);
	free(changed);
	return verdict;
}

/* In its transaction. */
static enum err
succeed(struct store *store, int64_t old_id, struct bytes hash, struct bytes shown, int64_t old_expires_at,
	int64_t *new_id)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *before, *after;
	enum err verdict;

	if (doc == NULL)
		return store_refuse(store, ERR_STORE_FAILED, "no memory");
	verdict = noun_get(store, NOUN_KEY, old_id, doc, &before);
	if (verdict == ERR_OK)
		verdict = insert_successor(store, old_id, hash, shown, new_id);
	if (verdict == ERR_OK)
		verdict = shorten(store, old_id, old_expires_at);
	if (verdict == ERR_OK)
		verdict = noun_get(store, NOUN_KEY, old_id, doc, &after);
	if (verdict == ERR_OK)
		verdict = tell(store, old_id, *new_id, before, after);
	yyjson_mut_doc_free(doc);
	return verdict;
}

enum err
keys_succeed(struct store *store, int64_t old_id, struct bytes hash, struct bytes shown,
	     int64_t old_expires_at, int64_t *new_id)
{
	int64_t made = 0;
	enum err verdict = store_begin(store);

	if (verdict != ERR_OK)
		return verdict;
	verdict = succeed(store, old_id, hash, shown, old_expires_at, &made);
	if (verdict != ERR_OK) {
		store_rollback(store);
		return verdict;
	}
	verdict = store_commit(store);
	if (verdict == ERR_OK)
		*new_id = made;
	return verdict;
}

/* The ids of what has expired. */
static enum err
find_expired(struct store *store, int64_t now_s, int64_t ids[KEYS_EXPIRE_MAX], size_t *count)
{
	struct statement *statement =
		store_prepare(store, "SELECT id FROM keys WHERE expires_at IS NOT NULL AND revoked = 0"
				     " AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2");
	enum store_step step = STORE_DONE;
	enum err verdict;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, now_s);
	store_bind_int64(statement, 2, KEYS_EXPIRE_MAX);
	while (*count < KEYS_EXPIRE_MAX && (step = store_step(statement)) == STORE_ROW)
		ids[(*count)++] = store_column_int64(statement, 0);
	verdict = step == STORE_BROKEN ? store_failed(store) : ERR_OK;
	store_finalize(statement);
	return verdict;
}

static enum err
revoke(struct store *store, int64_t id, int64_t now_s)
{
	static const char body[] = "{\"revoked\":true}";
	const struct noun_value at = { .column = "revoked_at", .kind = NOUN_NUMBER, .number = now_s };
	yyjson_doc *doc = yyjson_read(body, sizeof(body) - 1, 0);
	enum err verdict;
	bool created;

	verdict = noun_put(store, NOUN_KEY, &id, BYTES_NONE, yyjson_doc_get_root(doc), &at, 1, &created);
	yyjson_doc_free(doc);
	return verdict;
}

enum err
keys_expire(struct store *store, int64_t now_s, bool *any)
{
	static const struct audit_caller control = { .who = "control", .request_id = "", .verb = "expire" };
	int64_t ids[KEYS_EXPIRE_MAX];
	size_t count = 0;
	enum err verdict = find_expired(store, now_s, ids, &count);

	*any = count > 0;
	store->caller = &control;
	for (size_t i = 0; i < count && verdict == ERR_OK; i++)
		verdict = revoke(store, ids[i], now_s);
	store->caller = NULL;
	return verdict;
}

/* Objects made, changed and deleted, each with its row of the audit. */
#include "noun.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "base/check.h"
#include "conflict.h"
#include "shape.h"
#include "sql.h"

/* What a put will write. */
struct plan {
	struct noun_value values[NOUN_FIELDS_MAX];
	size_t count;
	bool has_pods;
	int64_t pods[FIELD_PODS_MAX];
	size_t pod_count;
};

/* A name or an id. */
static enum err
take_reference(struct store *store, enum noun target, const char *field, yyjson_val *json,
	       int64_t *id)
{
	char digits[24];

	if (yyjson_is_str(json))
		return noun_resolve(store, target,
				    bytes_make(yyjson_get_str(json), yyjson_get_len(json)), id);
	if (!yyjson_is_uint(json))
		return store_refuse(store, ERR_STORE_INVALID, "%s is neither a name nor an id",
				    field);
	snprintf(digits, sizeof(digits), "%llu", (unsigned long long)yyjson_get_uint(json));
	return noun_resolve(store, target, bytes_from_text(digits), id);
}

static enum err
take_pods(struct store *store, yyjson_val *json, struct plan *plan)
{
	size_t at, count;
	yyjson_val *element;

	plan->has_pods = true;
	yyjson_arr_foreach(json, at, count, element) {
		int64_t id;
		enum err verdict = take_reference(store, NOUN_POD, "an element of pods", element, &id);

		if (verdict != ERR_OK)
			return verdict;
		for (size_t i = 0; i < plan->pod_count; i++)
			if (plan->pods[i] == id)
				return store_refuse(store, ERR_STORE_INVALID, "pod %lld stands twice in pods",
						    (long long)id);
		plan->pods[plan->pod_count++] = id;
	}
	return ERR_OK;
}

static enum err
take_member(struct store *store, const struct field *f, yyjson_val *json, struct plan *plan)
{
	struct noun_value *value = &plan->values[plan->count];
	enum err verdict = ERR_OK;

	if (!shape_fits(f, json, store->problem))
		return ERR_STORE_INVALID;
	*value = (struct noun_value){ .column = f->column, .kind = NOUN_NUMBER };
	if (yyjson_is_null(json)) {
		value->kind = NOUN_NULL;
		plan->count++;
		return ERR_OK;
	}
	switch (f->kind) {
	case FIELD_TEXT:
		value->kind = NOUN_TEXT;
		value->text = bytes_make(yyjson_get_str(json), yyjson_get_len(json));
		break;
	case FIELD_NUMBER:
		value->number = yyjson_get_sint(json);
		break;
	case FIELD_FLAG:
		value->number = yyjson_get_bool(json);
		break;
	case FIELD_CHOICE:
		value->number = shape_choice(f, json);
		break;
	case FIELD_REFERENCE:
		verdict = take_reference(store, f->target, f->name, json, &value->number);
		break;
	case FIELD_POD_LIST:
		verdict = take_pods(store, json, plan);
		break;
	}
	if (verdict == ERR_STORE_NOT_FOUND)
		return ERR_STORE_INVALID; /* the body is wrong, not the address */
	if (verdict == ERR_OK && f->kind != FIELD_POD_LIST)
		plan->count++;
	return verdict;
}

static enum err
take_body(struct store *store, enum noun noun, bool is_new, yyjson_val *body, struct plan *plan)
{
	const struct field *fields = shape_of(noun)->fields;
	yyjson_val *name, *value;
	size_t at, count;

	if (!shape_has_only(fields, shape_of(noun)->name, body, store->problem))
		return ERR_STORE_INVALID;
	yyjson_obj_foreach(body, at, count, name, value) {
		const struct field *f = shape_field(fields, yyjson_get_str(name));
		enum err verdict;

		if ((f->flags & FIELD_FIXED) != 0 && !is_new)
			return store_refuse(store, ERR_STORE_INVALID, "%s of a %s cannot change: make a new one",
					    f->name, shape_of(noun)->name);
		CHECK(plan->count < NOUN_FIELDS_MAX); /* no member stands twice */
		verdict = take_member(store, f, value, plan);
		if (verdict != ERR_OK)
			return verdict;
	}
	return ERR_OK;
}

static bool
has_column(const struct plan *plan, const char *column)
{
	for (size_t i = 0; i < plan->count; i++)
		if (strcmp(plan->values[i].column, column) == 0)
			return true;
	return false;
}

static enum err
take_all(struct store *store, enum noun noun, bool is_new, struct bytes name, yyjson_val *body,
	 struct plan *plan)
{
	enum err verdict;

	if (!yyjson_is_obj(body))
		return store_refuse(store, ERR_STORE_INVALID, "the body is not an object");
	verdict = take_body(store, noun, is_new, body, plan);
	if (verdict != ERR_OK)
		return verdict;
	if (name.len > 0 && !has_column(plan, "name")) {
		const char *wrong = shape_check_name(noun, name);

		if (wrong != NULL)
			return store_refuse(store, ERR_STORE_INVALID, "name %s", wrong);
		plan->values[plan->count++] = (struct noun_value){ .column = "name",
								   .kind = NOUN_TEXT,
								   .text = name };
	}
	for (const struct field *f = shape_of(noun)->fields; is_new && f->name != NULL; f++)
		if ((f->flags & FIELD_REQUIRED) != 0 && !has_column(plan, f->column))
			return store_refuse(store, ERR_STORE_INVALID, "%s is missing", f->name);
	return ERR_OK;
}

static void
bind_value(struct statement *statement, int at, const struct noun_value *value)
{
	switch (value->kind) {
	case NOUN_NULL:
		store_bind_null(statement, at);
		break;
	case NOUN_NUMBER:
		store_bind_int64(statement, at, value->number);
		break;
	case NOUN_TEXT:
		store_bind_text(statement, at, value->text);
		break;
	case NOUN_BLOB:
		store_bind_blob(statement, at, value->text);
		break;
	}
}

static void
add_insert(struct sql *sql, enum noun noun, const struct plan *plan)
{
	sql_add(sql, "INSERT INTO %s(", shape_of(noun)->plural);
	for (size_t i = 0; i < plan->count; i++)
		sql_add(sql, "%s%s", i > 0 ? ", " : "", plan->values[i].column);
	sql_add(sql, ") VALUES (");
	for (size_t i = 0; i < plan->count; i++)
		sql_add(sql, "%s?%zu", i > 0 ? ", " : "", i + 1);
	sql_add(sql, ") RETURNING id");
}

static void
add_update(struct sql *sql, enum noun noun, const struct plan *plan)
{
	sql_add(sql, "UPDATE %s SET ", shape_of(noun)->plural);
	for (size_t i = 0; i < plan->count; i++)
		sql_add(sql, "%s%s = ?%zu", i > 0 ? ", " : "", plan->values[i].column, i + 1);
	sql_add(sql, " WHERE id = ?%zu", plan->count + 1);
}

static enum err
write_columns(struct store *store, enum noun noun, const struct plan *plan, bool is_new, int64_t *id)
{
	struct sql sql = { .len = 0 };
	struct statement *statement;
	enum store_step step;
	enum err verdict;

	if (plan->count == 0)
		return ERR_OK;
	if (is_new)
		add_insert(&sql, noun, plan);
	else
		add_update(&sql, noun, plan);
	statement = store_prepare(store, sql.text);
	if (statement == NULL)
		return ERR_STORE_FAILED;
	for (size_t i = 0; i < plan->count; i++)
		bind_value(statement, (int)i + 1, &plan->values[i]);
	if (!is_new)
		store_bind_int64(statement, (int)plan->count + 1, *id);
	step = store_step(statement);
	if (step == STORE_ROW) {
		*id = store_column_int64(statement, 0);
		step = store_step(statement);
	}
	verdict = step == STORE_DONE ? ERR_OK : store_failed(store);
	store_finalize(statement);
	return verdict;
}

static enum err
write_pods(struct store *store, int64_t deployment_id, const struct plan *plan)
{
	struct statement *statement =
		store_prepare(store, "DELETE FROM deployment_pods WHERE deployment_id = ?1");
	enum err verdict;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, deployment_id);
	verdict = store_run(store, statement);
	store_finalize(statement);
	if (verdict != ERR_OK)
		return verdict;
	statement = store_prepare(store, "INSERT INTO deployment_pods VALUES (?1, ?2, ?3)");
	if (statement == NULL)
		return ERR_STORE_FAILED;
	for (size_t i = 0; i < plan->pod_count && verdict == ERR_OK; i++) {
		store_bind_int64(statement, 1, deployment_id);
		store_bind_int64(statement, 2, plan->pods[i]);
		store_bind_int64(statement, 3, (int64_t)i);
		verdict = store_run(store, statement);
	}
	store_finalize(statement);
	return verdict;
}

/* Whether the row is there; an id may be given to one that is not yet. */
static enum err
exists(struct store *store, enum noun noun, int64_t id, bool *is_there)
{
	struct sql sql = { .len = 0 };
	struct statement *statement;
	enum err verdict = ERR_OK;
	enum store_step step;

	sql_add(&sql, "SELECT 1 FROM %s WHERE id = ?1", shape_of(noun)->plural);
	statement = store_prepare(store, sql.text);
	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, id);
	step = store_step(statement);
	*is_there = step == STORE_ROW;
	if (step == STORE_BROKEN)
		verdict = store_failed(store);
	store_finalize(statement);
	return verdict;
}

/* --- with its row of the audit ----------------------------------------------------------- */

/* A member that was written and is never shown, a key's text as its hash; NULL: none was. */
static const char *
secret_of(enum noun noun, const struct plan *plan)
{
	if (plan != NULL && has_column(plan, "hash"))
		return "key";
	for (const struct field *f = shape_of(noun)->fields; plan != NULL && f->name != NULL; f++)
		if ((f->flags & FIELD_SECRET) != 0 && has_column(plan, f->column))
			return f->name;
	return NULL;
}

/* What a change of the object is called by: its name, or of a key its label. */
static const char *
label_of(yyjson_mut_val *object)
{
	const char *name = yyjson_mut_get_str(yyjson_mut_obj_get(object, "name"));

	return name != NULL ? name : "";
}

/* In the change's transaction. before or after is NULL where there was none. A change that changed nothing is
 * none. */
static enum err
write_audit(struct store *store, enum noun noun, int64_t id, yyjson_mut_val *before, yyjson_mut_val *after,
	    const struct plan *plan)
{
	char *changed = audit_difference(before, after, secret_of(noun, plan));
	struct audit_change change = {
		.verb = before == NULL ? "create" : after == NULL ? "delete" : "change",
		.noun = shape_of(noun)->name,
		.subject = id,
		.name = label_of(after != NULL ? after : before),
		.changed = changed,
		.detail = "",
	};
	enum err verdict = ERR_OK;

	if (changed == NULL)
		return store_refuse(store, ERR_STORE_FAILED, "no memory");
	if (strcmp(changed, "{}") != 0)
		verdict = audit_write(store, &change);
	free(changed);
	return verdict;
}

/* The columns of the plan, and the row of the audit. */
static enum err
write_object(struct store *store, enum noun noun, const struct plan *plan, bool is_new, int64_t *id)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *before = NULL, *after = NULL;
	enum err verdict = ERR_OK;

	if (doc == NULL)
		return store_refuse(store, ERR_STORE_FAILED, "no memory");
	if (!is_new)
		verdict = noun_get(store, noun, *id, doc, &before);
	if (verdict == ERR_OK)
		verdict = conflict_find_taken(store, noun, is_new ? 0 : *id, plan->values, plan->count);
	if (verdict == ERR_OK)
		verdict = write_columns(store, noun, plan, is_new, id);
	if (verdict == ERR_OK && plan->has_pods)
		verdict = write_pods(store, *id, plan);
	if (verdict == ERR_OK)
		verdict = noun_get(store, noun, *id, doc, &after);
	if (verdict == ERR_OK)
		verdict = write_audit(store, noun, *id, before, after, plan);
	yyjson_mut_doc_free(doc);
	return verdict;
}

enum err
noun_put(struct store *store, enum noun noun, int64_t *id, struct bytes name, yyjson_val *body,
	 const struct noun_value *extra, size_t extra_count, bool *created)
{
	struct plan plan = { .count = 0 };
	bool is_there = false;
	int64_t new_id = *id;
	enum err verdict = store_begin(store);

	if (verdict != ERR_OK)
		return verdict;
	if (*id != 0)
		verdict = exists(store, noun, *id, &is_there);
	if (verdict == ERR_OK)
		verdict = take_all(store, noun, !is_there, name, body, &plan);
	for (size_t i = 0; verdict == ERR_OK && i < extra_count; i++) {
		CHECK(plan.count < NOUN_FIELDS_MAX);
		plan.values[plan.count++] = extra[i];
	}
	if (verdict == ERR_OK && !is_there && *id != 0) {
		CHECK(plan.count < NOUN_FIELDS_MAX);
		plan.values[plan.count++] = (struct noun_value){ .column = "id",
								 .kind = NOUN_NUMBER,
								 .number = *id };
	}
	if (verdict == ERR_OK)
		verdict = write_object(store, noun, &plan, !is_there, &new_id);
	if (verdict != ERR_OK) {
		store_rollback(store);
		return verdict;
	}
	verdict = store_commit(store);
	if (verdict == ERR_OK) {
		*id = new_id;
		*created = !is_there;
	}
	return verdict;
}

static enum err
delete_row(struct store *store, enum noun noun, int64_t id)
{
	struct sql sql = { .len = 0 };
	struct statement *statement;
	enum err verdict;

	sql_add(&sql, "DELETE FROM %s WHERE id = ?1", shape_of(noun)->plural);
	statement = store_prepare(store, sql.text);
	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, id);
	verdict = store_run(store, statement);
	store_finalize(statement);
	return verdict;
}

/* What other routers write comes before or behind this transaction from here on, so that what refers to the object
 * is seen: the trigger that orders them (schema_postgres.c) asks for a statement, not for a row. */
static enum err
lock_catalogue(struct store *store, enum noun noun)
{
	struct sql sql = { .len = 0 };

	sql_add(&sql, "DELETE FROM %s WHERE FALSE", shape_of(noun)->plural);
	return store_run_script(store, sql.text);
}

enum err
noun_delete(struct store *store, enum noun noun, int64_t id)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *before;
	enum err verdict = doc != NULL ? store_begin(store)
				       : store_refuse(store, ERR_STORE_FAILED, "no memory");

	if (verdict != ERR_OK) {
		yyjson_mut_doc_free(doc);
		return verdict;
	}
	verdict = lock_catalogue(store, noun);
	if (verdict == ERR_OK)
		verdict = noun_get(store, noun, id, doc, &before);
	if (verdict == ERR_OK)
		verdict = conflict_find_referrers(store, noun, id);
	if (verdict == ERR_OK)
		verdict = delete_row(store, noun, id);
	if (verdict == ERR_OK)
		verdict = write_audit(store, noun, id, before, NULL, NULL);
	yyjson_mut_doc_free(doc);
	if (verdict != ERR_OK) {
		store_rollback(store);
		return verdict;
	}
	return store_commit(store);
}

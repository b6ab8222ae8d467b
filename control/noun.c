/* Objects as they are; which members they have is shape.c's table. */
#include "noun.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "config/value.h"
#include "shape.h"
#include "sql.h"

#define NAME_BYTES 256           /* of the longest name, a deployment's */
#define NAMES_LOOKED_AT_MAX 1000 /* for the one that was meant */

/* SELECT id and every field, as emit_row() reads them. */
static void
add_select(struct sql *sql, enum noun noun)
{
	sql_add(sql, "SELECT id");
	for (const struct field *f = shape_of(noun)->fields; f->name != NULL; f++) {
		if (f->kind == FIELD_REFERENCE && shape_of(f->target)->has_name)
			sql_add(sql, ", (SELECT t.name FROM %s t WHERE t.id = %s)",
			    shape_of(f->target)->plural, f->column);
		else
			sql_add(sql, ", %s", f->column);
	}
	sql_add(sql, " FROM %s", shape_of(noun)->plural);
}

/* --- reading ----------------------------------------------------------------------------- */

enum err
noun_look_up(struct store *store, enum noun noun, struct bytes reference, int64_t *id)
{
	bool by_id = shape_is_all_digits(reference) && reference.len < 19;
	struct sql sql = { .len = 0 };
	struct statement *statement;
	enum err verdict = ERR_OK;

	if (!by_id && !shape_of(noun)->has_name)
		return store_refuse(store, ERR_STORE_INVALID,
				    "%s is known by its id, which a list of that name has"
				    " (sluicectl %s list --name %.*s)", shape_of(noun)->name,
				    shape_of(noun)->name, (int)reference.len, (const char *)reference.ptr);
	sql_add(&sql, "SELECT id FROM %s WHERE %s = ?1", shape_of(noun)->plural, by_id ? "id" : "name");
	statement = store_prepare(store, sql.text);
	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_text(statement, 1, reference); /* the id column's affinity makes it a number */
	switch (store_step(statement)) {
	case STORE_ROW:
		*id = store_column_int64(statement, 0);
		break;
	case STORE_DONE:
		verdict = store_refuse(store, ERR_STORE_NOT_FOUND, "no %s \"%.*s\"",
				       shape_of(noun)->name, (int)reference.len,
				       (const char *)reference.ptr);
		break;
	default:
		verdict = store_failed(store);
	}
	store_finalize(statement);
	return verdict;
}

/* The name that was probably meant, of the first ones; empty: nothing is near. */
static enum err
find_nearest(struct store *store, enum noun noun, const char *name, char nearest[NAME_BYTES])
{
	struct sql sql = { .len = 0 };
	struct statement *statement;
	enum err verdict = ERR_OK;
	enum store_step step;

	nearest[0] = '\0';
	sql_add(&sql, "SELECT name FROM %s ORDER BY id LIMIT %d", shape_of(noun)->plural, NAMES_LOOKED_AT_MAX);
	statement = store_prepare(store, sql.text);
	if (statement == NULL)
		return ERR_STORE_FAILED;
	while ((step = store_step(statement)) == STORE_ROW) {
		struct bytes text = store_column_text(statement, 0);
		char candidate[NAME_BYTES];
		const char *nearer;

		snprintf(candidate, sizeof(candidate), "%.*s", (int)text.len, (const char *)text.ptr);
		/* The better one of two, again and again. */
		nearer = value_nearest(name, nearest[0] != '\0' ? (const char *[]){ nearest, candidate, NULL }
							       : (const char *[]){ candidate, NULL });
		if (nearer == candidate)
			memcpy(nearest, candidate, sizeof(candidate));
	}
	if (step == STORE_BROKEN)
		verdict = store_failed(store);
	store_finalize(statement);
	return verdict;
}

enum err
noun_resolve(struct store *store, enum noun noun, struct bytes reference, int64_t *id)
{
	enum err verdict = noun_look_up(store, noun, reference, id);
	char name[NAME_BYTES], nearest[NAME_BYTES];

	if (verdict != ERR_STORE_NOT_FOUND || !shape_of(noun)->has_name || shape_is_all_digits(reference) ||
	    reference.len >= sizeof(name))
		return verdict;
	snprintf(name, sizeof(name), "%.*s", (int)reference.len, (const char *)reference.ptr);
	verdict = find_nearest(store, noun, name, nearest);
	if (verdict != ERR_OK)
		return verdict;
	return store_refuse(store, ERR_STORE_NOT_FOUND, "no %s \"%s\"%s%s%s", shape_of(noun)->name, name,
			    nearest[0] != '\0' ? "; did you mean \"" : "", nearest,
			    nearest[0] != '\0' ? "\"?" : "");
}

static enum err
emit_pods(struct store *store, int64_t deployment_id, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct statement *statement = store_prepare(
		store, "SELECT p.name FROM deployment_pods d JOIN pods p ON p.id = d.pod_id"
		       " WHERE d.deployment_id = ?1 ORDER BY d.position, p.id");
	yyjson_mut_val *pods = yyjson_mut_arr(doc);
	enum err verdict = ERR_OK;
	enum store_step step;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, deployment_id);
	while ((step = store_step(statement)) == STORE_ROW) {
		struct bytes name = store_column_text(statement, 0);

		yyjson_mut_arr_add_strncpy(doc, pods, (const char *)name.ptr, name.len);
	}
	if (step == STORE_BROKEN)
		verdict = store_failed(store);
	store_finalize(statement);
	yyjson_mut_obj_add_val(doc, object, "pods", pods);
	return verdict;
}

static void
emit_text(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *name, struct bytes text)
{
	yyjson_mut_obj_add_strncpy(doc, object, name, text.len > 0 ? (const char *)text.ptr : "",
				   text.len);
}

/* Somebody's SQL, or a later release, may have written a number that has no name here. */
static void
emit_choice(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct field *f, int64_t number)
{
	const char *name = shape_choice_name(f, number);

	if (name != NULL)
		yyjson_mut_obj_add_str(doc, object, f->name, name);
	else
		yyjson_mut_obj_add_null(doc, object, f->name);
}

static void
emit_field(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct field *f,
	   struct statement *row, int at)
{
	int64_t number = store_column_int64(row, at);

	if (store_column_is_null(row, at)) {
		yyjson_mut_obj_add_null(doc, object, f->name);
		return;
	}
	if ((f->flags & FIELD_SECRET) != 0) {
		char name[64];

		snprintf(name, sizeof(name), "%s_set", f->name);
		yyjson_mut_obj_add(object, yyjson_mut_strcpy(doc, name),
				   yyjson_mut_bool(doc, store_column_text(row, at).len > 0));
		return;
	}
	switch (f->kind) {
	case FIELD_NUMBER:
		yyjson_mut_obj_add_sint(doc, object, f->name, number);
		break;
	case FIELD_FLAG:
		yyjson_mut_obj_add_bool(doc, object, f->name, number != 0);
		break;
	case FIELD_CHOICE:
		emit_choice(doc, object, f, number);
		break;
	case FIELD_REFERENCE:
		if (!shape_of(f->target)->has_name) {
			yyjson_mut_obj_add_sint(doc, object, f->name, number);
			break;
		}
		/* fall through */
	case FIELD_TEXT:
		emit_text(doc, object, f->name, store_column_text(row, at));
		break;
	case FIELD_POD_LIST:
		CHECK(false); /* emit_row() has a query of its own for it */
	}
}

static enum err
emit_row(struct store *store, enum noun noun, struct statement *row, yyjson_mut_doc *doc,
	 yyjson_mut_val **object)
{
	int64_t id = store_column_int64(row, 0);
	enum err verdict = ERR_OK;
	int at = 1;

	*object = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_sint(doc, *object, "id", id);
	for (const struct field *f = shape_of(noun)->fields; f->name != NULL && verdict == ERR_OK;
	     f++, at++) {
		if (f->kind == FIELD_POD_LIST)
			verdict = emit_pods(store, id, doc, *object);
		else
			emit_field(doc, *object, f, row, at);
	}
	return verdict;
}

enum err
noun_get(struct store *store, enum noun noun, int64_t id, yyjson_mut_doc *doc,
	 yyjson_mut_val **object)
{
	struct sql sql = { .len = 0 };
	struct statement *statement;
	enum err verdict;

	add_select(&sql, noun);
	sql_add(&sql, " WHERE id = ?1");
	statement = store_prepare(store, sql.text);
	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, id);
	switch (store_step(statement)) {
	case STORE_ROW:
		verdict = emit_row(store, noun, statement, doc, object);
		break;
	case STORE_DONE:
		verdict = store_refuse(store, ERR_STORE_NOT_FOUND, "no %s %lld", shape_of(noun)->name,
				       (long long)id);
		break;
	default:
		verdict = store_failed(store);
	}
	store_finalize(statement);
	return verdict;
}

/* Appends the conditions; their values are bound as ?3, ?4… */
static enum err
add_filter(struct store *store, struct sql *sql, enum noun noun, const struct noun_filter *filter,
	   int64_t values[COUNT_OF(filter->equal)], bool is_text[COUNT_OF(filter->equal)])
{
	for (uint32_t i = 0; i < filter->count; i++) {
		const struct field *f = shape_field(shape_of(noun)->fields, filter->equal[i].field);
		const char *value = filter->equal[i].value;
		enum err verdict = ERR_OK;

		if (f == NULL || !shape_is_filter(f))
			return store_refuse(store, ERR_STORE_INVALID, "cannot filter by \"%s\"",
					    filter->equal[i].field);
		is_text[i] = f->kind == FIELD_TEXT;
		if (f->kind == FIELD_REFERENCE)
			verdict = noun_resolve(store, f->target, bytes_from_text(value), &values[i]);
		else if (f->kind == FIELD_CHOICE)
			values[i] = shape_choice_of(f, value);
		else if (f->kind == FIELD_FLAG)
			values[i] = strcmp(value, "true") == 0;
		if (verdict != ERR_OK)
			return verdict;
		sql_add(sql, " AND %s = ?%u", f->column, i + 3);
	}
	return ERR_OK;
}

enum err
noun_list(struct store *store, enum noun noun, const struct noun_filter *filter,
	  yyjson_mut_doc *doc, yyjson_mut_val **array)
{
	int64_t values[COUNT_OF(filter->equal)];
	bool is_text[COUNT_OF(filter->equal)];
	struct sql sql = { .len = 0 };
	struct statement *statement;
	enum err verdict;
	enum store_step step;

	add_select(&sql, noun);
	sql_add(&sql, " WHERE id > ?1");
	verdict = add_filter(store, &sql, noun, filter, values, is_text);
	if (verdict != ERR_OK)
		return verdict;
	sql_add(&sql, " ORDER BY id LIMIT ?2");
	statement = store_prepare(store, sql.text);
	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, filter->after_id);
	store_bind_int64(statement, 2, filter->limit);
	for (uint32_t i = 0; i < filter->count; i++) {
		if (is_text[i])
			store_bind_text(statement, (int)i + 3,
					bytes_from_text(filter->equal[i].value));
		else
			store_bind_int64(statement, (int)i + 3, values[i]);
	}
	*array = yyjson_mut_arr(doc);
	while ((step = store_step(statement)) == STORE_ROW && verdict == ERR_OK) {
		yyjson_mut_val *object;

		verdict = emit_row(store, noun, statement, doc, &object);
		if (verdict == ERR_OK)
			yyjson_mut_arr_append(*array, object);
	}
	if (verdict == ERR_OK && step != STORE_DONE)
		verdict = store_failed(store);
	store_finalize(statement);
	return verdict;
}

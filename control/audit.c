#include "audit.h"

#include <stdlib.h>
#include <string.h>

#include "base/units.h"

enum err
audit_write(struct store *store, const struct audit_change *change)
{
	static const struct audit_caller control = { .who = "control", .request_id = "" };
	const struct audit_caller *caller = store->caller != NULL ? store->caller : &control;
	const char *values[] = { caller->verb != NULL ? caller->verb : change->verb, change->noun,
				 change->detail, caller->who, caller->request_id, change->name,
				 change->changed };
	struct statement *statement = store_prepare(
		store, "INSERT INTO audit(verb, noun, detail, who, request_id, name, changed, subject)"
		       " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
	enum err verdict;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	for (size_t i = 0; i < COUNT_OF(values); i++)
		store_bind_text(statement, (int)i + 1, bytes_from_text(values[i]));
	store_bind_int64(statement, COUNT_OF(values) + 1, change->subject);
	verdict = store_run(store, statement);
	store_finalize(statement);
	return verdict;
}

/* Adds "name": [before, after], where NULL is null. */
static void
add_pair(yyjson_mut_doc *doc, const char *name, yyjson_mut_val *before, yyjson_mut_val *after)
{
	yyjson_mut_val *pair = yyjson_mut_obj_add_arr(doc, yyjson_mut_doc_get_root(doc), name);

	yyjson_mut_arr_append(pair, before != NULL ? yyjson_mut_val_mut_copy(doc, before) : yyjson_mut_null(doc));
	yyjson_mut_arr_append(pair, after != NULL ? yyjson_mut_val_mut_copy(doc, after) : yyjson_mut_null(doc));
}

char *
audit_difference(yyjson_mut_val *before, yyjson_mut_val *after, const char *secret_written)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *members = after != NULL ? after : before, *name, *value;
	size_t at, count;
	char *text;

	if (doc == NULL)
		return NULL;
	yyjson_mut_doc_set_root(doc, yyjson_mut_obj(doc));
	yyjson_mut_obj_foreach(members, at, count, name, value) {
		const char *key = yyjson_mut_get_str(name);
		yyjson_mut_val *was = yyjson_mut_obj_get(before, key), *is = yyjson_mut_obj_get(after, key);

		(void)value;
		if (strcmp(key, "id") != 0 && (was == NULL || is == NULL || !yyjson_mut_equals(was, is)))
			add_pair(doc, key, was, is);
	}
	if (secret_written != NULL)
		yyjson_mut_obj_add_str(doc, yyjson_mut_doc_get_root(doc), secret_written, "written");
	text = yyjson_mut_write(doc, 0, NULL);
	yyjson_mut_doc_free(doc);
	return text;
}

/* --- reading ----------------------------------------------------------------------------- */

static void
add_text(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *name, struct bytes text)
{
	yyjson_mut_obj_add_strncpy(doc, object, name, text.len > 0 ? (const char *)text.ptr : "", text.len);
}

static yyjson_mut_val *
describe_row(yyjson_mut_doc *doc, struct statement *row)
{
	static const char *const texts[] = { "verb", "noun", "name", "who", "request_id", "detail" };
	yyjson_mut_val *object = yyjson_mut_obj(doc), *changed;
	struct bytes json = store_column_text(row, 9);
	yyjson_doc *parsed;

	yyjson_mut_obj_add_sint(doc, object, "id", store_column_int64(row, 0));
	yyjson_mut_obj_add_sint(doc, object, "happened_at", store_column_int64(row, 1));
	yyjson_mut_obj_add_sint(doc, object, "subject", store_column_int64(row, 2));
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		add_text(doc, object, texts[i], store_column_text(row, (int)i + 3));
	parsed = json.len > 0 ? yyjson_read((const char *)json.ptr, json.len, 0) : NULL;
	changed = parsed != NULL ? yyjson_val_mut_copy(doc, yyjson_doc_get_root(parsed)) : yyjson_mut_obj(doc);
	yyjson_doc_free(parsed);
	yyjson_mut_obj_add_val(doc, object, "changed", changed);
	return object;
}

#define AUDIT_SELECT                                                                               \
	"SELECT id, at, subject, verb, noun, name, who, request_id, detail, changed FROM audit"    \
	" WHERE id > ?1 AND (?2 = '' OR noun = ?2) AND (?3 = '' OR name = ?3) AND (?4 = 0 OR subject = ?4)"

enum err
audit_list(struct store *store, const struct audit_filter *filter, yyjson_mut_doc *doc,
	   yyjson_mut_val **array)
{
	struct statement *statement =
		store_prepare(store, filter->newest_first ? AUDIT_SELECT " ORDER BY id DESC LIMIT ?5"
							  : AUDIT_SELECT " ORDER BY id LIMIT ?5");
	enum store_step step;
	enum err verdict;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, filter->after_id);
	store_bind_text(statement, 2, bytes_from_text(filter->noun != NULL ? filter->noun : ""));
	store_bind_text(statement, 3, bytes_from_text(filter->name != NULL ? filter->name : ""));
	store_bind_int64(statement, 4, filter->subject);
	store_bind_int64(statement, 5, filter->limit);
	*array = yyjson_mut_arr(doc);
	while ((step = store_step(statement)) == STORE_ROW)
		yyjson_mut_arr_append(*array, describe_row(doc, statement));
	verdict = step == STORE_BROKEN ? store_failed(store) : ERR_OK;
	store_finalize(statement);
	return verdict;
}

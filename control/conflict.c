/* Which columns refer to what is shape.c's table; only the top-ups, which are no noun, are known here. */
#include "conflict.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "shape.h"
#include "sql.h"

#define NAMES_MAX 3        /* that are told; the others are counted */
#define NAME_BYTES 256     /* of an object: a deployment's name has 240, an id fewer */
#define PODS_BYTES_MAX 160 /* of a list that is told; a longer one is its reader's to shorten */
CHECK_STATIC((NAMES_MAX + 3) * NAME_BYTES + PODS_BYTES_MAX < STORE_PROBLEM_BYTES, "a refusal fits");

static void
take_text(struct statement *row, int column, char text[NAME_BYTES])
{
	struct bytes found = store_column_text(row, column);

	snprintf(text, NAME_BYTES, "%.*s", (int)found.len, found.len > 0 ? (const char *)found.ptr : "");
}

/* The first row's column; values for ?1 and ?2. ERR_STORE_NOT_FOUND: there is no row. */
static enum err
look_up(struct store *store, const char *sql, int64_t id, struct bytes other, char text[NAME_BYTES])
{
	struct statement *statement = store_prepare(store, sql);
	enum err verdict = ERR_OK;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, id);
	if (other.ptr != NULL)
		store_bind_text(statement, 2, other);
	switch (store_step(statement)) {
	case STORE_ROW:
		take_text(statement, 0, text);
		break;
	case STORE_DONE:
		verdict = ERR_STORE_NOT_FOUND;
		break;
	default:
		verdict = store_failed(store);
	}
	store_finalize(statement);
	return verdict;
}

/* SQL: what an object of the noun is called by. */
static const char *
label_of(enum noun noun)
{
	return shape_of(noun)->has_name ? "name" : "CAST(id AS TEXT)";
}

/* --- what is taken ------------------------------------------------------------------------ */

static enum err
refuse_taken_name(struct store *store, enum noun noun, enum noun other, int64_t id, struct bytes name)
{
	const char *called = shape_of(other)->name;
	struct sql sql = { .len = 0 };
	char by[NAME_BYTES];
	enum err verdict;

	sql_add(&sql, "SELECT CAST(id AS TEXT) FROM %s WHERE id <> ?1 AND name = ?2", shape_of(other)->plural);
	verdict = look_up(store, sql.text, noun == other ? id : 0, name, by);
	if (verdict != ERR_OK)
		return verdict == ERR_STORE_NOT_FOUND ? ERR_OK : verdict;
	return store_refuse(store, ERR_STORE_CONFLICT,
			    "the name %.*s is taken by %s %s: choose another one, or %s that (sluicectl %s %s"
			    " %.*s)",
			    (int)name.len, (const char *)name.ptr, called, by, noun == other ? "change" : "delete",
			    called, noun == other ? "set" : "rm", (int)name.len, (const char *)name.ptr);
}

static enum err
refuse_taken_text(struct store *store, int64_t id, struct bytes hash)
{
	struct statement *statement = store_prepare(store, "SELECT id FROM keys WHERE hash = ?1 AND id <> ?2");
	enum err verdict = ERR_OK;
	enum store_step step;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_blob(statement, 1, hash);
	store_bind_int64(statement, 2, id);
	step = store_step(statement);
	if (step == STORE_ROW)
		verdict = store_refuse(store, ERR_STORE_CONFLICT,
				       "this text is key %lld's already (sluicectl key show %lld)",
				       (long long)store_column_int64(statement, 0),
				       (long long)store_column_int64(statement, 0));
	else if (step == STORE_BROKEN)
		verdict = store_failed(store);
	store_finalize(statement);
	return verdict;
}

enum err
conflict_find_taken(struct store *store, enum noun noun, int64_t id, const struct noun_value *values,
		    size_t count)
{
	enum err verdict = ERR_OK;

	for (size_t i = 0; i < count && verdict == ERR_OK; i++) {
		if (strcmp(values[i].column, "hash") == 0)
			verdict = refuse_taken_text(store, id, values[i].text);
		if (strcmp(values[i].column, "name") != 0 || !shape_of(noun)->has_name)
			continue;
		verdict = refuse_taken_name(store, noun, noun, id, values[i].text);
		/* Requests name models and aliases alike. */
		if (verdict == ERR_OK && noun == NOUN_MODEL)
			verdict = refuse_taken_name(store, noun, NOUN_ALIAS, id, values[i].text);
		if (verdict == ERR_OK && noun == NOUN_ALIAS)
			verdict = refuse_taken_name(store, noun, NOUN_MODEL, id, values[i].text);
	}
	return verdict;
}

/* --- what refers to it -------------------------------------------------------------------- */

struct referrers {
	char names[NAMES_MAX * (NAME_BYTES + 16)]; /* "key 1, key 2" */
	int64_t told, count;
	/* The first one: what mends it is shown with it. */
	enum noun noun;
	const struct field *field;
	char first[NAME_BYTES];
};

static void
add_name(struct referrers *all, enum noun noun, const struct field *f, const char *name)
{
	size_t len = strlen(all->names);

	if (all->told == NAMES_MAX)
		return;
	if (all->told++ == 0) {
		all->noun = noun;
		all->field = f;
		snprintf(all->first, sizeof(all->first), "%s", name);
	}
	snprintf(all->names + len, sizeof(all->names) - len, "%s%s %s", len > 0 ? ", " : "",
		 shape_of(noun)->name, name);
}

/* The objects of the noun whose member f refers to this one. */
static enum err
add_referrers(struct store *store, enum noun noun, const struct field *f, int64_t id, struct referrers *all)
{
	struct sql sql = { .len = 0 };
	struct statement *statement;
	char name[NAME_BYTES];
	enum store_step step;
	enum err verdict = ERR_OK;
	int64_t count = 0;

	sql_add(&sql, "SELECT %s, count(*) OVER () FROM %s WHERE ", label_of(noun), shape_of(noun)->plural);
	if (f->kind == FIELD_POD_LIST)
		sql_add(&sql, "id IN (SELECT deployment_id FROM deployment_pods WHERE pod_id = ?1)");
	else
		sql_add(&sql, "%s = ?1", f->column);
	sql_add(&sql, " ORDER BY id LIMIT %d", NAMES_MAX);
	statement = store_prepare(store, sql.text);
	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, id);
	while ((step = store_step(statement)) == STORE_ROW) {
		take_text(statement, 0, name);
		count = store_column_int64(statement, 1);
		add_name(all, noun, f, name);
	}
	if (step == STORE_BROKEN)
		verdict = store_failed(store);
	store_finalize(statement);
	all->count += count;
	return verdict;
}

/* The pods that the first deployment has without this one, as `--pods` takes them. */
static enum err
list_other_pods(struct store *store, int64_t pod_id, const struct referrers *all, char pods[NAME_BYTES])
{
	enum err verdict = look_up(
		store, "SELECT group_concat(name, ',') FROM (SELECT p.name FROM deployments d"
		       " JOIN deployment_pods l ON l.deployment_id = d.id JOIN pods p ON p.id = l.pod_id"
		       " WHERE p.id <> ?1 AND d.name = ?2 ORDER BY l.position, p.id) AS others",
		pod_id, bytes_from_text(all->first), pods);

	if (verdict == ERR_OK && pods[0] == '\0')
		snprintf(pods, NAME_BYTES, "''");
	else if (verdict == ERR_OK && strlen(pods) > PODS_BYTES_MAX)
		snprintf(pods, NAME_BYTES, "POD,POD");
	return verdict;
}

/* " and 7 more" */
static void
tell_rest(const struct referrers *all, char text[32])
{
	text[0] = '\0';
	if (all->count > all->told)
		snprintf(text, 32, " and %lld more", (long long)(all->count - all->told));
}

static enum err
refuse_referred(struct store *store, enum noun noun, int64_t id, const char *name, const struct referrers *all)
{
	const char *called = shape_of(noun)->name, *by = shape_of(all->noun)->name;
	const char *them = all->count == 1 ? "it" : "them";
	char pods[NAME_BYTES], rest[32];
	enum err verdict;

	tell_rest(all, rest);
	if (all->field->kind == FIELD_POD_LIST) {
		verdict = list_other_pods(store, id, all, pods);
		return verdict != ERR_OK ? verdict :
		       store_refuse(store, ERR_STORE_CONFLICT,
				    "%s %s is still in %s%s: take it out first (sluicectl %s set %s --pods %s)",
				    called, name, all->names, rest, by, all->first, pods);
	}
	/* Who has another plan or price goes on; everything else is nothing without what it refers to. */
	if (noun == NOUN_PLAN || noun == NOUN_PRICE)
		return store_refuse(store, ERR_STORE_CONFLICT,
				    "%s %s is still that of %s%s: give %s another first (sluicectl %s set %s"
				    " --%s %s)",
				    called, name, all->names, rest, them, by, all->first, called,
				    noun == NOUN_PLAN ? "PLAN" : "PRICE");
	return store_refuse(store, ERR_STORE_CONFLICT,
			    "%s %s is still that of %s%s: delete %s first (sluicectl %s rm %s)", called, name,
			    all->names, rest, them, by, all->first);
}

/* Payments stay in the books, and the account with them. */
static enum err
refuse_paid(struct store *store, int64_t id, const char *name)
{
	char unused[NAME_BYTES];
	enum err verdict = look_up(store, "SELECT '' FROM topups WHERE account_id = ?1 LIMIT 1", id, BYTES_NONE,
				   unused);

	if (verdict != ERR_OK)
		return verdict == ERR_STORE_NOT_FOUND ? ERR_OK : verdict;
	return store_refuse(store, ERR_STORE_CONFLICT,
			    "account %s has top-ups, which stay in the books: suspend it instead"
			    " (sluicectl account suspend %s)", name, name);
}

enum err
conflict_find_referrers(struct store *store, enum noun noun, int64_t id)
{
	struct referrers all = { .count = 0 };
	struct sql sql = { .len = 0 };
	char name[NAME_BYTES];
	enum err verdict;

	sql_add(&sql, "SELECT %s FROM %s WHERE id = ?1", label_of(noun), shape_of(noun)->plural);
	verdict = look_up(store, sql.text, id, BYTES_NONE, name);
	/* Nobody's referrer can be made to go where the books keep the account. */
	if (verdict == ERR_OK && noun == NOUN_ACCOUNT)
		verdict = refuse_paid(store, id, name);
	for (int i = 0; i < NOUN_COUNT && verdict == ERR_OK; i++) {
		const struct field *f = shape_of((enum noun)i)->fields;

		for (; f->name != NULL && verdict == ERR_OK; f++)
			if ((f->kind == FIELD_REFERENCE && f->target == noun) ||
			    (f->kind == FIELD_POD_LIST && noun == NOUN_POD))
				verdict = add_referrers(store, (enum noun)i, f, id, &all);
	}
	if (verdict == ERR_OK && all.count > 0)
		verdict = refuse_referred(store, noun, id, name, &all);
	return verdict == ERR_STORE_NOT_FOUND ? ERR_OK : verdict; /* the deletion tells it */
}

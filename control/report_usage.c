/* Sums of the ledger and its single requests. */
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/units.h"
#include "clock.h"
#include "meter/usage.h"
#include "sql.h"

/* SQL: what an object is called, and one that is deleted what the audit remembers; a key without a label has
 * nothing there but that it is deleted. */
#define LABEL(noun, table, column, id)                                                             \
	"coalesce((SELECT " column " FROM " table " WHERE id = " id "), (SELECT trim(name || ' (deleted)')" \
	" FROM audit WHERE noun = '" noun "' AND subject = " id " AND verb = 'delete' ORDER BY id DESC LIMIT 1))"

/* What the rows are grouped by: its name in the answer, the expression, and one for people. */
static const struct {
	const char *by;
	const char *group;
	const char *label;
} groups[] = {
	[REPORT_ACCOUNT] = { "account", "account_id", LABEL("account", "accounts", "name", "account_id") },
	[REPORT_KEY] = { "key", "key_id", LABEL("key", "keys", "prefix", "key_id") },
	[REPORT_MODEL] = { "model", "model_id", LABEL("model", "models", "name", "model_id") },
	[REPORT_INSTANCE] = { "instance", "instance_id", LABEL("instance", "instances", "name", "instance_id") },
	[REPORT_POD] = { "pod", "pod_id", LABEL("pod", "pods", "name", "pod_id") },
	{ "region", "region", "region" },
	{ "hour", "finished_at_ns / 3600000000000 * 3600", "NULL" }, /* name_hour() */
};

static const char single_sql[] =
	"SELECT request_id, node, epoch, worker, sequence, key_id, account_id,"
	" model_id, instance_id, pod_id, region, price_id, price_version, status, outcome, source,"
	" stream, suspect, prompt_tokens, completion_tokens, cost_nano, finished_at_ns, queue_us,"
	" connect_us, first_byte_us, total_us, request_bytes, response_bytes, unit, units FROM ledger";

#define UNITS(unit) "CASE unit WHEN " #unit " THEN units ELSE 0 END"
CHECK_STATIC(USAGE_IMAGES == 2 && USAGE_MILLISECONDS == 3 && USAGE_CHARACTERS == 4 && USAGE_BYTES == 5,
	     "as the sums say");

/* Behind "SELECT group AS by, label". */
#define SUMS                                                                                       \
	" AS name, count(*) AS requests,"                                                          \
	" sum(CASE WHEN status >= 400 THEN 1 ELSE 0 END) AS failed, "                              \
	STORE_SUM("prompt_tokens") " AS prompt_tokens, "                                           \
	STORE_SUM("completion_tokens") " AS completion_tokens, "                                   \
	STORE_SUM(UNITS(2)) " AS images, "                                                         \
	STORE_SUM(UNITS(3)) " AS milliseconds, "                                                   \
	STORE_SUM(UNITS(4)) " AS characters, "                                                     \
	STORE_SUM(UNITS(5)) " AS bytes, "                                                          \
	STORE_SUM("cost_nano") " AS cost_nano,"                                                    \
	" sum(CASE WHEN source = 2 THEN 1 ELSE 0 END) AS estimated,"                               \
	" sum(CASE WHEN outcome = %d THEN 1 ELSE 0 END) AS crashed,"                               \
	" sum(CASE WHEN outcome = %d THEN 1 ELSE 0 END) AS refused FROM ledger"

#define CURSOR_BYTES 192 /* of a request's: four numbers and a node's name */

/* Where a page begins: behind a group, or behind a request. */
struct cursor {
	int64_t numbers[4]; /* the group's; or time, epoch, worker, sequence */
	const char *text;   /* the group's; or the node */
};

static bool
parse_cursor(const char *text, size_t numbers, struct cursor *cursor)
{
	for (size_t i = 0; i < numbers; i++) {
		char *end;

		cursor->numbers[i] = strtoll(text, &end, 10);
		if (end == text || (i + 1 < numbers && *end != '.'))
			return false;
		text = i + 1 < numbers ? end + 1 : end;
	}
	cursor->text = text;
	return true;
}

/* What a statement is made of: by, which is NULL for single requests, and what it is narrowed to. */
struct question {
	const struct report_usage *asked;
	const char *group;
	const char *label;
	bool is_text; /* the group is */
	struct cursor cursor;
};

/* False: there is no such `by`, or `after` is of another. */
static bool
read_question(struct store *store, const struct report_usage *asked, struct question *q)
{
	bool is_found = strcmp(asked->by, "request") == 0;

	*q = (struct question){ .asked = asked };
	for (size_t i = 0; i < COUNT_OF(groups) && !is_found; i++) {
		is_found = strcmp(asked->by, groups[i].by) == 0;
		q->group = groups[i].group;
		q->label = groups[i].label;
		q->is_text = strcmp(groups[i].by, "region") == 0;
	}
	if (!is_found) {
		store_refuse(store, ERR_STORE_INVALID, "usage by \"%.32s\" is not known; there are account, key, "
			     "model, instance, region, pod, hour and request", asked->by);
		return false;
	}
	if (asked->after == NULL ||
	    (parse_cursor(asked->after, q->group == NULL ? 4 : q->is_text ? 0 : 1, &q->cursor) &&
	     (q->group == NULL ? q->cursor.text[0] == '.' : q->is_text || q->cursor.text[0] == '\0')))
		return true;
	store_refuse(store, ERR_STORE_INVALID, "after is not what `next` of the page before was");
	return false;
}

/* The text; the values are bound in the same order. */
static void
add_question(struct sql *sql, const struct question *q)
{
	int at = 4;

	if (q->group == NULL) {
		sql_add(sql, "%s", single_sql);
	} else {
		sql_add(sql, "SELECT %s AS \"%s\", %s", q->group, q->asked->by, q->label);
		sql_add(sql, SUMS, USAGE_CRASHED, USAGE_REFUSED);
	}
	sql_add(sql, " WHERE finished_at_ns >= ?1 AND finished_at_ns < ?2");
	for (int i = 0; i < REPORT_ID_COUNT; i++)
		if (q->asked->ids[i] != REPORT_ALL)
			sql_add(sql, " AND %s = ?%d", groups[i].group, at++);
	if (q->asked->region != NULL)
		sql_add(sql, " AND region = ?%d", at++);
	if (q->asked->after != NULL && q->group != NULL)
		sql_add(sql, " AND %s > ?%d", q->group, at);
	else if (q->asked->after != NULL)
		sql_add(sql, " AND (finished_at_ns, epoch, worker, sequence, node) >"
			     " (?%d, ?%d, ?%d, ?%d, ?%d)", at, at + 1, at + 2, at + 3, at + 4);
	sql_add(sql, q->group != NULL ? " GROUP BY 1 ORDER BY 1" :
					" ORDER BY finished_at_ns, epoch, worker, sequence, node");
	sql_add(sql, " LIMIT ?3");
}

static void
bind_question(struct statement *statement, const struct question *q)
{
	const struct report_usage *asked = q->asked;
	int at = 4;

	store_bind_int64(statement, 1, asked->since_s * NSEC_PER_SEC);
	store_bind_int64(statement, 2, asked->until_s * NSEC_PER_SEC);
	store_bind_int64(statement, 3, (int64_t)asked->limit + 1); /* one more tells whether there are more */
	for (int i = 0; i < REPORT_ID_COUNT; i++)
		if (asked->ids[i] != REPORT_ALL)
			store_bind_int64(statement, at++, asked->ids[i]);
	if (asked->region != NULL)
		store_bind_text(statement, at++, bytes_from_text(asked->region));
	if (asked->after == NULL)
		return;
	if (q->group == NULL)
		for (int i = 0; i < 4; i++)
			store_bind_int64(statement, at++, q->cursor.numbers[i]);
	else if (!q->is_text)
		store_bind_int64(statement, at, q->cursor.numbers[0]);
	if (q->group == NULL || q->is_text)
		store_bind_text(statement, at, bytes_from_text(q->cursor.text + (q->group == NULL)));
}

static yyjson_mut_val *
emit_hex(yyjson_mut_doc *doc, struct bytes blob)
{
	char text[65] = "";

	for (size_t i = 0; i < blob.len && 2 * i + 2 < sizeof(text); i++)
		snprintf(text + 2 * i, 3, "%02x", blob.ptr[i]);
	return yyjson_mut_strcpy(doc, text);
}

/* Times are formatted here: no two databases do it alike. */
static void
name_hour(yyjson_mut_doc *doc, yyjson_mut_val *row)
{
	time_t hour = (time_t)yyjson_mut_get_sint(yyjson_mut_obj_get(row, "hour"));
	struct tm parts;
	char text[32];

	gmtime_r(&hour, &parts);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:00Z", &parts);
	yyjson_mut_obj_put(row, yyjson_mut_str(doc, "name"), yyjson_mut_strcpy(doc, text));
}

/* An object with the columns' names. */
static yyjson_mut_val *
emit_columns(yyjson_mut_doc *doc, struct statement *row)
{
	yyjson_mut_val *object = yyjson_mut_obj(doc);

	for (int i = 0; i < store_column_count(row); i++) {
		yyjson_mut_val *name = yyjson_mut_strcpy(doc, store_column_name(row, i));
		yyjson_mut_val *value;

		switch (store_column_kind(row, i)) {
		case STORE_INTEGER:
			value = yyjson_mut_sint(doc, store_column_int64(row, i));
			break;
		case STORE_NULL:
			value = yyjson_mut_null(doc);
			break;
		case STORE_BLOB:
			value = emit_hex(doc, store_column_blob(row, i));
			break;
		default:
			value = yyjson_mut_strcpy(doc, (const char *)store_column_text(row, i).ptr);
		}
		yyjson_mut_obj_add(object, name, value);
	}
	return object;
}

/* What is a number in the store is a word for its readers. */
static void
name_numbers(yyjson_mut_doc *doc, yyjson_mut_val *row)
{
	static const char *const outcomes[USAGE_OUTCOME_COUNT] = {
		[USAGE_OK] = "ok", [USAGE_CLIENT_ABORT] = "client_abort",
		[USAGE_UPSTREAM_ERROR] = "upstream_error", [USAGE_TIMEOUT] = "timeout",
		[USAGE_CRASHED] = "crashed", [USAGE_REFUSED] = "refused",
	};
	static const char *const sources[USAGE_SOURCE_COUNT] = {
		[USAGE_FINAL] = "final", [USAGE_RUNNING] = "running", [USAGE_ESTIMATED] = "estimated",
	};
	static const char *const units[USAGE_UNIT_COUNT] = {
		[USAGE_NO_UNIT] = "none", [USAGE_REQUESTS] = "requests", [USAGE_IMAGES] = "images",
		[USAGE_MILLISECONDS] = "milliseconds", [USAGE_CHARACTERS] = "characters",
		[USAGE_BYTES] = "bytes",
	};
	static const struct {
		const char *column;
		const char *const *words;
		uint64_t count;
	} named[] = { { "outcome", outcomes, USAGE_OUTCOME_COUNT },
		      { "source", sources, USAGE_SOURCE_COUNT },
		      { "unit", units, USAGE_UNIT_COUNT } };

	for (size_t i = 0; i < COUNT_OF(named); i++) {
		yyjson_mut_val *value = yyjson_mut_obj_get(row, named[i].column);
		uint64_t number = (uint64_t)yyjson_mut_get_sint(value);

		/* Of a later release than this one: as it is. */
		if (number < named[i].count)
			yyjson_mut_obj_put(row, yyjson_mut_str(doc, named[i].column),
					   yyjson_mut_str(doc, named[i].words[number]));
	}
	for (int flag = 0; flag < 2; flag++) {
		const char *column = flag ? "suspect" : "stream";
		bool is_set = yyjson_mut_get_sint(yyjson_mut_obj_get(row, column)) != 0;

		yyjson_mut_obj_put(row, yyjson_mut_str(doc, column), yyjson_mut_bool(doc, is_set));
	}
}

/* What `after` of the next page is: where this one ends. */
static yyjson_mut_val *
emit_next(const struct question *q, yyjson_mut_doc *doc, yyjson_mut_val *row)
{
	static const char *const columns[4] = { "finished_at_ns", "epoch", "worker", "sequence" };
	yyjson_mut_val *group = yyjson_mut_obj_get(row, q->asked->by);
	char text[CURSOR_BYTES];
	size_t len = 0;

	if (q->is_text)
		return yyjson_mut_strcpy(doc, yyjson_mut_get_str(group));
	if (q->group != NULL) {
		snprintf(text, sizeof(text), "%lld", (long long)yyjson_mut_get_sint(group));
		return yyjson_mut_strcpy(doc, text);
	}
	for (int i = 0; i < 4; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%lld.",
					(long long)yyjson_mut_get_sint(yyjson_mut_obj_get(row, columns[i])));
	snprintf(text + len, sizeof(text) - len, "%s", yyjson_mut_get_str(yyjson_mut_obj_get(row, "node")));
	return yyjson_mut_strcpy(doc, text);
}

static yyjson_mut_val *
emit_one(const struct question *q, yyjson_mut_doc *doc, struct statement *statement)
{
	yyjson_mut_val *row = emit_columns(doc, statement);

	if (q->group == NULL)
		name_numbers(doc, row);
	else if (strcmp(q->asked->by, "hour") == 0)
		name_hour(doc, row);
	return row;
}

static enum err
read_page(struct store *store, const struct report_usage *asked, yyjson_mut_doc *doc, yyjson_mut_val **page)
{
	yyjson_mut_val *rows = yyjson_mut_arr(doc), *next = yyjson_mut_null(doc);
	struct sql sql = { .len = 0 };
	struct statement *statement;
	enum store_step step = STORE_DONE;
	enum err verdict = ERR_OK;
	struct question q;

	if (!read_question(store, asked, &q))
		return ERR_STORE_INVALID;
	add_question(&sql, &q);
	statement = store_prepare(store, sql.text);
	if (statement == NULL)
		return ERR_STORE_FAILED;
	bind_question(statement, &q);
	while (yyjson_mut_arr_size(rows) < asked->limit && (step = store_step(statement)) == STORE_ROW)
		yyjson_mut_arr_append(rows, emit_one(&q, doc, statement));
	if (step == STORE_ROW && (step = store_step(statement)) == STORE_ROW)
		next = emit_next(&q, doc, yyjson_mut_arr_get_last(rows));
	if (step == STORE_BROKEN)
		verdict = store_failed(store);
	store_finalize(statement);
	*page = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_str(doc, *page, "object", "list");
	yyjson_mut_obj_add_bool(doc, *page, "has_more", !yyjson_mut_is_null(next));
	yyjson_mut_obj_add_val(doc, *page, "next", next);
	yyjson_mut_obj_add_val(doc, *page, "data", rows);
	return verdict;
}

/* What the loop had no time for else: of the processor for a file, by the clock for a server. */
static uint64_t
spent_ns(const struct store *store)
{
	return store_is_shared(store) ? clock_now_ns() : clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
}

static enum err
refuse_for_now(struct store *store, uint64_t wait_ns)
{
	return store_refuse(store, ERR_STORE_TOO_LONG,
			    "the sums before took so long that other calls come first; ask again in %llu ms",
			    (unsigned long long)(wait_ns / NSEC_PER_MSEC) + 1);
}

enum err
report_usage_page(struct control *control, const struct report_usage *asked, yyjson_mut_doc *doc,
		  yyjson_mut_val **page)
{
	struct store *store = &control->store;
	uint32_t most_ms = store_is_shared(store) ? REPORT_USAGE_SERVER_MS : REPORT_USAGE_FILE_MS;
	uint64_t begun_ns = spent_ns(store), now_ns = clock_now_ns(), took_ns;
	enum err verdict;

	if (now_ns < control->usage_at_ns)
		return refuse_for_now(store, control->usage_at_ns - now_ns);
	verdict = store_limit(store, most_ms);
	if (verdict != ERR_OK)
		return verdict;
	verdict = read_page(store, asked, doc, page);
	if (verdict == ERR_STORE_TOO_LONG)
		store_refuse(store, verdict, "these are more requests than are summed up in the %u ms of a call;"
			     " nothing is told of them. Narrow it by since, until, account, key, model, instance,"
			     " pod or region (sluicectl usage --since 24h --account NAME), or read single requests"
			     " page by page (--by request --limit 1000)", most_ms);
	/* With the connection the limit is gone. */
	if (store_limit(store, 0) != ERR_OK && verdict == ERR_OK)
		verdict = ERR_STORE_AWAY;
	/* On a machine that has no time for us a call is cut off by the clock, long before it has used its own. */
	took_ns = verdict == ERR_STORE_TOO_LONG ? most_ms * NSEC_PER_MSEC : spent_ns(store) - begun_ns;
	if (took_ns > most_ms / 2 * NSEC_PER_MSEC)
		control->usage_at_ns = clock_now_ns() + REPORT_USAGE_WAITS * took_ns;
	return verdict;
}

/* Calls that only tell. */
#include <stdlib.h>
#include <string.h>

#include "answering.h"
#include "audit.h"
#include "clock.h"
#include "openapi.h"
#include "report.h"

#define ID_DIGITS_MAX 18

void
call_status(struct answering *a)
{
	a->root = report_status(a->control, a->doc);
	a->status = 200;
}

/* What is deleted has its rows still: an id is taken as it is. */
static enum err
take_id(struct answering *a, enum noun noun, int64_t *id)
{
	const char *text = answering_query(a, noun_name(noun));

	*id = REPORT_ALL;
	if (text == NULL)
		return ERR_OK;
	if (!shape_is_all_digits(bytes_from_text(text)) || strlen(text) > ID_DIGITS_MAX)
		return noun_resolve(&a->control->store, noun, bytes_from_text(text), id);
	*id = strtoll(text, NULL, 10);
	return ERR_OK;
}

void
call_usage(struct answering *a)
{
	static const enum noun nouns[REPORT_ID_COUNT] = {
		[REPORT_ACCOUNT] = NOUN_ACCOUNT, [REPORT_KEY] = NOUN_KEY, [REPORT_MODEL] = NOUN_MODEL,
		[REPORT_INSTANCE] = NOUN_INSTANCE, [REPORT_POD] = NOUN_POD,
	};
	const char *by = answering_query(a, "by");
	struct report_usage asked = {
		.by = by != NULL ? by : "account",
		.since_s = answering_query_number(a, "since", 0),
		.until_s = answering_query_number(a, "until", INT64_C(9000000000)),
		.region = answering_query(a, "region"),
		.after = answering_query(a, "after"),
		.limit = (uint32_t)answering_query_number(a, "limit", 1000),
	};
	enum err verdict = ERR_OK;

	for (int i = 0; i < REPORT_ID_COUNT && verdict == ERR_OK; i++)
		verdict = take_id(a, nouns[i], &asked.ids[i]);
	if (verdict == ERR_OK)
		verdict = report_usage_page(a->control, &asked, a->doc, &a->root);
	if (verdict != ERR_OK) {
		answering_refuse_verdict(a, verdict);
		return;
	}
	a->status = 200;
}

void
call_audit(struct answering *a)
{
	const char *order = answering_query(a, "order");
	struct audit_filter filter = {
		.noun = answering_query(a, "noun"),
		.name = answering_query(a, "name"),
		.subject = answering_query_number(a, "subject", 0),
		.after_id = answering_query_number(a, "after", 0),
		.newest_first = order != NULL && strcmp(order, "newest") == 0,
		.limit = (uint32_t)answering_query_number(a, "limit", 1000),
	};
	yyjson_mut_val *rows;
	enum err verdict = audit_list(&a->control->store, &filter, a->doc, &rows);

	if (verdict != ERR_OK) {
		answering_refuse_verdict(a, verdict);
		return;
	}
	a->root = yyjson_mut_obj(a->doc);
	yyjson_mut_obj_add_str(a->doc, a->root, "object", "list");
	yyjson_mut_obj_add_bool(a->doc, a->root, "has_more", yyjson_mut_arr_size(rows) == filter.limit);
	yyjson_mut_obj_add_val(a->doc, a->root, "data", rows);
	a->status = 200;
}

void
call_reconcile(struct answering *a)
{
	reconcile_ask(&a->control->reconcile, clock_now_ns());
	a->root = report_reconcile(a->control, a->doc);
	a->status = 202;
}

void
call_metrics(struct answering *a)
{
	a->status = 200;
	a->content_type = "text/plain; version=0.0.4; charset=utf-8";
	a->text = report_metrics(a->control, &a->text_len);
}

void
call_health(struct answering *a)
{
	a->root = yyjson_mut_obj(a->doc);
	yyjson_mut_obj_add_str(a->doc, a->root, "status", "ok");
	a->status = 200;
}

void
call_openapi(struct answering *a)
{
	a->root = openapi_make(a->doc);
	a->status = 200;
}

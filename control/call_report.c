/* Calls that only tell. */
#include <string.h>

#include "answering.h"
#include "openapi.h"
#include "report.h"

void
call_status(struct answering *a)
{
	a->root = report_status(a->control, a->doc);
	a->status = 200;
}

void
call_usage(struct answering *a)
{
	const char *by = answering_query(a, "by"), *account = answering_query(a, "account");
	struct report_usage asked = {
		.by = by != NULL ? by : "account",
		.since_s = answering_query_number(a, "since", 0),
		.until_s = answering_query_number(a, "until", INT64_C(9000000000)),
		.limit = (uint32_t)answering_query_number(a, "limit", 1000),
	};
	yyjson_mut_val *rows;
	enum err verdict = ERR_OK;

	if (account != NULL)
		verdict = noun_resolve(&a->control->store, NOUN_ACCOUNT, bytes_from_text(account),
				       &asked.account_id);
	if (verdict == ERR_OK)
		verdict = report_usage_rows(a->control, &asked, a->doc, &rows);
	if (verdict != ERR_OK) {
		answering_refuse_verdict(a, verdict);
		return;
	}
	a->root = yyjson_mut_obj(a->doc);
	yyjson_mut_obj_add_val(a->doc, a->root, "data", rows);
	a->status = 200;
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

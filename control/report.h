#pragma once

#include <stddef.h>
#include <yyjson.h>

#include "control.h"

/* report: what the admin API tells about the whole: status, usage, metrics. Reads only. */

/* How the three sums of usage agree. */
yyjson_mut_val *report_reconcile(struct control *control, yyjson_mut_doc *doc);

yyjson_mut_val *report_status(struct control *control, yyjson_mut_doc *doc);

/* What /admin/v1/usage was asked for. */
struct report_usage {
	const char *by;     /* "account", "key", "model", "instance", "region", "pod", "hour", "request" */
	int64_t since_s;    /* Unix time */
	int64_t until_s;
	int64_t account_id; /* 0: all */
	uint32_t limit;
};

/* An array of sums, or of single requests. ERR_STORE_INVALID: no such `by`. */
enum err report_usage_rows(struct control *control, const struct report_usage *asked,
			   yyjson_mut_doc *doc, yyjson_mut_val **rows);

/* Prometheus text format 0.0.4. NULL: no memory. The caller frees. */
char *report_metrics(struct control *control, size_t *len);

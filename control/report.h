#pragma once

#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

#include "control.h"

/* report: what the admin API tells about the whole: status, usage, metrics, a file each. Reads only. */

/* How the three sums of usage agree. */
yyjson_mut_val *report_reconcile(struct control *control, yyjson_mut_doc *doc);

yyjson_mut_val *report_status(struct control *control, yyjson_mut_doc *doc);

#define REPORT_ALL (-1)
enum report_id { REPORT_ACCOUNT, REPORT_KEY, REPORT_MODEL, REPORT_INSTANCE, REPORT_POD, REPORT_ID_COUNT };

/* What /admin/v1/usage was asked for. */
struct report_usage {
	const char *by;      /* "account", "key", "model", "instance", "pod", "region", "hour", "request" */
	int64_t since_s;     /* Unix time */
	int64_t until_s;
	int64_t ids[REPORT_ID_COUNT]; /* REPORT_ALL: not narrowed to one */
	const char *region;  /* NULL: all */
	const char *after;   /* `next` of the page before; NULL: the first page */
	uint32_t limit;      /* rows */
};

/* The store is asked in control's loop: what takes longer is cut short, and who asks for such waits in between. */
#define REPORT_USAGE_FILE_MS 500    /* of the processor */
#define REPORT_USAGE_SERVER_MS 2000 /* by the clock */
#define REPORT_USAGE_WAITS 4        /* times as long as the last answer took, if that was more than half of it */

/* A page of sums, in the order of what they are of, or of single requests in the order of their ends.
 * ERR_STORE_INVALID: no such `by`, or `after` is none of its.
 * ERR_STORE_TOO_LONG: too much to sum up, or too soon after such. */
enum err report_usage_page(struct control *control, const struct report_usage *asked, yyjson_mut_doc *doc,
			   yyjson_mut_val **page);

/* Prometheus text format 0.0.4. NULL: no memory. The caller frees. */
char *report_metrics(struct control *control, size_t *len);

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

#include "base/units.h"
#include "control.h"

/* report: what the admin API tells about the whole: status, usage, metrics, a file each. Reads only. */

#define REPORT_BEAT_FRESH_NS (2 * NSEC_PER_SEC) /* an older heartbeat means: not running */

static inline bool
report_is_fresh(uint64_t beat_at_ns, uint64_t now_ns)
{
	return beat_at_ns != 0 && now_ns - beat_at_ns < REPORT_BEAT_FRESH_NS;
}

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

/* A page of sums, in the order of what they are of, or of single requests in the order of their ends.
 * ERR_STORE_INVALID: no such `by`, or `after` is none of its. */
enum err report_usage_page(struct control *control, const struct report_usage *asked, yyjson_mut_doc *doc,
			   yyjson_mut_val **page);

/* Prometheus text format 0.0.4. NULL: no memory. The caller frees. */
char *report_metrics(struct control *control, size_t *len);

#pragma once

#include "json/scan.h"

/*
 * splice: a router's edits of a request body, as replacements of byte ranges, never a re-serialisation
 * (api.md section 6).
 *
 * Owner: the caller. Memory: the struct; inserts borrow from it or are static.
 */

#define JSON_SPLICES_MAX 2 /* the model; the wish for usage */

/* At offset of the original body, cut_bytes give way to insert. */
struct json_splice {
	uint64_t offset;
	uint64_t cut_bytes;
	struct bytes insert;
};

struct json_splices {
	uint32_t count;
	int64_t grown_bytes; /* edited length minus original length */
	struct json_splice splice[JSON_SPLICES_MAX]; /* by offset, not overlapping */
	uint8_t model_text[2 * JSON_MODEL_BYTES_MAX + 2]; /* escaped, with quotes */
};

/* True if the request itself asks for the usage event of a stream. */
bool json_wants_usage(const struct json_result *result);

/*
 * model: what the model's value becomes; empty: it stays. ask_for_usage: include_usage becomes true, in
 * whatever way the request spells stream_options. The struct must not be copied while its splices are
 * in use. ERR_JSON_NAME_TOO_LONG: the name does not fit.
 */
enum err json_plan_splices(const struct json_result *result, struct bytes model, bool ask_for_usage,
			   struct json_splices *splices);

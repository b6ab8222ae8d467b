#pragma once

#include "json/scan.h"

/*
 * splice: a router's edits of a request body, as replacements of byte ranges, never a re-serialisation:
 * the backend sees the bytes that the client wrote.
 *
 * Owner: the caller. Memory: the struct; inserts borrow from it or are static.
 */

#define JSON_SPLICES_MAX 3 /* the model; the wishes for usage, at the end and running */

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

/* What a stream is asked to tell of its usage, whatever the client asked for. */
enum json_ask {
	JSON_ASK_NOTHING,
	JSON_ASK_USAGE,   /* an event with it at the end: stream_options.include_usage */
	JSON_ASK_RUNNING, /* and in every event: stream_options.continuous_usage_stats (vLLM, SGLang) */
};

/* True if the request itself asks for the usage event of a stream. */
bool json_wants_usage(const struct json_result *result);

/* True if it asks for running usage too. */
bool json_wants_running(const struct json_result *result);

/*
 * model: what the model's value becomes; empty: it stays. ask: its options become true, in whatever way the
 * request spells stream_options. The struct must not be copied while its splices are
 * in use. ERR_JSON_NAME_TOO_LONG: the name does not fit.
 */
enum err json_plan_splices(const struct json_result *result, struct bytes model, enum json_ask ask,
			   struct json_splices *splices);

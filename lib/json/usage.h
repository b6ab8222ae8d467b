#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * usage: what a router must know of an answer, out of a document that arrives in pieces: what it is billed by, and
 * where the id of a job stands.
 *
 * Lenient: a broken document gives what was read so far. The result is the same however it is cut.
 *
 * Owner: the caller. Time: none. Memory: the struct only, bounded, whatever the answer.
 */

#define JSON_ID_BYTES_MAX 256 /* of an answer's id */

/* `usage` of a response object or a stream's event, as the backend said it, and what else is billed by. */
struct json_usage {
	bool present;       /* the field is there and is an object, or that of `response` is (/v1/responses) */
	bool is_complete;   /* and it has ended */
	bool has_prompt, has_completion, has_total; /* explicit zero differs from missing */
	uint64_t prompt_tokens;
	uint64_t completion_tokens;
	uint64_t total_tokens;
	bool suspect;       /* negative, fractional or beyond 2^32: ignored and flagged */
	bool odd_prompt, odd_completion; /* which of them */
	bool choices_empty; /* "choices":[] at the top level */
	bool is_null;       /* "usage":null */
	bool is_last_event; /* "type" at the top level is one that ends a stream of /v1/responses */
	/* where the top level's member lies in the document, if it has ended (value_end > 0) */
	uint64_t member_start; /* its name's opening quote */
	uint64_t value_start;
	uint64_t value_end;
	/* `duration` or `seconds` at the top level, as a number or a string of one, or `seconds` in usage */
	bool has_length;
	uint64_t milliseconds; /* cut, not rounded */
	uint32_t data_count;   /* objects in `data` at the top level */
	/* `id` at the top level: a string without escapes that fits */
	bool has_id;
	uint64_t id_start;     /* behind its opening quote */
	uint64_t id_end;
	uint32_t id_len;
	char id[JSON_ID_BYTES_MAX];
};

#define JSON_USAGE_KEY_BYTES_MAX 24 /* the longest name that is read, and then some */

/* The reader's state; private to usage.c but for usage. */
struct json_usage_scan {
	struct json_usage usage;
	uint64_t offset; /* of the next byte */
	uint64_t key_start;
	uint64_t number;
	uint32_t depth;
	uint8_t state;
	uint8_t key;          /* at depth 1 or in usage: whose value follows */
	uint8_t key_len;
	bool in_usage;
	bool in_data;
	bool in_response;
	bool usage_is_nested;
	bool number_is_odd;
	bool number_is_quoted;
	uint8_t fraction_digits; /* behind the point, and 1; 0: before it */
	uint16_t fraction_milli;
	bool first_of_choices;
	char key_text[JSON_USAGE_KEY_BYTES_MAX];
};

void json_usage_init(struct json_usage_scan *s);
void json_usage_feed(struct json_usage_scan *s, struct bytes piece);

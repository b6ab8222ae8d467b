#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * scan: what a router must know of a request body, out of a body that arrives in pieces.
 *
 * The whole document is validated (RFC 8259, UTF-8, depth, no lone surrogates, no numbers that 64 bits or a
 * double do not hold, nothing behind the value). Of the top-level object the fields in enum json_field are
 * read; a duplicate of one is an error, since two parsers may disagree on which one wins. Escaped names
 * ("mod\u0065l") count as the field. The result is the same however the body is cut.
 *
 * Owner: the caller. Time: none. Memory: the struct only, bounded, whatever the body.
 */

#define JSON_DEPTH_MAX 128
#define JSON_MODEL_BYTES_MAX 256 /* decoded model name */
#define JSON_TOP_LEVEL_KEYS_MAX 256

enum json_field {
	JSON_FIELD_MODEL,
	JSON_FIELD_STREAM,
	JSON_FIELD_STREAM_OPTIONS,
	JSON_FIELD_MESSAGES,
	JSON_FIELD_MAX_TOKENS,
	JSON_FIELD_MAX_COMPLETION_TOKENS,
	JSON_FIELD_MAX_OUTPUT_TOKENS,
	JSON_FIELD_N,
	JSON_FIELD_BEST_OF,
	JSON_FIELD_TEMPERATURE,
	JSON_FIELD_TOP_P,
	JSON_FIELD_PRESENCE_PENALTY,
	JSON_FIELD_FREQUENCY_PENALTY,
	JSON_FIELD_STOP,
	JSON_FIELD_SEED,
	JSON_FIELD_RESPONSE_FORMAT,
	JSON_FIELD_TOOLS,
	JSON_FIELD_TOOL_CHOICE,
	JSON_FIELD_PROMPT,
	JSON_FIELD_INPUT,
	JSON_FIELD_DOCUMENTS,
	JSON_FIELD_SIZE,
	JSON_FIELD_SECONDS,
	JSON_FIELD_DURATION,
	JSON_FIELD_COUNT
};

/* "model", "max_tokens", … Static memory. */
const char *json_field_name(enum json_field field);

enum json_type { JSON_ABSENT, JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* A value of the top level. Offsets count from the first byte of the body. */
struct json_value {
	enum json_type type;
	bool boolean;
	bool integer;         /* NUMBER: no fraction, no exponent, fits int64; of JSON_FIELD_SECONDS also a
			       * STRING of digits */
	bool empty;           /* ARRAY, OBJECT: nothing inside */
	bool all_strings;     /* ARRAY: every element is a string */
	enum json_type first; /* ARRAY: of its first element; JSON_ABSENT: there is none */
	uint32_t elements;    /* ARRAY: how many; saturated */
	int64_t number;       /* with integer */
	int64_t number_milli; /* NUMBER: value * 1000 away from zero, saturated (for range checks) */
	uint64_t start;       /* first byte of the value */
	uint64_t end;         /* behind its last byte */
};

/* What was found; valid after json_scan_end(). */
struct json_result {
	struct json_value field[JSON_FIELD_COUNT];
	uint8_t model[JSON_MODEL_BYTES_MAX]; /* decoded */
	uint32_t model_len;
	/* Of stream_options; of an array or an object, which is no flag, only the type. */
	struct json_value include_usage;
	struct json_value continuous_usage; /* continuous_usage_stats */
	uint64_t input_characters; /* code points of `input`, if it is a string */
	uint32_t data_urls;        /* pictures and files inside: what begins with "data:" in the parts of a
				    * message's `content`, as `image_url`, `file_data`, or `url` below one;
				    * what else calls itself so (a tool's arguments) is text to a model */
	uint64_t data_url_bytes;   /* of them, quotes included */
	uint64_t object_start;           /* offset of the top-level '{' */
	uint64_t object_end;             /* behind its '}' */
	enum json_field culprit;         /* the field that an error is about, or JSON_FIELD_COUNT */
};

#define JSON_KEY_BYTES_MAX 24 /* the longest name that is read, and then some */

/* The parser's state; private to scan.c but for result. */
struct json_scan {
	struct json_result result;
	uint64_t offset; /* of the next byte */
	/* where in the document */
	uint64_t is_object[JSON_DEPTH_MAX / 64]; /* a bit per open container */
	uint16_t depth;
	uint8_t expect;
	uint8_t lexeme;
	uint8_t verdict; /* not 0: it is over */
	/* what is being captured */
	bool is_key;
	bool in_options;         /* at depth 2, inside stream_options */
	bool in_content;         /* the last key of a message was `content` */
	bool in_media;           /* and that of its part a picture, a video, audio or a file */
	enum json_field field;   /* at depth 1: whose value this is, or JSON_FIELD_COUNT */
	struct json_value *value; /* the value being read, if it is of interest */
	uint32_t seen;           /* a bit per field */
	uint32_t top_level_keys;
	uint16_t depth_max;
	uint32_t keys_max;
	uint8_t key[JSON_KEY_BYTES_MAX];
	uint8_t key_len;
	bool key_is_other;       /* too long, or not ASCII: no name that is read */
	uint8_t data_url_at;     /* how much of "data:" the string has begun with, or DATA_URL_NOT (scan.c) */
	uint64_t string_start;   /* its opening quote */
	/* inside a string */
	uint8_t utf8_left;
	uint8_t utf8_low;
	uint8_t utf8_high;
	uint8_t hex_digits;
	uint16_t hex;
	uint16_t high_surrogate;
	/* inside a literal or a number */
	uint8_t literal;
	uint8_t literal_at;
	uint8_t number_part;
	bool negative;
	bool exponent_negative;
	bool is_integer;
	bool is_full;     /* a digit did not fit the mantissa */
	bool lost_digits; /* digits that are not 0 did not fit the mantissa */
	uint64_t mantissa;
	int32_t scale;    /* power of ten to apply to mantissa, exponent apart */
	int32_t exponent;
};

void json_scan_init(struct json_scan *s);

/* Bounds below JSON_DEPTH_MAX and JSON_TOP_LEVEL_KEYS_MAX, which hold without it. Before the first piece. */
void json_scan_bound(struct json_scan *s, uint32_t depth_max, uint32_t keys_max);

/* Feeds the next piece. ERR_OK so far, or a verdict that ends it: ERR_JSON_* (h: 400). */
enum err json_scan_feed(struct json_scan *s, struct bytes piece);

/* The body is complete. ERR_OK: s->result is valid. A top level that is not an object is
 * ERR_JSON_NOT_OBJECT. */
enum err json_scan_end(struct json_scan *s);

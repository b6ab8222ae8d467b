#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "http/h1.h"

/*
 * h2_head: the fields of an HTTP/2 request (RFC 9113 section 8), gathered as the HTTP/1.1 head that says the
 * same, so that one strict grammar judges both versions.
 *
 * Fields come one by one out of HPACK. What could break out of a line, and what HTTP/2 itself forbids, makes the
 * request malformed (a stream error). All else is h1_parse_request()'s verdict, and its answer the same.
 *
 * Owner:  the caller. Thread: any. Time: none.
 * Memory: H2_HEAD_MEMORY_BYTES of the caller, which the parsed request borrows from.
 */

/* The head as text, and behind it the values of the first line until that can be written. */
#define H2_HEAD_MEMORY_BYTES (H1_HEAD_BYTES_MAX + H1_LINE_BYTES_MAX + H1_FIELD_BYTES_MAX)
#define H2_FIELD_OVERHEAD_BYTES 32 /* counted for each field (RFC 9113 6.5.2) */

struct h2_head {
	uint8_t *memory;
	const struct h1_limits *limits;
	uint32_t text_bytes;
	uint32_t kept_bytes; /* of the first line's values */
	uint32_t list_bytes; /* as SETTINGS_MAX_HEADER_LIST_SIZE counts them */
	uint32_t fields;     /* crumbs of a cookie are fields */
	struct bytes method;
	struct bytes authority;
	struct bytes path;
	bool has_scheme;
	bool line_written;
	enum err verdict; /* the first thing that is wrong */
};

/* limits must stay; none is larger than the constants of http/h1.h. */
void h2_head_init(struct h2_head *head, uint8_t *memory, const struct h1_limits *limits);

/* The next field. What is wrong is remembered until the end. */
void h2_head_add(struct h2_head *head, struct bytes name, struct bytes value);

/* END_HEADERS came; end_stream: no body follows. ERR_OK: *request is filled. ERR_H2_MALFORMED: a stream error
 * (RFC 9113 8.1.1). Others: h1_status_of() gives the answer. */
enum err h2_head_end(struct h2_head *head, bool end_stream, struct h1_request *request);

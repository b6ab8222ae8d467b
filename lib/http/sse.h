#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * sse: finds events in a text/event-stream (WHATWG HTML, section 9.2) that arrives in pieces.
 *
 * It marks boundaries and hands out the bytes of `data:` lines as they come; it never buffers. A router
 * forwards the bytes as they were.
 *
 * Owner: the caller. Memory: the struct.
 */

#define SSE_LINE_BYTES_MAX (1024 * 1024)

struct sse {
	uint8_t state;
	uint8_t matched;
	bool has_data;     /* the event so far has a data line */
	bool after_cr;
	uint32_t line_bytes;
	uint32_t line_bytes_max; /* SSE_LINE_BYTES_MAX, or less if the caller says so before the first byte */
	uint64_t events;   /* complete events with data so far */
};

enum sse_what {
	SSE_DATA,      /* piece is a part of a data line's value */
	SSE_LINE_END,  /* a data line's value is complete */
	SSE_EVENT_END, /* an empty line ended an event; *input starts behind it */
	SSE_OTHER,     /* comments, other fields, line ends */
};

void sse_init(struct sse *s);

/*
 * Takes the next piece from the front of *input: moves *input forward, tells what the piece was, and
 * lends it (piece covers exactly the bytes taken; for SSE_DATA only value bytes). ERR_MORE: input is
 * empty. ERR_SSE_LINE_TOO_LONG condemns the stream. All of CR, LF, CRLF end lines.
 */
enum err sse_feed(struct sse *s, struct bytes *input, enum sse_what *what, struct bytes *piece);

/* True inside a data line whose end has not come. */
bool sse_in_data(const struct sse *s);


#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * h1_reading: what a parser of HTTP/1 makes of the bytes of one connection, message by message:
 * ours, and llhttp's, which is Node's.
 *
 * Memory: static in the caller; a reading is large.
 */
#define READING_MESSAGES_MAX 64 /* after so many the connection counts as closed */
#define READING_INPUT_BYTES_MAX (96 * 1024)
#define READING_TEXT_BYTES (4 * READING_INPUT_BYTES_MAX)

enum reading_end {
	READING_MORE, /* all was read, inside a message or between two */
	READING_REFUSED,
	READING_CLOSED, /* a message said that nothing follows it */
};

/* A message's text is its fields, "name: value" line by line, its start line taken apart, then its
 * body. */
struct reading_message {
	size_t text_start;
	size_t head_len; /* of the text, once the head is complete */
	size_t text_len;
	size_t start; /* in the input, as far as the parser tells */
	size_t end; /* in the input, behind it; valid if complete */
	bool head_complete;
	bool complete;
	bool keep_alive;
};

struct h1_reading {
	enum reading_end end;
	uint32_t count; /* messages begun */
	struct reading_message message[READING_MESSAGES_MAX];
	enum err verdict; /* of ours, if refused */
	const char *reason; /* of either, if refused */
	int llhttp_errno;
	size_t len;
	char text[READING_TEXT_BYTES];
};

/* One connection: what comes on it, and how it is cut. */
struct h1_wire {
	struct bytes input; /* at most READING_INPUT_BYTES_MAX */
	bool is_response;
	bool answers_head; /* the responses answer a HEAD */
	size_t first; /* bytes of the first piece; the others have `step` */
	size_t step;
	bool is_closed; /* behind the input: the end of an answer without a length. llhttp alone is told */
};

void h1_reading_ours(const struct h1_wire *wire, struct h1_reading *reading);
void h1_reading_llhttp(const struct h1_wire *wire, struct h1_reading *reading);

/* For both: a new message; text of the one that is being read. */
struct reading_message *h1_reading_begin(struct h1_reading *reading, size_t start);
void h1_reading_add(struct h1_reading *reading, struct bytes text);

/* The same messages, the same end. */
bool h1_reading_is_same(const struct h1_reading *a, const struct h1_reading *b);

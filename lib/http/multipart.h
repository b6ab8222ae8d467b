#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * multipart: what a router must know of a multipart/form-data body (RFC 7578, RFC 2046) that arrives in
 * pieces: where the value of `model` lies and what it is, whether a stream is asked for, how long the file
 * is.
 *
 * One strict reading, since parsers disagree on everything else: no preamble, no padding behind a
 * boundary, no folded part headers, nothing but one line end behind the close delimiter. A part that the
 * router reads must be plain text, and may stand once. The result is the same however the body is cut.
 *
 * Owner: the caller. Time: none. Memory: the struct only, bounded, whatever the body.
 */

#define MULTIPART_BOUNDARY_BYTES_MAX 70   /* RFC 2046 section 5.1.1 */
#define MULTIPART_PARTS_MAX 64
#define MULTIPART_HEADER_BYTES_MAX 2048   /* all headers of one part */
#define MULTIPART_VALUE_BYTES_MAX 256     /* of a part that is read: the model's name is the longest */
#define MULTIPART_LINE_BYTES_MAX 1024     /* one header of a part */

/* Parts that are read; any other is the backend's affair. */
enum multipart_part {
	MULTIPART_MODEL,
	MULTIPART_STREAM,
	MULTIPART_FILE, /* only counted */
	MULTIPART_READ_COUNT,
	MULTIPART_OTHER = MULTIPART_READ_COUNT
};

/* "model", "stream", "file". Static memory. */
const char *multipart_part_name(enum multipart_part part);

struct multipart_result {
	bool has_model;  /* and its value is complete */
	bool has_file;   /* its headers were seen */
	bool streams;    /* `stream` is true */
	uint8_t model[MULTIPART_VALUE_BYTES_MAX];
	uint32_t model_len;
	uint64_t model_start; /* offsets of the value in the body */
	uint64_t model_end;
	uint64_t file_bytes;
	enum multipart_part culprit; /* the part that an error is about, or MULTIPART_OTHER */
};

/* The parser's state; private but for result. */
struct multipart {
	struct multipart_result result;
	uint64_t offset; /* of the next byte */
	uint8_t state;
	uint8_t verdict;      /* not 0: it is over */
	uint8_t delimiter_len;
	uint8_t matched;      /* bytes of the delimiter behind the value so far */
	uint8_t delimiter[MULTIPART_BOUNDARY_BYTES_MAX + 4]; /* CR LF "--" boundary */
	/* the part */
	uint8_t part;         /* enum multipart_part */
	uint8_t seen;         /* a bit per part that is read */
	uint16_t parts;
	bool has_disposition;
	bool has_length;
	bool is_file;         /* a filename is given */
	bool is_plain;        /* its content type is text, or none is given */
	uint64_t length;      /* as its content-length says */
	uint64_t value_start;
	uint16_t header_bytes;
	uint16_t line_len;
	uint16_t value_len;
	uint8_t line[MULTIPART_LINE_BYTES_MAX];
	uint8_t value[MULTIPART_VALUE_BYTES_MAX];
};

/* The boundary out of a Content-Type; it borrows from it. ERR_MULTIPART_TYPE: the type is another, or the
 * boundary is missing, repeated or malformed. */
enum err multipart_boundary(struct bytes content_type, struct bytes *boundary);

void multipart_init(struct multipart *m, struct bytes boundary);

/* Feeds the next piece. ERR_OK so far, or a verdict that ends it: ERR_MULTIPART_*. */
enum err multipart_feed(struct multipart *m, struct bytes piece);

/* The body is complete. ERR_OK: the close delimiter was seen. */
enum err multipart_end(struct multipart *m);

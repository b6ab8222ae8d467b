#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * h1: HTTP/1.1 messages (RFC 9110, RFC 9112), one strict grammar. What two parsers could read differently is
 * refused, never repaired: request smuggling needs a difference (RFC 9112 section 11.2).
 *
 * A head is parsed out of one contiguous buffer that the caller grows; the result borrows from that
 * buffer. Bodies are decoded from any segmentation without a buffer.
 *
 * Owner:  the caller. Thread: any. Time: none. Memory: none but the structs.
 */

#define H1_HEAD_BYTES_MAX (32 * 1024)   /* start line and fields: 431 beyond it */
#define H1_LINE_BYTES_MAX 4096          /* request line without its CRLF: 414 beyond it */
#define H1_FIELD_BYTES_MAX 8192         /* one field line without its CRLF: 431 beyond it */
#define H1_FIELDS_MAX 100               /* 431 beyond it */
#define H1_CHUNK_EXTENSION_BYTES_MAX 256 /* of one body, all chunks together */

enum h1_method {
	H1_GET, H1_HEAD, H1_POST, H1_PUT, H1_DELETE, H1_PATCH, H1_OPTIONS, H1_CONNECT, H1_TRACE,
	H1_METHOD_OTHER, /* a valid token that is none of these */
};

struct h1_field {
	struct bytes name;
	struct bytes value; /* without leading and trailing white space */
};

enum h1_framing {
	H1_BODY_NONE,
	H1_BODY_LENGTH,
	H1_BODY_CHUNKED,
	H1_BODY_UNTIL_CLOSE, /* responses only */
};

/* What both kinds of head have in common. */
struct h1_head {
	struct h1_field fields[H1_FIELDS_MAX];
	uint32_t field_count;
	enum h1_framing framing;
	uint64_t content_length;  /* with H1_BODY_LENGTH */
	bool keep_alive;          /* version and Connection together */
	uint8_t minor_version;    /* 0 or 1 */
	uint32_t head_bytes;      /* consumed, the empty line included */
};

struct h1_request {
	struct h1_head head;
	enum h1_method method;
	struct bytes method_text;
	struct bytes target;  /* as sent */
	struct bytes path;    /* target up to '?', origin-form only */
	struct bytes query;   /* behind '?', empty if none */
	struct bytes host;
	bool expect_continue; /* Expect: 100-continue; any other expectation is refused */
};

struct h1_response {
	struct h1_head head;
	uint16_t status; /* 100-599 */
	struct bytes reason;
};

/* Bounds below the constants above; none may be larger. */
struct h1_limits {
	uint32_t head_bytes;
	uint32_t line_bytes;
	uint32_t field_bytes;
	uint32_t fields;
};

/* Where an incomplete head was scanned up to, so that each byte is looked at once. Zero to start. */
struct h1_scan {
	const struct h1_limits *limits; /* NULL: the constants */
	uint32_t scanned_bytes;
	uint32_t line_bytes;
	uint32_t line_count;
};

/*
 * ERR_OK: *request is filled. ERR_MORE: no complete head yet; call again with the same bytes and more
 * behind them. Anything else condemns the connection; h1_status_of() gives the answer.
 * Empty lines before a request line are skipped (RFC 9112 section 2.2), at most two.
 */
enum err h1_parse_request(struct bytes input, struct h1_scan *scan, struct h1_request *request);

/* The path that a head which h1_parse_request() refused seems to ask for, which says in whose form it is refused;
 * nothing else may follow from it. Empty: none is to be seen. */
struct bytes h1_likely_path(struct bytes input);

/* request_method: what the response answers (HEAD has no body). Interim (1xx) heads are returned like
 * any other, with H1_BODY_NONE. */
enum err h1_parse_response(struct bytes input, enum h1_method request_method, struct h1_scan *scan,
			   struct h1_response *response);

/* Status that a verdict of this library means for a client: 400, 414, 431, 417, 501, 505. */
uint16_t h1_status_of(enum err verdict);

/* First field of that name (case-insensitive), or NULL. */
const struct h1_field *h1_find(const struct h1_head *head, struct bytes name);

/* True if a Connection field names this field, or it is hop-by-hop by itself (RFC 9110 7.6.1). */
bool h1_is_hop_by_hop(const struct h1_head *head, struct bytes name);

/* --- bodies ------------------------------------------------------------------ */

/* The longest name that a trailer must not have: transfer-encoding. */
#define H1_TRAILER_NAME_BYTES 17

/* The decoder of one body. */
struct h1_body {
	enum h1_framing framing;
	uint8_t state;
	uint8_t digits;
	bool done;
	uint8_t name_len; /* of a trailer, as far as it is kept; one more than fits: too long to matter */
	uint8_t name[H1_TRAILER_NAME_BYTES];
	uint32_t extension_bytes;
	uint32_t trailer_bytes;
	uint64_t left_bytes; /* of the message (length) or of the chunk */
};

void h1_body_init(struct h1_body *body, const struct h1_head *head);

/*
 * Takes wire bytes from the front of *input, up to the next piece of payload, which it lends in
 * *payload (a part of input; maybe empty). ERR_OK: *payload is valid, call again while input is
 * left and body->done is false. ERR_MORE: input is used up. Errors condemn the connection.
 * Bytes after the end of the body stay in *input. Chunk extensions are checked, bounded and ignored, trailers
 * likewise and dropped; one that would frame a message is refused.
 */
enum err h1_body_feed(struct h1_body *body, struct bytes *input, struct bytes *payload);

/* True if the transport may end here: until-close, or done. */
bool h1_body_can_end(const struct h1_body *body);

/* --- emit ----------------------------------------------------------------------- */

/* A bounded text writer; overflow is sticky and checked once at the end. */
struct h1_writer {
	uint8_t *ptr;
	size_t room;
	size_t len;
	bool overflow;
};

static inline struct h1_writer
h1_writer_make(uint8_t *ptr, size_t room)
{
	return (struct h1_writer){ .ptr = ptr, .room = room };
}

void h1_emit_text(struct h1_writer *w, struct bytes text);
void h1_emit_number(struct h1_writer *w, uint64_t number);
/* "HTTP/1.1 200 OK\r\n" with the reason phrase of RFC 9110. */
void h1_emit_status(struct h1_writer *w, uint16_t status);
void h1_emit_field(struct h1_writer *w, struct bytes name, struct bytes value);
void h1_emit_field_number(struct h1_writer *w, struct bytes name, uint64_t number);
void h1_emit_end(struct h1_writer *w); /* the empty line */

/* "1a4\r\n" into at least 18 bytes; returns its length. The chunk's data and CRLF follow. */
#define H1_CHUNK_HEAD_BYTES_MAX 18
uint32_t h1_emit_chunk_head(uint8_t *to, uint64_t chunk_bytes);

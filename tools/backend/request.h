#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "buffer.h"

/*
 * request: an HTTP/1.1 request as a server must read it (RFC 9112), strict throughout.
 *
 * Shares no line with lib/http: where a router let something ambiguous through, this refuses it and the
 * log says so.
 */
#define REQUEST_HEAD_BYTES_MAX (64 * 1024)
#define REQUEST_PATH_BYTES_MAX 2048
#define REQUEST_ID_BYTES_MAX 128

struct request {
	char method[16];
	char path[REQUEST_PATH_BYTES_MAX]; /* with its query */
	char id[REQUEST_ID_BYTES_MAX];     /* x-request-id, else empty */
	struct bytes script;               /* x-sim-script; borrowed from the head */
	struct bytes content_type;         /* borrowed from the head; may be empty */
	bool has_script;
	bool keeps_alive;
	bool expects_continue;
	bool is_chunked;
	bool has_length;
	uint64_t length;
};

/* The length of the head with its empty line at the front of input; 0: not all there. */
size_t request_head_len(struct bytes input);

/* NULL, or what is wrong with the head, in words. */
const char *request_parse(struct request *request, struct bytes head);

/* One field of a head, the next one; false at the end. Start with *rest behind the request line. */
bool request_next_field(struct bytes *rest, struct bytes *name, struct bytes *value);

/* A body in chunks (RFC 9112 section 7.1). */
struct request_chunks {
	enum { CHUNK_SIZE, CHUNK_BODY, CHUNK_END, CHUNK_TRAILER, CHUNK_DONE } at;
	uint64_t left;
};

/* Moves what it can from input to body. False: it is wrong or too much. Ends at CHUNK_DONE. */
bool request_take_chunks(struct request_chunks *chunks, struct buffer *input, struct buffer *body);

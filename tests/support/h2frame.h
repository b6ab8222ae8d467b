#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * h2frame: frames of HTTP/2 and header blocks, octet by octet, so that a test can say what no library would.
 * Independent of nghttp2 and of lib/http: a mistake made there is not made twice.
 */

enum h2frame_type {
	H2FRAME_DATA,
	H2FRAME_HEADERS,
	H2FRAME_PRIORITY,
	H2FRAME_RST_STREAM,
	H2FRAME_SETTINGS,
	H2FRAME_PUSH_PROMISE,
	H2FRAME_PING,
	H2FRAME_GOAWAY,
	H2FRAME_WINDOW_UPDATE,
	H2FRAME_CONTINUATION,
	H2FRAME_PRIORITY_UPDATE = 16
};

#define H2FRAME_END_STREAM 0x1
#define H2FRAME_ACK 0x1
#define H2FRAME_END_HEADERS 0x4
#define H2FRAME_HEAD_BYTES 9
#define H2FRAME_BYTES_MAX 16384 /* of a payload, unless SETTINGS allow more */
#define H2FRAME_INITIAL_WINDOW_SIZE 4

#define H2FRAME_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

void h2frame_put_number(uint8_t to[4], uint32_t number);
uint32_t h2frame_number(const uint8_t from[4]);

void h2frame_make_head(uint8_t to[H2FRAME_HEAD_BYTES], uint8_t type, uint8_t flags, uint32_t stream, size_t len);

/* Of a frame that was received. */
uint32_t h2frame_len(const uint8_t *head);
uint32_t h2frame_stream(const uint8_t *head);

struct h2frame_block {
	size_t len;
	uint8_t bytes[H2FRAME_BYTES_MAX];
};

/* A literal without Huffman coding (RFC 7541 6.2); is_kept: it enters the dynamic table. */
void h2frame_add_field(struct h2frame_block *block, bool is_kept, const char *name, const char *value);

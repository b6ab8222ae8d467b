#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * buffer: bytes that grow up to a bound; read at the front, written at the back.
 *
 * Memory: owned, from malloc; buffer_fini() releases it. A write beyond the bound leaves the buffer
 * as it was and says false.
 */
struct buffer {
	uint8_t *ptr;
	size_t start; /* what is before it has been read */
	size_t len;   /* bytes from start on */
	size_t capacity;
	size_t bound_bytes;
};

static inline struct buffer
buffer_make(size_t bound_bytes)
{
	return (struct buffer){ .bound_bytes = bound_bytes };
}

static inline struct bytes
buffer_bytes(const struct buffer *b)
{
	return bytes_make(b->ptr + b->start, b->len);
}

static inline size_t
buffer_room(const struct buffer *b)
{
	return b->bound_bytes - b->len;
}

void buffer_fini(struct buffer *b);

/* Room for len more bytes at the back; NULL beyond the bound or without memory. */
uint8_t *buffer_reserve(struct buffer *b, size_t len);

/* What has been written into the reserved room. */
void buffer_commit(struct buffer *b, size_t len);

bool buffer_add(struct buffer *b, struct bytes more);
bool buffer_add_text(struct buffer *b, const char *text);
bool buffer_addf(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A string as JSON shows it, with its quotes. Bytes from 0x80 on pass as they are. */
bool buffer_add_json(struct buffer *b, struct bytes text);

void buffer_drop(struct buffer *b, size_t len);

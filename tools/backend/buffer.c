/* A growable buffer: doubles, moves its rest to the front before it grows. */
#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

void
buffer_fini(struct buffer *b)
{
	free(b->ptr);
	*b = buffer_make(b->bound_bytes);
}

uint8_t *
buffer_reserve(struct buffer *b, size_t len)
{
	size_t capacity = b->capacity ? b->capacity : 512;
	uint8_t *ptr;

	if (len > buffer_room(b))
		return NULL;
	if (b->start && b->start + b->len + len > b->capacity) {
		memmove(b->ptr, b->ptr + b->start, b->len);
		b->start = 0;
	}
	while (capacity < b->start + b->len + len)
		capacity *= 2;
	if (capacity != b->capacity) {
		ptr = realloc(b->ptr, capacity);
		if (!ptr)
			return NULL;
		b->ptr = ptr;
		b->capacity = capacity;
	}
	return b->ptr + b->start + b->len;
}

void
buffer_commit(struct buffer *b, size_t len)
{
	CHECK(b->start + b->len + len <= b->capacity);
	b->len += len;
}

bool
buffer_add(struct buffer *b, struct bytes more)
{
	uint8_t *to = buffer_reserve(b, more.len);

	if (!to)
		return false;
	if (more.len)
		memcpy(to, more.ptr, more.len);
	b->len += more.len;
	return true;
}

bool
buffer_add_text(struct buffer *b, const char *text)
{
	return buffer_add(b, bytes_from_text(text));
}

bool
buffer_addf(struct buffer *b, const char *format, ...)
{
	va_list arguments;
	uint8_t *to;
	int len;

	va_start(arguments, format);
	len = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	if (len < 0)
		return false;
	to = buffer_reserve(b, (size_t)len + 1);
	if (!to)
		return false;
	va_start(arguments, format);
	vsnprintf((char *)to, (size_t)len + 1, format, arguments);
	va_end(arguments);
	b->len += (size_t)len;
	return true;
}

bool
buffer_add_json(struct buffer *b, struct bytes text)
{
	bool fine = buffer_add_text(b, "\"");

	for (size_t i = 0; fine && i < text.len; i++) {
		uint8_t c = text.ptr[i];

		if (c == '"' || c == '\\')
			fine = buffer_addf(b, "\\%c", c);
		else if (c < 0x20)
			fine = buffer_addf(b, "\\u%04x", c);
		else
			fine = buffer_add(b, bytes_make(&c, 1));
	}
	return fine && buffer_add_text(b, "\"");
}

void
buffer_drop(struct buffer *b, size_t len)
{
	CHECK(len <= b->len);
	b->start += len;
	b->len -= len;
	if (b->len == 0)
		b->start = 0;
}

#pragma once

#include "base/bytes.h"

/*
 * cursor: reads TLS's presentation language (RFC 8446 section 3) off the front of what is left. False: it is not
 * there whole, and the rest is worth nothing.
 */
static inline bool
cursor_take(struct bytes *rest, size_t len, struct bytes *part)
{
	if (len > rest->len)
		return false;
	*part = bytes_make(rest->ptr, len);
	bytes_advance(rest, len);
	return true;
}

/* Of width bytes, at most 4. */
static inline bool
cursor_number(struct bytes *rest, size_t width, uint32_t *number)
{
	struct bytes part;

	if (!cursor_take(rest, width, &part))
		return false;
	*number = 0;
	for (size_t i = 0; i < width; i++)
		*number = *number << 8 | part.ptr[i];
	return true;
}

/* A vector, whose length takes width bytes. */
static inline bool
cursor_vector(struct bytes *rest, size_t width, struct bytes *part)
{
	uint32_t len;

	return cursor_number(rest, width, &len) && cursor_take(rest, len, part);
}

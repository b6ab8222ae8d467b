#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * bytes: a borrowed, read-only run of memory. Never owns, never NUL-terminates.
 *
 * Memory: the lender's; whoever returns a struct bytes says how long it lives.
 */
struct bytes {
	const uint8_t *ptr;
	size_t len;
};

#define BYTES_NONE ((struct bytes){ NULL, 0 })

/* From a string literal; the length is known to the compiler. */
#define BYTES_LITERAL(text) ((struct bytes){ (const uint8_t *)(text), sizeof(text) - 1 })

static inline struct bytes
bytes_make(const void *ptr, size_t len)
{
	return (struct bytes){ ptr, len };
}

static inline struct bytes
bytes_from_text(const char *text)
{
	return bytes_make(text, strlen(text));
}

static inline bool
bytes_equal(struct bytes a, struct bytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline uint8_t
bytes_lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

/* The value of a hexadecimal digit of either case; -1: c is none. */
static inline int
bytes_hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = bytes_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ASCII case-insensitive (RFC 9110 field names). */
static inline bool
bytes_equal_nocase(struct bytes a, struct bytes b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (bytes_lower(a.ptr[i]) != bytes_lower(b.ptr[i]))
			return false;
	return true;
}

static inline bool
bytes_starts_with(struct bytes whole, struct bytes prefix)
{
	return whole.len >= prefix.len &&
	       (prefix.len == 0 || memcmp(whole.ptr, prefix.ptr, prefix.len) == 0);
}

/* What is left after the first n; n beyond the end leaves nothing. */
static inline struct bytes
bytes_after(struct bytes b, size_t n)
{
	if (n > b.len)
		n = b.len;
	return bytes_make(b.ptr + n, b.len - n);
}

/* Moves the front forward by n <= len. */
static inline void
bytes_advance(struct bytes *b, size_t n)
{
	b->ptr += n;
	b->len -= n;
}

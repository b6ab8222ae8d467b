/*
 * Bytes into the path of the pass-through. What is let through must be the same path for a server that decodes
 * escapes and removes dot segments as for one that does neither.
 */
#include "base/check.h"
#include "http/urlpath.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static uint8_t
value_of(uint8_t c)
{
	return (uint8_t)(c <= '9' ? c - '0' : bytes_lower(c) - 'a' + 10);
}

/* Decoded as a careless server would. */
static size_t
decode(struct bytes path, uint8_t *to)
{
	size_t len = 0;

	for (size_t i = 0; i < path.len; i++) {
		if (path.ptr[i] != '%') {
			to[len++] = path.ptr[i];
			continue;
		}
		CHECK(i + 2 < path.len);
		to[len++] = (uint8_t)(value_of(path.ptr[i + 1]) << 4 | value_of(path.ptr[i + 2]));
		i += 2;
	}
	return len;
}

static size_t
slashes(const uint8_t *text, size_t len)
{
	size_t count = 0;

	for (size_t i = 0; i < len; i++)
		count += text[i] == '/' || text[i] == '\\';
	return count;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static uint8_t decoded[8192];
	struct bytes path = bytes_make(bytes, len);
	struct bytes rest;
	uint64_t id;
	size_t decoded_len, start = 0;

	if (len > sizeof(decoded) || !urlpath_split_proxy(path, &id, &rest))
		return 0;
	CHECK(id > 0 && rest.ptr + rest.len == bytes + len && urlpath_is_plain(rest));
	decoded_len = decode(rest, decoded);
	CHECK(slashes(decoded, decoded_len) == slashes(rest.ptr, rest.len));
	for (size_t i = 0; i <= decoded_len; i++) {
		size_t n = i - start;

		CHECK(i == decoded_len || (decoded[i] > 0x1f && decoded[i] != 0x7f && decoded[i] != '%'));
		if (i < decoded_len && decoded[i] != '/')
			continue;
		CHECK(!(n == 1 && decoded[start] == '.'));
		CHECK(!(n == 2 && decoded[start] == '.' && decoded[start + 1] == '.'));
		CHECK(n > 0 || i == decoded_len);
		start = i + 1;
	}
	return 0;
}

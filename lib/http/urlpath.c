/* One pass over the octets, segment by segment. */
#include "http/urlpath.h"

/* Digits of an instance's id: it fits 63 bits. */
#define ID_DIGITS_MAX 18

/* RFC 3986 3.3: pchar but for '%'. */
static bool
is_pchar(uint8_t c)
{
	return (c >= '0' && c <= '9') || (bytes_lower(c) >= 'a' && bytes_lower(c) <= 'z') ||
	       (c != '\0' && memchr("-._~!$&'()*+,;=:@", c, 17) != NULL);
}

/* The octet of the escape at the front of *path. False: it is none. */
static bool
take_escape(struct bytes *path, uint8_t *octet)
{
	int high, low;

	if (path->len < 3 || path->ptr[0] != '%')
		return false;
	high = bytes_hex_digit(path->ptr[1]);
	low = bytes_hex_digit(path->ptr[2]);
	if (high < 0 || low < 0)
		return false;
	*octet = (uint8_t)(high << 4 | low);
	bytes_advance(path, 3);
	return true;
}

/* An escape, or the escapes of one character of UTF-8 (RFC 3629 section 4). */
static bool
take_character(struct bytes *path)
{
	uint8_t c, low = 0x80, high = 0xbf;
	int more;

	if (!take_escape(path, &c))
		return false;
	if (c < 0x80)
		return c > 0x1f && c != 0x7f && memchr("./\\%", c, 4) == NULL;
	if (c < 0xc2 || c > 0xf4)
		return false;
	more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
	if (c == 0xe0)
		low = 0xa0;
	else if (c == 0xed)
		high = 0x9f;
	else if (c == 0xf0)
		low = 0x90;
	else if (c == 0xf4)
		high = 0x8f;
	for (; more > 0; more--, low = 0x80, high = 0xbf)
		if (!take_escape(path, &c) || c < low || c > high)
			return false;
	return true;
}

/* "." and "..", also with parameters behind them, which some servers take off first. */
static bool
is_dots(struct bytes segment)
{
	const uint8_t *parameters = memchr(segment.ptr, ';', segment.len);
	size_t n = parameters != NULL ? (size_t)(parameters - segment.ptr) : segment.len;

	return (n == 0 && parameters != NULL) || (n == 1 && segment.ptr[0] == '.') ||
	       (n == 2 && segment.ptr[0] == '.' && segment.ptr[1] == '.');
}

bool
urlpath_is_plain(struct bytes path)
{
	struct bytes segment = bytes_make(path.ptr, 0);

	while (path.len > 0) {
		if (path.ptr[0] == '%') {
			if (!take_character(&path))
				return false;
		} else if (path.ptr[0] == '/') {
			if (segment.len == 0 || is_dots(segment))
				return false;
			bytes_advance(&path, 1);
			segment.ptr = path.ptr;
		} else if (is_pchar(path.ptr[0])) {
			bytes_advance(&path, 1);
		} else {
			return false;
		}
		segment.len = (size_t)(path.ptr - segment.ptr);
	}
	return segment.len == 0 || !is_dots(segment);
}

bool
urlpath_split_proxy(struct bytes path, uint64_t *instance_id, struct bytes *rest)
{
	struct bytes before = BYTES_LITERAL("/inference-instances/");
	struct bytes behind = BYTES_LITERAL("/proxy/");
	uint64_t id = 0;
	size_t digits = 0;

	if (!bytes_starts_with(path, before))
		return false;
	bytes_advance(&path, before.len);
	for (; digits < path.len && path.ptr[digits] >= '0' && path.ptr[digits] <= '9'; digits++)
		if (digits < ID_DIGITS_MAX)
			id = id * 10 + (uint64_t)(path.ptr[digits] - '0');
	if (digits == 0 || digits > ID_DIGITS_MAX || path.ptr[0] == '0')
		return false;
	bytes_advance(&path, digits);
	if (!bytes_starts_with(path, behind))
		return false;
	bytes_advance(&path, behind.len);
	*instance_id = id;
	*rest = path;
	return urlpath_is_plain(path);
}

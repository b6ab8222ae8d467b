/* Recursive descent over a text that is all there; no tree is built. */
#include "json.h"

struct reader {
	struct bytes rest;
	uint32_t depth;
};

static bool read_value(struct reader *r);

static void
skip_space(struct bytes *rest)
{
	while (rest->len && memchr(" \t\r\n", rest->ptr[0], 4))
		bytes_advance(rest, 1);
}

static bool
take(struct bytes *rest, uint8_t c)
{
	if (!rest->len || rest->ptr[0] != c)
		return false;
	bytes_advance(rest, 1);
	return true;
}

static bool
is_hex(uint8_t c)
{
	c = bytes_lower(c);
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static bool
read_escape(struct bytes *rest)
{
	if (!rest->len)
		return false;
	if (rest->ptr[0] != 'u') {
		if (!memchr("\"\\/bfnrt", rest->ptr[0], 8))
			return false;
		bytes_advance(rest, 1);
		return true;
	}
	if (rest->len < 5)
		return false;
	for (size_t i = 1; i < 5; i++)
		if (!is_hex(rest->ptr[i]))
			return false;
	bytes_advance(rest, 5);
	return true;
}

static bool
read_string(struct bytes *rest)
{
	if (!take(rest, '"'))
		return false;
	while (rest->len) {
		uint8_t c = rest->ptr[0];

		bytes_advance(rest, 1);
		if (c == '"')
			return true;
		if (c < 0x20)
			return false;
		if (c == '\\' && !read_escape(rest))
			return false;
	}
	return false;
}

static bool
read_digits(struct bytes *rest)
{
	size_t before = rest->len;

	while (rest->len && rest->ptr[0] >= '0' && rest->ptr[0] <= '9')
		bytes_advance(rest, 1);
	return rest->len != before;
}

static bool
read_number(struct bytes *rest)
{
	take(rest, '-');
	if (!take(rest, '0') && !read_digits(rest))
		return false;
	if (take(rest, '.') && !read_digits(rest))
		return false;
	if (take(rest, 'e') || take(rest, 'E')) {
		if (!take(rest, '+'))
			take(rest, '-');
		return read_digits(rest);
	}
	return true;
}

static bool
read_literal(struct bytes *rest, struct bytes literal)
{
	if (!bytes_starts_with(*rest, literal))
		return false;
	bytes_advance(rest, literal.len);
	return true;
}

static bool
read_nested(struct reader *r, bool is_object)
{
	uint8_t closing = is_object ? '}' : ']';

	bytes_advance(&r->rest, 1);
	skip_space(&r->rest);
	if (take(&r->rest, closing))
		return true;
	if (++r->depth > JSON_DEPTH_MAX)
		return false;
	do {
		skip_space(&r->rest);
		if (is_object) {
			if (!read_string(&r->rest))
				return false;
			skip_space(&r->rest);
			if (!take(&r->rest, ':'))
				return false;
		}
		if (!read_value(r))
			return false;
		skip_space(&r->rest);
	} while (take(&r->rest, ','));
	r->depth--;
	return take(&r->rest, closing);
}

static bool
read_value(struct reader *r)
{
	skip_space(&r->rest);
	if (!r->rest.len)
		return false;
	switch (r->rest.ptr[0]) {
	case '{':
		return read_nested(r, true);
	case '[':
		return read_nested(r, false);
	case '"':
		return read_string(&r->rest);
	case 't':
		return read_literal(&r->rest, BYTES_LITERAL("true"));
	case 'f':
		return read_literal(&r->rest, BYTES_LITERAL("false"));
	case 'n':
		return read_literal(&r->rest, BYTES_LITERAL("null"));
	default:
		return read_number(&r->rest);
	}
}

/* Takes one value off the front; *value is it without the white space before it. */
static bool
take_value(struct bytes *rest, struct bytes *value)
{
	struct reader r;

	skip_space(rest);
	r = (struct reader){ .rest = *rest };
	if (!read_value(&r))
		return false;
	*value = bytes_make(rest->ptr, (size_t)(r.rest.ptr - rest->ptr));
	*rest = r.rest;
	return true;
}

bool
json_whole(struct bytes text, struct bytes *value)
{
	if (!take_value(&text, value))
		return false;
	skip_space(&text);
	return text.len == 0;
}

static struct json_walk
walk_start(struct bytes value, bool is_object)
{
	struct json_walk walk = { .rest = value, .is_object = is_object, .is_first = true };

	walk.wrong = !take(&walk.rest, is_object ? '{' : '[');
	return walk;
}

struct json_walk
json_members(struct bytes value)
{
	return walk_start(value, true);
}

struct json_walk
json_elements(struct bytes value)
{
	return walk_start(value, false);
}

static bool
next_is_fine(struct json_walk *walk)
{
	const uint8_t *from;

	if (!walk->is_first && !take(&walk->rest, ','))
		return false;
	walk->is_first = false;
	if (walk->is_object) {
		skip_space(&walk->rest);
		from = walk->rest.ptr;
		if (!read_string(&walk->rest))
			return false;
		walk->name = bytes_make(from + 1, (size_t)(walk->rest.ptr - from) - 2);
		skip_space(&walk->rest);
		if (!take(&walk->rest, ':'))
			return false;
	}
	return take_value(&walk->rest, &walk->value);
}

bool
json_next(struct json_walk *walk)
{
	if (walk->wrong)
		return false;
	skip_space(&walk->rest);
	if (take(&walk->rest, walk->is_object ? '}' : ']'))
		return false;
	walk->wrong = !next_is_fine(walk);
	return !walk->wrong;
}

bool
json_is_named(const struct json_walk *walk, const char *name)
{
	char said[64];
	size_t len;

	/* The quotes stand around the name. */
	json_text(bytes_make(walk->name.ptr - 1, walk->name.len + 2), said, sizeof(said), &len);
	return strcmp(said, name) == 0;
}

bool
json_member(struct bytes object, const char *name, struct bytes *value)
{
	struct json_walk walk = json_members(object);
	bool found = false;

	while (json_next(&walk))
		if (json_is_named(&walk, name)) {
			*value = walk.value;
			found = true;
		}
	return found;
}

static uint32_t
read_hex4(const uint8_t *at)
{
	uint32_t code = 0;

	for (size_t i = 0; i < 4; i++) {
		uint8_t c = bytes_lower(at[i]);

		code = code << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	return code;
}

/* UTF-8 of one code point; a lone surrogate becomes U+FFFD. Returns its length. */
static size_t
put_utf8(uint32_t code, uint8_t *to)
{
	if (code >= 0xd800 && code < 0xe000)
		code = 0xfffd;
	if (code < 0x80) {
		to[0] = (uint8_t)code;
		return 1;
	}
	if (code < 0x800) {
		to[0] = (uint8_t)(0xc0 | code >> 6);
		to[1] = (uint8_t)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		to[0] = (uint8_t)(0xe0 | code >> 12);
		to[1] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
		to[2] = (uint8_t)(0x80 | (code & 0x3f));
		return 3;
	}
	to[0] = (uint8_t)(0xf0 | code >> 18);
	to[1] = (uint8_t)(0x80 | (code >> 12 & 0x3f));
	to[2] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
	to[3] = (uint8_t)(0x80 | (code & 0x3f));
	return 4;
}

/* One escape behind its backslash, in a string known to be well formed. */
static size_t
undo_escape(struct bytes *rest, uint8_t *to)
{
	static const char plain[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	uint8_t c = rest->ptr[0];
	uint32_t code, low;

	bytes_advance(rest, 1);
	if (c != 'u') {
		to[0] = (uint8_t)meant[strchr(plain, c) - plain];
		return 1;
	}
	code = read_hex4(rest->ptr);
	bytes_advance(rest, 4);
	if (code >= 0xd800 && code < 0xdc00 && rest->len >= 6 && rest->ptr[0] == '\\' &&
	    rest->ptr[1] == 'u') {
		low = read_hex4(rest->ptr + 2);
		if (low >= 0xdc00 && low < 0xe000) {
			bytes_advance(rest, 6);
			code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
		}
	}
	return put_utf8(code, to);
}

bool
json_text(struct bytes value, char *out, size_t out_size, size_t *len)
{
	size_t used = 0;

	if (value.len < 2 || value.ptr[0] != '"')
		return false;
	value = bytes_make(value.ptr + 1, value.len - 2);
	while (value.len && used + 4 < out_size) {
		uint8_t c = value.ptr[0];

		bytes_advance(&value, 1);
		if (c == '\\')
			used += undo_escape(&value, (uint8_t *)out + used);
		else
			out[used++] = (char)c;
	}
	out[used] = 0;
	*len = used;
	return true;
}

bool
json_is(struct bytes value, const char *literal)
{
	return bytes_equal(value, bytes_from_text(literal));
}

bool
json_number(struct bytes value, uint64_t *number)
{
	uint64_t sum = 0;

	if (!value.len || value.len > 18)
		return false;
	for (size_t i = 0; i < value.len; i++) {
		if (value.ptr[i] < '0' || value.ptr[i] > '9')
			return false;
		sum = sum * 10 + (uint64_t)(value.ptr[i] - '0');
	}
	*number = sum;
	return true;
}

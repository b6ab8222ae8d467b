/* Head and chunks, RFC 9112; whatever is ambiguous is wrong. */
#include "request.h"

#include <string.h>

static bool
is_token_char(uint8_t c)
{
	return (c >= '0' && c <= '9') || (bytes_lower(c) >= 'a' && bytes_lower(c) <= 'z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool
is_token(struct bytes text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!is_token_char(text.ptr[i]))
			return false;
	return text.len != 0;
}

/* Takes up to the separator, which goes too. */
static bool
take_until(struct bytes *rest, const char *separator, struct bytes *part)
{
	size_t len = strlen(separator);
	const uint8_t *at = rest->len ? memmem(rest->ptr, rest->len, separator, len) : NULL;

	if (!at)
		return false;
	*part = bytes_make(rest->ptr, (size_t)(at - rest->ptr));
	bytes_advance(rest, part->len + len);
	return true;
}

static bool
copy(char *to, size_t to_size, struct bytes from)
{
	if (from.len >= to_size)
		return false;
	memcpy(to, from.ptr, from.len);
	to[from.len] = 0;
	return true;
}

static struct bytes
trim(struct bytes text)
{
	while (text.len && (text.ptr[0] == ' ' || text.ptr[0] == '\t'))
		bytes_advance(&text, 1);
	while (text.len && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t'))
		text.len--;
	return text;
}

size_t
request_head_len(struct bytes input)
{
	const uint8_t *end = input.len ? memmem(input.ptr, input.len, "\r\n\r\n", 4) : NULL;

	return end ? (size_t)(end - input.ptr) + 4 : 0;
}

bool
request_next_field(struct bytes *rest, struct bytes *name, struct bytes *value)
{
	struct bytes line;

	if (!take_until(rest, "\r\n", &line) || line.len == 0)
		return false;
	if (!take_until(&line, ":", name)) {
		*name = line;
		*value = BYTES_NONE;
		return true;
	}
	*value = trim(line);
	return true;
}

static const char *
parse_line(struct request *request, struct bytes line)
{
	struct bytes part;

	if (!take_until(&line, " ", &part) || !is_token(part) ||
	    !copy(request->method, sizeof(request->method), part))
		return "method";
	if (!take_until(&line, " ", &part) || part.len == 0 || part.ptr[0] != '/' ||
	    !copy(request->path, sizeof(request->path), part))
		return "target";
	for (size_t i = 0; i < part.len; i++)
		if (part.ptr[i] <= ' ' || part.ptr[i] >= 0x7f)
			return "target";
	return bytes_equal(line, BYTES_LITERAL("HTTP/1.1")) ? NULL : "version";
}

static bool
parse_length(struct bytes value, uint64_t *length)
{
	*length = 0;
	if (value.len == 0 || value.len > 15)
		return false;
	for (size_t i = 0; i < value.len; i++) {
		if (value.ptr[i] < '0' || value.ptr[i] > '9')
			return false;
		*length = *length * 10 + (uint64_t)(value.ptr[i] - '0');
	}
	return true;
}

static const char *
parse_field(struct request *request, struct bytes name, struct bytes value, uint32_t *hosts)
{
	if (!is_token(name))
		return "field name";
	for (size_t i = 0; i < value.len; i++)
		if ((value.ptr[i] < ' ' && value.ptr[i] != '\t') || value.ptr[i] == 0x7f)
			return "field value";
	if (bytes_equal_nocase(name, BYTES_LITERAL("host"))) {
		*hosts += 1;
	} else if (bytes_equal_nocase(name, BYTES_LITERAL("content-length"))) {
		if (request->has_length || !parse_length(value, &request->length))
			return "content-length";
		request->has_length = true;
	} else if (bytes_equal_nocase(name, BYTES_LITERAL("transfer-encoding"))) {
		if (request->is_chunked || !bytes_equal_nocase(value, BYTES_LITERAL("chunked")))
			return "transfer-encoding";
		request->is_chunked = true;
	} else if (bytes_equal_nocase(name, BYTES_LITERAL("connection"))) {
		if (bytes_equal_nocase(value, BYTES_LITERAL("close")))
			request->keeps_alive = false;
	} else if (bytes_equal_nocase(name, BYTES_LITERAL("expect"))) {
		request->expects_continue = true;
	} else if (bytes_equal_nocase(name, BYTES_LITERAL("x-request-id"))) {
		if (!copy(request->id, sizeof(request->id), value))
			return "x-request-id";
	} else if (bytes_equal_nocase(name, BYTES_LITERAL("content-type"))) {
		request->content_type = value;
	} else if (bytes_equal_nocase(name, BYTES_LITERAL("x-sim-script"))) {
		request->script = value;
		request->has_script = true;
	}
	return NULL;
}

const char *
request_parse(struct request *request, struct bytes head)
{
	struct bytes line, name, value;
	const char *wrong;
	uint32_t hosts = 0;

	*request = (struct request){ .keeps_alive = true };
	if (memchr(head.ptr, 0, head.len) || !take_until(&head, "\r\n", &line))
		return "request line";
	wrong = parse_line(request, line);
	while (!wrong && request_next_field(&head, &name, &value))
		wrong = parse_field(request, name, value, &hosts);
	if (wrong)
		return wrong;
	if (hosts != 1)
		return "host";
	if (request->is_chunked && request->has_length)
		return "content-length and transfer-encoding";
	return NULL;
}

static bool
parse_chunk_size(struct bytes line, uint64_t *size)
{
	*size = 0;
	if (line.len == 0 || line.len > 8)
		return false;
	for (size_t i = 0; i < line.len; i++) {
		uint8_t c = bytes_lower(line.ptr[i]);

		if (c >= '0' && c <= '9')
			*size = *size << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			*size = *size << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	return true;
}

/* A line of the framing; waits (true, *line empty, *is_there false) until it is whole. */
static bool
take_line(struct buffer *input, struct bytes *line, bool *is_there)
{
	struct bytes rest = buffer_bytes(input);

	*is_there = take_until(&rest, "\r\n", line);
	return *is_there || rest.len < 256;
}

static bool
take_framing(struct request_chunks *chunks, struct buffer *input, bool *is_there)
{
	struct bytes line;

	if (!take_line(input, &line, is_there))
		return false;
	if (!*is_there)
		return true;
	if (chunks->at == CHUNK_SIZE) {
		if (!parse_chunk_size(line, &chunks->left))
			return false;
		chunks->at = chunks->left ? CHUNK_BODY : CHUNK_TRAILER;
	} else if (chunks->at == CHUNK_END) {
		if (line.len)
			return false;
		chunks->at = CHUNK_SIZE;
	} else {
		/* A router forwards no trailer, so one is wrong. */
		if (line.len)
			return false;
		chunks->at = CHUNK_DONE;
	}
	buffer_drop(input, line.len + 2);
	return true;
}

bool
request_take_chunks(struct request_chunks *chunks, struct buffer *input, struct buffer *body)
{
	bool is_there = true;

	while (chunks->at != CHUNK_DONE && is_there) {
		if (chunks->at == CHUNK_BODY) {
			size_t len = input->len < chunks->left ? input->len : (size_t)chunks->left;

			if (!buffer_add(body, bytes_make(input->ptr + input->start, len)))
				return false;
			buffer_drop(input, len);
			chunks->left -= len;
			is_there = len != 0;
			if (chunks->left == 0)
				chunks->at = CHUNK_END;
		} else if (!take_framing(chunks, input, &is_there)) {
			return false;
		}
	}
	return true;
}

/* Bodies octet by octet where they are framing, in runs where they are payload (RFC 9112 6 and 7). */
#include "http/h1.h"

#include "base/check.h"
#include "http/h1_octet.h"

/* Hex digits of a chunk size: 2^60 at most, so that no sum wraps. */
#define CHUNK_DIGITS_MAX 15
#define TRAILER_BYTES_MAX 8192

enum chunk_state {
	CHUNK_SIZE,      /* before or in the digits */
	EXTENSION_START, /* behind a semicolon */
	EXTENSION_NAME,
	EXTENSION_VALUE_START, /* behind the equals sign */
	EXTENSION_VALUE,
	EXTENSION_QUOTED,
	EXTENSION_ESCAPE, /* behind a backslash in quotes */
	EXTENSION_END,    /* behind the closing quote */
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	TRAILER_START, /* of a line */
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	TRAILER_END_LF, /* of the empty line */
};

void
h1_body_init(struct h1_body *body, const struct h1_head *head)
{
	*body = (struct h1_body){ .framing = head->framing, .state = CHUNK_SIZE };
	if (head->framing == H1_BODY_LENGTH)
		body->left_bytes = head->content_length;
	body->done = head->framing == H1_BODY_NONE ||
		     (head->framing == H1_BODY_LENGTH && head->content_length == 0);
}

static enum err
size_octet(struct h1_body *body, uint8_t c)
{
	int digit = bytes_hex_digit(c);

	if (digit >= 0) {
		if (body->digits == CHUNK_DIGITS_MAX)
			return ERR_HTTP_BAD_CHUNK;
		body->digits++;
		body->left_bytes = body->left_bytes << 4 | (uint64_t)digit;
		return ERR_OK;
	}
	if (body->digits == 0)
		return ERR_HTTP_BAD_CHUNK;
	if (c == '\r')
		body->state = CHUNK_SIZE_LF;
	else if (c == ';')
		body->state = EXTENSION_START;
	else
		return ERR_HTTP_BAD_CHUNK;
	return ERR_OK;
}

/* Between extensions, or at the end of the line. */
static enum err
extension_ends(struct h1_body *body, uint8_t c)
{
	if (c != ';' && c != '\r')
		return ERR_HTTP_BAD_CHUNK;
	body->state = c == ';' ? EXTENSION_START : CHUNK_SIZE_LF;
	return ERR_OK;
}

/*
 * RFC 9112 7.1.1: ";" token [ "=" ( token / quoted-string ) ]. Nobody here reads them; but what is no
 * extension may be the line's end to another parser. White space around the signs is refused ("bad").
 */
static enum err
extension_octet(struct h1_body *body, uint8_t c)
{
	uint8_t next = body->state;

	if (c != '\r' && ++body->extension_bytes > H1_CHUNK_EXTENSION_BYTES_MAX)
		return ERR_HTTP_BAD_CHUNK;
	switch ((enum chunk_state)body->state) {
	case EXTENSION_NAME:
		if (c == '=')
			next = EXTENSION_VALUE_START;
		else if (!h1_octet_is_tchar(c))
			return extension_ends(body, c);
		break;
	case EXTENSION_VALUE:
		if (!h1_octet_is_tchar(c))
			return extension_ends(body, c);
		break;
	case EXTENSION_QUOTED:
		if (c == '"')
			next = EXTENSION_END;
		else if (c == '\\')
			next = EXTENSION_ESCAPE;
		else if (!h1_octet_is_value(c))
			return ERR_HTTP_BAD_CHUNK;
		break;
	case EXTENSION_ESCAPE:
		if (!h1_octet_is_value(c))
			return ERR_HTTP_BAD_CHUNK;
		next = EXTENSION_QUOTED;
		break;
	case EXTENSION_END:
		return extension_ends(body, c);
	case EXTENSION_VALUE_START:
		if (c == '"')
			next = EXTENSION_QUOTED;
		else if (h1_octet_is_tchar(c))
			next = EXTENSION_VALUE;
		else
			return ERR_HTTP_BAD_CHUNK;
		break;
	default: /* EXTENSION_START */
		if (!h1_octet_is_tchar(c))
			return ERR_HTTP_BAD_CHUNK;
		next = EXTENSION_NAME;
		break;
	}
	body->state = next;
	return ERR_OK;
}

/* A trailer's name is complete. Its value is dropped, but a name that would frame this message or end the
 * connection is a trap for who does not drop it (RFC 9110 6.5.1). */
static enum err
trailer_named(struct h1_body *body)
{
	struct bytes name = bytes_make(body->name, body->name_len);

	if (body->name_len <= H1_TRAILER_NAME_BYTES &&
	    (bytes_equal_nocase(name, BYTES_LITERAL("content-length")) ||
	     bytes_equal_nocase(name, BYTES_LITERAL("transfer-encoding")) ||
	     bytes_equal_nocase(name, BYTES_LITERAL("connection"))))
		return ERR_HTTP_BAD_CHUNK;
	body->state = TRAILER_VALUE;
	return ERR_OK;
}

/* Field lines by the grammar of heads, as far as one octet at a time can tell: and that is all of it. */
static enum err
trailer_octet(struct h1_body *body, uint8_t c)
{
	if (++body->trailer_bytes > TRAILER_BYTES_MAX)
		return ERR_HTTP_BAD_CHUNK;
	if (body->state == TRAILER_VALUE) {
		if (c == '\r')
			body->state = TRAILER_LF;
		else if (!h1_octet_is_value(c))
			return ERR_HTTP_BAD_CHUNK;
		return ERR_OK;
	}
	if (body->state == TRAILER_START) {
		body->name_len = 0;
		if (c == '\r') {
			body->state = TRAILER_END_LF;
			return ERR_OK;
		}
		body->state = TRAILER_NAME;
	} else if (c == ':') {
		return trailer_named(body);
	}
	if (!h1_octet_is_tchar(c))
		return ERR_HTTP_BAD_CHUNK;
	if (body->name_len < H1_TRAILER_NAME_BYTES)
		body->name[body->name_len] = c;
	if (body->name_len <= H1_TRAILER_NAME_BYTES)
		body->name_len++;
	return ERR_OK;
}

/* The octet must be this one. */
static enum err
expect(struct h1_body *body, uint8_t c, uint8_t wanted, enum chunk_state next)
{
	if (c != wanted)
		return ERR_HTTP_BAD_CHUNK;
	body->state = (uint8_t)next;
	return ERR_OK;
}

static enum err
framing_octet(struct h1_body *body, uint8_t c)
{
	enum err verdict;

	switch ((enum chunk_state)body->state) {
	case CHUNK_SIZE:
		return size_octet(body, c);
	case EXTENSION_START:
	case EXTENSION_NAME:
	case EXTENSION_VALUE_START:
	case EXTENSION_VALUE:
	case EXTENSION_QUOTED:
	case EXTENSION_ESCAPE:
	case EXTENSION_END:
		return extension_octet(body, c);
	case CHUNK_SIZE_LF:
		return expect(body, c, '\n', body->left_bytes > 0 ? CHUNK_DATA : TRAILER_START);
	case CHUNK_DATA_CR:
		return expect(body, c, '\r', CHUNK_DATA_LF);
	case CHUNK_DATA_LF:
		body->digits = 0;
		return expect(body, c, '\n', CHUNK_SIZE);
	case TRAILER_START:
	case TRAILER_NAME:
	case TRAILER_VALUE:
		return trailer_octet(body, c);
	case TRAILER_LF:
		return expect(body, c, '\n', TRAILER_START);
	case TRAILER_END_LF:
		verdict = expect(body, c, '\n', TRAILER_END_LF);
		body->done = verdict == ERR_OK;
		return verdict;
	case CHUNK_DATA:
		break;
	}
	CHECK(false);
	return ERR_HTTP_BAD_CHUNK;
}

/* A run of payload out of *input, as long as the framing allows. */
static void
take_run(struct h1_body *body, struct bytes *input, struct bytes *payload)
{
	size_t n = input->len < body->left_bytes ? input->len : (size_t)body->left_bytes;

	*payload = bytes_make(input->ptr, n);
	bytes_advance(input, n);
	body->left_bytes -= n;
}

static enum err
feed_chunked(struct h1_body *body, struct bytes *input, struct bytes *payload)
{
	while (input->len > 0 && !body->done) {
		enum err verdict;

		if (body->state == CHUNK_DATA) {
			take_run(body, input, payload);
			if (body->left_bytes == 0)
				body->state = CHUNK_DATA_CR;
			return ERR_OK;
		}
		verdict = framing_octet(body, input->ptr[0]);
		if (verdict != ERR_OK)
			return verdict;
		bytes_advance(input, 1);
	}
	return body->done ? ERR_OK : ERR_MORE;
}

enum err
h1_body_feed(struct h1_body *body, struct bytes *input, struct bytes *payload)
{
	*payload = BYTES_NONE;
	if (body->done)
		return ERR_OK;
	if (body->framing == H1_BODY_CHUNKED)
		return feed_chunked(body, input, payload);
	if (input->len == 0)
		return ERR_MORE;
	if (body->framing == H1_BODY_UNTIL_CLOSE) {
		*payload = *input;
		bytes_advance(input, input->len);
		return ERR_OK;
	}
	take_run(body, input, payload);
	body->done = body->left_bytes == 0;
	return ERR_OK;
}

bool
h1_body_can_end(const struct h1_body *body)
{
	return body->done || body->framing == H1_BODY_UNTIL_CLOSE;
}

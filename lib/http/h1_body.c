/* Bodies octet by octet where they are framing, in runs where they are payload (RFC 9112 6 and 7). */
#include "http/h1.h"

#include "base/check.h"

/* Hex digits of a chunk size: 2^60 at most, so that no sum wraps. */
#define CHUNK_DIGITS_MAX 15
#define TRAILER_BYTES_MAX 8192

enum chunk_state {
	CHUNK_SIZE,      /* before or in the digits */
	CHUNK_EXTENSION, /* behind them, up to CR */
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	TRAILER_START, /* of a line */
	TRAILER_LINE,
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

static int
hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = bytes_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum err
size_octet(struct h1_body *body, uint8_t c)
{
	int digit = hex_digit(c);

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
		body->state = CHUNK_EXTENSION;
	else
		return ERR_HTTP_BAD_CHUNK;
	return ERR_OK;
}

static enum err
extension_octet(struct h1_body *body, uint8_t c)
{
	if (c == '\r') {
		body->state = CHUNK_SIZE_LF;
		return ERR_OK;
	}
	if ((c < 0x20 && c != '\t') || c >= 0x7f ||
	    ++body->extension_bytes > H1_CHUNK_EXTENSION_BYTES_MAX)
		return ERR_HTTP_BAD_CHUNK;
	return ERR_OK;
}

static enum err
trailer_octet(struct h1_body *body, uint8_t c)
{
	if (++body->trailer_bytes > TRAILER_BYTES_MAX)
		return ERR_HTTP_BAD_CHUNK;
	if (c == '\r') {
		body->state = body->state == TRAILER_START ? TRAILER_END_LF : TRAILER_LF;
		return ERR_OK;
	}
	/* Dropped unread, but nothing that could end a line elsewhere. */
	if ((c < 0x20 && c != '\t') || c >= 0x7f)
		return ERR_HTTP_BAD_CHUNK;
	body->state = TRAILER_LINE;
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
	case CHUNK_EXTENSION:
		return extension_octet(body, c);
	case CHUNK_SIZE_LF:
		return expect(body, c, '\n', body->left_bytes > 0 ? CHUNK_DATA : TRAILER_START);
	case CHUNK_DATA_CR:
		return expect(body, c, '\r', CHUNK_DATA_LF);
	case CHUNK_DATA_LF:
		body->digits = 0;
		return expect(body, c, '\n', CHUNK_SIZE);
	case TRAILER_START:
	case TRAILER_LINE:
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

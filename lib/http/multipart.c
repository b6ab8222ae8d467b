/*
 * Octet by octet but for the values of parts, which are searched for the CR that a delimiter begins with. A
 * CR stands nowhere else in a delimiter, so a match that fails can only begin anew at the octet it failed at.
 */
#include "http/multipart.h"

#include "base/check.h"
#include "base/units.h"

enum multipart_state {
	AT_FIRST,      /* in the first delimiter, which has no line end before it */
	BEHIND,        /* a delimiter was matched: CR of its line, or the first of two dashes */
	BEHIND_LF,
	BEHIND_DASH,
	IN_HEADER,     /* of a part, up to CR */
	HEADER_LF,
	IN_VALUE,
	AT_CLOSE,      /* behind the close delimiter: nothing, or one line end */
	AT_CLOSE_LF,
	AT_END,
};

static const char *const names[MULTIPART_READ_COUNT] = {
	[MULTIPART_MODEL] = "model",
	[MULTIPART_STREAM] = "stream",
	[MULTIPART_FILE] = "file",
};

const char *
multipart_part_name(enum multipart_part part)
{
	CHECK(part < MULTIPART_READ_COUNT);
	return names[part];
}

/* --- parameters (RFC 9110 5.6.6, RFC 2045 5.1) --------------------------------------------- */

static bool
is_token_octet(uint8_t c)
{
	return c > 0x20 && c < 0x7f && memchr("()<>@,;:\\\"/[]?={}", c, 17) == NULL;
}

static void
skip_blanks(struct bytes *text)
{
	while (text->len > 0 && (text->ptr[0] == ' ' || text->ptr[0] == '\t'))
		bytes_advance(text, 1);
}

static struct bytes
take_token(struct bytes *text)
{
	struct bytes token = bytes_make(text->ptr, 0);

	while (text->len > 0 && is_token_octet(text->ptr[0])) {
		token.len++;
		bytes_advance(text, 1);
	}
	return token;
}

/* What stands between quotes, escapes as they are. False: the string does not end. */
static bool
take_quoted(struct bytes *text, struct bytes *inside)
{
	bytes_advance(text, 1);
	*inside = bytes_make(text->ptr, 0);
	while (text->len > 0 && text->ptr[0] != '"') {
		size_t n = text->ptr[0] == '\\' ? 2 : 1;

		if (n > text->len)
			return false;
		inside->len += n;
		bytes_advance(text, n);
	}
	if (text->len == 0)
		return false;
	bytes_advance(text, 1);
	return true;
}

/* The next `; name=value`. ERR_MORE: there is none. Browsers and curl escape a quote in a file's name, so
 * escapes are understood there; whoever reads a value refuses those in it. */
static enum err
take_parameter(struct bytes *text, struct bytes *name, struct bytes *value)
{
	skip_blanks(text);
	if (text->len == 0)
		return ERR_MORE;
	if (text->ptr[0] != ';')
		return ERR_MULTIPART_BAD_HEADER;
	bytes_advance(text, 1);
	skip_blanks(text);
	*name = take_token(text);
	if (name->len == 0 || text->len < 2 || text->ptr[0] != '=')
		return ERR_MULTIPART_BAD_HEADER;
	bytes_advance(text, 1);
	if (text->ptr[0] == '"')
		return take_quoted(text, value) ? ERR_OK : ERR_MULTIPART_BAD_HEADER;
	*value = take_token(text);
	return value->len > 0 ? ERR_OK : ERR_MULTIPART_BAD_HEADER;
}

/* RFC 2046 5.1.1: bchars, no space at the end. */
static bool
is_boundary(struct bytes text)
{
	if (text.len == 0 || text.len > MULTIPART_BOUNDARY_BYTES_MAX || text.ptr[text.len - 1] == ' ')
		return false;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		bool is_alnum = (c >= '0' && c <= '9') || (bytes_lower(c) >= 'a' && bytes_lower(c) <= 'z');

		if (!is_alnum && memchr("'()+_,-./:=? ", c, 13) == NULL)
			return false;
	}
	return true;
}

enum err
multipart_boundary(struct bytes content_type, struct bytes *boundary)
{
	struct bytes type = BYTES_LITERAL("multipart/form-data");
	struct bytes name, value;
	enum err verdict;

	*boundary = BYTES_NONE;
	if (content_type.len < type.len ||
	    !bytes_equal_nocase(bytes_make(content_type.ptr, type.len), type))
		return ERR_MULTIPART_TYPE;
	bytes_advance(&content_type, type.len);
	while ((verdict = take_parameter(&content_type, &name, &value)) == ERR_OK) {
		if (!bytes_equal_nocase(name, BYTES_LITERAL("boundary")))
			continue;
		if (boundary->len > 0 || !is_boundary(value))
			return ERR_MULTIPART_TYPE;
		*boundary = value;
	}
	return verdict == ERR_MORE && boundary->len > 0 ? ERR_OK : ERR_MULTIPART_TYPE;
}

/* --- the headers of a part ------------------------------------------------------------------- */

void
multipart_init(struct multipart *m, struct bytes boundary)
{
	CHECK(boundary.len > 0 && boundary.len <= MULTIPART_BOUNDARY_BYTES_MAX);
	memset(m, 0, offsetof(struct multipart, line));
	m->result.culprit = MULTIPART_OTHER;
	m->part = MULTIPART_OTHER;
	memcpy(m->delimiter, "\r\n--", 4);
	memcpy(m->delimiter + 4, boundary.ptr, boundary.len);
	m->delimiter_len = (uint8_t)(4 + boundary.len);
	m->matched = 2;
	m->state = AT_FIRST;
}

static enum err
blame(struct multipart *m, enum err verdict)
{
	m->result.culprit = (enum multipart_part)m->part;
	return verdict;
}

static enum multipart_part
part_named(struct bytes name)
{
	for (int part = 0; part < MULTIPART_READ_COUNT; part++)
		if (bytes_equal(name, bytes_from_text(names[part])))
			return (enum multipart_part)part;
	return MULTIPART_OTHER;
}

/* form-data; name="model"; filename="…". A name that needs an escape or an encoding is read differently by
 * different parsers: no field that is read has one, and none may pass for one. */
static enum err
read_disposition(struct multipart *m, struct bytes value)
{
	bool has_name = false;
	struct bytes name;
	enum err verdict;

	if (m->has_disposition || !bytes_equal_nocase(take_token(&value), BYTES_LITERAL("form-data")))
		return ERR_MULTIPART_BAD_HEADER;
	m->has_disposition = true;
	for (;;) {
		struct bytes text;

		verdict = take_parameter(&value, &name, &text);
		if (verdict != ERR_OK)
			break;
		if (bytes_equal_nocase(name, BYTES_LITERAL("filename")) ||
		    bytes_equal_nocase(name, BYTES_LITERAL("filename*"))) {
			m->is_file = true;
		} else if (bytes_equal_nocase(name, BYTES_LITERAL("name"))) {
			if (has_name || memchr(text.ptr, '\\', text.len) != NULL)
				return ERR_MULTIPART_BAD_HEADER;
			has_name = true;
			m->part = (uint8_t)part_named(text);
		} else if (bytes_equal_nocase(name, BYTES_LITERAL("name*"))) {
			return ERR_MULTIPART_BAD_HEADER;
		}
	}
	return verdict == ERR_MORE && has_name ? ERR_OK : ERR_MULTIPART_BAD_HEADER;
}

/* Of a part that is read: text/plain in an encoding in which ASCII is ASCII. */
static bool
is_plain_text(struct bytes value)
{
	struct bytes type = BYTES_LITERAL("text/plain");
	struct bytes name, text;
	enum err verdict;

	if (value.len < type.len || !bytes_equal_nocase(bytes_make(value.ptr, type.len), type))
		return false;
	bytes_advance(&value, type.len);
	while ((verdict = take_parameter(&value, &name, &text)) == ERR_OK)
		if (!bytes_equal_nocase(name, BYTES_LITERAL("charset")) ||
		    (!bytes_equal_nocase(text, BYTES_LITERAL("utf-8")) &&
		     !bytes_equal_nocase(text, BYTES_LITERAL("us-ascii"))))
			return false;
	return verdict == ERR_MORE;
}

static enum err
read_length(struct multipart *m, struct bytes value)
{
	if (m->has_length || value.len == 0 || value.len > 18)
		return ERR_MULTIPART_BAD_HEADER;
	m->has_length = true;
	m->length = 0;
	for (size_t i = 0; i < value.len; i++) {
		if (value.ptr[i] < '0' || value.ptr[i] > '9')
			return ERR_MULTIPART_BAD_HEADER;
		m->length = m->length * 10 + (uint64_t)(value.ptr[i] - '0');
	}
	return ERR_OK;
}

/* RFC 7578 4.7 takes transfer encodings away; those that change nothing are still written. */
static bool
is_identity(struct bytes encoding)
{
	return bytes_equal_nocase(encoding, BYTES_LITERAL("binary")) ||
	       bytes_equal_nocase(encoding, BYTES_LITERAL("8bit")) ||
	       bytes_equal_nocase(encoding, BYTES_LITERAL("7bit"));
}

static enum err
read_header(struct multipart *m)
{
	struct bytes value = bytes_make(m->line, m->line_len);
	struct bytes name = take_token(&value);

	/* A line that begins with a blank would continue the one before; its name is empty as well. */
	if (name.len == 0 || value.len == 0 || value.ptr[0] != ':')
		return ERR_MULTIPART_BAD_HEADER;
	bytes_advance(&value, 1);
	skip_blanks(&value);
	while (value.len > 0 && (value.ptr[value.len - 1] == ' ' || value.ptr[value.len - 1] == '\t'))
		value.len--;
	if (bytes_equal_nocase(name, BYTES_LITERAL("content-disposition")))
		return read_disposition(m, value);
	if (bytes_equal_nocase(name, BYTES_LITERAL("content-type")))
		m->is_plain = m->is_plain && is_plain_text(value);
	if (bytes_equal_nocase(name, BYTES_LITERAL("content-length")))
		return read_length(m, value);
	if (bytes_equal_nocase(name, BYTES_LITERAL("content-transfer-encoding")) && !is_identity(value))
		return ERR_MULTIPART_BAD_HEADER;
	return ERR_OK;
}

static enum err
begin_part(struct multipart *m)
{
	if (++m->parts > MULTIPART_PARTS_MAX)
		return ERR_MULTIPART_TOO_LARGE;
	m->part = MULTIPART_OTHER;
	m->has_disposition = false;
	m->has_length = false;
	m->is_file = false;
	m->is_plain = true;
	m->header_bytes = 0;
	m->line_len = 0;
	m->value_len = 0;
	m->state = IN_HEADER;
	return ERR_OK;
}

static enum err
begin_value(struct multipart *m)
{
	if (!m->has_disposition)
		return ERR_MULTIPART_BAD_HEADER;
	m->value_start = m->offset + 1;
	m->matched = 0;
	m->state = IN_VALUE;
	if (m->part == MULTIPART_OTHER)
		return ERR_OK;
	if (m->seen & 1u << m->part)
		return blame(m, ERR_MULTIPART_DUPLICATE);
	m->seen |= (uint8_t)(1u << m->part);
	if (m->part == MULTIPART_FILE)
		m->result.has_file = true;
	else if (m->is_file || !m->is_plain)
		return blame(m, ERR_MULTIPART_BAD_VALUE);
	return ERR_OK;
}

static enum err
header_octet(struct multipart *m, uint8_t c)
{
	if (++m->header_bytes > MULTIPART_HEADER_BYTES_MAX)
		return ERR_MULTIPART_TOO_LARGE;
	if (c == '\r') {
		m->state = HEADER_LF;
		return ERR_OK;
	}
	/* Names of files come in UTF-8 as they are (RFC 7578 5.1). */
	if ((c < 0x20 && c != '\t') || c == 0x7f)
		return ERR_MULTIPART_BAD_HEADER;
	if (m->line_len == MULTIPART_LINE_BYTES_MAX)
		return ERR_MULTIPART_TOO_LARGE;
	m->line[m->line_len++] = c;
	return ERR_OK;
}

static enum err
header_complete(struct multipart *m, uint8_t c)
{
	enum err verdict;

	if (c != '\n')
		return ERR_MULTIPART_BAD_HEADER;
	m->header_bytes++;
	if (m->line_len == 0)
		return begin_value(m);
	verdict = read_header(m);
	m->line_len = 0;
	m->state = IN_HEADER;
	return verdict;
}

/* --- values -------------------------------------------------------------------------------------- */

static enum err
keep_value(struct multipart *m, struct bytes piece)
{
	if (m->part == MULTIPART_FILE)
		m->result.file_bytes += piece.len;
	if (m->part >= MULTIPART_FILE)
		return ERR_OK;
	if (piece.len > sizeof(m->value) - m->value_len)
		return blame(m, ERR_MULTIPART_BAD_VALUE);
	memcpy(m->value + m->value_len, piece.ptr, piece.len);
	m->value_len = (uint16_t)(m->value_len + piece.len);
	return ERR_OK;
}

static enum err
value_complete(struct multipart *m)
{
	struct bytes value = bytes_make(m->value, m->value_len);
	uint64_t end = m->offset + 1 - m->delimiter_len;

	m->state = BEHIND;
	if (m->has_length && m->length != end - m->value_start)
		return blame(m, ERR_MULTIPART_BAD_HEADER);
	if (m->part == MULTIPART_MODEL) {
		for (size_t i = 0; i < value.len; i++)
			if (value.ptr[i] < 0x20 || value.ptr[i] == 0x7f)
				return blame(m, ERR_MULTIPART_BAD_VALUE);
		if (value.len == 0)
			return blame(m, ERR_MULTIPART_BAD_VALUE);
		memcpy(m->result.model, value.ptr, value.len);
		m->result.model_len = (uint32_t)value.len;
		m->result.model_start = m->value_start;
		m->result.model_end = end;
		m->result.has_model = true;
	} else if (m->part == MULTIPART_STREAM) {
		m->result.streams = bytes_equal_nocase(value, BYTES_LITERAL("true"));
		if (!m->result.streams && !bytes_equal_nocase(value, BYTES_LITERAL("false")))
			return blame(m, ERR_MULTIPART_BAD_VALUE);
	}
	return ERR_OK;
}

/* What was taken for a delimiter belongs to the value. */
static enum err
unmatch(struct multipart *m)
{
	uint8_t n = m->matched;

	m->matched = 0;
	return keep_value(m, bytes_make(m->delimiter, n));
}

/* As much of the piece as stands before the next CR; one octet while a delimiter is being matched. */
static enum err
value_run(struct multipart *m, struct bytes *piece)
{
	const uint8_t *cr;
	size_t n = piece->len;
	enum err verdict = ERR_OK;

	if (m->matched > 0 && piece->ptr[0] == m->delimiter[m->matched]) {
		if (++m->matched == m->delimiter_len)
			verdict = value_complete(m);
		bytes_advance(piece, 1);
		m->offset++;
		return verdict;
	}
	if (m->matched > 0) {
		verdict = unmatch(m);
		if (verdict != ERR_OK)
			return verdict;
	}
	cr = memchr(piece->ptr, '\r', piece->len);
	if (cr == piece->ptr) {
		m->matched = 1;
		n = 1;
	} else {
		if (cr != NULL)
			n = (size_t)(cr - piece->ptr);
		verdict = keep_value(m, bytes_make(piece->ptr, n));
	}
	bytes_advance(piece, n);
	m->offset += n;
	return verdict;
}

/* --- the rest -------------------------------------------------------------------------------------- */

static enum err
expect(struct multipart *m, uint8_t c, uint8_t wanted, enum multipart_state next)
{
	if (c != wanted)
		return ERR_MULTIPART_SYNTAX;
	m->state = (uint8_t)next;
	return ERR_OK;
}

static enum err
octet(struct multipart *m, uint8_t c)
{
	switch ((enum multipart_state)m->state) {
	case AT_FIRST:
		if (c != m->delimiter[m->matched])
			return ERR_MULTIPART_SYNTAX;
		if (++m->matched == m->delimiter_len)
			m->state = BEHIND;
		return ERR_OK;
	case BEHIND:
		/* Anything else: a longer boundary than ours, or padding. Some parsers take that for data. */
		return c == '-' && m->parts > 0 ? expect(m, c, '-', BEHIND_DASH) :
						  expect(m, c, '\r', BEHIND_LF);
	case BEHIND_LF:
		return c == '\n' ? begin_part(m) : ERR_MULTIPART_SYNTAX;
	case BEHIND_DASH:
		return expect(m, c, '-', AT_CLOSE);
	case IN_HEADER:
		return header_octet(m, c);
	case HEADER_LF:
		return header_complete(m, c);
	case AT_CLOSE:
		return expect(m, c, '\r', AT_CLOSE_LF);
	case AT_CLOSE_LF:
		return expect(m, c, '\n', AT_END);
	case AT_END:
		return ERR_MULTIPART_SYNTAX;
	case IN_VALUE:
		break;
	}
	CHECK(false);
	return ERR_MULTIPART_SYNTAX;
}

enum err
multipart_feed(struct multipart *m, struct bytes piece)
{
	enum err verdict = (enum err)m->verdict;

	CHECK_STATIC(ERR_COUNT <= UINT8_MAX + 1, "a verdict fits its byte");
	while (verdict == ERR_OK && piece.len > 0) {
		if (m->state == IN_VALUE) {
			verdict = value_run(m, &piece);
			continue;
		}
		verdict = octet(m, piece.ptr[0]);
		bytes_advance(&piece, 1);
		m->offset++;
	}
	m->verdict = (uint8_t)verdict;
	return verdict;
}

enum err
multipart_end(struct multipart *m)
{
	if (m->verdict != ERR_OK)
		return (enum err)m->verdict;
	return m->state == AT_CLOSE || m->state == AT_END ? ERR_OK : ERR_MULTIPART_INCOMPLETE;
}

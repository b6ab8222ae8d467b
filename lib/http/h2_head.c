/* HPACK's fields as lines. An octet that could end a line or a word never reaches the text. */
#include "http/h2_head.h"

#include "base/check.h"
#include "base/units.h"

void
h2_head_init(struct h2_head *head, uint8_t *memory, const struct h1_limits *limits)
{
	*head = (struct h2_head){ .memory = memory, .limits = limits };
}

static void
condemn(struct h2_head *head, enum err verdict)
{
	/* What is malformed is so whatever else is wrong. */
	if (head->verdict == ERR_OK || verdict == ERR_H2_MALFORMED)
		head->verdict = verdict;
}

/* --- octets ---------------------------------------------------------------------- */

/* RFC 9113 8.2.1: a token without upper-case letters. */
static bool
is_name(struct bytes name)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		      (c != 0 && strchr(others, c) != NULL)))
			return false;
	}
	return name.len > 0;
}

static bool
is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

/* RFC 9113 8.2.1: no NUL, LF, CR, and no white space at the ends. */
static bool
is_value(struct bytes value)
{
	for (size_t i = 0; i < value.len; i++)
		if (value.ptr[i] == '\0' || value.ptr[i] == '\n' || value.ptr[i] == '\r')
			return false;
	return value.len == 0 || (!is_blank(value.ptr[0]) && !is_blank(value.ptr[value.len - 1]));
}

/* A word of the first line: nothing that could end it. */
static bool
is_word(struct bytes value)
{
	for (size_t i = 0; i < value.len; i++)
		if (value.ptr[i] <= 0x20 || value.ptr[i] == 0x7f)
			return false;
	return value.len > 0;
}

/* --- text ------------------------------------------------------------------------------- */

static void
put(struct h2_head *head, struct bytes text)
{
	if (text.len > H1_HEAD_BYTES_MAX - head->text_bytes) {
		condemn(head, ERR_HTTP_HEAD_TOO_LARGE);
		return;
	}
	if (text.len > 0)
		memcpy(head->memory + head->text_bytes, text.ptr, text.len);
	head->text_bytes += (uint32_t)text.len;
}

static void
put_field(struct h2_head *head, struct bytes name, struct bytes value)
{
	put(head, name);
	put(head, BYTES_LITERAL(": "));
	put(head, value);
	put(head, BYTES_LITERAL("\r\n"));
}

/* Behind the text, where it stays until the first line can be written. */
static struct bytes
keep(struct h2_head *head, struct bytes value, enum err too_long)
{
	uint32_t at = H1_HEAD_BYTES_MAX + head->kept_bytes;

	if (value.len > H2_HEAD_MEMORY_BYTES - at) {
		condemn(head, too_long);
		return BYTES_NONE;
	}
	memcpy(head->memory + at, value.ptr, value.len);
	head->kept_bytes += (uint32_t)value.len;
	return bytes_make(head->memory + at, value.len);
}

/* What the request line and Host say; pseudo fields come before all others (RFC 9113 8.3). */
static void
write_line(struct h2_head *head)
{
	if (head->line_written)
		return;
	head->line_written = true;
	if (head->method.len == 0 || head->path.len == 0 || !head->has_scheme) {
		condemn(head, ERR_H2_MALFORMED);
		return;
	}
	put(head, head->method);
	put(head, BYTES_LITERAL(" "));
	put(head, head->path);
	put(head, BYTES_LITERAL(" HTTP/1.1\r\n"));
	if (head->authority.len > 0)
		put_field(head, BYTES_LITERAL("host"), head->authority);
}

/* --- fields ------------------------------------------------------------------------------- */

static void
take_word(struct h2_head *head, struct bytes value, struct bytes *into, enum err too_long)
{
	if (into->len > 0 || !is_word(value))
		condemn(head, ERR_H2_MALFORMED);
	else
		*into = keep(head, value, too_long);
}

static void
add_pseudo(struct h2_head *head, struct bytes name, struct bytes value)
{
	if (head->line_written) {
		condemn(head, ERR_H2_MALFORMED);
	} else if (bytes_equal(name, BYTES_LITERAL(":path"))) {
		take_word(head, value, &head->path, ERR_HTTP_LINE_TOO_LONG);
	} else if (bytes_equal(name, BYTES_LITERAL(":method"))) {
		take_word(head, value, &head->method, ERR_HTTP_LINE_TOO_LONG);
	} else if (bytes_equal(name, BYTES_LITERAL(":authority"))) {
		take_word(head, value, &head->authority, ERR_HTTP_HEAD_TOO_LARGE);
		head->fields++; /* it becomes one */
	} else if (bytes_equal(name, BYTES_LITERAL(":scheme"))) {
		if (head->has_scheme || !(bytes_equal(value, BYTES_LITERAL("https")) ||
					  bytes_equal(value, BYTES_LITERAL("http"))))
			condemn(head, ERR_H2_MALFORMED);
		head->has_scheme = true;
	} else {
		condemn(head, ERR_H2_MALFORMED);
	}
}

/* RFC 9113 8.2.2. */
static bool
is_of_the_connection(struct bytes name, struct bytes value)
{
	static const char *const forbidden[] = {
		"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade",
	};

	for (size_t i = 0; i < COUNT_OF(forbidden); i++)
		if (bytes_equal(name, bytes_from_text(forbidden[i])))
			return true;
	return bytes_equal(name, BYTES_LITERAL("te")) && !bytes_equal(value, BYTES_LITERAL("trailers"));
}

static void
add_regular(struct h2_head *head, struct bytes name, struct bytes value)
{
	write_line(head);
	head->fields++;
	if (!is_name(name) || !is_value(value) || is_of_the_connection(name, value)) {
		condemn(head, ERR_H2_MALFORMED);
		return;
	}
	/* RFC 9113 8.3.1: Host repeats :authority or stands for it. */
	if (bytes_equal(name, BYTES_LITERAL("host")) && head->authority.len > 0) {
		if (!bytes_equal_nocase(value, head->authority))
			condemn(head, ERR_H2_MALFORMED);
		return;
	}
	put_field(head, name, value);
}

void
h2_head_add(struct h2_head *head, struct bytes name, struct bytes value)
{
	/* What is too large stays so, and costs no more than being counted. */
	if (head->verdict != ERR_OK)
		return;
	head->list_bytes += (uint32_t)(name.len + value.len + H2_FIELD_OVERHEAD_BYTES);
	if (name.len > 0 && name.ptr[0] == ':')
		add_pseudo(head, name, value);
	else
		add_regular(head, name, value);
	if (head->list_bytes > head->limits->head_bytes)
		condemn(head, ERR_HTTP_HEAD_TOO_LARGE);
	if (head->fields > head->limits->fields)
		condemn(head, ERR_HTTP_TOO_MANY_FIELDS);
}

enum err
h2_head_end(struct h2_head *head, bool end_stream, struct h1_request *request)
{
	struct h1_scan scan = { .limits = head->limits };
	enum err verdict;

	write_line(head);
	put(head, BYTES_LITERAL("\r\n"));
	if (head->verdict != ERR_OK)
		return head->verdict;
	verdict = h1_parse_request(bytes_make(head->memory, head->text_bytes), &scan, request);
	/* The text ends with an empty line and has no other. */
	CHECK(verdict != ERR_MORE);
	if (verdict != ERR_OK)
		return verdict;
	CHECK(request->head.head_bytes == head->text_bytes);
	if (end_stream && request->head.framing == H1_BODY_LENGTH)
		return ERR_H2_MALFORMED;
	if (!end_stream && request->head.framing == H1_BODY_NONE &&
	    h1_find(&request->head, BYTES_LITERAL("content-length")) == NULL)
		request->head.framing = H1_BODY_CHUNKED;
	return ERR_OK;
}

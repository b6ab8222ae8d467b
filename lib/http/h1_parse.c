/*
 * Heads by RFC 9112, the strict reading: each octet is allowed or the message is refused. A head is first
 * found whole (the scan remembers how far), then parsed once.
 */
#include "http/h1.h"

#include "base/check.h"
#include "base/units.h"
#include "http/h1_octet.h"

/* Empty lines that may stand before a request line (RFC 9112 2.2). */
#define EMPTY_LINES_MAX 2

/* --- octets ------------------------------------------------------------------------ */

static bool
is_token(struct bytes text)
{
	if (text.len == 0)
		return false;
	for (size_t i = 0; i < text.len; i++)
		if (!h1_octet_is_tchar(text.ptr[i]))
			return false;
	return true;
}

static struct bytes
trim(struct bytes text)
{
	while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\t'))
		bytes_advance(&text, 1);
	while (text.len > 0 &&
	       (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t'))
		text.len--;
	return text;
}

/* --- finding the end -------------------------------------------------------------------- */

/* Line by line up to the empty one. Bounds are checked here, so that they hold for a head that never
 * ends as well. */
static enum err
find_end(struct bytes input, struct h1_scan *scan, bool is_request, uint32_t *head_bytes)
{
	static const struct h1_limits constants = { H1_HEAD_BYTES_MAX, H1_LINE_BYTES_MAX, H1_FIELD_BYTES_MAX,
						    H1_FIELDS_MAX };
	const struct h1_limits *limits = scan->limits != NULL ? scan->limits : &constants;
	uint32_t limit = input.len < limits->head_bytes ? (uint32_t)input.len : limits->head_bytes;

	while (scan->scanned_bytes < limit) {
		uint8_t c = input.ptr[scan->scanned_bytes++];

		if (c != '\n') {
			/* A line's bound is that of its text: the CR may be one more. */
			uint32_t text_bytes = ++scan->line_bytes - (c == '\r');

			if (scan->line_count == 0 && text_bytes > limits->line_bytes)
				return is_request ? ERR_HTTP_LINE_TOO_LONG : ERR_HTTP_HEAD_TOO_LARGE;
			if (scan->line_count > 0 && text_bytes > limits->field_bytes)
				return ERR_HTTP_HEAD_TOO_LARGE;
			continue;
		}
		if (scan->line_bytes == 0 || input.ptr[scan->scanned_bytes - 2] != '\r')
			return ERR_HTTP_BARE_LF;
		if (scan->line_bytes == 1) {
			*head_bytes = scan->scanned_bytes;
			return ERR_OK;
		}
		scan->line_bytes = 0;
		if (++scan->line_count > limits->fields + 1)
			return ERR_HTTP_TOO_MANY_FIELDS;
	}
	return input.len >= limits->head_bytes ? ERR_HTTP_HEAD_TOO_LARGE : ERR_MORE;
}

/* The next line without its CRLF; the head is known to be whole. */
static struct bytes
take_line(struct bytes *rest)
{
	const uint8_t *end = memchr(rest->ptr, '\n', rest->len);
	struct bytes line;

	CHECK(end != NULL && end > rest->ptr);
	line = bytes_make(rest->ptr, (size_t)(end - rest->ptr) - 1);
	bytes_advance(rest, line.len + 2);
	return line;
}

/* --- fields ------------------------------------------------------------------------------- */

/* Fields that say where a message ends. A tab around their value is white space (RFC 9110 5.6.3) to us and a
 * part of the value to others, who then see another framing. */
static bool
is_framing(struct bytes name)
{
	return bytes_equal_nocase(name, BYTES_LITERAL("content-length")) ||
	       bytes_equal_nocase(name, BYTES_LITERAL("transfer-encoding")) ||
	       bytes_equal_nocase(name, BYTES_LITERAL("connection"));
}

static enum err
parse_field(struct bytes line, struct h1_field *field)
{
	const uint8_t *colon;

	if (line.ptr[0] == ' ' || line.ptr[0] == '\t')
		return ERR_HTTP_FOLDED_FIELD;
	colon = memchr(line.ptr, ':', line.len);
	if (colon == NULL)
		return ERR_HTTP_BAD_FIELD;
	field->name = bytes_make(line.ptr, (size_t)(colon - line.ptr));
	if (!is_token(field->name))
		return ERR_HTTP_BAD_FIELD;
	field->value = bytes_after(line, field->name.len + 1);
	for (size_t i = 0; i < field->value.len; i++)
		if (!h1_octet_is_value(field->value.ptr[i]))
			return ERR_HTTP_BAD_FIELD;
	if (is_framing(field->name) && field->value.len > 0 &&
	    memchr(field->value.ptr, '\t', field->value.len) != NULL)
		return ERR_HTTP_BAD_FIELD;
	field->value = trim(field->value);
	return ERR_OK;
}

static enum err
parse_fields(struct bytes rest, struct h1_head *head)
{
	head->field_count = 0;
	for (;;) {
		struct bytes line = take_line(&rest);
		enum err verdict;

		if (line.len == 0)
			return ERR_OK;
		if (head->field_count == H1_FIELDS_MAX)
			return ERR_HTTP_TOO_MANY_FIELDS;
		verdict = parse_field(line, &head->fields[head->field_count]);
		if (verdict != ERR_OK)
			return verdict;
		head->field_count++;
	}
}

/* 1*DIGIT, at most 2^63 - 1, no leading zero but "0" itself. */
static enum err
parse_length(struct bytes text, uint64_t *length)
{
	uint64_t value = 0;

	if (text.len == 0 || text.len > 19 || (text.len > 1 && text.ptr[0] == '0'))
		return ERR_HTTP_BAD_LENGTH;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return ERR_HTTP_BAD_LENGTH;
		value = value * 10 + (uint64_t)(text.ptr[i] - '0');
	}
	if (value > INT64_MAX)
		return ERR_HTTP_BAD_LENGTH;
	*length = value;
	return ERR_OK;
}

/* Calls back nothing: walks a comma-separated list. False at its end. */
static bool
next_item(struct bytes *list, struct bytes *item)
{
	const uint8_t *comma;

	if (list->ptr == NULL)
		return false;
	comma = memchr(list->ptr, ',', list->len);
	if (comma == NULL) {
		*item = trim(*list);
		*list = BYTES_NONE;
		return true;
	}
	*item = trim(bytes_make(list->ptr, (size_t)(comma - list->ptr)));
	bytes_advance(list, (size_t)(comma - list->ptr) + 1);
	return true;
}

static bool
connection_names(const struct h1_head *head, struct bytes token)
{
	for (uint32_t i = 0; i < head->field_count; i++) {
		struct bytes list = head->fields[i].value;
		struct bytes item;

		if (!bytes_equal_nocase(head->fields[i].name, BYTES_LITERAL("connection")))
			continue;
		while (next_item(&list, &item))
			if (bytes_equal_nocase(item, token))
				return true;
	}
	return false;
}

/* What the framing fields say, and how often: RFC 9112 6.3 without its repairs. */
static enum err
parse_framing_fields(struct h1_head *head, bool *has_length, bool *is_chunked)
{
	*has_length = false;
	*is_chunked = false;
	for (uint32_t i = 0; i < head->field_count; i++) {
		const struct h1_field *field = &head->fields[i];

		if (bytes_equal_nocase(field->name, BYTES_LITERAL("content-length"))) {
			enum err verdict = *has_length ? ERR_HTTP_BAD_LENGTH :
							 parse_length(field->value, &head->content_length);

			if (verdict != ERR_OK)
				return verdict;
			*has_length = true;
		} else if (bytes_equal_nocase(field->name, BYTES_LITERAL("transfer-encoding"))) {
			if (*is_chunked || head->minor_version == 0)
				return ERR_HTTP_AMBIGUOUS_FRAMING;
			if (!bytes_equal_nocase(field->value, BYTES_LITERAL("chunked")))
				return ERR_HTTP_UNKNOWN_CODING;
			*is_chunked = true;
		}
	}
	return *has_length && *is_chunked ? ERR_HTTP_AMBIGUOUS_FRAMING : ERR_OK;
}

static void
set_keep_alive(struct h1_head *head)
{
	if (head->minor_version == 0)
		head->keep_alive = connection_names(head, BYTES_LITERAL("keep-alive")) &&
				   !connection_names(head, BYTES_LITERAL("close"));
	else
		head->keep_alive = !connection_names(head, BYTES_LITERAL("close"));
}

/* "HTTP/1.x" */
static enum err
parse_version(struct bytes text, uint8_t *minor)
{
	if (text.len != 8 || !bytes_starts_with(text, BYTES_LITERAL("HTTP/")) ||
	    text.ptr[5] < '0' || text.ptr[5] > '9' || text.ptr[6] != '.' || text.ptr[7] < '0' ||
	    text.ptr[7] > '9')
		return ERR_HTTP_BAD_START_LINE;
	if (text.ptr[5] != '1' || text.ptr[7] > '1')
		return ERR_HTTP_VERSION;
	*minor = (uint8_t)(text.ptr[7] - '0');
	return ERR_OK;
}

/* --- requests ------------------------------------------------------------------------------ */

static enum h1_method
method_of(struct bytes text)
{
	static const struct {
		const char *text;
		enum h1_method method;
	} known[] = {
		{ "GET", H1_GET },	 { "HEAD", H1_HEAD },	    { "POST", H1_POST },
		{ "PUT", H1_PUT },	 { "DELETE", H1_DELETE },   { "PATCH", H1_PATCH },
		{ "OPTIONS", H1_OPTIONS }, { "CONNECT", H1_CONNECT }, { "TRACE", H1_TRACE },
	};

	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (bytes_equal(text, bytes_from_text(known[i].text)))
			return known[i].method;
	return H1_METHOD_OTHER;
}

/* Origin-form, or '*' for OPTIONS. Nothing is decoded; what could mean two things is refused. */
static enum err
parse_target(struct h1_request *request)
{
	struct bytes target = request->target;
	const uint8_t *mark;

	if (target.len == 0)
		return ERR_HTTP_BAD_TARGET;
	for (size_t i = 0; i < target.len; i++)
		if (target.ptr[i] <= 0x20 || target.ptr[i] >= 0x7f || target.ptr[i] == '#')
			return ERR_HTTP_BAD_TARGET;
	if (target.ptr[0] != '/' &&
	    !(request->method == H1_OPTIONS && bytes_equal(target, BYTES_LITERAL("*"))))
		return ERR_HTTP_BAD_TARGET;
	mark = memchr(target.ptr, '?', target.len);
	request->path = target;
	request->query = BYTES_NONE;
	if (mark != NULL) {
		request->path.len = (size_t)(mark - target.ptr);
		request->query = bytes_after(target, request->path.len + 1);
	}
	return ERR_OK;
}

static enum err
parse_request_line(struct bytes line, struct h1_request *request)
{
	const uint8_t *space = memchr(line.ptr, ' ', line.len);
	struct bytes rest;
	enum err verdict;

	if (space == NULL)
		return ERR_HTTP_BAD_START_LINE;
	request->method_text = bytes_make(line.ptr, (size_t)(space - line.ptr));
	if (!is_token(request->method_text))
		return ERR_HTTP_BAD_START_LINE;
	/* Reserved for the preface of HTTP/2 (RFC 9113 3.4), which is not spoken in this form. */
	if (bytes_equal(request->method_text, BYTES_LITERAL("PRI")))
		return ERR_HTTP_BAD_START_LINE;
	request->method = method_of(request->method_text);
	rest = bytes_after(line, request->method_text.len + 1);
	space = memchr(rest.ptr, ' ', rest.len);
	if (space == NULL)
		return ERR_HTTP_BAD_START_LINE;
	request->target = bytes_make(rest.ptr, (size_t)(space - rest.ptr));
	verdict = parse_version(bytes_after(rest, request->target.len + 1),
				&request->head.minor_version);
	if (verdict != ERR_OK)
		return verdict;
	return parse_target(request);
}

/* uri-host [":" port] (RFC 9110 7.2), by its alphabet: no user, no path, no list. */
static bool
is_host(struct bytes text)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = bytes_lower(text.ptr[i]);

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
		      c == '_' || c == ':' || c == '[' || c == ']'))
			return false;
	}
	return text.len > 0;
}

static enum err
parse_host(struct h1_request *request)
{
	uint32_t count = 0;

	request->host = BYTES_NONE;
	for (uint32_t i = 0; i < request->head.field_count; i++) {
		const struct h1_field *field = &request->head.fields[i];

		if (!bytes_equal_nocase(field->name, BYTES_LITERAL("host")))
			continue;
		request->host = field->value;
		if (++count > 1 || !is_host(field->value))
			return ERR_HTTP_BAD_HOST;
	}
	return count == 0 && request->head.minor_version >= 1 ? ERR_HTTP_BAD_HOST : ERR_OK;
}

static enum err
parse_expect(struct h1_request *request)
{
	request->expect_continue = false;
	if (request->head.minor_version == 0)
		return ERR_OK;
	for (uint32_t i = 0; i < request->head.field_count; i++) {
		const struct h1_field *field = &request->head.fields[i];

		if (!bytes_equal_nocase(field->name, BYTES_LITERAL("expect")))
			continue;
		if (!bytes_equal_nocase(field->value, BYTES_LITERAL("100-continue")))
			return ERR_HTTP_EXPECTATION;
		request->expect_continue = true;
	}
	return ERR_OK;
}

static enum err
finish_request(struct h1_request *request)
{
	struct h1_head *head = &request->head;
	bool has_length, is_chunked;
	enum err verdict = parse_framing_fields(head, &has_length, &is_chunked);

	if (verdict == ERR_OK)
		verdict = parse_host(request);
	if (verdict == ERR_OK)
		verdict = parse_expect(request);
	if (verdict != ERR_OK)
		return verdict;
	/* RFC 9110 9.3.6: no content. Some parsers find a tunnel's bytes where these fields announce a body. */
	if (request->method == H1_CONNECT && (is_chunked || (has_length && head->content_length > 0)))
		return ERR_HTTP_AMBIGUOUS_FRAMING;
	head->framing = is_chunked ? H1_BODY_CHUNKED :
			has_length && head->content_length > 0 ? H1_BODY_LENGTH :
								 H1_BODY_NONE;
	set_keep_alive(head);
	return ERR_OK;
}

/* Empty lines left over from a peer's earlier request. Returns their bytes, or a verdict. */
static enum err
skip_empty_lines(struct bytes input, uint32_t *skipped)
{
	*skipped = 0;
	for (int lines = 0; *skipped < input.len && input.ptr[*skipped] == '\r'; lines++) {
		if (input.len - *skipped < 2)
			return ERR_MORE;
		if (input.ptr[*skipped + 1] != '\n' || lines == EMPTY_LINES_MAX)
			return ERR_HTTP_BAD_START_LINE;
		*skipped += 2;
	}
	return ERR_OK;
}

enum err
h1_parse_request(struct bytes input, struct h1_scan *scan, struct h1_request *request)
{
	uint32_t skipped, head_bytes;
	struct bytes rest;
	enum err verdict = skip_empty_lines(input, &skipped);

	if (verdict != ERR_OK)
		return verdict;
	rest = bytes_after(input, skipped);
	verdict = find_end(rest, scan, true, &head_bytes);
	if (verdict != ERR_OK)
		return verdict;
	rest.len = head_bytes;
	request->head.content_length = 0;
	request->head.head_bytes = skipped + head_bytes;
	verdict = parse_request_line(take_line(&rest), request);
	if (verdict == ERR_OK)
		verdict = parse_fields(rest, &request->head);
	return verdict == ERR_OK ? finish_request(request) : verdict;
}

struct bytes
h1_likely_path(struct bytes input)
{
	const uint8_t *space = input.len > 0 ? memchr(input.ptr, ' ', input.len) : NULL;
	struct bytes path = space != NULL ? bytes_after(input, (size_t)(space - input.ptr) + 1) : BYTES_NONE;
	size_t len = 0;

	while (path.len > 0 && path.ptr[0] == ' ')
		path = bytes_after(path, 1);
	while (len < path.len && path.ptr[len] > ' ' && path.ptr[len] != '?')
		len++;
	path.len = len;
	return path;
}

/* --- responses ------------------------------------------------------------------------------- */

static enum err
parse_status_line(struct bytes line, struct h1_response *response)
{
	enum err verdict;

	if (line.len < 12 || line.ptr[8] != ' ')
		return ERR_HTTP_BAD_START_LINE;
	verdict = parse_version(bytes_make(line.ptr, 8), &response->head.minor_version);
	if (verdict != ERR_OK)
		return verdict;
	response->status = 0;
	for (int i = 9; i < 12; i++) {
		if (line.ptr[i] < '0' || line.ptr[i] > '9')
			return ERR_HTTP_BAD_START_LINE;
		response->status = (uint16_t)(response->status * 10 + (line.ptr[i] - '0'));
	}
	if (response->status < 100 || response->status > 599 || (line.len > 12 && line.ptr[12] != ' '))
		return ERR_HTTP_BAD_START_LINE;
	response->reason = bytes_after(line, 13);
	for (size_t i = 0; i < response->reason.len; i++)
		if (!h1_octet_is_value(response->reason.ptr[i]))
			return ERR_HTTP_BAD_START_LINE;
	return ERR_OK;
}

/* RFC 9112 6.3, for an answer. */
static enum err
finish_response(struct h1_response *response, enum h1_method request_method)
{
	struct h1_head *head = &response->head;
	bool has_length, is_chunked;
	enum err verdict = parse_framing_fields(head, &has_length, &is_chunked);

	if (verdict != ERR_OK)
		return verdict;
	/* RFC 9110 8.6, RFC 9112 6.1: these must not say how long a body is, since they have none. Some
	 * parsers would wait for it. A length of zero is no lie. */
	if ((response->status < 200 || response->status == 204) &&
	    (is_chunked || (has_length && head->content_length > 0)))
		return ERR_HTTP_AMBIGUOUS_FRAMING;
	if (response->status < 200 || response->status == 204 || response->status == 304 ||
	    request_method == H1_HEAD)
		head->framing = H1_BODY_NONE;
	else if (is_chunked)
		head->framing = H1_BODY_CHUNKED;
	else if (has_length)
		head->framing = head->content_length > 0 ? H1_BODY_LENGTH : H1_BODY_NONE;
	else
		head->framing = H1_BODY_UNTIL_CLOSE;
	set_keep_alive(head);
	return ERR_OK;
}

enum err
h1_parse_response(struct bytes input, enum h1_method request_method, struct h1_scan *scan,
		  struct h1_response *response)
{
	uint32_t head_bytes;
	enum err verdict = find_end(input, scan, false, &head_bytes);

	if (verdict != ERR_OK)
		return verdict;
	input.len = head_bytes;
	response->head.content_length = 0;
	response->head.head_bytes = head_bytes;
	verdict = parse_status_line(take_line(&input), response);
	if (verdict == ERR_OK)
		verdict = parse_fields(input, &response->head);
	return verdict == ERR_OK ? finish_response(response, request_method) : verdict;
}

/* --- questions --------------------------------------------------------------------------------- */

uint16_t
h1_status_of(enum err verdict)
{
	switch (verdict) {
	case ERR_HTTP_LINE_TOO_LONG:
		return 414;
	case ERR_HTTP_HEAD_TOO_LARGE:
	case ERR_HTTP_TOO_MANY_FIELDS:
		return 431;
	case ERR_HTTP_EXPECTATION:
		return 417;
	case ERR_HTTP_UNKNOWN_CODING:
		return 501;
	case ERR_HTTP_VERSION:
		return 505;
	default:
		return 400;
	}
}

const struct h1_field *
h1_find(const struct h1_head *head, struct bytes name)
{
	for (uint32_t i = 0; i < head->field_count; i++)
		if (bytes_equal_nocase(head->fields[i].name, name))
			return &head->fields[i];
	return NULL;
}

bool
h1_is_hop_by_hop(const struct h1_head *head, struct bytes name)
{
	static const char *const always[] = {
		"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
		"upgrade",
	};

	for (size_t i = 0; i < COUNT_OF(always); i++)
		if (bytes_equal_nocase(name, bytes_from_text(always[i])))
			return true;
	return connection_names(head, name);
}

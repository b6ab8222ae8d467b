/* llhttp's reading. It is asked strictly: none of its lenient flags is set. */
#include <llhttp.h>
#include <stdio.h>

#include "h1_reading.h"

#include "base/check.h"

#define START_TEXT_BYTES READING_INPUT_BYTES_MAX

/* A span arrives in as many calls as there are pieces. */
struct span {
	size_t len;
	char text[START_TEXT_BYTES];
};

struct listener {
	const struct h1_wire *wire;
	struct h1_reading *reading;
	struct reading_message *message;
	size_t piece_start;
};

static struct span method, url, status, field, value;

static struct listener *
listener_of(llhttp_t *parser)
{
	return parser->data;
}

static void
add_text(struct h1_reading *reading, const char *text)
{
	h1_reading_add(reading, bytes_from_text(text));
}

static void
add_span(struct h1_reading *reading, const struct span *span)
{
	h1_reading_add(reading, bytes_make(span->text, span->len));
}

static int
append(struct span *span, const char *at, size_t len)
{
	CHECK(len <= sizeof(span->text) - span->len);
	memcpy(span->text + span->len, at, len);
	span->len += len;
	return 0;
}

static int
on_method(llhttp_t *parser, const char *at, size_t len)
{
	(void)parser;
	return append(&method, at, len);
}

static int
on_url(llhttp_t *parser, const char *at, size_t len)
{
	(void)parser;
	return append(&url, at, len);
}

static int
on_status(llhttp_t *parser, const char *at, size_t len)
{
	(void)parser;
	return append(&status, at, len);
}

static int
on_field(llhttp_t *parser, const char *at, size_t len)
{
	(void)parser;
	return append(&field, at, len);
}

static int
on_value(llhttp_t *parser, const char *at, size_t len)
{
	(void)parser;
	return append(&value, at, len);
}

static int
on_begin(llhttp_t *parser)
{
	struct listener *l = listener_of(parser);

	l->message = h1_reading_begin(l->reading, 0);
	method.len = url.len = status.len = field.len = value.len = 0;
	return 0;
}

/* White space behind a value is left to the caller; trailers are not part of the reading. */
static int
on_value_complete(llhttp_t *parser)
{
	struct listener *l = listener_of(parser);

	while (value.len > 0 &&
	       (value.text[value.len - 1] == ' ' || value.text[value.len - 1] == '\t'))
		value.len--;
	if (!l->message->head_complete) {
		add_span(l->reading, &field);
		add_text(l->reading, ": ");
		add_span(l->reading, &value);
		add_text(l->reading, "\n");
	}
	field.len = value.len = 0;
	return 0;
}

static int
on_head(llhttp_t *parser)
{
	struct listener *l = listener_of(parser);
	char number[32];

	if (l->wire->is_response) {
		snprintf(number, sizeof(number), "%u.%u %u ", parser->http_major,
			 parser->http_minor, parser->status_code);
		add_text(l->reading, number);
		add_span(l->reading, &status);
	} else {
		add_span(l->reading, &method);
		add_text(l->reading, " ");
		add_span(l->reading, &url);
		snprintf(number, sizeof(number), " %u.%u", parser->http_major, parser->http_minor);
		add_text(l->reading, number);
	}
	add_text(l->reading, "\n");
	l->message->head_complete = true;
	l->message->head_len = l->message->text_len;
	/* What only the caller knows: 1 means that no body follows. */
	return l->wire->is_response && (l->wire->answers_head || parser->status_code == 304);
}

static int
on_body(llhttp_t *parser, const char *at, size_t len)
{
	h1_reading_add(listener_of(parser)->reading, bytes_make(at, len));
	return 0;
}

static int
on_complete(llhttp_t *parser)
{
	struct listener *l = listener_of(parser);

	l->message->complete = true;
	l->message->keep_alive = llhttp_should_keep_alive(parser) != 0;
	return HPE_PAUSED; /* so that it says where it is */
}

/* One piece. False: refused, or enough. */
static bool
feed(llhttp_t *parser, struct listener *l, const char *at, size_t len)
{
	const char *end = at + len;

	for (;;) {
		llhttp_errno_t rc = llhttp_execute(parser, at, (size_t)(end - at));

		if (rc == HPE_OK)
			return true;
		if (rc != HPE_PAUSED && rc != HPE_PAUSED_UPGRADE) {
			l->reading->llhttp_errno = (int)rc;
			l->reading->reason = llhttp_get_error_reason(parser);
			return false;
		}
		at = llhttp_get_error_pos(parser);
		if (l->message->complete)
			l->message->end = (size_t)(at - (const char *)l->wire->input.ptr);
		if (l->message->complete && l->reading->count == READING_MESSAGES_MAX) {
			l->reading->llhttp_errno = HPE_CLOSED_CONNECTION;
			return false;
		}
		if (rc == HPE_PAUSED)
			llhttp_resume(parser);
		else
			llhttp_resume_after_upgrade(parser);
	}
}

void
h1_reading_llhttp(const struct h1_wire *wire, struct h1_reading *reading)
{
	struct listener l = { .wire = wire, .reading = reading };
	llhttp_settings_t settings;
	llhttp_t parser;
	size_t at = 0, len = wire->first;
	bool is_alive = true;

	llhttp_settings_init(&settings);
	settings.on_message_begin = on_begin;
	settings.on_method = on_method;
	settings.on_url = on_url;
	settings.on_status = on_status;
	settings.on_header_field = on_field;
	settings.on_header_value = on_value;
	settings.on_header_value_complete = on_value_complete;
	settings.on_headers_complete = on_head;
	settings.on_body = on_body;
	settings.on_message_complete = on_complete;
	llhttp_init(&parser, wire->is_response ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
	parser.data = &l;
	reading->end = READING_MORE;
	reading->verdict = ERR_OK;
	reading->reason = NULL;
	reading->llhttp_errno = 0;
	reading->count = 0;
	reading->len = 0;
	while (is_alive && at < wire->input.len) {
		if (len > wire->input.len - at)
			len = wire->input.len - at;
		is_alive = feed(&parser, &l, (const char *)wire->input.ptr + at, len);
		at += len;
		len = wire->step;
	}
	if (is_alive && wire->is_closed)
		llhttp_finish(&parser); /* an answer that it cuts stays incomplete */
	if (!is_alive)
		reading->end = reading->llhttp_errno == HPE_CLOSED_CONNECTION ? READING_CLOSED :
										READING_REFUSED;
}

/*
 * A backend's stream through the whole worker to a client that did not ask for usage, or did.
 *
 *   | bit 0: the client asks for usage, bits 1-7: bytes of a chunk and of a segment | the payload
 * of the stream |
 *
 * 1. What the client gets does not depend on how the stream was cut into chunks and segments; one that asked gets
 * what the backend sent.
 * 2. Events without the word "usage" pass byte for byte, in their order, and none is added; of the
 * others one part may be missing, or all.
 * 3. To a client that did not ask an event of one data line that has one member `usage` comes without it, if it
 * comes.
 */
#include <stdio.h>
#include <yyjson.h>

#include "../diff/h1_reading.h"
#include "base/check.h"
#include "edge.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define STREAM_BYTES_MAX 2048
#define EVENTS_MAX (STREAM_BYTES_MAX / 2 + 2)

static const char answer_head[] =
	"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

struct stream {
	size_t len;
	bool is_complete;
	char text[READING_TEXT_BYTES];
};

static bool
contains(struct bytes text, const char *part)
{
	return memmem(text.ptr, text.len, part, strlen(part)) != NULL;
}

static struct bytes
request_of(bool asks)
{
	static char text[512];
	const char *body = asks ? "{\"model\":\"town-model\",\"messages\":[1],\"stream\":true,"
				  "\"stream_options\":{\"include_usage\":true}}" :
				  "{\"model\":\"town-model\",\"messages\":[1],\"stream\":true}";
	int len = snprintf(
		text, sizeof(text),
		"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " EDGE_KEY
		"\r\ncontent-length: %zu\r\n\r\n%s",
		strlen(body), body);

	return bytes_make(text, (size_t)len);
}

static struct bytes
answer_of(struct bytes payload, size_t piece)
{
	static char text[EDGE_BYTES_MAX];
	size_t len = (size_t)snprintf(text, sizeof(text), "%s", answer_head);

	while (payload.len > 0) {
		size_t n = piece < payload.len ? piece : payload.len;

		len += (size_t)snprintf(text + len, sizeof(text) - len, "%zx\r\n", n);
		memcpy(text + len, payload.ptr, n);
		len += n;
		len += (size_t)snprintf(text + len, sizeof(text) - len, "\r\n");
		bytes_advance(&payload, n);
	}
	len += (size_t)snprintf(text + len, sizeof(text) - len, "0\r\n\r\n");
	return bytes_make(text, len);
}

static void
relay(struct bytes payload, bool asks, size_t chunk, uint32_t segment, struct stream *stream)
{
	static struct edge_result result;
	static struct h1_reading told;
	struct edge_plan plan = { .client = request_of(asks),
				  .client_piece = 1400,
				  .answer_piece = segment };
	struct h1_wire wire = { .is_response = true, .step = 1 };

	plan.answer = answer_of(payload, chunk);
	edge_run(&plan, &result);
	CHECK(result.requests == 1);
	wire.input = bytes_make(result.text, result.len);
	wire.first = result.len;
	h1_reading_llhttp(&wire, &told);
	CHECK(told.end != READING_REFUSED && told.count == 1 && told.message[0].head_complete);
	stream->len = told.message[0].text_len - told.message[0].head_len;
	stream->is_complete = told.message[0].complete;
	memcpy(stream->text, told.text + told.message[0].text_start + told.message[0].head_len,
	       stream->len);
}

/* The next event with its empty line, lines ended by LF; what is left without one is the last. */
static bool
next_event(struct bytes *rest, struct bytes *event)
{
	const uint8_t *end;

	if (rest->len == 0)
		return false;
	end = memmem(rest->ptr, rest->len, "\n\n", 2);
	*event = bytes_make(rest->ptr, end == NULL ? rest->len : (size_t)(end - rest->ptr) + 2);
	bytes_advance(rest, event->len);
	return true;
}

/* The event with one part taken out, or replaced by null. */
static bool
is_cut_of(struct bytes whole, struct bytes event)
{
	size_t front = 0, back = 0;

	while (front < event.len && front < whole.len && whole.ptr[front] == event.ptr[front])
		front++;
	while (back < event.len && back < whole.len &&
	       whole.ptr[whole.len - 1 - back] == event.ptr[event.len - 1 - back])
		back++;
	if (event.len > whole.len)
		return false;
	if (front + back >= event.len)
		return true;
	for (size_t at = 0; at <= front && at + 4 <= event.len; at++)
		if (memcmp(event.ptr + at, "null", 4) == 0 && event.len - at - 4 <= back)
			return true;
	return false;
}

/* How often an event of one data line has a member `usage` that is an object or null; of what is no JSON, and of
 * names with escapes, which no backend writes: 0. */
static uint32_t
count_usage(struct bytes event)
{
	size_t end = event.len;
	uint32_t count = 0;
	yyjson_doc *doc;
	yyjson_val *key;
	yyjson_obj_iter iter;

	while (end > 0 && event.ptr[end - 1] == '\n')
		end--;
	event.len = end;
	if (!bytes_starts_with(event, BYTES_LITERAL("data: ")) || memchr(event.ptr, '\n', event.len) != NULL ||
	    contains(event, "\\u"))
		return 0;
	doc = yyjson_read((const char *)event.ptr + 6, event.len - 6, 0);
	if (yyjson_is_obj(yyjson_doc_get_root(doc))) {
		yyjson_obj_iter_init(yyjson_doc_get_root(doc), &iter);
		while ((key = yyjson_obj_iter_next(&iter)) != NULL)
			count += yyjson_equals_str(key, "usage") &&
				 (yyjson_is_obj(yyjson_obj_iter_get_val(key)) ||
				  yyjson_is_null(yyjson_obj_iter_get_val(key)));
	}
	yyjson_doc_free(doc);
	return count;
}

/* What may become of an event. Of two members of one name each parser sees another one; one is taken out. */
static bool
may_become(struct bytes from, struct bytes to)
{
	if (!contains(from, "usage"))
		return bytes_equal(from, to);
	return is_cut_of(from, to) && (count_usage(from) != 1 || count_usage(to) == 0);
}

static uint32_t
split(struct bytes text, struct bytes events[EVENTS_MAX])
{
	uint32_t count = 0;

	while (next_event(&text, &events[count]))
		CHECK(++count < EVENTS_MAX);
	return count;
}

/* Rules 2 and 3: some way leads from what came to what was passed, event by event. */
static void
check_passed(struct bytes from, struct bytes to)
{
	static struct bytes wanted[EVENTS_MAX], found[EVENTS_MAX];
	static bool reaches[EVENTS_MAX]; /* that many of what was passed are explained */
	uint32_t wanted_count = split(from, wanted), found_count = split(to, found);

	memset(reaches, 0, sizeof(reaches));
	reaches[0] = true;
	for (uint32_t i = 0; i < wanted_count; i++)
		for (uint32_t n = found_count + 1; n-- > 0;) {
			bool is_left_out = reaches[n] && contains(wanted[i], "usage");

			reaches[n] = is_left_out ||
				     (n > 0 && reaches[n - 1] && may_become(wanted[i], found[n - 1]));
		}
	CHECK(reaches[found_count]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct stream whole, cut;
	struct bytes payload, to;
	bool asks;

	if (len < 2 || len > STREAM_BYTES_MAX)
		return 0;
	asks = bytes[0] & 1;
	payload = bytes_make(bytes + 1, len - 1);
	relay(payload, asks, payload.len, 1400, &whole);
	relay(payload, asks, 1 + (bytes[0] >> 1 & 7), 1 + 37 * (uint32_t)(bytes[0] >> 4), &cut);
	CHECK(whole.len == cut.len && whole.is_complete == cut.is_complete);
	CHECK(memcmp(whole.text, cut.text, whole.len) == 0);
	CHECK(whole.is_complete);
	to = bytes_make(whole.text, whole.len);
	if (asks)
		CHECK(bytes_equal(payload, to));
	else if (memchr(payload.ptr, '\r', payload.len) == NULL) /* next_event() knows LF alone */
		check_passed(payload, to);
	return 0;
}

/* The keeping of a reading, and ours: a connection as dataplane/client.c reads it, without the
 * connection. */
#include "h1_reading.h"

#include <stdio.h>

#include "base/check.h"
#include "http/h1.h"

struct reading_message *
h1_reading_begin(struct h1_reading *reading, size_t start)
{
	struct reading_message *m = &reading->message[reading->count++];

	CHECK(reading->count <= READING_MESSAGES_MAX);
	*m = (struct reading_message){ .text_start = reading->len, .start = start };
	return m;
}

void
h1_reading_add(struct h1_reading *reading, struct bytes text)
{
	CHECK(text.len <= sizeof(reading->text) - reading->len && reading->count > 0);
	if (text.len > 0)
		memcpy(reading->text + reading->len, text.ptr, text.len);
	reading->len += text.len;
	reading->message[reading->count - 1].text_len += text.len;
}

bool
h1_reading_is_same(const struct h1_reading *a, const struct h1_reading *b)
{
	if (a->end != b->end || a->verdict != b->verdict || a->llhttp_errno != b->llhttp_errno ||
	    a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++) {
		const struct reading_message *x = &a->message[i], *y = &b->message[i];

		if (x->complete != y->complete || x->head_complete != y->head_complete ||
		    x->keep_alive != y->keep_alive || (x->complete && x->end != y->end))
			return false;
		if (x->head_complete &&
		    !bytes_equal(bytes_make(a->text + x->text_start, x->text_len),
				 bytes_make(b->text + y->text_start, y->text_len)))
			return false;
	}
	return true;
}

/* --- ours -------------------------------------------------------------------------- */

static struct h1_request request;
static struct h1_response response;

struct reader {
	const struct h1_wire *wire;
	struct h1_reading *reading;
	struct reading_message *message; /* whose body is read; NULL: a head */
	struct h1_scan scan;
	struct h1_body body;
	size_t at;
};

static void
add_text(struct h1_reading *reading, const char *text)
{
	h1_reading_add(reading, bytes_from_text(text));
}

static void
add_start(struct reader *r)
{
	char number[32];

	if (r->wire->is_response) {
		snprintf(number, sizeof(number), "1.%u %u ", response.head.minor_version,
			 response.status);
		add_text(r->reading, number);
		h1_reading_add(r->reading, response.reason);
	} else {
		h1_reading_add(r->reading, request.method_text);
		add_text(r->reading, " ");
		h1_reading_add(r->reading, request.target);
		snprintf(number, sizeof(number), " 1.%u", request.head.minor_version);
		add_text(r->reading, number);
	}
	add_text(r->reading, "\n");
}

static void
head_complete(struct reader *r, const struct h1_head *head)
{
	r->message = h1_reading_begin(r->reading, r->at);
	for (uint32_t i = 0; i < head->field_count; i++) {
		h1_reading_add(r->reading, head->fields[i].name);
		add_text(r->reading, ": ");
		h1_reading_add(r->reading, head->fields[i].value);
		add_text(r->reading, "\n");
	}
	add_start(r);
	r->message->head_complete = true;
	r->message->head_len = r->message->text_len;
	r->message->keep_alive = head->keep_alive && head->framing != H1_BODY_UNTIL_CLOSE;
	r->at += head->head_bytes;
	h1_body_init(&r->body, head);
}

static enum err
read_head(struct reader *r, struct bytes have)
{
	enum err verdict;

	if (r->wire->is_response)
		verdict = h1_parse_response(have, r->wire->answers_head ? H1_HEAD : H1_POST,
					    &r->scan, &response);
	else
		verdict = h1_parse_request(have, &r->scan, &request);
	if (verdict == ERR_OK) {
		head_complete(r, r->wire->is_response ? &response.head : &request.head);
		r->scan = (struct h1_scan){ 0 };
	} else if (verdict != ERR_MORE) {
		h1_reading_begin(r->reading, r->at);
	}
	return verdict;
}

static enum err
read_body(struct reader *r, struct bytes have)
{
	struct bytes payload;
	const uint8_t *from = have.ptr;
	enum err verdict = h1_body_feed(&r->body, &have, &payload);

	h1_reading_add(r->reading, payload);
	r->at += (size_t)(have.ptr - from);
	return verdict;
}

/* False: the connection is over. */
static bool
end_message(struct reader *r)
{
	r->message->complete = true;
	r->message->end = r->at;
	if (!r->message->keep_alive || r->reading->count == READING_MESSAGES_MAX)
		r->reading->end = READING_CLOSED;
	r->message = NULL;
	return r->reading->end != READING_CLOSED;
}

/* As much as can be read of what is there. False: the connection is over. */
static bool
read_available(struct reader *r, size_t have)
{
	for (;;) {
		struct bytes rest = bytes_make(r->wire->input.ptr + r->at, have - r->at);
		enum err verdict = r->message == NULL ? read_head(r, rest) : read_body(r, rest);

		if (verdict != ERR_OK && verdict != ERR_MORE) {
			r->reading->end = READING_REFUSED;
			r->reading->verdict = verdict;
			r->reading->reason = err_name(verdict);
			return false;
		}
		if (r->message != NULL && r->body.done) {
			if (!end_message(r))
				return false;
			if (r->at == have)
				return true;
		} else if (verdict == ERR_MORE || r->at == have) {
			return true;
		}
	}
}

void
h1_reading_ours(const struct h1_wire *wire, struct h1_reading *reading)
{
	struct reader r = { .wire = wire, .reading = reading };
	size_t have = wire->first < wire->input.len ? wire->first : wire->input.len;

	reading->end = READING_MORE;
	reading->verdict = ERR_OK;
	reading->reason = NULL;
	reading->llhttp_errno = 0;
	reading->count = 0;
	reading->len = 0;
	while (read_available(&r, have) && have < wire->input.len)
		have = wire->step < wire->input.len - have ? have + wire->step : wire->input.len;
}

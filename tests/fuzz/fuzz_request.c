/*
 * A client's bytes through the whole worker: from the first octet to what backends are sent and the
 * client is told.
 *
 *   | bits 0-3: bytes of a segment | what the client sends |
 *
 * 1. What a backend gets is a request that llhttp and yyjson read in the client's bytes too, whole,
 * with our key and our model, in the client's order; its fields are on the list of those that may
 * pass.
 * 2. What the client gets are answers that llhttp can read, with statuses that the contract knows.
 * 3. Neither depends on how the bytes were cut.
 */
#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#include "../diff/h1_reading.h"
#include "base/check.h"
#include "base/units.h"
#include "edge.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CLIENT_BYTES_MAX 16384
#define STATUSES_MAX 512

static const char answer[] =
	"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 91\r\n\r\n"
	"{\"id\":\"x\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,"
	"\"total_tokens\":3}}\n";

struct statuses {
	uint32_t count;
	uint32_t status[STATUSES_MAX];
	bool is_closed;
	uint32_t requests;
};

static struct h1_reading asked, told, sent;

static struct bytes
body_of(const struct h1_reading *reading, const struct reading_message *m)
{
	return bytes_make(reading->text + m->text_start + m->head_len, m->text_len - m->head_len);
}

static struct bytes
head_of(const struct h1_reading *reading, const struct reading_message *m)
{
	return bytes_make(reading->text + m->text_start, m->head_len);
}

/* Answers to a HEAD are heads alone: the reader of answers would have to know which they are. */
static bool
has_head_request(void)
{
	for (uint32_t i = 0; i < asked.count; i++) {
		struct bytes head = head_of(&asked, &asked.message[i]);

		if (bytes_starts_with(head, BYTES_LITERAL("HEAD ")) ||
		    memmem(head.ptr, head.len, "\nHEAD ", 6) != NULL)
			return true;
	}
	return false;
}

static bool
contains(struct bytes text, const char *part)
{
	return memmem(text.ptr, text.len, part, strlen(part)) != NULL;
}

/* The object without what the router edits; NULL: no object. */
static yyjson_mut_doc *
essence(struct bytes body, const char *model)
{
	yyjson_doc *doc = yyjson_read((const char *)body.ptr, body.len, 0);
	yyjson_mut_doc *copy = NULL;
	yyjson_mut_val *root;

	if (yyjson_is_obj(yyjson_doc_get_root(doc)) &&
	    yyjson_equals_str(yyjson_obj_get(yyjson_doc_get_root(doc), "model"), model)) {
		copy = yyjson_doc_mut_copy(doc, NULL);
		root = yyjson_mut_doc_get_root(copy);
		yyjson_mut_obj_remove_key(root, "model");
		yyjson_mut_obj_remove_key(root, "stream_options");
	}
	yyjson_doc_free(doc);
	return copy;
}

static bool
asks_the_same(struct bytes ours, struct bytes theirs)
{
	yyjson_mut_doc *a = essence(ours, EDGE_SERVED), *b = essence(theirs, EDGE_MODEL);
	bool is_same = a != NULL && b != NULL &&
		       yyjson_mut_equals(yyjson_mut_doc_get_root(a), yyjson_mut_doc_get_root(b));

	yyjson_mut_doc_free(a);
	yyjson_mut_doc_free(b);
	return is_same;
}

static void
check_fields(struct bytes head)
{
	static const char *const allowed[] = {
		"host",	  "content-type", "content-length", "transfer-encoding", "user-agent",
		"accept", "x-request-id", "traceparent",    "connection",
	};

	for (const uint8_t *end; (end = memchr(head.ptr, '\n', head.len)) != NULL;) {
		struct bytes line = bytes_make(head.ptr, (size_t)(end - head.ptr));
		const uint8_t *colon = memchr(line.ptr, ':', line.len);
		bool is_allowed = false;

		head = bytes_after(head, line.len + 1);
		if (head.len == 0)
			return; /* the last one is the start line */
		CHECK(colon != NULL);
		line.len = (size_t)(colon - line.ptr);
		for (size_t i = 0; i < COUNT_OF(allowed); i++)
			is_allowed =
				is_allowed || bytes_equal_nocase(line, bytes_from_text(allowed[i]));
		CHECK(is_allowed);
	}
}

/* Rule 1. */
static void
check_sent(const struct edge_result *r)
{
	uint32_t next = 0;

	for (uint32_t i = 0; i < r->requests; i++) {
		struct h1_wire wire = { .input = bytes_make(r->requests_text + r->request[i].start,
							    r->request[i].len),
					.first = r->request[i].len,
					.step = 1 };

		h1_reading_llhttp(&wire, &sent);
		CHECK(sent.end != READING_REFUSED && sent.count == 1 && sent.message[0].complete);
		check_fields(head_of(&sent, &sent.message[0]));
		for (;; next++) {
			const struct reading_message *m = &asked.message[next];

			CHECK(next < asked.count);
			if (m->complete && contains(head_of(&asked, m), EDGE_KEY) &&
			    asks_the_same(body_of(&sent, &sent.message[0]), body_of(&asked, m)))
				break;
		}
		next++;
	}
}

/* Rule 2. */
static void
check_told(const struct edge_result *r, struct statuses *statuses)
{
	static const uint32_t known[] = { 100, 200, 400, 401, 402, 404, 405, 413, 414, 415,
					  417, 422, 429, 431, 501, 502, 503, 504, 505 };
	struct h1_wire wire = { .input = bytes_make(r->text, r->len),
				.is_response = true,
				.first = r->len,
				.step = 1,
				.is_closed = r->is_closed };

	h1_reading_llhttp(&wire, &told);
	CHECK(told.end != READING_REFUSED);
	statuses->count = 0;
	statuses->is_closed = r->is_closed;
	statuses->requests = r->requests;
	for (uint32_t i = 0; i < told.count; i++) {
		struct bytes start = head_of(&told, &told.message[i]);
		bool is_known = false;
		uint32_t status;

		CHECK(told.message[i].complete && statuses->count < STATUSES_MAX);
		while (start.len > 1 && memchr(start.ptr, '\n', start.len - 1) != NULL)
			bytes_advance(&start, 1);
		status = (uint32_t)strtoul((const char *)start.ptr + 4, NULL, 10);
		for (size_t k = 0; k < COUNT_OF(known); k++)
			is_known = is_known || known[k] == status;
		CHECK(is_known);
		if (status != 100) /* whether it is still wanted depends on when the body comes */
			statuses->status[statuses->count++] = status;
	}
}

static void
play(struct bytes client, uint32_t piece, struct statuses *statuses)
{
	static struct edge_result result;
	struct edge_plan plan = { .client = client,
				  .client_piece = piece,
				  .answer = BYTES_LITERAL(answer),
				  .answer_piece = 1000 };

	edge_run(&plan, &result);
	check_sent(&result);
	check_told(&result, statuses);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct statuses whole, cut;
	struct h1_wire wire = { .first = len, .step = 1 };

	if (len < 2 || len > CLIENT_BYTES_MAX)
		return 0;
	wire.input = bytes_make(bytes + 1, len - 1);
	h1_reading_llhttp(&wire, &asked);
	/* More than it reads; methods that it does not know and that are only 405 to us. */
	if (asked.count == READING_MESSAGES_MAX || asked.llhttp_errno == HPE_INVALID_METHOD ||
	    has_head_request())
		return 0;
	play(wire.input, 1400, &whole);
	play(wire.input, 1 + (bytes[0] & 15), &cut);
	CHECK(whole.count == cut.count && whole.requests == cut.requests &&
	      whole.is_closed == cut.is_closed);
	for (uint32_t i = 0; i < whole.count; i++)
		CHECK(whole.status[i] == cut.status[i]);
	return 0;
}

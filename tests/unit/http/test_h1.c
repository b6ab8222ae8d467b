/* What is HTTP/1.1 and what is not, row by row; bodies and events however they are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "http/h1.h"
#include "http/sse.h"

static struct h1_request request;
static struct h1_response response;

static enum err
parse(const char *text)
{
	struct h1_scan scan = { 0 };

	return h1_parse_request(bytes_from_text(text), &scan, &request);
}

static enum err
parse_answer(const char *text)
{
	struct h1_scan scan = { 0 };

	return h1_parse_response(bytes_from_text(text), H1_POST, &scan, &response);
}

#define HEAD(fields) "POST /v1 HTTP/1.1\r\nHost: a\r\n" fields "\r\n"

static void
an_ordinary_request_is_taken_apart(void **state)
{
	(void)state;
	assert_int_equal(parse("\r\nPOST /v1/x?y=1 HTTP/1.1\r\nhOsT: a:443\r\nContent-Length: 12\r\n"
			       "Expect: 100-continue\r\nA:  b \t\r\n\r\nbody"),
			 ERR_OK);
	assert_int_equal(request.method, H1_POST);
	assert_true(bytes_equal(request.path, BYTES_LITERAL("/v1/x")));
	assert_true(bytes_equal(request.query, BYTES_LITERAL("y=1")));
	assert_true(bytes_equal(request.host, BYTES_LITERAL("a:443")));
	assert_int_equal(request.head.framing, H1_BODY_LENGTH);
	assert_int_equal(request.head.content_length, 12);
	assert_true(request.expect_continue);
	assert_true(request.head.keep_alive);
	assert_true(bytes_equal(h1_find(&request.head, BYTES_LITERAL("a"))->value, BYTES_LITERAL("b")));
}

static void
framing_that_could_mean_two_things_is_refused(void **state)
{
	(void)state;
	assert_int_equal(parse(HEAD("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
			 ERR_HTTP_AMBIGUOUS_FRAMING);
	assert_int_equal(parse(HEAD("Content-Length: 5\r\nContent-Length: 5\r\n")), ERR_HTTP_BAD_LENGTH);
	assert_int_equal(parse(HEAD("Content-Length: 5, 5\r\n")), ERR_HTTP_BAD_LENGTH);
	assert_int_equal(parse(HEAD("Content-Length: +5\r\n")), ERR_HTTP_BAD_LENGTH);
	assert_int_equal(parse(HEAD("Content-Length: 05\r\n")), ERR_HTTP_BAD_LENGTH);
	assert_int_equal(parse(HEAD("Content-Length: 0x5\r\n")), ERR_HTTP_BAD_LENGTH);
	assert_int_equal(parse(HEAD("Content-Length:\r\n")), ERR_HTTP_BAD_LENGTH);
	assert_int_equal(parse(HEAD("Content-Length: 9223372036854775808\r\n")), ERR_HTTP_BAD_LENGTH);
	assert_int_equal(parse(HEAD("Content-Length: 9223372036854775807\r\n")), ERR_OK);
	assert_int_equal(parse(HEAD("Transfer-Encoding: xchunked\r\n")), ERR_HTTP_UNKNOWN_CODING);
	assert_int_equal(parse(HEAD("Transfer-Encoding: chunked, chunked\r\n")), ERR_HTTP_UNKNOWN_CODING);
	assert_int_equal(parse(HEAD("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
			 ERR_HTTP_AMBIGUOUS_FRAMING);
	assert_int_equal(parse("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
			 ERR_HTTP_AMBIGUOUS_FRAMING);
	assert_int_equal(parse(HEAD("Transfer-Encoding: Chunked\r\n")), ERR_OK);
	assert_int_equal(parse("CONNECT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"),
			 ERR_HTTP_AMBIGUOUS_FRAMING);
	assert_int_equal(parse("CONNECT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
			 ERR_HTTP_AMBIGUOUS_FRAMING);
	assert_int_equal(parse("CONNECT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), ERR_OK);
}

static void
lines_and_fields_out_of_the_grammar_are_refused(void **state)
{
	(void)state;
	assert_int_equal(parse("GET / HTTP/1.1\nHost: a\r\n\r\n"), ERR_HTTP_BARE_LF);
	assert_int_equal(parse(HEAD("A: b\r\n c\r\n")), ERR_HTTP_FOLDED_FIELD);
	assert_int_equal(parse(HEAD("A : b\r\n")), ERR_HTTP_BAD_FIELD);
	assert_int_equal(parse(HEAD("no colon\r\n")), ERR_HTTP_BAD_FIELD);
	assert_int_equal(parse(HEAD(": b\r\n")), ERR_HTTP_BAD_FIELD);
	assert_int_equal(parse(HEAD("A: b\rc\r\n")), ERR_HTTP_BAD_FIELD);
	assert_int_equal(parse(HEAD("A: b\x01\r\n")), ERR_HTTP_BAD_FIELD);
	assert_int_equal(parse(HEAD("A: \xc3\xa9\r\n")), ERR_HTTP_BAD_FIELD);
	assert_int_equal(parse(HEAD("A: b\t\r\n")), ERR_OK);
	assert_int_equal(parse(HEAD("Content-Length: 5\t\r\n")), ERR_HTTP_BAD_FIELD);
	assert_int_equal(parse(HEAD("Transfer-Encoding:\tchunked\r\n")), ERR_HTTP_BAD_FIELD);
	assert_int_equal(parse(HEAD("Connection: keep-alive,\tclose\r\n")), ERR_HTTP_BAD_FIELD);
	assert_int_equal(parse(HEAD("Expect: 100-continue\r\nExpect: x\r\n")), ERR_HTTP_EXPECTATION);
	assert_int_equal(parse("GET / HTTP/1.1\r\n\r\n"), ERR_HTTP_BAD_HOST);
	assert_int_equal(parse(HEAD("Host: a\r\n")), ERR_HTTP_BAD_HOST);
	assert_int_equal(parse("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), ERR_HTTP_BAD_HOST);
	assert_int_equal(parse("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_HTTP_BAD_TARGET);
	assert_int_equal(parse("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_HTTP_BAD_TARGET);
	assert_int_equal(parse("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_HTTP_BAD_START_LINE);
	assert_int_equal(parse("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), ERR_HTTP_VERSION);
	assert_int_equal(parse("G(T / HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_HTTP_BAD_START_LINE);
	assert_int_equal(parse(HEAD("Expect: 200-ok\r\n")), ERR_HTTP_EXPECTATION);
	assert_int_equal(parse("PRI / HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_HTTP_BAD_START_LINE);
	assert_int_equal(parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_OK);
}

static void
bounds_hold_for_heads_that_never_end(void **state)
{
	static char text[H1_HEAD_BYTES_MAX + 64];
	struct h1_scan scan = { 0 };
	size_t at;

	(void)state;
	memset(text, 'a', sizeof(text));
	assert_int_equal(h1_parse_request(bytes_make(text, H1_LINE_BYTES_MAX + 1), &scan, &request),
			 ERR_HTTP_LINE_TOO_LONG);
	assert_int_equal(h1_status_of(ERR_HTTP_LINE_TOO_LONG), 414);
	at = sizeof("GET / HTTP/1.1\r\nHost: a\r\n") - 1;
	memcpy(text, "GET / HTTP/1.1\r\nHost: a\r\n", at);
	while (at + 5 < sizeof(text)) {
		memcpy(text + at, "a:b\r\n", 5);
		at += 5;
	}
	scan = (struct h1_scan){ 0 };
	assert_int_equal(h1_parse_request(bytes_make(text, at), &scan, &request), ERR_HTTP_TOO_MANY_FIELDS);
	assert_int_equal(h1_status_of(ERR_HTTP_TOO_MANY_FIELDS), 431);
}

static void
a_refused_head_still_says_where_it_went(void **state)
{
	static const struct {
		const char *text, *path;
	} rows[] = {
		{ "POST /v1/models HTTP/1.1\r\n", "/v1/models" },
		{ "GET  /v1/models?a=b c HTTP/1.1", "/v1/models" },
		{ "GET /v1/mod", "/v1/mod" },
		{ "GET /v1\r\n/x y", "/v1" },
		{ "GET ", "" },
		{ "GET", "" },
		{ "   ", "" },
		{ "", "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct bytes path = h1_likely_path(bytes_from_text(rows[i].text));

		assert_true(bytes_equal(path, bytes_from_text(rows[i].path)));
	}
	assert_int_equal(h1_likely_path(BYTES_NONE).len, 0);
}

static void
answers_are_framed_by_status_method_and_fields(void **state)
{
	(void)state;
	assert_int_equal(parse_answer("HTTP/1.1 200 OK\r\n\r\n"), ERR_OK);
	assert_int_equal(response.head.framing, H1_BODY_UNTIL_CLOSE);
	assert_int_equal(parse_answer("HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n"), ERR_OK);
	assert_int_equal(response.head.framing, H1_BODY_NONE);
	assert_int_equal(parse_answer("HTTP/1.1 304 \r\nContent-Length: 3\r\n\r\n"), ERR_OK);
	assert_int_equal(response.head.framing, H1_BODY_NONE);
	assert_int_equal(parse_answer("HTTP/1.1 204 \r\nContent-Length: 3\r\n\r\n"),
			 ERR_HTTP_AMBIGUOUS_FRAMING);
	assert_int_equal(parse_answer("HTTP/1.1 103 \r\nTransfer-Encoding: chunked\r\n\r\n"),
			 ERR_HTTP_AMBIGUOUS_FRAMING);
	assert_int_equal(parse_answer("HTTP/1.1 100\r\n\r\n"), ERR_OK);
	assert_int_equal(response.status, 100);
	assert_int_equal(parse_answer("HTTP/1.1 099 x\r\n\r\n"), ERR_HTTP_BAD_START_LINE);
	assert_int_equal(parse_answer("HTTP/1.1 600 x\r\n\r\n"), ERR_HTTP_BAD_START_LINE);
	assert_int_equal(parse_answer("HTTP/1.1 2000 x\r\n\r\n"), ERR_HTTP_BAD_START_LINE);
	assert_int_equal(parse_answer("HTTP/1.1 200 OK\r\nConnection: a, CLOSE\r\n\r\n"), ERR_OK);
	assert_false(response.head.keep_alive);
	assert_true(h1_is_hop_by_hop(&response.head, BYTES_LITERAL("A")));
	assert_false(h1_is_hop_by_hop(&response.head, BYTES_LITERAL("b")));
}

/* The texts of these tests are short. */
static void
append(char *to, struct bytes piece)
{
	size_t at = strlen(to);

	if (piece.len > 0)
		memcpy(to + at, piece.ptr, piece.len);
	to[at + piece.len] = '\0';
}

/* Decodes a chunked body cut into pieces of `step`; the payload goes to `to`. */
static enum err
decode(const char *text, size_t step, char *to, size_t *left)
{
	struct h1_head head = { .framing = H1_BODY_CHUNKED };
	struct bytes input = bytes_from_text(text);
	struct h1_body body;

	h1_body_init(&body, &head);
	*to = '\0';
	while (!body.done && input.len > 0) {
		struct bytes part = bytes_make(input.ptr, step < input.len ? step : input.len);
		size_t offered = part.len;

		while (part.len > 0 && !body.done) {
			struct bytes payload;
			enum err verdict = h1_body_feed(&body, &part, &payload);

			if (verdict != ERR_OK && verdict != ERR_MORE)
				return verdict;
			append(to, payload);
		}
		bytes_advance(&input, offered - part.len);
	}
	*left = input.len;
	return body.done ? ERR_OK : ERR_MORE;
}

static void
chunks_come_out_the_same_however_they_were_cut(void **state)
{
	char text[64];
	size_t left;

	(void)state;
	for (size_t step = 1; step < 40; step++) {
		assert_int_equal(decode("5\r\nhello\r\n006;x=y\r\n world\r\n0\r\nt: u\r\n\r\nnext", step, text,
					&left),
				 ERR_OK);
		assert_string_equal(text, "hello world");
		assert_int_equal(left, 4);
		assert_int_equal(decode("5\r\nhelloX", step, text, &left), ERR_HTTP_BAD_CHUNK);
		assert_int_equal(decode("0x5\r\nhello\r\n", step, text, &left), ERR_HTTP_BAD_CHUNK);
		assert_int_equal(decode("\r\n", step, text, &left), ERR_HTTP_BAD_CHUNK);
		assert_int_equal(decode("5 \r\nhello", step, text, &left), ERR_HTTP_BAD_CHUNK);
		assert_int_equal(decode("1111111111111111\r\n", step, text, &left), ERR_HTTP_BAD_CHUNK);
		assert_int_equal(decode("5\nhello", step, text, &left), ERR_HTTP_BAD_CHUNK);
		assert_int_equal(decode("5\r\nhel", step, text, &left), ERR_MORE);
	}
}

static void
extensions_and_trailers_keep_to_their_grammar(void **state)
{
	static const char *const good[] = {
		"1;a\r\nx\r\n0\r\n\r\n",
		"1;a=b;c=\"d\\\" ;e\";f\r\nx\r\n0;z\r\n\r\n",
		"1\r\nx\r\n0\r\na:\r\nb-c: d\te\r\n\r\n",
		"1\r\nx\r\n0\r\ncontent-length-x: 1\r\ntransfer-encodin: 2\r\n\r\n",
	};
	static const char *const bad[] = {
		"1;\r\nx",	  "1; a\r\nx",     "1;a b\r\nx",	  "1;a =b\r\nx",
		"1;a= b\r\nx",	  "1;a=\r\nx",     "1;a=\"b\r\nx",    "1;a=\"b\"c\r\nx",
		"1;a=\"\x01\"\r\nx", "1;;a\r\nx",     "1;a\nx",	  "1;a=\"\\\x01\"\r\nx",
		"0\r\n a: b\r\n\r\n", "0\r\nab\r\n\r\n", "0\r\na : b\r\n\r\n", "0\r\n:b\r\n\r\n",
		"0\r\na: \x01\r\n\r\n", "0\r\na: b\n\r\n", "0\r\nContent-Length: 1\r\n\r\n",
		"0\r\na: b\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\nconnection: close\r\n\r\n",
	};
	char text[64];
	size_t left;

	(void)state;
	for (size_t step = 1; step < 40; step++) {
		for (size_t i = 0; i < COUNT_OF(good); i++) {
			assert_int_equal(decode(good[i], step, text, &left), ERR_OK);
			assert_string_equal(text, "x");
			assert_int_equal(left, 0);
		}
		for (size_t i = 0; i < COUNT_OF(bad); i++)
			assert_int_equal(decode(bad[i], step, text, &left), ERR_HTTP_BAD_CHUNK);
	}
}

static void
a_lines_bound_is_that_of_its_text(void **state)
{
	static char text[H1_FIELD_BYTES_MAX + 64];
	struct { int target_bytes, field_bytes; enum err verdict; } rows[] = {
		{ H1_LINE_BYTES_MAX - 13, 8, ERR_OK },
		{ H1_LINE_BYTES_MAX - 12, 8, ERR_HTTP_LINE_TOO_LONG },
		{ 1, H1_FIELD_BYTES_MAX - 2, ERR_OK },
		{ 1, H1_FIELD_BYTES_MAX - 1, ERR_HTTP_HEAD_TOO_LARGE },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		int len = snprintf(text, sizeof(text), "GET /%0*d HTTP/1.1\r\nHost: a\r\n",
				   rows[i].target_bytes - 1, 0);

		if (rows[i].target_bytes == 1)
			len = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\n");
		snprintf(text + len, sizeof(text) - (size_t)len, "a:%0*d\r\n\r\n", rows[i].field_bytes, 0);
		assert_int_equal(parse(text), rows[i].verdict);
	}
}

static void
events_end_at_empty_lines_of_any_kind(void **state)
{
	static const char *const streams[] = { "data: a\n\ndata:b\ndata: c\n\n: x\n\n",
					       "data: a\r\n\r\ndata:b\r\ndata: c\r\n\r\n: x\r\n\r\n",
					       "data: a\r\rdata:b\rdata: c\r\r: x\r\r" };

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct bytes input = bytes_from_text(streams[i]);
		char data[16] = "";
		uint32_t ends = 0;
		struct sse sse;

		sse_init(&sse);
		while (input.len > 0) {
			enum sse_what what;
			struct bytes piece;

			assert_int_equal(sse_feed(&sse, &input, &what, &piece), ERR_OK);
			ends += what == SSE_EVENT_END;
			if (what == SSE_DATA)
				append(data, piece);
			if (what == SSE_LINE_END)
				data[strlen(data)] = '.';
		}
		assert_string_equal(data, "a.b.c.");
		assert_int_equal(sse.events, 2);
		assert_int_equal(ends, 3);
		assert_false(sse_in_data(&sse));
	}
}

static void
what_is_emitted_is_what_was_meant(void **state)
{
	uint8_t text[64];
	struct h1_writer w = h1_writer_make(text, sizeof(text));
	uint8_t chunk[H1_CHUNK_HEAD_BYTES_MAX];

	(void)state;
	h1_emit_status(&w, 429);
	h1_emit_field_number(&w, BYTES_LITERAL("a"), UINT64_MAX);
	h1_emit_end(&w);
	assert_false(w.overflow);
	assert_true(bytes_equal(bytes_make(text, w.len),
				BYTES_LITERAL("HTTP/1.1 429 Too Many Requests\r\n"
					      "a: 18446744073709551615\r\n\r\n")));
	h1_emit_text(&w, BYTES_LITERAL("far too long for the rest"));
	assert_true(w.overflow);
	assert_int_equal(h1_emit_chunk_head(chunk, 0x1a4), 5);
	assert_memory_equal(chunk, "1a4\r\n", 5);
	assert_int_equal(h1_emit_chunk_head(chunk, UINT64_MAX), H1_CHUNK_HEAD_BYTES_MAX);
}

static enum err
parse_within(const struct h1_limits *limits, const char *text)
{
	struct h1_scan scan = { .limits = limits };

	return h1_parse_request(bytes_from_text(text), &scan, &request);
}

static void
smaller_bounds_hold_at_their_edges(void **state)
{
	static const struct h1_limits limits = { .head_bytes = 52, .line_bytes = 20, .field_bytes = 12,
						 .fields = 3 };

	(void)state;
	assert_int_equal(parse_within(&limits, "GET /567 HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_OK);
	assert_int_equal(parse_within(&limits, "GET /56789ab HTTP/1.1\r\nHost: a\r\n\r\n"),
			 ERR_HTTP_LINE_TOO_LONG);
	assert_int_equal(parse_within(&limits, "GET / HTTP/1.1\r\nHost: a\r\nb: 45678901\r\n\r\n"), ERR_OK);
	assert_int_equal(parse_within(&limits, "GET / HTTP/1.1\r\nHost: a\r\nb: 4567890123\r\n\r\n"),
			 ERR_HTTP_HEAD_TOO_LARGE);
	assert_int_equal(parse_within(&limits, "GET / HTTP/1.1\r\nHost: a\r\nb: 1\r\nc: 2\r\n\r\n"), ERR_OK);
	assert_int_equal(parse_within(&limits, "GET / HTTP/1.1\r\nHost: a\r\nb: 1\r\nc: 2\r\nd: 3\r\n\r\n"),
			 ERR_HTTP_TOO_MANY_FIELDS);
	assert_int_equal(parse_within(&limits, "GET / HTTP/1.1\r\nHost: a\r\nb: 12345678\r\nc: 12345678\r\n"
					       "d: 1"),
			 ERR_HTTP_HEAD_TOO_LARGE);
}

static void
a_stream_may_have_a_shorter_longest_line(void **state)
{
	struct bytes input = BYTES_LITERAL("data: 123456\n");
	enum sse_what what;
	struct bytes piece;
	struct sse sse;

	(void)state;
	sse_init(&sse);
	sse.line_bytes_max = 12;
	while (input.len > 0)
		assert_int_equal(sse_feed(&sse, &input, &what, &piece), ERR_OK);
	input = BYTES_LITERAL("data: 1234567\n");
	while (sse_feed(&sse, &input, &what, &piece) == ERR_OK)
		;
	assert_int_equal(sse_feed(&sse, &input, &what, &piece), ERR_SSE_LINE_TOO_LONG);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ordinary_request_is_taken_apart),
		cmocka_unit_test(framing_that_could_mean_two_things_is_refused),
		cmocka_unit_test(lines_and_fields_out_of_the_grammar_are_refused),
		cmocka_unit_test(bounds_hold_for_heads_that_never_end),
		cmocka_unit_test(a_refused_head_still_says_where_it_went),
		cmocka_unit_test(answers_are_framed_by_status_method_and_fields),
		cmocka_unit_test(chunks_come_out_the_same_however_they_were_cut),
		cmocka_unit_test(extensions_and_trailers_keep_to_their_grammar),
		cmocka_unit_test(a_lines_bound_is_that_of_its_text),
		cmocka_unit_test(events_end_at_empty_lines_of_any_kind),
		cmocka_unit_test(what_is_emitted_is_what_was_meant),
		cmocka_unit_test(smaller_bounds_hold_at_their_edges),
		cmocka_unit_test(a_stream_may_have_a_shorter_longest_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

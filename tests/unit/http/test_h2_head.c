/* Fields of HTTP/2 as the HTTP/1.1 head that says the same, and what never becomes one (RFC 9113 section 8). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "http/h2_head.h"

static uint8_t memory[H2_HEAD_MEMORY_BYTES];
static struct h2_head head;
static struct h1_request request;
static struct h1_limits limits;

static void
begin(void)
{
	memset(memory, 0xa5, sizeof(memory));
	limits = (struct h1_limits){ H1_HEAD_BYTES_MAX, H1_LINE_BYTES_MAX, H1_FIELD_BYTES_MAX, H1_FIELDS_MAX };
	h2_head_init(&head, memory, &limits);
}

static void
add(const char *name, const char *value)
{
	h2_head_add(&head, bytes_from_text(name), bytes_from_text(value));
}

static void
begin_post(void)
{
	begin();
	add(":method", "POST");
	add(":scheme", "https");
	add(":authority", "edge:443");
	add(":path", "/v1/x?y=1");
}

static enum err
end(bool end_stream)
{
	return h2_head_end(&head, end_stream, &request);
}

/* A good request and one field more. */
static enum err
with(const char *name, const char *value)
{
	begin_post();
	add(name, value);
	return end(false);
}

static void
an_ordinary_request_reads_as_over_http1(void **state)
{
	(void)state;
	begin_post();
	add("authorization", "Bearer eco_x");
	add("content-length", "12");
	add("expect", "100-continue");
	add("te", "trailers");
	assert_int_equal(end(false), ERR_OK);
	assert_int_equal(request.method, H1_POST);
	assert_true(bytes_equal(request.path, BYTES_LITERAL("/v1/x")));
	assert_true(bytes_equal(request.query, BYTES_LITERAL("y=1")));
	assert_true(bytes_equal(request.host, BYTES_LITERAL("edge:443")));
	assert_int_equal(request.head.framing, H1_BODY_LENGTH);
	assert_int_equal(request.head.content_length, 12);
	assert_true(request.expect_continue);
	assert_int_equal(request.head.field_count, 5);
	assert_true(bytes_equal(h1_find(&request.head, BYTES_LITERAL("Authorization"))->value,
				BYTES_LITERAL("Bearer eco_x")));
}

static void
the_end_of_the_stream_says_whether_a_body_follows(void **state)
{
	(void)state;
	begin_post();
	assert_int_equal(end(true), ERR_OK);
	assert_int_equal(request.head.framing, H1_BODY_NONE);
	begin_post();
	assert_int_equal(end(false), ERR_OK);
	assert_int_equal(request.head.framing, H1_BODY_CHUNKED);
	begin_post();
	add("content-length", "0");
	assert_int_equal(end(false), ERR_OK);
	assert_int_equal(request.head.framing, H1_BODY_NONE);
	/* T71: bytes that were promised and cannot come. */
	begin_post();
	add("content-length", "1");
	assert_int_equal(end(true), ERR_H2_MALFORMED);
}

static void
pseudo_fields_stand_first_once_and_are_known(void **state)
{
	(void)state;
	begin();
	assert_int_equal(end(true), ERR_H2_MALFORMED);
	begin();
	add(":method", "GET");
	add(":path", "/");
	assert_int_equal(end(true), ERR_H2_MALFORMED); /* no scheme */
	begin();
	add(":method", "GET");
	add(":scheme", "https");
	assert_int_equal(end(true), ERR_H2_MALFORMED); /* no path */
	begin();
	add(":scheme", "https");
	add(":path", "/");
	assert_int_equal(end(true), ERR_H2_MALFORMED); /* no method */
	assert_int_equal(with(":method", "GET"), ERR_H2_MALFORMED);
	assert_int_equal(with(":path", "/"), ERR_H2_MALFORMED);
	assert_int_equal(with(":scheme", "https"), ERR_H2_MALFORMED);
	assert_int_equal(with(":authority", "edge:443"), ERR_H2_MALFORMED);
	assert_int_equal(with(":protocol", "websocket"), ERR_H2_MALFORMED);
	assert_int_equal(with(":status", "200"), ERR_H2_MALFORMED);
	begin();
	add(":method", "GET");
	add(":scheme", "https");
	add("host", "edge");
	add(":path", "/"); /* late */
	assert_int_equal(end(true), ERR_H2_MALFORMED);
	begin();
	add(":method", "GET");
	add(":scheme", "ftp");
	add(":path", "/");
	assert_int_equal(end(true), ERR_H2_MALFORMED);
}

static void
host_stands_for_authority_or_repeats_it(void **state)
{
	(void)state;
	begin();
	add(":method", "GET");
	add(":scheme", "https");
	add(":path", "/");
	add("host", "edge");
	assert_int_equal(end(true), ERR_OK);
	assert_true(bytes_equal(request.host, BYTES_LITERAL("edge")));
	assert_int_equal(with("host", "EDGE:443"), ERR_OK);
	assert_int_equal(request.head.field_count, 1);
	assert_int_equal(with("host", "other:443"), ERR_H2_MALFORMED);
	begin();
	add(":method", "GET");
	add(":scheme", "https");
	add(":path", "/");
	assert_int_equal(end(true), ERR_HTTP_BAD_HOST); /* neither */
}

static void
fields_of_the_connection_are_malformed(void **state)
{
	(void)state;
	assert_int_equal(with("connection", "close"), ERR_H2_MALFORMED);
	assert_int_equal(with("keep-alive", "1"), ERR_H2_MALFORMED);
	assert_int_equal(with("proxy-connection", "close"), ERR_H2_MALFORMED);
	assert_int_equal(with("transfer-encoding", "chunked"), ERR_H2_MALFORMED);
	assert_int_equal(with("upgrade", "h2c"), ERR_H2_MALFORMED);
	assert_int_equal(with("te", "gzip"), ERR_H2_MALFORMED);
	assert_int_equal(with("te", "trailers"), ERR_OK);
}

/* T72: each octet in each place; what passes reads back as it was given, and adds no field. */
static void
no_octet_of_a_field_becomes_a_line(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		uint8_t text[] = { 'a', (uint8_t)c, 'b' };
		struct bytes bytes = bytes_make(text, sizeof(text));
		bool is_name = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			       (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
		bool ends_line = c == 0 || c == '\r' || c == '\n';
		enum err verdict;

		begin_post();
		h2_head_add(&head, bytes, BYTES_LITERAL("v"));
		assert_int_equal(end(true), is_name ? ERR_OK : ERR_H2_MALFORMED);
		begin_post();
		h2_head_add(&head, BYTES_LITERAL("x-y"), bytes);
		verdict = end(true);
		assert_int_equal(verdict == ERR_H2_MALFORMED, ends_line);
		if (verdict == ERR_OK) {
			assert_int_equal(request.head.field_count, 2);
			assert_true(bytes_equal(request.head.fields[1].value, bytes));
		} else if (!ends_line) {
			assert_int_equal(verdict, ERR_HTTP_BAD_FIELD); /* as over HTTP/1.1 */
		}
	}
}

static void
no_octet_of_a_pseudo_field_becomes_a_word(void **state)
{
	static const char *const names[] = { ":method", ":path", ":authority" };

	(void)state;
	for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
		for (int c = 0; c < 256; c++) {
			uint8_t text[] = { '/', (uint8_t)c, 'b' };
			enum err verdict;

			begin();
			for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
				if (i == n)
					h2_head_add(&head, bytes_from_text(names[i]),
						    bytes_make(text, sizeof(text)));
				else
					add(names[i], i == 0 ? "GET" : i == 1 ? "/" : "edge");
			add(":scheme", "https");
			verdict = end(true);
			if (c <= 0x20 || c == 0x7f)
				assert_int_equal(verdict, ERR_H2_MALFORMED);
			else if (n == 1 && c < 0x7f && c != '#')
				assert_int_equal(verdict, ERR_OK);
			else
				assert_true(verdict == ERR_HTTP_BAD_START_LINE ||
					    verdict == ERR_HTTP_BAD_TARGET || verdict == ERR_HTTP_BAD_HOST ||
					    verdict == ERR_HTTP_BAD_FIELD);
			if (verdict == ERR_OK)
				assert_int_equal(request.head.field_count, 1);
		}
	}
}

static void
white_space_at_the_ends_of_a_value_is_malformed(void **state)
{
	(void)state;
	assert_int_equal(with("x", " a"), ERR_H2_MALFORMED);
	assert_int_equal(with("x", "a\t"), ERR_H2_MALFORMED);
	assert_int_equal(with("x", "a b"), ERR_OK);
	assert_int_equal(with("x", ""), ERR_OK);
	assert_int_equal(with("", "a"), ERR_H2_MALFORMED);
	assert_int_equal(with("X", "a"), ERR_H2_MALFORMED);
	assert_int_equal(with("x:", "a"), ERR_H2_MALFORMED);
}

/* T67: fields are counted one by one, a cookie's crumbs too. */
static void
fields_and_bytes_are_bounded(void **state)
{
	static char long_text[H1_HEAD_BYTES_MAX + 1];

	(void)state;
	begin_post();
	for (int i = 0; i < H1_FIELDS_MAX - 1; i++)
		add("cookie", "a=b");
	assert_int_equal(end(true), ERR_OK);
	begin_post();
	for (int i = 0; i < H1_FIELDS_MAX; i++)
		add("cookie", "a=b");
	assert_int_equal(end(true), ERR_HTTP_TOO_MANY_FIELDS);
	begin_post();
	for (int i = 0; i < 1000000; i++)
		add("a", "");
	assert_int_equal(end(true), ERR_HTTP_TOO_MANY_FIELDS);
	memset(long_text, 'a', sizeof(long_text) - 1);
	assert_int_equal(with("x", long_text), ERR_HTTP_HEAD_TOO_LARGE);
	long_text[H1_FIELD_BYTES_MAX] = '\0';
	assert_int_equal(with("x", long_text), ERR_HTTP_HEAD_TOO_LARGE);
	long_text[H1_FIELD_BYTES_MAX - 8] = '\0';
	assert_int_equal(with("x", long_text), ERR_OK);
	begin_post();
	for (int i = 0; i < 5; i++)
		add("x", long_text);
	assert_int_equal(end(true), ERR_HTTP_HEAD_TOO_LARGE);
	/* 32 bytes are counted for each, so that many small ones are not cheap. */
	long_text[310] = '\0';
	begin_post();
	for (int i = 0; i < 98; i++)
		add("x", long_text);
	assert_true(head.text_bytes < H1_HEAD_BYTES_MAX);
	assert_int_equal(end(true), ERR_HTTP_HEAD_TOO_LARGE);
	long_text[310] = 'a';
	begin();
	add(":method", "GET");
	add(":scheme", "https");
	long_text[0] = '/';
	long_text[H1_LINE_BYTES_MAX] = '\0';
	add(":path", long_text);
	assert_int_equal(end(true), ERR_HTTP_LINE_TOO_LONG);
	begin();
	for (int i = 0; i < 4; i++) {
		char name[8];

		snprintf(name, sizeof(name), ":p%d", i);
		add(name, long_text);
	}
	assert_int_equal(end(true), ERR_H2_MALFORMED);
}

static void
what_http1_refuses_is_refused_alike(void **state)
{
	(void)state;
	assert_int_equal(with("content-length", "05"), ERR_HTTP_BAD_LENGTH);
	assert_int_equal(with("content-length", "5, 5"), ERR_HTTP_BAD_LENGTH);
	assert_int_equal(with("expect", "else"), ERR_HTTP_EXPECTATION);
	begin();
	add(":method", "GET");
	add(":scheme", "https");
	add(":authority", "user@edge");
	add(":path", "/");
	assert_int_equal(end(true), ERR_HTTP_BAD_HOST);
	begin();
	add(":method", "GET");
	add(":scheme", "https");
	add(":authority", "edge");
	add(":path", "https://edge/");
	assert_int_equal(end(true), ERR_HTTP_BAD_TARGET);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ordinary_request_reads_as_over_http1),
		cmocka_unit_test(the_end_of_the_stream_says_whether_a_body_follows),
		cmocka_unit_test(pseudo_fields_stand_first_once_and_are_known),
		cmocka_unit_test(host_stands_for_authority_or_repeats_it),
		cmocka_unit_test(fields_of_the_connection_are_malformed),
		cmocka_unit_test(no_octet_of_a_field_becomes_a_line),
		cmocka_unit_test(no_octet_of_a_pseudo_field_becomes_a_word),
		cmocka_unit_test(white_space_at_the_ends_of_a_value_is_malformed),
		cmocka_unit_test(fields_and_bytes_are_bounded),
		cmocka_unit_test(what_http1_refuses_is_refused_alike),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

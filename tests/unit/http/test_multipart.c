/* Forms: what is found in them, and what is refused because two parsers could read it differently. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "http/multipart.h"

#define FORM_DATA "multipart/form-data; boundary="
#define PART(name, value) "--B\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"
#define END "--B--\r\n"

static struct multipart m;

static enum err
feed_in(const char *body, size_t step)
{
	struct bytes left = bytes_from_text(body);

	multipart_init(&m, BYTES_LITERAL("B"));
	while (left.len > 0) {
		size_t n = step < left.len ? step : left.len;
		enum err verdict = multipart_feed(&m, bytes_make(left.ptr, n));

		if (verdict != ERR_OK)
			return verdict;
		bytes_advance(&left, n);
	}
	return multipart_end(&m);
}

/* The verdict, which no cut may change. */
static enum err
parse(const char *body)
{
	enum err verdict = feed_in(body, SIZE_MAX);

	for (size_t step = 1; step <= 5; step++)
		assert_int_equal(feed_in(body, step), verdict);
	return verdict;
}

static void
finds_the_model_wherever_it_stands(void **state)
{
	static const char *const bodies[] = {
		PART("model", "large-v3") PART("language", "en") END,
		PART("file", "x") PART("model", "large-v3") END,
		PART("prompt", "") PART("Model", "other") PART("model", "large-v3") "--B--",
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(parse(bodies[i]), ERR_OK);
		assert_true(m.result.has_model);
		assert_int_equal(m.result.model_len, 8);
		assert_memory_equal(m.result.model, "large-v3", 8);
		assert_memory_equal(bodies[i] + m.result.model_start, "large-v3\r\n--B", 13);
		assert_int_equal(m.result.model_end - m.result.model_start, 8);
	}
}

static void
what_looks_like_a_delimiter_and_is_none_belongs_to_the_file(void **state)
{
	static const char body[] =
		"--B\r\nContent-Disposition: form-data; name=file; filename=\"a \\\"b\\\".mp3\"\r\n"
		"Content-Type: audio/mpeg\r\n\r\nab\r\n--\r\n--A\r\r\r\n-\r\n\r\n--B--\r\n";

	(void)state;
	assert_int_equal(parse(body), ERR_OK);
	assert_true(m.result.has_file);
	assert_int_equal(m.result.file_bytes, strlen("ab\r\n--\r\n--A\r\r\r\n-\r\n"));
	assert_false(m.result.has_model);
	assert_int_equal(parse(PART("file", "") PART("model", "m") END), ERR_OK);
	assert_int_equal(m.result.file_bytes, 0);
}

static void
a_stream_is_asked_for_in_words(void **state)
{
	(void)state;
	assert_int_equal(parse(PART("stream", "true") END), ERR_OK);
	assert_true(m.result.streams);
	assert_int_equal(parse(PART("stream", "False") END), ERR_OK);
	assert_false(m.result.streams);
	assert_int_equal(parse(PART("stream", "1") END), ERR_MULTIPART_BAD_VALUE);
	assert_int_equal(m.result.culprit, MULTIPART_STREAM);
}

static void
a_part_that_is_read_stands_once_and_is_text(void **state)
{
	(void)state;
	assert_int_equal(parse(PART("model", "a") PART("model", "a") END), ERR_MULTIPART_DUPLICATE);
	assert_int_equal(m.result.culprit, MULTIPART_MODEL);
	assert_int_equal(parse(PART("file", "a") PART("file", "a") END), ERR_MULTIPART_DUPLICATE);
	assert_int_equal(parse(PART("prompt", "a") PART("prompt", "a") END), ERR_OK);
	assert_int_equal(parse(PART("model", "") END), ERR_MULTIPART_BAD_VALUE);
	assert_int_equal(parse(PART("model", "a\tb") END), ERR_MULTIPART_BAD_VALUE);
	assert_int_equal(parse("--B\r\ncontent-disposition: form-data; name=\"model\"; filename=\"m\"\r\n\r\n"
			       "a\r\n" END), ERR_MULTIPART_BAD_VALUE);
	assert_int_equal(parse("--B\r\ncontent-type: text/plain; charset=utf-16\r\n"
			       "content-disposition: form-data; name=\"model\"\r\n\r\na\r\n" END),
			 ERR_MULTIPART_BAD_VALUE);
	assert_int_equal(parse("--B\r\ncontent-type: text/plain; charset=UTF-8\r\n"
			       "content-disposition: form-data; name=\"model\"\r\n\r\na\r\n" END), ERR_OK);
}

static void
a_value_that_is_too_long_is_refused_before_its_end(void **state)
{
	char body[1024] = PART("model", "");
	size_t at = strlen(body) - 2;

	(void)state;
	memset(body + at, 'x', 256);
	memcpy(body + at + 256, "\r\n" END, 9);
	body[at + 265] = '\0';
	assert_int_equal(parse(body), ERR_OK);
	assert_int_equal(m.result.model_len, 256);
	memset(body + at, 'x', 257);
	body[at + 257] = '\0';
	assert_int_equal(parse(body), ERR_MULTIPART_BAD_VALUE);
}

static void
the_grammar_has_one_reading(void **state)
{
	static const char *const wrong[] = {
		"",                                              /* nothing at all */
		"--B--\r\n",                                     /* no part: not a form */
		"preamble\r\n" PART("model", "a") END,
		"\r\n" PART("model", "a") END,
		"--B \r\ncontent-disposition: form-data; name=a\r\n\r\na\r\n" END, /* padding */
		"--BB\r\ncontent-disposition: form-data; name=a\r\n\r\na\r\n" END, /* longer */
		PART("a", "x\r\n--BC") END,                      /* longer, further down */
		PART("a", "x") "--B-x",
		PART("a", "x") END "x",                          /* an epilogue */
		PART("a", "x") END "\r\n",
		PART("a", "x"),                                  /* no end */
		PART("a", "x") "--B",
		PART("a", "x") "--B-",
		"--B\n",
		"--B\r\n\r\nx\r\n" END,                          /* no disposition */
		"--B\r\ncontent-disposition: form-data\r\n\r\nx\r\n" END,
		"--B\r\ncontent-disposition: attachment; name=a\r\n\r\nx\r\n" END,
		"--B\r\ncontent-disposition: form-data; name=a; name=b\r\n\r\nx\r\n" END,
		"--B\r\ncontent-disposition: form-data; name*=utf-8''model\r\n\r\nx\r\n" END,
		"--B\r\ncontent-disposition: form-data; name=\"a\\b\"\r\n\r\nx\r\n" END,
		"--B\r\ncontent-disposition: form-data; name=\"a\r\n\r\nx\r\n" END,
		"--B\r\ncontent-disposition: form-data; name=a junk\r\n\r\nx\r\n" END,
		"--B\r\ncontent-disposition: form-data; name=a\r\n folded: x\r\n\r\nx\r\n" END,
		"--B\r\ncontent-disposition : form-data; name=a\r\n\r\nx\r\n" END,
		"--B\r\ncontent-disposition: form-data; name=a\n\r\nx\r\n" END,
		"--B\r\ncontent-disposition: form-data; name=a\r\n"
		"content-disposition: form-data; name=b\r\n\r\nx\r\n" END,
		"--B\r\ncontent-transfer-encoding: base64\r\n"
		"content-disposition: form-data; name=a\r\n\r\nx\r\n" END,
		"--B\r\ncontent-length: 2\r\ncontent-disposition: form-data; name=a\r\n\r\nx\r\n" END,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_not_equal(parse(wrong[i]), ERR_OK);
	assert_int_equal(parse("--B\r\ncontent-length: 1\r\ncontent-transfer-encoding: 8BIT\r\n"
			       "content-disposition: form-data; name=a\r\n\r\nx\r\n" END), ERR_OK);
}

static void
headers_and_parts_are_bounded(void **state)
{
	static char body[64 * 1024];
	size_t at = 0;

	(void)state;
	memcpy(body, "--B\r\nx: ", 8);
	memset(body + 8, 'y', 2000);
	assert_int_equal(parse(body), ERR_MULTIPART_TOO_LARGE);
	memcpy(body, "--B\r\n", 5);
	for (at = 5; at < 2500; at += 10)
		memcpy(body + at, "x: 3456\r\n", 9), body[at + 9] = 'x';
	body[at] = '\0';
	assert_int_not_equal(parse(body), ERR_OK);
	for (at = 0; at < 65 * strlen(PART("a", "x")); at += strlen(PART("a", "x")))
		memcpy(body + at, PART("a", "x"), strlen(PART("a", "x")));
	body[at] = '\0';
	assert_int_equal(parse(body), ERR_MULTIPART_TOO_LARGE);
	memcpy(body + 64 * strlen(PART("a", "x")), END, sizeof(END));
	assert_int_equal(parse(body), ERR_OK);
}

static const char *
boundary_of(const char *type)
{
	static char text[MULTIPART_BOUNDARY_BYTES_MAX + 1];
	struct bytes boundary;

	if (multipart_boundary(bytes_from_text(type), &boundary) != ERR_OK)
		return "none";
	memcpy(text, boundary.ptr, boundary.len);
	text[boundary.len] = '\0';
	return text;
}

static void
the_boundary_comes_from_the_content_type(void **state)
{
	(void)state;
	assert_string_equal(boundary_of(FORM_DATA "abc"), "abc");
	assert_string_equal(boundary_of("Multipart/Form-Data;charset=utf-8 ; BOUNDARY=\"a b:c\""), "a b:c");
	assert_string_equal(boundary_of(FORM_DATA "----WebKitFormBoundary7MA4YWxkTrZu0gW"),
			    "----WebKitFormBoundary7MA4YWxkTrZu0gW");
	assert_string_equal(boundary_of("multipart/form-data"), "none");
	assert_string_equal(boundary_of("multipart/form-datax; boundary=a"), "none");
	assert_string_equal(boundary_of("multipart/mixed; boundary=a"), "none");
	assert_string_equal(boundary_of(FORM_DATA "a; boundary=b"), "none");
	assert_string_equal(boundary_of(FORM_DATA "\"a \""), "none");
	assert_string_equal(boundary_of(FORM_DATA "\"a\\b\""), "none");
	assert_string_equal(boundary_of(FORM_DATA "a b"), "none");
	assert_string_equal(boundary_of(FORM_DATA "\"\""), "none");
	assert_string_equal(boundary_of(FORM_DATA "1234567890123456789012345678901234567890"
					"1234567890123456789012345678901"), "none");
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_model_wherever_it_stands),
		cmocka_unit_test(what_looks_like_a_delimiter_and_is_none_belongs_to_the_file),
		cmocka_unit_test(a_stream_is_asked_for_in_words),
		cmocka_unit_test(a_part_that_is_read_stands_once_and_is_text),
		cmocka_unit_test(a_value_that_is_too_long_is_refused_before_its_end),
		cmocka_unit_test(the_grammar_has_one_reading),
		cmocka_unit_test(headers_and_parts_are_bounded),
		cmocka_unit_test(the_boundary_comes_from_the_content_type),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

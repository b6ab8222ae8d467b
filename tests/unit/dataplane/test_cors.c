/* Which page is told that it may read an answer, and what a preflight is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dataplane/cors.h"

#define HEAD(method, fields) method " /v1/models HTTP/1.1\r\nHost: a\r\n" fields "\r\n"
#define ASKS "Access-Control-Request-Method: POST\r\n"

static struct h1_request request;

static void
parse(const char *text)
{
	struct h1_scan scan = { 0 };

	assert_int_equal(h1_parse_request(bytes_from_text(text), &scan, &request), ERR_OK);
}

static struct bytes
told(const char *allowed, const char *head)
{
	parse(head);
	return cors_origin(allowed, &request.head);
}

static void
an_origin_is_told_itself_or_a_star_or_nothing(void **state)
{
	static const char two[] = "https://a.example http://localhost:3000";

	(void)state;
	assert_true(bytes_equal(told(two, HEAD("GET", "Origin: https://a.example\r\n")),
				BYTES_LITERAL("https://a.example")));
	assert_true(bytes_equal(told(two, HEAD("GET", "Origin: http://localhost:3000\r\n")),
				BYTES_LITERAL("http://localhost:3000")));
	assert_true(bytes_equal(told("*", HEAD("GET", "Origin: https://b.example\r\n")), BYTES_LITERAL("*")));
	assert_int_equal(told("*", HEAD("GET", "")).len, 0);
	assert_int_equal(told("*", HEAD("GET", "Origin:\r\n")).len, 0);
	assert_int_equal(told("", HEAD("GET", "Origin: https://a.example\r\n")).len, 0);
	assert_int_equal(told(NULL, HEAD("GET", "Origin: https://a.example\r\n")).len, 0);
	assert_int_equal(told(two, HEAD("GET", "Origin: https://a.example.evil\r\n")).len, 0);
	assert_int_equal(told(two, HEAD("GET", "Origin: https://a.exampl\r\n")).len, 0);
	assert_int_equal(told(two, HEAD("GET", "Origin: https://a.example http://localhost:3000\r\n")).len, 0);
	assert_int_equal(told(two, HEAD("GET", "Origin: null\r\n")).len, 0);
}

static void
a_preflight_has_an_origin_and_a_method_and_no_key(void **state)
{
	(void)state;
	parse(HEAD("OPTIONS", "Origin: https://a.example\r\n" ASKS));
	assert_true(cors_is_preflight(&request));
	parse(HEAD("OPTIONS", "Origin: https://a.example\r\n"));
	assert_false(cors_is_preflight(&request));
	parse(HEAD("OPTIONS", ASKS));
	assert_false(cors_is_preflight(&request));
	parse(HEAD("GET", "Origin: https://a.example\r\n" ASKS));
	assert_false(cors_is_preflight(&request));
	parse(HEAD("OPTIONS", "Origin: https://a.example\r\nAuthorization: Bearer eco_x\r\n" ASKS));
	assert_false(cors_is_preflight(&request));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_origin_is_told_itself_or_a_star_or_nothing),
		cmocka_unit_test(a_preflight_has_an_origin_and_a_method_and_no_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Each refusal says the same thing in the words of either form, and what a client named cannot break out of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/refusal.h"
#include "json/scan.h"

static const char *
body_of(const struct refusal *refusal, enum refusal_form form)
{
	static char text[REFUSAL_BODY_BYTES_MAX + 1];
	uint32_t n = refusal_body(refusal, form, (uint8_t *)text, REFUSAL_BODY_BYTES_MAX);

	text[n] = '\0';
	return text;
}

static void
every_refusal_is_valid_json_in_either_form(void **state)
{
	char subject[256];

	(void)state;
	for (int i = 0; i < 256; i++)
		subject[i] = (char)i;
	for (int code = REFUSAL_NONE + 1; code < REFUSAL_COUNT; code++) {
		struct refusal refusal = { .code = (enum refusal_code)code, .param = "model",
					   .subject = bytes_make(subject, sizeof(subject)) };

		for (int form = 0; form < REFUSAL_FORM_COUNT; form++) {
			struct json_scan scan;
			uint16_t status = refusal_status(refusal.code, (enum refusal_form)form);

			json_scan_init(&scan);
			assert_int_equal(json_scan_feed(&scan, bytes_from_text(body_of(
								       &refusal, (enum refusal_form)form))),
					 ERR_OK);
			assert_int_equal(json_scan_end(&scan), ERR_OK);
			assert_true(status >= 400 && status <= 599 && status != 408 && status != 409);
		}
	}
}

static void
the_words_are_those_of_the_contract(void **state)
{
	struct refusal refusal = { .code = REFUSAL_MODEL_NOT_FOUND, .param = "model",
				   .subject = BYTES_LITERAL("a\"b") };

	(void)state;
	assert_string_equal(
		body_of(&refusal, REFUSAL_FORM_OPENAI),
		"{\"error\":{\"message\":\"The model does not exist, or its instance is not running. (a\\\"b)\","
		"\"type\":\"invalid_request_error\",\"param\":\"model\",\"code\":\"model_not_found\"},"
		"\"message\":\"The model does not exist, or its instance is not running. (a\\\"b)\"}");
	assert_string_equal(
		body_of(&refusal, REFUSAL_FORM_CODES),
		"{\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"The model does not exist, or its instance "
		"is not running. (a\\\"b)\",\"details\":{\"field\":\"model\"}}}");
	refusal = (struct refusal){ .code = REFUSAL_PAYLOAD_TOO_LARGE, .limit_bytes = 1048576 };
	assert_string_equal(body_of(&refusal, REFUSAL_FORM_CODES),
			    "{\"error\":{\"code\":\"PAYLOAD_TOO_LARGE\",\"message\":\"The body is larger than "
			    "this path allows. (at most 1048576 bytes)\",\"details\":{}}}");
	assert_int_equal(refusal_status(REFUSAL_INVALID_JSON, REFUSAL_FORM_OPENAI), 400);
	assert_int_equal(refusal_status(REFUSAL_INVALID_JSON, REFUSAL_FORM_CODES), 422);
	assert_int_equal(refusal_retry(REFUSAL_INSUFFICIENT_BALANCE), REFUSAL_RETRY_NO);
	assert_int_equal(refusal_retry(REFUSAL_UPSTREAM_FAILED), REFUSAL_RETRY_NO);
	assert_int_equal(refusal_retry(REFUSAL_BALANCE_IN_FLIGHT), REFUSAL_RETRY_YES);
	assert_int_equal(refusal_retry(REFUSAL_NO_HEALTHY_REGION), REFUSAL_RETRY_DEFAULT);
	assert_int_equal(refusal_retry(REFUSAL_RATE_LIMITED), REFUSAL_RETRY_DEFAULT);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_refusal_is_valid_json_in_either_form),
		cmocka_unit_test(the_words_are_those_of_the_contract),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

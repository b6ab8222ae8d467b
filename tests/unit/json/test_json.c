/* What a body says, and whether it is one, however it was cut; and what becomes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "json/splice.h"
#include "json/usage.h"
#include "json/validate.h"

static struct json_scan scanned;

static enum err
scan_in(struct bytes input, size_t step)
{
	enum err verdict = ERR_OK;

	json_scan_init(&scanned);
	while (input.len > 0 && verdict == ERR_OK) {
		size_t n = step < input.len ? step : input.len;

		verdict = json_scan_feed(&scanned, bytes_make(input.ptr, n));
		bytes_advance(&input, n);
	}
	return verdict == ERR_OK ? json_scan_end(&scanned) : verdict;
}

/* The same verdict at every step, or ERR_COUNT. */
static enum err
scan(const char *text)
{
	enum err whole = scan_in(bytes_from_text(text), SIZE_MAX);

	for (size_t step = 1; step < 12; step++)
		if (scan_in(bytes_from_text(text), step) != whole)
			return ERR_COUNT;
	return whole;
}

static void
only_one_valid_object_is_a_body(void **state)
{
	(void)state;
	assert_int_equal(scan("{}"), ERR_OK);
	assert_int_equal(scan(" {\"a\" : [1 ,-0.5e+3, true,null , "
			      "\"\\u00e9\\ud83d\\ude00\\n\" ,{ }] }\n"),
			 ERR_OK);
	assert_int_equal(scan(""), ERR_JSON_INCOMPLETE);
	assert_int_equal(scan("{"), ERR_JSON_INCOMPLETE);
	assert_int_equal(scan("[1]"), ERR_JSON_NOT_OBJECT);
	assert_int_equal(scan("1"), ERR_JSON_NOT_OBJECT);
	assert_int_equal(scan("{}{}"), ERR_JSON_TRAILING);
	assert_int_equal(scan("{,}"), ERR_JSON_SYNTAX);
	assert_int_equal(scan("{\"a\":1,}"), ERR_JSON_SYNTAX);
	assert_int_equal(scan("{\"a\" 1}"), ERR_JSON_SYNTAX);
	assert_int_equal(scan("{\"a\":[1,]}"), ERR_JSON_SYNTAX);
	assert_int_equal(scan("{\"a\":[1}"), ERR_JSON_SYNTAX);
	assert_int_equal(scan("{\"a\":nul}"), ERR_JSON_SYNTAX);
	assert_int_equal(scan("{\"a\":NaN}"), ERR_JSON_SYNTAX);
	assert_int_equal(scan("{'a':1}"), ERR_JSON_SYNTAX);
	assert_int_equal(scan("{\"a\":01}"), ERR_JSON_BAD_NUMBER);
	assert_int_equal(scan("{\"a\":1.}"), ERR_JSON_BAD_NUMBER);
	assert_int_equal(scan("{\"a\":-}"), ERR_JSON_BAD_NUMBER);
	assert_int_equal(scan("{\"a\":1e}"), ERR_JSON_BAD_NUMBER);
	assert_int_equal(scan("{\"a\":\"\\x\"}"), ERR_JSON_BAD_ESCAPE);
	assert_int_equal(scan("{\"a\":\"\\u12g4\"}"), ERR_JSON_BAD_ESCAPE);
	assert_int_equal(scan("{\"a\":\"\\ud800\"}"), ERR_JSON_LONE_SURROGATE);
	assert_int_equal(scan("{\"a\":\"\\udc00\"}"), ERR_JSON_LONE_SURROGATE);
	assert_int_equal(scan("{\"a\":\"\t\"}"), ERR_JSON_CONTROL);
	assert_int_equal(scan("{\"a\":\"\xc0\x80\"}"), ERR_JSON_BAD_UTF8);
	assert_int_equal(scan("{\"a\":\"\xed\xa0\x80\"}"), ERR_JSON_BAD_UTF8);
	assert_int_equal(scan("{\"a\":\"\xf4\x90\x80\x80\"}"), ERR_JSON_BAD_UTF8);
	assert_int_equal(scan("{\"a\":\"\xe2\x82\xac\xf0\x9f\x98\x80\"}"), ERR_OK);
	assert_int_equal(scan("\xef\xbb\xbf{}"), ERR_JSON_NOT_OBJECT);
}

static void
numbers_that_not_every_parser_holds_are_refused(void **state)
{
	(void)state;
	assert_int_equal(scan("{\"a\":18446744073709551615}"), ERR_OK);
	assert_int_equal(scan("{\"a\":18446744073709551616}"), ERR_JSON_BAD_NUMBER);
	assert_int_equal(scan("{\"a\":18446744073709551616.0}"), ERR_OK);
	assert_int_equal(scan("{\"a\":-9223372036854775808}"), ERR_OK);
	assert_int_equal(scan("{\"a\":-9223372036854775809}"), ERR_JSON_BAD_NUMBER);
	assert_int_equal(scan("{\"a\":100000000000000000000}"), ERR_JSON_BAD_NUMBER);
	assert_int_equal(scan("{\"a\":1.7976931348623157e308}"), ERR_OK);
	assert_int_equal(scan("{\"a\":-17976931348623157.0E+292}"), ERR_OK);
	assert_int_equal(scan("{\"a\":1.7976931348623159e308}"), ERR_JSON_BAD_NUMBER);
	assert_int_equal(scan("{\"a\":1e309}"), ERR_JSON_BAD_NUMBER);
	assert_int_equal(scan("{\"a\":0.001e311}"), ERR_OK);
	assert_int_equal(scan("{\"a\":0.1e310}"), ERR_JSON_BAD_NUMBER);
	assert_int_equal(scan("{\"a\":5e-324}"), ERR_OK);
	assert_int_equal(scan("{\"a\":9e-325}"), ERR_JSON_BAD_NUMBER);
	assert_int_equal(scan("{\"a\":0e-99999999999}"), ERR_OK);
	assert_int_equal(scan("{\"a\":[0.0e9999999, -0]}"), ERR_OK);
	assert_int_equal(scan("{\"a\":1e9999999999999999999999}"), ERR_JSON_BAD_NUMBER);
	assert_int_equal(scan("{\"seed\":-9223372036854775808}"), ERR_OK);
	assert_true(scanned.result.field[JSON_FIELD_SEED].integer);
	assert_true(scanned.result.field[JSON_FIELD_SEED].number == INT64_MIN);
	assert_int_equal(scan("{\"seed\":9223372036854775808}"), ERR_OK);
	assert_false(scanned.result.field[JSON_FIELD_SEED].integer);
}

static void
bounds_are_met_with_a_verdict(void **state)
{
	char text[4096] = "{\"a\":";
	size_t at = strlen(text);

	(void)state;
	memset(text + at, '[', JSON_DEPTH_MAX);
	assert_int_equal(scan(text), ERR_JSON_TOO_DEEP);
	text[at + JSON_DEPTH_MAX - 1] = '\0';
	assert_int_equal(scan(text), ERR_JSON_INCOMPLETE);
	at = 1;
	for (int i = 0; i <= JSON_TOP_LEVEL_KEYS_MAX; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "\"k%d\":1,", i);
	assert_int_equal(scan(text), ERR_JSON_TOO_MANY_KEYS);
	at = (size_t)snprintf(text, sizeof(text), "{\"model\":\"");
	memset(text + at, 'm', JSON_MODEL_BYTES_MAX + 1);
	snprintf(text + at + JSON_MODEL_BYTES_MAX + 1, 8, "\"}");
	assert_int_equal(scan(text), ERR_JSON_MODEL_TOO_LONG);
}

static enum err
scan_within(uint32_t depth, uint32_t keys, const char *text)
{
	struct json_scan s;
	enum err verdict;

	json_scan_init(&s);
	json_scan_bound(&s, depth, keys);
	verdict = json_scan_feed(&s, bytes_from_text(text));
	return verdict == ERR_OK ? json_scan_end(&s) : verdict;
}

static void
smaller_bounds_hold_at_their_edges(void **state)
{
	(void)state;
	assert_int_equal(scan_within(3, 2, "{\"a\":[[1]],\"b\":2}"), ERR_OK);
	assert_int_equal(scan_within(2, 2, "{\"a\":[[1]],\"b\":2}"), ERR_JSON_TOO_DEEP);
	assert_int_equal(scan_within(3, 1, "{\"a\":[[1]],\"b\":2}"), ERR_JSON_TOO_MANY_KEYS);
}

static void
fields_are_found_by_their_decoded_names_once(void **state)
{
	(void)state;
	assert_int_equal(scan("{\"x\":{\"model\":\"no\"},\"mod\\u0065l\":\"a\\/b\",\"n\":-3,\"stream\":true}"),
			 ERR_OK);
	assert_int_equal(scanned.result.model_len, 3);
	assert_memory_equal(scanned.result.model, "a/b", 3);
	assert_int_equal(scanned.result.field[JSON_FIELD_N].number, -3);
	assert_true(scanned.result.field[JSON_FIELD_STREAM].boolean);
	assert_int_equal(scan("{\"model\":\"a\",\"model\":\"b\"}"), ERR_JSON_DUPLICATE);
	assert_int_equal(scanned.result.culprit, JSON_FIELD_MODEL);
	assert_int_equal(scan("{\"n\":1,\"\\u006e\":2}"), ERR_JSON_DUPLICATE);
	assert_int_equal(scan("{\"n\":1,\"n\\u0000\":2}"), ERR_JSON_BAD_ESCAPE);
	assert_int_equal(scan("{\"Model\":\"a\",\"model\":\"b\",\"other\":1,\"other\":2}"), ERR_OK);
}

static enum err
valid(const char *fields)
{
	enum json_field culprit = JSON_FIELD_COUNT;
	const char *sentence = NULL;
	char text[256];

	snprintf(text, sizeof(text), "{\"model\":\"m\",\"messages\":[1]%s}", fields);
	assert_int_equal(scan(text), ERR_OK);
	return json_validate(&scanned.result, JSON_PATH_CHAT, &culprit, &sentence);
}

static void
chat_fields_are_held_to_the_contract(void **state)
{
	(void)state;
	assert_int_equal(valid(""), ERR_OK);
	assert_int_equal(valid(",\"temperature\":2,\"top_p\":1.0,\"presence_penalty\":-2e0"), ERR_OK);
	assert_int_equal(valid(",\"temperature\":2.0000001"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid(",\"temperature\":-0.0000000000000000000001"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid(",\"temperature\":1e300"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid(",\"temperature\":\"1\""), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid(",\"temperature\":null,\"stop\":null"), ERR_OK);
	assert_int_equal(valid(",\"max_tokens\":0"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid(",\"max_tokens\":1.5"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid(",\"n\":9223372036854775808"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid(",\"stop\":[\"a\",\"b\"]"), ERR_OK);
	assert_int_equal(valid(",\"stop\":[\"a\",1]"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid(",\"stream\":\"true\""), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid(",\"stream_options\":{\"include_usage\":1}"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid(",\"tool_choice\":\"auto\",\"tools\":[],\"response_format\":{}"), ERR_OK);
	assert_int_equal(valid(",\"seed\":-1"), ERR_OK);
}

static const char *
edited(const char *text, const char *model, enum json_ask ask)
{
	static struct json_splices splices;
	static char to[512];
	size_t from = 0, len = 0;

	assert_int_equal(scan(text), ERR_OK);
	assert_int_equal(json_plan_splices(&scanned.result, bytes_from_text(model), ask, &splices), ERR_OK);
	for (uint32_t i = 0; i < splices.count; i++) {
		const struct json_splice *splice = &splices.splice[i];

		len += (size_t)snprintf(to + len, sizeof(to) - len, "%.*s%.*s", (int)(splice->offset - from),
					text + from, (int)splice->insert.len, (const char *)splice->insert.ptr);
		from = splice->offset + splice->cut_bytes;
	}
	snprintf(to + len, sizeof(to) - len, "%s", text + from);
	assert_int_equal(strlen(to), (size_t)((int64_t)strlen(text) + splices.grown_bytes));
	return to;
}

static void
edits_replace_bytes_and_nothing_else(void **state)
{
	(void)state;
	assert_string_equal(edited("{\"model\" : \"a:1\", \"x\":1}", "b\"c", JSON_ASK_NOTHING),
			    "{\"model\" : \"b\\\"c\", \"x\":1}");
	assert_string_equal(edited("{ \"model\":\"a\"}", "", JSON_ASK_USAGE),
			    "{\"stream_options\":{\"include_usage\":true}, \"model\":\"a\"}");
	assert_string_equal(edited("{\"stream_options\":null,\"model\":\"a\"}", "", JSON_ASK_USAGE),
			    "{\"stream_options\":{\"include_usage\":true},\"model\":\"a\"}");
	assert_string_equal(edited("{\"stream_options\":{ },\"model\":\"a\"}", "", JSON_ASK_RUNNING),
			    "{\"stream_options\":{\"include_usage\":true,\"continuous_usage_stats\":true },"
			    "\"model\":\"a\"}");
	assert_string_equal(edited("{\"stream_options\":{\"include_usage\":false},\"model\":\"a\"}", "bb",
				   JSON_ASK_RUNNING),
			    "{\"stream_options\":{\"continuous_usage_stats\":true,\"include_usage\":true},"
			    "\"model\":\"bb\"}");
}

static struct json_usage
usage_of(const char *text)
{
	struct json_usage_scan s;

	json_usage_init(&s);
	for (size_t i = 0; i < strlen(text); i++)
		json_usage_feed(&s, bytes_make(text + i, 1));
	return s.usage;
}

static void
usage_is_read_where_it_stands_and_nowhere_else(void **state)
{
	struct json_usage usage;

	(void)state;
	usage = usage_of("{\"choices\":[],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":7,"
			 "\"details\":{\"prompt_tokens\":99},\"total_tokens\":7}}");
	assert_true(usage.present && usage.choices_empty && usage.has_prompt && !usage.suspect);
	assert_int_equal(usage.prompt_tokens, 0);
	assert_int_equal(usage.completion_tokens, 7);
	assert_int_equal(usage.total_tokens, 7);
	usage = usage_of("{\"choices\":[{\"text\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":5}\"}],\"x\":{\"usage\":"
			 "{\"prompt_tokens\":6}}}");
	assert_false(usage.present || usage.choices_empty || usage.has_prompt);
	usage = usage_of("{\"usage\":null,\"a\":1}");
	assert_true(usage.is_null && !usage.present);
	assert_int_equal(usage.member_start, 1);
	assert_int_equal(usage.value_start, 9);
	assert_int_equal(usage.value_end, 13);
	/* Torn: what follows is not its end. */
	usage = usage_of("{\"usage\":nu");
	assert_false(usage.is_null || usage.value_end > 0);
	usage = usage_of("{\"usage\":nul,\"usage\":null}");
	assert_int_equal(usage.value_end, 25);
	assert_true(usage_of("{\"usage\":n{\"prompt_tokens\":3}}").has_prompt);
	assert_true(usage_of("{\"usage\":{\"prompt_tokens\":-1}}").suspect);
	assert_true(usage_of("{\"usage\":{\"prompt_tokens\":1e9}}").suspect);
	assert_true(usage_of("{\"usage\":{\"prompt_tokens\":99999999999999999999}}").suspect);
	assert_int_equal(usage_of("{\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}").completion_tokens, 4);
	usage = usage_of("{\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":-4}}");
	assert_true(usage.has_prompt && !usage.odd_prompt && usage.odd_completion && !usage.has_completion);
	usage = usage_of("{\"usage\":{\"prompt_tokens\":9223372036854775808,\"completion_tokens\":4,"
			 "\"total_tokens\":-1}}");
	assert_true(usage.odd_prompt && !usage.odd_completion && usage.has_completion && !usage.has_prompt);
}

static void
usage_of_a_response_is_read_from_its_last_event(void **state)
{
	struct json_usage usage;

	(void)state;
	usage = usage_of("{\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"output\":[{\"usage\":"
			 "{\"input_tokens\":9}}],\"usage\":{\"input_tokens\":3,\"input_tokens_details\":"
			 "{\"cached_tokens\":1,\"output_tokens\":8},\"output_tokens\":4,\"total_tokens\":7}},"
			 "\"sequence_number\":5}");
	assert_true(usage.present && usage.is_complete && usage.has_prompt && usage.has_completion);
	assert_false(usage.suspect);
	assert_int_equal(usage.prompt_tokens, 3);
	assert_int_equal(usage.completion_tokens, 4);
	assert_int_equal(usage.total_tokens, 7);
	assert_false(usage.has_id);
	assert_int_equal(usage.value_end, 0);
	usage = usage_of("{\"response\":{\"usage\":null,\"duration\":5,\"data\":[{}]},"
			 "\"x\":{\"response\":{\"usage\":{}}}}");
	assert_false(usage.present || usage.is_null || usage.has_length || usage.data_count > 0);
	assert_false(usage_of("{\"response\":[{\"usage\":{\"input_tokens\":3}}]}").present);
	assert_false(usage_of("{\"response\":{\"a\":{\"usage\":{\"input_tokens\":3}}}}").present);
	/* The top level's own goes before it, wherever it stands. */
	usage = usage_of("{\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":-4}},"
			 "\"usage\":{\"prompt_tokens\":5}}");
	assert_true(usage.has_prompt && !usage.has_completion && !usage.odd_completion);
	assert_int_equal(usage.prompt_tokens, 5);
	assert_int_equal(usage.member_start, 60);
	usage = usage_of("{\"usage\":{\"prompt_tokens\":5},\"response\":{\"usage\":{\"input_tokens\":3}}}");
	assert_int_equal(usage.prompt_tokens, 5);
	assert_int_equal(usage.value_end, 28);
}

static void
the_last_event_of_a_response_is_known_by_its_type(void **state)
{
	(void)state;
	assert_true(usage_of("{\"type\":\"response.completed\",\"response\":{}}").is_last_event);
	assert_true(usage_of("{\"x\":1, \"type\" : \"response.incomplete\"}").is_last_event);
	assert_true(usage_of("{\"type\":\"response.failed\"").is_last_event);
	assert_false(usage_of("{\"type\":\"response.complete\"}").is_last_event);
	assert_false(usage_of("{\"type\":\"response.completed.and.more.than.fits\"}").is_last_event);
	assert_false(usage_of("{\"type\":\"response.completed").is_last_event);
	assert_false(usage_of("{\"type\":\"response.\\u0063ompleted\"}").is_last_event);
	assert_false(usage_of("{\"x\":{\"type\":\"response.failed\"},\"y\":\"response.failed\"}").is_last_event);
	assert_false(usage_of("{\"response\":{\"type\":\"response.completed\"}}").is_last_event);
	assert_int_equal(usage_of("{\"type\":\"\\\"\",\"usage\":{\"input_tokens\":3}}").prompt_tokens, 3);
}

static void
usage_that_is_torn_off_is_not_complete(void **state)
{
	(void)state;
	assert_false(usage_of("{\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":12").is_complete);
	assert_false(usage_of("{\"response\":{\"usage\":{\"input_tokens\":5,\"x\":{}").is_complete);
	assert_true(usage_of("{\"usage\":{\"prompt_tokens\":5}").is_complete);
	assert_true(usage_of("{\"response\":{\"usage\":{\"input_tokens\":5}").is_complete);
}

static void
lengths_are_read_to_the_millisecond(void **state)
{
	struct json_usage usage;

	(void)state;
	usage = usage_of("{\"task\":\"duration\",\"duration\":8.470000267028809,"
			 "\"text\":\"\\\"seconds\\\":9\"}");
	assert_true(usage.has_length && !usage.suspect);
	assert_int_equal(usage.milliseconds, 8470);
	assert_int_equal(usage_of("{\"duration\":\"12.5\"}").milliseconds, 12500);
	assert_int_equal(usage_of("{\"seconds\":\"8\",\"x\":1}").milliseconds, 8000);
	usage = usage_of("{\"duration\":8.4,\"usage\":{\"type\":\"duration\",\"seconds\":9}}");
	assert_int_equal(usage.milliseconds, 9000);
	assert_int_equal(usage_of("{\"usage\":{\"seconds\":9},\"duration\":8.4}").milliseconds, 9000);
	assert_false(usage_of("{\"duration\":\"\"}").has_length);
	assert_false(usage_of("{\"duration\":\"long\"}").has_length);
	assert_false(usage_of("{\"duration\":\"1\\u0030\"}").has_length);
	assert_false(usage_of("{\"segments\":[{\"duration\":5}]}").has_length);
	assert_true(usage_of("{\"duration\":-1}").suspect);
	assert_true(usage_of("{\"duration\":1e9}").suspect);
	assert_true(usage_of("{\"duration\":99999999999}").suspect);
	assert_true(usage_of("{\"usage\":{\"prompt_tokens\":1.5}}").suspect);
}

static void
what_was_made_is_counted_and_named(void **state)
{
	struct json_usage usage;

	(void)state;
	usage = usage_of("{\"created\":1,\"data\":[{\"b64_json\":\"{\\\"{\"},{\"url\":{\"a\":[{}]}}],\"usage\":"
			 "{\"input_tokens\":3,\"data\":[{}]}}");
	assert_int_equal(usage.data_count, 2);
	assert_int_equal(usage.prompt_tokens, 3);
	assert_int_equal(usage_of("{\"x\":{\"data\":[{}]},\"data\":{\"y\":{}}}").data_count, 0);
	usage = usage_of("{\"object\":\"id\",\"x\":{\"id\":\"no\"},\"id\" : \"job-7\",\"status\":\"queued\"}");
	assert_true(usage.has_id);
	assert_int_equal(usage.id_len, 5);
	assert_memory_equal(usage.id, "job-7", 5);
	assert_int_equal(usage.id_start, 39);
	assert_int_equal(usage.id_end, 44);
	assert_false(usage_of("{\"id\":7}").has_id);
	assert_false(usage_of("{\"id\":\"\"}").has_id);
	assert_false(usage_of("{\"id\":\"a\\u0062\"}").has_id);
}

static enum err
valid_for(enum json_path path, const char *fields, const char *param)
{
	enum json_field culprit = JSON_FIELD_COUNT;
	const char *sentence = NULL;
	char text[256];
	enum err verdict;

	snprintf(text, sizeof(text), "{\"model\":\"m\"%s}", fields);
	assert_int_equal(scan(text), ERR_OK);
	verdict = json_validate(&scanned.result, path, &culprit, &sentence);
	if (verdict != ERR_OK)
		assert_string_equal(json_field_name(culprit), param);
	return verdict;
}

static void
each_path_has_fields_of_its_own(void **state)
{
	(void)state;
	assert_int_equal(valid_for(JSON_PATH_IMAGES, ",\"prompt\":\"p\",\"n\":2,\"size\":\"1x1\","
				   "\"response_format\":\"url\"", ""), ERR_OK);
	assert_int_equal(valid_for(JSON_PATH_IMAGES, "", "prompt"), ERR_JSON_MISSING_FIELD);
	assert_int_equal(valid_for(JSON_PATH_IMAGES, ",\"prompt\":\"p\",\"n\":0", "n"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid_for(JSON_PATH_IMAGES, ",\"prompt\":\"p\",\"size\":1", "size"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid_for(JSON_PATH_SPEECH, ",\"input\":[\"a\"]", "input"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid_for(JSON_PATH_SPEECH, ",\"input\":\"a\",\"response_format\":{}", "response_format"),
			 ERR_JSON_BAD_FIELD);
	assert_int_equal(valid_for(JSON_PATH_VIDEO, ",\"seconds\":\"8\",\"duration\":0.5", ""), ERR_OK);
	assert_int_equal(scanned.result.field[JSON_FIELD_SECONDS].number, 8);
	assert_int_equal(valid_for(JSON_PATH_VIDEO, ",\"seconds\":\"8s\"", "seconds"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid_for(JSON_PATH_VIDEO, ",\"seconds\":\"\"", "seconds"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid_for(JSON_PATH_VIDEO, ",\"duration\":0", "duration"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid_for(JSON_PATH_COMPLETIONS, ",\"prompt\":[1,2],\"max_tokens\":1,\"n\":2,"
				   "\"stop\":\"x\",\"max_output_tokens\":0,\"tools\":0", ""), ERR_OK);
	assert_int_equal(valid_for(JSON_PATH_COMPLETIONS, ",\"max_tokens\":0", "max_tokens"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid_for(JSON_PATH_COMPLETIONS, ",\"n\":1.5", "n"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid_for(JSON_PATH_COMPLETIONS, ",\"top_p\":2", "top_p"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid_for(JSON_PATH_RESPONSES, ",\"input\":[],\"max_output_tokens\":1,\"n\":0,"
							"\"max_tokens\":0", ""), ERR_OK);
	assert_int_equal(valid_for(JSON_PATH_RESPONSES, ",\"max_output_tokens\":0", "max_output_tokens"),
			 ERR_JSON_BAD_FIELD);
	assert_int_equal(valid_for(JSON_PATH_RESPONSES, ",\"tool_choice\":1", "tool_choice"), ERR_JSON_BAD_FIELD);
	assert_int_equal(valid_for(JSON_PATH_ANY, ",\"input\":[1],\"n\":0", ""), ERR_OK);
}

static void
spoken_characters_are_counted_as_decoded(void **state)
{
	(void)state;
	assert_int_equal(scan("{\"input\":\"abcdefghijklmnop"
			      "\\n\\u00e9\\ud83d\\ude00\xc3\xa9\xf0\x9f\x8c\x8a\",\"x\":\"y\"}"),
			 ERR_OK);
	assert_int_equal(scanned.result.input_characters, 16 + 5);
	assert_int_equal(scan("{\"input\":[\"abc\"],\"x\":{\"input\":\"abc\"}}"), ERR_OK);
	assert_int_equal(scanned.result.input_characters, 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_one_valid_object_is_a_body),
		cmocka_unit_test(numbers_that_not_every_parser_holds_are_refused),
		cmocka_unit_test(bounds_are_met_with_a_verdict),
		cmocka_unit_test(smaller_bounds_hold_at_their_edges),
		cmocka_unit_test(fields_are_found_by_their_decoded_names_once),
		cmocka_unit_test(chat_fields_are_held_to_the_contract),
		cmocka_unit_test(edits_replace_bytes_and_nothing_else),
		cmocka_unit_test(usage_is_read_where_it_stands_and_nowhere_else),
		cmocka_unit_test(usage_of_a_response_is_read_from_its_last_event),
		cmocka_unit_test(the_last_event_of_a_response_is_known_by_its_type),
		cmocka_unit_test(usage_that_is_torn_off_is_not_complete),
		cmocka_unit_test(lengths_are_read_to_the_millisecond),
		cmocka_unit_test(what_was_made_is_counted_and_named),
		cmocka_unit_test(each_path_has_fields_of_its_own),
		cmocka_unit_test(spoken_characters_are_counted_as_decoded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

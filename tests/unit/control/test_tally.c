/* Buckets to the number, lines to the bound, and what may stand in a label. */
#include "world.h"

#include "tally.h"

static struct tally tally;

static void
buckets_include_their_bound(void **state)
{
	(void)state;
	for (unsigned int what = 0; what < TALLY_MEASURES; what++) {
		const struct tally_buckets *buckets = tally_buckets((enum tally_measure)what);

		assert_in_range(buckets->count, 1, TALLY_BUCKETS_MAX);
		for (uint32_t i = 0; i < buckets->count; i++) {
			struct tally_histogram h = { .sum = 0 };

			assert_true(i == 0 || buckets->bound[i] > buckets->bound[i - 1]);
			tally_observe(&h, buckets, buckets->bound[i] - 1);
			tally_observe(&h, buckets, buckets->bound[i]);
			tally_observe(&h, buckets, buckets->bound[i] + 1);
			/* In whole units the one below a bound may be the bound before it. */
			assert_int_equal(h.count[i] + (i > 0 ? h.count[i - 1] : 0), 2);
			assert_int_equal(h.count[i + 1], 1);
			assert_int_equal(h.sum, 3 * buckets->bound[i]);
		}
	}
}

static void
zero_and_the_largest_have_a_place(void **state)
{
	const struct tally_buckets *buckets = tally_buckets(TALLY_INPUT_TOKENS);
	struct tally_histogram h = { .sum = 0 };

	(void)state;
	tally_observe(&h, buckets, 0);
	tally_observe(&h, buckets, UINT64_MAX);
	assert_int_equal(h.count[0], 1);
	assert_int_equal(h.count[buckets->count], 1);
}

static struct usage_record
record_of(uint64_t model, uint16_t status)
{
	return (struct usage_record){ .model_id = model,
				      .status = status,
				      .operation = USAGE_CHAT,
				      .stream = 1,
				      .prompt_tokens = 20,
				      .completion_tokens = 11,
				      .first_byte_us = 50000,
				      .total_us = 1050000,
				      .region = "eu",
				      .region_len = 2 };
}

static char *
text_of(struct world *w)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	tally_emit(&tally, &w->control.publish, out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void
has(const char *text, const char *line)
{
	if (strstr(text, line) == NULL)
		fail_msg("no line '%s' in:\n%s", line, text);
}

#define CHAT "{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"sluice\",gen_ai_request_model=\"ll:ama\""
#define EMBEDDINGS \
	"{gen_ai_operation_name=\"embeddings\",gen_ai_provider_name=\"sluice\",gen_ai_request_model=\"ll:ama\""

static void
a_request_is_counted_by_everything_that_it_was(void **state)
{
	struct world *w = world_make();
	uint64_t model;
	struct usage_record record;
	char *text;

	(void)state;
	memset(&tally, 0, sizeof(tally));
	world_put(w, NOUN_PRICE, "small", "{\"input_nano_per_mtoken\":1,\"output_nano_per_mtoken\":2}");
	model = (uint64_t)world_put(w, NOUN_MODEL, "ll:ama", "{\"price\":\"small\"}");
	record = record_of(model, 200);
	tally_count(&tally, &record);
	record.source = USAGE_ESTIMATED; /* times, no tokens */
	tally_count(&tally, &record);
	record = record_of(0, 402);
	record.outcome = USAGE_REFUSED;
	record.region_len = 0;
	tally_count(&tally, &record);
	record = record_of(99, 200); /* deleted by now */
	record.stream = 0;
	tally_count(&tally, &record);
	record.instance_id = 7;
	record.outcome = USAGE_CLIENT_ABORT;
	tally_count(&tally, &record);
	/* A rate per request stands beside tokens; without any it is not asked for them. */
	record = record_of(model, 201);
	record.operation = USAGE_EMBEDDINGS;
	record.unit = USAGE_REQUESTS;
	record.prompt_tokens = 33;
	tally_count(&tally, &record);
	record.prompt_tokens = record.completion_tokens = 0;
	tally_count(&tally, &record);
	text = text_of(w);
	has(text, "gen_ai_client_token_usage_sum" EMBEDDINGS ",gen_ai_token_type=\"input\"} 33\n");
	has(text, "gen_ai_client_token_usage_count" EMBEDDINGS ",gen_ai_token_type=\"input\"} 1\n");
	has(text, "sluice_model_requests_total{model=\"ll:ama\",region=\"eu\",status=\"200\"} 2\n");
	has(text, "sluice_model_requests_total{model=\"\",region=\"\",status=\"402\"} 1\n");
	has(text, "sluice_model_requests_total{model=\"#99\",region=\"eu\",status=\"200\"} 1\n");
	has(text, "sluice_model_requests_total{model=\"instance\",region=\"eu\",status=\"200\"} 1\n");
	has(text, "sluice_request_outcomes_total{outcome=\"ok\"} 5\n");
	has(text, "sluice_request_outcomes_total{outcome=\"refused\"} 1\n");
	has(text, "sluice_request_outcomes_total{outcome=\"client_abort\"} 1\n");
	has(text, "gen_ai_client_token_usage_bucket" CHAT ",gen_ai_token_type=\"input\",le=\"16\"} 0\n");
	has(text, "gen_ai_client_token_usage_bucket" CHAT ",gen_ai_token_type=\"input\",le=\"64\"} 1\n");
	has(text, "gen_ai_client_token_usage_bucket" CHAT ",gen_ai_token_type=\"input\",le=\"+Inf\"} 1\n");
	has(text, "gen_ai_client_token_usage_sum" CHAT ",gen_ai_token_type=\"output\"} 11\n");
	has(text, "gen_ai_server_request_duration_seconds_bucket" CHAT ",le=\"0.64\"} 0\n");
	has(text, "gen_ai_server_request_duration_seconds_bucket" CHAT ",le=\"1.28\"} 2\n");
	has(text, "gen_ai_server_request_duration_seconds_sum" CHAT "} 2.1");
	has(text, "gen_ai_server_time_to_first_token_seconds_bucket" CHAT ",le=\"0.04\"} 0\n");
	has(text, "gen_ai_server_time_to_first_token_seconds_bucket" CHAT ",le=\"0.06\"} 2\n");
	/* Ten tokens behind the first in a second. */
	has(text, "gen_ai_server_time_per_output_token_seconds_bucket" CHAT ",le=\"0.075\"} 0\n");
	has(text, "gen_ai_server_time_per_output_token_seconds_bucket" CHAT ",le=\"0.1\"} 2\n");
	assert_null(strstr(text, "time_to_first_token_seconds_count{gen_ai_operation_name=\"chat\","
				 "gen_ai_provider_name=\"sluice\",gen_ai_request_model=\"instance\""));
	free(text);
	world_free(w);
}

static void
there_are_only_so_many_lines(void **state)
{
	uint64_t sum = 0, models = 0;

	(void)state;
	memset(&tally, 0, sizeof(tally));
	for (uint64_t model = 1; model <= 10000; model++) {
		struct usage_record record = record_of(model, 200);

		tally_count(&tally, &record);
	}
	for (size_t i = 0; i < COUNT_OF(tally.requests); i++)
		sum += tally.requests[i].count;
	for (size_t i = 0; i < COUNT_OF(tally.models); i++)
		for (uint32_t b = 0; b <= TALLY_BUCKETS_MAX; b++)
			models += tally.models[i].measure[TALLY_DURATION_US].count[b];
	assert_int_equal(sum, 10000);
	assert_int_equal(models, 10000);
	assert_int_equal(tally.request_count, TALLY_REQUESTS_MAX);
	assert_in_range(tally.model_count, TALLY_MODELS_MAX / 2, TALLY_MODELS_MAX);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets_include_their_bound),
		cmocka_unit_test(zero_and_the_largest_have_a_place),
		cmocka_unit_test(a_request_is_counted_by_everything_that_it_was),
		cmocka_unit_test(there_are_only_so_many_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

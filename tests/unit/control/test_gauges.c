/* What vLLM and SGLang print, whole and in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "gauges.h"

static const struct {
	const char *text;
	uint32_t running, waiting, cache_permille;
	bool is_there;
} rows[] = {
	{ "# HELP vllm:num_requests_running Number of requests\n# TYPE vllm:num_requests_running gauge\n"
	  "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 7.0\n"
	  "vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 3.0\n"
	  "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 0.421\n",
	  7, 3, 421, true },
	/* Two engines add up; of the caches the fuller one counts. */
	{ "vllm:num_requests_running{engine=\"0\"} 7\nvllm:num_requests_running{engine=\"1\"} 2\n"
	  "vllm:gpu_cache_usage_perc{engine=\"0\"} 0.25\nvllm:gpu_cache_usage_perc{engine=\"1\"} 1\n",
	  9, 0, 1000, true },
	{ "sglang:num_running_reqs{model_name=\"a } b\"} 12\nsglang:num_queue_reqs 1e1\nsglang:token_usage 0.5\n",
	  12, 10, 500, true },
	{ "sglang:num_queue_reqs 4", 0, 4, 0, true }, /* no end of the last line */
	/* Others' names, and names that only begin so. */
	{ "vllm:num_requests_running_total 5\nxvllm:num_requests_running 5\nprocess_open_fds 9\n",
	  0, 0, 0, false },
	/* Nonsense is nothing. */
	{ "vllm:num_requests_running NaN\nvllm:num_requests_waiting -3\nvllm:kv_cache_usage_perc +Inf\n",
	  0, 0, 0, true },
	{ "vllm:num_requests_running\nvllm:num_requests_waiting{\n\n}\n \n", 0, 0, 0, true },
	{ "vllm:num_requests_running 1e300\n", UINT32_MAX / 2, 0, 0, true },
	{ "", 0, 0, 0, false },
};

static void
check(size_t row, size_t piece)
{
	struct gauges g = { .len = 0 };
	const char *text = rows[row].text;
	size_t len = strlen(text);

	for (size_t at = 0; at < len; at += piece)
		gauges_feed(&g, text + at, len - at < piece ? len - at : piece);
	gauges_end(&g);
	if (g.running != rows[row].running || g.waiting != rows[row].waiting ||
	    g.cache_permille != rows[row].cache_permille || g.is_there != rows[row].is_there)
		fail_msg("row %zu in pieces of %zu: %u %u %u %d", row, piece, g.running, g.waiting,
			 g.cache_permille, g.is_there);
}

static void
whole_and_in_pieces(void **state)
{
	(void)state;
	for (size_t row = 0; row < COUNT_OF(rows); row++)
		for (size_t piece = 1; piece < 400; piece++)
			check(row, piece);
}

static void
a_line_without_end_is_passed_over(void **state)
{
	static const char begin[] = "vllm:num_requests_running{a=\"";
	static const char end[] = "\"} 5\nvllm:num_requests_waiting 6\n";
	struct gauges g = { .len = 0 };

	(void)state;
	gauges_feed(&g, begin, sizeof(begin) - 1);
	for (int i = 0; i < 100000; i++)
		gauges_feed(&g, "x", 1);
	gauges_feed(&g, end, sizeof(end) - 1);
	gauges_end(&g);
	assert_int_equal(g.running, 0);
	assert_int_equal(g.waiting, 6);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_and_in_pieces),
		cmocka_unit_test(a_line_without_end_is_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

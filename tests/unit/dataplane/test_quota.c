/* What a plan allows besides requests: taken when a request is let in, put right when it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/quota.h"
#include "dataplane/worker.h"
#include "tables.h"

#define TEXT(text) (text), sizeof(text) - 1
#define TEXT_OF(text) (text), strlen(text)

static void
put_key(struct worker *w, uint32_t entry, uint64_t id)
{
	struct shm_key key = { .hash = { (uint8_t)id }, .key_id = id, .account = 2, .live = 1 };
	bool changed;

	assert_int_equal(shm_put_key(&w->shm, entry, &key, &changed), ERR_OK);
}

static struct worker *
make_worker(void)
{
	struct worker *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->shm = tables_make();
	tables_put_account(&w->shm, 2, 7);
	put_key(w, 1, 11);
	put_key(w, 3, 13);
	w->now_ns = 1000 * NSEC_PER_SEC;
	return w;
}

static void
free_worker(struct worker *w)
{
	tables_free(&w->shm);
	free(w);
}

/* 600 tokens a minute, 200 at once; two requests at once. */
static struct admission
some_admission(void)
{
	return (struct admission){ .key_entry = 1, .key_id = 11, .account_entry = 2,
				   .account_id = 7, .in_flight_max = 2, .rules = JSON_PATH_CHAT,
				   .tokens_per_minute = 600, .token_limit = { NSEC_PER_SEC / 10, 200 } };
}

static struct json_result
scanned(const char *text, size_t len)
{
	struct json_scan scan;

	json_scan_init(&scan);
	assert_int_equal(json_scan_feed(&scan, bytes_make(text, len)), ERR_OK);
	assert_int_equal(json_scan_end(&scan), ERR_OK);
	return scan.result;
}

static uint64_t
taken_for(const char *text, size_t len)
{
	struct worker *w = make_worker();
	struct admission a = some_admission();
	struct json_result json = scanned(text, len);
	struct refusal refusal = { 0 };

	assert_true(quota_take(w, &json, &a, &refusal));
	free_worker(w);
	return a.taken_tokens;
}

static uint64_t
remaining(const struct worker *w, const struct admission *a)
{
	return bucket_remaining(quota_token_bucket(&w->shm, a->key_entry), &a->token_limit, w->now_ns);
}

static uint32_t
in_flight(const struct worker *w, const struct admission *a)
{
	return atomic_load(&shm_balance(&w->shm, a->account_entry)->in_flight);
}

static void
an_estimate_is_the_prompt_and_what_the_request_bounds(void **state)
{
	(void)state;
	assert_int_equal(taken_for(TEXT("{}")), 1);
	assert_int_equal(taken_for(TEXT("{\"prompt\":\"2345678901234567890\"}")), 8);
	assert_int_equal(taken_for(TEXT("  {\"max_tokens\":50}  ")), 4 + 50);
	assert_int_equal(taken_for(TEXT("{\"max_completion_tokens\":50}")), 7 + 50);
	assert_int_equal(taken_for(TEXT("{\"max_tokens\":9,\"max_completion_tokens\":20,\"n\":2}")), 12 + 40);
	assert_int_equal(taken_for(TEXT("{\"max_tokens\":-9,\"n\":null}")), 6);
	/* Never more than half of the burst, however large the numbers are. */
	assert_int_equal(taken_for(TEXT("{\"max_tokens\":9223372036854775807,\"n\":9223372036854775807}")), 100);
}

static void
pictures_are_no_text(void **state)
{
	struct json_result json;

	(void)state;
	json = scanned(TEXT("{\"messages\":[{\"content\":["
			    "{\"image_url\":{\"url\":\"data:image/png;base64,AAAA\"}},"
			    "{\"image_url\":{\"url\":\"https://a.example/data:\"}},"
			    "{\"text\":\"data:x\"}]}]}"));
	assert_int_equal(json.data_urls, 1);
	assert_int_equal(json.data_url_bytes, 28);
	assert_int_equal(quota_prompt_tokens(&json), (json.object_end - 28) / 4 + 1024);
	json = scanned(TEXT("{\"input\":[{\"role\":\"user\",\"content\":[{\"image_url\":\"\\u0064ata:,\"},"
			    "{\"file_data\":\"data:\",\"url\":[\"data:,\"],\"x\":\"data:\"}]},"
			    "{\"content\":[{\"type\":\"file\",\"file\":{\"file_data\":\"data:\"}},"
			    "{\"video_url\":{\"url\":\"data:\"}}]}]}"));
	assert_int_equal(json.data_urls, 4);
	json = scanned(TEXT("{\"messages\":[{\"content\":[{\"image_url\":{\"url\":\"dat\"},\"b\":\"data:\"}]}]}"));
	assert_int_equal(json.data_urls, 0);
}

/* A tool's schema is rendered into the prompt, whatever its members are called. */
static void
what_is_called_a_url_elsewhere_is_text(void **state)
{
	static const char *const texts[] = {
		"{\"tools\":[{\"function\":{\"parameters\":{\"url\":\"data:0123456789\"}}}],\"messages\":[]}",
		"{\"messages\":[],\"metadata\":{\"url\":\"data:0123456789\"}}",
		"{\"messages\":[],\"url\":\"data:0123456789\",\"image_url\":\"data:\",\"file_data\":\"data:\"}",
		"{\"x\":{\"messages\":[{\"url\":\"data:0123456789\"}]}}",
		"{\"m\":[{\"content\":[{\"image_url\":{\"url\":\"data:0123456789\"}}]}]}",
		"{\"documents\":[{\"content\":[{\"image_url\":{\"url\":\"data:0123456789\"}}]}]}",
		"{\"messages\":[{\"tool_calls\":[{\"function\":{\"arguments\":{\"url\":\"data:0123456789\"}}}]}]}",
		"{\"messages\":[{\"tool_calls\":[{\"image_url\":{\"url\":\"data:\"},\"file_data\":\"data:\"}]}]}",
		"{\"messages\":[{\"content\":[{\"text\":\"\",\"url\":\"data:0123456789\"}]}]}",
		"{\"messages\":[{\"content\":[{\"x\":{\"url\":\"data:\",\"image_url\":\"data:\"}}]}]}",
		"{\"messages\":[{\"content\":[{\"image_url\":[{\"url\":\"data:0123456789\"}]}]}]}",
		"{\"messages\":[{\"content\":[{\"image_url\":{}}]},[[{\"image_url\":\"data:\"}]]]}",
		"{\"messages\":[{\"content\":[{\"image_url\":{}},[{\"url\":\"data:\"}]]}]}",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct json_result json = scanned(TEXT_OF(texts[i]));

		assert_int_equal(json.data_urls, 0);
		assert_int_equal(quota_prompt_tokens(&json), strlen(texts[i]) / 4);
	}
}

static void
what_was_used_replaces_the_estimate(void **state)
{
	struct worker *w = make_worker();
	struct json_result json = scanned(TEXT("{\"max_tokens\":76}"));
	struct admission first = some_admission(), second = some_admission(), third = some_admission();
	struct refusal refusal = { 0 };

	(void)state;
	third.in_flight_max = 0;
	assert_true(quota_take(w, &json, &first, &refusal));
	assert_int_equal(first.taken_tokens, 80);
	assert_int_equal(remaining(w, &first), 120);
	assert_true(quota_take(w, &json, &second, &refusal));
	assert_false(quota_take(w, &json, &third, &refusal));
	assert_int_equal(refusal.code, REFUSAL_RATE_LIMITED);
	assert_int_equal(refusal.retry_after_ns, 4 * NSEC_PER_SEC);
	assert_int_equal(in_flight(w, &first), 2); /* who is refused is not in flight */
	quota_release(w, &third, 0);
	assert_int_equal(remaining(w, &first), 40);
	quota_release(w, &first, 10);
	assert_int_equal(remaining(w, &first), 110);
	quota_release(w, &first, 10);
	assert_int_equal(remaining(w, &first), 110);
	quota_release(w, &second, 0); /* no backend had it */
	assert_int_equal(remaining(w, &first), 190);
	assert_int_equal(in_flight(w, &first), 0);
	free_worker(w);
}

static void
debt_is_paid_off_in_an_hour_at_most(void **state)
{
	struct worker *w = make_worker();
	struct json_result json = scanned(TEXT("{}"));
	struct admission a = some_admission();
	struct refusal refusal = { 0 };

	(void)state;
	assert_true(quota_take(w, &json, &a, &refusal));
	quota_release(w, &a, UINT64_C(1) << 60);
	assert_int_equal(remaining(w, &a), 0);
	assert_false(quota_take(w, &json, &a, &refusal));
	assert_in_range(refusal.retry_after_ns, 3580 * NSEC_PER_SEC, 3600 * NSEC_PER_SEC);
	w->now_ns += 3600 * NSEC_PER_SEC;
	assert_true(quota_take(w, &json, &a, &refusal));
	free_worker(w);
}

static void
an_account_has_so_many_in_flight_whatever_they_are(void **state)
{
	struct worker *w = make_worker();
	struct admission one = some_admission(), two = some_admission(), three = some_admission();
	struct refusal refusal = { 0 };

	(void)state;
	one.key_entry = 3; /* another key of the account */
	one.key_id = 13;
	one.in_flight_max = 0;
	assert_true(quota_take(w, NULL, &one, &refusal));
	assert_true(quota_take(w, NULL, &two, &refusal));
	assert_false(quota_take(w, NULL, &three, &refusal));
	assert_int_equal(refusal.code, REFUSAL_RATE_LIMITED);
	assert_int_equal(refusal.retry_after_ns, NSEC_PER_SEC);
	assert_int_equal(remaining(w, &two), 200); /* no tokens in what has none */
	quota_release(w, &three, 0);
	quota_release(w, &one, 0);
	assert_true(quota_take(w, NULL, &three, &refusal));
	assert_int_equal(in_flight(w, &two), 2);
	quota_reset(&w->shm); /* a new process; and late ends do not wrap */
	quota_release(w, &two, 0);
	assert_int_equal(in_flight(w, &two), 0);
	free_worker(w);
}

static void
an_entry_that_stands_for_another_by_then_is_left_alone(void **state)
{
	struct worker *w = make_worker();
	struct json_result json = scanned(TEXT("{\"max_tokens\":76}"));
	struct admission old = some_admission(), other = some_admission();
	struct refusal refusal = { 0 };

	(void)state;
	assert_true(quota_take(w, &json, &old, &refusal));
	tables_put_account(&w->shm, 2, 8);
	put_key(w, 1, 12);
	quota_reset(&w->shm); /* as control does with the cell */
	other.account_id = 8;
	other.key_id = 12;
	assert_true(quota_take(w, &json, &other, &refusal));
	assert_int_equal(remaining(w, &other), 40);
	quota_release(w, &old, 0);
	assert_int_equal(in_flight(w, &other), 1);
	assert_int_equal(remaining(w, &other), 40);
	quota_release(w, &other, 0);
	assert_int_equal(in_flight(w, &other), 0);
	assert_int_equal(remaining(w, &other), 120);
	free_worker(w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_estimate_is_the_prompt_and_what_the_request_bounds),
		cmocka_unit_test(pictures_are_no_text),
		cmocka_unit_test(what_is_called_a_url_elsewhere_is_text),
		cmocka_unit_test(what_was_used_replaces_the_estimate),
		cmocka_unit_test(debt_is_paid_off_in_an_hour_at_most),
		cmocka_unit_test(an_entry_that_stands_for_another_by_then_is_left_alone),
		cmocka_unit_test(an_account_has_so_many_in_flight_whatever_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a request may cost, by route; what is held before it is let in and put right when it ends (T78, T83). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/hold.h"
#include "dataplane/worker.h"
#include "shm/balance.h"
#include "tables.h"

#define ACCOUNT_ENTRY 2
#define ACCOUNT_ID 7

static struct worker *
make_worker(int64_t credited_nano)
{
	struct worker *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->shm = tables_make();
	tables_put_account(&w->shm, ACCOUNT_ENTRY, ACCOUNT_ID);
	shm_balance(&w->shm, ACCOUNT_ENTRY)->credited_nano = credited_nano;
	w->config.limits.hold_tokens = 1000;
	w->config.limits.hold_tokens_max = 100000;
	return w;
}

static void
free_worker(struct worker *w)
{
	tables_free(&w->shm);
	free(w);
}

/* A nano-dollar for a prompt's token, ten for an answer's. */
static struct admission
some_admission(enum route_kind route)
{
	return (struct admission){ .route = route,
				   .rules = route == ROUTE_CHAT ? JSON_PATH_CHAT : JSON_PATH_COMPLETIONS,
				   .completes = route_has_tokens(route),
				   .account_entry = ACCOUNT_ENTRY,
				   .account_id = ACCOUNT_ID,
				   .price = { .input_nano_per_mtoken = 1000000,
					      .output_nano_per_mtoken = 10000000,
					      .request_nano = route_has_tokens(route) ? 0 : 3,
					      .image_nano = 500,
					      .second_nano = 70,
					      .character_nano_per_million = 2000000,
					      .byte_nano_per_million = 1000 } };
}

static struct json_result
scanned(const char *text)
{
	struct json_scan scan;

	json_scan_init(&scan);
	assert_int_equal(json_scan_feed(&scan, bytes_from_text(text)), ERR_OK);
	assert_int_equal(json_scan_end(&scan), ERR_OK);
	return scan.result;
}

static int64_t
estimate(enum route_kind route, const char *text)
{
	struct worker *w = make_worker(0);
	struct admission a = some_admission(route);
	struct json_result json = scanned(text);
	int64_t nano = hold_estimate_nano(w, &a, &json, 0);

	free_worker(w);
	return nano;
}

static int64_t
estimate_form(enum route_kind route, uint64_t form_bytes)
{
	struct worker *w = make_worker(0);
	struct admission a = some_admission(route);
	int64_t nano = hold_estimate_nano(w, &a, NULL, form_bytes);

	free_worker(w);
	return nano;
}

static void
tokens_are_held_for_as_far_as_the_request_bounds_them(void **state)
{
	(void)state;
	assert_int_equal(estimate(ROUTE_CHAT, "{}"), 0 + 1000 * 10);
	assert_int_equal(estimate(ROUTE_CHAT, "{\"max_tokens\":50}"), 4 + 500);
	assert_int_equal(estimate(ROUTE_CHAT, "{\"max_tokens\":5,\"max_completion_tokens\":50}"), 10 + 500);
	assert_int_equal(estimate(ROUTE_CHAT, "{\"max_tokens\":50,\"n\":4}"), 5 + 2000);
	assert_int_equal(estimate(ROUTE_JSON, "{\"max_tokens\":50,\"n\":4,\"best_of\":6}"), 8 + 3000);
	/* What it does not bound it may still multiply. */
	assert_int_equal(estimate(ROUTE_CHAT, "{\"n\":4}"), 1 + 40000);
	/* Up to a bound, for each answer. */
	assert_int_equal(estimate(ROUTE_CHAT, "{\"max_tokens\":9000000000000000000}"), 8 + 1000000);
	assert_int_equal(estimate(ROUTE_CHAT, "{\"max_tokens\":200000,\"n\":2}"), 6 + 2000000);
}

/* Each request has its rate beside its tokens; where the unit has none, it is all there is. */
static void
a_rate_per_request_is_held_too(void **state)
{
	struct worker *w = make_worker(0);
	struct admission chat = some_admission(ROUTE_CHAT), images = some_admission(ROUTE_IMAGES);
	struct json_result json = scanned("{\"max_tokens\":50}");

	(void)state;
	chat.price.request_nano = 3;
	assert_int_equal(hold_estimate_nano(w, &chat, &json, 0), 4 + 500 + 3);
	images.price = (struct shm_price){ .request_nano = 3 };
	assert_int_equal(hold_estimate_nano(w, &images, &json, 0), 3);
	images.route = ROUTE_SPEECH;
	assert_int_equal(hold_estimate_nano(w, &images, &json, 0), 3);
	images.route = ROUTE_TRANSCRIPTION;
	assert_int_equal(hold_estimate_nano(w, &images, NULL, 10), 3);
	free_worker(w);
}

/* The default of a model or an instance goes before the configured one; the cap holds for both. */
static void
a_target_says_what_an_unbounded_answer_holds(void **state)
{
	struct worker *w = make_worker(0);
	struct admission a = some_admission(ROUTE_CHAT);
	struct json_result open_ended = scanned("{}"), bounded = scanned("{\"max_tokens\":50}");

	(void)state;
	a.target.hold_tokens = 7;
	assert_int_equal(hold_estimate_nano(w, &a, &open_ended, 0), 70);
	assert_int_equal(hold_estimate_nano(w, &a, &bounded, 0), 4 + 500);
	a.target.hold_tokens = 100000000;
	assert_int_equal(hold_estimate_nano(w, &a, &open_ended, 0), 1000000);
	w->config.limits.hold_tokens = 100000000;
	a.target.hold_tokens = 0;
	assert_int_equal(hold_estimate_nano(w, &a, &open_ended, 0), 1000000);
	free_worker(w);
}

static int64_t
estimate_for(enum json_path path, const char *text)
{
	struct worker *w = make_worker(0);
	struct admission a = some_admission(ROUTE_JSON);
	struct json_result json = scanned(text);
	int64_t nano;

	a.rules = path;
	nano = hold_estimate_nano(w, &a, &json, 0);
	free_worker(w);
	return nano;
}

/* A backend ignores what it does not know, and answers at any length. */
static void
bounds_of_other_paths_bound_nothing(void **state)
{
	(void)state;
	assert_int_equal(estimate_for(JSON_PATH_RESPONSES, "{\"max_output_tokens\":50}"), 6 + 500);
	assert_int_equal(estimate_for(JSON_PATH_RESPONSES, "{\"max_tokens\":1,\"n\":9}"), 5 + 10000);
	assert_int_equal(estimate_for(JSON_PATH_CHAT, "{\"max_output_tokens\":1}"), 5 + 10000);
	assert_int_equal(estimate_for(JSON_PATH_CHAT, "{\"max_tokens\":2,\"best_of\":9}"), 7 + 20);
	assert_int_equal(estimate_for(JSON_PATH_COMPLETIONS, "{\"max_completion_tokens\":1}"), 6 + 10000);
}

static void
every_prompt_of_a_list_has_an_answer(void **state)
{
	(void)state;
	assert_int_equal(estimate_for(JSON_PATH_COMPLETIONS, "{\"prompt\":[\"a\",\"b\",\"c\"],\"max_tokens\":5}"),
			 9 + 3 * 50);
	assert_int_equal(estimate_for(JSON_PATH_COMPLETIONS, "{\"prompt\":[],\"max_tokens\":5}"), 7 + 50);
	/* Numbers are tokens: one prompt of them, or lists of them; of two bytes each at the least. */
	assert_int_equal(estimate_for(JSON_PATH_COMPLETIONS, "{\"prompt\":[1,2,3,4,5],\"max_tokens\":5}"),
			 12 + 50);
	assert_int_equal(estimate_for(JSON_PATH_COMPLETIONS, "{\"prompt\":[[1,2],[3]],\"max_tokens\":5}"),
			 12 + 2 * 50);
	assert_int_equal(estimate_for(JSON_PATH_COMPLETIONS,
				      "{\"prompt\":[\"\",\"\"],\"max_tokens\":99999999999,\"n\":4294967295}"),
			 14 + 2 * INT64_C(4294967295) * 1000000);
}

static void
an_answer_without_completion_holds_for_its_prompt(void **state)
{
	struct worker *w = make_worker(0);
	struct admission a = some_admission(ROUTE_JSON);
	struct json_result json = scanned("{\"input\":\"0123456789\"}");

	(void)state;
	a.completes = false;
	assert_int_equal(hold_estimate_nano(w, &a, &json, 0), 5);
	free_worker(w);
}

static void
other_units_are_held_for_by_what_is_asked_for(void **state)
{
	(void)state;
	/* And their text by its tokens, which a backend may tell of, too. */
	assert_int_equal(estimate(ROUTE_IMAGES, "{\"prompt\":\"a\"}"), 500 + 3);
	assert_int_equal(estimate(ROUTE_IMAGES, "{\"n\":4}"), 2000 + 1);
	/* Twenty characters: by their rate, or two seconds. */
	assert_int_equal(estimate(ROUTE_SPEECH, "{\"input\":\"01234567890123456789\"}"), 140 + 8);
	assert_int_equal(estimate(ROUTE_VIDEO, "{\"seconds\":\"8\",\"n\":2}"), 2 * 8 * 70 + 5);
	assert_int_equal(estimate(ROUTE_VIDEO, "{\"duration\":2.5}"), 175 + 4);
	/* Of two lengths the longer one, which a backend might go by. */
	assert_int_equal(estimate(ROUTE_VIDEO, "{\"seconds\":\"8\",\"duration\":2.5}"), 8 * 70 + 7);
	assert_int_equal(estimate(ROUTE_VIDEO, "{\"seconds\":2,\"duration\":2.5}"), 175 + 7);
	assert_int_equal(estimate(ROUTE_VIDEO, "{}"), 700);
	assert_int_equal(estimate(ROUTE_VIDEO, "{\"n\":3}"), 3 * 700 + 1);
	assert_int_equal(estimate_form(ROUTE_TRANSCRIPTION, 16000), 140 + 20);
	assert_int_equal(estimate_form(ROUTE_PROXY, 0), 3);
	assert_int_equal(estimate_form(ROUTE_VIDEO_JOB, 0), 0);
}

static void
the_larger_of_two_rates_counts(void **state)
{
	struct worker *w = make_worker(0);
	struct admission speech = some_admission(ROUTE_SPEECH), file = some_admission(ROUTE_TRANSCRIPTION);
	struct json_result json = scanned("{\"input\":\"01234567890123456789\"}");

	(void)state;
	speech.price.second_nano = 0;
	assert_int_equal(hold_estimate_nano(w, &speech, &json, 0), 40 + 8);
	file.price.second_nano = 0;
	assert_int_equal(hold_estimate_nano(w, &file, NULL, 16000), 16 + 20);
	free_worker(w);
}

static const struct shm_balance_cell *
balance_of(const struct worker *w)
{
	return shm_balance(&w->shm, ACCOUNT_ENTRY);
}

static void
who_cannot_pay_is_told_whether_waiting_helps(void **state)
{
	struct worker *w = make_worker(1000);
	struct admission first = some_admission(ROUTE_CHAT), second = first, third = first, fourth = first;
	struct json_result sixty = scanned("{\"max_tokens\":60}"), hundred = scanned("{\"max_tokens\":100}");
	struct refusal refusal = { 0 };

	(void)state;
	assert_true(hold_take(w, &sixty, 0, &first, &refusal));
	assert_int_equal(first.held_nano, 604);
	assert_false(hold_take(w, &sixty, 0, &second, &refusal));
	assert_int_equal(refusal.code, REFUSAL_BALANCE_IN_FLIGHT);
	assert_true(refusal.retry_after_ns > 0);
	refusal = (struct refusal){ 0 };
	assert_false(hold_take(w, &hundred, 0, &third, &refusal));
	assert_int_equal(refusal.code, REFUSAL_INSUFFICIENT_BALANCE);
	assert_non_null(strstr(refusal.message, "max_tokens"));
	assert_int_equal(refusal.retry_after_ns, 0);
	hold_settle(w, &first, 300);
	assert_int_equal(balance_of(w)->held_nano, 0);
	assert_int_equal(balance_of(w)->spent_nano, 300);
	assert_true(hold_take(w, &sixty, 0, &fourth, &refusal));
	hold_release(w, &fourth);
	hold_release(w, &fourth);
	assert_int_equal(balance_available_nano(balance_of(w)), 700);
	free_worker(w);
}

/* Settled, and closed behind that: once. */
static void
an_end_gives_back_its_own_hold_only(void **state)
{
	struct worker *w = make_worker(2000);
	struct admission first = some_admission(ROUTE_CHAT), second = first;
	struct json_result sixty = scanned("{\"max_tokens\":60}");
	struct refusal refusal = { 0 };

	(void)state;
	assert_true(hold_take(w, &sixty, 0, &first, &refusal));
	assert_true(hold_take(w, &sixty, 0, &second, &refusal));
	hold_settle(w, &first, 300);
	hold_release(w, &first);
	assert_int_equal(balance_of(w)->held_nano, second.held_nano);
	assert_int_equal(balance_of(w)->spent_nano, 300);
	hold_release(w, &second);
	assert_int_equal(balance_of(w)->held_nano, 0);
	free_worker(w);
}

static void
an_empty_account_gets_what_is_free_alone(void **state)
{
	struct worker *w = make_worker(0);
	struct admission priced = some_admission(ROUTE_TRANSCRIPTION), gratis = priced;
	struct refusal refusal = { 0 };

	(void)state;
	priced.price.request_nano = 0;
	assert_int_equal(hold_estimate_nano(w, &priced, NULL, 0), 0);
	assert_false(hold_take(w, NULL, 0, &priced, &refusal));
	assert_int_equal(refusal.code, REFUSAL_INSUFFICIENT_BALANCE);
	gratis.price = (struct shm_price){ 0 };
	assert_true(hold_take(w, NULL, 0, &gratis, &refusal));
	free_worker(w);
}

static void
another_account_in_the_entry_is_left_alone(void **state)
{
	struct worker *w = make_worker(1000);
	struct admission settled = some_admission(ROUTE_PROXY), released = settled;
	struct refusal refusal = { 0 };

	(void)state;
	assert_true(hold_take(w, NULL, 0, &settled, &refusal));
	assert_true(hold_take(w, NULL, 0, &released, &refusal));
	tables_put_account(&w->shm, ACCOUNT_ENTRY, ACCOUNT_ID + 1);
	shm_balance(&w->shm, ACCOUNT_ENTRY)->held_nano = 0; /* as control makes it */
	hold_settle(w, &settled, 3);
	hold_release(w, &released);
	assert_int_equal(balance_of(w)->held_nano, 0);
	assert_int_equal(balance_of(w)->spent_nano, 0);
	free_worker(w);
}

static void
what_a_dead_process_held_is_free(void **state)
{
	struct worker *w = make_worker(1000);
	struct admission a = some_admission(ROUTE_PROXY);
	struct refusal refusal = { 0 };

	(void)state;
	assert_true(hold_take(w, NULL, 0, &a, &refusal));
	hold_reset(&w->shm);
	assert_int_equal(balance_available_nano(balance_of(w)), 1000);
	free_worker(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tokens_are_held_for_as_far_as_the_request_bounds_them),
		cmocka_unit_test(a_rate_per_request_is_held_too),
		cmocka_unit_test(a_target_says_what_an_unbounded_answer_holds),
		cmocka_unit_test(bounds_of_other_paths_bound_nothing),
		cmocka_unit_test(every_prompt_of_a_list_has_an_answer),
		cmocka_unit_test(an_answer_without_completion_holds_for_its_prompt),
		cmocka_unit_test(other_units_are_held_for_by_what_is_asked_for),
		cmocka_unit_test(the_larger_of_two_rates_counts),
		cmocka_unit_test(who_cannot_pay_is_told_whether_waiting_helps),
		cmocka_unit_test(an_end_gives_back_its_own_hold_only),
		cmocka_unit_test(an_empty_account_gets_what_is_free_alone),
		cmocka_unit_test(another_account_in_the_entry_is_left_alone),
		cmocka_unit_test(what_a_dead_process_held_is_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

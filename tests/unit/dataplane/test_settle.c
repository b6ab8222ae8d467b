/* Integer money: rounded half up once, never negative, never wrapped (T97). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/event.h"
#include "dataplane/settle.h"
#include "dataplane/worker.h"
#include "tables.h"

static int64_t
cost(uint64_t input_nano, uint64_t output_nano, uint64_t prompt, uint64_t completion)
{
	struct shm_price price = { .input_nano_per_mtoken = input_nano,
				   .output_nano_per_mtoken = output_nano };

	return settle_cost_nano(&price, &(struct settle_counts){ prompt, completion, USAGE_NO_UNIT, 0 });
}

static int64_t
unit_cost(enum usage_unit unit, uint64_t units, uint64_t prompt)
{
	struct shm_price price = { .input_nano_per_mtoken = 1, .request_nano = 500, .image_nano = 40000000,
				   .second_nano = 100000, .character_nano_per_million = 15000000000,
				   .byte_nano_per_million = 250000000 };

	return settle_cost_nano(&price, &(struct settle_counts){ prompt, 0, unit, units });
}

static void
cost_is_tokens_times_price_rounded_half_up(void **state)
{
	(void)state;
	assert_int_equal(cost(150000000, 600000000, 18, 24), 2700 + 14400);
	assert_int_equal(cost(1, 0, 499999, 0), 0);
	assert_int_equal(cost(1, 0, 500000, 0), 1);
	assert_int_equal(cost(1, 1, 250000, 250000), 1); /* once per request, not once per kind */
	assert_int_equal(cost(0, 0, UINT64_MAX, UINT64_MAX), 0);
	assert_int_equal(cost(5, 5, 0, 0), 0);
}

static void
what_does_not_fit_is_the_largest_amount(void **state)
{
	(void)state;
	assert_int_equal(cost(UINT64_MAX, 0, UINT64_MAX, 0), INT64_MAX);
	assert_int_equal(cost(UINT64_C(1) << 63, 0, 1000000, 0), INT64_MAX);
	assert_int_equal(cost((UINT64_C(1) << 63) - 1, 0, 1000000, 0), INT64_MAX);
	assert_int_equal(cost(UINT64_C(1) << 53, 0, 1000000, 0), INT64_C(1) << 53);
}

static void
units_cost_what_their_rate_says(void **state)
{
	(void)state;
	assert_int_equal(unit_cost(USAGE_REQUESTS, 1, 0), 500);
	assert_int_equal(unit_cost(USAGE_IMAGES, 3, 0), 120000000);
	assert_int_equal(unit_cost(USAGE_MILLISECONDS, 8470, 0), 847000);
	assert_int_equal(unit_cost(USAGE_MILLISECONDS, 1, 0), 100);
	assert_int_equal(unit_cost(USAGE_CHARACTERS, 33, 0), 495000);
	assert_int_equal(unit_cost(USAGE_BYTES, 3, 0), 750);
	assert_int_equal(unit_cost(USAGE_BYTES, 1, 500000), 251); /* 250 and a half, rounded once */
	assert_int_equal(unit_cost(USAGE_NO_UNIT, 99, 0), 0);
	assert_int_equal(unit_cost(USAGE_IMAGES, UINT64_MAX, 0), INT64_MAX);
	assert_int_equal(unit_cost(USAGE_MILLISECONDS, UINT64_MAX, UINT64_MAX), INT64_MAX);
}

/* --- the account ------------------------------------------------------------------------- */

#define RECORDS 4

/* Settles a request of account 7, which has entry 2; owner has the entry when it ends. It has an answer if it is
 * USAGE_OK. */
static void
settle(struct exchange *x, enum usage_outcome outcome, uint64_t owner, int64_t *spent_nano,
       struct usage_record *record)
{
	struct worker *w = calloc(1, sizeof(*w));
	struct spool_writer spool;
	struct tab_header *tab;
	void *segment;

	segment = aligned_alloc(CACHE_LINE_BYTES, spool_bytes(RECORDS));
	tab = aligned_alloc(CACHE_LINE_BYTES, tab_bytes(1));
	assert_true(w != NULL && segment != NULL && tab != NULL);
	memset(tab, 0, tab_bytes(1));
	tab_format(tab, 1, 0, 1);
	memset(segment, 0, spool_bytes(RECORDS));
	w->shm = tables_make();
	spool_format(segment, 1, 0, 0, RECORDS);
	spool_writer_init(&spool, segment);
	w->spool = &spool;
	w->tab = tab;
	w->exchanges = x;
	tables_put_account(&w->shm, 2, owner);
	x->any_sent = true;
	x->answered = outcome == USAGE_OK || x->is_events;
	x->status = x->answered ? 200 : 0;
	x->admission.account_entry = 2;
	x->admission.account_id = 7;
	settle_exchange(w, x, outcome);
	settle_exchange(w, x, outcome);
	*spent_nano = atomic_load(&shm_balance(&w->shm, 2)->spent_nano);
	assert_int_equal(spool_read(segment, 0, record), ERR_OK);
	assert_int_equal(record->sequence, 1);
	free(segment);
	free(tab);
	tables_free(&w->shm);
	free(w);
}

/* A request may outlive its account, and the entry's next account owes nothing for it; the ledger has it. */
static void
what_is_owed_is_owed_by_the_account_that_asked(void **state)
{
	struct exchange first = { .admission = { .route = ROUTE_PROXY, .price = { .request_nano = 5 } } };
	struct exchange second = first;
	struct usage_record record;
	int64_t spent_nano;

	(void)state;
	settle(&first, USAGE_OK, 7, &spent_nano, &record);
	assert_int_equal(spent_nano, 5);
	assert_int_equal(record.account_id, 7);
	assert_int_equal(record.cost_nano, 5);
	settle(&second, USAGE_OK, 8, &spent_nano, &record);
	assert_int_equal(spent_nano, 0);
	assert_int_equal(record.account_id, 7);
	assert_int_equal(record.cost_nano, 5);
}

/* A rate may be any number, and so may what a backend counts: no record is beyond what a ledger can add up. */
static void
a_cost_that_nothing_can_have_is_bounded_and_suspect(void **state)
{
	struct exchange x = { .admission = { .route = ROUTE_PROXY, .price = { .request_nano = UINT64_MAX } } };
	struct usage_record record;
	int64_t spent_nano;

	(void)state;
	settle(&x, USAGE_OK, 7, &spent_nano, &record);
	assert_int_equal(record.cost_nano, SETTLE_COST_NANO_MAX);
	assert_int_equal(spent_nano, SETTLE_COST_NANO_MAX);
	assert_true(record.suspect);
}

/* Rerankers say `total_tokens` alone. */
static void
a_total_is_the_prompt_where_nothing_is_completed(void **state)
{
	struct exchange x = { .admission = { .route = ROUTE_JSON, .price = { .input_nano_per_mtoken = 1000000 } },
			      .usage = { .present = true, .has_total = true, .total_tokens = 90 },
			      .payload_bytes = 4000 };
	struct exchange silent = { .admission = { .route = ROUTE_JSON,
						  .price = { .output_nano_per_mtoken = 1000000 } },
				   .payload_bytes = 4000 };
	struct usage_record record;
	int64_t spent_nano;

	(void)state;
	settle(&x, USAGE_OK, 7, &spent_nano, &record);
	assert_int_equal(record.prompt_tokens, 90);
	assert_int_equal(record.source, USAGE_FINAL);
	assert_int_equal(spent_nano, 90);
	settle(&silent, USAGE_OK, 7, &spent_nano, &record);
	assert_int_equal(record.completion_tokens, 0);
	assert_int_equal(record.source, USAGE_ESTIMATED);
}

/* --- the unit ------------------------------------------------------------------------------ */

static const struct shm_price by_second = { .second_nano = 1000 };
static const struct shm_price by_byte = { .byte_nano_per_million = 1000000 };
static const struct shm_price by_both = { .second_nano = 1000, .byte_nano_per_million = 1000000 };
static const struct shm_price by_request = { .request_nano = 7 };
static const struct shm_price by_token = { .output_nano_per_mtoken = 1 };
static const struct shm_price by_second_or_request = { .second_nano = 1000, .request_nano = 3500 };
static const struct shm_price by_nothing = { .price_id = 1 };

static int64_t
cost_of_audio(const struct shm_price *price, uint64_t told_milliseconds, enum usage_unit *unit)
{
	struct exchange x = { .admission = { .route = ROUTE_TRANSCRIPTION, .body_kind = BODY_IS_FORM,
					     .price = *price },
			      .form.result.file_bytes = 300,
			      .usage = { .has_length = told_milliseconds > 0,
					 .milliseconds = told_milliseconds } };
	struct usage_record record;
	int64_t spent_nano;

	settle(&x, USAGE_OK, 7, &spent_nano, &record);
	*unit = (enum usage_unit)record.unit;
	return spent_nano;
}

/* Whether the answer tells a length is the client's choice (response_format), what it costs is not. */
static void
the_unit_is_one_that_costs(void **state)
{
	enum usage_unit unit;

	(void)state;
	assert_int_equal(cost_of_audio(&by_both, 2000, &unit), 2000);
	assert_int_equal(unit, USAGE_MILLISECONDS);
	assert_int_equal(cost_of_audio(&by_both, 0, &unit), 300);
	assert_int_equal(unit, USAGE_BYTES);
	assert_int_equal(cost_of_audio(&by_byte, 2000, &unit), 300);
	assert_int_equal(unit, USAGE_BYTES);
	assert_int_equal(cost_of_audio(&by_second, 2000, &unit), 2000);
	assert_int_equal(cost_of_audio(&by_nothing, 2000, &unit), 0);
	assert_int_equal(unit, USAGE_MILLISECONDS);
	assert_int_equal(cost_of_audio(&by_nothing, 0, &unit), 0);
	assert_int_equal(unit, USAGE_BYTES);
}

static int64_t
cost_of_videos(const struct shm_price *price, int64_t count, uint64_t wanted_milliseconds,
	       uint64_t told_milliseconds)
{
	struct exchange x = { .admission = { .route = ROUTE_VIDEO, .body_kind = BODY_IS_JSON, .price = *price },
			      .usage = { .has_length = told_milliseconds > 0,
					 .milliseconds = told_milliseconds } };
	struct usage_record record;
	int64_t spent_nano;

	if (count > 0)
		x.json.result.field[JSON_FIELD_N] =
			(struct json_value){ .type = JSON_NUMBER, .integer = true, .number = count };
	if (wanted_milliseconds > 0)
		x.json.result.field[JSON_FIELD_DURATION] =
			(struct json_value){ .type = JSON_NUMBER, .number_milli = (int64_t)wanted_milliseconds };
	settle(&x, USAGE_OK, 7, &spent_nano, &record);
	return spent_nano;
}

static void
a_video_is_paid_by_what_has_a_rate(void **state)
{
	(void)state;
	assert_int_equal(cost_of_videos(&by_second, 0, 4000, 0), 4000);
	assert_int_equal(cost_of_videos(&by_second, 0, 4000, 5000), 5000);
	assert_int_equal(cost_of_videos(&by_request, 0, 4000, 0), 7);
	assert_int_equal(cost_of_videos(&by_request, 0, 4000, 5000), 7);
	assert_int_equal(cost_of_videos(&by_request, 0, 0, 0), 7);
	/* Each of several is. */
	assert_int_equal(cost_of_videos(&by_second, 10, 4000, 0), 40000);
	assert_int_equal(cost_of_videos(&by_second, 10, 4000, 5000), 50000);
	assert_int_equal(cost_of_videos(&by_second, 10, 0, 5000), 50000);
	assert_int_equal(cost_of_videos(&by_request, 10, 0, 0), 70);
	/* A length that the client alone tells makes nothing cheaper. */
	assert_int_equal(cost_of_videos(&by_second, 0, 1, 0), 1000);
	assert_int_equal(cost_of_videos(&by_second, 0, 4001, 0), 5000);
	assert_int_equal(cost_of_videos(&by_second_or_request, 0, 1, 0), 3500);
	assert_int_equal(cost_of_videos(&by_second_or_request, 0, 3001, 0), 4000);
	assert_int_equal(cost_of_videos(&by_second_or_request, 0, 0, 0), 3500);
	assert_int_equal(cost_of_videos(&by_second_or_request, 0, 9000, 1), 1);
}

/* --- tokens -------------------------------------------------------------------------------- */

/* A chat whose prompt is 10 tokens (40 bytes), at 1 a token; `usage` was told by event number `told`. */
static struct usage_record
billed(struct json_usage usage, uint64_t told, uint64_t events, enum usage_outcome outcome)
{
	struct exchange x = { .admission = { .route = ROUTE_CHAT, .completes = true, .body_kind = BODY_IS_RAW,
					     .price = { .input_nano_per_mtoken = 1000000,
							.output_nano_per_mtoken = 1000000 } },
			      .request_sent = true, .is_events = true, .body = { .bytes = 40 } };
	struct usage_record record;
	int64_t spent_nano;

	usage.present = usage.is_complete = told > 0;
	x.events = told > 0 ? told - 1 : 0;
	event_take_usage(&x, &usage);
	x.events = events;
	settle(&x, outcome, 7, &spent_nano, &record);
	assert_int_equal(spent_nano, record.completion_tokens < UINT64_MAX
					     ? (int64_t)(record.prompt_tokens + record.completion_tokens)
					     : SETTLE_COST_NANO_MAX);
	return record;
}

/* Who leaves pays for what was sent, whatever of it the backend has told, and when. */
static void
a_word_that_came_early_is_not_the_last(void **state)
{
	const struct json_usage nothing = { 0 }, prompt = { .has_prompt = true, .prompt_tokens = 100 };
	struct json_usage both = prompt, sum = prompt;
	struct usage_record record;

	(void)state;
	both.has_completion = true;
	both.completion_tokens = 3;
	sum.has_total = true;
	sum.total_tokens = 103;
	record = billed(nothing, 0, 500, USAGE_TIMEOUT);
	assert_int_equal(record.prompt_tokens + record.completion_tokens, 510);
	record = billed(prompt, 1, 500, USAGE_TIMEOUT);
	assert_int_equal(record.prompt_tokens, 100);
	assert_int_equal(record.completion_tokens, 500);
	record = billed(both, 1, 500, USAGE_TIMEOUT);
	assert_int_equal(record.completion_tokens, 3 + 499);
	assert_int_equal(record.source, USAGE_RUNNING);
	record = billed(sum, 1, 500, USAGE_TIMEOUT);
	assert_int_equal(record.completion_tokens, 3 + 499);
	/* A running count in each event says it all. */
	record = billed(both, 500, 500, USAGE_TIMEOUT);
	assert_int_equal(record.completion_tokens, 3);
	/* In a whole stream the last word has the events' number, but for a role and a finish. */
	record = billed(both, 1, 5, USAGE_OK);
	assert_int_equal(record.completion_tokens, 3);
	assert_int_equal(record.source, USAGE_FINAL);
	record = billed(both, 2, 6, USAGE_OK);
	assert_int_equal(record.completion_tokens, 3 + 4);
	record = billed(both, 1, 500, USAGE_OK);
	assert_int_equal(record.completion_tokens, 3 + 499);
	assert_int_equal(record.source, USAGE_RUNNING);
	/* The one that only we have asked for is no event of the client's. */
	record = billed(both, 501, 500, USAGE_OK);
	assert_int_equal(record.completion_tokens, 3);
	/* A count of 2^64 does not begin again. */
	both.completion_tokens = UINT64_MAX;
	record = billed(both, 1, 500, USAGE_TIMEOUT);
	assert_int_equal(record.completion_tokens, UINT64_MAX);
}

static void
what_a_usage_does_not_say_is_derived_or_estimated(void **state)
{
	struct usage_record record;

	(void)state;
	record = billed((struct json_usage){ .has_completion = true, .completion_tokens = 7 }, 9, 9, USAGE_OK);
	assert_int_equal(record.prompt_tokens, 10);
	assert_int_equal(record.completion_tokens, 7);
	assert_int_equal(record.source, USAGE_ESTIMATED);
	record = billed((struct json_usage){ .has_completion = true, .completion_tokens = 7, .has_total = true,
					     .total_tokens = 40 }, 9, 9, USAGE_OK);
	assert_int_equal(record.prompt_tokens, 33);
	assert_int_equal(record.source, USAGE_FINAL);
	record = billed((struct json_usage){ .has_prompt = true, .prompt_tokens = 30, .has_total = true,
					     .total_tokens = 40 }, 9, 9, USAGE_OK);
	assert_int_equal(record.completion_tokens, 10);
	assert_int_equal(record.source, USAGE_FINAL);
	record = billed((struct json_usage){ .has_prompt = true, .prompt_tokens = 30 }, 9, 9, USAGE_OK);
	assert_int_equal(record.completion_tokens, 9);
	assert_int_equal(record.source, USAGE_ESTIMATED);
	/* A sum that cannot be. */
	record = billed((struct json_usage){ .has_completion = true, .completion_tokens = 7, .has_total = true,
					     .total_tokens = 3 }, 9, 9, USAGE_OK);
	assert_int_equal(record.prompt_tokens, 10);
}

static int64_t
cost_of_leaving(enum route_kind route, bool request_sent)
{
	struct exchange x = { .request_sent = request_sent, .body = { .bytes = 400 },
			      .admission = { .route = route, .body_kind = BODY_IS_RAW,
					     .price = { .request_nano = 7, .image_nano = 9,
							.input_nano_per_mtoken = 1000000 } } };
	struct usage_record record;
	int64_t spent_nano;

	settle(&x, USAGE_CLIENT_ABORT, 7, &spent_nano, &record);
	if (spent_nano > 0)
		assert_int_equal(record.source, USAGE_ESTIMATED);
	return spent_nano;
}

/* The backend does the work whoever waits for it: once it has the whole request, it is paid. */
static void
who_leaves_before_the_answer_pays(void **state)
{
	(void)state;
	assert_int_equal(cost_of_leaving(ROUTE_PROXY, true), 7);
	assert_int_equal(cost_of_leaving(ROUTE_PROXY, false), 0);
	assert_int_equal(cost_of_leaving(ROUTE_IMAGES, true), 9);
	assert_int_equal(cost_of_leaving(ROUTE_IMAGES, false), 0);
	assert_int_equal(cost_of_leaving(ROUTE_VIDEO, true), 7);
	assert_int_equal(cost_of_leaving(ROUTE_VIDEO_JOB, true), 0);
	/* Not sent: or only in a try that was abandoned. */
	assert_int_equal(cost_of_leaving(ROUTE_CHAT, true), 100 + 7);
	assert_int_equal(cost_of_leaving(ROUTE_CHAT, false), 0);
}

/* What nobody can be charged for is not let in, unless the whole price is of nothing. */
static void
a_price_has_a_rate_for_what_is_asked(void **state)
{
	static const struct {
		const struct shm_price *price;
		enum route_kind route;
		bool says_length;
		bool is_priced;
	} rows[] = {
		{ &by_second, ROUTE_TRANSCRIPTION, false, false }, { &by_byte, ROUTE_TRANSCRIPTION, false, true },
		{ &by_second, ROUTE_SPEECH, false, false },	   { &by_second, ROUTE_VIDEO, false, false },
		{ &by_second, ROUTE_VIDEO, true, true },	   { &by_request, ROUTE_VIDEO, true, true },
		{ &by_request, ROUTE_VIDEO, false, true },	   { &by_byte, ROUTE_VIDEO, true, false },
		{ &by_token, ROUTE_IMAGES, false, false },	   { &by_token, ROUTE_PROXY, false, false },
		{ &by_request, ROUTE_PROXY, false, true },	   { &by_token, ROUTE_CHAT, false, true },
		{ &by_second, ROUTE_CHAT, false, false },	   { &by_second, ROUTE_JSON, false, false },
		{ &by_second, ROUTE_VIDEO_JOB, false, true },	   { &by_nothing, ROUTE_SPEECH, false, true },
		{ &by_request, ROUTE_CHAT, false, true },	   { &by_request, ROUTE_JSON, false, true },
		{ &by_request, ROUTE_IMAGES, false, true },	   { &by_request, ROUTE_SPEECH, false, true },
		{ &by_request, ROUTE_TRANSCRIPTION, false, true },
		{ &by_nothing, ROUTE_CHAT, false, true },	   { &by_nothing, ROUTE_PROXY, false, true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (settle_is_priced(rows[i].price, rows[i].route, rows[i].says_length) != rows[i].is_priced)
			fail_msg("row %zu", i);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_unit_is_one_that_costs),
		cmocka_unit_test(a_video_is_paid_by_what_has_a_rate),
		cmocka_unit_test(a_word_that_came_early_is_not_the_last),
		cmocka_unit_test(what_a_usage_does_not_say_is_derived_or_estimated),
		cmocka_unit_test(who_leaves_before_the_answer_pays),
		cmocka_unit_test(a_price_has_a_rate_for_what_is_asked),
		cmocka_unit_test(a_cost_that_nothing_can_have_is_bounded_and_suspect),
		cmocka_unit_test(a_total_is_the_prompt_where_nothing_is_completed),
		cmocka_unit_test(what_is_owed_is_owed_by_the_account_that_asked),
		cmocka_unit_test(units_cost_what_their_rate_says),
		cmocka_unit_test(cost_is_tokens_times_price_rounded_half_up),
		cmocka_unit_test(what_does_not_fit_is_the_largest_amount),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

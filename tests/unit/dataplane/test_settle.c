/* Integer money: rounded half up once, never negative, never wrapped (T97). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/settle.h"
#include "dataplane/worker.h"

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

static void
put_account(struct worker *w, uint64_t id)
{
	struct shm_account account = { .account_id = id, .live = 1 };
	bool changed;

	assert_int_equal(shm_put_account(&w->shm, 2, &account, &changed), ERR_OK);
}

/* One request of account 7, which has entry 2, at 5 nano-dollars; owner has the entry when it ends. */
static void
settle(uint64_t owner, int64_t *taken_nano, struct usage_record *record)
{
	static const uint8_t id[16], pepper[32];
	struct exchange x = { .any_sent = true, .answered = true, .status = 200,
			      .admission = { .account_entry = 2, .account_id = 7, .route = ROUTE_PROXY,
					     .price = { .request_nano = 5 } } };
	struct worker *w = calloc(1, sizeof(*w));
	struct shm_capacity capacity = { 0 };
	struct spool_writer spool;
	void *tables, *segment;

	for (int i = SHM_KEYS; i <= SHM_REGIONS; i++)
		capacity.count[i] = 4;
	tables = aligned_alloc(CACHE_LINE_BYTES, shm_bytes(&capacity, 1));
	segment = aligned_alloc(CACHE_LINE_BYTES, spool_bytes(RECORDS));
	assert_true(w != NULL && tables != NULL && segment != NULL);
	memset(tables, 0, shm_bytes(&capacity, 1));
	memset(segment, 0, spool_bytes(RECORDS));
	shm_format(tables, &capacity, 1, id, pepper);
	assert_int_equal(shm_attach(&w->shm, tables, shm_bytes(&capacity, 1)), ERR_OK);
	spool_format(segment, 1, 0, 0, RECORDS);
	spool_writer_init(&spool, segment);
	w->spool = &spool;
	put_account(w, owner);
	settle_exchange(w, &x, USAGE_OK);
	settle_exchange(w, &x, USAGE_OK);
	*taken_nano = atomic_load(&shm_balance(&w->shm, 2)->taken_nano);
	assert_int_equal(spool_read(segment, 0, record), ERR_OK);
	assert_int_equal(spool_read(segment, 1, record), ERR_MORE);
	assert_int_equal(spool_read(segment, 0, record), ERR_OK);
	free(segment);
	free(tables);
	free(w);
}

/* A request may outlive its account, and the entry's next account owes nothing for it; the ledger has it. */
static void
what_is_owed_is_owed_by_the_account_that_asked(void **state)
{
	struct usage_record record;
	int64_t taken_nano;

	(void)state;
	settle(7, &taken_nano, &record);
	assert_int_equal(taken_nano, 5);
	assert_int_equal(record.account_id, 7);
	assert_int_equal(record.cost_nano, 5);
	settle(8, &taken_nano, &record);
	assert_int_equal(taken_nano, 0);
	assert_int_equal(record.account_id, 7);
	assert_int_equal(record.cost_nano, 5);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_owed_is_owed_by_the_account_that_asked),
		cmocka_unit_test(units_cost_what_their_rate_says),
		cmocka_unit_test(cost_is_tokens_times_price_rounded_half_up),
		cmocka_unit_test(what_does_not_fit_is_the_largest_amount),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

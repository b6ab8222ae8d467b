/*
 * Entries that change each time they are looked at, which no reader can read: a request that hangs on one is
 * answered 503 with a time to come back, never 401, 404 or 402, and never let in without its limits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void before_load(void);
#define SHM_BEFORE_LOAD() before_load()
#define SHM_BEFORE_STORE() ((void)0)
#include "shm_hooked.h"

#include "dataplane/admit.h"
#include "dataplane/quota.h"
#include "dataplane/worker.h"
#include "tables.h"
#include "tls/keyhash.h"

#define KEY "eco_brought-along-by-somebody"

static struct worker *w;
static void (*restless)(void); /* what is published again before each load; NULL: nothing */
static uint32_t turn;

static void
before_load(void)
{
	void (*publish)(void) = restless;

	restless = NULL; /* the writer's own loads */
	if (publish != NULL) {
		turn++;
		publish();
	}
	restless = publish;
}

static void
put_account(void)
{
	struct shm_account account = { .account_id = 7, .live = 1, .reserved = { (uint8_t)turn } };
	bool changed;

	assert_int_equal(shm_put_account(&w->shm, 2, &account, &changed), ERR_OK);
}

static void
put_plan(void)
{
	struct shm_plan plan = { .plan_id = 1, .body_bytes_max = 1000 + turn % 2, .live = 1 };
	bool changed;

	assert_int_equal(shm_put_plan(&w->shm, 1, &plan, &changed), ERR_OK);
}

static void
put_model(void)
{
	struct shm_model model = { .name = { .len = 1, .text = "m" }, .model_id = 5, .live = 1 };
	bool changed;

	model.target = (struct shm_target){ .price = 3, .request_ms = turn };
	assert_int_equal(shm_put_model(&w->shm, 0, &model, &changed), ERR_OK);
}

static void
put_price(void)
{
	struct shm_price price = { .price_id = 9, .version = turn, .live = 1, .input_nano_per_mtoken = 1,
				   .output_nano_per_mtoken = 1 };
	bool changed;

	assert_int_equal(shm_put_price(&w->shm, 3, &price, &changed), ERR_OK);
}

static void
put_instance(void)
{
	struct shm_instance instance = { .name = { .len = 1, .text = "i" }, .instance_id = 42, .account = 2,
					 .live = 1 };
	bool changed;

	instance.target = (struct shm_target){ .price = 3, .request_ms = turn };
	assert_int_equal(shm_put_instance(&w->shm, 1, &instance, &changed), ERR_OK);
}

/* Its slot becomes another key's and its own again. */
static void
put_key(void)
{
	struct shm_key key = { .key_id = 11, .account = 2, .plan = 1, .live = 1 }, none = { 0 };
	bool changed;

	keyhash_make(w->shm.header->pepper, BYTES_LITERAL(KEY), key.hash);
	assert_int_equal(shm_put_key(&w->shm, 1, &none, &changed), ERR_OK);
	assert_int_equal(shm_put_key(&w->shm, 1, &key, &changed), ERR_OK);
}

static int
begin_worker(void **state)
{
	(void)state;
	restless = NULL;
	w = calloc(1, sizeof(*w));
	assert_non_null(w);
	w->shm = tables_make();
	w->now_ns = 1000 * NSEC_PER_SEC;
	w->config.surfaces[0] = (struct worker_surface){ .enabled = true, .prefix = "/v1", .key_prefix = "eco_",
							 .body_bytes_max = 1 << 20 };
	put_account();
	put_plan();
	put_price();
	put_model();
	put_instance();
	put_key();
	return 0;
}

static int
end_worker(void **state)
{
	(void)state;
	restless = NULL;
	tables_free(&w->shm);
	free(w);
	return 0;
}

static bool
ask_head(struct admission *a, struct refusal *refusal)
{
	const struct h1_request request = {
		.method = H1_GET,
		.method_text = BYTES_LITERAL("GET"),
		.path = BYTES_LITERAL("/v1/models"),
		.head = { .fields = { { BYTES_LITERAL("authorization"), BYTES_LITERAL("Bearer " KEY) } },
			  .field_count = 1 },
	};

	*refusal = (struct refusal){ 0 };
	return admit_head(w, &request, a, refusal);
}

static bool
ask_model(struct bytes body, struct admission *a, struct refusal *refusal)
{
	struct json_scan scan;

	json_scan_init(&scan);
	assert_int_equal(json_scan_feed(&scan, body), ERR_OK);
	assert_int_equal(json_scan_end(&scan), ERR_OK);
	*refusal = (struct refusal){ 0 };
	*a = (struct admission){ .route = ROUTE_CHAT, .account_entry = 2, .account_id = 7 };
	return admit_body(w, &scan.result, a, refusal);
}

static void
assert_overloaded(bool is_let_in, const struct refusal *refusal, uint64_t count)
{
	assert_false(is_let_in);
	assert_int_equal(refusal->code, REFUSAL_OVERLOADED);
	assert_int_equal(refusal->retry_after_ns, NSEC_PER_SEC);
	assert_null(refusal->param);
	assert_int_equal(w->counters[ERR_SHM_BUSY], count);
}

static void
what_stands_still_is_let_in(void **state)
{
	struct refusal refusal;
	struct admission a;

	(void)state;
	assert_true(ask_head(&a, &refusal));
	assert_int_equal(a.account_id, 7);
	assert_int_equal(a.key_id, 11);
	assert_int_not_equal(a.plan_body_bytes_max, 0);
	assert_int_equal(w->counters[ERR_SHM_BUSY], 0);
}

static void
an_unreadable_key_account_or_plan_is_overload(void **state)
{
	static void (*const publish[])(void) = { put_key, put_account, put_plan };
	struct refusal refusal;
	struct admission a;

	(void)state;
	for (uint64_t i = 0; i < COUNT_OF(publish); i++) {
		restless = publish[i];
		assert_overloaded(ask_head(&a, &refusal), &refusal, i + 1);
	}
	restless = NULL;
	assert_true(ask_head(&a, &refusal));
}

static void
a_key_without_its_plan_is_not_let_in(void **state)
{
	struct shm_plan none = { 0 };
	struct refusal refusal;
	struct admission a;
	bool changed;

	(void)state;
	assert_int_equal(shm_put_plan(&w->shm, 1, &none, &changed), ERR_OK);
	assert_false(ask_head(&a, &refusal));
	assert_int_equal(refusal.code, REFUSAL_INVALID_API_KEY);
}

static void
an_unreadable_model_instance_or_price_is_overload(void **state)
{
	struct refusal refusal;
	struct admission a;

	(void)state;
	restless = put_model;
	assert_overloaded(ask_model(BYTES_LITERAL("{\"model\":\"m\"}"), &a, &refusal), &refusal, 1);
	restless = put_price;
	assert_overloaded(ask_model(BYTES_LITERAL("{\"model\":\"m\"}"), &a, &refusal), &refusal, 2);
	restless = put_instance;
	assert_overloaded(ask_model(BYTES_LITERAL("{\"model\":\"i:42\"}"), &a, &refusal), &refusal, 3);
}

static void
what_is_given_back_finds_its_cell(void **state)
{
	struct admission a = { .account_entry = 2, .account_id = 7 };
	struct admission other = { .account_entry = 2, .account_id = 8 };

	(void)state;
	assert_true(quota_is_same_account(w, &a));
	assert_false(quota_is_same_account(w, &other));
	restless = put_account;
	assert_true(quota_is_same_account(w, &a));
}

#define IN_WORKER(test) cmocka_unit_test_setup_teardown(test, begin_worker, end_worker)

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		IN_WORKER(what_stands_still_is_let_in),
		IN_WORKER(an_unreadable_key_account_or_plan_is_overload),
		IN_WORKER(a_key_without_its_plan_is_not_let_in),
		IN_WORKER(an_unreadable_model_instance_or_price_is_overload),
		IN_WORKER(what_is_given_back_finds_its_cell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

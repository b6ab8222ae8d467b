/* What a try tells about its pod, and only about that one: its entry may stand for another pod by then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/exchange.h"
#include "dataplane/route.h"
#include "dataplane/worker.h"
#include "tables.h"

#define POD 3

static struct worker *w;

static void
put_pod(uint64_t id)
{
	struct shm_pod pod = { .pod_id = id, .port = 1, .live = 1 };
	bool changed;

	assert_int_equal(shm_put_pod(&w->shm, POD, &pod, &changed), ERR_OK);
}

static struct shm_pod_health *
health(void)
{
	return shm_pod_health(&w->shm, POD);
}

static int
open_worker(void **state)
{
	(void)state;
	w = calloc(1, sizeof(*w));
	assert_non_null(w);
	w->shm = tables_make();
	w->config.routing = (struct route_limits){ .eject_errors = 3, .eject_time_ns = NSEC_PER_SEC,
						   .eject_time_ns_max = NSEC_PER_SEC, .eject_percent = 100,
						   .busy_ns = NSEC_PER_SEC };
	w->now_ns = 1000 * NSEC_PER_SEC;
	put_pod(21);
	return 0;
}

static int
close_worker(void **state)
{
	(void)state;
	tables_free(&w->shm);
	free(w);
	return 0;
}

static void
report(uint64_t pod_id, enum route_outcome outcome)
{
	struct exchange x = { .pod_entry = POD, .pod_id = pod_id, .try_sent_at_ns = w->now_ns - NSEC_PER_MSEC };

	if (outcome == ROUTE_GOOD)
		route_first_token(w, &x);
	route_report(w, &x, outcome, 0);
}

static void
its_own_pod_is_told(void **state)
{
	(void)state;
	report(21, ROUTE_BAD);
	assert_int_equal(atomic_load(&health()->eject_errors), 1);
	report(21, ROUTE_BUSY);
	assert_int_equal(atomic_load(&health()->busy_until_ns), w->now_ns + NSEC_PER_SEC);
	report(21, ROUTE_GOOD);
	assert_int_equal(atomic_load(&health()->eject_errors), 0);
	assert_int_not_equal(atomic_load(&health()->first_token), 0);
}

static void
another_pod_at_its_entry_is_not(void **state)
{
	(void)state;
	put_pod(22);
	report(21, ROUTE_BAD);
	assert_int_equal(atomic_load(&health()->eject_errors), 0);
	report(21, ROUTE_BUSY);
	assert_int_equal(atomic_load(&health()->busy_until_ns), 0);
	atomic_store(&health()->eject_errors, 2);
	report(21, ROUTE_GOOD);
	assert_int_equal(atomic_load(&health()->eject_errors), 2);
	assert_int_equal(atomic_load(&health()->first_token), 0);
}

/* The slot of a half-open pod is not given back by who never had it. */
static void
a_slot_is_given_back_to_its_own_pod_only(void **state)
{
	struct exchange mine = { .pod_entry = POD, .pod_id = 21, .holds_probe = true };
	struct exchange other = mine;

	(void)state;
	atomic_store(&health()->eject_prober, 1);
	route_release(w, &mine);
	assert_false(mine.holds_probe);
	assert_int_equal(atomic_load(&health()->eject_prober), 0);
	put_pod(22);
	atomic_store(&health()->eject_prober, 5);
	route_release(w, &other);
	assert_false(other.holds_probe);
	assert_int_equal(atomic_load(&health()->eject_prober), 5);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(its_own_pod_is_told, open_worker, close_worker),
		cmocka_unit_test_setup_teardown(another_pod_at_its_entry_is_not, open_worker, close_worker),
		cmocka_unit_test_setup_teardown(a_slot_is_given_back_to_its_own_pod_only, open_worker,
						close_worker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

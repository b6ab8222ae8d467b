/* Holds and settlements of several workers on one account: it is never overdrawn, and nothing stays held. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/prng.h"
#include "shm/balance.h"

/* Not in a function: the sanitizers' stack aligns nothing to a cache line. */
static struct shm_balance_cell cell, even, debtor;

static struct shm_balance_cell
some_cell(int64_t credited_nano, int64_t spent_nano)
{
	return (struct shm_balance_cell){ .credited_nano = credited_nano, .spent_nano = spent_nano };
}

static void
a_hold_is_replaced_by_the_cost(void **state)
{
	(void)state;
	cell = some_cell(1000, 100);
	assert_int_equal(balance_hold(&cell, 600), BALANCE_HELD);
	assert_int_equal(balance_available_nano(&cell), 300);
	balance_settle(&cell, 600, 50);
	assert_int_equal(balance_available_nano(&cell), 850);
	assert_int_equal(cell.spent_nano, 150);
	assert_int_equal(cell.held_nano, 0);
	/* A request may cost more than was held. */
	assert_int_equal(balance_hold(&cell, 850), BALANCE_HELD);
	balance_settle(&cell, 850, 900);
	assert_int_equal(balance_available_nano(&cell), -50);
}

static void
in_the_way_and_empty_are_told_apart(void **state)
{
	(void)state;
	cell = some_cell(1000, 0);
	assert_int_equal(balance_hold(&cell, 1001), BALANCE_EMPTY);
	assert_int_equal(balance_hold(&cell, 1000), BALANCE_HELD);
	assert_int_equal(balance_hold(&cell, 1), BALANCE_IN_FLIGHT);
	assert_int_equal(balance_hold(&cell, 1001), BALANCE_EMPTY);
	balance_settle(&cell, 1000, 1000);
	assert_int_equal(balance_hold(&cell, 1), BALANCE_EMPTY);
	assert_int_equal(cell.held_nano, 0);
}

static void
what_costs_nothing_is_for_who_owes_nothing(void **state)
{
	(void)state;
	even = some_cell(0, 0);
	debtor = some_cell(0, 1);
	assert_int_equal(balance_hold(&even, 0), BALANCE_HELD);
	assert_int_equal(balance_hold(&debtor, 0), BALANCE_EMPTY);
}

static void
what_other_routers_have_spent_is_gone(void **state)
{
	(void)state;
	cell = some_cell(1000, 100);
	cell.elsewhere_nano = 400;
	assert_int_equal(balance_available_nano(&cell), 500);
	assert_int_equal(balance_hold(&cell, 501), BALANCE_EMPTY);
	assert_int_equal(balance_hold(&cell, 500), BALANCE_HELD);
	balance_settle(&cell, 500, 500);
	assert_int_equal(cell.elsewhere_nano, 400);
	cell = some_cell(1000, INT64_MAX);
	cell.elsewhere_nano = INT64_MAX;
	assert_int_equal(balance_available_nano(&cell), 1000 - INT64_MAX);
	assert_int_equal(balance_hold(&cell, 0), BALANCE_EMPTY);
}

static void
a_hold_that_nobody_remembers_does_not_become_credit(void **state)
{
	(void)state;
	cell = some_cell(1000, 0);
	assert_int_equal(balance_hold(&cell, 600), BALANCE_HELD);
	atomic_store(&cell.held_nano, 0); /* another process begins */
	balance_settle(&cell, 600, 100);
	assert_int_equal(cell.held_nano, 0);
	assert_int_equal(balance_available_nano(&cell), 900);
}

static void
amounts_that_do_not_fit_stay_at_the_largest(void **state)
{
	(void)state;
	cell = some_cell(INT64_MAX, 0);
	assert_int_equal(balance_hold(&cell, INT64_MAX), BALANCE_HELD);
	assert_int_equal(balance_hold(&cell, 1), BALANCE_IN_FLIGHT);
	balance_settle(&cell, INT64_MAX, INT64_MAX);
	balance_settle(&cell, 0, INT64_MAX);
	assert_int_equal(cell.spent_nano, INT64_MAX);
	assert_int_equal(balance_available_nano(&cell), 0);
	cell.credited_nano = -5; /* more was taken out by hand than was put in */
	assert_int_equal(balance_available_nano(&cell), INT64_MIN);
	assert_int_equal(balance_hold(&cell, INT64_MAX), BALANCE_EMPTY);
}

/* --- several workers at once --------------------------------------------------------------- */

#define THREADS 4
#define ROUNDS 300000
#define HELD_MAX 50
#define TOP_UP 10

struct racer {
	struct shm_balance_cell *cell;
	uint64_t seed;
	int64_t spent_nano;
	int64_t credited_nano;
	uint64_t overdrawn;
};

/* Who is refused tops up a little, so that the account is always about to be empty. */
static void *
hold_and_settle(void *argument)
{
	struct racer *r = argument;
	struct prng prng;

	prng_init(&prng, r->seed);
	for (int i = 0; i < ROUNDS; i++) {
		int64_t held = 1 + (int64_t)prng_below(&prng, HELD_MAX);
		int64_t cost = prng_below(&prng, 4) > 0 ? held : 0;
		int64_t spent;

		if (balance_hold(r->cell, held) != BALANCE_HELD) {
			atomic_fetch_add(&r->cell->credited_nano, TOP_UP);
			r->credited_nano += TOP_UP;
			continue;
		}
		balance_settle(r->cell, held, cost);
		r->spent_nano += cost;
		spent = atomic_load(&r->cell->spent_nano);
		r->overdrawn += spent > atomic_load(&r->cell->credited_nano);
	}
	return NULL;
}

static void
workers_that_race_never_overdraw(void **state)
{
	struct racer racers[THREADS];
	pthread_t threads[THREADS];
	int64_t spent = 0, credited = 0;

	(void)state;
	cell = some_cell(0, 0);
	for (uint64_t i = 0; i < THREADS; i++) {
		racers[i] = (struct racer){ .cell = &cell, .seed = i + 1 };
		assert_int_equal(pthread_create(&threads[i], NULL, hold_and_settle, &racers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(racers[i].overdrawn, 0);
		spent += racers[i].spent_nano;
		credited += racers[i].credited_nano;
	}
	assert_int_equal(cell.credited_nano, credited);
	assert_int_equal(cell.spent_nano, spent);
	assert_int_equal(cell.held_nano, 0);
	assert_true(spent <= credited && spent > credited - 2 * HELD_MAX * THREADS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hold_is_replaced_by_the_cost),
		cmocka_unit_test(in_the_way_and_empty_are_told_apart),
		cmocka_unit_test(what_costs_nothing_is_for_who_owes_nothing),
		cmocka_unit_test(what_other_routers_have_spent_is_gone),
		cmocka_unit_test(a_hold_that_nobody_remembers_does_not_become_credit),
		cmocka_unit_test(amounts_that_do_not_fit_stay_at_the_largest),
		cmocka_unit_test(workers_that_race_never_overdraw),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

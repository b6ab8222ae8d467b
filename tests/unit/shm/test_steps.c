/*
 * Another worker comes between any two steps of a hold or a settlement (lib/shm/balance.c).
 *
 * The file is built into this test with its atomic operations counted: in front of the k-th one, for each k,
 * somebody else does something whole. What threads meet in one run of many (test_balance.c) is met in each here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define NEVER UINT32_MAX

static uint32_t steps_left = NEVER;
static void (*other)(void);

/* In front of every atomic operation. */
static void
step(void)
{
	if (steps_left == NEVER)
		return;
	if (steps_left > 0) {
		steps_left--;
		return;
	}
	steps_left = NEVER; /* what the other one does is whole */
	other();
}

#undef atomic_load
#undef atomic_fetch_sub
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_weak
#define atomic_load(at) (step(), atomic_load_explicit(at, memory_order_seq_cst))
#define atomic_fetch_sub(at, value) (step(), atomic_fetch_sub_explicit(at, value, memory_order_seq_cst))
#define atomic_compare_exchange_strong(at, expected, value)                                                  \
	(step(), atomic_compare_exchange_strong_explicit(at, expected, value, memory_order_seq_cst,              \
							 memory_order_seq_cst))
#define atomic_compare_exchange_weak(at, expected, value)                                                    \
	(step(), atomic_compare_exchange_weak_explicit(at, expected, value, memory_order_seq_cst,                \
						       memory_order_seq_cst))
#include "../../../lib/shm/balance.c"

#define CREDIT 600
#define HOLD 300

/* Not in a function: the sanitizers' stack aligns nothing to a cache line. */
static struct shm_balance_cell cell;
static enum balance_hold others;

/* HOLD is held by somebody who will settle it; the rest is free. */
static void
begin(void)
{
	cell = (struct shm_balance_cell){ .credited_nano = CREDIT };
	assert_int_equal(balance_hold(&cell, HOLD), BALANCE_HELD);
	others = BALANCE_EMPTY;
}

static int64_t
promised_nano(void)
{
	return cell.spent_nano + cell.held_nano;
}

/* In front of the operation behind so many. */
static void
come_behind(uint32_t steps, void (*comes)(void))
{
	other = comes;
	steps_left = steps;
}

/* False: there were not so many. */
static bool
came(void)
{
	bool did = steps_left == NEVER;

	steps_left = NEVER;
	return did;
}

static void
hold_all_that_could_be(void)
{
	others = balance_hold(&cell, CREDIT);
}

static void
hold_one_more(void)
{
	others = balance_hold(&cell, CREDIT - HOLD + 1);
}

static void
hold_the_rest(void)
{
	others = balance_hold(&cell, CREDIT - HOLD);
}

/* Its cost is what it held: whenever another one looks, that much is gone, in one word or in the other. */
static void
a_settlement_is_never_money_for_others(void **state)
{
	uint32_t steps = 0;
	bool did;

	(void)state;
	do {
		for (int amount = 0; amount < 2; amount++) {
			begin();
			come_behind(steps, amount == 0 ? hold_all_that_could_be : hold_one_more);
			balance_settle(&cell, HOLD, HOLD);
			did = came();
			assert_int_not_equal(others, BALANCE_HELD);
			assert_int_equal(cell.spent_nano, HOLD);
			assert_int_equal(cell.held_nano, 0);
		}
		steps++;
	} while (did);
	assert_true(steps > 4); /* loads and exchanges of two words */
}

/* What is free all the while is not refused, or only because of requests in flight. */
static void
a_settlement_does_not_take_what_is_free(void **state)
{
	uint32_t steps = 0, held = 0;
	bool did;

	(void)state;
	do {
		begin();
		come_behind(steps, hold_the_rest);
		balance_settle(&cell, HOLD, HOLD);
		did = came();
		if (did) {
			assert_int_not_equal(others, BALANCE_EMPTY);
			held += others == BALANCE_HELD;
			assert_int_equal(cell.held_nano, others == BALANCE_HELD ? CREDIT - HOLD : 0);
		}
		assert_int_equal(cell.spent_nano, HOLD);
		steps++;
	} while (did);
	assert_true(held > 1);
}

static void
settle_and_hold_again(void)
{
	balance_settle(&cell, HOLD, HOLD);
	others = balance_hold(&cell, HOLD);
}

static void
settle_for_nothing(void)
{
	balance_settle(&cell, HOLD, 0);
}

/* The word that is exchanged may be what it was although what it meant has changed: the second look sees it. */
static void
a_hold_counts_what_ended_meanwhile(void **state)
{
	uint32_t steps = 0;
	bool did;

	(void)state;
	do {
		enum balance_hold mine;

		begin();
		come_behind(steps, settle_and_hold_again);
		mine = balance_hold(&cell, HOLD);
		did = came();
		assert_true(promised_nano() <= CREDIT);
		assert_int_equal(cell.held_nano,
				 HOLD * ((mine == BALANCE_HELD) + (!did || others == BALANCE_HELD)));
		assert_true(mine == BALANCE_HELD || others == BALANCE_HELD);
		begin();
		come_behind(steps, settle_for_nothing);
		assert_int_not_equal(balance_hold(&cell, CREDIT), BALANCE_EMPTY);
		came();
		assert_true(promised_nano() <= CREDIT);
		steps++;
	} while (did);
	assert_true(steps > 5);
}

static void
spend_elsewhere(void)
{
	atomic_store(&cell.elsewhere_nano, CREDIT - HOLD);
}

/* Another router's spending is control's store: seen by the second look, or else by the next hold. */
static void
what_another_router_spends_meanwhile_is_never_below_nothing(void **state)
{
	uint32_t steps = 0, refused = 0;
	bool did;

	(void)state;
	do {
		begin();
		come_behind(steps, spend_elsewhere);
		refused += balance_hold(&cell, HOLD) != BALANCE_HELD;
		did = came();
		assert_true(cell.held_nano == HOLD || cell.held_nano == 2 * HOLD);
		if (did)
			assert_int_not_equal(balance_hold(&cell, 1), BALANCE_HELD);
		steps++;
	} while (did);
	assert_true(refused > 3 && refused < steps);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_settlement_is_never_money_for_others),
		cmocka_unit_test(a_settlement_does_not_take_what_is_free),
		cmocka_unit_test(a_hold_counts_what_ended_meanwhile),
		cmocka_unit_test(what_another_router_spends_meanwhile_is_never_below_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Two words instead of one: a dead process leaves nothing in `spent` that was not settled. */
#include "shm/balance.h"

#include "base/check.h"

/* Holds that lose a race so often are told to come again. */
#define HOLD_TRIES_MAX 64

static int64_t
minus(int64_t a, int64_t b)
{
	int64_t difference;

	if (__builtin_sub_overflow(a, b, &difference))
		return b > 0 ? INT64_MIN : INT64_MAX;
	return difference;
}

static int64_t
left_nano(const struct shm_balance_cell *cell)
{
	int64_t spent = atomic_load(&cell->spent_nano), elsewhere = atomic_load(&cell->elsewhere_nano), gone;

	if (__builtin_add_overflow(spent, elsewhere, &gone))
		gone = INT64_MAX;
	return minus(atomic_load(&cell->credited_nano), gone);
}

int64_t
balance_available_nano(const struct shm_balance_cell *cell)
{
	return minus(left_nano(cell), atomic_load(&cell->held_nano));
}

/*
 * The look behind the exchange is what makes it exact. A settlement adds to `spent` before it takes from `held`:
 * one whose cost this look does not see yet still had its hold in `held` when the exchange was made.
 */
enum balance_hold
balance_hold(struct shm_balance_cell *cell, int64_t nano)
{
	CHECK(nano >= 0);
	for (int i = 0; i < HOLD_TRIES_MAX; i++) {
		int64_t held = atomic_load(&cell->held_nano);
		int64_t left = left_nano(cell);

		if (left < nano)
			return BALANCE_EMPTY;
		if (minus(left, held) < nano)
			return BALANCE_IN_FLIGHT;
		if (!atomic_compare_exchange_strong(&cell->held_nano, &held, held + nano))
			continue;
		if (minus(left_nano(cell), held) >= nano)
			return BALANCE_HELD;
		atomic_fetch_sub(&cell->held_nano, nano);
	}
	return BALANCE_IN_FLIGHT;
}

void
balance_settle(struct shm_balance_cell *cell, int64_t held_nano, int64_t cost_nano)
{
	int64_t spent = atomic_load(&cell->spent_nano), held, sum;

	CHECK(held_nano >= 0 && cost_nano >= 0);
	do {
		if (__builtin_add_overflow(spent, cost_nano, &sum))
			sum = INT64_MAX;
	} while (!atomic_compare_exchange_weak(&cell->spent_nano, &spent, sum));
	/* Never below 0: holds begin anew with a process. */
	held = atomic_load(&cell->held_nano);
	while (!atomic_compare_exchange_weak(&cell->held_nano, &held, held > held_nano ? held - held_nano : 0))
		;
}

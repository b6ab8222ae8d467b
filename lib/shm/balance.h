#pragma once

#include <stdbool.h>

#include "shm/layout.h"

/*
 * balance: the money of an account, as workers take it: first held for what a request may cost, then settled for
 * what it did cost.
 *
 * While each request costs at most what it held, spent never exceeds credited, whoever settles, holds or tops up
 * at the same moment. What a request costs beyond its hold is taken all the same; then available is negative.
 *
 * Thread: any number of workers; control writes credited_nano meanwhile. Lock-free.
 * Units:  nano-dollars. Sums that do not fit stay at the largest amount there is.
 */
enum balance_hold {
	BALANCE_HELD,
	BALANCE_IN_FLIGHT, /* what requests in flight hold stands in the way */
	BALANCE_EMPTY,     /* too little is left even without them */
};

int64_t balance_available_nano(const struct shm_balance_cell *cell);

/* nano >= 0; 0 is held by whoever owes nothing. */
enum balance_hold balance_hold(struct shm_balance_cell *cell, int64_t nano);

/* Ends a hold of held_nano at a cost of cost_nano >= 0. */
void balance_settle(struct shm_balance_cell *cell, int64_t held_nano, int64_t cost_nano);

/* Control, which knows better what was spent. False: somebody has settled since spent_nano was read. */
bool balance_correct(struct shm_balance_cell *cell, int64_t spent_nano, int64_t right_nano);

#pragma once

#include <stdbool.h>

#include "store.h"

/*
 * credit: an account that has used up what it had has no running instances: they end as credit_depleted, with a
 * row of the audit, and a top-up does not bring them back: what they ran on has been given away. Who sets one to
 * running again pays first.
 *
 * An account that never spent anything has not used it up: what costs nothing may run without money.
 *
 * Owner: control's loop, which begins a round now and then. Bounds: a step looks at CREDIT_SLICE instances and
 * ends at most CREDIT_ENDS_MAX.
 */
#define CREDIT_SLICE 2000
#define CREDIT_ENDS_MAX 100

struct credit {
	struct store *store;
	int64_t after_id; /* instances up to it were looked at in this round */
	uint64_t ended;   /* for metrics */
};

/* The next slice. *more: the round is not over. *any: an instance was ended, which is to be published. */
enum err credit_step(struct credit *credit, bool *more, bool *any);

#pragma once

#include "dataplane/exchange.h"
#include "meter/usage.h"

/* settle: what a request cost, debited and written down, once. */

/* What was served, in what a price has rates for. */
struct settle_counts {
	uint64_t prompt_tokens;
	uint64_t completion_tokens;
	enum usage_unit unit;
	uint64_t units;
};

/* Counts x rates, rounded half up once, saturated at INT64_MAX. */
int64_t settle_cost_nano(const struct shm_price *price, const struct settle_counts *counts);

/* Debits the balance and appends the usage record. Does nothing the second time, or when no backend got
 * a byte of the request. */
void settle_exchange(struct worker *w, struct exchange *x, enum usage_outcome outcome);

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

/* Refusals for money that have a record, at most: of one account here, and of all. Whoever asks without money as
 * often as he can must not fill the spool; what is beyond these is counted (refused_unrecorded). */
#define SETTLE_REFUSALS_PER_ACCOUNT 10 /* a second */
#define SETTLE_REFUSALS_PER_WORKER 1000

struct settle_refusals {
	uint32_t second;
	uint32_t count; /* in it */
};

/* Of one request: a million dollars. */
#define SETTLE_COST_NANO_MAX (INT64_C(1000000) * 1000000000)

/* Counts x rates, rounded half up once, saturated at INT64_MAX. */
int64_t settle_cost_nano(const struct shm_price *price, const struct settle_counts *counts);

/* A price of nothing at all is one: what it is of is free. */
bool settle_is_free(const struct shm_price *price);

/* False: the price has rates, but none that such a request is billed by whatever its backend says of it.
 * says_length: the request tells the length of its video. */
bool settle_is_priced(const struct shm_price *price, enum route_kind route, bool says_length);

/* How many a request asks for: 1 if it does not say. */
uint64_t settle_wanted_count(const struct json_result *json);

/* Milliseconds of video that a request asks for; 0: it does not say. Of two lengths the longer one counts, since
 * each is some backend's. */
uint64_t settle_wanted_milliseconds(const struct json_result *json);

/* Writes down what the request would be billed if this process died now. Before anything that changes it can leave
 * the process: a backend begins to get it, or a burst of the answer was read, once behind the last of its events.
 * Who dies in the middle of a burst has sent none of it, and has the count before it. */
void settle_note(struct worker *w, struct exchange *x);

/* A record of a request that was refused for money: it costs nothing, and no backend got it. */
void settle_refusal(struct worker *w, const struct admission *a, const struct refusal *refusal);

/* Debits the balance and appends the usage record. Does nothing the second time, or when no backend got
 * a byte of the request. */
void settle_exchange(struct worker *w, struct exchange *x, enum usage_outcome outcome);

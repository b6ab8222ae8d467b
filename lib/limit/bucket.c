/* Token bucket as GCRA (ITU-T I.371), in time instead of credit. */
#include "limit/bucket.h"

#include "base/check.h"

/* The furthest that debt can push the moment; leaves room for one burst above it in 64 bits. */
#define FULL_AT_NS_MAX (UINT64_MAX / 2)

CHECK_STATIC(BUCKET_BURST_MAX * BUCKET_NS_PER_UNIT_MAX < FULL_AT_NS_MAX, "sums must not wrap");

static uint64_t
later(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns > b_ns ? a_ns : b_ns;
}

static void
check_limit(const struct bucket_limit *limit)
{
	CHECK_HOT(limit->ns_per_unit > 0 && limit->ns_per_unit <= BUCKET_NS_PER_UNIT_MAX);
	CHECK_HOT(limit->burst_units > 0 && limit->burst_units <= BUCKET_BURST_MAX);
}

bool
bucket_take(struct bucket *b, const struct bucket_limit *limit, uint64_t units, uint64_t now_ns)
{
	uint64_t full_at_ns = atomic_load_explicit(&b->full_at_ns, memory_order_relaxed);
	uint64_t next_ns;

	check_limit(limit);
	if (units > limit->burst_units)
		return false;
	do {
		next_ns = later(full_at_ns, now_ns) + units * limit->ns_per_unit;
		if (next_ns > now_ns + limit->burst_units * limit->ns_per_unit)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&b->full_at_ns, &full_at_ns, next_ns,
							memory_order_relaxed,
							memory_order_relaxed));
	return true;
}

/* What so many units are worth, at most FULL_AT_NS_MAX. */
static uint64_t
worth_ns(const struct bucket_limit *limit, uint64_t units)
{
	return units > FULL_AT_NS_MAX / limit->ns_per_unit ? FULL_AT_NS_MAX :
							     units * limit->ns_per_unit;
}

/*
 * Saturates at both ends: a backend may report any number of tokens, and a limit that became
 * smaller while the request ran makes its units worth more than what was taken. Wrapping would lock
 * the key out for good.
 */
void
bucket_settle(struct bucket *b, const struct bucket_limit *limit, uint64_t taken_units,
	      uint64_t used_units)
{
	uint64_t full_at_ns = atomic_load_explicit(&b->full_at_ns, memory_order_relaxed);
	uint64_t next_ns;

	check_limit(limit);
	do {
		if (used_units >= taken_units) {
			uint64_t debt_ns = worth_ns(limit, used_units - taken_units);

			next_ns = full_at_ns + debt_ns;
			if (next_ns > FULL_AT_NS_MAX)
				next_ns = FULL_AT_NS_MAX;
		} else {
			uint64_t refund_ns = worth_ns(limit, taken_units - used_units);

			next_ns = full_at_ns > refund_ns ? full_at_ns - refund_ns : 0;
		}
	} while (!atomic_compare_exchange_weak_explicit(&b->full_at_ns, &full_at_ns, next_ns,
							memory_order_relaxed,
							memory_order_relaxed));
}

uint64_t
bucket_wait_ns(const struct bucket *b, const struct bucket_limit *limit, uint64_t units,
	       uint64_t now_ns)
{
	uint64_t full_at_ns = atomic_load_explicit(&b->full_at_ns, memory_order_relaxed);
	uint64_t next_ns;
	uint64_t edge_ns;

	check_limit(limit);
	if (units > limit->burst_units)
		return UINT64_MAX;
	next_ns = later(full_at_ns, now_ns) + units * limit->ns_per_unit;
	edge_ns = now_ns + limit->burst_units * limit->ns_per_unit;
	return next_ns > edge_ns ? next_ns - edge_ns : 0;
}

uint64_t
bucket_remaining(const struct bucket *b, const struct bucket_limit *limit, uint64_t now_ns)
{
	uint64_t full_at_ns = atomic_load_explicit(&b->full_at_ns, memory_order_relaxed);
	uint64_t edge_ns = now_ns + limit->burst_units * limit->ns_per_unit;
	uint64_t from_ns = later(full_at_ns, now_ns);

	check_limit(limit);
	return edge_ns > from_ns ? (edge_ns - from_ns) / limit->ns_per_unit : 0;
}

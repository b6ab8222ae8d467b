/* Every chance that is not zero costs one draw; only loss draws always, from its own generator. */
#include "impair.h"

#include <string.h>

#include "base/check.h"
#include "base/units.h"

#define PPM 1000000

static bool
happens(struct impair *m, uint32_t ppm)
{
	return ppm > 0 && prng_below(&m->prng, PPM) < ppm;
}

static uint64_t
up_to(struct impair *m, uint64_t limit_ns)
{
	return limit_ns == 0 ? 0 : prng_next(&m->prng) % (limit_ns + 1);
}

void
impair_init(struct impair *m, const struct impair_faults *faults, uint64_t seed)
{
	memset(m, 0, sizeof(*m));
	prng_init(&m->loss_prng, seed);
	prng_init(&m->prng, ~seed);
	impair_set_faults(m, faults);
}

void
impair_set_faults(struct impair *m, const struct impair_faults *faults)
{
	m->faults = *faults;
	m->in_burst = false;
}

static bool
is_lost(struct impair *m, uint64_t now_ns)
{
	const struct impair_faults *f = &m->faults;
	bool loses = prng_below(&m->loss_prng, PPM) < f->loss_ppm;
	uint32_t turn = prng_below(&m->loss_prng, PPM);
	bool burst_loses = prng_below(&m->loss_prng, PPM) < f->burst_loss_ppm;

	m->in_burst = m->in_burst ? turn >= f->burst_leave_ppm : turn < f->burst_enter_ppm;
	if (now_ns >= f->blackout_from_ns && now_ns < f->blackout_until_ns)
		return true;
	return loses || (m->in_burst && burst_loses);
}

/* Bytes that have not left yet through the rate. */
static uint64_t
queued_bytes(const struct impair *m, uint64_t now_ns)
{
	if (m->faults.rate_bytes_per_s == 0 || m->busy_until_ns <= now_ns)
		return 0;
	return (m->busy_until_ns - now_ns) / NSEC_PER_USEC * m->faults.rate_bytes_per_s / USEC_PER_SEC;
}

/* When the last byte leaves through the rate. */
static uint64_t
leaves_at(struct impair *m, uint32_t bytes, uint64_t now_ns)
{
	uint64_t start_ns = now_ns > m->busy_until_ns ? now_ns : m->busy_until_ns;

	if (m->faults.rate_bytes_per_s == 0)
		return now_ns;
	m->busy_until_ns = start_ns + bytes * NSEC_PER_SEC / m->faults.rate_bytes_per_s;
	return m->busy_until_ns;
}

static struct impair_copy
launch(struct impair *m, const struct impair_frame *frame, uint64_t leaves_ns, bool is_queue_long)
{
	const struct impair_faults *f = &m->faults;
	struct impair_copy copy = { .arrives_ns = leaves_ns + f->delay_ns + up_to(m, f->jitter_ns) };

	if (frame->bytes > 0 && happens(m, f->corrupt_ppm)) {
		/* One bit: two could cancel out in the checksum, and the oracles believe in it. */
		copy.flip_byte = prng_below(&m->prng, frame->bytes);
		copy.flip_mask = (uint8_t)(1 << prng_below(&m->prng, 8));
		copy.is_repaired = happens(m, f->repair_ppm);
		m->stats.corrupted++;
		m->stats.repaired += copy.is_repaired;
	}
	if (frame->may_mark && (is_queue_long || happens(m, f->mark_ppm))) {
		copy.is_marked = true;
		m->stats.marked++;
	}
	if (happens(m, f->reorder_ppm)) {
		copy.arrives_ns += up_to(m, f->reorder_ns);
		m->stats.reordered++;
	} else {
		if (copy.arrives_ns < m->last_arrival_ns)
			copy.arrives_ns = m->last_arrival_ns;
		m->last_arrival_ns = copy.arrives_ns;
	}
	return copy;
}

enum impair_fate
impair_decide(struct impair *m, const struct impair_frame *frame, uint64_t now_ns,
	      struct impair_copy copies[IMPAIR_COPIES_MAX], uint32_t *count)
{
	const struct impair_faults *f = &m->faults;
	uint64_t waiting_bytes = queued_bytes(m, now_ns);
	bool is_queue_long = f->mark_above_bytes > 0 && waiting_bytes > f->mark_above_bytes;
	uint64_t leaves_ns;

	*count = 0;
	m->stats.offered++;
	if (is_lost(m, now_ns)) {
		m->stats.lost++;
		return IMPAIR_LOST;
	}
	if (f->mtu_bytes > 0 && frame->ip_bytes > f->mtu_bytes) {
		m->stats.too_big++;
		return IMPAIR_TOO_BIG;
	}
	if (f->rate_bytes_per_s > 0 && f->queue_bytes_max > 0 &&
	    waiting_bytes + frame->bytes > f->queue_bytes_max) {
		m->stats.queue_full++;
		return IMPAIR_QUEUE_FULL;
	}
	leaves_ns = leaves_at(m, frame->bytes, now_ns);
	copies[(*count)++] = launch(m, frame, leaves_ns, is_queue_long);
	if (happens(m, f->duplicate_ppm)) {
		m->stats.duplicated++;
		copies[*count] = launch(m, frame, leaves_ns + up_to(m, f->reorder_ns), is_queue_long);
		(*count)++;
	}
	CHECK_HOT(*count <= IMPAIR_COPIES_MAX);
	return IMPAIR_PASSES;
}

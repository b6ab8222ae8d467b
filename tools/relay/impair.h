#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"

/*
 * impair: what one direction of a bad wire does to each frame, all of it from one seed.
 *
 * The model only: it holds no frame and reads no clock. The simulator's link and the relay between real
 * interfaces ask it for a fate and carry that out.
 *
 * Order of what happens to a frame: blackout, loss, size, queue and rate; then to each copy corruption, mark,
 * delay, reordering. Loss has a generator of its own that is drawn from the same number of times for every
 * frame: which frames of a direction are lost depends on the seed and their number, not on their timing.
 *
 * Owner: the carrier. Time: now_ns never goes back. Memory: the caller's.
 */

/* All zero: a perfect wire without delay. Rates are parts per million. */
struct impair_faults {
	uint64_t delay_ns;
	uint64_t jitter_ns; /* uniform, keeps the order */
	uint32_t loss_ppm;
	/* Gilbert and Elliott: chance to enter and to leave the bad state, and loss in it */
	uint32_t burst_enter_ppm;
	uint32_t burst_leave_ppm;
	uint32_t burst_loss_ppm;
	uint32_t reorder_ppm; /* such a frame takes up to reorder_ns longer and may be overtaken */
	uint64_t reorder_ns;
	uint32_t duplicate_ppm; /* the second one takes up to reorder_ns longer */
	uint32_t corrupt_ppm;   /* one bit flips */
	uint32_t repair_ppm;    /* of the corrupted ones: checksums are made to fit again */
	uint32_t mark_ppm;      /* ECN: congestion experienced on packets that allow it */
	uint32_t mark_above_bytes; /* mark what finds more than this in the queue; 0: never */
	uint64_t rate_bytes_per_s; /* 0: without end */
	uint32_t queue_bytes_max;  /* in front of the rate; 0: without end */
	uint32_t mtu_bytes;        /* longer IP packets are dropped; 0: none is too long */
	uint64_t blackout_from_ns; /* everything sent in [from, until) is lost */
	uint64_t blackout_until_ns;
};

struct impair_stats {
	uint64_t offered;
	uint64_t lost; /* loss, bursts, blackout */
	uint64_t queue_full;
	uint64_t too_big;
	uint64_t corrupted;
	uint64_t repaired;
	uint64_t duplicated;
	uint64_t reordered;
	uint64_t marked;
};

struct impair {
	struct impair_faults faults;
	struct impair_stats stats;
	struct prng loss_prng;
	struct prng prng;
	uint64_t busy_until_ns;   /* the rate: when the last byte will have left */
	uint64_t last_arrival_ns; /* of those that keep their order */
	bool in_burst;
};

/* What the model needs to know of a frame. */
struct impair_frame {
	uint32_t bytes;    /* as the rate and the queue count it */
	uint32_t ip_bytes; /* as the MTU counts it */
	bool may_mark;     /* ECT(0) or ECT(1) */
};

enum impair_fate { IMPAIR_PASSES, IMPAIR_LOST, IMPAIR_QUEUE_FULL, IMPAIR_TOO_BIG };

#define IMPAIR_COPIES_MAX 2

struct impair_copy {
	uint64_t arrives_ns;
	uint32_t flip_byte; /* below impair_frame.bytes */
	uint8_t flip_mask;  /* 0: nothing flips */
	bool is_repaired;
	bool is_marked;
};

void impair_init(struct impair *m, const struct impair_faults *faults, uint64_t seed);

/* From now on. Frames that have their fate keep it. */
void impair_set_faults(struct impair *m, const struct impair_faults *faults);

/* The fate of a frame sent now; with IMPAIR_PASSES, *count copies of it are to arrive. */
enum impair_fate impair_decide(struct impair *m, const struct impair_frame *frame, uint64_t now_ns,
			       struct impair_copy copies[IMPAIR_COPIES_MAX], uint32_t *count);

/* The model against what its numbers promise, over 200,000 frames where chances are judged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/units.h"
#include "impair.h"

#define FRAMES 200000
#define MSEC NSEC_PER_MSEC

static const struct impair_frame full = { .bytes = 1500, .ip_bytes = 1486 };

struct count {
	uint64_t passed;
	uint64_t copies;
	uint64_t late; /* overtaken by a later one */
	uint64_t last_ns;
};

/* One frame each millisecond. */
static struct count
send(struct impair *m, const struct impair_frame *frame, uint32_t n)
{
	struct count c = { 0 };

	for (uint32_t i = 0; i < n; i++) {
		struct impair_copy copies[IMPAIR_COPIES_MAX];
		uint32_t count;

		c.passed += impair_decide(m, frame, i * MSEC, copies, &count) == IMPAIR_PASSES;
		c.copies += count;
		if (count > 0 && copies[0].arrives_ns < c.last_ns)
			c.late++;
		if (count > 0)
			c.last_ns = copies[0].arrives_ns;
	}
	return c;
}

static void
a_perfect_wire_changes_nothing(void **state)
{
	const struct impair_faults none = { .delay_ns = 5 * MSEC };
	struct impair_copy copies[IMPAIR_COPIES_MAX];
	struct impair m;
	uint32_t count;

	(void)state;
	impair_init(&m, &none, 1);
	assert_int_equal(impair_decide(&m, &full, 7 * MSEC, copies, &count), IMPAIR_PASSES);
	assert_int_equal(count, 1);
	assert_int_equal(copies[0].arrives_ns, 12 * MSEC);
	assert_int_equal(copies[0].flip_mask, 0);
	assert_false(copies[0].is_marked);
}

static void
loss_is_as_frequent_as_asked_and_alike_for_a_seed(void **state)
{
	const struct impair_faults lossy = { .loss_ppm = 10000 };
	struct impair a;
	struct impair b;
	struct impair other;

	(void)state;
	impair_init(&a, &lossy, 1);
	impair_init(&b, &lossy, 1);
	impair_init(&other, &lossy, 2);
	send(&a, &full, FRAMES);
	assert_in_range(a.stats.lost, 1800, 2200);
	send(&b, &full, FRAMES);
	assert_int_equal(a.stats.lost, b.stats.lost);
	send(&other, &full, FRAMES);
	assert_int_not_equal(a.stats.lost, other.stats.lost);
	assert_int_equal(a.stats.offered, FRAMES);
}

static void
which_frames_are_lost_does_not_depend_on_other_faults(void **state)
{
	struct impair_faults f = { .loss_ppm = 30000, .burst_enter_ppm = 1000, .burst_leave_ppm = 200000,
				   .burst_loss_ppm = 800000 };
	struct impair plain;
	struct impair busy;

	(void)state;
	impair_init(&plain, &f, 9);
	f.jitter_ns = 3 * MSEC;
	f.duplicate_ppm = 100000;
	f.corrupt_ppm = 500000;
	impair_init(&busy, &f, 9);
	for (uint32_t i = 0; i < 10000; i++) {
		struct impair_copy copies[IMPAIR_COPIES_MAX];
		enum impair_fate fate;
		uint32_t count;

		fate = impair_decide(&plain, &full, i * MSEC, copies, &count);
		assert_int_equal(fate, impair_decide(&busy, &full, i * 3 * MSEC, copies, &count));
	}
	assert_true(plain.stats.lost > 0);
}

/* In the bad state a share of leave/(enter + leave) less; mean length of a burst is 1/leave. */
static void
bursts_follow_gilbert_and_elliott(void **state)
{
	const struct impair_faults bursty = { .burst_enter_ppm = 10000, .burst_leave_ppm = 250000,
					      .burst_loss_ppm = 1000000 };
	uint32_t bursts = 0;
	bool was_lost = false;
	struct impair m;

	(void)state;
	impair_init(&m, &bursty, 3);
	for (uint32_t i = 0; i < FRAMES; i++) {
		struct impair_copy copies[IMPAIR_COPIES_MAX];
		uint32_t count;
		bool is_lost = impair_decide(&m, &full, i * MSEC, copies, &count) == IMPAIR_LOST;

		bursts += is_lost && !was_lost;
		was_lost = is_lost;
	}
	/* 10000 / 260000 of the frames, four at a time. */
	assert_in_range(m.stats.lost, FRAMES * 35 / 1000, FRAMES * 42 / 1000);
	assert_in_range(m.stats.lost * 10 / bursts, 36, 44);
}

static void
jitter_keeps_the_order_and_reordering_does_not(void **state)
{
	struct impair_faults f = { .delay_ns = 20 * MSEC, .jitter_ns = 10 * MSEC };
	struct impair m;
	struct count c;

	(void)state;
	impair_init(&m, &f, 4);
	c = send(&m, &full, FRAMES);
	assert_int_equal(c.late, 0);
	f.reorder_ppm = 250000;
	f.reorder_ns = 30 * MSEC;
	impair_init(&m, &f, 4);
	c = send(&m, &full, FRAMES);
	assert_true(c.late > FRAMES / 10);
	assert_in_range(m.stats.reordered, FRAMES * 24 / 100, FRAMES * 26 / 100);
}

static void
duplicates_are_second_copies(void **state)
{
	const struct impair_faults f = { .duplicate_ppm = 20000 };
	struct impair m;
	struct count c;

	(void)state;
	impair_init(&m, &f, 5);
	c = send(&m, &full, FRAMES);
	assert_int_equal(c.copies, FRAMES + m.stats.duplicated);
	assert_in_range(m.stats.duplicated, FRAMES * 18 / 1000, FRAMES * 22 / 1000);
}

static void
the_rate_spaces_frames_and_the_queue_has_an_end(void **state)
{
	/* 1,500 bytes take one millisecond; three of them fit. */
	const struct impair_faults f = { .rate_bytes_per_s = 1500000, .queue_bytes_max = 4500,
					 .delay_ns = 10 * MSEC };
	struct impair_copy copies[IMPAIR_COPIES_MAX];
	struct impair m;
	uint32_t count;

	(void)state;
	impair_init(&m, &f, 6);
	for (uint32_t i = 1; i <= 3; i++) {
		assert_int_equal(impair_decide(&m, &full, 0, copies, &count), IMPAIR_PASSES);
		assert_int_equal(copies[0].arrives_ns, (10 + i) * MSEC);
	}
	assert_int_equal(impair_decide(&m, &full, 0, copies, &count), IMPAIR_QUEUE_FULL);
	assert_int_equal(count, 0);
	/* One has left. */
	assert_int_equal(impair_decide(&m, &full, 1 * MSEC, copies, &count), IMPAIR_PASSES);
	assert_int_equal(copies[0].arrives_ns, 14 * MSEC);
	assert_int_equal(m.stats.queue_full, 1);
}

static void
the_mtu_counts_the_ip_packet_only(void **state)
{
	const struct impair_faults f = { .mtu_bytes = 1400 };
	const struct impair_frame fits = { .bytes = 1414, .ip_bytes = 1400 };
	const struct impair_frame arp = { .bytes = 1500 };
	struct impair_copy copies[IMPAIR_COPIES_MAX];
	struct impair m;
	uint32_t count;

	(void)state;
	impair_init(&m, &f, 7);
	assert_int_equal(impair_decide(&m, &full, 0, copies, &count), IMPAIR_TOO_BIG);
	assert_int_equal(impair_decide(&m, &fits, 0, copies, &count), IMPAIR_PASSES);
	assert_int_equal(impair_decide(&m, &arp, 0, copies, &count), IMPAIR_PASSES);
	assert_int_equal(m.stats.too_big, 1);
}

static void
marks_only_what_may_be_marked(void **state)
{
	const struct impair_faults f = { .mark_ppm = 1000000 };
	const struct impair_faults queue = { .mark_above_bytes = 1000, .rate_bytes_per_s = 1500000 };
	const struct impair_frame capable = { .bytes = 1500, .ip_bytes = 1486, .may_mark = true };
	struct impair_copy copies[IMPAIR_COPIES_MAX];
	struct impair m;
	uint32_t count;

	(void)state;
	impair_init(&m, &f, 8);
	impair_decide(&m, &full, 0, copies, &count);
	assert_false(copies[0].is_marked);
	impair_decide(&m, &capable, 0, copies, &count);
	assert_true(copies[0].is_marked);
	impair_init(&m, &queue, 8);
	impair_decide(&m, &capable, 0, copies, &count);
	assert_false(copies[0].is_marked);
	impair_decide(&m, &capable, 0, copies, &count);
	assert_true(copies[0].is_marked);
	assert_int_equal(m.stats.marked, 1);
}

static void
corruption_flips_one_bit_inside_the_frame(void **state)
{
	const struct impair_faults f = { .corrupt_ppm = 1000000, .repair_ppm = 500000 };
	struct impair m;
	uint32_t repaired = 0;

	(void)state;
	impair_init(&m, &f, 10);
	for (uint32_t i = 0; i < 1000; i++) {
		struct impair_copy copies[IMPAIR_COPIES_MAX];
		uint32_t count;

		impair_decide(&m, &full, i, copies, &count);
		assert_true(copies[0].flip_byte < full.bytes);
		assert_int_equal(__builtin_popcount(copies[0].flip_mask), 1);
		repaired += copies[0].is_repaired;
	}
	assert_in_range(repaired, 420, 580);
	assert_int_equal(m.stats.repaired, repaired);
	assert_int_equal(m.stats.corrupted, 1000);
}

static void
a_blackout_has_a_beginning_and_an_end(void **state)
{
	const struct impair_faults f = { .blackout_from_ns = 10 * MSEC, .blackout_until_ns = 20 * MSEC };
	struct impair m;

	(void)state;
	impair_init(&m, &f, 11);
	send(&m, &full, 100);
	assert_int_equal(m.stats.lost, 10);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_perfect_wire_changes_nothing),
		cmocka_unit_test(loss_is_as_frequent_as_asked_and_alike_for_a_seed),
		cmocka_unit_test(which_frames_are_lost_does_not_depend_on_other_faults),
		cmocka_unit_test(bursts_follow_gilbert_and_elliott),
		cmocka_unit_test(jitter_keeps_the_order_and_reordering_does_not),
		cmocka_unit_test(duplicates_are_second_copies),
		cmocka_unit_test(the_rate_spaces_frames_and_the_queue_has_an_end),
		cmocka_unit_test(the_mtu_counts_the_ip_packet_only),
		cmocka_unit_test(marks_only_what_may_be_marked),
		cmocka_unit_test(corruption_flips_one_bit_inside_the_frame),
		cmocka_unit_test(a_blackout_has_a_beginning_and_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

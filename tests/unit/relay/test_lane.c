/* Frames on their way: order, bounds, what the fates do to bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/units.h"
#include "lane.h"

#define MSEC NSEC_PER_MSEC
#define FRAME_BYTES 60

/* Sends a frame that says `number` and is no IP. */
static enum impair_fate
send(struct lane *l, uint8_t number, uint64_t now_ns)
{
	struct lane_slot *slot = lane_room(l);

	memset(slot->byte, 0, FRAME_BYTES);
	slot->byte[FRAME_BYTES - 1] = number;
	return lane_send(l, slot, FRAME_BYTES, now_ns);
}

/* The number of the next frame that has arrived; -1: none has. */
static int
receive(struct lane *l, uint64_t now_ns)
{
	struct lane_slot *slot = lane_receive(l, now_ns);
	int number;

	if (slot == NULL)
		return -1;
	assert_int_equal(slot->bytes, FRAME_BYTES);
	number = slot->byte[FRAME_BYTES - 1];
	lane_put(l, slot);
	return number;
}

static void
frames_arrive_when_the_delay_is_over(void **state)
{
	const struct spec spec = { .faults = { .delay_ns = 5 * MSEC } };
	struct lane l;

	(void)state;
	assert_true(lane_open(&l, &spec, 10, 100, 1));
	assert_int_equal(lane_next_at(&l), NEVER_NS);
	send(&l, 1, 0);
	send(&l, 2, 1 * MSEC);
	assert_int_equal(lane_next_at(&l), 5 * MSEC);
	assert_int_equal(receive(&l, 5 * MSEC - 1), -1);
	assert_int_equal(receive(&l, 5 * MSEC), 1);
	assert_int_equal(receive(&l, 5 * MSEC), -1);
	assert_int_equal(receive(&l, 9 * MSEC), 2);
	assert_int_equal(l.stats.late_ns_max, 3 * MSEC);
	assert_int_equal(l.stats.late_frames, 1);
	assert_int_equal(l.stats.delivered_bytes, 2 * FRAME_BYTES);
	lane_close(&l);
}

static void
no_more_are_on_the_way_than_allowed(void **state)
{
	const struct spec spec = { .faults = { .delay_ns = 5 * MSEC, .duplicate_ppm = 1000000 } };
	struct lane l;

	(void)state;
	assert_true(lane_open(&l, &spec, 3, 100, 1));
	for (int round = 0; round < 5; round++) {
		send(&l, 1, 0);
		send(&l, 2, 0);
		send(&l, 3, 0);
		assert_int_equal(l.count, 3);
		for (int i = 0; i < 3; i++)
			assert_true(receive(&l, 5 * MSEC) > 0);
		assert_int_equal(receive(&l, 5 * MSEC), -1);
	}
	assert_int_equal(l.stats.no_slot, 5 * 3);
	lane_close(&l);
}

static void
a_delayed_frame_is_overtaken(void **state)
{
	const struct spec spec = { .faults = { .delay_ns = MSEC, .reorder_ppm = 500000,
					       .reorder_ns = 50 * MSEC } };
	int last = -1;
	int overtaken = 0;
	struct lane l;
	int n;

	(void)state;
	assert_true(lane_open(&l, &spec, 300, 100, 1));
	for (int i = 0; i < 200; i++)
		send(&l, (uint8_t)i, (uint64_t)i * MSEC / 10);
	for (int i = 0; i < 200; i++) {
		n = receive(&l, 100 * MSEC);
		assert_true(n >= 0);
		overtaken += n < last;
		last = n;
	}
	assert_true(overtaken > 20);
	assert_int_equal(receive(&l, NEVER_NS - 1), -1);
	lane_close(&l);
}

static void
corruption_leaves_the_ethernet_header_alone(void **state)
{
	const struct spec spec = { .faults = { .corrupt_ppm = 1000000 } };
	static const uint8_t none[FRAME_BYTES];
	struct lane l;

	(void)state;
	assert_true(lane_open(&l, &spec, 3, 100, 1));
	for (int i = 0; i < 500; i++) {
		struct lane_slot *slot = lane_room(&l);

		memset(slot->byte, 0, FRAME_BYTES);
		lane_send(&l, slot, FRAME_BYTES, 0);
		slot = lane_receive(&l, 0);
		assert_memory_equal(slot->byte, none, 14);
		assert_memory_not_equal(slot->byte, none, FRAME_BYTES);
		lane_put(&l, slot);
	}
	lane_close(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_arrive_when_the_delay_is_over),
		cmocka_unit_test(no_more_are_on_the_way_than_allowed),
		cmocka_unit_test(a_delayed_frame_is_overtaken),
		cmocka_unit_test(corruption_leaves_the_ethernet_header_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

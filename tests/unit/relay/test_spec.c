/* What a person writes about a wire, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/units.h"
#include "spec.h"

static void
reads_every_key(void **state)
{
	char complaint[SPEC_COMPLAINT_BYTES];
	struct spec s = { .reports_mtu = false };

	(void)state;
	assert_true(spec_read("delay=25ms,jitter=1.5ms,loss=0.1%,burst=0.1%:20%:80%,reorder=25%:3ms,"
			      "duplicate=1%,corrupt=500ppm,repair=50%,mark=2%,mark-above=30kB,rate=1gbit,"
			      "queue=1MiB,mtu=1400B,mtu-report=yes,blackout=5s:7s",
			      &s, complaint));
	assert_int_equal(s.faults.delay_ns, 25 * NSEC_PER_MSEC);
	assert_int_equal(s.faults.jitter_ns, 1500 * NSEC_PER_USEC);
	assert_int_equal(s.faults.loss_ppm, 1000);
	assert_int_equal(s.faults.burst_enter_ppm, 1000);
	assert_int_equal(s.faults.burst_leave_ppm, 200000);
	assert_int_equal(s.faults.burst_loss_ppm, 800000);
	assert_int_equal(s.faults.reorder_ppm, 250000);
	assert_int_equal(s.faults.reorder_ns, 3 * NSEC_PER_MSEC);
	assert_int_equal(s.faults.duplicate_ppm, 10000);
	assert_int_equal(s.faults.corrupt_ppm, 500);
	assert_int_equal(s.faults.repair_ppm, 500000);
	assert_int_equal(s.faults.mark_ppm, 20000);
	assert_int_equal(s.faults.mark_above_bytes, 30000);
	assert_int_equal(s.faults.rate_bytes_per_s, 125000000);
	assert_int_equal(s.faults.queue_bytes_max, 1 << 20);
	assert_int_equal(s.faults.mtu_bytes, 1400);
	assert_true(s.reports_mtu);
	assert_int_equal(s.faults.blackout_from_ns, 5 * NSEC_PER_SEC);
	assert_int_equal(s.faults.blackout_until_ns, 7 * NSEC_PER_SEC);
}

static void
a_later_list_goes_over_an_earlier_one(void **state)
{
	char complaint[SPEC_COMPLAINT_BYTES];
	struct spec s = { .reports_mtu = false };

	(void)state;
	assert_true(spec_read("delay=25ms,loss=1%", &s, complaint));
	assert_true(spec_read("loss=0%", &s, complaint));
	assert_int_equal(s.faults.delay_ns, 25 * NSEC_PER_MSEC);
	assert_int_equal(s.faults.loss_ppm, 0);
	assert_true(spec_read("", &s, complaint));
	assert_int_equal(s.faults.delay_ns, 25 * NSEC_PER_MSEC);
}

static void
refuses_what_is_not_clear_and_changes_nothing(void **state)
{
	static const char *const bad[] = {
		"loss", "loss=", "loss=1", "loss=101%", "loss=-1%", "loss=nan%", "delay=5", "delay=5%",
		"delay=2h", "rate=1000", "burst=1%:2%", "burst=1%:2%:3%:4%", "reorder=25%", "reorder=3ms:25%",
		"mtu-report=maybe", "wobble=1%", "blackout=7s:5s", "queue=9999999999B", "loss=1%x",
		"delay=1ms,loss=1%%",
		"delay=1111111111111111111111111111111111111111111111111111111111111111111111111111111ms",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		char complaint[SPEC_COMPLAINT_BYTES] = "";
		struct spec s = { .faults = { .delay_ns = 7 } };

		assert_false(spec_read(bad[i], &s, complaint));
		assert_true(strlen(complaint) > 10);
		assert_int_equal(s.faults.delay_ns, 7);
		assert_int_equal(s.faults.loss_ppm, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_every_key),
		cmocka_unit_test(a_later_list_goes_over_an_earlier_one),
		cmocka_unit_test(refuses_what_is_not_clear_and_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

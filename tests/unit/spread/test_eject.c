/* In, out, half open: one probe at a time. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/units.h"
#include "spread/eject.h"

#define SEC NSEC_PER_SEC

static const struct eject_limits three = { .errors = 3, .time_ns = 1 * SEC, .time_ns_max = 4 * SEC };

/* Errors until it goes, and then out it is. */
static void
throw_out(struct eject *e, uint64_t now_ns)
{
	uint64_t for_ns = 0;

	while (!eject_bad(e, &three, false, now_ns, &for_ns))
		assert_true(atomic_load(&e->errors) < three.errors);
	eject_out(e, now_ns + for_ns);
}

static void
three_errors_in_a_row_eject(void **state)
{
	struct eject e = { 0 };
	uint64_t for_ns = 0;

	(void)state;
	assert_false(eject_bad(&e, &three, false, SEC, &for_ns));
	assert_false(eject_bad(&e, &three, false, SEC, &for_ns));
	assert_false(eject_good(&e)); /* was never out */
	assert_false(eject_bad(&e, &three, false, SEC, &for_ns));
	assert_false(eject_bad(&e, &three, false, SEC, &for_ns));
	assert_int_equal(eject_state(&e, SEC), EJECT_IN);
	assert_true(eject_bad(&e, &three, false, SEC, &for_ns));
	assert_int_equal(for_ns, SEC);
	assert_int_equal(eject_state(&e, SEC), EJECT_IN); /* whether it goes is the caller's to say */
	eject_out(&e, SEC + for_ns);
	assert_int_equal(eject_state(&e, SEC), EJECT_OUT);
	assert_int_equal(eject_state(&e, 2 * SEC - 1), EJECT_OUT);
	assert_int_equal(eject_state(&e, 2 * SEC), EJECT_HALF_OPEN);
}

static void
half_open_lets_one_probe_through(void **state)
{
	struct eject e = { 0 };

	(void)state;
	assert_false(eject_probe(&e, 0, SEC)); /* in: needs none */
	throw_out(&e, SEC);
	assert_false(eject_probe(&e, 0, SEC)); /* out */
	assert_true(eject_probe(&e, 0, 3 * SEC));
	assert_false(eject_probe(&e, 0, 3 * SEC));
	assert_false(eject_probe(&e, 1, 3 * SEC));
	eject_release(&e); /* a probe that said nothing: the next one asks */
	assert_true(eject_probe(&e, 1, 3 * SEC));
	assert_int_equal(eject_half_open_ns(&e, 3 * SEC), SEC);
}

static void
a_good_answer_brings_it_in(void **state)
{
	struct eject e = { 0 };
	uint64_t for_ns;

	(void)state;
	throw_out(&e, SEC);
	assert_true(eject_probe(&e, 0, 3 * SEC));
	assert_true(eject_good(&e));
	eject_release(&e);
	assert_int_equal(eject_state(&e, 3 * SEC), EJECT_IN);
	assert_false(eject_bad(&e, &three, false, 3 * SEC, &for_ns)); /* counts from the beginning */
}

static void
each_bad_probe_doubles_the_time_up_to_its_most(void **state)
{
	struct eject e = { 0 };
	uint64_t now_ns = SEC, for_ns;

	(void)state;
	throw_out(&e, now_ns);
	for (int i = 0; i < 4; i++) {
		static const uint64_t expected_ns[] = { 2 * SEC, 4 * SEC, 4 * SEC, 4 * SEC };

		now_ns += 10 * SEC;
		assert_true(eject_probe(&e, 0, now_ns));
		assert_true(eject_bad(&e, &three, true, now_ns, &for_ns));
		assert_int_equal(for_ns, expected_ns[i]);
		eject_out(&e, now_ns + for_ns);
		eject_release(&e);
		assert_int_equal(eject_state(&e, now_ns), EJECT_OUT);
	}
	eject_good(&e);
	throw_out(&e, now_ns);
	assert_int_equal(eject_state(&e, now_ns + SEC), EJECT_HALF_OPEN); /* and begins anew */
}

static void
late_errors_of_older_requests_change_nothing(void **state)
{
	struct eject e = { 0 };
	uint64_t for_ns = 0;

	(void)state;
	throw_out(&e, SEC);
	for (int i = 0; i < 100; i++)
		assert_false(eject_bad(&e, &three, false, SEC + SEC / 2, &for_ns));
	assert_int_equal(eject_state(&e, 2 * SEC), EJECT_HALF_OPEN);
	assert_false(eject_bad(&e, &three, false, 2 * SEC, &for_ns)); /* half open: only the probe tells */
	assert_true(eject_bad(&e, &three, true, 2 * SEC, &for_ns));
	assert_int_equal(for_ns, 2 * SEC);
}

static void
an_ejection_can_be_taken_back(void **state)
{
	struct eject e = { 0 };

	(void)state;
	throw_out(&e, SEC);
	eject_undo(&e);
	assert_int_equal(eject_state(&e, SEC), EJECT_IN);
}

static void
zero_errors_turn_ejection_off(void **state)
{
	static const struct eject_limits never = { .errors = 0, .time_ns = SEC, .time_ns_max = SEC };
	struct eject e = { 0 };
	uint64_t for_ns;

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_false(eject_bad(&e, &never, false, SEC, &for_ns));
}

#define RACERS 4
#define RACES 5000

struct race {
	struct eject e;
	_Atomic uint32_t inside;
	_Atomic uint64_t probes;
	_Atomic uint64_t collisions;
};

static void *
race(void *owner)
{
	struct race *r = owner;

	/* Until each has had it so often, whoever is kept waiting with it meanwhile. */
	for (int had = 0; had < RACES;) {
		if (!eject_probe(&r->e, 1, 10 * SEC)) {
			sched_yield();
			continue;
		}
		had++;
		if (atomic_fetch_add(&r->inside, 1) != 0)
			atomic_fetch_add(&r->collisions, 1);
		atomic_fetch_add(&r->probes, 1);
		atomic_fetch_sub(&r->inside, 1);
		eject_release(&r->e);
	}
	return NULL;
}

static void
two_workers_never_hold_the_slot_together(void **state)
{
	struct race r = { 0 };
	pthread_t racer[RACERS];

	(void)state;
	eject_out(&r.e, SEC);
	for (int i = 0; i < RACERS; i++)
		assert_int_equal(pthread_create(&racer[i], NULL, race, &r), 0);
	for (int i = 0; i < RACERS; i++)
		pthread_join(racer[i], NULL);
	assert_int_equal(atomic_load(&r.collisions), 0);
	assert_int_equal(atomic_load(&r.probes), RACERS * RACES);
	assert_int_equal(atomic_load(&r.e.prober), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(three_errors_in_a_row_eject),
		cmocka_unit_test(half_open_lets_one_probe_through),
		cmocka_unit_test(a_good_answer_brings_it_in),
		cmocka_unit_test(each_bad_probe_doubles_the_time_up_to_its_most),
		cmocka_unit_test(late_errors_of_older_requests_change_nothing),
		cmocka_unit_test(an_ejection_can_be_taken_back),
		cmocka_unit_test(zero_errors_turn_ejection_off),
		cmocka_unit_test(two_workers_never_hold_the_slot_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

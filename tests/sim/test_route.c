/* Towns made by hand: which pod gets a request, how often, and what becomes of a pod by how its tries end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/check.h"
#include "dataplane/bounds.h"
#include "dataplane/upstream.h"
#include "spread/spread.h"
#include "tls/conn.h"
#include "town.h"

#define MS NSEC_PER_MSEC
#define SEC NSEC_PER_SEC

static struct town *t;

/* Clients with JSON requests that they ask in turn, a second apart, over wires of 1 ms that lose nothing. */
static void
plan(uint32_t clients, uint32_t requests, uint32_t pods, uint32_t first_pods)
{
	t = calloc(1, sizeof(*t));
	CHECK(t != NULL);
	prng_init(&t->prng, 3);
	t->plan = (struct town_plan){ .seed = 3, .client_count = clients, .request_count = requests,
				      .start_ns = 1000 * SEC, .pods = pods, .first_pods = first_pods,
				      .retry_percent = 100, .retry_burst = 1000, .eject_percent = 100,
				      .may_fail = true };
	t->plan.link[0].delay_ns = t->plan.link[1].delay_ns = 1 * MS;
	t->now_ns = t->plan.start_ns;
	for (uint32_t i = 0; i < requests; i++)
		t->requests[i] = (struct town_request){ .index = i, .client = i % clients, .prompt_bytes = 100,
							.answer_bytes = 100, .piece_bytes = 4000,
							.prompt_tokens = 1, .completion_tokens = 1,
							.think_ns = 1 * SEC };
}

static struct shm_pod_health *
health(uint32_t pod)
{
	return shm_pod_health(&t->shm, pod);
}

static void
go(uint64_t ns)
{
	town_go(t, t->now_ns + ns, false);
}

static void
finish(void)
{
	town_finish(t);
	free(t);
}

static uint64_t
counted(enum counter counter)
{
	return t->worker->counters[counter_at(counter)];
}

static void
assert_served_by(uint32_t request, uint32_t pod)
{
	assert_int_equal(t->requests[request].status, 200);
	assert_int_equal(t->requests[request].tries, 1);
	assert_int_equal(t->requests[request].pods[0], pod);
}

/* --- which pod --------------------------------------------------------------------------------- */

static void
pods_of_a_region_take_turns(void **state)
{
	(void)state;
	plan(1, 6, 4, 3);
	town_open(t);
	go(20 * SEC);
	for (uint32_t i = 0; i < 6; i++)
		assert_served_by(i, i % 3);
	finish();
}

/* The first region that has a pod that is as sound as any. */
static void
regions_are_preferred_in_their_order(void **state)
{
	(void)state;
	plan(1, 6, 3, 2);
	town_open(t);
	atomic_store(&health(0)->probe_state, SHM_PROBE_DOWN);
	go(2500 * MS);
	assert_served_by(0, 1);
	assert_served_by(1, 1);
	atomic_store(&health(1)->eject_until_ns, NEVER_NS);
	go(1 * SEC);
	assert_served_by(2, 2);
	/* Busy is better than ejected, and its own region is not asked before another one's healthy pod. */
	atomic_store(&health(1)->eject_until_ns, 0);
	atomic_store(&health(1)->busy_until_ns, NEVER_NS);
	go(1 * SEC);
	assert_served_by(3, 2);
	atomic_store(&health(2)->eject_until_ns, NEVER_NS);
	go(1 * SEC);
	assert_served_by(4, 1);
	atomic_store(&health(1)->busy_until_ns, 0);
	atomic_store(&health(2)->eject_until_ns, 0);
	atomic_store(&health(0)->probe_state, SHM_PROBE_UP);
	go(1 * SEC);
	assert_served_by(5, 0);
	finish();
}

/* Two candidates are both choices of the two, so that the cheaper one is always taken. */
static void
the_least_loaded_of_two_is_taken(void **state)
{
	uint64_t word;

	(void)state;
	plan(1, 12, 2, 2);
	t->plan.policy = SHM_POLICY_LEAST_LOADED;
	town_open(t);
	atomic_store(&health(0)->in_flight, 3);
	go(6500 * MS);
	for (uint32_t i = 0; i < 6; i++)
		assert_served_by(i, 1);
	atomic_store(&health(0)->in_flight, 0);
	word = spread_latency_add(0, 40 * MS, t->now_ns);
	atomic_store(&health(0)->first_token, word);
	word = spread_latency_add(0, 50 * MS, t->now_ns);
	atomic_store(&health(1)->first_token, word);
	go(7 * SEC);
	for (uint32_t i = 6; i < 12; i++)
		assert_served_by(i, 0);
	finish();
}

/* Pod 0 tells its load, pod 1 has three requests of ours and tells nothing. */
struct told {
	uint32_t running, waiting, cache_permille, in_flight;
	bool is_old;
	uint32_t pick;
};

static void
check_told(const struct told *told, enum shm_policy policy)
{
	plan(1, 8, 2, 2);
	t->plan.policy = policy;
	town_open(t);
	atomic_store(&health(0)->in_flight, told->in_flight);
	atomic_store(&health(1)->in_flight, 3);
	atomic_store(&health(0)->running, told->running);
	atomic_store(&health(0)->waiting, told->waiting);
	atomic_store(&health(0)->cache_permille, told->cache_permille);
	atomic_store(&health(0)->gauges_until_ns, told->is_old ? t->now_ns : NEVER_NS);
	go(20 * SEC);
	for (uint32_t r = 0; r < 8; r++)
		if (t->requests[r].status != 200 || t->requests[r].pods[0] != told->pick)
			fail_msg("%u running, %u waiting, cache %u, %u in flight: request %u went to %u",
				 told->running, told->waiting, told->cache_permille, told->in_flight, r,
				 t->requests[r].pods[0]);
	atomic_store(&health(0)->in_flight, 0);
	atomic_store(&health(1)->in_flight, 0);
	finish();
}

/* It counts for as long as it is news, and where it is more than what we have there. */
static void
what_pods_tell_of_their_load_moves_the_pick(void **state)
{
	static const struct told all[] = {
		{ 0, 0, 0, 0, false, 0 },   { 2, 0, 0, 0, false, 0 },   { 4, 0, 0, 0, false, 1 },
		{ 1, 3, 0, 0, false, 1 },   { 4, 0, 0, 0, true, 0 },    { 0, 0, 0, 4, false, 1 },
		{ 2, 0, 949, 0, false, 0 }, { 2, 0, 950, 0, false, 1 }, { 2, 0, 950, 0, true, 0 },
	};
	/* Whichever pod is the prompt's: a full one is not asked. */
	static const struct told full = { 1000, 0, 0, 0, false, 1 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(all); i++)
		check_told(&all[i], SHM_POLICY_LEAST_LOADED);
	check_told(&full, SHM_POLICY_PREFIX);
}

static void
probes_call_all_down_and_one_pod_is_asked_all_the_same(void **state)
{
	(void)state;
	plan(1, 2, 3, 2);
	t->requests[1].fault = FAULT_RESET_BEFORE;
	t->requests[1].faulty_tries = TOWN_TRIES_MAX;
	town_open(t);
	for (uint32_t i = 0; i < 3; i++)
		atomic_store(&health(i)->probe_state, SHM_PROBE_DOWN);
	go(5 * SEC);
	assert_served_by(0, 0);
	assert_int_equal(t->requests[1].status, 502);
	assert_int_equal(t->requests[1].tries, 1);
	finish();
}

/* --- how often --------------------------------------------------------------------------------- */

static void
three_tries_at_three_pods_then_502(void **state)
{
	const struct town_request *r;

	(void)state;
	plan(1, 1, 4, 2);
	t->requests[0].fault = FAULT_RESET_BEFORE;
	t->requests[0].faulty_tries = TOWN_TRIES_MAX;
	town_open(t);
	go(5 * SEC);
	r = &t->requests[0];
	assert_int_equal(r->status, 502);
	assert_int_equal(r->tries, 3);
	assert_int_equal(r->pods[0], 0);
	assert_int_equal(r->pods[1], 1);
	assert_int_equal(r->pods[2], 2);
	assert_int_equal(counted(COUNTER_UPSTREAM_RETRIES), 2);
	finish();
}

static void
what_may_not_be_sent_again_is_sent_once(void **state)
{
	static const enum town_fault faults[] = { FAULT_RESET_BEFORE, FAULT_CLOSE_BEFORE, FAULT_BUSY, FAULT_SILENT,
						  FAULT_BAD_FRAMING };
	static const uint16_t statuses[] = { 502, 502, 503, 504, 502 };

	(void)state;
	plan(1, COUNT_OF(faults), 2, 2);
	t->plan.resend = SHM_RESEND_NEVER_SENT;
	for (uint32_t i = 0; i < COUNT_OF(faults); i++)
		t->requests[i].fault = faults[i];
	town_open(t);
	go(300 * SEC);
	for (uint32_t i = 0; i < COUNT_OF(faults); i++) {
		assert_int_equal(t->requests[i].tries, 1);
		assert_int_equal(t->requests[i].status, statuses[i]);
	}
	finish();
}

static void
a_client_error_and_a_500_are_the_clients_answer(void **state)
{
	(void)state;
	plan(1, 2, 2, 1);
	t->requests[0].fault = FAULT_REFUSAL;
	t->requests[1].fault = FAULT_ERROR;
	town_open(t);
	go(5 * SEC);
	assert_int_equal(t->requests[0].status, 422);
	assert_int_equal(t->requests[1].status, 500);
	assert_int_equal(t->requests[0].tries + t->requests[1].tries, 2);
	finish();
}

/* --- three outcomes ------------------------------------------------------------------------------ */

/* Two failures are on the pod's account before each. Good: they are forgotten. Bad: the third ejects. Neither:
 * they stay. */
static void
outcomes_are_good_bad_or_neither(void **state)
{
	static const struct {
		enum town_fault fault;
		bool leaves;
		uint32_t errors;
		bool is_out;
		bool is_busy;
	} rows[] = {
		{ FAULT_NONE, false, 0, false, false },	   { FAULT_REFUSAL, false, 0, false, false },
		{ FAULT_BUSY, false, 2, false, true },	   { FAULT_NONE, true, 2, false, false },
		{ FAULT_ERROR, false, 3, true, false },	   { FAULT_RESET_BEFORE, false, 3, true, false },
		{ FAULT_SILENT, false, 3, true, false },   { FAULT_CLOSE_BEFORE, false, 3, true, false },
		{ FAULT_BAD_FRAMING, false, 3, true, false },
	};

	(void)state;
	for (uint32_t i = 0; i < COUNT_OF(rows); i++) {
		plan(1, 1, 2, 1);
		t->requests[0].fault = rows[i].fault;
		t->requests[0].first_ns = rows[i].leaves ? 5 * SEC : 0;
		t->requests[0].is_aborted = rows[i].leaves;
		t->requests[0].abort_after_ns = 100 * MS;
		town_open(t);
		atomic_store(&health(0)->eject_errors, 2);
		while (!t->requests[0].is_over)
			go(10 * MS);
		go(5 * MS);
		assert_int_equal(t->requests[0].pods[0], 0);
		assert_int_equal(atomic_load(&health(0)->eject_errors), rows[i].errors);
		assert_int_equal(atomic_load(&health(0)->eject_until_ns) > t->now_ns, rows[i].is_out);
		assert_int_equal(atomic_load(&health(0)->busy_until_ns) > t->now_ns, rows[i].is_busy);
		finish();
	}
}

/* The operator's will and the end of a request's own time are not the pod's doing. */
static void
a_pod_is_not_blamed_for_what_others_do(void **state)
{
	uint32_t last;

	(void)state;
	plan(1, 2, 3, 1);
	t->requests[0].first_ns = 2 * SEC;
	t->requests[1].fault = FAULT_SILENT;
	t->requests[1].faulty_tries = TOWN_TRIES_MAX;
	town_open(t);
	atomic_store(&health(0)->eject_errors, 2);
	t->cuts_allowed = 1;
	go(1500 * MS);
	pods_put(t, 0, SHM_POD_MAINT);
	go(2500 * MS);
	assert_int_equal(t->requests[0].pods[0], 0);
	assert_int_equal(t->requests[0].pods[1], 1);
	assert_int_equal(t->requests[0].status, 200);
	assert_int_equal(atomic_load(&health(0)->eject_errors), 2);
	atomic_store(&health(1)->eject_errors, 2);
	atomic_store(&health(2)->eject_errors, 2);
	t->worker->config.times.request_ns = 3 * SEC;
	while (!t->requests[1].is_over)
		go(10 * MS);
	assert_int_equal(t->requests[1].status, 504);
	assert_int_equal(t->requests[1].tries, 1);
	assert_in_range(t->requests[1].over_ns - t->requests[1].sent_ns, 3 * SEC, 3010 * MS);
	assert_int_equal(counted(COUNTER_UPSTREAM_RETRIES), 1); /* that of the first request */
	last = t->requests[1].pods[0];
	assert_in_range(last, 1, 2);
	assert_int_equal(atomic_load(&health(last)->eject_errors), 2);
	finish();
}

/* A pod is deleted and its entry given to another one while a request is at it. */
static void
the_next_pod_of_an_entry_does_not_inherit_a_request(void **state)
{
	struct shm_pod pod;
	bool changed;

	(void)state;
	plan(1, 1, 2, 1);
	t->requests[0].first_ns = 3 * SEC;
	town_open(t);
	go(2 * SEC);
	assert_int_equal(t->requests[0].pods[0], 0);
	assert_int_equal(atomic_load(&health(0)->in_flight), 1);
	assert_int_equal(shm_read_pod(&t->shm, 0, &pod), ERR_OK);
	pod.pod_id = 99;
	assert_int_equal(shm_put_pod(&t->shm, 0, &pod, &changed), ERR_OK);
	atomic_store(&health(0)->in_flight, 2); /* its own */
	go(5 * SEC);
	assert_int_equal(t->requests[0].status, 200);
	assert_int_equal(atomic_load(&health(0)->in_flight), 2);
	atomic_store(&health(0)->in_flight, 0);
	finish();
}

/* A pod's name leads elsewhere (here to the next pod's port): what runs ends where it is, what is kept is closed,
 * what comes goes to the new place. */
static void
a_pod_that_moves_keeps_its_requests_and_no_connection(void **state)
{
	struct shm_pod pod;
	bool changed;

	(void)state;
	plan(2, 6, 2, 1);
	t->requests[0].first_ns = 4 * SEC;
	t->requests[3].think_ns = 2 * SEC;
	town_open(t);
	go(2 * SEC);
	assert_served_by(1, 0);
	assert_int_equal(t->requests[0].pods[0], 0);
	assert_int_equal(t->worker->upstreams_idle.count, 1);
	assert_int_equal(shm_read_pod(&t->shm, 0, &pod), ERR_OK);
	pod.port++;
	assert_int_equal(shm_put_pod(&t->shm, 0, &pod, &changed), ERR_OK);
	go(100 * MS);
	assert_int_equal(t->worker->upstreams_idle.count, 0);
	assert_int_equal(atomic_load(&health(0)->in_flight), 1);
	go(10 * SEC);
	assert_served_by(0, 0);
	for (uint32_t i = 2; i < 6; i++)
		assert_served_by(i, 1);
	assert_int_equal(atomic_load(&health(0)->in_flight), 0);
	finish();
}

/* What the old place does, good or bad, says nothing of the new one. */
static void
what_ends_at_the_old_place_is_not_held_against_the_new_one(void **state)
{
	static const enum town_fault faults[] = { FAULT_RESET_BEFORE, FAULT_BUSY, FAULT_SILENT };

	(void)state;
	for (size_t i = 0; i <= COUNT_OF(faults); i++) {
		bool is_good = i == COUNT_OF(faults);
		struct shm_pod pod;
		bool changed;

		plan(1, 1, 2, 1);
		t->plan.resend = SHM_RESEND_NEVER_SENT;
		t->requests[0].first_ns = 3 * SEC;
		if (!is_good) {
			t->requests[0].fault = faults[i];
			t->requests[0].faulty_tries = TOWN_TRIES_MAX;
		}
		town_open(t);
		t->worker->config.times.response_head_ns = 10 * SEC;
		while (atomic_load(&health(0)->in_flight) == 0)
			go(1 * MS);
		assert_int_equal(shm_read_pod(&t->shm, 0, &pod), ERR_OK);
		pod.port++;
		assert_int_equal(shm_put_pod(&t->shm, 0, &pod, &changed), ERR_OK);
		/* Of the new place. */
		atomic_store(&health(0)->eject_errors, 2);
		atomic_store(&health(0)->first_token, 0);
		go(30 * SEC);
		assert_true(t->requests[0].is_over);
		assert_int_equal(t->requests[0].tries, 1);
		assert_int_equal(t->requests[0].status == 200, is_good);
		assert_int_equal(atomic_load(&health(0)->eject_errors), 2);
		assert_int_equal(atomic_load(&health(0)->eject_until_ns), 0);
		assert_int_equal(atomic_load(&health(0)->busy_until_ns), 0);
		assert_int_equal(atomic_load(&health(0)->first_token), 0);
		assert_int_equal(atomic_load(&health(0)->in_flight), 0);
		finish();
	}
}

/* And right away: before the worker has looked at its connections. */
static void
a_kept_connection_to_the_old_place_is_not_used_again(void **state)
{
	struct shm_pod pod;
	bool changed;

	(void)state;
	plan(1, 2, 2, 1);
	town_open(t);
	while (!t->requests[0].is_over)
		go(1 * MS);
	assert_int_equal(t->worker->upstreams_idle.count, 1);
	assert_int_equal(shm_read_pod(&t->shm, 0, &pod), ERR_OK);
	pod.port++;
	assert_int_equal(shm_put_pod(&t->shm, 0, &pod, &changed), ERR_OK);
	t->worker->swept_upstreams = t->worker->config.counts.upstreams;
	t->worker->swept_generation = atomic_load(&t->shm.header->generation);
	go(100 * MS);
	assert_int_equal(t->worker->upstreams_idle.count, 1);
	go(5 * SEC);
	assert_served_by(0, 0);
	assert_served_by(1, 1);
	finish();
}

/* A name that was never resolved. */
static void
a_pod_without_an_address_is_asked_by_nobody(void **state)
{
	struct shm_pod pod;
	bool changed;

	(void)state;
	plan(1, 3, 2, 1);
	town_open(t);
	assert_int_equal(shm_read_pod(&t->shm, 0, &pod), ERR_OK);
	memset(pod.address, 0, sizeof(pod.address));
	assert_int_equal(shm_put_pod(&t->shm, 0, &pod, &changed), ERR_OK);
	go(10 * SEC);
	for (uint32_t i = 0; i < 3; i++)
		assert_served_by(i, 1);
	finish();
}

/* --- half open ----------------------------------------------------------------------------------- */

/* Pod 0 comes back from its ejection now. */
static void
half_open(void)
{
	town_open(t);
	atomic_store(&health(0)->eject_row, 1);
	atomic_store(&health(0)->eject_errors, 3);
	atomic_store(&health(0)->eject_until_ns, t->now_ns);
}

/* While one request asks a half-open pod, others go elsewhere; whoever leaves gives the slot back. */
static void
a_client_that_leaves_gives_the_slot_back(void **state)
{
	(void)state;
	plan(2, 4, 2, 2);
	t->requests[0].first_ns = 10 * SEC;
	t->requests[0].is_aborted = true;
	t->requests[0].abort_after_ns = 1500 * MS;
	t->requests[1].think_ns = 1500 * MS;
	t->requests[3].think_ns = 2 * SEC;
	t->requests[2].think_ns = 10 * SEC;
	half_open();
	go(1200 * MS);
	assert_int_equal(t->requests[0].pods[0], 0);
	assert_int_not_equal(atomic_load(&health(0)->eject_prober), 0);
	go(800 * MS);
	assert_served_by(1, 1);
	go(700 * MS);
	assert_true(t->requests[0].was_left);
	assert_int_equal(atomic_load(&health(0)->eject_prober), 0);
	assert_int_not_equal(atomic_load(&health(0)->eject_until_ns), 0);
	go(2 * SEC);
	assert_served_by(3, 0);
	assert_int_equal(atomic_load(&health(0)->eject_until_ns), 0);
	assert_int_equal(counted(COUNTER_POD_PROBES), 2);
	assert_int_equal(counted(COUNTER_POD_RETURNS), 1);
	finish();
}

/* However the probe ends, the slot is free afterwards, and its request has an answer. */
static void
every_end_of_a_probe_gives_the_slot_back(void **state)
{
	static const enum town_fault faults[] = {
		FAULT_NONE,	    FAULT_REFUSAL, FAULT_ERROR,	      FAULT_RESET_BEFORE,
		FAULT_CLOSE_BEFORE, FAULT_BUSY,	   FAULT_BAD_FRAMING, FAULT_SILENT,
	};

	(void)state;
	for (uint32_t i = 0; i < COUNT_OF(faults); i++) {
		bool is_good = faults[i] == FAULT_NONE || faults[i] == FAULT_REFUSAL;
		uint64_t until_ns;

		plan(1, 1, 2, 2);
		t->requests[0].fault = faults[i];
		half_open();
		while (!t->requests[0].is_over)
			go(10 * MS);
		assert_int_equal(t->requests[0].pods[0], 0);
		assert_int_equal(counted(COUNTER_POD_PROBES), 1);
		assert_int_equal(atomic_load(&health(0)->eject_prober), 0);
		until_ns = atomic_load(&health(0)->eject_until_ns);
		if (is_good)
			assert_int_equal(until_ns, 0);
		else if (faults[i] == FAULT_BUSY)
			assert_in_range(until_ns, 1, t->now_ns); /* still half open */
		else
			/* Twice as long as before. */
			assert_in_range(until_ns, t->now_ns + 1900 * MS, t->now_ns + 2000 * MS);
		finish();
	}
}

/* A probe is made with a request that another try can save, as long as there are such. */
static void
who_cannot_be_saved_does_not_probe_for_ten_seconds(void **state)
{
	(void)state;
	plan(1, 3, 2, 2);
	t->plan.is_tight = true;
	t->plan.retry_percent = 0;
	t->requests[1].think_ns = 5 * SEC;
	t->requests[2].think_ns = 5 * SEC;
	half_open();
	go(8 * SEC);
	assert_served_by(0, 1);
	assert_served_by(1, 1);
	go(5 * SEC);
	assert_served_by(2, 0);
	finish();
}

/* --- whom pods are believed by --------------------------------------------------------------------- */

/* Requests a second apart, and each time something else is believed between two of them. */
static void
a_connection_serves_nobody_else_when_its_authority_changes(void **state)
{
	(void)state;
	plan(1, 6, 1, 1);
	t->plan.is_https = true;
	town_open(t);
	go(1500 * MS);
	assert_served_by(0, 0);
	assert_int_equal(counted(COUNTER_UPSTREAM_HANDSHAKES_FULL), 1);
	/* The same once more: nothing has changed. */
	tls_upstream_believe(t, "ca");
	go(1 * SEC);
	assert_served_by(1, 0);
	assert_int_equal(counted(COUNTER_UPSTREAM_CONNECTS), 1);
	/* Another one, which believes the pod, too: its connection is closed at once, its session is forgotten. */
	tls_upstream_believe(t, "another");
	go(10 * MS);
	assert_int_equal(t->worker->upstreams_used, 0);
	go(1 * SEC);
	assert_served_by(2, 0);
	assert_int_equal(counted(COUNTER_UPSTREAM_CONNECTS), 2);
	assert_int_equal(counted(COUNTER_UPSTREAM_HANDSHAKES_FULL), 2);
	/* None: nothing is sent to whom nobody believes any more. */
	tls_upstream_believe(t, NULL);
	go(1 * SEC);
	assert_int_equal(t->requests[3].status, 503);
	assert_int_equal(counted(COUNTER_UPSTREAM_CONNECTS), 2);
	assert_in_range(t->worker->counters[ERR_UPSTREAM_NO_TRUST], 1, 10);
	t->worker->counters[ERR_UPSTREAM_NO_TRUST] = 0; /* no pod of the plan is one */
	tls_upstream_believe(t, "ca");
	go(5 * SEC);
	assert_served_by(5, 0);
	finish();
}

/* The pod speaks TLS 1.2 alone since the session was kept, as an older release of its front would. */
static void
a_session_of_another_version_costs_nobody_a_try(void **state)
{
	(void)state;
	plan(1, 4, 1, 1);
	t->plan.is_https = true;
	town_open(t);
	t->worker->config.times.upstream_idle_ns = 100 * MS;
	go(1500 * MS);
	go(1 * SEC);
	assert_int_equal(counted(COUNTER_UPSTREAM_HANDSHAKES_RESUMED), 1);
	t->plan.is_tls12[0] = true;
	t->plan.shake_fault = ERR_TLS_NO_OVERLAP;
	go(1 * SEC);
	assert_served_by(2, 0);
	assert_int_equal(counted(COUNTER_UPSTREAM_SESSIONS_STALE), 1);
	assert_int_equal(counted(COUNTER_UPSTREAM_HANDSHAKES_FAILED), 1);
	assert_int_equal(counted(COUNTER_UPSTREAM_RETRIES), 0);
	assert_int_equal(health(0)->eject_errors, 0);
	go(1 * SEC);
	assert_served_by(3, 0);
	assert_int_equal(counted(COUNTER_UPSTREAM_SESSIONS_STALE), 1);
	assert_int_equal(counted(COUNTER_UPSTREAM_HANDSHAKES_RESUMED), 2);
	finish();
}

/* All pods at once: the next one is not free, or a request could go on like this as long as there are pods. */
static void
one_session_of_another_version_is_free_for_a_request(void **state)
{
	(void)state;
	plan(1, 3, 2, 2);
	t->plan.is_https = true;
	town_open(t);
	t->worker->config.times.upstream_idle_ns = 100 * MS;
	go(2500 * MS);
	assert_int_equal(counted(COUNTER_UPSTREAM_HANDSHAKES_FULL), 2);
	t->plan.is_tls12[0] = t->plan.is_tls12[1] = true;
	t->plan.shake_fault = ERR_TLS_NO_OVERLAP;
	go(2 * SEC);
	assert_int_equal(t->requests[2].status, 200);
	assert_int_equal(counted(COUNTER_UPSTREAM_HANDSHAKES_FAILED), 2);
	assert_int_equal(counted(COUNTER_UPSTREAM_SESSIONS_STALE), 1);
	assert_int_equal(counted(COUNTER_UPSTREAM_RETRIES), 1);
	finish();
}

/* Nobody listens any more where a session was kept: it was never offered, and stays for when somebody does. */
static void
a_refused_connection_says_nothing_of_a_session(void **state)
{
	struct shm_pod pod;
	bool changed;

	(void)state;
	plan(1, 4, 1, 1);
	t->plan.is_https = true;
	town_open(t);
	t->worker->config.times.upstream_idle_ns = 100 * MS;
	go(1500 * MS);
	assert_int_equal(counted(COUNTER_UPSTREAM_HANDSHAKES_FULL), 1);
	assert_int_equal(shm_read_pod(&t->shm, 0, &pod), ERR_OK);
	pod.port += 1000;
	assert_int_equal(shm_put_pod(&t->shm, 0, &pod, &changed), ERR_OK);
	go(1 * SEC);
	assert_int_equal(t->requests[1].status, 503);
	assert_int_equal(counted(COUNTER_UPSTREAM_SESSIONS_STALE), 0);
	assert_in_range(atomic_load(&health(0)->eject_errors), 1, 10);
	pod.port -= 1000;
	assert_int_equal(shm_put_pod(&t->shm, 0, &pod, &changed), ERR_OK);
	go(1 * SEC);
	assert_served_by(2, 0);
	assert_int_equal(counted(COUNTER_UPSTREAM_HANDSHAKES_FULL), 1);
	assert_int_equal(counted(COUNTER_UPSTREAM_HANDSHAKES_RESUMED), 1);
	finish();
}

/* The hello, and one that acknowledges the first half of the pod's flight, which comes in two here. The end of the
 * handshake goes with the request. */
static void
a_handshake_costs_two_segments(void **state)
{
	uint64_t in_clear = 0;

	(void)state;
	for (int is_https = 0; is_https <= 1; is_https++) {
		plan(1, 1, 1, 1);
		t->plan.is_https = is_https;
		town_open(t);
		go(1500 * MS);
		assert_served_by(0, 0);
		if (is_https)
			assert_int_equal(tcp_stats(t->worker->tcp)->segments_out, in_clear + 2);
		in_clear = tcp_stats(t->worker->tcp)->segments_out;
		finish();
	}
}

/* As much as would take 50 records if each packet were one. */
static void
an_upload_goes_in_records_of_a_segment_and_then_in_whole_ones(void **state)
{
	enum { BODY_BYTES = 100000, RUN_BYTES = BODY_BLOCK_BYTES };
	const struct upstream *u = NULL;
	uint64_t small = RECORDS_SMALL_BYTES / (RECORD_SEGMENT_BYTES - TLS_HEAD_BYTES_MAX - TLS_TAIL_BYTES_MAX) +
			 1;

	(void)state;
	plan(1, 1, 1, 1);
	t->plan.is_https = true;
	t->requests[0].prompt_bytes = BODY_BYTES;
	town_open(t);
	go(5 * SEC);
	assert_served_by(0, 0);
	for (uint32_t i = 0; i < t->worker->config.counts.upstreams; i++)
		if (t->worker->upstreams[i].tls != NULL)
			u = &t->worker->upstreams[i];
	assert_non_null(u);
	assert_in_range(u->tls->records.send.sequence, small + BODY_BYTES / RUN_BYTES,
			small + 2 * (BODY_BYTES / RUN_BYTES) + 4);
	finish();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(pods_of_a_region_take_turns),
		cmocka_unit_test(regions_are_preferred_in_their_order),
		cmocka_unit_test(the_least_loaded_of_two_is_taken),
		cmocka_unit_test(what_pods_tell_of_their_load_moves_the_pick),
		cmocka_unit_test(probes_call_all_down_and_one_pod_is_asked_all_the_same),
		cmocka_unit_test(three_tries_at_three_pods_then_502),
		cmocka_unit_test(what_may_not_be_sent_again_is_sent_once),
		cmocka_unit_test(a_client_error_and_a_500_are_the_clients_answer),
		cmocka_unit_test(outcomes_are_good_bad_or_neither),
		cmocka_unit_test(a_pod_is_not_blamed_for_what_others_do),
		cmocka_unit_test(the_next_pod_of_an_entry_does_not_inherit_a_request),
		cmocka_unit_test(a_pod_that_moves_keeps_its_requests_and_no_connection),
		cmocka_unit_test(what_ends_at_the_old_place_is_not_held_against_the_new_one),
		cmocka_unit_test(a_kept_connection_to_the_old_place_is_not_used_again),
		cmocka_unit_test(a_pod_without_an_address_is_asked_by_nobody),
		cmocka_unit_test(a_client_that_leaves_gives_the_slot_back),
		cmocka_unit_test(every_end_of_a_probe_gives_the_slot_back),
		cmocka_unit_test(who_cannot_be_saved_does_not_probe_for_ten_seconds),
		cmocka_unit_test(a_connection_serves_nobody_else_when_its_authority_changes),
		cmocka_unit_test(a_session_of_another_version_costs_nobody_a_try),
		cmocka_unit_test(one_session_of_another_version_is_free_for_a_request),
		cmocka_unit_test(a_refused_connection_says_nothing_of_a_session),
		cmocka_unit_test(a_handshake_costs_two_segments),
		cmocka_unit_test(an_upload_goes_in_records_of_a_segment_and_then_in_whole_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

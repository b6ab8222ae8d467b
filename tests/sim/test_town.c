/* Towns made by hand: a worker whose ports run out, and one whose kept connection ends as a request comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/check.h"
#include "town.h"

#define MS NSEC_PER_MSEC
#define SEC NSEC_PER_SEC
#define PODS 2u

static struct town *t;

/* One JSON request of each client, over wires of 1 ms that lose nothing. */
static void
plan(uint32_t clients, uint32_t requests)
{
	t = calloc(1, sizeof(*t));
	CHECK(t != NULL);
	prng_init(&t->prng, 2);
	t->plan = (struct town_plan){ .seed = 2, .client_count = clients, .request_count = requests,
				      .start_ns = 1000 * SEC, .pods = PODS, .first_pods = PODS,
				      .retry_percent = 100, .retry_burst = 1000, .eject_percent = 50 };
	t->plan.link[0].delay_ns = t->plan.link[1].delay_ns = 1 * MS;
	t->now_ns = t->plan.start_ns;
	for (uint32_t i = 0; i < requests; i++)
		t->requests[i] = (struct town_request){ .index = i, .client = i % clients, .prompt_bytes = 100,
							.answer_bytes = 100, .piece_bytes = 4000,
							.prompt_tokens = 1, .completion_tokens = 1 };
}

/* The second backend has been failing elsewhere, so the first is tried first, always. */
static void
begin(void)
{
	town_open(t);
	atomic_store(&shm_pod_health(&t->shm, 1)->eject_until_ns, NEVER_NS);
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

/* --- T25 ------------------------------------------------------------------------------------- */

#define PORTS 8u
#define CALLERS 24u

/* Eight ports towards each of two backends, and 24 who ask at once: what one backend has no port for goes to the
 * other, what neither has is refused at once, and when answers are through everything works as before. */
static void
t25_without_a_port_other_backends_are_tried_then_503_comes_fast(void **state)
{
	uint32_t answered = 0;
	uint32_t refused = 0;

	(void)state;
	plan(CALLERS, 2 * CALLERS);
	t->plan.ports = PORTS;
	for (uint32_t i = 0; i < 2 * CALLERS; i++) {
		struct town_request *r = &t->requests[i];

		/* The answers of the first take five seconds; the others ask one after the other, later. */
		r->first_ns = i < CALLERS ? 5 * SEC : 1 * MS;
		r->think_ns = i < CALLERS ? 50 * MS : (10 + i) * SEC;
		r->may_be_refused = i < CALLERS;
	}
	begin();
	town_go(t, t->now_ns + 4 * SEC, false);
	for (uint32_t i = 0; i < CALLERS; i++) {
		const struct town_request *r = &t->requests[i];

		if (!r->is_over)
			continue;
		refused++;
		assert_int_equal(r->status, 503);
		assert_in_range(r->over_ns - r->sent_ns, 0, 10 * MS);
	}
	assert_int_equal(refused, CALLERS - PODS * PORTS);
	town_go(t, t->now_ns + 4 * SEC, false);
	for (uint32_t i = 0; i < CALLERS; i++)
		answered += t->requests[i].status == 200;
	assert_int_equal(answered, PODS * PORTS);
	town_go(t, t->now_ns + 300 * SEC, true);
	for (uint32_t i = CALLERS; i < 2 * CALLERS; i++)
		assert_int_equal(t->requests[i].status, 200);
	finish();
}

/* --- a kept connection, and its end --------------------------------------------------------------- */

/* One request is answered, its connection kept; the client's next one is about to leave. */
static struct town_conn *
keep_one(void)
{
	plan(1, 2);
	t->requests[1].think_ns = 1 * SEC;
	begin();
	town_go(t, t->now_ns + 500 * MS, false);
	assert_int_equal(t->requests[0].status, 200);
	assert_int_equal(t->worker->upstreams_idle.count, 1);
	for (uint32_t i = 0; i < TOWN_CONNS_MAX; i++)
		if (t->conns[i].is_used && t->conns[i].is_backend)
			return &t->conns[i];
	return NULL;
}

static struct town_conn *
the_client(void)
{
	for (uint32_t i = 0; i < TOWN_CONNS_MAX; i++)
		if (t->conns[i].is_used && !t->conns[i].is_backend)
			return &t->conns[i];
	return NULL;
}

/* The client's request leaves now, and behind it in the same burst whatever the backend says. */
static void
ask_now(void)
{
	struct town_conn *c = the_client();

	assert_non_null(c);
	client_wake(t, c);
	c->piece_bytes = 4000;
	conn_pump(t, c);
}

static void
assert_second_is_answered_at_once(void)
{
	town_go(t, t->now_ns + 100 * MS, false);
	assert_int_equal(t->requests[1].status, 200);
	assert_int_equal(t->requests[1].tries, 1);
	assert_int_equal(counted(COUNTER_UPSTREAM_REUSED), 0);
	assert_int_equal(counted(COUNTER_UPSTREAM_CONNECTS), 2);
	assert_int_equal(counted(COUNTER_UPSTREAM_RETRIES), 0);
	finish();
}

static void
a_kept_connection_that_ends_in_the_requests_burst_is_not_used(void **state)
{
	struct town_conn *backend = keep_one();

	(void)state;
	assert_non_null(backend);
	ask_now();
	tcp_close(t->town_tcp, backend->conn);
	conn_put(t, backend);
	assert_second_is_answered_at_once();
}

static void
a_kept_connection_that_is_reset_in_the_requests_burst_is_not_used(void **state)
{
	struct town_conn *backend = keep_one();

	(void)state;
	assert_non_null(backend);
	ask_now();
	tcp_output_ready(t->town_tcp, t->now_ns); /* a reset overtakes what only waits for its turn */
	tcp_abort(t->town_tcp, backend->conn);
	conn_put(t, backend);
	assert_second_is_answered_at_once();
}

/* An answer that nobody asked for must not become that of the next request, which may be another tenant's. */
static void
an_answer_that_comes_with_the_request_is_nobodys(void **state)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
				     "content-length: 4\r\n\r\nevil";
	struct town_conn *backend = keep_one();

	(void)state;
	assert_non_null(backend);
	ask_now();
	conn_write(t, backend, answer, sizeof(answer) - 1);
	backend->send_at_ns = t->now_ns;
	conn_pump(t, backend);
	assert_second_is_answered_at_once();
}

/* The end and the request meet on the wire: nobody saw the request, so it goes over a fresh connection. */
static void
a_request_that_meets_the_end_on_its_way_is_sent_again_once(void **state)
{
	struct town_conn *backend = keep_one();

	(void)state;
	assert_non_null(backend);
	ask_now();
	town_go(t, t->now_ns + 1500 * NSEC_PER_USEC, false);
	assert_int_equal(counted(COUNTER_UPSTREAM_REUSED), 1);
	tcp_close(t->town_tcp, backend->conn);
	conn_put(t, backend);
	town_go(t, t->now_ns + 100 * MS, false);
	assert_int_equal(t->requests[1].status, 200);
	assert_int_equal(t->requests[1].tries, 1);
	assert_int_equal(counted(COUNTER_UPSTREAM_STALE), 1);
	assert_int_equal(counted(COUNTER_UPSTREAM_RETRIES), 0);
	assert_int_equal(counted(COUNTER_UPSTREAM_CONNECTS), 2);
	finish();
}

/* The port of the connection that the request under way went over. */
static uint16_t
port_in_use(void)
{
	struct tcp_tuple tuple = { 0 };

	for (uint32_t i = 0; i < t->worker->config.counts.upstreams; i++)
		if (t->worker->upstreams[i].state == UPSTREAM_BUSY)
			tcp_tuple_of(t->router_tcp, t->worker->upstreams[i].conn, &tuple);
	return tuple.local_port;
}

/* The backend closes its kept connections now: the one with that port, or all others. */
static void
close_kept(uint16_t port, bool others)
{
	for (uint32_t i = 0; i < TOWN_CONNS_MAX; i++) {
		struct tcp_tuple tuple;

		if (!t->conns[i].is_used || !t->conns[i].is_backend)
			continue;
		tcp_tuple_of(t->town_tcp, t->conns[i].conn, &tuple);
		if ((tuple.remote_port == port) == others)
			continue;
		tcp_close(t->town_tcp, t->conns[i].conn);
		conn_put(t, &t->conns[i]);
	}
}

/* Goes on until the request is on its way over a kept connection. */
static void
go_to_reuse(void)
{
	while (counted(COUNTER_UPSTREAM_REUSED) == 0)
		town_go(t, t->now_ns + 100 * NSEC_PER_USEC, false);
}

/* Another kept connection may be as dead as the first: the next one is new. */
static void
two_kept_connections_that_end_cost_one_resend(void **state)
{
	uint16_t port;

	(void)state;
	plan(2, 3);
	t->requests[0].first_ns = 100 * MS;
	t->requests[1].first_ns = 100 * MS;
	t->requests[2].think_ns = 1 * SEC;
	begin();
	town_go(t, t->now_ns + 500 * MS, false);
	assert_int_equal(t->worker->upstreams_idle.count, 2);
	go_to_reuse();
	port = port_in_use();
	close_kept(port, false);
	town_go(t, t->now_ns + 500 * NSEC_PER_USEC, false);
	close_kept(port, true);
	town_go(t, t->now_ns + 100 * MS, false);
	assert_int_equal(t->requests[2].status, 200);
	assert_int_equal(t->requests[2].tries, 1);
	assert_int_equal(counted(COUNTER_UPSTREAM_STALE), 1);
	assert_int_equal(counted(COUNTER_UPSTREAM_REUSED), 1);
	assert_int_equal(counted(COUNTER_UPSTREAM_CONNECTS), 3);
	finish();
}

/* Nor does it use up the one try that a pod gets which probes call down. */
static void
a_dead_connection_to_a_pod_that_is_down_is_no_try_of_it(void **state)
{
	(void)state;
	assert_non_null(keep_one());
	atomic_store(&shm_pod_health(&t->shm, 0)->probe_state, SHM_PROBE_DOWN);
	pods_put(t, 1, SHM_POD_MAINT);
	go_to_reuse();
	close_kept(port_in_use(), false);
	town_go(t, t->now_ns + 100 * MS, false);
	assert_int_equal(t->requests[1].status, 200);
	finish();
}

/* A second try that was paid for and met the end of its connection is not paid for twice. */
static void
a_second_try_over_a_dead_connection_is_paid_for_once(void **state)
{
	(void)state;
	plan(1, 2);
	t->plan.retry_percent = 1;
	t->plan.retry_burst = 1;
	t->requests[1].think_ns = 1 * SEC;
	t->requests[1].fault = FAULT_RESET_BEFORE;
	town_open(t);
	atomic_store(&shm_pod_health(&t->shm, 0)->eject_until_ns, NEVER_NS);
	town_go(t, t->now_ns + 500 * MS, false);
	assert_int_equal(t->requests[0].pods[0], 1);
	atomic_store(&shm_pod_health(&t->shm, 0)->eject_until_ns, 0);
	go_to_reuse();
	assert_int_equal(t->requests[1].tries, 1);
	assert_int_equal(t->requests[1].pods[0], 0);
	close_kept(port_in_use(), false);
	town_go(t, t->now_ns + 100 * MS, false);
	assert_int_equal(t->requests[1].status, 200);
	assert_int_equal(t->requests[1].pods[1], 1);
	assert_int_equal(counted(COUNTER_UPSTREAM_RETRIES), 1);
	assert_int_equal(counted(COUNTER_UPSTREAM_STALE), 1);
	finish();
}

/* A second later it is no race: the pod had the request, and died of it. */
static void
a_kept_connection_that_is_reset_late_is_the_pods_failure(void **state)
{
	struct town_conn *backend = keep_one();

	(void)state;
	assert_non_null(backend);
	t->requests[1].first_ns = 5 * SEC;
	go_to_reuse();
	town_go(t, t->now_ns + 1500 * MS, false);
	tcp_abort(t->town_tcp, backend->conn);
	conn_put(t, backend);
	town_go(t, t->now_ns + 100 * MS, false);
	assert_int_equal(counted(COUNTER_UPSTREAM_STALE), 0);
	assert_int_equal(counted(COUNTER_UPSTREAM_RETRIES), 1);
	assert_int_equal(atomic_load(&shm_pod_health(&t->shm, 0)->eject_errors), 1);
	finish();
}

/* --- the end of the process ----------------------------------------------------------------------- */

/* One request's body still comes, one waits for its backend, one's stream is under way, one client is idle. */
static void
a_stop_refuses_cuts_and_settles_what_runs(void **state)
{
	(void)state;
	plan(4, 4);
	t->plan.may_fail = true;
	t->plan.link[0].rate_bytes_per_s = 20000;
	t->requests[0].prompt_bytes = 60000;
	t->requests[0].think_ns = 200 * MS;
	t->requests[1].first_ns = 20 * SEC;
	t->requests[2].is_stream = true;
	t->requests[2].events = 1000;
	t->requests[2].event_bytes = 20;
	t->requests[2].piece_bytes = 100;
	t->requests[2].gap_ns = 100 * MS;
	t->cuts_allowed = 1;
	town_open(t);
	town_go(t, t->now_ns + 800 * MS, false);
	assert_int_equal(t->requests[3].status, 200);
	assert_int_equal(t->worker->exchanges_used, 3);
	worker_drain(t->worker);
	worker_cut(t->worker);
	assert_int_equal(t->worker->exchanges_used, 0);
	town_go(t, t->now_ns + 5 * SEC, false);
	assert_int_equal(t->requests[0].status, 503);
	assert_int_equal(t->requests[0].tries, 0);
	assert_int_equal(t->requests[1].status, 503);
	assert_int_equal(t->requests[1].tries, 1);
	/* Ours, and not for want of a region. */
	assert_int_equal(counted(COUNTER_REFUSED_REGION), 0);
	assert_true(t->requests[2].was_cut);
	assert_int_equal(counted(COUNTER_STREAMS_CUT), 1);
	for (uint32_t i = 0; i < PODS; i++)
		assert_int_equal(atomic_load(&shm_pod_health(&t->shm, i)->eject_errors), 0);
	worker_disconnect(t->worker);
	assert_int_equal(t->worker->clients_used, 0);
	assert_int_equal(t->worker->upstreams_used, 0);
	finish();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(t25_without_a_port_other_backends_are_tried_then_503_comes_fast),
		cmocka_unit_test(a_kept_connection_that_ends_in_the_requests_burst_is_not_used),
		cmocka_unit_test(a_kept_connection_that_is_reset_in_the_requests_burst_is_not_used),
		cmocka_unit_test(an_answer_that_comes_with_the_request_is_nobodys),
		cmocka_unit_test(a_request_that_meets_the_end_on_its_way_is_sent_again_once),
		cmocka_unit_test(a_kept_connection_that_is_reset_late_is_the_pods_failure),
		cmocka_unit_test(a_stop_refuses_cuts_and_settles_what_runs),
		cmocka_unit_test(two_kept_connections_that_end_cost_one_resend),
		cmocka_unit_test(a_dead_connection_to_a_pod_that_is_down_is_no_try_of_it),
		cmocka_unit_test(a_second_try_over_a_dead_connection_is_paid_for_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

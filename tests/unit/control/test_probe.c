/* Probes of pods that are listeners of this test: what they make of answers, of silence, and of many pods. */
#include "world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <time.h>

#include "probe.h"

#define INTERVAL_NS NSEC_PER_SEC
#define PATIENCE_S 20 /* of this test with itself, on a machine that is busy */
#define CALLS_MAX 600

static struct probe probe;

/* One listener, whatever address of 127.0.0.0/8 it is asked at. */
static struct {
	int file;
	uint16_t port;
	int status;
	bool is_silent; /* answers wait */
	const char *body;
	int calls[CALLS_MAX]; /* -1: none */
	char request[1024]; /* the last one */
} server;

static void
open_server(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);

	server.file = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(server.file >= 0);
	assert_int_equal(bind(server.file, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(server.file, CALLS_MAX), 0);
	assert_int_equal(getsockname(server.file, (struct sockaddr *)&at, &len), 0);
	server.port = ntohs(at.sin_port);
	server.status = 200;
	server.is_silent = false;
	server.body = "";
	for (int i = 0; i < CALLS_MAX; i++)
		server.calls[i] = -1;
}

static void
end_call(int *call)
{
	close(*call);
	*call = -1;
}

static void
close_server(void)
{
	for (int i = 0; i < CALLS_MAX; i++)
		if (server.calls[i] >= 0)
			end_call(&server.calls[i]);
	close(server.file);
}

static void
answer(int *call)
{
	ssize_t len = recv(*call, server.request, sizeof(server.request) - 1, MSG_DONTWAIT | MSG_PEEK);
	char text[1024];
	int bytes;

	if (len < 0 && errno == EAGAIN)
		return;
	if (len <= 0) { /* whoever asked has given up */
		end_call(call);
		return;
	}
	server.request[len] = '\0';
	if (strstr(server.request, "\r\n\r\n") == NULL)
		return;
	bytes = snprintf(text, sizeof(text), "HTTP/1.1 %d x\r\ncontent-length: %zu\r\n\r\n%s", server.status,
			 strlen(server.body), server.body);
	recv(*call, server.request, sizeof(server.request) - 1, MSG_DONTWAIT);
	if (server.status != 0) /* 0: closes without a word */
		assert_int_equal(send(*call, text, (size_t)bytes, MSG_NOSIGNAL), bytes);
	end_call(call);
}

static void
serve(void)
{
	bool is_called = true;

	for (int i = 0; i < CALLS_MAX; i++) {
		if (server.calls[i] < 0 && is_called) {
			server.calls[i] = accept(server.file, NULL, NULL);
			is_called = server.calls[i] >= 0;
		}
		if (server.calls[i] >= 0 && !server.is_silent)
			answer(&server.calls[i]);
	}
}

static time_t
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* Turns of control's loop, all at one moment of its time, until so many probes have come back. */
static void
await(struct world *w, uint64_t good, uint64_t bad)
{
	time_t until_s = now_s() + PATIENCE_S;

	while (probe.good < good || probe.bad < bad) {
		assert_true(now_s() < until_s);
		probe_turn(&probe, w->now_ns);
		serve();
		curl_multi_poll(probe_multi(&probe), NULL, 0, 1, NULL);
	}
	assert_int_equal(probe.good, good);
	assert_int_equal(probe.bad, bad);
}

/* Until somebody is in the air and has called. */
static void
await_call(struct world *w)
{
	time_t until_s = now_s() + PATIENCE_S;

	while (server.calls[0] < 0) {
		assert_true(now_s() < until_s);
		probe_turn(&probe, w->now_ns);
		serve();
		curl_multi_poll(probe_multi(&probe), NULL, 0, 1, NULL);
	}
}

static void
ask_again(void *owner, uint32_t entry)
{
	probe_again(owner, entry);
}

static void
open_probe(struct world *w)
{
	static const struct probe_defaults defaults = {
		.path = "/default", .interval_ns = INTERVAL_NS, .jitter_percent = 10,
		.timeout_ns = PATIENCE_S * NSEC_PER_SEC, .rise = 2, .fall = 3,
	};

	assert_int_equal(probe_init(&probe, &w->control.store, &w->control.publish, &defaults), ERR_OK);
	w->control.publish.moved = ask_again;
	w->control.publish.moved_owner = &probe;
}

static struct world *
make_world(void)
{
	struct world *w = world_make();

	open_server();
	open_probe(w);
	return w;
}

static void
end_world(struct world *w)
{
	probe_fini(&probe);
	close_server();
	world_free(w);
}

/* A pod at the server, with more members of its row. */
static struct shm_pod_health *
put_pod(struct world *w, const char *name, const char *more)
{
	char json[300];
	int64_t id;

	snprintf(json, sizeof(json), "{\"address\":\"127.0.0.1\",\"port\":%u%s}", server.port, more);
	id = world_put(w, NOUN_POD, name, json);
	return shm_pod_health(&w->control.publish.shm,
			      entries_find(&w->control.publish.entries[NOUN_POD], (uint64_t)id));
}

/* --- answers ------------------------------------------------------------------------------- */

static const struct {
	const char *more; /* of its row */
	const char *answers; /* g, b */
	const char *states;  /* U, D: behind each */
} histories[] = {
	{ ",\"rise\":3,\"fall\":2", "gbgbbggbggg", "UUUUDDDDDDU" },
	{ ",\"rise\":1,\"fall\":3", "bgbbgbbb", "DUUUUUUD" },
	{ "", "gbbbgbgg", "UUUDDDDU" }, /* as configured: 2 and 3 */
	{ ",\"rise\":1,\"fall\":1", "gbgb", "UDUD" },
};

static void
a_state_changes_with_so_many_answers_in_a_row(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(histories); i++) {
		struct world *w = make_world();
		struct shm_pod_health *health = put_pod(w, "gpu", histories[i].more);
		uint64_t good = 0, bad = 0, changes = 0;
		char last = '?';

		assert_int_equal(atomic_load(&health->probe_state), SHM_PROBE_UNKNOWN);
		for (const char *a = histories[i].answers, *s = histories[i].states; *a != '\0'; a++, s++) {
			server.status = *a == 'g' ? 200 : 503;
			*(*a == 'g' ? &good : &bad) += 1;
			await(w, good, bad);
			if (atomic_load(&health->probe_state) != (*s == 'U' ? SHM_PROBE_UP : SHM_PROBE_DOWN))
				fail_msg("%s is not %s behind %s", histories[i].answers, histories[i].states, a);
			changes += *s != last;
			last = *s;
			w->now_ns += 2 * INTERVAL_NS;
		}
		assert_int_equal(probe.transitions, changes);
		end_world(w);
	}
}

static void
good_is_what_is_answered_200_to_299(void **state)
{
	static const int rows[] = { 200, 204, 299, 300, 404, 500, 0 };
	struct world *w = make_world();
	struct shm_pod_health *health = put_pod(w, "gpu", ",\"rise\":1,\"fall\":1");
	uint64_t good = 0, bad = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		bool is_good = rows[i] >= 200 && rows[i] <= 299;

		server.status = rows[i];
		*(is_good ? &good : &bad) += 1;
		await(w, good, bad);
		assert_int_equal(atomic_load(&health->probe_state), is_good ? SHM_PROBE_UP : SHM_PROBE_DOWN);
		w->now_ns += 2 * INTERVAL_NS;
	}
	end_world(w);
}

static void
it_is_asked_as_its_row_says(void **state)
{
	struct world *w = make_world();

	(void)state;
	put_pod(w, "gpu", ",\"host\":\"name.example\"");
	await(w, 1, 0);
	assert_non_null(strstr(server.request, "GET /default HTTP/1.1\r\n"));
	assert_non_null(strstr(server.request, "\r\nHost: name.example\r\n"));
	put_pod(w, "gpu", ",\"probe_path\":\"/own\",\"probe_interval_ms\":5000");
	w->now_ns += 2 * INTERVAL_NS;
	await(w, 2, 0);
	assert_non_null(strstr(server.request, "GET /own HTTP/1.1\r\n"));
	w->now_ns += 2 * INTERVAL_NS; /* not so soon */
	probe_turn(&probe, w->now_ns);
	assert_false(probe.pods[0].is_flying);
	w->now_ns += 4 * INTERVAL_NS;
	await(w, 3, 0);
	put_pod(w, "gpu", ",\"state\":\"maint\"");
	w->now_ns += 60 * INTERVAL_NS;
	probe_turn(&probe, w->now_ns);
	assert_false(probe.pods[0].is_flying);
	end_world(w);
}

static void
gauges_count_for_three_intervals(void **state)
{
	struct world *w = make_world();
	struct shm_pod_health *health;

	(void)state;
	server.body = "vllm:num_requests_running 7\nvllm:num_requests_waiting 3\nvllm:kv_cache_usage_perc 0.5\n";
	health = put_pod(w, "gpu", ",\"metrics_path\":\"/metrics\"");
	await(w, 1, 0);
	while (probe.gauges_good == 0) {
		probe_turn(&probe, w->now_ns);
		serve();
	}
	assert_int_equal(atomic_load(&health->running), 7);
	assert_int_equal(atomic_load(&health->waiting), 3);
	assert_int_equal(atomic_load(&health->cache_permille), 500);
	assert_int_equal(atomic_load(&health->gauges_until_ns), w->now_ns + PROBE_GAUGES_LIVES * INTERVAL_NS);
	/* An answer without them does not make them younger. */
	server.body = "";
	w->now_ns += 2 * INTERVAL_NS;
	await(w, 2, 0);
	while (probe.gauges_bad == 0) {
		probe_turn(&probe, w->now_ns);
		serve();
	}
	assert_int_equal(atomic_load(&health->gauges_until_ns), w->now_ns + INTERVAL_NS);
	end_world(w);
}

/* --- time ---------------------------------------------------------------------------------- */

/* Pods that were asked together once do not fall due together for ever; 0: to the nanosecond. */
static void
differ_by(uint32_t jitter_percent)
{
	struct probe_defaults defaults;
	struct world *w = make_world();
	uint64_t least_ns = UINT64_MAX, most_ns = 0, jitter_ns = INTERVAL_NS / 100 * jitter_percent;

	defaults = probe.defaults;
	defaults.jitter_percent = jitter_percent;
	probe_set_defaults(&probe, &defaults);
	put_pod(w, "gpu", "");
	for (uint64_t i = 1; i <= 64; i++) {
		uint64_t ns;

		await(w, i, 0);
		ns = probe.pods[0].due_at_ns - w->now_ns;
		least_ns = ns < least_ns ? ns : least_ns;
		most_ns = ns > most_ns ? ns : most_ns;
		w->now_ns = probe.pods[0].due_at_ns - 1; /* and not before */
		probe_turn(&probe, w->now_ns);
		assert_false(probe.pods[0].is_flying);
		w->now_ns++;
	}
	assert_in_range(least_ns, INTERVAL_NS - jitter_ns, INTERVAL_NS - jitter_ns / 2);
	assert_in_range(most_ns, INTERVAL_NS + jitter_ns / 2, INTERVAL_NS + jitter_ns);
	end_world(w);
}

static void
intervals_differ_by_chance(void **state)
{
	(void)state;
	differ_by(10);
	differ_by(50);
	differ_by(0);
}

static void
silence_is_a_bad_answer_and_holds_up_nobody(void **state)
{
	struct world *w = make_world();
	struct shm_pod_health *silent = put_pod(w, "silent", ""), *closed, *brief;

	(void)state;
	server.is_silent = true;
	await_call(w);
	/* Nobody listens there, so it is told at once. */
	closed = shm_pod_health(&w->control.publish.shm, 1);
	world_put(w, NOUN_POD, "closed", "{\"address\":\"127.0.0.1\",\"port\":1}");
	w->now_ns += INTERVAL_NS / 2;
	await(w, 0, 1);
	assert_int_equal(atomic_load(&closed->probe_state), SHM_PROBE_DOWN);
	world_put(w, NOUN_POD, "closed", "{\"state\":\"maint\"}");
	brief = put_pod(w, "brief", ",\"probe_timeout_ms\":50");
	w->now_ns += INTERVAL_NS / 4;
	await(w, 0, 2);
	assert_int_equal(atomic_load(&brief->probe_state), SHM_PROBE_DOWN);
	assert_int_equal(atomic_load(&silent->probe_state), SHM_PROBE_UNKNOWN);
	assert_true(probe.pods[0].is_flying);
	end_world(w);
}

/* --- whose answer it is -------------------------------------------------------------------- */

/* The answer that was kept back comes now, and is nobody's; after_ns later who is there now is asked. */
static void
let_answer_come_late(struct world *w, const struct shm_pod_health *health, uint64_t after_ns)
{
	uint64_t good = probe.good;

	server.is_silent = false;
	await(w, good + 1, 0);
	assert_int_equal(atomic_load(&health->probe_latency_us), 0);
	assert_int_equal(atomic_load(&health->probe_state), SHM_PROBE_UNKNOWN);
	w->now_ns += after_ns;
	await(w, good + 2, 0);
	assert_int_not_equal(atomic_load(&health->probe_latency_us), 0);
	assert_int_equal(atomic_load(&health->probe_state), SHM_PROBE_UP);
}

static void
an_answer_of_the_place_before_says_nothing(void **state)
{
	struct world *w = make_world();
	struct shm_pod_health *health = put_pod(w, "gpu", "");
	char json[64];
	int old, call;

	(void)state;
	server.is_silent = true;
	await_call(w);
	world_put(w, NOUN_POD, "gpu", "{\"address\":\"127.0.0.2\"}");
	let_answer_come_late(w, health, 0); /* at once */
	/* Another listener, on another port; who called the first one waits still. */
	server.is_silent = true;
	w->now_ns += 2 * INTERVAL_NS;
	await_call(w);
	old = server.file;
	call = server.calls[0];
	open_server();
	server.calls[0] = call;
	snprintf(json, sizeof(json), "{\"port\":%u}", server.port);
	world_put(w, NOUN_POD, "gpu", json);
	atomic_store(&health->probe_latency_us, 0);
	let_answer_come_late(w, health, 0); /* at once */
	close(old);
	end_world(w);
}

/* Its entry has rested, and stands for a pod that has not been asked yet. */
static void
an_answer_of_a_deleted_pod_says_nothing(void **state)
{
	struct world *w = make_world();
	struct shm_pod_health *health = put_pod(w, "p0", ""), *next;

	(void)state;
	server.is_silent = true;
	await_call(w);
	for (int i = 1; i < 8; i++) {
		char name[8];

		snprintf(name, sizeof(name), "p%d", i);
		put_pod(w, name, ",\"state\":\"maint\"");
	}
	world_sql(w, "DELETE FROM pods WHERE name = 'p0'");
	assert_int_equal(publish_changes(&w->control.publish, w->now_ns), ERR_OK);
	w->now_ns += ENTRIES_REST_NS;
	next = put_pod(w, "next", "");
	assert_ptr_equal(next, health);
	probe_turn(&probe, w->now_ns);
	let_answer_come_late(w, health, 2 * INTERVAL_NS);
	end_world(w);
}

/* --- many ---------------------------------------------------------------------------------- */

/* So many pods at the server, in maintenance but for those from first_ready on. */
static struct world *
make_many(uint32_t pods, uint32_t first_ready, uint32_t timeout_ms)
{
	struct shm_capacity capacity = world_capacity;
	static const uint8_t instance_id[16] = { 1 };
	struct world *w = world_make();
	uint64_t bytes;
	void *memory;
	char sql[400];

	open_server();
	capacity.count[SHM_PODS] = pods;
	bytes = shm_bytes(&capacity, 1);
	memory = aligned_alloc(CACHE_LINE_BYTES, bytes);
	assert_non_null(memory);
	memset(memory, 0, bytes);
	shm_format(memory, &capacity, 1, instance_id, w->control.pepper);
	free(w->control.share.shm.header);
	assert_int_equal(shm_attach(&w->control.share.shm, memory, bytes), ERR_OK);
	snprintf(sql, sizeof(sql),
		 "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %u)"
		 " INSERT INTO pods(name, address, port, probe_timeout_ms, state)"
		 " SELECT 'p' || i, '127.0.0.1', %u, %u, CASE WHEN i < %u THEN %d ELSE 0 END FROM n",
		 pods - 1, server.port, timeout_ms, first_ready, SHM_POD_MAINT);
	world_sql(w, sql);
	world_restart(w);
	open_probe(w);
	return w;
}

static void
a_turn_looks_at_a_bounded_number_of_pods(void **state)
{
	const uint32_t pods = 2 * PROBE_LOOKS + 10;
	struct world *w = make_many(pods, pods - 1, 0);

	(void)state;
	await(w, 1, 0); /* all rows have been read: the last one had to be */
	w->now_ns += 2 * INTERVAL_NS;
	probe.walk = 0;
	for (uint32_t turn = 1; turn <= 2; turn++) {
		probe_turn(&probe, w->now_ns);
		assert_int_equal(probe.walk, turn * PROBE_LOOKS);
		assert_false(probe.pods[pods - 1].is_flying);
	}
	probe_turn(&probe, w->now_ns);
	assert_true(probe.pods[pods - 1].is_flying || probe.good == 2);
	end_world(w);
}

static void
who_finds_no_place_in_the_air_comes_next(void **state)
{
	const uint32_t pods = PROBE_FLIGHTS_MAX + 50;
	struct world *w = make_many(pods, 0, 300);
	uint32_t flying = 0;

	(void)state;
	server.is_silent = true;
	probe_turn(&probe, w->now_ns);
	for (uint32_t i = 0; i < pods; i++)
		flying += probe.pods[i].is_flying;
	assert_int_equal(flying + probe.bad, PROBE_FLIGHTS_MAX);
	await(w, 0, pods);
	for (uint32_t i = 0; i < pods; i++)
		assert_int_equal(atomic_load(&shm_pod_health(&w->control.publish.shm, i)->probe_state),
				 SHM_PROBE_DOWN);
	end_world(w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_state_changes_with_so_many_answers_in_a_row),
		cmocka_unit_test(good_is_what_is_answered_200_to_299),
		cmocka_unit_test(it_is_asked_as_its_row_says),
		cmocka_unit_test(gauges_count_for_three_intervals),
		cmocka_unit_test(intervals_differ_by_chance),
		cmocka_unit_test(silence_is_a_bad_answer_and_holds_up_nobody),
		cmocka_unit_test(an_answer_of_the_place_before_says_nothing),
		cmocka_unit_test(an_answer_of_a_deleted_pod_says_nothing),
		cmocka_unit_test(a_turn_looks_at_a_bounded_number_of_pods),
		cmocka_unit_test(who_finds_no_place_in_the_air_comes_next),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Names of pods: what is found, what is kept, and what comes too late. No name server is asked. */
#include "world.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>

#define INTERVAL_NS (30 * NSEC_PER_SEC)

/* What the lookups say; those of "slow…" wait while is_shut. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t opened;
	bool is_shut;
	uint32_t waiting;
	uint32_t slow; /* that have come to their end */
	const char *why;
	const char *addresses[5]; /* ends with NULL */
} server = { .lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER };

static struct resolve resolve;
static uint32_t moved;

static void
parse_address(const char *text, uint8_t address[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (inet_pton(AF_INET6, text, address) == 1)
		return;
	memcpy(address, mapped, sizeof(mapped));
	assert_int_equal(inet_pton(AF_INET, text, address + 12), 1);
}

static const char *
answer_of_server(void *owner, struct resolve_job *job)
{
	const char *why;

	assert_ptr_equal(owner, &server);
	pthread_mutex_lock(&server.lock);
	server.waiting++;
	pthread_cond_broadcast(&server.opened);
	while (server.is_shut && strncmp(job->name, "slow", 4) == 0)
		pthread_cond_wait(&server.opened, &server.lock);
	server.waiting--;
	server.slow += strncmp(job->name, "slow", 4) == 0;
	why = server.why;
	if (strncmp(job->name, "other", 5) == 0)
		parse_address("10.0.0.9", job->addresses[job->count++]);
	else
		for (int i = 0; why == NULL && server.addresses[i] != NULL; i++)
			parse_address(server.addresses[i], job->addresses[job->count++]);
	pthread_cond_broadcast(&server.opened);
	pthread_mutex_unlock(&server.lock);
	return why;
}

/* From now on. */
static void
say(const char *why, const char *first, const char *second, const char *third)
{
	pthread_mutex_lock(&server.lock);
	server.why = why;
	server.addresses[0] = first;
	server.addresses[1] = first != NULL ? second : NULL;
	server.addresses[2] = first != NULL && second != NULL ? third : NULL;
	pthread_mutex_unlock(&server.lock);
}

static void
shut(bool is_shut)
{
	pthread_mutex_lock(&server.lock);
	server.is_shut = is_shut;
	server.slow = 0;
	pthread_cond_broadcast(&server.opened);
	pthread_mutex_unlock(&server.lock);
}

/* Until so many lookups wait, and so many of "slow…" have ended since shut(). */
static void
wait_server(uint32_t waiting, uint32_t slow)
{
	pthread_mutex_lock(&server.lock);
	while (server.waiting < waiting || server.slow < slow)
		pthread_cond_wait(&server.opened, &server.lock);
	pthread_mutex_unlock(&server.lock);
}

static void
note_move(void *owner, uint32_t entry)
{
	(void)entry;
	assert_ptr_equal(owner, &server);
	moved++;
}

static void
open_resolve(struct world *w, bool has_ip4, bool has_ip6)
{
	const struct resolve_manner manner = { INTERVAL_NS, has_ip4, has_ip6, answer_of_server, &server };

	assert_int_equal(resolve_init(&resolve, &w->control.publish, &manner), ERR_OK);
	w->control.publish.moved = note_move;
	w->control.publish.moved_owner = &server;
	w->control.publish.resolve = &resolve;
	moved = 0;
}

static struct world *
make_world(bool has_ip4, bool has_ip6)
{
	struct world *w = world_make();

	open_resolve(w, has_ip4, has_ip6);
	return w;
}

static void
end_world(struct world *w)
{
	resolve_fini(&resolve);
	world_free(w);
}

/* Until so many lookups in all have been answered. */
static void
wait_answers(struct world *w, uint64_t count)
{
	struct pollfd file = { .fd = resolve_file(&resolve), .events = POLLIN };

	while (resolve.good + resolve.bad < count) {
		assert_int_equal(poll(&file, 1, 10000), 1);
		resolve_turn(&resolve, w->now_ns);
	}
	assert_int_equal(resolve.good + resolve.bad, count);
}

static uint32_t
entry_of(struct world *w, int64_t id)
{
	uint32_t entry = entries_find(&w->control.publish.entries[NOUN_POD], (uint64_t)id);

	assert_int_not_equal(entry, ENTRIES_NONE);
	return entry;
}

static struct shm_pod
pod_of(struct world *w, int64_t id)
{
	struct shm_pod pod;

	assert_int_equal(shm_read_pod(&w->control.share.shm, entry_of(w, id), &pod), ERR_OK);
	return pod;
}

static void
assert_at(struct world *w, int64_t id, const char *text)
{
	struct shm_pod pod = pod_of(w, id);
	uint8_t address[16] = { 0 };

	if (text != NULL)
		parse_address(text, address);
	assert_memory_equal(pod.address, address, sizeof(address));
	assert_int_equal(shm_has_address(pod.address), text != NULL);
}

/* The interval passes, and the next answer comes. */
static void
ask_again(struct world *w, uint64_t after_ns)
{
	uint64_t count = resolve.good + resolve.bad;

	w->now_ns += after_ns;
	resolve_turn(&resolve, w->now_ns);
	wait_answers(w, count + 1);
}

/* --- what is found ----------------------------------------------------------------------- */

static void
a_name_is_looked_up_at_once_and_published(void **state)
{
	struct world *w = make_world(true, true);
	int64_t id, plain;
	struct shm_pod pod;

	(void)state;
	shut(true);
	say(NULL, "10.0.0.1", NULL, NULL);
	id = world_put(w, NOUN_POD, "named", "{\"address\":\"slow.example\",\"port\":8000}");
	plain = world_put(w, NOUN_POD, "plain", "{\"address\":\"10.0.0.7\",\"port\":8000}");
	assert_at(w, id, NULL);
	assert_at(w, plain, "10.0.0.7");
	assert_int_equal(resolve.count, 1);
	assert_null(resolve_find(&resolve, entry_of(w, plain)));
	shut(false);
	wait_answers(w, 1);
	assert_at(w, id, "10.0.0.1");
	assert_int_equal(moved, 1);
	pod = pod_of(w, id);
	assert_int_equal(pod.port, 8000);
	assert_true(bytes_equal(shm_name_bytes(&pod.host), BYTES_LITERAL("slow.example:8000")));
	pod = pod_of(w, plain);
	assert_int_equal(pod.host.len, 0);
	/* A change of its row, and a round over all rows, leave the address where it is. */
	world_put(w, NOUN_POD, "named", "{\"state\":\"drain\",\"host\":\"gpu\"}");
	assert_int_equal(publish_all(&w->control.publish, w->now_ns), ERR_OK);
	assert_at(w, id, "10.0.0.1");
	pod = pod_of(w, id);
	assert_int_equal(pod.state, SHM_POD_DRAIN);
	assert_true(bytes_equal(shm_name_bytes(&pod.host), BYTES_LITERAL("gpu")));
	/* Before the interval is over, nobody is asked. */
	w->now_ns += INTERVAL_NS - 1;
	resolve_turn(&resolve, w->now_ns);
	assert_false(resolve_find(&resolve, entry_of(w, id))->is_asked);
	ask_again(w, 1);
	assert_int_equal(moved, 1);
	assert_int_equal(resolve_find(&resolve, entry_of(w, id))->good_at_ns, w->now_ns);
	end_world(w);
}

static void
an_address_stays_while_it_is_among_the_answers(void **state)
{
	struct world *w = make_world(true, true);
	struct shm_pod_health *health;
	int64_t id;

	(void)state;
	say(NULL, "fd00::1", "10.0.0.20", "10.0.0.3");
	id = world_put(w, NOUN_POD, "named", "{\"address\":\"gpu\",\"port\":8000}");
	wait_answers(w, 1);
	assert_at(w, id, "10.0.0.3");
	say(NULL, "10.0.0.2", "10.0.0.3", "10.0.0.1");
	ask_again(w, INTERVAL_NS);
	assert_at(w, id, "10.0.0.3");
	assert_int_equal(moved, 1);
	/* Elsewhere it is another one: what was known of the old one's health is not its own. */
	health = shm_pod_health(&w->control.share.shm, entry_of(w, id));
	atomic_store(&health->probe_state, SHM_PROBE_DOWN);
	atomic_store(&health->eject_until_ns, w->now_ns + INTERVAL_NS);
	atomic_store(&health->eject_errors, 3);
	atomic_store(&health->in_flight, 2);
	say(NULL, "10.0.0.2", "10.0.0.1", NULL);
	ask_again(w, INTERVAL_NS);
	assert_at(w, id, "10.0.0.1");
	assert_int_equal(moved, 2);
	assert_int_equal(atomic_load(&health->probe_state), SHM_PROBE_UNKNOWN);
	assert_int_equal(atomic_load(&health->eject_until_ns), 0);
	assert_int_equal(atomic_load(&health->eject_errors), 0);
	assert_int_equal(atomic_load(&health->in_flight), 2);
	end_world(w);
}

static void
addresses_that_the_dataplane_cannot_reach_are_none(void **state)
{
	struct world *w = make_world(false, true);
	int64_t id;

	(void)state;
	say(NULL, "10.0.0.3", NULL, NULL);
	id = world_put(w, NOUN_POD, "named", "{\"address\":\"gpu\",\"port\":8000}");
	wait_answers(w, 1);
	assert_at(w, id, NULL);
	assert_int_equal(resolve.failing, 1);
	say(NULL, "10.0.0.3", "fd00::2", "fd00::1");
	ask_again(w, INTERVAL_NS / 10);
	assert_at(w, id, "fd00::1");
	assert_int_equal(resolve.failing, 0);
	end_world(w);
}

/* --- what is not found ------------------------------------------------------------------- */

static void
a_failure_keeps_what_was_found(void **state)
{
	struct world *w = make_world(true, true);
	int64_t id;

	(void)state;
	say("nobody knows it", NULL, NULL, NULL);
	id = world_put(w, NOUN_POD, "named", "{\"address\":\"gpu\",\"port\":8000}");
	wait_answers(w, 1);
	assert_at(w, id, NULL);
	assert_int_equal(resolve.failing, 1);
	say(NULL, "10.0.0.3", NULL, NULL);
	ask_again(w, INTERVAL_NS / 10);
	assert_at(w, id, "10.0.0.3");
	assert_int_equal(resolve.failing, 0);
	say("the name server is away", NULL, NULL, NULL);
	ask_again(w, INTERVAL_NS);
	ask_again(w, INTERVAL_NS / 10);
	say(NULL, NULL, NULL, NULL);
	ask_again(w, INTERVAL_NS / 10);
	assert_at(w, id, "10.0.0.3");
	assert_int_equal(resolve.failing, 1);
	assert_int_equal(resolve.bad, 4);
	assert_int_equal(resolve.good, 1);
	/* Gone with its pod. */
	world_sql(w, "DELETE FROM pods");
	assert_int_equal(publish_changes(&w->control.publish, w->now_ns), ERR_OK);
	resolve_turn(&resolve, w->now_ns);
	assert_int_equal(resolve.failing, 0);
	assert_int_equal(resolve.count, 0);
	end_world(w);
}

static void
an_answer_for_the_name_before_counts_for_nothing(void **state)
{
	struct world *w = make_world(true, true);
	int64_t id;

	(void)state;
	shut(true);
	say(NULL, "10.0.0.8", NULL, NULL);
	id = world_put(w, NOUN_POD, "named", "{\"address\":\"slow.example\",\"port\":8000}");
	world_put(w, NOUN_POD, "named", "{\"address\":\"other.example\"}");
	wait_answers(w, 1);
	assert_at(w, id, "10.0.0.9");
	shut(false);
	wait_server(0, 1);
	/* Its job is back behind another one's, or before it. */
	ask_again(w, INTERVAL_NS);
	ask_again(w, INTERVAL_NS);
	assert_at(w, id, "10.0.0.9");
	assert_int_equal(moved, 1);
	/* And an address instead of a name needs nobody. */
	world_put(w, NOUN_POD, "named", "{\"address\":\"10.0.0.5\"}");
	assert_at(w, id, "10.0.0.5");
	assert_int_equal(resolve.count, 0);
	end_world(w);
}

/* --- lives ------------------------------------------------------------------------------- */

static void
the_next_life_has_the_addresses_of_this_one(void **state)
{
	struct world *w = make_world(true, true);
	int64_t same, other;

	(void)state;
	say(NULL, "10.0.0.3", NULL, NULL);
	same = world_put(w, NOUN_POD, "same", "{\"address\":\"gpu\",\"port\":8000}");
	other = world_put(w, NOUN_POD, "changed", "{\"address\":\"gpu\",\"port\":8000}");
	wait_answers(w, 2);
	resolve_fini(&resolve);
	world_sql(w, "UPDATE pods SET address = 'gpu-2' WHERE name = 'changed'");
	say("the name server is away", NULL, NULL, NULL);
	world_restart(w);
	assert_at(w, same, "10.0.0.3");
	assert_at(w, other, NULL);
	open_resolve(w, true, true);
	assert_int_equal(publish_all(&w->control.publish, w->now_ns), ERR_OK);
	wait_answers(w, 2);
	assert_at(w, same, "10.0.0.3");
	assert_at(w, other, NULL);
	end_world(w);
}

/* All threads wait for a name server that is silent; more names than jobs wait behind them. */
static void
a_silent_name_server_holds_up_nobody(void **state)
{
	struct world *w = make_world(true, true);
	char name[32], json[80];
	int64_t id = 0;

	(void)state;
	shut(true);
	say(NULL, "10.0.0.3", NULL, NULL);
	for (int i = 0; i < RESOLVE_JOBS + 8; i++) {
		/* The eight entries of this world, over and over. */
		snprintf(name, sizeof(name), "p%d", i % 8);
		snprintf(json, sizeof(json), "{\"address\":\"slow-%d.example\",\"port\":8000}", i);
		id = world_put(w, NOUN_POD, name, json);
		resolve_turn(&resolve, w->now_ns);
	}
	assert_null(resolve.free_jobs);
	assert_false(resolve_find(&resolve, entry_of(w, id))->is_asked);
	assert_int_equal(resolve.count, 8);
	/* Those that nobody waits for any more make room for those that somebody does. */
	shut(false);
	while (resolve.good < 8) {
		struct pollfd file = { .fd = resolve_file(&resolve), .events = POLLIN };

		assert_int_equal(poll(&file, 1, 10000), 1);
		resolve_turn(&resolve, w->now_ns);
	}
	assert_at(w, id, "10.0.0.3");
	/* Nor the end of control. */
	shut(true);
	world_put(w, NOUN_POD, "p0", "{\"address\":\"slow.example\"}");
	wait_server(1, 0);
	end_world(w);
	shut(false);
	wait_server(0, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_is_looked_up_at_once_and_published),
		cmocka_unit_test(an_address_stays_while_it_is_among_the_answers),
		cmocka_unit_test(addresses_that_the_dataplane_cannot_reach_are_none),
		cmocka_unit_test(a_failure_keeps_what_was_found),
		cmocka_unit_test(an_answer_for_the_name_before_counts_for_nothing),
		cmocka_unit_test(the_next_life_has_the_addresses_of_this_one),
		cmocka_unit_test(a_silent_name_server_holds_up_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

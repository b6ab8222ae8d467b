/*
 * Worlds that live long: whatever leaks a little, counts wrongly or wraps shows here.
 *
 * A soak keeps its hosts and changes links, pairs and faults each round. A round ends in silence: then every gauge
 * is zero, every packet in its pool, and what malloc has lent is what it had lent after the first rounds. Its
 * virtual time runs thousands of times faster than the real one, so every clock wraps many times.
 *
 * How much of that is resident is judged as well, but only of the plain build: what a sanitizer keeps of freed
 * memory, and its shadow, grows with every round by its nature.
 *
 * Idle connections live for days, some with keep-alive and some without a single segment; then they speak again.
 */
#include "sim.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "seeds.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#define HAS_SANITIZER __has_feature(address_sanitizer)
#else
#define HAS_SANITIZER 0
#endif
#if HAS_SANITIZER
/* Of sanitizer/allocator_interface.h, which gcc does not install. */
size_t __sanitizer_get_current_allocated_bytes(void);
/* What malloc counts as lent and has in its own hands. */
#define CACHE_BYTES_MAX 0
#else
/* glibc keeps 7 chunks of each of 64 sizes up to 1 KiB per thread, and they count. */
#define CACHE_BYTES_MAX (256 * (uint64_t)KIB)
#endif

#define DAY_NS (86400 * NSEC_PER_SEC)
/* Resident, after the first rounds: a round busier than all before touches pages that were never touched, of pools
 * and of the heap. What a round loses is found without it, in what malloc has lent. */
#define GROWTH_BYTES_MAX (8 * (uint64_t)MIB)
#define ROUNDS_WARM 200

#define IDLE_PAIRS 24
#define IDLE_KEEPALIVE_NS (60 * NSEC_PER_SEC)

static struct world world;

static double
days(uint64_t ns)
{
	return (double)ns / (double)DAY_NS;
}

/* --- soak -------------------------------------------------------------------------- */

/* What malloc has lent and not got back. */
static uint64_t
allocated_bytes(void)
{
#if HAS_SANITIZER
	return __sanitizer_get_current_allocated_bytes();
#else
	return mallinfo2().uordblks;
#endif
}

static uint64_t
resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	uint64_t pages = 0;

	if (file == NULL || fscanf(file, "%*u %" SCNu64, &pages) != 1)
		pages = 0;
	if (file != NULL)
		fclose(file);
	return pages * 4096;
}

static void
check_gauges(const struct world *w)
{
	for (uint32_t i = 0; i < w->hosts; i++) {
		const struct tcp *t = w->host[i].stack.tcp;
		const struct tcp_stats *s = tcp_stats(t);

		if (s->conns + s->half_open + s->time_wait + s->ranges > 0 || t->table.refs > 0 ||
		    t->wheel.armed > 0)
			sim_fail(w, "host %u: something is left after a round", i);
	}
}

int
soak_run(uint64_t seed, uint32_t seconds)
{
	struct world *w = &world;
	double start_s = seeds_clock_s();
	double told_s = start_s;
	uint64_t begin_ns;
	uint64_t allocated = 0;
	uint64_t resident = 0;
	uint64_t rounds = 0;

	memset(w, 0, sizeof(*w));
	plan_make(&w->plan, seed);
	world_open(w);
	begin_ns = w->start_ns;
	printf("soak, seed %" PRIu64 ", %u seconds\n", seed, seconds);
	fflush(stdout);
	for (;; rounds++) {
		double now_s = seeds_clock_s();
		uint64_t lent;

		world_live(w);
		check_gauges(w);
		lent = allocated_bytes();
		if (rounds == ROUNDS_WARM) {
			allocated = lent;
			resident = resident_bytes();
		} else if (rounds > ROUNDS_WARM && lent > allocated + CACHE_BYTES_MAX) {
			sim_fail(w, "round %" PRIu64 ": %" PRIu64 " bytes are allocated, and %" PRIu64 " were",
				 rounds, lent, allocated);
		}
		if (now_s >= told_s + 60 || now_s >= start_s + seconds) {
			told_s = now_s;
			printf("%5.1f min: %" PRIu64 " rounds, %" PRIu64 " segments, %.1f virtual days, "
			       "%.1f MiB resident\n", (now_s - start_s) / 60, rounds, w->segments,
			       days(w->now_ns - begin_ns), (double)resident_bytes() / MIB);
			fflush(stdout);
		}
		if (rounds > ROUNDS_WARM && now_s >= start_s + seconds)
			break;
		plan_again(&w->plan, prng_next(&w->prng));
		world_go_on(w);
	}
	if (HAS_SANITIZER)
		printf("resident memory is not judged: a sanitizer keeps what was freed\n");
	else if (resident_bytes() > resident + GROWTH_BYTES_MAX)
		sim_fail(w, "the process grew from %" PRIu64 " to %" PRIu64 " bytes", resident, resident_bytes());
	world_close(w);
	printf("soak, seed %" PRIu64 ": passed\n", seed);
	return 0;
}

/* --- idle ---------------------------------------------------------------------------- */

/* Host 0 has clients with keep-alive, host 2 clients without, host 1 all the servers. */
static void
plan_idle(struct plan *plan, uint64_t seed, uint64_t until_ns)
{
	static const struct link_faults light = { .delay_ns = 20 * NSEC_PER_MSEC, .loss_ppm = 1000 };

	memset(plan, 0, sizeof(*plan));
	plan->seed = seed;
	plan->hosts = 3;
	/* In the middle of it, milliseconds wrap. */
	plan->start_ns = (UINT64_C(1) << 32) * NSEC_PER_MSEC - until_ns / 2;
	plan->faults_end_ns = until_ns;
	plan->receive_burst_max = 64;
	plan->transmit_burst_max = 64;
	for (uint32_t i = 0; i < plan->hosts; i++) {
		plan->config[i] = stack_config();
		plan->config[i].conns_max = 2 * IDLE_PAIRS;
		plan->config[i].half_open_max = plan->config[i].time_wait_max = 2 * IDLE_PAIRS;
		plan->config[i].hash_key[0] = (uint8_t)(seed + i);
		plan->config[i].keepalive_ns = i == 0 ? IDLE_KEEPALIVE_NS : 0;
		plan->pools[i] = (struct stack_pools){ 512, 512, 512, 512 };
		for (uint32_t j = 0; j < plan->hosts; j++)
			plan->faults[i][j] = light;
	}
	plan->pairs = IDLE_PAIRS;
	for (uint32_t i = 0; i < plan->pairs; i++) {
		struct pair_plan *p = &plan->pair[i];

		*p = (struct pair_plan){ .client_host = i % 2 == 0 ? 0 : 2, .server_host = 1 };
		for (uint32_t side = 0; side < 2; side++)
			p->end[side] = (struct end_plan){
				.manner = side == 0 ? END_POLITE : END_POLITE_LAST,
				.total_bytes = 20000,
				.write_bytes_max = 4000,
				.read_bytes_max = 100000,
				.nap_at_bytes = 1000 * (i % 5),
				.nap_until_ns = until_ns + NSEC_PER_SEC,
			};
	}
}

/* What a day of probes is: one a minute and its answer, and a few for those that were lost. */
static void
check_day(const struct world *w, uint64_t segments, uint32_t day)
{
	uint64_t probes = IDLE_PAIRS / 2 * (DAY_NS / IDLE_KEEPALIVE_NS);
	const struct tcp_stats *s = tcp_stats(w->host[1].stack.tcp);

	if (s->conns != IDLE_PAIRS)
		sim_fail(w, "day %u: %u connections are left of %u", day, s->conns, IDLE_PAIRS);
	if (segments > 2 * probes + probes / 10 || segments < 2 * probes - probes / 10)
		sim_fail(w, "day %u: %" PRIu64 " segments for %" PRIu64 " probes", day, segments, probes);
}

int
idle_run(uint64_t seed, uint32_t count)
{
	struct world *w = &world;
	uint64_t before;

	memset(w, 0, sizeof(*w));
	plan_idle(&w->plan, seed, count * DAY_NS);
	world_open(w);
	/* The first minute is for opening and the first bytes. */
	while (w->now_ns < w->start_ns + 60 * NSEC_PER_SEC)
		world_step(w);
	for (uint32_t day = 1; day < count; day++) {
		before = w->segments;
		while (w->now_ns < w->start_ns + 60 * NSEC_PER_SEC + day * DAY_NS)
			world_step(w);
		check_day(w, w->segments - before, day);
	}
	world_live(w);
	world_close(w);
	printf("idle, seed %" PRIu64 ": %u connections of %u days, %" PRIu64 " segments\n", seed, IDLE_PAIRS,
	       count, w->segments);
	return 0;
}

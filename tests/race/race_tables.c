/*
 * Four threads on the shared tables under gcc's thread sanitizer: one publishes, three look up, hold, settle,
 * take from buckets, eject and bring back, as workers do. A race that is not an atomic one ends the program.
 *
 * Built for this alone with -fsanitize=thread from the few files that it needs.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <unistd.h>

#include "base/prng.h"
#include "limit/bucket.h"
#include "shm/balance.h"
#include "shm/cell.h"
#include "shm/table.h"
#include "spread/eject.h"
#include "spread/spread.h"

#define WORKERS 3
#define ROUNDS 30000
#define ENTRIES 16
#define PODS 4
#define RATE_NS 1000

static const struct shm_capacity capacity = { .count = {
	[SHM_KEYS] = ENTRIES, [SHM_ACCOUNTS] = ENTRIES, [SHM_PLANS] = 4, [SHM_MODELS] = ENTRIES, [SHM_ALIASES] = 4,
	[SHM_PRICES] = 4, [SHM_INSTANCES] = 4, [SHM_DEPLOYMENTS] = ENTRIES, [SHM_PODS] = PODS, [SHM_REGIONS] = 4,
} };

struct racer {
	struct shm shm;
	uint64_t seed;
	uint16_t worker;
	uint64_t found;
	uint64_t wrong;
	int64_t settled_nano;
	int64_t credited_nano;
	uint64_t units;
};

static _Atomic uint32_t workers_at_work;
static struct eject eject;

static struct shm_key
key_of(uint32_t n, uint32_t turn)
{
	struct shm_key key = { .key_id = n + 1, .account = turn & SHM_KEY_ENTRY_MASK, .live = 1 };

	key.plan = ~turn & SHM_KEY_ENTRY_MASK;
	key.hash[7] = (uint8_t)(n % 4 * 8);
	key.hash[5] = (uint8_t)(n + 1);
	return key;
}

static struct shm_model
model_of(uint32_t n, uint32_t turn)
{
	struct shm_model model = { .model_id = turn, .live = 1, .target.price = ~turn };

	model.name = (struct shm_name){ .len = 1, .text = { (char)('a' + n) } };
	return model;
}

/* Control: entries come, change and go, money is put in, a pod is probed, until the workers are done. */
static void *
publish(void *argument)
{
	struct racer *r = argument;
	struct prng prng;
	bool changed;

	prng_init(&prng, r->seed);
	for (uint32_t turn = 1; atomic_load(&workers_at_work) > 0; turn++) {
		uint32_t n = prng_below(&prng, ENTRIES);
		struct shm_key key = key_of(n, turn);
		struct shm_model model = model_of(n, turn);
		struct shm_deployment deployment = { .deployment_id = turn, .live = 1 };
		struct shm_pod pod = { .pod_id = turn, .name_hash = ~(uint64_t)turn, .live = 1 };

		key.live = model.live = turn % 5 != 0;
		deployment.pods[31] = turn;
		r->wrong += shm_put_key(&r->shm, n, &key, &changed) != ERR_OK ||
			    shm_put_model(&r->shm, n, &model, &changed) != ERR_OK ||
			    shm_put_deployment(&r->shm, n, &deployment, &changed) != ERR_OK ||
			    shm_put_pod(&r->shm, n % PODS, &pod, &changed) != ERR_OK;
		atomic_fetch_add(&shm_balance(&r->shm, 0)->credited_nano, 10);
		r->credited_nano += 10;
		atomic_store(&shm_pod_health(&r->shm, 0)->probe_state, turn % 2 ? SHM_PROBE_UP : SHM_PROBE_DOWN);
		atomic_store(&r->shm.header->control_beat_at_ns, turn);
		if (turn % 1000 == 0)
			r->wrong += shm_repair(&r->shm) != ERR_OK;
	}
	return NULL;
}

static void
look_up(struct racer *r, uint32_t n)
{
	struct shm_deployment deployment;
	struct shm_pod_place place;
	struct shm_model model;
	struct shm_key key = key_of(n, 0);
	uint8_t hash[32];
	uint32_t entry;
	char name = (char)('a' + n);

	memcpy(hash, key.hash, sizeof(hash));
	if (shm_find_key(&r->shm, hash, &key, &entry) == ERR_OK) {
		r->found++;
		r->wrong += key.key_id != n + 1 || entry != n || key.plan != (~key.account & SHM_KEY_ENTRY_MASK);
	}
	if (shm_find_model(&r->shm, bytes_make(&name, 1), &model, &entry) == ERR_OK)
		r->wrong += entry != n || model.target.price != ~(uint32_t)model.model_id;
	if (shm_read_deployment(&r->shm, n, &deployment) == ERR_OK)
		r->wrong += deployment.pods[31] != (uint32_t)deployment.deployment_id;
	if (shm_read_pod_place(&r->shm, n % PODS, &place) == ERR_OK)
		r->wrong += place.name_hash != ~place.pod_id;
}

static void
spend(struct racer *r, struct prng *prng, uint64_t now_ns)
{
	static const struct bucket_limit limit = { .ns_per_unit = RATE_NS, .burst_units = 100 };
	struct bucket *bucket = (struct bucket *)(void *)&shm_bucket(&r->shm, 0)->request_full_at_ns;
	struct shm_balance_cell *cell = shm_balance(&r->shm, 0);
	int64_t held = 1 + (int64_t)prng_below(prng, 20), cost = (int64_t)prng_below(prng, (uint32_t)held + 1);

	if (bucket_take(bucket, &limit, 4, now_ns)) {
		bucket_settle(bucket, &limit, 4, 2);
		r->units += 2;
	}
	atomic_fetch_add(&cell->in_flight, 1);
	if (balance_hold(cell, held) == BALANCE_HELD) {
		balance_settle(cell, held, cost);
		r->settled_nano += cost;
	}
	atomic_fetch_sub(&cell->in_flight, 1);
	r->wrong += atomic_load(&cell->spent_nano) > atomic_load(&cell->credited_nano);
}

static void
judge_pod(struct racer *r, struct prng *prng, uint64_t now_ns)
{
	static const struct eject_limits limits = { .errors = 3, .time_ns = 2000, .time_ns_max = 16000 };
	struct shm_pod_health *health = shm_pod_health(&r->shm, 0);
	bool is_probe = eject_state(&eject, now_ns) == EJECT_HALF_OPEN && eject_probe(&eject, r->worker, now_ns);
	uint64_t for_ns;

	if (prng_below(prng, 3) == 0)
		eject_good(&eject);
	else if (eject_bad(&eject, &limits, is_probe, now_ns, &for_ns))
		eject_out(&eject, now_ns + for_ns);
	if (is_probe)
		eject_release(&eject);
	atomic_store(&health->first_token, spread_latency_add(atomic_load(&health->first_token), 1000000, now_ns));
	spread_latency_read(atomic_load(&health->first_token), now_ns);
}

static void *
work(void *argument)
{
	struct racer *r = argument;
	struct shm_worker *line = shm_worker(&r->shm, r->worker);
	struct prng prng;

	prng_init(&prng, r->seed);
	for (uint64_t i = 1; i <= ROUNDS; i++) {
		look_up(r, prng_below(&prng, ENTRIES));
		spend(r, &prng, i * RATE_NS);
		judge_pod(r, &prng, i * RATE_NS);
		atomic_store_explicit(&line->beat_at_ns, i, memory_order_relaxed);
		atomic_store_explicit(&line->counters[0], i, memory_order_relaxed);
	}
	atomic_fetch_sub(&workers_at_work, 1);
	return NULL;
}

static int
race(struct shm shm)
{
	struct racer racers[WORKERS + 1];
	pthread_t threads[WORKERS + 1];
	uint64_t wrong = 0, found = 0;
	int64_t spent = 0;

	atomic_store(&workers_at_work, WORKERS);
	for (uint16_t i = 0; i <= WORKERS; i++) {
		racers[i] = (struct racer){ .shm = shm, .seed = i + 1, .worker = i };
		if (pthread_create(&threads[i], NULL, i < WORKERS ? work : publish, &racers[i]) != 0)
			return 1;
	}
	for (int i = 0; i <= WORKERS; i++) {
		pthread_join(threads[i], NULL);
		wrong += racers[i].wrong;
		found += racers[i].found;
		spent += racers[i].settled_nano;
	}
	wrong += atomic_load(&shm_balance(&shm, 0)->spent_nano) != spent ||
		 atomic_load(&shm_balance(&shm, 0)->held_nano) != 0 ||
		 atomic_load(&shm_balance(&shm, 0)->in_flight) != 0 ||
		 atomic_load(&shm_balance(&shm, 0)->credited_nano) != racers[WORKERS].credited_nano ||
		 atomic_load(&shm_worker(&shm, 1)->counters[0]) != ROUNDS;
	printf("%llu keys found, %lld nano-dollars spent, %llu wrong\n", (unsigned long long)found,
	       (long long)spent, (unsigned long long)wrong);
	return wrong == 0 && found > 0 && spent > 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
	static const uint8_t id[16], pepper[32];
	uint64_t bytes = shm_bytes(&capacity, WORKERS);
	struct shm shm;
	void *memory;

	/* The sanitizer's shadow leaves no room for addresses as random as some kernels make them. */
	if (argc == 1 && personality(ADDR_NO_RANDOMIZE) >= 0)
		execl("/proc/self/exe", argv[0], "fixed", (char *)NULL);
	memory = aligned_alloc(CACHE_LINE_BYTES, bytes);
	if (memory == NULL)
		return 1;
	memset(memory, 0, bytes);
	shm_format(memory, &capacity, WORKERS, id, pepper);
	if (shm_attach(&shm, memory, bytes) != ERR_OK)
		return 1;
	return race(shm);
}

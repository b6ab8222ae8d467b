/*
 * Control's publishing half is killed (kill -9) again and again while readers look things up; each next life
 * attaches, repairs and goes on, and in the end the tables are what the store says.
 *
 *   SLUICE_KILLS=N  lives (40; 1000 is the long version)
 *
 * The writer is this program in another process, over a store and shared memory of its own. Every key's hash
 * says which account and plan it must lead to, every model's name which price.
 *
 * What a writer costs a reader is counted in loads of shared memory, which is exact: a reader waits for nothing,
 * so it has no other way to be slow. Its time is beside the time of the same lookups in a copy that nobody writes
 * to, because this machine takes more from a thread than any writer does.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/prng.h"

static _Thread_local uint64_t loads;
#define SHM_BEFORE_LOAD() ((void)loads++)
#define SHM_BEFORE_STORE() ((void)0)
#include "shm_hooked.h"

#include "publish.h"

#define READERS 2
#define KEYS 64
#define ACCOUNTS 8
#define PLANS 4
#define MODELS 8
#define PRICES 4
#define KILLS_DEFAULT 40
#define WORK_US_MAX 8000 /* of a life, before it is killed */
#define STALL_NS (200 * NSEC_PER_USEC)
#define ENTRY_LOADS_MAX (SHM_READ_TRIES_MAX * (sizeof(struct shm_instance) / 8 + 2)) /* none here is larger */
#define LOOKUP_LOADS_MAX ((SHM_PROBES_MAX + SHM_READ_TRIES_MAX) * 9 + 3 * ENTRY_LOADS_MAX)

static const struct shm_capacity capacity = { .count = {
	[SHM_KEYS] = KEYS + 8, [SHM_ACCOUNTS] = ACCOUNTS, [SHM_PLANS] = PLANS, [SHM_MODELS] = MODELS,
	[SHM_ALIASES] = 4, [SHM_PRICES] = PRICES, [SHM_INSTANCES] = 4, [SHM_DEPLOYMENTS] = 4, [SHM_PODS] = 4,
	[SHM_REGIONS] = 4,
} };

static uint64_t
clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

/* Of this thread: a reader that tries again spends it; one that another process keeps from running does not. */
static uint64_t
own_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

/* Home slots that lie close together, so that walks are long and tombstones are used again. */
static void
make_hash(uint32_t n, uint32_t account, uint32_t plan, uint8_t hash[32])
{
	memset(hash, 0x5a, 32);
	hash[7] = (uint8_t)(n % 8);
	hash[4] = (uint8_t)n;
	hash[5] = hash[9] = (uint8_t)account;
	hash[6] = hash[10] = (uint8_t)plan;
}

/* --- the writer: another process ----------------------------------------------------------- */

static void
emit_hash(char text[65], const uint8_t hash[32])
{
	for (int i = 0; i < 32; i++)
		snprintf(text + 2 * i, 3, "%02x", hash[i]);
}

/* One change of something. */
static void
emit_change(struct prng *prng, char *sql, size_t size)
{
	uint32_t n = prng_below(prng, KEYS), account = 1 + prng_below(prng, ACCOUNTS);
	uint32_t plan = 1 + prng_below(prng, PLANS), price = 1 + prng_below(prng, PRICES);
	uint8_t hash[32];
	char text[65];

	make_hash(n, account, plan, hash);
	emit_hash(text, hash);
	switch (prng_below(prng, 5)) {
	case 0:
		snprintf(sql, size, "DELETE FROM keys WHERE name = 'k%u'", n);
		return;
	case 1:
		snprintf(sql, size, "UPDATE keys SET revoked = 1 - revoked WHERE name = 'k%u'", n);
		return;
	case 2:
		snprintf(sql, size, "UPDATE models SET name = 'm%u-%u', price_id = %u WHERE id = %u",
			 n % MODELS, price, price, 1 + n % MODELS);
		return;
	case 3:
		snprintf(sql, size,
			 "UPDATE keys SET hash = x'%s', account_id = %u, plan_id = %u WHERE name = 'k%u'", text,
			 account, plan, n);
		return;
	default:
		snprintf(sql, size,
			 "INSERT INTO keys(name, hash, prefix, surface, account_id, plan_id) SELECT 'k%u',"
			 " x'%s', 'eco_', 0, %u, %u WHERE NOT EXISTS (SELECT 1 FROM keys WHERE name = 'k%u')",
			 n, text, account, plan, n);
	}
}

/* Until it is killed. Time flies, so that entries are used again at once. */
static int
write_until_killed(const char *store_path, int file, uint64_t seed)
{
	uint64_t bytes = shm_bytes(&capacity, 1), now_ns = clock_ns();
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	static struct publish publish;
	static struct store store;
	struct prng prng;
	struct shm shm;
	char sql[512];

	prng_init(&prng, seed);
	if (memory == MAP_FAILED || shm_attach(&shm, memory, bytes) != ERR_OK ||
	    store_open(&store, store_path) != ERR_OK ||
	    store_run_script(&store, "PRAGMA synchronous = OFF") != ERR_OK ||
	    publish_init(&publish, &store, shm, now_ns) != ERR_OK || publish_all(&publish, now_ns) != ERR_OK)
		return 1;
	for (;;) {
		now_ns += ENTRIES_REST_NS;
		emit_change(&prng, sql, sizeof(sql));
		if (store_run_script(&store, sql) != ERR_OK || publish_changes(&publish, now_ns) != ERR_OK ||
		    (prng_below(&prng, 64) == 0 && publish_all(&publish, now_ns) != ERR_OK))
			return 2;
	}
}

/* --- readers -------------------------------------------------------------------------------- */

struct reader {
	struct shm shm;
	uint64_t seed;
	_Atomic bool stop;
	struct shm still; /* a copy that nobody writes to */
	uint64_t lookups, found, busy, wrong, most_loads;
	struct took {
		uint64_t longest_ns;
		uint64_t stalls; /* longer than STALL_NS */
	} beside, alone;         /* in the tables, and in the copy */
};

static void
look_for_key(struct reader *r, const struct shm *shm, struct prng *prng)
{
	uint32_t account = 1 + prng_below(prng, ACCOUNTS), plan = 1 + prng_below(prng, PLANS), entry;
	struct shm_account found_account;
	struct shm_plan found_plan;
	struct shm_key key;
	uint8_t hash[32];
	enum err verdict;

	make_hash(prng_below(prng, KEYS), account, plan, hash);
	verdict = shm_find_key(shm, hash, &key, &entry);
	r->busy += verdict == ERR_SHM_BUSY;
	if (verdict != ERR_OK)
		return;
	r->found++;
	r->wrong += memcmp(key.hash, hash, 32) != 0 ||
		    shm_read_account(shm, key.account, &found_account) != ERR_OK ||
		    found_account.account_id != account ||
		    shm_read_plan(shm, key.plan, &found_plan) != ERR_OK || found_plan.plan_id != plan;
}

static void
look_for_model(struct reader *r, const struct shm *shm, struct prng *prng)
{
	uint32_t price = 1 + prng_below(prng, PRICES), entry;
	struct shm_price found_price;
	struct shm_model model;
	char name[16];
	enum err verdict;

	snprintf(name, sizeof(name), "m%u-%u", prng_below(prng, MODELS), price);
	verdict = shm_find_model(shm, bytes_from_text(name), &model, &entry);
	r->busy += verdict == ERR_SHM_BUSY;
	if (verdict != ERR_OK)
		return;
	r->found++;
	r->wrong += !bytes_equal(shm_name_bytes(&model.name), bytes_from_text(name)) ||
		    shm_read_price(shm, model.target.price, &found_price) != ERR_OK ||
		    found_price.price_id != price;
}

static void
look(struct reader *r, const struct shm *shm, struct prng *prng, struct took *took)
{
	uint64_t began_ns = own_ns(), took_ns;

	loads = 0;
	if (prng_below(prng, 4) == 0)
		look_for_model(r, shm, prng);
	else
		look_for_key(r, shm, prng);
	took_ns = own_ns() - began_ns;
	took->longest_ns = took_ns > took->longest_ns ? took_ns : took->longest_ns;
	took->stalls += took_ns > STALL_NS;
	r->most_loads = loads > r->most_loads ? loads : r->most_loads;
}

static void *
read_all_the_time(void *argument)
{
	struct reader *r = argument;
	struct prng prng;

	prng_init(&prng, r->seed);
	while (!atomic_load(&r->stop)) {
		struct prng same = prng;

		look(r, &r->shm, &prng, &r->beside);
		look(r, &r->still, &same, &r->alone);
		r->lookups++;
	}
	return NULL;
}

/* --- the test --------------------------------------------------------------------------------- */

static const char *program;

static pid_t
start_writer(const char *store_path, int file, uint64_t seed)
{
	char file_text[16], seed_text[24];
	pid_t pid;

	snprintf(file_text, sizeof(file_text), "%d", file);
	snprintf(seed_text, sizeof(seed_text), "%llu", (unsigned long long)seed);
	pid = fork();
	if (pid == 0) {
		execl(program, program, "--writer", store_path, file_text, seed_text, (char *)NULL);
		_exit(127);
	}
	assert_true(pid > 0);
	return pid;
}

/* For something else to happen meanwhile, however long that takes. */
static void
wait_us(uint32_t us)
{
	struct timespec t = { .tv_nsec = us * 1000L };

	ppoll(NULL, 0, &t, NULL);
}

/* Most lives are killed at work, some while they begin. */
static void
let_live_and_kill(const struct shm *shm, pid_t pid, struct prng *prng)
{
	uint64_t generation = atomic_load(&shm->header->generation), until_ns = clock_ns() + 60 * NSEC_PER_SEC;
	int status;

	if (prng_below(prng, 4) > 0)
		while (atomic_load(&shm->header->generation) == generation && clock_ns() < until_ns &&
		       waitpid(pid, &status, WNOHANG) == 0)
			wait_us(200);
	wait_us(prng_below(prng, WORK_US_MAX));
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void
compare_with_store(struct publish *p, struct store *store)
{
	struct statement *row = store_prepare(store, "SELECT id, hash, account_id, revoked FROM keys");
	uint32_t rows = 0, live = 0, entry;
	struct shm_key key;

	assert_non_null(row);
	while (store_step(row) == STORE_ROW) {
		struct shm_account account = { 0 };

		assert_int_equal(shm_find_key(&p->shm, store_column_blob(row, 1).ptr, &key, &entry), ERR_OK);
		assert_int_equal(key.key_id, store_column_int64(row, 0));
		assert_int_equal(shm_read_account(&p->shm, key.account, &account), ERR_OK);
		assert_int_equal(account.account_id, store_column_int64(row, 2));
		assert_int_equal(key.revoked, store_column_int64(row, 3));
		rows++;
	}
	store_finalize(row);
	for (uint32_t e = 0; e < capacity.count[SHM_KEYS]; e++)
		live += shm_read_key(&p->shm, e, &key) == ERR_OK;
	assert_int_equal(live, rows);
	assert_true(rows > 0);
}

static void
fill(struct store *store)
{
	char sql[256];

	for (int i = 1; i <= ACCOUNTS; i++) {
		snprintf(sql, sizeof(sql), "INSERT INTO accounts(id, name) VALUES (%d, 'a%d')", i, i);
		assert_int_equal(store_run_script(store, sql), ERR_OK);
	}
	for (int i = 1; i <= PLANS; i++) {
		snprintf(sql, sizeof(sql), "INSERT INTO plans(id, name) VALUES (%d, 'p%d')", i, i);
		assert_int_equal(store_run_script(store, sql), ERR_OK);
	}
	for (int i = 1; i <= PRICES; i++) {
		snprintf(sql, sizeof(sql),
			 "INSERT INTO prices(id, name, input_nano_per_mtoken, output_nano_per_mtoken)"
			 " VALUES (%d, 'c%d', 1, 1)", i, i);
		assert_int_equal(store_run_script(store, sql), ERR_OK);
	}
	for (int i = 1; i <= MODELS; i++) {
		snprintf(sql, sizeof(sql), "INSERT INTO models(id, name, price_id) VALUES (%d, 'm%d-1', 1)", i,
			 i - 1);
		assert_int_equal(store_run_script(store, sql), ERR_OK);
	}
}

/* Tables as the writer makes them, that nobody will write to. */
static struct shm
make_copy(void)
{
	static const uint8_t id[16], pepper[32];
	uint64_t bytes = shm_bytes(&capacity, 1);
	void *memory = aligned_alloc(CACHE_LINE_BYTES, bytes);
	struct shm shm;
	bool changed;

	assert_non_null(memory);
	memset(memory, 0, bytes);
	shm_format(memory, &capacity, 1, id, pepper);
	assert_int_equal(shm_attach(&shm, memory, bytes), ERR_OK);
	for (uint32_t i = 0; i < ACCOUNTS; i++) {
		struct shm_account account = { .account_id = i + 1, .live = 1 };

		assert_int_equal(shm_put_account(&shm, i, &account, &changed), ERR_OK);
	}
	for (uint32_t i = 0; i < PLANS; i++) {
		struct shm_plan plan = { .plan_id = i + 1, .live = 1 };

		assert_int_equal(shm_put_plan(&shm, i, &plan, &changed), ERR_OK);
	}
	for (uint32_t i = 0; i < KEYS; i++) {
		struct shm_key key = { .key_id = i + 1, .account = i % ACCOUNTS, .plan = i % PLANS, .live = 1 };

		make_hash(i, 1 + key.account, 1 + key.plan, key.hash);
		assert_int_equal(shm_put_key(&shm, i, &key, &changed), ERR_OK);
	}
	return shm;
}

static uint64_t
kills(void)
{
	const char *text = getenv("SLUICE_KILLS");

	return text != NULL ? strtoull(text, NULL, 10) : KILLS_DEFAULT;
}

static void
a_killed_writer_disturbs_no_reader_and_the_next_one_goes_on(void **state)
{
	static const uint8_t id[16], pepper[32];
	char folder[] = "/tmp/sluice-test-XXXXXX", path[64], more[80];
	uint64_t bytes = shm_bytes(&capacity, 1);
	int file = memfd_create("tables", 0); /* stays open in the writer */
	static struct reader readers[READERS];
	static struct publish publish;
	static struct store store;
	pthread_t threads[READERS];
	struct prng prng;
	struct shm shm, copy = make_copy();
	void *memory;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/store", folder);
	assert_int_equal(store_open(&store, path), ERR_OK);
	assert_int_equal(store_begin(&store), ERR_OK);
	fill(&store);
	assert_int_equal(store_commit(&store), ERR_OK);
	store_close(&store);
	assert_int_equal(ftruncate(file, (off_t)bytes), 0);
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	shm_format(memory, &capacity, 1, id, pepper);
	assert_int_equal(shm_attach(&shm, memory, bytes), ERR_OK);
	prng_init(&prng, 1);
	for (uint64_t i = 0; i < READERS; i++) {
		readers[i] = (struct reader){ .shm = shm, .still = copy, .seed = i + 100 };
		assert_int_equal(pthread_create(&threads[i], NULL, read_all_the_time, &readers[i]), 0);
	}
	for (uint64_t i = 0; i < kills(); i++)
		let_live_and_kill(&shm, start_writer(path, file, i + 1), &prng);
	for (int i = 0; i < READERS; i++) {
		atomic_store(&readers[i].stop, true);
		pthread_join(threads[i], NULL);
		assert_int_equal(readers[i].wrong, 0);
		assert_int_equal(readers[i].busy, 0); /* no request is refused for a writer's sake */
		assert_true(readers[i].found > 0);
		assert_true(readers[i].most_loads <= LOOKUP_LOADS_MAX);
		print_message("%llu lookups of %llu loads at most; beside the writer the longest took %llu us,"
			      " %llu more than 200 us; in a copy %llu us, %llu\n",
			      (unsigned long long)readers[i].lookups, (unsigned long long)readers[i].most_loads,
			      (unsigned long long)(readers[i].beside.longest_ns / NSEC_PER_USEC),
			      (unsigned long long)readers[i].beside.stalls,
			      (unsigned long long)(readers[i].alone.longest_ns / NSEC_PER_USEC),
			      (unsigned long long)readers[i].alone.stalls);
	}
	assert_int_equal(store_open(&store, path), ERR_OK);
	assert_int_equal(publish_init(&publish, &store, shm, clock_ns()), ERR_OK);
	/* When what the last life freed has rested: a row that it has not published needs an entry. */
	assert_int_equal(publish_all(&publish, clock_ns() + ENTRIES_REST_NS), ERR_OK);
	compare_with_store(&publish, &store);
	print_message("%llu lives, %llu changes published\n", (unsigned long long)kills(),
		      (unsigned long long)shm.header->generation);
	publish_fini(&publish);
	store_close(&store);
	free(copy.header);
	munmap(memory, bytes);
	close(file);
	unlink(path);
	snprintf(more, sizeof(more), "%s-wal", path);
	unlink(more);
	snprintf(more, sizeof(more), "%s-shm", path);
	unlink(more);
	assert_int_equal(rmdir(folder), 0);
}

int
main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_killed_writer_disturbs_no_reader_and_the_next_one_goes_on),
	};

	program = "/proc/self/exe";
	if (argc == 5 && strcmp(argv[1], "--writer") == 0)
		return write_until_killed(argv[2], (int)strtol(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * A worker's side of `tools/bench tables`: attaches to the shared file as a dataplane does, answers lines.
 *
 *   check               finds every key by its hash and follows it to account and plan
 *   lookup COUNT SEED   finds COUNT keys drawn from all: alone, one after the other's answer, in batches; as many
 *                       drawn as people draw them; and what a request reads of the tables after its key
 *   watch KEY           says when the key's revocation becomes visible (CLOCK_MONOTONIC)
 *   model NAME          says when a model of this name becomes visible
 */
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../clock.h"
#include "base/prng.h"
#include "shm/table.h"

#define WATCH_NS (30 * NSEC_PER_SEC)
#define LINE_BYTES 256
#define FEW 1000 /* keys that the caches hold */
#define BATCH 8
#define ZIPF 0.99

/* Of this thread alone: what else the machine does is not the tables' time. */
static uint64_t
cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static bool
attach(const char *path, struct shm *shm)
{
	int file = open(path, O_RDWR | O_CLOEXEC);
	struct stat status;
	void *memory;
	enum err verdict;

	if (file < 0 || fstat(file, &status) != 0) {
		perror(path);
		return false;
	}
	memory = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	if (memory == MAP_FAILED) {
		perror(path);
		return false;
	}
	verdict = shm_attach(shm, memory, (uint64_t)status.st_size);
	if (verdict != ERR_OK)
		fprintf(stderr, "%s: %s\n", path, err_sentence(verdict));
	return verdict == ERR_OK;
}

static uint64_t
live_entries(const struct shm *shm, enum shm_section table)
{
	uint64_t live = 0;

	for (uint32_t e = 0; e < shm->header->capacity.count[table]; e++) {
		struct shm_account account;
		struct shm_model model;
		struct shm_instance instance;
		struct shm_pod pod;

		live += (table == SHM_ACCOUNTS && shm_read_account(shm, e, &account) == ERR_OK) ||
			(table == SHM_MODELS && shm_read_model(shm, e, &model) == ERR_OK) ||
			(table == SHM_INSTANCES && shm_read_instance(shm, e, &instance) == ERR_OK) ||
			(table == SHM_PODS && shm_read_pod(shm, e, &pod) == ERR_OK);
	}
	return live;
}

static void
check(const struct shm *shm)
{
	uint64_t keys = 0, lost = 0;

	for (uint32_t e = 0; e < shm->header->capacity.count[SHM_KEYS]; e++) {
		struct shm_key key, found;
		struct shm_account account;
		struct shm_plan plan;
		uint32_t entry;

		if (shm_read_key(shm, e, &key) != ERR_OK)
			continue;
		keys++;
		lost += shm_find_key(shm, key.hash, &found, &entry) != ERR_OK || entry != e ||
			memcmp(&key, &found, sizeof(key)) != 0 ||
			shm_read_account(shm, key.account, &account) != ERR_OK ||
			shm_read_plan(shm, key.plan, &plan) != ERR_OK;
	}
	printf("{\"keys\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"accounts\":%" PRIu64 ",\"models\":%" PRIu64
	       ",\"instances\":%" PRIu64 ",\"pods\":%" PRIu64 ",\"file_bytes\":%" PRIu64 "}\n",
	       keys, lost, live_entries(shm, SHM_ACCOUNTS), live_entries(shm, SHM_MODELS),
	       live_entries(shm, SHM_INSTANCES), live_entries(shm, SHM_PODS), shm->header->file_bytes);
}

/* --- lookups ------------------------------------------------------------------------------ */

/* Ranks 0..count-1, the first the most popular: 1 / (rank + 1)^ZIPF. */
static double *
zipf_sums(uint32_t count)
{
	double *sums = malloc(count * sizeof(*sums)), sum = 0;

	for (uint32_t i = 0; sums != NULL && i < count; i++)
		sums[i] = sum += pow(i + 1, -ZIPF);
	return sums;
}

static uint32_t
zipf_below(struct prng *prng, const double *sums, uint32_t count)
{
	double drawn = (double)(prng_next(prng) >> 11) / (double)(UINT64_C(1) << 53) * sums[count - 1];
	uint32_t low = 0, high = count - 1;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (sums[middle] > drawn)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Live entries in an order of their own, so that neighbours in popularity are none in memory. */
static uint32_t
shuffled(const struct shm *shm, struct prng *prng, uint32_t *entries)
{
	uint32_t live = 0;
	struct shm_key key;

	for (uint32_t e = 0; e < shm->header->capacity.count[SHM_KEYS]; e++)
		if (shm_read_key(shm, e, &key) == ERR_OK)
			entries[live++] = e;
	for (uint32_t i = live; i > 1; i--) {
		uint32_t other = prng_below(prng, i), entry = entries[i - 1];

		entries[i - 1] = entries[other];
		entries[other] = entry;
	}
	return live;
}

/* Hashes of keys drawn from so many live ones, each as likely as the other or by ZIPF, copied side by side: that
 * costs the same small sum for any layout of the tables. NULL: there is no key, or no memory. */
static uint8_t (*draw(const struct shm *shm, uint64_t count, uint32_t of, bool is_zipf, uint64_t seed))[32]
{
	uint32_t *entries = malloc(shm->header->capacity.count[SHM_KEYS] * sizeof(*entries)), live = 0;
	uint8_t(*hashes)[32] = malloc(count * sizeof(*hashes));
	double *sums = NULL;
	struct shm_key key;
	struct prng prng;

	prng_init(&prng, seed);
	if (entries != NULL)
		live = shuffled(shm, &prng, entries);
	live = live < of ? live : of;
	if (is_zipf)
		sums = zipf_sums(live);
	for (uint64_t i = 0; hashes != NULL && live > 0 && i < count; i++) {
		uint32_t rank = sums != NULL ? zipf_below(&prng, sums, live) : prng_below(&prng, live);

		if (shm_read_key(shm, entries[rank], &key) == ERR_OK)
			memcpy(hashes[i], key.hash, sizeof(key.hash));
	}
	free(entries);
	if (live > 0 && is_zipf == (sums != NULL)) {
		free(sums);
		return hashes;
	}
	free(sums);
	free(hashes);
	return NULL;
}

/* Mean of one lookup. With `chained` each waits for the answer of the one before, as a worker's does that has
 * nothing else to do; the processor can then overlap nothing. */
static double
time_lookups(const struct shm *shm, uint8_t (*hashes)[32], uint64_t count, bool chained, uint64_t *missed)
{
	uint64_t began_ns = cpu_ns(), wait = 0;

	for (uint64_t i = 0; i < count; i++) {
		struct shm_key key;
		uint32_t entry;

		if (shm_find_key(shm, hashes[i + wait], &key, &entry) != ERR_OK)
			++*missed;
		else if (chained)
			wait = key.live >> 1; /* 0, which the processor cannot know */
	}
	return (double)(cpu_ns() - began_ns) / (double)count;
}

/* Mean of one read of a word drawn from the keys' slots, each waiting for the one before: what a lookup cannot
 * be faster than, as often as it misses the caches. */
static double
time_reads(const struct shm *shm, uint64_t count, uint64_t seed)
{
	const struct shm_header *header = shm->header;
	uint64_t bytes = header->offset[SHM_KEY_SLOTS + 1] - header->offset[SHM_KEY_SLOTS], wait = 0, began_ns;
	struct prng prng;

	prng_init(&prng, seed);
	began_ns = cpu_ns();
	for (uint64_t i = 0; i < count; i++) {
		uint64_t at = header->offset[SHM_KEY_SLOTS] + (prng_next(&prng) + wait) % bytes / 64 * 64;

		wait = *(volatile const uint64_t *)(const void *)((const char *)header + at) & 1;
	}
	return (double)(cpu_ns() - began_ns) / (double)count;
}

/* The same of several requests whose keys are known before the first is looked for. */
static double
time_batches(const struct shm *shm, uint8_t (*hashes)[32], uint64_t count, uint64_t *missed)
{
	uint64_t began_ns = cpu_ns(), wait = 0;

	for (uint64_t i = 0; i + BATCH <= count; i += BATCH) {
		struct shm_key key = { 0 };
		uint32_t entry;

		for (uint64_t n = 0; n < BATCH; n++)
			shm_prefetch_key(shm, hashes[i + n + wait]);
		for (uint64_t n = 0; n < BATCH; n++)
			*missed += shm_find_key(shm, hashes[i + n], &key, &entry) != ERR_OK;
		wait = key.live >> 1; /* no batch begins before the one before has ended */
	}
	return (double)(cpu_ns() - began_ns) / (double)(count / BATCH * BATCH);
}

/* Mean of what a request reads of the tables for its key: key, account, bucket, balance. */
static double
time_requests(const struct shm *shm, uint8_t (*hashes)[32], uint64_t count, bool prefetched, uint64_t *missed)
{
	uint64_t began_ns = cpu_ns(), wait = 0;

	for (uint64_t i = 0; i < count; i++) {
		struct shm_account account = { 0 };
		struct shm_key key = { 0 };
		uint32_t entry;

		if (shm_find_key(shm, hashes[i + wait], &key, &entry) != ERR_OK) {
			++*missed;
			continue;
		}
		if (prefetched)
			shm_prefetch_behind_key(shm, &key, entry);
		*missed += shm_read_account(shm, key.account, &account) != ERR_OK;
		/* Each waits for the one before, as a check that may refuse does. */
		wait = account.live >> 1;
		wait = atomic_load(&shm_bucket(shm, entry + (uint32_t)wait)->token_full_at_ns) >> 63;
		wait = (uint64_t)atomic_load(&shm_balance(shm, key.account + (uint32_t)wait)->credited_nano) >> 63;
	}
	return (double)(cpu_ns() - began_ns) / (double)count;
}

/* Mean of one look at a pod, each drawn from all: all of it, or what says whether it can be asked. */
static double
time_pods(const struct shm *shm, uint64_t count, bool is_whole, uint64_t seed)
{
	uint32_t pods = shm->header->capacity.count[SHM_PODS];
	uint64_t began_ns = cpu_ns(), ports = 0;
	struct shm_pod_place place = { 0 };
	struct shm_pod pod = { 0 };
	struct prng prng;

	prng_init(&prng, seed);
	for (uint64_t i = 0; i < count; i++) {
		uint32_t entry = prng_below(&prng, pods);

		if (is_whole && shm_read_pod(shm, entry, &pod) == ERR_OK)
			ports += pod.port;
		else if (!is_whole && shm_read_pod_place(shm, entry, &place) == ERR_OK)
			ports += place.port;
	}
	return ports > 0 ? (double)(cpu_ns() - began_ns) / (double)count : 0;
}

static void
print_lookups(const struct shm *shm, uint8_t (*all)[32], uint8_t (*zipf)[32], uint8_t (*few)[32], uint64_t count,
	      uint64_t seed)
{
	uint64_t missed = 0;

	time_lookups(shm, all, count, false, &missed); /* maps the pages */
	time_requests(shm, all, count, false, &missed);
	printf("{\"mean_ns\":%.1f,", time_lookups(shm, all, count, false, &missed));
	printf("\"chained_ns\":%.1f,", time_lookups(shm, all, count, true, &missed));
	printf("\"batch_ns\":%.1f,", time_batches(shm, all, count, &missed));
	printf("\"zipf_ns\":%.1f,", time_lookups(shm, zipf, count, false, &missed));
	printf("\"zipf_chained_ns\":%.1f,", time_lookups(shm, zipf, count, true, &missed));
	printf("\"zipf_batch_ns\":%.1f,", time_batches(shm, zipf, count, &missed));
	printf("\"few_ns\":%.1f,", time_lookups(shm, few, count, false, &missed));
	printf("\"read_ns\":%.1f,", time_reads(shm, count, seed));
	printf("\"request_ns\":%.1f,", time_requests(shm, all, count, false, &missed));
	printf("\"request_prefetched_ns\":%.1f,", time_requests(shm, all, count, true, &missed));
	printf("\"pod_ns\":%.1f,", time_pods(shm, count, true, seed));
	printf("\"pod_place_ns\":%.1f,", time_pods(shm, count, false, seed));
	printf("\"missed\":%" PRIu64 "}\n", missed);
}

static void
lookup(const struct shm *shm, uint64_t count, uint64_t seed)
{
	uint8_t(*all)[32] = draw(shm, count, UINT32_MAX, false, seed);
	uint8_t(*zipf)[32] = draw(shm, count, UINT32_MAX, true, seed);
	uint8_t(*few)[32] = draw(shm, count, FEW, false, seed);

	if (count >= BATCH && all != NULL && zipf != NULL && few != NULL)
		print_lookups(shm, all, zipf, few, count, seed);
	else
		puts("{\"missed\":1}");
	free(few);
	free(zipf);
	free(all);
}

/* --- changes ------------------------------------------------------------------------------ */

static void
say_when(bool seen)
{
	if (seen)
		printf("{\"at_ns\":%" PRIu64 "}\n", clock_ns());
	else
		puts("{\"at_ns\":0}");
}

static void
watch_key(const struct shm *shm, uint64_t key_id)
{
	uint64_t until_ns = clock_ns() + WATCH_NS;
	struct shm_key key = { 0 };
	uint32_t entry = 0;

	while (entry < shm->header->capacity.count[SHM_KEYS] &&
	       (shm_read_key(shm, entry, &key) != ERR_OK || key.key_id != key_id))
		entry++;
	puts("{\"watching\":true}");
	while (clock_ns() < until_ns && (shm_read_key(shm, entry, &key) != ERR_OK || key.revoked == 0))
		usleep(100);
	say_when(key.key_id == key_id && key.revoked != 0);
}

static void
watch_model(const struct shm *shm, const char *name)
{
	uint64_t until_ns = clock_ns() + WATCH_NS;
	struct shm_model model;
	uint32_t entry;

	puts("{\"watching\":true}");
	while (shm_find_model(shm, bytes_from_text(name), &model, &entry) != ERR_OK) {
		if (clock_ns() > until_ns) {
			say_when(false);
			return;
		}
		usleep(100);
	}
	say_when(true);
}

static void
answer(const struct shm *shm, const char *line)
{
	uint64_t a, b;
	char name[LINE_BYTES];

	if (strcmp(line, "check\n") == 0)
		check(shm);
	else if (sscanf(line, "lookup %" SCNu64 " %" SCNu64, &a, &b) == 2)
		lookup(shm, a, b);
	else if (sscanf(line, "watch %" SCNu64, &a) == 1)
		watch_key(shm, a);
	else if (sscanf(line, "model %255s", name) == 1)
		watch_model(shm, name);
	else
		puts("{\"error\":\"not understood\"}");
}

int
main(int argc, char **argv)
{
	char line[LINE_BYTES];
	struct shm shm;

	if (argc != 2 || strcmp(argv[1], "--help") == 0) {
		fputs("Usage: bench-tables FILE\n\nAnswers lines about the shared tables in FILE: check, "
		      "lookup COUNT SEED, watch KEY, model NAME.\n", argc == 2 ? stdout : stderr);
		return argc == 2 ? 0 : 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!attach(argv[1], &shm))
		return 1;
	while (fgets(line, sizeof(line), stdin) != NULL)
		answer(&shm, line);
	return 0;
}

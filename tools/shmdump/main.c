/*
 * shmdump: prints the shared tables as text, one line an entry, as a worker would read them.
 *
 * With --await TABLE FIELD=VALUE it reads until an entry's line contains the text, and says how long that
 * took: how tests measure when a change becomes visible.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../clock.h"
#include "base/units.h"
#include "shm/balance.h"
#include "shm/table.h"

#define AWAIT_NS (5 * NSEC_PER_SEC)
#define PAUSE_NS (NSEC_PER_MSEC / 5)

static const char usage[] =
	"Usage: shmdump FILE [TABLE]\n"
	"       shmdump FILE --await TABLE TEXT   until a line of the table contains TEXT, 5 s at most\n"
	"\n"
	"Tables: header keys accounts plans models aliases prices instances deployments pods regions\n"
	"Exit codes: 0 fine, 1 failed, 2 wrong use.\n";

static void
put_name(FILE *out, const char *label, struct bytes name)
{
	fprintf(out, " %s=\"%.*s\"", label, (int)name.len, (const char *)name.ptr);
}

static void
put_list(FILE *out, const char *label, const uint32_t *entries, uint32_t count, uint32_t max)
{
	fprintf(out, " %s=", label);
	for (uint32_t i = 0; i < count && i < max; i++)
		fprintf(out, "%s%u", i > 0 ? "," : "", entries[i]);
}

static void
put_target(FILE *out, const struct shm_target *target)
{
	static const char *const policies[] = { "round-robin", "least-loaded", "prefix" };

	if (target->price == SHM_NONE)
		fputs(" price=none", out);
	else
		fprintf(out, " price=%u", target->price);
	put_list(out, "deployments", target->deployments, target->deployment_count,
		 SHM_TARGET_DEPLOYMENTS_MAX);
	fprintf(out, " policy=%s hold_tokens=%u",
		target->policy < SHM_POLICY_COUNT ? policies[target->policy] : "?", target->hold_tokens);
}

static void
dump_key(FILE *out, const struct shm *shm, uint32_t entry)
{
	struct shm_key key;

	if (shm_read_key(shm, entry, &key) != ERR_OK)
		return;
	fprintf(out, "keys[%u] id=%" PRIu64 " account=%u plan=%u revoked=%u surface=%u expires_at=%u\n", entry,
		key.key_id, key.account, key.plan, key.revoked, key.surface, key.expires_at_s);
}

static void
dump_account(FILE *out, const struct shm *shm, uint32_t entry)
{
	struct shm_account account;
	struct shm_balance_cell *cell;

	if (shm_read_account(shm, entry, &account) != ERR_OK)
		return;
	cell = shm_balance(shm, entry);
	fprintf(out,
		"accounts[%u] id=%" PRIu64 " suspended=%u credited=%" PRId64 " spent=%" PRId64
		" elsewhere=%" PRId64 " held=%" PRId64 " available=%" PRId64 "\n",
		entry, account.account_id, account.suspended, atomic_load(&cell->credited_nano),
		atomic_load(&cell->spent_nano), atomic_load(&cell->elsewhere_nano),
		atomic_load(&cell->held_nano), balance_available_nano(cell));
}

static void
dump_plan(FILE *out, const struct shm *shm, uint32_t entry)
{
	struct shm_plan plan;

	if (shm_read_plan(shm, entry, &plan) != ERR_OK)
		return;
	fprintf(out, "plans[%u] id=%" PRIu64 " per_minute=%" PRIu64 " ns_per_unit=%" PRIu64
		     " burst=%" PRIu64 " tokens_per_minute=%" PRIu64 " token_burst=%" PRIu64
		     " in_flight_max=%u body_bytes_max=%" PRIu64 "\n",
		entry, plan.plan_id, plan.requests_per_minute, plan.request_ns_per_unit,
		plan.request_burst_units, plan.tokens_per_minute, plan.token_burst_units,
		plan.in_flight_max, plan.body_bytes_max);
}

static void
dump_model(FILE *out, const struct shm *shm, uint32_t entry)
{
	struct shm_model model;

	if (shm_read_model(shm, entry, &model) != ERR_OK)
		return;
	fprintf(out, "models[%u] id=%" PRIu64, entry, model.model_id);
	put_name(out, "name", shm_name_bytes(&model.name));
	put_target(out, &model.target);
	fputc('\n', out);
}

static void
dump_alias(FILE *out, const struct shm *shm, uint32_t entry)
{
	struct shm_alias alias;

	if (shm_read_alias(shm, entry, &alias) != ERR_OK)
		return;
	fprintf(out, "aliases[%u] id=%" PRIu64 " model=%u", entry, alias.alias_id, alias.model);
	put_name(out, "name", shm_name_bytes(&alias.name));
	fputc('\n', out);
}

static void
dump_price(FILE *out, const struct shm *shm, uint32_t entry)
{
	struct shm_price price;

	if (shm_read_price(shm, entry, &price) != ERR_OK)
		return;
	fprintf(out, "prices[%u] id=%" PRIu64 " version=%u input=%" PRIu64 " output=%" PRIu64
		" request=%" PRIu64 " image=%" PRIu64 " second=%" PRIu64 " character=%" PRIu64
		" byte=%" PRIu64 "\n",
		entry, price.price_id, price.version, price.input_nano_per_mtoken,
		price.output_nano_per_mtoken, price.request_nano, price.image_nano, price.second_nano,
		price.character_nano_per_million, price.byte_nano_per_million);
}

static void
dump_instance(FILE *out, const struct shm *shm, uint32_t entry)
{
	struct shm_instance instance;

	if (shm_read_instance(shm, entry, &instance) != ERR_OK)
		return;
	fprintf(out, "instances[%u] id=%" PRIu64 " account=%u state=%u", entry,
		instance.instance_id, instance.account, instance.state);
	put_name(out, "name", shm_name_bytes(&instance.name));
	put_target(out, &instance.target);
	fputc('\n', out);
}

static void
dump_deployment(FILE *out, const struct shm *shm, uint32_t entry)
{
	struct shm_deployment deployment;

	if (shm_read_deployment(shm, entry, &deployment) != ERR_OK)
		return;
	fprintf(out, "deployments[%u] id=%" PRIu64 " region=%u", entry, deployment.deployment_id,
		deployment.region);
	put_list(out, "pods", deployment.pods, deployment.pod_count, SHM_DEPLOYMENT_PODS_MAX);
	put_name(out, "served_name", shm_name_bytes(&deployment.served_name));
	put_name(out, "base_path", shm_name_bytes(&deployment.base_path));
	fputc('\n', out);
}

static void
dump_pod(FILE *out, const struct shm *shm, uint32_t entry)
{
	static const char *const states[] = { "unknown", "up", "down" };
	struct shm_pod_health *health;
	struct shm_pod pod;
	uint32_t probe;

	if (shm_read_pod(shm, entry, &pod) != ERR_OK)
		return;
	health = shm_pod_health(shm, entry);
	probe = atomic_load(&health->probe_state);
	fprintf(out, "pods[%u] id=%" PRIu64 " address=", entry, pod.pod_id);
	for (int i = 0; i < 16; i++)
		fprintf(out, "%02x", pod.address[i]);
	fprintf(out, " port=%u state=%u probe=%s in_flight=%u", pod.port, pod.state,
		probe <= SHM_PROBE_DOWN ? states[probe] : "?", atomic_load(&health->in_flight));
	put_name(out, "host", shm_name_bytes(&pod.host));
	fprintf(out, " credential=%s tls=%s", pod.credential.len > 0 ? "set" : "none", pod.is_tls ? "yes" : "no");
	if (pod.is_tls) {
		put_name(out, "tls_name", shm_name_bytes(&pod.tls.name));
		put_name(out, "tls_ca", bytes_make(pod.tls.authority.text, pod.tls.authority.len));
		fprintf(out, " tls_pins=%u", pod.tls.pin_count);
	}
	fputc('\n', out);
}

static void
dump_region(FILE *out, const struct shm *shm, uint32_t entry)
{
	struct shm_region region;

	if (shm_read_region(shm, entry, &region) != ERR_OK)
		return;
	fprintf(out, "regions[%u] id=%" PRIu64, entry, region.region_id);
	put_name(out, "name", shm_short_name_bytes(&region.name));
	fputc('\n', out);
}

static const struct {
	const char *name;
	enum shm_section section;
	void (*dump)(FILE *out, const struct shm *shm, uint32_t entry);
} tables[] = {
	{ "keys", SHM_KEYS, dump_key },
	{ "accounts", SHM_ACCOUNTS, dump_account },
	{ "plans", SHM_PLANS, dump_plan },
	{ "models", SHM_MODELS, dump_model },
	{ "aliases", SHM_ALIASES, dump_alias },
	{ "prices", SHM_PRICES, dump_price },
	{ "instances", SHM_INSTANCES, dump_instance },
	{ "deployments", SHM_DEPLOYMENTS, dump_deployment },
	{ "pods", SHM_PODS, dump_pod },
	{ "regions", SHM_REGIONS, dump_region },
};

/* Of a process that beats each turn; -1: it has not yet. */
static int64_t
ms_ago(_Atomic uint64_t *beat_at_ns)
{
	uint64_t at_ns = atomic_load(beat_at_ns), until_ns = clock_ns();

	if (at_ns == 0)
		return -1;
	return until_ns > at_ns ? (int64_t)((until_ns - at_ns) / NSEC_PER_MSEC) : 0;
}

static void
dump_header(FILE *out, const struct shm *shm)
{
	struct shm_header *header = shm->header;

	fprintf(out, "header layout=%u workers=%u bytes=%" PRIu64 " generation=%" PRIu64
		     " epoch=%" PRIu64 " instance=",
		header->layout_version, header->worker_count, header->file_bytes,
		atomic_load(&header->generation), atomic_load(&header->dataplane_epoch));
	for (size_t i = 0; i < sizeof(header->instance_id); i++)
		fprintf(out, "%02x", header->instance_id[i]);
	fprintf(out, " control_ms_ago=%" PRId64 " dataplane_ms_ago=%" PRId64 "\n",
		ms_ago(&header->control_beat_at_ns), ms_ago(&header->dataplane_beat_at_ns));
}

/* False: there is no such table. */
static bool
dump(FILE *out, const struct shm *shm, const char *only)
{
	bool found = only == NULL || strcmp(only, "header") == 0;

	if (found)
		dump_header(out, shm);
	for (size_t t = 0; t < COUNT_OF(tables); t++) {
		if (only != NULL && strcmp(only, tables[t].name) != 0)
			continue;
		found = true;
		for (uint32_t e = 0; e < shm->header->capacity.count[tables[t].section]; e++)
			tables[t].dump(out, shm, e);
	}
	return found;
}

static bool
has_text(const struct shm *shm, const char *table, const char *text)
{
	char *lines = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&lines, &len);
	bool found = false;

	if (out != NULL && dump(out, shm, table) && fflush(out) == 0)
		found = strstr(lines, text) != NULL;
	if (out != NULL)
		fclose(out);
	free(lines);
	return found;
}

static int
await(const struct shm *shm, const char *table, const char *text)
{
	uint64_t began_ns = clock_ns();

	while (clock_ns() - began_ns < AWAIT_NS) {
		static const struct timespec pause = { .tv_nsec = PAUSE_NS };

		if (has_text(shm, table, text)) {
			printf("%.1f\n", (double)(clock_ns() - began_ns) / NSEC_PER_MSEC);
			return 0;
		}
		nanosleep(&pause, NULL);
	}
	fprintf(stderr, "shmdump: %s never had %s\n", table, text);
	return 1;
}

static bool
attach(const char *path, struct shm *shm)
{
	int file = open(path, O_RDWR | O_CLOEXEC);
	struct stat status;
	void *memory = MAP_FAILED;
	enum err verdict;

	if (file >= 0 && fstat(file, &status) == 0)
		memory = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file,
			      0);
	if (memory == MAP_FAILED) {
		fprintf(stderr, "shmdump: %s: %s\n", path, strerror(errno));
		return false;
	}
	verdict = shm_attach(shm, memory, (uint64_t)status.st_size);
	if (verdict != ERR_OK)
		fprintf(stderr, "shmdump: %s: %s\n", path, err_sentence(verdict));
	return verdict == ERR_OK;
}

int
main(int argc, char **argv)
{
	struct shm shm;

	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		fputs(usage, stdout);
		return 0;
	}
	if ((argc != 2 && argc != 3 && argc != 5) ||
	    (argc == 5 && strcmp(argv[2], "--await") != 0)) {
		fputs(usage, stderr);
		return 2;
	}
	if (!attach(argv[1], &shm))
		return 1;
	if (argc == 5)
		return await(&shm, argv[3], argv[4]);
	if (dump(stdout, &shm, argc == 3 ? argv[2] : NULL))
		return 0;
	fputs(usage, stderr);
	return 2;
}

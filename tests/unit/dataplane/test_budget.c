/* The sum that is printed is what is taken: each group is compared with whoever allocates it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "base/ring.h"
#include "base/units.h"
#include "cert_file.h"
#include "dataplane/budget.h"
#include "dataplane/lcore.h"
#include "dataplane/tap.h"
#include "seeded.h"
#include "tls/fiber.h"
#include "tls/tls.h"
#include "tls_duo.h"

#define WORKERS 3
#define TEXT \
	"workers: 3\n" \
	"ports: [{device: net_tap0, addresses: [192.0.2.1/24], exception: {tap: kernel0}}]\n" \
	"listeners: [{certificates: [{chain: c.pem, key: k.pem}]}]\n" \
	"limits: {clients: 600, upstreams: 300, handshakes: 100, upstream_handshakes: 20}\n" \
	"http2: {memory: 9MiB}\n"

/* --- what is mapped ------------------------------------------------------------------------- */

static uint64_t mapped_bytes;

void *__real_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);

void *
__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	mapped_bytes += bytes;
	return __real_mmap64(at, bytes, protection, flags, fd, offset);
}

/* --- packets, which are DPDK's -------------------------------------------------------------- */

void
pools_plan(struct pools_plan *plan, uint32_t mtu_bytes, uint32_t descriptors, uint64_t memory_bytes)
{
	*plan = (struct pools_plan){ .receive = descriptors, .payload = (uint32_t)(memory_bytes / MIB),
				     .header = 10, .bare = 20, .frame_bytes = mtu_bytes };
}

void
pools_parts(const struct pools_plan *plan, struct pools_part parts[POOLS_PARTS])
{
	parts[0] = (struct pools_part){ "receive", plan->receive, 2048 };
	parts[1] = (struct pools_part){ "payload", plan->payload, 2048 };
	parts[2] = (struct pools_part){ "header", plan->header, 1024 };
	parts[3] = (struct pools_part){ "bare", plan->bare, 1024 };
}

static uint64_t
packets_kib(const struct config *config)
{
	struct pools_plan plan;

	budget_pools(config, &plan);
	return ((uint64_t)plan.receive + plan.payload) * 2 + plan.header + plan.bare;
}

/* --- what is printed -------------------------------------------------------------------------- */

static struct {
	struct {
		char group[9];
		uint64_t kib; /* rounded down */
	} line[64];
	size_t count;
	uint64_t total_kib;
} printed;

static void
keep(void *owner, const char *line)
{
	size_t i = printed.count;
	unsigned long long count, each_bytes, kib;

	(void)owner;
	if (sscanf(line, " total %llu KiB", &kib) == 1) {
		printed.total_kib = kib;
	} else if (line[0] == ' ') {
		assert_true(i < COUNT_OF(printed.line));
		assert_int_equal(sscanf(line, " %8s", printed.line[i].group), 1);
		assert_true(strlen(line) > 28);
		assert_int_equal(sscanf(line + 28, " %llu x %llu B %llu KiB", &count, &each_bytes, &kib), 3);
		printed.line[i].kib = kib;
		printed.count++;
	}
}

/* Of all lines of a group, how many there are in *lines. */
static uint64_t
kib_of(const char *group, uint32_t *lines)
{
	uint64_t kib = 0;

	*lines = 0;
	for (size_t i = 0; i < printed.count; i++)
		if (strcmp(printed.line[i].group, group) == 0) {
			kib += printed.line[i].kib;
			(*lines)++;
		}
	return kib;
}

/* Each line is rounded down; the sum may be more, for what is mapped beside it, by up to spare_kib. */
static void
is_printed(const char *group, uint64_t bytes, uint64_t spare_kib)
{
	uint32_t lines;
	uint64_t kib = kib_of(group, &lines);

	if (lines == 0 || kib + lines < bytes / KIB || kib > bytes / KIB + spare_kib)
		fail_msg("%s: %u lines of %llu KiB, and %llu KiB are taken", group, lines,
			 (unsigned long long)kib, (unsigned long long)(bytes / KIB));
}

static void
complain(void *owner, const char *text)
{
	(void)owner;
	fail_msg("%s", text);
}

static struct credentials
credentials_of(void)
{
	static const char *const names[] = { "edge", "wild", "rsa", NULL };
	struct credentials credentials = { tls_duo_identity(names), tls_authorities_new() };
	uint32_t skipped;
	char text[256];

	assert_int_equal(tls_authorities_add(credentials.authorities, "ca", cert_file("ca.pem"), &skipped, text,
					     sizeof(text)),
			 ERR_OK);
	return credentials;
}

/* As fleet.c opens them, and as many keys beside the first as there may be. */
static uint64_t
tls_bytes(const struct worker_counts *counts, const struct credentials *credentials)
{
	static struct seeded seed = { 1 };
	struct ticket_secrets tickets = tls_duo_tickets(0x11);
	struct tls_context_config clients = { .conns_max = counts->clients,
					      .handshakes_max = counts->handshakes,
					      .ticket_lifetime_s = 3600,
					      .tickets = &tickets,
					      .entropy = seeded_entropy,
					      .owner = &seed };
	struct tls_context_config backends = { .conns_max = counts->upstreams,
					       .handshakes_max = counts->upstream_handshakes,
					       .authorities = credentials->authorities,
					       .connects_max = counts->upstreams,
					       .sessions_max = UPSTREAM_SESSIONS_MAX,
					       .entropy = seeded_entropy,
					       .owner = &seed };
	struct tls_context *to_clients, *to_backends;
	uint64_t taken;

	tls_prepare();
	mapped_bytes = 0;
	to_clients = tls_context_new(&clients, credentials->identity);
	to_backends = tls_context_new(&backends, NULL);
	assert_true(to_clients != NULL && to_backends != NULL);
	for (int i = 1; i < TLS_KEYS_MAX; i++) {
		tls_keys_free(tls_keys_new(credentials->identity, NULL));
		tls_keys_free(tls_keys_new(NULL, credentials->authorities));
	}
	taken = mapped_bytes;
	tls_context_free(to_clients);
	tls_context_free(to_backends);
	/* Stacks are larger where a sanitizer watches them. */
	return taken - (TLS_FIBERS_MAX + counts->upstream_handshakes) * (FIBER_BYTES - TLS_FIBER_BYTES);
}

static void
the_printed_sum_is_of_what_is_taken(void **state)
{
	static const struct config_complaints no_complaints = { complain, NULL };
	static const struct config_complaints to = { keep, NULL };
	static const char *const groups[] = { "packets", "tcp", "sessions", "tls", "http2", "core" };
	static struct config config;
	struct credentials credentials = credentials_of();
	struct worker_part worker[WORKER_PARTS];
	struct worker_counts counts;
	struct tcp_config tcp;
	uint64_t bytes, of_one = 0;
	uint32_t lines, all_lines = 0;

	(void)state;
	assert_int_equal(config_parse(&config, "sluice.yaml", BYTES_LITERAL(TEXT), &no_complaints), ERR_OK);
	budget_counts(&config, &counts);
	budget_tcp(&config, &counts, &tcp);
	bytes = budget_print(&config, &credentials, &to);

	is_printed("packets", packets_kib(&config) * KIB, 0);
	is_printed("tcp", tcp_bytes(&tcp), 0);
	is_printed("sessions",
		   worker_parts(&counts,
				&(struct shm_capacity){ .count = { [SHM_PODS] = config.capacity.pods,
								   [SHM_DEPLOYMENTS] = config.capacity.deployments,
								   [SHM_MODELS] = config.capacity.models,
								   [SHM_INSTANCES] = config.capacity.instances,
								   [SHM_ACCOUNTS] = config.capacity.accounts } },
				worker),
		   0);
	is_printed("tls", tls_bytes(&counts, &credentials), 64);
	is_printed("http2", 9 * MIB / WORKERS, 0);
	is_printed("core", sizeof(struct lcore), 0);
	is_printed("rings", WORKERS * WORKERS * sizeof(struct ring), 0);
	is_printed("tap", tap_bytes(WORKERS), 0);

	for (size_t i = 0; i < COUNT_OF(groups); i++) {
		of_one += kib_of(groups[i], &lines);
		all_lines += lines;
	}
	assert_in_range(kib_of("worker", &lines), of_one, of_one + all_lines);
	assert_in_range(kib_of("workers", &lines), WORKERS * of_one, WORKERS * (of_one + all_lines));
	assert_int_equal(printed.count, all_lines + 4); /* worker, workers, rings, tap */
	assert_int_equal(printed.total_kib, bytes / KIB);
	assert_in_range(printed.total_kib,
			kib_of("workers", &lines) + kib_of("rings", &lines) + kib_of("tap", &lines),
			kib_of("workers", &lines) + kib_of("rings", &lines) + kib_of("tap", &lines) + 2);
	tls_identity_free(credentials.identity);
	tls_authorities_free(credentials.authorities);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_printed_sum_is_of_what_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

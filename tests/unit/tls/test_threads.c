/* Two workers at once: they share nothing that changes, but an identity that is read and the secrets of tickets,
 * so that each opens the other's. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "tls_duo.h"

#define WORKERS 2
#define ROUNDS 25

static const char *const pairs[] = { "edge", "rsa", NULL };
static const uint16_t versions[] = { 0x0303, 0x0304 };

struct worker {
	pthread_t thread;
	pthread_barrier_t *start;
	const struct tls_identity *identity;
	struct seeded seed;
	struct bytes sessions[COUNT_OF(versions)];
	int opened;
	int resumed;
	int carried;
};

static void
one_connection(struct worker *worker, struct tls_context *context, struct tls_duo *duo, int round)
{
	size_t v = (size_t)round % COUNT_OF(versions);
	struct tls_client_config config = tls_duo_client_of(versions[v]);
	/* The RSA key too: mbedTLS writes into it while it signs. */
	static const int rsa_suites[] = { 0x1301, 0xc02f, 0 };
	static const uint16_t rsa_signatures[] = { 0x0804, 0x0401, 0 };
	struct tls_facts facts;

	config.seed = worker->seed.state + (uint64_t)round;
	if (round % 3 == 0)
		config.session = worker->sessions[v];
	if (round % 3 == 1) {
		config.suites = rsa_suites;
		config.signatures = rsa_signatures;
	}
	tls_duo_init(duo, context, &config);
	if (tls_duo_shake(duo, 0)) {
		worker->opened++;
		tls_facts(duo->server, &facts);
		worker->resumed += facts.resumed;
		worker->carried += tls_duo_exchange(duo);
	}
	tls_duo_fini(duo);
}

static void *
work(void *opaque)
{
	struct worker *worker = opaque;
	struct tls_duo *duo = malloc(sizeof(*duo));
	struct tls_context *context;

	pthread_barrier_wait(worker->start);
	context = tls_duo_context(worker->identity, 2, &worker->seed, 0x11);
	for (int round = 0; round < ROUNDS; round++)
		one_connection(worker, context, duo, round);
	tls_context_free(context);
	free(duo);
	return NULL;
}

static struct bytes
session_of(const struct tls_identity *identity, uint16_t version, uint8_t *memory)
{
	static struct tls_duo duo;
	struct seeded seed = { 5 };
	struct tls_context *context = tls_duo_context(identity, 1, &seed, 0x11);
	struct tls_client_config config = tls_duo_client_of(version);
	size_t len;

	tls_duo_init(&duo, context, &config);
	assert_true(tls_duo_shake(&duo, 0));
	assert_true(tls_duo_exchange(&duo));
	len = tls_client_session(duo.client, memory, TLS_CLIENT_SESSION_BYTES_MAX);
	assert_true(len > 0);
	tls_duo_fini(&duo);
	tls_context_free(context);
	return bytes_make(memory, len);
}

static void
two_workers_at_once_do_not_disturb_each_other(void **state)
{
	static uint8_t memory[COUNT_OF(versions)][TLS_CLIENT_SESSION_BYTES_MAX];
	struct tls_identity *identity = tls_duo_identity(pairs);
	struct worker workers[WORKERS] = { 0 };
	pthread_barrier_t start;

	(void)state;
	assert_int_equal(pthread_barrier_init(&start, NULL, WORKERS), 0);
	for (size_t w = 0; w < WORKERS; w++) {
		workers[w].start = &start;
		workers[w].identity = identity;
		workers[w].seed.state = 1000 * (w + 1);
		for (size_t v = 0; v < COUNT_OF(versions); v++)
			workers[w].sessions[v] = session_of(identity, versions[v], memory[v]);
	}
	for (size_t w = 0; w < WORKERS; w++)
		assert_int_equal(pthread_create(&workers[w].thread, NULL, work, &workers[w]), 0);
	for (size_t w = 0; w < WORKERS; w++)
		assert_int_equal(pthread_join(workers[w].thread, NULL), 0);
	pthread_barrier_destroy(&start);
	for (size_t w = 0; w < WORKERS; w++) {
		assert_int_equal(workers[w].opened, ROUNDS);
		assert_int_equal(workers[w].carried, ROUNDS);
		assert_int_equal(workers[w].resumed, (ROUNDS + 2) / 3);
	}
	tls_identity_free(identity);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_workers_at_once_do_not_disturb_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

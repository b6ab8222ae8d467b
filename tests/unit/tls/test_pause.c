/*
 * Handshakes that stop before each dear operation: others go on meanwhile, with the same key, and one that
 * is ended there leaves nothing behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "cert_file.h"
#include "tls/conn.h"
#include "tls_duo.h"

#define TLS12 0x0303
#define TLS13 0x0304

static const char *const edge_only[] = { "edge", NULL };
static const char *const rsa_only[] = { "rsa", NULL };
static const char *const p384_only[] = { "p384", NULL };
static const uint16_t p256[] = { MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, MBEDTLS_SSL_IANA_TLS_GROUP_NONE };

/* What a handshake stops for: a key, an agreement, a signature; of RSA's two halves and the check of their result,
 * and another check if it is of PKCS #1 1.5. */
static const struct kind {
	const char *const *names;
	uint16_t version;
	const uint16_t *groups;
	uint32_t pauses;
} kinds[] = {
	{ edge_only, TLS13, NULL, 3 }, { edge_only, TLS12, NULL, 3 }, { edge_only, TLS13, p256, 3 },
	{ edge_only, TLS12, p256, 3 }, { rsa_only, TLS13, NULL, 5 },  { rsa_only, TLS12, NULL, 6 },
	{ p384_only, TLS13, NULL, 3 },
};

static struct seeded seed;

struct world {
	struct tls_identity *identity;
	struct tls_context *context;
	struct tls_client_config client;
};

static struct world
world_of(const struct kind *kind, uint32_t conns_max)
{
	struct world w;

	seed = (struct seeded){ 11 };
	w.identity = tls_duo_identity(kind->names);
	w.context = tls_duo_context(w.identity, conns_max, &seed, 1);
	w.client = tls_duo_client_config();
	w.client.version_min = w.client.version_max = kind->version;
	w.client.groups = kind->groups;
	if (kind->names == p384_only) {
		w.client.ca_pem = cert_file("p384.pem");
		w.client.host = "p384.sluice.test";
	}
	return w;
}

static void
world_end(struct world *w)
{
	tls_context_free(w->context);
	tls_identity_free(w->identity);
}

static bool
is_paused(const struct tls_duo *duo)
{
	return duo->server->handshake != NULL && duo->server->handshake->fiber != NULL;
}

/* Until it stops for that time; false: it is open before. */
static bool
go_to_pause(struct tls_duo *duo, uint32_t which)
{
	uint32_t seen = 0;

	while (tls_duo_turn(duo, 0)) {
		seen += is_paused(duo);
		if (is_paused(duo) && seen == which)
			return true;
	}
	assert_true(tls_is_open(duo->server) && tls_client_is_open(duo->client));
	return false;
}

static void
stops_before_each_dear_operation(void **state)
{
	static struct tls_duo duo;
	bool is_own = getenv("SLUICE_TLS_PRIMITIVES") != NULL;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		struct world w = world_of(&kinds[i], 1);
		uint32_t pauses = 0;

		tls_duo_init(&duo, w.context, &w.client);
		while (tls_duo_turn(&duo, 0))
			pauses += is_paused(&duo);
		assert_true(tls_duo_exchange(&duo));
		/* mbedTLS's own code multiplies more often than it would have to. */
		assert_in_range(pauses, kinds[i].pauses, kinds[i].pauses + is_own);
		tls_duo_fini(&duo);
		world_end(&w);
	}
}

static void
one_that_is_ended_where_it_stopped_leaves_nothing(void **state)
{
	static struct tls_duo duo, other;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		struct world w = world_of(&kinds[i], 2);
		size_t blocks;

		tls_duo_init(&other, w.context, &w.client);
		assert_true(go_to_pause(&other, 1));
		/* RSA's key keeps how it blinds from its first use on. */
		tls_duo_init(&duo, w.context, &w.client);
		assert_true(tls_duo_shake(&duo, 0));
		tls_duo_fini(&duo);
		blocks = tls_context_memory(w.context).blocks;
		for (uint32_t which = 1, stopped = 1; stopped; which++) {
			tls_duo_init(&duo, w.context, &w.client);
			stopped = go_to_pause(&duo, which);
			tls_duo_fini(&duo);
			assert_int_equal(fiber_pool_depth(w.context->fibers), 0);
			assert_int_equal(w.context->handshakes, 1);
			assert_int_equal(tls_context_memory(w.context).blocks, blocks);
		}
		/* Who stood beside it goes on. */
		assert_true(tls_duo_shake(&other, 0));
		assert_true(tls_duo_exchange(&other));
		tls_duo_fini(&other);
		world_end(&w);
	}
}

/* Each stands in the middle of what the others do with the same key, in every constellation that turns make. */
static void
many_stop_and_go_on_beside_each_other(void **state)
{
	enum { MANY = 7 };
	struct tls_duo *duos = calloc(MANY, sizeof(*duos));

	(void)state;
	assert_non_null(duos);
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		struct world w = world_of(&kinds[i], MANY);
		uint32_t together = 0;
		bool moved = true;

		for (uint32_t k = 0; k < MANY; k++) {
			w.client.seed = k;
			tls_duo_init(&duos[k], w.context, &w.client);
		}
		for (uint32_t turn = 0; moved; turn++) {
			uint32_t paused = 0;

			moved = false;
			/* The later ones begin later, and take every second turn. */
			for (uint32_t k = 0; k < MANY; k++) {
				if (turn < k || (turn + k) % (1 + k % 2) != 0)
					moved = true;
				else
					moved |= tls_duo_turn(&duos[k], 0);
				moved |= duos[k].server_verdict == ERR_TLS_AGAIN;
				paused += is_paused(&duos[k]);
			}
			together = paused > together ? paused : together;
			assert_true(turn < 1000);
		}
		assert_true(together > 1);
		for (uint32_t k = 0; k < MANY; k++) {
			assert_true(tls_duo_exchange(&duos[k]));
			tls_duo_fini(&duos[k]);
		}
		world_end(&w);
	}
	free(duos);
}

static void
without_a_free_stack_a_handshake_waits(void **state)
{
	enum { MANY = TLS_FIBERS_MAX + 3 };
	struct world w = world_of(&kinds[0], MANY);
	struct tls_duo *duos = calloc(MANY, sizeof(*duos));
	struct bytes before;

	(void)state;
	assert_non_null(duos);
	for (uint32_t k = 0; k < MANY; k++) {
		tls_duo_init(&duos[k], w.context, &w.client);
		if (k < TLS_FIBERS_MAX)
			assert_true(go_to_pause(&duos[k], 1));
	}
	for (uint32_t k = TLS_FIBERS_MAX; k < MANY; k++) {
		for (int turn = 0; turn < 3; turn++) {
			assert_true(tls_duo_turn(&duos[k], 0));
			assert_int_equal(duos[k].server_verdict, ERR_TLS_AGAIN);
			assert_false(is_paused(&duos[k]));
		}
		/* It has not looked at anything. */
		before = tls_duo_front(&duos[k].to_server, 0);
		assert_true(before.len > 100);
	}
	/* The first that ends makes room for the last. */
	tls_conn_free(duos[5].server);
	duos[5].server = NULL;
	assert_true(go_to_pause(&duos[MANY - 1], 1));
	for (uint32_t k = 0; k < MANY; k++) {
		if (k != 5) {
			assert_true(tls_duo_shake(&duos[k], 0));
			assert_true(tls_duo_exchange(&duos[k]));
		}
		tls_duo_fini(&duos[k]);
	}
	assert_int_equal(fiber_pool_depth(w.context->fibers), 0);
	free(duos);
	world_end(&w);
}

/* Half of a stack is enough for the deepest of all steps: other compilers, other libraries. */
static void
steps_leave_half_of_their_stack(void **state)
{
	static struct tls_duo duo;
	size_t deepest = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		struct world w = world_of(&kinds[i], 1);

		tls_duo_init(&duo, w.context, &w.client);
		while (!tls_is_open(duo.server)) {
			assert_true(tls_duo_turn(&duo, 0));
			if (fiber_pool_depth(w.context->fibers) > deepest)
				deepest = fiber_pool_depth(w.context->fibers);
		}
		tls_duo_fini(&duo);
		world_end(&w);
	}
	assert_in_range(deepest, 1, FIBER_STACK_BYTES / 2);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(stops_before_each_dear_operation),
		cmocka_unit_test(one_that_is_ended_where_it_stopped_leaves_nothing),
		cmocka_unit_test(many_stop_and_go_on_beside_each_other),
		cmocka_unit_test(without_a_free_stack_a_handshake_waits),
		cmocka_unit_test(steps_leave_half_of_their_stack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Whom we believe is replaced while handshakes, connections and sessions are there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/units.h"
#include "cert_file.h"
#include "tls/conn.h"
#include "tls_pairing.h"

static const struct pairing_options options = { .chain = "edge", .authority = "ca", .sessions_max = 8 };
static const char *const ca[] = { "ca", NULL };
static const char *const self[] = { "self", NULL };
static const char *const both[] = { "self", "ca", NULL };

static struct pairing pairing;

static void
open_in(int version)
{
	pairing_open(&pairing, &options);
	pairing.only_12 = version == 0;
}

static uint32_t
sessions_kept(void)
{
	const struct sessions *sessions = &pairing.ours->clients.sessions;
	uint32_t count = 0;

	for (uint32_t i = 0; i < sessions->slot_count; i++)
		count += sessions->slots[i].target.id != 0;
	return count;
}

/* True: it was resumed. */
static bool
once(const struct tls_target *target)
{
	struct tls_facts facts;

	pairing_connect(&pairing, target);
	assert_true(pairing_shake(&pairing, 0));
	assert_true(pairing_exchange(&pairing, 0));
	tls_facts(pairing.client, &facts);
	pairing_part(&pairing);
	return facts.resumed;
}

/* Of a bundle that the target was resolved with, whatever is believed now. */
static struct tls_target
resolved(const char *name)
{
	struct tls_target target = pairing_target(name);

	target.authority = tls_find_authority(pairing.ours, BYTES_LITERAL("ca"));
	return target;
}

static void
who_is_believed_now_decides_of_new_handshakes(void **state)
{
	(void)state;
	for (int version = 0; version < 2; version++) {
		struct tls_target target = pairing_target("api.sluice.test"), before;

		open_in(version);
		target.id = 0; /* so that nothing is resumed */
		before = resolved("api.sluice.test");
		assert_false(once(&target));
		pairing_believe(&pairing, self);
		/* The name is gone, and so is what stood for its certificates. */
		assert_int_equal(tls_find_authority(pairing.ours, BYTES_LITERAL("ca")), TLS_NO_AUTHORITY);
		assert_false(tls_can_reach(pairing.ours, &before));
		target.authority = tls_find_authority(pairing.ours, BYTES_LITERAL("self"));
		assert_true(tls_can_reach(pairing.ours, &target));
		pairing_connect(&pairing, &target);
		assert_false(pairing_shake(&pairing, 0));
		assert_int_equal(pairing.client_verdict, ERR_TLS_PEER_UNKNOWN);
		pairing_part(&pairing);
		pairing_believe(&pairing, both);
		assert_true(tls_can_reach(pairing.ours, &before));
		assert_false(once(&before));
		assert_int_equal(tls_context_sweep(pairing.ours), 1);
		pairing_close(&pairing);
	}
}

/* Another bundle under the same name is another authority. */
static void
a_bundle_that_changes_has_another_number(void **state)
{
	struct tls_authorities *authorities = tls_authorities_new();
	struct bytes name = BYTES_LITERAL("ca");
	uint64_t before;
	uint32_t skipped;
	char text[256];

	(void)state;
	pairing_open(&pairing, &options);
	before = tls_find_authority(pairing.ours, name);
	assert_int_equal(tls_authorities_add(authorities, "ca", cert_file("ca.pem"), &skipped, text, sizeof(text)),
			 ERR_OK);
	tls_context_replace(pairing.ours, tls_keys_new(NULL, authorities));
	assert_int_not_equal(tls_find_authority(pairing.ours, name), TLS_NO_AUTHORITY);
	assert_int_not_equal(tls_find_authority(pairing.ours, name), before);
	pairing_believe(&pairing, ca);
	assert_int_equal(tls_find_authority(pairing.ours, name), before);
	tls_authorities_free(authorities);
	pairing_close(&pairing);
}

/* At every step of a handshake; and what it brings is not kept for those who would not have believed it. */
static void
a_handshake_ends_with_whom_it_began_to_believe(void **state)
{
	(void)state;
	for (int version = 0; version < 2; version++) {
		bool reached_the_end = false;

		for (int at = 0; !reached_the_end; at++) {
			struct tls_target target;

			open_in(version);
			target = resolved("api.sluice.test");
			pairing_connect(&pairing, &target);
			for (int i = 0; i < at; i++)
				reached_the_end = !pairing_turn(&pairing, 0);
			pairing_believe(&pairing, self);
			assert_int_equal(tls_context_sweep(pairing.ours), tls_is_open(pairing.client) ? 1 : 2);
			assert_true(pairing_shake(&pairing, 0));
			assert_int_equal(tls_context_sweep(pairing.ours), 1);
			/* In TLS 1.3 the tickets come now. */
			assert_true(pairing_exchange(&pairing, 0));
			pairing_part(&pairing);
			assert_int_equal(sessions_kept(), 0);
			pairing_believe(&pairing, ca);
			assert_false(once(&target));
			assert_true(once(&target));
			pairing_close(&pairing);
		}
	}
}

static void
sessions_are_forgotten_where_their_authority_has_changed_and_nowhere_else(void **state)
{
	(void)state;
	for (int version = 0; version < 2; version++) {
		struct tls_target by_chain, by_pin;

		open_in(version);
		by_chain = resolved("api.sluice.test");
		by_pin = pairing_pinned("edge");
		assert_false(once(&by_chain));
		assert_false(once(&by_pin));
		assert_int_equal(sessions_kept(), 2);
		pairing_believe(&pairing, both);
		assert_int_equal(sessions_kept(), 2);
		assert_true(once(&by_chain));
		pairing_believe(&pairing, self);
		assert_int_equal(sessions_kept(), 1);
		assert_true(once(&by_pin));
		pairing_believe(&pairing, ca);
		assert_false(once(&by_chain));
		assert_true(once(&by_chain));
		pairing_close(&pairing);
	}
}

static void
those_who_are_not_believed_any_more_leave_nothing(void **state)
{
	struct tls_target target = pairing_target("rsa.sluice.test");
	struct pairing_options of_rsa = options;
	size_t blocks = 0;

	(void)state;
	of_rsa.chain = "rsa";
	target.id = 0;
	pairing_open(&pairing, &of_rsa);
	for (int i = 0; i < 4; i++) {
		assert_false(once(&target));
		pairing_believe(&pairing, i % 2 == 0 ? both : ca);
		assert_int_equal(tls_context_sweep(pairing.ours), 1);
		/* Once: PSA's slots. */
		if (i > 0)
			assert_int_equal(tls_context_memory(pairing.ours).blocks, blocks);
		blocks = tls_context_memory(pairing.ours).blocks;
	}
	pairing_close(&pairing);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_believed_now_decides_of_new_handshakes),
		cmocka_unit_test(a_bundle_that_changes_has_another_number),
		cmocka_unit_test(a_handshake_ends_with_whom_it_began_to_believe),
		cmocka_unit_test(sessions_are_forgotten_where_their_authority_has_changed_and_nowhere_else),
		cmocka_unit_test(those_who_are_not_believed_any_more_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

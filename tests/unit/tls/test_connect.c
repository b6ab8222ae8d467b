/* Connections of ours to a server of ours: whom we believe and why not, what is resumed, what is missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/units.h"
#include "cert_file.h"
#include "cert_forge.h"
#include "seeded.h"
#include "tls/target.h"
#include "tls/conn.h"
#include "tls_forge.h"
#include "tls_pairing.h"

static const struct pairing_options plain_options = { .chain = "edge", .authority = "ca", .sessions_max = 8 };

static struct pairing pairing;

/* The verdict of our end. */
static enum err
reach(const struct pairing_options *options, const struct tls_target *target)
{
	enum err verdict;

	pairing_open(&pairing, options);
	pairing_connect(&pairing, target);
	pairing_shake(&pairing, 0);
	verdict = pairing.client_verdict;
	pairing_part(&pairing);
	pairing_close(&pairing);
	return verdict;
}

static void
both_versions_work_at_any_segmentation(void **state)
{
	static const size_t pieces[] = { 0, 1, 7, 100, 1460 };

	(void)state;
	for (size_t i = 0; i < 2 * COUNT_OF(pieces); i++) {
		struct tls_target target = pairing_target("api.sluice.test");
		struct tls_facts facts;

		pairing_open(&pairing, &plain_options);
		pairing.only_12 = i % 2 == 1;
		pairing_connect(&pairing, &target);
		assert_true(pairing_shake(&pairing, pieces[i / 2]));
		tls_facts(pairing.client, &facts);
		assert_int_equal(facts.version, i % 2 == 1 ? 0x0303 : 0x0304);
		assert_false(facts.resumed);
		assert_true(bytes_equal(facts.alpn, BYTES_LITERAL("http/1.1")));
		assert_true(pairing_exchange(&pairing, pieces[i / 2]));
		pairing_part(&pairing);
		pairing_close(&pairing);
	}
}

static void
a_name_is_sent_and_an_address_is_not(void **state)
{
	struct tls_target target = pairing_target("api.sluice.test");
	struct tls_facts facts;

	(void)state;
	pairing_open(&pairing, &plain_options);
	pairing_connect(&pairing, &target);
	assert_true(pairing_shake(&pairing, 0));
	tls_facts(pairing.server, &facts);
	assert_true(bytes_equal(facts.sni, BYTES_LITERAL("api.sluice.test")));
	pairing_part(&pairing);

	target = pairing_target("127.0.0.1");
	pairing_connect(&pairing, &target);
	assert_true(pairing_shake(&pairing, 0));
	tls_facts(pairing.server, &facts);
	assert_int_equal(facts.sni.len, 0);
	pairing_part(&pairing);
	pairing_close(&pairing);
}

static void
the_chain_must_lead_to_the_authority(void **state)
{
	struct pairing_options options = plain_options;
	struct tls_target target = pairing_target("api.sluice.test");

	(void)state;
	options.authority = "self";
	assert_int_equal(reach(&options, &target), ERR_TLS_PEER_UNKNOWN);
	options = plain_options;
	options.chain = "self";
	target = pairing_target("self.sluice.test");
	assert_int_equal(reach(&options, &target), ERR_TLS_PEER_UNKNOWN);
	options.chain = "chain";
	target = pairing_target("chain.sluice.test");
	assert_int_equal(reach(&options, &target), ERR_OK);
}

static void
the_name_must_be_in_the_certificate(void **state)
{
	static const struct {
		const char *chain;
		const char *name;
		enum err verdict;
	} rows[] = {
		{ "edge", "api.sluice.test", ERR_OK },
		{ "edge", "API.sluice.TEST", ERR_OK },
		{ "edge", "other.sluice.test", ERR_TLS_PEER_NAME },
		{ "edge", "sluice.test", ERR_TLS_PEER_NAME },
		{ "wild", "any.sluice.test", ERR_OK },
		{ "wild", "one.more.sluice.test", ERR_TLS_PEER_NAME },
		{ "edge", "127.0.0.1", ERR_OK },
		{ "edge", "127.0.0.2", ERR_TLS_PEER_NAME },
		{ "edge", "::1", ERR_TLS_PEER_NAME },
		{ "addresses", "::1", ERR_OK },
		{ "addresses", "fd77::2", ERR_OK },
		{ "addresses", "fd77:0:0:0:0:0:0:2", ERR_OK },
		{ "addresses", "fd77:0000:0000:0000:0000:0000:0000:0002", ERR_OK },
		{ "addresses", "fd77::3", ERR_TLS_PEER_NAME },
		{ "addresses", "10.77.0.2", ERR_OK },
		/* A text that looks like an address in a DNS name's place is none. */
		{ "addresses", "10.77.0.9", ERR_TLS_PEER_NAME },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct pairing_options options = plain_options;
		struct tls_target target = pairing_target(rows[i].name);
		enum err verdict;

		options.chain = rows[i].chain;
		verdict = reach(&options, &target);
		if (verdict != rows[i].verdict)
			fail_msg("%s as %s: %s", rows[i].chain, rows[i].name, err_name(verdict));
	}
}

/* The verdict of our end, which believes that root, about whoever says this leaf. */
static enum err
reach_forged(const struct cert_plan *leaf, const char *name)
{
	static const struct cert_plan root = {
		.subject = "root", .issuer = "root", .key = "wild", .signer = "wild", .is_ca = true
	};
	struct pairing_options options = plain_options;
	struct tls_target target = pairing_target(name);
	struct cert_forged forged;
	struct instance *before;

	cert_forge(&root, &forged);
	options.believed = cert_forge_pem(&forged, 1);
	pairing_open(&pairing, &options);
	cert_forge(leaf, &forged);
	before = instance_enter(pairing.theirs->instance);
	cert_say_instead(&pairing.theirs->keys->pairs[0].chain, &forged, 1);
	instance_leave(before);
	pairing_connect(&pairing, &target);
	pairing_shake(&pairing, 0);
	pairing_part(&pairing);
	pairing_close(&pairing);
	return pairing.client_verdict;
}

/* Four octets, or sixteen, of a name are its text, whatever address they would be. */
static void
an_address_is_no_name_of_the_same_octets(void **state)
{
	struct cert_plan leaf = { .subject = "x", .issuer = "root", .key = "edge", .signer = "wild" };

	(void)state;
	leaf.dns = "1.b2";
	assert_int_equal(reach_forged(&leaf, "1.b2"), ERR_OK);
	assert_int_equal(reach_forged(&leaf, "49.46.98.50"), ERR_TLS_PEER_NAME);
	leaf.dns = "1.bcdefghijklm.b";
	assert_int_equal(reach_forged(&leaf, "1.bcdefghijklm.b"), ERR_OK);
	assert_int_equal(reach_forged(&leaf, "312e:6263:6465:6667:6869:6a6b:6c6d:2e62"), ERR_TLS_PEER_NAME);
}

/* Signed by whom we believe, in force and of the right name. */
static void
a_key_that_is_too_weak_is_nobodys(void **state)
{
	struct cert_plan leaf = { .subject = "x", .issuer = "root", .signer = "wild", .dns = "x",
				  .rsa_bits = 1024, .exponent_bits = 17 };

	(void)state;
	assert_int_equal(reach_forged(&leaf, "x"), ERR_TLS_PEER_UNFIT);
}

static void
dates_count(void **state)
{
	struct pairing_options options = plain_options;
	struct tls_target target = pairing_target("old.sluice.test");

	(void)state;
	options.chain = "old";
	assert_int_equal(reach(&options, &target), ERR_TLS_PEER_EXPIRED);
	options = plain_options;
	target = pairing_target("api.sluice.test");
	options.now_s = 1;
	assert_int_equal(reach(&options, &target), ERR_TLS_PEER_EXPIRED);
}

static void
a_pin_alone_is_enough_and_must_fit(void **state)
{
	struct pairing_options options = plain_options;
	struct tls_target target = pairing_pinned("self");

	(void)state;
	options.chain = "self";
	assert_int_equal(reach(&options, &target), ERR_OK);
	options.chain = "old";
	target = pairing_pinned("old");
	assert_int_equal(reach(&options, &target), ERR_OK);
	target.pins[0][31] ^= 1;
	assert_int_equal(reach(&options, &target), ERR_TLS_PEER_PIN);
	target = pairing_pinned("self");
	assert_int_equal(reach(&options, &target), ERR_TLS_PEER_PIN);
	/* Any of several. */
	memcpy(target.pins[1], pairing_pinned("old").pins[0], TLS_PIN_BYTES);
	target.pin_count = 2;
	assert_int_equal(reach(&options, &target), ERR_OK);
}

static void
a_pin_beside_an_authority_is_asked_for_in_addition(void **state)
{
	struct pairing_options options = plain_options;
	struct tls_target target = pairing_target("api.sluice.test");

	(void)state;
	target.pin_count = 1;
	memcpy(target.pins[0], pairing_pinned("edge").pins[0], TLS_PIN_BYTES);
	assert_int_equal(reach(&options, &target), ERR_OK);
	/* Of the leaf: who is signed by a key that is pinned is not who has it. */
	memcpy(target.pins[0], pairing_pinned("ca").pins[0], TLS_PIN_BYTES);
	assert_int_equal(reach(&options, &target), ERR_TLS_PEER_PIN);
	memcpy(target.pins[0], pairing_pinned("edge").pins[0], TLS_PIN_BYTES);
	options.authority = "self";
	assert_int_equal(reach(&options, &target), ERR_TLS_PEER_UNKNOWN);
	options.authority = "ca";
	target.pins[0][0] ^= 1;
	assert_int_equal(reach(&options, &target), ERR_TLS_PEER_PIN);
	target = pairing_target("other.sluice.test");
	target.pin_count = 1;
	memcpy(target.pins[0], pairing_pinned("edge").pins[0], TLS_PIN_BYTES);
	assert_int_equal(reach(&options, &target), ERR_TLS_PEER_NAME);
}

static void
nothing_to_verify_by_is_no_target(void **state)
{
	struct tls_target target = pairing_target("api.sluice.test");

	(void)state;
	pairing_open(&pairing, &plain_options);
	target.authority = tls_find_authority(pairing.ours, BYTES_LITERAL("ca"));
	assert_true(tls_can_reach(pairing.ours, &target));
	target.authority = TLS_NO_AUTHORITY;
	assert_false(tls_can_reach(pairing.ours, &target));
	target.authority = 1;
	assert_false(tls_can_reach(pairing.ours, &target));
	target = pairing_target("");
	target.authority = tls_find_authority(pairing.ours, BYTES_LITERAL("ca"));
	assert_false(tls_can_reach(pairing.ours, &target));
	snprintf(target.name, sizeof(target.name), "x");
	assert_true(tls_can_reach(pairing.ours, &target));
	memset(target.name, 'x', sizeof(target.name));
	assert_false(tls_can_reach(pairing.ours, &target));
	target = pairing_pinned("edge");
	assert_true(tls_can_reach(pairing.ours, &target));
	target.pin_count = TLS_PINS_MAX + 1;
	assert_false(tls_can_reach(pairing.ours, &target));
	pairing_close(&pairing);
}

/* True: it was resumed, as both ends say. */
static bool
once(const struct tls_target *target)
{
	struct tls_facts facts, theirs;

	pairing_connect(&pairing, target);
	assert_true(pairing_shake(&pairing, 0));
	assert_true(pairing_exchange(&pairing, 0));
	tls_facts(pairing.client, &facts);
	tls_facts(pairing.server, &theirs);
	assert_int_equal(facts.resumed, theirs.resumed);
	pairing_part(&pairing);
	return facts.resumed;
}

static void
the_next_connection_to_a_target_is_resumed(void **state)
{
	(void)state;
	for (int v = 0; v < 2; v++) {
		struct tls_target target = pairing_target("api.sluice.test");
		struct tls_target other = target;

		pairing_open(&pairing, &plain_options);
		pairing.only_12 = v == 1;
		assert_false(once(&target));
		assert_true(once(&target));
		assert_true(once(&target));
		/* Whoever asks for something else has it verified. */
		other.id++;
		assert_false(once(&other));
		other = target;
		memcpy(other.pins[0], pairing_pinned("edge").pins[0], TLS_PIN_BYTES);
		other.pin_count = 1;
		assert_false(once(&other));
		assert_true(once(&target));
		pairing_close(&pairing);
	}
}

static bool
is_kept(const struct tls_target *target)
{
	int64_t until_s;

	return sessions_find(&pairing.ours->clients.sessions, target, TLS_PAIRING_NOW_S, &until_s).len > 0;
}

static void
a_session_is_of_one_target_member_by_member(void **state)
{
	struct tls_target target = pairing_target("api.sluice.test"), other;

	(void)state;
	pairing_open(&pairing, &plain_options);
	target.authority = tls_find_authority(pairing.ours, BYTES_LITERAL("ca"));
	target.pin_count = 2;
	memcpy(target.pins[1], pairing_pinned("edge").pins[0], TLS_PIN_BYTES);
	assert_false(once(&target));
	assert_true(is_kept(&target));
	other = target;
	other.id += 8; /* of the same set */
	assert_false(is_kept(&other));
	other = target;
	other.authority++;
	assert_false(is_kept(&other));
	other = target;
	other.pin_count--;
	assert_false(is_kept(&other));
	other = target;
	other.pins[1][TLS_PIN_BYTES - 1] ^= 1;
	assert_false(is_kept(&other));
	other = target;
	other.name[14] ^= 1;
	assert_false(is_kept(&other));
	assert_true(is_kept(&target));
	pairing_close(&pairing);
}

static void
sessions_end(void **state)
{
	(void)state;
	for (int v = 0; v < 2; v++) {
		struct tls_target target = pairing_target("api.sluice.test");

		pairing_open(&pairing, &plain_options);
		pairing.only_12 = v == 1;
		assert_false(once(&target));
		pairing_set_time(&pairing, TLS_PAIRING_NOW_S + 3599);
		assert_true(once(&target));
		/* Each resumption of TLS 1.3 brings a ticket, which ends with the first. */
		pairing_set_time(&pairing, TLS_PAIRING_NOW_S + 3600);
		assert_false(once(&target));
		pairing_set_time(&pairing, TLS_PAIRING_NOW_S + 3600 + 3599);
		assert_true(once(&target));
		pairing_close(&pairing);
	}
}

/* Our clock was set back: whoever believed it would keep a session for longer than any may live. */
static void
a_session_from_the_future_is_none(void **state)
{
	(void)state;
	for (int v = 0; v < 2; v++) {
		struct tls_target target = pairing_target("api.sluice.test");

		pairing_open(&pairing, &plain_options);
		pairing.only_12 = v == 1;
		assert_false(once(&target));
		pairing_set_time(&pairing, TLS_PAIRING_NOW_S - 1);
		assert_false(once(&target));
		assert_true(once(&target));
		pairing_close(&pairing);
	}
}

/* The end of ca.pem, a second before that of chain.pem, which it has signed in the end. */
#define CA_ENDS_S INT64_C(2584158217)

/* A server whose tickets are good for longer. */
static void
a_session_ends_with_the_chain_that_was_shown(void **state)
{
	(void)state;
	for (int v = 0; v < 2; v++) {
		struct tls_target target = pairing_target("chain.sluice.test");
		struct pairing_options options = plain_options;

		options.chain = "chain";
		options.now_s = CA_ENDS_S - 1000;
		pairing_open(&pairing, &options);
		pairing.only_12 = v == 1;
		assert_false(once(&target));
		for (int64_t left_s = 900; left_s > 0; left_s -= 300) {
			pairing_set_time(&pairing, CA_ENDS_S - left_s);
			assert_true(once(&target));
		}
		pairing_set_time(&pairing, CA_ENDS_S - 1);
		assert_true(once(&target));
		/* Its last second: what is shown is still good, but shown it must be. */
		pairing_set_time(&pairing, CA_ENDS_S);
		assert_false(once(&target));
		pairing_set_time(&pairing, CA_ENDS_S + 1);
		pairing_connect(&pairing, &target);
		assert_false(pairing_shake(&pairing, 0));
		assert_int_equal(pairing.client_verdict, ERR_TLS_PEER_EXPIRED);
		pairing_part(&pairing);
		pairing_close(&pairing);
	}
}

static void
without_an_id_or_a_place_nothing_is_kept(void **state)
{
	struct pairing_options options = plain_options;
	struct tls_target target = pairing_target("api.sluice.test");

	(void)state;
	target.id = 0;
	pairing_open(&pairing, &options);
	assert_false(once(&target));
	assert_false(once(&target));
	pairing_close(&pairing);
	options.sessions_max = 0;
	target.id = 1;
	pairing_open(&pairing, &options);
	assert_false(once(&target));
	assert_false(once(&target));
	pairing_close(&pairing);
}

static void
many_targets_share_a_bounded_place(void **state)
{
	struct tls_target target = pairing_target("api.sluice.test");
	size_t bytes = 0;
	uint32_t resumed = 0;

	(void)state;
	pairing_open(&pairing, &plain_options);
	for (uint64_t id = 1; id <= 40; id++) {
		target.id = id;
		assert_false(once(&target));
		if (id == 20)
			bytes = tls_context_memory(pairing.ours).bytes;
	}
	assert_in_range(tls_context_memory(pairing.ours).bytes, bytes - 1024, bytes + 1024);
	/* The last ones are there. */
	for (uint64_t id = 33; id <= 40; id++) {
		target.id = id;
		resumed += once(&target);
	}
	assert_int_equal(resumed, 8);
	pairing_close(&pairing);
}

static void
a_session_that_the_other_end_has_forgotten_costs_a_handshake_in_full(void **state)
{
	(void)state;
	for (int v = 0; v < 2; v++) {
		struct tls_target target = pairing_target("api.sluice.test");

		pairing_open(&pairing, &plain_options);
		pairing.only_12 = v == 1;
		assert_false(once(&target));
		pairing_restart_server(&pairing, "edge", 0x22);
		assert_false(once(&target));
		/* With one of TLS 1.2 nothing else was offered: the next one asks what is spoken by now. */
		assert_int_equal(once(&target), v == 0);
		assert_true(once(&target));
		/* Another one there, who is nobody to us: what was kept does not help. */
		pairing_restart_server(&pairing, "self", 0x33);
		pairing_connect(&pairing, &target);
		assert_false(pairing_shake(&pairing, 0));
		assert_int_equal(pairing.client_verdict, ERR_TLS_PEER_UNKNOWN);
		pairing_part(&pairing);
		pairing_close(&pairing);
	}
}

/* Whoever hangs up instead of an alert would do so the next time, too: the owner sees that. */
static void
a_session_is_kept_until_it_is_told_to_be_forgotten(void **state)
{
	(void)state;
	for (int v = 0; v < 2; v++) {
		struct tls_target target = pairing_target("api.sluice.test");

		pairing_open(&pairing, &plain_options);
		pairing.only_12 = v == 1;
		assert_false(once(&target));
		pairing_connect(&pairing, &target);
		assert_true(tls_offered_session(pairing.client));
		assert_true(pairing_turn(&pairing, 0));
		/* One that is merely not wanted any more says nothing about it. */
		pairing_part(&pairing);
		pairing_connect(&pairing, &target);
		assert_true(tls_offered_session(pairing.client));
		tls_forget_session(pairing.client);
		pairing_part(&pairing);
		pairing_connect(&pairing, &target);
		assert_false(tls_offered_session(pairing.client));
		assert_true(pairing_shake(&pairing, 0));
		assert_true(pairing_exchange(&pairing, 0));
		pairing_part(&pairing);
		pairing_connect(&pairing, &target);
		assert_true(pairing_shake(&pairing, 0));
		assert_false(tls_offered_session(pairing.client)); /* it was good */
		pairing_part(&pairing);
		pairing_close(&pairing);
	}
}

static enum err
add(struct tls_authorities *authorities, const char *name, struct bytes pem)
{
	uint32_t skipped;
	char text[256];

	return tls_authorities_add(authorities, name, pem, &skipped, text, sizeof(text));
}

static void
bundles_have_names_and_bounds(void **state)
{
	struct tls_authorities *authorities = tls_authorities_new();

	(void)state;
	assert_int_equal(add(authorities, "one", cert_file("ca.pem")), ERR_OK);
	assert_int_equal(add(authorities, "one", cert_file("ca.pem")), ERR_POOL_EMPTY);
	assert_int_equal(add(authorities, "key", cert_file("edge.key")), ERR_TLS_BAD_CERTIFICATE);
	assert_int_equal(add(authorities, "none", BYTES_NONE), ERR_TLS_BAD_CERTIFICATE);
	assert_true(bytes_equal(tls_authorities_pem(authorities, BYTES_LITERAL("one")), cert_file("ca.pem")));
	assert_int_equal(tls_authorities_pem(authorities, BYTES_LITERAL("on")).len, 0);
	assert_int_equal(tls_authorities_pem(NULL, BYTES_LITERAL("one")).len, 0);
	for (int i = 1; i < TLS_AUTHORITIES_MAX; i++) {
		char name[16];

		snprintf(name, sizeof(name), "more %d", i);
		assert_int_equal(add(authorities, name, cert_file("ca.pem")), ERR_OK);
	}
	assert_int_equal(add(authorities, "last", cert_file("ca.pem")), ERR_POOL_EMPTY);
	tls_authorities_free(authorities);
}

#define FILLERS_MAX 4096

/* All but one block of room bytes. */
static size_t
fill(struct arena *arena, void *fillers[FILLERS_MAX], size_t room)
{
	void *spared = arena_alloc(arena, room);
	size_t count = 0;

	for (size_t bytes = 64 * MIB; bytes >= 16; bytes /= 2)
		while (count < FILLERS_MAX && (fillers[count] = arena_alloc(arena, bytes)) != NULL)
			count++;
	arena_release(arena, spared);
	return count;
}

static void
missing_memory_ends_the_connection_that_met_it_and_nothing_else(void **state)
{
	static void *fillers[FILLERS_MAX];
	bool has_failed = false, has_worked = false;

	(void)state;
	for (int v = 0; v < 2; v++) {
		struct tls_target target = pairing_target("api.sluice.test");
		struct arena *arena;
		size_t blocks;

		pairing_open(&pairing, &plain_options);
		pairing.only_12 = v == 1;
		assert_false(once(&target));
		assert_true(once(&target));
		blocks = tls_context_memory(pairing.ours).blocks;
		arena = instance_arena(pairing.ours->instance);
		for (size_t room = 256; room < 64 * KIB; room += 256) {
			size_t count = fill(arena, fillers, room);
			bool is_open;

			target.id = room; /* of which nothing can be resumed */
			pairing_connect(&pairing, &target);
			is_open = pairing.client != NULL && pairing_shake(&pairing, 0);
			assert_true(is_open ? pairing.client_verdict == ERR_OK :
					      pairing.client_verdict == ERR_TLS_MEMORY);
			has_failed |= !is_open;
			has_worked |= is_open;
			pairing_part(&pairing);
			while (count > 0)
				arena_release(arena, fillers[--count]);
			/* Up to all the places for sessions are filled meanwhile. */
			assert_in_range(tls_context_memory(pairing.ours).blocks, blocks - 1, blocks + 8);
		}
		target.id = 7;
		once(&target);
		assert_true(once(&target));
		pairing_close(&pairing);
	}
	assert_true(has_failed && has_worked);
}

static bool
keeps_secret(const struct tls_conn *conn)
{
	static const uint8_t none[sizeof(conn->client->secret)];

	return memcmp(conn->client->secret, none, sizeof(none)) != 0;
}

/* Of TLS 1.3, with which tickets become sessions. */
static void
the_resumption_secret_goes_with_the_last_ticket(void **state)
{
	static const uint8_t cut_header[] = { 4, 0 };
	struct tls_target target = pairing_target("api.sluice.test");

	(void)state;
	pairing_open(&pairing, &plain_options);
	pairing_connect(&pairing, &target);
	assert_true(pairing_shake(&pairing, 0));
	assert_true(keeps_secret(pairing.client));
	pairing.client->client->tickets_left = 1; /* the server sends one */
	assert_true(pairing_exchange(&pairing, 0));
	assert_int_equal(pairing.client->client->tickets_left, 0);
	assert_false(keeps_secret(pairing.client));
	pairing_part(&pairing);
	assert_true(once(&target)); /* it was made before */

	pairing_connect(&pairing, &target);
	assert_true(pairing_shake(&pairing, 0));
	assert_true(pairing_exchange(&pairing, 0));
	assert_true(keeps_secret(pairing.client)); /* for more of them */
	resume_ticket(pairing.client, bytes_make(cut_header, sizeof(cut_header)));
	assert_false(keeps_secret(pairing.client));
	pairing_part(&pairing);
	pairing_close(&pairing);
}

/* A record of tickets that is longer than any is looked at: what makes sessions of tickets goes with it, since
 * nobody knows where the next one begins. */
static void
the_resumption_secret_goes_with_a_record_of_tickets_that_is_too_long(void **state)
{
	static uint8_t ticket[5000] = { 4, 0, (sizeof(ticket) - 4) >> 8, (sizeof(ticket) - 4) & 0xff };
	struct tls_target target = pairing_target("api.sluice.test");

	(void)state;
	for (size_t len = 4096; len <= 4097; len++) {
		struct tls_forge server;
		struct tls_out out;

		pairing_open(&pairing, &plain_options);
		pairing_connect(&pairing, &target);
		assert_true(pairing_shake(&pairing, 0));
		assert_int_equal(pairing_read(&pairing), ERR_OK); /* its own ticket */
		assert_true(keeps_secret(pairing.client));
		server = tls_forge_make(&pairing.client->records, &pairing.client->records.receive);
		out = tls_duo_back(&pairing.to_client, 0);
		out.used = tls_forge_seal(&server, 22, bytes_make(ticket, len), 0, out.ptr);
		tls_duo_put(&pairing.to_client, out);
		assert_int_equal(pairing_read(&pairing), ERR_OK);
		assert_int_equal(keeps_secret(pairing.client), len == 4096);
		assert_true(tls_is_open(pairing.client));
		pairing_part(&pairing);
		pairing_close(&pairing);
	}
}

/* Nothing but close_notify is one: who has read all that came, or half a record, waits. */
static void
a_truncated_end_is_none(void **state)
{
	struct tls_target target = pairing_target("api.sluice.test");
	uint8_t end[TLS_ANSWER_BYTES_MAX];
	struct tls_out out = { end, sizeof(end), 0 };

	(void)state;
	pairing_open(&pairing, &plain_options);
	pairing_connect(&pairing, &target);
	assert_true(pairing_shake(&pairing, 0));
	assert_true(pairing_exchange(&pairing, 0));
	assert_int_equal(pairing_read(&pairing), ERR_MORE);
	assert_false(tls_was_closed(pairing.client));
	tls_close(pairing.server);
	assert_int_equal(tls_answer(pairing.server, &out), ERR_OK);
	for (size_t i = 0; i < out.used; i++) {
		struct tls_out byte = tls_duo_back(&pairing.to_client, 1);

		byte.ptr[byte.used++] = end[i];
		tls_duo_put(&pairing.to_client, byte);
		assert_int_equal(pairing_read(&pairing), i + 1 < out.used ? ERR_MORE : ERR_TLS_CLOSED);
		assert_int_equal(tls_was_closed(pairing.client), i + 1 == out.used);
	}
	pairing_part(&pairing);
	pairing_close(&pairing);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_versions_work_at_any_segmentation),
		cmocka_unit_test(a_name_is_sent_and_an_address_is_not),
		cmocka_unit_test(the_chain_must_lead_to_the_authority),
		cmocka_unit_test(the_name_must_be_in_the_certificate),
		cmocka_unit_test(an_address_is_no_name_of_the_same_octets),
		cmocka_unit_test(a_key_that_is_too_weak_is_nobodys),
		cmocka_unit_test(dates_count),
		cmocka_unit_test(a_pin_alone_is_enough_and_must_fit),
		cmocka_unit_test(a_pin_beside_an_authority_is_asked_for_in_addition),
		cmocka_unit_test(nothing_to_verify_by_is_no_target),
		cmocka_unit_test(the_next_connection_to_a_target_is_resumed),
		cmocka_unit_test(a_session_is_of_one_target_member_by_member),
		cmocka_unit_test(sessions_end),
		cmocka_unit_test(a_session_from_the_future_is_none),
		cmocka_unit_test(a_session_ends_with_the_chain_that_was_shown),
		cmocka_unit_test(without_an_id_or_a_place_nothing_is_kept),
		cmocka_unit_test(many_targets_share_a_bounded_place),
		cmocka_unit_test(a_session_that_the_other_end_has_forgotten_costs_a_handshake_in_full),
		cmocka_unit_test(bundles_have_names_and_bounds),
		cmocka_unit_test(missing_memory_ends_the_connection_that_met_it_and_nothing_else),
		cmocka_unit_test(the_resumption_secret_goes_with_the_last_ticket),
		cmocka_unit_test(the_resumption_secret_goes_with_a_record_of_tickets_that_is_too_long),
		cmocka_unit_test(a_truncated_end_is_none),
		cmocka_unit_test(a_session_is_kept_until_it_is_told_to_be_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

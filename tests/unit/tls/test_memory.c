/*
 * A handshake whose n-th allocation finds no room, as a server and as a client, full and resumed, with a client's
 * certificate and without: it ends cleanly, gives everything back, and nothing can be read where it was. With
 * libcrypto every n is tried; with mbedTLS's own numbers most of 7,000 allocations are those inside one elliptic
 * curve multiplication, so that of each size the first n are tried, then every so-manieth. The arena is compiled
 * into this test with a door in front of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define arena_alloc arena_alloc_behind_the_door
#define arena_new arena_new_behind_the_door
#include "tls/arena.c"
#undef arena_alloc
#undef arena_new

#include "base/units.h"
#include "cert_file.h"
#include "tls/cert.h"
#include "tls/conn.h"
#include "tls_duo.h"
#include "tls_pairing.h"

void *arena_alloc(struct arena *arena, size_t bytes);
struct arena *arena_new(size_t bytes);

#define ALLOCATIONS_MAX 65536
#define SIZES_MAX (32 * KIB)

static struct {
	struct arena *arena; /* the only one that ever refuses */
	bool any; /* each one does */
	uint64_t allocations;
	size_t sizes[ALLOCATIONS_MAX];
	uint64_t refuse_at; /* 0: none */
	bool is_shut; /* no arena can be made */
} door;

void *
arena_alloc(struct arena *arena, size_t bytes)
{
	if (arena == door.arena || door.any) {
		assert_true(door.allocations < ALLOCATIONS_MAX && bytes < SIZES_MAX);
		door.sizes[door.allocations++] = bytes;
		if (door.allocations == door.refuse_at) {
			arena->use.refusals++;
			return NULL;
		}
	}
	return arena_alloc_behind_the_door(arena, bytes);
}

struct arena *
arena_new(size_t bytes)
{
	return door.is_shut ? NULL : arena_new_behind_the_door(bytes);
}

static const char *const edge_only[] = { "edge", NULL };
static const uint16_t versions[] = { 0x0303, 0x0304 };
static struct tls_duo duo;

/* One handshake and a word each way. */
static enum err
handshake(struct tls_context *context, uint16_t version)
{
	struct tls_client_config config = tls_duo_client_of(version);
	enum err verdict;

	tls_duo_init(&duo, context, &config);
	if (tls_duo_shake(&duo, 0))
		assert_true(tls_duo_exchange(&duo));
	verdict = duo.server_verdict;
	tls_duo_fini(&duo);
	return verdict;
}

/* --- a handshake in which one allocation fails -------------------------------------------------- */

enum shape {
	ACCEPTS,
	ACCEPTS_TICKET,
	ACCEPTS_CERTIFICATE,         /* and believes nobody without */
	ACCEPTS_TICKET_OF_CERTIFICATE, /* of a client that has nothing else */
	CONNECTS,
	CONNECTS_BY_CHAIN, /* by RSA */
	CONNECTS_BY_TICKET,
	SHAPES
};

static const char *const shape_names[SHAPES] = {
	[ACCEPTS] = "accepts",
	[ACCEPTS_TICKET] = "accepts a ticket",
	[ACCEPTS_CERTIFICATE] = "accepts a certificate",
	[ACCEPTS_TICKET_OF_CERTIFICATE] = "accepts the ticket of who had one",
	[CONNECTS] = "connects",
	[CONNECTS_BY_CHAIN] = "connects by RSA",
	[CONNECTS_BY_TICKET] = "connects by a ticket",
};

static struct {
	enum shape shape;
	uint16_t version;
	struct tls_context *context; /* of ours that the door is in front of */
	struct tls_target target;
	uint8_t session[TLS_CLIENT_SESSION_BYTES_MAX];
	size_t session_len;
	bool is_resumed; /* the last one that was open */
} act;
static struct pairing pairing;

static bool
connects(void)
{
	return act.shape >= CONNECTS;
}

static bool
may_resume(void)
{
	return act.shape == ACCEPTS_TICKET || act.shape == ACCEPTS_TICKET_OF_CERTIFICATE ||
	       act.shape == CONNECTS_BY_TICKET;
}

static struct tls_conn *
accept_or_not(void)
{
	bool asks = act.shape == ACCEPTS_CERTIFICATE || act.shape == ACCEPTS_TICKET_OF_CERTIFICATE;

	return tls_accept(act.context, asks, false);
}

/* A client with what its shape says; with a certificate to get a ticket by. */
static enum err
accept_one(bool has_certificate, struct bytes session)
{
	struct tls_client_config config = tls_duo_client_of(act.version);
	struct tls_facts facts;
	enum err verdict;

	config.session = session;
	if (has_certificate) {
		config.cert_pem = cert_file("wild.pem");
		config.key_pem = cert_file("wild.key");
	}
	memset(&duo, 0, offsetof(struct tls_duo, to_server));
	duo.to_server.from = duo.to_server.to = duo.to_client.from = duo.to_client.to = 0;
	memset(&duo.record, 0, sizeof(duo.record));
	duo.server = accept_or_not();
	if (duo.server == NULL)
		return ERR_TLS_MEMORY;
	duo.client = tls_client_new(&config);
	duo.server_verdict = duo.client_verdict = ERR_TLS_AGAIN;
	if (tls_duo_shake(&duo, 0)) {
		assert_true(tls_duo_exchange(&duo));
		tls_facts(duo.server, &facts);
		act.is_resumed = facts.resumed;
		assert_false(has_certificate && facts.resumed);
		if (door.arena == NULL)
			act.session_len = tls_client_session(duo.client, act.session, sizeof(act.session));
	}
	verdict = duo.server_verdict;
	tls_duo_fini(&duo);
	return verdict;
}

static enum err
connect_one(void)
{
	struct tls_facts facts;
	enum err verdict;

	pairing.only_12 = act.version == 0x0303;
	pairing_connect(&pairing, &act.target);
	if (pairing.client == NULL) {
		pairing_part(&pairing);
		return ERR_TLS_MEMORY;
	}
	if (pairing_shake(&pairing, 0)) {
		/* With the ticket of TLS 1.3, which may find no room. */
		assert_true(pairing_exchange(&pairing, 0));
		tls_facts(pairing.client, &facts);
		act.is_resumed = facts.resumed;
	}
	verdict = pairing.client_verdict;
	pairing_part(&pairing);
	return verdict;
}

/* What there must be to resume from. */
static void
prepare(void)
{
	struct arena *before = door.arena;

	door.arena = NULL;
	if (act.shape == CONNECTS_BY_TICKET)
		assert_int_equal(connect_one(), ERR_OK);
	else if (may_resume() && act.session_len == 0)
		assert_int_equal(accept_one(act.shape == ACCEPTS_TICKET_OF_CERTIFICATE, BYTES_NONE), ERR_OK);
	door.arena = before;
}

static enum err
perform(void)
{
	if (connects())
		return connect_one();
	return accept_one(act.shape == ACCEPTS_CERTIFICATE,
			  bytes_make(act.session, may_resume() ? act.session_len : 0));
}

/* Nothing is left of it but what was there before, and nothing to be read where it was. */
static void
assert_gone(size_t blocks)
{
	struct arena *arena = instance_arena(act.context->instance);

	if (connects())
		sessions_forget(&act.context->clients.sessions, &act.target);
	assert_int_equal(tls_context_memory(act.context).blocks, blocks);
	for (struct block *b = arena->first; b != arena->end; b = after(b))
		for (size_t at = sizeof(struct links); is_free(b) && at < size_of(b); at++)
			if (payload_of(b)[at] != 0)
				fail_msg("%s: an octet is left", shape_names[act.shape]);
}

static void
begin(enum shape shape)
{
	static struct seeded seed;
	struct pairing_options options = { .chain = shape == CONNECTS_BY_CHAIN ? "rsa" : "edge", .authority = "ca",
					   .sessions_max = 4 };
	struct tls_identity *identity;
	char text[CERT_TEXT_BYTES];

	act.shape = shape;
	act.session_len = 0;
	act.target = pairing_target(shape == CONNECTS_BY_CHAIN ? "rsa.sluice.test" : "api.sluice.test");
	if (connects()) {
		pairing_open(&pairing, &options);
		act.context = pairing.ours;
		act.target.authority = tls_find_authority(pairing.ours, BYTES_LITERAL("ca"));
		return;
	}
	seed.state = 1;
	identity = tls_duo_identity(edge_only);
	assert_int_equal(tls_identity_add(identity, 1, cert_file("edge.pem"), cert_file("edge.key"), CERT_ANY_TIME,
					  text, sizeof(text)), ERR_OK);
	assert_int_equal(tls_identity_add_client_ca(identity, 1, cert_file("ca.pem"), text, sizeof(text)), ERR_OK);
	act.context = tls_duo_context(identity, 1, &seed, 0x11);
	tls_identity_free(identity);
}

static void
end(void)
{
	door.arena = NULL;
	if (connects())
		pairing_close(&pairing);
	else
		tls_context_free(act.context);
}

static uint64_t tried[ALLOCATIONS_MAX];

/* Fills tried from the allocations of a handshake that worked; returns how many. */
static size_t
choose(void)
{
	static uint32_t seen[SIZES_MAX];
	/* Where each number is an allocation, most are those of one multiplication. */
	uint32_t first = act.shape == ACCEPTS ? 100 : 10, step = act.shape == ACCEPTS ? 50 : 400;
	size_t count = 0;

	memset(seen, 0, sizeof(seen));
	if (door.allocations < 300)
		first = 300;
	for (uint64_t n = 1; n <= door.allocations; n++) {
		uint32_t nth = seen[door.sizes[n - 1]]++;

		if (nth < first || nth % step == 0)
			tried[count++] = n;
	}
	return count;
}

/* It is as if there had been no such handshake, or it is what it should be; nothing in between. */
static bool
is_right(enum err verdict)
{
	if (verdict == ERR_TLS_MEMORY)
		return true;
	if (act.shape == ACCEPTS_TICKET_OF_CERTIFICATE) /* whose ticket could not be looked at */
		return verdict == ERR_OK ? act.is_resumed : verdict == ERR_TLS_PEER_WITHOUT;
	return verdict == ERR_OK && (may_resume() || !act.is_resumed);
}

static void
fail_each_allocation(void)
{
	size_t blocks, count, felt = 0;

	prepare();
	assert_int_equal(perform(), ERR_OK); /* PSA's slots stay, and how an RSA key is blinded */
	if (connects())
		sessions_forget(&act.context->clients.sessions, &act.target);
	blocks = tls_context_memory(act.context).blocks;
	prepare();
	door.arena = instance_arena(act.context->instance);
	door.allocations = door.refuse_at = 0;
	assert_int_equal(perform(), ERR_OK);
	assert_int_equal(act.is_resumed, may_resume());
	count = choose();
	print_message("TLS %04x, %s: %zu of %llu allocations\n", act.version, shape_names[act.shape], count,
		      (unsigned long long)door.allocations);
	assert_true(count > 15);
	for (size_t i = 0; i < count; i++) {
		enum err verdict;

		prepare();
		door.allocations = 0;
		door.refuse_at = tried[i];
		verdict = perform();
		door.refuse_at = 0;
		if (!is_right(verdict))
			fail_msg("%s: %s at %llu", shape_names[act.shape], err_name(verdict),
				 (unsigned long long)tried[i]);
		felt += verdict != ERR_OK || act.is_resumed != may_resume();
		assert_gone(blocks);
	}
	/* Some are not needed: a ticket that cannot be made or kept is left out. */
	print_message("\t%zu made a difference\n", felt);
	assert_true(felt >= count * 7 / 10);
	prepare();
	assert_int_equal(perform(), ERR_OK);
	assert_int_equal(act.is_resumed, may_resume());
}

static void
exhaustion_at_any_allocation_ends_cleanly_and_leaks_nothing(void **state)
{
	(void)state;
	for (enum shape shape = 0; shape < SHAPES; shape++)
		for (size_t v = 0; v < COUNT_OF(versions); v++) {
			begin(shape);
			act.version = versions[v];
			fail_each_allocation();
			end();
		}
}

static const char *const rsa_only[] = { "rsa", NULL };

static void
begin_rsa(uint16_t version)
{
	static struct seeded seed;
	struct tls_identity *identity = tls_duo_identity(rsa_only);

	seed.state = 1;
	act.shape = ACCEPTS;
	act.version = version;
	act.context = tls_duo_context(identity, 1, &seed, 0x11);
	tls_identity_free(identity);
}

/* A handshake that finds no room at the nth allocation, and one behind it that must not notice. */
static void
refuse_once(uint64_t n)
{
	door.arena = instance_arena(act.context->instance);
	door.allocations = 0;
	door.refuse_at = n;
	(void)perform();
	door.refuse_at = 0;
	if (perform() != ERR_OK)
		fail_msg("TLS %04x: the key is of no use behind allocation %llu", act.version,
			 (unsigned long long)n);
}

/* The pair of numbers by which it is blinded is made with its first signature, and another one of it with each. */
static void
a_key_of_rsa_outlives_what_finds_no_memory(void **state)
{
	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		uint64_t first, second;

		begin_rsa(versions[v]);
		door.arena = instance_arena(act.context->instance);
		door.allocations = 0;
		assert_int_equal(perform(), ERR_OK);
		first = door.allocations;
		door.allocations = 0;
		assert_int_equal(perform(), ERR_OK);
		second = door.allocations;
		for (uint64_t n = 1; n <= second; n += 1 + n / 48)
			refuse_once(n);
		end();
		for (uint64_t n = 1; n <= first; n += 1 + n / 8) {
			begin_rsa(versions[v]);
			refuse_once(n);
			end();
		}
	}
}

static void
one_handshake_fits_into_its_share_of_the_arena(void **state)
{
	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		struct seeded seed = { 1 };
		struct tls_identity *identity = tls_duo_identity(edge_only);
		struct tls_context *context = tls_duo_context(identity, 1, &seed, 0x11);
		size_t before = tls_context_memory(context).bytes;

		assert_int_equal(handshake(context, versions[v]), ERR_OK);
		print_message("TLS %04x: peak of %zu bytes\n", versions[v],
			      tls_context_memory(context).bytes_peak - before);
		assert_in_range(tls_context_memory(context).bytes_peak - before, 33 * KIB,
				TLS_HANDSHAKE_BYTES);
		tls_context_free(context);
		tls_identity_free(identity);
	}
}

/* It is not the file that is wrong. */
static void
a_check_of_authorities_without_memory_says_so(void **state)
{
	struct bytes pem = cert_file("ca.pem");
	uint64_t allocations;
	char text[CERT_TEXT_BYTES];

	(void)state;
	door.is_shut = true;
	assert_int_equal(cert_check_authorities(pem, 1, text, sizeof(text)), ERR_TLS_MEMORY);
	assert_non_null(strstr(text, "memory"));
	door.is_shut = false;
	door.any = true;
	door.allocations = 0;
	assert_int_equal(cert_check_authorities(pem, 1, text, sizeof(text)), ERR_OK);
	allocations = door.allocations;
	assert_true(allocations > 10);
	/* The first is the instance itself. */
	for (uint64_t n = 2; n <= allocations; n++) {
		door.allocations = 0;
		door.refuse_at = n;
		assert_int_equal(cert_check_authorities(pem, 1, text, sizeof(text)), ERR_TLS_MEMORY);
		assert_non_null(strstr(text, "memory"));
	}
	door.refuse_at = 0;
	door.any = false;
}

/* A full handshake, one that resumes it, in both versions: nothing is left of them, not even an empty block,
 * while the connection is open. */
static void
an_open_connection_has_nothing_in_the_arena(void **state)
{
	struct seeded seed = { 1 };
	struct tls_identity *identity = tls_duo_identity(edge_only);
	struct tls_context *context = tls_duo_context(identity, 1, &seed, 0x11);

	(void)state;
	assert_int_equal(handshake(context, 0x0304), ERR_OK); /* PSA's slots stay */
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		uint8_t session[TLS_CLIENT_SESSION_BYTES_MAX];
		struct tls_client_config config = tls_duo_client_of(versions[v]);
		struct arena_use before = tls_context_memory(context);

		for (int round = 0; round < 2; round++) {
			struct tls_facts facts;

			tls_duo_init(&duo, context, &config);
			assert_true(tls_context_memory(context).bytes > before.bytes + 33 * KIB);
			assert_true(tls_duo_shake(&duo, 0));
			assert_int_equal(tls_context_memory(context).blocks, before.blocks);
			assert_int_equal(tls_context_memory(context).bytes, before.bytes);
			assert_true(tls_duo_exchange(&duo));
			assert_int_equal(tls_context_memory(context).bytes, before.bytes);
			tls_facts(duo.server, &facts);
			assert_int_equal(facts.resumed, round);
			config.session = bytes_make(
				session, tls_client_session(duo.client, session, sizeof(session)));
			tls_duo_fini(&duo);
		}
	}
	print_message("an open connection: %zu bytes\n", sizeof(struct tls_conn));
	assert_true(sizeof(struct tls_conn) <= TLS_CONN_BYTES);
	tls_context_free(context);
	tls_identity_free(identity);
}

/* How often these bytes lie anywhere in the worker's TLS memory. */
static size_t
occurrences(struct tls_context *context, const uint8_t *secret)
{
	struct arena *arena = instance_arena(context->instance);
	const uint8_t *end = (const uint8_t *)arena + arena->mapped_bytes;
	const uint8_t *at = (const uint8_t *)arena;
	size_t count = 0;

	while ((at = memmem(at, (size_t)(end - at), secret, 16)) != NULL) {
		count++;
		at++;
	}
	return count;
}

static void
the_keys_of_13(const uint8_t *secret, uint8_t key[16])
{
	derive_expand_label(DERIVE_SHA256, secret, "key", BYTES_NONE, key, 16);
}

static void
secrets_are_gone_when_their_use_is(void **state)
{
	struct seeded seed = { 1 };
	struct tls_identity *identity = tls_duo_identity(edge_only);
	struct tls_context *context = tls_duo_context(identity, 1, &seed, 0x11);
	struct tls_client_config config = tls_duo_client_of(0x0304);
	struct tls_client_secrets secrets;
	uint8_t keys[2][16];

	(void)state;
	tls_duo_init(&duo, context, &config);
	assert_true(tls_duo_shake(&duo, 0));
	assert_true(tls_duo_exchange(&duo));
	secrets = *tls_client_secrets(duo.client);
	the_keys_of_13(secrets.client_application, keys[0]);
	the_keys_of_13(secrets.server_application, keys[1]);
	assert_int_equal(occurrences(context, secrets.client_handshake), 0);
	assert_int_equal(occurrences(context, secrets.server_handshake), 0);
	assert_int_equal(occurrences(context, secrets.client_application), 1);
	assert_int_equal(occurrences(context, secrets.server_application), 1);
	assert_true(occurrences(context, keys[0]) > 0); /* of the connection, and the ring's */
	assert_true(occurrences(context, keys[1]) > 0);
	tls_duo_fini(&duo);
	assert_int_equal(occurrences(context, secrets.client_application), 0);
	assert_int_equal(occurrences(context, secrets.server_application), 0);
	assert_int_equal(occurrences(context, keys[0]), 0);
	assert_int_equal(occurrences(context, keys[1]), 0);

	config.version_min = config.version_max = 0x0303;
	tls_duo_init(&duo, context, &config);
	assert_true(tls_duo_shake(&duo, 0));
	assert_true(tls_duo_exchange(&duo));
	secrets = *tls_client_secrets(duo.client);
	assert_int_equal(occurrences(context, secrets.master.secret), 0);
	memcpy(keys[0], duo.server->records.send.key, 16);
	memcpy(keys[1], duo.server->records.receive.key, 16);
	assert_true(occurrences(context, keys[0]) > 0);
	tls_duo_fini(&duo);
	assert_int_equal(occurrences(context, keys[0]), 0);
	assert_int_equal(occurrences(context, keys[1]), 0);
	tls_context_free(context);
	tls_identity_free(identity);
}

static void
all_connections_can_be_in_their_handshake_at_once(void **state)
{
	static struct tls_duo many[16];
	struct seeded seed = { 1 };
	struct tls_identity *identity = tls_duo_identity(edge_only);
	struct tls_context *context = tls_duo_context(identity, COUNT_OF(many), &seed, 0x11);
	struct tls_client_config config = tls_duo_client_config();
	bool moved = true;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(many); i++)
		tls_duo_init(&many[i], context, &config);
	/* All in step: each turn, every one of them does one thing. */
	while (moved) {
		moved = false;
		for (size_t i = 0; i < COUNT_OF(many); i++)
			moved = tls_duo_turn(&many[i], 0) || moved;
	}
	for (size_t i = 0; i < COUNT_OF(many); i++) {
		assert_true(tls_is_open(many[i].server));
		assert_true(tls_duo_send_to_server(&many[i], BYTES_LITERAL("ping"), 0));
		tls_duo_fini(&many[i]);
	}
	assert_int_equal(tls_context_memory(context).refusals, 0);
	tls_context_free(context);
	tls_identity_free(identity);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(exhaustion_at_any_allocation_ends_cleanly_and_leaks_nothing),
		cmocka_unit_test(a_key_of_rsa_outlives_what_finds_no_memory),
		cmocka_unit_test(one_handshake_fits_into_its_share_of_the_arena),
		cmocka_unit_test(a_check_of_authorities_without_memory_says_so),
		cmocka_unit_test(an_open_connection_has_nothing_in_the_arena),
		cmocka_unit_test(secrets_are_gone_when_their_use_is),
		cmocka_unit_test(all_connections_can_be_in_their_handshake_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

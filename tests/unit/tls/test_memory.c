/*
 * A handshake whose n-th allocation finds no room: it ends cleanly and gives everything back. Most
 * of its 7,000 allocations are numbers inside one elliptic curve multiplication, so of each size
 * the first hundred n are tried, then every 50th. The arena is compiled into this test with a door
 * in front of it.
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

void *arena_alloc(struct arena *arena, size_t bytes);
struct arena *arena_new(size_t bytes);

#define ALLOCATIONS_MAX 16384
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
	struct tls_client_config config = tls_duo_client_config();
	enum err verdict;

	config.version_min = config.version_max = version;
	memset(&duo, 0, offsetof(struct tls_duo, to_server));
	duo.to_server.from = duo.to_server.to = duo.to_client.from = duo.to_client.to = 0;
	duo.server = tls_accept(context, 0, false);
	if (duo.server == NULL)
		return ERR_TLS_MEMORY;
	duo.client = tls_client_new(&config);
	duo.server_verdict = duo.client_verdict = ERR_TLS_AGAIN;
	if (tls_duo_shake(&duo, 0)) {
		door.refuse_at = 0; /* of the handshake alone */
		assert_true(tls_duo_exchange(&duo));
	}
	verdict = duo.server_verdict;
	tls_duo_fini(&duo);
	return verdict;
}

static uint64_t tried[ALLOCATIONS_MAX];

/* Fills tried from the allocations of a handshake that worked; returns how many. */
static size_t
choose(void)
{
	static uint32_t seen[SIZES_MAX];
	size_t count = 0;

	memset(seen, 0, sizeof(seen));
	for (uint64_t n = 1; n <= door.allocations; n++) {
		uint32_t nth = seen[door.sizes[n - 1]]++;

		if (nth < 100 || nth % 50 == 0)
			tried[count++] = n;
	}
	return count;
}

static void
exhaustion_at_any_allocation_ends_cleanly_and_leaks_nothing(void **state)
{
	struct seeded seed = { 1 };
	struct tls_identity *identity = tls_duo_identity(edge_only);
	struct tls_context *context = tls_duo_context(identity, 1, &seed, 0x11);

	(void)state;
	assert_int_equal(handshake(context, 0x0304), ERR_OK); /* PSA's slots stay */
	door.arena = instance_arena(context->instance);
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		size_t blocks = tls_context_memory(context).blocks;
		uint64_t failures = 0;
		size_t count;

		door.allocations = door.refuse_at = 0;
		assert_int_equal(handshake(context, versions[v]), ERR_OK);
		count = choose();
		print_message("TLS %04x: %zu of %llu allocations\n", versions[v], count,
			      (unsigned long long)door.allocations);
		assert_true(count > 30);
		for (size_t i = 0; i < count; i++) {
			enum err verdict;

			door.allocations = 0;
			door.refuse_at = tried[i];
			verdict = handshake(context, versions[v]);
			door.refuse_at = 0;
			/* Some are not needed: a ticket that cannot be made is left out. */
			if (verdict != ERR_OK)
				assert_int_equal(verdict, ERR_TLS_MEMORY);
			failures += verdict == ERR_TLS_MEMORY;
			assert_int_equal(tls_context_memory(context).blocks, blocks);
		}
		assert_true(failures >= count * 9 / 10);
		assert_int_equal(handshake(context, versions[v]), ERR_OK);
	}
	door.arena = NULL;
	tls_context_free(context);
	tls_identity_free(identity);
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
		struct tls_client_config config = tls_duo_client_config();
		struct arena_use before = tls_context_memory(context);

		config.version_min = config.version_max = versions[v];
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
	struct tls_client_config config = tls_duo_client_config();
	struct tls_client_secrets secrets;
	uint8_t keys[2][16];

	(void)state;
	config.version_min = config.version_max = 0x0304;
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
		cmocka_unit_test(one_handshake_fits_into_its_share_of_the_arena),
		cmocka_unit_test(a_check_of_authorities_without_memory_says_so),
		cmocka_unit_test(an_open_connection_has_nothing_in_the_arena),
		cmocka_unit_test(secrets_are_gone_when_their_use_is),
		cmocka_unit_test(all_connections_can_be_in_their_handshake_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

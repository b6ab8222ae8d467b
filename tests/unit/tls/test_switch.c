/*
 * From mbedTLS's handshake to our records: nothing may lie behind the last message, the two directions' keys and
 * numbers go on where mbedTLS's were, and what a client does at that very moment arrives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "tls_duo.h"
#include "tls_engine.h"
#include "tls_forge.h"

#define TLS12 0x0303
#define TLS13 0x0304

static struct tls_duo duo;
static struct tls_duo_edge edge;

static int
set_up(void **state)
{
	(void)state;
	tls_duo_edge_init(&edge, 2);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	tls_duo_edge_fini(&edge);
	return 0;
}

static void
run_client(void)
{
	do {
		struct bytes in = tls_duo_front(&duo.to_client, 0);
		struct tls_out out = tls_duo_back(&duo.to_server, 0);

		duo.client_verdict = tls_client_step(duo.client, &in, &out);
		tls_duo_taken(&duo.to_client, in, 0);
		tls_duo_put(&duo.to_server, out);
	} while (duo.client_verdict == ERR_TLS_AGAIN);
}

static void
run_server(void)
{
	do {
		struct bytes in = tls_duo_front(&duo.to_server, 0);
		struct tls_out out = tls_duo_back(&duo.to_client, 0);

		duo.server_verdict = tls_engine_handshake(duo.server, &in, &out);
		tls_duo_taken(&duo.to_server, in, 0);
		tls_duo_put(&duo.to_client, out);
	} while (duo.server_verdict == ERR_TLS_AGAIN);
}

/* Until the client's last flight is on its way and the server waits for it. */
static void
shake_to_the_last_flight(uint16_t version)
{
	struct tls_client_config config = tls_duo_client_of(version);

	tls_duo_init(&duo, edge.context, &config);
	run_client();
	run_server();
	run_client();
}

/* The client's Finished, the last record on the wire, is made again with `behind` behind it. */
static void
append_to_finished(uint16_t version, struct bytes behind)
{
	const struct tls_client_secrets *secrets = tls_client_secrets(duo.client);
	struct tls_duo_wire *wire = &duo.to_server;
	uint8_t content[256];
	struct tls_forge forge;
	struct records r;
	size_t at = wire->from;
	uint8_t type;
	int len;

	for (size_t next = at; next < wire->to;) {
		at = next;
		next += 5u + (size_t)(wire->bytes[next + 3] << 8 | wire->bytes[next + 4]);
	}
	if (version == TLS13)
		records_begin_13(&r, AEAD_AES_128_GCM, secrets->client_handshake, secrets->server_handshake, 0,
				 true);
	else
		records_begin_12(&r, AEAD_AES_128_GCM, &secrets->master, true);
	r.send.sequence = 0;
	forge = tls_forge_make(&r, &r.send);
	len = tls_forge_open(&forge, bytes_make(wire->bytes + at, wire->to - at), &type, content);
	assert_true(len > 0 && type == 22);
	memcpy(content + len, behind.ptr, behind.len);
	forge = tls_forge_make(&r, &r.send);
	wire->to = at + tls_forge_seal(&forge, 22, bytes_make(content, (size_t)len + behind.len), 0,
				       wire->bytes + at);
}

/* RFC 8446 5.1. mbedTLS by itself would take it for a message with the new keys. */
static void
nothing_may_follow_finished_in_its_record(void **state)
{
	static const uint8_t key_update[] = { 24, 0, 0, 1, 0 };
	static const uint8_t half[] = { 1, 0 };
	static const struct bytes behind[] = { { key_update, sizeof(key_update) }, { half, sizeof(half) } };

	(void)state;
	for (uint16_t version = TLS12; version <= TLS13; version++)
		for (size_t i = 0; i < COUNT_OF(behind); i++) {
			uint8_t memory[64];
			struct tls_out plain = { memory, sizeof(memory), 0 };
			struct tls_out out = { memory, sizeof(memory), 0 };
			struct bytes in;

			shake_to_the_last_flight(version);
			append_to_finished(version, behind[i]);
			run_server();
			assert_int_equal(duo.server_verdict, ERR_TLS_BAD_MESSAGE);
			run_client();
			assert_int_equal(duo.client_verdict, ERR_OK);
			in = tls_duo_front(&duo.to_client, 0);
			while (tls_client_open(duo.client, &in, &plain, &out) == ERR_OK)
				; /* the ticket */
			assert_int_equal(tls_client_alert(duo.client), 10);
			tls_duo_fini(&duo);
		}
}

static void
the_same_record_without_anything_behind_it_opens(void **state)
{
	(void)state;
	for (uint16_t version = TLS12; version <= TLS13; version++) {
		shake_to_the_last_flight(version);
		append_to_finished(version, BYTES_LITERAL(""));
		run_server();
		assert_int_equal(duo.server_verdict, ERR_OK);
		run_client();
		assert_true(tls_duo_exchange(&duo));
		tls_duo_fini(&duo);
	}
}

/* What was sent right behind Finished waits in the caller's bytes, and is read with the new keys. */
static void
data_behind_finished_is_not_swallowed(void **state)
{
	(void)state;
	for (size_t piece = 0; piece < 3; piece++) {
		struct bytes text = BYTES_LITERAL("GET / HTTP/1.1\r\n\r\n");
		struct bytes rest = text;
		uint8_t memory[64];
		struct tls_out plain = { memory, sizeof(memory), 0 };
		struct tls_out out;
		uint8_t space[128];

		shake_to_the_last_flight(TLS13);
		assert_int_equal(duo.client_verdict, ERR_OK);
		out = tls_duo_back(&duo.to_server, 0);
		assert_int_equal(tls_client_seal(duo.client, &rest, &out), ERR_OK);
		tls_duo_put(&duo.to_server, out);
		run_server();
		assert_int_equal(duo.server_verdict, ERR_OK);
		assert_true(duo.to_server.to > duo.to_server.from);
		out = (struct tls_out){ space, sizeof(space), 0 };
		while (duo.to_server.to > duo.to_server.from) {
			struct bytes in = tls_duo_front(&duo.to_server, piece);

			(void)tls_duo_open(&duo, &in, &plain, &out);
			tls_duo_taken(&duo.to_server, in, piece);
		}
		assert_true(bytes_equal(bytes_make(memory, plain.used), text));
		tls_duo_fini(&duo);
	}
}

/* In TLS 1.3 the ticket was sealed with the key of the data, as its first record. */
static void
tickets_count_among_the_records_that_were_sent(void **state)
{
	struct tls_context_config config = { .conns_max = 1, .entropy = seeded_entropy, .owner = &edge.seed };
	struct tls_context *without;
	struct tls_context *each[2];

	(void)state;
	tls_engine_choose(&config);
	without = tls_context_new(&config, edge.identity);
	each[0] = edge.context;
	each[1] = without;
	tls_set_time(without, TLS_DUO_NOW_S);
	for (size_t i = 0; i < COUNT_OF(each); i++) {
		struct tls_client_config client = tls_duo_client_of(TLS13);

		tls_duo_init(&duo, each[i], &client);
		assert_true(tls_duo_shake(&duo, 0));
		assert_true(tls_duo_exchange(&duo));
		tls_duo_fini(&duo);
	}
	tls_context_free(without);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_may_follow_finished_in_its_record),
		cmocka_unit_test(the_same_record_without_anything_behind_it_opens),
		cmocka_unit_test(data_behind_finished_is_not_swallowed),
		cmocka_unit_test(tickets_count_among_the_records_that_were_sent),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

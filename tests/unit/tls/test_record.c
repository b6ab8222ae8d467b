/* Data after the handshake: sizes, room, damage, truncation, and both ways of ending. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "tls_duo.h"

static const uint16_t versions[] = { 0x0303, 0x0304 };

static struct tls_duo duo;
static struct tls_duo_edge edge;
static uint8_t text[5 * TLS_RECORD_BYTES_MAX];

static int
set_up(void **state)
{
	(void)state;
	tls_duo_edge_init(&edge, 1);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 7 + i / 251);
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
open_duo(uint16_t version)
{
	struct tls_client_config config = tls_duo_client_of(version);

	tls_duo_init(&duo, edge.context, &config);
	assert_true(tls_duo_shake(&duo, 0));
}

/* A record of the client's, as it goes over the wire. */
static struct bytes
client_record(struct bytes plain)
{
	struct tls_out out = tls_duo_back(&duo.to_server, 0);

	assert_int_equal(tls_client_seal(duo.client, &plain, &out), ERR_OK);
	assert_int_equal(plain.len, 0);
	return bytes_make(out.ptr, out.used);
}

static void
every_size_arrives_in_both_directions(void **state)
{
	static const size_t sizes[] = { 1,
					15,
					16,
					17,
					255,
					1460,
					4096,
					TLS_RECORD_BYTES_MAX - 1,
					TLS_RECORD_BYTES_MAX,
					TLS_RECORD_BYTES_MAX + 1,
					5 * TLS_RECORD_BYTES_MAX };

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		open_duo(versions[v]);
		for (size_t i = 0; i < COUNT_OF(sizes); i++) {
			assert_true(tls_duo_send_to_server(&duo, bytes_make(text, sizes[i]), 0));
			assert_true(tls_duo_send_to_client(&duo, bytes_make(text, sizes[i]), 0));
		}
		assert_true(tls_duo_send_to_server(&duo, bytes_make(text, 20000), 1));
		assert_true(tls_duo_send_to_client(&duo, bytes_make(text, 20000), 1));
		tls_duo_fini(&duo);
	}
}

/* In pieces of any size, with the header and the end somewhere else. */
static void
a_record_is_sealed_and_opened_where_its_pieces_lie(void **state)
{
	static uint8_t memory[3000];
	static uint8_t opened[3000];

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		struct piece piece[3] = { { memory, 1000 }, { memory + 1200, 1 }, { memory + 1500, 1448 } };
		struct pieces plain = { piece, COUNT_OF(piece) };
		struct tls_out got = { opened, sizeof(opened), 0 };
		uint8_t head[TLS_HEAD_BYTES_MAX];
		uint8_t tail[TLS_TAIL_BYTES_MAX];
		struct tls_out wire;
		struct bytes in;

		open_duo(versions[v]);
		wire = tls_duo_back(&duo.to_client, 0);
		for (size_t i = 0, at = 0; i < COUNT_OF(piece); at += piece[i++].len)
			memcpy(piece[i].ptr, text + at, piece[i].len);
		assert_int_equal(tls_seal(duo.server, &plain, head, tail, 0), ERR_OK);
		memcpy(wire.ptr, head, tls_head_bytes(duo.server));
		wire.used = tls_head_bytes(duo.server);
		for (size_t i = 0; i < COUNT_OF(piece); wire.used += piece[i++].len)
			memcpy(wire.ptr + wire.used, piece[i].ptr, piece[i].len);
		memcpy(wire.ptr + wire.used, tail, tls_tail_bytes(duo.server));
		wire.used += tls_tail_bytes(duo.server);
		tls_duo_put(&duo.to_client, wire);
		in = tls_duo_front(&duo.to_client, 0);
		wire = tls_duo_back(&duo.to_server, 0);
		while (in.len > 0 || got.used < 2449)
			assert_int_equal(tls_client_open(duo.client, &in, &got, &wire), ERR_OK);
		assert_int_equal(got.used, 2449);
		assert_memory_equal(opened, text, 2449);
		tls_duo_fini(&duo);
	}
}

static void
what_is_owed_is_said_whole_or_not_at_all(void **state)
{
	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		uint8_t memory[TLS_ANSWER_BYTES_MAX];
		struct tls_out out = { memory, TLS_ANSWER_BYTES_MAX - 1, 0 };

		open_duo(versions[v]);
		assert_false(tls_owes(duo.server));
		assert_int_equal(tls_answer(duo.server, &out), ERR_OK);
		assert_int_equal(out.used, 0);
		tls_close(duo.server);
		assert_true(tls_owes(duo.server));
		assert_int_equal(tls_answer(duo.server, &out), ERR_TLS_FULL);
		assert_int_equal(out.used, 0);
		out.room++;
		assert_int_equal(tls_answer(duo.server, &out), ERR_OK);
		assert_true(out.used > 0 && !tls_owes(duo.server));
		tls_duo_fini(&duo);
	}
}

/* Gives the server a record of 40 bytes with one byte changed; returns the alert that the client
 * reads. */
static uint8_t
alert_for_damage(uint16_t version, size_t at, enum err expected)
{
	uint8_t memory[64];
	struct tls_out plain = { memory, sizeof(memory), 0 };
	struct tls_out out;
	struct bytes in;
	uint8_t alert;

	open_duo(version);
	in = client_record(bytes_make(text, 40));
	assert_true(at < in.len);
	duo.to_server.bytes[(size_t)(in.ptr - duo.to_server.bytes) + at] ^= 0x01;
	out = tls_duo_back(&duo.to_client, 0);
	assert_int_equal(tls_duo_open(&duo, &in, &plain, &out), expected);
	assert_int_equal(plain.used, 0);
	if (expected == ERR_MORE) {
		tls_duo_fini(&duo);
		return 0;
	}
	tls_duo_put(&duo.to_client, out);
	assert_false(tls_duo_send_to_client(&duo, BYTES_LITERAL("more"), 0)); /* dead */
	in = tls_duo_front(&duo.to_client, 0);
	out = tls_duo_back(&duo.to_server, 0);
	while (tls_client_open(duo.client, &in, &plain, &out) == ERR_OK)
		; /* TLS 1.3: past the ticket */
	alert = tls_client_alert(duo.client);
	tls_duo_fini(&duo);
	return alert;
}

static void
a_damaged_record_is_answered_with_an_alert_and_shows_nothing(void **state)
{
	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		size_t overhead = versions[v] == 0x0303 ? 29 : 22;

		for (size_t at = 5; at < 40 + overhead; at++)
			assert_int_equal(alert_for_damage(versions[v], at, ERR_TLS_NOT_AUTHENTIC), 20);
		/* In the header: another type. */
		if (versions[v] == 0x0303)
			assert_int_equal(alert_for_damage(versions[v], 0, ERR_TLS_NOT_AUTHENTIC), 20);
	}
}

static void
a_record_given_twice_is_refused(void **state)
{
	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		uint8_t memory[64];
		uint8_t answer[128];
		struct tls_out plain = { memory, sizeof(memory), 0 };
		struct tls_out out = { answer, sizeof(answer), 0 };
		struct bytes record;
		struct bytes in;

		open_duo(versions[v]);
		in = record = client_record(bytes_make(text, 20));
		assert_int_equal(tls_duo_open(&duo, &in, &plain, &out), ERR_OK);
		assert_int_equal(tls_duo_open(&duo, &record, &plain, &out), ERR_TLS_NOT_AUTHENTIC);
		assert_int_equal(plain.used, 20);
		assert_true(out.used > 0);
		tls_duo_fini(&duo);
	}
}

static void
a_cut_off_record_is_never_data(void **state)
{
	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		uint8_t memory[64];
		uint8_t answer[128];
		struct tls_out plain = { memory, sizeof(memory), 0 };
		struct tls_out out = { answer, sizeof(answer), 0 };
		struct bytes record;

		open_duo(versions[v]);
		record = client_record(bytes_make(text, 20));
		for (size_t at = 0; at + 1 < record.len; at++) {
			struct bytes in = bytes_make(record.ptr + at, 1);

			assert_int_equal(tls_duo_open(&duo, &in, &plain, &out), ERR_MORE);
			assert_int_equal(plain.used, 0);
		}
		tls_duo_fini(&duo);
	}
}

static void
an_oversized_record_is_refused(void **state)
{
	static const uint8_t header[] = { 23, 3, 3, 0x42, 0x00 }; /* 16,896 bytes would follow */

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		uint8_t memory[64];
		uint8_t answer[128];
		struct tls_out plain = { memory, sizeof(memory), 0 };
		struct tls_out out = { answer, sizeof(answer), 0 };
		struct bytes in = bytes_make(header, sizeof(header));

		open_duo(versions[v]);
		assert_int_equal(tls_duo_open(&duo, &in, &plain, &out), ERR_TLS_RECORD_TOO_LONG);
		assert_true(out.used > 0);
		tls_duo_fini(&duo);
	}
}

static void
close_notify_ends_one_direction_only(void **state)
{
	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		uint8_t memory[64];
		uint8_t answer[128];
		struct tls_out plain = { memory, sizeof(memory), 0 };
		struct tls_out out = { answer, sizeof(answer), 0 };
		struct tls_out wire;
		struct bytes in;

		open_duo(versions[v]);
		wire = tls_duo_back(&duo.to_server, 0);
		assert_int_equal(tls_client_close(duo.client, &wire), ERR_OK);
		in = bytes_make(wire.ptr, wire.used);
		assert_int_equal(tls_duo_open(&duo, &in, &plain, &out), ERR_TLS_CLOSED);
		assert_int_equal(tls_duo_open(&duo, &in, &plain, &out), ERR_TLS_CLOSED);
		assert_int_equal(out.used, 0);
		/* The answer to what came before it still goes out. */
		assert_true(tls_duo_send_to_client(&duo, BYTES_LITERAL("answer"), 0));
		wire = tls_duo_back(&duo.to_client, 0);
		assert_int_equal(tls_duo_close(&duo, &wire), ERR_OK);
		assert_true(wire.used > 0);
		in = bytes_make(wire.ptr, wire.used);
		assert_int_equal(tls_client_open(duo.client, &in, &plain, &out), ERR_TLS_CLOSED);
		/* Closing twice says nothing more. */
		wire.used = 0;
		assert_int_equal(tls_duo_close(&duo, &wire), ERR_OK);
		assert_int_equal(wire.used, 0);
		tls_duo_fini(&duo);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size_arrives_in_both_directions),
		cmocka_unit_test(a_record_is_sealed_and_opened_where_its_pieces_lie),
		cmocka_unit_test(what_is_owed_is_said_whole_or_not_at_all),
		cmocka_unit_test(a_damaged_record_is_answered_with_an_alert_and_shows_nothing),
		cmocka_unit_test(a_record_given_twice_is_refused),
		cmocka_unit_test(a_cut_off_record_is_never_data),
		cmocka_unit_test(an_oversized_record_is_refused),
		cmocka_unit_test(close_notify_ends_one_direction_only),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

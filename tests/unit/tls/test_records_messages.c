/* What a peer with the right keys says to TLS itself: KeyUpdate, renegotiation, tickets, close_notify, alerts. */
#include "records_peer.h"

static void
key_updates_are_followed_and_answered_if_asked_for(void **state)
{
	uint8_t said[RECORDS_ANSWER_BYTES_MAX];

	(void)state;
	for (unsigned int cipher = 0; cipher < AEAD_CIPHERS; cipher++) {
		begin(TLS_13, cipher, false);
		assert_int_equal(SEND(23, "old key"), ERR_OK);
		assert_int_equal(SEND(22, KEY_UPDATE), ERR_OK);
		assert_false(records_owes(&r));
		tls_forge_renew(&in);
		assert_int_equal(r.receive.sequence, 0);
		assert_int_equal(SEND(23, "new key"), ERR_OK);
		/* Two questions, one answer; its own key is new after it. */
		assert_int_equal(SEND(22, KEY_UPDATE_ASKING), ERR_OK);
		tls_forge_renew(&in);
		assert_int_equal(SEND(22, KEY_UPDATE_ASKING), ERR_OK);
		tls_forge_renew(&in);
		assert_true(records_owes(&r));
		assert_int_equal(read_answer(said), 5);
		assert_memory_equal(said, KEY_UPDATE, 5);
		assert_int_equal(r.send.sequence, 0);
		assert_int_equal(SEND(23, "newest key"), ERR_OK);
		/* Byte by byte. */
		for (size_t i = 0; i < 5; i++)
			assert_int_equal(send(22, &KEY_UPDATE_ASKING[i], 1), ERR_OK);
		tls_forge_renew(&in);
		assert_int_equal(SEND(23, "key number five"), ERR_OK);
		assert_int_equal(read_answer(said), 5);
		/* Of our own accord. */
		records_renew(&r, true);
		assert_int_equal(read_answer(said), 5);
		assert_memory_equal(said, KEY_UPDATE_ASKING, 5);
		records_end(&r, &ring);
	}
	/* The old key is over. */
	begin_server(TLS_13);
	assert_int_equal(SEND(22, KEY_UPDATE), ERR_OK);
	assert_int_equal(SEND(23, "still the old key"), ERR_TLS_NOT_AUTHENTIC);
	/* Nothing is said behind close_notify. */
	begin_server(TLS_13);
	records_close(&r);
	assert_int_equal(read_answer(said), 2);
	assert_int_equal(SEND(22, KEY_UPDATE_ASKING), ERR_OK);
	assert_false(records_owes(&r));
}

static void
key_updates_are_bounded_in_time(void **state)
{
	(void)state;
	begin_server(TLS_13);
	for (int i = 0; i < RECORDS_UPDATES_MAX; i++) {
		assert_int_equal(SEND(22, KEY_UPDATE), ERR_OK);
		tls_forge_renew(&in);
		assert_int_equal(SEND(23, "data does not help"), ERR_OK);
	}
	now_ns += RECORDS_UPDATES_NS;
	for (int i = 0; i < RECORDS_UPDATES_MAX; i++) {
		assert_int_equal(SEND(22, KEY_UPDATE), ERR_OK);
		tls_forge_renew(&in);
	}
	now_ns += RECORDS_UPDATES_NS - 1;
	assert_int_equal(SEND(22, KEY_UPDATE), ERR_TLS_FLOOD);
	assert_dead(ERR_TLS_FLOOD, ALERT_UNEXPECTED_MESSAGE);
}

static void
renegotiation_is_refused_with_a_warning_once_for_each_record(void **state)
{
	uint8_t said[RECORDS_ANSWER_BYTES_MAX];

	(void)state;
	for (int is_client = 0; is_client < 2; is_client++) {
		begin(TLS_12, AEAD_AES_256_GCM, is_client != 0);
		assert_int_equal(is_client ? SEND(22, "\x00\x00\x00\x00") : SEND(22, "\x01\x00\x00\x03x"),
				 ERR_OK);
		assert_int_equal(read_answer(said), 2);
		assert_memory_equal(said, "\x01\x64", 2);
		if (!is_client)
			assert_int_equal(SEND(22, "yz"), ERR_OK); /* the rest of it */
		assert_int_equal(read_answer(said), 0);
		assert_int_equal(SEND(23, "goes on"), ERR_OK);
	}
}

static void
a_client_is_given_its_tickets_and_a_server_none(void **state)
{
	static const char tickets[] = "\x04\x00\x00\x05"
				      "first\x04\x00\x00\x06second";
	struct records_opened opened;
	size_t len;

	(void)state;
	begin_client(TLS_13);
	len = tls_forge_seal(&in, 22, bytes_make(tickets, sizeof(tickets) - 1), 3, wire);
	assert_int_equal(open_wire(len, &opened), ERR_OK);
	assert_int_equal(opened.kind, RECORDS_TICKET);
	assert_int_equal(opened.len, sizeof(tickets) - 1);
	assert_memory_equal(wire + opened.offset, tickets, opened.len);
	/* With a KeyUpdate behind them, which is not handed on. */
	len = tls_forge_seal(&in, 22, BYTES_LITERAL("\x04\x00\x00\x05third" KEY_UPDATE_ASKING), 0, wire);
	assert_int_equal(open_wire(len, &opened), ERR_OK);
	assert_int_equal(opened.kind, RECORDS_TICKET);
	assert_int_equal(opened.len, 9);
	assert_true(records_owes(&r));
	tls_forge_renew(&in);
	/* In parts, each handed on as it comes. */
	for (size_t i = 0; i < 9; i++) {
		len = tls_forge_seal(&in, 22, bytes_make(tickets + i, 1), 0, wire);
		assert_int_equal(open_wire(len, &opened), ERR_OK);
		assert_int_equal(opened.kind, RECORDS_TICKET);
		assert_int_equal(opened.len, 1);
	}
	/* The tail of one, and half a KeyUpdate. */
	len = tls_forge_seal(&in, 22, BYTES_LITERAL("\x04\x00\x00\x03xy"), 0, wire);
	assert_int_equal(open_wire(len, &opened), ERR_OK);
	len = tls_forge_seal(&in, 22, BYTES_LITERAL("z\x18\x00"), 0, wire);
	assert_int_equal(open_wire(len, &opened), ERR_OK);
	assert_int_equal(opened.len, 1);
	assert_int_equal(SEND(22, "\x00\x01\x00"), ERR_OK);
	tls_forge_renew(&in);
	assert_int_equal(SEND(23, "with the new key"), ERR_OK);
	/* What no client asked for: CertificateRequest. And a ticket without an end. */
	assert_int_equal(SEND(22, "\x0d\x00\x00\x01x"), ERR_TLS_BAD_MESSAGE);
	assert_dead(ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
	begin_client(TLS_13);
	assert_int_equal(SEND(22, "\x04\x01\x00\x01x"), ERR_TLS_BAD_MESSAGE);
	assert_dead(ERR_TLS_BAD_MESSAGE, ALERT_ILLEGAL_PARAMETER);
}

static void
closing_is_said_and_heard_once_in_each_direction(void **state)
{
	uint8_t said[RECORDS_ANSWER_BYTES_MAX];
	uint8_t head[RECORDS_HEAD_BYTES_MAX];
	uint8_t tail[RECORDS_TAIL_BYTES_MAX];
	struct piece piece = { text, 10 };
	struct pieces plain = { &piece, 1 };
	struct records_opened opened;
	size_t written;

	(void)state;
	for (int is_13 = 0; is_13 < 2; is_13++) {
		begin_server(is_13 != 0);
		assert_int_equal(SEND(21, "\x01\x00"), ERR_TLS_CLOSED);
		/* What follows is not looked at. */
		memcpy(wire, "GET / HTTP/1.1", 14);
		assert_int_equal(open_wire(14, &opened), ERR_TLS_CLOSED);
		/* Ours is still open (RFC 8446 6.1). */
		assert_int_equal(records_seal(&r, &ring, &plain, head, tail, now_ns), ERR_OK);
		out.way.sequence++;
		records_close(&r);
		records_close(&r);
		assert_int_equal(records_answer(&r, &ring, wire, RECORDS_ANSWER_BYTES_MAX - 1, &written),
				 ERR_TLS_FULL);
		assert_int_equal(written, 0);
		assert_true(records_owes(&r));
		assert_int_equal(read_answer(said), 2);
		assert_memory_equal(said, "\x01\x00", 2);
		records_close(&r);
		assert_false(records_owes(&r));
		/* The other way round: we have closed, the peer goes on. */
		begin_server(is_13 != 0);
		records_close(&r);
		assert_int_equal(read_answer(said), 2);
		assert_int_equal(SEND(23, "more"), ERR_OK);
		assert_int_equal(SEND(21, "\x02\x00"), ERR_TLS_CLOSED); /* the level means nothing */
		/* A fault after that has no alert. */
		begin_server(is_13 != 0);
		records_close(&r);
		assert_int_equal(read_answer(said), 2);
		memcpy(wire, "GET / HTTP/1.1", 14);
		assert_int_equal(open_wire(14, &opened), ERR_TLS_BAD_MESSAGE);
		assert_false(records_owes(&r));
	}
}

static void
a_fatal_alert_ends_everything_without_an_answer(void **state)
{
	struct piece piece = { text, 10 };
	struct pieces plain = { &piece, 1 };
	uint8_t head[RECORDS_HEAD_BYTES_MAX];
	uint8_t tail[RECORDS_TAIL_BYTES_MAX];

	(void)state;
	for (int is_13 = 0; is_13 < 2; is_13++) {
		begin_server(is_13 != 0);
		records_close(&r); /* owed, and now too late */
		assert_int_equal(SEND(21, "\x02\x14"), ERR_TLS_ALERT);
		assert_false(records_owes(&r));
		assert_int_equal(SEND(23, "data"), ERR_TLS_ALERT);
		assert_int_equal(records_seal(&r, &ring, &plain, head, tail, now_ns), ERR_TLS_ALERT);
	}
	/* In TLS 1.3 the level says nothing, and what is unknown is fatal (RFC 8446 section 6). */
	begin_server(TLS_13);
	assert_int_equal(SEND(21, "\x01\x64"), ERR_TLS_ALERT);
	begin_server(TLS_13);
	assert_int_equal(SEND(21, "\x01\xc8"), ERR_TLS_ALERT);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(key_updates_are_followed_and_answered_if_asked_for),
		cmocka_unit_test(key_updates_are_bounded_in_time),
		cmocka_unit_test(renegotiation_is_refused_with_a_warning_once_for_each_record),
		cmocka_unit_test(a_client_is_given_its_tickets_and_a_server_none),
		cmocka_unit_test(closing_is_said_and_heard_once_in_each_direction),
		cmocka_unit_test(a_fatal_alert_ends_everything_without_an_answer),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

/*
 * Every record that a peer with the right keys can make and may not: each fault has its verdict and its alert, and
 * is the last; what is useless is bounded.
 */
#include "records_peer.h"

static void
a_changed_bit_anywhere_is_the_end(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 2 * AEAD_CIPHERS; i++) {
		size_t len;

		begin(i % 2 == 0, i / 2, false);
		len = tls_forge_seal(&in, 23, bytes_make(text, 30), 0, wire);
		for (size_t bit = 0; bit < 8 * len; bit++) {
			struct records_opened opened;
			enum err verdict;
			uint8_t copy[128];

			/* A length: another record altogether. */
			if (bit / 8 == 3 || bit / 8 == 4)
				continue;
			begin(i % 2 == 0, i / 2, false);
			assert_int_equal(tls_forge_seal(&in, 23, bytes_make(text, 30), 0, wire), len);
			wire[bit / 8] ^= (uint8_t)(1u << bit % 8);
			memcpy(copy, wire, len);
			verdict = open_wire(len, &opened);
			assert_int_equal(opened.len, 0);
			if (bit >= 40) {
				size_t front = records_head_bytes(&r);

				assert_int_equal(verdict, ERR_TLS_NOT_AUTHENTIC);
				/* What was made of it by decrypting is nowhere to be seen. */
				for (size_t at = front; at < len - 16; at++)
					assert_int_equal(wire[at], 0);
				assert_memory_equal(wire, copy, front);
				assert_dead(verdict, ALERT_BAD_RECORD_MAC);
				continue;
			}
			assert_true(verdict == ERR_TLS_NOT_AUTHENTIC || verdict == ERR_TLS_BAD_MESSAGE ||
				    verdict == ERR_TLS_BAD_RECORD);
		}
	}
}

static void
headers_that_break_a_rule_are_refused_before_their_record_is_there(void **state)
{
	static const struct {
		bool is_13;
		const char *header;
		enum err verdict;
		uint8_t alert;
	} rows[] = {
		/* Types: in TLS 1.3 all records are sealed data, a late change_cipher_spec included. */
		{ TLS_13, "\x14\x03\x03\x00\x01", ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE },
		{ TLS_13, "\x15\x03\x03\x00\x02", ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE },
		{ TLS_13, "\x16\x03\x03\x00\x40", ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE },
		{ TLS_13, "\x18\x03\x03\x00\x40", ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE },
		{ TLS_13, "\x00\x03\x03\x00\x40", ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE },
		{ TLS_12, "\x14\x03\x03\x00\x40", ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE },
		{ TLS_12, "\x18\x03\x03\x00\x40", ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE },
		{ TLS_12, "GET /", ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE },
		/* Versions, which TLS 1.3 does not look at. */
		{ TLS_12, "\x17\x03\x01\x00\x40", ERR_TLS_BAD_RECORD, ALERT_PROTOCOL_VERSION },
		{ TLS_12, "\x17\x03\x04\x00\x40", ERR_TLS_BAD_RECORD, ALERT_PROTOCOL_VERSION },
		{ TLS_12, "\x17\x02\x03\x00\x40", ERR_TLS_BAD_RECORD, ALERT_PROTOCOL_VERSION },
		/* Lengths: 2^14 + type + tag; 2^14 + explicit nonce + tag. */
		{ TLS_13, "\x17\x03\x03\x40\x12", ERR_TLS_RECORD_TOO_LONG, ALERT_RECORD_OVERFLOW },
		{ TLS_13, "\x17\x03\x03\xff\xff", ERR_TLS_RECORD_TOO_LONG, ALERT_RECORD_OVERFLOW },
		{ TLS_12, "\x17\x03\x03\x40\x19", ERR_TLS_RECORD_TOO_LONG, ALERT_RECORD_OVERFLOW },
		{ TLS_13, "\x17\x03\x03\x00\x0f", ERR_TLS_NOT_AUTHENTIC, ALERT_BAD_RECORD_MAC },
		{ TLS_13, "\x17\x03\x03\x00\x00", ERR_TLS_NOT_AUTHENTIC, ALERT_BAD_RECORD_MAC },
		{ TLS_12, "\x17\x03\x03\x00\x17", ERR_TLS_NOT_AUTHENTIC, ALERT_BAD_RECORD_MAC },
		/* These may come. */
		{ TLS_13, "\x17\x03\x03\x40\x11", ERR_MORE, 0 },
		{ TLS_13, "\x17\x03\x01\x00\x40", ERR_MORE, 0 },
		{ TLS_13, "\x17\x03\x03\x00\x10", ERR_MORE, 0 },
		{ TLS_12, "\x17\x03\x03\x40\x18", ERR_MORE, 0 },
		{ TLS_12, "\x17\x03\x03\x00\x18", ERR_MORE, 0 },
		{ TLS_12, "\x16\x03\x03\x00\x20", ERR_MORE, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct records_opened opened;

		begin_server(rows[i].is_13);
		memcpy(wire, rows[i].header, 5);
		assert_int_equal(open_wire(5, &opened), rows[i].verdict);
		if (rows[i].verdict != ERR_MORE)
			assert_dead(rows[i].verdict, rows[i].alert);
	}
}

static void
contents_that_break_a_rule_are_the_end(void **state)
{
#define ROW(is_13, type, literal, alert) \
	{ \
		is_13, type, literal, sizeof(literal) - 1, alert \
	}
	static const struct {
		bool is_13;
		uint8_t type;
		const char *content;
		size_t len;
		uint8_t alert;
	} rows[] = {
		/* Types inside: none at all (padding alone), unknown, change_cipher_spec. */
		ROW(TLS_13, 0, "", ALERT_UNEXPECTED_MESSAGE),
		ROW(TLS_13, 20, "\x01", ALERT_UNEXPECTED_MESSAGE),
		ROW(TLS_13, 24, "heartbeat", ALERT_UNEXPECTED_MESSAGE),
		ROW(TLS_13, 255, "x", ALERT_UNEXPECTED_MESSAGE),
		/* Alerts: empty, cut, two. */
		ROW(TLS_13, 21, "", ALERT_UNEXPECTED_MESSAGE),
		ROW(TLS_13, 21, "\x01", ALERT_DECODE_ERROR),
		ROW(TLS_13, 21, "\x01\x00\x01\x00", ALERT_DECODE_ERROR),
		ROW(TLS_12, 21, "", ALERT_UNEXPECTED_MESSAGE),
		ROW(TLS_12, 21, "\x02", ALERT_DECODE_ERROR),
		/* Handshake messages to a server: none but KeyUpdate; in TLS 1.2 none but what is refused
		   politely. */
		ROW(TLS_13, 22, "", ALERT_UNEXPECTED_MESSAGE),
		ROW(TLS_12, 22, "", ALERT_UNEXPECTED_MESSAGE),
		ROW(TLS_13, 22, "\x01\x00\x00\x02xx", ALERT_UNEXPECTED_MESSAGE),
		ROW(TLS_13, 22, "\x04\x00\x00\x02xx", ALERT_UNEXPECTED_MESSAGE),
		ROW(TLS_13, 22, "\x0b\x00\x00\x02xx", ALERT_UNEXPECTED_MESSAGE),
		ROW(TLS_13, 22, "\x14\x00\x00\x02xx", ALERT_UNEXPECTED_MESSAGE),
		ROW(TLS_12, 22, "\x00\x00\x00\x00", ALERT_UNEXPECTED_MESSAGE),
		ROW(TLS_12, 22, "\x18\x00\x00\x01\x00", ALERT_UNEXPECTED_MESSAGE),
		ROW(TLS_12, 22, "\x01\x01\x00\x01", ALERT_ILLEGAL_PARAMETER),
		/* KeyUpdate: wrong lengths and values, something behind it. */
		ROW(TLS_13, 22, "\x18\x00\x00\x00", ALERT_DECODE_ERROR),
		ROW(TLS_13, 22, "\x18\x00\x00\x02\x00\x00", ALERT_DECODE_ERROR),
		ROW(TLS_13, 22, "\x18\x01\x00\x01\x00", ALERT_DECODE_ERROR),
		ROW(TLS_13, 22, "\x18\x00\x00\x01\x02", ALERT_ILLEGAL_PARAMETER),
		ROW(TLS_13, 22, KEY_UPDATE KEY_UPDATE, ALERT_UNEXPECTED_MESSAGE),
		ROW(TLS_13, 22, KEY_UPDATE "x", ALERT_UNEXPECTED_MESSAGE),
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		begin_server(rows[i].is_13);
		assert_int_equal(send(rows[i].type, rows[i].content, rows[i].len), ERR_TLS_BAD_MESSAGE);
		assert_dead(ERR_TLS_BAD_MESSAGE, rows[i].alert);
	}
	/* Nothing comes between the parts of a message. */
	begin_server(TLS_13);
	assert_int_equal(SEND(22, "\x18"), ERR_OK);
	assert_int_equal(SEND(23, "x"), ERR_TLS_BAD_MESSAGE);
	assert_dead(ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
	/* All padding, a whole record of it; and what is one byte too long with it. */
	begin_server(TLS_13);
	{
		struct records_opened opened;
		size_t len = tls_forge_seal(&in, 0, BYTES_NONE, RECORDS_DATA_BYTES_MAX, wire);

		assert_int_equal(open_wire(len, &opened), ERR_TLS_BAD_MESSAGE);
		assert_dead(ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
		begin_server(TLS_13);
		len = tls_forge_seal(&in, 23, bytes_make(text, 100), RECORDS_DATA_BYTES_MAX - 99, wire);
		assert_int_equal(open_wire(len, &opened), ERR_TLS_RECORD_TOO_LONG);
		assert_dead(ERR_TLS_RECORD_TOO_LONG, ALERT_RECORD_OVERFLOW);
		begin_server(TLS_12);
		len = tls_forge_seal(&in, 23, bytes_make(text, RECORDS_DATA_BYTES_MAX + 1), 0, wire);
		assert_int_equal(open_wire(len, &opened), ERR_TLS_RECORD_TOO_LONG);
		assert_dead(ERR_TLS_RECORD_TOO_LONG, ALERT_RECORD_OVERFLOW);
	}
}

static void
records_out_of_order_or_twice_are_not_authentic(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 2 * AEAD_CIPHERS; i++) {
		struct records_opened opened;
		uint8_t copy[64];
		size_t len;

		begin(i % 2 == 0, i / 2, false);
		len = tls_forge_seal(&in, 23, bytes_make("twice", 5), 0, wire);
		memcpy(copy, wire, len);
		assert_int_equal(open_wire(len, &opened), ERR_OK);
		memcpy(wire, copy, len);
		assert_int_equal(open_wire(len, &opened), ERR_TLS_NOT_AUTHENTIC);
		begin(i % 2 == 0, i / 2, false);
		in.way.sequence++;
		assert_int_equal(SEND(23, "the one before is missing"), ERR_TLS_NOT_AUTHENTIC);
	}
}

static void
useless_records_are_bounded_in_a_row(void **state)
{
	static const struct {
		bool is_13;
		bool is_client;
		uint8_t type;
		const char *content;
		size_t len;
	} rows[] = {
		{ TLS_13, false, 23, "", 0 },
		{ TLS_12, false, 23, "", 0 },
		{ TLS_13, false, 21, "\x01\x5a", 2 }, /* user_canceled */
		{ TLS_12, false, 21, "\x01\x5a", 2 },
		{ TLS_12, false, 21, "\x01\x64", 2 }, /* a warning */
		{ TLS_12, false, 22, "\x01\x00\x00\x02xx", 6 }, /* renegotiation */
		{ TLS_12, true, 22, "\x00\x00\x00\x00", 4 },
		{ TLS_13, true, 22, "\x04\x00\x00\x03xyz", 7 }, /* tickets */
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint8_t said[RECORDS_ANSWER_BYTES_MAX];

		begin(rows[i].is_13, AEAD_CHACHA20_POLY1305, rows[i].is_client);
		for (int round = 0; round < 2; round++) {
			for (int n = 0; n < RECORDS_USELESS_MAX; n++)
				assert_int_equal(send(rows[i].type, rows[i].content, rows[i].len), ERR_OK);
			assert_int_equal(SEND(23, "of use"), ERR_OK);
		}
		(void)read_answer(said);
		for (int n = 0; n < RECORDS_USELESS_MAX; n++)
			assert_int_equal(send(rows[i].type, rows[i].content, rows[i].len), ERR_OK);
		(void)read_answer(said);
		assert_int_equal(send(rows[i].type, rows[i].content, rows[i].len), ERR_TLS_FLOOD);
		assert_dead(ERR_TLS_FLOOD, ALERT_UNEXPECTED_MESSAGE);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_changed_bit_anywhere_is_the_end),
		cmocka_unit_test(headers_that_break_a_rule_are_refused_before_their_record_is_there),
		cmocka_unit_test(contents_that_break_a_rule_are_the_end),
		cmocka_unit_test(records_out_of_order_or_twice_are_not_authentic),
		cmocka_unit_test(useless_records_are_bounded_in_a_row),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

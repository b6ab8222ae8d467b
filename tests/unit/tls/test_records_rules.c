/*
 * Everything that a peer with the right keys can do wrong, or rarely does: each fault has its verdict and its
 * alert, and is the last; alerts, KeyUpdate, tickets, renegotiation; what is useless is bounded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "tls_forge.h"

#define WIRE_BYTES_MAX (3 * RECORDS_DATA_BYTES_MAX)
#define TLS_12 false
#define TLS_13 true

static _Alignas(64) struct keyring ring;
static struct records r;
static struct tls_forge in; /* makes what r opens */
static struct tls_forge out; /* reads what r seals */
static uint8_t text[RECORDS_DATA_BYTES_MAX + 200];
static uint8_t wire[WIRE_BYTES_MAX];
static uint64_t now_ns;

static void
begin(bool is_13, enum aead_cipher cipher, bool is_client)
{
	tls_forge_records(&r, is_13, cipher, is_client);
	in = tls_forge_make(&r, &r.receive);
	out = tls_forge_make(&r, &r.send);
	now_ns = 100 * NSEC_PER_SEC;
}

static void
begin_server(bool is_13)
{
	begin(is_13, AEAD_AES_128_GCM, false);
}

static void
begin_client(bool is_13)
{
	begin(is_13, AEAD_AES_128_GCM, true);
}

static int
set_up(void **state)
{
	(void)state;
	assert_true(keyring_init(&ring, NULL));
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i + 1);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	keyring_fini(&ring);
	return 0;
}

/* What lies in wire, in two pieces. */
static enum err
open_wire(size_t len, struct records_opened *opened)
{
	struct piece pieces[2] = { { wire, len / 3 }, { wire + len / 3, len - len / 3 } };
	struct pieces whole = { pieces, 2 };

	return records_open(&r, &ring, &whole, now_ns, opened);
}

/* One record of the peer's with that content. */
static enum err
send(uint8_t type, const char *content, size_t len)
{
	struct records_opened opened;

	return open_wire(tls_forge_seal(&in, type, bytes_make(content, len), 0, wire), &opened);
}

/* The literal without its NUL. */
#define SEND(type, literal) send(type, literal, sizeof(literal) - 1)
#define KEY_UPDATE "\x18\x00\x00\x01\x00"
#define KEY_UPDATE_ASKING "\x18\x00\x00\x01\x01"

/* What is owed, as the peer reads it: its records' contents one after the other into said; how many bytes. */
static size_t
read_answer(uint8_t *said)
{
	uint8_t bytes[RECORDS_ANSWER_BYTES_MAX];
	size_t written = 0;
	size_t total = 0;

	assert_int_equal(records_answer(&r, &ring, bytes, sizeof(bytes), &written), ERR_OK);
	assert_false(records_owes(&r));
	for (size_t at = 0; at < written;) {
		size_t len = 5 + ((size_t)bytes[at + 3] << 8 | bytes[at + 4]);
		uint8_t plain[RECORDS_ANSWER_BYTES_MAX];
		uint8_t type = 0;
		int got = tls_forge_open(&out, bytes_make(bytes + at, len), &type, plain);

		assert_true(got > 0);
		assert_int_equal(type, got == 2 ? 21 : 22);
		if (type == 22)
			tls_forge_renew(&out);
		memcpy(said + total, plain, (size_t)got);
		total += (size_t)got;
		at += len;
	}
	return total;
}

/* The connection has ended with that alert, once, and stays ended. */
static void
assert_dead(enum err verdict, uint8_t alert)
{
	uint8_t said[RECORDS_ANSWER_BYTES_MAX];
	uint8_t head[RECORDS_HEAD_BYTES_MAX];
	uint8_t tail[RECORDS_TAIL_BYTES_MAX];
	struct piece piece = { text, 10 };
	struct pieces plain = { &piece, 1 };
	struct records_opened opened;
	size_t len = tls_forge_seal(&in, 23, bytes_make("good", 4), 0, wire);
	uint8_t before[64];

	assert_true(records_owes(&r));
	memcpy(before, wire, sizeof(before));
	assert_int_equal(open_wire(len, &opened), verdict);
	assert_int_equal(opened.taken, 0);
	assert_memory_equal(wire, before, len < 64 ? len : 64);
	assert_int_equal(read_answer(said), 2);
	assert_int_equal(said[0], alert == ALERT_CLOSE_NOTIFY ? 1 : 2);
	assert_int_equal(said[1], alert);
	assert_int_equal(read_answer(said), 0);
	assert_int_equal(records_seal(&r, &ring, &plain, head, tail, now_ns), verdict);
	records_close(&r);
	records_renew(&r, true);
	assert_false(records_owes(&r));
	records_end(&r, &ring);
}

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
		cmocka_unit_test(a_changed_bit_anywhere_is_the_end),
		cmocka_unit_test(headers_that_break_a_rule_are_refused_before_their_record_is_there),
		cmocka_unit_test(contents_that_break_a_rule_are_the_end),
		cmocka_unit_test(records_out_of_order_or_twice_are_not_authentic),
		cmocka_unit_test(key_updates_are_followed_and_answered_if_asked_for),
		cmocka_unit_test(key_updates_are_bounded_in_time),
		cmocka_unit_test(useless_records_are_bounded_in_a_row),
		cmocka_unit_test(renegotiation_is_refused_with_a_warning_once_for_each_record),
		cmocka_unit_test(a_client_is_given_its_tickets_and_a_server_none),
		cmocka_unit_test(closing_is_said_and_heard_once_in_each_direction),
		cmocka_unit_test(a_fatal_alert_ends_everything_without_an_answer),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

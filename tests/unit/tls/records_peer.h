#pragma once

/* Records of ours, and a peer that makes and reads theirs by hand. Included by the tests of this folder only. */
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

static inline void
begin(bool is_13, enum aead_cipher cipher, bool is_client)
{
	tls_forge_records(&r, is_13, cipher, is_client);
	in = tls_forge_make(&r, &r.receive);
	out = tls_forge_make(&r, &r.send);
	now_ns = 100 * NSEC_PER_SEC;
}

static inline void
begin_server(bool is_13)
{
	begin(is_13, AEAD_AES_128_GCM, false);
}

static inline void
begin_client(bool is_13)
{
	begin(is_13, AEAD_AES_128_GCM, true);
}

static inline int
set_up(void **state)
{
	(void)state;
	assert_true(keyring_init(&ring, NULL));
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i + 1);
	return 0;
}

static inline int
tear_down(void **state)
{
	(void)state;
	keyring_fini(&ring);
	return 0;
}

/* What lies in wire, in two pieces. */
static inline enum err
open_wire(size_t len, struct records_opened *opened)
{
	struct piece pieces[2] = { { wire, len / 3 }, { wire + len / 3, len - len / 3 } };
	struct pieces whole = { pieces, 2 };

	return records_open(&r, &ring, &whole, now_ns, opened);
}

/* One record of the peer's with that content. */
static inline enum err
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
static inline size_t
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
static inline void
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


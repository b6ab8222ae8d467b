/*
 * Records that keep the rules: sizes, every segmentation, limits of keys, the size of records, what an idle
 * connection keeps. Each in both versions, with each cipher and each implementation; the other end is stock
 * mbedTLS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "tls_forge.h"

#define RECORD_BYTES_MAX (RECORDS_DATA_BYTES_MAX + 256)

static _Alignas(64) struct keyring ring;
static struct records r;
static uint8_t text[RECORDS_DATA_BYTES_MAX + 1];
static uint8_t wire[RECORD_BYTES_MAX];
static uint8_t other[RECORD_BYTES_MAX];
static struct piece pieces[RECORD_BYTES_MAX];

static void
each(void (*test)(bool is_13, enum aead_cipher cipher))
{
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 7 + i / 251);
	for (unsigned int kind = 0; kind < AEAD_KINDS; kind++) {
		if (!keyring_init_kind(&ring, kind))
			continue;
		for (unsigned int i = 0; i < 2 * AEAD_CIPHERS; i++) {
			tls_forge_records(&r, i % 2 == 0, i / 2, false);
			test(i % 2 == 0, i / 2);
			records_end(&r, &ring);
		}
		keyring_fini(&ring);
	}
}

/* bytes in pieces of `piece` bytes, an empty one between each two. */
static struct pieces
cut(uint8_t *bytes, size_t len, size_t piece)
{
	size_t count = 0;

	for (size_t at = 0; at < len; at += piece) {
		if (count + 2 < COUNT_OF(pieces) && piece > 1)
			pieces[count++] = (struct piece){ bytes + at, 0 };
		pieces[count++] = (struct piece){ bytes + at, len - at < piece ? len - at : piece };
	}
	return (struct pieces){ pieces, count };
}

/* Seals len bytes of text into wire in pieces; the record's length. */
static size_t
seal(size_t len, size_t piece)
{
	size_t head = records_head_bytes(&r);
	struct pieces plain;

	memcpy(wire + head, text, len);
	plain = cut(wire + head, len, piece);
	assert_int_equal(records_seal(&r, &ring, &plain, wire, wire + head + len, 0), ERR_OK);
	return head + len + records_tail_bytes(&r);
}

static void
assert_opens(const uint8_t *record, size_t record_len, size_t len, size_t piece)
{
	struct records_opened opened;
	struct pieces in;

	memcpy(wire, record, record_len);
	in = cut(wire, record_len, piece);
	assert_int_equal(records_open(&r, &ring, &in, 0, &opened), ERR_OK);
	assert_int_equal(opened.kind, len > 0 ? RECORDS_DATA : RECORDS_NOTHING);
	assert_int_equal(opened.taken, record_len);
	assert_int_equal(opened.len, len);
	assert_memory_equal(wire + opened.offset, text, len);
	assert_false(records_owes(&r));
}

static const size_t sizes[] = {
	1, 2, 15, 16, 17, 255, 256, 1460, 4097, RECORDS_DATA_BYTES_MAX - 1, RECORDS_DATA_BYTES_MAX
};

static void
check_sizes(bool is_13, enum aead_cipher cipher)
{
	struct tls_forge in = tls_forge_make(&r, &r.receive);
	struct tls_forge out = tls_forge_make(&r, &r.send);
	struct tls_forge same = out;

	(void)cipher;
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		size_t len = seal(sizes[i], 1000);
		uint8_t type;

		/* The very bytes that mbedTLS makes with these keys, and it reads ours. */
		assert_int_equal(tls_forge_seal(&same, 23, bytes_make(text, sizes[i]), 0, other), len);
		assert_memory_equal(wire, other, len);
		assert_int_equal(tls_forge_open(&out, bytes_make(wire, len), &type, other), sizes[i]);
		assert_int_equal(type, 23);
		assert_memory_equal(other, text, sizes[i]);
		len = tls_forge_seal(&in, 23, bytes_make(text, sizes[i]), 0, other);
		assert_opens(other, len, sizes[i], 2000);
		if (is_13) {
			size_t padding = RECORDS_DATA_BYTES_MAX - sizes[i];

			len = tls_forge_seal(&in, 23, bytes_make(text, sizes[i]),
					     padding < 999 ? padding : 999, other);
			assert_opens(other, len, sizes[i], 100);
			len = tls_forge_seal(&in, 23, bytes_make(text, sizes[i]), padding, other);
			assert_opens(other, len, sizes[i], RECORD_BYTES_MAX);
		}
	}
}

static void
every_size_is_made_and_opened_as_mbedtls_does(void **state)
{
	(void)state;
	each(check_sizes);
}

static void
check_cuts(bool is_13, enum aead_cipher cipher)
{
	struct tls_forge in = tls_forge_make(&r, &r.receive);
	struct tls_forge out = tls_forge_make(&r, &r.send);
	size_t len = tls_forge_seal(&in, 23, bytes_make(text, 90), is_13 ? 40 : 0, other);
	struct tls_forge again;

	(void)cipher;
	/* The same record with every cut in two, then in pieces of each size. */
	for (size_t at = 0; at <= len; at++) {
		struct records_opened opened;
		struct pieces both = { pieces, 2 };
		uint64_t sequence = r.receive.sequence;

		memcpy(wire, other, len);
		pieces[0] = (struct piece){ wire, at };
		pieces[1] = (struct piece){ wire + at, len - at };
		assert_int_equal(records_open(&r, &ring, &both, 0, &opened), ERR_OK);
		assert_int_equal(opened.len, 90);
		assert_memory_equal(wire + opened.offset, text, 90);
		r.receive.sequence = sequence;
	}
	for (size_t piece = 1; piece <= len; piece++) {
		uint64_t sequence = r.receive.sequence;

		assert_opens(other, len, 90, piece);
		r.receive.sequence = sequence;
	}
	/* Sealed in pieces of each size, head and tail elsewhere. */
	for (size_t piece = 1; piece <= 90; piece++) {
		static uint8_t head[RECORDS_HEAD_BYTES_MAX];
		static uint8_t tail[RECORDS_TAIL_BYTES_MAX];
		size_t front = records_head_bytes(&r);
		struct pieces plain;

		again = out;
		len = tls_forge_seal(&again, 23, bytes_make(text, 90), 0, other);
		memcpy(wire, text, 90);
		plain = cut(wire, 90, piece);
		assert_int_equal(records_seal(&r, &ring, &plain, head, tail, 0), ERR_OK);
		assert_memory_equal(head, other, front);
		assert_memory_equal(wire, other + front, 90);
		assert_memory_equal(tail, other + front + 90, records_tail_bytes(&r));
		r.send.sequence--;
	}
	/* The longest of all, byte by byte. */
	len = tls_forge_seal(&in, 23, bytes_make(text, RECORDS_DATA_BYTES_MAX), 0, other);
	r.receive.sequence = in.way.sequence - 1;
	assert_opens(other, len, RECORDS_DATA_BYTES_MAX, 1);
}

static void
every_segmentation_gives_the_same(void **state)
{
	(void)state;
	each(check_cuts);
}

static void
check_parts(bool is_13, enum aead_cipher cipher)
{
	struct tls_forge in = tls_forge_make(&r, &r.receive);
	size_t first = tls_forge_seal(&in, 23, bytes_make(text, 40), 0, other);
	size_t second = tls_forge_seal(&in, 23, bytes_make(text, 50), 0, other + first);
	struct records_opened opened;
	struct pieces part;

	(void)is_13;
	(void)cipher;
	memcpy(wire, other, first + second);
	for (size_t len = 0; len < first; len++) {
		part = cut(wire, len, 7);
		assert_int_equal(records_open(&r, &ring, &part, 0, &opened), ERR_MORE);
		assert_int_equal(opened.wanted, len < 5 ? 5 : first);
		assert_int_equal(opened.taken, 0);
		assert_memory_equal(wire, other, first);
	}
	/* The next record in the same pieces is not touched. */
	part = cut(wire, first + second, 7);
	assert_int_equal(records_open(&r, &ring, &part, 0, &opened), ERR_OK);
	assert_int_equal(opened.taken, first);
	assert_memory_equal(wire + first, other + first, second);
	part = cut(wire + first, second, 7);
	assert_int_equal(records_open(&r, &ring, &part, 0, &opened), ERR_OK);
	assert_int_equal(opened.taken, second);
	assert_int_equal(opened.len, 50);
}

static void
a_record_waits_until_it_is_whole_and_leaves_the_next_alone(void **state)
{
	(void)state;
	each(check_parts);
}

static void
check_renewal(bool is_13, enum aead_cipher cipher)
{
	bool is_gcm = cipher != AEAD_CHACHA20_POLY1305;
	uint64_t renew = is_gcm ? RECORDS_GCM_RENEW : RECORDS_CHACHA_RENEW;
	uint64_t most = is_gcm ? RECORDS_GCM_MAX : RECORDS_CHACHA_MAX;
	uint8_t head[RECORDS_HEAD_BYTES_MAX];
	uint8_t tail[RECORDS_TAIL_BYTES_MAX];
	struct piece piece = { wire, 10 };
	struct pieces plain = { &piece, 1 };
	struct tls_forge peer;
	size_t written;
	uint8_t type;

	r.send.sequence = renew - 1;
	assert_false(records_is_worn(&r));
	peer = tls_forge_make(&r, &r.send);
	assert_true(seal(10, 10) > 0);
	peer.way.sequence++;
	if (is_13) {
		/* A KeyUpdate is due; what follows has the new key, and starts at 0. */
		assert_true(records_owes(&r));
		assert_int_equal(records_answer(&r, &ring, wire, sizeof(wire), &written), ERR_OK);
		assert_int_equal(tls_forge_open(&peer, bytes_make(wire, written), &type, other), 5);
		assert_int_equal(type, 22);
		assert_memory_equal(other, "\x18\x00\x00\x01\x00", 5);
		assert_int_equal(r.send.sequence, 0);
		tls_forge_renew(&peer);
		assert_int_equal(tls_forge_open(&peer, bytes_make(wire, seal(10, 10)), &type, other), 10);
		assert_false(records_owes(&r));
		/* Whoever never lets it out can go on, but not for ever. */
		r.send.sequence = most - 1;
		assert_true(seal(10, 10) > 0);
		assert_int_equal(records_seal(&r, &ring, &plain, head, tail, 0), ERR_TLS_WORN);
		/* Not even that can be said with this key. */
		records_close(&r);
		assert_int_equal(records_answer(&r, &ring, wire, sizeof(wire), &written), ERR_OK);
		assert_int_equal(written, 0);
		return;
	}
	assert_false(records_owes(&r));
	assert_true(records_is_worn(&r));
	/* What is under way goes on, but not for ever. */
	r.send.sequence = most - RECORDS_LAST_MAX - 1;
	assert_true(seal(10, 10) > 0);
	peer.way.sequence = r.send.sequence;
	memcpy(wire, text, 10);
	assert_int_equal(records_seal(&r, &ring, &plain, head, tail, 0), ERR_TLS_WORN);
	assert_memory_equal(wire, text, 10);
	assert_int_equal(r.send.sequence, most - RECORDS_LAST_MAX);
	records_renew(&r, true);
	assert_false(records_owes(&r));
	records_close(&r);
	assert_int_equal(records_answer(&r, &ring, wire, sizeof(wire), &written), ERR_OK);
	assert_int_equal(tls_forge_open(&peer, bytes_make(wire, written), &type, other), 2);
	assert_int_equal(type, 21);
}

static void
a_key_is_renewed_before_its_limit_or_seals_no_more(void **state)
{
	(void)state;
	each(check_renewal);
}

static void
check_their_limit(bool is_13, enum aead_cipher cipher)
{
	bool is_gcm = cipher != AEAD_CHACHA20_POLY1305;
	struct tls_forge out = tls_forge_make(&r, &r.send);
	struct tls_forge in;
	struct records_opened opened;
	struct pieces whole;
	size_t written;
	size_t len;
	uint8_t type;

	r.receive.sequence = is_gcm ? RECORDS_GCM_RENEW - 1 : RECORDS_CHACHA_RENEW - 1;
	in = tls_forge_make(&r, &r.receive);
	len = tls_forge_seal(&in, 23, bytes_make(text, 10), 0, wire);
	whole = cut(wire, len, 10);
	assert_int_equal(records_open(&r, &ring, &whole, 0, &opened), ERR_OK);
	assert_int_equal(records_owes(&r), is_13);
	if (is_13) {
		/* The peer is asked, once. */
		assert_int_equal(records_answer(&r, &ring, wire, sizeof(wire), &written), ERR_OK);
		assert_int_equal(tls_forge_open(&out, bytes_make(wire, written), &type, other), 5);
		assert_memory_equal(other, "\x18\x00\x00\x01\x01", 5);
		tls_forge_renew(&out);
		len = tls_forge_seal(&in, 23, bytes_make(text, 10), 0, other);
		assert_opens(other, len, 10, 10);
	}
	r.receive.sequence = in.way.sequence = is_gcm ? RECORDS_GCM_MAX - 1 : RECORDS_CHACHA_MAX - 1;
	len = tls_forge_seal(&in, 23, bytes_make(text, 10), 0, other);
	assert_opens(other, len, 10, 10);
	len = tls_forge_seal(&in, 23, bytes_make(text, 10), 0, wire);
	whole = cut(wire, len, 10);
	memcpy(other, wire, len);
	assert_int_equal(records_open(&r, &ring, &whole, 0, &opened), ERR_TLS_WORN);
	assert_memory_equal(wire, other, len);
	assert_int_equal(records_answer(&r, &ring, wire, sizeof(wire), &written), ERR_OK);
	assert_int_equal(tls_forge_open(&out, bytes_make(wire, written), &type, other), 2);
	assert_int_equal(type, 21);
	assert_int_equal(other[1], ALERT_CLOSE_NOTIFY);
}

static void
a_peer_is_asked_for_a_new_key_and_its_sequence_never_wraps(void **state)
{
	(void)state;
	each(check_their_limit);
}

static void
check_size_policy(bool is_13, enum aead_cipher cipher)
{
	size_t small = 1460 - records_head_bytes(&r) - records_tail_bytes(&r);
	uint64_t now_ns = 5 * NSEC_PER_SEC;
	struct piece piece = { wire, small };
	struct pieces plain = { &piece, 1 };
	uint8_t head[RECORDS_HEAD_BYTES_MAX];
	uint8_t tail[RECORDS_TAIL_BYTES_MAX];
	size_t flight = 0;

	(void)cipher;
	assert_int_equal(is_13 ? 1460 - 5 - 17 : 1460 - records_head_bytes(&r) - 16, small);
	assert_int_equal(records_size(&r, 200, 1460, now_ns), 200);
	while (flight < RECORDS_SMALL_BYTES) {
		assert_int_equal(records_size(&r, 100000, 1460, now_ns), small);
		assert_int_equal(records_seal(&r, &ring, &plain, head, tail, now_ns), ERR_OK);
		flight += small;
		now_ns += RECORDS_IDLE_NS - 1;
	}
	now_ns -= RECORDS_IDLE_NS - 1;
	assert_int_equal(records_size(&r, 100000, 1460, now_ns + RECORDS_IDLE_NS - 1),
			 RECORDS_DATA_BYTES_MAX);
	assert_int_equal(records_size(&r, 3000, 1460, now_ns), 3000);
	assert_int_equal(records_size(&r, 100000, 1460, now_ns + RECORDS_IDLE_NS), small);
	assert_int_equal(records_seal(&r, &ring, &plain, head, tail, now_ns + RECORDS_IDLE_NS), ERR_OK);
	assert_int_equal(records_size(&r, 100000, 1460, now_ns + RECORDS_IDLE_NS), small);
	/* A segment that is longer than a record changes nothing. */
	assert_int_equal(records_size(&r, 100000, 60000, now_ns + RECORDS_IDLE_NS), RECORDS_DATA_BYTES_MAX);
}

static void
records_are_small_after_idling_and_full_in_bulk(void **state)
{
	(void)state;
	each(check_size_policy);
}

static bool
holds(const void *memory, size_t size, const uint8_t *bytes, size_t len)
{
	for (size_t at = 0; at + len <= size; at++)
		if (memcmp((const uint8_t *)memory + at, bytes, len) == 0)
			return true;
	return false;
}

static void
check_wiped(bool is_13, enum aead_cipher cipher)
{
	struct tls_forge in = tls_forge_make(&r, &r.receive);
	struct tls_forge out = tls_forge_make(&r, &r.send);
	size_t len = tls_forge_seal(&in, 23, bytes_make(text, 10), 0, other);

	assert_opens(other, len, 10, 10);
	assert_true(seal(10, 10) > 0);
	assert_true(holds(&ring, sizeof(ring), in.way.key, 16));
	records_end(&r, &ring);
	for (size_t i = 0; i < sizeof(r); i++)
		assert_int_equal(((const uint8_t *)&r)[i], 0);
	assert_false(holds(&ring, sizeof(ring), in.way.key, 16));
	assert_false(holds(&ring, sizeof(ring), out.way.key, 16));
	tls_forge_records(&r, is_13, cipher, true);
}

static void
no_key_is_left_behind(void **state)
{
	(void)state;
	each(check_wiped);
}

static void
both_ends_understand_each_other(void **state)
{
	static const struct records_master master = { "m", "c", "s" };
	struct records client;
	struct records_opened opened;
	struct pieces in;
	size_t len;

	(void)state;
	assert_true(keyring_init(&ring, NULL));
	for (unsigned int cipher = 0; cipher < AEAD_CIPHERS; cipher++) {
		records_begin_12(&r, cipher, &master, false);
		records_begin_12(&client, cipher, &master, true);
		len = seal(100, 33);
		in = cut(wire, len, 21);
		assert_int_equal(records_open(&client, &ring, &in, 0, &opened), ERR_OK);
		assert_memory_equal(wire + opened.offset, text, 100);
		records_end(&r, &ring);
		records_end(&client, &ring);
	}
	keyring_fini(&ring);
	print_message("an open connection keeps %zu bytes, a worker's keyring %zu\n", sizeof(struct records),
		      sizeof(struct keyring));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size_is_made_and_opened_as_mbedtls_does),
		cmocka_unit_test(every_segmentation_gives_the_same),
		cmocka_unit_test(a_record_waits_until_it_is_whole_and_leaves_the_next_alone),
		cmocka_unit_test(a_key_is_renewed_before_its_limit_or_seals_no_more),
		cmocka_unit_test(a_peer_is_asked_for_a_new_key_and_its_sequence_never_wraps),
		cmocka_unit_test(records_are_small_after_idling_and_full_in_bulk),
		cmocka_unit_test(no_key_is_left_behind),
		cmocka_unit_test(both_ends_understand_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

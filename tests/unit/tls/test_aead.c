/* The ciphers behind the table: known answers, every way of cutting a message, and one against the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "seeded.h"
#include "tls/keyring.h"

#define LEN_MAX 1100
#define RECORD_MAX 16385

static _Alignas(64) struct keyring ring;

/* One message in one piece, or in pieces of piece bytes. */
static void
crypt(enum aead_cipher cipher, const uint8_t *raw, const uint8_t *nonce, const uint8_t *aad, size_t aad_len,
      uint8_t *bytes, size_t len, size_t piece, bool seals, uint8_t *tag)
{
	const struct aead_key *key = keyring_get(&ring, cipher, raw);
	const struct aead_calls *calls = &ring.aead.calls[cipher];

	calls->begin(ring.aead.engine, key, &ring.run, nonce, aad, aad_len, seals);
	for (size_t at = 0; at < len; at += piece) {
		size_t take = len - at < piece ? len - at : piece;

		if (seals)
			calls->seal(ring.aead.engine, key, &ring.run, bytes + at, take);
		else
			calls->open(ring.aead.engine, key, &ring.run, bytes + at, take);
	}
	calls->finish(ring.aead.engine, key, &ring.run, tag);
}

/* Each implementation that is there; mbedTLS always is. */
#define WITH_EACH_KIND(kind) \
	for (unsigned int kind = 0; kind < AEAD_KINDS; kind++) \
		if (keyring_init_kind(&ring, kind))

/* McGrew and Viega, The Galois/Counter Mode of Operation, test cases 4 and 16; RFC 8439 2.8.2. */
static void
known_answers_come_out(void **state)
{
	static const uint8_t key[32] = { 0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f,
					 0x94, 0x67, 0x30, 0x83, 0x08, 0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65,
					 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08 };
	static const uint8_t nonce[12] = { 0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce,
					   0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88 };
	static const uint8_t aad[20] = { 0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed,
					 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xab, 0xad, 0xda, 0xd2 };
	static const uint8_t text[60] = { 0xd9, 0x31, 0x32, 0x25, 0xf8, 0x84, 0x06, 0xe5, 0xa5, 0x59,
					  0x09, 0xc5, 0xaf, 0xf5, 0x26, 0x9a, 0x86, 0xa7, 0xa9, 0x53,
					  0x15, 0x34, 0xf7, 0xda, 0x2e, 0x4c, 0x30, 0x3d, 0x8a, 0x31,
					  0x8a, 0x72, 0x1c, 0x3c, 0x0c, 0x95, 0x95, 0x68, 0x09, 0x53,
					  0x2f, 0xcf, 0x0e, 0x24, 0x49, 0xa6, 0xb5, 0x25, 0xb1, 0x6a,
					  0xed, 0xf5, 0xaa, 0x0d, 0xe6, 0x57, 0xba, 0x63, 0x7b, 0x39 };
	static const uint8_t tag_128[16] = { 0x5b, 0xc9, 0x4f, 0xbc, 0x32, 0x21, 0xa5, 0xdb,
					     0x94, 0xfa, 0xe9, 0x5a, 0xe7, 0x12, 0x1a, 0x47 };
	static const uint8_t tag_256[16] = { 0x76, 0xfc, 0x6e, 0xce, 0x0f, 0x4e, 0x17, 0x68,
					     0xcd, 0xdf, 0x88, 0x53, 0xbb, 0x2d, 0x55, 0x1b };
	static const uint8_t chacha_nonce[12] = {
		7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47
	};
	static const uint8_t chacha_aad[12] = { 0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1,
						0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7 };
	static const uint8_t chacha_tag[16] = { 0x1a, 0xe1, 0x0b, 0x59, 0x4f, 0x09, 0xe2, 0x6a,
						0x7e, 0x90, 0x2e, 0xcb, 0xd0, 0x60, 0x06, 0x91 };
	static const char chacha_text[] =
		"Ladies and Gentlemen of the class of '99: If I could offer you only one tip "
		"for the future, sunscreen would be it.";
	uint8_t short_key[32] = { 0 };
	uint8_t chacha_key[32];
	uint8_t bytes[128];
	uint8_t tag[16];

	(void)state;
	memcpy(short_key, key, 16);
	for (size_t i = 0; i < sizeof(chacha_key); i++)
		chacha_key[i] = (uint8_t)(0x80 + i);
	WITH_EACH_KIND(kind)
	{
		memcpy(bytes, text, sizeof(text));
		crypt(AEAD_AES_128_GCM, short_key, nonce, aad, sizeof(aad), bytes, sizeof(text), 7, true,
		      tag);
		assert_memory_equal(tag, tag_128, sizeof(tag));
		crypt(AEAD_AES_128_GCM, short_key, nonce, aad, sizeof(aad), bytes, sizeof(text), 11, false,
		      tag);
		assert_memory_equal(tag, tag_128, sizeof(tag));
		assert_memory_equal(bytes, text, sizeof(text));
		crypt(AEAD_AES_256_GCM, key, nonce, aad, sizeof(aad), bytes, sizeof(text), 60, true, tag);
		assert_memory_equal(tag, tag_256, sizeof(tag));
		memcpy(bytes, chacha_text, sizeof(chacha_text) - 1);
		crypt(AEAD_CHACHA20_POLY1305, chacha_key, chacha_nonce, chacha_aad, sizeof(chacha_aad), bytes,
		      sizeof(chacha_text) - 1, 13, true, tag);
		assert_memory_equal(tag, chacha_tag, sizeof(tag));
		keyring_fini(&ring);
	}
}

/* What mbedTLS makes of a message in one piece, all implementations must make in pieces of any size. */
static void
every_length_and_piece_gives_what_one_piece_of_mbedtls_gives(void **state)
{
	static uint8_t text[LEN_MAX];
	static uint8_t wanted[AEAD_CIPHERS][LEN_MAX + 1][LEN_MAX];
	static uint8_t wanted_tag[AEAD_CIPHERS][LEN_MAX + 1][16];
	static const size_t pieces[] = { 1, 15, 16, 17, 64, 255, 257, 531, LEN_MAX };
	struct seeded seed = { 7 };
	uint8_t raw[AEAD_CIPHERS][32] = { { 0 } };
	uint8_t nonce[12];
	uint8_t aad[13];
	uint8_t bytes[LEN_MAX];
	uint8_t tag[16];

	(void)state;
	(void)seeded_entropy(&seed, text, sizeof(text));
	(void)seeded_entropy(&seed, nonce, sizeof(nonce));
	(void)seeded_entropy(&seed, aad, sizeof(aad));
	assert_true(keyring_init_kind(&ring, AEAD_MBEDTLS));
	for (unsigned int cipher = 0; cipher < AEAD_CIPHERS; cipher++) {
		(void)seeded_entropy(&seed, raw[cipher], aead_key_bytes(cipher));
		for (size_t len = 0; len <= LEN_MAX; len++) {
			memcpy(wanted[cipher][len], text, len);
			crypt(cipher, raw[cipher], nonce, aad, len % 14, wanted[cipher][len], len, LEN_MAX,
			      true, wanted_tag[cipher][len]);
		}
	}
	keyring_fini(&ring);
	WITH_EACH_KIND(kind)
	{
		for (unsigned int cipher = 0; cipher < AEAD_CIPHERS; cipher++) {
			for (size_t len = 0; len <= LEN_MAX; len += len < 70 ? 1 : 9) {
				for (size_t i = 0; i < COUNT_OF(pieces); i++) {
					memcpy(bytes, text, len);
					crypt(cipher, raw[cipher], nonce, aad, len % 14, bytes, len,
					      pieces[i], true, tag);
					assert_memory_equal(bytes, wanted[cipher][len], len);
					assert_memory_equal(tag, wanted_tag[cipher][len], 16);
					crypt(cipher, raw[cipher], nonce, aad, len % 14, bytes, len,
					      pieces[i], false, tag);
					assert_memory_equal(bytes, text, len);
					assert_memory_equal(tag, wanted_tag[cipher][len], 16);
				}
			}
		}
		keyring_fini(&ring);
	}
}

/* Long enough that the counter of blocks leaves its lowest byte four times, wherever the pieces are cut. */
static void
a_full_record_in_pieces_is_what_mbedtls_makes_of_it(void **state)
{
	static uint8_t text[RECORD_MAX];
	static uint8_t wanted[RECORD_MAX];
	static uint8_t bytes[RECORD_MAX];
	static const size_t pieces[] = { 1448, 2043, 2048, 4096 + 7, RECORD_MAX };
	struct seeded seed = { 11 };
	uint8_t raw[32] = { 0 };
	uint8_t nonce[12];
	uint8_t wanted_tag[16];
	uint8_t tag[16];

	(void)state;
	(void)seeded_entropy(&seed, text, sizeof(text));
	(void)seeded_entropy(&seed, nonce, sizeof(nonce));
	for (unsigned int cipher = 0; cipher < AEAD_CIPHERS; cipher++) {
		(void)seeded_entropy(&seed, raw, aead_key_bytes(cipher));
		memcpy(wanted, text, sizeof(wanted));
		assert_true(keyring_init_kind(&ring, AEAD_MBEDTLS));
		crypt(cipher, raw, nonce, text, 5, wanted, sizeof(wanted), RECORD_MAX, true, wanted_tag);
		keyring_fini(&ring);
		WITH_EACH_KIND(kind)
		{
			for (size_t i = 0; i < COUNT_OF(pieces); i++) {
				memcpy(bytes, text, sizeof(bytes));
				crypt(cipher, raw, nonce, text, 5, bytes, sizeof(bytes), pieces[i], true, tag);
				assert_memory_equal(bytes, wanted, sizeof(bytes));
				assert_memory_equal(tag, wanted_tag, sizeof(tag));
				crypt(cipher, raw, nonce, text, 5, bytes, sizeof(bytes), pieces[i], false, tag);
				assert_memory_equal(bytes, text, sizeof(bytes));
				assert_memory_equal(tag, wanted_tag, sizeof(tag));
			}
			keyring_fini(&ring);
		}
		memset(raw, 0, sizeof(raw));
	}
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
the_ring_keeps_keys_until_they_are_forgotten(void **state)
{
	uint8_t raw[3 * KEYRING_SLOTS][32];
	struct seeded seed = { 3 };

	(void)state;
	WITH_EACH_KIND(kind)
	{
		const struct aead_key *first;
		struct aead_key copy;

		(void)seeded_entropy(&seed, (uint8_t *)raw, sizeof(raw));
		first = keyring_get(&ring, AEAD_AES_256_GCM, raw[0]);
		memcpy(&copy, first, sizeof(copy));
		assert_ptr_equal(keyring_get(&ring, AEAD_AES_256_GCM, raw[0]), first);
		/* Far more keys than slots: the first is made again, and is the same. */
		for (size_t i = 0; i < COUNT_OF(raw); i++)
			(void)keyring_get(&ring, AEAD_AES_256_GCM, raw[i]);
		assert_memory_equal(keyring_get(&ring, AEAD_AES_256_GCM, raw[0]), &copy, sizeof(copy));
		/* The same bytes for another cipher are another key. */
		(void)keyring_get(&ring, AEAD_CHACHA20_POLY1305, raw[0]);
		assert_true(holds(&ring, sizeof(ring), raw[0], 32));
		keyring_forget(&ring, raw[1]); /* may be of another slot or gone: nothing of the first */
		assert_true(holds(&ring, sizeof(ring), raw[0], 32));
		keyring_forget(&ring, raw[0]);
		assert_false(holds(&ring, sizeof(ring), raw[0], 16));
		keyring_fini(&ring);
		for (size_t i = 0; i < sizeof(ring); i++)
			assert_int_equal(((const uint8_t *)&ring)[i], 0);
	}
}

static void
the_fastest_there_is_is_chosen_and_has_a_name(void **state)
{
	static const char *const names[AEAD_KINDS] = { "vaes AVX2", "ipsec-mb ", "mbedtls" };
	_Alignas(64) static struct keyring other;
	bool is_wide = keyring_init_kind(&other, AEAD_IPSEC_MB) && other.aead.is_wide;

	(void)state;
	keyring_fini(&other);
	assert_true(keyring_init(&ring, NULL));
	if (is_wide)
		assert_int_equal(ring.aead.kind, AEAD_IPSEC_MB);
	for (unsigned int faster = 0; faster < ring.aead.kind && !is_wide; faster++)
		assert_false(keyring_init_kind(&other, (enum aead_kind)faster));
	assert_memory_equal(ring.aead.name, names[ring.aead.kind], strlen(names[ring.aead.kind]));
	print_message("ciphers by %s\n", ring.aead.name);
	keyring_fini(&ring);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers_come_out),
		cmocka_unit_test(a_full_record_in_pieces_is_what_mbedtls_makes_of_it),
		cmocka_unit_test(every_length_and_piece_gives_what_one_piece_of_mbedtls_gives),
		cmocka_unit_test(the_ring_keeps_keys_until_they_are_forgotten),
		cmocka_unit_test(the_fastest_there_is_is_chosen_and_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Key derivation against published vectors, and against mbedTLS's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <mbedtls/hkdf.h>
#include <mbedtls/md.h>

#include "base/units.h"
#include "seeded.h"
#include "tls/derive.h"
#include "tls/instance.h"

static struct instance *instance;

static int
set_up(void **state)
{
	(void)state;
	instance = instance_new(ARENA_BYTES_MIN, NULL, NULL);
	assert_non_null(instance);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	instance_free(instance);
	return 0;
}

static void
a_digest_is_that_of_all_parts_in_their_order(void **state)
{
	static const mbedtls_md_type_t kinds[] = { MBEDTLS_MD_SHA256, MBEDTLS_MD_SHA384 };
	static const struct bytes parts[] = { BYTES_LITERAL("ab"), { NULL, 0 }, BYTES_LITERAL("c") };
	uint8_t ours[48];
	uint8_t theirs[48];

	(void)state;
	for (unsigned int hash = DERIVE_SHA256; hash <= DERIVE_SHA384; hash++) {
		derive_digest(hash, parts, COUNT_OF(parts), ours);
		assert_int_equal(mbedtls_md(mbedtls_md_info_from_type(kinds[hash]), (const uint8_t *)"abc", 3,
					    theirs),
				 0);
		assert_memory_equal(ours, theirs, derive_hash_bytes(hash));
	}
}

/* In the instance mbedTLS hashes; outside of it libcrypto does, and what is short goes another way. */
static void
hmac_is_mbedtls_hmac(void **state)
{
	static const mbedtls_md_type_t kinds[] = { MBEDTLS_MD_SHA256, MBEDTLS_MD_SHA384 };
	struct instance *before = instance_enter(instance);
	struct seeded seed = { 1 };
	uint8_t key[64];
	uint8_t text[200];
	uint8_t ours[48];
	uint8_t theirs[48];

	(void)state;
	for (unsigned int hash = DERIVE_SHA256; hash <= DERIVE_SHA384; hash++) {
		for (size_t len = 0; len < sizeof(text); len++) {
			size_t key_len = len % 65;

			(void)seeded_entropy(&seed, key, sizeof(key));
			(void)seeded_entropy(&seed, text, sizeof(text));
			derive_hmac(hash, bytes_make(key, key_len), bytes_make(text, len / 2),
				    bytes_make(text + len / 2, len - len / 2), ours);
			assert_int_equal(mbedtls_md_hmac(mbedtls_md_info_from_type(kinds[hash]), key, key_len,
							 text, len, theirs),
					 0);
			assert_memory_equal(ours, theirs, derive_hash_bytes(hash));
			instance_leave(before);
			derive_hmac(hash, bytes_make(key, key_len), bytes_make(text, len / 2),
				    bytes_make(text + len / 2, len - len / 2), ours);
			before = instance_enter(instance);
			assert_memory_equal(ours, theirs, derive_hash_bytes(hash));
		}
	}
	instance_leave(before);
}

/* The HkdfLabel is written out here once more, by hand (RFC 8446 7.1). */
static void
labels_expand_as_hkdf_does(void **state)
{
	static const uint8_t key_info[] = "\x00\x20\x09tls13 key";
	static const uint8_t update_info[] = "\x00\x30\x11tls13 traffic upd";
	static const uint8_t ticket_info[] = "\x00\x30\x10tls13 resumption\x02\x00\x07";
	struct instance *before = instance_enter(instance);
	struct seeded seed = { 2 };
	uint8_t secret[48];
	uint8_t ours[48];
	uint8_t theirs[48];

	(void)state;
	(void)seeded_entropy(&seed, secret, sizeof(secret));
	derive_expand_label(DERIVE_SHA256, secret, "key", BYTES_NONE, ours, 32);
	assert_int_equal(mbedtls_hkdf_expand(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), secret, 32,
					     key_info, sizeof(key_info), theirs, 32),
			 0);
	assert_memory_equal(ours, theirs, 32);
	derive_expand_label(DERIVE_SHA384, secret, "traffic upd", BYTES_NONE, ours, 48);
	assert_int_equal(mbedtls_hkdf_expand(mbedtls_md_info_from_type(MBEDTLS_MD_SHA384), secret, 48,
					     update_info, sizeof(update_info), theirs, 48),
			 0);
	assert_memory_equal(ours, theirs, 48);
	derive_expand_label(DERIVE_SHA384, secret, "resumption", BYTES_LITERAL("\x00\x07"), ours, 48);
	assert_int_equal(mbedtls_hkdf_expand(mbedtls_md_info_from_type(MBEDTLS_MD_SHA384), secret, 48,
					     ticket_info, sizeof(ticket_info) - 1, theirs, 48),
			 0);
	assert_memory_equal(ours, theirs, 48);
	instance_leave(before);
}

static void
a_traffic_key_is_that_of_its_labels(void **state)
{
	struct seeded seed = { 5 };

	(void)state;
	for (int i = 0; i < 40; i++) {
		enum derive_hash hash = i % 2 == 0 ? DERIVE_SHA256 : DERIVE_SHA384;
		size_t key_len = i % 4 < 2 ? 16 : 32;
		uint8_t secret[DERIVE_HASH_BYTES_MAX];
		uint8_t wanted[2][32] = { { 0 } };
		uint8_t got[2][32] = { { 0 } };

		assert_int_equal(seeded_entropy(&seed, secret, sizeof(secret)), 0);
		derive_expand_label(hash, secret, "key", BYTES_NONE, wanted[0], key_len);
		derive_expand_label(hash, secret, "iv", BYTES_NONE, wanted[1], 12);
		derive_traffic_key(hash, secret, got[0], key_len, got[1], 12);
		assert_memory_equal(got, wanted, sizeof(got));
	}
}

/* The IETF TLS list's vectors for the PRF of TLS 1.2 (P_SHA256, P_SHA384), their first bytes. */
static void
the_prf_gives_the_published_bytes(void **state)
{
	static const uint8_t secret_256[] = { 0x9b, 0xbe, 0x43, 0x6b, 0xa9, 0x40, 0xf0, 0x17,
					      0xb1, 0x76, 0x52, 0x84, 0x9a, 0x71, 0xdb, 0x35 };
	static const uint8_t seed_256[] = { 0xa0, 0xba, 0x9f, 0x93, 0x6c, 0xda, 0x31, 0x18,
					    0x27, 0xa6, 0xf7, 0x96, 0xff, 0xd5, 0x19, 0x8c };
	static const uint8_t out_256[] = {
		0xe3, 0xf2, 0x29, 0xba, 0x72, 0x7b, 0xe1, 0x7b, 0x8d, 0x12, 0x26, 0x20, 0x55, 0x7c, 0xd4,
		0x53, 0xc2, 0xaa, 0xb2, 0x1d, 0x07, 0xc3, 0xd4, 0x95, 0x32, 0x9b, 0x52, 0xd4, 0xe6, 0x1e,
		0xdb, 0x5a, 0x6b, 0x30, 0x17, 0x91, 0xe9, 0x0d, 0x35, 0xc9, 0xc9, 0xa4, 0x6b, 0x4e, 0x14,
		0xba, 0xf9, 0xaf, 0x0f, 0xa0, 0x22, 0xf7, 0x07, 0x7d, 0xef, 0x17, 0xab, 0xfd, 0x37, 0x97,
		0xc0, 0x56, 0x4b, 0xab, 0x4f, 0xbc, 0x91, 0x66, 0x6e, 0x9d, 0xef, 0x9b, 0x97, 0xfc, 0xe3,
		0x4f, 0x79, 0x67, 0x89, 0xba, 0xa4, 0x80, 0x82, 0xd1, 0x22, 0xee, 0x42, 0xc5, 0xa7, 0x2e,
		0x5a, 0x51, 0x10, 0xff, 0xf7, 0x01, 0x87, 0x34, 0x7b, 0x66
	};
	static const uint8_t secret_384[] = { 0xb8, 0x0b, 0x73, 0x3d, 0x6c, 0xee, 0xfc, 0xdc,
					      0x71, 0x56, 0x6e, 0xa4, 0x8e, 0x55, 0x67, 0xdf };
	static const uint8_t seed_384[] = { 0xcd, 0x66, 0x5c, 0xf6, 0xa8, 0x44, 0x7d, 0xd6,
					    0xff, 0x8b, 0x27, 0x55, 0x5e, 0xdb, 0x74, 0x65 };
	static const uint8_t out_384[] = { 0x7b, 0x0c, 0x18, 0xe9, 0xce, 0xd4, 0x10, 0xed, 0x18, 0x04, 0xf2,
					   0xcf, 0xa3, 0x4a, 0x33, 0x6a, 0x1c, 0x14, 0xdf, 0xfb, 0x49, 0x00,
					   0xbb, 0x5f, 0xd7, 0x94, 0x21, 0x07, 0xe8, 0x1c, 0x83, 0xcd, 0xe9 };
	uint8_t out[sizeof(out_256)];

	(void)state;
	derive_prf(DERIVE_SHA256, bytes_make(secret_256, sizeof(secret_256)), "test label",
		   bytes_make(seed_256, sizeof(seed_256)), out, sizeof(out_256));
	assert_memory_equal(out, out_256, sizeof(out_256));
	derive_prf(DERIVE_SHA384, bytes_make(secret_384, sizeof(secret_384)), "test label",
		   bytes_make(seed_384, sizeof(seed_384)), out, sizeof(out_384));
	assert_memory_equal(out, out_384, sizeof(out_384));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_digest_is_that_of_all_parts_in_their_order),
		cmocka_unit_test(hmac_is_mbedtls_hmac),
		cmocka_unit_test(labels_expand_as_hkdf_does),
		cmocka_unit_test(a_traffic_key_is_that_of_its_labels),
		cmocka_unit_test(the_prf_gives_the_published_bytes),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* The library under mbedTLS computes what mbedTLS computes, refuses what it refuses, and keeps to the memory of
 * its instance. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <mbedtls/ecdsa.h>
#include <mbedtls/gcm.h>
#include <mbedtls/pk.h>
#include <mbedtls/sha256.h>
#include <mbedtls/sha512.h>
#include <psa/crypto.h>

#include "base/units.h"
#include "cert_file.h"
#include "seeded.h"
#include "tls/crypto.h"
#include "tls/crypto_order.h"
#include "tls/crypto_p256.h"
#include "tls/instance.h"
#include "tls/keyring.h"

#define ROUNDS 20
#define X25519_ROUNDS 2000

static const char *const sets[] = { "mbedtls", "libcrypto" };

static struct seeded seed;

/* Random numbers begin anew, so that both sets draw the same. */
static struct instance *
instance_of(const char *set)
{
	struct instance *instance;

	seed.state = 11;
	instance = instance_new(1 * MIB, seeded_entropy, &seed);
	assert_non_null(instance);
	assert_true(instance_use_primitives(instance, set));
	assert_string_equal(instance_primitives(instance), set);
	return instance;
}

/* Skips a test where there is no library. */
static void
need_library(void)
{
	if (!crypto_prepare())
		skip();
}

struct product {
	uint8_t bytes[ROUNDS][2][97];
};

/* Of each scalar a public key, and the secret with the last one. */
static void
multiply(const char *set, mbedtls_ecp_group_id curve, struct product *p)
{
	struct instance *instance = instance_of(set);
	struct instance *before = instance_enter(instance);
	struct seeded scalars = { 77 };
	mbedtls_ecp_group group;
	mbedtls_ecp_point points[2];
	mbedtls_mpi d;
	size_t len;

	memset(p, 0, sizeof(*p));
	mbedtls_ecp_group_init(&group);
	mbedtls_ecp_point_init(&points[0]);
	mbedtls_ecp_point_init(&points[1]);
	mbedtls_mpi_init(&d);
	assert_int_equal(mbedtls_ecp_group_load(&group, curve), 0);
	for (int round = 0; round < ROUNDS; round++) {
		mbedtls_ecp_point *public = &points[round % 2];
		mbedtls_ecp_point *other = &points[1 - round % 2];

		for (;;) {
			uint8_t bytes[48];
			size_t d_bytes = (group.nbits + 7) / 8;

			assert_int_equal(seeded_entropy(&scalars, bytes, sizeof(bytes)), 0);
			if (curve == MBEDTLS_ECP_DP_CURVE25519) {
				bytes[0] = (uint8_t)((bytes[0] & 127) | 64);
				bytes[31] &= 248;
				d_bytes = 32;
			}
			assert_int_equal(mbedtls_mpi_read_binary(&d, bytes, d_bytes), 0);
			if (mbedtls_ecp_check_privkey(&group, &d) == 0)
				break;
		}
		if (round > 0) {
			mbedtls_ecp_point secret;

			mbedtls_ecp_point_init(&secret);
			assert_int_equal(mbedtls_ecp_mul(&group, &secret, &d, other, instance_random, instance),
					 0);
			assert_int_equal(mbedtls_ecp_point_write_binary(&group, &secret,
									MBEDTLS_ECP_PF_UNCOMPRESSED, &len,
									p->bytes[round][1], 97),
					 0);
			mbedtls_ecp_point_free(&secret);
		}
		assert_int_equal(mbedtls_ecp_mul(&group, public, &d, &group.G, instance_random, instance), 0);
		assert_int_equal(mbedtls_ecp_point_write_binary(&group, public, MBEDTLS_ECP_PF_UNCOMPRESSED,
								&len, p->bytes[round][0], 97),
				 0);
	}
	mbedtls_mpi_free(&d);
	mbedtls_ecp_point_free(&points[0]);
	mbedtls_ecp_point_free(&points[1]);
	mbedtls_ecp_group_free(&group);
	instance_leave(before);
	instance_free(instance);
}

static void
points_are_the_same_on_each_curve(void **state)
{
	static const mbedtls_ecp_group_id curves[] = { MBEDTLS_ECP_DP_CURVE25519, MBEDTLS_ECP_DP_SECP256R1,
						       MBEDTLS_ECP_DP_SECP384R1 };
	static struct product products[2];

	(void)state;
	need_library();
	for (size_t c = 0; c < COUNT_OF(curves); c++) {
		for (size_t s = 0; s < COUNT_OF(sets); s++)
			multiply(sets[s], curves[c], &products[s]);
		assert_memory_equal(&products[0], &products[1], sizeof(products[0]));
	}
}

/* RFC 7748 5.2, the first vector. */
static void
x25519_gives_the_value_of_rfc_7748(void **state)
{
	static const uint8_t scalar[] = { 0xa5, 0x46, 0xe3, 0x6b, 0xf0, 0x52, 0x7c, 0x9d, 0x3b, 0x16, 0x15,
					  0x4b, 0x82, 0x46, 0x5e, 0xdd, 0x62, 0x14, 0x4c, 0x0a, 0xc1, 0xfc,
					  0x5a, 0x18, 0x50, 0x6a, 0x22, 0x44, 0xba, 0x44, 0x9a, 0xc4 };
	static const uint8_t u[] = { 0xe6, 0xdb, 0x68, 0x67, 0x58, 0x30, 0x30, 0xdb, 0x35, 0x94, 0xc1,
				     0xa4, 0x24, 0xb1, 0x5f, 0x7c, 0x72, 0x66, 0x24, 0xec, 0x26, 0xb3,
				     0x35, 0x3b, 0x10, 0xa9, 0x03, 0xa6, 0xd0, 0xab, 0x1c, 0x4c };
	static const uint8_t expected[] = { 0xc3, 0xda, 0x55, 0x37, 0x9d, 0xe9, 0xc6, 0x90, 0x8e, 0x94, 0xea,
					    0x4d, 0xf2, 0x8d, 0x08, 0x4f, 0x32, 0xec, 0xcf, 0x03, 0x49, 0x1c,
					    0x71, 0xf7, 0x54, 0xb4, 0x07, 0x55, 0x77, 0xa2, 0x85, 0x52 };
	struct instance *instance;
	struct instance *before;
	uint8_t out[32];

	(void)state;
	need_library();
	instance = instance_of("libcrypto");
	before = instance_enter(instance);
	assert_int_equal(crypto_x25519(instance_crypto(), scalar, u, out), CRYPTO_OK);
	assert_memory_equal(out, expected, sizeof(out));
	assert_int_equal(crypto_x25519_provided(instance_crypto(), scalar, u, out), CRYPTO_OK);
	assert_memory_equal(out, expected, sizeof(out));
	instance_leave(before);
	instance_free(instance);
}

/* By both ways, of which a processor has one. */
static void
x25519_refuses_points_of_small_order(void **state)
{
	static const uint8_t points[][CRYPTO_X25519_BYTES] = { { 0 }, { 1 } };
	static const uint8_t scalar[CRYPTO_X25519_BYTES] = { 1, 2, 3 };
	struct instance *instance;
	struct instance *before;
	uint8_t out[CRYPTO_X25519_BYTES];

	(void)state;
	need_library();
	instance = instance_of("libcrypto");
	before = instance_enter(instance);
	for (size_t i = 0; i < COUNT_OF(points); i++) {
		assert_int_equal(crypto_x25519(instance_crypto(), scalar, points[i], out), CRYPTO_FAILED);
		assert_int_equal(crypto_x25519_provided(instance_crypto(), scalar, points[i], out), CRYPTO_FAILED);
	}
	instance_leave(before);
	instance_free(instance);
}

static void
both_ways_of_x25519_give_the_same(void **state)
{
	struct instance *instance;
	struct instance *before;
	uint8_t scalar[CRYPTO_X25519_BYTES];
	uint8_t u[CRYPTO_X25519_BYTES];
	uint8_t out[2][CRYPTO_X25519_BYTES];

	(void)state;
	need_library();
	instance = instance_of("libcrypto");
	before = instance_enter(instance);
	for (int i = 0; i < X25519_ROUNDS; i++) {
		assert_int_equal(seeded_entropy(&seed, scalar, sizeof(scalar)), 0);
		assert_int_equal(seeded_entropy(&seed, u, sizeof(u)), 0);
		assert_int_equal(crypto_x25519(instance_crypto(), scalar, u, out[0]), CRYPTO_OK);
		assert_int_equal(crypto_x25519_provided(instance_crypto(), scalar, u, out[1]), CRYPTO_OK);
		assert_memory_equal(out[0], out[1], sizeof(out[0]));
	}
	instance_leave(before);
	instance_free(instance);
}

/* Names and hashes as certificates have them. The signature depends on key and hash alone (RFC 6979), so both
 * must be the same, and each verifies the other's. */
static void
sign(const char *set, const char *file, mbedtls_md_type_t md, int round, uint8_t signature[512], size_t *len)
{
	struct instance *instance = instance_of(set);
	struct instance *before = instance_enter(instance);
	struct bytes pem = cert_file(file);
	struct seeded hashes = { (uint64_t)round };
	uint8_t text[8192] = { 0 };
	uint8_t hash[48];
	mbedtls_pk_context key;

	mbedtls_pk_init(&key);
	memcpy(text, pem.ptr, pem.len);
	assert_int_equal(mbedtls_pk_parse_key(&key, text, pem.len + 1, NULL, 0, instance_random, instance), 0);
	assert_int_equal(seeded_entropy(&hashes, hash, sizeof(hash)), 0);
	/* Above the order. */
	if (round == 0)
		memset(hash, 0xff, sizeof(hash));
	if (*len != 0)
		assert_int_equal(mbedtls_pk_verify(&key, md, hash, mbedtls_md_get_size_from_type(md), signature,
						   *len),
				 0);
	assert_int_equal(mbedtls_pk_sign(&key, md, hash, mbedtls_md_get_size_from_type(md), signature, 512, len,
					 instance_random, instance),
			 0);
	/* A bit of it is another signature. */
	signature[*len - 1] ^= 1;
	assert_int_not_equal(mbedtls_pk_verify(&key, md, hash, mbedtls_md_get_size_from_type(md), signature, *len),
			     0);
	signature[*len - 1] ^= 1;
	mbedtls_pk_free(&key);
	instance_leave(before);
	instance_free(instance);
}

static void
signatures_are_the_same(void **state)
{
	static const struct {
		const char *file;
		mbedtls_md_type_t md;
		int rounds;
	} keys[] = { { "edge.key", MBEDTLS_MD_SHA256, ROUNDS },
		     { "edge.key", MBEDTLS_MD_SHA384, 3 },
		     { "p384.key", MBEDTLS_MD_SHA384, 3 },
		     { "rsa.key", MBEDTLS_MD_SHA256, 3 } };

	(void)state;
	need_library();
	for (size_t k = 0; k < COUNT_OF(keys); k++)
		for (int round = 0; round < keys[k].rounds; round++) {
			uint8_t first[512] = { 0 };
			uint8_t second[512];
			size_t len = 0;
			size_t second_len;

			sign(sets[0], keys[k].file, keys[k].md, round, first, &len);
			memcpy(second, first, sizeof(second));
			second_len = len;
			sign(sets[1], keys[k].file, keys[k].md, round, second, &second_len);
			assert_int_equal(second_len, len);
			assert_memory_equal(first, second, len);
			sign(sets[0], keys[k].file, keys[k].md, round, second, &second_len);
		}
}

/* A key's blinding is made once and squared from then on, and what is ready of its modulus is kept. */
static void
sign_often(const char *set, uint8_t signatures[4][256])
{
	struct instance *instance = instance_of(set);
	struct instance *before = instance_enter(instance);
	struct bytes pem = cert_file("rsa.key");
	uint8_t text[8192] = { 0 };
	uint8_t hash[32] = { 0 };
	mbedtls_pk_context key;
	size_t len;

	mbedtls_pk_init(&key);
	memcpy(text, pem.ptr, pem.len);
	assert_int_equal(mbedtls_pk_parse_key(&key, text, pem.len + 1, NULL, 0, instance_random, instance), 0);
	for (int i = 0; i < 4; i++) {
		hash[0]++;
		assert_int_equal(mbedtls_pk_sign(&key, MBEDTLS_MD_SHA256, hash, sizeof(hash), signatures[i],
						 256, &len, instance_random, instance),
				 0);
		assert_int_equal(len, 256);
		assert_int_equal(mbedtls_pk_verify(&key, MBEDTLS_MD_SHA256, hash, sizeof(hash), signatures[i],
						   len),
				 0);
	}
	mbedtls_pk_free(&key);
	instance_leave(before);
	instance_free(instance);
}

static void
an_rsa_key_signs_again_and_again(void **state)
{
	uint8_t signatures[2][4][256];

	(void)state;
	need_library();
	for (size_t s = 0; s < COUNT_OF(sets); s++)
		sign_often(sets[s], signatures[s]);
	assert_memory_equal(signatures[0], signatures[1], sizeof(signatures[0]));
}

static void
multiply_by_mbedtls(const uint8_t *first, const uint8_t *second, const uint8_t *modulus, size_t bytes,
		    uint8_t *out)
{
	mbedtls_mpi numbers[3];

	for (int i = 0; i < 3; i++)
		mbedtls_mpi_init(&numbers[i]);
	assert_int_equal(mbedtls_mpi_read_binary_le(&numbers[0], first, bytes), 0);
	assert_int_equal(mbedtls_mpi_read_binary_le(&numbers[1], second, bytes), 0);
	assert_int_equal(mbedtls_mpi_read_binary_le(&numbers[2], modulus, bytes), 0);
	assert_int_equal(mbedtls_mpi_mul_mpi(&numbers[0], &numbers[0], &numbers[1]), 0);
	assert_int_equal(mbedtls_mpi_mod_mpi(&numbers[0], &numbers[0], &numbers[2]), 0);
	assert_int_equal(mbedtls_mpi_write_binary_le(&numbers[0], out, bytes), 0);
	for (int i = 0; i < 3; i++)
		mbedtls_mpi_free(&numbers[i]);
}

/* Moduli of all lengths in turns, so that none is kept for long, each used three times; 0, 1 and what is as long
 * as the modulus and above it among the factors. Then without memory, and with it again. */
static void
products_are_those_of_mbedtls(void **state)
{
	static const size_t lengths[] = { 1, 128, 129, 256, 256, 512, 8 };
	uint8_t modulus[CRYPTO_POWER_BYTES_MAX];
	uint8_t factors[2][CRYPTO_POWER_BYTES_MAX];
	uint8_t expected[CRYPTO_POWER_BYTES_MAX];
	uint8_t out[CRYPTO_POWER_BYTES_MAX];
	struct instance *instance;
	struct instance *before;

	(void)state;
	need_library();
	instance = instance_of("libcrypto");
	before = instance_enter(instance);
	for (size_t i = 0; i < 3 * COUNT_OF(lengths) * ROUNDS; i++) {
		struct crypto_product what = { factors[0], factors[1], modulus,
					       lengths[i / 3 % COUNT_OF(lengths)] };

		if (i % 3 == 0) {
			assert_int_equal(seeded_entropy(&seed, modulus, what.bytes), 0);
			modulus[0] |= 3;
			modulus[what.bytes - 1] |= 1;
		}
		assert_int_equal(seeded_entropy(&seed, factors[0], sizeof(factors)), 0);
		if (i % 5 == 0)
			memset(factors[0], 0, what.bytes);
		if (i % 10 == 0)
			factors[0][0] = 1;
		if (i % 7 == 0)
			memset(factors[1], 0xff, what.bytes);
		multiply_by_mbedtls(factors[0], factors[1], modulus, what.bytes, expected);
		assert_int_equal(crypto_product(instance_crypto(), &what, out), CRYPTO_OK);
		assert_memory_equal(out, expected, what.bytes);
	}
	instance_leave(before);
	instance_free(instance);
}

/* Of lengths that RSA has, and others; what is below the modulus, and equal to it, among the numbers. */
static void
remainders_are_those_of_mbedtls(void **state)
{
	static const size_t lengths[] = { 1, 128, 192, 512 };
	uint8_t number[2 * CRYPTO_POWER_BYTES_MAX];
	uint8_t modulus[CRYPTO_POWER_BYTES_MAX];
	uint8_t expected[CRYPTO_POWER_BYTES_MAX];
	uint8_t out[CRYPTO_POWER_BYTES_MAX];
	struct instance *instance;
	struct instance *before;

	(void)state;
	need_library();
	instance = instance_of("libcrypto");
	before = instance_enter(instance);
	for (size_t i = 0; i < 5 * COUNT_OF(lengths); i++) {
		size_t bytes = lengths[i % COUNT_OF(lengths)];
		struct crypto_division what = { number, 2 * bytes, modulus, bytes };
		mbedtls_mpi a, m;

		assert_int_equal(seeded_entropy(&seed, number, 2 * bytes), 0);
		assert_int_equal(seeded_entropy(&seed, modulus, bytes), 0);
		modulus[bytes - 1] |= 0x80;
		if (i % 5 == 1)
			memset(number + bytes, 0, bytes);
		if (i % 5 == 2)
			memset(number, 0, 2 * bytes);
		if (i % 5 == 3) {
			memset(number, 0, 2 * bytes);
			memcpy(number, modulus, bytes);
		}
		mbedtls_mpi_init(&a);
		mbedtls_mpi_init(&m);
		assert_int_equal(mbedtls_mpi_read_binary_le(&a, number, 2 * bytes), 0);
		assert_int_equal(mbedtls_mpi_read_binary_le(&m, modulus, bytes), 0);
		assert_int_equal(mbedtls_mpi_mod_mpi(&a, &a, &m), 0);
		assert_int_equal(mbedtls_mpi_write_binary_le(&a, expected, bytes), 0);
		mbedtls_mpi_free(&a);
		mbedtls_mpi_free(&m);
		assert_int_equal(crypto_remainder(instance_crypto(), &what, out), CRYPTO_OK);
		assert_memory_equal(out, expected, bytes);
	}
	instance_leave(before);
	instance_free(instance);
}

/* Of every size that is left in the arena, until it is enough. */
static void
a_product_without_memory_fails_and_leaves_nothing(void **state)
{
	uint8_t modulus[CRYPTO_POWER_BYTES_MAX];
	struct crypto_product what = { modulus, modulus, modulus, sizeof(modulus) };
	uint8_t out[CRYPTO_POWER_BYTES_MAX];
	struct instance *instance;
	struct instance *before;
	unsigned int failures = 0;
	enum crypto_result result;
	size_t blocks;
	void *rest;

	(void)state;
	need_library();
	instance = instance_of("libcrypto");
	before = instance_enter(instance);
	memset(modulus, 0xff, sizeof(modulus));
	for (size_t left = 64; failures < 1000; left += 64) {
		struct arena *arena = instance_arena(instance);
		size_t taken = arena_use(arena).blocks;
		void *fillers[64];
		size_t count = 0;

		/* All of it, but for one block of the size. */
		rest = arena_alloc(arena, left);
		assert_non_null(rest);
		for (size_t bytes = 1 * MIB; bytes >= 16; bytes /= 2)
			while ((fillers[count] = arena_alloc(arena, bytes)) != NULL)
				assert_true(++count < COUNT_OF(fillers));
		arena_release(arena, rest);
		result = crypto_product(instance_crypto(), &what, out);
		while (count > 0)
			arena_release(arena, fillers[--count]);
		if (result == CRYPTO_OK)
			break;
		assert_int_equal(result, CRYPTO_FAILED);
		failures++;
		blocks = arena_use(arena).blocks;
		/* What was kept of the modulus may have grown. */
		assert_in_range(blocks, taken, taken + 3);
	}
	assert_in_range(failures, 5, 999);
	memset(out, 0xff, sizeof(out));
	assert_int_equal(crypto_product(instance_crypto(), &what, out), CRYPTO_OK);
	for (size_t i = 0; i < sizeof(out); i++)
		assert_int_equal(out[i], 0);
	instance_leave(before);
	instance_free(instance);
}

/* mbedTLS's own way through PSA, with what it knows of nobody's library. */
static void
hash_all(const char *set, uint8_t sums[2][64])
{
	struct instance *instance = instance_of(set);
	struct instance *before = instance_enter(instance);
	static uint8_t text[1000];
	mbedtls_sha256_context sha256;
	mbedtls_sha512_context sha512;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 7);
	mbedtls_sha256_init(&sha256);
	mbedtls_sha512_init(&sha512);
	assert_int_equal(mbedtls_sha256_starts(&sha256, 0), 0);
	assert_int_equal(mbedtls_sha512_starts(&sha512, 1), 0);
	/* In pieces of every length. */
	for (size_t len = 0; len < 300; len++) {
		assert_int_equal(mbedtls_sha256_update(&sha256, text + len, len), 0);
		assert_int_equal(mbedtls_sha512_update(&sha512, text + len, len), 0);
	}
	assert_int_equal(mbedtls_sha256_finish(&sha256, sums[0]), 0);
	assert_int_equal(mbedtls_sha512_finish(&sha512, sums[1]), 0);
	instance_leave(before);
	instance_free(instance);
}

static void
hashes_are_the_same(void **state)
{
	uint8_t sums[2][2][64] = { 0 };

	(void)state;
	need_library();
	hash_all(sets[0], sums[0]);
	hash_all(sets[1], sums[1]);
	assert_memory_equal(sums[0], sums[1], sizeof(sums[0]));
}

static bool
has_key(const struct keyring *ring)
{
	for (size_t i = 0; i < KEYRING_SLOTS; i++)
		if (ring->slots[i].is_used)
			return true;
	return false;
}

#define TEXT_BYTES 700

/* A message and its opening by whatever the instance has; the ring has the key in between. */
static void
seal_and_open(size_t key_bytes, size_t bytes, const struct keyring *ring, uint8_t *sealed)
{
	static const uint8_t text[TEXT_BYTES + 12] = { 1, 2, 3, 4, 5, [500] = 6 };
	uint8_t opened[TEXT_BYTES];
	uint8_t *tag = sealed + bytes;
	mbedtls_gcm_context gcm;

	mbedtls_gcm_init(&gcm);
	assert_int_equal(mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, text, (unsigned int)(8 * key_bytes)), 0);
	assert_int_equal(mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, bytes, text + bytes, 12, text,
						   bytes % 40, text, sealed, 16, tag),
			 0);
	assert_int_equal(has_key(ring), instance_keyring() != NULL && key_bytes != 24);
	assert_int_equal(mbedtls_gcm_auth_decrypt(&gcm, bytes, text + bytes, 12, text, bytes % 40, tag, 16, sealed,
						  opened),
			 0);
	assert_memory_equal(opened, text, bytes);
	/* Where it lies. */
	memcpy(opened, sealed, bytes);
	assert_int_equal(mbedtls_gcm_auth_decrypt(&gcm, bytes, text + bytes, 12, text, bytes % 40, tag, 16, opened,
						  opened),
			 0);
	assert_memory_equal(opened, text, bytes);
	tag[3] ^= 1;
	assert_int_equal(mbedtls_gcm_auth_decrypt(&gcm, bytes, text + bytes, 12, text, bytes % 40, tag, 16, sealed,
						  opened),
			 MBEDTLS_ERR_GCM_AUTH_FAILED);
	tag[3] ^= 1;
	mbedtls_gcm_free(&gcm);
	assert_false(has_key(ring));
}

/* By the ring's cipher and by mbedTLS's. No ring has keys of 192 bits. */
static void
messages_of_aes_gcm_are_the_same(void **state)
{
	static struct keyring ring;

	(void)state;
	need_library();
	for (int kind = 0; kind < AEAD_KINDS; kind++) {
		struct instance *instances[2] = { instance_of("libcrypto"), instance_of("libcrypto") };

		if (!keyring_init_kind(&ring, (enum aead_kind)kind))
			continue;
		if (kind != AEAD_MBEDTLS)
			instance_set_keyring(instances[1], &ring);
		for (size_t key_bytes = 16; key_bytes <= 32; key_bytes += 8) {
			for (size_t bytes = 0; bytes <= TEXT_BYTES; bytes += bytes < 50 ? 1 : 50) {
				uint8_t sealed[2][TEXT_BYTES + 16];

				for (int i = 0; i < 2; i++) {
					struct instance *before = instance_enter(instances[i]);
					bool has_ring = i == 1 && kind != AEAD_MBEDTLS;

					assert_int_equal(instance_keyring() != NULL, has_ring);
					seal_and_open(key_bytes, bytes, &ring, sealed[i]);
					instance_leave(before);
				}
				assert_memory_equal(sealed[0], sealed[1], bytes + 16);
			}
		}
		instance_free(instances[0]);
		instance_free(instances[1]);
		keyring_fini(&ring);
	}
}

static void
who_has_mbedtls_alone_takes_no_ring(void **state)
{
	static struct keyring ring;
	struct instance *instance = instance_of("mbedtls");
	struct instance *before;

	(void)state;
	assert_true(keyring_init(&ring, NULL));
	instance_set_keyring(instance, &ring);
	before = instance_enter(instance);
	assert_null(instance_keyring());
	instance_leave(before);
	instance_free(instance);
	keyring_fini(&ring);
}

/* The order, and each number around it: less it where it is not below it, and a key where it is, but for zero. */
static void
numbers_are_read_below_the_order(void **state)
{
	static const struct {
		enum crypto_curve curve;
		mbedtls_ecp_group_id id;
	} curves[] = { { CRYPTO_P256, MBEDTLS_ECP_DP_SECP256R1 }, { CRYPTO_P384, MBEDTLS_ECP_DP_SECP384R1 } };
	static const uint8_t zero[CRYPTO_COORDINATE_BYTES_MAX];
	struct instance *instance = instance_of("mbedtls");
	struct instance *before = instance_enter(instance);

	(void)state;
	for (size_t c = 0; c < COUNT_OF(curves); c++) {
		enum crypto_curve curve = curves[c].curve;
		size_t bytes = order_bytes(curve), last = bytes - 1;
		uint8_t number[CRYPTO_COORDINATE_BYTES_MAX];
		uint8_t order[CRYPTO_COORDINATE_BYTES_MAX];
		uint8_t read[CRYPTO_COORDINATE_BYTES_MAX];
		mbedtls_ecp_group group;

		mbedtls_ecp_group_init(&group);
		assert_int_equal(mbedtls_ecp_group_load(&group, curves[c].id), 0);
		assert_int_equal(mbedtls_mpi_write_binary(&group.N, order, bytes), 0);
		mbedtls_ecp_group_free(&group);
		assert_false(order_is_key(curve, order));
		order_reduce(curve, order, read);
		assert_memory_equal(read, zero, bytes);
		memcpy(number, order, bytes);
		number[last]--;
		assert_true(order_is_key(curve, number));
		order_reduce(curve, number, read);
		assert_memory_equal(read, number, bytes);
		number[last] += 2;
		assert_false(order_is_key(curve, number));
		order_reduce(curve, number, number);
		assert_int_equal(number[last], 1);
		assert_memory_equal(number, zero, last);
		assert_true(order_is_key(curve, number));
		memset(number, 0, bytes);
		assert_false(order_is_key(curve, number));
		memset(number, 0xff, bytes);
		assert_false(order_is_key(curve, number));
		order_reduce(curve, number, number);
		assert_int_equal((uint8_t)(number[last] + order[last]), 0xff);
		/* A borrow that goes through to the first octet. */
		memcpy(number, order, bytes);
		number[0] = 1;
		assert_true(order_is_key(curve, number));
	}
	instance_leave(before);
	instance_free(instance);
}

static void
p256_scalars_are_read_below_the_order(void **state)
{
	uint8_t number[P256_BYTES];
	uint8_t below[P256_BYTES];
	uint8_t read[P256_BYTES];

	(void)state;
	for (int i = 0; i < 256; i++) {
		assert_int_equal(seeded_entropy(&seed, number, sizeof(number)), 0);
		/* The order begins with four of these and four zeros. */
		memset(number, 0xff, i % 2 * 4);
		memset(number + 4, 0, i % 2 * 4);
		order_reduce(CRYPTO_P256, number, below);
		p256_number_write(p256_scalar_read(number), read);
		assert_memory_equal(read, below, sizeof(read));
	}
}

/* X = x z^2, Y = y z^3. */
static void
stretch(const mbedtls_ecp_group *group, const mbedtls_mpi *z, uint8_t jacobian[3 * P256_BYTES])
{
	const mbedtls_mpi *from[] = { &group->G.MBEDTLS_PRIVATE(X), &group->G.MBEDTLS_PRIVATE(Y) };
	mbedtls_mpi product;

	mbedtls_mpi_init(&product);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mbedtls_mpi_copy(&product, from[i]), 0);
		for (int times = 0; times < 2 + i; times++) {
			assert_int_equal(mbedtls_mpi_mul_mpi(&product, &product, z), 0);
			assert_int_equal(mbedtls_mpi_mod_mpi(&product, &product, &group->P), 0);
		}
		assert_int_equal(mbedtls_mpi_write_binary(&product, jacobian + i * P256_BYTES, P256_BYTES), 0);
	}
	assert_int_equal(mbedtls_mpi_write_binary(z, jacobian + 2 * (size_t)P256_BYTES, P256_BYTES), 0);
	mbedtls_mpi_free(&product);
}

static void
p256_points_are_found_by_their_jacobian_coordinates(void **state)
{
	struct instance *instance = instance_of("mbedtls");
	struct instance *before = instance_enter(instance);
	uint8_t jacobian[3 * P256_BYTES];
	uint8_t generator[1 + 2 * P256_BYTES];
	uint8_t point[2 * P256_BYTES];
	mbedtls_ecp_group group;
	mbedtls_mpi z;
	size_t len;

	(void)state;
	mbedtls_ecp_group_init(&group);
	mbedtls_mpi_init(&z);
	assert_int_equal(mbedtls_ecp_group_load(&group, MBEDTLS_ECP_DP_SECP256R1), 0);
	assert_int_equal(mbedtls_ecp_point_write_binary(&group, &group.G, MBEDTLS_ECP_PF_UNCOMPRESSED, &len,
							generator, sizeof(generator)),
			 0);
	for (int i = 0; i < 256; i++) {
		assert_int_equal(seeded_entropy(&seed, jacobian, P256_BYTES), 0);
		assert_int_equal(mbedtls_mpi_read_binary(&z, jacobian, P256_BYTES), 0);
		assert_int_equal(mbedtls_mpi_mod_mpi(&z, &z, &group.P), 0);
		if (i == 0)
			assert_int_equal(mbedtls_mpi_lset(&z, 1), 0);
		else if (i == 1)
			assert_int_equal(mbedtls_mpi_sub_int(&z, &group.P, 1), 0);
		stretch(&group, &z, jacobian);
		assert_true(p256_find_affine(jacobian, point));
		assert_memory_equal(point, generator + 1, sizeof(point));
	}
	memset(jacobian + 2 * (size_t)P256_BYTES, 0, P256_BYTES);
	assert_false(p256_find_affine(jacobian, point));
	mbedtls_mpi_free(&z);
	mbedtls_ecp_group_free(&group);
	instance_leave(before);
	instance_free(instance);
}

static const struct {
	psa_ecc_family_t family;
	size_t bits;
	uint8_t peer[65];
	size_t peer_bytes;
} bad_peers[] = {
	/* A point of small order: the secret would be zero (RFC 8446 7.4.2). */
	{ PSA_ECC_FAMILY_MONTGOMERY, 255, { 0 }, 32 },
	{ PSA_ECC_FAMILY_MONTGOMERY, 255, { 1 }, 32 },
	{ PSA_ECC_FAMILY_MONTGOMERY, 255, { 9 }, 31 },
	/* Not on the curve, beyond the field, infinity, another form. */
	{ PSA_ECC_FAMILY_SECP_R1, 256, { 4, 1 }, 65 },
	{ PSA_ECC_FAMILY_SECP_R1, 256, { 4, 0xff, 0xff, 0xff, 0xff, 0xff }, 65 },
	{ PSA_ECC_FAMILY_SECP_R1, 256, { 0 }, 1 },
	{ PSA_ECC_FAMILY_SECP_R1, 256, { 6, 1 }, 65 },
	{ PSA_ECC_FAMILY_SECP_R1, 256, { 4, 1 }, 64 },
};

static psa_key_id_t
make_key(psa_ecc_family_t family, size_t bits)
{
	psa_key_attributes_t attributes = psa_key_attributes_init();
	psa_key_id_t key = 0;

	psa_set_key_usage_flags(&attributes, PSA_KEY_USAGE_DERIVE);
	psa_set_key_algorithm(&attributes, PSA_ALG_ECDH);
	psa_set_key_type(&attributes, PSA_KEY_TYPE_ECC_KEY_PAIR(family));
	psa_set_key_bits(&attributes, bits);
	assert_int_equal(psa_generate_key(&attributes, &key), PSA_SUCCESS);
	return key;
}

/* Everything that fails, and behind it everything that it took is back. */
static void
refuse_all(void)
{
	for (size_t i = 0; i < COUNT_OF(bad_peers); i++) {
		psa_key_id_t key = make_key(bad_peers[i].family, bad_peers[i].bits);
		uint8_t secret[32];
		size_t len;

		assert_int_not_equal(psa_raw_key_agreement(PSA_ALG_ECDH, key, bad_peers[i].peer,
							   bad_peers[i].peer_bytes, secret, sizeof(secret), &len),
				     PSA_SUCCESS);
		assert_int_equal(psa_destroy_key(key), PSA_SUCCESS);
	}
}

static void
bad_points_are_refused_and_leave_nothing(void **state)
{
	(void)state;
	for (size_t s = 0; s < COUNT_OF(sets); s++) {
		struct instance *instance;
		struct instance *before;
		size_t blocks;

		if (s > 0)
			need_library();
		instance = instance_of(sets[s]);
		before = instance_enter(instance);
		refuse_all();
		blocks = arena_use(instance_arena(instance)).blocks;
		refuse_all();
		assert_int_equal(arena_use(instance_arena(instance)).blocks, blocks);
		instance_leave(before);
		instance_free(instance);
	}
}

/* The generator, and n - 1 times it. */
static void
a_sum_that_is_infinity_is_refused(void **state)
{
	static const uint8_t one[P256_BYTES] = { [P256_BYTES - 1] = 1 };
	struct instance *instance;
	struct instance *before;
	uint8_t generator[1 + 2 * P256_BYTES];
	uint8_t less_one[P256_BYTES];
	uint8_t sum[2 * P256_BYTES];
	mbedtls_ecp_group group;
	size_t len;

	(void)state;
	need_library();
	instance = instance_of("libcrypto");
	before = instance_enter(instance);
	mbedtls_ecp_group_init(&group);
	assert_int_equal(mbedtls_ecp_group_load(&group, MBEDTLS_ECP_DP_SECP256R1), 0);
	assert_int_equal(mbedtls_ecp_point_write_binary(&group, &group.G, MBEDTLS_ECP_PF_UNCOMPRESSED, &len,
							generator, sizeof(generator)),
			 0);
	assert_int_equal(mbedtls_mpi_write_binary(&group.N, less_one, sizeof(less_one)), 0);
	less_one[P256_BYTES - 1]--;
	assert_int_equal(crypto_ec_combine(instance_crypto(), CRYPTO_P256, one, one, generator + 1, sum),
			 CRYPTO_OK);
	assert_int_equal(crypto_ec_combine(instance_crypto(), CRYPTO_P256, one, less_one, generator + 1, sum),
			 CRYPTO_FAILED);
	mbedtls_ecp_group_free(&group);
	instance_leave(before);
	instance_free(instance);
}

/* Both sides of an agreement, each by another set. */
static void
keys_agree_with_those_of_mbedtls(void **state)
{
	static const struct {
		psa_ecc_family_t family;
		size_t bits;
	} curves[] = { { PSA_ECC_FAMILY_MONTGOMERY, 255 }, { PSA_ECC_FAMILY_SECP_R1, 256 } };

	(void)state;
	need_library();
	for (size_t c = 0; c < COUNT_OF(curves); c++) {
		struct instance *instances[2];
		psa_key_id_t keys[2];
		uint8_t publics[2][65];
		uint8_t secrets[2][32];
		size_t public_len[2];
		size_t len;

		for (size_t s = 0; s < COUNT_OF(sets); s++) {
			struct instance *before;

			instances[s] = instance_of(sets[s]);
			seed.state = 1000 + s;
			before = instance_enter(instances[s]);
			keys[s] = make_key(curves[c].family, curves[c].bits);
			assert_int_equal(psa_export_public_key(keys[s], publics[s], 65, &public_len[s]),
					 PSA_SUCCESS);
			instance_leave(before);
		}
		for (size_t s = 0; s < COUNT_OF(sets); s++) {
			struct instance *before = instance_enter(instances[s]);

			assert_int_equal(psa_raw_key_agreement(PSA_ALG_ECDH, keys[s], publics[1 - s],
							       public_len[1 - s], secrets[s], 32, &len),
					 PSA_SUCCESS);
			assert_int_equal(len, 32);
			instance_leave(before);
		}
		assert_memory_equal(secrets[0], secrets[1], 32);
		for (size_t s = 0; s < COUNT_OF(sets); s++)
			instance_free(instances[s]);
	}
}

static void *
fail_and_end(void *opaque)
{
	struct instance *instance = instance_of("libcrypto");
	struct instance *before = instance_enter(instance);

	(void)opaque;
	refuse_all();
	instance_leave(before);
	instance_free(instance);
	return NULL;
}

/* What the library keeps for each thread must not lie in the arena, which is gone before the thread is. */
static void
a_thread_that_failed_ends_without_its_instance(void **state)
{
	pthread_t thread;

	(void)state;
	need_library();
	assert_int_equal(pthread_create(&thread, NULL, fail_and_end, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void
the_library_takes_the_instances_memory_alone(void **state)
{
	struct instance *instance;
	size_t bytes;

	(void)state;
	need_library();
	seed.state = 11;
	instance = instance_new(1 * MIB, seeded_entropy, &seed);
	bytes = arena_use(instance_arena(instance)).bytes;
	assert_true(instance_use_primitives(instance, NULL));
	assert_string_equal(instance_primitives(instance), "libcrypto");
	assert_in_range(arena_use(instance_arena(instance)).bytes, bytes + 500, bytes + 32 * KIB);
	instance_free(instance);
}

static void
what_is_not_here_is_refused(void **state)
{
	struct instance *instance = instance_of("mbedtls");

	(void)state;
	assert_false(instance_use_primitives(instance, "abacus"));
	assert_string_equal(instance_primitives(instance), "mbedtls");
	instance_free(instance);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(points_are_the_same_on_each_curve),
		cmocka_unit_test(x25519_gives_the_value_of_rfc_7748),
		cmocka_unit_test(x25519_refuses_points_of_small_order),
		cmocka_unit_test(both_ways_of_x25519_give_the_same),
		cmocka_unit_test(signatures_are_the_same),
		cmocka_unit_test(an_rsa_key_signs_again_and_again),
		cmocka_unit_test(products_are_those_of_mbedtls),
		cmocka_unit_test(remainders_are_those_of_mbedtls),
		cmocka_unit_test(a_product_without_memory_fails_and_leaves_nothing),
		cmocka_unit_test(hashes_are_the_same),
		cmocka_unit_test(messages_of_aes_gcm_are_the_same),
		cmocka_unit_test(who_has_mbedtls_alone_takes_no_ring),
		cmocka_unit_test(numbers_are_read_below_the_order),
		cmocka_unit_test(p256_scalars_are_read_below_the_order),
		cmocka_unit_test(p256_points_are_found_by_their_jacobian_coordinates),
		cmocka_unit_test(bad_points_are_refused_and_leave_nothing),
		cmocka_unit_test(a_sum_that_is_infinity_is_refused),
		cmocka_unit_test(keys_agree_with_those_of_mbedtls),
		cmocka_unit_test(a_thread_that_failed_ends_without_its_instance),
		cmocka_unit_test(the_library_takes_the_instances_memory_alone),
		cmocka_unit_test(what_is_not_here_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

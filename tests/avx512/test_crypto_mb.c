/*
 * crypto_mb does what its headers say, and what they do not say: lane by lane against libcrypto, with lanes
 * that are empty, wrong or at the edge beside lanes that are right. Needs AVX-512 IFMA: tests/avx512/run.
 */
#define BN_OPENSSL_DISABLE
#include <crypto_mb/cpu_features.h>
#include <crypto_mb/ec_nistp256.h>
#include <crypto_mb/rsa.h>
#include <crypto_mb/x25519.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>
#include <cmocka.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>

#include "base/units.h"
#include "seeded.h"

#define LANES 8
#define KEY_BYTES 32
#define RSA_BITS 2048
#define RSA_BYTES (RSA_BITS / 8)

static struct seeded seed = { 1 };
static EC_GROUP *group;
static BN_CTX *scratch;

/* What one call took, all lanes of it, in this emulation: instructions. */
static void
say(const char *what, uint64_t before, uint64_t after, unsigned int divisor)
{
	print_message("instructions: %s %llu\n", what, (unsigned long long)((after - before) / divisor));
}

static void
random_bytes(uint8_t *to, size_t len)
{
	assert_int_equal(seeded_entropy(&seed, to, len), 0);
}

static int
set_up(void **state)
{
	(void)state;
	group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	scratch = BN_CTX_new();
	return group == NULL || scratch == NULL;
}

static int
tear_down(void **state)
{
	(void)state;
	EC_GROUP_free(group);
	BN_CTX_free(scratch);
	return 0;
}

/* --- X25519 --- */

static void
x25519_expect(const uint8_t scalar[KEY_BYTES], const uint8_t *u, uint8_t out[KEY_BYTES])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, scalar, KEY_BYTES);
	size_t len = KEY_BYTES;

	assert_non_null(key);
	if (u == NULL) {
		assert_int_equal(EVP_PKEY_get_raw_public_key(key, out, &len), 1);
	} else {
		EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, u, KEY_BYTES);
		EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);

		assert_int_equal(EVP_PKEY_derive_init(context), 1);
		assert_int_equal(EVP_PKEY_derive_set_peer(context, peer), 1);
		if (EVP_PKEY_derive(context, out, &len) != 1)
			memset(out, 0, KEY_BYTES);
		EVP_PKEY_CTX_free(context);
		EVP_PKEY_free(peer);
	}
	EVP_PKEY_free(key);
}

struct x25519_lanes {
	uint8_t scalar[LANES][KEY_BYTES];
	uint8_t u[LANES][KEY_BYTES];
	uint8_t out[LANES][KEY_BYTES];
	uint8_t *outs[LANES];
	const uint8_t *scalars[LANES];
	const uint8_t *us[LANES];
};

static struct x25519_lanes x25519;

static void
x25519_fill(void)
{
	random_bytes(x25519.scalar[0], sizeof(x25519.scalar));
	random_bytes(x25519.u[0], sizeof(x25519.u));
	memset(x25519.out, 0xee, sizeof(x25519.out));
	for (int i = 0; i < LANES; i++) {
		x25519.outs[i] = x25519.out[i];
		x25519.scalars[i] = x25519.scalar[i];
		x25519.us[i] = x25519.u[i];
	}
}

static void
x25519_check(int lane, const uint8_t *u)
{
	uint8_t expected[KEY_BYTES];

	x25519_expect(x25519.scalar[lane], u, expected);
	assert_memory_equal(x25519.out[lane], expected, KEY_BYTES);
}

static void
x25519_public_keys_are_libcryptos(void **state)
{
	(void)state;
	for (int round = 0; round < 4; round++) {
		uint64_t before, after;
		mbx_status status;

		x25519_fill();
		before = __rdtsc();
		status = mbx_x25519_public_key_mb8(x25519.outs, x25519.scalars);
		after = __rdtsc();
		if (round == 3)
			say("crypto_mb X25519 public key, 8 lanes", before, after, 1);
		assert_int_equal(status, 0);
		for (int i = 0; i < LANES; i++)
			x25519_check(i, NULL);
	}
}

static void
x25519_secrets_are_libcryptos(void **state)
{
	(void)state;
	for (int round = 0; round < 4; round++) {
		uint64_t before, after;
		uint8_t expected[KEY_BYTES];
		mbx_status status;

		x25519_fill();
		before = __rdtsc();
		status = mbx_x25519_mb8(x25519.outs, x25519.scalars, x25519.us);
		after = __rdtsc();
		if (round == 3)
			say("crypto_mb X25519 secret, 8 lanes", before, after, 1);
		assert_int_equal(status, 0);
		for (int i = 0; i < LANES; i++)
			x25519_check(i, x25519.u[i]);
		before = __rdtsc();
		x25519_expect(x25519.scalar[0], x25519.u[0], expected);
		if (round == 3)
			say("libcrypto X25519 secret, key set-up with it", before, __rdtsc(), 1);
	}
}

/* RFC 7748 6.1, 7: u of small order. 0, 1, the two of order eight, and p - 1, p, p + 1. */
static const uint8_t small[][KEY_BYTES] = {
	{ 0 },
	{ 1 },
	{ 0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
	  0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00 },
	{ 0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
	  0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57 },
	{ 0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f },
	{ 0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f },
	{ 0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f },
};

/* p - 1: the library says that all is well and gives a number that is not zero. Who calls it must look. */
#define UNTOLD 4

static void
a_point_of_small_order_fails_its_lane_alone(void **state)
{
	static const uint8_t zero[KEY_BYTES];

	(void)state;
	for (unsigned int point = 0; point < COUNT_OF(small); point++) {
		int bad = (int)point;
		mbx_status status;

		x25519_fill();
		memcpy(x25519.u[bad], small[point], KEY_BYTES);
		status = mbx_x25519_mb8(x25519.outs, x25519.scalars, x25519.us);
		print_message("small order %u: status %08x\n", point, status);
		for (int i = 0; i < LANES; i++) {
			if (i == bad) {
				if (point != UNTOLD) {
					assert_int_equal(MBX_GET_STS(status, i), MBX_STATUS_LOW_ORDER_ERR);
					assert_memory_equal(x25519.out[i], zero, KEY_BYTES);
				}
			} else {
				assert_int_equal(MBX_GET_STS(status, i), MBX_STATUS_OK);
				x25519_check(i, x25519.u[i]);
			}
		}
	}
}

/* RFC 7748 5: the highest bit is ignored, and p + 2 is 2. */
static void
coordinates_that_are_not_reduced_are_taken(void **state)
{
	(void)state;
	x25519_fill();
	for (int i = 0; i < LANES; i++) {
		memset(x25519.u[i], 0xff, KEY_BYTES);
		x25519.u[i][0] = (uint8_t)(0xef + i);
		if (i < 4)
			x25519.u[i][31] = 0x7f;
	}
	assert_int_equal(mbx_x25519_mb8(x25519.outs, x25519.scalars, x25519.us), 0);
	for (int i = 0; i < LANES; i++)
		x25519_check(i, x25519.u[i]);
}

static void
empty_lanes_are_told_and_the_others_work(void **state)
{
	mbx_status status;

	(void)state;
	x25519_fill();
	for (int i = 3; i < LANES; i++) {
		x25519.outs[i] = NULL;
		x25519.scalars[i] = NULL;
		x25519.us[i] = NULL;
	}
	status = mbx_x25519_mb8(x25519.outs, x25519.scalars, x25519.us);
	print_message("three lanes of secrets: status %08x\n", status);
	for (int i = 0; i < LANES; i++)
		assert_int_equal(MBX_GET_STS(status, i) & MBX_STATUS_NULL_PARAM_ERR,
				 i < 3 ? 0 : MBX_STATUS_NULL_PARAM_ERR);
	for (int i = 0; i < 3; i++)
		x25519_check(i, x25519.u[i]);
	status = mbx_x25519_public_key_mb8(x25519.outs, x25519.scalars);
	print_message("three lanes of public keys: status %08x\n", status);
	for (int i = 0; i < LANES; i++)
		assert_int_equal(MBX_GET_STS(status, i) & MBX_STATUS_NULL_PARAM_ERR,
				 i < 3 ? 0 : MBX_STATUS_NULL_PARAM_ERR);
	for (int i = 0; i < 3; i++)
		x25519_check(i, NULL);
}

/* --- P-256 --- */

/* Numbers as the library takes them: four words, the lowest first; zeros beyond, which show an overrun. */
struct p256_lanes {
	uint64_t scalar[LANES][4];
	uint64_t nonce[LANES][4];
	uint64_t x[LANES][4];
	uint64_t y[LANES][4];
	uint8_t shared[LANES][KEY_BYTES];
	uint8_t digest[LANES][KEY_BYTES];
	uint8_t r[LANES][KEY_BYTES];
	uint8_t s[LANES][KEY_BYTES];
	int64u *scalars[LANES];
	int64u *nonces[LANES];
	int64u *xs[LANES];
	int64u *ys[LANES];
	uint8_t *shareds[LANES];
	const uint8_t *digests[LANES];
	uint8_t *rs[LANES];
	uint8_t *ss[LANES];
};

static struct p256_lanes p256;

static BIGNUM *
big(const uint64_t number[4])
{
	return BN_lebin2bn((const uint8_t *)number, KEY_BYTES, NULL);
}

static void
random_scalar(uint64_t out[4])
{
	uint8_t bytes[KEY_BYTES];
	BIGNUM *number;

	random_bytes(bytes, sizeof(bytes));
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	assert_int_equal(BN_nnmod(number, number, EC_GROUP_get0_order(group), scratch), 1);
	BN_bn2lebinpad(number, (uint8_t *)out, KEY_BYTES);
	BN_free(number);
}

/* scalar times the point, or times the generator. False: infinity. */
static bool
multiply(const uint64_t scalar[4], const uint64_t *x, const uint64_t *y, uint64_t out_x[4], uint64_t out_y[4])
{
	EC_POINT *point = EC_POINT_new(group);
	EC_POINT *result = EC_POINT_new(group);
	BIGNUM *k = big(scalar);
	BIGNUM *a = x == NULL ? BN_new() : big(x);
	BIGNUM *b = y == NULL ? BN_new() : big(y);
	bool finite;

	if (x == NULL) {
		assert_int_equal(EC_POINT_mul(group, result, k, NULL, NULL, scratch), 1);
	} else {
		assert_int_equal(EC_POINT_set_affine_coordinates(group, point, a, b, scratch), 1);
		assert_int_equal(EC_POINT_mul(group, result, NULL, point, k, scratch), 1);
	}
	finite = !EC_POINT_is_at_infinity(group, result);
	if (finite) {
		assert_int_equal(EC_POINT_get_affine_coordinates(group, result, a, b, scratch), 1);
		BN_bn2lebinpad(a, (uint8_t *)out_x, KEY_BYTES);
		BN_bn2lebinpad(b, (uint8_t *)out_y, KEY_BYTES);
	}
	EC_POINT_free(point);
	EC_POINT_free(result);
	BN_free(k);
	BN_free(a);
	BN_free(b);
	return finite;
}

static void
reverse(const uint64_t number[4], uint8_t out[KEY_BYTES])
{
	const uint8_t *bytes = (const uint8_t *)number;

	for (int i = 0; i < KEY_BYTES; i++)
		out[i] = bytes[KEY_BYTES - 1 - i];
}

/* Private keys, nonces, digests, and points of strangers. */
static void
p256_fill(void)
{
	memset(p256.shared, 0xee, sizeof(p256.shared));
	random_bytes(p256.digest[0], sizeof(p256.digest));
	for (int i = 0; i < LANES; i++) {
		uint64_t strangers[4];

		random_scalar(p256.scalar[i]);
		random_scalar(p256.nonce[i]);
		random_scalar(strangers);
		assert_true(multiply(strangers, NULL, NULL, p256.x[i], p256.y[i]));
		p256.scalars[i] = (int64u *)p256.scalar[i];
		p256.nonces[i] = (int64u *)p256.nonce[i];
		p256.xs[i] = (int64u *)p256.x[i];
		p256.ys[i] = (int64u *)p256.y[i];
		p256.shareds[i] = p256.shared[i];
		p256.digests[i] = p256.digest[i];
		p256.rs[i] = p256.r[i];
		p256.ss[i] = p256.s[i];
	}
}

#define IN(LANE_POINTERS) ((const int64u *const *)(LANE_POINTERS))
#define BYTES_IN(LANE_POINTERS) ((const int8u *const *)(LANE_POINTERS))

static void
p256_public_keys_are_libcryptos(void **state)
{
	uint64_t x[4], y[4];

	(void)state;
	for (int round = 0; round < 4; round++) {
		uint64_t before, after;
		mbx_status status;

		p256_fill();
		before = __rdtsc();
		status = mbx_nistp256_ecpublic_key_mb8(p256.xs, p256.ys, NULL, IN(p256.scalars), NULL);
		after = __rdtsc();
		if (round == 3)
			say("crypto_mb P-256 public key, 8 lanes", before, after, 1);
		assert_int_equal(status, 0);
		for (int i = 0; i < LANES; i++) {
			before = __rdtsc();
			assert_true(multiply(p256.scalar[i], NULL, NULL, x, y));
			after = __rdtsc();
			assert_memory_equal(p256.x[i], x, sizeof(x));
			assert_memory_equal(p256.y[i], y, sizeof(y));
		}
		if (round == 3)
			say("libcrypto P-256 public key", before, after, 1);
	}
}

static void
p256_secrets_are_libcryptos(void **state)
{
	(void)state;
	for (int round = 0; round < 4; round++) {
		uint64_t before, after;
		mbx_status status;

		p256_fill();
		before = __rdtsc();
		status = mbx_nistp256_ecdh_mb8(p256.shareds, IN(p256.scalars), IN(p256.xs), IN(p256.ys), NULL,
					       NULL);
		after = __rdtsc();
		if (round == 3)
			say("crypto_mb P-256 secret, 8 lanes", before, after, 1);
		assert_int_equal(status, 0);
		for (int i = 0; i < LANES; i++) {
			uint64_t x[4], y[4];
			uint8_t expected[KEY_BYTES];

			before = __rdtsc();
			assert_true(multiply(p256.scalar[i], p256.x[i], p256.y[i], x, y));
			after = __rdtsc();
			reverse(x, expected);
			assert_memory_equal(p256.shared[i], expected, sizeof(expected));
		}
		if (round == 3)
			say("libcrypto P-256 secret", before, after, 1);
	}
}

/* What the library says of each wrong thing in lane 2, with seven right lanes beside it. */
static mbx_status
ecdh_with_wrong_lane(const char *what)
{
	mbx_status status = mbx_nistp256_ecdh_mb8(p256.shareds, IN(p256.scalars), IN(p256.xs), IN(p256.ys),
						  NULL, NULL);

	print_message("P-256 secret, %s in lane 2: status %08x\n", what, status);
	for (int i = 0; i < LANES; i++) {
		uint64_t x[4], y[4];
		uint8_t expected[KEY_BYTES];

		if (i == 2)
			continue;
		assert_int_equal(MBX_GET_STS(status, i), MBX_STATUS_OK);
		assert_true(multiply(p256.scalar[i], p256.x[i], p256.y[i], x, y));
		reverse(x, expected);
		assert_memory_equal(p256.shared[i], expected, sizeof(expected));
	}
	return MBX_GET_STS(status, 2);
}

static void
a_wrong_lane_of_p256_fails_alone(void **state)
{
	static const uint64_t p[4] = { ~0ull, 0xffffffff, 0, 0xffffffff00000001 };

	(void)state;
	p256_fill();
	p256.y[2][0] ^= 1;
	assert_int_not_equal(ecdh_with_wrong_lane("a point beside the curve"), MBX_STATUS_OK);

	p256_fill();
	memset(p256.x[2], 0, sizeof(p256.x[2]));
	memset(p256.y[2], 0, sizeof(p256.y[2]));
	assert_int_not_equal(ecdh_with_wrong_lane("(0, 0)"), MBX_STATUS_OK);

	p256_fill();
	memset(p256.scalar[2], 0, sizeof(p256.scalar[2]));
	assert_int_not_equal(ecdh_with_wrong_lane("a scalar of 0"), MBX_STATUS_OK);

	p256_fill();
	p256.xs[2] = NULL;
	p256.ys[2] = NULL;
	p256.scalars[2] = NULL;
	p256.shareds[2] = NULL;
	assert_int_not_equal(ecdh_with_wrong_lane("nothing") & MBX_STATUS_NULL_PARAM_ERR, 0);

	/* x + p fits into 256 bits for small x: libcrypto refuses it, and so must we. */
	p256_fill();
	memset(p256.x[2], 0xff, sizeof(p256.x[2]));
	print_message("coordinates not below p: lane says %u\n", ecdh_with_wrong_lane("x of all ones"));
	p256_fill();
	memcpy(p256.x[2], p, sizeof(p));
	print_message("x = p: lane says %u\n", ecdh_with_wrong_lane("x = p"));
}

/* The n - 1, n, n + 1 and 2^256 - 1 of a caller's mistake, and 1 and 2. */
static void
scalars_at_the_edge(void **state)
{
	uint64_t edge[6][4];
	uint64_t x[4], y[4];
	mbx_status status;

	(void)state;
	p256_fill();
	BN_bn2lebinpad(EC_GROUP_get0_order(group), (uint8_t *)edge[0], KEY_BYTES);
	memcpy(edge[1], edge[0], sizeof(edge[0]));
	memcpy(edge[2], edge[0], sizeof(edge[0]));
	edge[1][0] -= 1;
	edge[2][0] += 1;
	memset(edge[3], 0xff, sizeof(edge[3]));
	memset(edge[4], 0, sizeof(edge[4]));
	memset(edge[5], 0, sizeof(edge[5]));
	edge[4][0] = 1;
	edge[5][0] = 2;
	for (int i = 0; i < 6; i++)
		memcpy(p256.scalar[i], edge[i], sizeof(edge[i]));
	status = mbx_nistp256_ecpublic_key_mb8(p256.xs, p256.ys, NULL, IN(p256.scalars), NULL);
	print_message("public keys of n, n - 1, n + 1, 2^256 - 1, 1, 2: status %08x\n", status);
	for (int i = 0; i < LANES; i++) {
		if (i == 0)
			continue;
		if (!multiply(p256.scalar[i], NULL, NULL, x, y))
			fail();
		if (MBX_GET_STS(status, i) == MBX_STATUS_OK) {
			assert_memory_equal(p256.x[i], x, sizeof(x));
			assert_memory_equal(p256.y[i], y, sizeof(y));
		}
	}
	assert_int_equal(MBX_GET_STS(status, 4), MBX_STATUS_OK);
	assert_int_equal(MBX_GET_STS(status, 5), MBX_STATUS_OK);
	assert_int_equal(MBX_GET_STS(status, 1), MBX_STATUS_OK);
}

/* FIPS 186-5, 6.4.1: r is the nonce's x, s = (e + r * d) / k. */
static void
check_signature(int lane)
{
	const BIGNUM *n = EC_GROUP_get0_order(group);
	BIGNUM *d = big(p256.scalar[lane]);
	BIGNUM *k = big(p256.nonce[lane]);
	BIGNUM *e = BN_bin2bn(p256.digest[lane], KEY_BYTES, NULL);
	uint8_t expected[KEY_BYTES];
	uint64_t x[4], y[4];
	BIGNUM *r;

	assert_true(multiply(p256.nonce[lane], NULL, NULL, x, y));
	r = big(x);
	assert_int_equal(BN_nnmod(r, r, n, scratch), 1);
	assert_int_equal(BN_bn2binpad(r, expected, sizeof(expected)), sizeof(expected));
	assert_memory_equal(p256.r[lane], expected, sizeof(expected));
	assert_int_equal(BN_mod_mul(d, d, r, n, scratch), 1);
	assert_int_equal(BN_mod_add(d, d, e, n, scratch), 1);
	assert_non_null(BN_mod_inverse(k, k, n, scratch));
	assert_int_equal(BN_mod_mul(d, d, k, n, scratch), 1);
	assert_int_equal(BN_bn2binpad(d, expected, sizeof(expected)), sizeof(expected));
	assert_memory_equal(p256.s[lane], expected, sizeof(expected));
	BN_free(d);
	BN_free(k);
	BN_free(e);
	BN_free(r);
}

static void
p256_sign_all(const char *what)
{
	uint64_t before, after;

	assert_int_equal(mbx_nistp256_ecpublic_key_mb8(p256.xs, p256.ys, NULL, IN(p256.scalars), NULL), 0);
	before = __rdtsc();
	assert_int_equal(mbx_nistp256_ecdsa_sign_mb8(p256.rs, p256.ss, p256.digests, IN(p256.nonces),
						     IN(p256.scalars), NULL), 0);
	after = __rdtsc();
	if (what != NULL)
		say(what, before, after, 1);
}

static void
signatures_are_those_of_their_nonces(void **state)
{
	(void)state;
	for (int round = 0; round < 4; round++) {
		p256_fill();
		p256_sign_all(round == 3 ? "crypto_mb ECDSA P-256 signature, 8 lanes" : NULL);
		for (int i = 0; i < LANES; i++)
			check_signature(i);
	}
}

static void
a_wrong_signature_fails_its_lane_alone(void **state)
{
	(void)state;
	for (int bad = -1; bad < LANES; bad++) {
		uint64_t before, after;
		mbx_status status;

		p256_fill();
		p256_sign_all(NULL);
		if (bad >= 0) {
			switch (bad & 3) {
			case 0: p256.r[bad][31] ^= 1; break;
			case 1: p256.s[bad][0] ^= 0x10; break;
			case 2: p256.digest[bad][5] ^= 4; break;
			case 3: memset(p256.r[bad], 0, KEY_BYTES); break;
			}
		}
		before = __rdtsc();
		status = mbx_nistp256_ecdsa_verify_mb8(BYTES_IN(p256.rs), BYTES_IN(p256.ss), p256.digests,
						       IN(p256.xs), IN(p256.ys), NULL, NULL);
		after = __rdtsc();
		if (bad < 0)
			say("crypto_mb ECDSA P-256 verification, 8 lanes", before, after, 1);
		else
			print_message("wrong signature in lane %d: status %08x\n", bad, status);
		for (int i = 0; i < LANES; i++) {
			if (i == bad)
				assert_int_not_equal(MBX_GET_STS(status, i), MBX_STATUS_OK);
			else
				assert_int_equal(MBX_GET_STS(status, i), MBX_STATUS_OK);
		}
	}
}

/* --- RSA --- */

struct rsa_key {
	BIGNUM *n, *e, *d, *p, *q, *dp, *dq, *iq;
	uint64_t words[5][RSA_BYTES / 2 / 8];
};

/* So large that two make a modulus of RSA_BITS, and 65537 divides none of them less one. */
static const char *const primes[] = {
	"DF5B45731819A114C7793D1A87B1115472533FC4C9FB48470D8B981F2162179EB023B1874DB17FF1EF1756"
	"081C885C06F18DE4CE05F117B4D5B3ED3380FA95801D1AA4047E60CF6314CB327598D53B6372CBAA88F760"
	"8C3A3FEF4ECCC013368CBE2CD643E8A2CADD3ADF20A4D3CD208AD8D440083F9104C2A973FF8528F9268F",
	"FA7FA87BCF7B16A8652144EE0A7FC3090E4A33910FAAA68E74FCA5069121394785EF34EF3E7696ED20330D"
	"603E9BA3E604F8EA4A13F0B5ED6639F4E64DA6528CB4E33389BFE5AC11DE322828713775878AED7648B70E"
	"2A46D4A3AFBAEDAA7FFD64A3CB3D90614B85EAA16923C125AAF919B93E4634EE6C9F8A08A3BD0F170629",
	"DD94A5BDB69376B59D411E6D368BF984C01B60EF6FC9FE129BE9BFEF99284394BAED1661A5B6B9C6222892"
	"1200DF4C6F59F52E65A71DA5051329990DB9675B6AC9A1D3E02B455DE0D7395DB43C846E1164DDEBD8D761"
	"7EE42250ED8C39095A26AB5C32DA96CDF3A0D40D2F4FF87228C09B1E2671B63E83B10321653A53544289",
	"EC75B8DF43220A59A0EB1CEFED6B0CA6ED6ECA8B46304345BBA6550E8BF2CDDA2F482B58C76CD07A09ACD0"
	"2D5742035B0438D7CC99A781B189660626136D08DFB86C0A39241F57A9CDB6ED9D805AFA2192DE836F368E"
	"93BB3DBD3E5F34D70805C348147B60071E2FDE22BC6610B403A0A00A92603B4AA02DD0EDE09E42362A05",
};

static void
rsa_make(struct rsa_key *key, const char *p, const char *q)
{
	BIGNUM *p1 = BN_new(), *q1 = BN_new(), *phi = BN_new();
	BIGNUM *parts[5];

	key->e = BN_new();
	BN_set_word(key->e, 65537);
	key->p = NULL;
	key->q = NULL;
	assert_true(BN_hex2bn(&key->p, p) == RSA_BYTES && BN_hex2bn(&key->q, q) == RSA_BYTES);
	key->n = BN_new();
	key->dp = BN_new();
	key->dq = BN_new();
	BN_mul(key->n, key->p, key->q, scratch);
	BN_sub(p1, key->p, BN_value_one());
	BN_sub(q1, key->q, BN_value_one());
	BN_mul(phi, p1, q1, scratch);
	key->d = BN_mod_inverse(NULL, key->e, phi, scratch);
	BN_mod(key->dp, key->d, p1, scratch);
	BN_mod(key->dq, key->d, q1, scratch);
	key->iq = BN_mod_inverse(NULL, key->q, key->p, scratch);
	parts[0] = key->p;
	parts[1] = key->q;
	parts[2] = key->dp;
	parts[3] = key->dq;
	parts[4] = key->iq;
	for (int i = 0; i < 5; i++)
		BN_bn2lebinpad(parts[i], (uint8_t *)key->words[i], RSA_BYTES / 2);
	BN_free(p1);
	BN_free(q1);
	BN_free(phi);
}

static void
rsa_forget(struct rsa_key *key)
{
	BIGNUM *all[] = { key->n, key->e, key->d, key->p, key->q, key->dp, key->dq, key->iq };

	for (unsigned int i = 0; i < COUNT_OF(all); i++)
		BN_free(all[i]);
}

static void
rsa_lanes_are_libcryptos_powers(void **state)
{
	static struct rsa_key keys[2];
	static uint8_t from[LANES][RSA_BYTES], to[LANES][RSA_BYTES];
	const int8u *froms[LANES];
	int8u *tos[LANES];
	const int64u *parts[5][LANES];
	uint8_t expected[RSA_BYTES];
	uint64_t before, after;
	mbx_status status;

	(void)state;
	rsa_make(&keys[0], primes[0], primes[1]);
	rsa_make(&keys[1], primes[2], primes[3]);
	random_bytes(from[0], sizeof(from));
	for (int i = 0; i < LANES; i++) {
		from[i][0] &= 0x3f;
		froms[i] = from[i];
		tos[i] = to[i];
		for (int j = 0; j < 5; j++)
			parts[j][i] = (const int64u *)keys[i & 1].words[j];
	}
	froms[5] = NULL;
	tos[5] = NULL;
	for (int j = 0; j < 5; j++)
		parts[j][5] = NULL;
	before = __rdtsc();
	status = mbx_rsa_private_crt_mb8(froms, tos, parts[0], parts[1], parts[2], parts[3], parts[4], RSA_BITS,
					 NULL, NULL);
	after = __rdtsc();
	say("crypto_mb RSA-2048 private power, 7 of 8 lanes", before, after, 1);
	print_message("RSA with lane 5 empty: status %08x\n", status);
	for (int i = 0; i < LANES; i++) {
		BIGNUM *number = BN_bin2bn(from[i], RSA_BYTES, NULL);
		BIGNUM *result = BN_new();

		if (i == 5) {
			assert_int_equal(MBX_GET_STS(status, i), MBX_STATUS_NULL_PARAM_ERR);
		} else {
			assert_int_equal(MBX_GET_STS(status, i), MBX_STATUS_OK);
			BN_mod_exp(result, number, keys[i & 1].d, keys[i & 1].n, scratch);
			BN_bn2binpad(result, expected, sizeof(expected));
			assert_memory_equal(to[i], expected, sizeof(expected));
		}
		BN_free(number);
		BN_free(result);
	}
	rsa_forget(&keys[0]);
	rsa_forget(&keys[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(x25519_public_keys_are_libcryptos),
		cmocka_unit_test(x25519_secrets_are_libcryptos),
		cmocka_unit_test(a_point_of_small_order_fails_its_lane_alone),
		cmocka_unit_test(coordinates_that_are_not_reduced_are_taken),
		cmocka_unit_test(empty_lanes_are_told_and_the_others_work),
		cmocka_unit_test(p256_public_keys_are_libcryptos),
		cmocka_unit_test(p256_secrets_are_libcryptos),
		cmocka_unit_test(a_wrong_lane_of_p256_fails_alone),
		cmocka_unit_test(scalars_at_the_edge),
		cmocka_unit_test(signatures_are_those_of_their_nonces),
		cmocka_unit_test(a_wrong_signature_fails_its_lane_alone),
		cmocka_unit_test(rsa_lanes_are_libcryptos_powers),
	};

	if (mbx_get_algo_info(MBX_ALGO_X25519) == 0) {
		print_message("skip: this processor has no AVX-512 IFMA\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

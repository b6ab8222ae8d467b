/* What two have in common by X25519 is what RFC 7748 says, also for points that nobody honest sends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <mbedtls/bignum.h>

#include "base/bytes.h"
#include "base/units.h"
#include "seeded.h"
#include "tls/crypto_ladder_avx2.h"
#include "tls/crypto_x25519.h"
#include "tls/instance.h"

#define BITS 255
#define RANDOM_POINTS 200
#define RANDOM_KEYS 2000
#define ITERATIONS 1000

static struct seeded seed = { 3 };
static mbedtls_mpi prime;

static void
need_ladder(void)
{
	if (!ladder_avx2_is_here())
		skip();
}

static void
read_hex(const char *hex, uint8_t to[CRYPTO_X25519_BYTES])
{
	for (int i = 0; i < CRYPTO_X25519_BYTES; i++)
		to[i] = (uint8_t)(bytes_hex_digit((uint8_t)hex[2 * i]) << 4 |
				  bytes_hex_digit((uint8_t)hex[2 * i + 1]));
}

/* Its sections 5.2 and 6.1: scalar, u, and their product. */
static void
products_are_those_of_rfc_7748(void **state)
{
	static const char *const vectors[][3] = {
		{ "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
		  "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
		  "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552" },
		{ "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
		  "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
		  "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957" },
		{ "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
		  "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
		  "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742" },
	};
	uint8_t scalar[CRYPTO_X25519_BYTES];
	uint8_t u[CRYPTO_X25519_BYTES];
	uint8_t wanted[CRYPTO_X25519_BYTES];

	(void)state;
	need_ladder();
	for (size_t i = 0; i < COUNT_OF(vectors); i++) {
		read_hex(vectors[i][0], scalar);
		read_hex(vectors[i][1], u);
		read_hex(vectors[i][2], wanted);
		ladder_avx2_multiply(scalar, u, u);
		assert_memory_equal(u, wanted, sizeof(wanted));
	}
}

/* Section 5.2: k becomes the product, u the k before. */
static void
a_thousand_in_a_row_are_those_of_rfc_7748(void **state)
{
	uint8_t k[CRYPTO_X25519_BYTES] = { 9 };
	uint8_t u[CRYPTO_X25519_BYTES] = { 9 };
	uint8_t next[CRYPTO_X25519_BYTES];
	uint8_t wanted[CRYPTO_X25519_BYTES];

	(void)state;
	need_ladder();
	for (int i = 0; i < ITERATIONS; i++) {
		ladder_avx2_multiply(k, u, next);
		memcpy(u, k, sizeof(u));
		memcpy(k, next, sizeof(k));
		if (i == 0) {
			read_hex("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079", wanted);
			assert_memory_equal(k, wanted, sizeof(wanted));
		}
	}
	read_hex("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51", wanted);
	assert_memory_equal(k, wanted, sizeof(wanted));
}

static void
multiples_of_the_base_point_are_public_keys(void **state)
{
	static const uint8_t base[CRYPTO_X25519_BYTES] = { 9 };
	uint8_t key[CRYPTO_X25519_BYTES];
	uint8_t product[CRYPTO_X25519_BYTES];

	(void)state;
	need_ladder();
	for (int i = 0; i < RANDOM_KEYS; i++) {
		assert_int_equal(seeded_entropy(&seed, key, sizeof(key)), 0);
		ladder_avx2_multiply(key, base, product);
		x25519_public(key, key);
		assert_memory_equal(product, key, sizeof(key));
	}
}

/* --- any points, by numbers of any size ---------------------------------------------------------------- */

static void
multiply(mbedtls_mpi *out, const mbedtls_mpi *a, const mbedtls_mpi *b)
{
	assert_int_equal(mbedtls_mpi_mul_mpi(out, a, b), 0);
	assert_int_equal(mbedtls_mpi_mod_mpi(out, out, &prime), 0);
}

/* (a + b)^2 - (a - b)^2 is 4 a b; RFC 7748 5 has the formulas. */
static void
climb(mbedtls_mpi *x2, mbedtls_mpi *z2, mbedtls_mpi *x3, mbedtls_mpi *z3, const mbedtls_mpi *base)
{
	mbedtls_mpi a, b, c, d;

	mbedtls_mpi_init(&a);
	mbedtls_mpi_init(&b);
	mbedtls_mpi_init(&c);
	mbedtls_mpi_init(&d);
	assert_int_equal(mbedtls_mpi_add_mpi(&a, x2, z2), 0);
	assert_int_equal(mbedtls_mpi_sub_mpi(&b, x2, z2), 0);
	assert_int_equal(mbedtls_mpi_add_mpi(&c, x3, z3), 0);
	assert_int_equal(mbedtls_mpi_sub_mpi(&d, x3, z3), 0);
	multiply(&d, &d, &a);
	multiply(&c, &c, &b);
	assert_int_equal(mbedtls_mpi_add_mpi(x3, &d, &c), 0);
	multiply(x3, x3, x3);
	assert_int_equal(mbedtls_mpi_sub_mpi(z3, &d, &c), 0);
	multiply(z3, z3, z3);
	multiply(z3, z3, base);
	multiply(&a, &a, &a);
	multiply(&b, &b, &b);
	multiply(x2, &a, &b);
	assert_int_equal(mbedtls_mpi_sub_mpi(&c, &a, &b), 0);
	assert_int_equal(mbedtls_mpi_mul_int(&d, &c, 121665), 0);
	assert_int_equal(mbedtls_mpi_add_mpi(&d, &d, &a), 0);
	multiply(z2, &c, &d);
	mbedtls_mpi_free(&a);
	mbedtls_mpi_free(&b);
	mbedtls_mpi_free(&c);
	mbedtls_mpi_free(&d);
}

static void
compare(const uint8_t scalar[CRYPTO_X25519_BYTES], const uint8_t u[CRYPTO_X25519_BYTES])
{
	uint8_t wanted[CRYPTO_X25519_BYTES];
	uint8_t got[CRYPTO_X25519_BYTES];
	mbedtls_mpi k, base, x2, z2, x3, z3;

	mbedtls_mpi_init(&k);
	mbedtls_mpi_init(&base);
	mbedtls_mpi_init(&x2);
	mbedtls_mpi_init(&z2);
	mbedtls_mpi_init(&x3);
	mbedtls_mpi_init(&z3);
	assert_int_equal(mbedtls_mpi_read_binary_le(&k, scalar, CRYPTO_X25519_BYTES), 0);
	for (size_t bit = 0; bit < 3; bit++)
		assert_int_equal(mbedtls_mpi_set_bit(&k, bit, 0), 0);
	assert_int_equal(mbedtls_mpi_set_bit(&k, BITS, 0), 0);
	assert_int_equal(mbedtls_mpi_set_bit(&k, BITS - 1, 1), 0);
	assert_int_equal(mbedtls_mpi_read_binary_le(&base, u, CRYPTO_X25519_BYTES), 0);
	assert_int_equal(mbedtls_mpi_set_bit(&base, BITS, 0), 0);
	assert_int_equal(mbedtls_mpi_mod_mpi(&base, &base, &prime), 0);
	assert_int_equal(mbedtls_mpi_lset(&x2, 1), 0);
	assert_int_equal(mbedtls_mpi_copy(&x3, &base), 0);
	assert_int_equal(mbedtls_mpi_lset(&z3, 1), 0);
	for (size_t bit = BITS; bit-- > 0;) {
		if (mbedtls_mpi_get_bit(&k, bit) != 0)
			climb(&x3, &z3, &x2, &z2, &base);
		else
			climb(&x2, &z2, &x3, &z3, &base);
	}
	if (mbedtls_mpi_cmp_int(&z2, 0) == 0) {
		assert_int_equal(mbedtls_mpi_lset(&x2, 0), 0);
	} else {
		assert_int_equal(mbedtls_mpi_inv_mod(&z2, &z2, &prime), 0);
		multiply(&x2, &x2, &z2);
	}
	assert_int_equal(mbedtls_mpi_write_binary_le(&x2, wanted, sizeof(wanted)), 0);
	ladder_avx2_multiply(scalar, u, got);
	assert_memory_equal(got, wanted, sizeof(wanted));
	mbedtls_mpi_free(&k);
	mbedtls_mpi_free(&base);
	mbedtls_mpi_free(&x2);
	mbedtls_mpi_free(&z2);
	mbedtls_mpi_free(&x3);
	mbedtls_mpi_free(&z3);
}

/* Of small order on the curve and on its twist, at the prime and beyond it, with the bit that is left out. */
static void
points_at_the_edges_are_multiplied(void **state)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"0200000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"efffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ffffffffffffffff000000000000000000000000000000000000000000000000",
		"0000000000000000ffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	static const uint8_t scalars[] = { 0x00, 0xff, 0x55, 0x88 };
	uint8_t scalar[CRYPTO_X25519_BYTES];
	uint8_t u[CRYPTO_X25519_BYTES];

	(void)state;
	need_ladder();
	for (size_t i = 0; i < COUNT_OF(points); i++) {
		read_hex(points[i], u);
		for (size_t j = 0; j < COUNT_OF(scalars); j++) {
			memset(scalar, scalars[j], sizeof(scalar));
			compare(scalar, u);
		}
	}
}

static void
any_points_are_multiplied(void **state)
{
	uint8_t scalar[CRYPTO_X25519_BYTES];
	uint8_t u[CRYPTO_X25519_BYTES];

	(void)state;
	need_ladder();
	for (int i = 0; i < RANDOM_POINTS; i++) {
		assert_int_equal(seeded_entropy(&seed, scalar, sizeof(scalar)), 0);
		assert_int_equal(seeded_entropy(&seed, u, sizeof(u)), 0);
		compare(scalar, u);
	}
}

/* Whoever calls calculates with doubles as before. */
static void
rounding_is_as_it_was(void **state)
{
	static const uint8_t base[CRYPTO_X25519_BYTES] = { 9 };
	volatile double one = 1;
	volatile double rest = 0x1.8p-53; /* three quarters of what the next double has more */
	uint8_t out[CRYPTO_X25519_BYTES];

	(void)state;
	need_ladder();
	assert_true(one + rest > 1);
	ladder_avx2_multiply(base, base, out);
	assert_true(one + rest > 1);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(products_are_those_of_rfc_7748),
		cmocka_unit_test(a_thousand_in_a_row_are_those_of_rfc_7748),
		cmocka_unit_test(multiples_of_the_base_point_are_public_keys),
		cmocka_unit_test(points_at_the_edges_are_multiplied),
		cmocka_unit_test(any_points_are_multiplied),
		cmocka_unit_test(rounding_is_as_it_was),
	};
	struct instance *instance = instance_new(1 * MIB, NULL, NULL);
	struct instance *before = instance_enter(instance);
	int failed;

	mbedtls_mpi_init(&prime);
	(void)mbedtls_mpi_lset(&prime, 1);
	(void)mbedtls_mpi_shift_l(&prime, BITS);
	(void)mbedtls_mpi_sub_int(&prime, &prime, 19);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mbedtls_mpi_free(&prime);
	instance_leave(before);
	instance_free(instance);
	return failed;
}

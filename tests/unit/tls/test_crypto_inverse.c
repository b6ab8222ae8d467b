/* What is multiplied with its inverse is one; mbedTLS finds the same ones, by Euclid's way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <mbedtls/bignum.h>

#include "base/units.h"
#include "seeded.h"
#include "tls/crypto_inverse.h"
#include "tls/instance.h"

#define BYTES (INVERSE_LIMBS * 8)
#define RANDOM_NUMBERS 1000

/* Both moduli of P-256, the field of X25519, the largest odd number and the least that has inverses. */
static const struct {
	struct inverse_modulus modulus;
	const char *hex;
} moduli[] = {
	{ { { 0x33b9cac2fc632551, 0x339beab69c5e7a13, 0x3ffffffffffffffb, 0x3fffffc00000003f, 0xff },
	    0x332e375511ff43b1 },
	  "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551" },
	{ { { 0x3fffffffffffffff, 0x3ffffffff, 0, 0x3fffffc000000040, 0xff }, 0x3fffffffffffffff },
	  "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff" },
	{ { { 0x3fffffffffffffed, 0x3fffffffffffffff, 0x3fffffffffffffff, 0x3fffffffffffffff, 0x7f },
	    0x39435e50d79435e5 },
	  "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed" },
	{ { { 0x3fffffffffffffff, 0x3fffffffffffffff, 0x3fffffffffffffff, 0x3fffffffffffffff, 0xff },
	    0x3fffffffffffffff },
	  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff" },
	{ { { 3, 0, 0, 0, 0 }, 0x2aaaaaaaaaaaaaab }, "3" },
};

#define WIDEST 3 /* of them */

static struct seeded seed;

static void
compare(const struct inverse_modulus *modulus, const mbedtls_mpi *m, const mbedtls_mpi *x)
{
	uint64_t limbs[INVERSE_LIMBS];
	uint8_t bytes[BYTES] = { 0 };
	mbedtls_mpi inverse;

	mbedtls_mpi_init(&inverse);
	assert_int_equal(mbedtls_mpi_write_binary_le(x, bytes, sizeof(bytes)), 0);
	memcpy(limbs, bytes, sizeof(limbs));
	inverse_of(modulus, limbs, limbs);
	memset(bytes, 0, sizeof(bytes));
	/* It says no to numbers that have none; zero has itself here. */
	if (mbedtls_mpi_inv_mod(&inverse, x, m) == 0)
		assert_int_equal(mbedtls_mpi_write_binary_le(&inverse, bytes, sizeof(bytes)), 0);
	else
		assert_int_equal(mbedtls_mpi_cmp_int(x, 0), 0);
	assert_memory_equal(limbs, bytes, sizeof(bytes));
	mbedtls_mpi_free(&inverse);
}

/* Both ends, each power of two and what is one less, then random ones. */
static void
compare_all(const struct inverse_modulus *modulus, const mbedtls_mpi *m)
{
	uint8_t bytes[BYTES];
	mbedtls_mpi x;

	mbedtls_mpi_init(&x);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(mbedtls_mpi_lset(&x, i), 0);
		if (mbedtls_mpi_cmp_mpi(&x, m) < 0)
			compare(modulus, m, &x);
		assert_int_equal(mbedtls_mpi_sub_int(&x, m, i + 1), 0);
		compare(modulus, m, &x);
	}
	for (size_t bit = 2; bit + 1 < mbedtls_mpi_bitlen(m); bit++) {
		assert_int_equal(mbedtls_mpi_lset(&x, 0), 0);
		assert_int_equal(mbedtls_mpi_set_bit(&x, bit, 1), 0);
		compare(modulus, m, &x);
		assert_int_equal(mbedtls_mpi_sub_int(&x, &x, 1), 0);
		compare(modulus, m, &x);
	}
	for (int i = 0; i < RANDOM_NUMBERS; i++) {
		assert_int_equal(seeded_entropy(&seed, bytes, sizeof(bytes)), 0);
		assert_int_equal(mbedtls_mpi_read_binary(&x, bytes, sizeof(bytes)), 0);
		assert_int_equal(mbedtls_mpi_mod_mpi(&x, &x, m), 0);
		compare(modulus, m, &x);
	}
	mbedtls_mpi_free(&x);
}

static void
inverses_are_those_of_mbedtls(void **state)
{
	struct instance *instance = instance_new(1 * MIB, seeded_entropy, &seed);
	struct instance *before = instance_enter(instance);
	mbedtls_mpi m;

	(void)state;
	mbedtls_mpi_init(&m);
	for (size_t i = 0; i < COUNT_OF(moduli); i++) {
		uint64_t low = (uint64_t)moduli[i].modulus.limbs[0];

		assert_int_equal(mbedtls_mpi_read_string(&m, 16, moduli[i].hex), 0);
		assert_int_equal(low * moduli[i].modulus.inverse & (UINT64_MAX >> 2), 1);
		/* Modulo 2^256 - 1 not every number has one. */
		if (i == WIDEST)
			continue;
		compare_all(&moduli[i].modulus, &m);
	}
	mbedtls_mpi_free(&m);
	instance_leave(before);
	instance_free(instance);
}

/* (2^256 - 1 - 2) / 2 times what is its inverse, and so on: those that there are, at the widest. */
static void
the_widest_modulus_has_room(void **state)
{
	const struct inverse_modulus *modulus = &moduli[WIDEST].modulus;
	uint64_t two[INVERSE_LIMBS] = { 2 };
	uint64_t less_two[INVERSE_LIMBS] = { UINT64_MAX - 2, UINT64_MAX, UINT64_MAX, UINT64_MAX };
	uint64_t out[INVERSE_LIMBS];
	static const uint64_t half[INVERSE_LIMBS] = { 0, 0, 0, UINT64_C(1) << 63 };
	static const uint64_t less_half[INVERSE_LIMBS] = { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX >> 1 };

	(void)state;
	inverse_of(modulus, two, out);
	assert_memory_equal(out, half, sizeof(half));
	inverse_of(modulus, less_two, out);
	assert_memory_equal(out, less_half, sizeof(less_half));
	inverse_of(modulus, half, out);
	assert_memory_equal(out, two, sizeof(two));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(inverses_are_those_of_mbedtls),
		cmocka_unit_test(the_widest_modulus_has_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

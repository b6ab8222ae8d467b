/* Public keys are those of RFC 7748, and those of mbedTLS for each scalar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <mbedtls/ecp.h>

#include "base/units.h"
#include "seeded.h"
#include "tls/crypto_x25519.h"
#include "tls/instance.h"

/* So many that each digit has each value in some of them. */
#define RANDOM_SCALARS 300

static struct seeded seed;

/* 6.1: Alice's, then Bob's. */
static void
keys_are_those_of_rfc_7748(void **state)
{
	static const uint8_t private[2][CRYPTO_X25519_BYTES] = {
		{ 0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45,
		  0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a },
		{ 0x5d, 0xab, 0x08, 0x7e, 0x62, 0x4a, 0x8a, 0x4b, 0x79, 0xe1, 0x7f, 0x8b, 0x83, 0x80, 0x0e, 0xe6,
		  0x6f, 0x3b, 0xb1, 0x29, 0x26, 0x18, 0xb6, 0xfd, 0x1c, 0x2f, 0x8b, 0x27, 0xff, 0x88, 0xe0, 0xeb },
	};
	static const uint8_t public[2][CRYPTO_X25519_BYTES] = {
		{ 0x85, 0x20, 0xf0, 0x09, 0x89, 0x30, 0xa7, 0x54, 0x74, 0x8b, 0x7d, 0xdc, 0xb4, 0x3e, 0xf7, 0x5a,
		  0x0d, 0xbf, 0x3a, 0x0d, 0x26, 0x38, 0x1a, 0xf4, 0xeb, 0xa4, 0xa9, 0x8e, 0xaa, 0x9b, 0x4e, 0x6a },
		{ 0xde, 0x9e, 0xdb, 0x7d, 0x7b, 0x7d, 0xc1, 0xb4, 0xd3, 0x5b, 0x61, 0xc2, 0xec, 0xe4, 0x35, 0x37,
		  0x3f, 0x83, 0x43, 0xc8, 0x5b, 0x78, 0x67, 0x4d, 0xad, 0xfc, 0x7e, 0x14, 0x6f, 0x88, 0x2b, 0x4f },
	};
	uint8_t out[CRYPTO_X25519_BYTES];

	(void)state;
	for (int i = 0; i < 2; i++) {
		x25519_public(private[i], out);
		assert_memory_equal(out, public[i], sizeof(out));
	}
}

static void
compare(mbedtls_ecp_group *group, struct instance *instance, const uint8_t scalar[CRYPTO_X25519_BYTES])
{
	uint8_t clamped[CRYPTO_X25519_BYTES];
	uint8_t expected[CRYPTO_X25519_BYTES];
	uint8_t out[CRYPTO_X25519_BYTES];
	mbedtls_ecp_point point;
	mbedtls_mpi d;
	size_t len;

	mbedtls_ecp_point_init(&point);
	mbedtls_mpi_init(&d);
	memcpy(clamped, scalar, sizeof(clamped));
	clamped[0] &= 248;
	clamped[31] = (uint8_t)((clamped[31] & 127) | 64);
	assert_int_equal(mbedtls_mpi_read_binary_le(&d, clamped, sizeof(clamped)), 0);
	assert_int_equal(mbedtls_ecp_mul(group, &point, &d, &group->G, instance_random, instance), 0);
	assert_int_equal(mbedtls_ecp_point_write_binary(group, &point, MBEDTLS_ECP_PF_UNCOMPRESSED, &len, expected,
							sizeof(expected)),
			 0);
	x25519_public(scalar, out);
	assert_memory_equal(out, expected, sizeof(out));
	memcpy(out, scalar, sizeof(out));
	x25519_public(out, out);
	assert_memory_equal(out, expected, sizeof(out));
	mbedtls_mpi_free(&d);
	mbedtls_ecp_point_free(&point);
}

static void
keys_are_those_of_mbedtls(void **state)
{
	/* Digits of one value: none, the largest, and those about where one is borrowed from the next. */
	static const uint8_t same[] = { 0x00, 0xff, 0x77, 0x88, 0x78, 0x87, 0xf7, 0x7f, 0x80, 0x08, 0x01, 0x10 };
	struct instance *instance = instance_new(1 * MIB, seeded_entropy, &seed);
	struct instance *before = instance_enter(instance);
	uint8_t scalar[CRYPTO_X25519_BYTES];
	mbedtls_ecp_group group;

	(void)state;
	mbedtls_ecp_group_init(&group);
	assert_int_equal(mbedtls_ecp_group_load(&group, MBEDTLS_ECP_DP_CURVE25519), 0);
	for (size_t i = 0; i < COUNT_OF(same); i++) {
		memset(scalar, same[i], sizeof(scalar));
		compare(&group, instance, scalar);
	}
	for (int i = 0; i < RANDOM_SCALARS; i++) {
		assert_int_equal(seeded_entropy(&seed, scalar, sizeof(scalar)), 0);
		compare(&group, instance, scalar);
	}
	mbedtls_ecp_group_free(&group);
	instance_leave(before);
	instance_free(instance);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_those_of_rfc_7748),
		cmocka_unit_test(keys_are_those_of_mbedtls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

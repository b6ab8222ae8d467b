/* Sums, differences and products modulo 2^255 - 19 are those of mbedTLS, by either way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <mbedtls/bignum.h>

#include "base/units.h"
#include "seeded.h"
#include "tls/crypto_field.h"
#include "tls/instance.h"

#define RANDOM_PAIRS 2000
#define ONES UINT64_MAX

static struct seeded seed = { 5 };
static mbedtls_mpi prime;

/* Where carries begin and end: about zero, the prime, twice it, and 2^256. */
static const struct field edges[] = {
	{ { 0, 0, 0, 0 } },
	{ { 1, 0, 0, 0 } },
	{ { 37, 0, 0, 0 } },
	{ { 38, 0, 0, 0 } },
	{ { ONES, 0, 0, 0 } },
	{ { 0, 0, 0, UINT64_C(1) << 63 } },
	{ { ONES - 19, ONES, ONES, ONES >> 1 } },
	{ { ONES - 18, ONES, ONES, ONES >> 1 } },
	{ { ONES - 17, ONES, ONES, ONES >> 1 } },
	{ { ONES, ONES, ONES, ONES >> 1 } },
	{ { ONES - 38, ONES, ONES, ONES } },
	{ { ONES - 37, ONES, ONES, ONES } },
	{ { ONES - 36, ONES, ONES, ONES } },
	{ { ONES - 1, ONES, ONES, ONES } },
	{ { ONES, ONES, ONES, ONES } },
	{ { 0, ONES, ONES, ONES } },
	{ { ONES, 0, ONES, 0 } },
	/* Times these, a number is its own limbs further up. */
	{ { 0, 1, 0, 0 } },
	{ { 0, 0, 1, 0 } },
	{ { 0, 0, 0, 1 } },
	/* Times 121666, its highest limb all but carries, and the one below does the rest. */
	{ { ONES, ONES, ONES, ONES / 121666 } },
};

static void
read_number(mbedtls_mpi *to, const struct field *from)
{
	uint8_t bytes[sizeof(from->limbs)];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(from->limbs[i / 8] >> (i % 8 * 8));
	assert_int_equal(mbedtls_mpi_read_binary_le(to, bytes, sizeof(bytes)), 0);
}

/* field_reduce() gives the one number below the prime. */
static void
expect(const struct field *got, const mbedtls_mpi *wanted)
{
	struct field reduced;
	mbedtls_mpi number;

	mbedtls_mpi_init(&number);
	field_reduce(&reduced, got);
	read_number(&number, &reduced);
	assert_int_equal(mbedtls_mpi_cmp_mpi(&number, wanted), 0);
	mbedtls_mpi_free(&number);
}

typedef void (*operation)(struct field *out, const struct field *a, const struct field *b);

/* Also where the result replaces an argument. */
static void
expect_all(operation calculate, const struct field *a, const struct field *b, const mbedtls_mpi *wanted)
{
	struct field out;

	calculate(&out, a, b);
	expect(&out, wanted);
	out = *a;
	calculate(&out, &out, b);
	expect(&out, wanted);
	out = *b;
	calculate(&out, a, &out);
	expect(&out, wanted);
}

static void
compare(const struct field *a, const struct field *b)
{
	mbedtls_mpi first, second, result;

	mbedtls_mpi_init(&first);
	mbedtls_mpi_init(&second);
	mbedtls_mpi_init(&result);
	read_number(&first, a);
	read_number(&second, b);
	assert_int_equal(mbedtls_mpi_mod_mpi(&result, &first, &prime), 0);
	expect(a, &result);
	assert_int_equal(mbedtls_mpi_mul_mpi(&result, &first, &second), 0);
	assert_int_equal(mbedtls_mpi_mod_mpi(&result, &result, &prime), 0);
	expect_all(field_multiply, a, b, &result);
	expect_all(field_multiply_portable, a, b, &result);
	assert_int_equal(mbedtls_mpi_add_mpi(&result, &first, &second), 0);
	assert_int_equal(mbedtls_mpi_mod_mpi(&result, &result, &prime), 0);
	expect_all(field_add, a, b, &result);
	expect_all(field_add_portable, a, b, &result);
	assert_int_equal(mbedtls_mpi_sub_mpi(&result, &first, &second), 0);
	assert_int_equal(mbedtls_mpi_mod_mpi(&result, &result, &prime), 0);
	expect_all(field_subtract, a, b, &result);
	expect_all(field_subtract_portable, a, b, &result);
	mbedtls_mpi_free(&first);
	mbedtls_mpi_free(&second);
	mbedtls_mpi_free(&result);
}

static void
numbers_about_the_edges_are_calculated_with(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(edges); i++)
		for (size_t j = 0; j < COUNT_OF(edges); j++)
			compare(&edges[i], &edges[j]);
}

/* Any number, or any one of limbs that are nothing or all ones or any. */
static void
draw(struct field *to, bool is_rough)
{
	uint8_t kinds;

	assert_int_equal(seeded_entropy(&seed, (uint8_t *)to->limbs, sizeof(to->limbs)), 0);
	assert_int_equal(seeded_entropy(&seed, &kinds, sizeof(kinds)), 0);
	for (int i = 0; i < FIELD_LIMBS && is_rough; i++, kinds >>= 2)
		if ((kinds & 2) != 0)
			to->limbs[i] = (kinds & 1) != 0 ? ONES : 0;
}

static void
any_numbers_are_calculated_with(void **state)
{
	struct field a;
	struct field b;

	(void)state;
	for (int i = 0; i < RANDOM_PAIRS; i++) {
		draw(&a, i % 2 != 0);
		draw(&b, i % 3 != 0);
		compare(&a, &b);
		compare(&a, &edges[(size_t)i % COUNT_OF(edges)]);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_about_the_edges_are_calculated_with),
		cmocka_unit_test(any_numbers_are_calculated_with),
	};
	struct instance *instance = instance_new(1 * MIB, NULL, NULL);
	struct instance *before = instance_enter(instance);
	int failed;

	mbedtls_mpi_init(&prime);
	(void)mbedtls_mpi_lset(&prime, 1);
	(void)mbedtls_mpi_shift_l(&prime, 255);
	(void)mbedtls_mpi_sub_int(&prime, &prime, 19);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mbedtls_mpi_free(&prime);
	instance_leave(before);
	instance_free(instance);
	return failed;
}

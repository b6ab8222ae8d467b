/* Numbers on vectors are multiplied as those of 64-bit limbs are, with limbs as large as they may be, and none
 * of a result is larger than it is said to be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "seeded.h"
#include "tls/crypto_field.h"
#include "tls/crypto_field_avx2.h"
#include "tls/crypto_ladder_avx2.h"

#ifdef __x86_64__
#define ROUNDS 3000
#define RESULT_MAX ((INT64_C(1) << 50) + (INT64_C(1) << 14))
#define FACTOR_MAX (2 * RESULT_MAX)

static struct seeded seed = { 8 };

/* Limbs by column; what vectors hold as doubles. */
struct numbers {
	int64_t limbs[FIELD_AVX2_COLUMNS][FIELD_AVX2_LIMBS];
};

static void
need_vectors(void)
{
	if (!ladder_avx2_is_here())
		skip();
}

static uint64_t
draw(void)
{
	uint64_t word;

	assert_int_equal(seeded_entropy(&seed, (uint8_t *)&word, sizeof(word)), 0);
	return word;
}

/* At the ends, near zero, or anywhere between. */
static int64_t
draw_limb(int64_t most)
{
	switch (draw() % 8) {
	case 0:
		return most;
	case 1:
		return -most;
	case 2:
		return most - (int64_t)(draw() % 4);
	case 3:
		return (int64_t)(draw() % 4) - most;
	case 4:
		return (int64_t)(draw() % 3) - 1;
	default:
		return (int64_t)(draw() % (uint64_t)(2 * most + 1)) - most;
	}
}

static void
draw_numbers(struct numbers *numbers, int64_t most)
{
	for (int column = 0; column < FIELD_AVX2_COLUMNS; column++)
		for (int i = 0; i < FIELD_AVX2_LIMBS; i++)
			numbers->limbs[column][i] = draw_limb(most);
}

static void
fill(struct numbers *numbers, int64_t limb)
{
	for (int column = 0; column < FIELD_AVX2_COLUMNS; column++)
		for (int i = 0; i < FIELD_AVX2_LIMBS; i++)
			numbers->limbs[column][i] = column % 2 == 0 || i % 2 == 0 ? limb : -limb;
}

static void
to_vectors(const struct numbers *numbers, struct field_avx2 *to)
{
	for (int column = 0; column < FIELD_AVX2_COLUMNS; column++)
		for (int i = 0; i < FIELD_AVX2_LIMBS; i++)
			to->limbs[i][column] = (double)numbers->limbs[column][i];
}

/* The same number in the other limbs, below the prime. */
static void
to_field(const int64_t limbs[FIELD_AVX2_LIMBS], struct field *to)
{
	static const struct field radix = { { UINT64_C(1) << FIELD_AVX2_LIMB_BITS } };

	memset(to, 0, sizeof(*to));
	for (int i = FIELD_AVX2_LIMBS - 1; i >= 0; i--) {
		struct field limb = { { (uint64_t)(limbs[i] < 0 ? -limbs[i] : limbs[i]) } };

		field_multiply(to, to, &radix);
		if (limbs[i] < 0)
			field_subtract(to, to, &limb);
		else
			field_add(to, to, &limb);
	}
	field_reduce(to, to);
}

FIELD_AVX2 __attribute__((noinline)) static void
multiply(struct field_avx2 *out, const struct field_avx2 *a, const struct field_avx2 *b)
{
	field_avx2_multiply(out, a, b);
}

FIELD_AVX2 __attribute__((noinline)) static void
there_and_back(struct field_avx2 *out, words4 words[FIELD_AVX2_WORDS])
{
	field_avx2_unpack(out, words);
	field_avx2_pack(words, out);
}

static void
assert_small(const struct field_avx2 *result)
{
	for (int column = 0; column < FIELD_AVX2_COLUMNS; column++)
		for (int i = 0; i < FIELD_AVX2_LIMBS; i++)
			assert_true((int64_t)result->limbs[i][column] <= RESULT_MAX &&
				    (int64_t)result->limbs[i][column] >= -RESULT_MAX);
}

static void
compare(const struct numbers *a, const struct numbers *b)
{
	struct field_avx2 left, right, out;
	unsigned int rounding;

	to_vectors(a, &left);
	to_vectors(b, &right);
	rounding = field_avx2_begin();
	multiply(&out, &left, &right);
	field_avx2_end(rounding);
	assert_small(&out);
	for (int column = 0; column < FIELD_AVX2_COLUMNS; column++) {
		int64_t limbs[FIELD_AVX2_LIMBS];
		struct field wanted, got, other;

		for (int i = 0; i < FIELD_AVX2_LIMBS; i++)
			limbs[i] = (int64_t)out.limbs[i][column];
		to_field(limbs, &got);
		to_field(a->limbs[column], &wanted);
		to_field(b->limbs[column], &other);
		field_multiply(&wanted, &wanted, &other);
		field_reduce(&wanted, &wanted);
		assert_memory_equal(&got, &wanted, sizeof(wanted));
	}
}

static void
products_are_those_of_other_limbs(void **state)
{
	struct numbers a, b;

	(void)state;
	need_vectors();
	for (int i = 0; i < ROUNDS; i++) {
		draw_numbers(&a, FACTOR_MAX);
		draw_numbers(&b, FACTOR_MAX);
		compare(&a, &b);
		compare(&a, &a);
	}
}

static void
the_largest_factors_are_multiplied(void **state)
{
	static const int64_t ends[] = { FACTOR_MAX, -FACTOR_MAX, FACTOR_MAX - 1, 0, 1 };
	struct numbers a, b;

	(void)state;
	need_vectors();
	for (size_t i = 0; i < COUNT_OF(ends); i++)
		for (size_t j = 0; j < COUNT_OF(ends); j++) {
			fill(&a, ends[i]);
			fill(&b, ends[j]);
			compare(&a, &b);
		}
}

/* Words of all ones and of none are among them. */
static void
words_come_out_as_they_went_in(void **state)
{
	(void)state;
	need_vectors();
	for (int round = 0; round < ROUNDS; round++) {
		struct field wanted[FIELD_AVX2_COLUMNS];
		words4 words[FIELD_AVX2_WORDS];
		struct field_avx2 number;
		unsigned int rounding;

		for (int column = 0; column < FIELD_AVX2_COLUMNS; column++)
			for (int i = 0; i < FIELD_LIMBS; i++) {
				wanted[column].limbs[i] = (uint64_t)draw_limb(INT64_MAX / 2) << 1;
				if (draw() % 3 == 0)
					wanted[column].limbs[i] = 0 - (draw() % 2);
				words[i][column] = wanted[column].limbs[i];
			}
		rounding = field_avx2_begin();
		there_and_back(&number, words);
		field_avx2_end(rounding);
		assert_small(&number);
		for (int column = 0; column < FIELD_AVX2_COLUMNS; column++) {
			struct field got;

			for (int i = 0; i < FIELD_LIMBS; i++)
				got.limbs[i] = words[i][column];
			wanted[column].limbs[FIELD_LIMBS - 1] &= UINT64_MAX >> 1;
			field_reduce(&wanted[column], &wanted[column]);
			field_reduce(&got, &got);
			assert_memory_equal(&got, &wanted[column], sizeof(got));
		}
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(products_are_those_of_other_limbs),
		cmocka_unit_test(the_largest_factors_are_multiplied),
		cmocka_unit_test(words_come_out_as_they_went_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

#define SKIPPED 77 /* as meson reads it */

int
main(void)
{
	return SKIPPED;
}
#endif

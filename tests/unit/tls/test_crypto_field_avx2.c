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
#define LANES_OF_VECTOR 4
#define RESULT_MAX ((INT64_C(1) << 50) + (INT64_C(1) << 14))
#define FACTOR_MAX (2 * RESULT_MAX)

static struct seeded seed = { 8 };

/* Limbs by lane; what vectors hold as doubles. */
struct numbers {
	int64_t limbs[LANES_OF_VECTOR][FIELD4_LIMBS];
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
	for (int lane = 0; lane < LANES_OF_VECTOR; lane++)
		for (int i = 0; i < FIELD4_LIMBS; i++)
			numbers->limbs[lane][i] = draw_limb(most);
}

static void
fill(struct numbers *numbers, int64_t limb)
{
	for (int lane = 0; lane < LANES_OF_VECTOR; lane++)
		for (int i = 0; i < FIELD4_LIMBS; i++)
			numbers->limbs[lane][i] = lane % 2 == 0 || i % 2 == 0 ? limb : -limb;
}

static void
to_vectors(const struct numbers *numbers, struct field4 *to)
{
	for (int lane = 0; lane < LANES_OF_VECTOR; lane++)
		for (int i = 0; i < FIELD4_LIMBS; i++)
			to->limbs[i][lane] = (double)numbers->limbs[lane][i];
}

/* The same number in the other limbs, below the prime. */
static void
to_field(const int64_t limbs[FIELD4_LIMBS], struct field *to)
{
	static const struct field radix = { { UINT64_C(1) << FIELD4_LIMB_BITS } };

	memset(to, 0, sizeof(*to));
	for (int i = FIELD4_LIMBS - 1; i >= 0; i--) {
		struct field limb = { { (uint64_t)(limbs[i] < 0 ? -limbs[i] : limbs[i]) } };

		field_multiply(to, to, &radix);
		if (limbs[i] < 0)
			field_subtract(to, to, &limb);
		else
			field_add(to, to, &limb);
	}
	field_reduce(to, to);
}

FIELD4 __attribute__((noinline)) static void
multiply(struct field4 *out, const struct field4 *a, const struct field4 *b)
{
	field4_multiply(out, a, b);
}

FIELD4 __attribute__((noinline)) static void
there_and_back(struct field4 *out, words4 words[FIELD4_WORDS])
{
	field4_unpack(out, words);
	field4_pack(words, out);
}

static void
assert_small(const struct field4 *result)
{
	for (int lane = 0; lane < LANES_OF_VECTOR; lane++)
		for (int i = 0; i < FIELD4_LIMBS; i++)
			assert_true((int64_t)result->limbs[i][lane] <= RESULT_MAX &&
				    (int64_t)result->limbs[i][lane] >= -RESULT_MAX);
}

static void
compare(const struct numbers *a, const struct numbers *b)
{
	struct field4 left, right, out;
	unsigned int rounding;

	to_vectors(a, &left);
	to_vectors(b, &right);
	rounding = field4_begin();
	multiply(&out, &left, &right);
	field4_end(rounding);
	assert_small(&out);
	for (int lane = 0; lane < LANES_OF_VECTOR; lane++) {
		int64_t limbs[FIELD4_LIMBS];
		struct field wanted, got, other;

		for (int i = 0; i < FIELD4_LIMBS; i++)
			limbs[i] = (int64_t)out.limbs[i][lane];
		to_field(limbs, &got);
		to_field(a->limbs[lane], &wanted);
		to_field(b->limbs[lane], &other);
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
		struct field wanted[LANES_OF_VECTOR];
		words4 words[FIELD4_WORDS];
		struct field4 number;
		unsigned int rounding;

		for (int lane = 0; lane < LANES_OF_VECTOR; lane++)
			for (int i = 0; i < FIELD_LIMBS; i++) {
				wanted[lane].limbs[i] = (uint64_t)draw_limb(INT64_MAX / 2) << 1;
				if (draw() % 3 == 0)
					wanted[lane].limbs[i] = 0 - (draw() % 2);
				words[i][lane] = wanted[lane].limbs[i];
			}
		rounding = field4_begin();
		there_and_back(&number, words);
		field4_end(rounding);
		assert_small(&number);
		for (int lane = 0; lane < LANES_OF_VECTOR; lane++) {
			struct field got;

			for (int i = 0; i < FIELD_LIMBS; i++)
				got.limbs[i] = words[i][lane];
			wanted[lane].limbs[FIELD_LIMBS - 1] &= UINT64_MAX >> 1;
			field_reduce(&wanted[lane], &wanted[lane]);
			field_reduce(&got, &got);
			assert_memory_equal(&got, &wanted[lane], sizeof(got));
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

int
main(void)
{
	return 0;
}
#endif

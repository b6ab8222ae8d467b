/*
 * Montgomery's ladder as RFC 7748 5 writes it down, on vectors: both points of a step side by side, by their z and
 * x in the four lanes. What a step multiplies is three products behind each other:
 *
 *   lane            0               1        2          3
 *   the points      z2              x2       z3         x3
 *   a product       BB = B B        AA = A A DA = D A   CB = C B
 *   another         121666 E        AA BB    (DA - CB)^2 (DA + CB)^2
 *   the last        E (BB + 121666 E)        base (DA - CB)^2
 *
 * where A and B are the sum and the difference of x2 and z2, C and D those of x3 and z3, and E is AA - BB.
 */
#include "tls/crypto_ladder_avx2.h"

#include <string.h>

#include "base/check.h"
#include "tls/crypto_field.h"
#include "tls/crypto_field_avx2.h"

#ifdef __x86_64__
#define HIGHEST_STEP 254
#define WORD_BITS 64
#define CURVE 121666 /* (486662 + 2) / 4 */

/* What _mm256_permute_pd() and others take: lanes by number, and masks of lanes. */
#define UPPER_OF_EACH_PAIR 15
#define OTHER_HALF_FIRST 1
#define LANES_0_1_1_0 (0 | 1 << 2 | 1 << 4 | 0 << 6)
#define LANE_0 1
#define LANE_1 2
#define LANES_1_AND_3 (2 | 8)

CHECK_STATIC(FIELD4_WORDS == FIELD_LIMBS, "numbers are handed on");

bool
ladder_avx2_is_here(void)
{
	/* Either says too that the kernel keeps the vectors' upper halves. */
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

struct ladder {
	struct field4 points;
	struct field4 base; /* in lane 2, zero in the others */
};

/* Of each pair of lanes the upper less the lower, and both. */
FIELD4_INLINE __m256d
both_ways(__m256d pairs)
{
	return _mm256_addsub_pd(_mm256_permute_pd(pairs, UPPER_OF_EACH_PAIR), _mm256_movedup_pd(pairs));
}

/* Two becomes twice itself, three, which is one more, the sum of both; the other way round where the highest bit
 * of is_swapped is set. */
FIELD4_INLINE void
step(struct ladder *ladder, words4 is_swapped)
{
	struct field4 left, right, squares, sums, products;

#pragma GCC unroll 5
	for (int i = 0; i < FIELD4_LIMBS; i++) {
		__m256d points = (__m256d)ladder->points.limbs[i];
		__m256d swapped = _mm256_permute2f128_pd(points, points, OTHER_HALF_FIRST);
		__m256d badc = both_ways(_mm256_blendv_pd(points, swapped, (__m256d)is_swapped));

		left.limbs[i] = (doubles4)badc;
		right.limbs[i] = (doubles4)_mm256_permute4x64_pd(badc, LANES_0_1_1_0);
	}
	field4_multiply(&squares, &left, &right);
#pragma GCC unroll 5
	for (int i = 0; i < FIELD4_LIMBS; i++) {
		__m256d all = (__m256d)squares.limbs[i];
		__m256d lower = _mm256_movedup_pd(all);
		/* -E, AA + BB, DA - CB, DA + CB */
		__m256d sum = _mm256_addsub_pd(lower, _mm256_permute_pd(all, UPPER_OF_EACH_PAIR));
		__m256d curve = _mm256_set1_pd(i == 0 ? CURVE : 0);

		sums.limbs[i] = (doubles4)sum;
		left.limbs[i] = (doubles4)_mm256_blend_pd(sum, all, LANE_1);
		right.limbs[i] = (doubles4)_mm256_blend_pd(_mm256_blend_pd(sum, lower, LANE_1), curve, LANE_0);
	}
	field4_multiply(&products, &left, &right);
#pragma GCC unroll 5
	for (int i = 0; i < FIELD4_LIMBS; i++) {
		__m256d all = (__m256d)products.limbs[i];
		/* -(BB + 121666 E) */
		__m256d sum = _mm256_sub_pd(all, (__m256d)squares.limbs[i]);

		left.limbs[i] = (doubles4)_mm256_blend_pd(all, (__m256d)sums.limbs[i], LANE_0);
		right.limbs[i] = (doubles4)_mm256_blend_pd((__m256d)ladder->base.limbs[i], sum, LANE_0);
	}
	field4_multiply(&squares, &left, &right);
#pragma GCC unroll 5
	for (int i = 0; i < FIELD4_LIMBS; i++)
		ladder->points.limbs[i] = (doubles4)_mm256_blend_pd((__m256d)squares.limbs[i],
								    (__m256d)products.limbs[i], LANES_1_AND_3);
}

/* The scalar is clamped; u is in each lane. Into lane 0 z, into lane 1 x of the product. */
FIELD4 __attribute__((noinline)) static void
climb(const uint64_t scalar[FIELD_LIMBS], const words4 u[FIELD4_WORDS], words4 product[FIELD4_WORDS])
{
	struct ladder ladder = { 0 };
	struct field4 base;
	uint64_t before = 0;

	field4_unpack(&base, u);
	ladder.points.limbs[0] = (doubles4){ 0, 1, 1, 0 };
	for (int i = 0; i < FIELD4_LIMBS; i++) {
		ladder.base.limbs[i][2] = base.limbs[i][2];
		ladder.points.limbs[i][3] = base.limbs[i][3];
	}
	for (int i = HIGHEST_STEP; i >= 0; i--) {
		uint64_t bit = scalar[i / WORD_BITS] >> (i % WORD_BITS);

		step(&ladder, field4_all((bit ^ before) << (WORD_BITS - 1)));
		before = bit;
	}
	/* The lowest bits are zero, so nothing is left to be swapped. */
	field4_pack(product, &ladder.points);
	explicit_bzero(&ladder, sizeof(ladder));
}

void
ladder_avx2_multiply(const uint8_t scalar[CRYPTO_X25519_BYTES], const uint8_t u[CRYPTO_X25519_BYTES],
		     uint8_t out[CRYPTO_X25519_BYTES])
{
	uint64_t clamped[FIELD_LIMBS];
	words4 words[FIELD4_WORDS];
	struct field x;
	struct field z;
	unsigned int rounding;

	memcpy(clamped, scalar, sizeof(clamped));
	clamped[0] &= ~UINT64_C(7);
	clamped[FIELD_LIMBS - 1] |= UINT64_C(1) << 62; /* the highest bit is above HIGHEST_STEP */
	memcpy(x.limbs, u, sizeof(x.limbs));
	for (int i = 0; i < FIELD4_WORDS; i++)
		words[i] = (words4){ x.limbs[i], x.limbs[i], x.limbs[i], x.limbs[i] };
	rounding = field4_begin();
	climb(clamped, words, words);
	field4_end(rounding);
	for (int i = 0; i < FIELD_LIMBS; i++) {
		z.limbs[i] = words[i][0];
		x.limbs[i] = words[i][1];
	}
	field_invert(&z, &z);
	field_multiply(&x, &x, &z);
	field_reduce(&x, &x);
	memcpy(out, x.limbs, CRYPTO_X25519_BYTES);
	explicit_bzero(clamped, sizeof(clamped));
	explicit_bzero(words, sizeof(words));
	explicit_bzero(&x, sizeof(x));
	explicit_bzero(&z, sizeof(z));
}

#else

bool
ladder_avx2_is_here(void)
{
	return false;
}

void
ladder_avx2_multiply(const uint8_t scalar[CRYPTO_X25519_BYTES], const uint8_t u[CRYPTO_X25519_BYTES],
		     uint8_t out[CRYPTO_X25519_BYTES])
{
	(void)scalar;
	(void)u;
	(void)out;
	CHECK(false);
}
#endif

/*
 * Montgomery's ladder as RFC 7748 5 writes it down, on vectors: both points of a step side by side, by their z and
 * x in the four columns. What a step multiplies is three products behind each other:
 *
 *   column          0               1        2          3
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

/* What _mm256_permute_pd() and others take: columns by number, and masks of columns. */
#define UPPER_OF_EACH_PAIR 15
#define OTHER_HALF_FIRST 1
#define COLUMNS_0_1_1_0 (0 | 1 << 2 | 1 << 4 | 0 << 6)
#define COLUMN_0 1
#define COLUMN_1 2
#define COLUMNS_1_AND_3 (2 | 8)

CHECK_STATIC(FIELD_AVX2_WORDS == FIELD_LIMBS, "numbers are handed on");

struct ladder {
	struct field_avx2 points;
	struct field_avx2 base; /* in column 2, zero in the others */
};

/* Of each pair of columns the upper less the lower, and both. */
FIELD_AVX2_INLINE __m256d
both_ways(__m256d pairs)
{
	return _mm256_addsub_pd(_mm256_permute_pd(pairs, UPPER_OF_EACH_PAIR), _mm256_movedup_pd(pairs));
}

/* Two becomes twice itself, three, which is one more, the sum of both; the other way round where the highest bit
 * of is_swapped is set. */
FIELD_AVX2_INLINE void
step(struct ladder *ladder, words4 is_swapped)
{
	struct field_avx2 left, right, squares, sums, products;

#pragma GCC unroll 5
	for (int i = 0; i < FIELD_AVX2_LIMBS; i++) {
		__m256d points = (__m256d)ladder->points.limbs[i];
		__m256d swapped = _mm256_permute2f128_pd(points, points, OTHER_HALF_FIRST);
		__m256d badc = both_ways(_mm256_blendv_pd(points, swapped, (__m256d)is_swapped));

		left.limbs[i] = (doubles4)badc;
		right.limbs[i] = (doubles4)_mm256_permute4x64_pd(badc, COLUMNS_0_1_1_0);
	}
	field_avx2_multiply(&squares, &left, &right);
#pragma GCC unroll 5
	for (int i = 0; i < FIELD_AVX2_LIMBS; i++) {
		__m256d all = (__m256d)squares.limbs[i];
		__m256d lower = _mm256_movedup_pd(all);
		/* -E, AA + BB, DA - CB, DA + CB */
		__m256d sum = _mm256_addsub_pd(lower, _mm256_permute_pd(all, UPPER_OF_EACH_PAIR));
		__m256d curve = _mm256_set1_pd(i == 0 ? CURVE : 0);

		sums.limbs[i] = (doubles4)sum;
		left.limbs[i] = (doubles4)_mm256_blend_pd(sum, all, COLUMN_1);
		right.limbs[i] = (doubles4)_mm256_blend_pd(_mm256_blend_pd(sum, lower, COLUMN_1), curve, COLUMN_0);
	}
	field_avx2_multiply(&products, &left, &right);
#pragma GCC unroll 5
	for (int i = 0; i < FIELD_AVX2_LIMBS; i++) {
		__m256d all = (__m256d)products.limbs[i];
		/* -(BB + 121666 E) */
		__m256d sum = _mm256_sub_pd(all, (__m256d)squares.limbs[i]);

		left.limbs[i] = (doubles4)_mm256_blend_pd(all, (__m256d)sums.limbs[i], COLUMN_0);
		right.limbs[i] = (doubles4)_mm256_blend_pd((__m256d)ladder->base.limbs[i], sum, COLUMN_0);
	}
	field_avx2_multiply(&squares, &left, &right);
#pragma GCC unroll 5
	for (int i = 0; i < FIELD_AVX2_LIMBS; i++)
		ladder->points.limbs[i] = (doubles4)_mm256_blend_pd((__m256d)squares.limbs[i],
								    (__m256d)products.limbs[i], COLUMNS_1_AND_3);
}

/* The scalar is clamped; u is in each column. Into column 0 z, into column 1 x of the product. */
FIELD_AVX2 __attribute__((noinline)) static void
climb(const uint64_t scalar[FIELD_LIMBS], const words4 u[FIELD_AVX2_WORDS], words4 product[FIELD_AVX2_WORDS])
{
	struct ladder ladder = { 0 };
	struct field_avx2 base;
	uint64_t before = 0;

	field_avx2_unpack(&base, u);
	ladder.points.limbs[0] = (doubles4){ 0, 1, 1, 0 };
	for (int i = 0; i < FIELD_AVX2_LIMBS; i++) {
		ladder.base.limbs[i][2] = base.limbs[i][2];
		ladder.points.limbs[i][3] = base.limbs[i][3];
	}
	for (int i = HIGHEST_STEP; i >= 0; i--) {
		uint64_t bit = scalar[i / WORD_BITS] >> (i % WORD_BITS);

		step(&ladder, field_avx2_all((bit ^ before) << (WORD_BITS - 1)));
		before = bit;
	}
	/* The lowest bits are zero, so nothing is left to be swapped. */
	field_avx2_pack(product, &ladder.points);
	explicit_bzero(&ladder, sizeof(ladder));
}

void
ladder_avx2_multiply(const uint8_t scalar[CRYPTO_X25519_BYTES], const uint8_t u[CRYPTO_X25519_BYTES],
		     uint8_t out[CRYPTO_X25519_BYTES])
{
	uint64_t clamped[FIELD_LIMBS];
	words4 words[FIELD_AVX2_WORDS];
	struct field x;
	struct field z;
	unsigned int rounding;

	memcpy(clamped, scalar, sizeof(clamped));
	clamped[0] &= ~UINT64_C(7);
	clamped[FIELD_LIMBS - 1] |= UINT64_C(1) << 62; /* the highest bit is above HIGHEST_STEP */
	memcpy(x.limbs, u, sizeof(x.limbs));
	for (int i = 0; i < FIELD_AVX2_WORDS; i++)
		words[i] = (words4){ x.limbs[i], x.limbs[i], x.limbs[i], x.limbs[i] };
	rounding = field_avx2_begin();
	climb(clamped, words, words);
	field_avx2_end(rounding);
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

/* RFC 7748 5.2's first product. What translates instructions for another processor may round as it likes (valgrind
 * does), and every agreement would be wrong without a word. */
static bool
computes_rightly(void)
{
	static const uint8_t scalar[CRYPTO_X25519_BYTES] = {
		0xa5, 0x46, 0xe3, 0x6b, 0xf0, 0x52, 0x7c, 0x9d, 0x3b, 0x16, 0x15, 0x4b, 0x82, 0x46, 0x5e, 0xdd,
		0x62, 0x14, 0x4c, 0x0a, 0xc1, 0xfc, 0x5a, 0x18, 0x50, 0x6a, 0x22, 0x44, 0xba, 0x44, 0x9a, 0xc4,
	};
	static const uint8_t u[CRYPTO_X25519_BYTES] = {
		0xe6, 0xdb, 0x68, 0x67, 0x58, 0x30, 0x30, 0xdb, 0x35, 0x94, 0xc1, 0xa4, 0x24, 0xb1, 0x5f, 0x7c,
		0x72, 0x66, 0x24, 0xec, 0x26, 0xb3, 0x35, 0x3b, 0x10, 0xa9, 0x03, 0xa6, 0xd0, 0xab, 0x1c, 0x4c,
	};
	static const uint8_t product[CRYPTO_X25519_BYTES] = {
		0xc3, 0xda, 0x55, 0x37, 0x9d, 0xe9, 0xc6, 0x90, 0x8e, 0x94, 0xea, 0x4d, 0xf2, 0x8d, 0x08, 0x4f,
		0x32, 0xec, 0xcf, 0x03, 0x49, 0x1c, 0x71, 0xf7, 0x54, 0xb4, 0x07, 0x55, 0x77, 0xa2, 0x85, 0x52,
	};
	uint8_t got[CRYPTO_X25519_BYTES];

	ladder_avx2_multiply(scalar, u, got);
	return memcmp(got, product, sizeof(product)) == 0;
}

bool
ladder_avx2_is_here(void)
{
	/* Either says too that the kernel keeps the vectors' upper halves. */
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && computes_rightly();
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

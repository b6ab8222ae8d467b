#pragma once

#include <stdint.h>

/*
 * crypto_field_avx2: numbers modulo 2^255 - 19, four side by side, by AVX2 and FMA. Private to
 * crypto_ladder_avx2.c.
 *
 * Doubles, since a multiplier of doubles takes 51 bits, one of integers 32. Five limbs, the lowest first, each a
 * whole number. What is multiplied may be the sum or the difference of two results, and no more: a result's limbs
 * are from -2^50 - 2^14 to 2^50 + 2^14, so a product of two limbs is below 2^103.
 *
 * A product's upper part is what FMA leaves of it beside HIGH_AT, where doubles are multiples of 2^52; its lower
 * part is the rest, from 0 to 2^52, exactly, beside LOW_AT, where they are multiples of 1. Either number lies in
 * the lowest bits of its double, so from there on they are integers; what their exponents add up to is known
 * (Emmart, Zheng and Weems, "Faster modular exponentiation using double precision floating point arithmetic on the
 * GPU", 2018). That asks for rounding towards zero: calculate between field_avx2_begin() and field_avx2_end(), and
 * in another function than theirs, which compilers do not know to be a fence for it.
 *
 * Pure; any thread. Time: the same for all numbers: no branch and no index depends on one, and none of the doubles
 * is so small that a processor would take longer. out may be one of the arguments.
 */
#ifdef __x86_64__
#include <immintrin.h>

#define FIELD_AVX2_COLUMNS 4 /* numbers side by side */
#define FIELD_AVX2_LIMBS 5
#define FIELD_AVX2_WORDS 4 /* of 64 bits */
#define FIELD_AVX2_LIMB_BITS 51
#define FIELD_AVX2_MASK ((UINT64_C(1) << FIELD_AVX2_LIMB_BITS) - 1)

#define FIELD_AVX2 __attribute__((target("avx2,fma")))
#define FIELD_AVX2_INLINE FIELD_AVX2 __attribute__((always_inline)) static inline

/* Of four numbers each. */
typedef uint64_t words4 __attribute__((vector_size(32)));
typedef double doubles4 __attribute__((vector_size(32)));

struct field_avx2 {
	doubles4 limbs[FIELD_AVX2_LIMBS];
};

/* --- halves of products ---------------------------------------------------------------------- */

#define FIELD_AVX2_HIGH_AT 0x1.8p104
#define FIELD_AVX2_HIGH_BITS UINT64_C(0x4678000000000000) /* that double */
#define FIELD_AVX2_LOW_AT 0x1p52
#define FIELD_AVX2_LOW_BITS UINT64_C(0x4330000000000000)

/* Of products of one weight. */
struct field_avx2_sums {
	words4 low;
	words4 high; /* counts 2^52 times as much */
};

FIELD_AVX2_INLINE words4
field_avx2_all(uint64_t word)
{
	return (words4){ word, word, word, word };
}

FIELD_AVX2_INLINE doubles4
field_avx2_doubles(double number)
{
	return (doubles4){ number, number, number, number };
}

/* a b + c, rounded once. */
FIELD_AVX2_INLINE doubles4
field_avx2_fma(doubles4 a, doubles4 b, doubles4 c)
{
	return (doubles4)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}

FIELD_AVX2_INLINE void
field_avx2_add_product(struct field_avx2_sums *sums, doubles4 a, doubles4 b)
{
	doubles4 high = field_avx2_fma(a, b, field_avx2_doubles(FIELD_AVX2_HIGH_AT));
	doubles4 low = field_avx2_fma(a, b, field_avx2_doubles(FIELD_AVX2_HIGH_AT + FIELD_AVX2_LOW_AT) - high);

	sums->high += (words4)high;
	sums->low += (words4)low;
}

FIELD_AVX2_INLINE words4
field_avx2_nineteenfold(words4 a)
{
	return (a << 4) + (a << 1) + a;
}

/* Of what is below 2^32. */
FIELD_AVX2_INLINE words4
field_avx2_nineteenfold_small(words4 a)
{
	return (words4)_mm256_mul_epu32((__m256i)a, (__m256i)field_avx2_all(19));
}

/* Computed here, and not at a place that the compiler likes better: there are not enough registers for that. */
FIELD_AVX2_INLINE void
field_avx2_fence(words4 *word)
{
	__asm__("" : "+x"(*word));
}

/* --- carries --------------------------------------------------------------------------------- */

/* A limb that is to be settled is beside FLOOR, which makes it positive, and half a limb for rounding to the
 * nearest. Without them it is below 2^60, so its carry is from -2^9 to 2^9. */
#define FIELD_AVX2_FLOOR (UINT64_C(1) << 62)
#define FIELD_AVX2_HALF (UINT64_C(1) << (FIELD_AVX2_LIMB_BITS - 1))
#define FIELD_AVX2_CARRY_AT (FIELD_AVX2_FLOOR >> FIELD_AVX2_LIMB_BITS)

/* 2^255 is 19, so what carries out above comes in below. */
FIELD_AVX2_INLINE void
field_avx2_settle(struct field_avx2 *out, const words4 limbs[FIELD_AVX2_LIMBS])
{
	words4 over = field_avx2_nineteenfold_small(limbs[FIELD_AVX2_LIMBS - 1] >> FIELD_AVX2_LIMB_BITS);

#pragma GCC unroll 5
	for (int k = 0; k < FIELD_AVX2_LIMBS; k++) {
		words4 rest = (limbs[k] & FIELD_AVX2_MASK) + over;
		uint64_t carried_at = FIELD_AVX2_CARRY_AT * (k == 0 ? 19 : 1);
		double at = FIELD_AVX2_LOW_AT + (double)(FIELD_AVX2_HALF + carried_at);

		over = limbs[k] >> FIELD_AVX2_LIMB_BITS;
		out->limbs[k] = (doubles4)(rest | FIELD_AVX2_LOW_BITS) - field_avx2_doubles(at);
	}
}

/* How many products of two limbs have a weight. */
FIELD_AVX2_INLINE uint64_t
field_avx2_count(int weight)
{
	if (weight < 0 || weight > 2 * (FIELD_AVX2_LIMBS - 1))
		return 0;
	return (uint64_t)(weight < FIELD_AVX2_LIMBS ? weight + 1 : 2 * FIELD_AVX2_LIMBS - 1 - weight);
}

/* What exponents add to all of one weight: of its lower parts, and twice the upper parts of the one below. */
FIELD_AVX2_INLINE uint64_t
field_avx2_exponents(int weight)
{
	return field_avx2_count(weight) * FIELD_AVX2_LOW_BITS +
	       2 * field_avx2_count(weight - 1) * FIELD_AVX2_HIGH_BITS;
}

/* Brings what limb k has of a product beside FLOOR. */
FIELD_AVX2_INLINE words4
field_avx2_level(int k)
{
	return field_avx2_all(FIELD_AVX2_FLOOR + FIELD_AVX2_HALF - field_avx2_exponents(k) -
			  19 * field_avx2_exponents(k + FIELD_AVX2_LIMBS));
}

/* --- products ------------------------------------------------------------------------------- */

/* All that has one weight. */
FIELD_AVX2_INLINE struct field_avx2_sums
field_avx2_products(const struct field_avx2 *a, const struct field_avx2 *b, int weight)
{
	struct field_avx2_sums sums = { 0 };

#pragma GCC unroll 5
	for (int i = 0; i < FIELD_AVX2_LIMBS; i++)
		if (weight - i >= 0 && weight - i < FIELD_AVX2_LIMBS)
			field_avx2_add_product(&sums, a->limbs[i], b->limbs[weight - i]);
	return sums;
}

/* A weight that wraps around comes with the one that it becomes, so that few sums are there at a time. */
FIELD_AVX2_INLINE void
field_avx2_multiply(struct field_avx2 *out, const struct field_avx2 *a, const struct field_avx2 *b)
{
	struct field_avx2_sums sums = field_avx2_products(a, b, FIELD_AVX2_LIMBS - 1);
	words4 limbs[FIELD_AVX2_LIMBS];
	words4 below = field_avx2_all(0); /* upper parts of the weight before, twice */
	words4 below_wrapped = sums.high + sums.high;

	limbs[FIELD_AVX2_LIMBS - 1] = sums.low + field_avx2_level(FIELD_AVX2_LIMBS - 1);
	field_avx2_fence(&limbs[FIELD_AVX2_LIMBS - 1]);
	field_avx2_fence(&below_wrapped);
#pragma GCC unroll 4
	for (int k = 0; k < FIELD_AVX2_LIMBS - 1; k++) {
		sums = field_avx2_products(a, b, k + FIELD_AVX2_LIMBS);
		limbs[k] = field_avx2_nineteenfold(sums.low + below_wrapped);
		below_wrapped = sums.high + sums.high;
		field_avx2_fence(&limbs[k]);
		field_avx2_fence(&below_wrapped);
		sums = field_avx2_products(a, b, k);
		limbs[k] += sums.low + below + field_avx2_level(k);
		below = sums.high + sums.high;
		field_avx2_fence(&limbs[k]);
		field_avx2_fence(&below);
	}
	limbs[FIELD_AVX2_LIMBS - 1] += below + field_avx2_nineteenfold(below_wrapped);
	field_avx2_settle(out, limbs);
}

/* --- in and out ------------------------------------------------------------------------------ */

/* What field_avx2_end() takes. */
static inline unsigned int
field_avx2_begin(void)
{
	unsigned int before = _mm_getcsr();

	_mm_setcsr(_MM_MASK_MASK | _MM_ROUND_TOWARD_ZERO);
	return before;
}

static inline void
field_avx2_end(unsigned int before)
{
	_mm_setcsr(before);
}

/* Of words, the lowest first; without the highest bit of the last one. */
FIELD_AVX2_INLINE void
field_avx2_unpack(struct field_avx2 *out, const words4 in[FIELD_AVX2_WORDS])
{
	words4 limbs[FIELD_AVX2_LIMBS] = { in[0], in[0] >> 51 | in[1] << 13, in[1] >> 38 | in[2] << 26,
				       in[2] >> 25 | in[3] << 39, in[3] >> 12 };

#pragma GCC unroll 5
	for (int k = 0; k < FIELD_AVX2_LIMBS; k++)
		limbs[k] = (limbs[k] & FIELD_AVX2_MASK) + (FIELD_AVX2_FLOOR + FIELD_AVX2_HALF);
	field_avx2_settle(out, limbs);
}

/* Of a result: any number that it is modulo the prime, below 2^256. The prime is added, so that no limb is below
 * zero. */
FIELD_AVX2_INLINE void
field_avx2_pack(words4 out[FIELD_AVX2_WORDS], const struct field_avx2 *a)
{
	words4 limbs[FIELD_AVX2_LIMBS];
	words4 over = field_avx2_all(0);

#pragma GCC unroll 5
	for (int k = 0; k < FIELD_AVX2_LIMBS; k++) {
		double at = FIELD_AVX2_LOW_AT + (double)(FIELD_AVX2_MASK - (k == 0 ? 18 : 0));

		limbs[k] = (words4)(a->limbs[k] + field_avx2_doubles(at)) - FIELD_AVX2_LOW_BITS;
		limbs[k] += over;
		over = limbs[k] >> FIELD_AVX2_LIMB_BITS;
		if (k < FIELD_AVX2_LIMBS - 1)
			limbs[k] &= FIELD_AVX2_MASK;
	}
	out[0] = limbs[0] | limbs[1] << 51;
	out[1] = limbs[1] >> 13 | limbs[2] << 38;
	out[2] = limbs[2] >> 26 | limbs[3] << 25;
	out[3] = limbs[3] >> 39 | limbs[4] << 12;
}
#endif

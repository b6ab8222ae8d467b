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
 * GPU", 2018). That asks for rounding towards zero: calculate between field4_begin() and field4_end(), and in
 * another function than theirs, which compilers do not know to be a fence for it.
 *
 * Pure; any thread. Time: the same for all numbers: no branch and no index depends on one, and none of the doubles
 * is so small that a processor would take longer. out may be one of the arguments.
 */
#ifdef __x86_64__
#include <immintrin.h>

#define FIELD4_LIMBS 5
#define FIELD4_WORDS 4 /* of 64 bits */
#define FIELD4_LIMB_BITS 51
#define FIELD4_MASK ((UINT64_C(1) << FIELD4_LIMB_BITS) - 1)

#define FIELD4 __attribute__((target("avx2,fma")))
#define FIELD4_INLINE FIELD4 __attribute__((always_inline)) static inline

/* Of four numbers each. */
typedef uint64_t words4 __attribute__((vector_size(32)));
typedef double doubles4 __attribute__((vector_size(32)));

struct field4 {
	doubles4 limbs[FIELD4_LIMBS];
};

/* --- halves of products ---------------------------------------------------------------------- */

#define FIELD4_HIGH_AT 0x1.8p104
#define FIELD4_HIGH_BITS UINT64_C(0x4678000000000000) /* that double */
#define FIELD4_LOW_AT 0x1p52
#define FIELD4_LOW_BITS UINT64_C(0x4330000000000000)

/* Of products of one weight. */
struct field4_sums {
	words4 low;
	words4 high; /* counts 2^52 times as much */
};

FIELD4_INLINE words4
field4_all(uint64_t word)
{
	return (words4){ word, word, word, word };
}

FIELD4_INLINE doubles4
field4_doubles(double number)
{
	return (doubles4){ number, number, number, number };
}

/* a b + c, rounded once. */
FIELD4_INLINE doubles4
field4_fma(doubles4 a, doubles4 b, doubles4 c)
{
	return (doubles4)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}

FIELD4_INLINE void
field4_add_product(struct field4_sums *sums, doubles4 a, doubles4 b)
{
	doubles4 high = field4_fma(a, b, field4_doubles(FIELD4_HIGH_AT));
	doubles4 low = field4_fma(a, b, field4_doubles(FIELD4_HIGH_AT + FIELD4_LOW_AT) - high);

	sums->high += (words4)high;
	sums->low += (words4)low;
}

FIELD4_INLINE words4
field4_nineteenfold(words4 a)
{
	return (a << 4) + (a << 1) + a;
}

/* Of what is below 2^32. */
FIELD4_INLINE words4
field4_nineteenfold_small(words4 a)
{
	return (words4)_mm256_mul_epu32((__m256i)a, (__m256i)field4_all(19));
}

/* Computed here, and not at a place that the compiler likes better: there are not enough registers for that. */
FIELD4_INLINE void
field4_fence(words4 *word)
{
	__asm__("" : "+x"(*word));
}

/* --- carries --------------------------------------------------------------------------------- */

/* A limb that is to be settled is beside FLOOR, which makes it positive, and half a limb for rounding to the
 * nearest. Without them it is below 2^60, so its carry is from -2^9 to 2^9. */
#define FIELD4_FLOOR (UINT64_C(1) << 62)
#define FIELD4_HALF (UINT64_C(1) << (FIELD4_LIMB_BITS - 1))
#define FIELD4_CARRY_AT (FIELD4_FLOOR >> FIELD4_LIMB_BITS)

/* 2^255 is 19, so what carries out above comes in below. */
FIELD4_INLINE void
field4_settle(struct field4 *out, const words4 limbs[FIELD4_LIMBS])
{
	words4 over = field4_nineteenfold_small(limbs[FIELD4_LIMBS - 1] >> FIELD4_LIMB_BITS);

#pragma GCC unroll 5
	for (int k = 0; k < FIELD4_LIMBS; k++) {
		words4 rest = (limbs[k] & FIELD4_MASK) + over;
		double at = FIELD4_LOW_AT + (double)(FIELD4_HALF + FIELD4_CARRY_AT * (k == 0 ? 19 : 1));

		over = limbs[k] >> FIELD4_LIMB_BITS;
		out->limbs[k] = (doubles4)(rest | FIELD4_LOW_BITS) - field4_doubles(at);
	}
}

/* How many products of two limbs have a weight. */
FIELD4_INLINE uint64_t
field4_count(int weight)
{
	if (weight < 0 || weight > 2 * (FIELD4_LIMBS - 1))
		return 0;
	return (uint64_t)(weight < FIELD4_LIMBS ? weight + 1 : 2 * FIELD4_LIMBS - 1 - weight);
}

/* What exponents add to all of one weight: of its lower parts, and twice the upper parts of the one below. */
FIELD4_INLINE uint64_t
field4_exponents(int weight)
{
	return field4_count(weight) * FIELD4_LOW_BITS + 2 * field4_count(weight - 1) * FIELD4_HIGH_BITS;
}

/* Brings what limb k has of a product beside FLOOR. */
FIELD4_INLINE words4
field4_level(int k)
{
	return field4_all(FIELD4_FLOOR + FIELD4_HALF - field4_exponents(k) -
			  19 * field4_exponents(k + FIELD4_LIMBS));
}

/* --- products ------------------------------------------------------------------------------- */

/* All that has one weight. */
FIELD4_INLINE struct field4_sums
field4_products(const struct field4 *a, const struct field4 *b, int weight)
{
	struct field4_sums sums = { 0 };

#pragma GCC unroll 5
	for (int i = 0; i < FIELD4_LIMBS; i++)
		if (weight - i >= 0 && weight - i < FIELD4_LIMBS)
			field4_add_product(&sums, a->limbs[i], b->limbs[weight - i]);
	return sums;
}

/* A weight that wraps around comes with the one that it becomes, so that few sums are there at a time. */
FIELD4_INLINE void
field4_multiply(struct field4 *out, const struct field4 *a, const struct field4 *b)
{
	struct field4_sums sums = field4_products(a, b, FIELD4_LIMBS - 1);
	words4 limbs[FIELD4_LIMBS];
	words4 below = field4_all(0); /* upper parts of the weight before, twice */
	words4 below_wrapped = sums.high + sums.high;

	limbs[FIELD4_LIMBS - 1] = sums.low + field4_level(FIELD4_LIMBS - 1);
	field4_fence(&limbs[FIELD4_LIMBS - 1]);
	field4_fence(&below_wrapped);
#pragma GCC unroll 4
	for (int k = 0; k < FIELD4_LIMBS - 1; k++) {
		sums = field4_products(a, b, k + FIELD4_LIMBS);
		limbs[k] = field4_nineteenfold(sums.low + below_wrapped);
		below_wrapped = sums.high + sums.high;
		field4_fence(&limbs[k]);
		field4_fence(&below_wrapped);
		sums = field4_products(a, b, k);
		limbs[k] += sums.low + below + field4_level(k);
		below = sums.high + sums.high;
		field4_fence(&limbs[k]);
		field4_fence(&below);
	}
	limbs[FIELD4_LIMBS - 1] += below + field4_nineteenfold(below_wrapped);
	field4_settle(out, limbs);
}

/* --- in and out ------------------------------------------------------------------------------ */

/* What field4_end() takes. */
static inline unsigned int
field4_begin(void)
{
	unsigned int before = _mm_getcsr();

	_mm_setcsr(_MM_MASK_MASK | _MM_ROUND_TOWARD_ZERO);
	return before;
}

static inline void
field4_end(unsigned int before)
{
	_mm_setcsr(before);
}

/* Of words, the lowest first; without the highest bit of the last one. */
FIELD4_INLINE void
field4_unpack(struct field4 *out, const words4 in[FIELD4_WORDS])
{
	words4 limbs[FIELD4_LIMBS] = { in[0], in[0] >> 51 | in[1] << 13, in[1] >> 38 | in[2] << 26,
				       in[2] >> 25 | in[3] << 39, in[3] >> 12 };

#pragma GCC unroll 5
	for (int k = 0; k < FIELD4_LIMBS; k++)
		limbs[k] = (limbs[k] & FIELD4_MASK) + (FIELD4_FLOOR + FIELD4_HALF);
	field4_settle(out, limbs);
}

/* Of a result: any number that it is modulo the prime, below 2^256. The prime is added, so that no limb is below
 * zero. */
FIELD4_INLINE void
field4_pack(words4 out[FIELD4_WORDS], const struct field4 *a)
{
	words4 limbs[FIELD4_LIMBS];
	words4 over = field4_all(0);

#pragma GCC unroll 5
	for (int k = 0; k < FIELD4_LIMBS; k++) {
		double prime = (double)(FIELD4_MASK - (k == 0 ? 18 : 0));

		limbs[k] = (words4)(a->limbs[k] + field4_doubles(FIELD4_LOW_AT + prime)) - FIELD4_LOW_BITS;
		limbs[k] += over;
		over = limbs[k] >> FIELD4_LIMB_BITS;
		if (k < FIELD4_LIMBS - 1)
			limbs[k] &= FIELD4_MASK;
	}
	out[0] = limbs[0] | limbs[1] << 51;
	out[1] = limbs[1] >> 13 | limbs[2] << 38;
	out[2] = limbs[2] >> 26 | limbs[3] << 25;
	out[3] = limbs[3] >> 39 | limbs[4] << 12;
}
#endif

#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/*
 * vaes_hash: the hash of AES-GCM (GHASH, NIST SP 800-38D 6.4) on vectors of two blocks, and what else one does
 * with such vectors. Private to aead_vaes.c.
 *
 * The hash's field has its bits the other way round. So blocks are turned by bytes before they come here, and
 * the powers of the hash key have a factor x each (powers_init()), which makes up for the product's missing bit
 * (Gueron and Kounavis, "Carry-Less Multiplication Instruction and its Usage for Computing the GCM Mode").
 *
 * Thread: any. Memory: the caller's. Nothing branches or looks up by what it is given, but by lengths.
 */
#define BLOCK_BYTES 16
#define VECTOR_BYTES 32
#define BATCH_VECTORS 8
#define BATCH_BLOCKS 16 /* what is multiplied between two reductions at most */
#define BATCH_BYTES (BATCH_VECTORS * VECTOR_BYTES)

/* What is not inlined cannot be in registers. */
#define VAES __attribute__((target("avx2,aes,pclmul,vaes,vpclmulqdq")))
#define VAES_INLINE VAES __attribute__((always_inline)) static inline

/* Of a hash key, the highest first. */
struct hash_powers {
	__m128i powers[BATCH_BLOCKS];
	__m128i folded[BATCH_BLOCKS]; /* both halves of the power above, added, in each half */
};

/* A sum of products, the blocks of two streams side by side: the hash is what sum_end() makes of it. Reduced when
 * it is needed, which is after what does not need it has been begun. */
struct hash_sum {
	__m256i low;
	__m256i middle; /* without low and high, which Karatsuba's products have too much */
	__m256i high;
};

/* --- vectors --------------------------------------------------------------------------------------------- */

VAES_INLINE __m128i
turn_block(__m128i block)
{
	return _mm_shuffle_epi8(block,
				_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

VAES_INLINE __m256i
turn(__m256i blocks)
{
	return _mm256_shuffle_epi8(blocks,
				   _mm256_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1,
						   2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

VAES_INLINE __m128i
places(void)
{
	return _mm_set_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}

VAES_INLINE __m128i
load_block(const void *from)
{
	return _mm_loadu_si128((const __m128i_u *)from);
}

VAES_INLINE __m256i
load(const void *from)
{
	return _mm256_loadu_si256((const __m256i_u *)from);
}

VAES_INLINE void
store_block(void *to, __m128i block)
{
	_mm_storeu_si128((__m128i_u *)to, block);
}

VAES_INLINE void
store(void *to, __m256i blocks)
{
	_mm256_storeu_si256((__m256i_u *)to, blocks);
}

/* 1 to 15 bytes, zeros behind; in pieces that lie inside. A copy into a block would be read before it is
 * written there, and wait. */
VAES_INLINE __m128i
load_part(const uint8_t *from, size_t len)
{
	uint64_t low = 0;
	uint64_t high = 0;

	if (len > 8) {
		memcpy(&low, from, 8);
		memcpy(&high, from + len - 8, 8);
		high >>= 8 * (BLOCK_BYTES - len);
	} else if (len >= 4) {
		uint32_t first;
		uint32_t last;

		memcpy(&first, from, 4);
		memcpy(&last, from + len - 4, 4);
		low = first | (uint64_t)last << (8 * (len - 4));
	} else {
		low = from[0] | (uint64_t)from[len / 2] << (8 * (len / 2)) |
		      (uint64_t)from[len - 1] << (8 * (len - 1));
	}
	return _mm_set_epi64x((int64_t)high, (int64_t)low);
}

VAES_INLINE void
store_part(uint8_t *to, __m128i block, size_t len)
{
	uint64_t rest = (uint64_t)_mm_cvtsi128_si64(block);

	if (len >= 8) {
		memcpy(to, &rest, 8);
		rest = (uint64_t)_mm_extract_epi64(block, 1);
		to += 8;
	}
	if (len & 4) {
		memcpy(to, &rest, 4);
		rest >>= 32;
		to += 4;
	}
	if (len & 2) {
		memcpy(to, &rest, 2);
		rest >>= 16;
		to += 2;
	}
	if (len & 1)
		*to = (uint8_t)rest;
}

/* All ones from the byte at `start` to the one before the one at `end`; of 0 to 16. */
VAES_INLINE __m128i
between(size_t start, size_t end)
{
	return _mm_andnot_si128(_mm_cmpgt_epi8(_mm_set1_epi8((char)start), places()),
				_mm_cmpgt_epi8(_mm_set1_epi8((char)end), places()));
}

VAES_INLINE __m256i
swap_halves(__m256i blocks)
{
	return _mm256_shuffle_epi32(blocks, 0x4e);
}

/* --- the hash ----------------------------------------------------------------------------------------------- */

/* Modulo x^128 + x^7 + x^2 + x + 1, its bits the other way round: a half at a time. */
VAES_INLINE __m256i
reduce(struct hash_sum sum)
{
	const __m256i modulus = _mm256_set_epi64x((int64_t)0xc200000000000000, 1, (int64_t)0xc200000000000000, 1);

	sum.middle ^= swap_halves(sum.low) ^ _mm256_clmulepi64_epi128(modulus, sum.low, 0x01);
	return sum.high ^ swap_halves(sum.middle) ^ _mm256_clmulepi64_epi128(modulus, sum.middle, 0x01);
}

VAES_INLINE __m256i
multiply(__m256i a, __m256i b)
{
	struct hash_sum product = {
		_mm256_clmulepi64_epi128(a, b, 0x00),
		_mm256_clmulepi64_epi128(a, b, 0x01) ^ _mm256_clmulepi64_epi128(a, b, 0x10),
		_mm256_clmulepi64_epi128(a, b, 0x11),
	};

	return reduce(product);
}

/* Two blocks by two powers, by Karatsuba's three products; the middle one lacks what sum_end() adds. */
VAES_INLINE void
add_product(struct hash_sum *sum, __m256i blocks, __m256i powers, __m256i folded)
{
	sum->low ^= _mm256_clmulepi64_epi128(blocks, powers, 0x00);
	sum->high ^= _mm256_clmulepi64_epi128(blocks, powers, 0x11);
	sum->middle ^= _mm256_clmulepi64_epi128(blocks ^ swap_halves(blocks), folded, 0x00);
	/* Added now: gcc else keeps the products of a batch apart, and has no registers for them. */
	__asm__("" : "+x"(sum->low), "+x"(sum->middle), "+x"(sum->high));
}

VAES_INLINE __m128i
sum_end(struct hash_sum sum)
{
	__m256i both;

	sum.middle ^= sum.low ^ sum.high;
	both = reduce(sum);
	return _mm256_castsi256_si128(both) ^ _mm256_extracti128_si256(both, 1);
}

#define SUM_ZERO \
	((struct hash_sum){ _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256() })

/* The first of two blocks by that power, 2 to 16, of the hash key; the second by the one below. */
VAES_INLINE void
add_pair(const struct hash_powers *key, struct hash_sum *sum, __m256i blocks, size_t power)
{
	add_product(sum, blocks, load(&key->powers[BATCH_BLOCKS - power]),
		    load(&key->folded[BATCH_BLOCKS - power]));
}

VAES_INLINE void
add_last(const struct hash_powers *key, struct hash_sum *sum, __m128i block)
{
	add_product(sum, _mm256_zextsi128_si256(block), _mm256_zextsi128_si256(key->powers[BATCH_BLOCKS - 1]),
		    _mm256_zextsi128_si256(key->folded[BATCH_BLOCKS - 1]));
}

/* One block, turned. */
VAES_INLINE void
hash_one(const struct hash_powers *key, struct hash_sum *sum, __m128i block)
{
	__m128i before = sum_end(*sum);

	*sum = SUM_ZERO;
	add_last(key, sum, before ^ block);
}

VAES_INLINE void
hash_two(const struct hash_powers *key, struct hash_sum *sum, __m128i first, __m128i second)
{
	__m128i before = sum_end(*sum);

	*sum = SUM_ZERO;
	add_pair(key, sum, _mm256_set_m128i(second, before ^ first), 2);
}

/* 1 to 16 blocks of text. The first, which the hash so far is added to, come last. */
VAES_INLINE void
hash_blocks(const struct hash_powers *key, struct hash_sum *sum, const uint8_t *bytes, size_t blocks)
{
	__m128i before = sum_end(*sum);

	*sum = SUM_ZERO;
	if (blocks == 1) {
		add_last(key, sum, before ^ turn_block(load_block(bytes)));
		return;
	}
	for (size_t i = 2; i + 1 < blocks; i += 2)
		add_pair(key, sum, turn(load(bytes + i * BLOCK_BYTES)), blocks - i);
	if (blocks % 2 == 1)
		add_last(key, sum, turn_block(load_block(bytes + (blocks - 1) * BLOCK_BYTES)));
	add_pair(key, sum, turn(load(bytes)) ^ _mm256_zextsi128_si256(before), blocks);
}

/* --- powers ---------------------------------------------------------------------------------------------- */

/* The hash key, times x: what is shifted out comes back as the modulus. */
VAES_INLINE __m128i
times_x(__m128i hash_key)
{
	const __m128i modulus = _mm_set_epi64x((int64_t)0xc200000000000000, 1);
	__m128i carries = _mm_slli_si128(_mm_srli_epi64(hash_key, 63), 8);
	__m128i out = _mm_srai_epi32(_mm_shuffle_epi32(hash_key, 0xff), 31);

	return (_mm_slli_epi64(hash_key, 1) | carries) ^ (out & modulus);
}

VAES_INLINE void
put_powers(struct hash_powers *to, size_t power, __m256i powers)
{
	store(&to->powers[BATCH_BLOCKS - power], powers);
	store(&to->folded[BATCH_BLOCKS - power], powers ^ swap_halves(powers));
}

/* H^2 H^1, by H^2 gives H^4 H^3, both by H^4 what is above, and so on. */
VAES_INLINE void
powers_init(struct hash_powers *to, __m128i hash_key)
{
	__m256i first = _mm256_broadcastsi128_si256(times_x(hash_key));
	__m256i factor = multiply(first, first);
	__m256i pairs[BATCH_VECTORS] = { _mm256_blend_epi32(factor, first, 0xf0) };

	put_powers(to, 2, pairs[0]);
#pragma GCC unroll 3
	for (size_t have = 1; have < BATCH_VECTORS; have *= 2) {
		if (have > 1)
			factor = _mm256_permute2x128_si256(pairs[have - 1], pairs[have - 1], 0x00);
#pragma GCC unroll 4
		for (size_t i = 0; i < have; i++) {
			pairs[have + i] = multiply(pairs[i], factor);
			put_powers(to, 2 * (have + i + 1), pairs[have + i]);
		}
	}
}

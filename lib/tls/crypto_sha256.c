/* By x86's SHA extensions: an instruction is two rounds, or the better part of four of the message's words. */
#include "tls/crypto_sha256.h"

#include "base/check.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>

#define LEAF 7 /* of CPUID, in ebx */
#define HAS_SHA (1u << 29)
#define STEPS 16 /* of four rounds */

/* What is not inlined cannot be in registers. */
#define SHA __attribute__((target("sha,sse4.1")))
#define SHA_INLINE SHA __attribute__((always_inline)) static inline

bool
sha256_is_here(void)
{
	unsigned int eax, ebx, ecx, edx;

	return __builtin_cpu_supports("sse4.1") && __get_cpuid_count(LEAF, 0, &eax, &ebx, &ecx, &edx) != 0 &&
	       (ebx & HAS_SHA) != 0;
}

static const uint32_t constants[STEPS][4] __attribute__((aligned(16))) = {
	{ 0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5 }, { 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5 },
	{ 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3 }, { 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174 },
	{ 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc }, { 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da },
	{ 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7 }, { 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967 },
	{ 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13 }, { 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85 },
	{ 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3 }, { 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070 },
	{ 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5 }, { 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3 },
	{ 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208 }, { 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2 },
};

/* Of a vector's four words, by where each comes from: the pairs swapped, all of them the other way round, the
 * upper pair below. Of two vectors: the upper pair of the second above the lower one of the first. */
#define SWAP_PAIRS _MM_SHUFFLE(2, 3, 0, 1)
#define REVERSE _MM_SHUFFLE(0, 1, 2, 3)
#define UPPER_PAIR _MM_SHUFFLE(0, 0, 3, 2)
#define UPPER_OF_SECOND 0xf0 /* of eight halves of words */

/* The state's words a to h as the instructions want them, and the last sixteen words of the message. */
struct message {
	__m128i abef;
	__m128i cdgh;
	__m128i words[4];
};

SHA_INLINE void
load_state(struct message *m, const uint32_t state[CRYPTO_SHA2_WORDS])
{
	__m128i badc = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)state), SWAP_PAIRS);
	__m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)(state + 4)), REVERSE);

	m->abef = _mm_alignr_epi8(badc, hgfe, 8);
	m->cdgh = _mm_blend_epi16(hgfe, badc, UPPER_OF_SECOND);
}

SHA_INLINE void
store_state(const struct message *m, uint32_t state[CRYPTO_SHA2_WORDS])
{
	__m128i feba = _mm_shuffle_epi32(m->abef, REVERSE);
	__m128i dchg = _mm_shuffle_epi32(m->cdgh, SWAP_PAIRS);

	_mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(feba, dchg, UPPER_OF_SECOND));
	_mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

SHA_INLINE void
load_block(struct message *m, const uint8_t *block)
{
	const __m128i order = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);

	/* Left a loop, the words would lie in memory, and what is hashed is a key with HMAC's pad. */
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++)
		m->words[i] = _mm_shuffle_epi8(
			_mm_loadu_si128((const __m128i *)(const void *)(block + 16 * (size_t)i)), order);
}

/* Four rounds, and the words that are used four steps later. */
SHA_INLINE void
take_step(struct message *m, int step)
{
	__m128i *words = &m->words[step % 4];
	__m128i last = m->words[(step + 3) % 4];
	__m128i sum = _mm_add_epi32(*words, _mm_load_si128((const __m128i *)(const void *)constants[step]));

	m->cdgh = _mm_sha256rnds2_epu32(m->cdgh, m->abef, sum);
	m->abef = _mm_sha256rnds2_epu32(m->abef, m->cdgh, _mm_shuffle_epi32(sum, UPPER_PAIR));
	*words = _mm_add_epi32(_mm_sha256msg1_epu32(*words, m->words[(step + 1) % 4]),
			       _mm_alignr_epi8(last, m->words[(step + 2) % 4], 4));
	*words = _mm_sha256msg2_epu32(*words, last);
}

SHA void
sha256_blocks(uint32_t state[CRYPTO_SHA2_WORDS], const uint8_t *blocks, size_t count)
{
	struct message m;

	load_state(&m, state);
	for (; count > 0; count--) {
		__m128i abef = m.abef;
		__m128i cdgh = m.cdgh;

		load_block(&m, blocks);
#pragma GCC unroll 16
		for (int step = 0; step < STEPS; step++)
			take_step(&m, step);
		m.abef = _mm_add_epi32(m.abef, abef);
		m.cdgh = _mm_add_epi32(m.cdgh, cdgh);
		blocks += CRYPTO_SHA256_BLOCK_BYTES;
	}
	store_state(&m, state);
}

/* An instruction of one message waits for the one before it, and meanwhile the other's runs. */
SHA void
sha256_two(uint32_t first[CRYPTO_SHA2_WORDS], const uint8_t first_block[CRYPTO_SHA256_BLOCK_BYTES],
	   uint32_t second[CRYPTO_SHA2_WORDS], const uint8_t second_block[CRYPTO_SHA256_BLOCK_BYTES])
{
	struct message m[2];
	struct message before[2];

	load_state(&m[0], first);
	load_state(&m[1], second);
	before[0] = m[0];
	before[1] = m[1];
	load_block(&m[0], first_block);
	load_block(&m[1], second_block);
#pragma GCC unroll 16
	for (int step = 0; step < STEPS; step++) {
		take_step(&m[0], step);
		take_step(&m[1], step);
	}
	for (int i = 0; i < 2; i++) {
		m[i].abef = _mm_add_epi32(m[i].abef, before[i].abef);
		m[i].cdgh = _mm_add_epi32(m[i].cdgh, before[i].cdgh);
	}
	store_state(&m[0], first);
	store_state(&m[1], second);
}

#else

bool
sha256_is_here(void)
{
	return false;
}

void
sha256_blocks(uint32_t state[CRYPTO_SHA2_WORDS], const uint8_t *blocks, size_t count)
{
	(void)state;
	(void)blocks;
	(void)count;
	CHECK(false);
}

void
sha256_two(uint32_t first[CRYPTO_SHA2_WORDS], const uint8_t first_block[CRYPTO_SHA256_BLOCK_BYTES],
	   uint32_t second[CRYPTO_SHA2_WORDS], const uint8_t second_block[CRYPTO_SHA256_BLOCK_BYTES])
{
	(void)first;
	(void)first_block;
	(void)second;
	(void)second_block;
	CHECK(false);
}
#endif

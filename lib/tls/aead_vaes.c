/*
 * AES-GCM (NIST SP 800-38D) on vectors of two blocks: VAES and VPCLMULQDQ as AVX2 has them, for processors
 * without AVX-512. Sixteen blocks of the counter go through the rounds side by side while sixteen blocks of
 * ciphertext are multiplied into the hash; one reduction for all of them.
 *
 * Nothing here branches or looks up by a key, a text or a hash.
 */
#include <cpuid.h>

#include "base/check.h"
#include "tls/aead.h"
#include "tls/vaes_hash.h"

#define ROUNDS_128 10
#define ROUNDS_256 14
#define CPUID_VAES (1U << 9) /* leaf 7, ECX */
#define CPUID_VPCLMULQDQ (1U << 10)

struct vaes_key {
	__m128i rounds[ROUNDS_256 + 1];
	struct hash_powers powers; /* of the hash key */
};

struct vaes_run {
	struct hash_sum sum; /* the hash so far */
	__m128i counter; /* of the next block, turned by bytes */
	__m128i mask; /* of the tag */
	uint8_t stream[BLOCK_BYTES]; /* of the block that is not full yet */
	uint8_t part[BLOCK_BYTES]; /* its ciphertext; zeros behind */
	uint64_t text_bytes;
	uint32_t aad_bytes;
	uint32_t part_bytes; /* 0 to 15 */
	/* Keystream of crypt_tail(); here it is wiped with the rest. */
	_Alignas(VECTOR_BYTES) uint8_t tail[BATCH_BYTES];
};

CHECK_STATIC(sizeof(struct vaes_key) <= AEAD_EXPANDED_BYTES, "an expanded key fits");
CHECK_STATIC(sizeof(struct vaes_run) <= AEAD_RUN_BYTES, "a message under way fits");

static struct vaes_key *
key_in(struct aead_key *key)
{
	return (struct vaes_key *)(void *)key->bytes;
}

static const struct vaes_key *
key_of(const struct aead_key *key)
{
	return (const struct vaes_key *)(const void *)key->bytes;
}

static struct vaes_run *
run_of(struct aead_run *run)
{
	return (struct vaes_run *)(void *)run->bytes;
}

/* --- the cipher ------------------------------------------------------------------------------------------ */

VAES_INLINE __m128i
next_counter(__m128i counter, uint32_t blocks)
{
	return _mm_add_epi32(counter, _mm_set_epi32(0, 0, 0, (int)blocks));
}

/* The blocks of the counter, 2 * vectors of them. Mostly its lowest byte alone changes among them: then what is
 * added is turned, and not each block. */
VAES_INLINE void
put_counters(__m128i counter, __m256i *out, size_t vectors)
{
	bool is_byte = ((uint32_t)_mm_cvtsi128_si32(counter) & 255) + 2 * vectors <= 256;
	__m256i both = _mm256_broadcastsi128_si256(is_byte ? turn_block(counter) : counter);
	const __m256i one = _mm256_set_epi32(0, 0, 0, 1, 0, 0, 0, 0);
	const __m256i two = _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 2);
	const __m256i one_turned = _mm256_set_epi32(1 << 24, 0, 0, 0, 0, 0, 0, 0);
	const __m256i two_turned = _mm256_set_epi32(2 << 24, 0, 0, 0, 2 << 24, 0, 0, 0);

	if (is_byte) {
		both = _mm256_add_epi32(both, one_turned);
#pragma GCC unroll 8
		for (size_t i = 0; i < vectors; i++) {
			out[i] = both;
			both = _mm256_add_epi32(both, two_turned);
		}
		return;
	}
	both = _mm256_add_epi32(both, one);
#pragma GCC unroll 8
	for (size_t i = 0; i < vectors; i++) {
		out[i] = turn(both);
		both = _mm256_add_epi32(both, two);
	}
}

/* The counter's blocks, 2 * vectors of them; and between the rounds the hash goes over a batch of ciphertext,
 * unless it is NULL. The blocks that the hash so far is added to come last, and what was summed up before is
 * reduced first: so nothing waits for the reduction. */
VAES_INLINE void
crypt_vectors(const struct vaes_key *key, size_t rounds, __m128i counter, __m256i *out, size_t vectors,
	      const uint8_t *hashed, struct hash_sum *sum)
{
	__m256i round = _mm256_broadcastsi128_si256(key->rounds[0]);
	__m256i first = _mm256_setzero_si256();

	put_counters(counter, out, vectors);
#pragma GCC unroll 8
	for (size_t i = 0; i < vectors; i++)
		out[i] ^= round;
	if (hashed != NULL) {
		first = turn(load(hashed)) ^ _mm256_zextsi128_si256(sum_end(*sum));
		*sum = SUM_ZERO;
	}
#pragma GCC unroll 14
	for (size_t r = 1; r < rounds; r++) {
		round = _mm256_broadcastsi128_si256(key->rounds[r]);
#pragma GCC unroll 8
		for (size_t i = 0; i < vectors; i++)
			out[i] = _mm256_aesenc_epi128(out[i], round);
		if (hashed == NULL || r > BATCH_VECTORS)
			continue;
		/* Compilers are kept from moving rounds and products apart; half of them is best. */
		__asm__("" : "+x"(out[4]), "+x"(out[5]), "+x"(out[6]), "+x"(out[7]));
		if (r < BATCH_VECTORS)
			add_pair(&key->powers, sum, turn(load(hashed + r * VECTOR_BYTES)), BATCH_BLOCKS - 2 * r);
		else
			add_pair(&key->powers, sum, first, BATCH_BLOCKS);
	}
	round = _mm256_broadcastsi128_si256(key->rounds[rounds]);
#pragma GCC unroll 8
	for (size_t i = 0; i < vectors; i++)
		out[i] = _mm256_aesenclast_epi128(out[i], round);
}

VAES_INLINE void
xor_batch(uint8_t *bytes, const __m256i *stream)
{
#pragma GCC unroll 8
	for (size_t i = 0; i < BATCH_VECTORS; i++)
		store(bytes + i * VECTOR_BYTES, load(bytes + i * VECTOR_BYTES) ^ stream[i]);
}

VAES_INLINE void
put_vectors(uint8_t *to, const __m256i *vectors, size_t count)
{
#pragma GCC unroll 8
	for (size_t i = 0; i < count; i++)
		store(to + i * VECTOR_BYTES, vectors[i]);
}

/* Whole batches. What is opened is hashed before it is overwritten; what is sealed, a batch later. */
VAES_INLINE void
crypt_batches(const struct vaes_key *key, struct vaes_run *run, size_t rounds, uint8_t *bytes, size_t len,
	      bool seals)
{
	struct hash_sum sum = run->sum;
	__m128i counter = run->counter;
	__m256i stream[BATCH_VECTORS];
	uint8_t *end = bytes + len;

	if (seals) {
		crypt_vectors(key, rounds, counter, stream, BATCH_VECTORS, NULL, NULL);
		counter = next_counter(counter, BATCH_BLOCKS);
		xor_batch(bytes, stream);
		bytes += BATCH_BYTES;
	}
	for (; bytes < end; bytes += BATCH_BYTES) {
		crypt_vectors(key, rounds, counter, stream, BATCH_VECTORS,
			      seals ? bytes - BATCH_BYTES : bytes, &sum);
		counter = next_counter(counter, BATCH_BLOCKS);
		xor_batch(bytes, stream);
	}
	if (seals)
		hash_blocks(&key->powers, &sum, end - BATCH_BYTES, BATCH_BLOCKS);
	run->sum = sum;
	run->counter = counter;
}

/* The rest of a block, as much of it as there is; returns how much. */
VAES_INLINE size_t
crypt_part(struct vaes_run *run, uint8_t *bytes, size_t len, bool seals)
{
	size_t start = run->part_bytes;
	size_t rest = BLOCK_BYTES - start;
	size_t take = len < rest ? len : rest;
	__m128i ours = between(start, start + take);
	__m128i in = len >= BLOCK_BYTES ? load_block(bytes) : load_part(bytes, len);
	/* Places below 0 give 0. */
	__m128i up = _mm_shuffle_epi8(in, _mm_sub_epi8(places(), _mm_set1_epi8((char)start))) & ours;
	__m128i mixed = (up ^ load_block(run->stream)) & ours;
	/* Places beyond 15 come round to those before start, which are 0. */
	__m128i out = _mm_shuffle_epi8(mixed, _mm_add_epi8(places(), _mm_set1_epi8((char)start)));

	if (len >= BLOCK_BYTES)
		store_block(bytes, out | (in & between(take, BLOCK_BYTES)));
	else
		store_part(bytes, out, take);
	store_block(run->part, load_block(run->part) | (seals ? mixed : up));
	run->part_bytes += (uint32_t)take;
	return take;
}

/* Keystream for len bytes, rounded up to what is made at once. */
VAES_INLINE void
make_stream(const struct vaes_key *key, struct vaes_run *run, size_t rounds, uint8_t *stream, size_t len)
{
	__m256i made[BATCH_VECTORS];

	if (len > BATCH_BYTES / 2) {
		crypt_vectors(key, rounds, run->counter, made, BATCH_VECTORS, NULL, NULL);
		put_vectors(stream, made, BATCH_VECTORS);
	} else if (len > VECTOR_BYTES) {
		crypt_vectors(key, rounds, run->counter, made, BATCH_VECTORS / 2, NULL, NULL);
		put_vectors(stream, made, BATCH_VECTORS / 2);
	} else {
		crypt_vectors(key, rounds, run->counter, made, 1, NULL, NULL);
		put_vectors(stream, made, 1);
	}
	run->counter = next_counter(run->counter, (uint32_t)((len + BLOCK_BYTES - 1) / BLOCK_BYTES));
}

/* The last 1 to 15 bytes of a piece. */
VAES_INLINE void
begin_part(struct vaes_run *run, uint8_t *bytes, size_t len, __m128i stream, bool seals)
{
	__m128i in = load_part(bytes, len);
	__m128i out = (in ^ stream) & between(0, len);

	store_part(bytes, out, len);
	store_block(run->stream, stream);
	store_block(run->part, seals ? out : in);
	run->part_bytes = (uint32_t)len;
}

/* Less than a batch. */
VAES_INLINE void
crypt_tail(const struct vaes_key *key, struct vaes_run *run, size_t rounds, uint8_t *bytes, size_t len,
	   bool seals)
{
	uint8_t *stream = run->tail;
	size_t blocks = len / BLOCK_BYTES;
	size_t at = 0;

	if (blocks > 0 && !seals)
		hash_blocks(&key->powers, &run->sum, bytes, blocks);
	make_stream(key, run, rounds, stream, len);
	for (; len - at >= VECTOR_BYTES; at += VECTOR_BYTES)
		store(bytes + at, load(bytes + at) ^ load(stream + at));
	if (len - at >= BLOCK_BYTES) {
		store_block(bytes + at, load_block(bytes + at) ^ load_block(stream + at));
		at += BLOCK_BYTES;
	}
	if (len > at)
		begin_part(run, bytes + at, len - at, load_block(stream + at), seals);
	if (blocks > 0 && seals)
		hash_blocks(&key->powers, &run->sum, bytes, blocks);
}

/* crypt_batches() of one cipher and direction, not inlined: amid other code compilers find no registers for it. */
typedef void batches_fn(const struct vaes_key *key, struct vaes_run *run, uint8_t *bytes, size_t len);

VAES_INLINE void
crypt_piece(const struct vaes_key *key, struct vaes_run *run, size_t rounds, uint8_t *bytes, size_t len,
	    bool seals, batches_fn *crypt_all)
{
	size_t batches;

	run->text_bytes += len;
	if (run->part_bytes > 0) {
		size_t take = crypt_part(run, bytes, len, seals);

		if (run->part_bytes < BLOCK_BYTES)
			return;
		hash_one(&key->powers, &run->sum, turn_block(load_block(run->part)));
		run->part_bytes = 0;
		bytes += take;
		len -= take;
	}
	batches = len / BATCH_BYTES * BATCH_BYTES;
	if (batches > 0)
		crypt_all(key, run, bytes, batches);
	if (len > batches)
		crypt_tail(key, run, rounds, bytes + batches, len - batches, seals);
}

/* --- keys ------------------------------------------------------------------------------------------------ */

/* FIPS 197 5.2: what the step before adds to each of a round key's words. */
VAES_INLINE __m128i
add_words(__m128i words, __m128i step)
{
	words ^= _mm_slli_si128(words, 4);
	words ^= _mm_slli_si128(words, 8);
	return words ^ step;
}

#define STEP(words, constant) _mm_shuffle_epi32(_mm_aeskeygenassist_si128((words), (constant)), 0xff)
#define STEP_PLAIN(words) _mm_shuffle_epi32(_mm_aeskeygenassist_si128((words), 0), 0xaa)

VAES static void
expand_128(const uint8_t *key, __m128i *rounds)
{
	rounds[0] = load_block(key);
	rounds[1] = add_words(rounds[0], STEP(rounds[0], 0x01));
	rounds[2] = add_words(rounds[1], STEP(rounds[1], 0x02));
	rounds[3] = add_words(rounds[2], STEP(rounds[2], 0x04));
	rounds[4] = add_words(rounds[3], STEP(rounds[3], 0x08));
	rounds[5] = add_words(rounds[4], STEP(rounds[4], 0x10));
	rounds[6] = add_words(rounds[5], STEP(rounds[5], 0x20));
	rounds[7] = add_words(rounds[6], STEP(rounds[6], 0x40));
	rounds[8] = add_words(rounds[7], STEP(rounds[7], 0x80));
	rounds[9] = add_words(rounds[8], STEP(rounds[8], 0x1b));
	rounds[10] = add_words(rounds[9], STEP(rounds[9], 0x36));
}

VAES static void
expand_256(const uint8_t *key, __m128i *rounds)
{
	rounds[0] = load_block(key);
	rounds[1] = load_block(key + BLOCK_BYTES);
	rounds[2] = add_words(rounds[0], STEP(rounds[1], 0x01));
	rounds[3] = add_words(rounds[1], STEP_PLAIN(rounds[2]));
	rounds[4] = add_words(rounds[2], STEP(rounds[3], 0x02));
	rounds[5] = add_words(rounds[3], STEP_PLAIN(rounds[4]));
	rounds[6] = add_words(rounds[4], STEP(rounds[5], 0x04));
	rounds[7] = add_words(rounds[5], STEP_PLAIN(rounds[6]));
	rounds[8] = add_words(rounds[6], STEP(rounds[7], 0x08));
	rounds[9] = add_words(rounds[7], STEP_PLAIN(rounds[8]));
	rounds[10] = add_words(rounds[8], STEP(rounds[9], 0x10));
	rounds[11] = add_words(rounds[9], STEP_PLAIN(rounds[10]));
	rounds[12] = add_words(rounds[10], STEP(rounds[11], 0x20));
	rounds[13] = add_words(rounds[11], STEP_PLAIN(rounds[12]));
	rounds[14] = add_words(rounds[12], STEP(rounds[13], 0x40));
}

VAES_INLINE __m128i
encrypt_block(const struct vaes_key *key, size_t rounds, __m128i block)
{
	block ^= key->rounds[0];
#pragma GCC unroll 14
	for (size_t r = 1; r < rounds; r++)
		block = _mm_aesenc_si128(block, key->rounds[r]);
	return _mm_aesenclast_si128(block, key->rounds[rounds]);
}

/* --- the table ------------------------------------------------------------------------------------------- */

VAES_INLINE void
begin(const struct vaes_key *key, struct vaes_run *run, size_t rounds, const uint8_t *nonce,
      const uint8_t *aad, size_t aad_len)
{
	uint32_t nonce_start;
	uint64_t nonce_end;
	__m128i first;

	memcpy(&nonce_start, nonce, sizeof(nonce_start));
	memcpy(&nonce_end, nonce + sizeof(nonce_start), sizeof(nonce_end));
	first = _mm_set_epi64x((int64_t)(UINT64_C(1) << 56 | nonce_end >> 32),
			       (int64_t)(nonce_start | nonce_end << 32));
	run->mask = encrypt_block(key, rounds, first);
	run->counter = next_counter(turn_block(first), 1);
	run->sum = SUM_ZERO;
	run->text_bytes = 0;
	run->aad_bytes = (uint32_t)aad_len;
	run->part_bytes = 0;
	for (; aad_len >= BLOCK_BYTES; aad_len -= BLOCK_BYTES) {
		hash_one(&key->powers, &run->sum, turn_block(load_block(aad)));
		aad += BLOCK_BYTES;
	}
	if (aad_len > 0)
		hash_one(&key->powers, &run->sum, turn_block(load_part(aad, aad_len)));
}

/* The rest of the text, and both lengths in bits. */
VAES static void
finish(void *engine, const struct aead_key *aead_key, struct aead_run *aead_run, uint8_t tag[AEAD_TAG_BYTES])
{
	const struct vaes_key *key = key_of(aead_key);
	struct vaes_run *run = run_of(aead_run);
	__m128i lengths =
		_mm_set_epi64x((int64_t)(run->aad_bytes * UINT64_C(8)), (int64_t)(run->text_bytes * 8));
	(void)engine;
	if (run->part_bytes > 0)
		hash_two(&key->powers, &run->sum, turn_block(load_block(run->part)), lengths);
	else
		hash_one(&key->powers, &run->sum, lengths);
	store_block(tag, turn_block(sum_end(run->sum)) ^ run->mask);
}

#define GCM_CALLS(BITS) \
	VAES __attribute__((noinline)) static void seal_batches_##BITS( \
		const struct vaes_key *key, struct vaes_run *run, uint8_t *bytes, size_t len) \
	{ \
		crypt_batches(key, run, ROUNDS_##BITS, bytes, len, true); \
	} \
	VAES __attribute__((noinline)) static void open_batches_##BITS( \
		const struct vaes_key *key, struct vaes_run *run, uint8_t *bytes, size_t len) \
	{ \
		crypt_batches(key, run, ROUNDS_##BITS, bytes, len, false); \
	} \
	VAES static void gcm_##BITS##_expand(void *engine, const uint8_t *key, struct aead_key *to) \
	{ \
		(void)engine; \
		expand_##BITS(key, key_in(to)->rounds); \
		powers_init(&key_in(to)->powers, turn_block(encrypt_block(key_in(to), ROUNDS_##BITS, \
								_mm_setzero_si128()))); \
	} \
	VAES static void gcm_##BITS##_begin(void *engine, const struct aead_key *key, struct aead_run *run, \
					    const uint8_t nonce[AEAD_NONCE_BYTES], const uint8_t *aad, \
					    size_t aad_len, bool seals) \
	{ \
		(void)engine; \
		(void)seals; \
		begin(key_of(key), run_of(run), ROUNDS_##BITS, nonce, aad, aad_len); \
	} \
	VAES static void gcm_##BITS##_seal(void *engine, const struct aead_key *key, struct aead_run *run, \
					   uint8_t *bytes, size_t len) \
	{ \
		(void)engine; \
		crypt_piece(key_of(key), run_of(run), ROUNDS_##BITS, bytes, len, true, \
			    seal_batches_##BITS); \
	} \
	VAES static void gcm_##BITS##_open(void *engine, const struct aead_key *key, struct aead_run *run, \
					   uint8_t *bytes, size_t len) \
	{ \
		(void)engine; \
		crypt_piece(key_of(key), run_of(run), ROUNDS_##BITS, bytes, len, false, \
			    open_batches_##BITS); \
	}

GCM_CALLS(128)
GCM_CALLS(256)

bool
aead_vaes_is_here(void)
{
	unsigned int eax;
	unsigned int ebx;
	unsigned int ecx = 0;
	unsigned int edx;

	/* The first says too that the kernel keeps the vectors' upper halves. */
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("aes") &&
	       __builtin_cpu_supports("pclmul") && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 &&
	       (ecx & (CPUID_VAES | CPUID_VPCLMULQDQ)) == (CPUID_VAES | CPUID_VPCLMULQDQ);
}

void
aead_vaes_init(struct aead *aead)
{
	aead->name = "vaes AVX2";
	aead->calls[AEAD_AES_128_GCM] = (struct aead_calls){ gcm_128_expand, gcm_128_begin, gcm_128_seal,
							     gcm_128_open, finish };
	aead->calls[AEAD_AES_256_GCM] = (struct aead_calls){ gcm_256_expand, gcm_256_begin, gcm_256_seal,
							     gcm_256_open, finish };
}

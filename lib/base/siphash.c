/* SipHash-c-d as in the paper, section 2; the constants spell "somepseudorandomlygeneratedbytes". */
#include "base/siphash.h"

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t
rotate(uint64_t x, unsigned int bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void
mix(struct sip *s, unsigned int rounds)
{
	for (unsigned int i = 0; i < rounds; i++) {
		s->v0 += s->v1;
		s->v2 += s->v3;
		s->v1 = rotate(s->v1, 13) ^ s->v0;
		s->v3 = rotate(s->v3, 16) ^ s->v2;
		s->v0 = rotate(s->v0, 32);
		s->v2 += s->v1;
		s->v0 += s->v3;
		s->v1 = rotate(s->v1, 17) ^ s->v2;
		s->v3 = rotate(s->v3, 21) ^ s->v0;
		s->v2 = rotate(s->v2, 32);
	}
}

static inline uint64_t
read_le(const uint8_t *ptr, size_t n)
{
	uint64_t word = 0;

	for (size_t i = 0; i < n; i++)
		word |= (uint64_t)ptr[i] << (8 * i);
	return word;
}

static inline void
absorb(struct sip *s, uint64_t word, unsigned int rounds)
{
	s->v3 ^= word;
	mix(s, rounds);
	s->v0 ^= word;
}

static inline __attribute__((always_inline)) uint64_t
hash(const struct siphash_key *key, const void *data, size_t len, unsigned int c, unsigned int d)
{
	struct sip s = {
		.v0 = key->k0 ^ UINT64_C(0x736f6d6570736575),
		.v1 = key->k1 ^ UINT64_C(0x646f72616e646f6d),
		.v2 = key->k0 ^ UINT64_C(0x6c7967656e657261),
		.v3 = key->k1 ^ UINT64_C(0x7465646279746573),
	};
	const uint8_t *ptr = data;
	size_t left = len;

	for (; left >= 8; left -= 8, ptr += 8)
		absorb(&s, read_le(ptr, 8), c);
	absorb(&s, (uint64_t)len << 56 | read_le(ptr, left), c);
	s.v2 ^= 0xff;
	mix(&s, d);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

struct siphash_key
siphash_key_make(const uint8_t bytes[16])
{
	return (struct siphash_key){ read_le(bytes, 8), read_le(bytes + 8, 8) };
}

uint64_t
siphash_2_4(const struct siphash_key *key, const void *data, size_t len)
{
	return hash(key, data, len, 2, 4);
}

uint64_t
siphash_1_3(const struct siphash_key *key, const void *data, size_t len)
{
	return hash(key, data, len, 1, 3);
}

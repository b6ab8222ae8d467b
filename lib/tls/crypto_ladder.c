/* Montgomery's ladder as RFC 7748 5 writes it down. */
#include "tls/crypto_ladder.h"

#include <string.h>

#include "base/check.h"
#include "tls/crypto_field.h"
#include "tls/crypto_field_adx.h"
#include "tls/crypto_mask.h"

#ifdef __x86_64__
#include <cpuid.h>

#define LEAF 7 /* of CPUID, in ebx */
#define HAS_MULX (1u << 8)
#define HAS_ADX (1u << 19)
#define HIGHEST_STEP 254

bool
ladder_is_here(void)
{
	unsigned int eax, ebx, ecx, edx;

	return __get_cpuid_count(LEAF, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & HAS_MULX) != 0 &&
	       (ebx & HAS_ADX) != 0;
}

/* A point of two, by x / z. */
struct rung {
	struct field x;
	struct field z;
};

static inline void
swap(struct field *a, struct field *b, uint64_t mask)
{
	for (int i = 0; i < FIELD_LIMBS; i++) {
		/* Hidden, so that no compiler takes the limbs for vectors (crypto_field.h). */
		uint64_t differs = mask_hide((a->limbs[i] ^ b->limbs[i]) & mask);

		a->limbs[i] ^= differs;
		b->limbs[i] ^= differs;
	}
}

/* two becomes twice itself; three, which is one more of what base is the u of, the sum of both. */
static inline void
step(struct rung *two, struct rung *three, const struct field *base)
{
	struct field a, aa, b, bb, e, c, d, da, cb;

	field_add(&a, &two->x, &two->z);
	field_subtract(&b, &two->x, &two->z);
	field_add(&c, &three->x, &three->z);
	field_subtract(&d, &three->x, &three->z);
	field_adx_multiply(&da, &d, &a);
	field_adx_multiply(&cb, &c, &b);
	field_adx_square(&bb, &b);
	field_adx_square(&aa, &a);
	field_add(&a, &da, &cb);
	field_subtract(&b, &da, &cb);
	field_subtract(&e, &aa, &bb);
	field_adx_square(&three->x, &a);
	field_adx_square(&b, &b);
	field_adx_multiply_small(&d, &e, &bb);
	field_adx_multiply(&two->x, &aa, &bb);
	field_adx_multiply(&three->z, base, &b);
	field_adx_multiply(&two->z, &e, &d);
}

static void
climb(struct rung *two, const uint8_t scalar[CRYPTO_X25519_BYTES], const struct field *base)
{
	struct rung three = { *base, { { 1 } } };
	uint64_t before = 0;

	*two = (struct rung){ { { 1 } }, { { 0 } } };
	for (int i = HIGHEST_STEP; i >= 0; i--) {
		uint64_t bit = scalar[i / 8] >> (i % 8) & 1;
		uint64_t mask = mask_of_odd(bit ^ before);

		swap(&two->x, &three.x, mask);
		swap(&two->z, &three.z, mask);
		before = bit;
		step(two, &three, base);
	}
	/* The lowest bits are zero, so nothing is left to be swapped. */
	explicit_bzero(&three, sizeof(three));
}

void
ladder_multiply(const uint8_t scalar[CRYPTO_X25519_BYTES], const uint8_t u[CRYPTO_X25519_BYTES],
		uint8_t out[CRYPTO_X25519_BYTES])
{
	uint8_t clamped[CRYPTO_X25519_BYTES];
	struct field base;
	struct rung two;

	memcpy(clamped, scalar, sizeof(clamped));
	clamped[0] &= 248;
	clamped[CRYPTO_X25519_BYTES - 1] |= 64; /* the highest bit is above HIGHEST_STEP */
	memcpy(base.limbs, u, sizeof(base.limbs));
	base.limbs[FIELD_LIMBS - 1] &= UINT64_MAX >> 1;
	climb(&two, clamped, &base);
	field_invert(&two.z, &two.z);
	field_adx_multiply(&two.x, &two.x, &two.z);
	field_reduce(&two.x, &two.x);
	memcpy(out, two.x.limbs, CRYPTO_X25519_BYTES);
	explicit_bzero(clamped, sizeof(clamped));
	explicit_bzero(&two, sizeof(two));
}

#else

bool
ladder_is_here(void)
{
	return false;
}

void
ladder_multiply(const uint8_t scalar[CRYPTO_X25519_BYTES], const uint8_t u[CRYPTO_X25519_BYTES],
		uint8_t out[CRYPTO_X25519_BYTES])
{
	(void)scalar;
	(void)u;
	(void)out;
	CHECK(false);
}
#endif

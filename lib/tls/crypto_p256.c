/* Montgomery's multiplication (1985) on four limbs, R = 2^256. */
#include "tls/crypto_p256.h"

#include <string.h>

#include "tls/crypto_inverse.h"

#define LIMBS 4

typedef unsigned __int128 wide;

static const uint64_t order[LIMBS] = { 0xf3b9cac2fc632551, 0xbce6faada7179e84, 0xffffffffffffffff,
				       0xffffffff00000000 };
#define ORDER_INVERSE UINT64_C(0xccd1c8aaee00bc4f) /* -1/n modulo 2^64 */
static const struct inverse_modulus order_62 = { { 0x33b9cac2fc632551, 0x339beab69c5e7a13, 0x3ffffffffffffffb,
						   0x3fffffc00000003f, 0xff },
						 0x332e375511ff43b1 };
/* R^2 modulo n. */
static const struct p256_scalar r_squared = { { 0x83244c95be79eea2, 0x4699799c49bd6fa6, 0x2845b2392b6bec59,
						0x66e12d94f3d95620 } };

/* a - b - *borrow, and whether that is below zero. */
static inline uint64_t
subtract(uint64_t a, uint64_t b, uint64_t *borrow)
{
	wide difference = (wide)a - b - *borrow;

	*borrow = (uint64_t)(difference >> 64) & 1;
	return (uint64_t)difference;
}

/* a - n where that is not negative or carry is set, else a. */
static struct p256_scalar
reduce(const uint64_t a[LIMBS], uint64_t carry)
{
	struct p256_scalar result;
	uint64_t less[LIMBS];
	uint64_t borrow = 0;
	uint64_t keep;

	less[0] = subtract(a[0], order[0], &borrow);
	less[1] = subtract(a[1], order[1], &borrow);
	less[2] = subtract(a[2], order[2], &borrow);
	less[3] = subtract(a[3], order[3], &borrow);
	keep = 0 - (borrow & (carry ^ 1)); /* all ones: a was smaller */
	for (int i = 0; i < LIMBS; i++)
		result.limbs[i] = (a[i] & keep) | (less[i] & ~keep);
	return result;
}

static struct p256_scalar
add(struct p256_scalar a, struct p256_scalar b)
{
	uint64_t sum[LIMBS];
	uint64_t carry = 0;

	for (int i = 0; i < LIMBS; i++) {
		wide limb = (wide)a.limbs[i] + b.limbs[i] + carry;

		sum[i] = (uint64_t)limb;
		carry = (uint64_t)(limb >> 64);
	}
	return reduce(sum, carry);
}

/* *high and the result: a * b + c + *high. */
static inline uint64_t
multiply_add(uint64_t a, uint64_t b, uint64_t c, uint64_t *high)
{
	wide limb = (wide)a * b + c + *high;

	*high = (uint64_t)(limb >> 64);
	return (uint64_t)limb;
}

/* a * b / R, row by row. Written out: compilers do not unroll it, and it is three times slower in loops. */
static struct p256_scalar
multiply(struct p256_scalar a, struct p256_scalar b)
{
	uint64_t t0 = 0;
	uint64_t t1 = 0;
	uint64_t t2 = 0;
	uint64_t t3 = 0;
	uint64_t t4 = 0;

	for (int i = 0; i < LIMBS; i++) {
		uint64_t high = 0;
		uint64_t top = 0;
		uint64_t factor;

		t0 = multiply_add(a.limbs[0], b.limbs[i], t0, &high);
		t1 = multiply_add(a.limbs[1], b.limbs[i], t1, &high);
		t2 = multiply_add(a.limbs[2], b.limbs[i], t2, &high);
		t3 = multiply_add(a.limbs[3], b.limbs[i], t3, &high);
		t4 = multiply_add(1, t4, high, &top);

		factor = t0 * ORDER_INVERSE;
		high = 0;
		(void)multiply_add(factor, order[0], t0, &high);
		t0 = multiply_add(factor, order[1], t1, &high);
		t1 = multiply_add(factor, order[2], t2, &high);
		t2 = multiply_add(factor, order[3], t3, &high);
		t3 = multiply_add(1, t4, 0, &high);
		t4 = top + high;
	}
	return reduce((const uint64_t[LIMBS]){ t0, t1, t2, t3 }, t4);
}

struct p256_scalar
p256_scalar_read(const uint8_t bytes[P256_BYTES])
{
	uint64_t limbs[LIMBS] = { 0 };

	for (int i = 0; i < P256_BYTES; i++)
		limbs[LIMBS - 1 - i / 8] = limbs[LIMBS - 1 - i / 8] << 8 | bytes[i];
	return reduce(limbs, 0);
}

void
p256_scalar_write(struct p256_scalar scalar, uint8_t bytes[P256_BYTES])
{
	for (int i = 0; i < P256_BYTES; i++)
		bytes[i] = (uint8_t)(scalar.limbs[LIMBS - 1 - i / 8] >> (56 - 8 * (i % 8)));
}

struct p256_scalar
p256_scalar_sign(struct p256_scalar e, struct p256_scalar r, struct p256_scalar d, struct p256_scalar k)
{
	/* A factor in Montgomery's form, and what comes out is plain. */
	struct p256_scalar sum = add(e, multiply(multiply(r, r_squared), d));
	struct p256_scalar inverse;
	struct p256_scalar s;

	inverse_of(&order_62, k.limbs, inverse.limbs);
	s = multiply(multiply(sum, r_squared), inverse);
	explicit_bzero(&sum, sizeof(sum));
	explicit_bzero(&inverse, sizeof(inverse));
	return s;
}

/* Montgomery's multiplication (1985) on four limbs, R = 2^256: of signatures modulo n, of points modulo p. */
#include "tls/crypto_p256.h"

#include <endian.h>
#include <string.h>

#include "tls/crypto_inverse.h"

#define LIMBS 4

typedef unsigned __int128 wide;

struct modulus {
	uint64_t limbs[LIMBS];
	uint64_t inverse; /* -1 / it modulo 2^64 */
	struct p256_number r_squared; /* R^2 modulo it */
	struct inverse_modulus in_62;
};

/* n. */
static const struct modulus order = {
	{ 0xf3b9cac2fc632551, 0xbce6faada7179e84, 0xffffffffffffffff, 0xffffffff00000000 },
	0xccd1c8aaee00bc4f,
	{ { 0x83244c95be79eea2, 0x4699799c49bd6fa6, 0x2845b2392b6bec59, 0x66e12d94f3d95620 } },
	{ { 0x33b9cac2fc632551, 0x339beab69c5e7a13, 0x3ffffffffffffffb, 0x3fffffc00000003f, 0xff },
	  0x332e375511ff43b1 }
};
/* p. */
static const struct modulus prime = {
	{ 0xffffffffffffffff, 0xffffffff, 0, 0xffffffff00000001 },
	1,
	{ { 3, 0xfffffffbffffffff, 0xfffffffffffffffe, 0x4fffffffd } },
	{ { 0x3fffffffffffffff, 0x3ffffffff, 0, 0x3fffffc000000040, 0xff }, 0x3fffffffffffffff }
};

/* a - b - *borrow, and whether that is below zero. */
static inline uint64_t
subtract(uint64_t a, uint64_t b, uint64_t *borrow)
{
	wide difference = (wide)a - b - *borrow;

	*borrow = (uint64_t)(difference >> 64) & 1;
	return (uint64_t)difference;
}

/* a - m where that is not negative or carry is set, else a. */
static inline struct p256_number
reduce(const struct modulus *m, const uint64_t a[LIMBS], uint64_t carry)
{
	struct p256_number result;
	uint64_t less[LIMBS];
	uint64_t borrow = 0;
	uint64_t keep;

	less[0] = subtract(a[0], m->limbs[0], &borrow);
	less[1] = subtract(a[1], m->limbs[1], &borrow);
	less[2] = subtract(a[2], m->limbs[2], &borrow);
	less[3] = subtract(a[3], m->limbs[3], &borrow);
	keep = 0 - (borrow & (carry ^ 1)); /* all ones: a was smaller */
	for (int i = 0; i < LIMBS; i++)
		result.limbs[i] = (a[i] & keep) | (less[i] & ~keep);
	return result;
}

static inline struct p256_number
add(const struct modulus *m, struct p256_number a, struct p256_number b)
{
	uint64_t sum[LIMBS];
	uint64_t carry = 0;

	for (int i = 0; i < LIMBS; i++) {
		wide limb = (wide)a.limbs[i] + b.limbs[i] + carry;

		sum[i] = (uint64_t)limb;
		carry = (uint64_t)(limb >> 64);
	}
	return reduce(m, sum, carry);
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
static inline struct p256_number
multiply(const struct modulus *m, struct p256_number a, struct p256_number b)
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

		factor = t0 * m->inverse;
		high = 0;
		(void)multiply_add(factor, m->limbs[0], t0, &high);
		t0 = multiply_add(factor, m->limbs[1], t1, &high);
		t1 = multiply_add(factor, m->limbs[2], t2, &high);
		t2 = multiply_add(factor, m->limbs[3], t3, &high);
		t3 = multiply_add(1, t4, 0, &high);
		t4 = top + high;
	}
	return reduce(m, (const uint64_t[LIMBS]){ t0, t1, t2, t3 }, t4);
}

static struct p256_number
read_number(const struct modulus *m, const uint8_t bytes[P256_BYTES])
{
	uint64_t limbs[LIMBS];

	memcpy(limbs, bytes, sizeof(limbs));
	return reduce(m,
		      (const uint64_t[LIMBS]){ be64toh(limbs[3]), be64toh(limbs[2]), be64toh(limbs[1]),
					       be64toh(limbs[0]) },
		      0);
}

struct p256_number
p256_scalar_read(const uint8_t bytes[P256_BYTES])
{
	return read_number(&order, bytes);
}

void
p256_number_write(struct p256_number number, uint8_t bytes[P256_BYTES])
{
	for (int i = 0; i < LIMBS; i++)
		number.limbs[i] = htobe64(number.limbs[i]);
	for (int i = 0; i < LIMBS; i++)
		memcpy(bytes + 8 * i, &number.limbs[LIMBS - 1 - i], 8);
}

struct p256_number
p256_scalar_sign(struct p256_number e, struct p256_number r, struct p256_number d, struct p256_number k)
{
	/* A factor in Montgomery's form, and what comes out is plain. */
	struct p256_number sum = add(&order, e, multiply(&order, multiply(&order, r, order.r_squared), d));
	struct p256_number inverse;
	struct p256_number s;

	inverse_of(&order.in_62, k.limbs, inverse.limbs);
	s = multiply(&order, multiply(&order, sum, order.r_squared), inverse);
	explicit_bzero(&sum, sizeof(sum));
	explicit_bzero(&inverse, sizeof(inverse));
	return s;
}

bool
p256_find_affine(const uint8_t jacobian[3 * P256_BYTES], uint8_t point[2 * P256_BYTES])
{
	struct p256_number x = read_number(&prime, jacobian);
	struct p256_number y = read_number(&prime, jacobian + P256_BYTES);
	struct p256_number z = read_number(&prime, jacobian + 2 * (size_t)P256_BYTES);
	uint64_t any = z.limbs[0] | z.limbs[1] | z.limbs[2] | z.limbs[3];
	struct p256_number power; /* of 1 / z, in Montgomery's form */

	inverse_of(&prime.in_62, z.limbs, z.limbs);
	z = multiply(&prime, z, prime.r_squared);
	power = multiply(&prime, z, z);
	p256_number_write(multiply(&prime, x, power), point);
	power = multiply(&prime, power, z);
	p256_number_write(multiply(&prime, y, power), point + P256_BYTES);
	explicit_bzero(&x, sizeof(x));
	explicit_bzero(&y, sizeof(y));
	explicit_bzero(&z, sizeof(z));
	explicit_bzero(&power, sizeof(power));
	return any != 0;
}

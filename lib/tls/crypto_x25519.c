/*
 * On edwards25519, which is the same curve in other coordinates (RFC 7748 4.1): there points are added without
 * exceptions, and multiples of the base point that are known beforehand do most of the work. The scalar is cut
 * into 64 digits from -8 to 8; a point of the table for each, and four doublings between the odd ones and the
 * even ones (Bernstein et al., "High-speed high-security signatures", 2011).
 *
 * Numbers modulo p = 2^255 - 19 are five limbs of 51 bits; a limb of a product is below 2^52, a limb of a factor
 * must be below 2^54. In between, nothing is carried: the largest is F of twice(), below 1.8 * 2^53.
 */
#include "tls/crypto_x25519.h"

#include <stddef.h>
#include <string.h>

#include "tls/crypto_inverse.h"
#include "tls/crypto_mask.h"

#define LIMBS 5
#define LIMB_BITS 51
#define LIMB_MASK ((UINT64_C(1) << LIMB_BITS) - 1)
#define DIGITS 64
#define MULTIPLES 8

typedef unsigned __int128 wide;

struct field {
	uint64_t limbs[LIMBS];
};

/* x = X / Z, y = Y / Z, x y = T / Z. */
struct point {
	struct field x;
	struct field y;
	struct field z;
	struct field t;
};

/* Of an affine point: y + x, y - x, 2 d x y, where d is the curve's; each in limbs of 64 bits. */
enum { SUM, DIFFERENCE, PRODUCT, PARTS };
#define ENTRY_WORDS (PARTS * INVERSE_LIMBS)

/* The same, to calculate with. */
struct known {
	struct field sum;
	struct field difference;
	struct field product;
};

static const uint64_t table[DIGITS / 2][MULTIPLES][ENTRY_WORDS] = {
#include "crypto_x25519_table.h"
};

static const struct inverse_modulus prime = { { 0x3fffffffffffffed, 0x3fffffffffffffff, 0x3fffffffffffffff,
						0x3fffffffffffffff, 0x7f },
					      0x39435e50d79435e5 };

static inline struct field
add(struct field a, struct field b)
{
	for (int i = 0; i < LIMBS; i++)
		a.limbs[i] += b.limbs[i];
	return a;
}

/* b below 2^53 in each limb: 4 p is above it. */
static inline struct field
subtract(struct field a, struct field b)
{
	a.limbs[0] += 4 * (LIMB_MASK - 18) - b.limbs[0];
	for (int i = 1; i < LIMBS; i++)
		a.limbs[i] += 4 * LIMB_MASK - b.limbs[i];
	return a;
}

/* 2^255 is 19, so what is carried out above comes in below. */
static inline struct field
multiply(struct field f, struct field g)
{
	const uint64_t *a = f.limbs;
	const uint64_t *b = g.limbs;
	uint64_t b1 = 19 * b[1];
	uint64_t b2 = 19 * b[2];
	uint64_t b3 = 19 * b[3];
	uint64_t b4 = 19 * b[4];
	wide t0 = (wide)a[0] * b[0] + (wide)a[1] * b4 + (wide)a[2] * b3 +
		  (wide)a[3] * b2 + (wide)a[4] * b1;
	wide t1 = (wide)a[0] * b[1] + (wide)a[1] * b[0] + (wide)a[2] * b4 +
		  (wide)a[3] * b3 + (wide)a[4] * b2;
	wide t2 = (wide)a[0] * b[2] + (wide)a[1] * b[1] + (wide)a[2] * b[0] +
		  (wide)a[3] * b4 + (wide)a[4] * b3;
	wide t3 = (wide)a[0] * b[3] + (wide)a[1] * b[2] + (wide)a[2] * b[1] +
		  (wide)a[3] * b[0] + (wide)a[4] * b4;
	wide t4 = (wide)a[0] * b[4] + (wide)a[1] * b[3] + (wide)a[2] * b[2] +
		  (wide)a[3] * b[1] + (wide)a[4] * b[0];
	wide top;

	t1 += (uint64_t)(t0 >> LIMB_BITS);
	t2 += (uint64_t)(t1 >> LIMB_BITS);
	t3 += (uint64_t)(t2 >> LIMB_BITS);
	t4 += (uint64_t)(t3 >> LIMB_BITS);
	top = ((uint64_t)t0 & LIMB_MASK) + (wide)19 * (uint64_t)(t4 >> LIMB_BITS);
	return (struct field){ { (uint64_t)top & LIMB_MASK,
				 ((uint64_t)t1 & LIMB_MASK) + (uint64_t)(top >> LIMB_BITS),
				 (uint64_t)t2 & LIMB_MASK, (uint64_t)t3 & LIMB_MASK,
				 (uint64_t)t4 & LIMB_MASK } };
}

/* From limbs of 64 bits, below 2^255. */
static inline struct field
unpack(const uint64_t x[INVERSE_LIMBS])
{
	return (struct field){ { x[0] & LIMB_MASK, (x[0] >> 51 | x[1] << 13) & LIMB_MASK,
				 (x[1] >> 38 | x[2] << 26) & LIMB_MASK, (x[2] >> 25 | x[3] << 39) & LIMB_MASK,
				 x[3] >> 12 } };
}

static void
carry(struct field *a)
{
	for (int i = 1; i < LIMBS; i++) {
		a->limbs[i] += a->limbs[i - 1] >> LIMB_BITS;
		a->limbs[i - 1] &= LIMB_MASK;
	}
}

/* Below p, to limbs of 64 bits. */
static void
pack(struct field a, uint64_t x[INVERSE_LIMBS])
{
	uint64_t *l = a.limbs;

	/* To below 2^255 + 152; then 19 more carry out of it if it was p or above. */
	carry(&a);
	l[0] += 19 * (l[4] >> LIMB_BITS);
	l[4] &= LIMB_MASK;
	carry(&a);
	l[0] += 19;
	carry(&a);
	l[0] += 19 * (l[4] >> LIMB_BITS);
	l[4] &= LIMB_MASK;
	/* 19 was added, and here it goes again: 2^255 - 19 more, and what carries out is dropped. */
	l[0] += LIMB_MASK - 18;
	for (int i = 1; i < LIMBS; i++)
		l[i] += LIMB_MASK;
	carry(&a);
	l[4] &= LIMB_MASK;
	x[0] = l[0] | l[1] << 51;
	x[1] = l[1] >> 13 | l[2] << 38;
	x[2] = l[2] >> 26 | l[3] << 25;
	x[3] = l[3] >> 39 | l[4] << 12;
}

/* From E, F, G and H of the formulas. */
static inline struct point
join(struct field e, struct field f, struct field g, struct field h)
{
	return (struct point){ multiply(e, f), multiply(g, h), multiply(f, g), multiply(e, h) };
}

/* RFC 8032 5.1.4; the sums, the difference and the product of the second point are known. */
static struct point
add_known(struct point p, const struct known *known)
{
	struct field a = multiply(subtract(p.y, p.x), known->difference);
	struct field b = multiply(add(p.y, p.x), known->sum);
	struct field c = multiply(p.t, known->product);
	struct field d = add(p.z, p.z);

	return join(subtract(b, a), subtract(d, c), add(d, c), add(b, a));
}

static struct point
twice(struct point p)
{
	struct field a = multiply(p.x, p.x);
	struct field b = multiply(p.y, p.y);
	struct field c = multiply(p.z, p.z);
	struct field sum = add(p.x, p.y);
	struct field h = add(a, b);
	struct field g = subtract(a, b);

	return join(subtract(h, multiply(sum, sum)), add(add(c, c), g), g, h);
}

static inline void
choose(struct field *a, const struct field *other, uint64_t mask)
{
	for (int i = 0; i < LIMBS; i++)
		a->limbs[i] ^= (a->limbs[i] ^ other->limbs[i]) & mask;
}

/* digit 256^i times the base point. */
static struct known
look_up(unsigned int i, int64_t digit)
{
	static const struct field zero;
	uint64_t negative = mask_of_negative(digit);
	uint64_t wanted = ((uint64_t)digit ^ negative) - negative;
	uint64_t is_zero = mask_of_equal(wanted, 0);
	uint64_t found[ENTRY_WORDS] = { 0 };
	struct known known;
	struct field other;

	/* Of zero: (0, 1). */
	found[SUM * INVERSE_LIMBS] = is_zero & 1;
	found[DIFFERENCE * INVERSE_LIMBS] = is_zero & 1;
	for (unsigned int j = 0; j < MULTIPLES; j++) {
		uint64_t mask = mask_of_equal(wanted, j + 1);

#pragma GCC unroll 12 /* ENTRY_WORDS; else gcc 12 makes no vectors of it */
		for (unsigned int word = 0; word < ENTRY_WORDS; word++)
			found[word] |= table[i][j][word] & mask;
	}
	known.sum = unpack(found + SUM * INVERSE_LIMBS);
	known.difference = unpack(found + DIFFERENCE * INVERSE_LIMBS);
	known.product = unpack(found + PRODUCT * INVERSE_LIMBS);
	/* -(x, y) is (-x, y). */
	other = known.sum;
	choose(&known.sum, &known.difference, negative);
	choose(&known.difference, &other, negative);
	other = subtract(zero, known.product);
	choose(&known.product, &other, negative);
	return known;
}

/* The scalar is the sum of digit 16^i; all are from -8 to 7, the last one from 4 to 8. */
static void
cut(const uint8_t scalar[CRYPTO_X25519_BYTES], int64_t digits[DIGITS])
{
	int64_t over = 0;

	for (int i = 0; i < DIGITS; i++)
		digits[i] = scalar[i / 2] >> (i % 2 * 4) & 15;
	digits[0] &= 8;
	digits[DIGITS - 1] = (digits[DIGITS - 1] & 7) | 4;
	for (int i = 0; i < DIGITS - 1; i++) {
		digits[i] += over;
		over = (digits[i] + 8) >> 4;
		digits[i] -= over * 16;
	}
	digits[DIGITS - 1] += over;
}

static struct point
multiply_base(const int64_t digits[DIGITS])
{
	static const struct point neutral = { .y = { { 1 } }, .z = { { 1 } } };
	struct point sum = neutral;
	struct known known;

	for (unsigned int i = 0; i < DIGITS / 2; i++) {
		known = look_up(i, digits[2 * i + 1]);
		sum = add_known(sum, &known);
	}
	for (int i = 0; i < 4; i++)
		sum = twice(sum);
	for (unsigned int i = 0; i < DIGITS / 2; i++) {
		known = look_up(i, digits[2 * i]);
		sum = add_known(sum, &known);
	}
	explicit_bzero(&known, sizeof(known));
	return sum;
}

void
x25519_public(const uint8_t scalar[CRYPTO_X25519_BYTES], uint8_t out[CRYPTO_X25519_BYTES])
{
	int64_t digits[DIGITS];
	uint64_t limbs[INVERSE_LIMBS];
	struct point point;

	cut(scalar, digits);
	point = multiply_base(digits);
	/* u = (1 + y) / (1 - y). The point is not the neutral one: the scalar is a multiple of 8 below 8 times its
	 * order, and not zero. */
	pack(subtract(point.z, point.y), limbs);
	inverse_of(&prime, limbs, limbs);
	pack(multiply(add(point.z, point.y), unpack(limbs)), limbs);
	for (int i = 0; i < CRYPTO_X25519_BYTES; i++)
		out[i] = (uint8_t)(limbs[i / 8] >> (i % 8 * 8));
	explicit_bzero(digits, sizeof(digits));
	explicit_bzero(&point, sizeof(point));
}

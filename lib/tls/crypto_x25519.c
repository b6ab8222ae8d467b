/*
 * On edwards25519, which is the same curve in other coordinates (RFC 7748 4.1): there points are added without
 * exceptions, and multiples of the base point that are known beforehand do most of the work. The scalar is cut
 * into 64 digits from -8 to 8; a point of the table for each, and four doublings between the odd ones and the
 * even ones (Bernstein et al., "High-speed high-security signatures", 2011).
 */
#include "tls/crypto_x25519.h"

#include <stddef.h>
#include <string.h>

#include "tls/crypto_field.h"
#include "tls/crypto_mask.h"

#define DIGITS 64
#define MULTIPLES 8

/* x = X / Z, y = Y / Z, x y = T / Z. */
struct point {
	struct field x;
	struct field y;
	struct field z;
	struct field t;
};

/* Of an affine point: y + x, y - x, 2 d x y, where d is the curve's. */
enum { SUM, DIFFERENCE, PRODUCT, PARTS };
#define ENTRY_WORDS (PARTS * FIELD_LIMBS)

static const uint64_t table[DIGITS / 2][MULTIPLES][ENTRY_WORDS] = {
#include "crypto_x25519_table.h"
};

/* From E, F, G and H of the formulas. */
static void
join(struct point *p, const struct field *e, const struct field *f, const struct field *g, const struct field *h)
{
	field_multiply(&p->x, e, f);
	field_multiply(&p->y, g, h);
	field_multiply(&p->z, f, g);
	field_multiply(&p->t, e, h);
}

/* RFC 8032 5.1.4; the sum, the difference and the product of the second point are known. */
static void
add_known(struct point *p, const struct field known[PARTS])
{
	struct field a, b, c, d, e, f, g, h;

	field_subtract(&a, &p->y, &p->x);
	field_multiply(&a, &a, &known[DIFFERENCE]);
	field_add(&b, &p->y, &p->x);
	field_multiply(&b, &b, &known[SUM]);
	field_multiply(&c, &p->t, &known[PRODUCT]);
	field_add(&d, &p->z, &p->z);
	field_subtract(&e, &b, &a);
	field_subtract(&f, &d, &c);
	field_add(&g, &d, &c);
	field_add(&h, &b, &a);
	join(p, &e, &f, &g, &h);
}

static void
twice(struct point *p)
{
	struct field a, b, c, e, f, g, h;

	field_multiply(&a, &p->x, &p->x);
	field_multiply(&b, &p->y, &p->y);
	field_multiply(&c, &p->z, &p->z);
	field_add(&c, &c, &c);
	field_add(&h, &a, &b);
	field_add(&e, &p->x, &p->y);
	field_multiply(&e, &e, &e);
	field_subtract(&e, &h, &e);
	field_subtract(&g, &a, &b);
	field_add(&f, &c, &g);
	join(p, &e, &f, &g, &h);
}

/* digit 256^i times the base point. */
static void
look_up(unsigned int i, int64_t digit, struct field known[PARTS])
{
	static const struct field zero;
	uint64_t negative = mask_of_negative(digit);
	uint64_t wanted = ((uint64_t)digit ^ negative) - negative;
	uint64_t is_zero = mask_of_equal(wanted, 0);
	uint64_t found[ENTRY_WORDS] = { 0 };
	struct field minus;

	/* Of zero: (0, 1). */
	found[SUM * FIELD_LIMBS] = is_zero & 1;
	found[DIFFERENCE * FIELD_LIMBS] = is_zero & 1;
	for (unsigned int j = 0; j < MULTIPLES; j++) {
		uint64_t mask = mask_of_equal(wanted, j + 1);

#pragma GCC unroll 12 /* ENTRY_WORDS; else gcc 12 makes no vectors of it */
		for (unsigned int word = 0; word < ENTRY_WORDS; word++)
			found[word] |= table[i][j][word] & mask;
	}
	/* -(x, y) is (-x, y). */
	memcpy(minus.limbs, found + PRODUCT * FIELD_LIMBS, sizeof(minus.limbs));
	field_subtract(&minus, &zero, &minus);
	for (unsigned int limb = 0; limb < FIELD_LIMBS; limb++) {
		uint64_t sum = found[SUM * FIELD_LIMBS + limb];
		uint64_t difference = found[DIFFERENCE * FIELD_LIMBS + limb];
		uint64_t product = found[PRODUCT * FIELD_LIMBS + limb];

		known[SUM].limbs[limb] = sum ^ ((sum ^ difference) & negative);
		known[DIFFERENCE].limbs[limb] = difference ^ ((sum ^ difference) & negative);
		known[PRODUCT].limbs[limb] = product ^ ((product ^ minus.limbs[limb]) & negative);
	}
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

static void
multiply_base(const int64_t digits[DIGITS], struct point *sum)
{
	static const struct point neutral = { .y = { { 1 } }, .z = { { 1 } } };
	struct field known[PARTS];

	*sum = neutral;
	for (unsigned int i = 0; i < DIGITS / 2; i++) {
		look_up(i, digits[2 * i + 1], known);
		add_known(sum, known);
	}
	for (int i = 0; i < 4; i++)
		twice(sum);
	for (unsigned int i = 0; i < DIGITS / 2; i++) {
		look_up(i, digits[2 * i], known);
		add_known(sum, known);
	}
	explicit_bzero(known, sizeof(known));
}

void
x25519_public(const uint8_t scalar[CRYPTO_X25519_BYTES], uint8_t out[CRYPTO_X25519_BYTES])
{
	int64_t digits[DIGITS];
	struct point point;
	struct field over;
	struct field under;

	cut(scalar, digits);
	multiply_base(digits, &point);
	/* u = (1 + y) / (1 - y). The point is not the neutral one: the scalar is a multiple of 8 below 8 times its
	 * order, and not zero. */
	field_subtract(&under, &point.z, &point.y);
	field_invert(&under, &under);
	field_add(&over, &point.z, &point.y);
	field_multiply(&over, &over, &under);
	field_reduce(&over, &over);
	for (int i = 0; i < CRYPTO_X25519_BYTES; i++)
		out[i] = (uint8_t)(over.limbs[i / 8] >> (i % 8 * 8));
	explicit_bzero(digits, sizeof(digits));
	explicit_bzero(&point, sizeof(point));
}

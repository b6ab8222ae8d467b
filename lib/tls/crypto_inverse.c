/*
 * f begins as the modulus and g as x; each step takes g towards zero and keeps their greatest common divisor in
 * f: 590 steps are enough for 256 bits. 59 of them need the lowest 64 bits of both alone, and make a matrix
 * which is then applied to all of f and g, and to d and e, of which f = d x and g = e x hold modulo the modulus.
 */
#include "tls/crypto_inverse.h"

#include <string.h>

#include "tls/crypto_mask.h"

#define LIMBS 5
#define LIMB_BITS 62
#define LIMB_MASK (UINT64_MAX >> 2)
#define ROUNDS 10
#define STEPS 59 /* of a round */

typedef __int128 wide;

struct number {
	int64_t limbs[LIMBS]; /* of 62 bits; the highest has the sign */
};

/* 2^62 times what the steps of a round do: f becomes (u f + v g) / 2^62, g becomes (q f + r g) / 2^62. */
struct matrix {
	int64_t u;
	int64_t v;
	int64_t q;
	int64_t r;
};

/* zeta is -(delta + 1/2) of the paper. The matrix begins as 8, since 59 steps are three less than its bits. */
static int64_t
make_matrix(int64_t zeta, uint64_t f, uint64_t g, struct matrix *matrix)
{
	uint64_t u = 1u << (LIMB_BITS - STEPS);
	uint64_t v = 0;
	uint64_t q = 0;
	uint64_t r = u;

	for (int step = 0; step < STEPS; step++) {
		uint64_t negative = mask_of_negative(zeta);
		uint64_t odd = mask_of_odd(g);

		/* Where g is odd, f or -f is added to it, so that it becomes even. */
		g += ((f ^ negative) - negative) & odd;
		q += ((u ^ negative) - negative) & odd;
		r += ((v ^ negative) - negative) & odd;
		/* Where zeta was negative, too, they change places. */
		negative &= odd;
		zeta = (int64_t)((uint64_t)zeta ^ negative) - 1;
		f += g & negative;
		u += q & negative;
		v += r & negative;
		g >>= 1;
		u <<= 1;
		v <<= 1;
	}
	*matrix = (struct matrix){ (int64_t)u, (int64_t)v, (int64_t)q, (int64_t)r };
	return zeta;
}

/* Exact: the matrix is such that the lowest 62 bits are zero. */
static void
apply(const struct matrix *m, struct number *f, struct number *g)
{
	wide cf = (wide)m->u * f->limbs[0] + (wide)m->v * g->limbs[0];
	wide cg = (wide)m->q * f->limbs[0] + (wide)m->r * g->limbs[0];

	for (int i = 1; i < LIMBS; i++) {
		cf = (cf >> LIMB_BITS) + (wide)m->u * f->limbs[i] + (wide)m->v * g->limbs[i];
		cg = (cg >> LIMB_BITS) + (wide)m->q * f->limbs[i] + (wide)m->r * g->limbs[i];
		f->limbs[i - 1] = (int64_t)((uint64_t)cf & LIMB_MASK);
		g->limbs[i - 1] = (int64_t)((uint64_t)cg & LIMB_MASK);
	}
	f->limbs[LIMBS - 1] = (int64_t)(cf >> LIMB_BITS);
	g->limbs[LIMBS - 1] = (int64_t)(cg >> LIMB_BITS);
}

/* The multiple of the modulus that makes the lowest 62 bits of low zero, up from a first one. */
static int64_t
multiple(const struct inverse_modulus *modulus, wide low, int64_t first)
{
	return first - (int64_t)((modulus->inverse * (uint64_t)low + (uint64_t)first) & LIMB_MASK);
}

/* The same modulo the modulus; both stay between -2 times it and it. */
static void
apply_modulo(const struct matrix *m, struct number *d, struct number *e, const struct inverse_modulus *modulus)
{
	int64_t d_sign = d->limbs[LIMBS - 1] >> 63;
	int64_t e_sign = e->limbs[LIMBS - 1] >> 63;
	wide cd = (wide)m->u * d->limbs[0] + (wide)m->v * e->limbs[0];
	wide ce = (wide)m->q * d->limbs[0] + (wide)m->r * e->limbs[0];
	int64_t md = multiple(modulus, cd, (m->u & d_sign) + (m->v & e_sign));
	int64_t me = multiple(modulus, ce, (m->q & d_sign) + (m->r & e_sign));

	cd += (wide)modulus->limbs[0] * md;
	ce += (wide)modulus->limbs[0] * me;
	for (int i = 1; i < LIMBS; i++) {
		cd = (cd >> LIMB_BITS) + (wide)m->u * d->limbs[i] + (wide)m->v * e->limbs[i] +
		     (wide)modulus->limbs[i] * md;
		ce = (ce >> LIMB_BITS) + (wide)m->q * d->limbs[i] + (wide)m->r * e->limbs[i] +
		     (wide)modulus->limbs[i] * me;
		d->limbs[i - 1] = (int64_t)((uint64_t)cd & LIMB_MASK);
		e->limbs[i - 1] = (int64_t)((uint64_t)ce & LIMB_MASK);
	}
	d->limbs[LIMBS - 1] = (int64_t)(cd >> LIMB_BITS);
	e->limbs[LIMBS - 1] = (int64_t)(ce >> LIMB_BITS);
}

/* Adds the modulus where the number is negative. */
static void
lift(struct number *d, const struct inverse_modulus *modulus)
{
	int64_t negative = (int64_t)mask_of_negative(d->limbs[LIMBS - 1]);

	for (int i = 0; i < LIMBS; i++)
		d->limbs[i] += modulus->limbs[i] & negative;
}

static void
carry(struct number *d)
{
	for (int i = 1; i < LIMBS; i++) {
		d->limbs[i] += d->limbs[i - 1] >> LIMB_BITS;
		d->limbs[i - 1] = (int64_t)((uint64_t)d->limbs[i - 1] & LIMB_MASK);
	}
}

/* From between -2 times the modulus and it, negated where sign is negative, to between zero and it. */
static void
normalize(struct number *d, int64_t sign, const struct inverse_modulus *modulus)
{
	int64_t negative = (int64_t)mask_of_negative(sign);

	lift(d, modulus);
	for (int i = 0; i < LIMBS; i++)
		d->limbs[i] = (d->limbs[i] ^ negative) - negative;
	carry(d);
	lift(d, modulus);
	carry(d);
}

static struct number
read_number(const uint64_t x[INVERSE_LIMBS])
{
	return (struct number){ { (int64_t)(x[0] & LIMB_MASK), (int64_t)((x[0] >> 62 | x[1] << 2) & LIMB_MASK),
				  (int64_t)((x[1] >> 60 | x[2] << 4) & LIMB_MASK),
				  (int64_t)((x[2] >> 58 | x[3] << 6) & LIMB_MASK), (int64_t)(x[3] >> 56) } };
}

static void
write_number(const struct number *d, uint64_t out[INVERSE_LIMBS])
{
	for (int i = 0; i < INVERSE_LIMBS; i++)
		out[i] = (uint64_t)d->limbs[i] >> (2 * i) | (uint64_t)d->limbs[i + 1] << (62 - 2 * i);
}

void
inverse_of(const struct inverse_modulus *modulus, const uint64_t x[INVERSE_LIMBS], uint64_t out[INVERSE_LIMBS])
{
	struct number f;
	struct number g = read_number(x);
	struct number d = { { 0 } };
	struct number e = { { 1 } };
	struct matrix matrix;
	int64_t zeta = -1;

	memcpy(f.limbs, modulus->limbs, sizeof(f.limbs));
	for (int round = 0; round < ROUNDS; round++) {
		zeta = make_matrix(zeta, (uint64_t)f.limbs[0], (uint64_t)g.limbs[0], &matrix);
		apply_modulo(&matrix, &d, &e, modulus);
		apply(&matrix, &f, &g);
	}
	/* f is 1 or -1; of zero it is the modulus still, and d is zero. */
	normalize(&d, f.limbs[LIMBS - 1], modulus);
	write_number(&d, out);
	explicit_bzero(&f, sizeof(f));
	explicit_bzero(&g, sizeof(g));
	explicit_bzero(&d, sizeof(d));
	explicit_bzero(&e, sizeof(e));
	explicit_bzero(&matrix, sizeof(matrix));
}

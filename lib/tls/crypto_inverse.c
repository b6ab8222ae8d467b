/*
 * f begins as the modulus and g as x; each step takes g towards zero and keeps their greatest common divisor in
 * f: 590 steps are enough for 256 bits. 59 of them need the lowest 64 bits of both alone, and make a matrix
 * which is then applied to all of f and g, and to d and e, of which f = d x and g = e x hold modulo the modulus.
 * The matrix is the product of three, since 20 steps have room in one word for f and its row of the matrix, and in
 * another for g and its.
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

/* f or g: its lowest bits; and above them how many times the first f and the first g it is, negated and times
 * 2^PART_STEPS. A step does the same to all three: it adds and halves, and what it halves is even as a whole,
 * since after n steps both shares are multiples of 2^(PART_STEPS - n). A share stays above -2^PART_STEPS and is
 * at most 2^PART_STEPS, so negated it has room in as many bits and a sign. (s2n-bignum, bignum_inv_p256:
 * divstep59.) */
#define PART_STEPS 20
#define ROW_FIRST (PART_STEPS + 1) /* the bit where its share of f begins */
#define ROW_SECOND (2 * ROW_FIRST) /* of g */

/* share: of itself. */
static inline uint64_t
row_make(uint64_t lowest, int share)
{
	return (lowest & ((UINT64_C(1) << PART_STEPS) - 1)) - (UINT64_C(1) << (share + PART_STEPS));
}

/* What lies below is signed, too, so each is rounded to the next. */
static inline int64_t
row_first(uint64_t row)
{
	row += UINT64_C(1) << PART_STEPS;
	return -((int64_t)(row << (64 - ROW_SECOND)) >> (64 - ROW_FIRST));
}

static inline int64_t
row_second(uint64_t row)
{
	row += UINT64_C(1) << (ROW_FIRST + PART_STEPS);
	return -((int64_t)row >> ROW_SECOND);
}

/* zeta is -(delta + 1/2) of the paper. The matrix is 2^PART_STEPS times what the steps do. */
static inline int64_t
make_part(int64_t zeta, uint64_t f_lowest, uint64_t g_lowest, int steps, struct matrix *matrix)
{
	uint64_t f = row_make(f_lowest, ROW_FIRST);
	uint64_t g = row_make(g_lowest, ROW_SECOND);

	for (int step = 0; step < steps; step++) {
		uint64_t negative = mask_of_negative(zeta);
		uint64_t odd = mask_of_odd(g);
		/* Where g is odd, f or -f is added to it, so that it becomes even. */
		uint64_t added = ((f ^ negative) - negative) & odd;

		/* Where zeta was negative, too, they change places. */
		negative &= odd;
		zeta = (int64_t)((uint64_t)zeta ^ negative) - 1;
		f ^= (f ^ g) & negative;
		g = (uint64_t)((int64_t)(g + added) >> 1);
	}
	*matrix = (struct matrix){ row_first(f), row_second(f), row_first(g), row_second(g) };
	return zeta;
}

/* The next bits of f and g. */
static inline void
advance(const struct matrix *m, uint64_t *f, uint64_t *g)
{
	uint64_t f_before = *f;

	*f = (uint64_t)((int64_t)((uint64_t)m->u * f_before + (uint64_t)m->v * *g) >> PART_STEPS);
	*g = (uint64_t)((int64_t)((uint64_t)m->q * f_before + (uint64_t)m->r * *g) >> PART_STEPS);
}

static inline struct matrix
compose(const struct matrix *second, const struct matrix *first)
{
	return (struct matrix){ second->u * first->u + second->v * first->q,
				second->u * first->v + second->v * first->r,
				second->q * first->u + second->r * first->q,
				second->q * first->v + second->r * first->r };
}

#define MISSING (1 << (LIMB_BITS - 3 * PART_STEPS)) /* from 2^60 times to 2^62 times */

static int64_t
make_matrix(int64_t zeta, uint64_t f, uint64_t g, struct matrix *matrix)
{
	struct matrix parts[3];

	zeta = make_part(zeta, f, g, PART_STEPS, &parts[0]);
	advance(&parts[0], &f, &g);
	zeta = make_part(zeta, f, g, PART_STEPS, &parts[1]);
	advance(&parts[1], &f, &g);
	zeta = make_part(zeta, f, g, STEPS - 2 * PART_STEPS, &parts[2]);
	parts[1] = compose(&parts[1], &parts[0]);
	*matrix = compose(&parts[2], &parts[1]);
	matrix->u *= MISSING;
	matrix->v *= MISSING;
	matrix->q *= MISSING;
	matrix->r *= MISSING;
	explicit_bzero(parts, sizeof(parts));
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

/*
 * Products limb by limb; 2^256 is 38, so what carries out above comes in below as 38 times itself. Once it has, no
 * more than one can carry out again, of a number that is small.
 */
#include "tls/crypto_field.h"

#include "base/check.h"
#include "tls/crypto_inverse.h"

#define FOLD 38 /* 2^256 */
#define PRIME_REST 19 /* 2^255 */
#define HIGHEST_BIT (UINT64_C(1) << 63)

typedef unsigned __int128 wide;

CHECK_STATIC(FIELD_LIMBS == INVERSE_LIMBS, "inverses are of the same limbs");

static const struct inverse_modulus prime = { { 0x3fffffffffffffed, 0x3fffffffffffffff, 0x3fffffffffffffff,
						0x3fffffffffffffff, 0x7f },
					      0x39435e50d79435e5 };

/* Adds top times 2^256; top is below 2^32. */
static inline void
fold(struct field *out, uint64_t top)
{
	wide sum = (wide)top * FOLD + out->limbs[0];

	out->limbs[0] = (uint64_t)sum;
	for (int i = 1; i < FIELD_LIMBS; i++) {
		sum = (sum >> 64) + out->limbs[i];
		out->limbs[i] = (uint64_t)sum;
	}
	out->limbs[0] += (uint64_t)(sum >> 64) * FOLD;
}

void
field_multiply_portable(struct field *out, const struct field *a, const struct field *b)
{
	uint64_t product[2 * FIELD_LIMBS] = { 0 };
	wide sum = 0;

#pragma GCC unroll 4
	for (int i = 0; i < FIELD_LIMBS; i++) {
		sum = 0;
#pragma GCC unroll 4
		for (int j = 0; j < FIELD_LIMBS; j++) {
			sum = (wide)a->limbs[j] * b->limbs[i] + product[i + j] + (uint64_t)(sum >> 64);
			product[i + j] = (uint64_t)sum;
		}
		product[i + FIELD_LIMBS] = (uint64_t)(sum >> 64);
	}
	sum = 0;
#pragma GCC unroll 4
	for (int i = 0; i < FIELD_LIMBS; i++) {
		sum = (wide)product[i + FIELD_LIMBS] * FOLD + product[i] + (uint64_t)(sum >> 64);
		out->limbs[i] = (uint64_t)sum;
	}
	fold(out, (uint64_t)(sum >> 64));
}

void
field_add_portable(struct field *out, const struct field *a, const struct field *b)
{
	wide sum = 0;

#pragma GCC unroll 4
	for (int i = 0; i < FIELD_LIMBS; i++) {
		sum = (sum >> 64) + a->limbs[i] + b->limbs[i];
		out->limbs[i] = (uint64_t)sum;
	}
	fold(out, (uint64_t)(sum >> 64));
}

void
field_subtract_portable(struct field *out, const struct field *a, const struct field *b)
{
	uint64_t borrow = 0;
	wide difference;

#pragma GCC unroll 4
	for (int i = 0; i < FIELD_LIMBS; i++) {
		difference = (wide)a->limbs[i] - b->limbs[i] - borrow;
		out->limbs[i] = (uint64_t)difference;
		borrow = (uint64_t)(difference >> 64) & 1;
	}
	borrow *= FOLD;
#pragma GCC unroll 4
	for (int i = 0; i < FIELD_LIMBS; i++) {
		difference = (wide)out->limbs[i] - borrow;
		out->limbs[i] = (uint64_t)difference;
		borrow = (uint64_t)(difference >> 64) & 1;
	}
	out->limbs[0] -= borrow * FOLD;
}

#ifdef __x86_64__
/*
 * Two thirds of the time of what compilers make of it. A row is a limb of b times all of a: every second product,
 * which do not touch each other, in one chain of carries, then the others. MULX leaves the carry alone.
 *
 * r8 to r15: the product; rax, rbx: one of two limbs.
 */
#define ROW(limb, r0, r1, r2, r3, r4) \
	"movq " #limb "(%[b]), %%rdx\n" \
	"mulxq 0(%[a]), %%rax, %%rbx\n" \
	"addq %%rax, %%" #r0 "\n" \
	"adcq %%rbx, %%" #r1 "\n" \
	"mulxq 16(%[a]), %%rax, %%rbx\n" \
	"adcq %%rax, %%" #r2 "\n" \
	"adcq %%rbx, %%" #r3 "\n" \
	"movl $0, %%" #r4 "d\n" \
	"adcq $0, %%" #r4 "\n" \
	"mulxq 8(%[a]), %%rax, %%rbx\n" \
	"addq %%rax, %%" #r1 "\n" \
	"adcq %%rbx, %%" #r2 "\n" \
	"mulxq 24(%[a]), %%rax, %%rbx\n" \
	"adcq %%rax, %%" #r3 "\n" \
	"adcq %%rbx, %%" #r4 "\n"

static void
multiply_mulx(struct field *out, const struct field *a, const struct field *b)
{
	__asm__("movq 0(%[b]), %%rdx\n"
		"mulxq 0(%[a]), %%r8, %%r9\n"
		"mulxq 8(%[a]), %%rax, %%r10\n"
		"addq %%rax, %%r9\n"
		"mulxq 16(%[a]), %%rax, %%r11\n"
		"adcq %%rax, %%r10\n"
		"mulxq 24(%[a]), %%rax, %%r12\n"
		"adcq %%rax, %%r11\n"
		"adcq $0, %%r12\n"
		/* clang-format off */
		ROW(8, r9, r10, r11, r12, r13)
		ROW(16, r10, r11, r12, r13, r14)
		ROW(24, r11, r12, r13, r14, r15)
		/* clang-format on */
		"movl $38, %%edx\n"
		"mulxq %%r12, %%rax, %%r12\n"
		"mulxq %%r13, %%rbx, %%r13\n"
		"addq %%rax, %%r8\n"
		"adcq %%rbx, %%r9\n"
		"mulxq %%r14, %%rax, %%r14\n"
		"adcq %%rax, %%r10\n"
		"mulxq %%r15, %%rax, %%r15\n"
		"adcq %%rax, %%r11\n"
		"adcq $0, %%r15\n"
		"addq %%r12, %%r9\n"
		"adcq %%r13, %%r10\n"
		"adcq %%r14, %%r11\n"
		"adcq $0, %%r15\n"
		"imulq $38, %%r15, %%r15\n"
		"addq %%r15, %%r8\n"
		"adcq $0, %%r9\n"
		"adcq $0, %%r10\n"
		"adcq $0, %%r11\n"
		"sbbq %%rax, %%rax\n"
		"andl $38, %%eax\n"
		"addq %%rax, %%r8\n"
		"movq %%r8, 0(%[out])\n"
		"movq %%r9, 8(%[out])\n"
		"movq %%r10, 16(%[out])\n"
		"movq %%r11, 24(%[out])\n"
		:
		: [out] "r"(out), [a] "r"(a), [b] "r"(b)
		: "rax", "rbx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc", "memory");
}

/* The carry as a mask, for 38 or nothing, twice. op and opc: add and adc, or sub and sbb. */
#define SUM(op, opc) \
	"movq 0(%[a]), %%r8\n" \
	"movq 8(%[a]), %%r9\n" \
	"movq 16(%[a]), %%r10\n" \
	"movq 24(%[a]), %%r11\n" \
	op " 0(%[b]), %%r8\n" \
	opc " 8(%[b]), %%r9\n" \
	opc " 16(%[b]), %%r10\n" \
	opc " 24(%[b]), %%r11\n" \
	"sbbq %%rax, %%rax\n" \
	"andl $38, %%eax\n" \
	op " %%rax, %%r8\n" \
	opc " $0, %%r9\n" \
	opc " $0, %%r10\n" \
	opc " $0, %%r11\n" \
	"sbbq %%rax, %%rax\n" \
	"andl $38, %%eax\n" \
	op " %%rax, %%r8\n" \
	"movq %%r8, 0(%[out])\n" \
	"movq %%r9, 8(%[out])\n" \
	"movq %%r10, 16(%[out])\n" \
	"movq %%r11, 24(%[out])\n"

void
field_add(struct field *out, const struct field *a, const struct field *b)
{
	__asm__(SUM("addq", "adcq")
		:
		: [out] "r"(out), [a] "r"(a), [b] "r"(b)
		: "rax", "r8", "r9", "r10", "r11", "cc", "memory");
}

void
field_subtract(struct field *out, const struct field *a, const struct field *b)
{
	__asm__(SUM("subq", "sbbq")
		:
		: [out] "r"(out), [a] "r"(a), [b] "r"(b)
		: "rax", "r8", "r9", "r10", "r11", "cc", "memory");
}

void
field_multiply(struct field *out, const struct field *a, const struct field *b)
{
	if (__builtin_cpu_supports("bmi2"))
		multiply_mulx(out, a, b);
	else
		field_multiply_portable(out, a, b);
}
#else
void
field_multiply(struct field *out, const struct field *a, const struct field *b)
{
	field_multiply_portable(out, a, b);
}

void
field_add(struct field *out, const struct field *a, const struct field *b)
{
	field_add_portable(out, a, b);
}

void
field_subtract(struct field *out, const struct field *a, const struct field *b)
{
	field_subtract_portable(out, a, b);
}
#endif


/* a + rest, below 2^256. */
static void
add_small(struct field *out, const struct field *a, uint64_t rest)
{
	wide sum = rest;

	for (int i = 0; i < FIELD_LIMBS; i++) {
		sum += a->limbs[i];
		out->limbs[i] = (uint64_t)sum;
		sum >>= 64;
	}
}

/* The highest bit is worth 19, too; what is left is the prime or more where 19 more reach that bit. */
void
field_reduce(struct field *out, const struct field *a)
{
	struct field rest = *a;
	struct field more;

	rest.limbs[FIELD_LIMBS - 1] &= HIGHEST_BIT - 1;
	add_small(&rest, &rest, PRIME_REST * (a->limbs[FIELD_LIMBS - 1] / HIGHEST_BIT));
	add_small(&more, &rest, PRIME_REST);
	add_small(out, &rest, PRIME_REST * (more.limbs[FIELD_LIMBS - 1] / HIGHEST_BIT));
	out->limbs[FIELD_LIMBS - 1] &= HIGHEST_BIT - 1;
}

void
field_invert(struct field *out, const struct field *a)
{
	field_reduce(out, a);
	inverse_of(&prime, out->limbs, out->limbs);
}

#pragma once

#include "tls/crypto_field.h"

/*
 * crypto_field_adx: products modulo 2^255 - 19 by MULX and two chains of carries at once (ADCX, ADOX), in place
 * where they are asked for; a square is two thirds of a product. For x86-64 where ladder_is_here(). Private to
 * lib/tls.
 *
 * What holds for crypto_field.h holds here. rdx: a factor; r8 to r15: the product; rax, rbx: two limbs of it.
 */
#ifdef __x86_64__
/* rdx times limb of a, onto two limbs: the lower half in one chain of carries, the upper half in the other. */
#define FIELD_ADX_ONTO(limb, low, high) \
	"mulxq " #limb "(%[a]), %%rax, %%rbx\n" \
	"adcxq %%rax, %%" #low "\n" \
	"adoxq %%rbx, %%" #high "\n"

/* A limb of b times all of a, onto r0 to r3; r4 begins here. */
#define FIELD_ADX_ROW(limb, r0, r1, r2, r3, r4) \
	"movq " #limb "(%[b]), %%rdx\n" \
	"xorl %%" #r4 "d, %%" #r4 "d\n" \
	FIELD_ADX_ONTO(0, r0, r1) \
	FIELD_ADX_ONTO(8, r1, r2) \
	FIELD_ADX_ONTO(16, r2, r3) \
	FIELD_ADX_ONTO(24, r3, r4) \
	"adcq $0, %%" #r4 "\n"

/* r8 to r11 get 38 times r12, which is below 2^32, then 38 more if that carries out, and are the result. */
#define FIELD_ADX_SETTLE \
	"imulq $38, %%r12, %%r12\n" \
	"addq %%r12, %%r8\n" \
	"adcq $0, %%r9\n" \
	"adcq $0, %%r10\n" \
	"adcq $0, %%r11\n" \
	"sbbq %%rax, %%rax\n" \
	"andl $38, %%eax\n" \
	"addq %%rax, %%r8\n" \
	"movq %%r8, 0(%[out])\n" \
	"movq %%r9, 8(%[out])\n" \
	"movq %%r10, 16(%[out])\n" \
	"movq %%r11, 24(%[out])\n"

/* 38 times r12 to r15 onto r8 to r11. */
#define FIELD_ADX_FOLD \
	"movl $38, %%edx\n" \
	"xorl %%eax, %%eax\n" \
	"mulxq %%r12, %%rax, %%rbx\n" \
	"adcxq %%rax, %%r8\n" \
	"adoxq %%rbx, %%r9\n" \
	"mulxq %%r13, %%rax, %%rbx\n" \
	"adcxq %%rax, %%r9\n" \
	"adoxq %%rbx, %%r10\n" \
	"mulxq %%r14, %%rax, %%rbx\n" \
	"adcxq %%rax, %%r10\n" \
	"adoxq %%rbx, %%r11\n" \
	"mulxq %%r15, %%rax, %%r12\n" \
	"movl $0, %%ebx\n" \
	"adcxq %%rax, %%r11\n" \
	"adoxq %%rbx, %%r12\n" \
	"adcxq %%rbx, %%r12\n" \
	FIELD_ADX_SETTLE

#define FIELD_ADX_CLOBBERED \
	"rax", "rbx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc", "memory"

static inline void
field_adx_multiply(struct field *out, const struct field *a, const struct field *b)
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
		FIELD_ADX_ROW(8, r9, r10, r11, r12, r13)
		FIELD_ADX_ROW(16, r10, r11, r12, r13, r14)
		FIELD_ADX_ROW(24, r11, r12, r13, r14, r15)
		FIELD_ADX_FOLD
		/* clang-format on */
		:
		: [out] "r"(out), [a] "r"(a), [b] "r"(b)
		: FIELD_ADX_CLOBBERED);
}

/* Products of two limbs, twice, and the squares of each. */
static inline void
field_adx_square(struct field *out, const struct field *a)
{
	__asm__("movq 0(%[a]), %%rdx\n"
		"xorl %%r14d, %%r14d\n"
		"mulxq 8(%[a]), %%r9, %%r10\n"
		"mulxq 16(%[a]), %%rax, %%r11\n"
		"adcxq %%rax, %%r10\n"
		"mulxq 24(%[a]), %%rax, %%r12\n"
		"adcxq %%rax, %%r11\n"
		"movq 8(%[a]), %%rdx\n"
		"adcxq %%r14, %%r12\n"
		"mulxq 16(%[a]), %%rax, %%rbx\n"
		"adcxq %%rax, %%r11\n"
		"adoxq %%rbx, %%r12\n"
		"mulxq 24(%[a]), %%rax, %%r13\n"
		"adcxq %%rax, %%r12\n"
		"adoxq %%r14, %%r13\n"
		"movq 16(%[a]), %%rdx\n"
		"mulxq 24(%[a]), %%rax, %%rbx\n"
		"adcxq %%rax, %%r13\n"
		"adcxq %%rbx, %%r14\n"
		"movq 0(%[a]), %%rdx\n"
		"xorl %%r15d, %%r15d\n"
		"mulxq %%rdx, %%r8, %%rax\n"
		"adcxq %%r9, %%r9\n"
		"adoxq %%rax, %%r9\n"
		"movq 8(%[a]), %%rdx\n"
		"mulxq %%rdx, %%rax, %%rbx\n"
		"adcxq %%r10, %%r10\n"
		"adoxq %%rax, %%r10\n"
		"adcxq %%r11, %%r11\n"
		"adoxq %%rbx, %%r11\n"
		"movq 16(%[a]), %%rdx\n"
		"mulxq %%rdx, %%rax, %%rbx\n"
		"adcxq %%r12, %%r12\n"
		"adoxq %%rax, %%r12\n"
		"adcxq %%r13, %%r13\n"
		"adoxq %%rbx, %%r13\n"
		"movq 24(%[a]), %%rdx\n"
		"mulxq %%rdx, %%rax, %%rbx\n"
		"adcxq %%r14, %%r14\n"
		"adoxq %%rax, %%r14\n"
		"adcxq %%r15, %%r15\n"
		"adoxq %%rbx, %%r15\n"
		/* clang-format off */
		FIELD_ADX_FOLD
		/* clang-format on */
		:
		: [out] "r"(out), [a] "r"(a)
		: FIELD_ADX_CLOBBERED);
}

/* 121666 a + b: (486662 + 2) / 4 is the curve's. */
static inline void
field_adx_multiply_small(struct field *out, const struct field *a, const struct field *b)
{
	__asm__("movl $121666, %%edx\n"
		"mulxq 0(%[a]), %%r8, %%r9\n"
		"mulxq 8(%[a]), %%rax, %%r10\n"
		"addq %%rax, %%r9\n"
		"mulxq 16(%[a]), %%rax, %%r11\n"
		"adcq %%rax, %%r10\n"
		"mulxq 24(%[a]), %%rax, %%r12\n"
		"adcq %%rax, %%r11\n"
		"adcq $0, %%r12\n"
		"addq 0(%[b]), %%r8\n"
		"adcq 8(%[b]), %%r9\n"
		"adcq 16(%[b]), %%r10\n"
		"adcq 24(%[b]), %%r11\n"
		"adcq $0, %%r12\n"
		/* clang-format off */
		FIELD_ADX_SETTLE
		/* clang-format on */
		:
		: [out] "r"(out), [a] "r"(a), [b] "r"(b)
		: FIELD_ADX_CLOBBERED);
}
#endif

#pragma once

#include <stdint.h>

/* crypto_mask: masks for choices that nobody may see. Private to lib/tls. */

/* A mask as the compiler must take it: a number that may be any, not one of two that invite a branch. */
static inline uint64_t
mask_hide(uint64_t mask)
{
	__asm__("" : "+r"(mask));
	return mask;
}

/* All ones, or zero. */
static inline uint64_t
mask_of_negative(int64_t number)
{
	return mask_hide((uint64_t)(number >> 63));
}

static inline uint64_t
mask_of_odd(uint64_t number)
{
	return mask_hide(0 - (number & 1));
}

/* a and b below 2^63. */
static inline uint64_t
mask_of_equal(uint64_t a, uint64_t b)
{
	return mask_of_negative((int64_t)((a ^ b) - 1));
}

#pragma once

#include <stdint.h>

/*
 * crypto_field: numbers modulo 2^255 - 19. Private to lib/tls.
 *
 * Four limbs of 64 bits, the lowest first. What is calculated with is any number of them, since 2^256 is 38; what
 * field_reduce() gives is below the prime. By pointers: a compiler copies structs as vectors, and those cannot be
 * loaded from limbs stored one by one just before, until these are in the cache: as long as half a product takes.
 *
 * Pure; any thread. Time: the same for all numbers; out may be one of the arguments.
 */
#define FIELD_LIMBS 4

struct field {
	uint64_t limbs[FIELD_LIMBS];
};

void field_multiply(struct field *out, const struct field *a, const struct field *b);
void field_add(struct field *out, const struct field *a, const struct field *b);
void field_subtract(struct field *out, const struct field *a, const struct field *b);
void field_reduce(struct field *out, const struct field *a);
void field_invert(struct field *out, const struct field *a); /* of zero: zero */

/* The same for any processor; the others have MULX and chains of carries where they can, in half of the time. */
void field_multiply_portable(struct field *out, const struct field *a, const struct field *b);
void field_add_portable(struct field *out, const struct field *a, const struct field *b);
void field_subtract_portable(struct field *out, const struct field *a, const struct field *b);

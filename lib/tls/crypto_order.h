#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tls/crypto.h"

/*
 * crypto_order: which numbers are below the order n of a curve: keys, nonces, hashes that are signed. Private to
 * lib/tls.
 *
 * Numbers are big-endian, of the curve's length. Pure; no allocation; any thread. Time: the same for all numbers
 * of one curve (tests/purity/secrets.c has valgrind look at what the compiler made of it).
 */
#define ORDER_TRIES_MAX 8 /* of who draws a key: each is none once in 2^32, or less often */

size_t order_bytes(enum crypto_curve curve);

/* from, less n once where it is not below it; to may be from. */
void order_reduce(enum crypto_curve curve, const uint8_t *from, uint8_t *to);

/* Whether it is a private key: 1 to n - 1. */
bool order_is_key(enum crypto_curve curve, const uint8_t *number);

#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * blinding: random numbers for whoever parses a private key. mbedTLS wants them to blind its arithmetic; they are
 * made from the key itself, so that this needs no source of entropy and gives the same answer every time.
 *
 * Owner: its user, for as long as the instance that asks it is entered.
 */
struct blinding {
	struct bytes key; /* its text */
	uint32_t counter;
};

/* An instance_entropy. */
int blinding_fill(void *blinding, uint8_t *to, size_t len);

#pragma once

#include <stdbool.h>
#include <stdint.h>

/* money: dollars as people write them, nano-dollars as everything else counts them. No floating point. */

#define MONEY_TEXT_BYTES 32

/* "25", "0.15", "-3.000000001". False: not that, or more than nine decimals. */
bool money_parse(const char *text, int64_t *nano);

/* "25.00", "0.15", "0.000000001": at least two decimals, no more than needed. */
void money_emit(int64_t nano, char text[MONEY_TEXT_BYTES]);

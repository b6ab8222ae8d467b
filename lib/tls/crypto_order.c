/* Octet by octet, from the last one: what is looked at is short, and looked at a few times in a handshake. */
#include "tls/crypto_order.h"

#include <string.h>

#include "tls/crypto_mask.h"

static const struct order {
	size_t bytes;
	uint8_t n[CRYPTO_COORDINATE_BYTES_MAX];
} orders[CRYPTO_CURVES] = {
	[CRYPTO_P256] = { 32, { 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff,
				0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
				0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51 } },
	[CRYPTO_P384] = { 48, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
				0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
				0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a, 0x0d, 0xb2,
				0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73 } },
};

size_t
order_bytes(enum crypto_curve curve)
{
	return orders[curve].bytes;
}

/* number - n, and all ones where that is below zero. */
static uint64_t
subtract(const struct order *order, const uint8_t *number, uint8_t *difference)
{
	int32_t carry = 0; /* 0 or -1 */

	for (size_t i = order->bytes; i-- > 0;) {
		int32_t octet = number[i] - order->n[i] + carry;

		difference[i] = (uint8_t)octet;
		carry = octet >> 8;
	}
	return mask_of_negative(carry);
}

void
order_reduce(enum crypto_curve curve, const uint8_t *from, uint8_t *to)
{
	uint8_t less[CRYPTO_COORDINATE_BYTES_MAX];
	uint8_t keep = (uint8_t)subtract(&orders[curve], from, less);

	for (size_t i = 0; i < orders[curve].bytes; i++)
		to[i] = (uint8_t)((from[i] & keep) | (less[i] & ~keep));
	explicit_bzero(less, sizeof(less));
}

bool
order_is_key(enum crypto_curve curve, const uint8_t *number)
{
	uint8_t less[CRYPTO_COORDINATE_BYTES_MAX];
	uint64_t is_below = subtract(&orders[curve], number, less);
	uint8_t any = 0;

	for (size_t i = 0; i < orders[curve].bytes; i++)
		any |= number[i];
	explicit_bzero(less, sizeof(less));
	return ((is_below & 1) & (any != 0)) != 0;
}

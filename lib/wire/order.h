#pragma once

#include <stdint.h>

/* order: numbers of network byte order at any alignment. */

static inline uint16_t
order_get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t
order_get32(const uint8_t *at)
{
	return (uint32_t)order_get16(at) << 16 | order_get16(at + 2);
}

static inline void
order_put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void
order_put32(uint8_t *at, uint32_t value)
{
	order_put16(at, (uint16_t)(value >> 16));
	order_put16(at + 2, (uint16_t)value);
}

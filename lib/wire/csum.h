#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * csum: the Internet checksum (RFC 1071), in pieces of any length and alignment.
 *
 * A sum is kept unfolded in 64 bits; adding up to 2^32 16-bit words cannot overflow it. Pieces before the
 * last one must have even length, or the next one is added with csum_add_odd().
 */

uint64_t csum_add(uint64_t sum, const void *ptr, size_t len);

/* A piece that starts at an odd offset of the message. */
uint64_t csum_add_odd(uint64_t sum, const void *ptr, size_t len);

/* Addresses, protocol and length as TCP, UDP and ICMPv6 prepend them (RFC 9293 3.1, RFC 8200 8.1).
 * Addresses are 16 bytes; if both are IPv4-mapped the IPv4 form is used. */
uint64_t csum_pseudo(const uint8_t src[16], const uint8_t dst[16], uint8_t protocol, uint32_t len);

/* The field's value, in network byte order as it lies in memory. */
uint16_t csum_finish(uint64_t sum);

/* True if a message that contains its checksum sums up to zero. */
static inline int
csum_is_good(uint64_t sum)
{
	return csum_finish(sum) == 0;
}

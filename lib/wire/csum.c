/* RFC 1071 in 8-byte strides; the carry is folded in as it appears. */
#include "wire/csum.h"

#include <string.h>

static uint64_t
add_with_carry(uint64_t a, uint64_t b)
{
	uint64_t sum = a + b;

	return sum + (sum < b);
}

uint64_t
csum_add(uint64_t sum, const void *ptr, size_t len)
{
	const uint8_t *at = ptr;
	uint64_t word;
	uint16_t half;
	uint8_t last[2] = { 0, 0 };

	for (; len >= sizeof(word); len -= sizeof(word), at += sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		sum = add_with_carry(sum, word);
	}
	for (; len >= sizeof(half); len -= sizeof(half), at += sizeof(half)) {
		memcpy(&half, at, sizeof(half));
		sum = add_with_carry(sum, half);
	}
	if (len > 0) {
		last[0] = at[0];
		memcpy(&half, last, sizeof(half));
		sum = add_with_carry(sum, half);
	}
	return sum;
}

static uint16_t
fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

uint64_t
csum_add_odd(uint64_t sum, const void *ptr, size_t len)
{
	uint16_t piece = fold(csum_add(0, ptr, len));

	/* An odd start swaps the bytes of every word (RFC 1071 section 2, B). */
	return add_with_carry(sum, (uint16_t)(piece << 8 | piece >> 8));
}

uint64_t
csum_pseudo(const uint8_t src[16], const uint8_t dst[16], uint8_t protocol, uint32_t len)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	size_t skip = memcmp(src, mapped, 12) == 0 && memcmp(dst, mapped, 12) == 0 ? 12 : 0;
	uint8_t tail[8] = { (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
			    (uint8_t)len, 0, 0, 0, protocol };
	uint64_t sum = csum_add(0, src + skip, 16 - skip);

	sum = csum_add(sum, dst + skip, 16 - skip);
	return csum_add(sum, tail, sizeof(tail));
}

uint16_t
csum_finish(uint64_t sum)
{
	return (uint16_t)~fold(sum);
}

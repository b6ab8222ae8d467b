/*
 * CRC-32C (Castagnoli; RFC 3385, RFC 9260 appendix A): the processor's own instruction where it has
 * one, else half a byte at a time from a table small enough to be read. The choice is made at run
 * time, from the compiler's table of what the processor can do, so nothing here is written to.
 */
#include "base/crc32c.h"

#include <string.h>

/* The bit-reversed polynomial 0x82f63b78 applied to each half byte. */
static const uint32_t nibbles[16] = {
	0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
	0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
	0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

static uint32_t
update_portable(uint32_t crc, const uint8_t *ptr, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		crc ^= ptr[i];
		crc = (crc >> 4) ^ nibbles[crc & 15];
		crc = (crc >> 4) ^ nibbles[crc & 15];
	}
	return crc;
}

/* The one place with two bodies for two processors; too small for a file of its own. */
#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t
update_sse42(uint32_t crc, const uint8_t *ptr, size_t len)
{
	uint64_t wide = crc;

	for (; len >= sizeof(uint64_t); len -= sizeof(uint64_t), ptr += sizeof(uint64_t)) {
		uint64_t word;

		memcpy(&word, ptr, sizeof(word));
		wide = __builtin_ia32_crc32di(wide, word);
	}
	crc = (uint32_t)wide;
	for (; len > 0; len--, ptr++)
		crc = __builtin_ia32_crc32qi(crc, *ptr);
	return crc;
}

static uint32_t
update(uint32_t crc, const uint8_t *ptr, size_t len)
{
	return __builtin_cpu_supports("sse4.2") ? update_sse42(crc, ptr, len) :
						  update_portable(crc, ptr, len);
}
#else
static uint32_t
update(uint32_t crc, const uint8_t *ptr, size_t len)
{
	return update_portable(crc, ptr, len);
}
#endif

uint32_t
crc32c_sum(const void *ptr, size_t len)
{
	return ~update(~UINT32_C(0), ptr, len);
}

/* Base62 by repeated division of the 128-bit number. */
#include "shm/key.h"

#include <string.h>

#include "base/check.h"

static const char digits62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* CRC-32C, bit by bit: 38 bytes, and not on the packet path. */
static uint32_t
checksum(struct bytes text)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < text.len; i++) {
		crc ^= text.ptr[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (UINT32_C(0x82f63b78) & -(crc & 1));
	}
	return ~crc;
}

static void
emit_base62(char *to, int count, unsigned __int128 number)
{
	for (int i = count - 1; i >= 0; i--) {
		to[i] = digits62[number % 62];
		number /= 62;
	}
}

size_t
key_emit(struct bytes prefix, const uint8_t random[KEY_RANDOM_BYTES],
	 char text[KEY_TEXT_BYTES_MAX + 1])
{
	unsigned __int128 number;
	size_t len = prefix.len + KEY_RANDOM_DIGITS;

	CHECK(prefix.len <= KEY_PREFIX_BYTES_MAX);
	memcpy(text, prefix.ptr, prefix.len);
	memcpy(&number, random, sizeof(number));
	emit_base62(text + prefix.len, KEY_RANDOM_DIGITS, number);
	emit_base62(text + len, KEY_CHECKSUM_DIGITS, checksum(bytes_make(text, len)));
	len += KEY_CHECKSUM_DIGITS;
	text[len] = '\0';
	return len;
}

bool
key_is_well_formed(struct bytes key, struct bytes prefix)
{
	char expected[KEY_CHECKSUM_DIGITS];
	struct bytes signed_part;

	if (key.len != prefix.len + KEY_RANDOM_DIGITS + KEY_CHECKSUM_DIGITS ||
	    !bytes_starts_with(key, prefix))
		return false;
	for (size_t i = prefix.len; i < key.len; i++)
		if (key.ptr[i] == '\0' || strchr(digits62, key.ptr[i]) == NULL)
			return false;
	signed_part = bytes_make(key.ptr, key.len - KEY_CHECKSUM_DIGITS);
	emit_base62(expected, KEY_CHECKSUM_DIGITS, checksum(signed_part));
	return memcmp(expected, key.ptr + signed_part.len, KEY_CHECKSUM_DIGITS) == 0;
}

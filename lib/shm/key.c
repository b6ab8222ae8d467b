/* Base62 by repeated division of the 128-bit number. */
#include "shm/key.h"

#include <string.h>

#include "base/check.h"

static const char digits62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* Of CRC-32C, for four bits at once: every request's key is checked. */
static const uint32_t nibbles[16] = {
	0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
	0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

static uint32_t
checksum(struct bytes text)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < text.len; i++) {
		crc ^= text.ptr[i];
		crc = crc >> 4 ^ nibbles[crc & 15];
		crc = crc >> 4 ^ nibbles[crc & 15];
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

static bool
is_digit62(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

enum key_form
key_form(struct bytes key, struct bytes prefix)
{
	char expected[KEY_CHECKSUM_DIGITS];
	struct bytes signed_part;

	if (key.len != prefix.len + KEY_RANDOM_DIGITS + KEY_CHECKSUM_DIGITS ||
	    !bytes_starts_with(key, prefix))
		return KEY_FOREIGN;
	for (size_t i = prefix.len; i < key.len; i++)
		if (!is_digit62(key.ptr[i]))
			return KEY_FOREIGN;
	signed_part = bytes_make(key.ptr, key.len - KEY_CHECKSUM_DIGITS);
	emit_base62(expected, KEY_CHECKSUM_DIGITS, checksum(signed_part));
	return memcmp(expected, key.ptr + signed_part.len, KEY_CHECKSUM_DIGITS) == 0 ? KEY_MADE : KEY_MISTYPED;
}

bool
key_is_well_formed(struct bytes key, struct bytes prefix)
{
	return key_form(key, prefix) == KEY_MADE;
}

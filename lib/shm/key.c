/* Base62 by repeated division of the 128-bit number. */
#include "shm/key.h"

#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"

static const char digits62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

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
	emit_base62(text + len, KEY_CHECKSUM_DIGITS, crc32c_sum(text, len));
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

	if (key.len != prefix.len + KEY_RANDOM_DIGITS + KEY_CHECKSUM_DIGITS ||
	    !bytes_starts_with(key, prefix))
		return KEY_FOREIGN;
	for (size_t i = prefix.len; i < key.len; i++)
		if (!is_digit62(key.ptr[i]))
			return KEY_FOREIGN;
	key.len -= KEY_CHECKSUM_DIGITS;
	emit_base62(expected, KEY_CHECKSUM_DIGITS, crc32c_sum(key.ptr, key.len));
	return memcmp(expected, key.ptr + key.len, KEY_CHECKSUM_DIGITS) == 0 ? KEY_MADE : KEY_MISTYPED;
}

bool
key_is_well_formed(struct bytes key, struct bytes prefix)
{
	return key_form(key, prefix) == KEY_MADE;
}

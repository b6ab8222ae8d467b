#include "pin.h"

#include <string.h>

#define PREFIX "sha256//"
#define DIGITS 43 /* of 32 bytes, and one '=' behind them */

static int
value_of(uint8_t digit)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = digit != '\0' ? strchr(digits, digit) : NULL;

	return at != NULL ? (int)(at - digits) : -1;
}

/* The bits behind the last whole byte are 0, so that a key has one text. */
static bool
decode(const uint8_t *text, uint8_t pin[32])
{
	uint32_t bits = 0, count = 0;
	size_t len = 0;

	for (int i = 0; i < DIGITS; i++) {
		int value = value_of(text[i]);

		if (value < 0)
			return false;
		bits = (bits << 6 | (uint32_t)value) & 0xfff;
		count += 6;
		if (count >= 8)
			pin[len++] = (uint8_t)(bits >> (count -= 8));
	}
	return text[DIGITS] == '=' && (bits & ((1u << count) - 1)) == 0;
}

int
pin_parse(struct bytes text, uint8_t pins[SHM_POD_PINS_MAX][32])
{
	static const size_t len = sizeof(PREFIX) - 1 + DIGITS + 1;
	int count = 0;

	while (text.len > 0) {
		if (count == SHM_POD_PINS_MAX || (count > 0 && text.ptr[0] != ';'))
			return -1;
		bytes_advance(&text, count > 0);
		if (text.len < len || memcmp(text.ptr, PREFIX, sizeof(PREFIX) - 1) != 0 ||
		    !decode(text.ptr + sizeof(PREFIX) - 1, pins[count]))
			return -1;
		bytes_advance(&text, len);
		count++;
	}
	return count;
}

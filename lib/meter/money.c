#include "meter/money.h"

#include <stddef.h>

#define NANO_PER_DOLLAR INT64_C(1000000000)
#define DOLLARS_MAX INT64_C(9000000000)
#define DECIMALS_MAX 9
#define DECIMALS_MIN 2

bool
money_parse(const char *text, int64_t *nano)
{
	int64_t sum = 0, unit = NANO_PER_DOLLAR;
	bool negative = *text == '-', has_digit = false;

	text += negative;
	for (; *text >= '0' && *text <= '9'; text++) {
		has_digit = true;
		sum = sum * 10 + (*text - '0');
		if (sum > DOLLARS_MAX)
			return false;
	}
	sum *= NANO_PER_DOLLAR;
	if (*text == '.') {
		for (text++; *text >= '0' && *text <= '9'; text++) {
			has_digit = true;
			unit /= 10;
			if (unit == 0 && *text != '0')
				return false;
			sum += unit * (*text - '0');
		}
	}
	if (*text != '\0' || !has_digit)
		return false;
	*nano = negative ? -sum : sum;
	return true;
}

void
money_emit(int64_t nano, char text[MONEY_TEXT_BYTES])
{
	uint64_t left = nano < 0 ? 0 - (uint64_t)nano : (uint64_t)nano;
	char digits[MONEY_TEXT_BYTES]; /* the last one first, without a point */
	size_t count = 0, skipped = 0, len = 0;

	for (; left > 0 || count <= DECIMALS_MAX; left /= 10)
		digits[count++] = (char)('0' + left % 10);
	while (skipped < DECIMALS_MAX - DECIMALS_MIN && digits[skipped] == '0')
		skipped++;
	if (nano < 0)
		text[len++] = '-';
	while (count > skipped) {
		text[len++] = digits[--count];
		if (count == DECIMALS_MAX)
			text[len++] = '.';
	}
	text[len] = '\0';
}

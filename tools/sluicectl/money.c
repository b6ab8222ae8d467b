#include "money.h"

#include <stdio.h>
#include <string.h>

#define NANO_PER_DOLLAR INT64_C(1000000000)
#define DOLLARS_MAX INT64_C(9000000000)

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
	uint64_t positive = nano < 0 ? 0 - (uint64_t)nano : (uint64_t)nano;
	size_t len;

	snprintf(text, MONEY_TEXT_BYTES, "%s%llu.%09llu", nano < 0 ? "-" : "",
		 (unsigned long long)(positive / (uint64_t)NANO_PER_DOLLAR),
		 (unsigned long long)(positive % (uint64_t)NANO_PER_DOLLAR));
	len = strlen(text);
	while (text[len - 1] == '0' && text[len - 3] != '.')
		text[--len] = '\0';
}

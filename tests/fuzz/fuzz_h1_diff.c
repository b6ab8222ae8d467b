/*
 * Bytes of a connection into our HTTP/1 parser and into llhttp (tests/diff): the same messages, or
 * a refusal that h1_stricter.def explains; and ours the same however the bytes were cut.
 *
 *   | bit 0: responses, bit 1: to HEAD, the rest: length of a piece | bytes |
 */
#include "../diff/h1_compare.h"

#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	enum h1_outcome outcome;
	uint32_t row;

	if (len < 1 || len > READING_INPUT_BYTES_MAX)
		return 0;
	CHECK(h1_compare_input(bytes_make(bytes + 1, len - 1), bytes[0] & 1, (bytes[0] & 3) == 3,
			       bytes[0] >> 2, 1 + (bytes[0] >> 4), &outcome, &row));
	return 0;
}

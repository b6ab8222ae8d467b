/*
 * Bytes into our JSON scan and into yyjson (tests/diff): the same document, fields, edits and
 * usage, or a refusal that json_stricter.def explains.
 */
#include "../diff/json_compare.h"

#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct json_opinion opinion;

	if (len > 0)
		CHECK(json_compare(bytes_make(bytes, len), bytes[0] % len, &opinion));
	return 0;
}

#pragma once

#include <stdbool.h>
#include <stdint.h>

/* h1_octet: which octets may stand where in HTTP/1.1; private to the files of this folder. */

/* RFC 9110 5.6.2: tchar. */
static inline bool
h1_octet_is_tchar(uint8_t c)
{
	static const uint64_t allowed[2] = {
		/* ! # $ % & ' * + - . 0-9 */
		UINT64_C(0x03ff6cfa00000000),
		/* A-Z ^ _ ` a-z | ~ */
		UINT64_C(0x57ffffffc7fffffe),
	};

	return c < 128 && (allowed[c >> 6] >> (c & 63) & 1) != 0;
}

/* RFC 9110 5.5: field-vchar, SP, HTAB; obs-text is refused, since parsers disagree on its meaning. */
static inline bool
h1_octet_is_value(uint8_t c)
{
	return (c >= 0x20 && c < 0x7f) || c == '\t';
}

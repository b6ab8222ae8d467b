#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * key: the text of an API key. The keys table knows it by its hash only (tls/keyhash.h).
 *
 *   eco_4fGh...22 digits of base62...Zq9k2LmX
 *   ^prefix  ^16 random bytes          ^6 digits: CRC-32C of everything before
 *
 * The checksum tells a mistyped key from an unknown one without a secret; it is no defence, the 128 random
 * bits are.
 *
 * Memory: the caller's. Thread: any.
 */

#define KEY_RANDOM_BYTES 16
#define KEY_PREFIX_BYTES_MAX 16
#define KEY_RANDOM_DIGITS 22
#define KEY_CHECKSUM_DIGITS 6
#define KEY_BYTES_MAX 128 /* of a key that came from elsewhere; what is longer is nobody's */
#define KEY_TEXT_BYTES_MAX (KEY_PREFIX_BYTES_MAX + KEY_RANDOM_DIGITS + KEY_CHECKSUM_DIGITS)

/* Writes prefix, digits and checksum, and a NUL; returns the length. prefix.len <= KEY_PREFIX_BYTES_MAX. */
size_t key_emit(struct bytes prefix, const uint8_t random[KEY_RANDOM_BYTES],
		char text[KEY_TEXT_BYTES_MAX + 1]);

enum key_form {
	KEY_MADE,     /* what key_emit() could have written with this prefix */
	KEY_MISTYPED, /* looks so, but for its checksum: nobody has it, and it need not be looked up */
	KEY_FOREIGN,  /* another form: brought along from elsewhere, or nonsense */
};

enum key_form key_form(struct bytes key, struct bytes prefix);

/* True for KEY_MADE. */
bool key_is_well_formed(struct bytes key, struct bytes prefix);

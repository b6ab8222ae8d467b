#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * keyhash: how an API key is known without being stored: HMAC-SHA-256(pepper, key) (RFC 2104).
 *
 * Pure; no allocation; any thread. Used by control when a key is made and by workers when one is
 * shown.
 */
#define KEYHASH_PEPPER_BYTES 32
#define KEYHASH_BYTES 32

void keyhash_make(const uint8_t pepper[KEYHASH_PEPPER_BYTES], struct bytes key,
		  uint8_t hash[KEYHASH_BYTES]);

/* In a time that tells nothing about where they differ. */
bool keyhash_equal(const uint8_t a[KEYHASH_BYTES], const uint8_t b[KEYHASH_BYTES]);

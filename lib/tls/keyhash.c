#include "tls/keyhash.h"

#include "tls/derive.h"

void
keyhash_make(const uint8_t pepper[KEYHASH_PEPPER_BYTES], struct bytes key,
	     uint8_t hash[KEYHASH_BYTES])
{
	derive_hmac(DERIVE_SHA256, bytes_make(pepper, KEYHASH_PEPPER_BYTES), key, BYTES_NONE, hash);
}

bool
keyhash_equal(const uint8_t a[KEYHASH_BYTES], const uint8_t b[KEYHASH_BYTES])
{
	uint8_t differs = 0;

	for (size_t i = 0; i < KEYHASH_BYTES; i++)
		differs |= a[i] ^ b[i];
	return differs == 0;
}

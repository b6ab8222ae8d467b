/* HMAC (RFC 2104) over mbedTLS's SHA-256, by hand because mbedTLS's own HMAC allocates. */
#include "tls/keyhash.h"

#include <mbedtls/sha256.h>

#include "base/check.h"

#define BLOCK_BYTES 64

/* hash = SHA-256(pad of the pepper, text). */
static void
half(const uint8_t *pepper, uint8_t pad, struct bytes text, uint8_t hash[KEYHASH_BYTES])
{
	mbedtls_sha256_context sha;
	uint8_t block[BLOCK_BYTES];

	memset(block, pad, sizeof(block));
	for (size_t i = 0; i < KEYHASH_PEPPER_BYTES; i++)
		block[i] ^= pepper[i];
	mbedtls_sha256_init(&sha);
	/* With the built-in SHA-256 these cannot fail. */
	CHECK(mbedtls_sha256_starts(&sha, 0) == 0);
	CHECK(mbedtls_sha256_update(&sha, block, sizeof(block)) == 0);
	CHECK(mbedtls_sha256_update(&sha, text.ptr, text.len) == 0);
	CHECK(mbedtls_sha256_finish(&sha, hash) == 0);
	mbedtls_sha256_free(&sha);
	explicit_bzero(block, sizeof(block));
}

void
keyhash_make(const uint8_t pepper[KEYHASH_PEPPER_BYTES], struct bytes key,
	     uint8_t hash[KEYHASH_BYTES])
{
	uint8_t inner[KEYHASH_BYTES];

	half(pepper, 0x36, key, inner);
	half(pepper, 0x5c, bytes_make(inner, sizeof(inner)), hash);
	explicit_bzero(inner, sizeof(inner));
}

bool
keyhash_equal(const uint8_t a[KEYHASH_BYTES], const uint8_t b[KEYHASH_BYTES])
{
	uint8_t differs = 0;

	for (size_t i = 0; i < KEYHASH_BYTES; i++)
		differs |= a[i] ^ b[i];
	return differs == 0;
}

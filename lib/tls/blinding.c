/* SHA-256 of a counter and the key. */
#include "tls/blinding.h"

#include <mbedtls/sha256.h>

#include "base/check.h"

int
blinding_fill(void *owner, uint8_t *to, size_t len)
{
	struct blinding *blinding = owner;
	mbedtls_sha256_context sha;
	uint8_t hash[32];

	while (len > 0) {
		size_t part = len < sizeof(hash) ? len : sizeof(hash);

		mbedtls_sha256_init(&sha);
		CHECK(mbedtls_sha256_starts(&sha, 0) == 0);
		CHECK(mbedtls_sha256_update(&sha, (const uint8_t *)&blinding->counter,
					    sizeof(blinding->counter)) == 0);
		CHECK(mbedtls_sha256_update(&sha, blinding->key.ptr, blinding->key.len) == 0);
		CHECK(mbedtls_sha256_finish(&sha, hash) == 0);
		mbedtls_sha256_free(&sha);
		memcpy(to, hash, part);
		to += part;
		len -= part;
		blinding->counter++;
	}
	explicit_bzero(hash, sizeof(hash));
	return 0;
}

/* HMAC and what TLS builds from it. */
#include "tls/derive.h"

#include <mbedtls/sha256.h>
#include <mbedtls/sha512.h>

#include "base/check.h"

#define BLOCK_BYTES_MAX 128 /* of SHA-384; SHA-256 has 64 */
#define KEY_BYTES_MAX 64
#define LABEL_BYTES_MAX 12

union sha {
	mbedtls_sha256_context sha256;
	mbedtls_sha512_context sha384;
};

size_t
derive_hash_bytes(enum derive_hash hash)
{
	return hash == DERIVE_SHA256 ? 32 : 48;
}

/* The built-in hashes cannot fail. */
static void
sha_start(enum derive_hash hash, union sha *sha)
{
	if (hash == DERIVE_SHA256) {
		mbedtls_sha256_init(&sha->sha256);
		CHECK(mbedtls_sha256_starts(&sha->sha256, 0) == 0);
	} else {
		mbedtls_sha512_init(&sha->sha384);
		CHECK(mbedtls_sha512_starts(&sha->sha384, 1) == 0);
	}
}

static void
sha_add(enum derive_hash hash, union sha *sha, struct bytes text)
{
	if (text.len == 0)
		return;
	if (hash == DERIVE_SHA256)
		CHECK(mbedtls_sha256_update(&sha->sha256, text.ptr, text.len) == 0);
	else
		CHECK(mbedtls_sha512_update(&sha->sha384, text.ptr, text.len) == 0);
}

static void
sha_finish(enum derive_hash hash, union sha *sha, uint8_t *to)
{
	/* Freeing is wiping. */
	if (hash == DERIVE_SHA256) {
		CHECK(mbedtls_sha256_finish(&sha->sha256, to) == 0);
		mbedtls_sha256_free(&sha->sha256);
	} else {
		CHECK(mbedtls_sha512_finish(&sha->sha384, to) == 0);
		mbedtls_sha512_free(&sha->sha384);
	}
}

static void
half(enum derive_hash hash, struct bytes key, uint8_t pad, struct bytes text, struct bytes more, uint8_t *to)
{
	size_t block_bytes = hash == DERIVE_SHA256 ? 64 : 128;
	uint8_t block[BLOCK_BYTES_MAX];
	union sha sha;

	memset(block, pad, sizeof(block));
	for (size_t i = 0; i < key.len; i++)
		block[i] ^= key.ptr[i];
	sha_start(hash, &sha);
	sha_add(hash, &sha, bytes_make(block, block_bytes));
	sha_add(hash, &sha, text);
	sha_add(hash, &sha, more);
	sha_finish(hash, &sha, to);
	explicit_bzero(block, sizeof(block));
}

void
derive_hmac(enum derive_hash hash, struct bytes key, struct bytes text, struct bytes more, uint8_t *to)
{
	uint8_t inner[DERIVE_HASH_BYTES_MAX];

	CHECK(key.len <= KEY_BYTES_MAX);
	half(hash, key, 0x36, text, more, inner);
	half(hash, key, 0x5c, bytes_make(inner, derive_hash_bytes(hash)), BYTES_NONE, to);
	explicit_bzero(inner, sizeof(inner));
}

/* HKDF-Expand (RFC 5869 2.3) of at most one block: T(1) = HMAC(secret, HkdfLabel | 1). */
void
derive_expand_label(enum derive_hash hash, const uint8_t *secret, const char *label, uint8_t *to, size_t len)
{
	size_t label_len = strlen(label);
	uint8_t info[2 + 1 + 6 + LABEL_BYTES_MAX + 1 + 1] = { 0,   (uint8_t)len, (uint8_t)(6 + label_len),
							      't', 'l',		 's',
							      '1', '3',		 ' ' };
	uint8_t block[DERIVE_HASH_BYTES_MAX];
	size_t used = 9;

	CHECK(label_len <= LABEL_BYTES_MAX && len <= derive_hash_bytes(hash));
	memcpy(info + used, label, label_len);
	used += label_len;
	info[used++] = 0; /* no context */
	info[used++] = 1; /* the counter */
	derive_hmac(hash, bytes_make(secret, derive_hash_bytes(hash)), bytes_make(info, used), BYTES_NONE,
		    block);
	memcpy(to, block, len);
	explicit_bzero(block, sizeof(block));
}

/* P_hash: A(i) = HMAC(secret, A(i-1)), A(0) = label | seed; the output is HMAC(secret, A(i) | label | seed) …
 */
void
derive_prf(enum derive_hash hash, struct bytes secret, const char *label, struct bytes seed, uint8_t *to,
	   size_t len)
{
	size_t hash_bytes = derive_hash_bytes(hash);
	size_t label_len = strlen(label);
	uint8_t text[DERIVE_SEED_BYTES_MAX];
	uint8_t a[DERIVE_HASH_BYTES_MAX];
	uint8_t block[DERIVE_HASH_BYTES_MAX];
	struct bytes whole = bytes_make(text, label_len + seed.len);

	CHECK(whole.len <= sizeof(text));
	memcpy(text, label, label_len);
	memcpy(text + label_len, seed.ptr, seed.len);
	derive_hmac(hash, secret, whole, BYTES_NONE, a);
	while (len > 0) {
		size_t take = len < hash_bytes ? len : hash_bytes;

		derive_hmac(hash, secret, bytes_make(a, hash_bytes), whole, block);
		memcpy(to, block, take);
		to += take;
		len -= take;
		derive_hmac(hash, secret, bytes_make(a, hash_bytes), BYTES_NONE, block);
		memcpy(a, block, hash_bytes);
	}
	explicit_bzero(a, sizeof(a));
	explicit_bzero(block, sizeof(block));
}

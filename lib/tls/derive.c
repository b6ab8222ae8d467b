/* HMAC and what TLS builds from it. */
#include "tls/derive.h"

#include <mbedtls/sha256.h>
#include <mbedtls/sha512.h>

#include "base/check.h"

#define BLOCK_BYTES_MAX 128 /* of SHA-384; SHA-256 has 64 */
#define KEY_BYTES_MAX 64
#define LABEL_BYTES_MAX 12
#define CONTEXT_BYTES_MAX 255

size_t
derive_hash_bytes(enum derive_hash hash)
{
	return hash == DERIVE_SHA256 ? 32 : 48;
}

/* The built-in hashes cannot fail; freeing is wiping. */
static void
digest_256(const struct bytes *parts, size_t count, uint8_t *to)
{
	mbedtls_sha256_context sha;

	mbedtls_sha256_init(&sha);
	CHECK(mbedtls_sha256_starts(&sha, 0) == 0);
	for (size_t i = 0; i < count; i++)
		CHECK(mbedtls_sha256_update(&sha, parts[i].ptr, parts[i].len) == 0);
	CHECK(mbedtls_sha256_finish(&sha, to) == 0);
	mbedtls_sha256_free(&sha);
}

static void
digest_384(const struct bytes *parts, size_t count, uint8_t *to)
{
	mbedtls_sha512_context sha;

	mbedtls_sha512_init(&sha);
	CHECK(mbedtls_sha512_starts(&sha, 1) == 0);
	for (size_t i = 0; i < count; i++)
		CHECK(mbedtls_sha512_update(&sha, parts[i].ptr, parts[i].len) == 0);
	CHECK(mbedtls_sha512_finish(&sha, to) == 0);
	mbedtls_sha512_free(&sha);
}

void
derive_digest(enum derive_hash hash, const struct bytes *parts, size_t count, uint8_t *to)
{
	if (hash == DERIVE_SHA256)
		digest_256(parts, count, to);
	else
		digest_384(parts, count, to);
}

static void
half(enum derive_hash hash, struct bytes key, uint8_t pad, struct bytes text, struct bytes more, uint8_t *to)
{
	uint8_t block[BLOCK_BYTES_MAX];
	const struct bytes parts[] = { bytes_make(block, hash == DERIVE_SHA256 ? 64 : 128), text, more };

	memset(block, pad, sizeof(block));
	for (size_t i = 0; i < key.len; i++)
		block[i] ^= key.ptr[i];
	derive_digest(hash, parts, 3, to);
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

/* T(1) = HMAC(secret, info | 1). */
void
derive_expand(enum derive_hash hash, struct bytes secret, struct bytes info, uint8_t *to, size_t len)
{
	uint8_t block[DERIVE_HASH_BYTES_MAX];

	CHECK(len <= derive_hash_bytes(hash));
	derive_hmac(hash, secret, info, BYTES_LITERAL("\x01"), block);
	memcpy(to, block, len);
	explicit_bzero(block, sizeof(block));
}

void
derive_expand_label(enum derive_hash hash, const uint8_t *secret, const char *label, struct bytes context,
		    uint8_t *to, size_t len)
{
	size_t label_len = strlen(label);
	uint8_t info[2 + 1 + 6 + LABEL_BYTES_MAX + 1 + CONTEXT_BYTES_MAX] = { 0,   (uint8_t)len,
									      (uint8_t)(6 + label_len),
									      't', 'l', 's', '1', '3', ' ' };
	size_t used = 9;

	CHECK(label_len <= LABEL_BYTES_MAX && context.len <= CONTEXT_BYTES_MAX);
	memcpy(info + used, label, label_len);
	used += label_len;
	info[used++] = (uint8_t)context.len;
	if (context.len > 0)
		memcpy(info + used, context.ptr, context.len);
	derive_expand(hash, bytes_make(secret, derive_hash_bytes(hash)),
		      bytes_make(info, used + context.len), to, len);
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

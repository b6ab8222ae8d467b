/* HMAC and what TLS builds from it. */
#include "tls/derive.h"

#include <endian.h>
#include <mbedtls/sha256.h>
#include <mbedtls/sha512.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "tls/crypto.h"
#include "tls/instance.h"

#define BLOCK_BYTES_MAX 128 /* of SHA-384 */
#define BLOCK_BYTES_256 64
#define DIGEST_BYTES_256 32
#define TAIL_BYTES_256 9 /* of padding, at least: a bit and the length */
#define SHORT_BLOCKS_MAX 4 /* HMAC's first one, and any label of TLS 1.3 with a hash behind it */
#define PAD_INNER UINT64_C(0x3636363636363636)
#define PAD_OUTER UINT64_C(0x5c5c5c5c5c5c5c5c)
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
	size_t len = hash == DERIVE_SHA256 ? BLOCK_BYTES_256 : BLOCK_BYTES_MAX;
	const struct bytes parts[] = { bytes_make(block, len), text, more };

	memset(block, pad, sizeof(block));
	for (size_t i = 0; i < key.len; i++)
		block[i] ^= key.ptr[i];
	derive_digest(hash, parts, 3, to);
	explicit_bzero(block, sizeof(block));
}

static size_t
put(uint8_t *to, struct bytes from)
{
	if (from.len > 0)
		memcpy(to, from.ptr, from.len);
	return from.len;
}

/* A few blocks of a message, written as words: what was written byte by byte cannot be read as vectors, as hashes
 * do, before it is in the cache. */
union short_message {
	uint64_t words[SHORT_BLOCKS_MAX * BLOCK_BYTES_256 / sizeof(uint64_t)];
	uint8_t bytes[SHORT_BLOCKS_MAX * BLOCK_BYTES_256];
};

/* The digest of the first so many bytes; behind them it is padded (FIPS 180-4 5.1.1). False: not by libcrypto. */
static bool
digest_message(union short_message *message, size_t used, uint8_t to[DIGEST_BYTES_256])
{
	uint32_t state[] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
			     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
	size_t blocks = (used + TAIL_BYTES_256 + BLOCK_BYTES_256 - 1) / BLOCK_BYTES_256;
	size_t words = blocks * BLOCK_BYTES_256 / sizeof(uint64_t);

	memset(message->bytes + used, 0, blocks * BLOCK_BYTES_256 - used);
	message->bytes[used] = 0x80;
	message->words[words - 1] = htobe64(8 * used);
	if (!crypto_sha256(state, message->bytes, blocks))
		return false;
	for (size_t i = 0; i < COUNT_OF(state); i++)
		state[i] = htobe32(state[i]);
	memcpy(to, state, DIGEST_BYTES_256);
	explicit_bzero(state, sizeof(state));
	return true;
}

static void
turn_block(union short_message *message, uint64_t pad)
{
	for (size_t i = 0; i < BLOCK_BYTES_256 / sizeof(uint64_t); i++)
		message->words[i] ^= pad;
}

/* In whole blocks, without a context, which costs as much as what is hashed in it. False: it is too long, or
 * only mbedTLS hashes here. */
static bool
hmac_short_256(struct bytes key, struct bytes text, struct bytes more, uint8_t to[DIGEST_BYTES_256])
{
	size_t used = BLOCK_BYTES_256;
	union short_message message;
	bool done;

	if (!instance_hashes() || text.len + more.len > sizeof(message) - BLOCK_BYTES_256 - TAIL_BYTES_256)
		return false;
	memset(message.bytes, 0, BLOCK_BYTES_256);
	put(message.bytes, key);
	turn_block(&message, PAD_INNER);
	used += put(message.bytes + used, text);
	used += put(message.bytes + used, more);
	done = digest_message(&message, used, to);
	if (done) {
		turn_block(&message, PAD_INNER ^ PAD_OUTER);
		put(message.bytes + BLOCK_BYTES_256, bytes_make(to, DIGEST_BYTES_256));
		/* As before: what it wants was there a moment ago, and `to`, which may be the key, is used up. */
		CHECK(digest_message(&message, BLOCK_BYTES_256 + DIGEST_BYTES_256, to));
	}
	explicit_bzero(&message, sizeof(message));
	return done;
}

void
derive_hmac(enum derive_hash hash, struct bytes key, struct bytes text, struct bytes more, uint8_t *to)
{
	uint8_t inner[DERIVE_HASH_BYTES_MAX];

	CHECK(key.len <= KEY_BYTES_MAX);
	if (hash == DERIVE_SHA256 && hmac_short_256(key, text, more, to))
		return;
	half(hash, key, (uint8_t)PAD_INNER, text, more, inner);
	half(hash, key, (uint8_t)PAD_OUTER, bytes_make(inner, derive_hash_bytes(hash)), BYTES_NONE, to);
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

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

#define BLOCK_BYTES_MAX CRYPTO_SHA512_BLOCK_BYTES /* of SHA-384 */
#define DIGEST_BYTES_256 32
#define TAIL_BYTES_256 9 /* of padding, at least: a bit and the length */
#define SHORT_BLOCKS_MAX 3 /* TLS 1.2's PRF; a label of TLS 1.3 with a hash has two */
#define PAD_INNER UINT64_C(0x3636363636363636)
#define PAD_OUTER UINT64_C(0x5c5c5c5c5c5c5c5c)
#define KEY_BYTES_MAX 64
#define LABEL_BYTES_MAX 12
#define CONTEXT_BYTES_MAX 255
#define INFO_BYTES_MAX (2 + 1 + 6 + LABEL_BYTES_MAX + 1 + CONTEXT_BYTES_MAX)

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
	size_t len = hash == DERIVE_SHA256 ? CRYPTO_SHA256_BLOCK_BYTES : BLOCK_BYTES_MAX;
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
	uint64_t words[SHORT_BLOCKS_MAX * CRYPTO_SHA256_BLOCK_BYTES / sizeof(uint64_t)];
	uint8_t bytes[SHORT_BLOCKS_MAX * CRYPTO_SHA256_BLOCK_BYTES];
};
CHECK_STATIC(DIGEST_BYTES_256 + DERIVE_SEED_BYTES_MAX + TAIL_BYTES_256 <= sizeof(union short_message),
	     "A(i), label and seed");

/* Of HMAC: both hashes behind the key. */
struct keyed {
	uint32_t inner[CRYPTO_SHA2_WORDS];
	uint32_t outer[CRYPTO_SHA2_WORDS];
};

/* False: not by libcrypto. */
static bool
key_in(struct keyed *keyed, struct bytes key)
{
	static const struct keyed initial = {
		{ 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 },
		{ 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 },
	};
	uint64_t blocks[2][CRYPTO_SHA256_BLOCK_BYTES / sizeof(uint64_t)] = { { 0 } };
	bool done;

	*keyed = initial;
	put((uint8_t *)blocks[0], key);
	for (size_t i = 0; i < COUNT_OF(blocks[0]); i++) {
		blocks[1][i] = blocks[0][i] ^ PAD_OUTER;
		blocks[0][i] ^= PAD_INNER;
	}
	done = crypto_sha256_two(keyed->inner, (const uint8_t *)blocks[0], keyed->outer,
				 (const uint8_t *)blocks[1]);
	explicit_bzero(blocks, sizeof(blocks));
	return done;
}

/* Behind the key's block and what was used of the message it is padded (FIPS 180-4 5.1.1). Returns its blocks. */
static size_t
end_message(union short_message *message, size_t used)
{
	size_t blocks = (used + TAIL_BYTES_256 + CRYPTO_SHA256_BLOCK_BYTES - 1) / CRYPTO_SHA256_BLOCK_BYTES;
	size_t words = blocks * CRYPTO_SHA256_BLOCK_BYTES / sizeof(uint64_t);

	CHECK(blocks <= SHORT_BLOCKS_MAX);
	memset(message->bytes + used, 0, blocks * CRYPTO_SHA256_BLOCK_BYTES - used);
	message->bytes[used] = 0x80;
	message->words[words - 1] = htobe64(8 * (CRYPTO_SHA256_BLOCK_BYTES + used));
	return blocks;
}

static void
write_digest(uint8_t to[DIGEST_BYTES_256], const uint32_t state[CRYPTO_SHA2_WORDS])
{
	for (size_t i = 0; i < CRYPTO_SHA2_WORDS; i += 2) {
		uint64_t two = htobe64((uint64_t)state[i] << 32 | state[i + 1]);

		memcpy(to + i * sizeof(state[0]), &two, sizeof(two));
	}
}

/* In whole blocks, without a context, which costs as much as what is hashed in it. False: it is too long, or
 * only mbedTLS hashes here. */
static bool
hmac_short_256(struct bytes key, struct bytes text, struct bytes more, uint8_t to[DIGEST_BYTES_256])
{
	union short_message message;
	struct keyed keyed;
	size_t used;

	if (!instance_hashes() || text.len + more.len > sizeof(message) - TAIL_BYTES_256 || !key_in(&keyed, key))
		return false;
	used = put(message.bytes, text);
	used += put(message.bytes + used, more);
	/* As it did with the key. */
	CHECK(crypto_sha256(keyed.inner, message.bytes, end_message(&message, used)));
	write_digest(message.bytes, keyed.inner);
	CHECK(crypto_sha256(keyed.outer, message.bytes, end_message(&message, DIGEST_BYTES_256)));
	write_digest(to, keyed.outer);
	explicit_bzero(&keyed, sizeof(keyed));
	explicit_bzero(&message, sizeof(message));
	return true;
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

/* RFC 8446 7.1; there is room for INFO_BYTES_MAX, or for what a context of known length asks for. Returns its
 * length. */
static size_t
write_label(uint8_t *info, const char *label, struct bytes context, size_t len)
{
	static const uint8_t prefix[] = { 't', 'l', 's', '1', '3', ' ' };
	size_t label_len = strlen(label);
	size_t used = 3 + sizeof(prefix);

	CHECK(label_len <= LABEL_BYTES_MAX && context.len <= CONTEXT_BYTES_MAX);
	info[0] = 0;
	info[1] = (uint8_t)len;
	info[2] = (uint8_t)(sizeof(prefix) + label_len);
	memcpy(info + 3, prefix, sizeof(prefix));
	used += put(info + used, bytes_make(label, label_len));
	info[used++] = (uint8_t)context.len;
	return used + put(info + used, context);
}

void
derive_expand_label(enum derive_hash hash, const uint8_t *secret, const char *label, struct bytes context,
		    uint8_t *to, size_t len)
{
	uint8_t info[INFO_BYTES_MAX];
	size_t info_len = write_label(info, label, context, len);

	derive_expand(hash, bytes_make(secret, derive_hash_bytes(hash)), bytes_make(info, info_len), to, len);
}

/* The message of HKDF's first block with a short label, as one block. */
static void
write_message(union short_message *message, const char *label, size_t len)
{
	size_t used;

	memset(message, 0, CRYPTO_SHA256_BLOCK_BYTES);
	used = write_label(message->bytes, label, BYTES_NONE, len);
	message->bytes[used++] = 1;
	end_message(message, used);
}

static bool
traffic_key_256(const uint8_t *secret, uint8_t *key, size_t key_len, uint8_t *iv, size_t iv_len)
{
	union short_message messages[2];
	struct keyed keyed[2];

	if (!instance_hashes() || !key_in(&keyed[0], bytes_make(secret, DIGEST_BYTES_256)))
		return false;
	keyed[1] = keyed[0];
	write_message(&messages[0], "key", key_len);
	write_message(&messages[1], "iv", iv_len);
	CHECK(crypto_sha256_two(keyed[0].inner, messages[0].bytes, keyed[1].inner, messages[1].bytes));
	for (int i = 0; i < 2; i++) {
		write_digest(messages[i].bytes, keyed[i].inner);
		end_message(&messages[i], DIGEST_BYTES_256);
	}
	CHECK(crypto_sha256_two(keyed[0].outer, messages[0].bytes, keyed[1].outer, messages[1].bytes));
	write_digest(messages[0].bytes, keyed[0].outer);
	write_digest(messages[1].bytes, keyed[1].outer);
	memcpy(key, messages[0].bytes, key_len);
	memcpy(iv, messages[1].bytes, iv_len);
	explicit_bzero(messages, sizeof(messages));
	explicit_bzero(keyed, sizeof(keyed));
	return true;
}

void
derive_traffic_key(enum derive_hash hash, const uint8_t *secret, uint8_t *key, size_t key_len, uint8_t *iv,
		   size_t iv_len)
{
	CHECK(key_len <= derive_hash_bytes(hash) && iv_len <= derive_hash_bytes(hash));
	if (hash == DERIVE_SHA256 && traffic_key_256(secret, key, key_len, iv, iv_len))
		return;
	derive_expand_label(hash, secret, "key", BYTES_NONE, key, key_len);
	derive_expand_label(hash, secret, "iv", BYTES_NONE, iv, iv_len);
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

/* HMAC as RFC 2104 section 2 draws it; base62 by repeated division of the 128-bit number. */
#include "shm/key.h"

#include <string.h>

#include "base/check.h"

#define HMAC_BLOCK_BYTES 64

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static void
absorb_pad(mbedtls_sha256_context *sha, const uint8_t secret[32], uint8_t pad)
{
	uint8_t block[HMAC_BLOCK_BYTES];

	memset(block, pad, sizeof(block));
	for (int i = 0; i < 32; i++)
		block[i] ^= secret[i];
	mbedtls_sha256_init(sha);
	CHECK(mbedtls_sha256_starts(sha, 0) == 0);
	CHECK(mbedtls_sha256_update(sha, block, sizeof(block)) == 0);
}

void
key_pepper_init(struct key_pepper *pepper, const uint8_t secret[32])
{
	absorb_pad(&pepper->inner, secret, 0x36);
	absorb_pad(&pepper->outer, secret, 0x5c);
}

void
key_hash(const struct key_pepper *pepper, struct bytes key, uint8_t hash[KEY_HASH_BYTES])
{
	mbedtls_sha256_context sha;
	uint8_t inner[32];

	mbedtls_sha256_init(&sha);
	mbedtls_sha256_clone(&sha, &pepper->inner);
	CHECK(mbedtls_sha256_update(&sha, key.ptr, key.len) == 0);
	CHECK(mbedtls_sha256_finish(&sha, inner) == 0);
	mbedtls_sha256_clone(&sha, &pepper->outer);
	CHECK(mbedtls_sha256_update(&sha, inner, sizeof(inner)) == 0);
	CHECK(mbedtls_sha256_finish(&sha, hash) == 0);
	mbedtls_sha256_free(&sha);
}

/* CRC-32C, bit by bit: 38 bytes, and not on the packet path. */
static uint32_t
checksum(struct bytes text)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < text.len; i++) {
		crc ^= text.ptr[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (UINT32_C(0x82f63b78) & -(crc & 1));
	}
	return ~crc;
}

static void
emit_base62(char *to, int count, unsigned __int128 number)
{
	for (int i = count - 1; i >= 0; i--) {
		to[i] = digits[number % 62];
		number /= 62;
	}
}

size_t
key_emit(struct bytes prefix, const uint8_t random[KEY_RANDOM_BYTES],
	 char text[KEY_TEXT_BYTES_MAX + 1])
{
	unsigned __int128 number;
	size_t len = prefix.len + KEY_RANDOM_DIGITS;

	CHECK(prefix.len <= KEY_PREFIX_BYTES_MAX);
	memcpy(text, prefix.ptr, prefix.len);
	memcpy(&number, random, sizeof(number));
	emit_base62(text + prefix.len, KEY_RANDOM_DIGITS, number);
	emit_base62(text + len, KEY_CHECKSUM_DIGITS, checksum(bytes_make(text, len)));
	len += KEY_CHECKSUM_DIGITS;
	text[len] = '\0';
	return len;
}

bool
key_is_well_formed(struct bytes key, struct bytes prefix)
{
	char expected[KEY_CHECKSUM_DIGITS];
	struct bytes signed_part;

	if (key.len != prefix.len + KEY_RANDOM_DIGITS + KEY_CHECKSUM_DIGITS ||
	    !bytes_starts_with(key, prefix))
		return false;
	for (size_t i = prefix.len; i < key.len; i++)
		if (key.ptr[i] == '\0' || strchr(digits, key.ptr[i]) == NULL)
			return false;
	signed_part = bytes_make(key.ptr, key.len - KEY_CHECKSUM_DIGITS);
	emit_base62(expected, KEY_CHECKSUM_DIGITS, checksum(signed_part));
	return memcmp(expected, key.ptr + signed_part.len, KEY_CHECKSUM_DIGITS) == 0;
}

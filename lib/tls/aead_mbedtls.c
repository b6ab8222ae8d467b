/*
 * mbedTLS's ciphers. A key is a context that has one, a message under way is a copy of it: neither allocates
 * nor points to anything (MBEDTLS_BLOCK_CIPHER_C in our configuration), and so no instance is entered.
 */
#include <mbedtls/aes.h>
#include <mbedtls/chachapoly.h>
#include <mbedtls/gcm.h>

#include <string.h>

#include "base/check.h"
#include "tls/aead.h"

CHECK_STATIC(sizeof(mbedtls_gcm_context) <= AEAD_RUN_BYTES, "a key and a message under way fit");
CHECK_STATIC(sizeof(mbedtls_chachapoly_context) <= AEAD_RUN_BYTES, "a key and a message under way fit");
CHECK_STATIC(AEAD_RUN_BYTES <= AEAD_EXPANDED_BYTES, "a key becomes a message");
CHECK_STATIC(sizeof(mbedtls_gcm_context) > sizeof(mbedtls_aes_context) + MBEDTLS_GCM_HTABLE_SIZE * 16,
	     "the cipher lies inside, so that no key is allocated");

static mbedtls_gcm_context *
gcm_of(uint8_t *bytes)
{
	return (mbedtls_gcm_context *)(void *)bytes;
}

static mbedtls_chachapoly_context *
chacha_of(uint8_t *bytes)
{
	return (mbedtls_chachapoly_context *)(void *)bytes;
}

/* What can fail in mbedTLS here is a wrong length or order: our mistake. */
static void
gcm_expand(const uint8_t *key, unsigned int bits, struct aead_key *to)
{
	mbedtls_gcm_init(gcm_of(to->bytes));
	CHECK(mbedtls_gcm_setkey(gcm_of(to->bytes), MBEDTLS_CIPHER_ID_AES, key, bits) == 0);
}

static void
gcm_128_expand(void *engine, const uint8_t *key, struct aead_key *to)
{
	(void)engine;
	gcm_expand(key, 128, to);
}

static void
gcm_256_expand(void *engine, const uint8_t *key, struct aead_key *to)
{
	(void)engine;
	gcm_expand(key, 256, to);
}

static void
gcm_begin(void *engine, const struct aead_key *key, struct aead_run *run,
	  const uint8_t nonce[AEAD_NONCE_BYTES], const uint8_t *aad, size_t aad_len, bool seals)
{
	(void)engine;
	memcpy(run->bytes, key->bytes, sizeof(mbedtls_gcm_context));
	CHECK(mbedtls_gcm_starts(gcm_of(run->bytes), seals ? MBEDTLS_GCM_ENCRYPT : MBEDTLS_GCM_DECRYPT, nonce,
				 AEAD_NONCE_BYTES) == 0);
	CHECK(mbedtls_gcm_update_ad(gcm_of(run->bytes), aad, aad_len) == 0);
}

static void
gcm_crypt(void *engine, const struct aead_key *key, struct aead_run *run, uint8_t *bytes, size_t len)
{
	size_t done = 0;

	(void)engine;
	(void)key;
	CHECK(mbedtls_gcm_update(gcm_of(run->bytes), bytes, len, bytes, len, &done) == 0 && done == len);
}

static void
gcm_finish(void *engine, const struct aead_key *key, struct aead_run *run, uint8_t tag[AEAD_TAG_BYTES])
{
	size_t done = 0;

	(void)engine;
	(void)key;
	CHECK(mbedtls_gcm_finish(gcm_of(run->bytes), NULL, 0, &done, tag, AEAD_TAG_BYTES) == 0 && done == 0);
}

static void
chacha_expand(void *engine, const uint8_t *key, struct aead_key *to)
{
	(void)engine;
	mbedtls_chachapoly_init(chacha_of(to->bytes));
	CHECK(mbedtls_chachapoly_setkey(chacha_of(to->bytes), key) == 0);
}

static void
chacha_begin(void *engine, const struct aead_key *key, struct aead_run *run,
	     const uint8_t nonce[AEAD_NONCE_BYTES], const uint8_t *aad, size_t aad_len, bool seals)
{
	(void)engine;
	memcpy(run->bytes, key->bytes, sizeof(mbedtls_chachapoly_context));
	CHECK(mbedtls_chachapoly_starts(chacha_of(run->bytes), nonce,
					seals ? MBEDTLS_CHACHAPOLY_ENCRYPT : MBEDTLS_CHACHAPOLY_DECRYPT) ==
	      0);
	CHECK(mbedtls_chachapoly_update_aad(chacha_of(run->bytes), aad, aad_len) == 0);
}

static void
chacha_crypt(void *engine, const struct aead_key *key, struct aead_run *run, uint8_t *bytes, size_t len)
{
	(void)engine;
	(void)key;
	CHECK(mbedtls_chachapoly_update(chacha_of(run->bytes), len, bytes, bytes) == 0);
}

static void
chacha_finish(void *engine, const struct aead_key *key, struct aead_run *run, uint8_t tag[AEAD_TAG_BYTES])
{
	(void)engine;
	(void)key;
	CHECK(mbedtls_chachapoly_finish(chacha_of(run->bytes), tag) == 0);
}

static const struct aead_calls calls[AEAD_CIPHERS] = {
	[AEAD_AES_128_GCM] = { gcm_128_expand, gcm_begin, gcm_crypt, gcm_crypt, gcm_finish },
	[AEAD_AES_256_GCM] = { gcm_256_expand, gcm_begin, gcm_crypt, gcm_crypt, gcm_finish },
	[AEAD_CHACHA20_POLY1305] = { chacha_expand, chacha_begin, chacha_crypt, chacha_crypt, chacha_finish },
};

void
aead_mbedtls_init(struct aead *aead)
{
	aead->name = "mbedtls";
	memcpy(aead->calls, calls, sizeof(calls));
}

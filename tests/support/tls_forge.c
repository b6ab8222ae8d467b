/* The record layer once more, for tests: short, slow, and independent of lib/tls/protection.c. */
#include "tls_forge.h"

#include <mbedtls/chachapoly.h>
#include <mbedtls/gcm.h>

#include "base/check.h"

void
tls_forge_records(struct records *r, bool is_13, enum aead_cipher cipher, bool is_client)
{
	static const struct records_master master = { "a master secret", "client random", "server random" };
	static const uint8_t ours[48] = "our application traffic secret, longer for 384";
	static const uint8_t theirs[48] = "their application traffic secret, longer too..";

	if (is_13)
		records_begin_13(r, cipher, ours, theirs, 0, is_client);
	else
		records_begin_12(r, cipher, &master, is_client);
}

struct tls_forge
tls_forge_make(const struct records *r, const struct records_way *way)
{
	return (struct tls_forge){ *way, (enum aead_cipher)r->cipher, r->is_13 };
}

void
tls_forge_renew(struct tls_forge *forge)
{
	enum derive_hash hash = forge->cipher == AEAD_AES_256_GCM ? DERIVE_SHA384 : DERIVE_SHA256;
	uint8_t next[DERIVE_HASH_BYTES_MAX];

	derive_expand_label(hash, forge->way.secret, "traffic upd", BYTES_NONE, next, derive_hash_bytes(hash));
	memcpy(forge->way.secret, next, derive_hash_bytes(hash));
	derive_expand_label(hash, next, "key", BYTES_NONE, forge->way.key, aead_key_bytes(forge->cipher));
	derive_expand_label(hash, next, "iv", BYTES_NONE, forge->way.iv, sizeof(forge->way.iv));
	forge->way.sequence = 0;
}

static void
big_endian(uint8_t *to, uint64_t value, int bytes)
{
	for (int i = bytes - 1; i >= 0; i--, value >>= 8)
		to[i] = (uint8_t)value;
}

static bool
is_explicit(const struct tls_forge *forge)
{
	return !forge->is_13 && forge->cipher != AEAD_CHACHA20_POLY1305;
}

/* One whole message, from and to the same place or not. Opening: whether the tag is right. */
static bool
crypt(const struct tls_forge *forge, bool seals, const uint8_t *nonce, struct bytes aad, struct bytes from,
      uint8_t *to, uint8_t *tag)
{
	mbedtls_chachapoly_context chacha;
	mbedtls_gcm_context gcm;
	unsigned int bits = forge->cipher == AEAD_AES_128_GCM ? 128 : 256;
	int failed;

	if (forge->cipher == AEAD_CHACHA20_POLY1305) {
		mbedtls_chachapoly_init(&chacha);
		CHECK(mbedtls_chachapoly_setkey(&chacha, forge->way.key) == 0);
		failed = seals ? mbedtls_chachapoly_encrypt_and_tag(&chacha, from.len, nonce, aad.ptr,
								    aad.len, from.ptr, to, tag) :
				 mbedtls_chachapoly_auth_decrypt(&chacha, from.len, nonce, aad.ptr, aad.len,
								 tag, from.ptr, to);
		mbedtls_chachapoly_free(&chacha);
		return failed == 0;
	}
	mbedtls_gcm_init(&gcm);
	CHECK(mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, forge->way.key, bits) == 0);
	failed = seals ? mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, from.len, nonce, 12, aad.ptr,
						   aad.len, from.ptr, to, 16, tag) :
			 mbedtls_gcm_auth_decrypt(&gcm, from.len, nonce, 12, aad.ptr, aad.len, tag, 16,
						  from.ptr, to);
	mbedtls_gcm_free(&gcm);
	return failed == 0;
}

static void
nonce_of(const struct tls_forge *forge, const uint8_t *sent, uint8_t nonce[12])
{
	uint8_t sequence[12] = { 0 };

	memcpy(nonce, forge->way.iv, 12);
	if (is_explicit(forge)) {
		memcpy(nonce + 4, sent, 8);
		return;
	}
	big_endian(sequence + 4, forge->way.sequence, 8);
	for (int i = 0; i < 12; i++)
		nonce[i] ^= sequence[i];
}

static struct bytes
aad_of(const struct tls_forge *forge, const uint8_t *header, size_t content_len, uint8_t aad[13])
{
	if (forge->is_13)
		return bytes_make(header, 5);
	big_endian(aad, forge->way.sequence, 8);
	memcpy(aad + 8, header, 3);
	big_endian(aad + 11, content_len, 2);
	return bytes_make(aad, 13);
}

size_t
tls_forge_seal(struct tls_forge *forge, uint8_t type, struct bytes content, size_t padding, uint8_t *to)
{
	static uint8_t inner[TLS_FORGE_BYTES_MAX];
	size_t front = is_explicit(forge) ? 13 : 5;
	size_t len = content.len;
	uint8_t nonce[12];
	uint8_t aad[13];

	CHECK(len + padding + 64 <= sizeof(inner));
	if (len > 0)
		memcpy(inner, content.ptr, len);
	if (forge->is_13) {
		inner[len++] = type;
		memset(inner + len, 0, padding);
		len += padding;
	}
	to[0] = forge->is_13 ? 23 : type;
	to[1] = to[2] = 3;
	big_endian(to + 3, front - 5 + len + 16, 2);
	if (is_explicit(forge))
		big_endian(to + 5, forge->way.sequence, 8);
	nonce_of(forge, to + 5, nonce);
	CHECK(crypt(forge, true, nonce, aad_of(forge, to, len, aad), bytes_make(inner, len), to + front,
		    to + front + len));
	forge->way.sequence++;
	return front + len + 16;
}

int
tls_forge_open(struct tls_forge *forge, struct bytes record, uint8_t *type, uint8_t *to)
{
	size_t front = is_explicit(forge) ? 13 : 5;
	size_t len = record.len - front - 16;
	uint8_t nonce[12];
	uint8_t aad[13];
	uint8_t tag[16];

	CHECK(record.len >= front + 16);
	memcpy(tag, record.ptr + front + len, sizeof(tag));
	nonce_of(forge, record.ptr + 5, nonce);
	if (!crypt(forge, false, nonce, aad_of(forge, record.ptr, len, aad),
		   bytes_make(record.ptr + front, len), to, tag))
		return -1;
	forge->way.sequence++;
	*type = record.ptr[0];
	if (!forge->is_13)
		return (int)len;
	while (len > 0 && to[len - 1] == 0)
		len--;
	CHECK(len > 0);
	*type = to[len - 1];
	return (int)len - 1;
}

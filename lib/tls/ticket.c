/* Tickets as RFC 5077 4 recommends them, with an AEAD in place of cipher and MAC. */
#include "tls/ticket.h"

#include <mbedtls/gcm.h>

#include "base/check.h"
#include "tls/conn.h"
#include "tls/hello.h"

#define NONCE_BYTES 12
#define STAMP_BYTES 8
#define STAMPS_BYTES (2 * STAMP_BYTES)
#define TAG_BYTES 16
#define HEAD_BYTES (TICKET_NAME_BYTES + NONCE_BYTES)
#define OVERHEAD_BYTES (HEAD_BYTES + STAMPS_BYTES + TAG_BYTES)

/* The associated data; see ticket.h. */
struct bond {
	uint8_t bytes[TICKET_NAME_BYTES + 1 + 2 + TICKET_POLICY_BYTES + 1 + HELLO_SNI_BYTES_MAX];
	size_t len;
};

static void
bond_make(struct bond *bond, const struct ticket_keeper *keeper, const struct ticket_secret *secret,
	  struct bytes sni)
{
	const struct handshake *hs = mbedtls_ssl_get_user_data_p(keeper->ssl);
	unsigned int version = (unsigned int)mbedtls_ssl_get_version_number(keeper->ssl);
	uint8_t *p = bond->bytes;

	CHECK(sni.len <= HELLO_SNI_BYTES_MAX);
	memcpy(p, secret->name, TICKET_NAME_BYTES);
	p += TICKET_NAME_BYTES;
	*p++ = TICKET_LAYOUT;
	*p++ = (uint8_t)(version >> 8);
	*p++ = (uint8_t)version;
	memcpy(p, hs->policy, TICKET_POLICY_BYTES);
	p += TICKET_POLICY_BYTES;
	*p++ = (uint8_t)sni.len;
	for (size_t i = 0; i < sni.len; i++)
		*p++ = bytes_lower(sni.ptr[i]);
	bond->len = (size_t)(p - bond->bytes);
}

static uint64_t
now_s(const struct ticket_keeper *keeper)
{
	int64_t now = instance_now_s(keeper->instance);

	return now > 0 ? (uint64_t)now : 0;
}

static void
put_stamp(uint8_t *to, uint64_t stamp)
{
	for (int i = 0; i < STAMP_BYTES; i++)
		to[i] = (uint8_t)(stamp >> (8 * i));
}

static uint64_t
get_stamp(const uint8_t *from)
{
	uint64_t stamp = 0;

	for (int i = 0; i < STAMP_BYTES; i++)
		stamp |= (uint64_t)from[i] << (8 * i);
	return stamp;
}

/* Of whoever has shown what a full handshake asks for: from then on, as long as its certificates are good. Whoever
 * is resumed has shown nothing, so that his end stays where it is, however often he comes. */
static uint64_t
end_of_belief(const struct ticket_keeper *keeper, const struct handshake *hs)
{
	uint64_t until_s = now_s(keeper) + keeper->lifetime_s;

	if (!hs->full)
		return hs->resumed_until_s;
	if (hs->is_verified && hs->chain_ends_at_s < (int64_t)until_s)
		return hs->chain_ends_at_s > 0 ? (uint64_t)hs->chain_ends_at_s : 0;
	return until_s;
}

static int
seal(const struct ticket_secret *secret, const struct bond *bond, unsigned char *ticket, size_t sealed_bytes)
{
	unsigned char *text = ticket + HEAD_BYTES;
	mbedtls_gcm_context gcm;
	int failed;

	mbedtls_gcm_init(&gcm);
	failed = mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, secret->key, 8 * TICKET_KEY_BYTES);
	if (failed == 0)
		failed = mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, sealed_bytes,
						   ticket + TICKET_NAME_BYTES, NONCE_BYTES, bond->bytes,
						   bond->len, text, text, TAG_BYTES, text + sealed_bytes);
	mbedtls_gcm_free(&gcm);
	return failed;
}

static int
unseal(const struct ticket_secret *secret, const struct bond *bond, unsigned char *ticket, size_t sealed_bytes)
{
	unsigned char *text = ticket + HEAD_BYTES;
	mbedtls_gcm_context gcm;
	int failed;

	mbedtls_gcm_init(&gcm);
	failed = mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, secret->key, 8 * TICKET_KEY_BYTES);
	if (failed == 0)
		failed = mbedtls_gcm_auth_decrypt(&gcm, sealed_bytes, ticket + TICKET_NAME_BYTES, NONCE_BYTES,
						  bond->bytes, bond->len, text + sealed_bytes, TAG_BYTES, text,
						  text);
	mbedtls_gcm_free(&gcm);
	return failed;
}

int
ticket_write(void *opaque, const mbedtls_ssl_session *session, unsigned char *start,
	     const unsigned char *end, size_t *ticket_len, uint32_t *lifetime_s)
{
	const struct ticket_keeper *keeper = opaque;
	const struct handshake *hs = mbedtls_ssl_get_user_data_p(keeper->ssl);
	const struct ticket_secret *secret = ticket_secrets_choose(&keeper->secrets, now_s(keeper));
	uint64_t until_s = end_of_belief(keeper, hs);
	size_t room = (size_t)(end - start);
	struct bond bond;
	size_t saved = 0;
	int failed;

	/* mbedTLS of TLS 1.2 sends what these say in any case: no ticket. */
	*ticket_len = 0;
	*lifetime_s = 0;
	if (room > TICKET_BYTES_MAX)
		room = TICKET_BYTES_MAX;
	if (room < OVERHEAD_BYTES)
		return MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL;
	failed = mbedtls_ssl_session_save(session, start + HEAD_BYTES + STAMPS_BYTES,
					  room - OVERHEAD_BYTES, &saved);
	if (failed != 0)
		return failed;
	bond_make(&bond, keeper, secret, bytes_make(hs->sni, hs->sni_len));
	memcpy(start, secret->name, TICKET_NAME_BYTES);
	failed = instance_random(keeper->instance, start + TICKET_NAME_BYTES, NONCE_BYTES);
	if (failed == 0) {
		put_stamp(start + HEAD_BYTES, now_s(keeper));
		put_stamp(start + HEAD_BYTES + STAMP_BYTES, until_s);
		failed = seal(secret, &bond, start, STAMPS_BYTES + saved);
	}
	if (failed != 0) {
		explicit_bzero(start, room);
		return failed;
	}
	*ticket_len = OVERHEAD_BYTES + saved;
	/* 0 in the last second: forget it (RFC 8446 4.6.1). */
	*lifetime_s = until_s > now_s(keeper) ? (uint32_t)(until_s - now_s(keeper)) : 0;
	return 0;
}

/* The message that the ticket came in. */
static struct bytes
hello_of(const struct ticket_keeper *keeper)
{
	return bytes_make(keeper->ssl->MBEDTLS_PRIVATE(in_msg), keeper->ssl->MBEDTLS_PRIVATE(in_hslen));
}

/* Issued by a clock that is a little ahead of ours, or within its lifetime, and still believed. */
static bool
is_alive(const struct ticket_keeper *keeper, uint64_t issued_s, uint64_t until_s)
{
	uint64_t now = now_s(keeper);

	if (now >= until_s)
		return false;
	return issued_s > now ? issued_s - now <= TICKET_SKEW_S : now - issued_s < keeper->lifetime_s;
}

/* Any failure but these two ends the handshake; these make it a full one. */
int
ticket_parse(void *opaque, mbedtls_ssl_session *session, unsigned char *ticket, size_t len)
{
	const struct ticket_keeper *keeper = opaque;
	struct handshake *hs = mbedtls_ssl_get_user_data_p(keeper->ssl);
	const struct ticket_secret *secret;
	struct hello hello;
	struct bond bond;
	size_t sealed_bytes;

	if (len < OVERHEAD_BYTES || len > TICKET_BYTES_MAX || hello_parse(hello_of(keeper), &hello) != ERR_OK)
		return MBEDTLS_ERR_SSL_INVALID_MAC;
	secret = ticket_secrets_find(&keeper->secrets, ticket);
	if (secret == NULL)
		return MBEDTLS_ERR_SSL_INVALID_MAC;
	sealed_bytes = len - HEAD_BYTES - TAG_BYTES;
	bond_make(&bond, keeper, secret, hello.sni);
	if (unseal(secret, &bond, ticket, sealed_bytes) != 0)
		return MBEDTLS_ERR_SSL_INVALID_MAC;
	hs->resumed_until_s = get_stamp(ticket + HEAD_BYTES + STAMP_BYTES);
	if (!is_alive(keeper, get_stamp(ticket + HEAD_BYTES), hs->resumed_until_s))
		return MBEDTLS_ERR_SSL_SESSION_TICKET_EXPIRED;
	/* Authentic, but of another build of us, say: not the client's fault. */
	if (mbedtls_ssl_session_load(session, ticket + HEAD_BYTES + STAMPS_BYTES,
				     sealed_bytes - STAMPS_BYTES) != 0)
		return MBEDTLS_ERR_SSL_INVALID_MAC;
	/* mbedTLS of TLS 1.3 would end the handshake. */
	if (!hello_offers(&hello, (uint16_t)mbedtls_ssl_session_get_ciphersuite_id(session)))
		return MBEDTLS_ERR_SSL_SESSION_TICKET_EXPIRED;
	return 0;
}

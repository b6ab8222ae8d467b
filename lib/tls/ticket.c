/* Tickets as RFC 5077 4 recommends them, with an AEAD in place of cipher and MAC. */
#include "tls/ticket.h"

#include <mbedtls/gcm.h>

#include "base/check.h"
#include "tls/keyhash.h"

#define NAME_BYTES 16
#define NONCE_BYTES 12
#define STAMP_BYTES 8
#define TAG_BYTES 16
#define HEAD_BYTES (NAME_BYTES + NONCE_BYTES)
#define OVERHEAD_BYTES (HEAD_BYTES + STAMP_BYTES + TAG_BYTES)

struct ticket_key {
	uint8_t name[KEYHASH_BYTES]; /* the first NAME_BYTES are shown */
	uint8_t key[KEYHASH_BYTES];
};

CHECK_STATIC(sizeof(((struct ticket_keeper *)0)->secret) == KEYHASH_PEPPER_BYTES,
	     "the secret keys an HMAC");

/* One byte of purpose and the period's number, under the secret. */
static void
derive(const struct ticket_keeper *keeper, uint8_t purpose, uint64_t period,
       uint8_t out[KEYHASH_BYTES])
{
	uint8_t label[9] = { purpose };

	for (int i = 0; i < 8; i++)
		label[1 + i] = (uint8_t)(period >> (8 * i));
	keyhash_make(keeper->secret, bytes_make(label, sizeof(label)), out);
}

static void
key_of_period(const struct ticket_keeper *keeper, uint64_t period, struct ticket_key *key)
{
	derive(keeper, 'n', period, key->name);
	derive(keeper, 'k', period, key->key);
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

static int
seal(const struct ticket_key *key, unsigned char *ticket, size_t sealed_bytes)
{
	unsigned char *text = ticket + HEAD_BYTES;
	mbedtls_gcm_context gcm;
	int failed;

	mbedtls_gcm_init(&gcm);
	failed = mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key->key, 256);
	if (failed == 0)
		failed = mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, sealed_bytes,
						   ticket + NAME_BYTES, NONCE_BYTES, ticket,
						   NAME_BYTES, text, text, TAG_BYTES,
						   text + sealed_bytes);
	mbedtls_gcm_free(&gcm);
	return failed;
}

static int
unseal(const struct ticket_key *key, unsigned char *ticket, size_t sealed_bytes)
{
	unsigned char *text = ticket + HEAD_BYTES;
	mbedtls_gcm_context gcm;
	int failed;

	mbedtls_gcm_init(&gcm);
	failed = mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key->key, 256);
	if (failed == 0)
		failed = mbedtls_gcm_auth_decrypt(&gcm, sealed_bytes, ticket + NAME_BYTES,
						  NONCE_BYTES, ticket, NAME_BYTES,
						  text + sealed_bytes, TAG_BYTES, text, text);
	mbedtls_gcm_free(&gcm);
	return failed;
}

int
ticket_write(void *opaque, const mbedtls_ssl_session *session, unsigned char *start,
	     const unsigned char *end, size_t *ticket_len, uint32_t *lifetime_s)
{
	const struct ticket_keeper *keeper = opaque;
	struct ticket_key key;
	size_t room = (size_t)(end - start);
	size_t saved = 0;
	int failed;

	if (room < OVERHEAD_BYTES)
		return MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL;
	failed = mbedtls_ssl_session_save(session, start + HEAD_BYTES + STAMP_BYTES,
					  room - OVERHEAD_BYTES, &saved);
	if (failed != 0)
		return failed;
	key_of_period(keeper, now_s(keeper) / keeper->lifetime_s, &key);
	memcpy(start, key.name, NAME_BYTES);
	failed = instance_random(keeper->instance, start + NAME_BYTES, NONCE_BYTES);
	if (failed == 0) {
		put_stamp(start + HEAD_BYTES, now_s(keeper));
		failed = seal(&key, start, STAMP_BYTES + saved);
	}
	explicit_bzero(&key, sizeof(key));
	if (failed != 0) {
		explicit_bzero(start, room);
		return failed;
	}
	*ticket_len = OVERHEAD_BYTES + saved;
	*lifetime_s = keeper->lifetime_s;
	return 0;
}

/* The key whose name the ticket bears: of this period or of the last. */
static bool
find_key(const struct ticket_keeper *keeper, const unsigned char *ticket, struct ticket_key *key)
{
	uint64_t period = now_s(keeper) / keeper->lifetime_s;

	for (uint64_t back = 0; back <= 1 && back <= period; back++) {
		key_of_period(keeper, period - back, key);
		if (memcmp(key->name, ticket, NAME_BYTES) == 0)
			return true;
	}
	return false;
}

/* Any failure but these two ends the handshake; these make it a full one. */
int
ticket_parse(void *opaque, mbedtls_ssl_session *session, unsigned char *ticket, size_t len)
{
	const struct ticket_keeper *keeper = opaque;
	struct ticket_key key;
	size_t sealed_bytes;
	uint64_t issued_s;
	int failed;

	if (len < OVERHEAD_BYTES || !find_key(keeper, ticket, &key))
		return MBEDTLS_ERR_SSL_INVALID_MAC;
	sealed_bytes = len - HEAD_BYTES - TAG_BYTES;
	failed = unseal(&key, ticket, sealed_bytes);
	explicit_bzero(&key, sizeof(key));
	if (failed != 0)
		return MBEDTLS_ERR_SSL_INVALID_MAC;
	issued_s = get_stamp(ticket + HEAD_BYTES);
	if (issued_s > now_s(keeper) || now_s(keeper) - issued_s >= keeper->lifetime_s)
		return MBEDTLS_ERR_SSL_SESSION_TICKET_EXPIRED;
	failed = mbedtls_ssl_session_load(session, ticket + HEAD_BYTES + STAMP_BYTES,
					  sealed_bytes - STAMP_BYTES);
	/* Authentic, but of another build of us, say: not the client's fault. */
	if (failed != 0)
		return MBEDTLS_ERR_SSL_INVALID_MAC;
	/* mbedTLS itself would resume TLS 1.2 from a ticket of TLS 1.3, which has no
	 * master secret. */
	if (session->MBEDTLS_PRIVATE(tls_version) != mbedtls_ssl_get_version_number(keeper->ssl))
		return MBEDTLS_ERR_SSL_SESSION_TICKET_EXPIRED;
	return 0;
}

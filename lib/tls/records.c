/* The life of a connection's keys, and what is said about it: KeyUpdate, alerts. */
#include "tls/records.h"

#include "base/check.h"
#include "tls/protection.h"
#include "tls/records_internal.h"

#define OWES_RENEW 1u /* KeyUpdate */
#define OWES_ASK 2u /* with update_requested */
#define OWES_REFUSAL 4u /* no_renegotiation, a warning */
#define OWES_ALERT 8u

#define ALERT_WARNING 1
#define ALERT_FATAL 2

static enum derive_hash
hash_of(const struct records *r)
{
	return r->cipher == AEAD_AES_256_GCM ? DERIVE_SHA384 : DERIVE_SHA256;
}

/* RFC 8446 7.3. */
static void
make_keys(const struct records *r, struct records_way *way)
{
	memset(way->key, 0, sizeof(way->key));
	derive_traffic_key(hash_of(r), way->secret, way->key, aead_key_bytes(r->cipher), way->iv, sizeof(way->iv));
}

void
records_begin_13(struct records *r, enum aead_cipher cipher, const uint8_t *send_secret,
		 const uint8_t *receive_secret, uint64_t sent, bool is_client)
{
	size_t len;

	memset(r, 0, sizeof(*r));
	r->cipher = (uint8_t)cipher;
	r->is_13 = true;
	r->is_client = is_client;
	len = derive_hash_bytes(hash_of(r));
	memcpy(r->send.secret, send_secret, len);
	memcpy(r->receive.secret, receive_secret, len);
	make_keys(r, &r->send);
	make_keys(r, &r->receive);
	r->send.sequence = sent;
}

/* RFC 5246 6.3: both keys, then both fixed parts of the nonces, the client's first. */
void
records_begin_12(struct records *r, enum aead_cipher cipher, const struct records_master *master,
		 bool is_client)
{
	size_t key_bytes = aead_key_bytes(cipher);
	size_t iv_bytes = cipher == AEAD_CHACHA20_POLY1305 ? AEAD_NONCE_BYTES : PROTECTION_SALT_BYTES;
	uint8_t block[2 * (AEAD_KEY_BYTES_MAX + AEAD_NONCE_BYTES)];
	uint8_t seed[sizeof(master->server_random) + sizeof(master->client_random)];
	struct records_way *client;
	struct records_way *server;

	memset(r, 0, sizeof(*r));
	r->cipher = (uint8_t)cipher;
	r->is_client = is_client;
	client = is_client ? &r->send : &r->receive;
	server = is_client ? &r->receive : &r->send;
	memcpy(seed, master->server_random, sizeof(master->server_random));
	memcpy(seed + sizeof(master->server_random), master->client_random, sizeof(master->client_random));
	derive_prf(hash_of(r), bytes_make(master->secret, sizeof(master->secret)), "key expansion",
		   bytes_make(seed, sizeof(seed)), block, 2 * (key_bytes + iv_bytes));
	memcpy(client->key, block, key_bytes);
	memcpy(server->key, block + key_bytes, key_bytes);
	memcpy(client->iv, block + 2 * key_bytes, iv_bytes);
	memcpy(server->iv, block + 2 * key_bytes + iv_bytes, iv_bytes);
	explicit_bzero(block, sizeof(block));
	r->send.sequence = 1;
	r->receive.sequence = 1;
}

void
records_end(struct records *r, struct keyring *ring)
{
	keyring_forget(ring, r->send.key);
	keyring_forget(ring, r->receive.key);
	explicit_bzero(r, sizeof(*r));
}

/* RFC 8446 7.2. */
static void
next_generation(struct records *r, struct keyring *ring, struct records_way *way)
{
	uint8_t secret[DERIVE_HASH_BYTES_MAX];
	size_t len = derive_hash_bytes(hash_of(r));

	keyring_forget(ring, way->key);
	derive_expand_label(hash_of(r), way->secret, "traffic upd", BYTES_NONE, secret, len);
	memcpy(way->secret, secret, len);
	explicit_bzero(secret, sizeof(secret));
	make_keys(r, way);
	way->sequence = 0;
}

void
records_renew(struct records *r, bool asks)
{
	if (!r->is_13 || r->verdict != ERR_OK || r->close_sent)
		return;
	r->owes |= (uint8_t)(OWES_RENEW | (asks ? OWES_ASK : 0));
}

enum err
records_fail(struct records *r, enum err verdict, enum records_alert alert)
{
	r->verdict = (uint16_t)verdict;
	r->alert = (uint8_t)alert;
	r->owes = r->close_sent ? 0 : OWES_ALERT;
	return verdict;
}

enum err
records_useless(struct records *r)
{
	if (++r->useless > RECORDS_USELESS_MAX)
		return records_fail(r, ERR_TLS_FLOOD, ALERT_UNEXPECTED_MESSAGE);
	return ERR_OK;
}

/* RFC 8446 4.6.3: an answer is owed if the peer asks, one for however many questions. */
enum err
records_updated(struct records *r, struct keyring *ring, bool asks, uint64_t now_ns)
{
	if (r->updates == 0 || now_ns - r->updates_from_ns >= RECORDS_UPDATES_NS) {
		r->updates = 0;
		r->updates_from_ns = now_ns;
	}
	if (++r->updates > RECORDS_UPDATES_MAX)
		return records_fail(r, ERR_TLS_FLOOD, ALERT_UNEXPECTED_MESSAGE);
	next_generation(r, ring, &r->receive);
	if (asks)
		records_renew(r, false);
	return ERR_OK;
}

void
records_refuse(struct records *r)
{
	if (!r->close_sent)
		r->owes |= OWES_REFUSAL;
}

void
records_close(struct records *r)
{
	if (r->verdict != ERR_OK || r->close_sent || (r->owes & OWES_ALERT) != 0)
		return;
	r->alert = ALERT_CLOSE_NOTIFY;
	r->owes |= OWES_ALERT;
}

bool
records_owes(const struct records *r)
{
	return r->owes != 0;
}

/* A short record of our own making; without a key that may still be used, none. */
static size_t
say(struct records *r, struct keyring *ring, enum protection_type type, uint8_t *to, const uint8_t *text,
    size_t len)
{
	size_t head = records_head_bytes(r);
	struct piece piece = { to + head, len };
	struct pieces plain = { &piece, 1 };

	if (r->send.sequence >= protection_max(r))
		return 0;
	memcpy(to + head, text, len);
	protection_seal(r, ring, type, &plain, to, to + head + len);
	return head + len + records_tail_bytes(r);
}

static size_t
say_alert(struct records *r, struct keyring *ring, uint8_t *to, uint8_t level, uint8_t alert)
{
	const uint8_t text[2] = { level, alert };

	return say(r, ring, PROTECTION_ALERT, to, text, sizeof(text));
}

static size_t
say_update(struct records *r, struct keyring *ring, uint8_t *to)
{
	const uint8_t text[5] = { MESSAGE_KEY_UPDATE, 0, 0, 1, (r->owes & OWES_ASK) != 0 };
	size_t written = say(r, ring, PROTECTION_HANDSHAKE, to, text, sizeof(text));

	if (written > 0)
		next_generation(r, ring, &r->send);
	return written;
}

/* TLS 1.3: a KeyUpdate of 5 bytes and an alert of 2. TLS 1.2: two alerts. */
CHECK_STATIC(RECORDS_ANSWER_BYTES_MAX >= 5 + 2 + 2 * (5 + RECORDS_TAIL_BYTES_MAX), "room for an answer");
CHECK_STATIC(RECORDS_ANSWER_BYTES_MAX >= 2 + 2 + 2 * (RECORDS_HEAD_BYTES_MAX + AEAD_TAG_BYTES), "the same");

enum err
records_answer(struct records *r, struct keyring *ring, uint8_t *to, size_t room, size_t *written)
{
	*written = 0;
	if (r->owes == 0)
		return ERR_OK;
	if (room < RECORDS_ANSWER_BYTES_MAX)
		return ERR_TLS_FULL;
	if ((r->owes & OWES_RENEW) != 0)
		*written += say_update(r, ring, to);
	if ((r->owes & OWES_REFUSAL) != 0)
		*written += say_alert(r, ring, to + *written, ALERT_WARNING, ALERT_NO_RENEGOTIATION);
	if ((r->owes & OWES_ALERT) != 0) {
		*written += say_alert(r, ring, to + *written,
				      r->alert == ALERT_CLOSE_NOTIFY ? ALERT_WARNING : ALERT_FATAL, r->alert);
		r->close_sent = true;
	}
	r->owes = 0;
	return ERR_OK;
}

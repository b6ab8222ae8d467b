/*
 * What a server says, into a connection that we open: a server of ours speaks, and what it says is changed below
 * the protection (meddler.h), in its handshake and behind it. The client must not open by a handshake that was
 * changed, nor read what was not said, and the next connections must find a way in whatever was kept of this one.
 *
 *   | how: version, cipher, retry, listener (2 bits), resumed, by pin | bytes per call, 0: all |
 *   | room per call / 16, 0: plenty | edits |
 */
#include "heap_arena.h"

#include <stdio.h>

#include "base/units.h"
#include "cert_file.h"
#include "hearer.h"
#include "tls/cert.h"
#include "tls/conn.h"
#include "tls_duo.h"
#include "tls_pairing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LISTENERS 4
#define TLS12 1 /* of how */
#define RETRY 8
#define RESUMED 64
#define BY_PIN 128

/* What stays behind once: PSA's key slots. */
#define BLOCKS_KEPT_MAX 24

static const struct {
	const char *pair;
	const char *name;
} listeners[LISTENERS] = {
	{ "edge", "api.sluice.test" },
	{ "rsa", "api.sluice.test" },
	{ "chain", "chain.sluice.test" },
	{ "edge", "api.sluice.test" }, /* asks for a certificate of ours, which we do not have */
};

static const int suites[AEAD_CIPHERS][4] = {
	[AEAD_AES_128_GCM] = { MBEDTLS_TLS1_3_AES_128_GCM_SHA256, MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			       MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 },
	[AEAD_AES_256_GCM] = { MBEDTLS_TLS1_3_AES_256_GCM_SHA384, MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			       MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 },
	[AEAD_CHACHA20_POLY1305] = { MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
				     MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
				     MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 },
};
static const uint16_t any_group[] = { MBEDTLS_SSL_IANA_TLS_GROUP_X25519, MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
				      MBEDTLS_SSL_IANA_TLS_GROUP_NONE };
static const uint16_t p256[] = { MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, MBEDTLS_SSL_IANA_TLS_GROUP_NONE };

static struct tls_context *ours, *theirs;
static struct seeded our_seed, their_seed;
static size_t blocks_at_start;

static struct meddler meddler;
static struct meddler_secrets secrets;
static mbedtls_ssl_export_keys_t *keep_keys;

static struct hearer client;
static struct tls_conn *server;
static struct tls_stream at_server;
static enum err server_verdict;

/* --- the two ends ------------------------------------------------------------------------------ */

static struct tls_context *
connecting(void)
{
	struct tls_authorities *authorities = tls_authorities_new();
	struct tls_context_config config = { .conns_max = 1,
					     .connects_max = 1,
					     .sessions_max = 4,
					     .entropy = seeded_entropy,
					     .owner = &our_seed,
					     .authorities = authorities };
	struct tls_context *context;
	uint32_t skipped;
	char text[256];

	CHECK(tls_authorities_add(authorities, "ca", cert_file("ca.pem"), &skipped, text, sizeof(text)) == ERR_OK);
	context = tls_context_new(&config, NULL);
	CHECK(context != NULL);
	tls_authorities_free(authorities);
	tls_set_time(context, TLS_DUO_NOW_S);
	return context;
}

static struct tls_context *
accepting(void)
{
	struct tls_identity *identity = tls_identity_new();
	struct tls_context *context;
	char text[CERT_TEXT_BYTES];

	for (uint32_t i = 0; i < LISTENERS; i++) {
		char chain[32], key[32];

		snprintf(chain, sizeof(chain), "%s.pem", listeners[i].pair);
		snprintf(key, sizeof(key), "%s.key", listeners[i].pair);
		CHECK(tls_identity_add(identity, i, cert_file(chain), cert_file(key), CERT_ANY_TIME, text,
				       sizeof(text)) == ERR_OK);
	}
	CHECK(tls_identity_add_client_ca(identity, LISTENERS - 1, cert_file("ca.pem"), text, sizeof(text)) ==
	      ERR_OK);
	context = tls_duo_context(identity, 1, &their_seed, 0x11);
	tls_identity_free(identity);
	return context;
}

/* mbedtls_ssl_export_keys_t, in front of the library's own. */
static void
overhear(void *opaque, mbedtls_ssl_key_export_type type, const unsigned char *secret, size_t len,
	 const unsigned char client_random[32], const unsigned char server_random[32], mbedtls_tls_prf_types prf)
{
	CHECK(len <= DERIVE_HASH_BYTES_MAX);
	if (type == MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_HANDSHAKE_TRAFFIC_SECRET)
		memcpy(secrets.handshake, secret, len);
	if (type == MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_APPLICATION_TRAFFIC_SECRET)
		memcpy(secrets.application, secret, len);
	if (type == MBEDTLS_SSL_KEY_EXPORT_TLS12_MASTER_SECRET) {
		memcpy(secrets.master.secret, secret, len);
		memcpy(secrets.master.client_random, client_random, 32);
		memcpy(secrets.master.server_random, server_random, 32);
	}
	keep_keys(opaque, type, secret, len, client_random, server_random, prf);
}

static void
begin(uint8_t how, const struct tls_target *target, struct bytes edits)
{
	enum aead_cipher cipher = (how >> 1 & 3) % AEAD_CIPHERS;
	mbedtls_ssl_context *ssl;

	mbedtls_ssl_conf_max_tls_version(&theirs->config, (how & TLS12) != 0 ? MBEDTLS_SSL_VERSION_TLS1_2 :
									      MBEDTLS_SSL_VERSION_TLS1_3);
	mbedtls_ssl_conf_ciphersuites(&theirs->config, suites[cipher]);
	mbedtls_ssl_conf_groups(&theirs->config, (how & RETRY) != 0 ? p256 : any_group);
	server = tls_accept(theirs, how >> 4 & 3, false);
	server_verdict = ERR_TLS_AGAIN;
	memset(&at_server, 0, sizeof(at_server));
	hearer_begin(&client, tls_connect(ours, target), &meddler);
	CHECK(server != NULL && client.conn != NULL);
	ssl = &server->handshake->ssl;
	keep_keys = ssl->MBEDTLS_PRIVATE(f_export_keys);
	mbedtls_ssl_set_export_keys_cb(ssl, overhear, server->handshake);
	meddler_begin(&meddler, edits, &secrets, cipher, (how & TLS12) == 0, false);
}

static void
end(void)
{
	tls_conn_free(client.conn);
	tls_conn_free(server);
}

/* --- the server, and what becomes of its records ------------------------------------------------------ */

/* True: it said something. */
static bool
serve(void)
{
	static uint8_t flight[65536];
	struct bytes in = bytes_make(client.said, client.said_len);
	struct tls_out out = { flight, sizeof(flight), 0 };
	uint8_t dropped[4096];
	struct tls_out plain = { dropped, sizeof(dropped), 0 };

	while (!hearer_is_final(server_verdict)) {
		CHECK(client.calls++ < HEARER_CALLS_MAX);
		server_verdict = tls_is_open(server) ? tls_stream_open(&at_server, server, &in, &plain, &out) :
						       tls_handshake(server, &in, &out);
		if (server_verdict == ERR_MORE)
			break;
	}
	client.said_len = 0;
	hearer_carry(&client, bytes_make(flight, out.used));
	return out.used > 0;
}

static void
talk(void)
{
	hearer_hear(&client, BYTES_LITERAL(""));
	while (serve())
		;
	hearer_finish(&client);
}

/* An honest server; true: both are open. */
static bool
is_reached(uint8_t how, const struct tls_target *target)
{
	bool opened;

	begin(how, target, BYTES_LITERAL(""));
	talk();
	opened = tls_is_open(client.conn) && tls_is_open(server);
	end();
	return opened;
}

static struct tls_target
target_of(uint8_t how)
{
	unsigned int listener = how >> 4 & 3;
	/* The one that asks for a certificate is known by its address, where others are by a pin. */
	const char *name = (how & BY_PIN) != 0 ? "127.0.0.1" : listeners[listener].name;
	struct tls_target target = pairing_target(name);

	if ((how & BY_PIN) != 0 && listener < LISTENERS - 1)
		return pairing_pinned(listeners[listener].pair);
	target.authority = tls_find_authority(ours, BYTES_LITERAL("ca"));
	return target;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tls_target targets[256];
	struct tls_target *target;
	bool asks_client;

	if (size < 3)
		return 0;
	if (ours == NULL) {
		ours = connecting();
		theirs = accepting();
		for (unsigned int i = 0; i < COUNT_OF(targets); i++)
			targets[i] = target_of((uint8_t)i);
		blocks_at_start = tls_context_memory(ours).blocks;
	}
	target = &targets[data[0]];
	asks_client = (data[0] >> 4 & 3) == LISTENERS - 1;
	reseed(ours->instance, &our_seed, 1);
	reseed(theirs->instance, &their_seed, 2);
	if ((data[0] & RESUMED) != 0)
		CHECK(is_reached(data[0], target) || asks_client);
	begin(data[0], target, bytes_make(data + 3, size - 3));
	if (data[1] != 0)
		client.piece = data[1];
	if (data[2] != 0)
		client.room = data[2] * 16u;
	talk();
	end();
	/* A session that the server had no part in may cost one connection. */
	if (meddler.has_edited && !asks_client)
		CHECK(is_reached(data[0], target) || is_reached(data[0], target));
	sessions_forget(&ours->clients.sessions, target);
	CHECK(tls_context_memory(ours).blocks <= blocks_at_start + BLOCKS_KEPT_MAX);
	return 0;
}

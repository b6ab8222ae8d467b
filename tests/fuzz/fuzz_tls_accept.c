/*
 * What a client says, into a connection that we accept: stock mbedTLS speaks, and what it says is changed below
 * the protection (meddler.h), in its handshake and behind it. The server must not open by a handshake that was
 * changed, nor read what was not said.
 *
 *   | how: version, cipher (2 bits), retry, asks for a certificate, an RSA one, resumed, no certificate |
 *   | bytes per call, 0: all | room per call / 16, 0: plenty | edits |
 */
#include "heap_arena.h"

#include "base/units.h"
#include "cert_file.h"
#include "hearer.h"
#include "tls/cert.h"
#include "tls/conn.h"
#include "tls_duo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TLS12 1 /* of how */
#define RETRY 8
#define ASKS 16
#define BY_RSA 32
#define RESUMED 64
#define WITHOUT 128

/* What stays behind once: PSA's key slots, and what an RSA key keeps from its first use. */
#define BLOCKS_KEPT_MAX 24

static const int suites[AEAD_CIPHERS][3] = {
	[AEAD_AES_128_GCM] = { MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
			       MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 },
	[AEAD_AES_256_GCM] = { MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
			       MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 },
	[AEAD_CHACHA20_POLY1305] = { MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
				     MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 },
};
/* The first one of them is not the server's. */
static const uint16_t odd_groups[] = { MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1,
				       MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, MBEDTLS_SSL_IANA_TLS_GROUP_NONE };

static struct tls_context *context;
static struct seeded seeded;
static size_t blocks_at_start;
static struct meddler meddler;
static struct meddler_secrets secrets;

static struct hearer server;
static struct tls_client *client;
static enum err client_verdict;

static void
start_server(void)
{
	struct tls_identity *identity = tls_identity_new();
	char text[CERT_TEXT_BYTES];

	for (uint32_t i = 0; i < 2; i++)
		CHECK(tls_identity_add(identity, i, cert_file("edge.pem"), cert_file("edge.key"), CERT_ANY_TIME,
				       text, sizeof(text)) == ERR_OK);
	CHECK(tls_identity_add_client_ca(identity, 1, cert_file("ca.pem"), text, sizeof(text)) == ERR_OK);
	context = tls_duo_context(identity, 1, &seeded, 0x11);
	tls_identity_free(identity);
	blocks_at_start = tls_context_memory(context).blocks;
}

static void
begin(uint8_t how, struct bytes session, struct bytes edits)
{
	struct tls_client_config config = tls_duo_client_config();
	enum aead_cipher cipher = (how >> 1 & 3) % AEAD_CIPHERS;

	config.version_min = config.version_max = (how & TLS12) != 0 ? 0x0303 : 0x0304;
	config.suites = suites[cipher];
	config.groups = (how & RETRY) != 0 ? odd_groups : NULL;
	config.session = session;
	if ((how & WITHOUT) == 0) {
		config.cert_pem = cert_file((how & BY_RSA) != 0 ? "rsa.pem" : "chain.pem");
		config.key_pem = cert_file((how & BY_RSA) != 0 ? "rsa.key" : "chain.key");
	}
	client = tls_client_new(&config);
	client_verdict = ERR_TLS_AGAIN;
	hearer_begin(&server, tls_accept(context, (how & ASKS) != 0, false), &meddler);
	CHECK(client != NULL && server.conn != NULL);
	meddler_begin(&meddler, edits, &secrets, cipher, (how & TLS12) == 0, true);
}

static void
end(void)
{
	tls_client_free(client);
	tls_conn_free(server.conn);
}

/* --- the client, and what becomes of its records ------------------------------------------------------ */

static void
tell_secrets(void)
{
	const struct tls_client_secrets *all = tls_client_secrets(client);

	secrets.master = all->master;
	memcpy(secrets.handshake, all->client_handshake, sizeof(secrets.handshake));
	memcpy(secrets.application, all->client_application, sizeof(secrets.application));
}

/* True: it said something. */
static bool
speak(void)
{
	static uint8_t flight[65536];
	struct bytes in = bytes_make(server.said, server.said_len);
	struct tls_out out = { flight, sizeof(flight), 0 };
	uint8_t dropped[4096];
	struct tls_out plain = { dropped, sizeof(dropped), 0 };

	while (!hearer_is_final(client_verdict)) {
		CHECK(server.calls++ < HEARER_CALLS_MAX);
		client_verdict = tls_client_is_open(client) ? tls_client_open(client, &in, &plain, &out) :
							      tls_client_step(client, &in, &out);
		if (client_verdict == ERR_MORE)
			break;
	}
	server.said_len = 0;
	tell_secrets();
	hearer_carry(&server, bytes_make(flight, out.used));
	return out.used > 0 || server.said_len > 0;
}

static void
talk(void)
{
	while (!hearer_is_final(client_verdict) && speak())
		;
	hearer_finish(&server);
}

/* What an honest client keeps of its connection. */
static size_t
meet(uint8_t how, uint8_t *session)
{
	size_t len;

	begin(how, BYTES_NONE, BYTES_LITERAL(""));
	talk();
	CHECK(tls_is_open(server.conn) || (how & (ASKS | WITHOUT)) == (ASKS | WITHOUT));
	len = tls_client_session(client, session, TLS_CLIENT_SESSION_BYTES_MAX);
	end();
	return len;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t session[TLS_CLIENT_SESSION_BYTES_MAX];
	size_t session_len = 0;

	if (size < 3)
		return 0;
	if (context == NULL)
		start_server();
	reseed(context->instance, &seeded, 1);
	if ((data[0] & RESUMED) != 0)
		session_len = meet(data[0], session);
	begin(data[0], bytes_make(session, session_len), bytes_make(data + 3, size - 3));
	if (data[1] != 0)
		server.piece = data[1];
	if (data[2] != 0)
		server.room = data[2] * 16u;
	talk();
	/* Nobody is let in without a certificate where one is asked for. */
	if ((data[0] & (ASKS | WITHOUT)) == (ASKS | WITHOUT))
		CHECK(!tls_is_open(server.conn));
	end();
	CHECK(tls_context_memory(context).blocks <= blocks_at_start + BLOCKS_KEPT_MAX);
	return 0;
}

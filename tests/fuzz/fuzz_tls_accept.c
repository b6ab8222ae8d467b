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
#include "meddler.h"
#include "tls/cert.h"
#include "tls/conn.h"
#include "tls_duo.h"
#include "tls_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CALLS_MAX 100000
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

static struct {
	struct tls_client *client;
	struct tls_conn *server;
	struct tls_stream at_server;
	enum err client_verdict;
	enum err server_verdict;
	size_t piece;
	size_t room;
	size_t to_client_len;
	uint8_t to_client[65536];
	size_t got_len;
	uint8_t got[65536];
	int calls;
} both;

static void
start_server(void)
{
	struct tls_identity *identity = tls_identity_new();
	char text[IDENTITY_TEXT_BYTES];

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
	memset(&both.at_server, 0, sizeof(both.at_server));
	both.to_client_len = both.got_len = 0;
	both.calls = 0;
	both.client = tls_client_new(&config);
	both.server = tls_accept(context, (how & ASKS) != 0, false);
	CHECK(both.client != NULL && both.server != NULL);
	both.client_verdict = both.server_verdict = ERR_TLS_AGAIN;
	meddler_begin(&meddler, edits, &secrets, cipher, (how & TLS12) == 0, true);
}

static void
end(void)
{
	tls_client_free(both.client);
	tls_conn_free(both.server);
}

static bool
is_final(enum err verdict)
{
	return verdict != ERR_OK && verdict != ERR_MORE && verdict != ERR_TLS_AGAIN && verdict != ERR_TLS_FULL;
}

/* --- what the server makes of it ------------------------------------------------------------------ */

static void
shake(struct bytes *in)
{
	struct tls_out out = { both.to_client + both.to_client_len, both.room, 0 };

	CHECK(both.to_client_len + both.room <= sizeof(both.to_client));
	both.server_verdict = tls_handshake(both.server, in, &out);
	CHECK(out.used <= out.room);
	both.to_client_len += out.used;
	if (both.server_verdict == ERR_OK)
		CHECK(!meddler.has_tampered);
}

static void
open_data(struct bytes *in)
{
	uint8_t said[64];
	struct tls_out out = { said, sizeof(said), 0 };
	struct tls_out plain = { both.got + both.got_len, sizeof(both.got) - both.got_len, 0 };

	if (plain.room > both.room)
		plain.room = both.room;
	both.server_verdict = tls_stream_open(&both.at_server, both.server, in, &plain, &out);
	CHECK(out.used <= out.room && plain.used <= plain.room);
	both.got_len += plain.used;
	CHECK(both.got_len <= meddler.said && memcmp(both.got, meddler.data, both.got_len) == 0);
}

/* In pieces; what is not taken is lost with the connection. */
static void
hear(struct bytes bytes)
{
	do {
		size_t offered = bytes.len < both.piece ? bytes.len : both.piece;
		struct bytes in = bytes_make(bytes.ptr, offered);

		CHECK(both.calls++ < CALLS_MAX);
		if (both.got_len == sizeof(both.got))
			return;
		if (tls_is_open(both.server))
			open_data(&in);
		else
			shake(&in);
		CHECK(in.len <= offered);
		CHECK(both.server_verdict != ERR_MORE || in.len == 0);
		bytes_advance(&bytes, offered - in.len);
		if (is_final(both.server_verdict))
			return;
	} while (bytes.len > 0 || both.server_verdict != ERR_MORE);
}

/* --- the client, and what becomes of its records ------------------------------------------------------ */

static void
carry(struct bytes flight)
{
	static uint8_t changed[MEDDLER_BYTES_MAX];
	const struct tls_client_secrets *all = tls_client_secrets(both.client);

	secrets.master = all->master;
	memcpy(secrets.handshake, all->client_handshake, sizeof(secrets.handshake));
	memcpy(secrets.application, all->client_application, sizeof(secrets.application));
	while (flight.len > 0 && !is_final(both.server_verdict)) {
		size_t len = 5 + ((size_t)flight.ptr[3] << 8 | flight.ptr[4]);
		size_t written;

		CHECK(len <= flight.len);
		written = meddler_pass(&meddler, bytes_make(flight.ptr, len), changed);
		bytes_advance(&flight, len);
		if (written > 0)
			hear(bytes_make(changed, written));
	}
}

/* True: it said something. */
static bool
speak(void)
{
	static uint8_t flight[65536];
	static uint8_t heard[65536];
	struct bytes in = bytes_make(heard, both.to_client_len);
	struct tls_out out = { flight, sizeof(flight), 0 };
	uint8_t dropped[4096];
	struct tls_out plain = { dropped, sizeof(dropped), 0 };

	memcpy(heard, both.to_client, both.to_client_len);
	both.to_client_len = 0;
	while (!is_final(both.client_verdict)) {
		CHECK(both.calls++ < CALLS_MAX);
		both.client_verdict = tls_client_is_open(both.client) ?
					      tls_client_open(both.client, &in, &plain, &out) :
					      tls_client_step(both.client, &in, &out);
		if (both.client_verdict == ERR_MORE)
			break;
	}
	carry(bytes_make(flight, out.used));
	return out.used > 0 || both.to_client_len > 0;
}

static void
talk(void)
{
	static uint8_t added[MEDDLER_BYTES_MAX];
	size_t written;

	while (!is_final(both.client_verdict) && speak())
		;
	if (tls_is_open(both.server))
		meddler_enter(&meddler, MEDDLER_APPLICATION);
	while (!is_final(both.server_verdict) && (written = meddler_add(&meddler, added)) > 0)
		hear(bytes_make(added, written));
	if (tls_is_open(both.server) && !is_final(both.server_verdict) && !meddler.has_broken)
		CHECK(both.got_len == meddler.said || both.got_len == sizeof(both.got));
}

/* What an honest client keeps of its connection. */
static size_t
meet(uint8_t how, uint8_t *session)
{
	size_t len;

	begin(how, BYTES_NONE, BYTES_LITERAL(""));
	both.piece = SIZE_MAX;
	both.room = 16384;
	talk();
	CHECK(tls_is_open(both.server) || (how & (ASKS | WITHOUT)) == (ASKS | WITHOUT));
	len = tls_client_session(both.client, session, TLS_CLIENT_SESSION_BYTES_MAX);
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
	both.piece = data[1] == 0 ? SIZE_MAX : data[1];
	both.room = data[2] == 0 ? 16384 : data[2] * 16u;
	talk();
	/* Nobody is let in without a certificate where one is asked for. */
	if ((data[0] & (ASKS | WITHOUT)) == (ASKS | WITHOUT))
		CHECK(!tls_is_open(both.server));
	end();
	CHECK(tls_context_memory(context).blocks <= blocks_at_start + BLOCKS_KEPT_MAX);
	return 0;
}

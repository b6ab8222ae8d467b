#include "tls_client.h"

#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/units.h"
#include "cert_forge.h"
#include "seeded.h"
#include "tls/instance.h"

#define ARENA_BYTES (256u * 1024)

struct tls_client {
	struct instance *instance;
	struct seeded entropy;
	mbedtls_ssl_config config;
	mbedtls_x509_crt ca;
	mbedtls_x509_crt own;
	mbedtls_pk_context key;
	mbedtls_ssl_context ssl;
	mbedtls_ssl_session session;
	bool has_session;
	bool open;
	enum err dead; /* ERR_OK: alive */
	uint8_t alert;
	struct tls_client_secrets secrets;
	struct bytes *in;
	struct tls_out *out;
};

static int
put(void *opaque, const unsigned char *from, size_t len)
{
	struct tls_out *out = ((struct tls_client *)opaque)->out;

	if (out->used == out->room)
		return MBEDTLS_ERR_SSL_WANT_WRITE;
	if (len > out->room - out->used)
		len = out->room - out->used;
	memcpy(out->ptr + out->used, from, len);
	out->used += len;
	return (int)len;
}

static int
get(void *opaque, unsigned char *to, size_t len)
{
	struct bytes *in = ((struct tls_client *)opaque)->in;

	if (in == NULL || in->len == 0)
		return MBEDTLS_ERR_SSL_WANT_READ;
	if (len > in->len)
		len = in->len;
	memcpy(to, in->ptr, len);
	bytes_advance(in, len);
	return (int)len;
}

/* mbedtls_ssl_export_keys_t. */
static void
keep_keys(void *opaque, mbedtls_ssl_key_export_type type, const unsigned char *secret, size_t len,
	  const unsigned char client_random[32], const unsigned char server_random[32],
	  mbedtls_tls_prf_types prf)
{
	struct tls_client_secrets *secrets = &((struct tls_client *)opaque)->secrets;
	uint8_t *const to[] = {
		[MBEDTLS_SSL_KEY_EXPORT_TLS12_MASTER_SECRET] = secrets->master.secret,
		[MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_HANDSHAKE_TRAFFIC_SECRET] = secrets->client_handshake,
		[MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_HANDSHAKE_TRAFFIC_SECRET] = secrets->server_handshake,
		[MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_APPLICATION_TRAFFIC_SECRET] = secrets->client_application,
		[MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_APPLICATION_TRAFFIC_SECRET] = secrets->server_application,
	};

	(void)prf;
	CHECK(len <= DERIVE_HASH_BYTES_MAX);
	if ((size_t)type < COUNT_OF(to) && to[type] != NULL)
		memcpy(to[type], secret, len);
	memcpy(secrets->master.client_random, client_random, 32);
	memcpy(secrets->master.server_random, server_random, 32);
}

static struct instance *
begin(struct tls_client *client, struct bytes *in, struct tls_out *out)
{
	client->in = in;
	client->out = out;
	return instance_enter(client->instance);
}

static void
end(struct tls_client *client, struct instance *before)
{
	client->in = NULL;
	client->out = NULL;
	instance_leave(before);
}

static bool
parse_ca(struct tls_client *client, struct bytes pem)
{
	uint8_t *text = arena_alloc(instance_arena(client->instance), pem.len + 1);
	int failed;

	CHECK(text != NULL);
	memcpy(text, pem.ptr, pem.len);
	failed = mbedtls_x509_crt_parse(&client->ca, text, pem.len + 1);
	arena_release(instance_arena(client->instance), text);
	return failed == 0;
}

static bool
parse_own(struct tls_client *client, const struct tls_client_config *config)
{
	struct arena *arena = instance_arena(client->instance);
	uint8_t *cert, *key;
	bool parsed;

	if (config->cert_pem.len == 0)
		return true;
	cert = arena_alloc(arena, config->cert_pem.len + 1);
	key = arena_alloc(arena, config->key_pem.len + 1);
	CHECK(cert != NULL && key != NULL);
	memcpy(cert, config->cert_pem.ptr, config->cert_pem.len);
	memcpy(key, config->key_pem.ptr, config->key_pem.len);
	parsed = mbedtls_x509_crt_parse(&client->own, cert, config->cert_pem.len + 1) == 0 &&
		 mbedtls_pk_parse_key(&client->key, key, config->key_pem.len + 1, NULL, 0, instance_random,
				      client->instance) == 0 &&
		 mbedtls_ssl_conf_own_cert(&client->config, &client->own, &client->key) == 0;
	arena_release(arena, cert);
	arena_release(arena, key);
	if (parsed && config->said_count > 0)
		cert_say_instead(&client->own, config->said, config->said_count);
	return parsed;
}

static void
configure(struct tls_client *client, const struct tls_client_config *config)
{
	mbedtls_ssl_config *ssl = &client->config;

	mbedtls_ssl_conf_rng(ssl, instance_random, client->instance);
	mbedtls_ssl_conf_ca_chain(ssl, &client->ca, NULL);
	mbedtls_ssl_conf_authmode(ssl, MBEDTLS_SSL_VERIFY_REQUIRED);
	mbedtls_ssl_conf_session_tickets(ssl, MBEDTLS_SSL_SESSION_TICKETS_ENABLED);
	mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
		ssl, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
	if (config->version_min != 0)
		mbedtls_ssl_conf_min_tls_version(ssl,
						 (mbedtls_ssl_protocol_version)config->version_min);
	if (config->version_max != 0)
		mbedtls_ssl_conf_max_tls_version(ssl,
						 (mbedtls_ssl_protocol_version)config->version_max);
	if (config->suites != NULL)
		mbedtls_ssl_conf_ciphersuites(ssl, config->suites);
	if (config->groups != NULL)
		mbedtls_ssl_conf_groups(ssl, config->groups);
	if (config->signatures != NULL)
		mbedtls_ssl_conf_sig_algs(ssl, config->signatures);
}

static bool
start(struct tls_client *client, const struct tls_client_config *config)
{
	mbedtls_ssl_config_init(&client->config);
	mbedtls_x509_crt_init(&client->ca);
	mbedtls_x509_crt_init(&client->own);
	mbedtls_pk_init(&client->key);
	mbedtls_ssl_init(&client->ssl);
	mbedtls_ssl_session_init(&client->session);
	if (!parse_ca(client, config->ca_pem))
		return false;
	if (mbedtls_ssl_config_defaults(&client->config, MBEDTLS_SSL_IS_CLIENT,
					MBEDTLS_SSL_TRANSPORT_STREAM,
					MBEDTLS_SSL_PRESET_DEFAULT) != 0)
		return false;
	configure(client, config);
	if (!parse_own(client, config))
		return false;
	if (config->alpn != NULL &&
	    mbedtls_ssl_conf_alpn_protocols(&client->config,
					    (const char **)(uintptr_t)config->alpn) != 0)
		return false;
	if (mbedtls_ssl_setup(&client->ssl, &client->config) != 0)
		return false;
	/* Called with NULL too: mbedTLS wants to hear that no name is expected. */
	if (mbedtls_ssl_set_hostname(&client->ssl, config->host) != 0)
		return false;
	mbedtls_ssl_set_bio(&client->ssl, client, put, get, NULL);
	mbedtls_ssl_set_export_keys_cb(&client->ssl, keep_keys, client);
	if (config->session.len == 0)
		return true;
	return mbedtls_ssl_session_load(&client->session, config->session.ptr,
					config->session.len) == 0 &&
	       mbedtls_ssl_set_session(&client->ssl, &client->session) == 0;
}

struct tls_client *
tls_client_new(const struct tls_client_config *config)
{
	struct tls_client *client = calloc(1, sizeof(*client));
	struct instance *before;
	bool started;

	CHECK(client != NULL);
	client->entropy.state = config->seed;
	client->instance = instance_new(ARENA_BYTES, seeded_entropy, &client->entropy);
	CHECK(client->instance != NULL);
	instance_set_time(client->instance, config->now_s);
	before = begin(client, NULL, NULL);
	started = start(client, config);
	end(client, before);
	if (started)
		return client;
	tls_client_free(client);
	return NULL;
}

void
tls_client_free(struct tls_client *client)
{
	struct instance *before;

	if (client == NULL)
		return;
	before = instance_enter(client->instance);
	mbedtls_ssl_session_free(&client->session);
	mbedtls_ssl_free(&client->ssl);
	mbedtls_ssl_config_free(&client->config);
	mbedtls_x509_crt_free(&client->ca);
	mbedtls_x509_crt_free(&client->own);
	mbedtls_pk_free(&client->key);
	instance_leave(before);
	instance_free(client->instance);
	free(client);
}

static enum err
fail(struct tls_client *client, int error)
{
	client->dead = ERR_TLS_REFUSED;
	if (error == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) {
		client->alert = client->ssl.MBEDTLS_PRIVATE(in_msg)[1];
		client->dead = ERR_TLS_ALERT;
	}
	if (error == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
		client->dead = ERR_TLS_CLOSED;
	return client->dead;
}

/* What a ticket of TLS 1.3 or a finished handshake of TLS 1.2 leaves to resume from. */
static void
keep_session(struct tls_client *client)
{
	mbedtls_ssl_session_free(&client->session);
	mbedtls_ssl_session_init(&client->session);
	client->has_session = mbedtls_ssl_get_session(&client->ssl, &client->session) == 0;
}

enum err
tls_client_step(struct tls_client *client, struct bytes *in, struct tls_out *out)
{
	struct instance *before;
	int failed;

	if (client->dead != ERR_OK)
		return client->dead;
	if (client->open)
		return ERR_OK;
	before = begin(client, in, out);
	failed = mbedtls_ssl_handshake_step(&client->ssl);
	if (failed == 0 && mbedtls_ssl_is_handshake_over(&client->ssl)) {
		client->open = true;
		if (mbedtls_ssl_get_version_number(&client->ssl) == MBEDTLS_SSL_VERSION_TLS1_2)
			keep_session(client);
	}
	end(client, before);
	if (client->open)
		return ERR_OK;
	if (failed == MBEDTLS_ERR_SSL_WANT_READ)
		return in->len == 0 ? ERR_MORE : ERR_TLS_AGAIN;
	if (failed == MBEDTLS_ERR_SSL_WANT_WRITE)
		return ERR_TLS_FULL;
	return failed == 0 ? ERR_TLS_AGAIN : fail(client, failed);
}

bool
tls_client_is_open(const struct tls_client *client)
{
	return client->open;
}

enum err
tls_client_open(struct tls_client *client, struct bytes *in, struct tls_out *plain,
		struct tls_out *out)
{
	struct instance *before;
	int got;

	CHECK(client->open);
	if (client->dead != ERR_OK)
		return client->dead;
	if (plain->used == plain->room || out->room - out->used < TLS_CLIENT_OVERHEAD_MAX)
		return ERR_TLS_FULL;
	before = begin(client, in, out);
	got = mbedtls_ssl_read(&client->ssl, plain->ptr + plain->used, plain->room - plain->used);
	if (got == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
		keep_session(client);
	end(client, before);
	if (got >= 0) {
		plain->used += (size_t)got;
		return ERR_OK;
	}
	if (got == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
		return ERR_OK;
	if (got == MBEDTLS_ERR_SSL_WANT_READ)
		return in->len == 0 ? ERR_MORE : ERR_OK;
	return fail(client, got);
}

enum err
tls_client_seal(struct tls_client *client, struct bytes *plain, struct tls_out *out)
{
	size_t take = plain->len < TLS_RECORD_BYTES_MAX ? plain->len : TLS_RECORD_BYTES_MAX;
	struct instance *before;
	int sealed;

	CHECK(client->open);
	if (client->dead != ERR_OK)
		return client->dead;
	if (take == 0)
		return ERR_OK;
	if (out->room - out->used < take + TLS_CLIENT_OVERHEAD_MAX)
		return ERR_TLS_FULL;
	before = begin(client, NULL, out);
	sealed = mbedtls_ssl_write(&client->ssl, plain->ptr, take);
	/* A ticket whose reading tls_client_open() has begun is finished by whoever comes next. */
	while (sealed == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
		keep_session(client);
		sealed = mbedtls_ssl_write(&client->ssl, plain->ptr, take);
	}
	end(client, before);
	if (sealed < 0)
		return fail(client, sealed);
	CHECK(sealed > 0 && (size_t)sealed <= take);
	bytes_advance(plain, (size_t)sealed);
	return ERR_OK;
}

enum err
tls_client_close(struct tls_client *client, struct tls_out *out)
{
	struct instance *before;
	int failed;

	if (client->dead != ERR_OK || !client->open)
		return ERR_OK;
	if (out->room - out->used < TLS_CLIENT_OVERHEAD_MAX)
		return ERR_TLS_FULL;
	before = begin(client, NULL, out);
	failed = mbedtls_ssl_close_notify(&client->ssl);
	end(client, before);
	return failed == 0 ? ERR_OK : fail(client, failed);
}

const struct tls_client_secrets *
tls_client_secrets(const struct tls_client *client)
{
	return &client->secrets;
}

uint8_t
tls_client_alert(const struct tls_client *client)
{
	return client->alert;
}

uint16_t
tls_client_version(const struct tls_client *client)
{
	return (uint16_t)mbedtls_ssl_get_version_number(&client->ssl);
}

const char *
tls_client_suite(const struct tls_client *client)
{
	return mbedtls_ssl_get_ciphersuite(&client->ssl);
}

struct bytes
tls_client_alpn(const struct tls_client *client)
{
	const char *alpn = mbedtls_ssl_get_alpn_protocol(&client->ssl);

	return alpn != NULL ? bytes_from_text(alpn) : BYTES_NONE;
}

struct bytes
tls_client_server_name(const struct tls_client *client)
{
	const mbedtls_x509_crt *crt = mbedtls_ssl_get_peer_cert(&client->ssl);

	if (crt == NULL || crt->subject_alt_names.buf.p == NULL)
		return BYTES_NONE;
	return bytes_make(crt->subject_alt_names.buf.p, crt->subject_alt_names.buf.len);
}

size_t
tls_client_session(struct tls_client *client, uint8_t *to, size_t room)
{
	struct instance *before;
	size_t len = 0;

	if (!client->has_session)
		return 0;
	before = begin(client, NULL, NULL);
	CHECK(mbedtls_ssl_session_save(&client->session, to, room, &len) == 0);
	end(client, before);
	return len;
}

uint32_t
tls_client_ticket_lifetime_s(const struct tls_client *client)
{
	return client->session.MBEDTLS_PRIVATE(ticket_lifetime);
}

/*
 * Connections that we open. mbedTLS verifies chain, dates and DNS names; pins and addresses are looked at in its
 * callback, which can only take away what it believed, except with pins alone, where the pin is all there is.
 */
#include "tls/connect.h"

#include <arpa/inet.h>
#include <mbedtls/sha256.h>

#include "base/check.h"
#include "base/units.h"
#include "tls/conn.h"
#include "tls/terms.h"

/* With the arena's header of a block, and rounding. */
CHECK_STATIC(sizeof(struct connect_side) + 32 <= TLS_CONNECT_BYTES &&
		     sizeof(struct session_slot) + SESSIONS_BYTES_MAX <= TLS_SESSION_BYTES,
	     "as the budget counts them");

#define SAN_ADDRESS 7 /* iPAddress of GeneralName, RFC 5280 4.2.1.6 */

static const char *const protocols[] = { "http/1.1", NULL };

/* --- of a context ------------------------------------------------------------------------- */

size_t
connect_bytes(const struct tls_context_config *config)
{
	return sessions_bytes(config->sessions_max) + (size_t)config->connects_max * TLS_CONNECT_BYTES;
}

bool
connect_setup_init(struct connect_setup *setup, struct instance *instance,
		   const struct tls_context_config *config)
{
	mbedtls_ssl_config *ssl = &setup->config;

	mbedtls_ssl_config_init(ssl);
	mbedtls_x509_crt_init(&setup->nobody);
	if (!terms_set(ssl, instance, MBEDTLS_SSL_IS_CLIENT, protocols))
		return false;
	mbedtls_ssl_conf_authmode(ssl, MBEDTLS_SSL_VERIFY_REQUIRED);
	/* begin() says whom else. */
	mbedtls_ssl_conf_ca_chain(ssl, &setup->nobody, NULL);
	mbedtls_ssl_conf_session_tickets(ssl, MBEDTLS_SSL_SESSION_TICKETS_ENABLED);
	mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
		ssl, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
	return sessions_init(&setup->sessions, instance_arena(instance), config->sessions_max);
}

void
connect_setup_fini(struct connect_setup *setup)
{
	mbedtls_ssl_config_free(&setup->config);
	mbedtls_x509_crt_free(&setup->nobody);
	sessions_fini(&setup->sessions);
}

bool
connect_believes(const struct tls_context *context, const struct tls_target *target)
{
	return target->authority == TLS_NO_AUTHORITY || keys_authority(context->keys, target->authority) != NULL;
}

static bool
is_wanted(const void *owner, const struct tls_target *target)
{
	return connect_believes(owner, target);
}

void
connect_renew(struct tls_context *context)
{
	sessions_sift(&context->clients.sessions, is_wanted, context);
}

uint64_t
tls_find_authority(const struct tls_context *context, struct bytes name)
{
	const struct tls_keys *keys = context->keys;

	for (uint32_t i = 0; i < keys->authority_count; i++)
		if (bytes_equal(bytes_from_text(keys->authorities[i].name), name))
			return keys->authorities[i].mark;
	return TLS_NO_AUTHORITY;
}

/* --- whom to believe ------------------------------------------------------------------------- */

/* 0: the name is no address. */
static size_t
address_of(const char *name, uint8_t address[16])
{
	return inet_pton(AF_INET, name, address) == 1 ? 4 : inet_pton(AF_INET6, name, address) == 1 ? 16 : 0;
}

static bool
has_address(const mbedtls_x509_crt *crt, struct bytes address)
{
	for (const mbedtls_x509_sequence *san = &crt->subject_alt_names; san != NULL; san = san->next)
		if ((san->buf.tag & MBEDTLS_ASN1_TAG_VALUE_MASK) == SAN_ADDRESS &&
		    bytes_equal(bytes_make(san->buf.p, san->buf.len), address))
			return true;
	return false;
}

static bool
has_pin(const mbedtls_x509_crt *crt, const struct tls_target *target)
{
	uint8_t hash[TLS_PIN_BYTES];

	CHECK_STATIC(sizeof(hash) == 32, "SHA-256");
	if (mbedtls_sha256(crt->pk_raw.p, crt->pk_raw.len, hash, 0) != 0)
		return false;
	for (uint32_t i = 0; i < target->pin_count; i++)
		if (memcmp(target->pins[i], hash, sizeof(hash)) == 0)
			return true;
	return false;
}

/* mbedTLS's callback: for each certificate of the chain, the leaf (depth 0) last. */
static int
judge(void *opaque, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
	const struct tls_target *target = &((struct handshake *)opaque)->conn->client->target;
	uint8_t address[16];
	size_t len;

	if (target->authority == TLS_NO_AUTHORITY)
		*flags = 0;
	else
		conn_note_end(opaque, crt);
	if (depth > 0)
		return 0;
	if (target->pin_count > 0 && !has_pin(crt, target))
		*flags |= MBEDTLS_X509_BADCERT_OTHER;
	len = target->authority != TLS_NO_AUTHORITY ? address_of(target->name, address) : 0;
	if (len > 0 && !has_address(crt, bytes_make(address, len)))
		*flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
	return 0;
}

/* The first reason counts: who is no certificate of anybody's has no name and no end either. */
static enum err
verdict_of(uint32_t flags)
{
	if (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED)
		return ERR_TLS_PEER_UNKNOWN;
	if (flags & (MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE))
		return ERR_TLS_PEER_EXPIRED;
	if (flags & MBEDTLS_X509_BADCERT_CN_MISMATCH)
		return ERR_TLS_PEER_NAME;
	if (flags & MBEDTLS_X509_BADCERT_OTHER)
		return ERR_TLS_PEER_PIN;
	return ERR_TLS_PEER_UNFIT;
}

void
tls_forget_session(struct tls_conn *conn)
{
	sessions_forget(&conn->context->clients.sessions, &conn->client->target);
}

bool
tls_offered_session(const struct tls_conn *conn)
{
	return conn->client != NULL && conn->client->offered && conn->state != CONN_OPEN;
}

enum err
connect_fault(struct handshake *hs, int error, enum err otherwise)
{
	struct connect_side *side = hs->conn->client;

	if (otherwise == ERR_TLS_MEMORY)
		return otherwise;
	if (side->offered)
		tls_forget_session(hs->conn);
	if (error == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED || error == MBEDTLS_ERR_SSL_BAD_CERTIFICATE)
		return verdict_of(mbedtls_ssl_get_verify_result(&hs->ssl));
	/* A certificate that cannot even be read. */
	if (hs->begun_in == MBEDTLS_SSL_SERVER_CERTIFICATE && otherwise == ERR_TLS_REFUSED)
		return ERR_TLS_PEER_UNFIT;
	return otherwise;
}

/* --- a connection --------------------------------------------------------------------------------- */

bool
tls_can_reach(const struct tls_context *context, const struct tls_target *target)
{
	if (target->pin_count > TLS_PINS_MAX || memchr(target->name, '\0', sizeof(target->name)) == NULL)
		return false;
	if (target->authority == TLS_NO_AUTHORITY)
		return target->pin_count > 0;
	return connect_believes(context, target) && target->name[0] != '\0';
}

bool
connect_is_host(const struct tls_target *target)
{
	uint8_t address[16];

	return target->name[0] != '\0' && address_of(target->name, address) == 0;
}

static bool
begin(struct tls_conn *conn, const struct tls_target *target)
{
	struct handshake *hs = conn->handshake;
	struct keys_authority *authority;

	conn->client = arena_alloc(instance_arena(conn->context->instance), sizeof(*conn->client));
	if (conn->client == NULL)
		return false;
	conn->client->target = *target;
	hs->keys = keys_get(conn->context->keys);
	authority = keys_authority(hs->keys, target->authority);
	if (authority != NULL)
		mbedtls_ssl_set_hs_ca_chain(&hs->ssl, &authority->cas, NULL);
	mbedtls_ssl_set_verify(&hs->ssl, judge, hs);
	/* Called with NULL, too: addresses are not sent (RFC 6066 3), and judge() looks at them. */
	if (mbedtls_ssl_set_hostname(&hs->ssl, connect_is_host(target) ? target->name : NULL) != 0)
		return false;
	resume_offer(hs);
	return true;
}

struct tls_conn *
tls_connect(struct tls_context *context, const struct tls_target *target)
{
	struct instance *before;
	struct tls_conn *conn;
	bool begun;

	CHECK(tls_can_reach(context, target));
	conn = conn_begin(context, &context->clients.config, NULL);
	if (conn == NULL)
		return NULL;
	before = instance_enter(context->instance);
	begun = begin(conn, target);
	instance_leave(before);
	if (begun)
		return conn;
	tls_conn_free(conn);
	return NULL;
}

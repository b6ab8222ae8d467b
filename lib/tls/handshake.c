/*
 * From accept to open: mbedTLS's state machine, one of its states a call, or a part of one: it runs on a
 * fiber, which pauses before each dear operation (crypto_hooks.c). Its record layer reads from the caller's
 * bytes (first one header, then exactly one body, so nothing behind the last handshake record is swallowed)
 * and writes into the caller's memory; what does not fit stays in mbedTLS's own record buffer.
 *
 * When it is over, the keys that mbedTLS exported go to records.h, and all that mbedTLS had of the connection is
 * freed. Nothing here asks which side we are but where the two differ.
 */

#include "base/check.h"
#include "tls/conn.h"

/* mbedtls_ssl_send_t. */
static int
put(void *opaque, const unsigned char *from, size_t len)
{
	struct handshake *hs = opaque;
	size_t room = hs->out->room - hs->out->used;

	if (room == 0)
		return MBEDTLS_ERR_SSL_WANT_WRITE;
	if (len > room)
		len = room;
	memcpy(hs->out->ptr + hs->out->used, from, len);
	hs->out->used += len;
	return (int)len;
}

/* mbedtls_ssl_recv_t. */
static int
get(void *opaque, unsigned char *to, size_t len)
{
	struct handshake *hs = opaque;

	if (hs->in->len == 0)
		return MBEDTLS_ERR_SSL_WANT_READ;
	/* Of what it skips, mbedTLS takes without end. */
	if (to == hs->ssl.MBEDTLS_PRIVATE(in_hdr) && hs->records_in++ == HANDSHAKE_RECORDS_MAX)
		return MBEDTLS_ERR_SSL_UNEXPECTED_RECORD;
	if (len > hs->in->len)
		len = hs->in->len;
	memcpy(to, hs->in->ptr, len);
	bytes_advance(hs->in, len);
	return (int)len;
}

/* mbedtls_ssl_export_keys_t; they come before the peer's Finished does, and are used after it. */
static void
keep_keys(void *opaque, mbedtls_ssl_key_export_type type, const unsigned char *secret, size_t len,
	  const unsigned char client_random[32], const unsigned char server_random[32],
	  mbedtls_tls_prf_types prf)
{
	struct handshake_secrets *secrets = &((struct handshake *)opaque)->secrets;

	(void)prf;
	switch (type) {
	case MBEDTLS_SSL_KEY_EXPORT_TLS12_MASTER_SECRET:
		CHECK(len == sizeof(secrets->master.secret));
		memcpy(secrets->master.secret, secret, len);
		memcpy(secrets->master.client_random, client_random, sizeof(secrets->master.client_random));
		memcpy(secrets->master.server_random, server_random, sizeof(secrets->master.server_random));
		return;
	case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_APPLICATION_TRAFFIC_SECRET:
		CHECK(len <= sizeof(secrets->client));
		memcpy(secrets->client, secret, len);
		return;
	case MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_APPLICATION_TRAFFIC_SECRET:
		CHECK(len <= sizeof(secrets->server));
		memcpy(secrets->server, secret, len);
		return;
	default:
		return;
	}
}

void
conn_set_state(struct tls_conn *conn, enum conn_state state)
{
	static const unsigned int allowed_from[] = {
		[CONN_FREE] = 1u << CONN_HANDSHAKE | 1u << CONN_OPEN | 1u << CONN_DEAD,
		[CONN_HANDSHAKE] = 1u << CONN_FREE,
		[CONN_OPEN] = 1u << CONN_HANDSHAKE,
		[CONN_DEAD] = 1u << CONN_HANDSHAKE | 1u << CONN_OPEN,
	};

	CHECK((allowed_from[state] & 1u << conn->state) != 0);
	conn->state = (uint8_t)state;
}

/* --- begin and end -------------------------------------------------------------------------- */

/* With the instance entered: what is paused in the middle of mbedTLS fails there, and gives back what it holds. */
static void
cut_step_short(struct handshake *hs)
{
	struct instance *instance = hs->conn->context->instance;
	struct bytes nothing = BYTES_NONE;
	struct tls_out nowhere = { .room = 0 };

	hs->in = &nothing;
	hs->out = &nowhere;
	hs->seat.is_alone = false; /* what it was sent away to compute is not wanted any more */
	instance_set_fiber(instance, hs->fiber, &hs->seat, 0);
	fiber_cut_short(hs->fiber);
	instance_set_fiber(instance, NULL, NULL, 0);
	hs->fiber = NULL;
}

static void
end_handshake(struct tls_conn *conn)
{
	struct tls_context *context = conn->context;
	struct handshake *hs = conn->handshake;
	struct instance *before = instance_enter(context->instance);

	if (hs->fiber != NULL)
		cut_step_short(hs);
	mbedtls_ssl_free(&hs->ssl);
	if (hs->keys != NULL)
		context_put_keys(context, hs->keys);
	instance_leave(before);
	arena_release(instance_arena(context->instance), hs);
	fiber_pool_wipe(context->fibers);
	conn->handshake = NULL;
	context->handshakes--;
}

static bool
begin_handshake(struct tls_conn *conn, const mbedtls_ssl_config *config, const uint8_t *policy)
{
	struct tls_context *context = conn->context;
	struct handshake *hs = arena_alloc(instance_arena(context->instance), sizeof(*hs));
	struct instance *before;
	int failed;

	if (hs == NULL)
		return false;
	conn->handshake = hs;
	context->handshakes++;
	hs->conn = conn;
	hs->policy = policy;
	hs->is_client = policy == NULL;
	hs->chain_ends_at_s = INT64_MAX;
	before = instance_enter(context->instance);
	mbedtls_ssl_init(&hs->ssl);
	failed = mbedtls_ssl_setup(&hs->ssl, config);
	instance_leave(before);
	if (failed != 0) {
		end_handshake(conn);
		return false;
	}
	mbedtls_ssl_set_user_data_p(&hs->ssl, hs);
	mbedtls_ssl_set_bio(&hs->ssl, hs, put, get, NULL);
	mbedtls_ssl_set_export_keys_cb(&hs->ssl, keep_keys, hs);
	return true;
}

struct tls_conn *
conn_begin(struct tls_context *context, const mbedtls_ssl_config *config, const uint8_t *policy)
{
	struct tls_conn *conn = context->free_conns;

	if (conn == NULL || context->handshakes == context->handshakes_max)
		return NULL;
	if (!begin_handshake(conn, config, policy))
		return NULL;
	context->free_conns = conn->next_free;
	conn->next_free = NULL;
	conn_set_state(conn, CONN_HANDSHAKE);
	return conn;
}

/* NULL: clients need none. */
static const struct keys_clients *
clients_of(const struct handshake *hs)
{
	const struct keys_clients *clients;

	if (hs->is_client)
		return NULL;
	clients = &hs->keys->clients[hs->listener];
	return clients->cas != NULL ? clients : NULL;
}

/* A ticket is good where the same authorities are believed, and nowhere else: not where nobody asks for a
 * certificate, nor under other ones. */
static void
bind_policy(struct handshake *hs)
{
	const struct keys_clients *clients = clients_of(hs);

	if (clients == NULL)
		return;
	derive_digest(DERIVE_SHA256,
		      (const struct bytes[]){ bytes_make(hs->policy, TICKET_POLICY_BYTES),
					      bytes_make(clients->digest, sizeof(clients->digest)) },
		      2, hs->own_policy);
	hs->policy = hs->own_policy;
}

void
conn_note_end(struct handshake *hs, const mbedtls_x509_crt *crt)
{
	int64_t ends_at_s = pair_unix_s(&crt->valid_to);

	if (ends_at_s < hs->chain_ends_at_s)
		hs->chain_ends_at_s = ends_at_s;
}

/* mbedTLS's callback, for each certificate of the chain. */
static int
note_client(void *opaque, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
	(void)depth;
	(void)flags;
	conn_note_end(opaque, crt);
	return 0;
}

struct tls_conn *
tls_accept(struct tls_context *context, uint32_t listener, bool offers_h2)
{
	struct tls_conn *conn = conn_begin(context, offers_h2 ? &context->config_h2 : &context->config,
				      offers_h2 ? context->policy_h2 : context->policy);

	CHECK(context->keys->pair_count > 0 && listener < IDENTITY_LISTENERS_MAX);
	if (conn == NULL)
		return NULL;
	conn->handshake->listener = (uint8_t)listener;
	conn->handshake->keys = keys_get(context->keys);
	bind_policy(conn->handshake);
	mbedtls_ssl_set_verify(&conn->handshake->ssl, note_client, conn->handshake);
	return conn;
}

void
tls_conn_free(struct tls_conn *conn)
{
	struct tls_context *context;

	if (conn == NULL)
		return;
	context = conn->context;
	if (conn->handshake != NULL)
		end_handshake(conn);
	arena_release(instance_arena(context->instance), conn->client);
	records_end(&conn->records, context->ring);
	if (context->named == conn)
		context->named = NULL;
	conn_set_state(conn, CONN_FREE);
	memset(conn, 0, sizeof(*conn));
	conn->context = context;
	conn->next_free = context->free_conns;
	context->free_conns = conn;
}

/* --- one step ------------------------------------------------------------------------------- */

static int
state_of(const struct handshake *hs)
{
	return hs->ssl.MBEDTLS_PRIVATE(state);
}

static enum aead_cipher
cipher_of(const struct handshake *hs)
{
	switch (mbedtls_ssl_get_ciphersuite_id_from_ssl(&hs->ssl)) {
	case MBEDTLS_TLS1_3_AES_128_GCM_SHA256:
	case MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:
	case MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:
		return AEAD_AES_128_GCM;
	case MBEDTLS_TLS1_3_AES_256_GCM_SHA384:
	case MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:
	case MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:
		return AEAD_AES_256_GCM;
	case MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256:
	case MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
	case MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:
		return AEAD_CHACHA20_POLY1305;
	default:
		CHECK(false); /* our configuration has no others */
	}
}

/* Records that were sealed with the key that is in use now: in TLS 1.3 tickets, in TLS 1.2 Finished. */
static uint64_t
count_sent(const struct handshake *hs)
{
	const unsigned char *counter = hs->ssl.MBEDTLS_PRIVATE(cur_out_ctr);
	uint64_t sent = 0;

	for (int i = 0; i < 8; i++)
		sent = sent << 8 | counter[i];
	return sent;
}

/* RFC 8446 5.1: the record in which the last message came may have nothing behind it, since what follows has other
 * keys. mbedTLS would look at it later as if it had come with those. */
static bool
has_rest(const struct handshake *hs)
{
	return hs->ssl.MBEDTLS_PRIVATE(in_hslen) < hs->ssl.MBEDTLS_PRIVATE(in_msglen);
}

static void
keep_facts(struct tls_conn *conn)
{
	const struct handshake *hs = conn->handshake;
	struct tls_context *context = conn->context;

	conn->version = (uint16_t)mbedtls_ssl_get_version_number(&hs->ssl);
	conn->suite = mbedtls_ssl_get_ciphersuite(&hs->ssl);
	conn->alpn = mbedtls_ssl_get_alpn_protocol(&hs->ssl);
	conn->resumed = !hs->full;
	context->named = conn;
	context->name_len = hs->sni_len;
	memcpy(context->name, hs->sni, hs->sni_len);
}

static enum err
open_records(struct tls_conn *conn)
{
	struct handshake *hs = conn->handshake;
	const struct handshake_secrets *secrets = &hs->secrets;
	uint64_t sent = count_sent(hs);

	/* What is left of a flight would be taken for the first record of data. */
	CHECK(hs->ssl.MBEDTLS_PRIVATE(out_left) == 0);
	if (has_rest(hs))
		return conn_fail(hs, MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE);
	keep_facts(conn);
	if (hs->is_client)
		resume_opened(hs);
	if (conn->version == MBEDTLS_SSL_VERSION_TLS1_3) {
		records_begin_13(&conn->records, cipher_of(hs), hs->is_client ? secrets->client : secrets->server,
				 hs->is_client ? secrets->server : secrets->client, sent, hs->is_client);
	} else {
		CHECK(sent == 1);
		records_begin_12(&conn->records, cipher_of(hs), &secrets->master, hs->is_client);
	}
	conn_set_state(conn, CONN_OPEN);
	return ERR_OK;
}

/* mbedTLS is told that a certificate is optional, says what it thinks of it, and goes on; it would tell a client
 * without one an alert of SSL 3.0. */
static bool
believes_client(struct handshake *hs)
{
	const mbedtls_ssl_session *session = hs->ssl.MBEDTLS_PRIVATE(session_negotiate);

	hs->is_verified = session->MBEDTLS_PRIVATE(verify_result) == 0 &&
			  session->MBEDTLS_PRIVATE(peer_cert) != NULL;
	return hs->is_verified;
}

bool
conn_only_hears(const struct handshake *hs)
{
	if (mbedtls_ssl_get_version_number(&hs->ssl) != MBEDTLS_SSL_VERSION_TLS1_3)
		return false;
	switch (hs->begun_in) {
	case MBEDTLS_SSL_ENCRYPTED_EXTENSIONS:
	case MBEDTLS_SSL_CERTIFICATE_REQUEST:
	case MBEDTLS_SSL_SERVER_CERTIFICATE:
	case MBEDTLS_SSL_CERTIFICATE_VERIFY:
	case MBEDTLS_SSL_SERVER_FINISHED:
		return hs->is_client;
	case MBEDTLS_SSL_CLIENT_CERTIFICATE:
	case MBEDTLS_SSL_CLIENT_CERTIFICATE_VERIFY:
	case MBEDTLS_SSL_CLIENT_FINISHED:
		return !hs->is_client;
	default:
		return false;
	}
}

/* RFC 8446 A.1, A.2, 4.4.4: an alert about what a server says under protection is sealed, too, and behind its
 * Finished a server seals with the application's keys. mbedTLS would write the one in the clear and take those of
 * the handshake for the other, and neither can be read by everybody. It sets the keys itself when it goes on; but
 * its ChangeCipherSpec must be in the clear. */
static void
choose_keys_of_alert(struct handshake *hs)
{
	mbedtls_ssl_context *ssl = &hs->ssl;

	if (hs->is_client && hs->begun_in == MBEDTLS_SSL_CLIENT_CCS_AFTER_SERVER_FINISHED)
		ssl->MBEDTLS_PRIVATE(transform_out) = NULL;
	if (!conn_only_hears(hs))
		return;
	ssl->MBEDTLS_PRIVATE(transform_out) = hs->is_client ? ssl->MBEDTLS_PRIVATE(transform_in) :
							      ssl->MBEDTLS_PRIVATE(transform_application);
	memset(ssl->MBEDTLS_PRIVATE(cur_out_ctr), 0, sizeof(ssl->MBEDTLS_PRIVATE(cur_out_ctr)));
}

/* On a fiber. */
static void
take_step(void *owner)
{
	struct handshake *hs = owner;

	hs->failed = mbedtls_ssl_handshake_step(&hs->ssl);
}

/* False: every stack has a step of another handshake's on it. */
static bool
begin_step(struct handshake *hs)
{
	hs->fiber = fiber_begin(hs->conn->context->fibers, take_step, hs);
	if (hs->fiber == NULL)
		return false;
	hs->begun_in = state_of(hs);
	/* A resumed handshake never comes by here, in either version and role. */
	if (hs->begun_in == MBEDTLS_SSL_SERVER_CERTIFICATE)
		hs->full = true;
	choose_keys_of_alert(hs);
	return true;
}

/* For others of its kind. */
static bool
is_waiting(const struct handshake *hs)
{
	const struct lanes *lanes = instance_lanes(hs->conn->context->instance);

	return lanes != NULL && lanes_is_waiting(lanes, &hs->seat);
}

/* To the step's end, or to where it becomes dear; false: it is not over. */
static bool
go_on(struct handshake *hs)
{
	struct tls_context *context = hs->conn->context;
	bool is_over;

	instance_set_fiber(context->instance, hs->fiber, &hs->seat, context->handshakes);
	is_over = fiber_resume(hs->fiber);
	instance_set_fiber(context->instance, NULL, NULL, 0);
	if (is_over)
		hs->fiber = NULL;
	return is_over;
}

static enum err
step(struct tls_conn *conn)
{
	struct handshake *hs = conn->handshake;
	bool asks_client = clients_of(hs) != NULL;
	int failed;

	if (is_waiting(hs))
		return ERR_TLS_WAITS;
	if (hs->fiber == NULL && !begin_step(hs))
		return ERR_TLS_AGAIN;
	if (!go_on(hs))
		return is_waiting(hs) ? ERR_TLS_WAITS : ERR_TLS_AGAIN;
	failed = hs->failed;
	if (failed == MBEDTLS_ERR_SSL_WANT_READ)
		/* mbedTLS also says so after it skipped a record; then there may be more. */
		return hs->in->len == 0 ? ERR_MORE : ERR_TLS_AGAIN;
	if (failed == MBEDTLS_ERR_SSL_WANT_WRITE)
		return ERR_TLS_FULL;
	if (failed != 0)
		return conn_fail(hs, failed);
	if (asks_client && hs->begun_in == MBEDTLS_SSL_CLIENT_CERTIFICATE && !believes_client(hs))
		return conn_fail(hs, MBEDTLS_ERR_X509_CERT_VERIFY_FAILED);
	/* Not mbedtls_ssl_is_handshake_over(): in TLS 1.3 that is true before the tickets are
	 * written. */
	if (state_of(hs) != MBEDTLS_SSL_HANDSHAKE_OVER)
		return ERR_TLS_AGAIN;
	/* Nobody gets by without: what is resumed was verified under the same policy. */
	if (asks_client && hs->full && !hs->is_verified)
		return conn_fail(hs, MBEDTLS_ERR_X509_CERT_VERIFY_FAILED);
	return open_records(conn);
}

enum err
tls_handshake(struct tls_conn *conn, struct bytes *in, struct tls_out *out)
{
	struct handshake *hs = conn->handshake;
	struct instance *before;
	enum err verdict;

	CHECK(conn->state != CONN_FREE && out->used <= out->room);
	if (conn->state == CONN_OPEN)
		return ERR_OK;
	if (conn->state == CONN_DEAD)
		return (enum err)conn->verdict;
	hs->in = in;
	hs->out = out;
	hs->used_before = out->used;
	hs->refusals_before = tls_context_memory(conn->context).refusals;
	conn->context->tickets.ssl = &hs->ssl;
	before = instance_enter(conn->context->instance);
	verdict = step(conn);
	instance_leave(before);
	conn->context->tickets.ssl = NULL;
	hs->starved |= tls_context_memory(conn->context).refusals != hs->refusals_before;
	if (conn->state != CONN_HANDSHAKE)
		end_handshake(conn);
	return verdict;
}

void
tls_set_owner(struct tls_conn *conn, void *owner)
{
	CHECK(conn->state == CONN_HANDSHAKE);
	conn->handshake->seat.owner = owner;
}

void
tls_facts(const struct tls_conn *conn, struct tls_facts *facts)
{
	const struct tls_context *context = conn->context;

	CHECK(conn->state == CONN_OPEN);
	facts->version = conn->version;
	facts->suite = conn->suite;
	facts->resumed = conn->resumed;
	facts->sni = context->named == conn ? bytes_make(context->name, context->name_len) : BYTES_NONE;
	facts->alpn = conn->alpn != NULL ? bytes_from_text(conn->alpn) : BYTES_NONE;
}

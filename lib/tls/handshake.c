/*
 * From accept to open: mbedTLS's state machine, one of its states a call. Its record layer reads
 * from the caller's bytes (first one header, then exactly one body, so nothing behind the last
 * handshake record is swallowed) and writes into the caller's memory; what does not fit stays in
 * mbedTLS's own record buffer.
 */
#include "base/check.h"
#include "tls/conn.h"

/* mbedtls_ssl_send_t. */
static int
put(void *opaque, const unsigned char *from, size_t len)
{
	struct tls_conn *conn = opaque;
	size_t room = conn->out->room - conn->out->used;

	if (room == 0)
		return MBEDTLS_ERR_SSL_WANT_WRITE;
	if (len > room)
		len = room;
	memcpy(conn->out->ptr + conn->out->used, from, len);
	conn->out->used += len;
	return (int)len;
}

/* mbedtls_ssl_recv_t. */
static int
get(void *opaque, unsigned char *to, size_t len)
{
	struct tls_conn *conn = opaque;

	if (conn->in->len == 0)
		return MBEDTLS_ERR_SSL_WANT_READ;
	if (len > conn->in->len)
		len = conn->in->len;
	memcpy(to, conn->in->ptr, len);
	bytes_advance(conn->in, len);
	return (int)len;
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
	conn->state = state;
}

static struct tls_conn *
accept_with(struct tls_context *context, const mbedtls_ssl_config *config, const uint8_t *policy)
{
	struct tls_conn *conn = context->free_conns;
	struct instance *before;
	int failed;

	if (conn == NULL)
		return NULL;
	before = instance_enter(context->instance);
	mbedtls_ssl_init(&conn->ssl);
	failed = mbedtls_ssl_setup(&conn->ssl, config);
	if (failed == 0) {
		mbedtls_ssl_set_user_data_p(&conn->ssl, conn);
		mbedtls_ssl_set_bio(&conn->ssl, conn, put, get, NULL);
		context->free_conns = conn->next_free;
		conn->next_free = NULL;
		conn->policy = policy;
		conn_set_state(conn, CONN_HANDSHAKE);
	} else {
		mbedtls_ssl_free(&conn->ssl);
	}
	instance_leave(before);
	return failed == 0 ? conn : NULL;
}

struct tls_conn *
tls_accept(struct tls_context *context)
{
	return accept_with(context, &context->config, context->policy);
}

struct tls_conn *
tls_accept_h2(struct tls_context *context)
{
	return accept_with(context, &context->config_h2, context->policy_h2);
}

void
tls_conn_free(struct tls_conn *conn)
{
	struct tls_context *context;
	struct instance *before;

	if (conn == NULL)
		return;
	context = conn->context;
	before = instance_enter(context->instance);
	mbedtls_ssl_free(&conn->ssl);
	instance_leave(before);
	conn_set_state(conn, CONN_FREE);
	memset(conn, 0, sizeof(*conn));
	conn->context = context;
	conn->next_free = context->free_conns;
	context->free_conns = conn;
}

static int
state_of(const struct tls_conn *conn)
{
	return conn->ssl.MBEDTLS_PRIVATE(state);
}

void
conn_begin(struct tls_conn *conn, struct bytes *in, struct tls_out *out)
{
	CHECK(out->used <= out->room);
	conn->before = instance_enter(conn->context->instance);
	conn->in = in;
	conn->out = out;
	conn->used_before = out->used;
	conn->refusals_before = tls_context_memory(conn->context).refusals;
	conn->context->tickets.ssl = &conn->ssl;
}

void
conn_end(struct tls_conn *conn)
{
	conn->starved |= tls_context_memory(conn->context).refusals != conn->refusals_before;
	conn->context->tickets.ssl = NULL;
	conn->in = NULL;
	conn->out = NULL;
	instance_leave(conn->before);
	conn->before = NULL;
}

static enum err
step(struct tls_conn *conn)
{
	int failed;

	/* A resumed handshake never comes by here, in either version. */
	if (state_of(conn) == MBEDTLS_SSL_SERVER_CERTIFICATE)
		conn->full = true;
	failed = mbedtls_ssl_handshake_step(&conn->ssl);
	if (failed == MBEDTLS_ERR_SSL_WANT_READ)
		/* mbedTLS also says so after it skipped a record; then there may be more. */
		return conn->in->len == 0 ? ERR_MORE : ERR_TLS_AGAIN;
	if (failed == MBEDTLS_ERR_SSL_WANT_WRITE)
		return ERR_TLS_FULL;
	if (failed != 0)
		return conn_fail(conn, failed);
	/* Not mbedtls_ssl_is_handshake_over(): in TLS 1.3 that is true before the tickets are
	 * written. */
	if (state_of(conn) != MBEDTLS_SSL_HANDSHAKE_OVER)
		return ERR_TLS_AGAIN;
	/* What is left of a flight would be taken for the first record of data. */
	CHECK(conn->ssl.MBEDTLS_PRIVATE(out_left) == 0);
	conn_set_state(conn, CONN_OPEN);
	return ERR_OK;
}

enum err
tls_handshake(struct tls_conn *conn, struct bytes *in, struct tls_out *out)
{
	enum err verdict;

	CHECK(conn->state != CONN_FREE);
	if (conn->state == CONN_OPEN)
		return ERR_OK;
	if (conn->state == CONN_DEAD)
		return conn->verdict;
	conn_begin(conn, in, out);
	verdict = step(conn);
	conn_end(conn);
	return verdict;
}

bool
tls_is_open(const struct tls_conn *conn)
{
	return conn->state == CONN_OPEN;
}

void
tls_facts(const struct tls_conn *conn, struct tls_facts *facts)
{
	const char *alpn;

	CHECK(conn->state == CONN_OPEN);
	alpn = mbedtls_ssl_get_alpn_protocol(&conn->ssl);
	facts->version = (uint16_t)mbedtls_ssl_get_version_number(&conn->ssl);
	facts->suite = mbedtls_ssl_get_ciphersuite(&conn->ssl);
	facts->resumed = !conn->full;
	facts->sni = bytes_make(conn->sni, conn->sni_len);
	facts->alpn = alpn != NULL ? bytes_from_text(alpn) : BYTES_NONE;
}

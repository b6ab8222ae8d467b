/*
 * After the handshake, and how any connection ends: mbedTLS's record layer, which is called in this file and
 * nowhere else (README.md, rule 6).
 */
#include <mbedtls/ecp.h>

#include "base/check.h"
#include "base/units.h"
#include "tls/conn.h"

/* The longest thing said in answer while reading or closing: an alert, padded and sealed. */
#define ALERT_RECORD_BYTES_MAX TLS_RECORD_OVERHEAD_MAX

struct reason {
	int error;
	enum err verdict;
	uint8_t alert; /* when mbedTLS sends none itself */
};

#define REASON(error, verdict, alert) \
	{ \
		MBEDTLS_ERR_##error, verdict, MBEDTLS_SSL_ALERT_MSG_##alert \
	}

/* Anything else: ERR_TLS_REFUSED and internal_error. */
static const struct reason reasons[] = {
	{ MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE, ERR_TLS_ALERT, 0 },
	{ MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY, ERR_TLS_CLOSED, 0 },
	REASON(SSL_ALLOC_FAILED, ERR_TLS_MEMORY, INTERNAL_ERROR),
	REASON(SSL_NO_APPLICATION_PROTOCOL, ERR_TLS_NO_PROTOCOL, NO_APPLICATION_PROTOCOL),
	REASON(SSL_BAD_PROTOCOL_VERSION, ERR_TLS_NO_OVERLAP, PROTOCOL_VERSION),
	REASON(SSL_HANDSHAKE_FAILURE, ERR_TLS_NO_OVERLAP, HANDSHAKE_FAILURE),
	REASON(SSL_INVALID_MAC, ERR_TLS_BAD_RECORD, BAD_RECORD_MAC),
	REASON(SSL_INVALID_RECORD, ERR_TLS_BAD_RECORD, DECODE_ERROR),
	REASON(SSL_BAD_INPUT_DATA, ERR_TLS_BAD_RECORD, RECORD_OVERFLOW),
	REASON(SSL_UNEXPECTED_RECORD, ERR_TLS_BAD_MESSAGE, UNEXPECTED_MESSAGE),
	REASON(SSL_UNEXPECTED_MESSAGE, ERR_TLS_BAD_MESSAGE, UNEXPECTED_MESSAGE),
	REASON(SSL_DECODE_ERROR, ERR_TLS_BAD_MESSAGE, DECODE_ERROR),
	REASON(SSL_ILLEGAL_PARAMETER, ERR_TLS_BAD_MESSAGE, ILLEGAL_PARAMETER),
	REASON(SSL_UNSUPPORTED_EXTENSION, ERR_TLS_BAD_MESSAGE, UNSUPPORTED_EXT),
	REASON(ECP_INVALID_KEY, ERR_TLS_BAD_MESSAGE, ILLEGAL_PARAMETER),
	REASON(ECP_BAD_INPUT_DATA, ERR_TLS_BAD_MESSAGE, ILLEGAL_PARAMETER),
};

static const struct reason *
reason_for(int error)
{
	static const struct reason otherwise = { 0, ERR_TLS_REFUSED,
						 MBEDTLS_SSL_ALERT_MSG_INTERNAL_ERROR };

	for (size_t i = 0; i < COUNT_OF(reasons); i++)
		if (reasons[i].error == error)
			return &reasons[i];
	return &otherwise;
}

enum err
conn_fail(struct tls_conn *conn, int error)
{
	const struct reason *reason = reason_for(error);

	/* mbedTLS has a number for this per module, loses some on the way, and sometimes goes on until
	 * something else fails. */
	if (conn->starved || tls_context_memory(conn->context).refusals != conn->refusals_before)
		reason = reason_for(MBEDTLS_ERR_SSL_ALLOC_FAILED);
	/* Best effort: without room there is no alert, and the connection ends all the same. */
	if (conn->out->used == conn->used_before && reason->alert != 0)
		(void)mbedtls_ssl_send_alert_message(&conn->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
						     reason->alert);
	conn_set_state(conn, CONN_DEAD);
	conn->verdict = reason->verdict;
	return reason->verdict;
}

static size_t
room_in(const struct tls_out *out)
{
	return out->room - out->used;
}

static enum err
open_record(struct tls_conn *conn, struct tls_out *plain)
{
	int got = mbedtls_ssl_read(&conn->ssl, plain->ptr + plain->used, room_in(plain));

	if (got >= 0) {
		plain->used += (size_t)got;
		return ERR_OK;
	}
	if (got == MBEDTLS_ERR_SSL_WANT_READ)
		/* Also after a warning, which mbedTLS skips. */
		return conn->in->len == 0 ? ERR_MORE : ERR_OK;
	if (got == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
		conn->close_received = true;
		return ERR_TLS_CLOSED;
	}
	return conn_fail(conn, got);
}

/* Room is asked for before mbedTLS is, so that it never stops half-way through writing a record: it
 * would take the next record for the rest of this one. */
enum err
tls_open(struct tls_conn *conn, struct bytes *in, struct tls_out *plain, struct tls_out *out)
{
	enum err verdict;

	CHECK(conn->state == CONN_OPEN || conn->state == CONN_DEAD);
	CHECK(plain->used <= plain->room);
	if (conn->state == CONN_DEAD)
		return conn->verdict;
	if (conn->close_received)
		return ERR_TLS_CLOSED;
	if (room_in(plain) == 0 || room_in(out) < ALERT_RECORD_BYTES_MAX)
		return ERR_TLS_FULL;
	conn_begin(conn, in, out);
	verdict = open_record(conn, plain);
	conn_end(conn);
	return verdict;
}

bool
tls_has_plain(const struct tls_conn *conn)
{
	return conn->state == CONN_OPEN && mbedtls_ssl_get_bytes_avail(&conn->ssl) > 0;
}

static enum err
seal_record(struct tls_conn *conn, struct bytes *plain, size_t take)
{
	int sealed = mbedtls_ssl_write(&conn->ssl, plain->ptr, take);

	if (sealed < 0)
		return conn_fail(conn, sealed);
	CHECK(sealed > 0 && (size_t)sealed <= take);
	bytes_advance(plain, (size_t)sealed);
	return ERR_OK;
}

enum err
tls_seal(struct tls_conn *conn, struct bytes *plain, struct tls_out *out)
{
	size_t take = plain->len < TLS_RECORD_BYTES_MAX ? plain->len : TLS_RECORD_BYTES_MAX;
	enum err verdict;

	CHECK(conn->state == CONN_OPEN || conn->state == CONN_DEAD);
	CHECK(!conn->close_sent);
	if (conn->state == CONN_DEAD)
		return conn->verdict;
	if (take == 0)
		return ERR_OK;
	if (room_in(out) < take + TLS_RECORD_OVERHEAD_MAX)
		return ERR_TLS_FULL;
	conn_begin(conn, NULL, out);
	verdict = seal_record(conn, plain, take);
	conn_end(conn);
	return verdict;
}

enum err
tls_close(struct tls_conn *conn, struct tls_out *out)
{
	enum err verdict = ERR_OK;
	int failed;

	if (conn->state != CONN_OPEN || conn->close_sent)
		return ERR_OK;
	if (room_in(out) < ALERT_RECORD_BYTES_MAX)
		return ERR_TLS_FULL;
	conn_begin(conn, NULL, out);
	failed = mbedtls_ssl_close_notify(&conn->ssl);
	if (failed == 0)
		conn->close_sent = true;
	else
		verdict = conn_fail(conn, failed);
	conn_end(conn);
	return verdict;
}

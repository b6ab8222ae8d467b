/* What mbedTLS's errors mean: a verdict, and the alert that the peer is told. */
#include <mbedtls/ecp.h>

#include "base/units.h"
#include "tls/conn.h"

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
	REASON(SSL_INVALID_RECORD, ERR_TLS_BAD_RECORD, UNEXPECTED_MESSAGE),
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

/* Also what mbedTLS keeps to itself until the next step. */
static bool
has_written(const struct handshake *hs)
{
	return hs->out->used > hs->used_before || hs->ssl.MBEDTLS_PRIVATE(out_left) > 0;
}

static bool
is_13(const struct handshake *hs)
{
	return mbedtls_ssl_get_version_number(&hs->ssl) == MBEDTLS_SSL_VERSION_TLS1_3;
}

/* The first reason counts. Alerts: RFC 8446 6.2; RFC 5246 7.4.6 for a client without a certificate. */
static const struct reason *
reason_of_client(const struct handshake *hs)
{
	static const struct reason none13 = { 0, ERR_TLS_PEER_WITHOUT, MBEDTLS_SSL_ALERT_MSG_CERT_REQUIRED };
	static const struct reason none12 = { 0, ERR_TLS_PEER_WITHOUT, MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE };
	static const struct reason unknown = { 0, ERR_TLS_PEER_UNKNOWN, MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA };
	static const struct reason expired = { 0, ERR_TLS_PEER_EXPIRED, MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED };
	static const struct reason unfit = { 0, ERR_TLS_PEER_UNFIT, MBEDTLS_SSL_ALERT_MSG_UNSUPPORTED_CERT };
	uint32_t flags = hs->ssl.MBEDTLS_PRIVATE(session_negotiate)->MBEDTLS_PRIVATE(verify_result);

	if (flags & MBEDTLS_X509_BADCERT_MISSING || flags == 0)
		return is_13(hs) ? &none13 : &none12;
	if (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED)
		return &unknown;
	if (flags & (MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE))
		return &expired;
	return &unfit;
}

/* In the step that began there the other end's signature is looked at. */
static bool
proves_key(const struct handshake *hs)
{
	int of_server = is_13(hs) ? MBEDTLS_SSL_CERTIFICATE_VERIFY : MBEDTLS_SSL_SERVER_KEY_EXCHANGE;
	int of_client = is_13(hs) ? MBEDTLS_SSL_CLIENT_CERTIFICATE_VERIFY : MBEDTLS_SSL_CERTIFICATE_VERIFY;

	return hs->begun_in == (hs->is_client ? of_server : of_client);
}

static const struct reason *
reason_of(const struct handshake *hs, int error)
{
	static const struct reason flood = { 0, ERR_TLS_FLOOD, MBEDTLS_SSL_ALERT_MSG_UNEXPECTED_MESSAGE };
	static const struct reason share = { 0, ERR_TLS_BAD_MESSAGE, MBEDTLS_SSL_ALERT_MSG_ILLEGAL_PARAMETER };
	static const struct reason unreadable = { 0, ERR_TLS_PEER_UNFIT, MBEDTLS_SSL_ALERT_MSG_BAD_CERT };
	static const struct reason forged = { 0, ERR_TLS_PEER_UNFIT, MBEDTLS_SSL_ALERT_MSG_DECRYPT_ERROR };
	static const struct reason finished = { 0, ERR_TLS_BAD_MESSAGE, MBEDTLS_SSL_ALERT_MSG_DECRYPT_ERROR };
	int state = hs->begun_in; /* where mbedTLS stands now may be the next one */

	/* mbedTLS has a number for this per module, loses some on the way, and sometimes goes on until
	 * something else fails. */
	if (hs->starved || tls_context_memory(hs->conn->context).refusals != hs->refusals_before)
		return reason_for(MBEDTLS_ERR_SSL_ALLOC_FAILED);
	if (hs->records_in > HANDSHAKE_RECORDS_MAX)
		return &flood;
	/* Its number for "nothing in common", too. */
	if (error == MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE &&
	    (state == MBEDTLS_SSL_CLIENT_FINISHED || state == MBEDTLS_SSL_SERVER_FINISHED))
		return &finished;
	/* Its number for a record that is too long, too; but whoever writes has read what there was to read. */
	if (error == MBEDTLS_ERR_SSL_BAD_INPUT_DATA && has_written(hs))
		return &share;
	if (!hs->is_client && error == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED)
		return reason_of_client(hs);
	/* Of TLS 1.3's, its number for "nothing in common", once more. */
	if (proves_key(hs) && ((is_13(hs) && error == MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE) ||
			       reason_for(error)->verdict == ERR_TLS_REFUSED))
		return &forged;
	if (!hs->is_client && state == MBEDTLS_SSL_CLIENT_CERTIFICATE &&
	    reason_for(error)->verdict == ERR_TLS_REFUSED)
		return &unreadable;
	return reason_for(error);
}

/* Best effort: without room there is no alert, and the connection ends all the same. */
static void
tell(struct handshake *hs, uint8_t alert)
{
	/* What is sealed in TLS 1.3 has no type any more. */
	if (has_written(hs) &&
	    (conn_only_hears(hs) || hs->ssl.MBEDTLS_PRIVATE(out_msgtype) == MBEDTLS_SSL_MSG_ALERT))
		return;
	/* What is left of a flight that the same step began is all that a call writes. */
	if (hs->ssl.MBEDTLS_PRIVATE(out_left) > 0)
		(void)mbedtls_ssl_send_alert_message(&hs->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL, alert);
	(void)mbedtls_ssl_send_alert_message(&hs->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL, alert);
}

enum err
conn_fail(struct handshake *hs, int error)
{
	const struct reason *reason = reason_of(hs, error);
	struct tls_conn *conn = hs->conn;

	if (reason->alert != 0)
		tell(hs, reason->alert);
	conn->verdict = (uint16_t)(hs->is_client ? connect_fault(hs, error, reason->verdict) : reason->verdict);
	conn_set_state(conn, CONN_DEAD);
	return (enum err)conn->verdict;
}

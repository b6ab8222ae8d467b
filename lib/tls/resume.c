/*
 * What a client keeps of a connection, for the next one to the same target: in TLS 1.2 the session as it is when
 * the handshake is over, in TLS 1.3 what each ticket makes of it (RFC 8446 4.6.1). Tickets come when mbedTLS's
 * context is gone, so that the session which mbedTLS will read is made here.
 */
#include <mbedtls/ssl_ciphersuites.h>

#include "tls/conn.h"
#include "tls/cursor.h"

/* Of one connection: an end that sends more is served all the same. */
#define TICKETS_KEPT_MAX 4

struct ticket {
	uint32_t lifetime_s;
	uint32_t age_add;
	struct bytes nonce;
	struct bytes ticket;
};

void
resume_offer(struct handshake *hs)
{
	struct tls_context *context = hs->conn->context;
	struct connect_side *side = hs->conn->client;
	struct bytes saved = sessions_find(&context->clients.sessions, &side->target,
					   instance_now_s(context->instance), &side->verified_until_s);
	mbedtls_ssl_session session;

	if (saved.len == 0)
		return;
	mbedtls_ssl_session_init(&session);
	side->offered = mbedtls_ssl_session_load(&session, saved.ptr, saved.len) == 0 &&
			mbedtls_ssl_set_session(&hs->ssl, &session) == 0;
	/* Without memory it is a full handshake, and half a session must not be in its hello. */
	if (!side->offered)
		mbedtls_ssl_session_free(hs->ssl.MBEDTLS_PRIVATE(session_negotiate));
	mbedtls_ssl_session_free(&session);
}

static void
keep(struct tls_conn *conn, const mbedtls_ssl_session *session, int64_t life_s)
{
	struct sessions *sessions = &conn->context->clients.sessions;
	int64_t until_s = conn->client->verified_until_s, now_s = instance_now_s(conn->context->instance);
	struct session_ends ends = { now_s + life_s < until_s ? now_s + life_s : until_s, until_s };
	uint8_t *to;
	size_t len = 0;

	/* A ticket may come when its authority is one of before. */
	if (ends.expires_at_s <= now_s || !connect_believes(conn->context, &conn->client->target))
		return;
	(void)mbedtls_ssl_session_save(session, NULL, 0, &len);
	to = sessions_keep(sessions, &conn->client->target, len, &ends);
	if (to != NULL && mbedtls_ssl_session_save(session, to, len, &len) != 0)
		sessions_forget(sessions, &conn->client->target);
}

/* TLS 1.2 may be resumed by a session id as well, which has no lifetime of its own; and a ticket need not say
 * one. */
static void
keep_12(struct handshake *hs)
{
	mbedtls_ssl_session session;

	mbedtls_ssl_session_init(&session);
	if (mbedtls_ssl_get_session(&hs->ssl, &session) == 0 &&
	    (session.MBEDTLS_PRIVATE(ticket_len) > 0 || session.MBEDTLS_PRIVATE(id_len) > 0)) {
		uint32_t hint_s = session.MBEDTLS_PRIVATE(ticket_lifetime);

		keep(hs->conn, &session, hint_s > 0 ? hint_s : SESSIONS_LIFETIME_S_MAX);
	}
	mbedtls_ssl_session_free(&session);
}

void
resume_opened(struct handshake *hs)
{
	struct connect_side *side = hs->conn->client;
	const mbedtls_ssl_session *session = hs->ssl.MBEDTLS_PRIVATE(session);
	int64_t until_s = instance_now_s(hs->conn->context->instance) + SESSIONS_LIFETIME_S_MAX;

	if (side->target.id == 0)
		return;
	if (hs->full)
		side->verified_until_s = hs->chain_ends_at_s < until_s ? hs->chain_ends_at_s : until_s;
	if (hs->conn->version == MBEDTLS_SSL_VERSION_TLS1_2) {
		/* With a session of TLS 1.2 mbedTLS offers no other version. Where it was not taken, the next
		 * handshake asks again what the other end speaks by now. */
		if (hs->full && side->offered)
			sessions_forget(&hs->conn->context->clients.sessions, &side->target);
		else
			keep_12(hs);
		return;
	}
	side->tickets_left = TICKETS_KEPT_MAX;
	side->suite = (uint16_t)session->MBEDTLS_PRIVATE(ciphersuite);
	side->secret_len = side->suite == MBEDTLS_TLS1_3_AES_256_GCM_SHA384 ? 48 : 32;
	memcpy(side->secret, session->MBEDTLS_PRIVATE(app_secrets).resumption_master_secret, side->secret_len);
}

/* --- tickets of TLS 1.3 ----------------------------------------------------------------------- */

void
resume_no_more(struct connect_side *side)
{
	side->tickets_left = 0;
	explicit_bzero(side->secret, sizeof(side->secret));
}

/* Extensions are passed over: the only one that there is lets early data in, which we never send. */
static bool
parse(struct bytes body, struct ticket *ticket)
{
	struct bytes extensions;

	return cursor_number(&body, 4, &ticket->lifetime_s) && cursor_number(&body, 4, &ticket->age_add) &&
	       cursor_vector(&body, 1, &ticket->nonce) && cursor_vector(&body, 2, &ticket->ticket) &&
	       cursor_vector(&body, 2, &extensions) && body.len == 0 && ticket->ticket.len > 0;
}

/* The texts are the caller's, and are taken out again before mbedTLS would free them. */
static void
keep_13(struct tls_conn *conn, const struct ticket *ticket)
{
	struct connect_side *side = conn->client;
	mbedtls_ssl_session session;

	mbedtls_ssl_session_init(&session);
	session.MBEDTLS_PRIVATE(endpoint) = MBEDTLS_SSL_IS_CLIENT;
	session.MBEDTLS_PRIVATE(tls_version) = MBEDTLS_SSL_VERSION_TLS1_3;
	session.MBEDTLS_PRIVATE(ciphersuite) = side->suite;
	session.MBEDTLS_PRIVATE(ticket_lifetime) = ticket->lifetime_s;
	session.MBEDTLS_PRIVATE(ticket_age_add) = ticket->age_add;
	session.MBEDTLS_PRIVATE(ticket_flags) = MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_PSK_EPHEMERAL;
	session.MBEDTLS_PRIVATE(ticket_reception_time) = instance_now_s(conn->context->instance) * 1000;
	session.MBEDTLS_PRIVATE(ticket) = (unsigned char *)(uintptr_t)ticket->ticket.ptr;
	session.MBEDTLS_PRIVATE(ticket_len) = ticket->ticket.len;
	session.MBEDTLS_PRIVATE(hostname) = connect_is_host(&side->target) ? side->target.name : NULL;
	session.MBEDTLS_PRIVATE(resumption_key_len) = side->secret_len;
	derive_expand_label(side->secret_len == 48 ? DERIVE_SHA384 : DERIVE_SHA256, side->secret, "resumption",
			    ticket->nonce, session.MBEDTLS_PRIVATE(resumption_key), side->secret_len);
	keep(conn, &session, ticket->lifetime_s);
	explicit_bzero(&session, sizeof(session));
}

static void
take_message(struct tls_conn *conn, uint32_t type, struct bytes body)
{
	struct ticket ticket;

	/* A lifetime of 0 asks to forget it at once. */
	if (type == MESSAGE_NEW_SESSION_TICKET && parse(body, &ticket) && ticket.lifetime_s > 0) {
		keep_13(conn, &ticket);
		if (--conn->client->tickets_left == 0)
			resume_no_more(conn->client);
	}
}

/* A message that does not lie in one record is passed over; without its whole header, all that follow are. */
void
resume_ticket(struct tls_conn *conn, struct bytes messages)
{
	struct connect_side *side = conn->client;

	while (side->tickets_left > 0 && messages.len > 0) {
		size_t skip = side->skip < messages.len ? side->skip : messages.len;
		uint32_t type, len;

		bytes_advance(&messages, skip);
		side->skip -= (uint32_t)skip;
		if (messages.len == 0)
			return;
		if (!cursor_number(&messages, 1, &type) || !cursor_number(&messages, 3, &len)) {
			resume_no_more(side);
			return;
		}
		side->skip = len;
		if (len <= messages.len)
			take_message(conn, type, bytes_make(messages.ptr, len));
	}
}

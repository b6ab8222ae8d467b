#pragma once

#include <mbedtls/ssl.h>
#include <stdint.h>

#include "tls/instance.h"
#include "tls/ticket_secrets.h"

/*
 * ticket: session tickets that any worker with the same secrets can open. Private to lib/tls.
 *
 *   | name of the secret, 16 | nonce, 12 | sealed: issued at s, 8; until s, 8; mbedTLS's session | tag, 16 |
 *
 * AES-256-GCM. What a ticket is bound to is associated data: it opens only where that is the same.
 *
 *   | name, 16 | layout, 1 | version, 2 | listener's policy, 32 | length of SNI, 1 | SNI in lower case |
 *
 * until: when what the full handshake has shown is worth nothing any more, a lifetime later or at the first end of
 * the client's certificates; tickets of resumed connections inherit it. Besides, the session's suite must be
 * offered again. A ticket that cannot be used is no fault: the handshake is a full one.
 *
 * Owner: a tls_context. Thread: its worker. Time: the instance's.
 */
/* One with a client's certificate in it (TLS 1.2) may find no room, and is left out. */
#define TICKET_BYTES_MAX 1024
#define TICKET_POLICY_BYTES 32
#define TICKET_LAYOUT 2 /* raised with each change of what is drawn above */
/* Clocks of routers that share secrets differ; mbedTLS allows less in TLS 1.3 (6 s). */
#define TICKET_SKEW_S 60

struct ticket_keeper {
	struct instance *instance;
	/* In whose handshake this is; its user data is the handshake. NULL: in none. */
	mbedtls_ssl_context *ssl;
	uint32_t lifetime_s; /* never 0 here */
	struct ticket_secrets secrets;
};

/* f_ticket_write and f_ticket_parse of mbedtls_ssl_conf_session_tickets_cb(); opaque is
 * the keeper. */
int ticket_write(void *opaque, const mbedtls_ssl_session *session, unsigned char *start,
		 const unsigned char *end, size_t *ticket_len, uint32_t *lifetime_s);
int ticket_parse(void *opaque, mbedtls_ssl_session *session, unsigned char *ticket, size_t len);

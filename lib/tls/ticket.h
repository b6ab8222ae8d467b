#pragma once

#include <mbedtls/ssl.h>
#include <stdint.h>

#include "tls/instance.h"

/*
 * ticket: session tickets that any worker with the same secret can open. Private to lib/tls.
 *
 *   | key name, 16 | nonce, 12 | sealed: issued at s, 8; session as mbedTLS saves it | tag, 16 |
 *
 * AES-256-GCM under a key derived from the secret and from the period in which it was issued, so
 * that keys rotate everywhere at once without anybody talking. A period is one lifetime; the
 * current and the last one are accepted.
 *
 * Owner: a tls_context. Thread: its worker. Time: the instance's.
 */
struct ticket_keeper {
	struct instance *instance;
	/* In whose handshake this is: a ticket serves only the version of TLS that it was
	 * made by. */
	const mbedtls_ssl_context *ssl;
	uint32_t lifetime_s; /* never 0 here */
	uint8_t secret[32];
};

/* f_ticket_write and f_ticket_parse of mbedtls_ssl_conf_session_tickets_cb(); opaque is
 * the keeper. */
int ticket_write(void *opaque, const mbedtls_ssl_session *session, unsigned char *start,
		 const unsigned char *end, size_t *ticket_len, uint32_t *lifetime_s);
int ticket_parse(void *opaque, mbedtls_ssl_session *session, unsigned char *ticket, size_t len);

#pragma once

#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

#include "tls/instance.h"
#include "tls/sessions.h"
#include "tls/target.h"

struct handshake;
struct tls_conn;
struct tls_context;
struct tls_context_config;

/*
 * connect: the client's side of a context and its connections. Private to lib/tls.
 *
 * Owner:  the context, of its setup, and each connection of its side. Thread: the context's worker.
 * Time:   the instance's, for what is kept of a session.
 * Memory: the instance's arena, which is entered for every call but connect_bytes() and resume_ticket().
 */

struct connect_setup {
	mbedtls_ssl_config config;
	/* Without content, so that nothing is issued by it: mbedTLS wants one, also where pins alone count. */
	mbedtls_x509_crt nobody;
	struct sessions sessions;
};

/* Of a connection that we opened. */
struct connect_side {
	struct tls_target target;
	bool offered; /* a session, to be resumed */
	/* Until then what the last full handshake has shown is good for resuming; resumed ones do not move it. */
	int64_t verified_until_s;
	/* resume.c, for tickets of TLS 1.3; tickets_left 0: none is wanted */
	uint8_t tickets_left;
	uint8_t secret_len;
	uint16_t suite;
	uint32_t skip; /* bytes of the next records that belong to a message which was not whole */
	uint8_t secret[48]; /* the resumption master secret, while tickets are wanted */
};

size_t connect_bytes(const struct tls_context_config *config);

/* False: no memory. */
bool connect_setup_init(struct connect_setup *setup, struct instance *instance,
			const struct tls_context_config *config);
void connect_setup_fini(struct connect_setup *setup);

/* The context has other keys: sessions are forgotten whose authority is not among them. */
void connect_renew(struct tls_context *context);

/* What is kept of the target now would be looked for later. */
bool connect_believes(const struct tls_context *context, const struct tls_target *target);

/* The handshake failed with mbedTLS's error, which means otherwise: what it means here. */
enum err connect_fault(struct handshake *hs, int error, enum err otherwise);

/* Its name is one that is sent as SNI. */
bool connect_is_host(const struct tls_target *target);

/* Before the first flight: offers what is kept of the target. */
void resume_offer(struct handshake *hs);

/* The handshake is over. */
void resume_opened(struct handshake *hs);

/* No ticket is wanted any more, and what they are made with is wiped. */
void resume_no_more(struct connect_side *side);

/* What came in a record with tickets: foreign bytes, authentic. */
void resume_ticket(struct tls_conn *conn, struct bytes messages);

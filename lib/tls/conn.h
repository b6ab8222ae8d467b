#pragma once

#include <mbedtls/ssl.h>

#include "tls/hello.h"
#include "tls/instance.h"
#include "tls/pair.h"
#include "tls/ticket.h"
#include "tls/tls.h"

/*
 * conn: a context and its connections, as handshake.c and record.c see them. Private to lib/tls.
 *
 * Memory: all of it, the context included, lies in the instance's arena.
 */
#define CONN_SNI_BYTES_MAX HELLO_SNI_BYTES_MAX

/* Every transition is made by conn_set_state(). */
enum conn_state {
	CONN_FREE,
	CONN_HANDSHAKE,
	CONN_OPEN,
	CONN_DEAD, /* of the verdict; nothing may be sent or received any more */
};

struct tls_conn {
	mbedtls_ssl_context ssl;
	struct tls_context *context;
	struct tls_conn *next_free;
	enum conn_state state;
	enum err verdict; /* in CONN_DEAD */
	bool full; /* the handshake went through a certificate: not resumed */
	bool starved; /* an allocation found no room, now or earlier */
	bool close_sent;
	bool close_received;
	const uint8_t *policy; /* of its listener: the context's */
	uint8_t sni_len;
	char sni[CONN_SNI_BYTES_MAX];

	/* From conn_begin() to conn_end(). */
	struct bytes *in;
	struct tls_out *out;
	struct instance *before;
	size_t used_before; /* of *out */
	uint64_t refusals_before; /* of the arena */
};

struct tls_context {
	struct instance *instance;
	mbedtls_ssl_config config;
	mbedtls_ssl_config config_h2; /* the same, but for the protocols */
	/* What a ticket of a listener's is good for: a digest of all that its configuration says of who may come
	 * in and what is spoken. */
	uint8_t policy[TICKET_POLICY_BYTES];
	uint8_t policy_h2[TICKET_POLICY_BYTES];
	struct ticket_keeper tickets;
	struct tls_conn *conns;
	struct tls_conn *free_conns;
	uint32_t conns_max;
	size_t pair_count;
	struct pair *pairs;
};

/* The only writer of state. */
void conn_set_state(struct tls_conn *conn, enum conn_state state);

/* Around every use of mbedTLS for a connection. in may be NULL when nothing is read. */
void conn_begin(struct tls_conn *conn, struct bytes *in, struct tls_out *out);
void conn_end(struct tls_conn *conn);

/* Inside them: ends the connection for mbedTLS's error: its verdict, and an alert into *out if
 * mbedTLS wrote none. */
enum err conn_fail(struct tls_conn *conn, int error);

/* mbedTLS's callback: the certificates that fit the name the client asked for. */
int conn_choose_pairs(mbedtls_ssl_context *ssl);

#pragma once

#include <mbedtls/ssl.h>

#include "tls/connect.h"
#include "tls/fiber.h"
#include "tls/hello.h"
#include "tls/instance.h"
#include "tls/keys.h"
#include "tls/lanes.h"
#include "tls/records.h"
#include "tls/ticket.h"
#include "tls/tls.h"

/*
 * conn: a context, its connections, and their handshakes, as the files of lib/tls see them. Private to it.
 *
 * A connection is small and stays; a handshake is large (mbedTLS's buffers and state), and is gone as soon as the
 * connection is open or has failed.
 *
 * Owner:  the context, which owns itself. Thread: the worker that made it; wiped and keys_count alone are met by
 *         whoever calls tls_context_sweep(), too.
 * Memory: all of it, the context included, lies in the instance's arena, which wipes what is given back.
 */
#define CONN_SNI_BYTES_MAX HELLO_SNI_BYTES_MAX

/* Every transition is made by conn_set_state(). */
enum conn_state {
	CONN_FREE,
	CONN_HANDSHAKE,
	CONN_OPEN,
	CONN_DEAD, /* of the verdict; nothing may be sent or received any more */
};

/* What mbedTLS exported for the record layer, by version. */
struct handshake_secrets {
	struct records_master master;
	uint8_t client[DERIVE_HASH_BYTES_MAX]; /* the application traffic secrets */
	uint8_t server[DERIVE_HASH_BYTES_MAX];
};

/* Of a peer's, in one handshake. A flight is a few; a ClientHello of 600 bytes in pieces of five is 120. */
#define HANDSHAKE_RECORDS_MAX 160

struct handshake {
	mbedtls_ssl_context ssl;
	struct tls_conn *conn;
	struct handshake_secrets secrets;
	bool is_client;
	bool full; /* it went through a certificate: not resumed */
	bool starved; /* an allocation found no room, now or earlier */
	uint16_t records_in;
	uint8_t listener;
	struct tls_keys *keys; /* those that it began with */
	bool is_verified; /* the client has shown a certificate that its listener believes */
	int64_t chain_ends_at_s; /* the first end of what the other end was verified by; INT64_MAX: of nothing */
	uint64_t resumed_until_s; /* when the ticket that was shown last is worth nothing any more */
	uint8_t own_policy[TICKET_POLICY_BYTES]; /* of a listener that believes not everybody */
	const uint8_t *policy; /* of its listener: the context's */
	uint8_t sni_len;
	char sni[CONN_SNI_BYTES_MAX];

	/* During one step, which may take several calls. */
	struct fiber *fiber; /* NULL: none has begun */
	struct lanes_seat seat;
	int begun_in; /* mbedTLS's state */
	int failed; /* mbedTLS's error */

	/* During one call. */
	struct bytes *in;
	struct tls_out *out;
	size_t used_before; /* of *out */
	uint64_t refusals_before; /* of the arena */
};

struct tls_conn {
	struct records records; /* once open */
	struct tls_context *context;
	struct handshake *handshake; /* in CONN_HANDSHAKE alone */
	struct tls_conn *next_free;
	struct connect_side *client; /* NULL: the other end connected */
	const char *suite; /* static, as alpn is */
	const char *alpn;
	uint16_t version;
	uint16_t verdict; /* enum err, in CONN_DEAD */
	uint8_t state; /* enum conn_state */
	bool resumed;
};

_Static_assert(sizeof(struct tls_conn) <= TLS_CONN_BYTES, "as the budget counts it");

struct tls_context {
	struct instance *instance;
	struct keyring *ring;
	struct fiber_pool *fibers;
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
	uint32_t handshakes;
	uint32_t handshakes_max;
	struct connect_setup clients;
	struct tls_keys *keys; /* the newest */
	struct tls_keys *_Atomic wiped; /* by the worker, for tls_context_sweep() */
	_Atomic unsigned int keys_count; /* made and not freed */
	/* The name that the connection asked for which was opened last. */
	const struct tls_conn *named;
	uint8_t name_len;
	char name[CONN_SNI_BYTES_MAX];
};

/* The only writer of state. */
void conn_set_state(struct tls_conn *conn, enum conn_state state);

/* A connection of the pool in its handshake, as config says; policy NULL: a client's. NULL when a pool or the
 * memory is exhausted. */
struct tls_conn *conn_begin(struct tls_context *context, const mbedtls_ssl_config *config, const uint8_t *policy);

/* The step that is under way is one of TLS 1.3's in which this end writes nothing but, at most, its alert. */
bool conn_only_hears(const struct handshake *hs);

/* During a step of the handshake: ends the connection for mbedTLS's error: its verdict, and an alert into *out if
 * mbedTLS wrote none. */
enum err conn_fail(struct handshake *hs, int error);

/* With the instance entered: one user less, and if it was the last one, they are wiped. */
void context_put_keys(struct tls_context *context, struct tls_keys *keys);

/* A certificate of the chain by which the other end is verified, each of them. */
void conn_note_end(struct handshake *hs, const mbedtls_x509_crt *crt);

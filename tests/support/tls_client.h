#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "tls/records.h"
#include "tls/tls.h"

/*
 * tls_client: the other end, for tests and the simulator: bytes in, bytes out, as tls.h does it for
 * a server.
 *
 * mbedTLS's own client, which verifies the server's chain against ca_pem and its name against host.
 *
 * Owner: the caller. Thread: one at a time. Time: config.now_s. Memory: an instance of its own per
 * client.
 */
struct tls_client;
struct cert_forged;

struct tls_client_config {
	uint64_t seed;
	int64_t now_s; /* for the certificate's validity */
	struct bytes ca_pem;
	const char *host; /* SNI, and the name that the certificate must have; NULL: neither */
	const char *const *alpn; /* ended by NULL; lives as long as the client; NULL: no ALPN */
	uint16_t version_min; /* 0x0303, 0x0304; 0: both */
	uint16_t version_max;
	const int *suites; /* IANA numbers, ended by 0; NULL: all */
	const uint16_t *groups; /* IANA numbers, ended by 0; NULL: all */
	const uint16_t *signatures; /* IANA numbers, ended by 0; NULL: all */
	struct bytes cert_pem; /* its own, and the key of it; empty: none */
	struct bytes key_pem;
	const struct cert_forged *said; /* what it says instead of its own certificate; said_count 0: that */
	size_t said_count;
	struct bytes session; /* from tls_client_session() of an earlier client; empty: none */
};

/* NULL when the configuration cannot be used. */
struct tls_client *tls_client_new(const struct tls_client_config *config);
void tls_client_free(struct tls_client *client);

/* The verdicts of tls_handshake(); ERR_TLS_REFUSED for whatever this client does not like. */
enum err tls_client_step(struct tls_client *client, struct bytes *in, struct tls_out *out);
bool tls_client_is_open(const struct tls_client *client);

/* As tls_duo_open(), tls_duo_seal() and tls_duo_close() for the other end; room is asked for first. */
#define TLS_CLIENT_OVERHEAD_MAX 64
enum err tls_client_open(struct tls_client *client, struct bytes *in, struct tls_out *plain,
			 struct tls_out *out);
enum err tls_client_seal(struct tls_client *client, struct bytes *plain, struct tls_out *out);
enum err tls_client_close(struct tls_client *client, struct tls_out *out);

/* What its handshake has derived so far, as a key log has it: all that a test needs to play the client's part,
 * or to look for what should be gone. */
struct tls_client_secrets {
	struct records_master master;
	uint8_t client_handshake[DERIVE_HASH_BYTES_MAX];
	uint8_t server_handshake[DERIVE_HASH_BYTES_MAX];
	uint8_t client_application[DERIVE_HASH_BYTES_MAX];
	uint8_t server_application[DERIVE_HASH_BYTES_MAX];
};
const struct tls_client_secrets *tls_client_secrets(const struct tls_client *client);

/* The description of the alert that the server sent; 0: none. */
uint8_t tls_client_alert(const struct tls_client *client);

uint16_t tls_client_version(const struct tls_client *client);
const char *tls_client_suite(const struct tls_client *client); /* mbedTLS's name of it; static */
struct bytes tls_client_alpn(const struct tls_client *client);

/* The first name in the server's certificate; of a resumed session, in that of the session's
 * beginning. */
struct bytes tls_client_server_name(const struct tls_client *client);

/* A session to resume, with its ticket, into to; 0: there is none (TLS 1.3: its ticket has not been
 * read by tls_client_open() yet). */
size_t tls_client_session(struct tls_client *client, uint8_t *to, size_t room);
#define TLS_CLIENT_SESSION_BYTES_MAX 4096

/* How long the server says that this session's ticket lives. */
uint32_t tls_client_ticket_lifetime_s(const struct tls_client *client);

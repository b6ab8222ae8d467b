#pragma once

#include "seeded.h"
#include "tls/tls.h"
#include "tls_client.h"
#include "tls_stream.h"

/*
 * tls_duo: a TLS server connection of ours, a client, and the bytes between them in both
 * directions.
 *
 * Everything is deterministic. Owner: a test.
 */
#define TLS_DUO_NOW_S INT64_C(1893456000) /* 2030-01-01 */
#define TLS_DUO_WIRE_BYTES (256u * 1024)

/* Of the files NAME.pem and NAME.key; names is ended by NULL. */
struct tls_identity *tls_duo_identity(const char *const *names);

/* One secret, of which every byte is fill. */
struct ticket_secrets tls_duo_tickets(uint8_t fill);

/* Its arena holds conns_max handshakes; tickets live an hour, under tls_duo_tickets(ticket_secret).
 * The seed's memory must outlive the context. */
struct tls_context *tls_duo_context(const struct tls_identity *identity, uint32_t conns_max,
				    struct seeded *seed, uint8_t ticket_secret);

/* The context of a server that has edge.pem alone, and what it is made of. */
struct tls_duo_edge {
	struct seeded seed;
	struct tls_identity *identity;
	struct tls_context *context;
};
void tls_duo_edge_init(struct tls_duo_edge *edge, uint32_t conns_max);
void tls_duo_edge_fini(struct tls_duo_edge *edge);

/* For host "api.sluice.test", trusting ca.pem, with ALPN "http/1.1"; to be changed by the test. */
struct tls_client_config tls_duo_client_config(void);

/* The same, of one version: 0x0303, 0x0304. */
struct tls_client_config tls_duo_client_of(uint16_t version);

struct tls_duo_wire {
	uint8_t bytes[TLS_DUO_WIRE_BYTES];
	size_t from;
	size_t to;
};

struct tls_duo {
	struct tls_conn *server;
	struct tls_client *client;
	enum err server_verdict; /* of the last step */
	enum err client_verdict;
	size_t steps; /* of the server */
	bool is_patient; /* who waits in lanes waits until the test runs them; else they are run at once */
	struct tls_duo_wire to_server;
	struct tls_duo_wire to_client;
	uint8_t got[TLS_DUO_WIRE_BYTES]; /* what the last send was opened to */
	struct tls_stream record; /* that the server is reading */
};

/* A connection of the context and a client, nothing sent yet. */
void tls_duo_init(struct tls_duo *duo, struct tls_context *context,
		  const struct tls_client_config *config);
void tls_duo_fini(struct tls_duo *duo);

/* Steps both, with at most piece bytes in and out of each call (0: any), until both are open or
 * neither moves any more. True: both are open. */
bool tls_duo_shake(struct tls_duo *duo, size_t piece);

/* One step of each. False: neither moved. */
bool tls_duo_turn(struct tls_duo *duo, size_t piece);

/* One step of ours, if it is not at its end; is_patient as above. False: nothing moved. */
bool tls_duo_step(struct tls_conn *conn, bool is_patient, enum err *verdict, struct tls_duo_wire *from,
		  struct tls_duo_wire *to, size_t piece);

/* After that: seals text at one end and opens it at the other, piece by piece. True: it arrived. */
bool tls_duo_send_to_server(struct tls_duo *duo, struct bytes text, size_t piece);
bool tls_duo_send_to_client(struct tls_duo *duo, struct bytes text, size_t piece);

/* A word each way. */
bool tls_duo_exchange(struct tls_duo *duo);

/* tls_stream.h for the server. */
enum err tls_duo_open(struct tls_duo *duo, struct bytes *in, struct tls_out *plain, struct tls_out *out);
bool tls_duo_has_plain(const struct tls_duo *duo);

enum err tls_duo_seal(struct tls_duo *duo, struct bytes *plain, struct tls_out *out);
enum err tls_duo_close(struct tls_duo *duo, struct tls_out *out);

/* A part of a wire to read from, then what was left of it; and to write to, then what
 * was written. */
struct bytes tls_duo_front(const struct tls_duo_wire *wire, size_t piece);
void tls_duo_taken(struct tls_duo_wire *wire, struct bytes rest, size_t piece);
struct tls_out tls_duo_back(struct tls_duo_wire *wire, size_t piece);
void tls_duo_put(struct tls_duo_wire *wire, struct tls_out written);

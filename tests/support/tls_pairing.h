#pragma once

#include "seeded.h"
#include "tls/target.h"
#include "tls/tls.h"
#include "tls_duo.h"

/*
 * tls_pairing: two contexts of ours, one that connects and one that accepts, and the bytes between a connection of
 * each.
 *
 * Everything is deterministic. Owner: a test; about 1 MiB: static.
 */
#define TLS_PAIRING_NOW_S TLS_DUO_NOW_S

struct pairing_options {
	const char *chain;     /* of the server: CHAIN.pem, CHAIN.key */
	const char *authority; /* that the client trusts: AUTHORITY.pem, and "ca" both authorities */
	struct bytes believed; /* in place of that file; empty: the file */
	uint32_t sessions_max;
	int64_t now_s; /* 0: TLS_PAIRING_NOW_S */
};

struct pairing {
	struct seeded seed;
	struct tls_authorities *authorities;
	const char *authority;
	struct tls_identity *identity;
	struct tls_context *ours;   /* connects */
	struct tls_context *theirs; /* accepts */
	struct tls_conn *client;
	struct tls_conn *server;
	enum err client_verdict;
	enum err server_verdict;
	bool only_12; /* the server speaks no more than TLS 1.2 */
	struct tls_duo_wire to_server;
	struct tls_duo_wire to_client;
	struct tls_stream at_server;
	struct tls_stream at_client;
	uint8_t got[4096];
};

void pairing_open(struct pairing *p, const struct pairing_options *options);
void pairing_close(struct pairing *p);
void pairing_set_time(struct pairing *p, int64_t now_s);

/* The server forgets all; it has another certificate and other keys of tickets. */
void pairing_restart_server(struct pairing *p, const char *chain, uint8_t ticket_secret);

/* Our end believes these bundles from now on, each under its name: as pairing_options.authority. */
void pairing_believe(struct pairing *p, const char *const *names);

/* By the authority that the pairing was opened with, id 7; by the key of NAME.pem alone. */
#define PAIRING_AUTHORITY 1 /* stands for it in a target until pairing_connect() */
struct tls_target pairing_target(const char *name);
struct tls_target pairing_pinned(const char *name);

/* A connection, nothing sent yet. client is NULL without memory. */
void pairing_connect(struct pairing *p, const struct tls_target *target);
void pairing_part(struct pairing *p);

/* A step of each end, at most piece bytes in and out of each call (0: any). False: nothing has moved. */
bool pairing_turn(struct pairing *p, size_t piece);

/* Until nothing moves any more. True: both are open. */
bool pairing_shake(struct pairing *p, size_t piece);

/* A word each way. */
bool pairing_exchange(struct pairing *p, size_t piece);

/* What our end says of what has come. */
enum err pairing_read(struct pairing *p);

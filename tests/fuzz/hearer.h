#pragma once

#include "meddler.h"
#include "tls_stream.h"

/*
 * hearer: the end of a connection, ours, that a meddler's records go to, in pieces of any size. It must not open
 * by a handshake that was changed, nor read what was not said: CHECKs see to that.
 *
 * Owner: a fuzz target.
 */
#define HEARER_CALLS_MAX 100000 /* of both ends in a connection: more, and something spins */

struct hearer {
	struct tls_conn *conn;
	struct meddler *meddler;
	enum err verdict; /* of its last call */
	size_t piece;     /* bytes for each call; at the beginning all */
	size_t room;      /* for what it says in a call, or reads; at the beginning plenty */
	int calls;
	size_t said_len; /* what it has to say */
	uint8_t said[65536];
	size_t got_len; /* what it has read; no more than there is room for */
	uint8_t got[65536];
	struct tls_stream stream;
};

void hearer_begin(struct hearer *h, struct tls_conn *conn, struct meddler *meddler);

/* Of any end: it goes no further. */
bool hearer_is_final(enum err verdict);

/* Bytes as they are; what it does not take is lost with the connection. */
void hearer_hear(struct hearer *h, struct bytes bytes);

/* The records of an honest peer's flight, as the meddler has them. */
void hearer_carry(struct hearer *h, struct bytes flight);

/* The peer has no more to say: what the meddler has, and whether all of it was read. */
void hearer_finish(struct hearer *h);

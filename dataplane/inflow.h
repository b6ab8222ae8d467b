#pragma once

#include <stdint.h>

#include "base/bytes.h"
#include "base/list.h"
#include "pkt/pkt.h"
#include "tcp/tcp.h"
#include "tls/tls.h"

/*
 * inflow: what a connection has received and nobody has used yet, in the packets that it came in. A TLS record is
 * opened where it lies, and handed on piece by piece.
 *
 * A record stays with TCP until all of it is there, and what was taken and not used goes back at the end of the
 * turn: what it pins is seen and squeezed there, and who never sends the rest, or whose bytes nobody reads, is
 * ended by TCP's memory pressure like all who go nowhere.
 *
 * Owner:  a session. Thread: its worker.
 * Memory: the packets of one record at most, and what came behind it in the last of them. What was lent is valid
 *         until the next inflow_plain() of the worker, whatever becomes of the session.
 */
#define INFLOW_PIECES_MAX 64 /* packets of a record: two neighbours have more than 1 KiB together */

struct inflow {
	struct pkt *received; /* taken from TCP, all of it unconsumed there */
	struct list_node taken; /* among those that have taken something in this turn */
	tcp_conn_t conn;      /* it was taken from */
	uint32_t wanted;      /* bytes of the record that is coming in; 0: nothing is known of it */
	uint32_t plain_left;  /* of the record that was opened, at the front */
	uint32_t behind;      /* bytes of it that follow them */
	bool has_lost;        /* there was no memory for bytes that were not ours to write into */
};

struct worker;

/* The next bytes as they came, and that n of them have been used. None while plaintext is left. */
struct bytes inflow_peek(struct worker *w, struct inflow *in, tcp_conn_t conn);
void inflow_use(struct worker *w, struct inflow *in, tcp_conn_t conn, size_t n);

/* Any bytes that are there, of a connection that is not listened to any more. False: none. */
bool inflow_discard(struct worker *w, struct inflow *in, tcp_conn_t conn);

/*
 * The next piece of plaintext, lent; tls NULL: of what came in clear.
 *   ERR_OK          piece has 1 to TLS_RECORD_BYTES_MAX bytes
 *   ERR_MORE        nothing now
 *   ERR_TLS_CLOSED  the peer will say no more
 *   others          the connection is of no use
 * After any of them TLS may owe something (tls_owes()).
 */
enum err inflow_plain(struct worker *w, struct inflow *in, tcp_conn_t conn, struct tls_conn *tls,
		      struct bytes *piece);

/* The same without taking it: the piece stays where it is until so much of it has been used. */
enum err inflow_peek_plain(struct worker *w, struct inflow *in, tcp_conn_t conn, struct tls_conn *tls,
			   struct bytes *piece);
void inflow_use_plain(struct worker *w, struct inflow *in, tcp_conn_t conn, uint32_t n);

/* The connection is over. */
void inflow_end(struct worker *w, struct inflow *in);

/* Nothing that was lent is looked at any more, and TCP has the rest. */
void inflow_end_turn(struct worker *w);

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "tcp/tcp.h"

/*
 * outflow: what leaves on a connection, in packets: bytes as they are, what TLS has to say by itself, and
 * plaintext that is sealed where it lies.
 *
 * Owner:  a session. Thread: its worker.
 * Memory: packets of the worker's payload pool, TCP's as soon as they are sent; nothing is kept here.
 */
struct outflow {
	uint64_t bytes; /* given to TCP since the connection began */
};

struct pkt;
struct tls_conn;
struct worker;

/* Each false: there is no memory or no room, something is lost, and the connection is of no use. */

/* Takes p. more: another one follows in this turn. */
bool outflow_packets(struct worker *w, struct outflow *out, tcp_conn_t conn, struct pkt *p, bool more);
bool outflow_bytes(struct worker *w, struct outflow *out, tcp_conn_t conn, struct bytes wire, bool more);
bool outflow_owed(struct worker *w, struct outflow *out, tcp_conn_t conn, struct tls_conn *tls);

/* What p has, at most TLS_RECORD_BYTES_MAX in packets of PACKET_PLAIN_BYTES, becomes a record, header and tail
 * where packets have room in front and behind. Nothing may be owed. The verdicts of tls_seal(). */
enum err outflow_seal(struct worker *w, struct tls_conn *tls, struct pkt *p);

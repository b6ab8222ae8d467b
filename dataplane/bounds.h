#pragma once

#include "base/check.h"
#include "base/units.h"
#include "http/h1.h"
#include "pkt/pkt.h"
#include "tls/tls.h"

/* bounds: the dataplane's bounds that are not configuration, with what they follow from. */

/* A head buffer takes one head and, behind it, the rest of the record in which the head ended. */
#define HEAD_BUFFER_BYTES (H1_HEAD_BYTES_MAX + TLS_RECORD_BYTES_MAX)

/* Request bodies are kept in blocks until the first byte of the answer, so that they can be resent. */
#define BODY_BLOCK_BYTES (16 * 1024)

/* What one client may have queued in TCP before its backend is not read any more, and the level at which
 * reading starts again. Together with one receive window of the backend (tcp.backends.receive_max) they
 * bound what a slow reader can hold. */
#define CLIENT_UNACKED_BYTES_HIGH (64 * 1024)
#define CLIENT_UNACKED_BYTES_LOW (32 * 1024)

/* What is queued towards a backend before the request body waits. */
#define UPSTREAM_UNACKED_BYTES_HIGH (128 * 1024)
#define UPSTREAM_UNACKED_BYTES_LOW (64 * 1024)

/* An event that is not complete yet is kept, so that a cut stream ends between events and what the client did
 * not ask for can be taken out. A longer event passes through as it comes. */
#define EVENT_BYTES_MAX (256 * 1024)

/* What of a client's answer a packet has: the end of a record fits behind it. */
#define PACKET_PLAIN_BYTES (PKT_ROOM_BYTES - TLS_TAIL_BYTES_MAX)

/* Where TLS puts what fits a segment into a record of its own (tls_record_size()): 1500 bytes without the headers
 * of IPv6 and of TCP with timestamps. */
#define RECORD_SEGMENT_BYTES (1500 - 40 - 32)

/* Packets that one step of the relay may fill: an event that was gathered, and a full stage; the first of them in
 * records of one segment, each record's last not full. A client without descriptors for so many is not fed, as one
 * without room for bytes. */
#define CLIENT_PIECES_MIN \
	((EVENT_BYTES_MAX + TLS_RECORD_BYTES_MAX) / PACKET_PLAIN_BYTES + \
	 (EVENT_BYTES_MAX + TLS_RECORD_BYTES_MAX) / TLS_RECORD_BYTES_MAX + 8)
CHECK_STATIC(CLIENT_PIECES_MIN < 192, "a quarter of a connection's descriptors stays for what is in flight");

/* How often a client looks for descriptors that only others can give back. */
#define CLIENT_STARVED_NS (50 * NSEC_PER_MSEC)

/* What a client may still send after an early answer before the connection is closed (RFC 9112
 * section 9.6: closing at once could take the answer away from it). */
#define DRAIN_BYTES_MAX (64 * 1024)
#define LINGER_NS (2 * NSEC_PER_SEC) /* and how long; over HTTP/2, before its stream is reset */

#define TRIES_MAX 8          /* of routing.tries: room for what a request remembers */
#define STALE_RESET_NS_MAX (1 * NSEC_PER_SEC) /* a kept connection that is reset later than this was not stale */
#define INTERIM_HEADS_MAX 8  /* 1xx of one answer: a backend that sends more is no backend */
#define EVENTS_PER_TURN_MAX 256   /* TCP events handled per loop turn */
/* Handshakes' share of a turn, behind what was sent for everybody else: who comes meanwhile waits for the rest of
 * it and for one step, of which the longest (a key agreement, a signature) is some tens of microseconds; longer
 * where a certificate or a backend makes it so: half of an RSA signature, P-384 (numbers: lib/tls/README.md). A
 * worker without other work has nothing but such turns. */
#define HANDSHAKE_TURN_NS (10 * NSEC_PER_USEC)
#define HANDSHAKE_STEPS_PER_TURN_MAX 64
/* One step in so many begins a handshake while others that are begun could go on: fewer than a handshake has, or
 * all would be half done in a storm. */
#define HANDSHAKE_STEPS_PER_NEW 16
#define SECURE_STEPS_PER_TURN 1 /* of handshakes with backends */
#define HANDSHAKE_LOOKS_MAX 64 /* for one of a network among those that began first */
#define CLIENT_STEPS_PER_TURN 64  /* pieces of plaintext of one client per turn */
/* What of one client is read over HTTP/2 per turn, and the rest of a record: HPACK can make of each octet a field
 * to look at, so that a client's turn is about a millisecond at the most. */
#define H2_TURN_BYTES_MAX (32 * 1024)
#define READY_PER_TURN_MAX 64
#define TIMERS_PER_TURN_MAX 256
#define LISTING_ENTRIES_PER_STEP 256 /* of one list of models; a turn has three at most */
#define SWEEPS_PER_TURN_MAX 32    /* backend connections looked at after a change of the tables */
#define CLIENT_SWEEPS_PER_TURN_MAX 32 /* clients looked at after a change of whom listeners believe */
#define UPSTREAMS_IDLE_PER_POD_MAX 64
#define UPSTREAM_FIELDS_BYTES 1536 /* prepared request fields of one exchange */
#define CONTENT_TYPE_BYTES_MAX 256 /* a longer one is not passed on, but for the pass-through */
#define PROXY_METHOD_BYTES_MAX 24  /* a longer one gets 405 */
/* What of a request body that passes through waits for its backend before the client is not read any more. */
#define BODY_UNSENT_BYTES_MAX (128 * 1024)
#define ANSWER_BYTES_MAX 4096      /* an answer of our own: head, and body */
#define ANSWER_HEAD_BYTES_MAX (H1_HEAD_BYTES_MAX + 2048)
#define UPSTREAM_SESSIONS_MAX 256 /* pods of which each worker keeps a TLS session, to be resumed */

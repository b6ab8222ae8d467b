#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "tls/arena.h"
#include "tls/identity.h"
#include "tls/pieces.h"
#include "tls/ticket_secrets.h"

/*
 * tls: TLS 1.3 and 1.2 for one connection; ciphertext becomes plaintext, and back, where it lies.
 *
 * The handshake is mbedTLS (handshake.c), the record layer behind open and seal is our own (records.h): nothing
 * above this header knows.
 *
 * Owner:  the caller's session. Thread: the worker that made the context.
 * Time:   now_s (Unix seconds) for certificates and tickets is set per worker by tls_set_time().
 *         now_ns, monotonic, for the size of records and for how often the peer renews its keys.
 * Memory: connections come from the context's pool, TLS_CONN_BYTES each. A handshake takes up to
 *         TLS_HANDSHAKE_BYTES of the worker's arena, and gives all back when it is over.
 */
struct tls_context; /* per worker: certificates, ticket secrets, random generator, pool */
struct tls_conn;
struct tls_authorities;
struct tls_target;
struct lanes_engine;

struct tls_keys;    /* an identity (identity.h) and authorities (target.h) as one worker uses them */

struct tls_context_config {
	uint32_t conns_max;
	uint32_t handshakes_max; /* of them at once in their handshake; 0: all */
	size_t arena_bytes; /* for handshakes; 0: handshakes_max * TLS_HANDSHAKE_BYTES */
	uint32_t ticket_lifetime_s; /* 0: no tickets; at most 604800 */
	const struct ticket_secrets *tickets; /* equal in all workers, copied; NULL if there are no tickets */
	/* Entropy for this worker's generator, 0 on success; the simulator gives a seeded one. */
	int (*entropy)(void *owner, uint8_t *to, size_t len);
	void *owner;
	/* For tls_connect(). */
	const struct tls_authorities *authorities; /* copied; NULL: none */
	uint32_t connects_max; /* connections of its, of conns_max */
	uint32_t sessions_max; /* ends that a session is kept of, to be resumed; 0: none */
	/* What computes under mbedTLS: "crypto_mb", for eight handshakes at a time (tls_lanes_run()), and what it
	 * does not have by libcrypto; "libcrypto"; "mbedtls" for its own code alone; NULL: the best here of the
	 * latter two. */
	const char *primitives;
	/* A test's, in place of crypto_mb's; NULL: none. */
	const struct lanes_engine *lanes;
	/* What seals and opens records: "vaes", "ipsec-mb", "mbedtls"; NULL: the fastest here. */
	const char *records;
};

/* A handshake at its peak: mbedTLS's two record buffers (33 KiB), its state and keys, and some slack for rounding.
 * An open connection, all of it. */
#define TLS_HANDSHAKE_BYTES (48u * 1024)
/* Of a context beside all these: what keys get while they sign, PSA's slots, the context itself, the keyring. */
#define TLS_CONTEXT_BYTES (512u * 1024)
#define TLS_CONN_BYTES 304
/* Of a context's handshakes so many at once may stand before a dear operation, each with a stack for it (fiber.h);
 * others wait with what they begin. */
#define TLS_FIBERS_MAX 64
#define TLS_FIBER_BYTES (36u * 1024)
/* More of it for one that we opened; and a session of sessions_max. */
#define TLS_CONNECT_BYTES 576
#define TLS_SESSION_BYTES 8704

/* The process's share, on one thread and before anything else in the process uses libcrypto, which would keep
 * it from allocating in the contexts' memory; a context does so too, and it may be too late. Harmless twice. */
void tls_prepare(void);

/* Whether this build and this machine have them, by their names in tls_context_config. */
bool tls_has_primitives(const char *name);
bool tls_has_records(const char *name);

/* NULL without memory or entropy, or when the primitives or the records' ciphers are not here. The identity has at
 * least one certificate, and is copied; without one (NULL) the context only connects. */
struct tls_context *tls_context_new(const struct tls_context_config *config,
				    const struct tls_identity *identity);

/*
 * Other certificates, keys and authorities while connections are open. tls_keys_new() is for another thread, and
 * takes milliseconds; either may be NULL: none. NULL: no memory. tls_context_replace() is the worker's: handshakes
 * that begin from now on have these keys, those under way end with what they began with, and open connections need
 * none; sessions of authorities that are not among them are forgotten. It returns, a bit for each, the listeners
 * that ask clients for certificates of other authorities than before, or for the first time: who came in there has
 * not shown one. Old keys are wiped by the worker with the last handshake of theirs; tls_context_sweep(), of any
 * one thread, gives back the memory of wiped ones, and says how many there still are: TLS_KEYS_MAX, and nothing
 * must be replaced yet.
 */
#define TLS_KEYS_MAX 4
size_t tls_keys_bytes(const struct tls_identity *identity, const struct tls_authorities *authorities);
struct tls_keys *tls_keys_new(const struct tls_identity *identity, const struct tls_authorities *authorities);
void tls_keys_free(struct tls_keys *keys); /* of those that no context has */
uint32_t tls_context_replace(struct tls_context *context, struct tls_keys *keys);
unsigned int tls_context_sweep(struct tls_context *context);

/* All its connections must have been freed. */
void tls_context_free(struct tls_context *context);
void tls_set_time(struct tls_context *context, int64_t now_s);

/* From the next step of a handshake on; copied. Nothing without a lifetime. */
void tls_set_tickets(struct tls_context *context, const struct ticket_secrets *secrets);

/* What is in force: under the handshake, as tls_context_config names it, and for records (aead.h); static. */
const char *tls_context_primitives(const struct tls_context *context);
const char *tls_context_ciphers(const struct tls_context *context);

/* What the context and its connections hold of their memory now. */
struct arena_use tls_context_memory(const struct tls_context *context);

/* A server connection, with the certificates of that listener (its number in the identity); NULL when the pool or
 * the memory is exhausted, or handshakes_max are under way. offers_h2: the client may choose HTTP/2 (facts.alpn is
 * "h2"), which we prefer. */
struct tls_conn *tls_accept(struct tls_context *context, uint32_t listener, bool offers_h2);
/* A client connection, which offers "http/1.1" and resumes what was kept of an equal target; NULL when the pool
 * or the memory is exhausted. tls_can_reach() must be true: the context knows the authority, and there is
 * something to verify by. Why the other end was not believed is a verdict of tls_handshake():
 * ERR_TLS_PEER_UNKNOWN, _EXPIRED, _NAME, _PIN or _UNFIT. */
struct tls_conn *tls_connect(struct tls_context *context, const struct tls_target *target);
bool tls_can_reach(const struct tls_context *context, const struct tls_target *target);
/* Stands for the certificates that the context has now under that name, and for no others: a bundle that changes
 * has another number. TLS_NO_AUTHORITY: there is none. */
uint64_t tls_find_authority(const struct tls_context *context, struct bytes name);
/* A handshake of ours that is not over, or has failed, with a session that was kept: what went wrong may be that.
 * An error forgets it, so that the next one is in full; where the other end hangs up or says nothing, the owner
 * does. */
bool tls_offered_session(const struct tls_conn *conn);
void tls_forget_session(struct tls_conn *conn); /* of one that tls_connect() made */
void tls_conn_free(struct tls_conn *conn);

/* Caller's memory to write into; used counts up. */
struct tls_out {
	uint8_t *ptr;
	size_t room;
	size_t used;
};

/*
 * One bounded step of the handshake: at most one of mbedTLS's states, and of its dear operations (a key, an
 * agreement, a signature, a half of RSA's) at most one, with which a call begins. Takes ciphertext from the
 * front of *in, writes flights to *out.
 *   ERR_OK         done; tls_open() and tls_seal() may be used
 *   ERR_MORE       needs more of *in (which is empty now)
 *   ERR_TLS_AGAIN  a step is done; call again soon
 *   ERR_TLS_WAITS  what comes next is tls_lanes_run()'s to compute, and tls_lanes_done() says when to go on; a
 *                  call before does nothing
 *   ERR_TLS_FULL   *out has no room; call again with room
 *   others         dead; *out may hold the alert, which should be sent before closing
 */
enum err tls_handshake(struct tls_conn *conn, struct bytes *in, struct tls_out *out);

/*
 * Handshakes of one context compute together where that is in force ("crypto_mb"): who wants a key, an
 * agreement or a signature waits until eight want the same, 50 us at most. Whoever has such a context calls
 * tls_lanes_run() before the steps of each turn, and when tls_lanes_next_at() says so: it computes one batch, if
 * one is due, which takes as long as a dear operation or two, and returns how many handshakes were in it (0:
 * none). Those may go on, and so may those who are too few for a batch and now compute alone: tls_lanes_done()
 * hands out their owners one by one, until NULL, whatever was returned.
 */
void tls_set_owner(struct tls_conn *conn, void *owner); /* of one in its handshake */
uint32_t tls_lanes_run(struct tls_context *context, uint64_t now_ns);
uint64_t tls_lanes_next_at(const struct tls_context *context); /* UINT64_MAX: nobody waits */
void *tls_lanes_done(struct tls_context *context);

/*
 * The record at the front of in, decrypted where it lies.
 *   ERR_OK          the caller drops `taken` bytes, of which `len`, perhaps 0, from `offset` on are plaintext
 *   ERR_MORE        it is not whole; there must be `wanted` bytes before another call can do more
 *   ERR_TLS_CLOSED  close_notify came and nothing more will; tls_seal() and tls_close() still work (RFC 8446 6.1)
 *   others          the connection is over, and what was in the record is wiped
 * After any of them something may be owed: an alert, a KeyUpdate.
 */
struct tls_opened {
	size_t taken;
	size_t offset;
	size_t len;
	size_t wanted;
};
#define TLS_WIRE_BYTES_MAX (5 + 16384 + 256) /* of a record that is not refused by its header */
enum err tls_open(struct tls_conn *conn, const struct pieces *in, uint64_t now_ns, struct tls_opened *opened);

/*
 * Seals what plain has (1 to TLS_RECORD_BYTES_MAX bytes) as one record, where it lies; head, which goes in front,
 * gets tls_head_bytes(), tail, which goes behind, tls_tail_bytes(). What is owed goes first (tls_answer()).
 * ERR_TLS_WORN: the key may seal no more, and the connection should be closed. Not after tls_close().
 */
#define TLS_RECORD_BYTES_MAX 16384
#define TLS_HEAD_BYTES_MAX 13
#define TLS_TAIL_BYTES_MAX 17
size_t tls_head_bytes(const struct tls_conn *conn);
size_t tls_tail_bytes(const struct tls_conn *conn);
enum err tls_seal(struct tls_conn *conn, const struct pieces *plain, uint8_t *head, uint8_t *tail,
		  uint64_t now_ns);

/* How much of `queued` bytes the next record should have: what one segment takes while the connection's first
 * bytes go out, so that the peer can open each as it arrives, then whole records. */
size_t tls_record_size(const struct tls_conn *conn, size_t queued, size_t segment_bytes, uint64_t now_ns);

/* TLS 1.2: our key has protected as many records as it should. There will be no other, so the connection should
 * end behind what is under way, for which it may still be used. */
bool tls_is_worn(const struct tls_conn *conn);

/* Owes close_notify, if the connection is open. */
void tls_close(struct tls_conn *conn);

/* Something must be said, and must not be overtaken by data. tls_answer() appends it to *out, whole or
 * (ERR_TLS_FULL: less room than TLS_ANSWER_BYTES_MAX) not at all. */
#define TLS_ANSWER_BYTES_MAX 64
bool tls_owes(const struct tls_conn *conn);
enum err tls_answer(struct tls_conn *conn, struct tls_out *out);

/* close_notify came: the end of the stream is not a cut. */
bool tls_was_closed(const struct tls_conn *conn);

struct tls_facts {
	uint16_t version; /* 0x0303, 0x0304 */
	const char *suite; /* static */
	bool resumed;
	struct bytes sni; /* only until the next connection of the context is opened: none of them keeps it */
	struct bytes alpn; /* static */
};
void tls_facts(const struct tls_conn *conn, struct tls_facts *facts);

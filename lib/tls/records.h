#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tls/aead.h"
#include "tls/derive.h"
#include "tls/keyring.h"
#include "tls/pieces.h"

/*
 * records: the record layer of one connection after its handshake, TLS 1.3 (RFC 8446 section 5) and 1.2 (RFC
 * 5246 6.2.3.3, 5288, 7905); opened and sealed in place, wherever the bytes lie.
 *
 * Also all that is said after a handshake: alerts, close_notify, KeyUpdate in both directions, and the
 * refusal of renegotiation. What has to be said in answer is owed (records_owes()) until records_answer()
 * writes it.
 *
 * A record that is not authentic, or breaks a rule, is the last: the verdict stays, the alert is owed,
 * nothing more is opened or sealed.
 *
 * Owner:  one connection. Thread: the worker that has the keyring.
 * Time:   now_ns, for the rate of KeyUpdate and the size of records.
 * Memory: RECORDS_BYTES_MAX, fixed; keys are wiped by records_end().
 */
struct records_way {
	uint8_t secret[DERIVE_HASH_BYTES_MAX]; /* of TLS 1.3, for the next keys */
	uint8_t key[AEAD_KEY_BYTES_MAX];
	uint8_t iv[AEAD_NONCE_BYTES]; /* of GCM in TLS 1.2 the first 4, the rest is sent */
	uint64_t sequence; /* of the next record with this key */
};

struct records {
	struct records_way send;
	struct records_way receive;
	uint64_t sealed_at_ns;
	uint64_t updates_from_ns; /* the window in which KeyUpdates are counted */
	uint32_t flight_bytes; /* sealed since the connection was idle */
	uint32_t message; /* header of the handshake message that is coming in, as far as it is there */
	uint32_t message_left; /* of its body */
	uint16_t verdict; /* enum err; not ERR_OK: the connection is over */
	uint8_t message_got; /* bytes of its header */
	uint8_t cipher;
	uint8_t owes; /* bits, records.c */
	uint8_t alert; /* that is owed */
	uint8_t useless; /* records without use, in a row */
	uint8_t updates; /* in the window */
	bool is_13;
	bool is_client;
	bool close_received;
	bool close_sent; /* or another alert; nothing follows it */
};

#define RECORDS_BYTES_MAX 256
_Static_assert(sizeof(struct records) <= RECORDS_BYTES_MAX, "all that an idle connection keeps of TLS");

/* Limits. */
#define RECORDS_DATA_BYTES_MAX 16384 /* RFC 8446 5.1 */
#define RECORDS_USELESS_MAX 32 /* in a row: empty ones, warnings, tickets, what is refused politely */
#define RECORDS_UPDATES_MAX 16 /* KeyUpdates of a peer in RECORDS_UPDATES_NS */
#define RECORDS_UPDATES_NS UINT64_C(10000000000)
#define RECORDS_MESSAGE_BYTES_MAX 65536 /* a handshake message after the handshake: a ticket */
/* RFC 8446 5.5: AES-GCM keys are good for 2^24.5 full records. At the first bound a new key is made (TLS 1.3)
 * or asked for, and the owner of TLS 1.2, which cannot, should end the connection behind what is under way; at the
 * second the key is not used any more, but for the last words of TLS 1.2. */
#define RECORDS_LAST_MAX 2
#define RECORDS_GCM_RENEW (UINT64_C(1) << 24)
#define RECORDS_GCM_MAX UINT64_C(23726566)
/* ChaCha20-Poly1305 has no such limit, so these are there for the sequence number never to wrap. */
#define RECORDS_CHACHA_RENEW (UINT64_C(1) << 62)
#define RECORDS_CHACHA_MAX UINT64_MAX
/* After this long without a record, the first bytes go in records of one segment, which the peer can open as
 * each arrives, until its congestion window has opened (RFC 6928); then whole records, which cost less. */
#define RECORDS_IDLE_NS UINT64_C(1000000000)
#define RECORDS_SMALL_BYTES 14600

/* Alerts that we know (RFC 8446 section 6, RFC 5246 7.2). */
enum records_alert {
	ALERT_CLOSE_NOTIFY = 0,
	ALERT_UNEXPECTED_MESSAGE = 10,
	ALERT_BAD_RECORD_MAC = 20,
	ALERT_RECORD_OVERFLOW = 22,
	ALERT_ILLEGAL_PARAMETER = 47,
	ALERT_DECODE_ERROR = 50,
	ALERT_PROTOCOL_VERSION = 70,
	ALERT_USER_CANCELED = 90,
	ALERT_NO_RENEGOTIATION = 100,
};

/* Handshake messages that we know (RFC 8446 section 4, RFC 5246 7.4). */
enum records_message {
	MESSAGE_HELLO_REQUEST = 0,
	MESSAGE_CLIENT_HELLO = 1,
	MESSAGE_NEW_SESSION_TICKET = 4,
	MESSAGE_KEY_UPDATE = 24,
};

/* TLS 1.3: the application traffic secrets, derive_hash_bytes() each; sent counts the records that were
 * sealed with the first key before (tickets). */
void records_begin_13(struct records *r, enum aead_cipher cipher, const uint8_t *send_secret,
		      const uint8_t *receive_secret, uint64_t sent, bool is_client);

/* TLS 1.2, each side's Finished being the one record sealed before. */
struct records_master {
	uint8_t secret[48];
	uint8_t client_random[32];
	uint8_t server_random[32];
};
void records_begin_12(struct records *r, enum aead_cipher cipher, const struct records_master *master,
		      bool is_client);

/* Keys are wiped, here and in the ring. */
void records_end(struct records *r, struct keyring *ring);

/* What was in a record. */
enum records_kind {
	RECORDS_NOTHING, /* dealt with, or nothing in it */
	RECORDS_DATA,
	RECORDS_TICKET, /* of a client: NewSessionTicket messages or parts of them, 4-byte headers included */
};

struct records_opened {
	enum records_kind kind;
	size_t taken; /* bytes of the record */
	size_t offset; /* of what was in it, from the record's first byte */
	size_t len;
	size_t wanted; /* with ERR_MORE: so many bytes must be there before another call can do more */
};

/*
 * The record at the front of in, decrypted where it lies.
 *   ERR_OK          opened is filled; the caller drops `taken` bytes, of which it may use len
 *   ERR_MORE        it is not whole; opened->wanted
 *   ERR_TLS_CLOSED  close_notify came: nothing more will, and what does is not looked at
 *   others          the connection is over, now and in later calls
 * After any of them something may be owed.
 */
enum err records_open(struct records *r, struct keyring *ring, const struct pieces *in, uint64_t now_ns,
		      struct records_opened *opened);

/* How much of `queued` bytes the next record should take, for segments of segment_bytes. */
size_t records_size(const struct records *r, size_t queued, size_t segment_bytes, uint64_t now_ns);

/*
 * Seals what plain has (1 to RECORDS_DATA_BYTES_MAX bytes) as one record, where it lies. head, which goes in
 * front, gets records_head_bytes(), tail, which goes behind, records_tail_bytes().
 *   ERR_OK        done
 *   ERR_TLS_WORN  the key may seal no more data, the connection should be closed; nothing was done
 *   others        the connection is over; nothing was done
 * Not after records_close(). Afterwards a KeyUpdate may be owed.
 */
#define RECORDS_HEAD_BYTES_MAX 13
#define RECORDS_TAIL_BYTES_MAX 17
size_t records_head_bytes(const struct records *r);
size_t records_tail_bytes(const struct records *r);
enum err records_seal(struct records *r, struct keyring *ring, const struct pieces *plain, uint8_t *head,
		      uint8_t *tail, uint64_t now_ns);

/* TLS 1.2: the first bound is reached. */
bool records_is_worn(const struct records *r);

/* TLS 1.3: owes a KeyUpdate; asks: the peer is to make new keys, too. Nothing in TLS 1.2. */
void records_renew(struct records *r, bool asks);

/* Owes close_notify, once; what comes in can still be opened. */
void records_close(struct records *r);

/* Something must be said, and must not be overtaken by data. */
bool records_owes(const struct records *r);

/* Writes what is owed. ERR_TLS_FULL: there is less room than RECORDS_ANSWER_BYTES_MAX; nothing was done. */
#define RECORDS_ANSWER_BYTES_MAX 64
enum err records_answer(struct records *r, struct keyring *ring, uint8_t *to, size_t room, size_t *written);

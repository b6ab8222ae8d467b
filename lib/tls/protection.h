#pragma once

#include "tls/records.h"

/*
 * protection: one record's bytes. Private to the files of records.
 *
 * Owner:  the connection whose records they are. Thread: its worker. Memory: the caller's; expanded keys are the
 *         keyring's.
 */
enum protection_type {
	PROTECTION_CHANGE_CIPHER_SPEC = 20,
	PROTECTION_ALERT = 21,
	PROTECTION_HANDSHAKE = 22,
	PROTECTION_DATA = 23,
};

#define PROTECTION_HEADER_BYTES 5
#define PROTECTION_SALT_BYTES 4 /* of GCM's nonce in TLS 1.2 (RFC 5288 section 3) */
#define PROTECTION_EXPLICIT_BYTES 8 /* and the rest, which is sent */

/* The bounds of a key's use. */
uint64_t protection_renew(const struct records *r);
uint64_t protection_max(const struct records *r);

/* Seals anything; plain has at least one byte, the key may still be used. */
void protection_seal(struct records *r, struct keyring *ring, enum protection_type type,
		     const struct pieces *plain, uint8_t *head, uint8_t *tail);

/* What lies in front of the ciphertext, and around the plaintext. */
size_t protection_front_bytes(const struct records *r);
size_t protection_overhead_bytes(const struct records *r);

/* Decrypts in place a record that is whole and has at least the overhead; false: it is not authentic, and
 * what had been decrypted of it is wiped. header is the record's. */
bool protection_open(struct records *r, struct keyring *ring, const struct pieces *in, const uint8_t *header);

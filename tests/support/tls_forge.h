#pragma once

#include "tls/records.h"

/*
 * tls_forge: records as a peer with the right keys may make them, rules or not, and what it reads; by stock
 * mbedTLS's ciphers, each record in one piece.
 *
 * Owner: a test.
 */
struct tls_forge {
	struct records_way way;
	enum aead_cipher cipher;
	bool is_13;
};

/* A connection's records, of secrets that no handshake has made. */
void tls_forge_records(struct records *r, bool is_13, enum aead_cipher cipher, bool is_client);

/* With the keys of r->receive (to make what r opens) or r->send (to read what r seals), as they are now. */
struct tls_forge tls_forge_make(const struct records *r, const struct records_way *way);

/* The next generation of keys, after a KeyUpdate. */
void tls_forge_renew(struct tls_forge *forge);

/* The next record into to; its bytes. In TLS 1.3 padding zeros follow the type; type 0 and no content: only
 * they. */
#define TLS_FORGE_BYTES_MAX (2 * RECORDS_DATA_BYTES_MAX)
size_t tls_forge_seal(struct tls_forge *forge, uint8_t type, struct bytes content, size_t padding,
		      uint8_t *to);

/* The content of the record into to, which has its size; -1: it is not authentic. */
int tls_forge_open(struct tls_forge *forge, struct bytes record, uint8_t *type, uint8_t *to);

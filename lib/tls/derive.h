#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * derive: TLS's key derivation: HKDF-Expand-Label of 1.3 (RFC 8446 7.1) and the PRF of 1.2 (RFC 5246 section
 * 5).
 *
 * By hand over mbedTLS's SHA-2, because mbedTLS's own HMAC allocates. Nothing is kept; what was on the stack
 * is wiped.
 */
enum derive_hash { DERIVE_SHA256, DERIVE_SHA384 };
#define DERIVE_HASH_BYTES_MAX 48

/* 32 or 48. */
size_t derive_hash_bytes(enum derive_hash hash);

/* HMAC (RFC 2104) over text, then more; key has at most 64 bytes. to has derive_hash_bytes(). */
void derive_hmac(enum derive_hash hash, struct bytes key, struct bytes text, struct bytes more, uint8_t *to);

/* With an empty context; secret has derive_hash_bytes(), len is at most that, label at most 12 characters. */
void derive_expand_label(enum derive_hash hash, const uint8_t *secret, const char *label, uint8_t *to,
			 size_t len);

/* PRF(secret, label, seed); label and seed together have at most DERIVE_SEED_BYTES_MAX. */
#define DERIVE_SEED_BYTES_MAX 96
void derive_prf(enum derive_hash hash, struct bytes secret, const char *label, struct bytes seed, uint8_t *to,
		size_t len);

#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * derive: hashes, and the keys that TLS derives by them: HKDF-Expand-Label of 1.3 (RFC 8446 7.1) and the PRF of
 * 1.2 (RFC 5246 section 5).
 *
 * HMAC is by hand, because mbedTLS's own allocates: over mbedTLS's SHA-2; of short messages with SHA-256 over the
 * blocks of crypto.h, since such a context costs as much as what is hashed in it. Nothing is kept; what was on the
 * stack is wiped.
 */
enum derive_hash { DERIVE_SHA256, DERIVE_SHA384 };
#define DERIVE_HASH_BYTES_MAX 48

/* 32 or 48. */
size_t derive_hash_bytes(enum derive_hash hash);

/* The hash of these parts, one behind the other. to has derive_hash_bytes(), here and below. */
void derive_digest(enum derive_hash hash, const struct bytes *parts, size_t count, uint8_t *to);

/* HMAC (RFC 2104) over text, then more; key has at most 64 bytes. */
void derive_hmac(enum derive_hash hash, struct bytes key, struct bytes text, struct bytes more, uint8_t *to);

/* HKDF-Expand (RFC 5869 2.3) of at most one block, all that TLS 1.3 asks for: len is at most
 * derive_hash_bytes(). */
void derive_expand(enum derive_hash hash, struct bytes secret, struct bytes info, uint8_t *to, size_t len);

/* secret has derive_hash_bytes(), label at most 12 characters, context at most 255 bytes. */
void derive_expand_label(enum derive_hash hash, const uint8_t *secret, const char *label, struct bytes context,
			 uint8_t *to, size_t len);

/* Both of a direction, by the labels "key" and "iv" (RFC 8446 7.3), each of at most derive_hash_bytes(). With
 * SHA-256, where the processor has instructions for it, in the time of one. */
void derive_traffic_key(enum derive_hash hash, const uint8_t *secret, uint8_t *key, size_t key_len, uint8_t *iv,
			size_t iv_len);

/* PRF(secret, label, seed); label and seed together have at most DERIVE_SEED_BYTES_MAX. */
#define DERIVE_SEED_BYTES_MAX 96
void derive_prf(enum derive_hash hash, struct bytes secret, const char *label, struct bytes seed, uint8_t *to,
		size_t len);

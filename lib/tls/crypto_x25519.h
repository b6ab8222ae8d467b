#pragma once

#include "tls/crypto.h"

/*
 * crypto_x25519: a public key of X25519 (RFC 7748), a third of the time that libcrypto takes: its table goes by
 * 25.5 bits, and its ladder does not know that the point is always the same. Private to lib/tls.
 *
 * Pure; no allocation; any thread. Time: the same for all scalars. Each entry of the table that may be meant is
 * read and all but one are masked away; tests/purity/secrets.c has valgrind look at what the compiler made of it.
 */
/* scalar times the base point; whatever its bits are, those of RFC 7748 5 are set and cleared. */
void x25519_public(const uint8_t scalar[CRYPTO_X25519_BYTES], uint8_t out[CRYPTO_X25519_BYTES]);

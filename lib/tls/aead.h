#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * aead: authenticated encryption in place, piece by piece, behind one table of implementations.
 *
 * One message is begin, any number of seal or open calls of any length, finish. Nothing that open wrote may
 * be believed before finish's tag has been compared.
 *
 * Owner:  one worker (keyring.h). Thread: its own.
 * Memory: an implementation takes what it needs in aead_init(); expanded keys and messages under way lie in
 * the caller's memory. No other call allocates.
 */
enum aead_cipher { AEAD_AES_128_GCM, AEAD_AES_256_GCM, AEAD_CHACHA20_POLY1305, AEAD_CIPHERS };

enum aead_kind {
	AEAD_VAES, /* aead_vaes.c: AES-GCM by AVX2 with VAES; ChaCha20-Poly1305 is that of the next one here */
	AEAD_IPSEC_MB, /* Intel's multi-buffer library: hand-written for each generation of x86 */
	AEAD_MBEDTLS, /* wherever a C compiler is */
	AEAD_KINDS
};

#define AEAD_KEY_BYTES_MAX 32
#define AEAD_NONCE_BYTES 12
#define AEAD_TAG_BYTES 16

/* A key as an implementation wants it, powers of the hash key included; and a message under way. */
#define AEAD_EXPANDED_BYTES 1280
#define AEAD_RUN_BYTES 768
struct aead_key {
	_Alignas(64) uint8_t bytes[AEAD_EXPANDED_BYTES];
};
struct aead_run {
	_Alignas(64) uint8_t bytes[AEAD_RUN_BYTES];
};

/* Of one cipher. len is never 0. */
struct aead_calls {
	void (*expand)(void *engine, const uint8_t *key, struct aead_key *to);
	void (*begin)(void *engine, const struct aead_key *key, struct aead_run *run,
		      const uint8_t nonce[AEAD_NONCE_BYTES], const uint8_t *aad, size_t aad_len, bool seals);
	void (*seal)(void *engine, const struct aead_key *key, struct aead_run *run, uint8_t *bytes,
		     size_t len);
	void (*open)(void *engine, const struct aead_key *key, struct aead_run *run, uint8_t *bytes,
		     size_t len);
	void (*finish)(void *engine, const struct aead_key *key, struct aead_run *run,
		       uint8_t tag[AEAD_TAG_BYTES]);
};

struct aead {
	const char *name; /* "ipsec-mb AVX512 VAES", for the operator; static */
	enum aead_kind kind;
	bool is_wide; /* by vectors of 512 bits: faster than AEAD_VAES */
	void *engine; /* ipsec-mb's; NULL: nothing of it is used */
	struct aead_calls calls[AEAD_CIPHERS];
};

/* False: this build or this processor does not have it, or there is no memory. */
bool aead_init(struct aead *aead, enum aead_kind kind);

/* By its name, "vaes", "ipsec-mb" or "mbedtls"; NULL: the fastest that this build and this processor have, of
 * which "mbedtls" is always there. */
bool aead_choose(struct aead *aead, const char *name);
void aead_fini(struct aead *aead);

/* 16 or 32. */
size_t aead_key_bytes(enum aead_cipher cipher);

/* Of the implementations, for aead.c alone. */
bool aead_vaes_is_here(void);
void aead_vaes_init(struct aead *aead); /* over one that is there: takes its place for AES-GCM */
bool aead_ipsec_init(struct aead *aead);
void aead_ipsec_fini(struct aead *aead);
void aead_mbedtls_init(struct aead *aead);

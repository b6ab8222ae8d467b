#pragma once

#include "tls/aead.h"

/*
 * keyring: a worker's ciphers, and the keys that it used last, expanded.
 *
 * A connection keeps its raw keys only (records.h); what an implementation makes of one is 1 KB and takes 0.1
 * us, so it is made again when the key has left the ring meanwhile. AES-GCM of mbedTLS, that is of handshakes and
 * tickets, has its keys here, too (instance_set_keyring()).
 *
 * Owner:  one worker. Thread: its own.
 * Memory: the caller's, aligned to 64, best locked and left out of core dumps; all of it wiped by keyring_fini(),
 *         a key when it is over: by records_end() and, of mbedTLS's, by instance_gcm_forget().
 */
/* Both directions of 16 connections under way at once, less what handshakes and tickets take meanwhile; 42 KB. */
#define KEYRING_SLOTS 32

struct keyring_slot {
	uint8_t raw[AEAD_KEY_BYTES_MAX];
	bool is_used;
	uint8_t cipher;
	struct aead_key key;
};

struct keyring {
	struct aead aead;
	struct aead_run run; /* the one message that is under way */
	struct keyring_slot slots[KEYRING_SLOTS];
};

/* With the implementation of that name (aead_choose()), or of that kind; false: it is not there. */
bool keyring_init(struct keyring *ring, const char *name);
bool keyring_init_kind(struct keyring *ring, enum aead_kind kind);
void keyring_fini(struct keyring *ring);

/* raw has AEAD_KEY_BYTES_MAX bytes, zeros behind the key. Good until the next call. */
const struct aead_key *keyring_get(struct keyring *ring, enum aead_cipher cipher, const uint8_t *raw);

/* The key is over: what the ring has of it is wiped. */
void keyring_forget(struct keyring *ring, const uint8_t *raw);

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tls/arena.h"
#include "tls/crypto.h"
#include "tls/lanes.h"

/*
 * instance: what mbedTLS takes for its process: memory, clock, random numbers, PSA's key store.
 *
 * mbedTLS has no parameter for these; its configuration makes it ask the instance that the calling
 * thread has entered. Whoever calls mbedTLS enters the instance before and leaves it after, so that
 * workers share nothing, and several may live in one thread (the simulator).
 *
 * Owner:  a tls_context, tls_keys, a certificate or an authority while it is checked, or a test's client.
 * Thread: one at a time. Time: instance_set_time(). Memory: everything comes out of the arena.
 */
struct instance;
struct fiber;
struct keyring;

/* Fills to with len random bytes; 0, or another number when it cannot. */
typedef int (*instance_entropy)(void *owner, uint8_t *to, size_t len);

/* NULL without memory, or when entropy failed. entropy NULL: random numbers are never asked for. */
struct instance *instance_new(size_t arena_bytes, instance_entropy entropy, void *owner);

/* Everything allocated in it must be forgotten. */
void instance_free(struct instance *instance);

/* Returns whom to go back to; enter and leave nest. */
struct instance *instance_enter(struct instance *instance);
void instance_leave(struct instance *before);

/* Blocks of the arena may be freed while the instance is entered, until it is taken back: what was made in another
 * instance and is used in this one. */
#define INSTANCE_LENT_MAX 4
void instance_lend(struct instance *instance, struct arena *arena);
void instance_take_back(struct instance *instance, struct arena *arena);

void instance_set_time(struct instance *instance, int64_t now_s);
int64_t instance_now_s(const struct instance *instance);
struct arena *instance_arena(struct instance *instance);

/* Under mbedTLS from now on: "libcrypto" (crypto.h), "crypto_mb", which is libcrypto and lanes, "mbedtls" for
 * nothing but its own code, which every instance starts with; NULL: the best that needs no lanes. False: this
 * build or this machine does not have it, or there is no memory. */
bool instance_use_primitives(struct instance *instance, const char *name);
const char *instance_primitives(const struct instance *instance);

/* With libcrypto in force: what the engine has is computed by it, for several handshakes at once (lanes.h).
 * False: there is no memory. */
bool instance_use_lanes(struct instance *instance, const struct lanes_engine *engine);
struct lanes *instance_lanes(struct instance *instance); /* NULL: each for itself */

/* With libcrypto in force: AES-GCM is that of the ring from now on, which is not mbedTLS's; NULL: mbedTLS's
 * own. */
void instance_set_keyring(struct instance *instance, struct keyring *ring);

/* What mbedTLS runs on from now on, and the seat it may take in the lanes; NULL: on nothing that could pause.
 * handshakes: how many there are that could sit beside it, itself among them. */
void instance_set_fiber(struct instance *instance, struct fiber *fiber, struct lanes_seat *seat,
			uint32_t handshakes);

/* Of the instance that the thread has entered. */
bool instance_is_entered(void);
struct crypto *instance_crypto(void); /* NULL: mbedTLS's own code */
struct keyring *instance_keyring(void); /* NULL: mbedTLS's own ciphers */
bool instance_hashes(void); /* whether libcrypto does: outside of an instance (a key's hash) nobody has chosen */
bool instance_pause(void); /* before what is dear; false: nobody wants it any more, and it must fail */
bool instance_has_lanes(enum lanes_kind kind); /* whether instance_compute() tries, here and now */
/* In place of that and of computing it: with others of its kind. CRYPTO_DECLINED: it cannot, or not enough others
 * came; then what follows is not tried again before instance_pause(), which returns at once, has been asked. */
enum crypto_result instance_compute(const struct lanes_work *work);
bool instance_owns(const void *block);
void *instance_calloc(size_t count, size_t bytes); /* NULL: its arena has no room */
void instance_free_block(void *block);
size_t instance_block_bytes(const void *block);

/* The shape of mbedTLS's f_rng; opaque is the instance. */
int instance_random(void *opaque, unsigned char *to, size_t len);

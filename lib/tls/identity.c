/*
 * Certificates and keys as checked PEM texts in one arena. Every context parses them again into its
 * own, since mbedTLS writes into a key while it uses it (blinding values of RSA).
 */
#include "tls/identity.h"

#include "base/check.h"
#include "base/units.h"
#include "tls/arena.h"
#include "tls/cert.h"
#include "tls/tls.h"

#include <stdio.h>

#define IDENTITY_BYTES \
	(1 * MIB) /* 64 usual pairs of about 8 KiB, with room for a few long chains */

struct stored_pair {
	struct bytes chain_pem;
	struct bytes key_pem;
};

struct tls_identity {
	struct arena *arena;
	bool locked;
	size_t count;
	struct stored_pair pairs[IDENTITY_PAIRS_MAX];
};

struct tls_identity *
tls_identity_new(void)
{
	struct arena *arena = arena_new(IDENTITY_BYTES);
	struct tls_identity *identity;

	if (arena == NULL)
		return NULL;
	identity = arena_alloc(arena, sizeof(*identity));
	CHECK(identity != NULL);
	identity->arena = arena;
	identity->locked = arena_lock_used(arena);
	return identity;
}

void
tls_identity_free(struct tls_identity *identity)
{
	if (identity != NULL)
		arena_free(identity->arena);
}

bool
tls_identity_is_locked(const struct tls_identity *identity)
{
	return identity->locked;
}

/* The pages are locked before the text is in them. */
static bool
store(struct tls_identity *identity, struct bytes text, struct bytes *stored)
{
	uint8_t *copy = arena_alloc(identity->arena, text.len);

	if (copy == NULL)
		return false;
	identity->locked = arena_lock_used(identity->arena) && identity->locked;
	memcpy(copy, text.ptr, text.len);
	*stored = bytes_make(copy, text.len);
	return true;
}

enum err
tls_identity_add(struct tls_identity *identity, struct bytes chain_pem, struct bytes key_pem,
		 char *text, size_t room)
{
	struct stored_pair pair = { BYTES_NONE, BYTES_NONE };
	enum err verdict = cert_check(chain_pem, key_pem, CERT_ANY_TIME, text, room);

	if (verdict != ERR_OK)
		return verdict;
	if (identity->count == IDENTITY_PAIRS_MAX || !store(identity, chain_pem, &pair.chain_pem) ||
	    !store(identity, key_pem, &pair.key_pem)) {
		arena_release(identity->arena, (void *)(uintptr_t)pair.chain_pem.ptr);
		snprintf(text, room,
			 "There is no room for another certificate (at most %d, 1 MiB together).",
			 IDENTITY_PAIRS_MAX);
		return ERR_POOL_EMPTY;
	}
	identity->pairs[identity->count++] = pair;
	return ERR_OK;
}

size_t
identity_count(const struct tls_identity *identity)
{
	return identity->count;
}

struct bytes
identity_chain_pem(const struct tls_identity *identity, size_t index)
{
	CHECK(index < identity->count);
	return identity->pairs[index].chain_pem;
}

struct bytes
identity_key_pem(const struct tls_identity *identity, size_t index)
{
	CHECK(index < identity->count);
	return identity->pairs[index].key_pem;
}

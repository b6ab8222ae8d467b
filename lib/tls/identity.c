/* Texts lie in one arena, whose pages are locked before a text is in them. */
#include "tls/identity.h"

#include <stdio.h>

#include "base/check.h"
#include "base/units.h"
#include "tls/arena.h"
#include "tls/cert.h"
#include "tls/pair.h"

#define IDENTITY_BYTES \
	(2 * MIB) /* 64 usual pairs of about 8 KiB, with room for a few long chains */

struct stored_pair {
	struct bytes chain_pem;
	struct bytes key_pem;
	struct bytes names; /* of the leaf, each behind its length in two bytes */
	struct identity_facts facts;
};

struct tls_identity {
	struct arena *arena;
	bool locked;
	size_t count;
	struct stored_pair pairs[IDENTITY_PAIRS_MAX];
	struct bytes client_cas[IDENTITY_LISTENERS_MAX];
};

/* While a pair is added. */
struct adding {
	struct tls_identity *identity;
	struct stored_pair pair;
	char *text;
	size_t room;
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

/* NULL: no room. */
static uint8_t *
take(struct tls_identity *identity, size_t len)
{
	uint8_t *place = arena_alloc(identity->arena, len);

	if (place != NULL)
		identity->locked = arena_lock_used(identity->arena) && identity->locked;
	return place;
}

static bool
store(struct tls_identity *identity, struct bytes text, struct bytes *stored)
{
	uint8_t *copy = take(identity, text.len);

	if (copy == NULL)
		return false;
	memcpy(copy, text.ptr, text.len);
	*stored = bytes_make(copy, text.len);
	return true;
}

static void
drop(struct tls_identity *identity, struct stored_pair *pair)
{
	arena_release(identity->arena, (void *)(uintptr_t)pair->chain_pem.ptr);
	arena_release(identity->arena, (void *)(uintptr_t)pair->key_pem.ptr);
	arena_release(identity->arena, (void *)(uintptr_t)pair->names.ptr);
}

/* --- names ----------------------------------------------------------------------------------- */

static size_t
next_name(struct bytes names, size_t at, struct bytes *name)
{
	size_t len = (size_t)names.ptr[at] << 8 | names.ptr[at + 1];

	*name = bytes_make(names.ptr + at + 2, len);
	return at + 2 + len;
}

static bool
has_name(struct bytes names, struct bytes wanted)
{
	struct bytes name;

	for (size_t at = 0; at < names.len;) {
		at = next_name(names, at, &name);
		if (bytes_equal_nocase(name, wanted))
			return true;
	}
	return false;
}

/* Names of one certificate are shorter than its text. */
static bool
store_names(struct adding *a, const struct pair *pair)
{
	size_t len = 0;
	uint8_t *place;

	for (size_t i = 0; pair_name(pair, i).len > 0; i++)
		len += 2 + pair_name(pair, i).len;
	place = take(a->identity, len);
	if (place == NULL)
		return false;
	a->pair.names = bytes_make(place, len);
	for (size_t i = 0; pair_name(pair, i).len > 0; i++) {
		struct bytes name = pair_name(pair, i);

		*place++ = (uint8_t)(name.len >> 8);
		*place++ = (uint8_t)name.len;
		memcpy(place, name.ptr, name.len);
		place += name.len;
	}
	return true;
}

static enum err
refuse_twin(const struct adding *a)
{
	for (size_t i = 0; i < a->identity->count; i++) {
		const struct stored_pair *other = &a->identity->pairs[i];
		struct bytes name;

		if (other->facts.listener != a->pair.facts.listener || other->facts.is_rsa != a->pair.facts.is_rsa)
			continue;
		for (size_t at = 0; at < a->pair.names.len;) {
			at = next_name(a->pair.names, at, &name);
			if (!has_name(other->names, name))
				continue;
			snprintf(a->text, a->room,
				 "An earlier certificate of this listener is for %.*s, too, and its key is of the "
				 "same kind (%s): leave one of them out.",
				 (int)name.len, (const char *)name.ptr, other->facts.is_rsa ? "RSA" : "ECDSA");
			return ERR_TLS_DUPLICATE;
		}
	}
	return ERR_OK;
}

static enum err
refuse_for_room(const struct adding *a)
{
	snprintf(a->text, a->room, "There is no room for another certificate (at most %d, 2 MiB together).",
		 IDENTITY_PAIRS_MAX);
	return ERR_POOL_EMPTY;
}

/* cert_visit: with the pair parsed. */
static enum err
look(void *owner, const struct pair *pair)
{
	struct adding *a = owner;

	pair_facts(pair, &a->pair.facts);
	return store_names(a, pair) ? refuse_twin(a) : refuse_for_room(a);
}

enum err
tls_identity_add(struct tls_identity *identity, uint32_t listener, struct bytes chain_pem,
		 struct bytes key_pem, int64_t now_s, char *text, size_t room)
{
	struct adding a = { .identity = identity, .text = text, .room = room };
	enum err verdict;

	CHECK(listener < IDENTITY_LISTENERS_MAX);
	a.pair.facts.listener = listener;
	verdict = cert_look(chain_pem, key_pem, now_s, look, &a, text, room);
	if (verdict == ERR_OK &&
	    (identity->count == IDENTITY_PAIRS_MAX || !store(identity, chain_pem, &a.pair.chain_pem) ||
	     !store(identity, key_pem, &a.pair.key_pem)))
		verdict = refuse_for_room(&a);
	if (verdict != ERR_OK) {
		drop(identity, &a.pair);
		return verdict;
	}
	identity->pairs[identity->count++] = a.pair;
	return ERR_OK;
}

enum err
tls_identity_add_client_ca(struct tls_identity *identity, uint32_t listener, struct bytes pem, char *text,
			   size_t room)
{
	enum err verdict;

	CHECK(listener < IDENTITY_LISTENERS_MAX && identity->client_cas[listener].len == 0);
	verdict = cert_check_authorities(pem, IDENTITY_CLIENT_CAS_MAX, text, room);
	if (verdict != ERR_OK)
		return verdict;
	if (store(identity, pem, &identity->client_cas[listener]))
		return ERR_OK;
	snprintf(text, room, "There is no room for more certificates (2 MiB together).");
	return ERR_POOL_EMPTY;
}

void
tls_identity_prints(const struct tls_identity *identity, struct identity_prints *prints)
{
	prints->count = identity->count;
	for (size_t i = 0; i < identity->count; i++)
		memcpy(prints->print[i], identity->pairs[i].facts.fingerprint, sizeof(prints->print[i]));
}

static bool
is_served(const struct identity_prints *served, const uint8_t print[32])
{
	for (size_t i = 0; i < served->count; i++)
		if (memcmp(served->print[i], print, sizeof(served->print[i])) == 0)
			return true;
	return false;
}

enum err
tls_identity_renew(struct tls_identity *identity, const struct identity_prints *served, uint32_t listener,
		   struct bytes chain_pem, struct bytes key_pem, int64_t now_s, char *text, size_t room)
{
	enum err verdict = tls_identity_add(identity, listener, chain_pem, key_pem, now_s, text, room);
	char otherwise[CERT_TEXT_BYTES];

	if (verdict != ERR_TLS_CERTIFICATE_EXPIRED ||
	    tls_identity_add(identity, listener, chain_pem, key_pem, CERT_ANY_TIME, otherwise,
			     sizeof(otherwise)) != ERR_OK)
		return verdict;
	if (is_served(served, identity->pairs[identity->count - 1].facts.fingerprint))
		return ERR_OK;
	drop(identity, &identity->pairs[--identity->count]);
	return verdict;
}

size_t
tls_identity_count(const struct tls_identity *identity)
{
	return identity->count;
}

const struct identity_facts *
tls_identity_facts(const struct tls_identity *identity, size_t index)
{
	CHECK(index < identity->count);
	return &identity->pairs[index].facts;
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

struct bytes
identity_client_ca_pem(const struct tls_identity *identity, uint32_t listener)
{
	CHECK(listener < IDENTITY_LISTENERS_MAX);
	return identity->client_cas[listener];
}

/* One private heap that is first an instance, to parse in, and then lent to the worker's. */
#include "tls/keys.h"

#include <mbedtls/sha256.h>

#include "base/check.h"
#include "base/units.h"
#include "tls/authorities.h"
#include "tls/blinding.h"

/* What parsing takes of the length of the texts, at its peak: a copy, DER, and parsed fields with their headers,
 * of which a certificate with many short names has most; and the instance itself. */
#define BYTES_PER_TEXT_BYTE 12
#define BYTES_MIN (192u * KIB)

static size_t
bytes_of(const struct tls_identity *identity)
{
	size_t text = 0;

	for (size_t i = 0; i < tls_identity_count(identity); i++)
		text += identity_chain_pem(identity, i).len + identity_key_pem(identity, i).len;
	for (uint32_t i = 0; i < IDENTITY_LISTENERS_MAX; i++)
		text += identity_client_ca_pem(identity, i).len;
	return BYTES_MIN + tls_identity_count(identity) * sizeof(struct pair) + text * BYTES_PER_TEXT_BYTE;
}

static bool
parse(struct tls_keys *keys, const struct tls_identity *identity)
{
	size_t count = tls_identity_count(identity);

	keys->pairs = arena_alloc(instance_arena(keys->instance), count * sizeof(*keys->pairs));
	if (keys->pairs == NULL)
		return false;
	for (size_t i = 0; i < count; i++) {
		struct pair_fault fault;

		/* They were checked when they were added, so only memory can be missing. */
		if (pair_parse(&keys->pairs[i], identity_chain_pem(identity, i), identity_key_pem(identity, i),
			       keys->instance, &fault) != ERR_OK)
			return false;
		keys->pairs[i].listener = tls_identity_facts(identity, i)->listener;
		keys->pair_count++;
	}
	return true;
}

static bool
parse_clients(struct tls_keys *keys, const struct tls_identity *identity)
{
	struct arena *arena = instance_arena(keys->instance);

	for (uint32_t i = 0; i < IDENTITY_LISTENERS_MAX; i++) {
		struct bytes pem = identity_client_ca_pem(identity, i);
		struct keys_clients *clients = &keys->clients[i];
		uint32_t skipped;

		if (pem.len == 0)
			continue;
		clients->cas = arena_alloc(arena, sizeof(*clients->cas));
		if (clients->cas == NULL)
			return false;
		mbedtls_x509_crt_init(clients->cas);
		CHECK(mbedtls_sha256(pem.ptr, pem.len, clients->digest, 0) == 0);
		if (!authorities_parse(clients->cas, pem, arena, &skipped))
			return false;
	}
	return true;
}

struct tls_keys *
tls_keys_new(const struct tls_identity *identity)
{
	struct blinding blinding = { .key = identity_key_pem(identity, 0) };
	struct instance *instance = instance_new(bytes_of(identity), blinding_fill, &blinding);
	struct tls_keys *keys = NULL;
	struct instance *before;
	bool parsed;

	if (instance == NULL)
		return NULL;
	/* Where that is forbidden, so it is for the identity, and the program says so once. */
	(void)arena_lock(instance_arena(instance));
	before = instance_enter(instance);
	keys = arena_alloc(instance_arena(instance), sizeof(*keys));
	CHECK(keys != NULL);
	keys->instance = instance;
	keys->users = 1;
	parsed = parse(keys, identity) && parse_clients(keys, identity);
	instance_leave(before);
	if (parsed)
		return keys;
	tls_keys_free(keys);
	return NULL;
}

void
tls_keys_free(struct tls_keys *keys)
{
	if (keys == NULL)
		return;
	/* An arena that is freed is zeroed first. */
	instance_free(keys->instance);
}

struct tls_keys *
keys_get(struct tls_keys *keys)
{
	keys->users++;
	return keys;
}

bool
keys_put(struct tls_keys *keys)
{
	CHECK(keys->users > 0);
	keys->users--;
	if (keys->users > 0)
		return false;
	for (size_t i = 0; i < keys->pair_count; i++)
		pair_free(&keys->pairs[i]);
	keys->pair_count = 0;
	for (uint32_t i = 0; i < IDENTITY_LISTENERS_MAX; i++)
		if (keys->clients[i].cas != NULL)
			mbedtls_x509_crt_free(keys->clients[i].cas);
	return true;
}

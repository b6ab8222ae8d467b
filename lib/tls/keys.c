/* One private heap that is first an instance, to parse in, and then lent to the worker's. */
#include "tls/keys.h"

#include <mbedtls/sha256.h>

#include "base/check.h"
#include "base/units.h"
#include "tls/authorities.h"
#include "tls/blinding.h"

/* The instance itself, and what does not count by the length of a text. */
#define BYTES_MIN (192u * KIB)

static size_t
text_bytes(const struct tls_identity *identity, const struct tls_authorities *authorities)
{
	size_t text = 0;

	for (size_t i = 0; identity != NULL && i < tls_identity_count(identity); i++)
		text += identity_chain_pem(identity, i).len + identity_key_pem(identity, i).len;
	for (uint32_t i = 0; identity != NULL && i < IDENTITY_LISTENERS_MAX; i++)
		text += identity_client_ca_pem(identity, i).len;
	for (uint32_t i = 0; i < authorities_count(authorities); i++)
		text += authorities_at(authorities, i)->pem.len;
	return text;
}

size_t
tls_keys_bytes(const struct tls_identity *identity, const struct tls_authorities *authorities)
{
	return BYTES_MIN + (identity != NULL ? tls_identity_count(identity) * sizeof(struct pair) : 0) +
	       authorities_count(authorities) * sizeof(struct keys_authority) +
	       text_bytes(identity, authorities) * AUTHORITIES_BYTES_PER_TEXT_BYTE;
}

static bool
parse_pairs(struct tls_keys *keys, const struct tls_identity *identity)
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

/* Of the text, not of what is read in it: one more byte is another bundle. */
static uint64_t
mark_of(struct bytes pem)
{
	uint8_t digest[32];
	uint64_t mark;

	CHECK(mbedtls_sha256(pem.ptr, pem.len, digest, 0) == 0);
	memcpy(&mark, digest, sizeof(mark));
	return mark != TLS_NO_AUTHORITY ? mark : 1;
}

static bool
parse_authorities(struct tls_keys *keys, const struct tls_authorities *authorities)
{
	struct arena *arena = instance_arena(keys->instance);
	uint32_t count = authorities_count(authorities), skipped;

	if (count == 0)
		return true;
	keys->authorities = arena_alloc(arena, count * sizeof(*keys->authorities));
	if (keys->authorities == NULL)
		return false;
	for (; keys->authority_count < count; keys->authority_count++) {
		const struct authority *from = authorities_at(authorities, keys->authority_count);
		struct keys_authority *to = &keys->authorities[keys->authority_count];

		to->mark = mark_of(from->pem);
		memcpy(to->name, from->name, sizeof(to->name));
		mbedtls_x509_crt_init(&to->cas);
		if (!authorities_parse(&to->cas, from->pem, arena, &skipped))
			return false;
	}
	return true;
}

/* mbedTLS passes over a certificate of a bundle that it has no memory for. */
static bool
has_all(const struct tls_keys *keys)
{
	return arena_use(instance_arena(keys->instance)).refusals == 0;
}

struct tls_keys *
tls_keys_new(const struct tls_identity *identity, const struct tls_authorities *authorities)
{
	struct blinding blinding = { .key = identity != NULL ? identity_key_pem(identity, 0) : BYTES_NONE };
	struct instance *instance = instance_new(tls_keys_bytes(identity, authorities),
						 identity != NULL ? blinding_fill : NULL, &blinding);
	struct tls_keys *keys = NULL;
	struct instance *before;
	bool parsed;

	if (instance == NULL)
		return NULL;
	/* Where that is forbidden, so it is for the identity, and the program says so once. */
	if (identity != NULL)
		(void)arena_lock(instance_arena(instance));
	before = instance_enter(instance);
	keys = arena_alloc(instance_arena(instance), sizeof(*keys));
	CHECK(keys != NULL);
	keys->instance = instance;
	keys->users = 1;
	parsed = (identity == NULL || (parse_pairs(keys, identity) && parse_clients(keys, identity))) &&
		 parse_authorities(keys, authorities) && has_all(keys);
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
	while (keys->authority_count > 0)
		mbedtls_x509_crt_free(&keys->authorities[--keys->authority_count].cas);
	return true;
}

struct keys_authority *
keys_authority(const struct tls_keys *keys, uint64_t mark)
{
	for (uint32_t i = 0; i < keys->authority_count; i++)
		if (keys->authorities[i].mark == mark)
			return &keys->authorities[i];
	return NULL;
}

/* --- which pairs ----------------------------------------------------------------------------- */

/* Exact names before wildcards; an unknown or absent name gets the first certificate, and those of
 * another algorithm for the same name. mbedTLS then takes the first whose algorithm the client
 * accepts, so EC keys, which are faster, come first. */
static bool
serves(const struct pair *pair, const struct pair *first, struct bytes host, enum pair_match wanted)
{
	if (wanted == PAIR_MATCH_NONE)
		return pair == first || pair_match(pair, pair_name(first, 0)) == PAIR_MATCH_EXACT;
	return pair_match(pair, host) == wanted;
}

struct choice {
	uint32_t listener;
	struct bytes host;
	mbedtls_ssl_context *ssl;
	bool any;
};

static int
add_pairs(struct tls_keys *keys, struct choice *choice, enum pair_match wanted, mbedtls_pk_type_t kind)
{
	const struct pair *first = NULL;

	for (size_t i = 0; i < keys->pair_count; i++) {
		struct pair *pair = &keys->pairs[i];
		int failed;

		if (pair->listener != choice->listener)
			continue;
		if (first == NULL)
			first = pair;
		if (!mbedtls_pk_can_do(&pair->key, kind) || !serves(pair, first, choice->host, wanted))
			continue;
		failed = mbedtls_ssl_set_hs_own_cert(choice->ssl, &pair->chain, &pair->key);
		if (failed != 0)
			return failed;
		choice->any = true;
	}
	return 0;
}

int
keys_choose(struct tls_keys *keys, uint32_t listener, struct bytes host, mbedtls_ssl_context *ssl)
{
	static const enum pair_match order[] = { PAIR_MATCH_EXACT, PAIR_MATCH_WILDCARD, PAIR_MATCH_NONE };
	struct choice choice = { .listener = listener, .host = host, .ssl = ssl };
	/* The second ClientHello after a retry chooses anew. */
	int failed = mbedtls_ssl_set_hs_own_cert(ssl, NULL, NULL);

	for (size_t i = 0; failed == 0 && !choice.any && i < COUNT_OF(order); i++) {
		failed = add_pairs(keys, &choice, order[i], MBEDTLS_PK_ECDSA);
		if (failed == 0)
			failed = add_pairs(keys, &choice, order[i], MBEDTLS_PK_RSA);
	}
	return failed;
}

/* CA bundles as checked PEM texts: mbedTLS writes into a key while it verifies with it (RSA's helper values), so
 * every context parses them again into its own arena. */
#include "tls/authorities.h"

#include <stdio.h>

#include "base/check.h"
#include "base/units.h"
#include "tls/instance.h"

/* Of all texts. */
#define ARENA_BYTES (4 * MIB)

struct tls_authorities {
	struct arena *arena;
	uint32_t count;
	struct authority bundles[TLS_AUTHORITIES_MAX];
};

struct tls_authorities *
tls_authorities_new(void)
{
	struct arena *arena = arena_new(ARENA_BYTES);
	struct tls_authorities *authorities;

	if (arena == NULL)
		return NULL;
	authorities = arena_alloc(arena, sizeof(*authorities));
	CHECK(authorities != NULL);
	authorities->arena = arena;
	return authorities;
}

void
tls_authorities_free(struct tls_authorities *authorities)
{
	if (authorities != NULL)
		arena_free(authorities->arena);
}

bool
authorities_parse(mbedtls_x509_crt *cas, struct bytes pem, struct arena *arena, uint32_t *skipped)
{
	uint8_t *text;
	int failed;

	*skipped = 0;
	if (pem.len == 0)
		return false;
	text = arena_alloc(arena, pem.len + 1);
	if (text == NULL)
		return false;
	memcpy(text, pem.ptr, pem.len);
	failed = strstr((const char *)text, "-----BEGIN CERTIFICATE-----") == NULL ?
			 -1 : /* mbedTLS would take anything else for DER */
			 mbedtls_x509_crt_parse(cas, text, pem.len + 1);
	arena_release(arena, text);
	*skipped = failed > 0 ? (uint32_t)failed : 0;
	return failed >= 0;
}

static bool
can_be_parsed(struct bytes pem, uint32_t *skipped)
{
	struct instance *instance = instance_new(MIB + pem.len * AUTHORITIES_BYTES_PER_TEXT_BYTE, NULL, NULL);
	struct instance *before;
	mbedtls_x509_crt cas;
	bool parsed;

	if (instance == NULL)
		return false;
	before = instance_enter(instance);
	mbedtls_x509_crt_init(&cas);
	parsed = authorities_parse(&cas, pem, instance_arena(instance), skipped);
	mbedtls_x509_crt_free(&cas);
	instance_leave(before);
	instance_free(instance);
	return parsed;
}

enum err
tls_authorities_add(struct tls_authorities *authorities, const char *name, struct bytes pem, uint32_t *skipped,
		    char *text, size_t room)
{
	struct authority *bundle = &authorities->bundles[authorities->count];
	uint8_t *copy;

	*skipped = 0;
	if (authorities->count == TLS_AUTHORITIES_MAX || strlen(name) >= sizeof(bundle->name) ||
	    tls_authorities_pem(authorities, bytes_from_text(name)).len > 0) {
		snprintf(text, room, "There is no room for another authority (at most %d, each of another name).",
			 TLS_AUTHORITIES_MAX);
		return ERR_POOL_EMPTY;
	}
	if (pem.len > TLS_AUTHORITY_PEM_BYTES_MAX || !can_be_parsed(pem, skipped)) {
		snprintf(text, room,
			 "There is no certificate in it that can be read: it must be the PEM text of CA "
			 "certificates, of at most %u KiB.",
			 TLS_AUTHORITY_PEM_BYTES_MAX / 1024);
		return ERR_TLS_BAD_CERTIFICATE;
	}
	copy = arena_alloc(authorities->arena, pem.len);
	if (copy == NULL) {
		snprintf(text, room, "There is no room for the certificates (4 MiB together).");
		return ERR_POOL_EMPTY;
	}
	memcpy(copy, pem.ptr, pem.len);
	snprintf(bundle->name, sizeof(bundle->name), "%s", name);
	bundle->pem = bytes_make(copy, pem.len);
	authorities->count++;
	return ERR_OK;
}

struct bytes
tls_authorities_pem(const struct tls_authorities *authorities, struct bytes name)
{
	for (uint32_t i = 0; i < authorities_count(authorities); i++)
		if (bytes_equal(bytes_from_text(authorities->bundles[i].name), name))
			return authorities->bundles[i].pem;
	return BYTES_NONE;
}

uint32_t
authorities_count(const struct tls_authorities *authorities)
{
	return authorities != NULL ? authorities->count : 0;
}

const struct authority *
authorities_at(const struct tls_authorities *authorities, uint32_t index)
{
	CHECK(index < authorities->count);
	return &authorities->bundles[index];
}

/* Which implementation of the ciphers a worker uses. */
#include "tls/aead.h"

#include <string.h>

#include "base/check.h"

static const char *const names[AEAD_KINDS] = { [AEAD_IPSEC_MB] = "ipsec-mb", [AEAD_MBEDTLS] = "mbedtls" };

size_t
aead_key_bytes(enum aead_cipher cipher)
{
	return cipher == AEAD_AES_128_GCM ? 16 : 32;
}

bool
aead_init(struct aead *aead, enum aead_kind kind)
{
	CHECK(kind < AEAD_KINDS);
	aead->kind = kind;
	return kind == AEAD_IPSEC_MB ? aead_ipsec_init(aead) : aead_mbedtls_init(aead);
}

bool
aead_choose(struct aead *aead, const char *name)
{
	/* The fastest is the first. */
	for (int kind = 0; kind < AEAD_KINDS; kind++)
		if ((name == NULL || strcmp(name, names[kind]) == 0) && aead_init(aead, (enum aead_kind)kind))
			return true;
	return false;
}

void
aead_fini(struct aead *aead)
{
	/* Without a name none was to be had. */
	if (aead->kind == AEAD_IPSEC_MB && aead->name != NULL)
		aead_ipsec_fini(aead);
	*aead = (struct aead){ .name = NULL };
}

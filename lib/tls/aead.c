/* Which implementation of the ciphers a worker uses. */
#include "tls/aead.h"

#include <string.h>

#include "base/check.h"

static const char *const names[AEAD_KINDS] = {
	[AEAD_VAES] = "vaes",
	[AEAD_IPSEC_MB] = "ipsec-mb",
	[AEAD_MBEDTLS] = "mbedtls",
};

size_t
aead_key_bytes(enum aead_cipher cipher)
{
	return cipher == AEAD_AES_128_GCM ? 16 : 32;
}

bool
aead_init(struct aead *aead, enum aead_kind kind)
{
	CHECK(kind < AEAD_KINDS);
	*aead = (struct aead){ .kind = kind };
	if (kind == AEAD_IPSEC_MB)
		return aead_ipsec_init(aead);
	if (kind == AEAD_VAES && !aead_vaes_is_here())
		return false;
	if (kind == AEAD_MBEDTLS || !aead_ipsec_init(aead))
		aead_mbedtls_init(aead);
	if (kind == AEAD_VAES)
		aead_vaes_init(aead);
	return true;
}

/* Nothing is as fast as vectors of 512 bits; else the fastest is the first. */
static bool
choose_fastest(struct aead *aead)
{
	if (aead_init(aead, AEAD_IPSEC_MB) && aead->is_wide)
		return true;
	aead_fini(aead);
	for (unsigned int kind = 0; kind < AEAD_KINDS; kind++)
		if (aead_init(aead, (enum aead_kind)kind))
			return true;
	return false;
}

bool
aead_choose(struct aead *aead, const char *name)
{
	if (name == NULL)
		return choose_fastest(aead);
	for (unsigned int kind = 0; kind < AEAD_KINDS; kind++)
		if (strcmp(name, names[kind]) == 0)
			return aead_init(aead, (enum aead_kind)kind);
	return false;
}

void
aead_fini(struct aead *aead)
{
	if (aead->engine != NULL)
		aead_ipsec_fini(aead);
	*aead = (struct aead){ .name = NULL };
}

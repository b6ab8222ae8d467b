/* Which implementation of the ciphers a worker uses. */
#include "tls/aead.h"

#include "base/check.h"

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

void
aead_choose(struct aead *aead)
{
	if (!aead_init(aead, AEAD_IPSEC_MB))
		CHECK(aead_init(aead, AEAD_MBEDTLS));
}

void
aead_fini(struct aead *aead)
{
	if (aead->kind == AEAD_IPSEC_MB)
		aead_ipsec_fini(aead);
	*aead = (struct aead){ .name = NULL };
}

/* Built where the distribution has no ipsec-mb (it is for x86). */
#include "base/check.h"
#include "tls/aead.h"

bool
aead_ipsec_init(struct aead *aead)
{
	(void)aead;
	return false;
}

void
aead_ipsec_fini(struct aead *aead)
{
	(void)aead;
	CHECK(false);
}

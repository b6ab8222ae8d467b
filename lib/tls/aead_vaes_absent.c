/* Built where the processor is none of x86, or the build is told to go without. */
#include "base/check.h"
#include "tls/aead.h"

bool
aead_vaes_is_here(void)
{
	return false;
}

void
aead_vaes_init(struct aead *aead)
{
	(void)aead;
	CHECK(false);
}

/* Built where there is no crypto_mb (it is for x86), or nothing for what it does not have. */
#include "tls/lanes.h"

const struct lanes_engine *
lanes_crypto_mb(void)
{
	return NULL;
}

#include "tls_engine.h"

#include <stdlib.h>

void
tls_engine_choose(struct tls_context_config *config)
{
	config->primitives = getenv("SLUICE_TLS_PRIMITIVES");
	config->records = getenv("SLUICE_TLS_RECORDS");
}

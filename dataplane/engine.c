/* The names of lib/tls, by the numbers of the configuration. */
#include "dataplane/engine.h"

#include <stdio.h>

static const char *const records[] = {
	[CONFIG_RECORDS_AUTO] = NULL,
	[CONFIG_RECORDS_VAES] = "vaes",
	[CONFIG_RECORDS_IPSEC_MB] = "ipsec-mb",
	[CONFIG_RECORDS_MBEDTLS] = "mbedtls",
};

static const char *const primitives[] = {
	[CONFIG_PRIMITIVES_CRYPTO_MB] = "crypto_mb",
	[CONFIG_PRIMITIVES_LIBCRYPTO] = "libcrypto",
	[CONFIG_PRIMITIVES_MBEDTLS] = "mbedtls",
};

void
engine_fill(const struct config *config, struct tls_context_config *tls)
{
	tls->records = records[config->records];
	tls->primitives = primitives[config->primitives];
	/* Left to itself a context takes nothing that has to be driven; workers do that. */
	if (config->primitives == CONFIG_PRIMITIVES_AUTO)
		tls->primitives = tls_has_primitives("crypto_mb") ? "crypto_mb" : NULL;
}

static bool
has(bool is_here, const char *key, const char *name, char *text, size_t room)
{
	if (!is_here)
		snprintf(text, room,
			 "%s is %s, which this build or this processor does not have; "
			 "auto takes what is there",
			 key, name);
	return is_here;
}

bool
engine_is_here(const struct config *config, char *text, size_t room)
{
	struct tls_context_config tls;

	engine_fill(config, &tls);
	return has(tls_has_records(tls.records), "tls.records", tls.records, text, room) &&
	       has(tls_has_primitives(tls.primitives), "tls.primitives", tls.primitives, text, room);
}

#include "tls_engine.h"

#include <stdlib.h>
#include <string.h>

#include "lanes_twin.h"
#include "tls/conn.h"

static bool
is_lanes(const char *name)
{
	return name != NULL && strcmp(name, "lanes") == 0;
}

const char *
tls_engine_primitives(void)
{
	const char *name = getenv("SLUICE_TLS_PRIMITIVES");

	return is_lanes(name) ? NULL : name;
}

void
tls_engine_choose(struct tls_context_config *config)
{
	config->primitives = tls_engine_primitives();
	config->records = getenv("SLUICE_TLS_RECORDS");
	if (is_lanes(getenv("SLUICE_TLS_PRIMITIVES")))
		tls_engine_use_lanes(config);
}

void
tls_engine_use_lanes(struct tls_context_config *config)
{
	if ((config->primitives == NULL || strcmp(config->primitives, "mbedtls") != 0) && lanes_twin_is_here())
		config->lanes = &lanes_twin;
}

enum err
tls_engine_handshake(struct tls_conn *conn, struct bytes *in, struct tls_out *out)
{
	enum err verdict = tls_handshake(conn, in, out);

	if (verdict != ERR_TLS_WAITS)
		return verdict;
	(void)lanes_twin_run(conn->context);
	return ERR_TLS_AGAIN;
}

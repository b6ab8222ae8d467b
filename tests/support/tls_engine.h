#pragma once

#include "tls/tls.h"

/* tls_engine: what a test's contexts compute by: as the environment says (SLUICE_TLS_PRIMITIVES and
 * SLUICE_TLS_RECORDS, in the words of tls_context_config); without a word the fastest here that waits for
 * nobody. "lanes" is lanes_twin.h. */
void tls_engine_choose(struct tls_context_config *config);

/* Of these the name, for a context whose lanes nobody runs. */
const char *tls_engine_primitives(void);

/* Lanes, unless mbedTLS's own code is asked for, or they are not here. */
void tls_engine_use_lanes(struct tls_context_config *config);

/* tls_handshake() for who has one handshake at a time: what waits in lanes is computed at once. */
enum err tls_engine_handshake(struct tls_conn *conn, struct bytes *in, struct tls_out *out);

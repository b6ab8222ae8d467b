#pragma once

#include "tls/tls.h"

/* tls_engine: what a test's contexts compute by: as the environment says (SLUICE_TLS_PRIMITIVES and
 * SLUICE_TLS_RECORDS, in the words of tls_context_config); without a word the fastest here. */
void tls_engine_choose(struct tls_context_config *config);

#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "tls/tls.h"

/*
 * engine: tls.records and tls.primitives of the configuration as what lib/tls takes.
 *
 * Owner: none, no state; names are static. Thread: the main thread, at the start. Memory: a heap to try in, freed
 * at once.
 */
void engine_fill(const struct config *config, struct tls_context_config *tls);

/* Whether this build and this machine have what is asked for; else text says what is missing. */
bool engine_is_here(const struct config *config, char *text, size_t room);

#pragma once

#include <stddef.h>

#include "config/config.h"
#include "tls/target.h"

/*
 * authority: the CA bundles of the configuration, which pods refer to, as what lib/tls takes.
 *
 * Thread: the main thread, at the start.
 */

/* NULL: text says which file and why. */
struct tls_authorities *authority_load(const struct config *config, char *text, size_t room);

#pragma once

#include <stddef.h>

#include "base/err.h"
#include "config/config.h"
#include "tls/tls.h"

/*
 * identity: the certificate files of the configuration as what lib/tls takes.
 *
 * Thread: the main thread. The key's file buffer is wiped before it is freed.
 */

/* NULL: text says which file and why. */
struct tls_identity *identity_load(const struct config *config, char *text, size_t room);

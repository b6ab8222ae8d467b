#pragma once

#include <stdbool.h>

#include "client.h"

/*
 * apply: makes a whole catalogue true: a YAML or JSON file with lists of every noun.
 *
 * Applying it again changes nothing. Nothing is deleted: what the file does not mention stays. Models and
 * instances may carry their deployments and aliases, accounts an opening balance, which is credited once.
 */

/* False: something was wrong; it is on stderr, and what came before it has been done. */
bool apply_file(struct client *client, const char *path, bool json);

extern const char apply_help[];

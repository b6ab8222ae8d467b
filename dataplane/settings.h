#pragma once

#include "config/config.h"
#include "dataplane/worker.h"

/*
 * settings: what a worker does and allows, from the configuration. Simulations get theirs by the same call, from a
 * file that says nothing (tests/support/defaults.h): defaults are in lib/config/schema.c alone.
 *
 * Owner: none; a pure function. Texts of surfaces stay where the configuration is.
 */

/* Sets times, limits, routing, h2, listeners, surfaces and proxy_bytes_max. */
void settings_fill(const struct config *config, struct worker_config *worker);

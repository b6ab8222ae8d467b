#pragma once

#include "config/config.h"
#include "dataplane/worker.h"

/*
 * settings: what a worker does and allows, from the configuration. Simulations get theirs by the same call, from a
 * file that says nothing (tests/support/defaults.h): defaults are in lib/config/schema.c alone.
 *
 * Owner: none; pure functions. Texts of surfaces stay where the configuration is, unless settings_keep() moves
 * them.
 */

/* Texts that workers may have seen and so may point at for ever: each different one once. They are few, since only
 * a changed configuration brings one. */
#define SETTINGS_TEXTS_MAX 256

struct settings_texts {
	uint32_t count;
	char text[SETTINGS_TEXTS_MAX][CONFIG_PATH_BYTES];
};

/* Sets times, limits, routing, h2, listeners, surfaces and proxy_bytes_max. */
void settings_fill(const struct config *config, struct worker_config *worker);

/* Texts of surfaces point into `texts` from now on. False: there are too many different ones. */
bool settings_keep(struct settings_texts *texts, struct worker_config *worker);

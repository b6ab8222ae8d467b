#pragma once

#include <stdint.h>

#include "config/config.h"
#include "credentials/credentials.h"
#include "dataplane/pools.h"
#include "dataplane/worker.h"
#include "tcp/tcp.h"

/*
 * budget: from the configuration to how many of everything there are, and the written sum of their memory.
 * The same numbers size the pools (fleet.c) and are printed, at start and by --check.
 *
 * Owner: none; pure functions of the configuration.
 */

/* Of one worker. */
void budget_counts(const struct config *config, struct worker_counts *counts);

/* Counts, segment sizes and policies; not the secrets, steering, and what the ports can do. */
void budget_tcp(const struct config *config, const struct worker_counts *counts, struct tcp_config *tcp);
void budget_pools(const struct config *config, struct pools_plan *plan);

/* One line per term, and the totals. Returns the bytes of all workers. */
uint64_t budget_print(const struct config *config, const struct credentials *credentials,
		      const struct config_complaints *to);

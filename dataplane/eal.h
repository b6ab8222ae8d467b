#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"

/*
 * eal: DPDK's environment, from the configuration: cores, memory, devices. The arguments are made here, so
 * that nobody has to write them.
 */

/* Memory for packets comes to packet_bytes. False: text says why. Prints EAL's own complaints on stderr. */
bool eal_start(const struct config *config, uint64_t packet_bytes, char *text, size_t room);
void eal_stop(void);

/* Runs function on the core of each worker, with argument[worker]. */
bool eal_launch(uint32_t workers, int (*function)(void *), void *const *arguments);

/* Waits for all of them. */
void eal_join(void);

/* The arguments that eal_start() used, as one line. Static memory. */
const char *eal_line(void);

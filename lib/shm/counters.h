#pragma once

/*
 * counters: what struct shm_worker.counters holds: first one word per verdict (enum err), then one word
 * per enum counter. Written by its worker, read by control for /metrics.
 */
#include "base/err.h"
#include "shm/layout.h"

enum counter {
#define COUNTER(name, text, sentence) COUNTER_##name,
#include "shm/counters.def"
#undef COUNTER
	COUNTER_COUNT
};

CHECK_STATIC((unsigned int)ERR_COUNT + (unsigned int)COUNTER_COUNT <= SHM_COUNTERS_MAX,
	     "shm_worker.counters is too small");

/* Its word in shm_worker.counters. */
static inline unsigned int
counter_at(enum counter counter)
{
	return (unsigned int)ERR_COUNT + (unsigned int)counter;
}

/* "frames_in", and a sentence for # HELP. Static memory. A gauge's sentence starts with "Gauge: ". */
const char *counter_name(enum counter counter);
const char *counter_sentence(enum counter counter);

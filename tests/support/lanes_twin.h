#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tls/lanes.h"
#include "tls/tls.h"

/*
 * lanes_twin: lanes (tls/lanes.h) that are computed one by one by libcrypto (on P-384 by mbedTLS), so that whoever
 * waits for lanes is tested on every machine that has it.
 *
 * Owner: the process, one thread of it; a test that asks for damages takes them back.
 */
extern const struct lanes_engine lanes_twin;

/* The other lanes need libcrypto, too. */
bool lanes_twin_is_here(void);

struct lanes_twin_told {
	uint32_t batches[LANES_KINDS];
	uint32_t bad[LANES_KINDS]; /* lanes that fail, whatever they hold: bits, set by the test */
	uint32_t wrong[LANES_KINDS]; /* lanes whose first output has a wrong bit */
};
extern struct lanes_twin_told lanes_twin_told;

/* One batch of what is due behind the longest wait, whose owners are nobody. Returns how many were in it. */
uint32_t lanes_twin_run(struct tls_context *context);

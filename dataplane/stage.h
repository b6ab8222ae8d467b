#pragma once

#include <stdint.h>

#include "base/bytes.h"

/*
 * stage: plaintext on its way to one client, within one step of the worker: gathered in packets until there is a
 * record of it, or what is as long as one in clear text.
 *
 * Owner: the worker, which has one. Memory: packets of its payload pool.
 */
struct client;
struct pkt;
struct worker;

struct stage {
	struct client *owner;
	struct pkt *packets; /* NULL: empty */
	uint32_t len_max;    /* of this record */
};

/* Collects plaintext; records leave as they fill. stage_flush() sends the rest. A client whose output was lost is
 * marked broken and reset when it runs next, never inside these calls. */
void stage_put(struct worker *w, struct client *c, struct bytes plain);
void stage_flush(struct worker *w, struct client *c);

/* c is gone: what it has on the stage is dropped. */
void stage_leave(struct worker *w, struct client *c);

#pragma once

#include <stdint.h>

/*
 * overhead: the time that a request spends inside of this process, for x-sluice-overhead-us.
 *
 * What counts of each turn in which bytes of the request or the head of its answer came: from the begin of the
 * turn, when they had been received, to where they were passed on. What the turn did for others meanwhile is in
 * it, since the request waited for that. Waiting for the client, for a connection, for the backend is not.
 *
 * Owner: whoever has the request. Memory: the caller's; zero is a request that nothing was done for. Time: of the
 * loop's clock, turn_at_ns being the begin of the turn and now_ns read in it.
 */
struct overhead {
	uint64_t before_ns;  /* in the turns before the last noted one */
	uint64_t turn_at_ns; /* the last noted one */
	uint64_t in_turn_ns;
};

/* What was spent until now_ns. */
static inline uint64_t
overhead_until_ns(const struct overhead *o, uint64_t turn_at_ns, uint64_t now_ns)
{
	uint64_t in_turn_ns = now_ns > turn_at_ns ? now_ns - turn_at_ns : 0;

	return o->before_ns + in_turn_ns + (o->turn_at_ns == turn_at_ns ? 0 : o->in_turn_ns);
}

/* Bytes were passed on. Of several notes in one turn the last one counts. */
static inline void
overhead_note(struct overhead *o, uint64_t turn_at_ns, uint64_t now_ns)
{
	uint64_t until_ns = overhead_until_ns(o, turn_at_ns, now_ns);

	o->in_turn_ns = now_ns > turn_at_ns ? now_ns - turn_at_ns : 0;
	o->before_ns = until_ns - o->in_turn_ns;
	o->turn_at_ns = turn_at_ns;
}

#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * seeds: the command line of a simulator.
 *
 *   PROGRAM --seed N [--verbose]             one seed, in this process (for a debugger)
 *   PROGRAM --seeds A..B | N [--jobs J]      A to B, or 1 to N, in J processes (one per core)
 *                   [--resume FILE]          FILE keeps how far it came; given again, it goes on there
 *
 * Without options: seeds 1..SLUICE_SEEDS of the environment (1000), or SLUICE_SEED alone.
 * A long run says every minute how far it is (on a terminal: every five seconds). A failed seed does not end
 * it, SEEDS_FAILURES_MAX of them do; each is printed with the command that repeats it.
 */
#define SEEDS_FAILURES_MAX 20

/* Runs one seed to its end; a failure ends the process. */
typedef void (*seeds_run)(uint64_t seed, bool is_verbose);

/* Exit code for main(): 0 all passed, 1 some failed, 2 wrong use. */
int seeds_main(int argc, char **argv, seeds_run run);

/* Wall clock, for those who run until a time of the real world. */
double seeds_clock_s(void);

#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * seeds: the command line of a simulator.
 *
 *   PROGRAM --seed N [--verbose]        one seed, in this process (for a debugger)
 *   PROGRAM --seeds A..B [--jobs J]     all of them, in J processes
 *
 * Without options: seeds 1..SLUICE_SEEDS of the environment (1000), or SLUICE_SEED alone.
 */

/* Runs one seed to its end; a failure ends the process. */
typedef void (*seeds_run)(uint64_t seed, bool is_verbose);

/* Exit code for main(): 0 all passed, 1 some failed, 2 wrong use. */
int seeds_main(int argc, char **argv, seeds_run run);

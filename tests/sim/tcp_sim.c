/*
 * tcp_sim: TCP engines against a bad network, seed by seed (support/seeds.h has the command line), or
 *
 *   tcp_sim --soak-seconds N [--seed S]    one world for so many real seconds
 *   tcp_sim --idle-days N [--seed S]       connections that say nothing for so many virtual days
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "seeds.h"
#include "sim.h"

#define NUMBER_MAX 100000

/* The number behind an option; 0 if it is none. */
static uint64_t
number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	return *end == '\0' && value <= NUMBER_MAX ? value : 0;
}

int
main(int argc, char **argv)
{
	bool soaks = argc > 1 && strcmp(argv[1], "--soak-seconds") == 0;
	bool idles = argc > 1 && strcmp(argv[1], "--idle-days") == 0;
	uint64_t seed = 1;
	uint64_t length;

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		printf("Usage: %s --soak-seconds N | --idle-days N, [--seed S]\n", argv[0]);
	if (!soaks && !idles)
		return seeds_main(argc, argv, world_run);
	if (argc == 5 && strcmp(argv[3], "--seed") == 0)
		seed = number(argv[4]);
	length = argc == 3 || argc == 5 ? number(argv[2]) : 0;
	if (length == 0 || seed == 0) {
		fprintf(stderr, "Usage: %s --soak-seconds N | --idle-days N, [--seed S]\n", argv[0]);
		return 2;
	}
	return soaks ? soak_run(seed, (uint32_t)length) : idle_run(seed, (uint32_t)length);
}

/* tcp_sim: TCP engines against a bad network, seed by seed (support/seeds.h has the command line). */
#include "seeds.h"
#include "sim.h"

int
main(int argc, char **argv)
{
	return seeds_main(argc, argv, world_run);
}

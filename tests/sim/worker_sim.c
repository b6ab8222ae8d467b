/* worker_sim: the whole worker, Ethernet to billing, seed by seed (support/seeds.h has the command line). */
#include "seeds.h"
#include "town.h"

int
main(int argc, char **argv)
{
	return seeds_main(argc, argv, town_run);
}

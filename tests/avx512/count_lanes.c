/*
 * What a batch of each kind costs crypto_mb, and one operation alone its twin: what a handshake would do without
 * lanes. In instructions, by tests/avx512/run. With an argument: of kinds that have it in their names.
 */
#include <stdio.h>
#include <string.h>
#include <x86intrin.h>

#include "lanes_twin.h"
#include "seeded.h"

#define SKIPPED 77

static const struct row {
	const char *name;
	enum lanes_kind kind;
	enum lanes_kind peers; /* whose keys go into the inputs behind the first; or the kind itself */
} rows[] = {
	{ "X25519 key", LANES_X25519_PUBLIC, LANES_X25519_PUBLIC },
	{ "X25519 agreement", LANES_X25519_SHARED, LANES_X25519_PUBLIC },
	{ "P-256 key", LANES_P256_PUBLIC, LANES_P256_PUBLIC },
	{ "P-256 agreement", LANES_P256_SHARED, LANES_P256_PUBLIC },
	{ "P-256 signature", LANES_P256_SIGN, LANES_P256_SIGN },
	{ "P-384 key", LANES_P384_PUBLIC, LANES_P384_PUBLIC },
	{ "P-384 agreement", LANES_P384_SHARED, LANES_P384_PUBLIC },
	{ "P-384 signature", LANES_P384_SIGN, LANES_P384_SIGN },
	{ "half of RSA-2048", LANES_POWER_1024, LANES_POWER_1024 },
};

static struct seeded seed = { 3 };
static uint8_t in[LANES_INPUTS_MAX][LANES][LANES_BYTES_MAX];
static uint8_t out[LANES_OUTPUTS_MAX][LANES][LANES_BYTES_MAX];

/* Numbers below every order, or below the last, which is odd and has all of its bits; into so many inputs. */
static void
draw(int inputs)
{
	(void)seeded_entropy(&seed, &in[0][0][0], (size_t)inputs * sizeof(in[0]));
	for (int i = 0; i < inputs; i++)
		for (int lane = 0; lane < LANES; lane++) {
			in[i][lane][0] = i < 2 ? in[i][lane][0] & 0x7f : 0x7f;
			in[i][lane][LANES_BYTES_MAX - 1] = i < 2 ? 0 : 0x80;
		}
}

static unsigned long long
count(const struct lanes_engine *engine, const struct row *row)
{
	struct lanes_batch batch;
	uint64_t before;

	for (int lane = 0; lane < LANES; lane++) {
		for (int i = 0; i < LANES_INPUTS_MAX; i++)
			batch.in[i][lane] = in[i][lane];
		for (int i = 0; i < LANES_OUTPUTS_MAX; i++)
			batch.out[i][lane] = out[i][lane];
	}
	draw(LANES_INPUTS_MAX);
	if (row->peers != row->kind) {
		(void)lanes_twin.compute[row->peers](&batch);
		memcpy(in[1], out[0], sizeof(in[1]));
		memcpy(in[2], out[1], sizeof(in[2]));
		draw(1);
	}
	before = __rdtsc();
	if (engine->compute[row->kind](&batch) != 0xff)
		printf("%s: not every lane is good\n", row->name);
	return __rdtsc() - before;
}

int
main(int argc, char **argv)
{
	if (lanes_crypto_mb() == NULL || !lanes_twin_is_here()) {
		puts("this build or this processor does not have crypto_mb");
		return SKIPPED;
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned long long batch = 0;
		unsigned long long alone = 0;

		if (argc > 1 && strstr(rows[i].name, argv[1]) == NULL)
			continue;
		/* The first of each fills caches and tables. */
		for (int round = 0; round < 2; round++) {
			batch = count(lanes_crypto_mb(), &rows[i]);
			alone = count(&lanes_twin, &rows[i]) / LANES;
		}
		printf("instructions: %s: eight in lanes %llu, one alone %llu\n", rows[i].name, batch, alone);
	}
	return 0;
}

/*
 * crypto_mb computes in eight lanes what libcrypto computes in one, and refuses what that refuses. Where the build
 * or the processor does not have it this is skipped (77); a plain program, so that it can be carried to a machine,
 * or into an emulator, that has.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lanes_twin.h"
#include "seeded.h"
#include "tls/crypto_order.h"

#define SKIPPED 77
#define U_BYTES 32
#define ROUNDS 20 /* without an argument */

static struct seeded seed = { 5 };
static uint32_t checks;

/* What goes into one lane, and what comes out by both. */
struct lane {
	uint8_t in[LANES_INPUTS_MAX][LANES_BYTES_MAX];
	uint8_t out[2][LANES_OUTPUTS_MAX][LANES_BYTES_MAX];
};

static struct lane lanes[LANES];

struct kind {
	const char *name;
	enum lanes_kind kind;
	int inputs;
	int outputs;
};

static const struct kind x25519_public = { "X25519 key", LANES_X25519_PUBLIC, 1, 1 };
static const struct kind x25519_shared = { "X25519 agreement", LANES_X25519_SHARED, 2, 1 };

static const struct curve {
	enum crypto_curve name;
	struct kind public;
	struct kind shared;
	struct kind sign;
} curves[] = {
	{ CRYPTO_P256,
	  { "P-256 key", LANES_P256_PUBLIC, 1, 2 },
	  { "P-256 agreement", LANES_P256_SHARED, 3, 1 },
	  { "P-256 signature", LANES_P256_SIGN, 3, 2 } },
	{ CRYPTO_P384,
	  { "P-384 key", LANES_P384_PUBLIC, 1, 2 },
	  { "P-384 agreement", LANES_P384_SHARED, 3, 1 },
	  { "P-384 signature", LANES_P384_SIGN, 3, 2 } },
};

/* By both: the same lanes are good, and say the same. */
static void
compare(const struct kind *kind, uint32_t expected)
{
	const struct lanes_engine *engines[2] = { lanes_crypto_mb(), &lanes_twin };
	uint32_t good[2];

	for (int e = 0; e < 2; e++) {
		struct lanes_batch batch = { 0 };

		for (int lane = 0; lane < LANES; lane++) {
			for (int i = 0; i < kind->inputs; i++)
				batch.in[i][lane] = lanes[lane].in[i];
			for (int i = 0; i < kind->outputs; i++)
				batch.out[i][lane] = lanes[lane].out[e][i];
		}
		good[e] = engines[e]->compute[kind->kind](&batch);
	}
	checks++;
	if (good[0] != good[1] || good[1] != expected) {
		printf("%s: good are %02x by crypto_mb, %02x by its twin, and should be %02x\n", kind->name,
		       good[0], good[1], expected);
		exit(1);
	}
	for (int lane = 0; lane < LANES; lane++) {
		for (int i = 0; i < kind->outputs && (expected >> lane & 1) != 0; i++) {
			if (memcmp(lanes[lane].out[0][i], lanes[lane].out[1][i], lanes_bytes(kind->kind)) == 0)
				continue;
			printf("%s: lane %d differs in what it says as its output %d\n", kind->name, lane, i);
			exit(1);
		}
	}
}

static void
draw(uint8_t *to, size_t bytes)
{
	(void)seeded_entropy(&seed, to, bytes);
}

static void
draw_key(enum crypto_curve curve, uint8_t *to)
{
	do
		draw(to, order_bytes(curve));
	while (!order_is_key(curve, to));
}

/* RFC 7748 5. */
static void
draw_x25519(uint8_t *to)
{
	draw(to, lanes_bytes(LANES_X25519_PUBLIC));
	to[0] &= 248;
	to[31] = (uint8_t)((to[31] & 127) | 64);
}

/* Of as many keys: into the inputs that an agreement has of its peer. */
static void
draw_peers(const struct curve *curve)
{
	struct lanes_batch batch = { 0 };
	uint8_t keys[LANES][LANES_BYTES_MAX];

	for (int lane = 0; lane < LANES; lane++) {
		draw_key(curve->name, keys[lane]);
		batch.in[0][lane] = keys[lane];
		for (int i = 0; i < curve->public.outputs; i++)
			batch.out[i][lane] = lanes[lane].in[1 + i];
	}
	(void)lanes_twin.compute[curve->public.kind](&batch);
}

/* Scalars at the ends of what there is: n less a number is that number's, the other way round. */
static void
set_odd_scalars(const struct curve *curve)
{
	size_t bytes = order_bytes(curve->name);
	uint8_t ones[LANES_BYTES_MAX];
	uint8_t beyond[LANES_BYTES_MAX]; /* all ones less n */

	memset(ones, 0xff, sizeof(ones));
	order_reduce(curve->name, ones, beyond);
	for (uint8_t lane = 0; lane < 3; lane++) {
		memset(lanes[lane].in[0], 0, bytes);
		lanes[lane].in[0][bytes - 1] = (uint8_t)(lane + 1);
		/* n is all ones less beyond; its last octet is above 3. */
		for (size_t i = 0; i < bytes; i++)
			lanes[lane + 3].in[0][i] = (uint8_t)(0xff - beyond[i]);
		lanes[lane + 3].in[0][bytes - 1] -= (uint8_t)(lane + 1);
	}
}

static void
compare_curve(const struct curve *curve, bool is_odd)
{
	const struct kind *kinds[] = { &curve->public, &curve->shared, &curve->sign };

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		for (int lane = 0; lane < LANES; lane++)
			for (int i = 0; i < kinds[k]->inputs; i++)
				draw_key(curve->name, lanes[lane].in[i]);
		if (kinds[k] == &curve->shared)
			draw_peers(curve);
		if (is_odd)
			set_odd_scalars(curve);
		compare(kinds[k], 0xff);
	}
}

/* Moduli of all their bits, among them the smallest and the largest; bases at the ends of what is below them,
 * powers of any length. */
static void
compare_powers(void)
{
	static const struct kind power = { "power", LANES_POWER_1024, 3, 1 };
	size_t bytes = lanes_bytes(LANES_POWER_1024);

	for (int lane = 0; lane < LANES; lane++) {
		for (int i = 0; i < 3; i++)
			draw(lanes[lane].in[i], bytes);
		lanes[lane].in[0][bytes - 1] &= 0x7f;
		lanes[lane].in[2][bytes - 1] |= 0x80;
		lanes[lane].in[2][0] |= 1;
	}
	memset(lanes[1].in[2], 0xff, bytes);
	memset(lanes[2].in[2], 0, bytes);
	lanes[2].in[2][bytes - 1] = 0x80;
	lanes[2].in[2][0] = 1;
	memset(lanes[3].in[0], 0, bytes);
	memcpy(lanes[4].in[0], lanes[4].in[2], bytes);
	lanes[4].in[0][0]--;
	memset(lanes[5].in[1], 0, bytes);
	memset(lanes[6].in[1] + 1, 0, bytes - 1);
	memset(lanes[7].in[1], 0xff, bytes);
	compare(&power, 0xff);
}

static void
compare_random(long rounds)
{
	for (long round = 0; round < rounds; round++) {
		for (int lane = 0; lane < LANES; lane++) {
			draw_x25519(lanes[lane].in[0]);
			draw(lanes[lane].in[1], lanes_bytes(LANES_X25519_SHARED));
		}
		compare(&x25519_public, 0xff);
		compare(&x25519_shared, 0xff);
		for (size_t c = 0; c < sizeof(curves) / sizeof(curves[0]); c++)
			compare_curve(&curves[c], round == 1);
		compare_powers();
	}
}

/* Points of small order, and u that are no remainders: RFC 7748 5 takes them as such, without the highest bit. */
static void
compare_odd_u(void)
{
	static const uint8_t eight[] = { 0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3,
					 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32,
					 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00 };

	for (int lane = 0; lane < LANES; lane++)
		draw_x25519(lanes[lane].in[0]);
	draw(lanes[0].in[1], U_BYTES);
	memset(lanes[1].in[1], 0, U_BYTES);
	memset(lanes[2].in[1], 0, U_BYTES);
	lanes[2].in[1][0] = 1;
	memcpy(lanes[3].in[1], eight, U_BYTES);
	for (int lane = 4; lane < LANES; lane++)
		memset(lanes[lane].in[1], 0xff, U_BYTES);
	lanes[4].in[1][31] = 0x7f;
	lanes[4].in[1][0] = 0xed; /* the prime: zero */
	lanes[5].in[1][31] = 0x7f;
	lanes[5].in[1][0] = 0xf0; /* three beyond it */
	draw(lanes[7].in[1], U_BYTES);
	lanes[7].in[1][31] |= 0x80;
	compare(&x25519_shared, 0xff & ~(1u << 1 | 1u << 2 | 1u << 3 | 1u << 4));
}

/* All of small order, by each of their names; the last one is none of them. */
static void
compare_small_orders(void)
{
	static const uint8_t of_eight[2][U_BYTES] = {
		{ 0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1,
		  0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62,
		  0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00 },
		{ 0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c,
		  0x83, 0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22,
		  0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57 },
	};

	for (int top = 0; top < 2; top++) {
		for (int lane = 0; lane < LANES; lane++) {
			draw_x25519(lanes[lane].in[0]);
			memset(lanes[lane].in[1], lane < 3 ? 0xff : 0, U_BYTES);
			lanes[lane].in[1][31] = lane < 3 ? 0x7f : 0;
		}
		for (uint8_t lane = 0; lane < 3; lane++)
			lanes[lane].in[1][0] = (uint8_t)(0xec + lane); /* around the prime */
		lanes[4].in[1][0] = 1;
		memcpy(lanes[5].in[1], of_eight[0], U_BYTES);
		memcpy(lanes[6].in[1], of_eight[1], U_BYTES);
		lanes[7].in[1][0] = 2;
		for (int lane = 0; top == 1 && lane < LANES; lane++)
			lanes[lane].in[1][31] |= 0x80;
		compare(&x25519_shared, 1u << 7);
	}
}

/* Beside points of the curve: not one, its negative with a coordinate beyond the prime, zeros. */
static void
compare_odd_points(const struct curve *curve)
{
	size_t bytes = order_bytes(curve->name);

	for (int lane = 0; lane < LANES; lane++)
		draw_key(curve->name, lanes[lane].in[0]);
	draw_peers(curve);
	lanes[1].in[1][bytes - 1] ^= 1;
	lanes[2].in[2][0] ^= 0x80;
	memset(lanes[3].in[1], 0xff, bytes);
	memset(lanes[4].in[2], 0xff, bytes);
	memset(lanes[5].in[1], 0, bytes);
	memset(lanes[5].in[2], 0, bytes);
	compare(&curve->shared, 1u << 0 | 1u << 6 | 1u << 7);
}

int
main(int argc, char **argv)
{
	if (lanes_crypto_mb() == NULL || !lanes_twin_is_here()) {
		puts("this build or this processor does not have crypto_mb");
		return SKIPPED;
	}
	compare_random(argc > 1 ? strtol(argv[1], NULL, 10) : ROUNDS);
	compare_odd_u();
	compare_small_orders();
	for (size_t c = 0; c < sizeof(curves) / sizeof(curves[0]); c++)
		compare_odd_points(&curves[c]);
	printf("%u batches are the same by crypto_mb and by its twin\n", checks);
	return 0;
}

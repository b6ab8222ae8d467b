/*
 * Intel's crypto_mb (cryptography-primitives, once ipp-crypto), by the calls that take numbers as they are: eight
 * operations at a time with AVX-512 IFMA. It allocates nothing, shares nothing, and wipes its own copies of
 * secrets.
 *
 * It would take a coordinate beyond the field's prime for its remainder, which libcrypto refuses, and makes of one
 * X25519 point of small order (u = -1) a number that is not zero; so these are refused here. That a point lies on
 * the curve is checked there.
 */
#define BN_OPENSSL_DISABLE /* its calls with numbers of OpenSSL's, and their headers */
#include <crypto_mb/cpu_features.h>
#include <crypto_mb/ec_nistp256.h>
#include <crypto_mb/ec_nistp384.h>
#include <crypto_mb/exp.h>
#include <crypto_mb/x25519.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "tls/lanes.h"

#define X25519_BYTES 32
#define CURVE_BYTES_MAX 48
#define CURVE_WORDS_MAX (CURVE_BYTES_MAX / sizeof(int64u))
#define POWER_BITS 1024
#define POWER_WORDS (POWER_BITS / 8 / sizeof(int64u))

CHECK_STATIC(LANES == 8, "as many as a call takes");

/* A number of each lane as the library's words, the lowest first. */
struct numbers {
	int64u words[LANES][CURVE_WORDS_MAX];
	int64u *lane[LANES];
};

static void
make_room(struct numbers *numbers)
{
	for (int lane = 0; lane < LANES; lane++)
		numbers->lane[lane] = numbers->words[lane];
}

static void
read_numbers(struct numbers *numbers, const uint8_t *const from[LANES], size_t bytes)
{
	make_room(numbers);
	for (int lane = 0; lane < LANES; lane++) {
		for (size_t i = 0; i < bytes / sizeof(int64u); i++) {
			int64u word;

			memcpy(&word, from[lane] + bytes - (i + 1) * sizeof(word), sizeof(word));
			numbers->words[lane][i] = __builtin_bswap64(word);
		}
	}
}

static void
write_numbers(const struct numbers *numbers, uint8_t *const to[LANES], size_t bytes)
{
	for (int lane = 0; lane < LANES; lane++) {
		for (size_t i = 0; i < bytes / sizeof(int64u); i++) {
			int64u word = __builtin_bswap64(numbers->words[lane][i]);

			memcpy(to[lane] + bytes - (i + 1) * sizeof(word), &word, sizeof(word));
		}
	}
}

static uint32_t
good_of(mbx_status status)
{
	uint32_t good = 0;

	for (int lane = 0; lane < LANES; lane++)
		if (MBX_GET_STS(status, lane) == MBX_STATUS_OK)
			good |= 1u << lane;
	return good;
}

/* --- X25519 --------------------------------------------------------------------------------- */

static uint32_t
x25519_public(const struct lanes_batch *batch)
{
	return good_of(mbx_x25519_public_key_mb8(batch->out[0], batch->in[0]));
}

/* 0, 1, -1 and their aliases at the prime, without the highest bit, which is not looked at (RFC 7748 5). */
static bool
is_near_zero(const uint8_t *u)
{
	bool at_prime = u[0] >= 0xec && u[0] <= 0xee && (u[X25519_BYTES - 1] | 0x80) == 0xff;
	bool at_zero = u[0] <= 1 && (u[X25519_BYTES - 1] & 0x7f) == 0;

	for (int i = 1; i < X25519_BYTES - 1; i++) {
		at_prime = at_prime && u[i] == 0xff;
		at_zero = at_zero && u[i] == 0;
	}
	return at_prime || at_zero;
}

/* The points of order 1, 2, 4 and 8 give zero, whatever the scalar, and are public. */
static uint32_t
of_large_order(const uint8_t *const u[LANES])
{
	static const uint8_t of_eight[][X25519_BYTES] = {
		{ 0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1,
		  0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62,
		  0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00 },
		{ 0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c,
		  0x83, 0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22,
		  0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57 },
	};
	uint32_t good = 0;

	for (int lane = 0; lane < LANES; lane++) {
		bool is_small = is_near_zero(u[lane]);

		for (size_t i = 0; i < COUNT_OF(of_eight); i++)
			is_small |= memcmp(u[lane], of_eight[i], X25519_BYTES - 1) == 0 &&
				    (u[lane][X25519_BYTES - 1] & 0x7f) == of_eight[i][X25519_BYTES - 1];
		if (!is_small)
			good |= 1u << lane;
	}
	return good;
}

static uint32_t
x25519_shared(const struct lanes_batch *batch)
{
	return good_of(mbx_x25519_mb8(batch->out[0], batch->in[0], batch->in[1])) & of_large_order(batch->in[1]);
}

/* --- curves of NIST ------------------------------------------------------------------------- */

/* Calls and constants of one; the calls have the same shape for each. */
struct curve {
	size_t bytes;
	uint8_t prime[CURVE_BYTES_MAX];
	mbx_status (*public)(int64u *x[], int64u *y[], int64u *z[], const int64u *const scalar[], int8u *room);
	mbx_status (*shared)(int8u *secret[], const int64u *const scalar[], const int64u *const x[],
			     const int64u *const y[], const int64u *const z[], int8u *room);
	mbx_status (*sign)(int8u *r[], int8u *s[], const int8u *const hash[], const int64u *const nonce[],
			   const int64u *const key[], int8u *room);
};

static const struct curve p256 = {
	32,
	{ 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	  0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
	mbx_nistp256_ecpublic_key_mb8,
	mbx_nistp256_ecdh_mb8,
	mbx_nistp256_ecdsa_sign_mb8,
};

static const struct curve p384 = {
	48,
	{ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
	  0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff },
	mbx_nistp384_ecpublic_key_mb8,
	mbx_nistp384_ecdh_mb8,
	mbx_nistp384_ecdsa_sign_mb8,
};

/* Coordinates are public. */
static uint32_t
in_field(const struct curve *curve, const uint8_t *const coordinate[LANES])
{
	uint32_t good = 0;

	for (int lane = 0; lane < LANES; lane++)
		if (memcmp(coordinate[lane], curve->prime, curve->bytes) < 0)
			good |= 1u << lane;
	return good;
}

static uint32_t
make_public(const struct curve *curve, const struct lanes_batch *batch)
{
	struct numbers scalar, x, y;
	uint32_t good;

	read_numbers(&scalar, batch->in[0], curve->bytes);
	make_room(&x);
	make_room(&y);
	good = good_of(curve->public(x.lane, y.lane, NULL, (const int64u *const *)scalar.lane, NULL));
	write_numbers(&x, batch->out[0], curve->bytes);
	write_numbers(&y, batch->out[1], curve->bytes);
	explicit_bzero(&scalar, sizeof(scalar));
	return good;
}

static uint32_t
make_shared(const struct curve *curve, const struct lanes_batch *batch)
{
	struct numbers scalar, x, y;
	uint32_t good;

	read_numbers(&scalar, batch->in[0], curve->bytes);
	read_numbers(&x, batch->in[1], curve->bytes);
	read_numbers(&y, batch->in[2], curve->bytes);
	good = good_of(curve->shared((int8u **)(uintptr_t)batch->out[0], (const int64u *const *)scalar.lane,
				     (const int64u *const *)x.lane, (const int64u *const *)y.lane, NULL, NULL));
	explicit_bzero(&scalar, sizeof(scalar));
	return good & in_field(curve, batch->in[1]) & in_field(curve, batch->in[2]);
}

static uint32_t
sign(const struct curve *curve, const struct lanes_batch *batch)
{
	struct numbers nonce, key;
	uint32_t good;

	read_numbers(&nonce, batch->in[0], curve->bytes);
	read_numbers(&key, batch->in[1], curve->bytes);
	good = good_of(curve->sign((int8u **)(uintptr_t)batch->out[0], (int8u **)(uintptr_t)batch->out[1],
				   batch->in[2], (const int64u *const *)nonce.lane,
				   (const int64u *const *)key.lane, NULL));
	explicit_bzero(&nonce, sizeof(nonce));
	explicit_bzero(&key, sizeof(key));
	return good;
}

static uint32_t
p256_public(const struct lanes_batch *batch)
{
	return make_public(&p256, batch);
}

static uint32_t
p256_shared(const struct lanes_batch *batch)
{
	return make_shared(&p256, batch);
}

static uint32_t
p256_sign(const struct lanes_batch *batch)
{
	return sign(&p256, batch);
}

static uint32_t
p384_public(const struct lanes_batch *batch)
{
	return make_public(&p384, batch);
}

static uint32_t
p384_shared(const struct lanes_batch *batch)
{
	return make_shared(&p384, batch);
}

static uint32_t
p384_sign(const struct lanes_batch *batch)
{
	return sign(&p384, batch);
}

/* --- powers --------------------------------------------------------------------------------- */

/* What one batch has of them, with all that the library makes of it on the way: 55 KiB. */
struct powers {
	int64u words[LANES_INPUTS_MAX][LANES][POWER_WORDS];
	int64u results[LANES][POWER_WORDS];
	int8u room[48 * KIB];
};

/* The library looks up a power's five bits by looking at all of its table. Results are below the modulus. */
static uint32_t
power_1024(const struct lanes_batch *batch)
{
	struct powers powers;
	const int64u *in[LANES_INPUTS_MAX][LANES];
	int64u *out[LANES];
	uint32_t good;

	for (int lane = 0; lane < LANES; lane++) {
		for (int i = 0; i < LANES_INPUTS_MAX; i++) {
			memcpy(powers.words[i][lane], batch->in[i][lane], sizeof(powers.words[i][lane]));
			in[i][lane] = powers.words[i][lane];
		}
		out[lane] = powers.results[lane];
	}
	good = good_of(mbx_exp1024_mb8(out, in[0], in[1], POWER_BITS, in[2], POWER_BITS, powers.room,
				       sizeof(powers.room)));
	for (int lane = 0; lane < LANES; lane++)
		memcpy(batch->out[0][lane], powers.results[lane], sizeof(powers.results[lane]));
	explicit_bzero(&powers, sizeof(powers));
	return good;
}

static const struct lanes_engine crypto_mb = {
	.name = "crypto_mb",
	.compute = {
		[LANES_X25519_PUBLIC] = x25519_public,
		[LANES_X25519_SHARED] = x25519_shared,
		[LANES_P256_PUBLIC] = p256_public,
		[LANES_P256_SHARED] = p256_shared,
		[LANES_P256_SIGN] = p256_sign,
		[LANES_P384_PUBLIC] = p384_public,
		[LANES_P384_SHARED] = p384_shared,
		[LANES_P384_SIGN] = p384_sign,
		[LANES_POWER_1024] = power_1024,
	},
	/* By the counts of README.md, of which one takes 1.4 times as long here as in libcrypto. */
	.fewest = {
		[LANES_X25519_PUBLIC] = 3,
		[LANES_X25519_SHARED] = 3,
		[LANES_P256_PUBLIC] = 3,
		[LANES_P256_SHARED] = 2,
		[LANES_P256_SIGN] = 3,
		[LANES_P384_PUBLIC] = 1,
		[LANES_P384_SHARED] = 1,
		[LANES_P384_SIGN] = 1,
		[LANES_POWER_1024] = 2,
	},
};

const struct lanes_engine *
lanes_crypto_mb(void)
{
	static const enum MBX_ALGO asked[] = { MBX_ALGO_X25519, MBX_ALGO_EC_NIST_P256, MBX_ALGO_EC_NIST_P384,
					       MBX_ALGO_RSA_2K };
	bool is_here = mbx_is_crypto_mb_applicable(0) != 0;

	for (size_t i = 0; i < COUNT_OF(asked); i++)
		is_here = is_here && (mbx_get_algo_info(asked[i]) & MBX_WIDTH_MB8) != 0;
	/* A newer library may want more room than there is for it. */
	is_here = is_here && (size_t)mbx_exp_BufferSize(POWER_BITS) <= sizeof(((struct powers *)NULL)->room);
	return is_here ? &crypto_mb : NULL;
}

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
#include <crypto_mb/x25519.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "tls/lanes.h"

#define WORDS (LANES_BYTES / sizeof(int64u))

CHECK_STATIC(LANES == 8, "as many as a call takes");

/* A number of each lane as the library's words, the lowest first. */
struct numbers {
	int64u words[LANES][WORDS];
	int64u *lane[LANES];
};

static void
make_room(struct numbers *numbers)
{
	for (int lane = 0; lane < LANES; lane++)
		numbers->lane[lane] = numbers->words[lane];
}

static void
read_numbers(struct numbers *numbers, const uint8_t *const from[LANES])
{
	make_room(numbers);
	for (int lane = 0; lane < LANES; lane++) {
		for (size_t i = 0; i < WORDS; i++) {
			int64u word;

			memcpy(&word, from[lane] + LANES_BYTES - (i + 1) * sizeof(word), sizeof(word));
			numbers->words[lane][i] = __builtin_bswap64(word);
		}
	}
}

static void
write_numbers(const struct numbers *numbers, uint8_t *const to[LANES])
{
	for (int lane = 0; lane < LANES; lane++) {
		for (size_t i = 0; i < WORDS; i++) {
			int64u word = __builtin_bswap64(numbers->words[lane][i]);

			memcpy(to[lane] + LANES_BYTES - (i + 1) * sizeof(word), &word, sizeof(word));
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

/* Coordinates are public. */
static uint32_t
in_field(const uint8_t *const coordinate[LANES])
{
	static const uint8_t prime[LANES_BYTES] = {
		0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	};
	uint32_t good = 0;

	for (int lane = 0; lane < LANES; lane++)
		if (memcmp(coordinate[lane], prime, sizeof(prime)) < 0)
			good |= 1u << lane;
	return good;
}

static uint32_t
x25519_public(const struct lanes_batch *batch)
{
	return good_of(mbx_x25519_public_key_mb8(batch->out[0], batch->in[0]));
}

/* 0, 1, -1 and their aliases at the prime, without the highest bit, which is not looked at (RFC 7748 5). */
static bool
is_near_zero(const uint8_t *u)
{
	bool at_prime = u[0] >= 0xec && u[0] <= 0xee && (u[LANES_BYTES - 1] | 0x80) == 0xff;
	bool at_zero = u[0] <= 1 && (u[LANES_BYTES - 1] & 0x7f) == 0;

	for (int i = 1; i < LANES_BYTES - 1; i++) {
		at_prime = at_prime && u[i] == 0xff;
		at_zero = at_zero && u[i] == 0;
	}
	return at_prime || at_zero;
}

/* The points of order 1, 2, 4 and 8 give zero, whatever the scalar, and are public. */
static uint32_t
of_large_order(const uint8_t *const u[LANES])
{
	static const uint8_t of_eight[][LANES_BYTES] = {
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
			is_small |= memcmp(u[lane], of_eight[i], LANES_BYTES - 1) == 0 &&
				    (u[lane][LANES_BYTES - 1] & 0x7f) == of_eight[i][LANES_BYTES - 1];
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

static uint32_t
p256_public(const struct lanes_batch *batch)
{
	struct numbers scalar, x, y;
	uint32_t good;

	read_numbers(&scalar, batch->in[0]);
	make_room(&x);
	make_room(&y);
	good = good_of(
		mbx_nistp256_ecpublic_key_mb8(x.lane, y.lane, NULL, (const int64u *const *)scalar.lane, NULL));
	write_numbers(&x, batch->out[0]);
	write_numbers(&y, batch->out[1]);
	explicit_bzero(&scalar, sizeof(scalar));
	return good;
}

static uint32_t
p256_shared(const struct lanes_batch *batch)
{
	struct numbers scalar, x, y;
	uint32_t good;

	read_numbers(&scalar, batch->in[0]);
	read_numbers(&x, batch->in[1]);
	read_numbers(&y, batch->in[2]);
	good = good_of(mbx_nistp256_ecdh_mb8(
		(int8u **)(uintptr_t)batch->out[0], (const int64u *const *)scalar.lane,
		(const int64u *const *)x.lane, (const int64u *const *)y.lane, NULL, NULL));
	explicit_bzero(&scalar, sizeof(scalar));
	return good & in_field(batch->in[1]) & in_field(batch->in[2]);
}

static uint32_t
p256_sign(const struct lanes_batch *batch)
{
	struct numbers nonce, key;
	uint32_t good;

	read_numbers(&nonce, batch->in[0]);
	read_numbers(&key, batch->in[1]);
	good = good_of(mbx_nistp256_ecdsa_sign_mb8(
		(int8u **)(uintptr_t)batch->out[0], (int8u **)(uintptr_t)batch->out[1], batch->in[2],
		(const int64u *const *)nonce.lane, (const int64u *const *)key.lane, NULL));
	explicit_bzero(&nonce, sizeof(nonce));
	explicit_bzero(&key, sizeof(key));
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
	},
};

const struct lanes_engine *
lanes_crypto_mb(void)
{
	bool is_here = mbx_is_crypto_mb_applicable(0) != 0 &&
		       (mbx_get_algo_info(MBX_ALGO_X25519) & MBX_WIDTH_MB8) != 0 &&
		       (mbx_get_algo_info(MBX_ALGO_EC_NIST_P256) & MBX_WIDTH_MB8) != 0;

	return is_here ? &crypto_mb : NULL;
}

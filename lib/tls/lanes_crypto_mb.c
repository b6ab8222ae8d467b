/*
 * Intel's crypto_mb (cryptography-primitives, once ipp-crypto), by the calls that take numbers as they are: eight
 * operations at a time with AVX-512 IFMA. It allocates nothing, shares nothing, and wipes its own copies of
 * secrets.
 *
 * It would take a coordinate beyond the field's prime for its remainder, which libcrypto refuses, so that is
 * refused here; that a point lies on the curve is checked there.
 */
#define BN_OPENSSL_DISABLE /* its calls with numbers of OpenSSL's, and their headers */
#include <crypto_mb/cpu_features.h>
#include <crypto_mb/ec_nistp256.h>
#include <crypto_mb/x25519.h>
#include <string.h>

#include "base/check.h"
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

static uint32_t
x25519_shared(const struct lanes_batch *batch)
{
	return good_of(mbx_x25519_mb8(batch->out[0], batch->in[0], batch->in[1]));
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

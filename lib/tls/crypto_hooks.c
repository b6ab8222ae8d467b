/*
 * What mbedtls-instances.patch makes mbedTLS ask before it computes: its numbers and points as bytes, and back;
 * its hashes, HMAC and HKDF by derive.h; AES-GCM by the worker's keyring; and PSA's driver of keys.
 * An answer of INSTANCE_DECLINES, or PSA_ERROR_NOT_SUPPORTED, makes it go on by itself.
 *
 * Before whatever is dear, by mbedTLS itself, too, others get their turn (instance_pause()).
 */
#include <mbedtls/ecp.h>
#include <mbedtls/error.h>
#include <mbedtls/md.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/rsa.h>
#include <mbedtls/sha256.h>
#include <mbedtls/sha512.h>
#include <psa/crypto.h>
#include <sluice_mbedtls_hooks.h>

#include "base/check.h"
#include "tls/crypto.h"
#include "tls/crypto_nonces.h"
#include "tls/crypto_p256.h"
#include "tls/derive.h"
#include "tls/instance.h"
#include "tls/keyring.h"
#include "tls/lanes.h"

#define UNWANTED MBEDTLS_ERR_ERROR_GENERIC_ERROR /* its handshake was ended meanwhile */

/* --- curves ---------------------------------------------------------------------------------------------- */

static bool
find_curve(mbedtls_ecp_group_id id, enum crypto_curve *curve)
{
	if (id != MBEDTLS_ECP_DP_SECP256R1 && id != MBEDTLS_ECP_DP_SECP384R1)
		return false;
	*curve = id == MBEDTLS_ECP_DP_SECP256R1 ? CRYPTO_P256 : CRYPTO_P384;
	return true;
}

/* What lanes have of a curve. */
static const struct curve_lanes {
	enum lanes_kind public;
	enum lanes_kind shared;
	enum lanes_kind sign;
} lanes_of[CRYPTO_CURVES] = {
	[CRYPTO_P256] = { LANES_P256_PUBLIC, LANES_P256_SHARED, LANES_P256_SIGN },
	[CRYPTO_P384] = { LANES_P384_PUBLIC, LANES_P384_SHARED, LANES_P384_SIGN },
};

static int
error_of(enum crypto_result result)
{
	if (result == CRYPTO_DECLINED)
		return INSTANCE_DECLINES;
	if (result == CRYPTO_UNWANTED)
		return UNWANTED;
	return result == CRYPTO_OK ? 0 : MBEDTLS_ERR_ECP_INVALID_KEY;
}

/* mbedTLS keeps normalised points, so the third coordinate is one. */
static int
point_of_bytes(mbedtls_ecp_point *point, const uint8_t *bytes, size_t len)
{
	int failed = mbedtls_mpi_read_binary(&point->MBEDTLS_PRIVATE(X), bytes, len);

	if (failed == 0)
		failed = mbedtls_mpi_read_binary(&point->MBEDTLS_PRIVATE(Y), bytes + len, len);
	if (failed == 0)
		failed = mbedtls_mpi_lset(&point->MBEDTLS_PRIVATE(Z), 1);
	return failed;
}

static int
bytes_of_point(const mbedtls_ecp_point *point, uint8_t *bytes, size_t len)
{
	int failed = mbedtls_mpi_write_binary(&point->MBEDTLS_PRIVATE(X), bytes, len);

	return failed != 0 ? failed : mbedtls_mpi_write_binary(&point->MBEDTLS_PRIVATE(Y), bytes + len, len);
}

/* --- what is dear: in lanes, or alone behind a pause --------------------------------------------------- */

static enum crypto_result
x25519(struct crypto *crypto, const uint8_t *scalar, const uint8_t *u, uint8_t *out)
{
	struct lanes_work work = { u != NULL ? LANES_X25519_SHARED : LANES_X25519_PUBLIC, { scalar, u }, { out } };
	enum crypto_result got = instance_compute(&work);

	if (got != CRYPTO_DECLINED)
		return got;
	return instance_pause() ? crypto_x25519(crypto, scalar, u, out) : CRYPTO_UNWANTED;
}

/* The generator's products can be had in lanes. */
static enum crypto_result
ec_multiply(struct crypto *crypto, enum crypto_curve curve, const uint8_t *scalar, const uint8_t *point,
	    uint8_t *out)
{
	struct lanes_work work = { lanes_of[curve].public, { scalar }, { out, out + order_bytes(curve) } };
	enum crypto_result got = CRYPTO_DECLINED;

	if (point == NULL)
		got = instance_compute(&work);
	if (got != CRYPTO_DECLINED)
		return got;
	return instance_pause() ? crypto_ec_multiply(crypto, curve, scalar, point, out) : CRYPTO_UNWANTED;
}

/* x alone. On P-384 mbedTLS goes on where lanes decline, and asks for the product. */
static enum crypto_result
agree(struct crypto *crypto, enum crypto_curve curve, const uint8_t *scalar, const uint8_t *peer, uint8_t *secret)
{
	struct lanes_work work = { lanes_of[curve].shared,
				   { scalar, peer, peer + order_bytes(curve) },
				   { secret } };
	enum crypto_result got = instance_compute(&work);
	uint8_t point[2 * P256_BYTES];

	if (got != CRYPTO_DECLINED || curve != CRYPTO_P256)
		return got;
	if (!instance_pause())
		return CRYPTO_UNWANTED;
	got = crypto_ec_multiply(crypto, CRYPTO_P256, scalar, peer, point);
	if (got == CRYPTO_OK)
		memcpy(secret, point, P256_BYTES);
	explicit_bzero(point, sizeof(point));
	return got;
}

/* --- curves, as mbedTLS asks --------------------------------------------------------------------------- */

/* Of the generator, if point is NULL. */
static int
multiply_x25519(struct crypto *crypto, mbedtls_ecp_point *result, const mbedtls_mpi *scalar,
		const mbedtls_ecp_point *point)
{
	uint8_t k[CRYPTO_X25519_BYTES];
	uint8_t u[CRYPTO_X25519_BYTES];
	uint8_t out[CRYPTO_X25519_BYTES];
	int failed = mbedtls_mpi_write_binary_le(scalar, k, sizeof(k));

	if (failed == 0 && point != NULL)
		failed = mbedtls_mpi_write_binary_le(&point->MBEDTLS_PRIVATE(X), u, sizeof(u));
	if (failed == 0)
		failed = error_of(x25519(crypto, k, point != NULL ? u : NULL, out));
	if (failed == 0)
		failed = mbedtls_mpi_read_binary_le(&result->MBEDTLS_PRIVATE(X), out, sizeof(out));
	if (failed == 0)
		failed = mbedtls_mpi_lset(&result->MBEDTLS_PRIVATE(Z), 1);
	mbedtls_mpi_free(&result->MBEDTLS_PRIVATE(Y));
	explicit_bzero(k, sizeof(k));
	explicit_bzero(out, sizeof(out));
	return failed;
}

int
instance_ecp_mul(mbedtls_ecp_group *group, mbedtls_ecp_point *result, const mbedtls_mpi *scalar,
		 const mbedtls_ecp_point *point)
{
	struct crypto *crypto = instance_crypto();
	uint8_t k[CRYPTO_COORDINATE_BYTES_MAX];
	uint8_t given[2 * CRYPTO_COORDINATE_BYTES_MAX];
	uint8_t out[2 * CRYPTO_COORDINATE_BYTES_MAX];
	bool is_generator = point == &group->G;
	enum crypto_curve curve;
	size_t bytes;
	int failed;

	if (crypto != NULL && group->id == MBEDTLS_ECP_DP_CURVE25519)
		return multiply_x25519(crypto, result, scalar, is_generator ? NULL : point);
	if (crypto == NULL || !find_curve(group->id, &curve))
		return instance_pause() ? INSTANCE_DECLINES : UNWANTED;
	bytes = order_bytes(curve);
	failed = mbedtls_mpi_write_binary(scalar, k, bytes);
	if (failed == 0 && !is_generator)
		failed = bytes_of_point(point, given, bytes);
	if (failed == 0)
		failed = error_of(ec_multiply(crypto, curve, k, is_generator ? NULL : given, out));
	if (failed == 0)
		failed = point_of_bytes(result, out, bytes);
	explicit_bzero(k, sizeof(k));
	explicit_bzero(out, sizeof(out));
	return failed;
}

int
instance_ecdh(mbedtls_ecp_group *group, mbedtls_mpi *x, const mbedtls_ecp_point *point, const mbedtls_mpi *scalar)
{
	struct crypto *crypto = instance_crypto();
	uint8_t k[CRYPTO_COORDINATE_BYTES_MAX];
	uint8_t given[2 * CRYPTO_COORDINATE_BYTES_MAX];
	uint8_t out[CRYPTO_COORDINATE_BYTES_MAX];
	enum crypto_curve curve;
	size_t bytes;
	int failed;

	if (crypto == NULL || !find_curve(group->id, &curve))
		return INSTANCE_DECLINES;
	bytes = order_bytes(curve);
	failed = mbedtls_mpi_write_binary(scalar, k, bytes);
	if (failed == 0 && !order_is_key(curve, k))
		failed = MBEDTLS_ERR_ECP_INVALID_KEY;
	if (failed == 0)
		failed = bytes_of_point(point, given, bytes);
	if (failed == 0)
		failed = error_of(agree(crypto, curve, k, given, out));
	if (failed == 0)
		failed = mbedtls_mpi_read_binary(x, out, bytes);
	explicit_bzero(k, sizeof(k));
	explicit_bzero(out, sizeof(out));
	return failed;
}

int
instance_ecp_muladd(mbedtls_ecp_group *group, mbedtls_ecp_point *result, const mbedtls_mpi *a,
		    const mbedtls_ecp_point *generator, const mbedtls_mpi *b, const mbedtls_ecp_point *point)
{
	struct crypto *crypto = instance_crypto();
	uint8_t factors[2][CRYPTO_COORDINATE_BYTES_MAX];
	uint8_t given[2 * CRYPTO_COORDINATE_BYTES_MAX];
	uint8_t out[2 * CRYPTO_COORDINATE_BYTES_MAX];
	enum crypto_curve curve;
	size_t bytes;
	int failed;

	if (!instance_pause())
		return UNWANTED;
	if (crypto == NULL || generator != &group->G || !find_curve(group->id, &curve))
		return INSTANCE_DECLINES;
	bytes = order_bytes(curve);
	failed = mbedtls_mpi_write_binary(a, factors[0], bytes);
	if (failed == 0)
		failed = mbedtls_mpi_write_binary(b, factors[1], bytes);
	if (failed == 0)
		failed = bytes_of_point(point, given, bytes);
	if (failed == 0)
		failed = error_of(crypto_ec_combine(crypto, curve, factors[0], factors[1], given, out));
	return failed == 0 ? point_of_bytes(result, out, bytes) : failed;
}

/* --- ECDSA on P-256 with SHA-256, in lanes on P-384 with SHA-384 --------------------------------------- */

static enum crypto_result
sign_alone_p256(struct crypto *crypto, const struct lanes_work *work)
{
	uint8_t point[2 * P256_BYTES];
	enum crypto_result got = ec_multiply(crypto, CRYPTO_P256, work->in[0], NULL, point);
	struct p256_number k, d, r;

	if (got != CRYPTO_OK)
		return got;
	k = p256_scalar_read(work->in[0]);
	d = p256_scalar_read(work->in[1]);
	r = p256_scalar_read(point);
	p256_number_write(r, work->out[0]);
	p256_number_write(p256_scalar_sign(p256_scalar_read(work->in[2]), r, d, k), work->out[1]);
	explicit_bzero(&k, sizeof(k));
	explicit_bzero(&d, sizeof(d));
	return CRYPTO_OK;
}

static bool
is_zero(const uint8_t *number, size_t bytes)
{
	uint8_t any = 0;

	for (size_t i = 0; i < bytes; i++)
		any |= number[i];
	return any == 0;
}

/* The private key and, behind it, the hash below the order. */
static int
sign(struct crypto *crypto, enum crypto_curve curve, const uint8_t *key_and_hash, uint8_t *r, uint8_t *s)
{
	size_t bytes = order_bytes(curve);
	struct nonces nonces;
	struct lanes_work work = { lanes_of[curve].sign,
				   { nonces.value, key_and_hash, key_and_hash + bytes },
				   { r, s } };
	enum crypto_result got = CRYPTO_DECLINED;

	nonces_init(&nonces, curve, key_and_hash);
	if (nonces_next(&nonces)) {
		got = instance_compute(&work);
		/* Nothing that goes in is another's, so what lanes refuse is theirs. */
		if (got == CRYPTO_FAILED)
			got = CRYPTO_DECLINED;
		if (got == CRYPTO_DECLINED && curve == CRYPTO_P256)
			got = sign_alone_p256(crypto, &work);
	}
	explicit_bzero(&nonces, sizeof(nonces));
	/* Another nonce would be due; mbedTLS's own code knows the way. */
	if (got == CRYPTO_OK && (is_zero(r, bytes) || is_zero(s, bytes)))
		got = CRYPTO_DECLINED;
	return error_of(got);
}

/* The curve's own hash, and whether anybody here has it. */
static bool
signs_here(enum crypto_curve curve, mbedtls_md_type_t kind)
{
	if (curve == CRYPTO_P256)
		return kind == MBEDTLS_MD_SHA256;
	return kind == MBEDTLS_MD_SHA384 && instance_has_lanes(LANES_P384_SIGN);
}

int
instance_ecdsa_sign(mbedtls_ecp_group *group, mbedtls_mpi *r, mbedtls_mpi *s, const mbedtls_mpi *d,
		    const unsigned char *hash, size_t hash_bytes, mbedtls_md_type_t kind)
{
	struct crypto *crypto = instance_crypto();
	uint8_t key_and_hash[2 * CRYPTO_COORDINATE_BYTES_MAX];
	uint8_t r_bytes[CRYPTO_COORDINATE_BYTES_MAX];
	uint8_t s_bytes[CRYPTO_COORDINATE_BYTES_MAX];
	enum crypto_curve curve;
	size_t bytes;
	int failed;

	if (crypto == NULL || !find_curve(group->id, &curve) || !signs_here(curve, kind) ||
	    hash_bytes != order_bytes(curve))
		return INSTANCE_DECLINES;
	bytes = order_bytes(curve);
	failed = mbedtls_mpi_write_binary(d, key_and_hash, bytes);
	if (failed == 0 && !order_is_key(curve, key_and_hash))
		failed = MBEDTLS_ERR_ECP_INVALID_KEY;
	order_reduce(curve, hash, key_and_hash + bytes);
	if (failed == 0)
		failed = sign(crypto, curve, key_and_hash, r_bytes, s_bytes);
	explicit_bzero(key_and_hash, sizeof(key_and_hash));
	if (failed == 0)
		failed = mbedtls_mpi_read_binary(r, r_bytes, bytes);
	if (failed == 0)
		failed = mbedtls_mpi_read_binary(s, s_bytes, bytes);
	return failed;
}

/* --- RSA ------------------------------------------------------------------------------------------------- */

#define SHORT_POWER_BITS 64

bool
instance_hides_powers(void)
{
	return instance_crypto() != NULL;
}

static size_t
write_number(const mbedtls_mpi *number, uint8_t *to, size_t room)
{
	size_t bytes = mbedtls_mpi_size(number);

	return bytes <= room && mbedtls_mpi_write_binary_le(number, to, bytes) == 0 ? bytes : SIZE_MAX;
}

#define HALF_BYTES 128 /* of RSA with 2048 bits */

/* base to the power, by lanes, if they have such. */
static int
raise_half(struct crypto *crypto, mbedtls_mpi *result, const mbedtls_mpi *base, const mbedtls_mpi *power,
	   const mbedtls_mpi *modulus)
{
	uint8_t numbers[3][HALF_BYTES];
	uint8_t base_bytes[2 * HALF_BYTES];
	uint8_t out[HALF_BYTES];
	struct crypto_division division = { base_bytes, sizeof(base_bytes), numbers[2], HALF_BYTES };
	struct lanes_work work = { LANES_POWER_1024, { numbers[0], numbers[1], numbers[2] }, { out } };
	int failed = INSTANCE_DECLINES;

	if (!instance_has_lanes(LANES_POWER_1024) || mbedtls_mpi_bitlen(modulus) != 8 * HALF_BYTES ||
	    mbedtls_mpi_get_bit(modulus, 0) == 0 || mbedtls_mpi_bitlen(power) <= SHORT_POWER_BITS)
		return INSTANCE_DECLINES;
	if (mbedtls_mpi_write_binary_le(base, base_bytes, sizeof(base_bytes)) == 0 &&
	    mbedtls_mpi_write_binary_le(power, numbers[1], HALF_BYTES) == 0 &&
	    mbedtls_mpi_write_binary_le(modulus, numbers[2], HALF_BYTES) == 0 &&
	    crypto_remainder(crypto, &division, numbers[0]) == CRYPTO_OK) {
		enum crypto_result got = instance_compute(&work);

		if (got == CRYPTO_OK)
			failed = mbedtls_mpi_read_binary_le(result, out, sizeof(out));
		else if (got == CRYPTO_UNWANTED)
			failed = UNWANTED;
	}
	explicit_bzero(numbers, sizeof(numbers));
	explicit_bzero(base_bytes, sizeof(base_bytes));
	explicit_bzero(out, sizeof(out));
	return failed;
}

int
instance_mpi_exp_mod(mbedtls_mpi *result, const mbedtls_mpi *base, const mbedtls_mpi *power, bool is_public,
		     const mbedtls_mpi *modulus)
{
	struct crypto *crypto = instance_crypto();
	uint8_t base_bytes[2 * CRYPTO_POWER_BYTES_MAX];
	uint8_t power_bytes[CRYPTO_POWER_BYTES_MAX];
	uint8_t modulus_bytes[CRYPTO_POWER_BYTES_MAX];
	uint8_t out[CRYPTO_POWER_BYTES_MAX];
	struct crypto_power what = { .base = base_bytes,
				     .power = power_bytes,
				     .is_public = is_public,
				     .modulus = modulus_bytes };
	int failed = INSTANCE_DECLINES;

	if (crypto != NULL && !is_public && mbedtls_mpi_cmp_int(base, 0) >= 0)
		failed = raise_half(crypto, result, base, power, modulus);
	if (failed != INSTANCE_DECLINES)
		return failed;
	/* What RSA does with its public exponent in between is short, and has half of its state in the key. */
	if ((is_public || mbedtls_mpi_bitlen(power) > SHORT_POWER_BITS) && !instance_pause())
		return UNWANTED;
	if (crypto == NULL || mbedtls_mpi_cmp_int(base, 0) < 0)
		return INSTANCE_DECLINES;
	what.base_bytes = write_number(base, base_bytes, sizeof(base_bytes));
	what.power_bytes = write_number(power, power_bytes, sizeof(power_bytes));
	what.modulus_bytes = write_number(modulus, modulus_bytes, sizeof(modulus_bytes));
	if (what.base_bytes != SIZE_MAX && what.power_bytes != SIZE_MAX && what.modulus_bytes != SIZE_MAX) {
		enum crypto_result got = crypto_power(crypto, &what, out);

		if (got == CRYPTO_OK)
			failed = mbedtls_mpi_read_binary_le(result, out, what.modulus_bytes);
		else if (got == CRYPTO_FAILED)
			failed = MBEDTLS_ERR_MPI_ALLOC_FAILED;
	}
	explicit_bzero(base_bytes, sizeof(base_bytes));
	explicit_bzero(power_bytes, sizeof(power_bytes));
	explicit_bzero(modulus_bytes, sizeof(modulus_bytes));
	explicit_bzero(out, sizeof(out));
	return failed;
}

int
instance_mpi_mul_mod(mbedtls_mpi *result, const mbedtls_mpi *first, const mbedtls_mpi *second,
		     const mbedtls_mpi *modulus)
{
	struct crypto *crypto = instance_crypto();
	uint8_t factors[2][CRYPTO_POWER_BYTES_MAX];
	uint8_t modulus_bytes[CRYPTO_POWER_BYTES_MAX];
	uint8_t out[CRYPTO_POWER_BYTES_MAX];
	struct crypto_product what = { factors[0], factors[1], modulus_bytes, mbedtls_mpi_size(modulus) };
	int failed = INSTANCE_DECLINES;

	if (crypto == NULL || what.bytes > CRYPTO_POWER_BYTES_MAX || mbedtls_mpi_get_bit(modulus, 0) == 0 ||
	    mbedtls_mpi_cmp_int(first, 0) < 0 || mbedtls_mpi_cmp_int(second, 0) < 0)
		return INSTANCE_DECLINES;
	if (mbedtls_mpi_write_binary_le(first, factors[0], what.bytes) == 0 &&
	    mbedtls_mpi_write_binary_le(second, factors[1], what.bytes) == 0 &&
	    mbedtls_mpi_write_binary_le(modulus, modulus_bytes, what.bytes) == 0) {
		enum crypto_result got = crypto_product(crypto, &what, out);

		if (got == CRYPTO_OK)
			failed = mbedtls_mpi_read_binary_le(result, out, what.bytes);
		else if (got == CRYPTO_FAILED)
			failed = MBEDTLS_ERR_MPI_ALLOC_FAILED;
	}
	explicit_bzero(factors, sizeof(factors));
	explicit_bzero(out, sizeof(out));
	return failed;
}

/* --- hashes ---------------------------------------------------------------------------------------------- */

bool
instance_sha256(uint32_t state[CRYPTO_SHA2_WORDS], const unsigned char *blocks, size_t count)
{
	return instance_hashes() && crypto_sha256(state, blocks, count);
}

bool
instance_sha512(uint64_t state[CRYPTO_SHA2_WORDS], const unsigned char *blocks, size_t count)
{
	return instance_hashes() && crypto_sha512(state, blocks, count);
}

/* PSA does the same with three operations, a key in a slot and a dozen allocations. */
bool
instance_hmac(psa_algorithm_t hash, const unsigned char *key, size_t key_bytes, const unsigned char *text,
	      size_t text_bytes, unsigned char *to)
{
	enum derive_hash kind = hash == PSA_ALG_SHA_256 ? DERIVE_SHA256 : DERIVE_SHA384;

	if (instance_crypto() == NULL || (hash != PSA_ALG_SHA_256 && hash != PSA_ALG_SHA_384) ||
	    key_bytes > derive_hash_bytes(kind))
		return false;
	derive_hmac(kind, bytes_make(key, key_bytes), bytes_make(text, text_bytes), BYTES_NONE, to);
	return true;
}

bool
instance_hkdf_expand(psa_algorithm_t hash, const unsigned char *secret, size_t secret_bytes,
		     const unsigned char *info, size_t info_bytes, unsigned char *to, size_t bytes)
{
	enum derive_hash kind = hash == PSA_ALG_SHA_256 ? DERIVE_SHA256 : DERIVE_SHA384;

	if (instance_crypto() == NULL || (hash != PSA_ALG_SHA_256 && hash != PSA_ALG_SHA_384) ||
	    secret_bytes > derive_hash_bytes(kind) || bytes > derive_hash_bytes(kind))
		return false;
	derive_expand(kind, bytes_make(secret, secret_bytes), bytes_make(info, info_bytes), to, bytes);
	return true;
}

bool
instance_traffic_key(psa_algorithm_t hash, const unsigned char *secret, size_t secret_bytes, unsigned char *key,
		     size_t key_bytes, unsigned char *iv, size_t iv_bytes)
{
	enum derive_hash kind = hash == PSA_ALG_SHA_256 ? DERIVE_SHA256 : DERIVE_SHA384;

	if (instance_crypto() == NULL || (hash != PSA_ALG_SHA_256 && hash != PSA_ALG_SHA_384) ||
	    secret_bytes != derive_hash_bytes(kind))
		return false;
	derive_traffic_key(kind, secret, key, key_bytes, iv, iv_bytes);
	return true;
}

/* --- ciphers --------------------------------------------------------------------------------------------- */

bool
instance_gcm(const unsigned char *key, size_t key_bytes, bool seals, const unsigned char nonce[AEAD_NONCE_BYTES],
	     const unsigned char *aad, size_t aad_bytes, const unsigned char *in, size_t bytes, unsigned char *out,
	     unsigned char tag[AEAD_TAG_BYTES])
{
	struct keyring *ring = instance_keyring();
	enum aead_cipher cipher = key_bytes == 16 ? AEAD_AES_128_GCM : AEAD_AES_256_GCM;
	uint8_t raw[AEAD_KEY_BYTES_MAX] = { 0 };
	const struct aead_calls *calls;
	const struct aead_key *expanded;

	if (ring == NULL)
		return false;
	calls = &ring->aead.calls[cipher];
	memcpy(raw, key, key_bytes);
	expanded = keyring_get(ring, cipher, raw);
	explicit_bzero(raw, sizeof(raw));
	if (in != out && bytes > 0)
		memmove(out, in, bytes);
	calls->begin(ring->aead.engine, expanded, &ring->run, nonce, aad, aad_bytes, seals);
	if (bytes > 0)
		(seals ? calls->seal : calls->open)(ring->aead.engine, expanded, &ring->run, out, bytes);
	calls->finish(ring->aead.engine, expanded, &ring->run, tag);
	return true;
}

void
instance_gcm_forget(const unsigned char *key, size_t key_bytes)
{
	struct keyring *ring = instance_keyring();
	uint8_t raw[AEAD_KEY_BYTES_MAX] = { 0 };

	if (ring == NULL)
		return;
	memcpy(raw, key, key_bytes);
	keyring_forget(ring, raw);
	explicit_bzero(raw, sizeof(raw));
}

/* --- PSA's transparent driver ---------------------------------------------------------------------------- */

/* X25519, or a curve of crypto.h. */
struct psa_curve {
	bool is_x25519;
	enum crypto_curve name; /* of others */
	size_t bytes;
};

static bool
find_psa_curve(const psa_key_attributes_t *attributes, struct psa_curve *curve)
{
	psa_key_type_t type = psa_get_key_type(attributes);
	size_t bits = psa_get_key_bits(attributes);

	*curve = (struct psa_curve){ .bytes = bits / 8 };
	if (type == PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_MONTGOMERY) && bits == 255) {
		curve->is_x25519 = true;
		curve->bytes = CRYPTO_X25519_BYTES;
		return true;
	}
	curve->name = bits == 256 ? CRYPTO_P256 : CRYPTO_P384;
	return type == PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_SECP_R1) && (bits == 256 || bits == 384);
}

static psa_status_t
status_of(enum crypto_result result)
{
	if (result == CRYPTO_DECLINED)
		return PSA_ERROR_NOT_SUPPORTED;
	if (result == CRYPTO_UNWANTED)
		return PSA_ERROR_GENERIC_ERROR;
	return result == CRYPTO_OK ? PSA_SUCCESS : PSA_ERROR_INVALID_ARGUMENT;
}

static psa_status_t
draw(uint8_t *to, size_t bytes)
{
	size_t len;

	return mbedtls_psa_external_get_random(NULL, to, bytes, &len);
}

psa_status_t
instance_generate_key(const psa_key_attributes_t *attributes, uint8_t *key, size_t room, size_t *len)
{
	struct psa_curve curve;
	psa_status_t status;

	if (instance_crypto() == NULL || !find_psa_curve(attributes, &curve))
		return PSA_ERROR_NOT_SUPPORTED;
	if (room < curve.bytes)
		return PSA_ERROR_BUFFER_TOO_SMALL;
	status = draw(key, curve.bytes);
	if (curve.is_x25519) {
		/* RFC 7748 5. */
		key[0] &= 248;
		key[31] = (uint8_t)((key[31] & 127) | 64);
	} else {
		for (int tries = 0;
		     status == PSA_SUCCESS && !order_is_key(curve.name, key) && tries < ORDER_TRIES_MAX; tries++)
			status = draw(key, curve.bytes);
		if (status == PSA_SUCCESS && !order_is_key(curve.name, key))
			status = PSA_ERROR_INSUFFICIENT_ENTROPY;
	}
	*len = curve.bytes;
	return status;
}

psa_status_t
instance_export_public_key(const psa_key_attributes_t *attributes, const uint8_t *key, size_t key_bytes,
			   uint8_t *to, size_t room, size_t *len)
{
	struct crypto *crypto = instance_crypto();
	struct psa_curve curve;

	/* On P-384 mbedTLS asks for the product. */
	if (crypto == NULL || !find_psa_curve(attributes, &curve) || curve.bytes != P256_BYTES ||
	    key_bytes != curve.bytes)
		return PSA_ERROR_NOT_SUPPORTED;
	*len = curve.is_x25519 ? CRYPTO_X25519_BYTES : 1 + 2 * P256_BYTES;
	if (room < *len)
		return PSA_ERROR_BUFFER_TOO_SMALL;
	if (curve.is_x25519)
		return status_of(x25519(crypto, key, NULL, to));
	to[0] = CRYPTO_UNCOMPRESSED;
	return status_of(ec_multiply(crypto, CRYPTO_P256, key, NULL, to + 1));
}

psa_status_t
instance_key_agreement(const psa_key_attributes_t *attributes, const uint8_t *key, size_t key_bytes,
		       psa_algorithm_t algorithm, const uint8_t *peer, size_t peer_bytes, uint8_t *to,
		       size_t room, size_t *len)
{
	struct crypto *crypto = instance_crypto();
	struct psa_curve curve;

	if (crypto == NULL || !find_psa_curve(attributes, &curve) || key_bytes != curve.bytes ||
	    !PSA_ALG_IS_ECDH(algorithm))
		return PSA_ERROR_NOT_SUPPORTED;
	if (room < curve.bytes)
		return PSA_ERROR_BUFFER_TOO_SMALL;
	*len = curve.bytes;
	if (curve.is_x25519) {
		if (peer_bytes != CRYPTO_X25519_BYTES)
			return PSA_ERROR_INVALID_ARGUMENT;
		return status_of(x25519(crypto, key, peer, to));
	}
	if (peer_bytes != 1 + 2 * curve.bytes || peer[0] != CRYPTO_UNCOMPRESSED)
		return PSA_ERROR_INVALID_ARGUMENT;
	return status_of(agree(crypto, curve.name, key, peer + 1, to));
}

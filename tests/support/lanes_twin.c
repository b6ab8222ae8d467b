#include "lanes_twin.h"

#include <string.h>

#include <mbedtls/ecp.h>

#include "base/check.h"
#include "base/units.h"
#include "tls/crypto.h"
#include "tls/crypto_p256.h"
#include "tls/instance.h"

#define P384_BYTES 48
#define POWER_BYTES 128

struct lanes_twin_told lanes_twin_told;

/* One lane of a kind. */
typedef bool (*compute_one)(const struct lanes_batch *batch, uint32_t lane);

static bool
x25519_public(const struct lanes_batch *batch, uint32_t lane)
{
	return crypto_x25519(instance_crypto(), batch->in[0][lane], NULL, batch->out[0][lane]) == CRYPTO_OK;
}

static bool
x25519_shared(const struct lanes_batch *batch, uint32_t lane)
{
	return crypto_x25519(instance_crypto(), batch->in[0][lane], batch->in[1][lane], batch->out[0][lane]) ==
	       CRYPTO_OK;
}

static bool
p256_public(const struct lanes_batch *batch, uint32_t lane)
{
	uint8_t point[2 * P256_BYTES];

	if (crypto_ec_multiply(instance_crypto(), CRYPTO_P256, batch->in[0][lane], NULL, point) != CRYPTO_OK)
		return false;
	memcpy(batch->out[0][lane], point, P256_BYTES);
	memcpy(batch->out[1][lane], point + P256_BYTES, P256_BYTES);
	return true;
}

static bool
p256_shared(const struct lanes_batch *batch, uint32_t lane)
{
	uint8_t point[2 * P256_BYTES];

	memcpy(point, batch->in[1][lane], P256_BYTES);
	memcpy(point + P256_BYTES, batch->in[2][lane], P256_BYTES);
	if (crypto_ec_multiply(instance_crypto(), CRYPTO_P256, batch->in[0][lane], point, point) != CRYPTO_OK)
		return false;
	memcpy(batch->out[0][lane], point, P256_BYTES);
	return true;
}

static bool
p256_sign(const struct lanes_batch *batch, uint32_t lane)
{
	struct p256_number d = p256_scalar_read(batch->in[1][lane]);
	struct p256_number e = p256_scalar_read(batch->in[2][lane]);
	struct p256_number k = p256_scalar_read(batch->in[0][lane]);
	uint8_t point[2 * P256_BYTES];
	struct p256_number r;

	if (crypto_ec_multiply(instance_crypto(), CRYPTO_P256, batch->in[0][lane], NULL, point) != CRYPTO_OK)
		return false;
	r = p256_scalar_read(point);
	p256_number_write(r, batch->out[0][lane]);
	p256_number_write(p256_scalar_sign(e, r, d, k), batch->out[1][lane]);
	return true;
}

/* On P-384 by mbedTLS, since libcrypto of OpenSSL 3.0 is declined there. Whatever hides the numbers. */
static int
no_random(void *opaque, unsigned char *to, size_t len)
{
	(void)opaque;
	memset(to, 7, len);
	return 0;
}

struct p384 {
	mbedtls_ecp_group group;
	mbedtls_ecp_point point;
	mbedtls_mpi scalar;
};

static bool
p384_open(struct p384 *p, const uint8_t *scalar)
{
	mbedtls_ecp_group_init(&p->group);
	mbedtls_ecp_point_init(&p->point);
	mbedtls_mpi_init(&p->scalar);
	return mbedtls_ecp_group_load(&p->group, MBEDTLS_ECP_DP_SECP384R1) == 0 &&
	       mbedtls_mpi_read_binary(&p->scalar, scalar, P384_BYTES) == 0;
}

static void
p384_close(struct p384 *p)
{
	mbedtls_ecp_group_free(&p->group);
	mbedtls_ecp_point_free(&p->point);
	mbedtls_mpi_free(&p->scalar);
}

/* x and y of the scalar's product with a point; NULL: the generator. */
static bool
p384_multiply(struct p384 *p, const mbedtls_ecp_point *by, uint8_t *x, uint8_t *y)
{
	uint8_t octets[1 + 2 * P384_BYTES];
	size_t len;

	if (mbedtls_ecp_mul(&p->group, &p->point, &p->scalar, by != NULL ? by : &p->group.G, no_random,
			    NULL) != 0 ||
	    mbedtls_ecp_point_write_binary(&p->group, &p->point, MBEDTLS_ECP_PF_UNCOMPRESSED, &len, octets,
					   sizeof(octets)) != 0)
		return false;
	memcpy(x, octets + 1, P384_BYTES);
	if (y != NULL)
		memcpy(y, octets + 1 + P384_BYTES, P384_BYTES);
	return true;
}

static bool
p384_public(const struct lanes_batch *batch, uint32_t lane)
{
	struct p384 p;
	bool done = p384_open(&p, batch->in[0][lane]) &&
		    p384_multiply(&p, NULL, batch->out[0][lane], batch->out[1][lane]);

	p384_close(&p);
	return done;
}

static bool
p384_shared(const struct lanes_batch *batch, uint32_t lane)
{
	uint8_t octets[1 + 2 * P384_BYTES] = { CRYPTO_UNCOMPRESSED };
	struct p384 p;
	bool done = p384_open(&p, batch->in[0][lane]);

	memcpy(octets + 1, batch->in[1][lane], P384_BYTES);
	memcpy(octets + 1 + P384_BYTES, batch->in[2][lane], P384_BYTES);
	done = done && mbedtls_ecp_point_read_binary(&p.group, &p.point, octets, sizeof(octets)) == 0 &&
	       p384_multiply(&p, &p.point, batch->out[0][lane], NULL);
	p384_close(&p);
	return done;
}

static bool
p384_sign(const struct lanes_batch *batch, uint32_t lane)
{
	struct p384 p;
	mbedtls_mpi r, s;
	const mbedtls_mpi *n = &p.group.N;
	bool done = p384_open(&p, batch->in[0][lane]) && p384_multiply(&p, NULL, batch->out[0][lane], NULL);

	mbedtls_mpi_init(&r);
	mbedtls_mpi_init(&s);
	/* FIPS 186-5, 6.4.1: r is the nonce's x, s = (e + r * d) / k. */
	done = done && mbedtls_mpi_read_binary(&r, batch->out[0][lane], P384_BYTES) == 0 &&
	       mbedtls_mpi_mod_mpi(&r, &r, n) == 0 &&
	       mbedtls_mpi_write_binary(&r, batch->out[0][lane], P384_BYTES) == 0 &&
	       mbedtls_mpi_read_binary(&s, batch->in[1][lane], P384_BYTES) == 0 &&
	       mbedtls_mpi_mul_mpi(&s, &s, &r) == 0 &&
	       mbedtls_mpi_read_binary(&r, batch->in[2][lane], P384_BYTES) == 0 &&
	       mbedtls_mpi_add_mpi(&s, &s, &r) == 0 && mbedtls_mpi_inv_mod(&r, &p.scalar, n) == 0 &&
	       mbedtls_mpi_mul_mpi(&s, &s, &r) == 0 && mbedtls_mpi_mod_mpi(&s, &s, n) == 0 &&
	       mbedtls_mpi_write_binary(&s, batch->out[1][lane], P384_BYTES) == 0;
	mbedtls_mpi_free(&r);
	mbedtls_mpi_free(&s);
	p384_close(&p);
	return done;
}

static bool
power_1024(const struct lanes_batch *batch, uint32_t lane)
{
	struct crypto_power what = { .base = batch->in[0][lane],
				     .base_bytes = POWER_BYTES,
				     .power = batch->in[1][lane],
				     .power_bytes = POWER_BYTES,
				     .modulus = batch->in[2][lane],
				     .modulus_bytes = POWER_BYTES };

	return crypto_power(instance_crypto(), &what, batch->out[0][lane]) == CRYPTO_OK;
}

/* With memory of its own, as crypto_mb needs none of a context's. */
static struct instance *
own_instance(void)
{
	static struct instance *own;

	if (own == NULL) {
		own = instance_new(256 * KIB, NULL, NULL);
		CHECK(own != NULL && instance_use_primitives(own, "libcrypto"));
	}
	return own;
}

static uint32_t
compute(enum lanes_kind kind, compute_one one, const struct lanes_batch *batch)
{
	struct instance *before = instance_enter(own_instance());
	uint32_t good = 0;

	lanes_twin_told.batches[kind]++;
	for (uint32_t lane = 0; lane < LANES; lane++)
		if (one(batch, lane))
			good |= 1u << lane;
	for (uint32_t lane = 0; lane < LANES; lane++)
		batch->out[0][lane][0] ^= (uint8_t)(lanes_twin_told.wrong[kind] >> lane & 1);
	instance_leave(before);
	return good & ~lanes_twin_told.bad[kind];
}

#define KIND(NAME, KIND) \
	static uint32_t NAME##s(const struct lanes_batch *batch) \
	{ \
		return compute(KIND, NAME, batch); \
	}

KIND(x25519_public, LANES_X25519_PUBLIC)
KIND(x25519_shared, LANES_X25519_SHARED)
KIND(p256_public, LANES_P256_PUBLIC)
KIND(p256_shared, LANES_P256_SHARED)
KIND(p256_sign, LANES_P256_SIGN)
KIND(p384_public, LANES_P384_PUBLIC)
KIND(p384_shared, LANES_P384_SHARED)
KIND(p384_sign, LANES_P384_SIGN)
KIND(power_1024, LANES_POWER_1024)

const struct lanes_engine lanes_twin = {
	.name = "lanes",
	.compute = { x25519_publics, x25519_shareds, p256_publics, p256_shareds, p256_signs,
		     p384_publics, p384_shareds, p384_signs, power_1024s },
};

bool
lanes_twin_is_here(void)
{
	return tls_has_primitives("libcrypto");
}

uint32_t
lanes_twin_run(struct tls_context *context)
{
	/* Whatever has joined did so at the time of an earlier call. */
	static uint64_t now_ns;
	uint32_t used;

	now_ns += LANES_WAIT_US * NSEC_PER_USEC;
	used = tls_lanes_run(context, now_ns);
	while (tls_lanes_done(context) != NULL)
		;
	return used;
}

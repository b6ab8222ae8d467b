#include "lanes_twin.h"

#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "tls/crypto.h"
#include "tls/crypto_p256.h"
#include "tls/instance.h"

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
	struct p256_scalar d = p256_scalar_read(batch->in[1][lane]);
	struct p256_scalar e = p256_scalar_read(batch->in[2][lane]);
	struct p256_scalar k = p256_scalar_read(batch->in[0][lane]);
	uint8_t point[2 * P256_BYTES];
	struct p256_scalar r;

	if (crypto_ec_multiply(instance_crypto(), CRYPTO_P256, batch->in[0][lane], NULL, point) != CRYPTO_OK)
		return false;
	r = p256_scalar_read(point);
	p256_scalar_write(r, batch->out[0][lane]);
	p256_scalar_write(p256_scalar_sign(e, r, d, k), batch->out[1][lane]);
	return true;
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

const struct lanes_engine lanes_twin = {
	.name = "lanes",
	.compute = { x25519_publics, x25519_shareds, p256_publics, p256_shareds, p256_signs },
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

/* HMAC_DRBG, its letters K and V, which are as long as a number below the order: the hash is chosen so. */
#include "tls/crypto_nonces.h"

#include <string.h>

#include "tls/derive.h"

static void
mix(const struct nonces *n, struct bytes text, struct bytes more, uint8_t *to)
{
	derive_hmac(n->curve == CRYPTO_P256 ? DERIVE_SHA256 : DERIVE_SHA384,
		    bytes_make(n->key, order_bytes(n->curve)), text, more, to);
}

static void
turn(struct nonces *n)
{
	mix(n, bytes_make(n->value, order_bytes(n->curve)), BYTES_NONE, n->value);
}

static void
stir(struct nonces *n, uint8_t step, const uint8_t *seed, size_t seed_bytes)
{
	size_t bytes = order_bytes(n->curve);
	uint8_t head[CRYPTO_COORDINATE_BYTES_MAX + 1];

	memcpy(head, n->value, bytes);
	head[bytes] = step;
	mix(n, bytes_make(head, bytes + 1), bytes_make(seed, seed_bytes), n->key);
	turn(n);
	explicit_bzero(head, sizeof(head));
}

void
nonces_init(struct nonces *n, enum crypto_curve curve, const uint8_t *key_and_hash)
{
	size_t bytes = order_bytes(curve);

	n->curve = curve;
	memset(n->key, 0, bytes);
	memset(n->value, 1, bytes);
	stir(n, 0, key_and_hash, 2 * bytes);
	stir(n, 1, key_and_hash, 2 * bytes);
}

bool
nonces_next(struct nonces *n)
{
	for (int tries = 0; tries < ORDER_TRIES_MAX; tries++) {
		turn(n);
		if (order_is_key(n->curve, n->value))
			return true;
		stir(n, 0, NULL, 0);
	}
	return false;
}

/* HMAC_DRBG, its letters K and V. */
#include "tls/crypto_nonces.h"

#include "tls/derive.h"

static void
turn(struct nonces *n)
{
	derive_hmac(DERIVE_SHA256, bytes_make(n->key, P256_BYTES), bytes_make(n->value, P256_BYTES), BYTES_NONE,
		    n->value);
}

static void
stir(struct nonces *n, uint8_t step, const uint8_t *seed, size_t seed_bytes)
{
	uint8_t head[P256_BYTES + 1];

	memcpy(head, n->value, P256_BYTES);
	head[P256_BYTES] = step;
	derive_hmac(DERIVE_SHA256, bytes_make(n->key, P256_BYTES), bytes_make(head, sizeof(head)),
		    bytes_make(seed, seed_bytes), n->key);
	turn(n);
	explicit_bzero(head, sizeof(head));
}

void
nonces_init(struct nonces *n, const uint8_t key_and_hash[2 * P256_BYTES])
{
	memset(n->key, 0, sizeof(n->key));
	memset(n->value, 1, sizeof(n->value));
	stir(n, 0, key_and_hash, 2 * P256_BYTES);
	stir(n, 1, key_and_hash, 2 * P256_BYTES);
}

bool
nonces_next(struct nonces *n)
{
	for (int tries = 0; tries < P256_TRIES_MAX; tries++) {
		turn(n);
		if (p256_scalar_is_key(n->value))
			return true;
		stir(n, 0, NULL, 0);
	}
	return false;
}

/* A build without libcrypto: everything is mbedTLS's own. */
#include "tls/crypto.h"

bool
crypto_prepare(void)
{
	return false;
}

struct crypto *
crypto_open(void)
{
	return NULL;
}

void
crypto_close(struct crypto *crypto)
{
	(void)crypto;
}

enum crypto_result
crypto_x25519(struct crypto *crypto, const uint8_t scalar[CRYPTO_X25519_BYTES], const uint8_t *u,
	      uint8_t out[CRYPTO_X25519_BYTES])
{
	(void)crypto;
	(void)scalar;
	(void)u;
	(void)out;
	return CRYPTO_DECLINED;
}

enum crypto_result
crypto_x25519_provided(struct crypto *crypto, const uint8_t scalar[CRYPTO_X25519_BYTES],
		       const uint8_t u[CRYPTO_X25519_BYTES], uint8_t out[CRYPTO_X25519_BYTES])
{
	return crypto_x25519(crypto, scalar, u, out);
}

enum crypto_result
crypto_ec_multiply(struct crypto *crypto, enum crypto_curve curve, const uint8_t *scalar,
		   const uint8_t *point, uint8_t *out)
{
	(void)crypto;
	(void)curve;
	(void)scalar;
	(void)point;
	(void)out;
	return CRYPTO_DECLINED;
}

enum crypto_result
crypto_ec_combine(struct crypto *crypto, enum crypto_curve curve, const uint8_t *a, const uint8_t *b,
		  const uint8_t *point, uint8_t *out)
{
	(void)crypto;
	(void)curve;
	(void)a;
	(void)b;
	(void)point;
	(void)out;
	return CRYPTO_DECLINED;
}

enum crypto_result
crypto_power(struct crypto *crypto, const struct crypto_power *what, uint8_t *out)
{
	(void)crypto;
	(void)what;
	(void)out;
	return CRYPTO_DECLINED;
}

enum crypto_result
crypto_remainder(struct crypto *crypto, const struct crypto_division *what, uint8_t *out)
{
	(void)crypto;
	(void)what;
	(void)out;
	return CRYPTO_DECLINED;
}

enum crypto_result
crypto_product(struct crypto *crypto, const struct crypto_product *what, uint8_t *out)
{
	(void)crypto;
	(void)what;
	(void)out;
	return CRYPTO_DECLINED;
}

bool
crypto_sha256_two(uint32_t first[CRYPTO_SHA2_WORDS], const uint8_t *first_block,
		  uint32_t second[CRYPTO_SHA2_WORDS], const uint8_t *second_block)
{
	(void)first;
	(void)first_block;
	(void)second;
	(void)second_block;
	return false;
}

bool
crypto_sha256(uint32_t state[CRYPTO_SHA2_WORDS], const uint8_t *blocks, size_t count)
{
	(void)state;
	(void)blocks;
	(void)count;
	return false;
}

bool
crypto_sha512(uint64_t state[CRYPTO_SHA2_WORDS], const uint8_t *blocks, size_t count)
{
	(void)state;
	(void)blocks;
	(void)count;
	return false;
}

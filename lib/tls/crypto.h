#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * crypto: the expensive arithmetic under mbedTLS, by the fastest library that the machine has. Private to
 * lib/tls.
 *
 * Two bodies: crypto_libcrypto.c (OpenSSL's libcrypto) and crypto_absent.c (a build without it, which opens
 * nothing). What is declined here is done by mbedTLS's own code, slower and with the same result.
 *
 * Owner:  one instance (instance.h), entered in every call but crypto_prepare(). Thread: its own; nothing that
 *         is written after crypto_prepare() is shared with another.
 * Memory: the instance's arena, all of it: bounded, left out of core dumps, zeroed when freed.
 * Time:   none of them depends on a secret in its time, where the header of a call does not say so.
 */
struct crypto;

enum crypto_curve { CRYPTO_P256, CRYPTO_P384, CRYPTO_CURVES };

#define CRYPTO_COORDINATE_BYTES_MAX 48
#define CRYPTO_X25519_BYTES 32
#define CRYPTO_UNCOMPRESSED 4 /* the first octet of such a point (SEC1 2.3.3) */
#define CRYPTO_POWER_BYTES_MAX 512 /* RSA of 4096 bits */

enum crypto_result {
	CRYPTO_OK,
	CRYPTO_DECLINED, /* not in this library, or slower there than in mbedTLS */
	CRYPTO_FAILED, /* not a point of the curve, a result that may not be, or no memory */
	CRYPTO_UNWANTED, /* its handshake was ended meanwhile (instance.h) */
};

/* The process's share, once, by the first caller and before any other use of the library in the process:
 * from then on it takes memory from the instance that is entered. False: there is no library, or it was used
 * before. */
bool crypto_prepare(void);

/* NULL without memory, or when crypto_prepare() says no. */
struct crypto *crypto_open(void);
void crypto_close(struct crypto *crypto);

/* RFC 7748: scalar times the point whose u is given; NULL: the base point. An all-zero result fails. */
enum crypto_result crypto_x25519(struct crypto *crypto, const uint8_t scalar[CRYPTO_X25519_BYTES],
				 const uint8_t *u, uint8_t out[CRYPTO_X25519_BYTES]);

/* The same by libcrypto, for processors that crypto_ladder_avx2.h is not for; u is never NULL. */
enum crypto_result crypto_x25519_provided(struct crypto *crypto, const uint8_t scalar[CRYPTO_X25519_BYTES],
					  const uint8_t u[CRYPTO_X25519_BYTES],
					  uint8_t out[CRYPTO_X25519_BYTES]);

/* Big-endian numbers of the curve's length; the scalar is below the order. point: x and y, checked to be on
 * the curve; NULL: the generator. out: x and y. */
enum crypto_result crypto_ec_multiply(struct crypto *crypto, enum crypto_curve curve, const uint8_t *scalar,
				      const uint8_t *point, uint8_t *out);

/* a times the generator and b times point, all of them public. Infinity fails. */
enum crypto_result crypto_ec_combine(struct crypto *crypto, enum crypto_curve curve, const uint8_t *a,
				     const uint8_t *b, const uint8_t *point, uint8_t *out);

/* base to the power, modulo an odd modulus; little-endian, every one of them in bytes; at most
 * CRYPTO_POWER_BYTES_MAX. A public power may be told by the time, a secret one with its modulus is not. */
struct crypto_power {
	const uint8_t *base;
	size_t base_bytes;
	const uint8_t *power;
	size_t power_bytes;
	bool is_public;
	const uint8_t *modulus;
	size_t modulus_bytes;
};
enum crypto_result crypto_power(struct crypto *crypto, const struct crypto_power *what, uint8_t *out);

/* A number modulo another that is not zero; little-endian, of so many bytes, at most those of a power's base and
 * modulus. Neither is told by the time. */
struct crypto_division {
	const uint8_t *number;
	size_t number_bytes;
	const uint8_t *modulus;
	size_t modulus_bytes;
};
enum crypto_result crypto_remainder(struct crypto *crypto, const struct crypto_division *what, uint8_t *out);

/* first times second, modulo an odd modulus that everybody may know; little-endian, each of so many bytes, at most
 * CRYPTO_POWER_BYTES_MAX. What is ready of the modulus is kept for the next call. */
struct crypto_product {
	const uint8_t *first;
	const uint8_t *second;
	const uint8_t *modulus;
	size_t bytes;
};
enum crypto_result crypto_product(struct crypto *crypto, const struct crypto_product *what, uint8_t *out);

/* Whole blocks into the state of SHA-256 and SHA-512, and one block into each of two states of SHA-256, side by
 * side where the processor can. They need no instance, and cannot fail. False: declined, and always so. */
#define CRYPTO_SHA2_WORDS 8 /* of a state */
#define CRYPTO_SHA256_BLOCK_BYTES 64
#define CRYPTO_SHA512_BLOCK_BYTES 128
bool crypto_sha256(uint32_t state[CRYPTO_SHA2_WORDS], const uint8_t *blocks, size_t count);
bool crypto_sha512(uint64_t state[CRYPTO_SHA2_WORDS], const uint8_t *blocks, size_t count);
bool crypto_sha256_two(uint32_t first[CRYPTO_SHA2_WORDS], const uint8_t *first_block,
		       uint32_t second[CRYPTO_SHA2_WORDS], const uint8_t *second_block);

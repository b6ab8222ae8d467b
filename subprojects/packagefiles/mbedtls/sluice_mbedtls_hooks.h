/*
 * What the patched mbedTLS asks the instance (lib/tls/crypto_hooks.c) before it computes by itself. Included by
 * the files of mbedTLS that ask and by the one that answers.
 */
#ifndef SLUICE_MBEDTLS_HOOKS_H
#define SLUICE_MBEDTLS_HOOKS_H

#include <mbedtls/bignum.h>
#include <mbedtls/ecp.h>
#include <mbedtls/md.h>
#include <psa/crypto.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INSTANCE_DECLINES 1 /* mbedTLS's own errors are negative */

int instance_ecp_mul(mbedtls_ecp_group *group, mbedtls_ecp_point *result, const mbedtls_mpi *scalar,
		     const mbedtls_ecp_point *point);
/* x of the scalar's product with point. */
int instance_ecdh(mbedtls_ecp_group *group, mbedtls_mpi *x, const mbedtls_ecp_point *point,
		  const mbedtls_mpi *scalar);
int instance_ecp_muladd(mbedtls_ecp_group *group, mbedtls_ecp_point *result, const mbedtls_mpi *a,
			const mbedtls_ecp_point *generator, const mbedtls_mpi *b,
			const mbedtls_ecp_point *point);
int instance_ecdsa_sign(mbedtls_ecp_group *group, mbedtls_mpi *r, mbedtls_mpi *s, const mbedtls_mpi *d,
			const unsigned char *hash, size_t hash_bytes, mbedtls_md_type_t kind);

/* Whether secret powers are raised in a time that does not tell them, so that they need no blinding. */
bool instance_hides_powers(void);
int instance_mpi_exp_mod(mbedtls_mpi *result, const mbedtls_mpi *base, const mbedtls_mpi *power,
			 bool is_public, const mbedtls_mpi *modulus);

int instance_mpi_mul_mod(mbedtls_mpi *result, const mbedtls_mpi *first, const mbedtls_mpi *second,
			 const mbedtls_mpi *modulus);

/* True: done. */
bool instance_sha256(uint32_t state[8], const unsigned char *blocks, size_t count);
bool instance_sha512(uint64_t state[8], const unsigned char *blocks, size_t count);
bool instance_hmac(psa_algorithm_t hash, const unsigned char *key, size_t key_bytes,
		   const unsigned char *text, size_t text_bytes, unsigned char *to);
bool instance_hkdf_expand(psa_algorithm_t hash, const unsigned char *secret, size_t secret_bytes,
			  const unsigned char *info, size_t info_bytes, unsigned char *to, size_t bytes);
/* Both that TLS 1.3 expands from a traffic secret (RFC 8446 7.3), at once. */
bool instance_traffic_key(psa_algorithm_t hash, const unsigned char *secret, size_t secret_bytes,
			  unsigned char *key, size_t key_bytes, unsigned char *iv, size_t iv_bytes);

/* A message of AES-GCM as a whole, from in to out, which may be the same; true: done. And its key is over. */
bool instance_gcm(const unsigned char *key, size_t key_bytes, bool seals, const unsigned char nonce[12],
		  const unsigned char *aad, size_t aad_bytes, const unsigned char *in, size_t bytes,
		  unsigned char *out, unsigned char tag[16]);
void instance_gcm_forget(const unsigned char *key, size_t key_bytes);

/* PSA's transparent driver; PSA_ERROR_NOT_SUPPORTED declines. */
psa_status_t instance_generate_key(const psa_key_attributes_t *attributes, uint8_t *key, size_t room,
				   size_t *len);
psa_status_t instance_export_public_key(const psa_key_attributes_t *attributes, const uint8_t *key,
					size_t key_bytes, uint8_t *to, size_t room, size_t *len);
psa_status_t instance_key_agreement(const psa_key_attributes_t *attributes, const uint8_t *key,
				    size_t key_bytes, psa_algorithm_t algorithm, const uint8_t *peer,
				    size_t peer_bytes, uint8_t *to, size_t room, size_t *len);

#endif

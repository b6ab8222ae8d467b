/*
 * What of mbedTLS 3.6 is compiled in. Everything absent here is absent from the program.
 *
 * TLS 1.2 and 1.3, server (clients of the edge) and client (TLS towards backends). Key exchange is ECDHE
 * only, with ECDSA and RSA certificates; AEAD suites only. Never: renegotiation, compression, RSA key
 * exchange, finite-field DH, CBC, plain PSK, 0-RTT (POSTs repeat), DTLS.
 *
 * No #pragma once: mbedTLS includes this file exactly once, from build_info.h.
 */

#include <stddef.h>
#include <time.h>

/*
 * Platform. There is no process-wide state: memory, time, random numbers and PSA's tables belong to the
 * worker's own instance (lib/tls/instance.h), which is why the mutexes of MBEDTLS_THREADING_C are absent.
 * The few globals that no option removes are made thread-local or per instance by mbedtls-instances.patch.
 */
void *instance_calloc(size_t count, size_t bytes);
void instance_free_block(void *block);
time_t instance_time(time_t *now);
enum { INSTANCE_PSA_CORE, INSTANCE_PSA_SLOTS, INSTANCE_PSA_PARTS };
void *instance_psa_state(int part, size_t bytes);

#define MBEDTLS_HAVE_ASM
#define MBEDTLS_HAVE_TIME
#define MBEDTLS_HAVE_TIME_DATE
#define MBEDTLS_PLATFORM_C
#define MBEDTLS_PLATFORM_MEMORY
#define MBEDTLS_PLATFORM_CALLOC_MACRO instance_calloc
#define MBEDTLS_PLATFORM_FREE_MACRO instance_free_block
#define MBEDTLS_PLATFORM_TIME_MACRO instance_time
#define MBEDTLS_PLATFORM_MS_TIME_ALT
#define MBEDTLS_AESNI_C
#define MBEDTLS_AESCE_C
/* Tables made at compile time: nothing to fill in on first use, when two workers might. */
#define MBEDTLS_AES_ROM_TABLES

/* Random numbers: a generator per instance, seeded by whoever makes the instance. */
#define MBEDTLS_CTR_DRBG_C
#define MBEDTLS_HMAC_DRBG_C
#define MBEDTLS_PSA_CRYPTO_EXTERNAL_RNG
#define MBEDTLS_PSA_KEY_STORE_DYNAMIC
/* An instance has one thread: PSA need not copy every buffer, which for a key share is 16 KiB. */
#define MBEDTLS_PSA_ASSUME_EXCLUSIVE_BUFFERS

/* Hashes and ciphers. */
#define MBEDTLS_MD_C
#define MBEDTLS_SHA256_C
#define MBEDTLS_SHA384_C
#define MBEDTLS_SHA512_C
#define MBEDTLS_HKDF_C
#define MBEDTLS_CIPHER_C
#define MBEDTLS_AES_C
#define MBEDTLS_GCM_C
/* So that GCM has its cipher inside and allocates nothing. */
#define MBEDTLS_BLOCK_CIPHER_C
#define MBEDTLS_CHACHA20_C
#define MBEDTLS_POLY1305_C
#define MBEDTLS_CHACHAPOLY_C

/* Public keys. */
#define MBEDTLS_BIGNUM_C
#define MBEDTLS_ECP_C
#define MBEDTLS_ECP_NIST_OPTIM
#define MBEDTLS_ECP_DP_SECP256R1_ENABLED
#define MBEDTLS_ECP_DP_SECP384R1_ENABLED
#define MBEDTLS_ECP_DP_CURVE25519_ENABLED
#define MBEDTLS_ECDH_C
#define MBEDTLS_ECDSA_C
#define MBEDTLS_ECDSA_DETERMINISTIC
#define MBEDTLS_RSA_C
#define MBEDTLS_PKCS1_V15
#define MBEDTLS_PKCS1_V21
#define MBEDTLS_PK_C
#define MBEDTLS_PK_PARSE_C
#define MBEDTLS_PSA_CRYPTO_C

/* Certificates. */
#define MBEDTLS_ASN1_PARSE_C
#define MBEDTLS_ASN1_WRITE_C
#define MBEDTLS_BASE64_C
#define MBEDTLS_OID_C
#define MBEDTLS_PEM_PARSE_C
#define MBEDTLS_X509_USE_C
#define MBEDTLS_X509_CRT_PARSE_C
#define MBEDTLS_X509_RSASSA_PSS_SUPPORT
#define MBEDTLS_ERROR_C
/*
 * What a stranger's certificates may cost: so many in a message, so many between the first and one that is
 * believed, each with a key of at most so many bits (mbedtls-instances.patch).
 */
#define SLUICE_CERTIFICATES_MAX 9
#define MBEDTLS_X509_MAX_INTERMEDIATE_CA 4
#define SLUICE_RSA_BITS_MAX 4096
#define SLUICE_RSA_EXPONENT_BITS_MAX 32

/* TLS. Record buffers keep the full 16 KiB: a client may fill a record, and most do not negotiate less. */
#define MBEDTLS_SSL_TLS_C
#define MBEDTLS_SSL_SRV_C
#define MBEDTLS_SSL_CLI_C
#define MBEDTLS_SSL_PROTO_TLS1_2
#define MBEDTLS_SSL_PROTO_TLS1_3
#define MBEDTLS_SSL_TLS1_3_COMPATIBILITY_MODE
#define MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL_ENABLED
#define MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_PSK_EPHEMERAL_ENABLED
#define MBEDTLS_KEY_EXCHANGE_ECDHE_ECDSA_ENABLED
#define MBEDTLS_KEY_EXCHANGE_ECDHE_RSA_ENABLED
#define MBEDTLS_SSL_EXTENDED_MASTER_SECRET
#define MBEDTLS_SSL_SERVER_NAME_INDICATION
#define MBEDTLS_SSL_ALPN
#define MBEDTLS_SSL_SESSION_TICKETS
#define MBEDTLS_SSL_KEEP_PEER_CERTIFICATE
#define MBEDTLS_SSL_ALL_ALERT_MESSAGES
/* All that is ever offered or accepted, in our order of preference. */
#define MBEDTLS_SSL_CIPHERSUITES \
	MBEDTLS_TLS1_3_AES_128_GCM_SHA256, MBEDTLS_TLS1_3_AES_256_GCM_SHA384, \
	MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256, MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, \
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, \
	MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256

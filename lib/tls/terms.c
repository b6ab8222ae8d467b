/* One list of signatures for both roles: what we show is checked against it as what we are shown is. */
#include "tls/terms.h"

#include "tls/instance.h"

/* X25519 first: one scalar multiplication less to validate, and what nearly every client sends. */
static const uint16_t server_groups[] = { MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
					  MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
					  MBEDTLS_SSL_IANA_TLS_GROUP_NONE };

/* A backend may insist on P-384, which costs us more, but never by a stranger's choice. */
static const uint16_t client_groups[] = { MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
					  MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
					  MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1,
					  MBEDTLS_SSL_IANA_TLS_GROUP_NONE };

static const uint16_t signature_algorithms[] = {
	MBEDTLS_TLS1_3_SIG_ECDSA_SECP256R1_SHA256,
	MBEDTLS_TLS1_3_SIG_ECDSA_SECP384R1_SHA384,
	MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA256,
	MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA384,
	MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA512,
	MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA256,
	MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA384,
	MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA512,
	MBEDTLS_TLS1_3_SIG_NONE,
};

bool
terms_set(mbedtls_ssl_config *ssl, struct instance *instance, int role, const char *const *protocols)
{
	if (mbedtls_ssl_config_defaults(ssl, role, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT) != 0)
		return false;
	mbedtls_ssl_conf_min_tls_version(ssl, MBEDTLS_SSL_VERSION_TLS1_2);
	mbedtls_ssl_conf_max_tls_version(ssl, MBEDTLS_SSL_VERSION_TLS1_3);
	mbedtls_ssl_conf_rng(ssl, instance_random, instance);
	mbedtls_ssl_conf_groups(ssl, role == MBEDTLS_SSL_IS_SERVER ? server_groups : client_groups);
	mbedtls_ssl_conf_sig_algs(ssl, signature_algorithms);
	mbedtls_ssl_conf_tls13_key_exchange_modes(
		ssl, MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL |
			     MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_PSK_EPHEMERAL);
	/* mbedTLS lost the inner const; it does not write. */
	return mbedtls_ssl_conf_alpn_protocols(ssl, (const char **)(uintptr_t)protocols) == 0;
}

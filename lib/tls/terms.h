#pragma once

#include <mbedtls/ssl.h>
#include <stdbool.h>

struct instance;

/*
 * terms: what may be negotiated, whoever begins: versions, groups, signatures, key exchanges. Private to lib/tls.
 *
 * Refused by leaving it out of the configuration header: renegotiation, compression, CBC, RSA key exchange, 0-RTT.
 * Refused here: TLS before 1.2, SHA-1, curves and algorithms that are not listed.
 *
 * Owner: the context, of its mbedtls_ssl_config. Thread: the context's worker. Memory: the entered instance's.
 */

/* role: MBEDTLS_SSL_IS_SERVER or _CLIENT. protocols: for ALPN, ended by NULL, static. False: no memory. */
bool terms_set(mbedtls_ssl_config *ssl, struct instance *instance, int role, const char *const *protocols);

#pragma once

#include <mbedtls/x509_crt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * cert_forge: certificates as anybody may make them, whose signatures are good or none.
 *
 * Owner: a test. Thread: one.
 */
#define CERT_FORGED_BYTES_MAX 4096

struct cert_plan {
	const char *subject; /* common names */
	const char *issuer;
	const char *key; /* of NAME.key (EC), the subject's; NULL: an RSA key that nobody has */
	uint32_t rsa_bits;
	uint32_t exponent_bits;
	const char *signer; /* of NAME.key (EC); NULL: signed by nobody, with as many bits as rsa_bits says */
	bool is_forged; /* what the signer has signed was something else */
	bool is_ca;
	const char *dns; /* the only name among its subjectAltNames; NULL: it has none of these */
	bool is_expired; /* at TLS_DUO_NOW_S, as all are on 2049-12-31 */
};

struct cert_forged {
	uint8_t der[CERT_FORGED_BYTES_MAX];
	size_t len;
};

void cert_forge(const struct cert_plan *plan, struct cert_forged *to);

/* As PEM; static, until the next call. */
struct bytes cert_forge_pem(const struct cert_forged *chain, size_t count);

/* With the instance entered that own was parsed in: whoever has own says these instead, which nobody has read. */
void cert_say_instead(mbedtls_x509_crt *own, const struct cert_forged *said, size_t count);

#pragma once

#include <mbedtls/x509_crt.h>

#include "tls/arena.h"
#include "tls/target.h"

/*
 * authorities: what a context takes from tls_authorities (target.h). Private to lib/tls.
 *
 * Owner:  the tls_authorities of whoever loaded them. Thread: any, one at a time; the texts do not change.
 * Memory: what is parsed lies in the instance that was entered.
 */
struct authority {
	char name[TLS_AUTHORITY_NAME_BYTES];
	struct bytes pem;
};
uint32_t authorities_count(const struct tls_authorities *authorities); /* NULL: 0 */
const struct authority *authorities_at(const struct tls_authorities *authorities, uint32_t index);

/* What parsing takes of the length of PEM texts, at its peak: a copy, DER, and parsed fields with their headers,
 * of which a certificate with many short names has most. */
#define AUTHORITIES_BYTES_PER_TEXT_BYTE 12

/* Appends to *cas, in the instance that was entered. False: none could be read, or without memory. */
bool authorities_parse(mbedtls_x509_crt *cas, struct bytes pem, struct arena *arena, uint32_t *skipped);

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
uint32_t authorities_count(const struct tls_authorities *authorities);
struct bytes authorities_pem(const struct tls_authorities *authorities, uint32_t index);

/* What a context needs to parse all of them. */
size_t authorities_bytes(const struct tls_authorities *authorities);

/* Appends to *cas, in the instance that was entered. False: none could be read, or without memory. */
bool authorities_parse(mbedtls_x509_crt *cas, struct bytes pem, struct arena *arena, uint32_t *skipped);

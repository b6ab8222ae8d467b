#pragma once

#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>
#include <stdbool.h>

#include "base/bytes.h"
#include "base/err.h"
#include "tls/identity.h"
#include "tls/instance.h"

/*
 * pair: a certificate chain and its private key, parsed. Private to lib/tls.
 *
 * Memory: of the instance that was entered at pair_parse() and must be entered for every other
 * call.
 */
struct pair {
	mbedtls_x509_crt chain;
	mbedtls_pk_context key;
	uint32_t listener;
};

/* What is wrong, as one sentence with one name in it; texts are static or of the caller. */
struct pair_fault {
	const char *sentence;
	int library; /* mbedTLS's number, 0: none */
};

/* pair is ready or, on failure, freed. The texts are cert.h's. */
enum err pair_parse(struct pair *pair, struct bytes chain_pem, struct bytes key_pem,
		    struct instance *instance, struct pair_fault *fault);
void pair_free(struct pair *pair);

/* ERR_TLS_CERTIFICATE_EXPIRED: not every certificate of the chain is valid at the instance's time. */
enum err pair_check_time(const struct pair *pair, struct pair_fault *fault);

enum pair_match { PAIR_MATCH_NONE, PAIR_MATCH_WILDCARD, PAIR_MATCH_EXACT };

/* How the leaf covers a host name (RFC 6125 6.4: "*" stands for one whole label, the leftmost). */
enum pair_match pair_match(const struct pair *pair, struct bytes host);

/* The names of the leaf, one after the other; empty: it has no more. The first one is never empty. */
struct bytes pair_name(const struct pair *pair, size_t index);

/* Of a certificate's date. */
int64_t pair_unix_s(const mbedtls_x509_time *time);

/* All of *facts but the listener. */
void pair_facts(const struct pair *pair, struct identity_facts *facts);

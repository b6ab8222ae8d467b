#pragma once

#include "base/bytes.h"

/* identity: what a context reads out of a tls_identity (tls.h). Private to lib/tls. */

#define IDENTITY_PAIRS_MAX 64

struct tls_identity;

size_t identity_count(const struct tls_identity *identity);

/* PEM texts of the index-th pair; live as long as the identity. */
struct bytes identity_chain_pem(const struct tls_identity *identity, size_t index);
struct bytes identity_key_pem(const struct tls_identity *identity, size_t index);

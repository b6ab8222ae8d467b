#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "tls/cert.h"

/*
 * identity: what each listener shows and believes, as checked PEM texts: certificates with their keys.
 *
 * Made whole, then only read: each worker parses keys of its own from it (tls_keys_new()), since mbedTLS writes
 * into a key while it uses it (blinding values of RSA).
 *
 * Owner:  whoever read the files. Thread: one at a time.
 * Memory: one arena, locked, left out of core dumps, zeroed when freed.
 */
#define IDENTITY_PAIRS_MAX 64    /* all listeners together */
#define IDENTITY_LISTENERS_MAX 8
#define IDENTITY_NAME_BYTES 256  /* a host name, with NUL */

struct tls_identity;

struct tls_identity *tls_identity_new(void);
void tls_identity_free(struct tls_identity *identity);

/*
 * PEM text of a chain and its key for a listener, copied. Refused as cert_look() (tls/cert.h) refuses at now_s
 * (CERT_ANY_TIME: at no time), with ERR_TLS_DUPLICATE if a certificate of the same algorithm covers one of its
 * names on this listener already, and with ERR_POOL_EMPTY; text gets a sentence that says what is wrong and what
 * to do.
 *
 * SNI chooses among a listener's certificates by their names ("*.x" too), the first one serves every other name,
 * and ECDSA and RSA for one name stand side by side.
 */
enum err tls_identity_add(struct tls_identity *identity, uint32_t listener, struct bytes chain_pem,
			  struct bytes key_pem, int64_t now_s, char *text, size_t room);

/*
 * PEM text of the CA certificates that a listener believes of its clients, copied; from then on a client must show
 * a certificate by one of them. At most once for each listener. ERR_TLS_BAD_CERTIFICATE: one cannot be read, or is
 * no CA's; ERR_POOL_EMPTY; text as above.
 */
#define IDENTITY_CLIENT_CAS_MAX 64 /* of one listener */
enum err tls_identity_add_client_ca(struct tls_identity *identity, uint32_t listener, struct bytes pem, char *text,
				    size_t room);

/* Which certificates are served now. */
struct identity_prints {
	size_t count;
	uint8_t print[IDENTITY_PAIRS_MAX][32]; /* fingerprints */
};
void tls_identity_prints(const struct tls_identity *identity, struct identity_prints *prints);

/* As tls_identity_add(), but what has expired is not refused if it is served already: a reload of something else
 * would be, too. */
enum err tls_identity_renew(struct tls_identity *identity, const struct identity_prints *served, uint32_t listener,
			    struct bytes chain_pem, struct bytes key_pem, int64_t now_s, char *text, size_t room);

/* False: the kernel's limit (RLIMIT_MEMLOCK) left private keys swappable, which an operator wants
 * to know. */
bool tls_identity_is_locked(const struct tls_identity *identity);

/* What others want to know of a certificate, in the order in which they were added. */
struct identity_facts {
	uint32_t listener;
	bool is_rsa;
	int64_t not_before_s; /* Unix time */
	int64_t not_after_s;  /* of whichever in the chain ends first */
	uint8_t fingerprint[32]; /* SHA-256 of the leaf's DER */
	char name[IDENTITY_NAME_BYTES]; /* the leaf's first */
};

size_t tls_identity_count(const struct tls_identity *identity);
const struct identity_facts *tls_identity_facts(const struct tls_identity *identity, size_t index);

/* For keys.c: PEM texts of the index-th pair; live as long as the identity. */
struct bytes identity_chain_pem(const struct tls_identity *identity, size_t index);
struct bytes identity_key_pem(const struct tls_identity *identity, size_t index);
struct bytes identity_client_ca_pem(const struct tls_identity *identity, uint32_t listener); /* empty: none */

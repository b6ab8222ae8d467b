#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * target: whom a connection of ours must reach, and whom we believe to be that.
 *
 * The other end must show a chain that leads to a certificate of the authority and bears the name, or a key that
 * is one of the pins, or both where both are given. Nothing else is accepted, and there is no way to ask for less.
 * With pins alone the key is all that counts: neither the chain nor its names nor its dates are looked at.
 *
 * Owner: the caller, by value. Thread: any. Memory: the struct.
 */
#define TLS_NAME_BYTES 256
#define TLS_PIN_BYTES 32
#define TLS_PINS_MAX 4
#define TLS_NO_AUTHORITY 0

struct tls_target {
	uint64_t id;        /* equal targets share what may be resumed; 0: nothing is kept */
	uint64_t authority; /* tls_find_authority(), or TLS_NO_AUTHORITY: pins alone */
	uint32_t pin_count;
	uint8_t pins[TLS_PINS_MAX][TLS_PIN_BYTES]; /* SHA-256 of the leaf's SubjectPublicKeyInfo (RFC 7469 2.4) */
	char name[TLS_NAME_BYTES]; /* DNS name, which is sent as SNI, or address; empty only with pins alone */
};

/*
 * authorities: bundles of CA certificates, by name.
 *
 * Owner:  whoever loads them; every context has its own copy, parsed (tls_keys_new()). Thread: one at a time.
 * Memory: an arena of its own; nothing in it is secret.
 */
#define TLS_AUTHORITIES_MAX 16
#define TLS_AUTHORITY_NAME_BYTES 48
#define TLS_AUTHORITY_PEM_BYTES_MAX (512u * 1024) /* a system's bundle has about 220 KB */

struct tls_authorities;
struct tls_authorities *tls_authorities_new(void);
void tls_authorities_free(struct tls_authorities *authorities);

/* A bundle in PEM, copied. *skipped counts the certificates in it that cannot be read, which a system's bundle has
 * (SHA-1, P-521): they are not trusted. ERR_TLS_BAD_CERTIFICATE: none can be; ERR_POOL_EMPTY: no room, or the
 * name is taken. text gets a sentence of at most room bytes. */
enum err tls_authorities_add(struct tls_authorities *authorities, const char *name, struct bytes pem,
			     uint32_t *skipped, char *text, size_t room);

/* The text that was added under that name, as long as they are there; empty: there is none. authorities may be
 * NULL. */
struct bytes tls_authorities_pem(const struct tls_authorities *authorities, struct bytes name);

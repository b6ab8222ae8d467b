#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tls_client.h"
#include "tls_stream.h"

struct town;
struct shm_pod;

/*
 * town_tls: TLS at the town's ends: clients by stock mbedTLS or by lib/tls itself, backends by lib/tls, which show
 * a certificate that the router must believe, or must not.
 *
 * Owner: the connection.
 */
struct town_tls {
	struct tls_client *stock;
	struct tls_conn *ours;
	struct tls_stream *stream; /* of ours */
};

/* What a backend shows, and the router expects of it. */
enum town_trust {
	TRUST_CHAIN,
	TRUST_PIN,  /* alone */
	TRUST_BOTH, /* by an RSA certificate */
	TRUST_COUNT_GOOD,
	TRUST_WRONG_NAME = TRUST_COUNT_GOOD,
	TRUST_EXPIRED,
	TRUST_UNKNOWN,
	TRUST_WRONG_PIN,
	TRUST_NOWHERE, /* its authority is not one of the router's */
	TRUST_COUNT
};

/* What becomes of a handshake at the backend, once its first bytes are there. */
enum town_shake {
	SHAKE_WELL,
	SHAKE_SILENT,
	SHAKE_ALERT,
	SHAKE_GARBAGE,
	SHAKE_RESET,
	SHAKE_CLOSE,
	SHAKE_RESET_BEHIND, /* behind its first flight */
	SHAKE_CLOSE_BEHIND,
	SHAKE_COUNT
};

void tls_town_open(struct town *t);
/* Nobody has a connection any more. */
void tls_town_close(struct town *t);

/* A client's end, in any version that the router speaks; and a backend's. */
struct town_tls tls_of_client(struct town *t);
struct town_tls tls_of_backend(struct town *t, uint32_t pod);
void tls_free(struct town_tls *tls);
bool tls_is_used(const struct town_tls *tls);

/* The verdicts of tls_handshake(); what it does not take of *in belongs to what follows. */
enum err tls_step(struct town_tls *tls, struct bytes *in, struct tls_out *out);
/* The verdicts of tls_client_open(), _seal() and _close(). */
enum err tls_read(struct town_tls *tls, struct bytes *in, struct tls_out *plain, struct tls_out *out);
enum err tls_write(struct town_tls *tls, struct bytes *plain, struct tls_out *out);
void tls_say_end(struct town_tls *tls, struct tls_out *out);
/* New keys for what we say, and for what is said to us; nothing in TLS 1.2. */
void tls_renew(struct town_tls *tls, bool asks);

/* Unix time of the town's moment 0. */
uint64_t tls_town_epoch_ns(const struct town *t);

/* For the router: its side towards backends, and what it knows of a pod. */
struct tls_context *tls_upstream_open(struct town *t);
const struct tls_authorities *tls_upstream_authorities(void);
/* The bundle that pods of TRUST_CHAIN are believed by, as it is, or with more behind its end; NULL: no bundle. */
void tls_upstream_believe(struct town *t, const char *behind);
void tls_describe_pod(const struct town *t, uint32_t pod, struct shm_pod *body);

/* At the end: what was not believed is counted for what it was, and nothing is left. */
void tls_judge(struct town *t);

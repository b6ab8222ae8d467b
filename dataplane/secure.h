#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "shm/layout.h"

/*
 * secure: TLS on a connection to a backend, between upstream.c and lib/tls.
 *
 * A handshake is part of the connecting: until it is over no byte of a request has been sent, and whatever goes
 * wrong is a try that got no connection. Its steps wait in a line, SECURE_STEPS_PER_TURN of a turn.
 *
 * Owner: the upstream. Memory: the context's (upstream_tls).
 */
struct tls_keys;
struct upstream;
struct worker;

/* What of a pod, and of its authority's certificates, says how it is spoken to and whom it must be: a number that
 * is not 0, as it is in clear text. Connections for another number are not for this pod. */
uint64_t secure_manner(const struct worker *w, const struct shm_pod *pod);

/* For a new connection to a pod that is spoken to over TLS. False: there is no memory, or the pod's authority is
 * not in the configuration (counted). */
bool secure_begin(struct worker *w, struct upstream *u, const struct shm_pod *pod);

/* Other authorities (tls_keys_new()): handshakes that begin now are judged by them, and connections that were made
 * under a bundle which has changed serve nobody after whom they serve now. */
void secure_believe(struct worker *w, struct tls_keys *keys);

/* Gives all back. */
void secure_end(struct worker *w, struct upstream *u);

/* Its handshake, which is not over, is one with a session: a pod that speaks another version since, or another
 * language, may have ended it for that alone. */
bool secure_was_resuming(const struct upstream *u);

/* In such a handshake: the next one with this pod is in full. */
void secure_forget(struct upstream *u);

/* Says close_notify, if there is room. */
void secure_close(struct worker *w, struct upstream *u);

/* The handshake may go on. */
void secure_wake(struct worker *w, struct upstream *u);

/* Steps of handshakes, SECURE_STEPS_PER_TURN at most; what several of them compute at once is one. Returns how
 * many. */
uint32_t secure_run(struct worker *w);

/* As upstream_send() and upstream_peek(). Behind the end, as behind a record that is not
 * authentic, u->eof is set; u->ended_well only behind close_notify. */
bool secure_send(struct worker *w, struct upstream *u, struct bytes plain, bool more);
struct bytes secure_peek(struct worker *w, struct upstream *u);

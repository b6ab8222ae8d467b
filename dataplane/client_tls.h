#pragma once

#include <stdbool.h>

#include "dataplane/client.h"

/*
 * client_tls: TLS with a client: the steps of its handshake, the certificates that listeners show, and who is
 * still believed. What is sealed and opened later is inflow.h's and outflow.h's.
 *
 * Owner:  the worker. Thread: its own. Time: the turn's.
 * Memory: the TLS context's; none of a client that has said nothing.
 */
struct tls_keys;

/* One step of the handshake of a client in CLIENT_HANDSHAKE; HTTP begins behind the last one. */
enum client_step client_tls_shake(struct worker *w, struct client *c);

/* Between turns: the certificates that listeners show from now on, and by which they believe clients. Of clients
 * whose listener believes others since what is under way is the last; those who wait for nothing are told the end
 * by client_tls_sweep(), CLIENT_SWEEPS_PER_TURN_MAX a turn, and not while packets are scarce. */
void client_tls_adopt_keys(struct worker *w, struct tls_keys *keys);
bool client_tls_is_retired(const struct worker *w, const struct client *c);

/* In a turn, behind what has come in it: who asks at that moment is answered. */
void client_tls_sweep(struct worker *w);
bool client_tls_sweeps(const struct worker *w);

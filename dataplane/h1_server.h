#pragma once

#include "dataplane/client.h"

/*
 * h1_server: the steps of a client's connection that speaks HTTP/1.1 (RFC 9112), for client_run() in the states
 * CLIENT_HEAD, CLIENT_BODY and CLIENT_DRAIN.
 *
 * Owner:  the client, whose head, scan and body_in these steps alone change.
 * Memory: a head buffer from the first byte of a head to its last, and while pipelined bytes wait.
 * Calls:  each takes one piece of input. STEP_GONE: the step ended, cut or freed something, and c must not be
 *         touched any more.
 */
enum client_step h1_server_head(struct worker *w, struct client *c);
enum client_step h1_server_body(struct worker *w, struct client *c);
enum client_step h1_server_drain(struct worker *w, struct client *c);

#pragma once

#include "conn.h"

/*
 * log: one line of JSON per request, written when it has ended: what tests compare with.
 *
 * What a peer sent stands there as it was sent, UTF-8 or not. Written with one write() to a file
 * opened for appending, so that several backends may share one.
 * `end` is "complete", "closed", "reset" (both as scripted), "peer_closed", "peer_reset", "shutdown",
 * or "refused" (the request was wrong: see "refusal").
 */
void log_request(const struct conn *c, const char *end);

#pragma once

#include <stdbool.h>

#include "base/bytes.h"
#include "http/h1.h"

/*
 * cors: which web pages may read answers (Fetch standard, section 3.2), by the surface's list of origins.
 *
 * Credentials are never allowed: keys travel in Authorization, which a page sets itself, so that a wildcard
 * gives no page more than its own key does.
 *
 * Owner, memory: none. Texts returned are those of the list, which lives as long as the worker.
 */

/* What access-control-allow-origin says to this request: "*", its own origin, or nothing. allowed: origins with
 * a space between two, "*" for any; "" or NULL for none. */
struct bytes cors_origin(const char *allowed, const struct h1_head *head);

/* A browser's question before the request itself, which carries no key. */
bool cors_is_preflight(const struct h1_request *request);

/* Fields of an answer to an allowed origin, and those that only a preflight's has. */
void cors_emit(struct h1_writer *writer, struct bytes origin);
void cors_emit_preflight(struct h1_writer *writer);

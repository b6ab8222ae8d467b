#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * urlpath: request paths that are passed on as they are (tests/README.md T54).
 *
 * Nothing is decoded or merged, so nothing may stand in a path that one server reads as another path: no
 * dot segments, empty segments or encoded dots, slashes, backslashes, controls and per cents, no octets
 * outside RFC 3986's pchar, no escapes that are not UTF-8.
 *
 * Owner, thread, time, memory: none; results borrow from the path.
 */

/* True if every server reads these segments alike. An empty path is plain. */
bool urlpath_is_plain(struct bytes path);

/* "/inference-instances/<id>/proxy/<rest>": *rest may be empty. The id is canonical: no leading zero, at
 * most 18 digits. False: the path is another, or its rest is not plain. */
bool urlpath_split_proxy(struct bytes path, uint64_t *instance_id, struct bytes *rest);

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "store.h"

/* keys: what becomes of keys with time: one follows another, and those whose time has come are revoked. */

#define KEYS_EXPIRE_MAX 100 /* in one turn */

/* A key with the old one's account, plan, surface, label and expiry, and its own text; the old one expires at the
 * time, or earlier if it would have. One transaction, one row of the audit. new_id may be old_id's variable. */
enum err keys_succeed(struct store *store, int64_t old_id, struct bytes hash, struct bytes shown,
		      int64_t old_expires_at, int64_t *new_id);

/* Revokes what has expired by now. *any: something was, and is to be published. */
enum err keys_expire(struct store *store, int64_t now_s, bool *any);

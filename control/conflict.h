#pragma once

#include "noun.h"

/*
 * conflict: what stands in the way of a change, found before the store's constraints refuse it.
 *
 * A constraint knows its own name. Who is refused is told which object is in the way, and the command that mends
 * it. Both are called in the change's transaction; what another router does in between ends at the constraints.
 */

/* A name, or a key's text, that another object has. id is 0 for a new object. ERR_STORE_CONFLICT. */
enum err conflict_find_taken(struct store *store, enum noun noun, int64_t id, const struct noun_value *values,
			     size_t count);

/* Objects that refer to this one, which cannot be deleted as long as they do. ERR_STORE_CONFLICT. */
enum err conflict_find_referrers(struct store *store, enum noun noun, int64_t id);

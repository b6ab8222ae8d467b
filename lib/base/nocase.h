#pragma once

#include "base/bytes.h"

/* nocase: ASCII without a difference of case, as in names and types of HTTP fields. */

static inline bool
nocase_starts_with(struct bytes whole, struct bytes prefix)
{
	return whole.len >= prefix.len && bytes_equal_nocase(bytes_make(whole.ptr, prefix.len), prefix);
}

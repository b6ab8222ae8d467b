#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * json_compare: our scan, validation, edits and reading of usage against yyjson, for one document.
 */
struct json_opinion {
	enum err verdict; /* of our scan */
	bool is_valid; /* to yyjson */
	bool is_explained; /* row says why ours refuses what yyjson reads */
	uint32_t row;
	bool is_acceptable; /* to json_validate(), as a chat */
};

struct json_row {
	const char *name;
	const char *reason;
};

extern const struct json_row json_rows[];
extern const uint32_t json_row_count;

/*
 * All comparisons: whole, and cut at every byte, and in two at `first`. False: they differ without
 * a reason of json_stricter.def; what is wrong was said on stderr.
 */
bool json_compare(struct bytes document, size_t first, struct json_opinion *opinion);

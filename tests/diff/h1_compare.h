#pragma once

#include "h1_reading.h"

enum h1_outcome {
	H1_SAME,
	H1_STRICTER, /* ours refuses what llhttp accepts, for a reason of the table */
	H1_REFUSED, /* llhttp refuses what is valid, for a reason of the table */
	H1_UNEXPLAINED, /* a bug, or a row that is missing */
};

/* The rows of h1_stricter.def, in their order. */
struct h1_row {
	const char *name; /* verdict or error, and test */
	const char *reason;
};

extern const struct h1_row h1_rows[];
extern const uint32_t h1_row_count;

/* *row: which one explains it; untouched where none does. */
enum h1_outcome h1_compare(const struct h1_wire *wire, const struct h1_reading *ours,
			   const struct h1_reading *theirs, uint32_t *row);

/* Both readings of one cut, and of another: equal in themselves, and either the same or explained.
 * For fuzzers and tables; says on stderr what is wrong. */
bool h1_compare_input(struct bytes input, bool is_response, bool answers_head, size_t first,
		      size_t step, enum h1_outcome *outcome, uint32_t *row);

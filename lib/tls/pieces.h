#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * pieces: bytes that belong together and lie in several places, as the segments of packets do.
 *
 * Nothing here copies them together: whoever works on them walks.
 *
 * Memory: the lender's, writable; the array of pieces may be gone when the call returns. Empty pieces are
 * fine.
 */
struct piece {
	uint8_t *ptr;
	size_t len;
};

struct pieces {
	const struct piece *piece;
	size_t count;
};

struct piece_cursor {
	const struct piece *piece; /* of those left */
	size_t count;
	size_t offset; /* inside the first */
};

static inline struct piece_cursor
pieces_start(const struct pieces *pieces)
{
	return (struct piece_cursor){ pieces->piece, pieces->count, 0 };
}

/* The next run of at most len > 0 bytes, and moves behind it; len 0 is the end. */
static inline struct piece
pieces_next(struct piece_cursor *at, size_t len)
{
	struct piece run = { NULL, 0 };

	while (at->count > 0 && at->offset == at->piece->len) {
		at->piece++;
		at->count--;
		at->offset = 0;
	}
	if (at->count == 0)
		return run;
	run.ptr = at->piece->ptr + at->offset;
	run.len = at->piece->len - at->offset;
	if (run.len > len)
		run.len = len;
	at->offset += run.len;
	return run;
}

/* Moves len bytes on; returns how many there were. */
static inline size_t
pieces_skip(struct piece_cursor *at, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct piece run = pieces_next(at, len - done);

		if (run.len == 0)
			break;
		done += run.len;
	}
	return done;
}

/* Copies the next len bytes; returns how many there were. */
static inline size_t
pieces_copy(struct piece_cursor *at, uint8_t *to, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct piece run = pieces_next(at, len - done);

		if (run.len == 0)
			break;
		memcpy(to + done, run.ptr, run.len);
		done += run.len;
	}
	return done;
}

static inline size_t
pieces_total(const struct pieces *pieces)
{
	size_t total = 0;

	for (size_t i = 0; i < pieces->count; i++)
		total += pieces->piece[i].len;
	return total;
}

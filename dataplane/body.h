#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "dataplane/bounds.h"

/*
 * body: request bodies, kept in blocks of one pool until they are no longer needed for a resend; and what of
 * answers has to wait.
 *
 * Of the pool requests leave a quarter, so that answers, which their clients are waiting for already, go on when
 * no new request can begin; and the last eighth of what they may have to accounts that have little. All bodies of
 * one account together have at most half of what requests may have; a quarter of that is for its answers.
 *
 * Owner: a worker owns the store, an exchange owns its body. Memory: given at start; an empty pool is
 * ERR_BODY_STORE_FULL, answered 503, a used up share ERR_BODY_SHARE_FULL, answered 429.
 */
struct body_store {
	uint8_t *blocks;
	uint32_t *next;      /* block -> block behind it, or the next free one */
	uint32_t free_first; /* BODY_NONE: empty */
	uint32_t used;
	uint32_t used_max;
	uint32_t total;
	uint32_t reserved;  /* blocks that requests leave */
	uint32_t share_max; /* blocks of one account */
};

#define BODY_NONE UINT32_MAX

/* Blocks of an account that has little. */
#define BODY_SMALL_SHARE 64

struct body {
	uint32_t first;
	uint32_t last;
	uint64_t bytes;
	uint32_t *share; /* blocks of all bodies of its account; NULL: nobody's, and not bounded */
	bool is_request;
};

#define BODY_OF_ANSWER(share) ((struct body){ BODY_NONE, BODY_NONE, 0, share, false })
#define BODY_OF_REQUEST(share) ((struct body){ BODY_NONE, BODY_NONE, 0, share, true })

/* blocks: total * BODY_BLOCK_BYTES; next: total words. */
void body_store_init(struct body_store *store, uint8_t *blocks, uint32_t *next, uint32_t total);

/* All of piece or nothing. */
enum err body_append(struct body_store *store, struct body *body, struct bytes piece);

/* What body_append() would say of a piece of so many bytes. */
enum err body_may_append(const struct body_store *store, const struct body *body, uint64_t bytes);

/* Gives every block back; the body is empty after it. */
void body_clear(struct body_store *store, struct body *body);

/* Gives every block back; only the length is left. */
void body_forget(struct body_store *store, struct body *body);

/* Where a reader of a body is. body_rewind() to start; more may be appended while it reads. */
struct body_reader {
	uint32_t block;  /* of the byte before */
	uint64_t offset; /* of the body */
};

void body_rewind(const struct body *body, struct body_reader *reader);

/* The next run of at most max bytes at the reader; moves on. Empty at the end. Valid until body_clear. */
struct bytes body_read(const struct body_store *store, const struct body *body,
		       struct body_reader *reader, uint64_t max);

/* Gives back the blocks that the reader has left behind. The body cannot be rewound after it; its length
 * still counts them. */
void body_drop_read(struct body_store *store, struct body *body, const struct body_reader *reader);

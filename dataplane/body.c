/* Chains of blocks out of one array; the free list runs through the same links. */
#include "dataplane/body.h"

#include "base/check.h"

void
body_store_init(struct body_store *store, uint8_t *blocks, uint32_t *next, uint32_t total)
{
	store->blocks = blocks;
	store->next = next;
	store->total = total;
	store->used = 0;
	store->used_max = 0;
	store->reserved = total / 4;
	store->share_max = (total - store->reserved) / 2;
	for (uint32_t i = 0; i < total; i++)
		next[i] = i + 1 < total ? i + 1 : BODY_NONE;
	store->free_first = total > 0 ? 0 : BODY_NONE;
}

static uint32_t
block_get(struct body_store *store, const struct body *body)
{
	uint32_t block = store->free_first;

	CHECK(block != BODY_NONE);
	if (body->share != NULL)
		++*body->share;
	store->free_first = store->next[block];
	store->next[block] = BODY_NONE;
	store->used++;
	if (store->used > store->used_max)
		store->used_max = store->used;
	return block;
}

static void
block_put(struct body_store *store, const struct body *body, uint32_t block)
{
	CHECK(block < store->total && store->used > 0);
	if (body->share != NULL) {
		CHECK(*body->share > 0);
		--*body->share;
	}
	store->next[block] = store->free_first;
	store->free_first = block;
	store->used--;
}

static uint8_t *
block_at(const struct body_store *store, uint32_t block)
{
	CHECK(block < store->total);
	return store->blocks + (size_t)block * BODY_BLOCK_BYTES;
}

/* Room behind the last byte of the last block. */
static uint32_t
room_in_last(const struct body *body)
{
	uint32_t used = (uint32_t)(body->bytes % BODY_BLOCK_BYTES);

	if (body->last == BODY_NONE || (used == 0 && body->bytes > 0))
		return 0;
	return BODY_BLOCK_BYTES - used;
}

static void
append_block(struct body_store *store, struct body *body)
{
	uint32_t block = block_get(store, body);

	if (body->last == BODY_NONE)
		body->first = block;
	else
		store->next[body->last] = block;
	body->last = block;
}

/* Whether the body may have so many more blocks. */
static enum err
may_have(const struct body_store *store, const struct body *body, uint64_t blocks)
{
	uint32_t share_max = store->share_max;
	uint32_t left = 0;

	if (blocks == 0)
		return ERR_OK;
	if (body->is_request) {
		share_max -= share_max / 4;
		left = store->reserved;
		if (body->share != NULL && *body->share + blocks > BODY_SMALL_SHARE)
			left += (store->total - store->reserved) / 8;
	}
	if (body->share != NULL && *body->share + blocks > share_max)
		return ERR_BODY_SHARE_FULL;
	return store->used + blocks + left > store->total ? ERR_BODY_STORE_FULL : ERR_OK;
}

enum err
body_may_append(const struct body_store *store, const struct body *body, uint64_t bytes)
{
	uint32_t room = room_in_last(body);
	uint64_t beyond = bytes > room ? bytes - room : 0;

	return may_have(store, body, (beyond + BODY_BLOCK_BYTES - 1) / BODY_BLOCK_BYTES);
}

enum err
body_append(struct body_store *store, struct body *body, struct bytes piece)
{
	uint32_t room = room_in_last(body);
	enum err verdict = body_may_append(store, body, piece.len);

	if (verdict != ERR_OK)
		return verdict;
	while (piece.len > 0) {
		if (room == 0) {
			append_block(store, body);
			room = BODY_BLOCK_BYTES;
		}
		uint32_t n = piece.len < room ? (uint32_t)piece.len : room;

		memcpy(block_at(store, body->last) + (BODY_BLOCK_BYTES - room), piece.ptr, n);
		bytes_advance(&piece, n);
		body->bytes += n;
		room -= n;
	}
	return ERR_OK;
}

void
body_forget(struct body_store *store, struct body *body)
{
	uint32_t block = body->first;

	while (block != BODY_NONE) {
		uint32_t next = store->next[block];

		block_put(store, body, block);
		block = next;
	}
	body->first = BODY_NONE;
	body->last = BODY_NONE;
}

void
body_clear(struct body_store *store, struct body *body)
{
	body_forget(store, body);
	body->bytes = 0;
}

void
body_rewind(const struct body *body, struct body_reader *reader)
{
	CHECK(body->bytes == 0 || body->first != BODY_NONE);
	reader->block = body->first;
	reader->offset = 0;
}

struct bytes
body_read(const struct body_store *store, const struct body *body, struct body_reader *reader,
	  uint64_t max)
{
	uint64_t in_block = reader->offset % BODY_BLOCK_BYTES;
	uint64_t n = BODY_BLOCK_BYTES - in_block;
	struct bytes run;

	if (n > body->bytes - reader->offset)
		n = body->bytes - reader->offset;
	if (n > max)
		n = max;
	if (n == 0)
		return BYTES_NONE;
	/* Only now: the block may have come since the last one was read to its end. */
	if (in_block == 0)
		reader->block = reader->offset == 0 ? body->first : store->next[reader->block];
	run = bytes_make(block_at(store, reader->block) + in_block, n);
	reader->offset += n;
	return run;
}

void
body_drop_read(struct body_store *store, struct body *body, const struct body_reader *reader)
{
	if (reader->offset == 0)
		return;
	while (body->first != reader->block) {
		uint32_t next = store->next[body->first];

		block_put(store, body, body->first);
		body->first = next;
	}
}

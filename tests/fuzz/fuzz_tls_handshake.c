/*
 * Bytes of a client into a server connection, from its first byte on; whoever gets through the
 * handshake goes on with records.
 *
 *   | bytes in per call, 0: all | room per call / 16, 0: plenty | what the client sends |
 *
 * The arena is replaced by malloc, so that the sanitizers see every block, and the
 * generator is seeded anew for every input, so that an input always does the same.
 */
#include <stddef.h>
#include <stdlib.h>

#include "tls/arena.h"

struct block {
	struct block *next;
	struct block **here; /* what points to this block */
	size_t len;
	_Alignas(16) uint8_t bytes[];
};

struct arena {
	struct arena_use use;
	struct block *blocks;
};

struct arena *
arena_new(size_t bytes)
{
	(void)bytes;
	return calloc(1, sizeof(struct arena));
}

static void
unlink_block(struct block *b)
{
	*b->here = b->next;
	if (b->next != NULL)
		b->next->here = b->here;
	free(b);
}

void
arena_free(struct arena *arena)
{
	while (arena->blocks != NULL)
		unlink_block(arena->blocks);
	free(arena);
}

void *
arena_alloc(struct arena *arena, size_t bytes)
{
	struct block *b = calloc(1, sizeof(*b) + bytes);

	b->here = &arena->blocks;
	b->next = arena->blocks;
	if (b->next != NULL)
		b->next->here = &b->next;
	arena->blocks = b;
	b->len = bytes;
	arena->use.blocks++;
	return b->bytes;
}

void
arena_release(struct arena *arena, void *memory)
{
	if (memory == NULL)
		return;
	arena->use.blocks--;
	unlink_block((struct block *)((uint8_t *)memory - offsetof(struct block, bytes)));
}

bool
arena_has(const struct arena *arena, const void *memory)
{
	for (const struct block *b = arena->blocks; b != NULL; b = b->next)
		if (b->bytes == memory)
			return true;
	return false;
}

size_t
arena_block_bytes(const void *memory)
{
	const void *block = (const uint8_t *)memory - offsetof(struct block, bytes);

	return ((const struct block *)block)->len;
}

bool
arena_lock_used(struct arena *arena)
{
	(void)arena;
	return true;
}

bool
arena_lock(struct arena *arena)
{
	(void)arena;
	return true;
}

struct arena_use
arena_use(const struct arena *arena)
{
	return arena->use;
}

#include "tls/instance.c"

#include "tls/conn.h"
#include "tls_duo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CALLS_MAX 20000

/* What stays behind once: PSA's key slots, and what an RSA key keeps from its first use. */
#define BLOCKS_KEPT_MAX 24

static struct tls_context *context;
static size_t blocks_at_start;
static struct seeded seeded;

static void
reset(void)
{
	static const char *const names[] = { "edge", "rsa", NULL };
	struct instance *before;

	if (context == NULL) {
		struct tls_identity *identity = tls_duo_identity(names);

		context = tls_duo_context(identity, 1, &seeded, 0x11);
		tls_identity_free(identity);
		blocks_at_start = tls_context_memory(context).blocks;
	}
	before = instance_enter(context->instance);
	seeded.state = 1;
	mbedtls_ctr_drbg_free(&context->instance->random);
	mbedtls_ctr_drbg_init(&context->instance->random);
	CHECK(start(context->instance));
	instance_leave(before);
}

/* One call; true while another may follow. */
static bool
feed(struct tls_duo *duo, struct bytes *rest, size_t piece, size_t room)
{
	struct tls_conn *conn = duo->server;
	static uint8_t sent[65536];
	static uint8_t opened[65536];
	struct tls_out out = { sent, tls_is_open(conn) ? sizeof(sent) : room, 0 };
	struct tls_out plain = { opened, room, 0 };
	struct bytes in = bytes_make(rest->ptr, piece < rest->len ? piece : rest->len);
	size_t offered = in.len;
	enum err verdict = tls_is_open(conn) ? tls_duo_open(duo, &in, &plain, &out) :
					       tls_handshake(conn, &in, &out);

	CHECK(out.used <= out.room && plain.used <= plain.room && in.len <= offered);
	CHECK(verdict != ERR_MORE || in.len == 0);
	bytes_advance(rest, offered - in.len);
	if (verdict == ERR_MORE)
		return rest->len > 0;
	return verdict == ERR_OK || verdict == ERR_TLS_AGAIN || verdict == ERR_TLS_FULL;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tls_duo duo;
	struct bytes rest;
	size_t piece;
	size_t room;

	if (size < 2)
		return 0;
	piece = data[0] == 0 ? SIZE_MAX : data[0];
	room = data[1] == 0 ? 65536 : data[1] * 16u;
	rest = bytes_make(data + 2, size - 2);
	reset();
	memset(&duo.record, 0, sizeof(duo.record));
	duo.server = tls_accept(context, 0, false);
	CHECK(duo.server != NULL);
	for (int calls = 0; feed(&duo, &rest, piece, room); calls++)
		/* A server that is open and has read everything says ERR_MORE, so this ends. */
		CHECK(calls < CALLS_MAX + (int)size);
	tls_conn_free(duo.server);
	CHECK(tls_context_memory(context).blocks <= blocks_at_start + BLOCKS_KEPT_MAX);
	return 0;
}

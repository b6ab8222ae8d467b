/*
 * Bytes of a client into a server connection, from its first byte on; whoever gets through the
 * handshake goes on with records.
 *
 *   | bytes in per call, 0: all | room per call / 16, 0: plenty | what the client sends |
 *
 * The generator is seeded anew for every input, so that an input always does the same.
 */
#include "heap_arena.h"

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

	if (context == NULL) {
		struct tls_identity *identity = tls_duo_identity(names);

		context = tls_duo_context(identity, 1, &seeded, 0x11);
		tls_identity_free(identity);
		blocks_at_start = tls_context_memory(context).blocks;
	}
	reseed(context->instance, &seeded, 1);
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

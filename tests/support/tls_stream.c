#include "tls_stream.h"

#include "base/check.h"
#include "tls/conn.h"

bool
tls_is_open(const struct tls_conn *conn)
{
	return conn->state == CONN_OPEN;
}

static void
read_plain(struct tls_stream *s, struct tls_out *plain)
{
	size_t room = plain->room - plain->used;
	size_t n = s->plain_left < room ? s->plain_left : room;

	memcpy(plain->ptr + plain->used, s->bytes + s->plain_from, n);
	plain->used += n;
	s->plain_from += n;
	s->plain_left -= n;
}

static enum err
open_record(struct tls_stream *s, struct tls_conn *conn, struct bytes *in)
{
	for (;;) {
		size_t missing = s->wanted - s->len;
		size_t n = missing < in->len ? missing : in->len;
		struct piece piece = { s->bytes, 0 };
		struct pieces pieces = { &piece, 1 };
		struct tls_opened opened;
		enum err verdict;

		memcpy(s->bytes + s->len, in->ptr, n);
		bytes_advance(in, n);
		s->len += n;
		if (n < missing)
			return ERR_MORE;
		piece.len = s->len;
		verdict = tls_open(conn, &pieces, s->now_ns, &opened);
		if (verdict == ERR_MORE) {
			s->wanted = opened.wanted;
			continue;
		}
		s->len = s->wanted = 0;
		if (verdict == ERR_OK) {
			s->plain_from = opened.offset;
			s->plain_left = opened.len;
		}
		return verdict;
	}
}

enum err
tls_stream_open(struct tls_stream *s, struct tls_conn *conn, struct bytes *in, struct tls_out *plain,
		struct tls_out *out)
{
	enum err verdict = ERR_OK;

	if (plain->used == plain->room)
		return ERR_TLS_FULL;
	if (s->plain_left == 0)
		verdict = open_record(s, conn, in);
	CHECK(tls_answer(conn, out) == ERR_OK);
	if (verdict == ERR_OK)
		read_plain(s, plain);
	return verdict;
}

enum err
tls_stream_seal(struct tls_stream *s, struct tls_conn *conn, struct bytes *plain, struct tls_out *out)
{
	size_t take = plain->len < TLS_RECORD_BYTES_MAX ? plain->len : TLS_RECORD_BYTES_MAX;
	struct piece piece = { .len = take };
	struct pieces pieces = { &piece, 1 };
	enum err verdict;
	uint8_t *head;

	if (out->room - out->used < take + TLS_STREAM_OVERHEAD_MAX)
		return ERR_TLS_FULL;
	CHECK(tls_answer(conn, out) == ERR_OK);
	head = out->ptr + out->used;
	piece.ptr = head + tls_head_bytes(conn);
	memcpy(piece.ptr, plain->ptr, take);
	verdict = tls_seal(conn, &pieces, head, piece.ptr + take, s->now_ns);
	if (verdict != ERR_OK)
		return verdict;
	out->used += tls_head_bytes(conn) + take + tls_tail_bytes(conn);
	bytes_advance(plain, take);
	return ERR_OK;
}

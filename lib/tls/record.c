/* After the handshake: records.h behind tls.h, with memory for a record that is not whole. */
#include "base/check.h"
#include "base/units.h"
#include "tls/conn.h"

CHECK_STATIC(TLS_RECORD_BYTES_MAX == RECORDS_DATA_BYTES_MAX, "one bound");
CHECK_STATIC(TLS_RECORD_OVERHEAD_MAX >= RECORDS_ANSWER_BYTES_MAX, "an answer fits");
CHECK_STATIC(TLS_RECORD_OVERHEAD_MAX >= RECORDS_HEAD_BYTES_MAX + RECORDS_TAIL_BYTES_MAX, "a record fits");

#define HEADER_BYTES (sizeof(((struct tls_conn *)0)->header))

static size_t
room_in(const struct tls_out *out)
{
	return out->room - out->used;
}

static uint64_t
now_ns(const struct tls_conn *conn)
{
	return (uint64_t)instance_now_s(conn->context->instance) * NSEC_PER_SEC;
}

static enum err
die(struct tls_conn *conn, enum err verdict)
{
	conn_drop_record(conn);
	conn_set_state(conn, CONN_DEAD);
	conn->verdict = (uint16_t)verdict;
	return verdict;
}

/* The caller has seen to the room. */
static void
answer(struct tls_conn *conn, struct tls_out *out)
{
	size_t written;

	CHECK(records_answer(&conn->records, conn->context->ring, out->ptr + out->used, room_in(out),
			     &written) == ERR_OK);
	out->used += written;
}

/* --- in ------------------------------------------------------------------------------------- */

void
conn_drop_record(struct tls_conn *conn)
{
	arena_release(instance_arena(conn->context->instance), conn->record);
	conn->record = NULL;
	conn->record_got = 0;
	conn->record_bytes = 0;
	conn->plain_left = 0;
}

static void
take(struct tls_conn *conn, struct bytes *in, uint8_t *to, size_t until)
{
	size_t n = until - conn->record_got < in->len ? until - conn->record_got : in->len;

	memcpy(to + conn->record_got, in->ptr, n);
	conn->record_got += (uint32_t)n;
	bytes_advance(in, n);
}

static enum err
open_pieces(struct tls_conn *conn, uint8_t *bytes, size_t len, struct records_opened *opened)
{
	struct piece piece = { bytes, len };
	struct pieces pieces = { &piece, 1 };

	return records_open(&conn->records, conn->context->ring, &pieces, now_ns(conn), opened);
}

/* The header first, since the record's length is in it, and may be refused. */
static enum err
gather(struct tls_conn *conn, struct bytes *in, struct records_opened *opened)
{
	enum err verdict;

	if (conn->record == NULL) {
		take(conn, in, conn->header, HEADER_BYTES);
		verdict = open_pieces(conn, conn->header, conn->record_got, opened);
		if (verdict != ERR_MORE || conn->record_got < HEADER_BYTES)
			return verdict;
		conn->record = arena_alloc(instance_arena(conn->context->instance), opened->wanted);
		if (conn->record == NULL)
			return ERR_TLS_MEMORY;
		memcpy(conn->record, conn->header, HEADER_BYTES);
		conn->record_bytes = (uint32_t)opened->wanted;
	}
	take(conn, in, conn->record, conn->record_bytes);
	if (conn->record_got < conn->record_bytes)
		return ERR_MORE;
	return open_pieces(conn, conn->record, conn->record_bytes, opened);
}

static void
read_plain(struct tls_conn *conn, struct tls_out *plain)
{
	size_t n = conn->plain_left < room_in(plain) ? conn->plain_left : room_in(plain);

	memcpy(plain->ptr + plain->used, conn->record + conn->plain_from, n);
	plain->used += n;
	conn->plain_from += (uint32_t)n;
	conn->plain_left -= (uint32_t)n;
	if (conn->plain_left == 0)
		conn_drop_record(conn);
}

static enum err
open_record(struct tls_conn *conn, struct bytes *in, struct tls_out *plain)
{
	struct records_opened opened;
	enum err verdict = gather(conn, in, &opened);

	if (verdict == ERR_MORE)
		return ERR_MORE;
	if (verdict != ERR_OK && verdict != ERR_TLS_CLOSED)
		return die(conn, verdict);
	if (verdict == ERR_OK && opened.kind == RECORDS_DATA) {
		conn->plain_from = (uint32_t)opened.offset;
		conn->plain_left = (uint32_t)opened.len;
		read_plain(conn, plain);
		return ERR_OK;
	}
	if (verdict == ERR_OK && opened.kind == RECORDS_TICKET)
		resume_ticket(conn, bytes_make(conn->record + opened.offset, opened.len));
	conn_drop_record(conn);
	if (verdict == ERR_TLS_CLOSED)
		return ERR_TLS_CLOSED;
	return in->len == 0 ? ERR_MORE : ERR_OK;
}

enum err
tls_open(struct tls_conn *conn, struct bytes *in, struct tls_out *plain, struct tls_out *out)
{
	enum err verdict;

	CHECK(conn->state == CONN_OPEN || conn->state == CONN_DEAD);
	CHECK(plain->used <= plain->room);
	if (conn->state == CONN_DEAD)
		return (enum err)conn->verdict;
	if (room_in(plain) == 0 || room_in(out) < RECORDS_ANSWER_BYTES_MAX)
		return ERR_TLS_FULL;
	if (conn->plain_left > 0) {
		read_plain(conn, plain);
		return ERR_OK;
	}
	verdict = open_record(conn, in, plain);
	answer(conn, out);
	return verdict;
}

bool
tls_has_plain(const struct tls_conn *conn)
{
	return conn->plain_left > 0;
}

/* --- out ------------------------------------------------------------------------------------ */

enum err
tls_seal(struct tls_conn *conn, struct bytes *plain, struct tls_out *out)
{
	size_t take = plain->len < TLS_RECORD_BYTES_MAX ? plain->len : TLS_RECORD_BYTES_MAX;
	struct piece piece = { .len = take };
	struct pieces pieces = { &piece, 1 };
	enum err verdict;
	size_t head;

	CHECK(conn->state == CONN_OPEN || conn->state == CONN_DEAD);
	if (conn->state == CONN_DEAD)
		return (enum err)conn->verdict;
	if (take == 0)
		return ERR_OK;
	if (room_in(out) < take + TLS_RECORD_OVERHEAD_MAX +
				   (records_owes(&conn->records) ? RECORDS_ANSWER_BYTES_MAX : 0))
		return ERR_TLS_FULL;
	answer(conn, out);
	head = records_head_bytes(&conn->records);
	piece.ptr = out->ptr + out->used + head;
	memcpy(piece.ptr, plain->ptr, take);
	verdict = records_seal(&conn->records, conn->context->ring, &pieces, out->ptr + out->used,
			       piece.ptr + take, now_ns(conn));
	if (verdict != ERR_OK)
		return verdict;
	out->used += head + take + records_tail_bytes(&conn->records);
	bytes_advance(plain, take);
	return ERR_OK;
}

enum err
tls_close(struct tls_conn *conn, struct tls_out *out)
{
	if (conn->state != CONN_OPEN)
		return ERR_OK;
	records_close(&conn->records);
	if (!records_owes(&conn->records))
		return ERR_OK;
	if (room_in(out) < RECORDS_ANSWER_BYTES_MAX)
		return ERR_TLS_FULL;
	answer(conn, out);
	return ERR_OK;
}

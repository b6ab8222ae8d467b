/* After the handshake: records.h behind tls.h. */
#include "base/check.h"
#include "tls/conn.h"

CHECK_STATIC(TLS_RECORD_BYTES_MAX == RECORDS_DATA_BYTES_MAX && TLS_HEAD_BYTES_MAX == RECORDS_HEAD_BYTES_MAX &&
		     TLS_TAIL_BYTES_MAX == RECORDS_TAIL_BYTES_MAX &&
		     TLS_ANSWER_BYTES_MAX == RECORDS_ANSWER_BYTES_MAX,
	     "one bound each");

/* Longer ones are not remembered. */
#define TICKET_RECORD_BYTES_MAX 4096

static void
take_tickets(struct tls_conn *conn, const struct pieces *in, const struct records_opened *record)
{
	uint8_t messages[TICKET_RECORD_BYTES_MAX];
	struct piece_cursor at = pieces_start(in);

	if (record->len > sizeof(messages)) {
		resume_no_more(conn->client);
		return;
	}
	(void)pieces_skip(&at, record->offset);
	(void)pieces_copy(&at, messages, record->len);
	resume_ticket(conn, bytes_make(messages, record->len));
	explicit_bzero(messages, record->len);
}

enum err
tls_open(struct tls_conn *conn, const struct pieces *in, uint64_t now_ns, struct tls_opened *opened)
{
	struct records_opened record;
	enum err verdict;

	CHECK(conn->state == CONN_OPEN || conn->state == CONN_DEAD);
	if (conn->state == CONN_DEAD)
		return (enum err)conn->verdict;
	verdict = records_open(&conn->records, conn->context->ring, in, now_ns, &record);
	*opened = (struct tls_opened){ .taken = record.taken, .wanted = record.wanted };
	if (verdict == ERR_OK && record.kind == RECORDS_DATA) {
		opened->offset = record.offset;
		opened->len = record.len;
	}
	if (verdict == ERR_OK && record.kind == RECORDS_TICKET)
		take_tickets(conn, in, &record);
	if (verdict != ERR_OK && verdict != ERR_MORE && verdict != ERR_TLS_CLOSED) {
		conn_set_state(conn, CONN_DEAD);
		conn->verdict = (uint16_t)verdict;
	}
	return verdict;
}

size_t
tls_head_bytes(const struct tls_conn *conn)
{
	return records_head_bytes(&conn->records);
}

size_t
tls_tail_bytes(const struct tls_conn *conn)
{
	return records_tail_bytes(&conn->records);
}

enum err
tls_seal(struct tls_conn *conn, const struct pieces *plain, uint8_t *head, uint8_t *tail, uint64_t now_ns)
{
	CHECK(conn->state == CONN_OPEN || conn->state == CONN_DEAD);
	if (conn->state == CONN_DEAD)
		return (enum err)conn->verdict;
	CHECK(!records_owes(&conn->records));
	return records_seal(&conn->records, conn->context->ring, plain, head, tail, now_ns);
}

size_t
tls_record_size(const struct tls_conn *conn, size_t queued, size_t segment_bytes, uint64_t now_ns)
{
	return records_size(&conn->records, queued, segment_bytes, now_ns);
}

bool
tls_is_worn(const struct tls_conn *conn)
{
	return conn->state == CONN_OPEN && records_is_worn(&conn->records);
}

void
tls_close(struct tls_conn *conn)
{
	if (conn->state == CONN_OPEN)
		records_close(&conn->records);
}

bool
tls_owes(const struct tls_conn *conn)
{
	return records_owes(&conn->records);
}

enum err
tls_answer(struct tls_conn *conn, struct tls_out *out)
{
	size_t written;
	enum err verdict = records_answer(&conn->records, conn->context->ring, out->ptr + out->used,
					  out->room - out->used, &written);

	out->used += written;
	return verdict;
}

bool
tls_was_closed(const struct tls_conn *conn)
{
	return conn->records.close_received;
}

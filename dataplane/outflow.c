#include "dataplane/outflow.h"

#include "base/check.h"
#include "dataplane/worker.h"

/* A full record, its last packet not quite. */
#define RECORD_PIECES_MAX (TLS_RECORD_BYTES_MAX / PACKET_PLAIN_BYTES + 1)

bool
outflow_packets(struct worker *w, struct outflow *out, tcp_conn_t conn, struct pkt *p, bool more)
{
	uint32_t n = pkt_total(p);

	if (tcp_send(w->tcp, conn, p, more) != ERR_OK) {
		pkt_free(p);
		return false;
	}
	out->bytes += n;
	return true;
}

bool
outflow_bytes(struct worker *w, struct outflow *out, tcp_conn_t conn, struct bytes wire, bool more)
{
	while (wire.len > 0) {
		struct pkt *p = pkt_alloc(w->config.payload_pool);
		uint32_t n;

		if (p == NULL)
			return false;
		n = pkt_tailroom(p) < wire.len ? pkt_tailroom(p) : (uint32_t)wire.len;
		memcpy(pkt_append(p, n), wire.ptr, n);
		bytes_advance(&wire, n);
		if (!outflow_packets(w, out, conn, p, more || wire.len > 0))
			return false;
	}
	return true;
}

bool
outflow_owed(struct worker *w, struct outflow *out, tcp_conn_t conn, struct tls_conn *tls)
{
	uint8_t text[TLS_ANSWER_BYTES_MAX];
	struct tls_out said = { .ptr = text, .room = sizeof(text) };

	if (!tls_owes(tls))
		return true;
	CHECK(tls_answer(tls, &said) == ERR_OK);
	return outflow_bytes(w, out, conn, bytes_make(text, said.used), false);
}

enum err
outflow_seal(struct worker *w, struct tls_conn *tls, struct pkt *p)
{
	struct piece piece[RECORD_PIECES_MAX];
	struct pieces plain = { piece, 0 };
	uint8_t *head;
	uint8_t *tail;

	for (const struct pkt *at = p; at != NULL; at = pkt_next(at)) {
		CHECK(plain.count < RECORD_PIECES_MAX);
		piece[plain.count++] = (struct piece){ pkt_data(at), pkt_len(at) };
	}
	tail = pkt_append(p, (uint32_t)tls_tail_bytes(tls));
	head = pkt_prepend(p, (uint32_t)tls_head_bytes(tls));
	CHECK(head != NULL && tail != NULL);
	return tls_seal(tls, &plain, head, tail, w->now_ns);
}

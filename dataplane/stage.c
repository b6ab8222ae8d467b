#include "dataplane/stage.h"

#include "base/check.h"
#include "dataplane/client.h"
#include "dataplane/worker.h"

static void
drop(struct stage *stage)
{
	pkt_free(stage->packets);
	stage->packets = NULL;
}

/* What TLS owes goes first. */
static void
send(struct worker *w, struct client *c, bool more)
{
	struct pkt *p = w->stage.packets;
	enum err verdict = ERR_OK;

	worker_count_by(w, COUNTER_BYTES_TO_CLIENTS, pkt_total(p));
	client_send_owed(w, c);
	if (c->broken)
		return;
	if (c->tls != NULL)
		verdict = outflow_seal(w, c->tls, p);
	if (verdict == ERR_OK) {
		w->stage.packets = NULL;
		if (!outflow_packets(w, &c->out, c->conn, p, more))
			verdict = ERR_CLIENT_OUTPUT_LOST;
	}
	if (verdict != ERR_OK)
		client_lose_output(w, c, verdict);
}

/* A packet more; false: the client is broken. */
static bool
add_packet(struct worker *w, struct client *c)
{
	struct stage *stage = &w->stage;
	struct pkt *p = pkt_alloc(w->config.payload_pool);

	if (p == NULL) {
		client_lose_output(w, c, ERR_CLIENT_OUTPUT_LOST);
		return false;
	}
	if (stage->packets != NULL) {
		pkt_chain(stage->packets, p);
		return true;
	}
	stage->packets = p;
	stage->len_max = TLS_RECORD_BYTES_MAX;
	if (c->tls != NULL)
		stage->len_max = (uint32_t)tls_record_size(c->tls, TLS_RECORD_BYTES_MAX, RECORD_SEGMENT_BYTES,
							   w->now_ns);
	return true;
}

static uint32_t
least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

void
stage_put(struct worker *w, struct client *c, struct bytes plain)
{
	struct stage *stage = &w->stage;

	CHECK(stage->owner == NULL || stage->owner == c);
	stage->owner = c;
	while (plain.len > 0 && !c->broken) {
		uint32_t len = stage->packets != NULL ? pkt_total(stage->packets) : 0;
		uint32_t n;

		if (len > 0 && len == stage->len_max) {
			send(w, c, true);
			continue;
		}
		if (len % PACKET_PLAIN_BYTES == 0 && !add_packet(w, c))
			break;
		n = least(stage->len_max - len, PACKET_PLAIN_BYTES - len % PACKET_PLAIN_BYTES);
		n = least(n, plain.len < UINT32_MAX ? (uint32_t)plain.len : UINT32_MAX);
		memcpy(pkt_append(stage->packets, n), plain.ptr, n);
		bytes_advance(&plain, n);
	}
	if (c->broken)
		drop(stage);
}

void
stage_flush(struct worker *w, struct client *c)
{
	if (w->stage.owner != c)
		return;
	if (w->stage.packets != NULL)
		send(w, c, false);
	stage_leave(w, c);
}

void
stage_leave(struct worker *w, struct client *c)
{
	if (w->stage.owner != c)
		return;
	drop(&w->stage);
	w->stage.owner = NULL;
}

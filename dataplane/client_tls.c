/*
 * TLS with a client. A call makes one step of a handshake, behind the other work of a turn (worker_shake()); what
 * steps say is held in TCP until the client is to answer. Keys that are read again are met by who begins then; who
 * began with others goes on with those, unless its listener believes others.
 */
#include "dataplane/client_tls.h"

#include "dataplane/client.h"
#include "dataplane/worker.h"

/* --- the handshake ----------------------------------------------------------------------------- */

/* With the client's first byte: who says nothing has none of TLS's memory, and what it takes to begin is a part of
 * the first step. */
static bool
begin_tls(struct worker *w, struct client *c)
{
	c->tls = tls_accept(w->tls, c->listener, w->config.listeners[c->listener].http2 && w->h2 != NULL);
	c->beliefs = w->beliefs[c->listener];
	if (c->tls == NULL)
		worker_count_verdict(w, ERR_TLS_MEMORY);
	else
		tls_set_owner(c->tls, c);
	return c->tls != NULL;
}

static enum client_step
run_handshake(struct worker *w, struct client *c)
{
	struct bytes in = inflow_peek(w, &c->in, c->conn);
	size_t offered = in.len;
	struct tls_out out = { .ptr = w->answer, .room = sizeof(w->answer) };
	enum err verdict = tls_handshake(c->tls, &in, &out);
	struct tls_facts facts;

	c->has_stepped = true;
	inflow_use(w, &c->in, c->conn, offered - in.len);
	if (!outflow_bytes(w, &c->out, c->conn, bytes_make(out.ptr, out.used), false))
		client_lose_output(w, c, ERR_CLIENT_OUTPUT_LOST);
	if (out.used > 0)
		client_line_answer_handshake(w, c);
	switch (verdict) {
	case ERR_OK:
		tcp_hold(w->tcp, c->conn, false);
		tls_facts(c->tls, &facts);
		worker_count(w, facts.resumed ? COUNTER_HANDSHAKES_RESUMED : COUNTER_HANDSHAKES_FULL);
		if (client_tls_is_retired(w, c)) {
			client_end(w, c);
			return STEP_GONE;
		}
		client_begin_http(w, c, facts.alpn);
		return c->broken ? STEP_YIELD : STEP_AGAIN;
	case ERR_MORE:
		if (offered > in.len && inflow_peek(w, &c->in, c->conn).len > 0)
			return STEP_YIELD;
		if (c->eof) {
			client_close(w, c);
			return STEP_GONE;
		}
		tcp_push(w->tcp, c->conn);
		return STEP_WAIT;
	case ERR_TLS_AGAIN:
		return STEP_YIELD;
	case ERR_TLS_WAITS: /* for worker_shake() */
		return STEP_WAIT;
	default:
		worker_count(w, COUNTER_HANDSHAKES_FAILED);
		worker_count_verdict(w, verdict);
		client_end(w, c);
		return STEP_GONE;
	}
}

enum client_step
client_tls_shake(struct worker *w, struct client *c)
{
	if (c->tls != NULL || inflow_peek(w, &c->in, c->conn).len > 0) {
		if (c->tls != NULL || begin_tls(w, c))
			return run_handshake(w, c);
		client_abort(w, c);
		return STEP_GONE;
	}
	if (!c->eof)
		return STEP_WAIT;
	client_close(w, c);
	return STEP_GONE;
}

/* --- what listeners believe -------------------------------------------------------------------- */

bool
client_tls_is_retired(const struct worker *w, const struct client *c)
{
	return c->tls != NULL && c->beliefs != w->beliefs[c->listener];
}

/* Nothing of a request has come, or all that an answer had to wait for. */
static bool
is_owed_nothing(const struct worker *w, const struct client *c)
{
	return c->state == CLIENT_DRAIN ||
	       (c->state == CLIENT_HEAD && c->head == NULL && tcp_unconsumed(w->tcp, c->conn) == 0);
}

void
client_tls_adopt_keys(struct worker *w, struct tls_keys *keys)
{
	uint32_t listeners = tls_context_replace(w->tls, keys);

	for (uint32_t i = 0; i < WORKER_LISTENERS_MAX; i++)
		w->beliefs[i] += listeners >> i & 1;
	if (listeners != 0)
		w->clients_to_sweep = w->config.counts.clients;
}

bool
client_tls_sweeps(const struct worker *w)
{
	return w->clients_to_sweep > 0 && tcp_stats(w->tcp)->pressure < TCP_PRESSURE_EDGE;
}

void
client_tls_sweep(struct worker *w)
{
	for (uint32_t i = 0; i < CLIENT_SWEEPS_PER_TURN_MAX && client_tls_sweeps(w); i++) {
		struct client *c = &w->clients[--w->clients_to_sweep];

		if (c->state == CLIENT_FREE || !client_tls_is_retired(w, c))
			continue;
		if (is_owed_nothing(w, c))
			client_end(w, c);
		else if (c->state == CLIENT_H2)
			client_make_ready(w, c);
	}
}

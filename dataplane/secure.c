/* TLS towards backends. */
#include "dataplane/secure.h"

#include "base/check.h"
#include "base/siphash.h"
#include "dataplane/exchange.h"
#include "dataplane/upstream.h"
#include "dataplane/worker.h"
#include "tls/target.h"
#include "tls/tls.h"

CHECK_STATIC(SHM_POD_PINS_MAX <= TLS_PINS_MAX && SHM_NAME_BYTES <= TLS_NAME_BYTES, "a pod's target fits");

uint64_t
secure_manner(const struct shm_pod *pod)
{
	static const struct siphash_key key; /* nobody gains by two that are equal: pods are the operator's */

	return pod->is_tls ? siphash_2_4(&key, &pod->tls, sizeof(pod->tls)) | 1 : 0;
}

/* --- begin and end ------------------------------------------------------------------------- */

static bool
make_target(const struct worker *w, const struct shm_pod *pod, struct tls_target *target)
{
	struct bytes authority = bytes_make(pod->tls.authority.text, pod->tls.authority.len);

	*target = (struct tls_target){ .id = pod->pod_id, .authority = TLS_NO_AUTHORITY };
	if (authority.len > 0)
		target->authority = tls_authorities_find(w->config.authorities, authority);
	if (authority.len > 0 && target->authority == TLS_NO_AUTHORITY)
		return false;
	target->pin_count = pod->tls.pin_count < SHM_POD_PINS_MAX ? pod->tls.pin_count : SHM_POD_PINS_MAX;
	memcpy(target->pins, pod->tls.pins, sizeof(pod->tls.pins));
	memcpy(target->name, pod->tls.name.text, pod->tls.name.len);
	return tls_can_reach(w->config.upstream_tls, target);
}

bool
secure_begin(struct worker *w, struct upstream *u, const struct shm_pod *pod)
{
	struct tls_target target;

	if (w->config.upstream_tls == NULL || !make_target(w, pod, &target)) {
		worker_count_verdict(w, ERR_UPSTREAM_NO_TRUST);
		return false;
	}
	u->tls = tls_connect(w->config.upstream_tls, &target);
	if (u->tls == NULL)
		worker_count_verdict(w, ERR_UPSTREAMS_FULL);
	return u->tls != NULL;
}

static void
leave_line(struct worker *w, struct upstream *u)
{
	if (!u->is_in_line)
		return;
	u->is_in_line = false;
	if (u->idle_prev != NULL)
		u->idle_prev->idle_next = u->idle_next;
	else
		w->securing_first = u->idle_next;
	if (u->idle_next != NULL)
		u->idle_next->idle_prev = u->idle_prev;
	else
		w->securing_last = u->idle_prev;
	u->idle_prev = NULL;
	u->idle_next = NULL;
}

void
secure_wake(struct worker *w, struct upstream *u)
{
	if (u->is_in_line)
		return;
	u->is_in_line = true;
	u->idle_next = NULL;
	u->idle_prev = w->securing_last;
	if (w->securing_last != NULL)
		w->securing_last->idle_next = u;
	else
		w->securing_first = u;
	w->securing_last = u;
}

/* --- bytes ------------------------------------------------------------------------------------ */

static bool
send_packet(struct worker *w, struct upstream *u, struct pkt *p, bool more)
{
	if (tcp_send(w->tcp, u->conn, p, more) == ERR_OK)
		return true;
	pkt_free(p);
	return false;
}

/* A flight of the handshake, an answer of the record layer. */
static bool
send_wire(struct worker *w, struct upstream *u, struct bytes wire)
{
	while (wire.len > 0) {
		struct pkt *p = pkt_alloc(w->config.payload_pool);
		uint32_t n;

		if (p == NULL)
			return false;
		n = pkt_tailroom(p) < wire.len ? pkt_tailroom(p) : (uint32_t)wire.len;
		memcpy(pkt_append(p, n), wire.ptr, n);
		bytes_advance(&wire, n);
		if (!send_packet(w, u, p, wire.len > 0))
			return false;
	}
	return true;
}

/* What TLS has to say by itself. */
static bool
send_owed(struct worker *w, struct upstream *u)
{
	uint8_t text[TLS_ANSWER_BYTES_MAX];
	struct tls_out out = { .ptr = text, .room = sizeof(text) };

	if (!tls_owes(u->tls))
		return true;
	CHECK(tls_answer(u->tls, &out) == ERR_OK);
	return send_wire(w, u, bytes_make(text, out.used));
}

/* A record that fits a packet, sealed in it. */
static bool
send_record(struct worker *w, struct upstream *u, struct bytes plain, bool more)
{
	struct pkt *p;
	struct piece piece = { .len = plain.len };
	struct pieces pieces = { &piece, 1 };
	uint8_t *head;
	uint8_t *tail;

	if (!send_owed(w, u))
		return false;
	p = pkt_alloc(w->config.payload_pool);
	if (p == NULL)
		return false;
	piece.ptr = pkt_append(p, (uint32_t)plain.len);
	memcpy(piece.ptr, plain.ptr, plain.len);
	tail = pkt_append(p, (uint32_t)tls_tail_bytes(u->tls));
	head = pkt_prepend(p, (uint32_t)tls_head_bytes(u->tls));
	if (tls_seal(u->tls, &pieces, head, tail, w->now_ns) != ERR_OK) {
		pkt_free(p);
		return false;
	}
	return send_packet(w, u, p, more);
}

bool
secure_send(struct worker *w, struct upstream *u, struct bytes plain, bool more)
{
	while (plain.len > 0) {
		size_t n = plain.len < PACKET_PLAIN_BYTES ? plain.len : PACKET_PLAIN_BYTES;

		if (!send_record(w, u, bytes_make(plain.ptr, n), more || n < plain.len))
			return false;
		bytes_advance(&plain, n);
	}
	return true;
}

/* Nothing more will be read. */
static void
note_end(struct worker *w, struct upstream *u, enum err verdict)
{
	u->eof = true;
	u->is_over = true;
	u->ended_well = verdict == ERR_TLS_CLOSED;
	if (!u->ended_well)
		worker_count_verdict(w, verdict);
}

struct bytes
secure_peek(struct worker *w, struct upstream *u)
{
	struct bytes piece = BYTES_NONE;
	enum err verdict;

	if (u->is_over && u->in.plain_left == 0)
		return BYTES_NONE;
	verdict = inflow_peek_plain(w, &u->in, u->conn, u->tls, &piece);
	if (!send_owed(w, u))
		verdict = ERR_CLIENT_OUTPUT_LOST;
	if (verdict != ERR_OK && verdict != ERR_MORE && !u->is_over)
		note_end(w, u, verdict);
	return piece;
}

void
secure_end(struct worker *w, struct upstream *u)
{
	leave_line(w, u);
	tls_conn_free(u->tls);
	u->tls = NULL;
}

void
secure_close(struct worker *w, struct upstream *u)
{
	tls_close(u->tls);
	(void)send_owed(w, u);
}

/* --- the handshake ----------------------------------------------------------------------------- */

static void
secured(struct worker *w, struct upstream *u)
{
	struct tls_facts facts;

	tls_facts(u->tls, &facts);
	worker_count(w, facts.resumed ? COUNTER_UPSTREAM_HANDSHAKES_RESUMED : COUNTER_UPSTREAM_HANDSHAKES_FULL);
	upstream_secured(w, u);
}

/* The alert goes out before the connection does. u is gone after it. */
static void
failed(struct worker *w, struct upstream *u, enum err verdict)
{
	worker_count(w, COUNTER_UPSTREAM_HANDSHAKES_FAILED);
	worker_count_verdict(w, verdict);
	u->ends_gently = true;
	exchange_try_failed(w, u->exchange, verdict == ERR_TLS_MEMORY ? TRY_LOCAL : TRY_REFUSED);
}

static void
step(struct worker *w, struct upstream *u)
{
	struct bytes in = inflow_peek(w, &u->in, u->conn);
	size_t offered = in.len;
	struct tls_out out = { .ptr = w->answer, .room = sizeof(w->answer) };
	enum err verdict = tls_handshake(u->tls, &in, &out);

	inflow_use(w, &u->in, u->conn, offered - in.len);
	if (!send_wire(w, u, bytes_make(out.ptr, out.used))) {
		exchange_try_failed(w, u->exchange, TRY_LOCAL);
		return;
	}
	switch (verdict) {
	case ERR_OK:
		secured(w, u);
		return;
	case ERR_MORE:
		if (inflow_peek(w, &u->in, u->conn).len > 0)
			secure_wake(w, u);
		else if (u->eof)
			failed(w, u, ERR_UPSTREAM_LOST);
		return;
	case ERR_TLS_AGAIN:
	case ERR_TLS_FULL:
		secure_wake(w, u);
		return;
	default:
		failed(w, u, verdict);
		return;
	}
}

uint32_t
secure_run(struct worker *w)
{
	uint32_t steps = 0;

	while (w->securing_first != NULL && steps < SECURE_STEPS_PER_TURN) {
		struct upstream *u = w->securing_first;

		leave_line(w, u);
		step(w, u);
		steps++;
	}
	return steps;
}

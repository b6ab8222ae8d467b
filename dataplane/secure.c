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

static uint64_t
find_authority(const struct worker *w, const struct shm_pod *pod)
{
	if (w->config.upstream_tls == NULL || pod->tls.authority.len == 0)
		return TLS_NO_AUTHORITY;
	return tls_find_authority(w->config.upstream_tls,
				  bytes_make(pod->tls.authority.text, pod->tls.authority.len));
}

uint64_t
secure_manner(const struct worker *w, const struct shm_pod *pod)
{
	static const struct siphash_key key; /* nobody gains by two that are equal: pods are the operator's */

	return (siphash_2_4(&key, &pod->tls, sizeof(pod->tls)) ^ find_authority(w, pod)) | 1;
}

/* --- begin and end ------------------------------------------------------------------------- */

static bool
make_target(const struct worker *w, const struct shm_pod *pod, struct tls_target *target)
{
	*target = (struct tls_target){ .id = pod->pod_id, .authority = find_authority(w, pod) };
	if (pod->tls.authority.len > 0 && target->authority == TLS_NO_AUTHORITY)
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
	else
		tls_set_owner(u->tls, u);
	return u->tls != NULL;
}

static void
leave_line(struct worker *w, struct upstream *u)
{
	if (u->line.list == &w->securing)
		list_leave(&u->line);
}

void
secure_wake(struct worker *w, struct upstream *u)
{
	if (u->line.list == NULL)
		list_append(&w->securing, &u->line);
}

void
secure_believe(struct worker *w, struct tls_keys *keys)
{
	tls_context_replace(w->config.upstream_tls, keys);
	/* Connections that were made under others are found by their manner. */
	upstream_sweep_again(w);
}

/* --- bytes ------------------------------------------------------------------------------------ */

/* NULL: there is no memory. */
static struct pkt *
packets_of(struct worker *w, struct bytes plain)
{
	struct pkt *first = NULL;

	while (plain.len > 0) {
		size_t n = plain.len < PACKET_PLAIN_BYTES ? plain.len : PACKET_PLAIN_BYTES;
		struct pkt *p = pkt_alloc(w->config.payload_pool);

		if (p == NULL) {
			pkt_free(first);
			return NULL;
		}
		memcpy(pkt_append(p, (uint32_t)n), plain.ptr, n);
		bytes_advance(&plain, n);
		if (first != NULL)
			pkt_chain(first, p);
		else
			first = p;
	}
	return first;
}

/* One record, sealed where it lies in packets. */
static bool
send_record(struct worker *w, struct upstream *u, struct bytes plain, bool more)
{
	struct pkt *p;

	if (!outflow_owed(w, &u->out, u->conn, u->tls))
		return false;
	p = packets_of(w, plain);
	if (p == NULL)
		return false;
	if (outflow_seal(w, u->tls, p) != ERR_OK) {
		pkt_free(p);
		return false;
	}
	return outflow_packets(w, &u->out, u->conn, p, more);
}

bool
secure_send(struct worker *w, struct upstream *u, struct bytes plain, bool more)
{
	while (plain.len > 0) {
		size_t n = tls_record_size(u->tls, plain.len, RECORD_SEGMENT_BYTES, w->now_ns);

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
	if (u->ended_well)
		return;
	worker_count_verdict(w, verdict);
	u->ends_gently = true;
}

struct bytes
secure_peek(struct worker *w, struct upstream *u)
{
	struct bytes piece = BYTES_NONE;
	enum err verdict;

	if (u->is_over && u->in.plain_left == 0)
		return BYTES_NONE;
	verdict = inflow_peek_plain(w, &u->in, u->conn, u->tls, &piece);
	if (!outflow_owed(w, &u->out, u->conn, u->tls))
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
	(void)outflow_owed(w, &u->out, u->conn, u->tls);
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

/* The session was not taken up, so that it is not to blame. */
static bool
is_of_certificate(enum err verdict)
{
	return verdict == ERR_TLS_PEER_UNKNOWN || verdict == ERR_TLS_PEER_EXPIRED ||
	       verdict == ERR_TLS_PEER_NAME || verdict == ERR_TLS_PEER_PIN || verdict == ERR_TLS_PEER_UNFIT;
}

bool
secure_was_resuming(const struct upstream *u)
{
	return u->state == UPSTREAM_SECURING && u->tls != NULL && tls_offered_session(u->tls);
}

void
secure_forget(struct upstream *u)
{
	if (secure_was_resuming(u))
		tls_forget_session(u->tls);
}

/* The alert goes out before the connection does. u is gone after it. */
static void
failed(struct worker *w, struct upstream *u, enum err verdict)
{
	worker_count(w, COUNTER_UPSTREAM_HANDSHAKES_FAILED);
	worker_count_verdict(w, verdict);
	u->ends_gently = true;
	exchange_try_failed(w, u->exchange,
			    verdict == ERR_TLS_MEMORY				   ? TRY_LOCAL :
			    secure_was_resuming(u) && !is_of_certificate(verdict) ? TRY_SESSION :
										     TRY_REFUSED);
}

static void
step(struct worker *w, struct upstream *u)
{
	struct bytes in = inflow_peek(w, &u->in, u->conn);
	size_t offered = in.len;
	struct tls_out out = { .ptr = w->answer, .room = sizeof(w->answer) };
	enum err verdict = tls_handshake(u->tls, &in, &out);

	inflow_use(w, &u->in, u->conn, offered - in.len);
	if (!outflow_bytes(w, &u->out, u->conn, bytes_make(out.ptr, out.used), false)) {
		exchange_try_failed(w, u->exchange, TRY_LOCAL);
		return;
	}
	switch (verdict) {
	case ERR_OK:
		tcp_hold(w->tcp, u->conn, false);
		secured(w, u);
		return;
	case ERR_MORE:
		if (inflow_peek(w, &u->in, u->conn).len > 0)
			secure_wake(w, u);
		else if (u->eof)
			failed(w, u, ERR_UPSTREAM_LOST);
		else
			tcp_push(w->tcp, u->conn);
		return;
	case ERR_TLS_AGAIN:
	case ERR_TLS_FULL:
		secure_wake(w, u);
		return;
	case ERR_TLS_WAITS: /* for run_lanes() */
		return;
	default:
		failed(w, u, verdict);
		return;
	}
}

/* What waits for others, if it is due. */
static bool
run_lanes(struct worker *w)
{
	struct tls_context *tls = w->config.upstream_tls;
	struct upstream *u;
	bool is_run;

	if (tls == NULL)
		return false;
	is_run = worker_run_lanes(w, tls, w->now_ns);
	while ((u = tls_lanes_done(tls)) != NULL)
		secure_wake(w, u);
	return is_run;
}

static bool
step_first(struct worker *w)
{
	struct upstream *u = LIST_MEMBER(w->securing.first, struct upstream, line);

	if (u == NULL)
		return false;
	leave_line(w, u);
	step(w, u);
	return true;
}

uint32_t
secure_run(struct worker *w)
{
	uint32_t steps = 0;

	while (steps < SECURE_STEPS_PER_TURN && (run_lanes(w) || step_first(w)))
		steps++;
	return steps;
}

/* Connections to backends: one exchange each, kept alive per pod, the longest idle one leaves first. */
#include "dataplane/upstream.h"

#include "base/check.h"
#include "dataplane/exchange.h"
#include "dataplane/route.h"
#include "dataplane/secure.h"
#include "dataplane/worker.h"

static uint32_t
upstream_index(const struct worker *w, const struct upstream *u)
{
	return (uint32_t)(u - w->upstreams);
}

/* Never below 0, and not that of a pod that has got the entry meanwhile: it begins anew with a process, or with
 * another pod. */
static void
leave_pod(struct worker *w, const struct upstream *u)
{
	struct shm_pod_health *health = shm_pod_health(&w->shm, u->pod_entry);
	uint32_t count = atomic_load_explicit(&health->in_flight, memory_order_relaxed);

	if (!route_is_same_pod(w, u->pod_entry, u->pod_id))
		return;
	while (count > 0 &&
	       !atomic_compare_exchange_weak_explicit(&health->in_flight, &count, count - 1, memory_order_relaxed,
						      memory_order_relaxed))
		;
}

/* --- the idle lists -------------------------------------------------------------- */

static void
idle_insert(struct worker *w, struct upstream *u)
{
	struct upstream *newest = w->pod_idle[u->pod_entry];

	u->pod_prev = NULL;
	u->pod_next = newest;
	if (newest != NULL)
		newest->pod_prev = u;
	w->pod_idle[u->pod_entry] = u;
	list_append(&w->upstreams_idle, &u->line);
}

static void
idle_remove(struct worker *w, struct upstream *u)
{
	if (u->pod_prev != NULL)
		u->pod_prev->pod_next = u->pod_next;
	else
		w->pod_idle[u->pod_entry] = u->pod_next;
	if (u->pod_next != NULL)
		u->pod_next->pod_prev = u->pod_prev;
	u->pod_prev = NULL;
	u->pod_next = NULL;
	list_leave(&u->line);
}

static void
set_state(struct upstream *u, enum upstream_state state)
{
	static const uint32_t before[UPSTREAM_STATE_COUNT] = {
		[UPSTREAM_FREE] = 1u << UPSTREAM_CONNECTING | 1u << UPSTREAM_SECURING | 1u << UPSTREAM_BUSY |
				  1u << UPSTREAM_IDLE,
		[UPSTREAM_CONNECTING] = 1u << UPSTREAM_FREE,
		[UPSTREAM_SECURING] = 1u << UPSTREAM_CONNECTING,
		[UPSTREAM_BUSY] = 1u << UPSTREAM_CONNECTING | 1u << UPSTREAM_SECURING | 1u << UPSTREAM_IDLE,
		[UPSTREAM_IDLE] = 1u << UPSTREAM_BUSY,
	};

	CHECK(before[state] & 1u << u->state);
	u->state = state;
}

/* --- begin and end ------------------------------------------------------------------ */

/* Everything but the TCP connection, which the caller has ended. */
static void
release(struct worker *w, struct upstream *u)
{
	if (u->state == UPSTREAM_IDLE)
		idle_remove(w, u);
	else
		leave_pod(w, u);
	timer_cancel(&w->timers, &u->timer);
	worker_head_put(w, u->head);
	inflow_end(w, &u->in);
	if (u->tls != NULL)
		secure_end(w, u);
	set_state(u, UPSTREAM_FREE);
	memset(u, 0, sizeof(*u));
	u->pod_next = w->upstream_free;
	w->upstream_free = u;
	w->upstreams_used--;
}

static void
close_gently(struct worker *w, struct upstream *u)
{
	if (u->tls != NULL)
		secure_close(w, u);
	tcp_close(w->tcp, u->conn);
	release(w, u);
}

void
upstream_abort(struct worker *w, struct upstream *u)
{
	if (u->ends_gently) {
		/* With bytes that nobody took TCP would reset (RFC 9293 SHLD-3), and the alert be lost. */
		while (inflow_discard(w, &u->in, u->conn))
			;
		close_gently(w, u);
		return;
	}
	tcp_abort(w->tcp, u->conn);
	release(w, u);
}

static struct upstream *
take_free(struct worker *w)
{
	struct upstream *u;

	if (w->upstream_free == NULL && w->upstreams_idle.count > 0)
		close_gently(w, LIST_MEMBER(w->upstreams_idle.first, struct upstream, line));
	u = w->upstream_free;
	if (u == NULL) {
		worker_count_verdict(w, ERR_UPSTREAMS_FULL);
		return NULL;
	}
	w->upstream_free = u->pod_next;
	u->pod_next = NULL;
	w->upstreams_used++;
	return u;
}

static bool
is_v4(const uint8_t address[16])
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

	return memcmp(address, mapped, sizeof(mapped)) == 0;
}

/* What only TLS asks for is read only then, with all that was published with it. False: another pod has the entry,
 * or this one is spoken to in clear text since. */
static bool
read_secure(const struct worker *w, uint32_t entry, const struct shm_pod_place *place, struct shm_pod *pod)
{
	return shm_read_pod(&w->shm, entry, pod) == ERR_OK && pod->pod_id == place->pod_id && pod->is_tls;
}

static bool
has_manner(const struct worker *w, const struct upstream *u, const struct shm_pod_place *place)
{
	struct shm_pod pod;

	if (!place->is_tls)
		return u->manner == 0;
	return read_secure(w, u->pod_entry, place, &pod) && u->manner == secure_manner(w, &pod);
}

bool
upstream_leads_to(const struct worker *w, const struct upstream *u, const struct shm_pod_place *place)
{
	return u->pod_id == place->pod_id && u->port == place->port &&
	       memcmp(u->address, place->address, sizeof(u->address)) == 0 && has_manner(w, u, place);
}

static void
put_back(struct worker *w, struct upstream *u)
{
	u->pod_next = w->upstream_free;
	w->upstream_free = u;
	w->upstreams_used--;
}

/* Where to is what *place says in the end: what was published with whom it must be, or that it is spoken to in
 * clear text since. */
static bool
begin_secure(struct worker *w, struct upstream *u, uint32_t pod_entry, struct shm_pod_place *place,
	     uint64_t *manner)
{
	struct shm_pod pod;

	if (shm_read_pod(&w->shm, pod_entry, &pod) != ERR_OK || pod.pod_id != place->pod_id ||
	    !shm_has_address(pod.address))
		return false;
	*place = shm_place_of(&pod);
	if (!pod.is_tls)
		return true;
	*manner = secure_manner(w, &pod);
	return secure_begin(w, u, &pod);
}

static struct upstream *
connect_new(struct worker *w, uint32_t pod_entry, struct shm_pod_place place)
{
	struct upstream *u = take_free(w);
	struct tcp_tuple tuple = { 0 };
	uint64_t manner = 0;
	enum err verdict;

	if (u == NULL)
		return NULL;
	if (place.is_tls && !begin_secure(w, u, pod_entry, &place, &manner)) {
		put_back(w, u);
		return NULL;
	}
	tuple.local = is_v4(place.address) ? w->config.source_v4 : w->config.source_v6;
	memcpy(tuple.remote.byte, place.address, sizeof(tuple.remote.byte));
	tuple.remote_port = place.port;
	verdict = tcp_connect(w->tcp, &tuple, worker_user(USER_UPSTREAM, upstream_index(w, u)),
			      &u->conn, w->now_ns);
	if (verdict != ERR_OK) {
		worker_count_verdict(w, verdict);
		if (u->tls != NULL)
			secure_end(w, u);
		put_back(w, u);
		return NULL;
	}
	set_state(u, UPSTREAM_CONNECTING);
	u->fresh = true;
	u->pod_entry = pod_entry;
	u->pod_id = place.pod_id;
	memcpy(u->address, place.address, sizeof(u->address));
	u->port = place.port;
	u->manner = manner;
	worker_count(w, COUNTER_UPSTREAM_CONNECTS);
	return u;
}

struct upstream *
upstream_get(struct worker *w, struct exchange *x, uint32_t pod_entry, const struct shm_pod_place *place,
	     bool fresh_only)
{
	struct upstream *u = fresh_only ? NULL : w->pod_idle[pod_entry];

	/* An entry of the table may have been given to another pod, and a pod another address, since the
	 * connection was made. And the backend may have closed it, or spoken out of turn, in this very burst: that
	 * event is still to come. */
	while (u != NULL && (!upstream_leads_to(w, u, place) || !tcp_is_quiet(w->tcp, u->conn))) {
		close_gently(w, u);
		u = w->pod_idle[pod_entry];
	}
	if (u != NULL) {
		idle_remove(w, u);
		timer_cancel(&w->timers, &u->timer);
		set_state(u, UPSTREAM_BUSY);
		worker_count(w, COUNTER_UPSTREAM_REUSED);
	} else {
		u = connect_new(w, pod_entry, *place);
		if (u == NULL)
			return NULL;
	}
	u->exchange = x;
	u->scan = (struct h1_scan){ 0 };
	u->interim_heads = 0;
	u->reusable = false;
	u->retiring = false;
	atomic_fetch_add_explicit(&shm_pod_health(&w->shm, pod_entry)->in_flight, 1, memory_order_relaxed);
	return u;
}

void
upstream_put(struct worker *w, struct upstream *u)
{
	uint32_t idle_of_pod = 0;

	CHECK(u->state == UPSTREAM_BUSY && u->head == NULL);
	u->exchange = NULL;
	for (struct upstream *other = w->pod_idle[u->pod_entry]; other != NULL; other = other->pod_next)
		idle_of_pod++;
	if (!u->reusable || u->retiring || u->eof || idle_of_pod >= UPSTREAMS_IDLE_PER_POD_MAX ||
	    (u->tls != NULL && tls_is_worn(u->tls))) {
		close_gently(w, u);
		return;
	}
	leave_pod(w, u);
	set_state(u, UPSTREAM_IDLE);
	u->fresh = false;
	idle_insert(w, u);
	u->timer.kind = TIMER_UPSTREAM;
	timer_set(&w->timers, &u->timer, w->now_ns + w->config.times.upstream_idle_ns);
}

/* --- bytes ------------------------------------------------------------------------------ */

bool
upstream_send(struct worker *w, struct upstream *u, struct bytes plain, bool more)
{
	if (u->tls != NULL)
		return secure_send(w, u, plain, more);
	return outflow_bytes(w, &u->out, u->conn, plain, more);
}

bool
upstream_has_room(const struct worker *w, const struct upstream *u)
{
	return tcp_unacked(w->tcp, u->conn) < UPSTREAM_UNACKED_BYTES_HIGH;
}

struct bytes
upstream_peek(struct worker *w, struct upstream *u)
{
	if (u->tls != NULL)
		return secure_peek(w, u);
	return inflow_peek(w, &u->in, u->conn);
}

void
upstream_use(struct worker *w, struct upstream *u, uint32_t n)
{
	if (n == 0)
		return;
	if (u->tls != NULL)
		inflow_use_plain(w, &u->in, u->conn, n);
	else
		inflow_use(w, &u->in, u->conn, n);
}

/* --- events and the timer ----------------------------------------------------------------- */

bool
upstream_was_cut(const struct upstream *u)
{
	return u->tls != NULL && !u->ended_well;
}

/* Whatever an idle connection says, it is of no use any more, but for what TLS says of itself. */
static void
idle_event(struct worker *w, struct upstream *u, const struct tcp_event *event)
{
	bool has_spoken = (event->bits & TCP_EVENT_READABLE) != 0;

	if (has_spoken && u->tls != NULL && !(event->bits & TCP_EVENT_ERROR))
		has_spoken = upstream_peek(w, u).len > 0;
	if (has_spoken)
		worker_count_verdict(w, ERR_UPSTREAM_EXTRA_BYTES);
	if (has_spoken || u->eof || event->bits & (TCP_EVENT_EOF | TCP_EVENT_ERROR))
		upstream_abort(w, u);
}

void
upstream_secured(struct worker *w, struct upstream *u)
{
	struct exchange *x = u->exchange;
	tcp_conn_t conn = u->conn;

	set_state(u, UPSTREAM_BUSY);
	exchange_connected(w, x);
	/* What came with the end of the handshake is no event any more. */
	if (u->exchange == x && x->upstream == u && u->conn == conn)
		exchange_readable(w, x);
}

static void
connected(struct worker *w, struct upstream *u)
{
	if (u->tls == NULL) {
		set_state(u, UPSTREAM_BUSY);
		exchange_connected(w, u->exchange);
		return;
	}
	set_state(u, UPSTREAM_SECURING);
	exchange_securing(w, u->exchange);
	tcp_hold(w->tcp, u->conn, true); /* a flight is made in steps, and the request follows the last one */
	secure_wake(w, u);
}

void
upstream_event(struct worker *w, struct upstream *u, const struct tcp_event *event)
{
	struct exchange *x = u->exchange;

	if (u->state == UPSTREAM_IDLE) {
		idle_event(w, u, event);
		return;
	}
	if (event->bits & TCP_EVENT_ERROR) {
		exchange_upstream_lost(w, x, event->reason);
		return;
	}
	if (event->bits & TCP_EVENT_EOF)
		u->eof = true;
	if (event->bits & TCP_EVENT_CONNECTED) {
		connected(w, u);
	} else if (u->state == UPSTREAM_SECURING) {
		secure_wake(w, u);
	} else if (event->bits & TCP_EVENT_WRITABLE) {
		exchange_writable(w, x);
	}
	/* The exchange may have let go of this connection, or be gone with it. */
	if (u->exchange != x || x->upstream != u || u->conn != event->conn)
		return;
	if (u->state == UPSTREAM_BUSY && event->bits & (TCP_EVENT_READABLE | TCP_EVENT_EOF))
		exchange_readable(w, x);
}

void
upstream_timer_expired(struct worker *w, struct upstream *u)
{
	CHECK(u->state == UPSTREAM_IDLE);
	close_gently(w, u);
}

/* --- what the operator wants of the pod ---------------------------------------------------- */

static void
look_at_pod(struct worker *w, struct upstream *u)
{
	struct shm_pod_place pod;
	bool is_there;

	if (u->state == UPSTREAM_FREE)
		return;
	is_there = shm_read_pod_place(&w->shm, u->pod_entry, &pod) == ERR_OK && pod.pod_id == u->pod_id;
	u->retiring = !is_there || pod.state != SHM_POD_READY || !upstream_leads_to(w, u, &pod);
	if (u->state == UPSTREAM_IDLE && u->retiring) {
		worker_count(w, COUNTER_POD_REMOVALS);
		close_gently(w, u);
	} else if (u->state != UPSTREAM_IDLE && is_there && pod.state == SHM_POD_MAINT) {
		worker_count(w, COUNTER_POD_REMOVALS);
		exchange_try_failed(w, u->exchange, TRY_MAINT);
	}
}

void
upstream_sweep_again(struct worker *w)
{
	w->swept_upstreams = 0;
}

void
upstream_sweep(struct worker *w)
{
	uint64_t generation = atomic_load_explicit(&w->shm.header->generation, memory_order_acquire);

	if (w->swept_upstreams == w->config.counts.upstreams) {
		if (generation == w->swept_generation)
			return;
		w->swept_upstreams = 0;
	}
	if (w->swept_upstreams == 0)
		w->swept_generation = generation;
	for (uint32_t i = 0; i < SWEEPS_PER_TURN_MAX && w->swept_upstreams < w->config.counts.upstreams; i++)
		look_at_pod(w, &w->upstreams[w->swept_upstreams++]);
}

/* The applications. What they do next is drawn when they do it; what they must have seen in the
 * end follows from the plan. */
#include "sim.h"

#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "stream.h"

#define PORT_FIRST 443
#define POLL_NS_MIN (5 * NSEC_PER_MSEC) /* doubles as long as nothing can be written */
#define POLL_NS_MAX (1 * NSEC_PER_SEC)
#define CONNECT_RETRY_NS (200 * NSEC_PER_MSEC)

uint16_t
sim_port_of(uint32_t host)
{
	return (uint16_t)(PORT_FIRST + host);
}

static struct host *
host_of(struct world *w, const struct end *e)
{
	return &w->host[e->host];
}

static struct tcp *
tcp_of(struct world *w, const struct end *e)
{
	return host_of(w, e)->stack.tcp;
}

static uint64_t
pause_of(struct world *w, const struct end *e)
{
	if (w->is_calm || e->plan->pause_ppm == 0 ||
	    prng_below(&w->prng, 1000000) >= e->plan->pause_ppm)
		return 0;
	return prng_next(&w->prng) % (e->plan->pause_ns_max + 1);
}

static uint64_t
user_word(const struct world *w, const struct end *e)
{
	return 1 + e->pair->index * 2u + e->side + (w->plan.seed << 16);
}

static struct end *
end_of_word(struct world *w, uint64_t word)
{
	uint64_t index = word - (w->plan.seed << 16) - 1;

	if (index >= 2ull * w->plan.pairs)
		sim_fail(w, "an event brings a user word that nobody set: %" PRIu64, word);
	return &w->pair[index / 2].end[index % 2];
}

void
app_begin(struct world *w)
{
	for (uint32_t i = 0; i < w->plan.pairs; i++) {
		struct pair *p = &w->pair[i];

		p->plan = &w->plan.pair[i];
		p->index = i;
		for (uint32_t side = 0; side < 2; side++) {
			p->key[side] = prng_next(&w->prng);
			p->end[side] = (struct end){
				.pair = p,
				.plan = &p->plan->end[side],
				.host = side == 0 ? p->plan->client_host : p->plan->server_host,
				.side = side,
				.opened_at_ns = w->start_ns + p->plan->start_ns,
			};
		}
	}
}

/* --- opening --------------------------------------------------------------------- */

static void
opened(struct world *w, struct end *e, tcp_conn_t conn)
{
	if (conn == 0 || !tcp_is_live(tcp_of(w, e), conn))
		sim_fail(w, "pair %u: a connection opens with a dead handle", e->pair->index);
	e->conn = conn;
	e->is_open = true;
	e->opened_at_ns = w->now_ns;
	e->write_at_ns = w->now_ns;
	e->read_at_ns = NEVER_NS;
	e->consume_at_ns = NEVER_NS;
}

static void
start_pair(struct world *w, struct pair *p, const struct tcp_tuple *tuple)
{
	p->tuple = *tuple;
	p->is_started = true;
	p->is_watched = true;
	for (uint32_t i = 0; i < w->plan.pairs; i++) {
		struct pair *other = &w->pair[i];

		if (other == p || !other->is_started ||
		    memcmp(&other->tuple, tuple, sizeof(*tuple)) != 0)
			continue;
		p->is_watched = false;
		other->is_watched = false;
		/* The other connection may still be on the server, but not here, unless both directions
		 * have ended and only its owner has not noticed yet. */
		if (other->end[0].is_open && !other->end[0].has_error &&
		    !(other->end[0].has_shut && other->end[0].has_eof))
			sim_fail(w, "pair %u gets the ports of pair %u, which is open", p->index,
				 other->index);
	}
}

static void
app_connect(struct world *w, struct end *e)
{
	struct pair *p = e->pair;
	struct end *peer = &p->end[1 - e->side];
	struct tcp_tuple tuple = {
		.local = w->host[e->host].address,
		.remote = w->host[peer->host].address,
		.local_port = p->plan->client_port,
		.remote_port = sim_port_of(peer->host),
	};
	tcp_conn_t conn = 0;
	enum err verdict;

	if (p->plan->simultaneous) { /* both ends have ports of their own */
		tuple.local_port = (uint16_t)(p->plan->client_port + 1000 * e->side);
		tuple.remote_port = (uint16_t)(p->plan->client_port + 1000 * peer->side);
	}
	watch_call(&w->host[e->host]);
	verdict = tcp_connect(tcp_of(w, e), &tuple, user_word(w, e), &conn, w->now_ns);
	if (verdict != ERR_OK) {
		if (w->is_calm) /* it had its chances; app_judge() decides */
			e->is_over = true;
		e->opened_at_ns = w->now_ns + CONNECT_RETRY_NS;
		return;
	}
	opened(w, e, conn);
	tcp_tuple_of(tcp_of(w, e), conn, &tuple);
	if (e->side == 1)
		tuple = (struct tcp_tuple){ tuple.remote, tuple.local, tuple.remote_port,
					    tuple.local_port };
	if (!p->is_started)
		start_pair(w, p, &tuple);
}

static struct pair *
pair_of_accepted(struct world *w, struct host *h, const struct tcp_tuple *t)
{
	for (uint32_t i = w->plan.pairs; i-- > 0;) {
		struct pair *p = &w->pair[i];

		if (p->is_started && p->tuple.local_port == t->remote_port &&
		    p->tuple.remote_port == t->local_port && p->end[1].host == h->index &&
		    memcmp(&p->tuple.local, &t->remote, 16) == 0)
			return p;
	}
	return NULL;
}

static void
app_accept(struct world *w, struct host *h, const struct tcp_event *event)
{
	struct tcp *tcp = h->stack.tcp;
	struct tcp_tuple tuple;
	struct pair *p;

	if (event->listener_user != h->index + 100)
		sim_fail(w, "accepted for a listener that does not exist");
	tcp_tuple_of(tcp, event->conn, &tuple);
	p = pair_of_accepted(w, h, &tuple);
	if (p == NULL && !w->plan.is_hostile)
		sim_fail(w, "accepted a connection that nobody opened");
	if (p != NULL && p->end[1].is_open && p->is_watched && !p->end[1].has_error)
		sim_fail(w, "pair %u is accepted twice", p->index);
	if (p == NULL || p->end[1].is_over || p->end[1].is_open) {
		/* An old duplicate came back through a cookie. */
		tcp_abort(tcp, event->conn);
		return;
	}
	opened(w, &p->end[1], event->conn);
	p->end[1].is_settled = true;
	tcp_set_user(tcp, event->conn, user_word(w, &p->end[1]));
}

/* --- ending ------------------------------------------------------------------------ */

static void
over(struct world *w, struct end *e)
{
	e->is_open = false;
	e->is_over = true;
	if (tcp_is_live(tcp_of(w, e), e->conn))
		sim_fail(w, "pair %u: the handle lives on after close", e->pair->index);
	host_of(w, e)->turn_at_ns = w->now_ns;
}

static void
app_close(struct world *w, struct end *e)
{
	tcp_close(tcp_of(w, e), e->conn);
	over(w, e);
}

static void
app_abort(struct world *w, struct end *e)
{
	tcp_abort(tcp_of(w, e), e->conn);
	over(w, e);
}

void
app_abort_all(struct world *w)
{
	for (uint32_t i = 0; i < w->plan.pairs; i++)
		for (uint32_t side = 0; side < 2; side++) {
			struct end *e = &w->pair[i].end[side];

			if (e->is_open)
				app_abort(w, e);
			e->is_over = true;
		}
}

static bool
is_polite(const struct end *e)
{
	return e->plan->manner == END_POLITE || e->plan->manner == END_POLITE_LAST;
}

uint32_t
app_abort_forgotten(struct world *w, bool all)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < w->plan.pairs; i++)
		for (uint32_t side = 0; side < 2; side++) {
			struct end *e = &w->pair[i].end[side];
			struct end *peer = &w->pair[i].end[1 - side];

			/* The only word of one who aborts, or closes with something unread, may be lost. */
			if (!e->is_open || peer->is_open || (peer->is_settled && !all && is_polite(peer)))
				continue;
			e->has_error = true;
			e->reason = ERR_TCP_TIMEOUT;
			app_abort(w, e);
			count++;
		}
	return count;
}

/* --- reading ----------------------------------------------------------------------- */

static void
verify(struct world *w, struct end *e, const struct pkt *p)
{
	uint64_t key = e->pair->key[1 - e->side];

	for (; p != NULL; p = pkt_next(p)) {
		size_t right = stream_match(key, e->received_bytes, pkt_data(p), pkt_len(p));

		if (right != pkt_len(p) && !w->plan.is_hostile && e->pair->is_watched)
			sim_fail(w, "pair %u: %s reads a wrong byte at position %" PRIu64,
				 e->pair->index, e->side == 0 ? "client" : "server",
				 e->received_bytes + right);
		e->received_bytes += pkt_len(p);
	}
}

static void
app_consume(struct world *w, struct end *e)
{
	watch_call(host_of(w, e));
	if (e->unconsumed_bytes > 0)
		tcp_consumed(tcp_of(w, e), e->conn, e->unconsumed_bytes);
	e->unconsumed_bytes = 0;
	e->consume_at_ns = NEVER_NS;
}

static void
app_read(struct world *w, struct end *e)
{
	struct tcp *tcp = tcp_of(w, e);
	uint32_t budget = e->plan->read_bytes_max;

	if (w->now_ns >= e->consume_at_ns || (w->is_calm && e->unconsumed_bytes > 0))
		app_consume(w, e);
	if (w->now_ns < e->read_at_ns)
		return;
	while (budget > 0) {
		struct pkt *p = tcp_take(tcp, e->conn);
		uint32_t len;

		if (p == NULL) {
			e->read_at_ns = NEVER_NS;
			e->has_drained = e->has_eof;
			return;
		}
		len = pkt_total(p);
		if (len == 0)
			sim_fail(w, "pair %u: took a packet without payload", e->pair->index);
		verify(w, e, p);
		pkt_free(p);
		e->unconsumed_bytes += len;
		budget -= len < budget ? len : budget;
	}
	if (e->plan->consumes_late && !w->is_calm)
		e->consume_at_ns = w->now_ns + pause_of(w, e);
	else
		app_consume(w, e);
	e->read_at_ns = w->now_ns + pause_of(w, e);
}

/* --- writing ----------------------------------------------------------------------- */

/* How far this end may have written by now: all, or as far as the conversation is, or up to its nap. */
static uint64_t
allowed_bytes(const struct world *w, const struct end *e)
{
	const struct end_plan *mine = e->plan;
	uint64_t talk = mine->talk_bytes;
	uint64_t allowed = mine->total_bytes;
	uint64_t turns;

	if (w->now_ns < w->start_ns + mine->nap_until_ns && mine->nap_at_bytes < allowed)
		allowed = mine->nap_at_bytes;
	if (talk == 0 || e->received_bytes == e->pair->end[1 - e->side].plan->total_bytes)
		return allowed;
	turns = e->received_bytes / talk + (e->side == 0);
	return turns * talk < allowed ? turns * talk : allowed;
}

static struct pkt *
next_write(struct world *w, struct end *e, uint64_t at, uint32_t room)
{
	uint64_t left = allowed_bytes(w, e) - at;
	uint32_t n = 1 + prng_below(&w->prng, e->plan->write_bytes_max);

	if (n > left)
		n = (uint32_t)left;
	if (n > room)
		n = room;
	if (n == 0)
		return NULL;
	/* A pool that is nearly empty still gives something. */
	for (;; n = n / 4 + 1) {
		struct pkt *p = stack_payload(&host_of(w, e)->stack, e->pair->key[e->side], at, n,
					      e->plan->piece_bytes_max);

		if (p != NULL || n == 1)
			return p;
	}
}

/* An owner may say anything of what comes next, and forget it. */
static void
say_what_follows(struct world *w, const struct end *e)
{
	uint32_t word = e->plan->holds ? prng_below(&w->prng, 8) : 7;

	if (word < 2)
		tcp_hold(tcp_of(w, e), e->conn, word == 0);
	else if (word < 4)
		tcp_push(tcp_of(w, e), e->conn);
}

/* One write, or two in one turn of which the first says so. False: not now. */
static bool
write_once(struct world *w, struct end *e)
{
	struct tcp *tcp = tcp_of(w, e);
	uint32_t room = tcp_send_room(tcp, e->conn);
	struct pkt *p = next_write(w, e, e->sent_bytes, room);
	struct pkt *second = NULL;
	bool more = e->plan->says_more && prng_below(&w->prng, 2) == 0;

	if (p == NULL)
		return false;
	if (more)
		second = next_write(w, e, e->sent_bytes + pkt_total(p), room - pkt_total(p));
	for (int i = 0; i < 2 && p != NULL; i++) {
		uint32_t n = pkt_total(p);
		enum err verdict = tcp_send(tcp, e->conn, p, i == 0 && second != NULL);

		if (verdict != ERR_OK) {
			pkt_free(p);
			if (i == 0)
				pkt_free(second);
			return false;
		}
		e->sent_bytes += n;
		p = second;
		second = NULL;
	}
	return true;
}

static void
app_write(struct world *w, struct end *e)
{
	struct tcp *tcp = tcp_of(w, e);

	while (e->sent_bytes < allowed_bytes(w, e) && w->now_ns >= e->write_at_ns) {
		uint64_t pause_ns;

		if (tcp_send_room(tcp, e->conn) == 0 && e->plan->notify_below_bytes > 0) {
			if (!e->wants_writable)
				tcp_notify_below(tcp, e->conn,
						 e->plan->notify_below_bytes <
								 w->plan.config[e->host].send_bytes_max ?
							 e->plan->notify_below_bytes :
							 0);
			e->wants_writable = true;
			e->write_at_ns = NEVER_NS;
			return;
		}
		if (!write_once(w, e)) {
			e->poll_ns = e->poll_ns == 0 ? POLL_NS_MIN : 2 * e->poll_ns;
			if (e->poll_ns > POLL_NS_MAX)
				e->poll_ns = POLL_NS_MAX;
			e->write_at_ns = w->now_ns + e->poll_ns;
			return;
		}
		e->poll_ns = 0;
		say_what_follows(w, e);
		pause_ns = pause_of(w, e);
		if (pause_ns > 0)
			e->write_at_ns = w->now_ns + pause_ns;
	}
}

/* --- one end, one turn --------------------------------------------------------------- */

static void
check_counts(struct world *w, const struct end *e)
{
	struct tcp *tcp = tcp_of(w, e);
	uint32_t unacked = tcp_unacked(tcp, e->conn);
	uint32_t unsent = tcp_unsent(tcp, e->conn);

	if (unsent > unacked || unacked > e->sent_bytes)
		sim_fail(w, "pair %u: %u unsent, %u unacknowledged of %" PRIu64 " written",
			 e->pair->index, unsent, unacked, e->sent_bytes);
	if (unacked + tcp_send_room(tcp, e->conn) > w->plan.config[e->host].send_bytes_max &&
	    tcp_send_room(tcp, e->conn) > 0)
		sim_fail(w, "pair %u: more room to send than configured", e->pair->index);
}

static void
end_run(struct world *w, struct end *e)
{
	if (e->has_error) {
		app_close(w, e);
		return;
	}
	if (e->plan->manner == END_ABORTS &&
	    w->now_ns >= e->opened_at_ns + e->plan->abort_after_ns) {
		app_abort(w, e);
		return;
	}
	if (!e->is_settled)
		return;
	check_counts(w, e);
	app_read(w, e);
	app_write(w, e);
	if (e->sent_bytes < e->plan->total_bytes)
		return;
	if (e->plan->manner == END_RUDE) {
		app_close(w, e);
		return;
	}
	if (e->has_drained) {
		/* Shutdown and close, or close alone: both send one FIN. */
		if (!e->has_shut && prng_below(&w->prng, 2) == 0)
			tcp_shutdown(tcp_of(w, e), e->conn);
		app_close(w, e);
		return;
	}
	if (!e->has_shut && e->plan->manner != END_POLITE_LAST) {
		tcp_shutdown(tcp_of(w, e), e->conn);
		e->has_shut = true;
	}
}

void
app_run(struct world *w, struct host *h)
{
	for (uint32_t i = 0; i < w->plan.pairs; i++) {
		struct pair *p = &w->pair[i];

		for (uint32_t side = 0; side < 2; side++) {
			struct end *e = &p->end[side];
			bool opens = side == 0 || p->plan->simultaneous;

			if (e->host != h->index || e->is_over)
				continue;
			if (!e->is_open && opens && w->now_ns >= e->opened_at_ns)
				app_connect(w, e);
			if (e->is_open)
				end_run(w, e);
		}
	}
}

static uint64_t
end_next_at(const struct world *w, const struct end *e)
{
	uint64_t at_ns = NEVER_NS;

	if (e->is_over)
		return NEVER_NS;
	if (!e->is_open)
		return e->side == 0 || e->pair->plan->simultaneous ? e->opened_at_ns : NEVER_NS;
	if (e->has_error)
		return w->now_ns;
	if (e->plan->manner == END_ABORTS)
		at_ns = e->opened_at_ns + e->plan->abort_after_ns;
	if (!e->is_settled)
		return at_ns;
	if (e->read_at_ns < at_ns)
		at_ns = e->read_at_ns;
	if (e->consume_at_ns < at_ns)
		at_ns = e->consume_at_ns;
	if (e->sent_bytes < allowed_bytes(w, e) && e->write_at_ns < at_ns)
		at_ns = e->write_at_ns;
	if (w->now_ns < w->start_ns + e->plan->nap_until_ns && w->start_ns + e->plan->nap_until_ns < at_ns)
		at_ns = w->start_ns + e->plan->nap_until_ns;
	return at_ns;
}

uint64_t
app_next_at(const struct world *w, const struct host *h)
{
	uint64_t at_ns = NEVER_NS;

	for (uint32_t i = 0; i < w->plan.pairs; i++)
		for (uint32_t side = 0; side < 2; side++) {
			const struct end *e = &w->pair[i].end[side];
			uint64_t end_ns = e->host == h->index ? end_next_at(w, e) : NEVER_NS;

			if (end_ns < at_ns)
				at_ns = end_ns;
		}
	return at_ns;
}

void
app_event(struct world *w, struct host *h, const struct tcp_event *event)
{
	struct end *e;

	if (!tcp_is_live(h->stack.tcp, event->conn))
		sim_fail(w, "an event of a dead handle");
	if (event->bits == 0)
		sim_fail(w, "an event that says nothing");
	if ((event->bits & TCP_EVENT_ACCEPTED) != 0) {
		struct tcp_tuple tuple;
		struct pair *p;

		tcp_tuple_of(h->stack.tcp, event->conn, &tuple);
		app_accept(w, h, event);
		if (!tcp_is_live(h->stack.tcp, event->conn))
			return;
		p = pair_of_accepted(w, h, &tuple);
		e = &p->end[1];
	} else {
		e = end_of_word(w, event->user);
	}
	if (e->host != h->index || e->conn != event->conn || !e->is_open)
		sim_fail(w, "pair %u: an event after its end", e->pair->index);
	if ((event->bits & TCP_EVENT_CONNECTED) != 0) {
		if (e->is_settled)
			sim_fail(w, "pair %u is connected twice", e->pair->index);
		e->is_settled = true;
	}
	if ((event->bits & TCP_EVENT_READABLE) != 0 && e->read_at_ns == NEVER_NS)
		e->read_at_ns = w->now_ns;
	if ((event->bits & TCP_EVENT_EOF) != 0) {
		if (e->has_eof)
			sim_fail(w, "pair %u: the end comes twice", e->pair->index);
		e->has_eof = true;
		if (e->read_at_ns == NEVER_NS)
			e->read_at_ns = w->now_ns;
	}
	if ((event->bits & TCP_EVENT_WRITABLE) != 0) {
		if (!e->wants_writable)
			sim_fail(w, "pair %u: writable, and nobody asked", e->pair->index);
		e->wants_writable = false;
		e->write_at_ns = w->now_ns;
	}
	if ((event->bits & TCP_EVENT_ERROR) != 0) {
		if (e->has_error)
			sim_fail(w, "pair %u: two errors", e->pair->index);
		if (event->reason == ERR_OK)
			sim_fail(w, "pair %u: an error without a reason", e->pair->index);
		e->has_error = true;
		e->reason = event->reason;
	}
}

bool
app_is_done(const struct world *w)
{
	for (uint32_t i = 0; i < w->plan.pairs; i++) {
		const struct pair *p = &w->pair[i];

		if (!p->end[0].is_over || p->end[1].is_open)
			return false;
		if (p->plan->simultaneous && !p->end[1].is_over)
			return false;
	}
	return true;
}

static void
judge_end(const struct world *w, const struct end *e)
{
	const struct end *peer = &e->pair->end[1 - e->side];
	const char *name = e->side == 0 ? "client" : "server";

	if (e->has_error)
		sim_fail(w, "pair %u: %s ended by %s", e->pair->index, name, err_name(e->reason));
	if (!e->is_settled)
		sim_fail(w, "pair %u: %s never opened", e->pair->index, name);
	if (!e->has_eof || e->received_bytes != peer->plan->total_bytes)
		sim_fail(w, "pair %u: %s got %" PRIu64 " of %" PRIu64 " bytes", e->pair->index, name,
			 e->received_bytes, peer->plan->total_bytes);
}

void
app_judge(struct world *w)
{
	for (uint32_t i = 0; i < w->plan.pairs; i++) {
		struct pair *p = &w->pair[i];
		bool was_given_up = p->end[0].has_error && !p->end[1].is_settled;

		if (w->plan.may_fail || !is_polite(&p->end[0]) || !is_polite(&p->end[1]))
			continue;
		/* All answers to the handshake were lost for so long that the server forgot. */
		if (was_given_up)
			continue;
		judge_end(w, &p->end[0]);
		judge_end(w, &p->end[1]);
	}
}

/*
 * A client's connection as a state machine over bytes: handshake, HTTP, and the ways to end. What TLS does with
 * them is in client_tls.c, what a version of HTTP does in h1_server.c and h2.c.
 *
 * Each step takes one piece of input; client_run() repeats it, bounded. Nothing here is entered from inside
 * tcp or tls: events and timers come in from the worker's turn.
 *
 * The one timer means, by state: HANDSHAKE the whole handshake; HEAD idle time, or the time for a head once
 * its first byte is there; BODY and DRAIN the time between bytes; WAIT the next look at whether the client
 * takes its answer; H2 the next look at streams, or the end of idleness; LINGER and ABORTING the end of patience.
 */
#include "dataplane/client.h"

#include "base/check.h"
#include "dataplane/client_tls.h"
#include "dataplane/h1_server.h"
#include "dataplane/h2.h"
#include "dataplane/worker.h"

/* Patience for more of a cut answer's last bytes to be acknowledged. */
#define ABORTING_NS (5 * NSEC_PER_SEC)
/* How often a stalled answer is looked at, as parts of the stall time. */
#define STALL_LOOKS 4

/* States as a set: between the handshake and the end, of HTTP/1.1; all but FREE. */
#define LIVE_H1 (1u << CLIENT_HEAD | 1u << CLIENT_BODY | 1u << CLIENT_WAIT | 1u << CLIENT_DRAIN)
#define LIVE (((1u << CLIENT_STATE_COUNT) - 1) & ~(1u << CLIENT_FREE))

static uint32_t
client_index(const struct worker *w, const struct client *c)
{
	return (uint32_t)(c - w->clients);
}

void
client_set_timer(struct worker *w, struct client *c, uint64_t after_ns)
{
	c->timer.kind = TIMER_CLIENT;
	timer_set(&w->timers, &c->timer, w->now_ns + after_ns);
}

/* The only writer of the state. */
static void
set_state(struct worker *w, struct client *c, enum client_state state)
{
	static const uint32_t before[CLIENT_STATE_COUNT] = {
		[CLIENT_FREE] = LIVE,
		[CLIENT_HANDSHAKE] = 1u << CLIENT_FREE,
		[CLIENT_HEAD] = LIVE_H1 | 1u << CLIENT_FREE | 1u << CLIENT_HANDSHAKE,
		[CLIENT_BODY] = 1u << CLIENT_HEAD,
		[CLIENT_WAIT] = LIVE_H1,
		[CLIENT_H2] = 1u << CLIENT_FREE | 1u << CLIENT_HANDSHAKE,
		[CLIENT_DRAIN] = LIVE_H1,
		[CLIENT_LINGER] = LIVE,
		[CLIENT_ABORTING] = LIVE,
	};

	CHECK(before[state] & 1u << c->state);
	if (c->state == CLIENT_HANDSHAKE)
		client_line_end_handshake(w, c);
	c->state = state;
	c->head_begun = false;
	client_line_follow_state(w, c);
}

void
client_set_state(struct worker *w, struct client *c, enum client_state state, uint64_t timer_after_ns)
{
	set_state(w, c, state);
	client_set_timer(w, c, timer_after_ns);
}

void
client_make_ready(struct worker *w, struct client *c)
{
	struct list *line = &w->ready[READY_CLIENTS];

	if (c->turn.list != NULL)
		return;
	if (c->state == CLIENT_HANDSHAKE)
		line = &w->ready[c->has_stepped ? READY_BEGUN : READY_NEW];
	list_append(line, &c->turn);
}

void
client_leave_ready(struct client *c)
{
	if (c->turn.list != NULL)
		list_leave(&c->turn);
}

/* GOAWAY was said, or nothing can be. */
static void
end_h2(struct worker *w, struct client *c)
{
	client_line_leave_strangers(c);
	h2_close(w, c);
	client_end(w, c);
}

/* HTTP/2's memory is scarce: of those who have shown no valid key the one that came first leaves. */
static void
dismiss_stranger(struct worker *w)
{
	struct client *c = LIST_MEMBER(w->strangers.first, struct client, place[LINE_OF_STRANGERS]);

	if (c == NULL)
		return;
	h2_dismiss(w, c);
	end_h2(w, c);
}

void
client_begin_http(struct worker *w, struct client *c, struct bytes protocol)
{
	if (!bytes_equal(protocol, BYTES_LITERAL("h2"))) {
		client_set_state(w, c, CLIENT_HEAD, w->config.times.idle_ns);
		return;
	}
	c->progress_at_ns = w->now_ns;
	client_set_state(w, c, CLIENT_H2, H2_LOOK_NS);
	if (!h2_open(w, c)) {
		dismiss_stranger(w);
		c->broken = !h2_open(w, c);
	}
	if (!c->broken)
		client_line_join_strangers(w, c);
	client_make_ready(w, c);
}

void
client_note_key(struct client *c)
{
	c->is_known = true;
	client_line_leave_strangers(c);
}

/* --- begin and end ------------------------------------------------------------------ */

/* A session for the connection, counted for its network. */
static struct client *
take_session(struct worker *w, tcp_conn_t conn)
{
	struct tcp_tuple tuple;
	uint64_t source;
	struct client *c;

	tcp_tuple_of(w->tcp, conn, &tuple);
	source = sources_of(tuple.remote.byte);
	if (!sources_take(&w->sources, source, w->config.limits.per_source)) {
		worker_count_verdict(w, ERR_SOURCE_FULL);
		return NULL;
	}
	c = worker_client_get(w);
	if (c == NULL) {
		worker_count_verdict(w, ERR_CLIENTS_FULL);
		sources_give(&w->sources, source);
		return NULL;
	}
	c->source = source;
	return c;
}

struct client *
client_accepted(struct worker *w, tcp_conn_t conn, uint64_t listener_user)
{
	const struct listener *listener = &w->config.listeners[listener_user];
	struct client *c = take_session(w, conn);

	if (c == NULL) {
		tcp_abort(w->tcp, conn);
		return NULL;
	}
	c->conn = conn;
	c->listener = (uint8_t)listener_user;
	c->stream.client = c;
	c->scan.limits = &w->config.limits.head;
	if (listener->tls && !client_line_begin_handshake(w, c)) {
		tcp_abort(w->tcp, conn);
		sources_give(&w->sources, c->source);
		worker_client_put(w, c);
		return NULL;
	}
	tcp_set_user(w->tcp, conn, worker_user(USER_CLIENT, client_index(w, c)));
	worker_count(w, COUNTER_CLIENTS_ACCEPTED);
	if (listener->tls) {
		client_set_state(w, c, CLIENT_HANDSHAKE, w->config.times.handshake_ns);
		tcp_hold(w->tcp, conn, true); /* a flight is made in steps, and sent at once */
	} else {
		client_begin_http(w, c, listener->http2 ? BYTES_LITERAL("h2") : BYTES_NONE);
	}
	return c;
}

/* Everything but the TCP connection, which the caller has ended. */
static void
release(struct worker *w, struct client *c)
{
	stream_cancel(w, &c->stream);
	client_line_leave_strangers(c);
	if (c->h2 != NULL)
		h2_close(w, c);
	stage_leave(w, c);
	timer_cancel(&w->timers, &c->timer);
	tls_conn_free(c->tls);
	c->tls = NULL;
	inflow_end(w, &c->in);
	client_line_put_head(w, c);
	set_state(w, c, CLIENT_FREE);
	worker_count(w, COUNTER_CLIENTS_CLOSED);
	sources_give(&w->sources, c->source);
	client_leave_ready(c);
	worker_client_put(w, c);
}

void
client_abort(struct worker *w, struct client *c)
{
	tcp_abort(w->tcp, c->conn);
	release(w, c);
}

void
client_close(struct worker *w, struct client *c)
{
	tcp_close(w->tcp, c->conn);
	release(w, c);
}

/* --- output ------------------------------------------------------------------------------ */

void
client_lose_output(struct worker *w, struct client *c, enum err verdict)
{
	c->broken = true;
	client_make_ready(w, c);
	worker_count_verdict(w, verdict);
}

void
client_send_owed(struct worker *w, struct client *c)
{
	if (c->tls != NULL && !c->broken && !outflow_owed(w, &c->out, c->conn, c->tls))
		client_lose_output(w, c, ERR_CLIENT_OUTPUT_LOST);
}

/* What is missing is not c's to give back. */
static void
starve(struct worker *w, struct client *c)
{
	CHECK(c->state == CLIENT_WAIT || c->state == CLIENT_BODY || c->state == CLIENT_H2);
	c->starved = true;
	client_set_timer(w, c, CLIENT_STARVED_NS);
}

bool
client_has_room(struct worker *w, struct client *c)
{
	uint32_t unacked = tcp_unacked(w->tcp, c->conn);
	uint64_t *most = &w->counters[counter_at(COUNTER_TCP_UNACKED_BYTES_MAX)];

	if (unacked > *most)
		*most = unacked;
	if (unacked >= CLIENT_UNACKED_BYTES_HIGH) {
		tcp_notify_below(w->tcp, c->conn, CLIENT_UNACKED_BYTES_LOW);
		return false;
	}
	if (tcp_send_pieces(w->tcp, c->conn) < CLIENT_PIECES_MIN) {
		/* With nothing under way TCP would say at once that it has sunk, again and again. */
		if (unacked > 0)
			tcp_notify_below(w->tcp, c->conn, unacked / 2);
		else
			starve(w, c);
		return false;
	}
	return true;
}

void
client_end(struct worker *w, struct client *c)
{
	if (c->tls != NULL) {
		if (tls_is_worn(c->tls))
			worker_count_verdict(w, ERR_TLS_WORN);
		tls_close(c->tls);
		client_send_owed(w, c);
	}
	if (c->eof) {
		/* With bytes that nobody took TCP would reset (RFC 9293 SHLD-3), and the last answer be lost. */
		while (inflow_discard(w, &c->in, c->conn))
			;
		client_close(w, c);
		return;
	}
	tcp_shutdown(w->tcp, c->conn);
	client_line_put_head(w, c);
	client_set_state(w, c, CLIENT_LINGER, LINGER_NS);
	client_make_ready(w, c);
}

bool
client_is_leaving(const struct worker *w, const struct client *c)
{
	return client_tls_is_retired(w, c) || (c->tls != NULL && tls_is_worn(c->tls));
}

/* What the client takes counts from here. */
static void
note_progress(const struct worker *w, struct client *c)
{
	c->progress_at_ns = w->now_ns;
	c->acked_bytes = c->out.bytes - tcp_unacked(w->tcp, c->conn);
}

void
client_wait(struct worker *w, struct client *c)
{
	note_progress(w, c);
	c->starved = false;
	client_set_state(w, c, CLIENT_WAIT, w->config.times.stall_ns / STALL_LOOKS);
}

void
client_answered(struct worker *w, struct client *c)
{
	CHECK(c->stream.exchange == NULL && w->stage.owner != c);
	if (c->broken)
		return;
	c->requests++;
	if (c->close_after || w->draining || c->requests >= w->config.limits.requests ||
	    client_is_leaving(w, c)) {
		client_end(w, c);
		return;
	}
	c->scan = (struct h1_scan){ .limits = &w->config.limits.head };
	if (c->body_in.done) {
		client_set_state(w, c, CLIENT_HEAD, w->config.times.idle_ns);
	} else {
		c->drain_bytes = 0;
		client_set_state(w, c, CLIENT_DRAIN, w->config.times.body_ns);
	}
	client_make_ready(w, c);
}

void
client_cut(struct worker *w, struct client *c)
{
	CHECK(c->stream.exchange == NULL);
	if (tcp_unacked(w->tcp, c->conn) == 0) {
		client_abort(w, c);
		return;
	}
	tcp_notify_below(w->tcp, c->conn, 0);
	c->acked_bytes = c->out.bytes - tcp_unacked(w->tcp, c->conn);
	client_line_put_head(w, c);
	client_set_state(w, c, CLIENT_ABORTING, ABORTING_NS);
}

/* --- input ---------------------------------------------------------------------------------- */

enum err
client_read_plain(struct worker *w, struct client *c, struct bytes *piece)
{
	enum err verdict = inflow_plain(w, &c->in, c->conn, c->tls, piece);

	client_send_owed(w, c);
	if (verdict == ERR_OK)
		worker_count_by(w, COUNTER_BYTES_FROM_CLIENTS, piece->len);
	/* What was said before may have been cut by others than the client. */
	if (verdict == ERR_MORE && c->eof && c->tls != NULL && !tls_was_closed(c->tls))
		worker_count_verdict(w, ERR_TLS_TRUNCATED);
	if (verdict != ERR_TLS_CLOSED)
		return verdict;
	c->eof = true;
	return ERR_MORE;
}

void
client_fail(struct worker *w, struct client *c, enum err verdict)
{
	worker_count_verdict(w, verdict);
	stream_cancel(w, &c->stream);
	if (c->h2 != NULL)
		end_h2(w, c);
	else
		client_end(w, c);
}

enum client_step
client_input_ended(struct worker *w, struct client *c, enum err verdict)
{
	if (verdict != ERR_MORE) {
		client_fail(w, c, verdict);
		return STEP_GONE;
	}
	if (!c->eof)
		return STEP_WAIT;
	client_end(w, c);
	return STEP_GONE;
}

static enum client_step
step_linger(struct worker *w, struct client *c)
{
	if (inflow_discard(w, &c->in, c->conn))
		return STEP_AGAIN;
	if (!c->eof)
		return STEP_WAIT;
	client_close(w, c);
	return STEP_GONE;
}

/* The client must take something of what it was sent now and then. */
static bool
is_stalled(struct worker *w, struct client *c)
{
	uint32_t unacked = tcp_unacked(w->tcp, c->conn);
	uint64_t acked_bytes = c->out.bytes - unacked;

	if (unacked == 0 || acked_bytes != c->acked_bytes) {
		c->acked_bytes = acked_bytes;
		c->progress_at_ns = w->now_ns;
	}
	return w->now_ns - c->progress_at_ns >= w->config.times.stall_ns;
}

/* --- HTTP/2 ---------------------------------------------------------------------------------- */

static enum client_step
step_h2(struct worker *w, struct client *c)
{
	struct bytes piece;
	enum err verdict = client_read_plain(w, c, &piece);

	if (verdict == ERR_OK) {
		h2_input(w, c, piece);
		c->turn_bytes += (uint32_t)piece.len;
		return c->turn_bytes < H2_TURN_BYTES_MAX ? STEP_AGAIN : STEP_YIELD;
	}
	if (verdict == ERR_MORE && !c->eof)
		return STEP_WAIT;
	/* As with HTTP/1.1, a client that ends its side while it waits has left. */
	if (verdict != ERR_MORE)
		client_fail(w, c, verdict);
	else if (h2_has_streams(c))
		client_abort(w, c);
	else
		end_h2(w, c);
	return STEP_GONE;
}

static void
turn_h2(struct worker *w, struct client *c)
{
	if (!h2_turn(w, c)) {
		end_h2(w, c);
	} else if (h2_needs_look(c)) {
		note_progress(w, c); /* nothing was looked at since the last stream ended */
		client_set_timer(w, c, H2_LOOK_NS);
	}
}

static void
look_at_h2(struct worker *w, struct client *c)
{
	uint64_t after_ns;

	c->starved = false;
	if (is_stalled(w, c)) {
		worker_count_verdict(w, ERR_CLIENT_STALLED);
		client_abort(w, c);
	} else if (!h2_look(w, c, &after_ns)) {
		end_h2(w, c);
	} else {
		client_set_timer(w, c, after_ns);
	}
}

/* A list of models goes on in each turn; c may be gone after it. */
static enum client_step
step_wait(struct worker *w, struct client *c)
{
	if (!c->stream.listing)
		return STEP_WAIT;
	stream_resume(w, &c->stream);
	return STEP_GONE;
}

static enum client_step
step(struct worker *w, struct client *c)
{
	switch (c->state) {
	case CLIENT_HANDSHAKE:
		return client_tls_shake(w, c);
	case CLIENT_HEAD:
		return h1_server_head(w, c);
	case CLIENT_BODY:
		return h1_server_body(w, c);
	case CLIENT_DRAIN:
		return h1_server_drain(w, c);
	case CLIENT_LINGER:
		return step_linger(w, c);
	case CLIENT_H2:
		return step_h2(w, c);
	case CLIENT_WAIT:
		return step_wait(w, c);
	default:
		return STEP_WAIT;
	}
}

void
client_run(struct worker *w, struct client *c)
{
	if (c->broken) {
		client_abort(w, c);
		return;
	}
	c->turn_bytes = 0;
	for (int i = 0; i < CLIENT_STEPS_PER_TURN; i++) {
		switch (step(w, c)) {
		case STEP_AGAIN:
			break;
		case STEP_YIELD:
			client_make_ready(w, c);
			if (c->state == CLIENT_H2)
				turn_h2(w, c);
			return;
		case STEP_WAIT:
			if (c->state == CLIENT_H2)
				turn_h2(w, c);
			return;
		case STEP_GONE:
			return;
		}
	}
	client_make_ready(w, c);
	if (c->state == CLIENT_H2)
		turn_h2(w, c);
}

/* --- events and the timer ------------------------------------------------------------------- */

static void
client_writable(struct worker *w, struct client *c)
{
	if (c->state == CLIENT_WAIT || c->state == CLIENT_BODY)
		stream_resume(w, &c->stream);
	else if (c->state == CLIENT_H2 && !c->broken)
		turn_h2(w, c);
	else if (c->state == CLIENT_ABORTING)
		client_abort(w, c);
}

void
client_event(struct worker *w, struct client *c, const struct tcp_event *event)
{
	if (event->bits & TCP_EVENT_ERROR) {
		worker_count_verdict(w, event->reason);
		client_abort(w, c);
		return;
	}
	if (event->bits & TCP_EVENT_EOF) {
		c->eof = true;
		/* A client that ends its side while it waits has left (nginx's default as well): whether it could
		 * still read is not worth a GPU. */
		if (c->state == CLIENT_WAIT) {
			client_abort(w, c);
			return;
		}
	}
	if (event->bits & TCP_EVENT_WRITABLE) {
		client_writable(w, c);
		if (c->state == CLIENT_FREE || c->conn != event->conn)
			return;
	}
	if (!(event->bits & (TCP_EVENT_READABLE | TCP_EVENT_EOF)))
		return;
	/* Who is ready has had its part of this turn. */
	if (c->state == CLIENT_HANDSHAKE)
		client_make_ready(w, c);
	else if (c->state != CLIENT_H2 || c->turn.list == NULL)
		client_run(w, c);
}

static void
look_for_stall(struct worker *w, struct client *c)
{
	if (is_stalled(w, c)) {
		worker_count_verdict(w, ERR_CLIENT_STALLED);
		client_abort(w, c);
		return;
	}
	client_set_timer(w, c, w->config.times.stall_ns / STALL_LOOKS);
}

/* A slow client gets the end of a cut answer, which says why it was cut, as long as it takes some of it. */
static void
look_for_last_bytes(struct worker *w, struct client *c)
{
	uint64_t acked_bytes = c->out.bytes - tcp_unacked(w->tcp, c->conn);

	if (acked_bytes == c->acked_bytes) {
		client_abort(w, c);
		return;
	}
	c->acked_bytes = acked_bytes;
	client_set_timer(w, c, ABORTING_NS);
}

/* True if it is not the client that is slow with its body: its answer waited for descriptors, or the backend
 * takes nothing, which its own timer ends. */
static bool
body_may_wait(struct worker *w, struct client *c)
{
	bool was_starved = c->starved;

	if (c->stream.exchange == NULL || (!was_starved && exchange_takes_body(c->stream.exchange)))
		return false;
	client_set_timer(w, c, w->config.times.body_ns);
	c->starved = false;
	if (was_starved)
		client_writable(w, c);
	return true;
}

void
client_timer_expired(struct worker *w, struct client *c)
{
	if (c->broken) {
		client_abort(w, c);
		return;
	}
	switch (c->state) {
	case CLIENT_WAIT:
		look_for_stall(w, c);
		if (c->state == CLIENT_FREE || !c->starved)
			return;
		c->starved = false;
		client_writable(w, c);
		return;
	case CLIENT_H2:
		look_at_h2(w, c);
		return;
	case CLIENT_HANDSHAKE:
		worker_count_verdict(w, ERR_HANDSHAKE_SLOW);
		client_abort(w, c);
		return;
	case CLIENT_HEAD:
		if (c->head_begun)
			worker_count_verdict(w, ERR_CLIENT_SLOW);
		client_end(w, c);
		return;
	case CLIENT_BODY:
		if (body_may_wait(w, c))
			return;
		/* fallthrough */
	case CLIENT_DRAIN:
		worker_count_verdict(w, ERR_CLIENT_SLOW);
		client_abort(w, c);
		return;
	case CLIENT_ABORTING:
		look_for_last_bytes(w, c);
		return;
	default:
		client_abort(w, c);
		return;
	}
}

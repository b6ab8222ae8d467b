/* The town with one client and its backends, all of them bytes; plan, client and backend in place
 * of the simulator's. */
#include "edge.h"

#include <stdlib.h>

#include "../sim/town.h"
#include "base/check.h"
#include "http/h1.h"

/* All timers of a request fire within it. */
#define PATIENCE_NS (400 * NSEC_PER_SEC)

static const struct edge_plan *plan;
static struct edge_result *result;

/* --- what the town asks of its plan and people ------------------------------------------ */

void
plan_make_town(struct town *t, uint64_t seed)
{
	t->plan = (struct town_plan){ .seed = seed, .client_count = 1, .is_h2 = plan->is_h2,
				      .start_ns = NSEC_PER_SEC, .pods = 2, .first_pods = 2,
				      .retry_percent = 100, .retry_burst = 1000, .eject_percent = 100 };
	t->now_ns = t->plan.start_ns;
}

void
client_begin(struct town *t, uint32_t client)
{
	struct tcp_tuple tuple = { .local = town_address(t, false),
				   .remote = town_address(t, true),
				   .remote_port = 443 };
	struct town_conn *c;
	tcp_conn_t conn;

	CHECK(tcp_connect(t->town_tcp, &tuple, 0, &conn, t->now_ns) == ERR_OK);
	c = conn_get(t, conn, false);
	c->client = client;
	c->piece_bytes = plan->client_piece;
	c->send_at_ns = t->now_ns;
	conn_write(t, c, plan->client.ptr, (uint32_t)plan->client.len);
}

static void
keep(uint8_t *to, size_t *len, struct bytes piece)
{
	CHECK(piece.len <= EDGE_BYTES_MAX - *len);
	if (piece.len > 0)
		memcpy(to + *len, piece.ptr, piece.len);
	*len += piece.len;
}

void
client_received(struct town *t, struct town_conn *c)
{
	(void)t;
	keep(result->text, &result->len, bytes_make(c->in, c->in_len));
	c->in_len = 0;
}

void
client_wake(struct town *t, struct town_conn *c)
{
	(void)t;
	c->wake_at_ns = NEVER_NS;
}

void
client_lost(struct town *t, struct town_conn *c)
{
	result->is_closed = true;
	conn_put(t, c);
}

/* Bytes of the first request in the input; 0: it is not whole. What is none would be the router's
 * fault. */
static size_t
request_bytes(struct bytes input)
{
	static struct h1_request head;
	struct h1_scan scan = { 0 };
	struct h1_body body;
	struct bytes rest;
	enum err verdict = h1_parse_request(input, &scan, &head);

	if (verdict == ERR_MORE)
		return 0;
	CHECK(verdict == ERR_OK);
	rest = bytes_after(input, head.head.head_bytes);
	h1_body_init(&body, &head.head);
	while (!body.done) {
		struct bytes payload;

		verdict = h1_body_feed(&body, &rest, &payload);
		if (verdict == ERR_MORE)
			return 0;
		CHECK(verdict == ERR_OK);
	}
	return (size_t)(rest.ptr - input.ptr);
}

void
backend_received(struct town *t, struct town_conn *c)
{
	size_t n;

	while ((n = request_bytes(bytes_make(c->in, c->in_len))) > 0) {
		CHECK(result->requests < EDGE_REQUESTS_MAX);
		result->request[result->requests].start = result->requests_len;
		result->request[result->requests++].len = n;
		keep(result->requests_text, &result->requests_len, bytes_make(c->in, n));
		c->in_len -= (uint32_t)n;
		memmove(c->in, c->in + n, c->in_len);
		c->piece_bytes = plan->answer_piece;
		conn_write(t, c, plan->answer.ptr, (uint32_t)plan->answer.len);
		c->send_at_ns = t->now_ns;
		conn_pump(t, c);
	}
}

/* Of the simulator's clients alone. */
void
h2_client_free(struct town_h2 *h)
{
	CHECK(h == NULL);
}

/* The parts of a request's making that town.c judges by. */
void
town_text(const struct town *t, uint32_t request, uint32_t what, char *to, uint32_t bytes)
{
	(void)t, (void)request, (void)what;
	memset(to, 'x', bytes);
}

/* --- a run --------------------------------------------------------------------------------- */

void
edge_run(const struct edge_plan *p, struct edge_result *r)
{
	struct town *t = calloc(1, sizeof(*t));

	CHECK(t != NULL && p->client_piece > 0 && p->answer_piece > 0);
	plan = p;
	result = r;
	r->len = r->requests_len = 0;
	r->requests = 0;
	r->is_closed = false;
	plan_make_town(t, 1);
	town_open(t);
	town_go(t, t->now_ns + PATIENCE_NS, false);
	for (uint32_t i = 0; i < TOWN_CONNS_MAX; i++) {
		if (!t->conns[i].is_used)
			continue;
		tcp_abort(t->town_tcp, t->conns[i].conn);
		conn_put(t, &t->conns[i]);
	}
	town_go(t, t->now_ns + PATIENCE_NS, false);
	town_judge_pools(t);
	router_close(t);
	free(t);
}

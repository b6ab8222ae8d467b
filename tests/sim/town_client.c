/* A client: one request after the other on one connection, every byte of the answer checked. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "defaults.h"
#include "http/h1.h"
#include "town.h"

static struct town_request *
current(struct town *t, const struct town_conn *c)
{
	return c->request < TOWN_REQUESTS_MAX ? &t->requests[c->request] : NULL;
}

/* The client's next request that is not over; NULL: none. */
static struct town_request *
next_request(struct town *t, uint32_t client)
{
	for (uint32_t i = 0; i < t->plan.request_count; i++)
		if (t->requests[i].client == client && !t->requests[i].is_over)
			return &t->requests[i];
	return NULL;
}

void
client_begin(struct town *t, uint32_t client)
{
	struct tcp_tuple tuple = { .local = town_address(t, false), .remote = town_address(t, true),
				   .remote_port = 443 };
	struct town_request *r = next_request(t, client);
	struct town_conn *c;
	tcp_conn_t conn;

	if (r == NULL)
		return;
	if (tcp_connect(t->town_tcp, &tuple, 0, &conn, t->now_ns) != ERR_OK)
		town_fail(t, "a client cannot connect");
	c = conn_get(t, conn, false);
	c->client = client;
	c->request = TOWN_REQUESTS_MAX;
	c->wake_at_ns = t->now_ns + r->think_ns;
	if (t->plan.is_tls)
		c->tls = tls_of_client(t);
	if (t->plan.is_h2)
		c->h2 = h2_client_new(t, c);
}

static void
send_request(struct town *t, struct town_conn *c, struct town_request *r)
{
	static char body[TOWN_TEXT_BYTES_MAX];
	static const char end[] = "\r\n0\r\nx-trailer: y\r\n\r\n";
	char head[512];
	uint32_t body_len = town_request_body(t, r, false, body);
	bool chunked = r->index % 3 == 0;
	int n = snprintf(head, sizeof(head),
			 "POST /v1/chat/completions HTTP/1.1\r\nhost: edge\r\n"
			 "authorization: Bearer eco_town0000000000000000\r\n%s",
			 chunked ? "transfer-encoding: chunked\r\n\r\n" : "content-length: ");

	conn_write(t, c, head, (uint32_t)n);
	if (!chunked) {
		n = snprintf(head, sizeof(head), "%u\r\n\r\n", body_len);
		conn_write(t, c, head, (uint32_t)n);
		conn_write(t, c, body, body_len);
	} else {
		uint32_t first = body_len / 2;

		n = snprintf(head, sizeof(head), "%x;ext=1\r\n", first);
		conn_write(t, c, head, (uint32_t)n);
		conn_write(t, c, body, first);
		n = snprintf(head, sizeof(head), "\r\n%X\r\n", body_len - first);
		conn_write(t, c, head, (uint32_t)n);
		conn_write(t, c, body + first, body_len - first);
		conn_write(t, c, end, sizeof(end) - 1);
	}
	r->sent_ns = t->now_ns;
	c->request = r->index;
	c->in_len = 0;
	c->piece_bytes = r->is_trickled ? TOWN_TRICKLE_BYTES : 1 + prng_below(&t->prng, 4000);
	c->gap_ns = r->is_trickled ? NSEC_PER_SEC : 0;
	c->send_at_ns = t->now_ns;
	if (r->is_aborted && r->abort_after_ns > 0)
		c->wake_at_ns = t->now_ns + r->abort_after_ns;
}

/* The connection is gone; the rest of the requests goes over another one. */
void
client_go_on(struct town *t, struct town_conn *c)
{
	uint32_t client = c->client;

	conn_put(t, c);
	client_begin(t, client);
}

static void
leave(struct town *t, struct town_conn *c, struct town_request *r)
{
	r->was_left = true;
	r->is_over = true;
	t->over++;
	tcp_abort(t->town_tcp, c->conn);
	client_go_on(t, c);
}

void
client_wake(struct town *t, struct town_conn *c)
{
	struct town_request *r = next_request(t, c->client);

	c->wake_at_ns = NEVER_NS;
	if (!c->is_connected) {
		c->wake_at_ns = t->now_ns + 10 * NSEC_PER_MSEC;
		return;
	}
	if (c->h2 != NULL) {
		h2_client_wake(t, c);
		return;
	}
	if (c->request < TOWN_REQUESTS_MAX) {
		leave(t, c, &t->requests[c->request]);
		return;
	}
	if (r == NULL) {
		tcp_close(t->town_tcp, c->conn);
		conn_put(t, c);
		return;
	}
	send_request(t, c, r);
}

static void
request_over(struct town *t, struct town_conn *c, struct town_request *r)
{
	struct town_request *next;

	r->is_over = true;
	r->over_ns = t->now_ns;
	t->over++;
	c->request = TOWN_REQUESTS_MAX;
	next = next_request(t, c->client);
	c->wake_at_ns = t->now_ns + (next != NULL ? next->think_ns : 0);
}

void
client_again(struct town *t, struct town_conn *c)
{
	t->again_at_ns[c->client] = t->now_ns + NSEC_PER_SEC;
	conn_put(t, c);
}

/* --- checks ----------------------------------------------------------------------------- */

static uint16_t
expected_status(const struct town_request *r)
{
	if (r->is_bad_json)
		return 400;
	if (r->fault == FAULT_REFUSAL)
		return 422;
	return r->fault == FAULT_ERROR ? 500 : 200;
}

/* Decodes what has come so far, from its start. Returns the bytes of a complete answer; 0: it is not. */
static uint32_t
decode(struct town *t, const struct town_conn *c, struct town_answer *a)
{
	static struct h1_response response;
	struct h1_scan scan = { 0 };
	struct h1_body body;
	struct bytes input = bytes_make(c->in, c->in_len);
	enum err verdict = h1_parse_response(input, H1_POST, &scan, &response);

	a->len = 0;
	if (verdict == ERR_MORE)
		return 0;
	if (verdict != ERR_OK)
		town_fail(t, "request %u: the answer's head is malformed: %s", c->request,
			  err_name(verdict));
	a->status = response.status;
	if (h1_find(&response.head, BYTES_LITERAL("x-request-id")) == NULL)
		town_fail(t, "request %u: no x-request-id", c->request);
	bytes_advance(&input, response.head.head_bytes);
	h1_body_init(&body, &response.head);
	while (!body.done) {
		struct bytes payload;

		verdict = h1_body_feed(&body, &input, &payload);
		if (verdict == ERR_MORE)
			break;
		if (verdict != ERR_OK || a->len + payload.len > sizeof(a->body))
			town_fail(t, "request %u: the answer's body is malformed", c->request);
		if (payload.len > 0)
			memcpy(a->body + a->len, payload.ptr, payload.len);
		a->len += (uint32_t)payload.len;
	}
	return body.done ? c->in_len - (uint32_t)input.len : 0;
}

void
client_check_complete(struct town *t, const struct town_request *r, const struct town_answer *a)
{
	static char expected[TOWN_TEXT_BYTES_MAX];
	uint32_t len;

	if (r->is_trickled)
		town_fail(t, "request %u: answered although it trickles in", r->index);
	if (r->may_be_refused && a->status == 503 && r->tries == 0 &&
	    memmem(a->body, a->len, "no_healthy_region", 17) != NULL)
		return;
	if ((t->plan.is_tight || t->plan.may_fail || t->plan.move_count > 0) && !r->is_bad_json &&
	    a->status >= 502 && a->status <= 504) {
		t->refused++;
		return;
	}
	if (a->status != expected_status(r))
		town_fail(t, "request %u: status %u, expected %u: %.*s", r->index, a->status,
			  expected_status(r), (int)a->len, a->body);
	if (a->status != 200)
		return;
	len = town_answer_body(t, r, false, expected);
	if (len != a->len || memcmp(expected, a->body, len) != 0)
		town_fail(t, "request %u: the answer's bytes differ (%u of %u)", r->index, a->len, len);
}

/* What came of an answer that was cut: a part of the right one, maybe an error event behind it. */
void
client_check_cut(struct town *t, const struct town_request *r, struct town_answer *a, const char *reason)
{
	static char expected[TOWN_TEXT_BYTES_MAX];
	uint32_t len = town_answer_body(t, r, false, expected);
	uint32_t same = 0;
	static const char comment[] = ": keep-alive\n\n";

	if (r->fault != FAULT_RESET_INSIDE && r->fault != FAULT_CLOSE_INSIDE && r->fault != FAULT_SILENT_FIRST &&
	    r->fault != FAULT_SILENT_BETWEEN && ++t->cuts > t->cuts_allowed)
		town_fail(t, "request %u: cut without a cause (%u bytes, %s)", r->index, a->len,
			  reason);
	while (r->fault == FAULT_SILENT_FIRST && a->len >= sizeof(comment) - 1 &&
	       memcmp(a->body, comment, sizeof(comment) - 1) == 0) {
		a->len -= (uint32_t)sizeof(comment) - 1;
		memmove(a->body, a->body + sizeof(comment) - 1, a->len);
	}
	while (same < len && same < a->len && expected[same] == a->body[same])
		same++;
	if (same == len)
		town_fail(t, "request %u: cut, and yet complete", r->index);
	if (same == a->len)
		return;
	/* The error event shares its first bytes ("data: {\"") with the event that never came. */
	while (same > 0 && !(same >= 2 && a->body[same - 1] == '\n' && a->body[same - 2] == '\n'))
		same--;
	if (!r->is_stream || memcmp(a->body + same, "data: {\"error\":", 15) != 0)
		town_fail(t, "request %u: a cut answer with other bytes", r->index);
}

static bool
is_too_slow(const struct town *t, const struct town_request *r)
{
	return r->tries == 0 && t->now_ns - r->sent_ns >= defaults_worker()->times.body_grace_ns;
}

/* Cut off without a word, and not before its grace was over: it trickled, or the network lost so much of it. */
static void
check_slow(struct town *t, const struct town_conn *c, const struct town_request *r)
{
	if (c->in_len > 0 || !is_too_slow(t, r))
		town_fail(t, "request %u: cut off after %.3f s, with %u bytes of an answer", r->index,
			  (double)(t->now_ns - r->sent_ns) / 1e9, c->in_len);
}

void
client_received(struct town *t, struct town_conn *c)
{
	static struct town_answer a;
	struct town_request *r = current(t, c);
	uint32_t used;

	if (c->h2 != NULL) {
		h2_client_received(t, c);
		return;
	}
	if (r == NULL) {
		if (c->in_len > 0)
			town_fail(t, "client %u: bytes without a request", c->client);
		return;
	}
	if (r->is_aborted && r->abort_after_ns == 0 && c->in_len > r->abort_after_bytes) {
		leave(t, c, r);
		return;
	}
	used = decode(t, c, &a);
	if (used == 0)
		return;
	if (used != c->in_len)
		town_fail(t, "request %u: bytes behind its answer", r->index);
	client_check_complete(t, r, &a);
	r->status = a.status;
	request_over(t, c, r);
}

void
client_lost(struct town *t, struct town_conn *c)
{
	static struct town_answer a;
	struct town_request *r = current(t, c);

	if (c->h2 != NULL) {
		h2_client_lost(t, c);
		return;
	}
	/* Refused for its network, before a byte of it was read: later once more. */
	if (t->plan.per_source > 0 && c->in_len == 0 && (r == NULL || !is_too_slow(t, r))) {
		client_again(t, c);
		return;
	}
	if (r == NULL) {
		client_go_on(t, c);
		return;
	}
	if (decode(t, c, &a) > 0)
		town_fail(t, "request %u: complete only when the connection was lost", r->index);
	if (r->is_trickled || (c->in_len == 0 && is_too_slow(t, r)))
		check_slow(t, c, r);
	else
		client_check_cut(t, r, &a, err_name(c->reason));
	r->was_cut = true;
	r->is_over = true;
	t->over++;
	client_go_on(t, c);
}

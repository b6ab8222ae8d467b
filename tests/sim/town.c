/* The town's clock and connections, and the judgement: every byte, every usage record, every buffer. */
#include "town.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "cert_file.h"

/* A seed that is not over by then does not end. */
#define TOWN_NS_MAX (1800 * NSEC_PER_SEC)
#define TURNS_MAX 4000000
#define TCP_CHECK_TURNS 8 /* tcp_sim checks each step of TCP; here it would be a fifth of the time */
/* Time in which everything that was closed must have gone. */
#define QUIET_NS (200 * NSEC_PER_SEC)

void
town_fail(const struct town *t, const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "seed %" PRIu64 " at %.6f s: ", t->plan.seed,
		(double)(t->now_ns - t->plan.start_ns) / 1e9);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\n");
	exit(1);
}

struct ip_addr
town_address(const struct town *t, bool of_router)
{
	struct ip_addr v6 = { { 0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2 } };
	static const uint8_t v4[4] = { 10, 77, 0, 2 };
	struct ip_addr address = t->plan.is_v6 ? v6 : ip_from_v4(v4);

	address.byte[15] = of_router ? 1 : 2;
	return address;
}

/* --- connections ------------------------------------------------------------------- */

struct town_conn *
conn_get(struct town *t, tcp_conn_t conn, bool is_backend)
{
	for (uint32_t i = 0; i < TOWN_CONNS_MAX; i++) {
		struct town_conn *c = &t->conns[i];

		if (c->is_used)
			continue;
		*c = (struct town_conn){ .is_used = true, .is_backend = is_backend, .conn = conn,
					 .piece_bytes = 1000, .request = TOWN_REQUESTS_MAX,
					 .send_at_ns = NEVER_NS, .wake_at_ns = NEVER_NS };
		c->out = malloc(2 * TOWN_TEXT_BYTES_MAX);
		c->in = malloc(2 * TOWN_TEXT_BYTES_MAX);
		CHECK(c->out != NULL && c->in != NULL);
		tcp_set_user(t->town_tcp, conn, i);
		return c;
	}
	town_fail(t, "too many connections");
}

void
conn_put(struct town *t, struct town_conn *c)
{
	(void)t;
	tls_free(&c->tls);
	h2_client_free(c->h2);
	free(c->out);
	free(c->in);
	*c = (struct town_conn){ .is_used = false };
}

void
conn_write(struct town *t, struct town_conn *c, const void *bytes, uint32_t n)
{
	if (c->out_len + n > 2 * TOWN_TEXT_BYTES_MAX)
		town_fail(t, "too much to send");
	memcpy(c->out + c->out_len, bytes, n);
	c->out_len += n;
}

struct tls_client *
conn_tls(struct town *t)
{
	static const char *const h2[] = { "h2", "http/1.1", NULL };
	struct tls_client_config config = { .seed = prng_next(&t->prng),
					    .now_s = INT64_C(1795500000),
					    .ca_pem = cert_file("ca.pem"),
					    .host = "localhost",
					    .alpn = t->plan.is_h2 ? h2 : NULL,
					    .version_max = prng_below(&t->prng, 2) ? 0x0303 : 0 };
	struct tls_client *client;

	if (t->plan.tls_version != 0)
		config.version_max = t->plan.tls_version;
	client = tls_client_new(&config);
	CHECK(client != NULL);
	return client;
}

static void
send_raw(struct town *t, struct town_conn *c, struct bytes wire)
{
	while (wire.len > 0) {
		struct pkt *p = pkt_alloc(&t->town_payload);
		uint32_t n = wire.len < 1400 ? (uint32_t)wire.len : 1400;
		enum err verdict;

		CHECK(p != NULL);
		memcpy(pkt_append(p, n), wire.ptr, n);
		bytes_advance(&wire, n);
		verdict = tcp_send(t->town_tcp, c->conn, p, false);
		if (verdict != ERR_OK)
			town_fail(t, "%s %u cannot send: %s", c->is_backend ? "backend of" : "client", c->client,
				  err_name(verdict));
	}
}

/* False: the router is not to be reached by it. */
static bool
shake_hands(struct town *t, struct town_conn *c, struct bytes *in)
{
	static uint8_t flight[32768];

	while (!c->tls_open) {
		struct tls_out out = { flight, sizeof(flight), 0 };
		enum err verdict = tls_step(&c->tls, in, &out);

		send_raw(t, c, bytes_make(flight, out.used));
		c->tls_open = verdict == ERR_OK;
		if (verdict == ERR_MORE)
			return true;
		if (verdict == ERR_OK || verdict == ERR_TLS_AGAIN)
			continue;
		if (!c->is_backend || (t->plan.trust[c->pod] < TRUST_COUNT_GOOD && verdict != t->plan.shake_fault))
			town_fail(t, "handshake of %s %u: %s", c->is_backend ? "backend" : "client",
				  c->is_backend ? c->pod : c->client, err_name(verdict));
		return false;
	}
	return true;
}

/* Its share of the handshakes that are spoilt, and how. */
static enum town_shake
shake_of_next(struct town *t)
{
	if (t->shakes_done == t->plan.shakes || prng_below(&t->tls_prng, 2) == 0)
		return SHAKE_WELL;
	t->shakes_done++;
	return (enum town_shake)(1 + prng_below(&t->tls_prng, SHAKE_COUNT - 1));
}

static void
accept_backend(struct town *t, struct town_conn *c)
{
	struct tcp_tuple tuple;

	c->is_connected = true;
	tcp_tuple_of(t->town_tcp, c->conn, &tuple);
	c->pod = tuple.local_port - TOWN_BACKEND_PORT;
	if (!t->plan.is_https || t->plan.is_pods_tls_by_hand)
		return;
	c->tls = tls_of_backend(t, c->pod);
	c->shake = shake_of_next(t);
}

/* The handshake's first bytes are there. False: the connection is gone. */
static bool
spoil(struct town *t, struct town_conn *c, struct bytes *in)
{
	static const uint8_t alert[] = { 21, 3, 3, 0, 2, 2, 40 };
	enum town_shake shake = c->shake;

	if (shake == SHAKE_SILENT)
		return true;
	if (shake == SHAKE_ALERT)
		send_raw(t, c, bytes_make(alert, sizeof(alert)));
	if (shake == SHAKE_GARBAGE)
		send_raw(t, c, BYTES_LITERAL("HTTP/1.1 400 This is no TLS\r\n\r\n"));
	if (shake == SHAKE_RESET_BEHIND || shake == SHAKE_CLOSE_BEHIND)
		(void)shake_hands(t, c, in);
	if (shake == SHAKE_RESET || shake == SHAKE_RESET_BEHIND)
		tcp_abort(t->town_tcp, c->conn);
	else
		tcp_close(t->town_tcp, c->conn);
	conn_put(t, c);
	return false;
}

/* Pieces in flight: TCP keeps a range for each, and has 256 of a connection. */
#define PIECES_UNACKED_MAX 100u

static void
end_well(struct town *t, struct town_conn *c)
{
	uint8_t said[64];
	struct tls_out out = { said, sizeof(said), 0 };

	if (tls_is_used(&c->tls) && !c->is_mute)
		tls_say_end(&c->tls, &out);
	send_raw(t, c, bytes_make(said, out.used));
	tcp_close(t->town_tcp, c->conn);
	conn_put(t, c);
}

/* Sends the next piece if it is time and there is room. */
void
conn_pump(struct town *t, struct town_conn *c)
{
	static uint8_t record[TLS_RECORD_BYTES_MAX + TLS_CLIENT_OVERHEAD_MAX];
	uint32_t n = c->out_len - c->out_sent;

	if (!c->is_connected || (tls_is_used(&c->tls) && !c->tls_open) || t->now_ns < c->send_at_ns)
		return;
	if (n > c->piece_bytes)
		n = c->piece_bytes;
	if (n > 0) {
		struct bytes plain = bytes_make(c->out + c->out_sent, n);
		struct tls_out out = { record, sizeof(record), 0 };

		if (tcp_send_room(t->town_tcp, c->conn) < 2 * n + 200 ||
		    tcp_unacked(t->town_tcp, c->conn) > 60000 ||
		    tcp_unacked(t->town_tcp, c->conn) > PIECES_UNACKED_MAX * n) {
			c->send_at_ns = t->now_ns + 5 * NSEC_PER_MSEC;
			return;
		}
		if (!tls_is_used(&c->tls)) {
			send_raw(t, c, plain);
		} else {
			enum err verdict = tls_write(&c->tls, &plain, &out);

			if (verdict != ERR_OK || plain.len > 0)
				town_fail(t, "%s cannot seal: %s", c->is_backend ? "a backend" : "a client",
					  err_name(verdict));
			if (c->reset_after_out && c->out_sent + n == c->out_len) {
				/* A part of the record has arrived when the reset does. */
				send_raw(t, c, bytes_make(record, out.used / 2));
				c->out_sent += n;
				c->send_at_ns = t->now_ns + 50 * NSEC_PER_MSEC;
				return;
			}
			send_raw(t, c, bytes_make(record, out.used));
		}
		c->out_sent += n;
	}
	c->send_at_ns = c->out_sent < c->out_len ? t->now_ns + c->gap_ns : NEVER_NS;
	if (c->out_sent == c->out_len) {
		c->out_len = 0;
		c->out_sent = 0;
		if (c->reset_after_out) {
			tcp_abort(t->town_tcp, c->conn);
			conn_put(t, c);
		} else if (c->close_after_out) {
			end_well(t, c);
		}
	}
}

/* What came from TCP, as plaintext behind c->in. False: the connection is gone. */
static bool
read_all(struct town *t, struct town_conn *c)
{
	struct pkt *p;

	while ((p = tcp_take(t->town_tcp, c->conn)) != NULL) {
		static uint8_t wire[65536];
		struct bytes in = bytes_make(wire, pkt_total(p));
		struct tls_out plain = { c->in + c->in_len, 2 * TOWN_TEXT_BYTES_MAX - c->in_len, 0 };

		CHECK(in.len <= sizeof(wire) && in.len <= plain.room);
		pkt_copy_out(p, 0, wire, (uint32_t)in.len);
		pkt_free(p);
		tcp_consumed(t->town_tcp, c->conn, (uint32_t)in.len);
		if (!tls_is_used(&c->tls)) {
			memcpy(plain.ptr, wire, in.len);
			c->in_len += (uint32_t)in.len;
			continue;
		}
		if (c->shake == SHAKE_SILENT)
			continue;
		if (c->shake != SHAKE_WELL)
			return spoil(t, c, &in);
		if (!shake_hands(t, c, &in)) {
			t->pods[c->pod].refusals++;
			tcp_close(t->town_tcp, c->conn);
			conn_put(t, c);
			return false;
		}
		while (c->tls_open && in.len > 0) {
			uint8_t answer[256];
			struct tls_out out = { answer, sizeof(answer), 0 };
			enum err verdict = tls_read(&c->tls, &in, &plain, &out);

			send_raw(t, c, bytes_make(answer, out.used));
			if (verdict != ERR_OK && verdict != ERR_MORE && verdict != ERR_TLS_CLOSED)
				town_fail(t, "record: %s", err_name(verdict));
			if (verdict != ERR_OK)
				break;
		}
		c->in_len += (uint32_t)plain.used;
	}
	return true;
}

/* --- events ----------------------------------------------------------------------------- */

static void
lost(struct town *t, struct town_conn *c, const struct tcp_event *event)
{
	c->reason = event->bits & TCP_EVENT_ERROR ? event->reason : ERR_OK;
	tcp_close(t->town_tcp, event->conn);
	if (c->is_backend)
		conn_put(t, c);
	else
		client_lost(t, c);
}

static void
handle_event(struct town *t, const struct tcp_event *event)
{
	struct bytes nothing = BYTES_NONE;
	struct town_conn *c;

	if (event->bits & TCP_EVENT_ACCEPTED) {
		c = conn_get(t, event->conn, true);
		accept_backend(t, c);
	} else {
		c = &t->conns[event->user];
	}
	if (event->bits & TCP_EVENT_CONNECTED) {
		c->is_connected = true;
		if (tls_is_used(&c->tls))
			(void)shake_hands(t, c, &nothing);
	}
	if (event->bits & TCP_EVENT_ERROR) {
		lost(t, c, event);
		return;
	}
	if (!read_all(t, c))
		return;
	if (c->in_len > 0 || (event->bits & TCP_EVENT_READABLE)) {
		if (c->is_backend)
			backend_received(t, c);
		else
			client_received(t, c);
	}
	/* Either may have let go of the connection, or begun another in its place. */
	if (!c->is_used || c->conn != event->conn)
		return;
	if (event->bits & TCP_EVENT_EOF)
		lost(t, c, event);
	else
		conn_pump(t, c);
}

static void
run_conns(struct town *t)
{
	for (uint32_t i = 0; i < TOWN_CONNS_MAX; i++) {
		struct town_conn *c = &t->conns[i];

		if (c->is_used && c->wake_at_ns <= t->now_ns)
			client_wake(t, c);
		if (c->is_used && c->send_at_ns <= t->now_ns)
			conn_pump(t, c);
	}
}

static uint64_t
conns_next_at(const struct town *t)
{
	uint64_t at_ns = NEVER_NS;

	for (uint32_t i = 0; i < TOWN_CONNS_MAX; i++) {
		const struct town_conn *c = &t->conns[i];

		if (c->is_used && c->wake_at_ns < at_ns)
			at_ns = c->wake_at_ns;
		if (c->is_used && c->is_connected && (!tls_is_used(&c->tls) || c->tls_open) &&
		    c->send_at_ns < at_ns)
			at_ns = c->send_at_ns;
	}
	return at_ns;
}

/* Those that were refused, and have waited. */
static void
clients_turn(struct town *t)
{
	for (uint32_t i = 0; i < t->plan.client_count; i++) {
		if (t->again_at_ns[i] == 0 || t->again_at_ns[i] > t->now_ns)
			continue;
		t->again_at_ns[i] = 0;
		client_begin(t, i);
	}
}

static uint64_t
clients_next_at(const struct town *t)
{
	uint64_t at_ns = NEVER_NS;

	for (uint32_t i = 0; i < t->plan.client_count; i++)
		if (t->again_at_ns[i] != 0 && t->again_at_ns[i] < at_ns)
			at_ns = t->again_at_ns[i];
	return at_ns;
}

/* --- the clock ------------------------------------------------------------------------------ */

static void
deliver(struct town *t, struct link *from, struct net *to)
{
	struct pkt *frame;

	while ((frame = link_receive(from, t->now_ns)) != NULL) {
		if (t->saw != NULL && to == &t->router_net)
			t->saw(t, false, frame);
		pkt_meta(frame)->port = 0;
		net_receive(to, frame, t->now_ns);
	}
}

static void
collect(struct town *t, struct net *from, struct link *to)
{
	struct pkt *frame;

	while ((frame = net_transmit_next(from)) != NULL) {
		if (t->saw != NULL && from == &t->router_net)
			t->saw(t, true, frame);
		link_send(to, frame, t->now_ns);
	}
}

/* Those that came behind the backend's last word. */
static uint64_t
events_untold(const struct exchange *x)
{
	return x->admission.completes && x->events > x->events_told ? x->events - x->events_told : 0;
}

/* If the router died now: what a backend may have of a request is in the spool or on the tab, and not in both. */
static void
judge_tab(struct town *t)
{
	const struct tab_line *lines = (const void *)((const uint8_t *)t->tab + TAB_HEADER_BYTES);

	for (uint32_t i = 0; i < t->tab->capacity; i++) {
		const struct exchange *x = &t->worker->exchanges[i];
		bool is_owed = x->state != EXCHANGE_FREE && x->any_sent && !x->settled;
		struct usage_record record;
		uint64_t sequence;
		enum err verdict = tab_read(&lines[i], &record, &sequence);

		if (verdict != (is_owed ? ERR_OK : ERR_MORE))
			town_fail(t, "line %u of the tab is %s", i, err_name(verdict));
		if (!is_owed)
			continue;
		if (sequence != 0 || record.outcome != USAGE_CRASHED || record.source == USAGE_FINAL ||
		    memcmp(record.request_id, x->admission.request_id, sizeof(record.request_id)) != 0)
			town_fail(t, "line %u of the tab is of another request", i);
		if (!x->answered && record.cost_nano != 0)
			town_fail(t, "line %u of the tab bills what nobody got", i);
		if (x->is_events && !x->usage.present && record.completion_tokens != x->events)
			town_fail(t, "line %u of the tab has %" PRIu64 " of %" PRIu64 " events", i,
				  record.completion_tokens, x->events);
		if (x->is_events && x->usage.present && x->usage.has_completion && !x->usage.odd_completion &&
		    record.completion_tokens != x->usage.completion_tokens + events_untold(x))
			town_fail(t, "line %u of the tab has %" PRIu64 " tokens of %" PRIu64 " and %" PRIu64, i,
				  record.completion_tokens, x->usage.completion_tokens, events_untold(x));
		if (x->answered && !x->is_events && record.response_bytes != x->payload_bytes)
			town_fail(t, "line %u of the tab has %" PRIu64 " octets of %" PRIu64, i,
				  record.response_bytes, x->payload_bytes);
	}
}

static uint64_t
earlier(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns < b_ns ? a_ns : b_ns;
}

static uint64_t
later(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns > b_ns ? a_ns : b_ns;
}

/* When the router's clients and backends have something to do. */
static uint64_t
town_next_at(const struct town *t)
{
	uint64_t at_ns = link_next_at(t->link[1]);

	at_ns = earlier(at_ns, tcp_next_at(t->town_tcp));
	at_ns = earlier(at_ns, net_next_at(&t->town_net));
	at_ns = earlier(at_ns, clients_next_at(t));
	return earlier(at_ns, conns_next_at(t));
}

static void
town_turn(struct town *t)
{
	struct tcp_event event;

	deliver(t, t->link[1], &t->town_net);
	tcp_advance(t->town_tcp, t->now_ns);
	while (tcp_event_next(t->town_tcp, &event))
		handle_event(t, &event);
	run_conns(t);
	clients_turn(t);
	tcp_output_ready(t->town_tcp, t->now_ns);
	net_output(&t->town_net, t->now_ns);
	collect(t, &t->town_net, t->link[0]);
}

static void
receive_and_turn(struct town *t)
{
	deliver(t, t->link[0], &t->router_net);
	worker_turn(t->worker, t->now_ns);
}

static void
shake(struct town *t)
{
	worker_shake(t->worker);
}

/* A part of the router's turn that takes time: what clients and backends do meanwhile happens when it does, not
 * behind it. */
static void
work(struct town *t, void (*part)(struct town *t))
{
	uint64_t at_ns = t->now_ns;
	uint64_t ended_ns = at_ns + t->work(t, part);

	while ((at_ns = later(at_ns, town_next_at(t))) < ended_ns) {
		t->now_ns = at_ns;
		town_turn(t);
	}
	t->now_ns = ended_ns;
	collect(t, &t->router_net, t->link[1]);
}

static void
judge_turn(struct town *t)
{
	pods_judge(t);
	judge_tab(t);
	if (t->turns % TCP_CHECK_TURNS == 0) {
		tcp_check(t->router_tcp);
		tcp_check(t->town_tcp);
	}
}

static void
turn(struct town *t)
{
	t->turns++;
	if (t->work != NULL) {
		/* What was sent has left before handshakes have their share. */
		work(t, receive_and_turn);
		work(t, shake);
	} else {
		deliver(t, t->link[0], &t->router_net);
		pods_turn(t);
		worker_turn(t->worker, t->now_ns);
		worker_shake(t->worker);
	}
	if (t->turned != NULL)
		t->turned(t);
	if (t->work == NULL)
		judge_turn(t);
	collect(t, &t->router_net, t->link[1]);
	town_turn(t);
}

static uint64_t
next_at(const struct town *t)
{
	uint64_t at_ns = earlier(worker_next_at(t->worker), link_next_at(t->link[0]));

	return earlier(earlier(at_ns, pods_next_at(t)), town_next_at(t));
}

void
town_go(struct town *t, uint64_t until_ns, bool stop_when_over)
{
	for (uint32_t i = 0; i < TURNS_MAX; i++) {
		uint64_t at_ns;

		turn(t);
		if (stop_when_over && t->over == t->plan.request_count)
			return;
		at_ns = next_at(t);
		if (at_ns > until_ns || t->now_ns > until_ns) {
			t->now_ns = later(t->now_ns, until_ns);
			return;
		}
		if (at_ns > t->now_ns)
			t->now_ns = at_ns;
	}
	town_fail(t, "too many turns: something spins");
}

/* --- judgement --------------------------------------------------------------------------------- */

static struct town_request *
request_with_id(struct town *t, const uint8_t id[16])
{
	char text[33];

	for (int i = 0; i < 16; i++)
		snprintf(text + 2 * i, 3, "%02x", id[i]);
	for (uint32_t i = 0; i < t->plan.request_count; i++)
		if (t->requests[i].tries > 0 && memcmp(t->requests[i].id, text, 32) == 0)
			return &t->requests[i];
	return NULL;
}

static void
judge_record(struct town *t, const struct usage_record *record, struct town_request *r)
{
	int64_t cost = (int64_t)(((uint64_t)record->prompt_tokens * 150000000 +
				  (uint64_t)record->completion_tokens * 600000000 + 500000) /
				 1000000);

	if (record->account_id != 11 || record->key_id != 13 || record->model_id != 17 ||
	    record->price_version != 3 || record->cost_nano != cost)
		town_fail(t, "request %u: its record is wrong", r->index);
	if (r->status != 200)
		return;
	if (record->outcome != USAGE_OK || record->source != USAGE_FINAL ||
	    record->prompt_tokens != r->prompt_tokens ||
	    record->completion_tokens != r->completion_tokens)
		town_fail(t, "request %u: a finished request is not billed as the backend said", r->index);
}

static void
judge_usage(struct town *t)
{
	uint32_t records[TOWN_REQUESTS_MAX] = { 0 };
	const struct tab_totals *totals = &t->tab->totals[atomic_load(&t->tab->totals_version) & 1];
	struct usage_record record;
	uint64_t tokens = 0;
	int64_t sum = 0;

	for (uint64_t i = 0; i < t->spool.sequence; i++) {
		struct town_request *r;

		if (spool_read(t->spool_memory, i, &record) != ERR_OK)
			town_fail(t, "record %" PRIu64 " is damaged", i);
		sum += record.cost_nano;
		tokens += record.prompt_tokens + record.completion_tokens;
		r = request_with_id(t, record.request_id);
		/* A try whose bytes were all lost with its connection is on record and seen by nobody. */
		if (r == NULL)
			continue;
		records[r->index]++;
		judge_record(t, &record, r);
	}
	for (uint32_t i = 0; i < t->plan.request_count; i++)
		if (records[i] != (t->requests[i].tries > 0))
			town_fail(t, "request %u: %u tries, %u records", i, t->requests[i].tries,
				  records[i]);
	if (atomic_load(&shm_balance(&t->shm, 0)->spent_nano) != sum)
		town_fail(t, "the balance is not what the records say");
	if (totals->sequence != t->spool.sequence || totals->cost_nano != (uint64_t)sum ||
	    totals->tokens != tokens)
		town_fail(t, "the tab's totals are not what the records say");
}

void
town_judge_pools(struct town *t)
{
	const struct worker *w = t->worker;

	if (w->clients_used != 0 || w->exchanges_used != 0 || w->bodies.used != 0 || w->heads_used != 0)
		town_fail(t, "left: %u clients, %u exchanges, %u blocks, %u heads", w->clients_used,
			  w->exchanges_used, w->bodies.used, w->heads_used);
	if (w->upstreams_used != w->upstreams_idle.count)
		town_fail(t, "left: %u busy backends", w->upstreams_used - w->upstreams_idle.count);
	for (uint32_t i = 0; i < TOWN_BACKENDS; i++)
		if (atomic_load(&shm_pod_health(&t->shm, i)->in_flight) != 0)
			town_fail(t, "pod %u still counts requests in flight", i);
	for (uint32_t i = 0; i < w->account_capacity; i++)
		if (atomic_load(&shm_balance(&t->shm, i)->in_flight) != 0 ||
		    atomic_load(&shm_balance(&t->shm, i)->held_nano) != 0)
			town_fail(t, "account %u still has a request in flight, or a hold", i);
}

void
town_open(struct town *t)
{
	struct ip_addr any = { { 0 } };

	router_open(t);
	for (uint16_t i = 0; i < TOWN_BACKENDS; i++)
		CHECK(tcp_listen(t->town_tcp, &any, (uint16_t)(TOWN_BACKEND_PORT + i), 0) == ERR_OK);
	for (uint32_t i = 0; i < t->plan.client_count; i++)
		client_begin(t, i);
}

void
town_finish(struct town *t)
{
	static const struct link_faults calm;

	town_go(t, t->plan.start_ns + TOWN_NS_MAX, true);
	if (t->over != t->plan.request_count)
		town_fail(t, "%u of %u requests are not over", t->plan.request_count - t->over,
			  t->plan.request_count);
	link_set_faults(t->link[0], &calm);
	link_set_faults(t->link[1], &calm);
	town_go(t, t->now_ns + QUIET_NS, false);
	for (uint32_t i = 0; i < TOWN_CONNS_MAX; i++) {
		if (!t->conns[i].is_used)
			continue;
		tcp_abort(t->town_tcp, t->conns[i].conn);
		conn_put(t, &t->conns[i]);
	}
	town_go(t, t->now_ns + QUIET_NS, false);
	judge_usage(t);
	town_judge_pools(t);
	pods_judge_end(t);
	tls_judge(t);
	router_close(t);
}

void
town_run(uint64_t seed, bool is_verbose)
{
	struct town *t = calloc(1, sizeof(*t));

	CHECK(t != NULL);
	t->is_verbose = is_verbose;
	plan_make_town(t, seed);
	town_open(t);
	town_finish(t);
	if (is_verbose)
		printf("seed %" PRIu64 ": %u clients, %u requests, %s, %s%s%s, %.3f s\n", seed,
		       t->plan.client_count, t->plan.request_count, t->plan.is_v6 ? "IPv6" : "IPv4",
		       t->plan.is_tls ? "TLS" : "clear", t->plan.is_https ? ", TLS to backends" : "",
		       t->plan.has_faults ? ", faulty backends" : "",
		       (double)(t->now_ns - t->plan.start_ns) / 1e9);
	free(t);
}

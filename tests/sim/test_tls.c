/* What a worker makes of what clients do with an open TLS connection; and what leaves of it, frame by frame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/check.h"
#include "cert_file.h"
#include "dataplane/client_tls.h"
#include "hand.h"
#include "segment.h"
#include "tls/cert.h"
#include "tls/conn.h"
#include "tls_duo.h"

#define EDGE_PORT 443

/* What the router sent to clients. */
static struct {
	uint32_t frames;
	uint32_t segments; /* those with payload */
	uint32_t bytes; /* of payload */
	uint32_t resets;
	uint32_t ends;
} sent;

static void
see(struct town *town, bool from_router, const struct pkt *frame)
{
	struct hand_segment s;

	(void)town;
	if (!from_router || !hand_read_segment(frame, &s) || s.src_port != EDGE_PORT)
		return;
	sent.frames++;
	sent.segments += s.payload.len > 0;
	sent.bytes += (uint32_t)s.payload.len;
	sent.resets += (s.flags & SEGMENT_RST) != 0;
	sent.ends += (s.flags & SEGMENT_FIN) != 0;
}

/* The client that made the handshake; from then on its end is `mine`: mbedTLS's has no KeyUpdate, nor bounds that
 * a test can reach. */
static struct town_tls client;
static _Alignas(64) struct keyring ring;
static struct records mine;
static uint8_t heard[64 * 1024];
static uint32_t heard_bytes;

/* The router's end. */
static struct records *
edge(void)
{
	struct worker *w = hand.town->worker;

	for (uint32_t i = 0; i < w->config.counts.clients; i++)
		if (w->clients[i].state != CLIENT_FREE)
			return &w->clients[i].tls->records;
	return NULL;
}

/* The client has connected: from here its records are ours. */
static void
take_over(uint16_t version)
{
	hand_go(100 * MS); /* what TLS 1.3 says behind the handshake */
	client = hand.client->tls;
	hand.client->tls = (struct town_tls){ .stock = NULL };
	hand.town->plan.is_h2 = false; /* what comes is not read as frames before it is opened */
	assert_true(keyring_init(&ring, NULL));
	mine = *edge();
	mine.send = edge()->receive;
	mine.receive = edge()->send;
	mine.is_client = true;
	assert_int_equal(mine.is_13, version == 0x0304);
	heard_bytes = 0;
	hand.town->saw = see;
	memset(&sent, 0, sizeof(sent));
}

static void
begin(bool is_h2, uint16_t version)
{
	struct town_plan plan = hand_plan();

	plan.is_h2 = is_h2;
	plan.is_tls = true;
	plan.tls_version = version;
	hand_begin(&plan);
	take_over(version);
}

static void
finish(void)
{
	records_end(&mine, &ring);
	keyring_fini(&ring);
	tls_free(&client);
	hand_finish();
}

/* A segment of its own, as it is. */
static void
say_raw(struct bytes wire)
{
	struct pkt *p = pkt_alloc(&hand.town->town_payload);

	memcpy(pkt_append(p, (uint32_t)wire.len), wire.ptr, wire.len);
	assert_int_equal(tcp_send(hand.town->town_tcp, hand.client->conn, p, false), ERR_OK);
}

static void
say_owed(void)
{
	uint8_t wire[RECORDS_ANSWER_BYTES_MAX];
	size_t written;

	assert_int_equal(records_answer(&mine, &ring, wire, sizeof(wire), &written), ERR_OK);
	if (written > 0)
		say_raw(bytes_make(wire, written));
}

/* The record of a text, which is not sent. */
static struct bytes
seal(struct bytes text)
{
	static uint8_t wire[1500];
	size_t head = records_head_bytes(&mine);
	struct piece piece = { wire + head, text.len };
	struct pieces plain = { &piece, 1 };

	memcpy(piece.ptr, text.ptr, text.len);
	assert_int_equal(records_seal(&mine, &ring, &plain, wire, piece.ptr + text.len, hand.town->now_ns),
			 ERR_OK);
	return bytes_make(wire, head + text.len + records_tail_bytes(&mine));
}

static void
say(struct bytes text)
{
	say_owed();
	say_raw(seal(text));
	hand_go(50 * MS);
}

/* Opens what has come; the verdict of the last record. */
static enum err
hear(void)
{
	struct town_conn *c = hand.client;
	enum err verdict;

	for (;;) {
		struct piece piece = { c->in, c->in_len };
		struct pieces in = { &piece, 1 };
		struct records_opened opened;

		verdict = records_open(&mine, &ring, &in, hand.town->now_ns, &opened);
		if (verdict != ERR_OK)
			return verdict;
		if (opened.kind == RECORDS_DATA) {
			memcpy(heard + heard_bytes, c->in + opened.offset, opened.len);
			heard_bytes += (uint32_t)opened.len;
		}
		c->in_len -= (uint32_t)opened.taken;
		memmove(c->in, c->in + opened.taken, c->in_len);
	}
}

static uint64_t
counted(enum err verdict)
{
	return hand.town->worker->counters[verdict];
}

static const char ask[] = "GET /v1/models HTTP/1.1\r\nhost: edge\r\nauthorization: " HAND_KEY "\r\n\r\n";

/* A request of HTTP/1.1, and its answer. */
static void
assert_goes_on(void)
{
	heard_bytes = 0;
	say(BYTES_LITERAL(ask));
	assert_non_null(hand.client);
	assert_int_equal(hear(), ERR_MORE);
	assert_true(heard_bytes > 100);
	assert_memory_equal(heard, "HTTP/1.1 200", 12);
}

/* --- keys ------------------------------------------------------------------------------------- */

static void
assert_same_keys(void)
{
	assert_memory_equal(edge()->send.secret, mine.receive.secret, sizeof(mine.receive.secret));
	assert_memory_equal(edge()->receive.secret, mine.send.secret, sizeof(mine.send.secret));
}

static void
keys_are_renewed_as_the_client_asks(void **state)
{
	struct records before;

	(void)state;
	begin(false, 0x0304);
	assert_goes_on();
	before = mine;
	records_renew(&mine, false);
	assert_goes_on();
	assert_memory_not_equal(mine.send.secret, before.send.secret, 32);
	assert_memory_equal(mine.receive.secret, before.receive.secret, 32);
	before = mine;
	records_renew(&mine, true);
	assert_goes_on();
	assert_memory_not_equal(mine.send.secret, before.send.secret, 32);
	assert_memory_not_equal(mine.receive.secret, before.receive.secret, 32);
	assert_same_keys();
	finish();
}

static void
keys_are_renewed_before_they_are_worn(void **state)
{
	struct records before;

	(void)state;
	begin(false, 0x0304);
	/* Ours. */
	before = mine;
	edge()->send.sequence = mine.receive.sequence = RECORDS_GCM_RENEW - 1;
	assert_goes_on();
	mine.owes = 0; /* we do not ask for it */
	assert_goes_on();
	assert_memory_not_equal(mine.receive.secret, before.receive.secret, 32);
	assert_memory_equal(mine.send.secret, before.send.secret, 32);
	assert_true(edge()->send.sequence < 4);
	/* The client's, which is asked for it. */
	edge()->receive.sequence = mine.send.sequence = RECORDS_GCM_RENEW - 1;
	assert_goes_on();
	assert_true(records_owes(&mine));
	assert_goes_on();
	assert_memory_not_equal(mine.send.secret, before.send.secret, 32);
	assert_same_keys();
	assert_int_equal(counted(ERR_TLS_WORN), 0);
	finish();
}

/* A client that does not renew its key, though it was asked. */
static void
a_client_with_a_worn_key_is_left(void **state)
{
	(void)state;
	for (uint16_t version = 0x0303; version <= 0x0304; version++) {
		begin(false, version);
		edge()->receive.sequence = RECORDS_GCM_MAX;
		say(BYTES_LITERAL(ask));
		assert_int_equal(counted(ERR_TLS_WORN), 1);
		assert_null(hand.client);
		assert_int_equal(sent.ends, 1);
		assert_int_equal(sent.resets, 0);
		finish();
	}
}

/* TLS 1.2 has no other key: what is under way is said, and then the end. */
static void
a_worn_key_of_tls_12_ends_the_connection_behind_the_answer(void **state)
{
	static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
				   "transfer-encoding: chunked\r\n\r\n";
	static const char event[] = "32\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"word\"}}]}\n\n\r\n";
	static const char end[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
	char request[512];

	(void)state;
	begin(false, 0x0303);
	snprintf(request, sizeof(request),
		 "POST /v1/chat/completions HTTP/1.1\r\nhost: edge\r\nauthorization: " HAND_KEY "\r\n"
		 "content-length: %zu\r\n\r\n%s",
		 strlen(HAND_CHAT), HAND_CHAT);
	say(bytes_from_text(request));
	hand_backends_say(BYTES_LITERAL(head));
	hand_backends_say(BYTES_LITERAL(event));
	hand_go(50 * MS);
	assert_int_equal(hear(), ERR_MORE);
	edge()->send.sequence = mine.receive.sequence = RECORDS_GCM_RENEW - 1;
	for (int i = 0; i < 3; i++) {
		uint32_t bytes = heard_bytes;

		hand_backends_say(BYTES_LITERAL(event));
		hand_go(50 * MS);
		assert_non_null(hand.client);
		assert_int_equal(hear(), ERR_MORE);
		assert_true(heard_bytes > bytes + 50);
	}
	assert_int_equal(counted(ERR_TLS_WORN), 0);
	memset(&sent, 0, sizeof(sent));
	hand_backends_say(BYTES_LITERAL(end));
	hand_go(50 * MS);
	assert_int_equal(counted(ERR_TLS_WORN), 1);
	/* The end of the answer, and close_notify. */
	assert_in_range(sent.bytes, 19 + 29 + 31, 100);
	assert_int_equal(sent.ends, 1);
	assert_int_equal(sent.resets, 0);
	assert_null(hand.client);
	finish();
}

/* A frame as its bytes. */
static void
put_frame(struct bytes *to, uint8_t type, uint8_t flags, uint32_t stream, struct bytes payload)
{
	uint8_t *at = (uint8_t *)(uintptr_t)to->ptr + to->len;

	h2frame_make_head(at, type, flags, stream, payload.len);
	if (payload.len > 0)
		memcpy(at + H2FRAME_HEAD_BYTES, payload.ptr, payload.len);
	to->len += H2FRAME_HEAD_BYTES + payload.len;
}

/* Whether such a frame is among what was heard. */
static bool
heard_frame(uint8_t type, uint32_t stream)
{
	for (uint32_t at = 0; at + H2FRAME_HEAD_BYTES <= heard_bytes;
	     at += H2FRAME_HEAD_BYTES + h2frame_len(heard + at))
		if (heard[at + 3] == type && h2frame_stream(heard + at) == stream)
			return true;
	return false;
}

/* A request that is answered with two octets of payload, of which the head has come. */
static void
begin_answer_of_h2(uint16_t version)
{
	static uint8_t memory[1024];
	static const char head[] = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
	struct bytes text = bytes_make(memory, 0);
	const struct h2frame_block *block;

	begin(true, version);
	memcpy(memory, H2FRAME_PREFACE, sizeof(H2FRAME_PREFACE) - 1);
	text.len = sizeof(H2FRAME_PREFACE) - 1;
	put_frame(&text, H2FRAME_SETTINGS, 0, 0, BYTES_NONE);
	block = hand_block("POST", "/v1/chat/completions", HAND_KEY);
	put_frame(&text, H2FRAME_HEADERS, H2FRAME_END_HEADERS, 1, bytes_make(block->bytes, block->len));
	put_frame(&text, H2FRAME_DATA, H2FRAME_END_STREAM, 1, BYTES_LITERAL(HAND_CHAT));
	say(text);
	hand_backends_say(BYTES_LITERAL(head));
	hand_go(50 * MS);
	assert_int_equal(hear(), ERR_MORE);
	assert_true(heard_frame(H2FRAME_HEADERS, 1));
	assert_false(heard_frame(H2FRAME_GOAWAY, 0));
	heard_bytes = 0;
}

/* GOAWAY has been said; the answer goes on to its end, and the connection ends behind it. */
static void
end_answer_of_h2(void)
{
	assert_int_equal(hear(), ERR_MORE);
	assert_true(heard_frame(H2FRAME_GOAWAY, 0));
	assert_non_null(hand.client);
	assert_int_equal(sent.ends, 0);
	hand_backends_say(BYTES_LITERAL("{"));
	hand_go(50 * MS);
	assert_int_equal(hear(), ERR_MORE);
	assert_true(heard_frame(H2FRAME_DATA, 1));
	hand_backends_say(BYTES_LITERAL("}"));
	hand_go(50 * MS);
	assert_null(hand.client);
	assert_int_equal(sent.ends, 1);
	assert_int_equal(sent.resets, 0);
}

/* Over HTTP/2 it is said that no more will be answered; what is asked already is. */
static void
a_worn_key_of_tls_12_ends_http2_by_goaway(void **state)
{
	static uint8_t memory[64];
	struct bytes text = bytes_make(memory, 0);

	(void)state;
	begin_answer_of_h2(0x0303);
	edge()->send.sequence = mine.receive.sequence = RECORDS_GCM_RENEW;
	put_frame(&text, H2FRAME_PING, 0, 0, BYTES_LITERAL("12345678"));
	say(text);
	assert_int_equal(counted(ERR_TLS_WORN), 0);
	end_answer_of_h2();
	assert_int_equal(counted(ERR_TLS_WORN), 1);
	finish();
}

/* --- a listener that believes its clients by others ---------------------------------------------------- */

/* From now on clients of that listener need a certificate, which ours has not shown. */
static void
begin_to_believe_others(uint32_t listener)
{
	struct tls_identity *identity = tls_identity_new();
	char text[CERT_TEXT_BYTES];

	assert_int_equal(tls_identity_add(identity, 0, cert_file("edge.pem"), cert_file("edge.key"), CERT_ANY_TIME,
					  text, sizeof(text)), ERR_OK);
	assert_int_equal(tls_identity_add_client_ca(identity, listener, cert_file("ca.pem"), text,
						    sizeof(text)), ERR_OK);
	client_tls_adopt_keys(hand.town->worker, tls_keys_new(identity, NULL));
	tls_identity_free(identity);
	(void)tls_context_sweep(hand.town->tls);
}

static void
believe_others(uint32_t listener)
{
	begin_to_believe_others(listener);
	hand_go(50 * MS);
}

#define CLOSE_BYTES_13 (5 + 2 + 1 + 16) /* close_notify */

static void
assert_left(void)
{
	assert_null(hand.client);
	assert_int_equal(sent.ends, 1);
	assert_int_equal(sent.resets, 0);
}

static void
idle_clients_are_retired_at_once(void **state)
{
	(void)state;
	begin(false, 0x0304);
	believe_others(1);
	assert_goes_on();
	memset(&sent, 0, sizeof(sent));
	believe_others(0);
	assert_int_equal(sent.bytes, CLOSE_BYTES_13);
	assert_left();
	finish();
}

/* Whoever comes behind the change is believed by those who are there. */
static void
clients_that_come_later_stay(void **state)
{
	(void)state;
	begin(false, 0x0304);
	believe_others(0);
	assert_left();
	believe_others(1); /* and no certificate is asked for at ours any more */
	records_end(&mine, &ring);
	keyring_fini(&ring);
	tls_free(&client);
	client_begin(hand.town, 0);
	take_over(0x0304);
	assert_goes_on();
	assert_goes_on();
	finish();
}

/* However many there are, no turn ends more of them than its share. */
static void
idle_clients_are_retired_a_few_a_turn(void **state)
{
	struct tcp_stats *stats;
	struct worker *w;
	uint32_t turns = 0;

	(void)state;
	begin(false, 0x0304);
	w = hand.town->worker;
	begin_to_believe_others(1);
	/* While packets are scarce nobody is made to take one. */
	stats = (struct tcp_stats *)(uintptr_t)tcp_stats(w->tcp);
	stats->pressure = TCP_PRESSURE_EDGE;
	assert_false(client_tls_sweeps(w));
	stats->pressure = TCP_PRESSURE_NONE;
	assert_true(client_tls_sweeps(w));
	begin_to_believe_others(0);
	for (uint32_t left = w->config.counts.clients; client_tls_sweeps(w); left = w->clients_to_sweep) {
		worker_turn(w, hand.town->now_ns);
		assert_true(left - w->clients_to_sweep <= CLIENT_SWEEPS_PER_TURN_MAX);
		turns++;
	}
	assert_int_equal(turns, (w->config.counts.clients + CLIENT_SWEEPS_PER_TURN_MAX - 1) /
					CLIENT_SWEEPS_PER_TURN_MAX);
	hand_go(50 * MS);
	assert_left();
	finish();
}

/* Its answer is there, and what is still to come of its body is nobody's. */
static void
clients_of_whom_nothing_is_wanted_are_retired_at_once(void **state)
{
	(void)state;
	begin(false, 0x0304);
	say(BYTES_LITERAL("POST /v1/chat/completions HTTP/1.1\r\nhost: edge\r\ncontent-length: 100\r\n\r\n{"));
	assert_int_equal(hear(), ERR_MORE);
	assert_memory_equal(heard, "HTTP/1.1 401", 12);
	memset(&sent, 0, sizeof(sent));
	believe_others(0);
	assert_int_equal(sent.bytes, CLOSE_BYTES_13);
	assert_left();
	finish();
}

/* From the first octet of the head to the last of the answer; as soon as its head is made the client is told. */
static void
the_request_of_a_retired_client_is_its_last(void **state)
{
	static const char head[] = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
	char request[512];

	(void)state;
	for (int where = 0; where < 4; where++) {
		size_t len = (size_t)snprintf(request, sizeof(request),
					      "POST /v1/chat/completions HTTP/1.1\r\nhost: edge\r\n"
					      "authorization: " HAND_KEY "\r\ncontent-length: %zu\r\n\r\n%s",
					      strlen(HAND_CHAT), HAND_CHAT);
		size_t before = where == 0 ? 1 : where == 1 ? len - 1 : len;

		begin(false, 0x0304);
		say(bytes_make((const uint8_t *)request, before));
		if (where == 3)
			hand_backends_say(BYTES_LITERAL(head));
		hand_go(50 * MS);
		believe_others(0);
		assert_int_equal(sent.ends, 0);
		if (before < len)
			say(bytes_make((const uint8_t *)request + before, len - before));
		if (where < 3)
			hand_backends_say(BYTES_LITERAL(head));
		hand_backends_say(BYTES_LITERAL("{"));
		hand_go(50 * MS);
		assert_int_equal(hear(), ERR_MORE);
		assert_memory_equal(heard, "HTTP/1.1 200", 12);
		assert_int_equal(memmem(heard, heard_bytes, "connection: close", 17) != NULL, where < 3);
		assert_int_equal(sent.ends, 0);
		memset(&sent, 0, sizeof(sent));
		hand_backends_say(BYTES_LITERAL("}"));
		hand_go(50 * MS);
		assert_int_equal(sent.bytes, 5 + 1 + 1 + 16 + CLOSE_BYTES_13);
		assert_left();
		finish();
	}
}

/* Another client, whose handshake the test drives. */
static struct {
	struct tls_client *tls;
	struct tls_out out;
	size_t said; /* of *out */
	uint8_t wire[16 * 1024];
} late;

/* What it has to say by what it has heard. */
static void
step_late(void)
{
	enum err verdict = ERR_TLS_AGAIN;

	while (hand.client != NULL && verdict == ERR_TLS_AGAIN) {
		struct bytes in = bytes_make(hand.client->in, hand.client->in_len);

		verdict = tls_client_step(late.tls, &in, &late.out);
		hand.client->in_len = (uint32_t)in.len;
		memmove(hand.client->in, in.ptr, in.len);
	}
}

static void
begin_late(uint16_t version)
{
	struct tls_client_config config = tls_duo_client_of(version);

	begin(false, version);
	hand_connect(1);
	late.tls = tls_client_new(&config);
	late.out = (struct tls_out){ late.wire, sizeof(late.wire), 0 };
	late.said = 0;
	step_late();
}

/* So much of it, as one segment, and what was sent for it. */
static void
say_late(size_t bytes)
{
	memset(&sent, 0, sizeof(sent));
	say_raw(bytes_make(late.wire + late.said, bytes));
	late.said += bytes;
	hand_go(20 * MS);
}

static void
finish_late(void)
{
	tls_client_free(late.tls);
	finish();
}

/* With one octet it has begun, and believes whom it began with. */
static void
who_is_retired_in_his_handshake_gets_no_further(void **state)
{
	(void)state;
	for (uint16_t version = 0x0303; version <= 0x0304; version++) {
		begin_late(version);
		say_late(1);
		believe_others(0);
		while (hand.client != NULL && late.said < late.out.used) {
			say_late(late.out.used - late.said);
			step_late();
		}
		assert_int_equal(hand.town->worker->counters[counter_at(COUNTER_HANDSHAKES_FULL)], 2);
		assert_left();
		finish_late();
	}
}

/* --- segments of a handshake -------------------------------------------------------------------- */

/* It is made in steps, of several turns each; sending costs as much as some of them. */
static void
a_flight_is_one_segment_and_has_the_acknowledgment(void **state)
{
	(void)state;
	for (uint16_t version = 0x0303; version <= 0x0304; version++) {
		begin_late(version);
		/* Who has said half waits for nothing. */
		say_late(late.out.used / 2);
		assert_int_equal(sent.frames, 1);
		assert_int_equal(sent.segments, 0);
		say_late(late.out.used - late.said);
		assert_int_equal(sent.frames, 1);
		assert_int_equal(sent.segments, 1);
		step_late();
		say_late(late.out.used - late.said);
		assert_int_equal(sent.frames, 1);
		assert_int_equal(sent.segments, 1);
		assert_int_equal(hand.town->worker->counters[counter_at(COUNTER_HANDSHAKES_FULL)], 2);
		step_late();
		/* And no longer than that. */
		memset(&sent, 0, sizeof(sent));
		say_raw(BYTES_LITERAL("\x17"));
		hand_go(1 * MS + 10 * NSEC_PER_USEC);
		assert_int_equal(sent.frames, 1);
		finish_late();
	}
}

static void
retired_clients_of_http2_are_told_at_once(void **state)
{
	(void)state;
	begin_answer_of_h2(0x0304);
	believe_others(0);
	end_answer_of_h2();
	finish();
}

/* --- ends --------------------------------------------------------------------------------------- */

/* With bytes behind it that nobody reads, TCP's reset would take it back (RFC 9293 SHLD-3). */
static void
the_alert_is_sent_though_all_has_come_with_the_end(void **state)
{
	static uint8_t record[5 + 100] = { 23, 3, 3, 0, 100 };
	static const uint8_t behind[1400];

	(void)state;
	for (uint16_t version = 0x0303; version <= 0x0304; version++) {
		begin(false, version);
		say_raw(bytes_make(record, sizeof(record)));
		for (int i = 0; i < 4; i++)
			say_raw(bytes_make(behind, sizeof(behind)));
		tcp_shutdown(hand.town->town_tcp, hand.client->conn);
		hand_go(100 * MS);
		assert_int_equal(counted(ERR_TLS_NOT_AUTHENTIC), 1);
		assert_in_range(sent.bytes, 5 + 2 + 16, 5 + 2 + 8 + 16);
		assert_int_equal(sent.ends, 1);
		assert_int_equal(sent.resets, 0);
		finish();
	}
}

/* Whoever sits on the way can end TCP, and nothing else tells: what is not whole is no request. */
static void
an_end_without_close_notify_is_a_cut(void **state)
{
	static const char body[] = "POST /v1/chat/completions HTTP/1.1\r\nhost: edge\r\nauthorization: " HAND_KEY
				   "\r\ncontent-length: 1000\r\n\r\n{";

	(void)state;
	for (uint16_t version = 0x0303; version <= 0x0304; version++) {
		for (int where = 0; where < 4; where++) {
			begin(false, version);
			if (where == 1) /* inside of a record */
				say_raw(bytes_make(seal(BYTES_LITERAL(ask)).ptr, 20));
			else if (where == 2)
				say(BYTES_LITERAL(body));
			else if (where == 3)
				records_close(&mine);
			say_owed();
			tcp_shutdown(hand.town->town_tcp, hand.client->conn);
			hand_go(100 * MS);
			assert_int_equal(counted(ERR_TLS_TRUNCATED), where < 3);
			assert_null(hand.client);
			assert_int_equal(hand.backend.requests, 0);
			finish();
		}
	}
}

/* A head's time runs from its first byte, and that of a record which is not whole is one. */
static void
half_a_record_of_a_head_has_the_time_of_a_head(void **state)
{
	(void)state;
	for (uint16_t version = 0x0303; version <= 0x0304; version++) {
		const struct worker_times *times;
		struct bytes wire;

		begin(false, version);
		times = &hand.town->worker->config.times;
		assert_true(times->header_ns + SEC < times->idle_ns);
		wire = seal(BYTES_LITERAL(ask));
		say_raw(bytes_make(wire.ptr, 30));
		hand_go(times->header_ns / 2);
		/* More of it does not move the end. */
		say_raw(bytes_make(wire.ptr + 30, 30));
		hand_go(times->header_ns / 2 - 100 * MS);
		assert_int_equal(counted(ERR_CLIENT_SLOW), 0);
		assert_int_equal(sent.ends, 0);
		hand_go(200 * MS);
		assert_int_equal(counted(ERR_CLIENT_SLOW), 1);
		assert_int_equal(sent.ends, 1);
		assert_int_equal(sent.resets, 0);
		finish();
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_renewed_as_the_client_asks),
		cmocka_unit_test(keys_are_renewed_before_they_are_worn),
		cmocka_unit_test(a_client_with_a_worn_key_is_left),
		cmocka_unit_test(a_worn_key_of_tls_12_ends_the_connection_behind_the_answer),
		cmocka_unit_test(a_worn_key_of_tls_12_ends_http2_by_goaway),
		cmocka_unit_test(idle_clients_are_retired_at_once),
		cmocka_unit_test(clients_that_come_later_stay),
		cmocka_unit_test(idle_clients_are_retired_a_few_a_turn),
		cmocka_unit_test(clients_of_whom_nothing_is_wanted_are_retired_at_once),
		cmocka_unit_test(the_request_of_a_retired_client_is_its_last),
		cmocka_unit_test(who_is_retired_in_his_handshake_gets_no_further),
		cmocka_unit_test(a_flight_is_one_segment_and_has_the_acknowledgment),
		cmocka_unit_test(retired_clients_of_http2_are_told_at_once),
		cmocka_unit_test(the_alert_is_sent_though_all_has_come_with_the_end),
		cmocka_unit_test(an_end_without_close_notify_is_a_cut),
		cmocka_unit_test(half_a_record_of_a_head_has_the_time_of_a_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What the town asks of its people is little here: the test says when who says what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "hand.h"

#include "base/check.h"
#include "defaults.h"
#include "http/h1.h"
#include "segment.h"

struct hand hand;

/* --- what the town asks of its people ------------------------------------------------- */

void
plan_make_town(struct town *town, uint64_t seed)
{
	(void)town, (void)seed;
}

void
town_text(const struct town *town, uint32_t request, uint32_t what, char *to, uint32_t bytes)
{
	(void)town, (void)request, (void)what;
	memset(to, 'x', bytes);
}

void
h2_client_free(struct town_h2 *h)
{
	CHECK(h == NULL);
}

static struct town_conn *
connect_from(struct town *town, struct ip_addr address)
{
	struct tcp_tuple tuple = { .local = address, .remote = town_address(town, true), .remote_port = 443 };
	tcp_conn_t conn;

	CHECK(tcp_connect(town->town_tcp, &tuple, 0, &conn, town->now_ns) == ERR_OK);
	hand.client = conn_get(town, conn, false);
	hand.client->piece_bytes = 16000;
	memset(&hand.heard, 0, sizeof(hand.heard));
	if (hand.inflater != NULL)
		nghttp2_hd_inflate_del(hand.inflater);
	CHECK(nghttp2_hd_inflate_new(&hand.inflater) == 0);
	return hand.client;
}

void
client_begin(struct town *town, uint32_t index)
{
	struct town_conn *c = connect_from(town, town_address(town, false));

	c->client = index;
	if (town->plan.is_tls)
		c->tls.stock = conn_tls(town);
}

struct town_conn *
hand_connect(uint8_t network)
{
	struct ip_addr address = town_address(hand.town, false);
	struct town_conn *c;

	CHECK(network < hand.town->plan.networks);
	address.byte[14] = network;
	c = connect_from(hand.town, address);
	hand_go(10 * MS);
	return c;
}

void
client_wake(struct town *town, struct town_conn *c)
{
	(void)town;
	c->wake_at_ns = NEVER_NS;
}

void
client_lost(struct town *town, struct town_conn *c)
{
	conn_put(town, c);
	if (hand.client == c)
		hand.client = NULL;
}

/* The first request in the input is whole. */
static bool
has_request(struct bytes input, size_t *used)
{
	static struct h1_request head;
	struct h1_scan scan = { 0 };
	struct h1_body body;
	struct bytes rest = input;

	if (h1_parse_request(input, &scan, &head) != ERR_OK)
		return false;
	bytes_advance(&rest, head.head.head_bytes);
	h1_body_init(&body, &head.head);
	while (!body.done) {
		struct bytes payload;

		if (h1_body_feed(&body, &rest, &payload) != ERR_OK)
			return false;
	}
	*used = (size_t)(rest.ptr - input.ptr);
	return true;
}

void
backend_received(struct town *town, struct town_conn *c)
{
	size_t used;

	while (has_request(bytes_make(c->in, c->in_len), &used)) {
		hand.backend.requests++;
		c->in_len -= (uint32_t)used;
		memmove(c->in, c->in + used, c->in_len);
		if (hand.backend.answer.len == 0)
			continue;
		conn_write(town, c, hand.backend.answer.ptr, (uint32_t)hand.backend.answer.len);
		c->send_at_ns = town->now_ns;
		conn_pump(town, c);
	}
}

/* --- what passes the wire ------------------------------------------------------------------- */

static uint16_t
two_octets(const uint8_t *from)
{
	return (uint16_t)(from[0] << 8 | from[1]);
}

bool
hand_read_segment(const struct pkt *frame, struct hand_segment *s)
{
	static uint8_t flat[SEGMENT_BYTES_MAX];
	const uint8_t *ip = flat + 14, *tcp = ip + 20;
	size_t head_bytes;

	CHECK(pkt_total(frame) <= sizeof(flat));
	pkt_copy_out(frame, 0, flat, pkt_total(frame));
	if (two_octets(flat + 12) != 0x0800 || ip[9] != 6)
		return false;
	CHECK(ip[0] == 0x45); /* we send no options of IP's, and nobody else is here */
	head_bytes = 20 + (tcp[12] >> 4) * 4u;
	*s = (struct hand_segment){ .src_port = two_octets(tcp),
				    .dst_port = two_octets(tcp + 2),
				    .flags = tcp[13],
				    .payload = bytes_make(ip + head_bytes, two_octets(ip + 2) - head_bytes) };
	return true;
}

/* --- frames --------------------------------------------------------------------------------- */

void
hand_put(uint8_t type, uint8_t flags, uint32_t stream, struct bytes payload)
{
	uint8_t head[H2FRAME_HEAD_BYTES];

	h2frame_make_head(head, type, flags, stream, payload.len);
	hand_say(bytes_make(head, sizeof(head)));
	if (payload.len > 0)
		hand_say(payload);
}

void
hand_put_word(uint8_t type, uint32_t stream, uint32_t word)
{
	uint8_t bytes[4];

	h2frame_put_number(bytes, word);
	hand_put(type, 0, stream, bytes_make(bytes, sizeof(bytes)));
}

void
hand_put_setting(uint8_t name, uint32_t value)
{
	uint8_t bytes[6] = { 0, name };

	h2frame_put_number(bytes + 2, value);
	hand_put(H2FRAME_SETTINGS, 0, 0, bytes_make(bytes, sizeof(bytes)));
}

void
hand_put_ping(void)
{
	hand_put(H2FRAME_PING, 0, 0, BYTES_LITERAL("12345678"));
}

void
hand_say(struct bytes text)
{
	if (hand.client == NULL)
		return;
	conn_write(hand.town, hand.client, text.ptr, (uint32_t)text.len);
	hand.client->send_at_ns = hand.town->now_ns;
	hand.sent_bytes += text.len;
}

static uint32_t
value_of(const nghttp2_nv *field)
{
	uint32_t value = 0;

	for (size_t i = 0; i < field->valuelen; i++) {
		CHECK(field->value[i] >= '0' && field->value[i] <= '9');
		value = value * 10 + (uint32_t)(field->value[i] - '0');
	}
	return value;
}

static void
take_head(uint32_t index, const uint8_t *block, size_t len)
{
	int flags = 0;

	while ((flags & NGHTTP2_HD_INFLATE_FINAL) == 0) {
		nghttp2_nv field;
		ssize_t used = nghttp2_hd_inflate_hd2(hand.inflater, &field, &flags, block, len, 1);
		struct bytes name;

		CHECK(used >= 0);
		block += used;
		len -= (size_t)used;
		if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0)
			continue;
		name = bytes_make(field.name, field.namelen);
		if (bytes_equal(name, BYTES_LITERAL(":status")))
			hand.heard.stream[index].status = (uint16_t)value_of(&field);
		if (bytes_equal(name, BYTES_LITERAL("retry-after")))
			hand.heard.stream[index].retry_after = value_of(&field);
	}
	nghttp2_hd_inflate_end_headers(hand.inflater);
}

static void
take_data(uint32_t index, struct bytes payload)
{
	uint32_t len = (uint32_t)payload.len;
	uint32_t before = hand.heard.stream[index].bytes;

	if (index == 0 && len > 0 && before + len <= HAND_BYTES_MAX)
		memcpy(hand.heard.first + before, payload.ptr, len);
	hand.heard.stream[index].bytes += len;
	hand.heard.stream[index].data_frames += len > 0;
	if (!hand.opens_windows || len == 0)
		return;
	hand_put_word(H2FRAME_WINDOW_UPDATE, 0, len);
	if (!hand.heard.stream[index].is_ended)
		hand_put_word(H2FRAME_WINDOW_UPDATE, 2 * index + 1, len);
}

static void
take_settings(const uint8_t *payload, uint32_t len)
{
	for (uint32_t at = 0; at + 6 <= len; at += 6)
		if (payload[at] == 0 && payload[at + 1] < HAND_SETTINGS_MAX)
			hand.heard.settings[payload[at + 1]] = h2frame_number(payload + at + 2);
}

static void
take_frame(const uint8_t *head, uint32_t len)
{
	const uint8_t *payload = head + H2FRAME_HEAD_BYTES;
	uint32_t stream = h2frame_stream(head);
	uint32_t index = stream / 2;

	CHECK(index < HAND_STREAMS_MAX && len <= H2FRAME_BYTES_MAX);
	if ((head[3] == H2FRAME_DATA || head[3] == H2FRAME_HEADERS) && (head[4] & H2FRAME_END_STREAM))
		hand.heard.stream[index].is_ended = true;
	switch (head[3]) {
	case H2FRAME_DATA:
		take_data(index, bytes_make(payload, len));
		break;
	case H2FRAME_HEADERS:
		CHECK(head[4] & H2FRAME_END_HEADERS);
		take_head(index, payload, len);
		break;
	case H2FRAME_RST_STREAM:
		hand.heard.stream[index].is_reset = true;
		hand.heard.stream[index].code = h2frame_number(payload);
		break;
	case H2FRAME_SETTINGS:
		take_settings(payload, len);
		break;
	case H2FRAME_PING:
		hand.heard.pongs++;
		break;
	case H2FRAME_GOAWAY:
		hand.heard.goaway = true;
		hand.heard.goaway_code = h2frame_number(payload + 4);
		break;
	case H2FRAME_WINDOW_UPDATE:
		if (stream == 0)
			hand.heard.connection_window += h2frame_number(payload);
		break;
	default:
		break;
	}
}

void
client_received(struct town *town, struct town_conn *c)
{
	uint32_t at = 0;

	if (!town->plan.is_h2)
		return;
	if (c != hand.client)
		c->in_len = 0;
	while (c->in_len - at >= H2FRAME_HEAD_BYTES) {
		uint32_t len = h2frame_len(c->in + at);

		if (c->in_len - at < H2FRAME_HEAD_BYTES + len)
			break;
		take_frame(c->in + at, len);
		at += H2FRAME_HEAD_BYTES + len;
	}
	c->in_len -= at;
	memmove(c->in, c->in + at, c->in_len);
}

/* --- a connection -------------------------------------------------------------------------- */

void
hand_go(uint64_t ns)
{
	town_go(hand.town, hand.town->now_ns + ns, false);
}

void
hand_flush(void)
{
	while (hand.client != NULL && hand.client->out_len > 0)
		hand_go(MS);
	hand_go(20 * MS);
}

void
hand_leave(bool by_reset)
{
	if (by_reset)
		tcp_abort(hand.town->town_tcp, hand.client->conn);
	else
		tcp_close(hand.town->town_tcp, hand.client->conn);
	conn_put(hand.town, hand.client);
	hand.client = NULL;
}

struct town_plan
hand_plan(void)
{
	struct town_plan plan = { .seed = 2, .is_h2 = true, .client_count = 1, .start_ns = 1000 * SEC, .pods = 1,
				  .first_pods = 1, .retry_percent = 100, .retry_burst = 1000,
				  .eject_percent = 100, .networks = TOWN_NETWORKS, .h2 = defaults_worker()->h2 };

	plan.h2.bytes = 8 * MIB;
	plan.link[0].delay_ns = plan.link[1].delay_ns = MS;
	return plan;
}

void
hand_begin(const struct town_plan *plan)
{
	hand = (struct hand){ .opens_windows = true };
	hand.town = calloc(1, sizeof(*hand.town));
	CHECK(hand.town != NULL);
	hand.town->plan = *plan;
	prng_init(&hand.town->prng, plan->seed);
	hand.town->now_ns = hand.town->plan.start_ns;
	town_open(hand.town);
	hand.town->worker->config.times = defaults_worker()->times;
	hand.own_bytes = hand_held_bytes();
	/* Connected: the towns' clients wait for that themselves. */
	do
		hand_go(10 * MS);
	while (plan->is_tls && !hand.client->tls_open);
}

void
hand_greet(void)
{
	hand_say(BYTES_LITERAL(H2FRAME_PREFACE));
	hand_put(H2FRAME_SETTINGS, 0, 0, BYTES_NONE);
	hand_flush();
	hand.sent_bytes = 0;
}

void
hand_begin_greeted(void)
{
	struct town_plan plan = hand_plan();

	hand_begin(&plan);
	hand_greet();
}

uint64_t
hand_held_bytes(void)
{
	const struct h2_shared *shared = hand.town->worker->h2;

	return shared != NULL ? h2_shared_bytes_used(shared) - hand.own_bytes : 0;
}

void
hand_finish(void)
{
	if (hand.client != NULL) {
		tcp_abort(hand.town->town_tcp, hand.client->conn);
		conn_put(hand.town, hand.client);
	}
	hand_go(SEC);
	for (uint32_t i = 0; i < TOWN_CONNS_MAX; i++) {
		if (!hand.town->conns[i].is_used)
			continue;
		tcp_abort(hand.town->town_tcp, hand.town->conns[i].conn);
		conn_put(hand.town, &hand.town->conns[i]);
	}
	hand_go(100 * SEC);
	town_judge_pools(hand.town);
	assert_int_equal(hand_held_bytes(), 0);
	router_close(hand.town);
	nghttp2_hd_inflate_del(hand.inflater);
	free(hand.town);
}

void
hand_assert_goes_on(void)
{
	assert_false(hand.heard.goaway);
	assert_non_null(hand.client);
}

void
hand_assert_ended(uint32_t code)
{
	hand_go(5 * SEC);
	assert_true(hand.heard.goaway);
	assert_int_equal(hand.heard.goaway_code, code);
	assert_null(hand.client);
}

/* --- requests -------------------------------------------------------------------------------- */

struct h2frame_block *
hand_block(const char *method, const char *path, const char *key)
{
	static struct h2frame_block block;

	block.len = 0;
	h2frame_add_field(&block, false, ":method", method);
	h2frame_add_field(&block, false, ":scheme", "https");
	h2frame_add_field(&block, false, ":authority", "edge");
	h2frame_add_field(&block, false, ":path", path);
	if (key != NULL)
		h2frame_add_field(&block, false, "authorization", key);
	return &block;
}

void
hand_put_block(const struct h2frame_block *block, uint32_t stream, bool is_end)
{
	hand_put(H2FRAME_HEADERS, (uint8_t)(H2FRAME_END_HEADERS | (is_end ? H2FRAME_END_STREAM : 0)), stream,
		 bytes_make(block->bytes, block->len));
}

void
hand_put_get(uint32_t stream, const char *path)
{
	hand_put_block(hand_block("GET", path, NULL), stream, true);
}

void
hand_put_chat_head(uint32_t stream)
{
	hand_put_block(hand_block("POST", "/v1/chat/completions", HAND_KEY), stream, false);
}

void
hand_put_chat(uint32_t stream)
{
	hand_put_chat_head(stream);
	hand_put(H2FRAME_DATA, H2FRAME_END_STREAM, stream, BYTES_LITERAL(HAND_CHAT));
}

/* --- backends ---------------------------------------------------------------------------------- */

#define EVENTS 200u
#define EVENT_TEXT_BYTES 1000u
#define STREAM_HEAD "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: "
#define STREAM_END \
	"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\n" \
	"data: [DONE]\n\n"
#define DONE_BYTES 14u

uint32_t
hand_answer_with_stream(void)
{
	static char payload[EVENTS * 1200];
	static char text[sizeof(payload) + 200];
	char filler[EVENT_TEXT_BYTES + 1];
	int len = 0;

	memset(filler, 'x', EVENT_TEXT_BYTES);
	filler[EVENT_TEXT_BYTES] = '\0';
	for (uint32_t i = 0; i < EVENTS; i++)
		len += snprintf(payload + len, sizeof(payload) - (size_t)len,
				"data: {\"choices\":[{\"delta\":{\"content\":\"%s\"}}]}\n\n", filler);
	snprintf(text, sizeof(text), STREAM_HEAD "%d\r\n\r\n%s" STREAM_END, len + (int)sizeof(STREAM_END) - 1,
		 payload);
	hand.backend.answer = bytes_from_text(text);
	return (uint32_t)len + DONE_BYTES;
}

void
hand_backends_say(struct bytes text)
{
	for (uint32_t i = 0; i < TOWN_CONNS_MAX; i++) {
		struct town_conn *c = &hand.town->conns[i];

		if (!c->is_used || !c->is_backend)
			continue;
		c->piece_bytes = 1400; /* a packet */
		conn_write(hand.town, c, text.ptr, (uint32_t)text.len);
		c->send_at_ns = hand.town->now_ns;
	}
}

static void
end_backends(void (*end)(struct tcp *tcp, tcp_conn_t conn))
{
	for (uint32_t i = 0; i < TOWN_CONNS_MAX; i++) {
		struct town_conn *c = &hand.town->conns[i];

		if (!c->is_used || !c->is_backend)
			continue;
		end(hand.town->town_tcp, c->conn);
		conn_put(hand.town, c);
	}
}

void
hand_backends_die(void)
{
	end_backends(tcp_abort);
}

void
hand_backends_close(void)
{
	end_backends(tcp_close);
}

/*
 * HTTP/2 by hand against a whole worker in virtual time (threats T64 to T75): what each budget allows to its last
 * frame, how long each patience lasts, and what a connection may hold of memory meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <nghttp2/nghttp2.h>

#include "base/check.h"
#include "http/h1.h"
#include "town.h"

#define MS NSEC_PER_MSEC
#define SEC NSEC_PER_SEC
#define STREAMS_MAX 1200
#define CONNECTION_BYTES (384 * KIB)
/* A request's body, an event of its answer, and 16 KiB and a piece that wait for the client. */
#define BLOCKS_MAX 4

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
#define END_STREAM 0x1
#define ACK 0x1
#define END_HEADERS 0x4
#define FRAME_HEAD_BYTES 9
#define INITIAL_WINDOW_SIZE 4

static struct town *t;
static struct town_conn *client; /* NULL: the router ended it */
static uint64_t sent_bytes;
static uint64_t own_bytes; /* of HTTP/2's memory, without a connection */

/* What the router said. */
static struct {
	uint32_t pongs;
	bool goaway;
	uint32_t goaway_code;
	uint64_t connection_window;
	struct {
		uint16_t status;
		bool is_ended;
		bool is_reset;
		uint32_t code;
		uint32_t bytes;
	} stream[STREAMS_MAX]; /* by half of its number */
} heard;
static nghttp2_hd_inflater *inflater;
static bool opens_windows;
static uint64_t connection_bytes_max = CONNECTION_BYTES;

static struct {
	uint32_t requests;
	struct bytes answer; /* of no bytes: none */
} backend;

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

void
client_begin(struct town *town, uint32_t index)
{
	struct tcp_tuple tuple = { .local = town_address(town, false), .remote = town_address(town, true),
				   .remote_port = 443 };
	tcp_conn_t conn;

	CHECK(tcp_connect(town->town_tcp, &tuple, 0, &conn, town->now_ns) == ERR_OK);
	client = conn_get(town, conn, false);
	client->client = index;
	client->piece_bytes = 16000;
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
	client = NULL;
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
		backend.requests++;
		c->in_len -= (uint32_t)used;
		memmove(c->in, c->in + used, c->in_len);
		if (backend.answer.len == 0)
			continue;
		conn_write(town, c, backend.answer.ptr, (uint32_t)backend.answer.len);
		c->send_at_ns = town->now_ns;
		conn_pump(town, c);
	}
}

/* --- frames ----------------------------------------------------------------------------- */

static void
put_number(uint8_t *to, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		to[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t
number_of(const uint8_t *from)
{
	return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void
put(uint8_t type, uint8_t flags, uint32_t stream, struct bytes payload)
{
	uint8_t head[FRAME_HEAD_BYTES] = { (uint8_t)(payload.len >> 16), (uint8_t)(payload.len >> 8),
					   (uint8_t)payload.len, type, flags };

	if (client == NULL)
		return;
	put_number(head + 5, stream);
	conn_write(t, client, head, sizeof(head));
	if (payload.len > 0)
		conn_write(t, client, payload.ptr, (uint32_t)payload.len);
	client->send_at_ns = t->now_ns;
	sent_bytes += sizeof(head) + payload.len;
}

static void
put_word(uint8_t type, uint32_t stream, uint32_t word)
{
	uint8_t bytes[4];

	put_number(bytes, word);
	put(type, 0, stream, bytes_make(bytes, sizeof(bytes)));
}

static void
put_setting(uint8_t name, uint32_t value)
{
	uint8_t bytes[6] = { 0, name };

	put_number(bytes + 2, value);
	put(SETTINGS, 0, 0, bytes_make(bytes, sizeof(bytes)));
}

static void
put_ping(void)
{
	put(PING, 0, 0, BYTES_LITERAL("12345678"));
}

static void
take_head(uint32_t index, const uint8_t *block, size_t len)
{
	int flags = 0;

	while ((flags & NGHTTP2_HD_INFLATE_FINAL) == 0) {
		nghttp2_nv field;
		ssize_t used = nghttp2_hd_inflate_hd2(inflater, &field, &flags, block, len, 1);

		CHECK(used >= 0);
		block += used;
		len -= (size_t)used;
		if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 || field.namelen != 7 ||
		    memcmp(field.name, ":status", 7) != 0)
			continue;
		CHECK(field.valuelen == 3);
		heard.stream[index].status = (uint16_t)((field.value[0] - '0') * 100 +
							(field.value[1] - '0') * 10 + field.value[2] - '0');
	}
	nghttp2_hd_inflate_end_headers(inflater);
}

static void
take_data(uint32_t index, uint32_t len)
{
	heard.stream[index].bytes += len;
	if (!opens_windows || len == 0)
		return;
	put_word(WINDOW_UPDATE, 0, len);
	if (!heard.stream[index].is_ended)
		put_word(WINDOW_UPDATE, 2 * index + 1, len);
}

static void
take_frame(const uint8_t *head, uint32_t len)
{
	const uint8_t *payload = head + FRAME_HEAD_BYTES;
	uint32_t stream = number_of(head + 5);
	uint32_t index = stream / 2;

	CHECK(index < STREAMS_MAX && len <= 16384);
	if ((head[3] == DATA || head[3] == HEADERS) && (head[4] & END_STREAM))
		heard.stream[index].is_ended = true;
	switch (head[3]) {
	case DATA:
		take_data(index, len);
		break;
	case HEADERS:
		CHECK(head[4] & END_HEADERS);
		take_head(index, payload, len);
		break;
	case RST_STREAM:
		heard.stream[index].is_reset = true;
		heard.stream[index].code = number_of(payload);
		break;
	case PING:
		heard.pongs++;
		break;
	case GOAWAY:
		heard.goaway = true;
		heard.goaway_code = number_of(payload + 4);
		break;
	case WINDOW_UPDATE:
		if (stream == 0)
			heard.connection_window += number_of(payload);
		break;
	default:
		break;
	}
}

void
client_received(struct town *town, struct town_conn *c)
{
	uint32_t at = 0;

	(void)town;
	while (c->in_len - at >= FRAME_HEAD_BYTES) {
		uint32_t len = number_of(c->in + at) >> 8;

		if (c->in_len - at < FRAME_HEAD_BYTES + len)
			break;
		take_frame(c->in + at, len);
		at += FRAME_HEAD_BYTES + len;
	}
	c->in_len -= at;
	memmove(c->in, c->in + at, c->in_len);
}

/* --- a connection -------------------------------------------------------------------------- */

static void
go(uint64_t ns)
{
	town_go(t, t->now_ns + ns, false);
}

/* What was put is with the router, and what it says to it with us. */
static void
flush(void)
{
	while (client != NULL && client->out_len > 0)
		go(MS);
	go(20 * MS);
}

static void
begin(void)
{
	t = calloc(1, sizeof(*t));
	CHECK(t != NULL && nghttp2_hd_inflate_new(&inflater) == 0);
	memset(&heard, 0, sizeof(heard));
	memset(&backend, 0, sizeof(backend));
	opens_windows = true;
	prng_init(&t->prng, 2);
	t->plan = (struct town_plan){ .seed = 2, .is_h2 = true, .client_count = 1, .start_ns = 1000 * SEC,
				      .pods = 1, .first_pods = 1, .retry_percent = 100, .retry_burst = 1000,
				      .eject_percent = 100, .h2 = { 8 * MIB, connection_bytes_max, 100, 100 } };
	t->plan.link[0].delay_ns = t->plan.link[1].delay_ns = MS;
	t->now_ns = t->plan.start_ns;
	town_open(t);
	t->worker->config.times = worker_times_default;
	own_bytes = h2_shared_bytes_used(t->worker->h2);
	/* Connected: the towns' clients wait for that themselves. */
	go(10 * MS);
}

static void
greet(void)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

	conn_write(t, client, preface, sizeof(preface) - 1);
	put(SETTINGS, 0, 0, BYTES_NONE);
	flush();
	sent_bytes = 0;
}

static void
begin_greeted(void)
{
	begin();
	greet();
}

static uint64_t
held_bytes(void)
{
	return h2_shared_bytes_used(t->worker->h2) - own_bytes;
}

static void
finish(void)
{
	if (client != NULL) {
		tcp_abort(t->town_tcp, client->conn);
		conn_put(t, client);
	}
	go(SEC);
	for (uint32_t i = 0; i < TOWN_CONNS_MAX; i++) {
		if (!t->conns[i].is_used)
			continue;
		tcp_abort(t->town_tcp, t->conns[i].conn);
		conn_put(t, &t->conns[i]);
	}
	go(100 * SEC);
	town_judge_pools(t);
	assert_int_equal(held_bytes(), 0);
	router_close(t);
	nghttp2_hd_inflate_del(inflater);
	free(t);
}

static void
assert_goes_on(void)
{
	assert_false(heard.goaway);
	assert_non_null(client);
}

/* The router has said why, and closed. */
static void
assert_ended(uint32_t code)
{
	go(5 * SEC);
	assert_true(heard.goaway);
	assert_int_equal(heard.goaway_code, code);
	assert_null(client);
}

/* --- requests -------------------------------------------------------------------------------- */

#define KEY "Bearer eco_town0000000000000000"

static const char chat[] = "{\"model\":\"town-model\",\"stream\":true,"
			   "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";

struct block {
	size_t len;
	uint8_t bytes[16384];
};

/* RFC 7541 5.1, for a prefix of seven bits. */
static void
add_length(struct block *block, size_t len)
{
	if (len < 127) {
		block->bytes[block->len++] = (uint8_t)len;
		return;
	}
	block->bytes[block->len++] = 127;
	for (len -= 127; len >= 128; len /= 128)
		block->bytes[block->len++] = (uint8_t)(len % 128 + 128);
	block->bytes[block->len++] = (uint8_t)len;
}

/* A literal; is_kept: it enters the dynamic table. */
static void
add_field(struct block *block, bool is_kept, const char *name, const char *value)
{
	size_t name_len = strlen(name);
	size_t value_len = strlen(value);

	block->bytes[block->len++] = is_kept ? 0x40 : 0;
	add_length(block, name_len);
	memcpy(block->bytes + block->len, name, name_len);
	block->len += name_len;
	add_length(block, value_len);
	memcpy(block->bytes + block->len, value, value_len);
	block->len += value_len;
}

static struct block *
block_of(const char *method, const char *path, const char *key)
{
	static struct block block;

	block.len = 0;
	add_field(&block, false, ":method", method);
	add_field(&block, false, ":scheme", "https");
	add_field(&block, false, ":authority", "edge");
	add_field(&block, false, ":path", path);
	if (key != NULL)
		add_field(&block, false, "authorization", key);
	return &block;
}

static void
put_block(const struct block *block, uint32_t stream, bool is_end)
{
	put(HEADERS, (uint8_t)(END_HEADERS | (is_end ? END_STREAM : 0)), stream,
	    bytes_make(block->bytes, block->len));
}

static void
put_get(uint32_t stream, const char *path)
{
	put_block(block_of("GET", path, NULL), stream, true);
}

static void
put_chat_head(uint32_t stream)
{
	put_block(block_of("POST", "/v1/chat/completions", KEY), stream, false);
}

static void
put_chat(uint32_t stream)
{
	put_chat_head(stream);
	put(DATA, END_STREAM, stream, BYTES_LITERAL(chat));
}

#define EVENTS 200u
#define EVENT_TEXT_BYTES 1000u
#define STREAM_HEAD "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: "
#define STREAM_END \
	"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\n" \
	"data: [DONE]\n\n"
#define DONE_BYTES 14u

/* An answer of 200 events of a KiB each. Returns the bytes of its payload that the client gets. */
static uint32_t
answer_with_stream(void)
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
	backend.answer = bytes_make((const uint8_t *)text,
				    (size_t)snprintf(text, sizeof(text), STREAM_HEAD "%d\r\n\r\n%s" STREAM_END,
						     len + (int)sizeof(STREAM_END) - 1, payload));
	return (uint32_t)len + DONE_BYTES;
}

/* --- T64, T65: resets ----------------------------------------------------------------------- */

static void
t64_a_hundred_resets_are_allowed_and_no_backend_hears_of_them(void **state)
{
	(void)state;
	begin_greeted();
	for (uint32_t i = 0; i < 100; i++) {
		put_chat_head(2 * i + 1);
		put_word(RST_STREAM, 2 * i + 1, NGHTTP2_CANCEL);
	}
	flush();
	assert_goes_on();
	assert_int_equal(t->worker->exchanges_used, 0);
	for (uint32_t i = 100; i < 110; i++) {
		put_chat_head(2 * i + 1);
		put_word(RST_STREAM, 2 * i + 1, NGHTTP2_CANCEL);
	}
	flush();
	assert_ended(NGHTTP2_ENHANCE_YOUR_CALM);
	assert_int_equal(backend.requests, 0);
	finish();
}

/* With time the budget comes back, but a connection that is reset more than it is used has to make room. */
static void
t64_who_resets_most_of_his_streams_is_asked_to_leave(void **state)
{
	(void)state;
	begin_greeted();
	for (uint32_t i = 0; i < 200; i++) {
		put_get(2 * i + 1, "/healthz");
		if (i % 2 == 0) {
			put_chat_head(2 * (i + 1) + 1);
			put_word(RST_STREAM, 2 * (i + 1) + 1, NGHTTP2_CANCEL);
			i++;
		}
		go(200 * MS);
	}
	assert_goes_on();
	for (uint32_t i = 201; i < 205; i++) {
		put_chat_head(2 * i + 1);
		put_word(RST_STREAM, 2 * i + 1, NGHTTP2_CANCEL);
	}
	flush();
	assert_ended(NGHTTP2_NO_ERROR);
	finish();
}

static void
overflow_window(uint32_t stream)
{
	put_chat(stream);
	put_word(WINDOW_UPDATE, stream, 0x7fffffff);
}

static void
say_an_upper_case_name(uint32_t stream)
{
	struct block *block = block_of("POST", "/v1/chat/completions", KEY);

	add_field(block, false, "X-Upper", "1");
	put_block(block, stream, true);
}

static void
send_more_than_was_told(uint32_t stream)
{
	struct block *block = block_of("POST", "/v1/chat/completions", KEY);

	add_field(block, false, "content-length", "1");
	put_block(block, stream, false);
	put(DATA, END_STREAM, stream, BYTES_LITERAL("{}"));
}

static void
end_before_the_length(uint32_t stream)
{
	struct block *block = block_of("POST", "/v1/chat/completions", KEY);

	add_field(block, false, "content-length", "1000");
	put_block(block, stream, true);
}

/* Whatever makes us reset a stream is paid for as if the client had reset it, and its backend is let go. */
static void
t65_resets_that_we_are_made_to_send_have_the_same_budget(void **state)
{
	static void (*const triggers[])(uint32_t stream) = {
		overflow_window, say_an_upper_case_name, send_more_than_was_told, end_before_the_length
	};

	(void)state;
	for (size_t k = 0; k < COUNT_OF(triggers); k++) {
		begin_greeted();
		for (uint32_t i = 0; i < 100; i++) {
			triggers[k](2 * i + 1);
			if (i % 20 == 19)
				flush();
		}
		assert_goes_on();
		for (uint32_t i = 0; i < 100; i++)
			assert_true(heard.stream[i].is_reset);
		assert_int_equal(t->worker->exchanges_used, 0);
		assert_int_equal(t->worker->upstreams_used, t->worker->upstreams_idle);
		for (uint32_t i = 100; i < 110; i++)
			triggers[k](2 * i + 1);
		flush();
		assert_ended(NGHTTP2_ENHANCE_YOUR_CALM);
		finish();
	}
}

/* --- T66, T67: header blocks ---------------------------------------------------------------------- */

static void
t66_a_block_has_five_continuations_and_ten_seconds(void **state)
{
	struct block *block;

	(void)state;
	for (int frames = 5; frames <= 6; frames++) {
		begin_greeted();
		block = block_of("GET", "/healthz", NULL);
		put(HEADERS, END_STREAM, 1, bytes_make(block->bytes, block->len));
		for (int i = 0; i < frames; i++) {
			block->len = 0;
			add_field(block, false, "x", "y");
			put(CONTINUATION, i == frames - 1 ? END_HEADERS : 0, 1,
			    bytes_make(block->bytes, block->len));
		}
		flush();
		if (frames == 6)
			assert_ended(NGHTTP2_ENHANCE_YOUR_CALM);
		else
			assert_int_equal(heard.stream[0].status, 200);
		finish();
	}
	begin_greeted();
	block = block_of("GET", "/healthz", NULL);
	put(HEADERS, 0, 1, bytes_make(block->bytes, block->len));
	flush();
	go(9 * SEC);
	assert_goes_on();
	go(2 * SEC);
	assert_ended(NGHTTP2_ENHANCE_YOUR_CALM);
	finish();
}

/* One field of 3,900 bytes in the table, then a million references to it of a byte each, over 100 streams whose
 * answers have no window. */
static void
t67_a_million_references_hold_no_more_than_the_cap(void **state)
{
	static char value[3901];
	uint64_t most = 0;
	uint64_t idle;

	(void)state;
	memset(value, 'v', sizeof(value) - 1);
	begin_greeted();
	idle = held_bytes();
	assert_in_range(idle, 1, 32 * KIB);
	put_setting(INITIAL_WINDOW_SIZE, 0);
	for (uint32_t i = 0; i < 100; i++) {
		struct block *block = block_of("GET", "/v1/models", "Bearer eco_wrong");

		if (i == 0)
			add_field(block, true, "x", value);
		memset(block->bytes + block->len, 0xbe, 10000);
		block->len += 10000;
		put_block(block, 2 * i + 1, true);
		flush();
		if (held_bytes() - idle > most)
			most = held_bytes() - idle;
	}
	assert_goes_on();
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(heard.stream[i].status, 431);
	assert_true(sent_bytes > 1000000);
	assert_true(idle + most <= CONNECTION_BYTES);
	/* An attacker's byte buys less than a byte, not 4,000. */
	assert_true(most < sent_bytes);
	assert_int_equal(t->worker->bodies.used, 0);
	assert_int_equal(t->worker->heads_used, 0);
	/* A byte now and then does not keep them. */
	opens_windows = false;
	for (int i = 0; i < 50; i++) {
		put_word(WINDOW_UPDATE, 1, 1);
		go(SEC);
	}
	assert_false(heard.stream[0].is_reset || heard.stream[99].is_reset);
	go(15 * SEC);
	for (uint32_t i = 0; i < 100; i++)
		assert_true(heard.stream[i].is_reset && heard.stream[i].code == NGHTTP2_CANCEL);
	assert_goes_on();
	/* Not quite what it was: the tables of both directions are full now. */
	assert_in_range(held_bytes(), idle, idle + 20 * KIB);
	finish();
}

/* The most that few bytes can do: references that are within bounds, in streams that are answered. */
static void
t67_streams_without_windows_hold_little_each(void **state)
{
	static char value[3901];
	uint64_t idle;

	(void)state;
	memset(value, 'v', sizeof(value) - 1);
	begin_greeted();
	put_setting(INITIAL_WINDOW_SIZE, 0);
	flush();
	idle = held_bytes();
	for (uint32_t i = 0; i < 100; i++) {
		struct block *block = block_of("GET", "/v1/models", "Bearer eco_wrong");

		if (i == 0)
			add_field(block, true, "x", value);
		memset(block->bytes + block->len, 0xbe, 7);
		block->len += 7;
		put_block(block, 2 * i + 1, true);
	}
	flush();
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(heard.stream[i].status, 401);
	assert_true(held_bytes() - idle <= 100 * 2 * KIB + 8 * KIB);
	assert_true(held_bytes() - idle <= 20 * sent_bytes);
	finish();
}

/* Who has used up his share gets no streams, or no connection; the others' memory is not touched. */
static void
t67_a_connection_takes_no_more_than_its_share(void **state)
{
	uint32_t answered = 0;
	uint64_t most = 0;

	(void)state;
	connection_bytes_max = 64 * KIB;
	begin_greeted();
	connection_bytes_max = CONNECTION_BYTES;
	put_setting(INITIAL_WINDOW_SIZE, 0);
	for (uint32_t i = 0; i < 100; i++) {
		put_block(block_of("GET", "/v1/models", "Bearer eco_wrong"), 2 * i + 1, true);
		flush();
		if (held_bytes() > most)
			most = held_bytes();
	}
	/* Each block has a few bytes more than what was asked for. */
	assert_in_range(most, 48 * KIB, 72 * KIB);
	for (uint32_t i = 0; i < 100; i++)
		answered += heard.stream[i].status == 401;
	assert_in_range(answered, 1, 60);
	finish();
}

/* --- windows -------------------------------------------------------------------------------------------- */

/* A stream whose window is shut holds a bounded part of its answer; its backend waits, and nobody else does. */
static void
a_stream_that_does_not_read_waits_alone(void **state)
{
	uint32_t whole;

	(void)state;
	begin_greeted();
	whole = answer_with_stream();
	opens_windows = false;
	/* The connection's window is not what is short here. */
	put_word(WINDOW_UPDATE, 0, 1 << 20);
	put_chat(1);
	go(10 * SEC);
	assert_int_equal(heard.stream[0].bytes, 65535);
	assert_in_range(t->worker->bodies.used, 1, BLOCKS_MAX);
	assert_int_equal(t->worker->exchanges_used, 1);
	opens_windows = true;
	put_chat(3);
	go(SEC);
	assert_int_equal(heard.stream[1].bytes, whole);
	assert_true(heard.stream[1].is_ended);
	assert_int_equal(heard.stream[0].bytes, 65535);
	assert_in_range(t->worker->bodies.used, 1, BLOCKS_MAX);
	put_word(WINDOW_UPDATE, 1, 65535);
	go(SEC);
	assert_int_equal(heard.stream[0].bytes, whole);
	assert_true(heard.stream[0].is_ended && !heard.stream[0].is_reset);
	assert_int_equal(t->worker->bodies.used, 0);
	finish();
}

/* 2 KiB each 50 s is slow; 1 byte each second is nothing. */
static void
a_shut_window_has_a_minute_and_who_is_slow_has_more(void **state)
{
	(void)state;
	begin_greeted();
	answer_with_stream();
	opens_windows = false;
	put_word(WINDOW_UPDATE, 0, 1 << 20);
	put_chat(1);
	put_chat(3);
	flush();
	for (int i = 0; i < 500; i++) {
		if (i % 50 == 0)
			put_word(WINDOW_UPDATE, 1, 2048);
		put_word(WINDOW_UPDATE, 3, 1);
		go(SEC);
		assert_int_equal(heard.stream[1].is_reset, i > 61 || (i >= 59 && heard.stream[1].is_reset));
	}
	assert_int_equal(heard.stream[1].code, NGHTTP2_CANCEL);
	assert_false(heard.stream[0].is_reset);
	assert_int_equal(heard.stream[0].bytes, 65535 + 10 * 2048);
	assert_goes_on();
	finish();
}

static void
our_windows_are_what_is_said(void **state)
{
	static const uint8_t nothing[16384];

	(void)state;
	begin_greeted();
	assert_int_equal(heard.connection_window, 1048576 - 65535);
	/* A body that is never taken: nobody reads what was not asked for. */
	put_chat_head(1);
	for (int i = 0; i < 4; i++)
		put(DATA, 0, 1, bytes_make(nothing, sizeof(nothing)));
	flush();
	finish();
}

/* --- T69: frames that cost nothing to send --------------------------------------------------------------- */

static void
put_settings(void)
{
	put_setting(INITIAL_WINDOW_SIZE, 65535);
}

static void
put_unknown(void)
{
	put(77, 0, 9, BYTES_LITERAL("x"));
}

static void
put_priority(void)
{
	put(PRIORITY, 0, 1, BYTES_LITERAL("\0\0\0\0\20"));
}

static void
put_priority_update(void)
{
	put(16, 0, 0, BYTES_LITERAL("\0\0\0\1u=1"));
}

static void
put_update(void)
{
	put_word(WINDOW_UPDATE, 0, 1);
}

static void
t69_frames_that_cost_nothing_have_budgets(void **state)
{
	static const struct {
		void (*put)(void);
		uint32_t allowed;
		uint32_t refilled; /* meanwhile, at most */
	} rows[] = {
		{ put_ping, 998, 40 },	  { put_settings, 998, 40 },	   { put_unknown, 998, 40 },
		{ put_priority, 100, 1 }, { put_priority_update, 100, 1 }, { put_update, 5, 1 },
	};

	(void)state;
	for (size_t k = 0; k < COUNT_OF(rows); k++) {
		begin_greeted();
		for (uint32_t i = 0; i < rows[k].allowed; i++)
			rows[k].put();
		flush();
		assert_goes_on();
		if (rows[k].put == put_ping)
			assert_int_equal(heard.pongs, rows[k].allowed);
		for (uint32_t i = 0; i < rows[k].refilled; i++)
			rows[k].put();
		flush();
		assert_ended(NGHTTP2_ENHANCE_YOUR_CALM);
		finish();
	}
}

/* --- T74, and times ---------------------------------------------------------------------------------------- */

static void
t74_the_stream_beyond_the_hundredth_is_refused(void **state)
{
	(void)state;
	for (int acknowledged = 0; acknowledged <= 1; acknowledged++) {
		begin_greeted();
		if (acknowledged)
			put(SETTINGS, ACK, 0, BYTES_NONE);
		put_setting(INITIAL_WINDOW_SIZE, 0);
		for (uint32_t i = 0; i < 100; i++)
			put_get(2 * i + 1, "/healthz");
		flush();
		for (uint32_t i = 0; i < 100; i++)
			assert_true(heard.stream[i].status == 200 && !heard.stream[i].is_reset);
		put_get(201, "/healthz");
		flush();
		if (acknowledged) {
			assert_ended(NGHTTP2_PROTOCOL_ERROR);
		} else {
			assert_true(heard.stream[100].is_reset);
			assert_int_equal(heard.stream[100].code, NGHTTP2_REFUSED_STREAM);
			assert_goes_on();
		}
		finish();
	}
}

static void
t75_a_preface_has_ten_seconds(void **state)
{
	(void)state;
	begin();
	go(9 * SEC);
	assert_goes_on();
	go(3 * SEC);
	assert_ended(NGHTTP2_ENHANCE_YOUR_CALM);
	finish();
	begin();
	conn_write(t, client, "GET / HTTP/1.1\r\nHost: edge\r\n\r\n", 30);
	client->send_at_ns = t->now_ns;
	flush();
	go(5 * SEC);
	assert_null(client);
	assert_int_equal(heard.stream[0].status, 0);
	finish();
}

static void
idleness_ends_after_five_minutes(void **state)
{
	(void)state;
	begin_greeted();
	go(250 * SEC);
	put_get(1, "/healthz");
	flush();
	assert_int_equal(heard.stream[0].status, 200);
	go(298 * SEC);
	assert_goes_on();
	/* A ping is no use. */
	put_ping();
	go(4 * SEC);
	assert_ended(NGHTTP2_NO_ERROR);
	finish();
}

/* Its answer is under way, and nothing of it acknowledged, when the connection is looked at a second later. */
static void
an_answer_after_an_idle_minute_is_not_stalled(void **state)
{
	struct link_faults far;

	(void)state;
	begin_greeted();
	answer_with_stream();
	go(60 * SEC);
	far = t->plan.link[0];
	far.delay_ns = 220 * MS;
	link_set_faults(t->link[0], &far);
	link_set_faults(t->link[1], &far);
	put_chat(1);
	go(20 * SEC);
	assert_true(heard.stream[0].status == 200 && heard.stream[0].is_ended);
	assert_goes_on();
	finish();
}

static void
a_connection_has_a_thousand_requests(void **state)
{
	(void)state;
	begin_greeted();
	for (uint32_t i = 0; i < 999; i++) {
		put_get(2 * i + 1, "/healthz");
		if (i % 50 == 49)
			flush();
	}
	flush();
	assert_goes_on();
	put_get(1999, "/healthz");
	flush();
	for (uint32_t i = 0; i < 1000; i++)
		assert_true(heard.stream[i].status == 200 && heard.stream[i].is_ended);
	assert_ended(NGHTTP2_NO_ERROR);
	finish();
}

/* Who drains says so at once, finishes what runs, and takes nothing new. */
static void
draining_is_said_and_what_runs_is_finished(void **state)
{
	uint32_t whole;

	(void)state;
	begin_greeted();
	put_chat(1);
	flush();
	assert_int_equal(backend.requests, 1);
	worker_drain(t->worker);
	go(100 * MS);
	assert_true(heard.goaway && heard.goaway_code == NGHTTP2_NO_ERROR);
	assert_non_null(client);
	put_chat(3);
	flush();
	assert_int_equal(backend.requests, 1);
	whole = answer_with_stream();
	for (uint32_t i = 0; i < TOWN_CONNS_MAX; i++) {
		if (!t->conns[i].is_used || !t->conns[i].is_backend)
			continue;
		conn_write(t, &t->conns[i], backend.answer.ptr, (uint32_t)backend.answer.len);
		t->conns[i].send_at_ns = t->now_ns;
	}
	go(SEC);
	assert_int_equal(heard.stream[0].bytes, whole);
	assert_true(heard.stream[0].is_ended);
	assert_null(client);
	finish();
}

/* A body that stops, one that trickles in, and one that comes: only their own streams end. */
static void
a_slow_body_ends_its_own_stream(void **state)
{
	(void)state;
	begin_greeted();
	answer_with_stream();
	put_chat_head(1);
	put(DATA, 0, 1, BYTES_LITERAL("{"));
	put_chat_head(3);
	for (int i = 0; i < 45; i++) {
		put(DATA, 0, 3, BYTES_LITERAL(" "));
		go(SEC);
		/* timeouts.body_grace; a body that only stopped would have timeouts.body. */
		assert_int_equal(heard.stream[0].is_reset, i >= 10);
		assert_int_equal(heard.stream[1].is_reset, i >= 10);
	}
	assert_int_equal(heard.stream[0].code, NGHTTP2_CANCEL);
	assert_int_equal(heard.stream[1].code, NGHTTP2_CANCEL);
	assert_goes_on();
	put_chat(5);
	go(SEC);
	assert_true(heard.stream[2].status == 200 && heard.stream[2].is_ended);
	assert_int_equal(backend.requests, 1);
	finish();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(t64_a_hundred_resets_are_allowed_and_no_backend_hears_of_them),
		cmocka_unit_test(t64_who_resets_most_of_his_streams_is_asked_to_leave),
		cmocka_unit_test(t65_resets_that_we_are_made_to_send_have_the_same_budget),
		cmocka_unit_test(t66_a_block_has_five_continuations_and_ten_seconds),
		cmocka_unit_test(t67_a_million_references_hold_no_more_than_the_cap),
		cmocka_unit_test(t67_streams_without_windows_hold_little_each),
		cmocka_unit_test(t67_a_connection_takes_no_more_than_its_share),
		cmocka_unit_test(a_stream_that_does_not_read_waits_alone),
		cmocka_unit_test(a_shut_window_has_a_minute_and_who_is_slow_has_more),
		cmocka_unit_test(our_windows_are_what_is_said),
		cmocka_unit_test(t69_frames_that_cost_nothing_have_budgets),
		cmocka_unit_test(t74_the_stream_beyond_the_hundredth_is_refused),
		cmocka_unit_test(t75_a_preface_has_ten_seconds),
		cmocka_unit_test(idleness_ends_after_five_minutes),
		cmocka_unit_test(an_answer_after_an_idle_minute_is_not_stalled),
		cmocka_unit_test(a_connection_has_a_thousand_requests),
		cmocka_unit_test(draining_is_said_and_what_runs_is_finished),
		cmocka_unit_test(a_slow_body_ends_its_own_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * A client's HTTP/2 through the whole worker: frames of every kind behind a good preface.
 *
 *   | bits 0-3: bytes of a segment | frames |
 *
 * 1. What a backend gets is a whole request of HTTP/1.1, with our key's model (edge.c checks its grammar).
 * 2. What the client gets is whole frames on streams that it opened: a head, payload, one end, nothing behind it;
 *    of the length that the head told; and nghttp2's client makes sense of all of it, header blocks included.
 * 3. In the end nothing is left in the worker (edge.c), nor in HTTP/2's memory (h2_shared_free).
 */
#include <nghttp2/nghttp2.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/units.h"
#include "edge.h"
#include "h2frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define FRAMES_BYTES_MAX 16384
#define STREAMS_MAX (FRAMES_BYTES_MAX / H2FRAME_HEAD_BYTES)
#define PREFACE_BYTES 24
#define WINDOW INT32_MAX

static const char answer[] =
	"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 91\r\n\r\n"
	"{\"id\":\"x\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,"
	"\"total_tokens\":3}}\n";

/* A stream that the client opened, and its answer. */
struct stream {
	uint32_t id;
	bool has_head;
	bool is_ended;
	bool is_reset;
	uint64_t bytes;
	uint64_t told_bytes; /* content-length; UINT64_MAX: none */
};

static struct stream streams[STREAMS_MAX];
static uint32_t stream_count;

static struct stream *
stream_of(uint32_t id)
{
	for (uint32_t i = 0; i < stream_count; i++)
		if (streams[i].id == id)
			return &streams[i];
	return NULL;
}

/* Takes the first frame off, if it is whole. */
static bool
next_frame(struct bytes *frames, struct bytes *frame)
{
	size_t n;

	if (frames->len < H2FRAME_HEAD_BYTES)
		return false;
	n = H2FRAME_HEAD_BYTES + h2frame_len(frames->ptr);
	if (frames->len < n)
		return false;
	*frame = bytes_make(frames->ptr, n);
	bytes_advance(frames, n);
	return true;
}

/* In rising order, as nobody may open them otherwise (RFC 9113 5.1.1). The last frame may be torn: what came of
 * its block can be enough to refuse it. */
static void
open_streams(struct bytes said)
{
	stream_count = 0;
	while (said.len >= H2FRAME_HEAD_BYTES) {
		uint32_t id = h2frame_stream(said.ptr) & INT32_MAX;
		size_t n = H2FRAME_HEAD_BYTES + h2frame_len(said.ptr);

		if (said.ptr[3] == H2FRAME_HEADERS && (id & 1) &&
		    (stream_count == 0 || id > streams[stream_count - 1].id))
			streams[stream_count++] = (struct stream){ .id = id, .told_bytes = UINT64_MAX };
		bytes_advance(&said, n < said.len ? n : said.len);
	}
}

/* RFC 9113 5.1, from the side that waits for an answer: trailers are never sent. */
static void
check_order(struct bytes frame)
{
	uint32_t id = h2frame_stream(frame.ptr);
	struct stream *s = stream_of(id);
	uint8_t type = frame.ptr[3];

	CHECK(frame.len - H2FRAME_HEAD_BYTES <= H2FRAME_BYTES_MAX && type <= H2FRAME_CONTINUATION);
	CHECK(type != H2FRAME_PUSH_PROMISE && type != H2FRAME_PRIORITY);
	if (id == 0)
		return;
	CHECK(s != NULL && !s->is_reset);
	if (type == H2FRAME_RST_STREAM)
		s->is_reset = true;
	if (type != H2FRAME_DATA && type != H2FRAME_HEADERS)
		return;
	CHECK(!s->is_ended && s->has_head == (type == H2FRAME_DATA));
	s->has_head = true;
	if (type == H2FRAME_DATA)
		s->bytes += frame.len - H2FRAME_HEAD_BYTES;
	s->is_ended = (frame.ptr[4] & H2FRAME_END_STREAM) != 0;
	/* To HEAD, or 204 and 304, a length may be told that does not follow. */
	if (s->is_ended && type == H2FRAME_DATA && s->told_bytes != UINT64_MAX)
		CHECK(s->bytes == s->told_bytes);
}

static int
header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
       const uint8_t *value, size_t value_len, uint8_t flags, void *owner)
{
	static const char *const kept[] = { "connection", "keep-alive", "proxy-connection", "transfer-encoding",
					    "upgrade" };
	struct stream *s = stream_of((uint32_t)frame->hd.stream_id);

	(void)session, (void)flags, (void)owner;
	CHECK(s != NULL && nghttp2_check_header_value(value, value_len));
	CHECK(nghttp2_check_header_name(name, name_len) || bytes_equal(bytes_make(name, name_len),
								       BYTES_LITERAL(":status")));
	for (size_t i = 0; i < COUNT_OF(kept); i++)
		CHECK(!bytes_equal(bytes_make(name, name_len), bytes_from_text(kept[i])));
	if (bytes_equal(bytes_make(name, name_len), BYTES_LITERAL("content-length"))) {
		CHECK(s->told_bytes == UINT64_MAX && value_len > 0 && value_len < 10);
		s->told_bytes = 0;
		for (size_t i = 0; i < value_len; i++)
			s->told_bytes = s->told_bytes * 10 + (uint64_t)(value[i] - '0');
	}
	return 0;
}

static int
is_invalid(nghttp2_session *session, const nghttp2_frame *frame, int why, void *owner)
{
	(void)session, (void)frame, (void)owner;
	CHECK(why == 0); /* which it never is */
	return 0;
}

static ssize_t
no_body_yet(nghttp2_session *session, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
	    nghttp2_data_source *source, void *owner)
{
	(void)session, (void)id, (void)to, (void)room, (void)flags, (void)source, (void)owner;
	return NGHTTP2_ERR_DEFERRED;
}

/* A client that has all windows open, and asked on all streams for something that it never ends, so that none of
 * them is forgotten. What it asked is not known here, so that nghttp2 does not judge what the fields mean. */
static nghttp2_session *
other_client(void)
{
	nghttp2_settings_entry setting = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW };
	nghttp2_data_provider provider = { .read_callback = no_body_yet };
	nghttp2_session_callbacks *callbacks;
	nghttp2_session *session;
	nghttp2_option *option;
	const uint8_t *sent;
	ssize_t n;

	CHECK(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, header);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, is_invalid);
	nghttp2_option_set_no_http_messaging(option, 1);
	nghttp2_option_set_peer_max_concurrent_streams(option, STREAMS_MAX);
	CHECK(nghttp2_session_client_new2(&session, callbacks, NULL, option) == 0);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(option);
	CHECK(nghttp2_submit_settings(session, 0, &setting, 1) == 0);
	CHECK(nghttp2_session_set_local_window_size(session, 0, 0, WINDOW) == 0);
	for (uint32_t i = 0; i < stream_count; i++) {
		CHECK(nghttp2_session_set_next_stream_id(session, (int32_t)streams[i].id) == 0);
		CHECK(nghttp2_submit_request(session, NULL, NULL, 0, &provider, NULL) == (int32_t)streams[i].id);
	}
	while ((n = nghttp2_session_mem_send(session, &sent)) > 0)
		;
	CHECK(n == 0);
	return session;
}

static void
check_answer(struct bytes told)
{
	nghttp2_session *session = other_client();
	bool is_acked = false;
	struct bytes frame;

	while (next_frame(&told, &frame)) {
		bool is_ack = frame.ptr[3] == H2FRAME_SETTINGS && (frame.ptr[4] & H2FRAME_ACK) != 0;

		/* Those of the other SETTINGS are not this client's. */
		if (!is_ack || !is_acked)
			CHECK(nghttp2_session_mem_recv(session, frame.ptr, frame.len) == (ssize_t)frame.len);
		check_order(frame);
		is_acked |= is_ack;
	}
	CHECK(told.len == 0);
	nghttp2_session_del(session);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
	static uint8_t client[sizeof(preface) + FRAMES_BYTES_MAX];
	static struct edge_result result;
	struct edge_plan plan = { .client = bytes_make(client, sizeof(preface) - 1 + len - 1),
				  .answer = BYTES_LITERAL(answer),
				  .answer_piece = 1000,
				  .is_h2 = true };

	if (len < 2 || len > FRAMES_BYTES_MAX)
		return 0;
	memcpy(client, preface, sizeof(preface) - 1);
	memcpy(client + sizeof(preface) - 1, bytes + 1, len - 1);
	plan.client_piece = bytes[0] & 15 ? bytes[0] & 15u : 1400;
	edge_run(&plan, &result);
	open_streams(bytes_after(plan.client, PREFACE_BYTES));
	check_answer(bytes_make(result.text, result.len));
	return 0;
}

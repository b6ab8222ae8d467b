/*
 * A client's HTTP/2 through the whole worker: frames of every kind behind a good preface.
 *
 *   | bits 0-3: bytes of a segment | frames |
 *
 * 1. What a backend gets is a whole request of HTTP/1.1, with our key's model (edge.c checks its grammar).
 * 2. What the client gets are whole frames that HTTP/2 knows, none longer than it allowed.
 * 3. In the end nothing is left in the worker (edge.c), nor in HTTP/2's memory (h2_shared_free).
 */
#include "base/check.h"
#include "edge.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define FRAMES_BYTES_MAX 16384
#define FRAME_HEAD_BYTES 9
#define FRAME_BYTES_MAX 16384
#define FRAME_CONTINUATION 9

static const char answer[] =
	"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 91\r\n\r\n"
	"{\"id\":\"x\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,"
	"\"total_tokens\":3}}\n";

static void
check_frames(struct bytes told)
{
	while (told.len > 0) {
		size_t n;

		CHECK(told.len >= FRAME_HEAD_BYTES);
		n = (size_t)told.ptr[0] << 16 | (size_t)told.ptr[1] << 8 | told.ptr[2];
		CHECK(n <= FRAME_BYTES_MAX && told.ptr[3] <= FRAME_CONTINUATION);
		CHECK(told.len >= FRAME_HEAD_BYTES + n);
		bytes_advance(&told, FRAME_HEAD_BYTES + n);
	}
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
	check_frames(bytes_make(result.text, result.len));
	return 0;
}

/*
 * Bytes into the event finder: the pieces together are the input, and events and data are the same however
 * it was cut.
 */
#include "base/check.h"
#include "http/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct outcome {
	enum err verdict;
	uint64_t events;
	uint64_t data_bytes;
	uint64_t data_sum;
	uint64_t lines;
	bool is_inside;
};

static struct outcome
find(struct bytes input, size_t step)
{
	struct outcome outcome = { 0 };
	struct sse sse;

	sse_init(&sse);
	while (input.len > 0) {
		struct bytes part = bytes_make(input.ptr, step < input.len ? step : input.len);
		const uint8_t *at = part.ptr;

		bytes_advance(&input, part.len);
		while (part.len > 0) {
			enum sse_what what;
			struct bytes piece;

			outcome.verdict = sse_feed(&sse, &part, &what, &piece);
			if (outcome.verdict != ERR_OK)
				return outcome;
			CHECK(piece.ptr == at && piece.len > 0 && part.ptr == at + piece.len);
			at += piece.len;
			if (what == SSE_DATA) {
				outcome.data_bytes += piece.len;
				for (size_t i = 0; i < piece.len; i++)
					outcome.data_sum = outcome.data_sum * 31 + piece.ptr[i];
			}
			outcome.lines += what == SSE_LINE_END;
		}
	}
	outcome.events = sse.events;
	outcome.is_inside = sse_in_data(&sse);
	return outcome;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct bytes input = bytes_make(bytes, len);
	struct outcome whole = find(input, len + 1);

	for (size_t step = 1; step <= 7; step += 2) {
		struct outcome cut = find(input, step);

		CHECK(cut.verdict == whole.verdict && cut.events == whole.events);
		CHECK(cut.data_bytes == whole.data_bytes && cut.data_sum == whole.data_sum);
		CHECK(cut.lines == whole.lines && cut.is_inside == whole.is_inside);
	}
	return 0;
}

/*
 * Bytes into the body decoder: the payload, the verdict and where the body ended must be the same however
 * the input was cut.
 *
 *   | framing | length 2 | bytes of a body |
 */
#include "base/check.h"
#include "http/h1.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct outcome {
	enum err verdict;
	bool done;
	uint64_t used;
	uint64_t payload_bytes;
	uint64_t payload_sum;
};

static struct outcome
decode(const struct h1_head *head, struct bytes input, size_t step)
{
	struct outcome outcome = { .verdict = ERR_MORE };
	struct h1_body body;
	const uint8_t *start = input.ptr;

	h1_body_init(&body, head);
	while (!body.done && input.len > 0) {
		struct bytes part = bytes_make(input.ptr, step < input.len ? step : input.len);
		size_t offered = part.len;

		while (part.len > 0 && !body.done) {
			struct bytes payload;

			outcome.verdict = h1_body_feed(&body, &part, &payload);
			if (outcome.verdict != ERR_OK && outcome.verdict != ERR_MORE)
				return outcome;
			CHECK(outcome.verdict != ERR_MORE || part.len == 0);
			for (size_t i = 0; i < payload.len; i++)
				outcome.payload_sum = outcome.payload_sum * 31 + payload.ptr[i];
			outcome.payload_bytes += payload.len;
		}
		bytes_advance(&input, offered - part.len);
	}
	outcome.verdict = ERR_OK;
	outcome.done = body.done;
	outcome.used = (uint64_t)(input.ptr - start);
	return outcome;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct h1_head head = { 0 };
	struct outcome whole, cut;
	struct bytes input;

	if (len < 3)
		return 0;
	head.framing = (enum h1_framing)(bytes[0] % 4);
	head.content_length = (uint64_t)bytes[1] << 8 | bytes[2];
	input = bytes_make(bytes + 3, len - 3);
	whole = decode(&head, input, input.len + 1);
	for (size_t step = 1; step <= 5; step += 2) {
		cut = decode(&head, input, step);
		CHECK(cut.verdict == whole.verdict);
		if (whole.verdict != ERR_OK)
			continue;
		CHECK(cut.done == whole.done && cut.used == whole.used);
		CHECK(cut.payload_bytes == whole.payload_bytes && cut.payload_sum == whole.payload_sum);
	}
	return 0;
}

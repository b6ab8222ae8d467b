/*
 * Bytes into both head parsers. What is found must not depend on how the input arrived, every slice must lie
 * inside it, and no accepted head may be one that two parsers frame differently.
 *
 *   | bit 0: response | bytes of a head |
 */
#include "base/check.h"
#include "http/h1.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct outcome {
	enum err verdict;
	uint32_t head_bytes;
	enum h1_framing framing;
	uint64_t content_length;
	uint32_t field_count;
};

static void
check_inside(struct bytes slice, struct bytes input)
{
	CHECK(slice.len == 0 ||
	      (slice.ptr >= input.ptr && slice.ptr + slice.len <= input.ptr + input.len));
}

static uint32_t
count_of(const struct h1_head *head, struct bytes name)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < head->field_count; i++)
		count += bytes_equal_nocase(head->fields[i].name, name);
	return count;
}

static void
check_head(const struct h1_head *head, struct bytes input)
{
	uint32_t lengths = count_of(head, BYTES_LITERAL("content-length"));
	uint32_t codings = count_of(head, BYTES_LITERAL("transfer-encoding"));

	CHECK(head->head_bytes <= input.len && head->head_bytes <= H1_HEAD_BYTES_MAX + 4);
	CHECK(head->field_count <= H1_FIELDS_MAX);
	CHECK(lengths + codings <= 1);
	for (uint32_t i = 0; i < head->field_count; i++) {
		const struct h1_field *field = &head->fields[i];

		check_inside(field->name, input);
		check_inside(field->value, input);
		CHECK(field->name.len > 0);
		CHECK(memchr(field->value.ptr, '\r', field->value.len) == NULL);
		CHECK(memchr(field->value.ptr, '\n', field->value.len) == NULL);
	}
}

/* Parses with the input growing by `step` bytes. */
static struct outcome
parse(struct bytes input, bool is_response, size_t step)
{
	static struct h1_request request;
	static struct h1_response response;
	struct h1_scan scan = { 0 };
	struct outcome outcome = { .verdict = ERR_MORE };
	const struct h1_head *head = is_response ? &response.head : &request.head;

	for (size_t n = step < input.len ? step : input.len;; n += step) {
		struct bytes part = bytes_make(input.ptr, n < input.len ? n : input.len);

		outcome.verdict = is_response ? h1_parse_response(part, H1_POST, &scan, &response) :
						h1_parse_request(part, &scan, &request);
		if (outcome.verdict != ERR_MORE || part.len == input.len)
			break;
	}
	if (outcome.verdict != ERR_OK)
		return outcome;
	check_head(head, input);
	outcome.head_bytes = head->head_bytes;
	outcome.framing = head->framing;
	outcome.content_length = head->content_length;
	outcome.field_count = head->field_count;
	return outcome;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct bytes input;
	struct outcome whole, cut;
	bool is_response;

	if (len < 1)
		return 0;
	is_response = bytes[0] & 1;
	input = bytes_make(bytes + 1, len - 1);
	CHECK(h1_likely_path(input).len <= input.len);
	whole = parse(input, is_response, input.len + 1);
	for (size_t step = 1; step <= 7; step += 3) {
		cut = parse(input, is_response, step);
		CHECK(cut.verdict == whole.verdict);
		CHECK(cut.head_bytes == whole.head_bytes && cut.framing == whole.framing);
		CHECK(cut.content_length == whole.content_length);
		CHECK(cut.field_count == whole.field_count);
	}
	return 0;
}

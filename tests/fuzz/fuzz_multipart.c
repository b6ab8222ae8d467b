/*
 * Bytes into the multipart parser: whether it is refused, and what is found, must be the same however the body
 * was cut, and what it says of `model` must be what stands in the body. Of two faults a cut may show the other
 * one first.
 *
 *   | content type, up to LF | body |
 */
#include "base/check.h"
#include "http/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static enum err
parse(struct multipart *m, struct bytes boundary, struct bytes body, size_t step)
{
	multipart_init(m, boundary);
	while (body.len > 0) {
		size_t n = step < body.len ? step : body.len;
		enum err verdict = multipart_feed(m, bytes_make(body.ptr, n));

		if (verdict != ERR_OK)
			return verdict;
		bytes_advance(&body, n);
	}
	return multipart_end(m);
}

static void
check_findings(const struct multipart_result *result, struct bytes body)
{
	CHECK(result->file_bytes <= body.len);
	if (!result->has_model)
		return;
	CHECK(result->model_start < result->model_end && result->model_end <= body.len);
	CHECK(result->model_end - result->model_start == result->model_len);
	CHECK(memcmp(result->model, body.ptr + result->model_start, result->model_len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct multipart whole, cut;
	const uint8_t *end = len > 0 ? memchr(bytes, '\n', len) : NULL;
	struct bytes boundary, body;
	enum err verdict;

	if (end == NULL || multipart_boundary(bytes_make(bytes, (size_t)(end - bytes)), &boundary) != ERR_OK)
		return 0;
	body = bytes_make(end + 1, len - (size_t)(end - bytes) - 1);
	verdict = parse(&whole, boundary, body, body.len + 1);
	check_findings(&whole.result, body);
	for (size_t step = 1; step <= 7; step += 3) {
		CHECK((parse(&cut, boundary, body, step) == ERR_OK) == (verdict == ERR_OK));
		if (verdict != ERR_OK)
			continue;
		CHECK(cut.offset == whole.offset);
		CHECK(cut.result.has_model == whole.result.has_model);
		CHECK(cut.result.model_start == whole.result.model_start);
		CHECK(cut.result.model_end == whole.result.model_end);
		CHECK(cut.result.has_file == whole.result.has_file);
		CHECK(cut.result.streams == whole.result.streams);
		CHECK(cut.result.culprit == whole.result.culprit);
		CHECK(cut.result.file_bytes == whole.result.file_bytes);
	}
	return 0;
}

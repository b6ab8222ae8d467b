/*
 * Bytes into the request scanner, its validation and its edits, and into the reader of usage. The result must
 * not depend on the cuts; an edited body must be accepted again, and mean what was asked for.
 */
#include <stdlib.h>

#include "base/check.h"
#include "json/splice.h"
#include "json/usage.h"
#include "json/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static enum err
scan(struct json_scan *s, struct bytes input, size_t step)
{
	enum err verdict = ERR_OK;

	json_scan_init(s);
	while (input.len > 0 && verdict == ERR_OK) {
		size_t n = step < input.len ? step : input.len;

		verdict = json_scan_feed(s, bytes_make(input.ptr, n));
		bytes_advance(&input, n);
	}
	return verdict == ERR_OK ? json_scan_end(s) : verdict;
}

static void
check_same(const struct json_result *a, const struct json_result *b)
{
	CHECK(a->model_len == b->model_len && memcmp(a->model, b->model, a->model_len) == 0);
	CHECK(a->object_start == b->object_start && a->object_end == b->object_end);
	for (int i = 0; i < JSON_FIELD_COUNT; i++)
		CHECK(a->field[i].type == b->field[i].type && a->field[i].start == b->field[i].start &&
		      a->field[i].end == b->field[i].end && a->field[i].number == b->field[i].number);
}

static struct bytes
apply(const struct json_splices *splices, struct bytes input, uint8_t *to)
{
	uint64_t from = 0;
	size_t len = 0;

	for (uint32_t i = 0; i < splices->count; i++) {
		const struct json_splice *splice = &splices->splice[i];

		CHECK(splice->offset >= from && splice->offset + splice->cut_bytes <= input.len);
		memcpy(to + len, input.ptr + from, splice->offset - from);
		len += splice->offset - from;
		memcpy(to + len, splice->insert.ptr, splice->insert.len);
		len += splice->insert.len;
		from = splice->offset + splice->cut_bytes;
	}
	memcpy(to + len, input.ptr + from, input.len - from);
	len += input.len - from;
	CHECK(len == (size_t)((int64_t)input.len + splices->grown_bytes));
	return bytes_make(to, len);
}

static void
check_edits(const struct json_result *result, struct bytes input, enum json_ask ask)
{
	static struct json_splices splices;
	static struct json_scan again;
	uint8_t *edited = malloc(input.len + 1024);

	CHECK(edited != NULL);
	CHECK(json_plan_splices(result, BYTES_LITERAL("a\"b\\c"), ask, &splices) == ERR_OK);
	CHECK(scan(&again, apply(&splices, input, edited), SIZE_MAX) == ERR_OK);
	CHECK(again.result.model_len == 5 && memcmp(again.result.model, "a\"b\\c", 5) == 0);
	CHECK(ask == JSON_ASK_NOTHING || json_wants_usage(&again.result));
	CHECK(ask != JSON_ASK_RUNNING || json_wants_running(&again.result));
	free(edited);
}

static void
check_usage(struct bytes input)
{
	struct json_usage_scan whole, cut;

	json_usage_init(&whole);
	json_usage_feed(&whole, input);
	json_usage_init(&cut);
	for (size_t i = 0; i < input.len; i++)
		json_usage_feed(&cut, bytes_make(input.ptr + i, 1));
	CHECK(whole.usage.present == cut.usage.present && whole.usage.suspect == cut.usage.suspect);
	CHECK(whole.usage.completion_tokens <= UINT64_C(1) << 32);
	CHECK(whole.usage.prompt_tokens == cut.usage.prompt_tokens);
	CHECK(whole.usage.completion_tokens == cut.usage.completion_tokens);
	CHECK(whole.usage.prompt_tokens <= UINT64_C(1) << 32);
	CHECK(whole.usage.is_complete == cut.usage.is_complete);
	CHECK(whole.usage.is_last_event == cut.usage.is_last_event);
	CHECK(whole.usage.has_length == cut.usage.has_length);
	CHECK(whole.usage.milliseconds == cut.usage.milliseconds);
	CHECK(whole.usage.data_count == cut.usage.data_count);
	CHECK(whole.usage.has_id == cut.usage.has_id);
	if (!whole.usage.has_id)
		return;
	CHECK(whole.usage.id_end - whole.usage.id_start == whole.usage.id_len && whole.usage.id_end < input.len);
	CHECK(memcmp(input.ptr + whole.usage.id_start, cut.usage.id, whole.usage.id_len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct json_scan whole, cut;
	struct bytes input = bytes_make(bytes, len);
	enum err verdict = scan(&whole, input, SIZE_MAX);
	enum json_field culprit;
	const char *sentence;

	for (size_t step = 1; step <= 9; step += 4) {
		CHECK(scan(&cut, input, step) == verdict);
		if (verdict == ERR_OK)
			check_same(&whole.result, &cut.result);
	}
	check_usage(input);
	if (verdict != ERR_OK)
		return 0;
	for (int path = JSON_PATH_CHAT; path <= JSON_PATH_VIDEO; path++)
		json_validate(&whole.result, (enum json_path)path, &culprit, &sentence);
	if (json_validate(&whole.result, JSON_PATH_ANY, &culprit, &sentence) != ERR_OK)
		return 0;
	for (int ask = JSON_ASK_NOTHING; ask <= JSON_ASK_RUNNING; ask++)
		check_edits(&whole.result, input, (enum json_ask)ask);
	return 0;
}

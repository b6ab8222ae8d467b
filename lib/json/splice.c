/* Edits from recorded offsets. The wish for usage takes one of four forms, by what is already there. */
#include "json/splice.h"

#include "base/check.h"

bool
json_wants_usage(const struct json_result *result)
{
	return result->field[JSON_FIELD_STREAM_OPTIONS].type == JSON_OBJECT &&
	       result->include_usage.type == JSON_BOOL && result->include_usage.boolean;
}

bool
json_wants_running(const struct json_result *result)
{
	return result->field[JSON_FIELD_STREAM_OPTIONS].type == JSON_OBJECT &&
	       result->continuous_usage.type == JSON_BOOL && result->continuous_usage.boolean;
}

static void
add(struct json_splices *splices, uint64_t offset, uint64_t cut_bytes, struct bytes insert)
{
	uint32_t at = splices->count++;

	CHECK(splices->count <= JSON_SPLICES_MAX);
	for (; at > 0 && splices->splice[at - 1].offset > offset; at--)
		splices->splice[at] = splices->splice[at - 1];
	splices->splice[at] = (struct json_splice){ offset, cut_bytes, insert };
	splices->grown_bytes += (int64_t)insert.len - (int64_t)cut_bytes;
}

/* The name as a JSON string. Control characters do not occur in names that control accepts. */
static enum err
quote(struct bytes name, struct json_splices *splices, struct bytes *text)
{
	size_t len = 0;

	splices->model_text[len++] = '"';
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.ptr[i];

		if (len + 3 > sizeof(splices->model_text) || c < 0x20)
			return ERR_JSON_NAME_TOO_LONG;
		if (c == '"' || c == '\\')
			splices->model_text[len++] = '\\';
		splices->model_text[len++] = c;
	}
	splices->model_text[len++] = '"';
	*text = bytes_make(splices->model_text, len);
	return ERR_OK;
}

/* Inside an object that is there: what is spelled is replaced, what is not is put in front. */
static void
ask_in_object(const struct json_result *result, enum json_ask ask, struct json_splices *splices)
{
	const struct json_value *options = &result->field[JSON_FIELD_STREAM_OPTIONS];
	const struct json_value *usage = &result->include_usage;
	const struct json_value *running = &result->continuous_usage;
	struct bytes yes = BYTES_LITERAL("true");

	if (options->empty) {
		add(splices, options->start + 1, 0,
		    ask == JSON_ASK_RUNNING ?
			    BYTES_LITERAL("\"include_usage\":true,\"continuous_usage_stats\":true") :
			    BYTES_LITERAL("\"include_usage\":true"));
		return;
	}
	if (usage->type != JSON_ABSENT)
		add(splices, usage->start, usage->end - usage->start, yes);
	else
		add(splices, options->start + 1, 0, BYTES_LITERAL("\"include_usage\":true,"));
	if (ask != JSON_ASK_RUNNING)
		return;
	if (running->type != JSON_ABSENT)
		add(splices, running->start, running->end - running->start, yes);
	else
		add(splices, options->start + 1, 0, BYTES_LITERAL("\"continuous_usage_stats\":true,"));
}

static void
ask_for(const struct json_result *result, enum json_ask ask, struct json_splices *splices)
{
	const struct json_value *options = &result->field[JSON_FIELD_STREAM_OPTIONS];
	bool running = ask == JSON_ASK_RUNNING;

	if (options->type == JSON_OBJECT)
		ask_in_object(result, ask, splices);
	else if (options->type == JSON_NULL)
		add(splices, options->start, options->end - options->start,
		    running ? BYTES_LITERAL("{\"include_usage\":true,\"continuous_usage_stats\":true}") :
			      BYTES_LITERAL("{\"include_usage\":true}"));
	else
		/* The object has a `model`, so a comma may follow. */
		add(splices, result->object_start + 1, 0,
		    running ? BYTES_LITERAL("\"stream_options\":{\"include_usage\":true,"
					    "\"continuous_usage_stats\":true},") :
			      BYTES_LITERAL("\"stream_options\":{\"include_usage\":true},"));
}

enum err
json_plan_splices(const struct json_result *result, struct bytes model, enum json_ask ask,
		  struct json_splices *splices)
{
	splices->count = 0;
	splices->grown_bytes = 0;
	if (model.len > 0) {
		const struct json_value *value = &result->field[JSON_FIELD_MODEL];
		struct bytes text;
		enum err verdict = quote(model, splices, &text);

		if (verdict != ERR_OK)
			return verdict;
		add(splices, value->start, value->end - value->start, text);
	}
	if (ask != JSON_ASK_NOTHING)
		ask_for(result, ask, splices);
	return ERR_OK;
}

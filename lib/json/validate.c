/* One row per field: its kinds, its range, and the sentence when it is neither. */
#include "json/validate.h"

#include "base/units.h"

#define KIND(type) (1u << (type))
#define FOR(path) (1u << JSON_PATH_##path)
#define FOR_EVERY (~0u)
/* Text by sampling, asked for in two ways. */
#define FOR_SAMPLING (FOR(CHAT) | FOR(COMPLETIONS))

/* Further conditions of a row. */
enum demand { DEMAND_NONE, DEMAND_RANGE, DEMAND_INTEGER, DEMAND_POSITIVE, DEMAND_NOT_EMPTY, DEMAND_STRINGS,
	      DEMAND_LENGTH };

static const struct row {
	enum json_field field;
	bool required;
	uint32_t paths;
	uint32_t kinds;
	enum demand demand;
	int64_t low_milli;
	int64_t high_milli;
	const char *sentence;
} rows[] = {
	{ JSON_FIELD_MODEL, true, FOR_EVERY, KIND(JSON_STRING), DEMAND_NONE, 0, 0,
	  "`model` must be a string." },
	{ JSON_FIELD_MESSAGES, true, FOR(CHAT), KIND(JSON_ARRAY), DEMAND_NOT_EMPTY, 0, 0,
	  "`messages` must be an array with at least one message." },
	{ JSON_FIELD_STREAM, false, FOR_EVERY, KIND(JSON_BOOL), DEMAND_NONE, 0, 0,
	  "`stream` must be true or false." },
	{ JSON_FIELD_STREAM_OPTIONS, false, FOR_EVERY, KIND(JSON_OBJECT), DEMAND_NONE, 0, 0,
	  "`stream_options` must be an object." },
	{ JSON_FIELD_MAX_TOKENS, false, FOR_SAMPLING, KIND(JSON_NUMBER), DEMAND_POSITIVE, 0, 0,
	  "`max_tokens` must be an integer of at least 1." },
	{ JSON_FIELD_MAX_COMPLETION_TOKENS, false, FOR_SAMPLING, KIND(JSON_NUMBER), DEMAND_POSITIVE, 0, 0,
	  "`max_completion_tokens` must be an integer of at least 1." },
	{ JSON_FIELD_MAX_OUTPUT_TOKENS, false, FOR(RESPONSES), KIND(JSON_NUMBER), DEMAND_POSITIVE, 0, 0,
	  "`max_output_tokens` must be an integer of at least 1." },
	{ JSON_FIELD_N, false, FOR_SAMPLING | FOR(IMAGES) | FOR(VIDEO), KIND(JSON_NUMBER), DEMAND_POSITIVE, 0, 0,
	  "`n` must be an integer of at least 1." },
	{ JSON_FIELD_BEST_OF, false, FOR(COMPLETIONS), KIND(JSON_NUMBER), DEMAND_POSITIVE, 0, 0,
	  "`best_of` must be an integer of at least 1." },
	{ JSON_FIELD_TEMPERATURE, false, FOR_SAMPLING | FOR(RESPONSES), KIND(JSON_NUMBER), DEMAND_RANGE, 0, 2000,
	  "`temperature` must be a number from 0 to 2." },
	{ JSON_FIELD_TOP_P, false, FOR_SAMPLING | FOR(RESPONSES), KIND(JSON_NUMBER), DEMAND_RANGE, 0, 1000,
	  "`top_p` must be a number from 0 to 1." },
	{ JSON_FIELD_PRESENCE_PENALTY, false, FOR_SAMPLING, KIND(JSON_NUMBER), DEMAND_RANGE, -2000, 2000,
	  "`presence_penalty` must be a number from -2 to 2." },
	{ JSON_FIELD_FREQUENCY_PENALTY, false, FOR_SAMPLING, KIND(JSON_NUMBER), DEMAND_RANGE, -2000, 2000,
	  "`frequency_penalty` must be a number from -2 to 2." },
	{ JSON_FIELD_STOP, false, FOR_SAMPLING, KIND(JSON_STRING) | KIND(JSON_ARRAY), DEMAND_STRINGS, 0, 0,
	  "`stop` must be a string or an array of strings." },
	{ JSON_FIELD_SEED, false, FOR_SAMPLING, KIND(JSON_NUMBER), DEMAND_INTEGER, 0, 0,
	  "`seed` must be an integer." },
	{ JSON_FIELD_RESPONSE_FORMAT, false, FOR(CHAT), KIND(JSON_OBJECT), DEMAND_NONE, 0, 0,
	  "`response_format` must be an object." },
	{ JSON_FIELD_TOOLS, false, FOR(CHAT) | FOR(RESPONSES), KIND(JSON_ARRAY), DEMAND_NONE, 0, 0,
	  "`tools` must be an array." },
	{ JSON_FIELD_TOOL_CHOICE, false, FOR(CHAT) | FOR(RESPONSES), KIND(JSON_STRING) | KIND(JSON_OBJECT),
	  DEMAND_NONE, 0, 0,
	  "`tool_choice` must be a string or an object." },
	{ JSON_FIELD_PROMPT, true, FOR(IMAGES), KIND(JSON_STRING), DEMAND_NONE, 0, 0,
	  "`prompt` must be a string." },
	{ JSON_FIELD_SIZE, false, FOR(IMAGES) | FOR(VIDEO), KIND(JSON_STRING), DEMAND_NONE, 0, 0,
	  "`size` must be a string." },
	{ JSON_FIELD_INPUT, true, FOR(SPEECH), KIND(JSON_STRING), DEMAND_NONE, 0, 0,
	  "`input` must be a string." },
	{ JSON_FIELD_RESPONSE_FORMAT, false, FOR(IMAGES) | FOR(SPEECH), KIND(JSON_STRING), DEMAND_NONE, 0, 0,
	  "`response_format` must be a string." },
	{ JSON_FIELD_SECONDS, false, FOR(VIDEO), KIND(JSON_NUMBER) | KIND(JSON_STRING), DEMAND_LENGTH, 0, 0,
	  "`seconds` must be a number above 0." },
	{ JSON_FIELD_DURATION, false, FOR(VIDEO), KIND(JSON_NUMBER), DEMAND_LENGTH, 0, 0,
	  "`duration` must be a number above 0." },
};

static bool
meets(const struct row *row, const struct json_value *value)
{
	if ((row->kinds & KIND(value->type)) == 0)
		return false;
	switch (row->demand) {
	case DEMAND_RANGE:
		return value->number_milli >= row->low_milli && value->number_milli <= row->high_milli;
	case DEMAND_INTEGER:
		return value->integer;
	case DEMAND_POSITIVE:
		return value->integer && value->number >= 1;
	case DEMAND_NOT_EMPTY:
		return !value->empty;
	case DEMAND_STRINGS:
		return value->type == JSON_STRING || value->all_strings;
	case DEMAND_LENGTH:
		return value->type == JSON_STRING ? value->integer && value->number > 0 :
						    value->number_milli > 0;
	case DEMAND_NONE:
		break;
	}
	return true;
}

static bool
is_flag(const struct json_value *value)
{
	return value->type == JSON_ABSENT || value->type == JSON_NULL || value->type == JSON_BOOL;
}

enum err
json_validate(const struct json_result *result, enum json_path path, enum json_field *culprit,
	      const char **sentence)
{
	if (!is_flag(&result->include_usage) || !is_flag(&result->continuous_usage)) {
		*culprit = JSON_FIELD_STREAM_OPTIONS;
		*sentence = "`stream_options`: its flags must be true or false.";
		return ERR_JSON_BAD_FIELD;
	}
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const struct json_value *value = &result->field[rows[i].field];
		bool absent = value->type == JSON_ABSENT || value->type == JSON_NULL;

		if ((rows[i].paths & 1u << path) == 0)
			continue;
		if (absent ? !rows[i].required : meets(&rows[i], value))
			continue;
		*culprit = rows[i].field;
		*sentence = rows[i].sentence;
		return absent ? ERR_JSON_MISSING_FIELD : ERR_JSON_BAD_FIELD;
	}
	return ERR_OK;
}

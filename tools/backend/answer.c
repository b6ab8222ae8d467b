/* Text of words by SplitMix64, wrapped as OpenAI's API wraps it. */
#include "answer.h"

#include <inttypes.h>
#include <stdlib.h>

#include "media.h"
#include "response.h"

/* As they stand inside a JSON string: plain words, UTF-8 of each length, and escapes. */
static const char *const words[] = {
	" the", " a", " of", " to", " and", " in", " is", " model", " token", " stream", " router",
	" packet", " answer", " time", " water", " gate", " sluice", " quick", " brown", " fox", ".",
	",", " caf\xc3\xa9", " na\xc3\xafve", " \xe2\x82\xac", " \xe6\xb0\xb4", " \xf0\x9f\x8c\x8a",
	"\\n", "\\n\\n", " \\\"quoted\\\"", " back\\\\slash", " \\u2603", " \\ud83d\\ude00", " data:",
	" [DONE]", " {}", " usage",
};

/* As words, but what they say is no member, no event and no end: a string holds them. */
static const char *const decoys[] = {
	" {\\\"usage\\\":{\\\"prompt_tokens\\\":900000,\\\"completion_tokens\\\":900000}}",
	"\\n\\ndata: [DONE]\\n\\n",
	"\\\\\\\",\\\"usage\\\":{\\\"prompt_tokens\\\":7}",
	" data: {\\\"choices\\\":[],\\\"usage\\\":null}",
};

static const char *
id_prefix(const struct ask *ask)
{
	return ask->kind == ASK_CHAT ? "chatcmpl" : "cmpl";
}

void
answer_init(struct answer *answer, const struct ask *ask)
{
	*answer = (struct answer){ .ask = ask, .text = { ask->script.seed } };
	answer->tokens_total = ask_tokens(ask, &answer->is_cut);
	answer->at = ask->kind == ASK_CHAT || ask->kind == ASK_RESPONSE ? ANSWER_ROLE : ANSWER_TEXT;
}

static const char *
next_word(struct answer *answer)
{
	if (answer->ask->script.decoys)
		return decoys[random_below(&answer->text, COUNT_OF(decoys))];
	return words[random_below(&answer->text, COUNT_OF(words))];
}

static bool
calls(const struct answer *answer)
{
	return answer->ask->kind == ASK_CHAT && answer->ask->script.calls;
}

static bool
is_object(const struct answer *answer)
{
	return calls(answer) || (answer->ask->kind == ASK_CHAT && answer->ask->script.json);
}

/* A JSON object inside a JSON string, in as many pieces as there are events. */
static bool
add_object(struct answer *answer, struct buffer *to, uint64_t tokens)
{
	bool fine = answer->tokens > 0 ||
		    buffer_addf(to, "{\\\"%s\\\":\\\"", answer->ask->script.calls ? "city" : "summary");

	for (uint64_t i = 0; fine && i < tokens * 4; i++)
		fine = buffer_addf(to, "%c", 'a' + (int)random_below(&answer->text, 26));
	answer->tokens += tokens;
	return fine && (answer->tokens < answer->tokens_total || buffer_add_text(to, "\\\"}"));
}

bool
answer_add_text(struct answer *answer, struct buffer *to, uint64_t tokens)
{
	uint64_t bytes = answer->ask->script.event_bytes;
	bool fine = true;

	if (is_object(answer))
		return add_object(answer, to, tokens);
	for (uint64_t i = 0; fine && bytes && i < bytes; i++)
		fine = buffer_addf(to, "%c", 'a' + (int)random_below(&answer->text, 26));
	for (uint64_t i = 0; fine && !bytes && i < tokens; i++)
		fine = buffer_add_text(to, next_word(answer));
	answer->tokens += tokens;
	return fine;
}

uint64_t
answer_event_tokens(const struct answer *answer)
{
	uint64_t left = answer->tokens_total - answer->tokens;

	return left < answer->ask->script.chunk ? left : answer->ask->script.chunk;
}

bool
answer_add_usage(const struct answer *answer, struct buffer *to, uint64_t tokens)
{
	const struct script *script = &answer->ask->script;
	bool is_response = answer->ask->kind == ASK_RESPONSE;
	const char *in = is_response ? "input" : "prompt", *out = is_response ? "output" : "completion";
	uint64_t prompt = ask_prompt_tokens(answer->ask);
	const char *odd = script->usage_negative ? "-1" : script->usage_huge ? "9223372036854775808" :
			  script->usage_zero ? "0" : NULL;

	if (script->usage_null)
		return buffer_add_text(to, "null");
	if (odd != NULL)
		return buffer_addf(to, "{\"%s_tokens\":%s,\"%s_tokens\":%s,\"total_tokens\":%s}", in, odd, out,
				   odd, odd);
	return buffer_addf(to,
			   "{\"%s_tokens\":%s%" PRIu64 ",\"%s_tokens\":%s%" PRIu64
			   ",\"total_tokens\":%" PRIu64 "}",
			   in, script->usage_rest ? "-" : "", prompt, out, script->usage_half ? "-" : "", tokens,
			   prompt + tokens);
}

static bool
add_opening(const struct answer *answer, struct buffer *to, const char *object)
{
	return buffer_addf(to, "{\"id\":\"%s-%016" PRIx64 "\",\"object\":\"%s\",\"created\":%d,\"model\":",
			   id_prefix(answer->ask), answer->ask->script.seed, object, ANSWER_CREATED) &&
	       buffer_add_json(to, bytes_from_text(answer->ask->model));
}

/* The beginning of a call, up to its arguments. */
static bool
add_call(const struct answer *answer, struct buffer *to)
{
	return buffer_addf(to, "[{\"index\":0,\"id\":\"call_%016" PRIx64 "\",\"type\":\"function\","
			   "\"function\":{\"name\":\"get_weather\",\"arguments\":\"", answer->ask->script.seed);
}

static bool
add_role(const struct answer *answer, struct buffer *to)
{
	bool fine = buffer_add_text(to, "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":");

	if (calls(answer))
		fine = fine && buffer_add_text(to, "null,\"tool_calls\":") && add_call(answer, to) &&
		       buffer_add_text(to, "\"}}]");
	else
		fine = fine && buffer_add_text(to, "\"\"");
	return fine && buffer_add_text(to, "},\"finish_reason\":null}");
}

static bool
add_piece(struct answer *answer, struct buffer *to)
{
	bool is_chat = answer->ask->kind == ASK_CHAT;
	const char *before = calls(answer) ? "\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{"
					     "\"arguments\":\"" :
			     is_chat ? "\"delta\":{\"content\":\"" : "\"text\":\"";

	return buffer_addf(to, "{\"index\":0,%s", before) &&
	       answer_add_text(answer, to, answer_event_tokens(answer)) &&
	       buffer_addf(to, "\"%s,\"finish_reason\":null}", calls(answer) ? "}}]}" : is_chat ? "}" : "");
}

static const char *
finish_of(const struct answer *answer)
{
	return answer->is_cut ? "length" : calls(answer) ? "tool_calls" : "stop";
}

static bool
add_choice(struct answer *answer, struct buffer *to)
{
	bool is_chat = answer->ask->kind == ASK_CHAT;

	switch (answer->at) {
	case ANSWER_ROLE:
		return add_role(answer, to);
	case ANSWER_TEXT:
		return add_piece(answer, to);
	case ANSWER_FINISH:
		return buffer_addf(to, "{\"index\":0,%s,\"finish_reason\":\"%s\"}",
				   is_chat ? "\"delta\":{}" : "\"text\":\"\"", finish_of(answer));
	default:
		return true; /* choices: [] of the usage event */
	}
}

static bool
add_event_usage(const struct answer *answer, struct buffer *to)
{
	const struct ask *ask = answer->ask;
	bool is_early = ask->script.usage_early && answer->at == ANSWER_ROLE;

	if (!ask->wants_usage || ask->script.no_usage)
		return true;
	if (is_early || answer->at == ANSWER_USAGE || answer->at == ANSWER_LATE_USAGE || ask->wants_running_usage)
		return buffer_add_text(to, ",\"usage\":") &&
		       answer_add_usage(answer, to, is_early ? answer->tokens_total : answer->tokens);
	return ask->script.no_usage_null || buffer_add_text(to, ",\"usage\":null");
}

/* Whether an answer comes to this place. */
static bool
has(const struct answer *answer, unsigned int at)
{
	const struct script *script = &answer->ask->script;
	bool has_usage = answer->ask->wants_usage && !script->no_usage && !script->usage_early;

	if (answer->ask->kind == ASK_RESPONSE && at > ANSWER_FINISH)
		return at == ANSWER_END;
	switch (at) {
	case ANSWER_TEXT:
		return answer->tokens_total > 0;
	case ANSWER_USAGE:
		return has_usage && !script->usage_late;
	case ANSWER_DONE:
		return !script->no_done;
	case ANSWER_LATE_USAGE:
		return has_usage && script->usage_late;
	default:
		return true;
	}
}

static void
go_on(struct answer *answer)
{
	if (answer->at == ANSWER_TEXT && answer->tokens < answer->tokens_total)
		return;
	do
		answer->at++;
	while (!has(answer, answer->at));
}

bool
answer_next_event(struct answer *answer, struct buffer *to)
{
	const char *object = answer->ask->kind == ASK_CHAT ? "chat.completion.chunk" :
							     "text_completion";
	size_t torn = answer->ask->script.torn, before = to->len;
	bool fine;

	if (answer->ask->kind == ASK_TRANSCRIPT)
		return media_next_event(answer, to);
	if (answer->at == ANSWER_END)
		return false;
	if (answer->ask->kind == ASK_RESPONSE)
		fine = response_add_event(answer, to);
	else if (answer->at == ANSWER_DONE)
		fine = buffer_add_text(to, "data: [DONE]\n\n");
	else
		fine = buffer_add_text(to, "data: ") && add_opening(answer, to, object) &&
		       buffer_add_text(to, ",\"choices\":[") && add_choice(answer, to) &&
		       buffer_add_text(to, "]") && add_event_usage(answer, to) &&
		       buffer_add_text(to, "}\n\n");
	answer->events++;
	go_on(answer);
	if (fine && answer->at == ANSWER_END)
		to->len -= torn < to->len - before ? torn : to->len - before;
	return fine;
}

static bool
add_base64(struct buffer *to, const uint8_t *from, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	bool fine = buffer_add_text(to, "\"");

	for (size_t i = 0; fine && i < len; i += 3) {
		size_t left = len - i;
		uint32_t three = (uint32_t)from[i] << 16 |
				 (left > 1 ? (uint32_t)from[i + 1] << 8 : 0) |
				 (left > 2 ? (uint32_t)from[i + 2] : 0);

		fine = buffer_addf(to, "%c%c%c%c", digits[three >> 18], digits[three >> 12 & 63],
				   left > 1 ? digits[three >> 6 & 63] : '=',
				   left > 2 ? digits[three & 63] : '=');
	}
	return fine && buffer_add_text(to, "\"");
}

/* Numbers of four decimals, which print the same from a float everywhere. */
static bool
add_vector(struct answer *answer, struct buffer *to)
{
	uint64_t dims = answer->ask->script.dims;
	float *vector = calloc(dims, sizeof(*vector));
	bool fine = vector != NULL;

	for (uint64_t i = 0; fine && i < dims; i++)
		vector[i] = (float)((int)random_below(&answer->text, 20001) - 10000) / 10000.0f;
	if (fine && answer->ask->wants_base64) {
		fine = add_base64(to, (const uint8_t *)vector, dims * sizeof(*vector));
	} else if (fine) {
		fine = buffer_add_text(to, "[");
		for (uint64_t i = 0; fine && i < dims; i++)
			fine = buffer_addf(to, "%s%.4f", i ? "," : "", (double)vector[i]);
		fine = fine && buffer_add_text(to, "]");
	}
	free(vector);
	return fine;
}

static bool
whole_embedding(struct answer *answer, struct buffer *to)
{
	uint64_t prompt = ask_prompt_tokens(answer->ask);
	bool fine = buffer_add_text(to, "{\"object\":\"list\",\"data\":[");

	for (uint32_t i = 0; fine && i < answer->ask->input_count; i++)
		fine = buffer_addf(to, "%s{\"object\":\"embedding\",\"index\":%" PRIu32 ",\"embedding\":",
				   i ? "," : "", i) &&
		       add_vector(answer, to) && buffer_add_text(to, "}");
	return fine && buffer_add_text(to, "],\"model\":") &&
	       buffer_add_json(to, bytes_from_text(answer->ask->model)) &&
	       buffer_addf(to, ",\"usage\":{\"prompt_tokens\":%" PRIu64 ",\"total_tokens\":%" PRIu64 "}}",
			   prompt, prompt);
}

static bool
whole_text(struct answer *answer, struct buffer *to)
{
	bool is_chat = answer->ask->kind == ASK_CHAT;
	bool fine = add_opening(answer, to, is_chat ? "chat.completion" : "text_completion") &&
		    buffer_add_text(to, ",\"choices\":[{\"index\":0,");

	if (calls(answer))
		fine = fine && buffer_add_text(to, "\"message\":{\"role\":\"assistant\",\"content\":null,"
						   "\"tool_calls\":") && add_call(answer, to);
	else
		fine = fine && buffer_add_text(to, is_chat ? "\"message\":{\"role\":\"assistant\",\"content\":\"" :
							     "\"text\":\"");
	while (fine && answer->tokens < answer->tokens_total)
		fine = answer_add_text(answer, to, answer_event_tokens(answer));
	fine = fine && buffer_addf(to, "\"%s,\"finish_reason\":\"%s\"}]",
				   calls(answer) ? "}}]}" : is_chat ? "}" : "", finish_of(answer));
	if (fine && !answer->ask->script.no_usage)
		fine = buffer_add_text(to, ",\"usage\":") && answer_add_usage(answer, to, answer->tokens);
	return fine && buffer_add_text(to, "}");
}

bool
answer_whole(struct answer *answer, struct buffer *to)
{
	switch (answer->ask->kind) {
	case ASK_EMBEDDING:
		return whole_embedding(answer, to);
	case ASK_IMAGE:
	case ASK_SPEECH:
	case ASK_TRANSCRIPT:
	case ASK_VIDEO:
	case ASK_JOB:
		return media_whole(answer, to);
	case ASK_RESPONSE:
		return response_whole(answer, to);
	case ASK_MODELS:
		return buffer_add_text(to, "{\"object\":\"list\",\"data\":[{\"id\":\"sim\","
					   "\"object\":\"model\",\"owned_by\":\"sluice\"}]}");
	case ASK_HEALTH:
		return buffer_add_text(to, "{\"status\":\"ok\"}");
	default:
		return whole_text(answer, to);
	}
}

bool
answer_error(struct buffer *to, uint64_t status, const char *message, const char *param)
{
	const char *type = status >= 500 ? "server_error" : "invalid_request_error";

	return buffer_add_text(to, "{\"error\":{\"message\":") &&
	       buffer_add_json(to, bytes_from_text(message)) &&
	       buffer_addf(to, ",\"type\":\"%s\",\"param\":", type) &&
	       (param ? buffer_add_json(to, bytes_from_text(param)) : buffer_add_text(to, "null")) &&
	       buffer_add_text(to, ",\"code\":\"simulated\"}}");
}

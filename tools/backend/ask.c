/* One walk over the members of the request; the rest of it is nobody's business here. */
#include "ask.h"

#include <stdio.h>
#include <string.h>

#include "form.h"
#include "json.h"

static bool
path_ends_with(const char *path, const char *end)
{
	size_t path_len = strcspn(path, "?"), end_len = strlen(end);

	return path_len >= end_len && memcmp(path + path_len - end_len, end, end_len) == 0;
}

enum ask_kind
ask_kind_of(const char *method, const char *path)
{
	bool posts = strcmp(method, "POST") == 0, gets = strcmp(method, "GET") == 0;

	if (posts && path_ends_with(path, "/v1/chat/completions"))
		return ASK_CHAT;
	if (posts && path_ends_with(path, "/v1/completions"))
		return ASK_COMPLETION;
	if (posts && path_ends_with(path, "/v1/responses"))
		return ASK_RESPONSE;
	if (posts && path_ends_with(path, "/v1/embeddings"))
		return ASK_EMBEDDING;
	if (posts && path_ends_with(path, "/v1/images/generations"))
		return ASK_IMAGE;
	if (posts && path_ends_with(path, "/v1/audio/speech"))
		return ASK_SPEECH;
	if (posts && path_ends_with(path, "/v1/audio/transcriptions"))
		return ASK_TRANSCRIPT;
	if (posts && path_ends_with(path, "/v1/video/generations"))
		return ASK_VIDEO;
	if (gets && strstr(path, "/v1/video/generations/"))
		return ASK_JOB;
	if (gets && path_ends_with(path, "/v1/models"))
		return ASK_MODELS;
	if (gets && path_ends_with(path, "/health"))
		return ASK_HEALTH;
	return ASK_ECHO;
}

/* Text of a prompt, a content or an input: counted, and searched for a script. */
static const char *
read_text(struct ask *ask, struct bytes text)
{
	struct bytes script, wrong;

	ask->prompt_bytes += text.len;
	if (script_find(text, &script) && !script_parse(&ask->script, script, &wrong))
		return "the script in the text has a word that is none";
	return NULL;
}

static bool
is_string(struct bytes value)
{
	return value.len >= 2 && value.ptr[0] == '"';
}

static struct bytes
inside_quotes(struct bytes value)
{
	return bytes_make(value.ptr + 1, value.len - 2);
}

static const char *
read_parts(struct ask *ask, struct bytes parts)
{
	struct json_walk walk = json_elements(parts);
	const char *wrong = NULL;
	struct bytes text;

	while (!wrong && json_next(&walk))
		if (json_member(walk.value, "text", &text) && is_string(text))
			wrong = read_text(ask, inside_quotes(text));
	return wrong;
}

/* The script is the last user message's: what earlier ones said, the conversation only carries along. */
static const char *
read_messages(struct ask *ask, struct bytes messages)
{
	struct json_walk walk = json_elements(messages);
	struct script before = ask->script;
	const char *wrong = NULL;
	struct bytes role, content;

	while (!wrong && json_next(&walk)) {
		if (json_member(walk.value, "role", &role) && json_is(role, "\"user\""))
			ask->script = before;
		if (!json_member(walk.value, "content", &content))
			continue;
		if (is_string(content))
			wrong = read_text(ask, inside_quotes(content));
		else if (content.ptr[0] == '[')
			wrong = read_parts(ask, content);
	}
	return walk.wrong ? "messages must be an array" : wrong;
}

/* A string, or an array of strings, of token numbers or, of a response, of messages. */
static const char *
read_input(struct ask *ask, struct bytes input)
{
	struct json_walk walk;
	const char *wrong = NULL;

	ask->input_count = 1;
	if (is_string(input))
		return read_text(ask, inside_quotes(input));
	ask->input_count = 0;
	if (ask->kind == ASK_RESPONSE)
		return read_messages(ask, input);
	walk = json_elements(input);
	while (!wrong && json_next(&walk)) {
		ask->input_count++;
		if (is_string(walk.value))
			wrong = read_text(ask, inside_quotes(walk.value));
		else
			ask->prompt_bytes += 4;
	}
	return walk.wrong ? "must be a string or an array" : wrong;
}

static const char *
read_stream_options(struct ask *ask, struct bytes options)
{
	struct bytes value;

	if (options.ptr[0] != '{')
		return "must be an object";
	ask->wants_usage = json_member(options, "include_usage", &value) && json_is(value, "true");
	ask->wants_running_usage = json_member(options, "continuous_usage_stats", &value) &&
				   json_is(value, "true");
	return NULL;
}

static const char *
read_token_limit(struct ask *ask, struct bytes value)
{
	if (!json_number(value, &ask->token_limit))
		return "must be a whole number";
	ask->has_token_limit = true;
	return NULL;
}

static const char *
read_stream(struct ask *ask, struct bytes value)
{
	ask->streams = json_is(value, "true");
	return ask->streams || json_is(value, "false") ? NULL : "must be a boolean";
}

static const char *
read_model(struct ask *ask, struct bytes value)
{
	size_t len;

	return json_text(value, ask->model, sizeof(ask->model), &len) ? NULL : "must be a string";
}

static const char *
read_encoding(struct ask *ask, struct bytes value)
{
	ask->wants_base64 = json_is(value, "\"base64\"");
	return NULL;
}

static const char *
read_n(struct ask *ask, struct bytes value)
{
	return json_number(value, &ask->n) && ask->n <= 100 ? NULL : "must be a whole number up to 100";
}

static const struct {
	const char *name;
	const char *(*read)(struct ask *ask, struct bytes value);
} fields[] = {
	{ "model", read_model },
	{ "stream", read_stream },
	{ "stream_options", read_stream_options },
	{ "max_tokens", read_token_limit },
	{ "max_completion_tokens", read_token_limit },
	{ "max_output_tokens", read_token_limit },
	{ "messages", read_messages },
	{ "prompt", read_input },
	{ "input", read_input },
	{ "encoding_format", read_encoding },
	{ "n", read_n },
};

const char *
ask_read(struct ask *ask, struct bytes body, const char **param)
{
	const char *wrong = NULL;
	struct json_walk walk;
	struct bytes whole;

	*param = NULL;
	if (!json_whole(body, &whole))
		return "the body is not JSON";
	walk = json_members(whole);
	while (!wrong && json_next(&walk))
		for (size_t i = 0; !wrong && i < COUNT_OF(fields); i++)
			if (json_is_named(&walk, fields[i].name) && !json_is(walk.value, "null")) {
				wrong = fields[i].read(ask, walk.value);
				*param = fields[i].name;
			}
	if (walk.wrong)
		return "the body is not an object";
	if (!wrong && !ask->model[0]) {
		*param = "model";
		wrong = "is missing";
	}
	return wrong;
}

const char *
ask_read_form(struct ask *ask, struct bytes content_type, struct bytes body)
{
	const char *wrong = NULL;
	struct form_walk walk;

	if (!form_begin(&walk, content_type, body))
		return "the body is no form";
	while (!wrong && form_next(&walk)) {
		if (bytes_equal(walk.name, BYTES_LITERAL("file"))) {
			ask->file_bytes = walk.value.len;
		} else if (bytes_equal(walk.name, BYTES_LITERAL("model"))) {
			snprintf(ask->model, sizeof(ask->model), "%.*s", (int)walk.value.len,
				 (const char *)walk.value.ptr);
		} else if (bytes_equal(walk.name, BYTES_LITERAL("stream"))) {
			ask->streams = bytes_equal(walk.value, BYTES_LITERAL("true"));
		} else if (bytes_equal(walk.name, BYTES_LITERAL("prompt"))) {
			wrong = read_text(ask, walk.value);
		}
	}
	if (walk.wrong)
		return "a part of the form is malformed";
	return wrong || ask->model[0] ? wrong : "the form has no model";
}

void
ask_read_job(struct ask *ask, const char *path)
{
	const char *slash = strrchr(path, '/');

	snprintf(ask->job, sizeof(ask->job), "%s", slash ? slash + 1 : "");
}

uint64_t
ask_tokens(const struct ask *ask, bool *is_cut)
{
	*is_cut = ask->has_token_limit && ask->token_limit < ask->script.tokens;
	return *is_cut ? ask->token_limit : ask->script.tokens;
}

uint64_t
ask_prompt_tokens(const struct ask *ask)
{
	if (ask->script.prompt_tokens != SCRIPT_NONE)
		return ask->script.prompt_tokens;
	return (ask->prompt_bytes + 3) / 4;
}

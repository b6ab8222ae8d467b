#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "script.h"

/*
 * ask: what a request wants, read out of its path and body.
 *
 * A prefix before /v1 does not matter: region gateways have one. A path that is none of the API's is
 * echoed.
 */
enum ask_kind { ASK_ECHO, ASK_HEALTH, ASK_MODELS, ASK_CHAT, ASK_COMPLETION, ASK_EMBEDDING };

#define ASK_MODEL_BYTES_MAX 256

struct ask {
	enum ask_kind kind;
	char model[ASK_MODEL_BYTES_MAX];
	bool streams;
	bool wants_usage;         /* stream_options.include_usage */
	bool wants_running_usage; /* stream_options.continuous_usage_stats */
	bool wants_base64;        /* encoding_format of an embedding */
	bool has_token_limit;
	uint64_t token_limit; /* max_completion_tokens or max_tokens */
	uint64_t prompt_bytes;
	uint32_t input_count; /* of an embedding */
	struct script script;
};

enum ask_kind ask_kind_of(const char *method, const char *path);

/*
 * Fills in the ask from a body; ask->kind is set and ask->script holds what was scripted before.
 * NULL, or what is wrong in words; then *param is the field's name or NULL.
 */
const char *ask_read(struct ask *ask, struct bytes body, const char **param);

/* Completion tokens of the whole answer, and whether the request's limit cut it there. */
uint64_t ask_tokens(const struct ask *ask, bool *is_cut);
uint64_t ask_prompt_tokens(const struct ask *ask);

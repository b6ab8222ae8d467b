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
enum ask_kind {
	ASK_ECHO,
	ASK_HEALTH,
	ASK_MODELS,
	ASK_JOB,        /* about a video job */
	ASK_TRANSCRIPT, /* a form */
	ASK_CHAT,       /* from here on: JSON */
	ASK_COMPLETION,
	ASK_RESPONSE,
	ASK_EMBEDDING,
	ASK_IMAGE,
	ASK_SPEECH,
	ASK_VIDEO
};

#define ASK_MODEL_BYTES_MAX 256

struct ask {
	enum ask_kind kind;
	char model[ASK_MODEL_BYTES_MAX];
	bool streams;
	bool wants_usage;         /* stream_options.include_usage */
	bool wants_running_usage; /* stream_options.continuous_usage_stats */
	bool wants_base64;        /* encoding_format of an embedding */
	bool has_token_limit;
	uint64_t token_limit; /* max_completion_tokens, max_tokens or max_output_tokens */
	uint64_t prompt_bytes;
	uint32_t input_count; /* of an embedding */
	uint64_t n;           /* images wanted */
	uint64_t file_bytes;  /* of a form */
	uint16_t port;        /* of this server: names its jobs */
	char job[ASK_MODEL_BYTES_MAX]; /* that is asked about */
	struct script script;
};

enum ask_kind ask_kind_of(const char *method, const char *path);

/*
 * Fills in the ask from a body; ask->kind is set and ask->script holds what was scripted before.
 * NULL, or what is wrong in words; then *param is the field's name or NULL.
 */
const char *ask_read(struct ask *ask, struct bytes body, const char **param);

/* The same out of a form. */
const char *ask_read_form(struct ask *ask, struct bytes content_type, struct bytes body);

/* The id behind the last '/' of the path of ASK_JOB. */
void ask_read_job(struct ask *ask, const char *path);

/* Completion tokens of the whole answer, and whether the request's limit cut it there. */
uint64_t ask_tokens(const struct ask *ask, bool *is_cut);
uint64_t ask_prompt_tokens(const struct ask *ask);

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ask.h"
#include "buffer.h"
#include "random.h"

/*
 * answer: the bytes of an answer's body, made from the ask and its seed alone.
 *
 * The same ask gives the same bytes in every process and at every time, so that a test can compare a
 * stream it received with one printed by --print-stream. A stream's body is made event by event.
 */
struct answer {
	const struct ask *ask; /* borrowed; must outlive the answer */
	struct random text;
	uint64_t tokens_total;
	bool is_cut; /* by the request's token limit */

	enum {
		ANSWER_ROLE,
		ANSWER_TEXT,
		ANSWER_FINISH,
		ANSWER_USAGE,
		ANSWER_DONE,
		ANSWER_LATE_USAGE,
		ANSWER_END
	} at;
	uint64_t tokens; /* made so far */
	uint64_t events; /* made so far */
};

/* A date that never moves: answers must not depend on the clock. */
#define ANSWER_CREATED 1776391234

void answer_init(struct answer *answer, const struct ask *ask);

/* One more event of a stream with its empty line. False: there is none, or no room. */
bool answer_next_event(struct answer *answer, struct buffer *to);

/* The whole body of an answer that is no stream. False: no room. */
bool answer_whole(struct answer *answer, struct buffer *to);

/* Parts of these. Tokens of the next event; their text, as it stands in a string; and the value of usage: what
 * was counted, or what the script makes of it. */
uint64_t answer_event_tokens(const struct answer *answer);
bool answer_add_text(struct answer *answer, struct buffer *to, uint64_t tokens);
bool answer_add_usage(const struct answer *answer, struct buffer *to, uint64_t tokens);

/* An OpenAI error object. */
bool answer_error(struct buffer *to, uint64_t status, const char *message, const char *param);

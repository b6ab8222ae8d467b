#include "track.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define STEP_BYTES_MAX 64

/* What stands behind the verb, in its order: bytes, count, time. */
static const struct {
	const char *name;
	enum track_verb verb;
	const char *operands;
} verbs[] = {
	{ "send", TRACK_SEND, "b" },       { "send-for", TRACK_SEND_FOR, "t" },
	{ "events", TRACK_EVENTS, "bct" }, { "receive", TRACK_RECEIVE, "b" },
	{ "eof", TRACK_EOF, "" },          { "wait", TRACK_WAIT, "t" },
	{ "shutdown", TRACK_SHUTDOWN, "" }, { "close", TRACK_CLOSE, "" },
	{ "abort", TRACK_ABORT, "" },
};

static bool
read_operand(const char *text, char kind, struct track_step *step)
{
	char *end;
	uint64_t number = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9')
		return false;
	if (kind == 't') {
		step->time_ns = number * (strcmp(end, "ms") == 0 ? NSEC_PER_MSEC : NSEC_PER_SEC);
		return (strcmp(end, "ms") == 0 || strcmp(end, "s") == 0) && number < 1000000;
	}
	if (kind == 'b')
		step->bytes = number;
	else
		step->count = number;
	return *end == '\0' && number > 0;
}

static bool
read_step(char *text, struct track_step *step)
{
	char *operand = strchr(text, ':');

	if (operand != NULL)
		*operand++ = '\0';
	for (size_t i = 0; i < COUNT_OF(verbs); i++) {
		if (strcmp(text, verbs[i].name) != 0)
			continue;
		*step = (struct track_step){ .verb = verbs[i].verb };
		for (const char *kind = verbs[i].operands; *kind != '\0'; kind++) {
			char *next = operand != NULL ? strchr(operand, ':') : NULL;

			if (next != NULL)
				*next++ = '\0';
			if (operand == NULL || !read_operand(operand, *kind, step))
				return false;
			operand = next;
		}
		return operand == NULL;
	}
	return false;
}

bool
track_read(const char *text, struct track *track, char complaint[TRACK_COMPLAINT_BYTES])
{
	memset(track, 0, sizeof(*track));
	while (*text != '\0') {
		size_t len = strcspn(text, ",");
		char step[STEP_BYTES_MAX];

		snprintf(step, sizeof(step), "%.*s", (int)len, text);
		if (len >= sizeof(step) || track->count == TRACK_STEPS_MAX ||
		    !read_step(step, &track->steps[track->count])) {
			snprintf(complaint, TRACK_COMPLAINT_BYTES, "\"%.*s\" is no step, or one too many",
				 len < 40 ? (int)len : 40, text);
			return false;
		}
		track->count++;
		text += len;
		text += *text == ',';
	}
	return true;
}

struct track_step *
track_step(struct track *track, uint64_t now_ns)
{
	if (track->at == track->count)
		return NULL;
	if (track->began_ns == 0)
		track->began_ns = now_ns;
	return &track->steps[track->at];
}

void
track_next(struct track *track)
{
	track->at++;
	track->done_bytes = 0;
	track->done_count = 0;
	track->began_ns = 0;
}

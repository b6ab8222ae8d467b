/* Bytes by SplitMix64, as many as the script says. */
#include "media.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* "duration":8.470 */
static bool
add_duration(const struct answer *answer, struct buffer *to, const char *name)
{
	uint64_t ms = answer->ask->script.duration_ms;

	return ms == SCRIPT_NONE || buffer_addf(to, ",\"%s\":%" PRIu64 ".%03" PRIu64, name, ms / 1000, ms % 1000);
}

static bool
add_letters(struct answer *answer, struct buffer *to, uint64_t count)
{
	char run[256];

	while (count > 0) {
		size_t n = count < sizeof(run) ? (size_t)count : sizeof(run);

		for (size_t i = 0; i < n; i++)
			run[i] = digits[random_below(&answer->text, 64)];
		if (!buffer_add(to, bytes_make(run, n)))
			return false;
		count -= n;
	}
	return true;
}

static bool
whole_images(struct answer *answer, struct buffer *to)
{
	bool fine = buffer_add_text(to, "{\"created\":1776391234,\"data\":[");

	for (uint64_t i = 0; fine && i < answer->ask->n; i++)
		fine = buffer_addf(to, "%s{\"b64_json\":\"", i ? "," : "") &&
		       add_letters(answer, to, answer->ask->script.bytes) && buffer_add_text(to, "\"}");
	return fine && buffer_add_text(to, "]}");
}

static bool
whole_speech(struct answer *answer, struct buffer *to)
{
	bool fine = true;

	for (uint64_t i = 0; fine && i < answer->ask->script.bytes; i++) {
		uint8_t byte = (uint8_t)random_below(&answer->text, 256);

		fine = buffer_add(to, bytes_make(&byte, 1));
	}
	return fine;
}

static bool
add_words(struct answer *answer, struct buffer *to, uint64_t count)
{
	bool fine = true;

	for (uint64_t i = 0; fine && i < count; i++)
		fine = buffer_addf(to, "%sword%" PRIu32, answer->tokens++ ? " " : "",
				   random_below(&answer->text, 100));
	return fine;
}

static bool
whole_transcript(struct answer *answer, struct buffer *to)
{
	return buffer_add_text(to, "{\"text\":\"") && add_words(answer, to, answer->tokens_total) &&
	       buffer_add_text(to, "\"") && add_duration(answer, to, "duration") && buffer_add_text(to, "}");
}

/* Names the server, so that another one can tell that the job is not its own. */
static void
write_job(const struct ask *ask, char *to, size_t size)
{
	snprintf(to, size, "job-%u-%" PRIx64, ask->port, ask->script.seed);
}

bool
media_has_job(const struct ask *ask)
{
	char own[32];

	snprintf(own, sizeof(own), "job-%u-", ask->port);
	return strncmp(ask->job, own, strlen(own)) == 0;
}

static bool
whole_job(struct answer *answer, struct buffer *to)
{
	bool is_new = answer->ask->kind == ASK_VIDEO;
	char job[64];

	write_job(answer->ask, job, sizeof(job));
	return buffer_addf(to, "{\"object\":\"video\",\"id\":\"%s\",\"status\":\"%s\"",
			   is_new ? job : answer->ask->job, is_new ? "queued" : "completed") &&
	       add_duration(answer, to, "seconds") &&
	       (is_new || buffer_add_text(to, ",\"video\":{\"url\":\"https://example.com/v.mp4\"}")) &&
	       buffer_add_text(to, "}");
}

bool
media_whole(struct answer *answer, struct buffer *to)
{
	switch (answer->ask->kind) {
	case ASK_IMAGE:
		return whole_images(answer, to);
	case ASK_SPEECH:
		return whole_speech(answer, to);
	case ASK_TRANSCRIPT:
		return whole_transcript(answer, to);
	default:
		return whole_job(answer, to);
	}
}

bool
media_next_event(struct answer *answer, struct buffer *to)
{
	bool is_done = answer->tokens == answer->tokens_total;
	bool fine;

	if (answer->at == ANSWER_END)
		return false;
	if (is_done) {
		fine = buffer_add_text(to, "event: transcript.text.done\n"
					   "data: {\"type\":\"transcript.text.done\",\"text\":\"all\",\"usage\":{"
					   "\"type\":\"duration\"") &&
		       add_duration(answer, to, "seconds") && buffer_add_text(to, "}}\n\n");
		answer->at = ANSWER_END;
	} else {
		fine = buffer_add_text(to, "event: transcript.text.delta\n"
					   "data: {\"type\":\"transcript.text.delta\",\"delta\":\"") &&
		       add_words(answer, to, 1) && buffer_add_text(to, "\"}\n\n");
	}
	answer->events++;
	return fine;
}

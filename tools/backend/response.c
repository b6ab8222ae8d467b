/* The object is made twice of a stream: empty at its beginning, and whole, from the same seed, at its end. */
#include "response.h"

#include <inttypes.h>

static bool
add_opening(const struct answer *answer, struct buffer *to, const char *status)
{
	return buffer_addf(to,
			   "{\"id\":\"resp_%016" PRIx64 "\",\"object\":\"response\",\"created_at\":%d,"
			   "\"status\":\"%s\",\"model\":",
			   answer->ask->script.seed, ANSWER_CREATED, status) &&
	       buffer_add_json(to, bytes_from_text(answer->ask->model));
}

bool
response_whole(struct answer *answer, struct buffer *to)
{
	bool fine = add_opening(answer, to, answer->is_cut ? "incomplete" : "completed") &&
		    buffer_addf(to,
				",\"output\":[{\"id\":\"msg_%016" PRIx64 "\",\"type\":\"message\","
				"\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\","
				"\"annotations\":[],\"text\":\"",
				answer->ask->script.seed);

	while (fine && answer->tokens < answer->tokens_total)
		fine = answer_add_text(answer, to, answer_event_tokens(answer));
	fine = fine && buffer_add_text(to, "\"}]}]");
	if (fine && !answer->ask->script.no_usage)
		fine = buffer_add_text(to, ",\"usage\":") && answer_add_usage(answer, to, answer->tokens);
	return fine && buffer_add_text(to, "}");
}

static bool
add_delta(struct answer *answer, struct buffer *to)
{
	return buffer_addf(to,
			   ",\"item_id\":\"msg_%016" PRIx64
			   "\",\"output_index\":0,\"content_index\":0,\"delta\":\"",
			   answer->ask->script.seed) &&
	       answer_add_text(answer, to, answer_event_tokens(answer)) && buffer_add_text(to, "\"");
}

static bool
add_object(struct answer *answer, struct buffer *to)
{
	struct answer again;

	if (!buffer_add_text(to, ",\"response\":"))
		return false;
	if (answer->at == ANSWER_ROLE)
		return add_opening(answer, to, "in_progress") &&
		       buffer_add_text(to, ",\"output\":[],\"usage\":null}");
	answer_init(&again, answer->ask);
	return response_whole(&again, to);
}

bool
response_add_event(struct answer *answer, struct buffer *to)
{
	const char *type = answer->at == ANSWER_ROLE ? "created" :
			   answer->at == ANSWER_TEXT ? "output_text.delta" :
			   answer->is_cut	     ? "incomplete" :
						       "completed";

	return buffer_addf(to,
			   "event: response.%s\ndata: {\"type\":\"response.%s\",\"sequence_number\":%" PRIu64,
			   type, type, answer->events) &&
	       (answer->at == ANSWER_TEXT ? add_delta(answer, to) : add_object(answer, to)) &&
	       buffer_add_text(to, "}\n\n");
}

/* The truth of one request as a line of JSON. */
#include "log.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "crc.h"

static bool
add_text_member(struct buffer *line, const char *name, const char *text)
{
	return buffer_addf(line, "\"%s\":", name) && buffer_add_json(line, bytes_from_text(text)) &&
	       buffer_add_text(line, ",");
}

static bool
add_headers(struct buffer *line, struct bytes head)
{
	const uint8_t *end = head.len ? memchr(head.ptr, '\n', head.len) : NULL;
	struct bytes name, value;
	bool fine = buffer_add_text(line, "\"headers\":[");
	const char *comma = "";

	if (end)
		bytes_advance(&head, (size_t)(end - head.ptr) + 1);
	while (fine && end && request_next_field(&head, &name, &value)) {
		fine = buffer_addf(line, "%s[", comma) && buffer_add_json(line, name) &&
		       buffer_add_text(line, ",") && buffer_add_json(line, value) &&
		       buffer_add_text(line, "]");
		comma = ",";
	}
	return fine && buffer_add_text(line, "]");
}

static bool
add_numbers(struct buffer *line, const struct conn *c)
{
	struct timespec wall;

	clock_gettime(CLOCK_REALTIME, &wall);
	return buffer_addf(line,
			   "\"at\":%lld.%03ld,\"ms\":%.3f,\"connection\":%" PRIu64
			   ",\"request_on_connection\":%" PRIu64 ",\"status\":%" PRIu64 ",",
			   (long long)wall.tv_sec, wall.tv_nsec / (long)NSEC_PER_MSEC,
			   (double)(c->server->now_ns - c->started_ns) / 1e6, c->number, c->requests,
			   c->status) &&
	       buffer_addf(line, "\"stream\":%s,\"include_usage\":%s,",
			   c->ask.streams ? "true" : "false", c->ask.wants_usage ? "true" : "false") &&
	       buffer_addf(line, "\"file_bytes\":%" PRIu64 ",", c->ask.file_bytes) &&
	       buffer_addf(line, "\"request_bytes\":%zu,\"request_crc32\":\"%08" PRIx32 "\",",
			   c->body.len, crc_add(0, buffer_bytes(&c->body))) &&
	       buffer_addf(line,
			   "\"prompt_tokens\":%" PRIu64 ",\"completion_tokens\":%" PRIu64
			   ",\"events\":%" PRIu64 ",\"body_bytes\":%" PRIu64
			   ",\"body_crc32\":\"%08" PRIx32 "\",\"unsent_bytes\":%zu,",
			   ask_prompt_tokens(&c->ask), c->answer.tokens, c->answer.events,
			   c->body_bytes, c->body_crc, c->output.len);
}

void
log_request(const struct conn *c, const char *end)
{
	struct buffer line = buffer_make(4 * REQUEST_HEAD_BYTES_MAX * 6);
	bool is_probe = c->ask.kind == ASK_HEALTH && !c->refusal;

	if (c->server->log < 0 || (is_probe && !c->server->options->logs_health))
		return;
	if (buffer_add_text(&line, "{") && add_text_member(&line, "id", c->request.id) &&
	    add_text_member(&line, "region", c->server->options->region) &&
	    add_text_member(&line, "method", c->request.method) &&
	    add_text_member(&line, "path", c->request.path) &&
	    add_text_member(&line, "model", c->ask.model) && add_numbers(&line, c) &&
	    add_text_member(&line, "end", end) &&
	    add_text_member(&line, "refusal", c->refusal ? c->refusal : "") &&
	    add_headers(&line, buffer_bytes(&c->head)) && buffer_add_text(&line, "}\n")) {
		struct bytes whole = buffer_bytes(&line);

		if (write(c->server->log, whole.ptr, whole.len) != (ssize_t)whole.len)
			dprintf(2, "sluice-sim-backend: the log cannot be written\n");
	}
	buffer_fini(&line);
}

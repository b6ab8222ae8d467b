/* Where an event ends, what it says, and what of it the client must not see. */
#include "dataplane/event.h"

#include "dataplane/route.h"
#include "dataplane/settle.h"
#include "dataplane/stream.h"
#include "dataplane/worker.h"

void
event_pass(struct worker *w, struct exchange *x, struct bytes payload)
{
	x->payload_bytes += payload.len;
	stream_payload(w, x->stream, payload);
}

static uint8_t
octet_at(struct worker *w, const struct event *event, uint64_t at)
{
	struct body_reader reader;

	if (event->gathered == NULL)
		return event->piece.ptr[at];
	body_rewind(event->gathered, &reader);
	while (at > 0)
		at -= body_read(&w->bodies, event->gathered, &reader, at).len;
	return body_read(&w->bodies, event->gathered, &reader, 1).ptr[0];
}

static bool
starts_with(struct worker *w, const struct event *event, uint64_t at, struct bytes text)
{
	if (event->bytes < at + text.len)
		return false;
	for (size_t i = 0; i < text.len; i++)
		if (octet_at(w, event, at + i) != text.ptr[i])
			return false;
	return true;
}

static bool
is_done_mark(struct worker *w, const struct event *event)
{
	/* The LF of the line that ended the event before, if that was a CRLF. */
	uint64_t at = event->bytes > 0 && octet_at(w, event, 0) == '\n';

	return starts_with(w, event, at, BYTES_LITERAL("data: [DONE]")) ||
	       starts_with(w, event, at, BYTES_LITERAL("data:[DONE]"));
}

static void
put_range(struct worker *w, struct exchange *x, const struct event *event, uint64_t from, uint64_t to)
{
	struct body_reader reader;

	if (event->gathered == NULL) {
		stream_put(w, x->stream, bytes_make(event->piece.ptr + from, to - from));
		return;
	}
	body_rewind(event->gathered, &reader);
	while (reader.offset < from)
		body_read(&w->bodies, event->gathered, &reader, from - reader.offset);
	while (reader.offset < to)
		stream_put(w, x->stream,
			   body_read(&w->bodies, event->gathered, &reader, to - reader.offset));
}

void
event_put(struct worker *w, struct exchange *x, const struct event *event, const struct event_cut *cut)
{
	uint64_t n = event->bytes - (cut->end - cut->start) + cut->instead.len;

	if (n == 0)
		return;
	x->payload_bytes += n;
	stream_piece_begin(w, x->stream, n);
	put_range(w, x, event, 0, cut->start);
	stream_put(w, x->stream, cut->instead);
	put_range(w, x, event, cut->end, event->bytes);
	stream_piece_end(w, x->stream);
}

static bool
is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

/* Blanks beside a member that are looked over: each octet of a gathered event is looked up from its begin. */
#define BLANKS_MAX 64

/* Widens the cut to one of the commas beside it, as a member that was never there has none. False: they are too
 * far away to look for. */
static bool
take_comma(struct worker *w, const struct event *event, struct event_cut *cut)
{
	uint64_t before = cut->start;
	uint64_t behind = cut->end;

	while (before > 0 && cut->start - before < BLANKS_MAX && is_blank(octet_at(w, event, before - 1)))
		before--;
	while (behind < event->bytes && behind - cut->end < BLANKS_MAX &&
	       is_blank(octet_at(w, event, behind)))
		behind++;
	if (cut->start - before == BLANKS_MAX || behind - cut->end == BLANKS_MAX)
		return false;
	if (before > 0 && octet_at(w, event, before - 1) == ',')
		cut->start = before - 1;
	else if (behind < event->bytes && octet_at(w, event, behind) == ',')
		cut->end = behind + 1;
	return true;
}

static struct event_cut
null_instead(const struct json_usage *usage, uint64_t base)
{
	return (struct event_cut){ base + usage->value_start, base + usage->value_end, BYTES_LITERAL("null") };
}

/* What to take out, so that the client gets what a backend would have sent that it had asked itself. */
static struct event_cut
plan_cut(struct worker *w, struct exchange *x, const struct event *event,
	 const struct json_usage *usage)
{
	uint64_t base = x->event_data_at;
	struct event_cut cut = { 0 };

	if (x->hiding == HIDE_NOTHING || x->event_lines != 1 || usage->value_end == 0 ||
	    base + usage->value_end > event->bytes)
		return cut;
	if (x->hiding == HIDE_ALL) {
		cut.start = base + usage->member_start;
		cut.end = base + usage->value_end;
		if (!take_comma(w, event, &cut))
			cut = null_instead(usage, base);
	} else if (!usage->is_null && !usage->choices_empty) {
		cut = null_instead(usage, base);
	}
	return cut;
}

/* A usage that was torn off may lack what it says last. */
void
event_take_usage(struct exchange *x, const struct json_usage *usage)
{
	struct json_usage *all = &x->usage;

	if (usage->present && usage->is_complete) {
		all->present = true;
		all->has_prompt = usage->has_prompt;
		all->has_completion = usage->has_completion;
		all->odd_prompt = usage->odd_prompt;
		all->odd_completion = usage->odd_completion;
		all->prompt_tokens = usage->prompt_tokens;
		all->completion_tokens = usage->completion_tokens;
		all->has_total = usage->has_total;
		all->total_tokens = usage->total_tokens;
		x->events_told = x->events + 1; /* with the one that tells it */
	}
	if (usage->has_length) {
		all->has_length = true;
		all->milliseconds = usage->milliseconds;
	}
	if (usage->data_count > 0)
		all->data_count = usage->data_count;
	all->suspect = all->suspect || usage->suspect;
}

/* The event that only we asked for. One without usage and choices can also be a backend's word on the prompt,
 * which comes before all others. */
static bool
is_only_ours(const struct exchange *x, const struct json_usage *usage)
{
	return x->hiding == HIDE_ALL && usage->choices_empty &&
	       (usage->present || (usage->is_null && x->events > 0));
}

/* What data: [DONE] is to a stream of completions, an event's type is to one of /v1/responses. */
static bool
ends_stream(const struct exchange *x, const struct json_usage *usage)
{
	return x->admission.route == ROUTE_JSON && usage->is_last_event;
}

/* A whole event, `last`: of the stream; read for usage already; passed on, unless it is the one that only we asked
 * for. */
static void
pass_whole(struct worker *w, struct exchange *x, const struct event *event, bool has_data, bool last)
{
	struct json_usage usage = x->usage_scan.usage;
	struct event_cut cut;

	event_take_usage(x, &usage);
	if (has_data && is_only_ours(x, &usage))
		return;
	if (is_done_mark(w, event)) {
		settle_exchange(w, x, USAGE_OK);
	} else if (has_data) {
		if (x->events++ == 0)
			route_first_token(w, x);
		worker_count(w, COUNTER_SSE_EVENTS);
	}
	if (last || ends_stream(x, &usage))
		settle_exchange(w, x, USAGE_OK);
	cut = plan_cut(w, x, event, &usage);
	event_put(w, x, event, &cut);
}

/* What was gathered, and what comes, passes as it is. */
static void
pass_gathered(struct worker *w, struct exchange *x)
{
	struct event event = { .gathered = &x->event, .bytes = x->event.bytes };
	struct event_cut nothing = { 0 };

	event_put(w, x, &event, &nothing);
	body_clear(&w->bodies, &x->event);
}

/* What has come of an event that has not ended: gathered, or passed on when it outgrows its bound. */
static void
keep_part(struct worker *w, struct exchange *x, struct bytes part)
{
	if (part.len == 0)
		return;
	if (!x->event_passing &&
	    (x->event.bytes + part.len > w->config.limits.event_bytes ||
	     body_append(&w->bodies, &x->event, part) != ERR_OK)) {
		x->event_passing = true;
		pass_gathered(w, x);
	}
	if (x->event_passing)
		event_pass(w, x, part);
}

/* The end of an event: `part` is what of it stands in this piece. */
static void
end_event(struct worker *w, struct exchange *x, struct bytes part, bool has_data)
{
	struct event event = { .piece = part, .bytes = part.len };

	if (x->event.bytes > 0 || x->event_passing) {
		keep_part(w, x, part);
		event = (struct event){ .gathered = &x->event, .bytes = x->event.bytes };
	}
	if (x->event_passing) {
		event_take_usage(x, &x->usage_scan.usage);
		x->events += has_data;
		if (ends_stream(x, &x->usage_scan.usage))
			settle_exchange(w, x, USAGE_OK);
	} else {
		pass_whole(w, x, &event, has_data, false);
	}
	json_usage_init(&x->usage_scan);
	body_clear(&w->bodies, &x->event);
	x->event_passing = false;
	x->event_data_at = 0;
	x->event_lines = 0;
}

bool
event_feed(struct worker *w, struct exchange *x, struct bytes payload)
{
	struct bytes event = bytes_make(payload.ptr, 0);
	uint64_t events_before = x->sse.events;

	while (payload.len > 0) {
		enum sse_what what;
		struct bytes piece;

		if (sse_feed(&x->sse, &payload, &what, &piece) != ERR_OK)
			return false;
		event.len = (size_t)(payload.ptr - event.ptr);
		if (what == SSE_DATA) {
			if (x->event_data_at == 0)
				x->event_data_at = (uint32_t)(x->event.bytes + (uint64_t)(piece.ptr - event.ptr));
			json_usage_feed(&x->usage_scan, piece);
		} else if (what == SSE_LINE_END) {
			x->event_lines++;
		} else if (what == SSE_EVENT_END) {
			end_event(w, x, event, x->sse.events != events_before);
			events_before = x->sse.events;
			event = bytes_make(payload.ptr, 0);
		}
	}
	keep_part(w, x, event);
	return true;
}

void
event_end_open(struct worker *w, struct exchange *x)
{
	struct event event = { .gathered = &x->event, .bytes = x->event.bytes };
	bool has_data = x->event_data_at > 0;

	x->event_lines += sse_in_data(&x->sse);
	pass_whole(w, x, &event, has_data, true);
	body_clear(&w->bodies, &x->event);
}

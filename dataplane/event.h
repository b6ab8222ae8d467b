#pragma once

#include "dataplane/exchange.h"

/*
 * event: the events of a streamed answer, read and passed on.
 *
 * Whole events are passed on; what has begun and not ended waits in blocks, so that a lost backend leaves the
 * client between two events, where an error event can follow. One that outgrows limits.event passes as it comes,
 * read all the same, but no longer edited.
 *
 * Owner: the exchange. Memory: body blocks, at most limits.event of them, given back with the event's end.
 */

/* A whole event: in one piece of payload, or gathered in blocks. */
struct event {
	struct bytes piece;       /* if gathered is NULL */
	const struct body *gathered;
	uint64_t bytes;
};

/* Where of an event the part lies that the client must not see, and what it sees instead. */
struct event_cut {
	uint64_t start;
	uint64_t end;
	struct bytes instead;
};

/* Reads payload of a stream and passes on the events that it ends; before the last one the request is settled.
 * False: a line is too long to be an event stream. */
bool event_feed(struct worker *w, struct exchange *x, struct bytes payload);

/* The stream is over; its last event may lack its empty line, and the line its end: it is one like the others. */
void event_end_open(struct worker *w, struct exchange *x);

/* What a document, or an event, says of usage. Of a stream the last word counts, of lengths and numbers each by
 * itself. */
void event_take_usage(struct exchange *x, const struct json_usage *usage);

/* To the client, but for the cut. */
void event_put(struct worker *w, struct exchange *x, const struct event *event, const struct event_cut *cut);

/* To the client, as it is. */
void event_pass(struct worker *w, struct exchange *x, struct bytes payload);

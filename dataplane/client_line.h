#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * client_line: who holds what only so many clients may hold at once, and who leaves when one more would: of
 * handshakes, of head buffers, of HTTP/2's memory without a key. A line has its clients in the order in which they
 * began.
 *
 * Owner: the worker. Memory: a place in each client; no bound of its own, since there are only so many clients.
 */
struct client;
struct worker;

enum client_line_kind {
	LINE_OF_HOLDERS,   /* of a handshake's, then of a head's place */
	LINE_OF_STRANGERS, /* over HTTP/2: no request of theirs had a valid key */
	CLIENT_LINES
};

/* When all places are taken, or all that a network may have, another client is reset: one of the same network, if
 * that has its share; else, or among those, who has said nothing yet before whom we have answered. False: nobody
 * can be. */
bool client_line_begin_handshake(struct worker *w, struct client *c);
/* Something was said to it. */
void client_line_answer_handshake(struct worker *w, struct client *c);
void client_line_end_handshake(struct worker *w, struct client *c);

/* Sets c->head. Backends' answers need buffers, too, so that clients leave them a quarter; when theirs are used
 * up, the client that began its head first is reset, which is never c; those with a running request leave last.
 * False: answers have all. */
bool client_line_take_head(struct worker *w, struct client *c);
/* c->head is NULL after it. */
void client_line_put_head(struct worker *w, struct client *c);
/* c->state has changed: whether it has a running request follows from that. */
void client_line_follow_state(struct worker *w, struct client *c);

void client_line_join_strangers(struct worker *w, struct client *c);
/* Does nothing if it is none. */
void client_line_leave_strangers(struct client *c);

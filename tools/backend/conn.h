#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "answer.h"
#include "ask.h"
#include "buffer.h"
#include "heap.h"
#include "request.h"
#include "server.h"

/*
 * conn: one connection of a peer, request after request.
 *
 *	HEAD -> BODY -> WAIT -> SEND -> FLUSH -> HEAD ...
 *	                  |       |        `---> closed or reset, as the script says
 *	                  `-------`-> HANG       (reads nothing, sends nothing, notices that the peer leaves)
 *
 * Memory: input is bounded by a head, the body by SERVER_BODY_BYTES_MAX. Of a stream no more than
 *         CONN_OUTPUT_BYTES and one event wait for the peer; a whole answer waits whole.
 */
#define CONN_INPUT_BYTES (128 * KIB)
#define CONN_OUTPUT_BYTES (64 * KIB)

enum conn_state { CONN_HEAD, CONN_BODY, CONN_WAIT, CONN_SEND, CONN_FLUSH, CONN_HANG };

/* What comes next in CONN_SEND. */
enum conn_step { CONN_STEP_INFORMATIONAL, CONN_STEP_HEAD, CONN_STEP_ENDLESS, CONN_STEP_BODY };

/* What happens when everything is sent; its name is in the log. */
enum conn_finish { CONN_COMPLETE, CONN_CLOSE, CONN_RESET, CONN_STAY };

struct conn {
	/* the connection */
	struct heap_node timer; /* first, so that a node leads to its conn */
	struct server *server;
	struct conn *next, *previous;
	int fd;
	uint32_t interest; /* epoll events asked for */
	uint64_t number;
	uint64_t requests;
	enum conn_state state;
	struct buffer input;
	struct buffer output;
	bool reading_is_paused;

	/* the request */
	uint64_t started_ns;
	struct buffer head; /* kept for the log */
	struct buffer body;
	struct request_chunks chunks;
	struct request request;
	struct ask ask;
	const char *refusal; /* NULL, or why the request is wrong */

	/* the answer */
	enum conn_step step;
	enum conn_finish finish;
	uint64_t status;
	uint64_t due_ns;              /* of the next event, when paced */
	uint64_t informational_left;
	uint64_t linger_until_ns;     /* when a reset no longer waits for what was sent before */
	struct random jitter;
	struct answer answer;
	struct buffer payload;  /* whole body of an answer that is no stream, or one event */
	struct buffer unframed; /* waits until a frame is full */
	bool is_chunked;
	uint64_t body_bytes; /* sent or on their way */
	uint32_t body_crc;
};

struct conn *conn_open(struct server *server, int fd);

/* The peer's fault or wish, the end of the server: logs what was going on, if anything. */
void conn_close(struct conn *c, const char *how);

void conn_became_ready(struct conn *c, uint32_t events);
void conn_timer_expired(struct conn *c);

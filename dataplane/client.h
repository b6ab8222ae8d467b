#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/list.h"
#include "base/timer.h"
#include "dataplane/client_line.h"
#include "dataplane/inflow.h"
#include "dataplane/outflow.h"
#include "dataplane/stream.h"
#include "http/h1.h"
#include "tcp/tcp.h"
#include "tls/tls.h"

/*
 * client: one connection of a client: TCP, TLS and HTTP/1.1 stitched together, or HTTP/2 (h2.h).
 *
 * Over HTTP/1.1 one request is worked on at a time; what a client pipelines behind it waits in the head buffer (at
 * most one TLS record) and in TCP's receive window.
 *
 * Owner: the worker. Thread: its own. Time: the turn's.
 * Memory: a fixed pool; a head buffer is held only while a head or pipelined bytes wait in it.
 */
enum client_state {
	CLIENT_FREE,
	CLIENT_HANDSHAKE, /* TLS */
	CLIENT_HEAD,      /* between requests, or in a head */
	CLIENT_BODY,      /* the exchange collects the body */
	CLIENT_WAIT,      /* the answer is made and sent; nothing is read */
	CLIENT_H2,        /* HTTP/2: any number of streams, see h2.h */
	CLIENT_DRAIN,     /* answered early: the rest of the body is read and dropped */
	CLIENT_LINGER,    /* our side is closed; what comes is dropped until EOF or the timer */
	CLIENT_ABORTING,  /* an answer was cut: reset as soon as what was said is acknowledged */
	CLIENT_STATE_COUNT
};

struct h2;
struct worker;

struct head_buffer {
	struct head_buffer *next_free;
	uint32_t len;
	uint8_t bytes[];
};

struct client {
	tcp_conn_t conn;
	struct tls_conn *tls; /* NULL on a clear-text listener, and before the client's first byte */
	struct inflow in;
	struct head_buffer *head;
	struct stream stream; /* of HTTP/1.1 */
	struct h2 *h2;        /* NULL: HTTP/1.1 */
	struct list_node turn; /* among those who are ready, or free */
	struct list_node place[CLIENT_LINES];
	uint64_t source; /* its network (limit/sources.h) */
	enum client_state state;
	bool has_stepped; /* its handshake */
	bool eof;        /* the peer sent FIN or close_notify */
	bool broken;     /* output was lost for want of a packet: reset at the end of this turn */
	bool is_known;   /* some request of it had a valid key */
	bool starved;    /* others have the descriptors that it needs: the timer looks again */
	bool close_after; /* the answer under way says Connection: close */
	bool owes_continue; /* the client waits for 100 before it sends its body */
	uint8_t listener; /* its number */
	uint8_t minor_version;
	uint32_t beliefs; /* of its listener, as its handshake began (worker.h) */
	uint32_t requests;
	uint32_t turn_bytes; /* read over HTTP/2 in this turn */
	uint64_t drain_bytes;
	bool head_begun;      /* its time runs, in CLIENT_HEAD */
	struct outflow out;
	uint64_t acked_bytes; /* as the stall check saw it last */
	uint64_t progress_at_ns;
	struct h1_scan scan;
	struct h1_body body_in;
	struct timer timer;
};

/* An accepted connection. NULL: refused, for want of a session. */
struct client *client_accepted(struct worker *w, tcp_conn_t conn, uint64_t listener_user);

/* What TCP reported; the client may be gone after it. */
void client_event(struct worker *w, struct client *c, const struct tcp_event *event);
void client_timer_expired(struct worker *w, struct client *c);

/* Goes on where it waited; bounded work, puts itself on the ready list if there is more. */
void client_run(struct worker *w, struct client *c);
void client_make_ready(struct worker *w, struct client *c);
void client_leave_ready(struct client *c);

/* --- output, for the stream ---------------------------------------------------------- */

/* It was lost: counted; the client is broken, and reset when it runs next. */
void client_lose_output(struct worker *w, struct client *c, enum err verdict);

/* What TLS has to say by itself, if anything. */
void client_send_owed(struct worker *w, struct client *c);

/* Nothing is read from now on; the timer watches whether the client takes what it is sent. */
void client_wait(struct worker *w, struct client *c);

/* True while the client takes its answer fast enough. If false, client_event() will resume the stream
 * when the level has fallen, or client_timer_expired() when others may have given descriptors back. */
bool client_has_room(struct worker *w, struct client *c);

/* The answer under way is complete and flushed: next request, drain, or close. */
void client_answered(struct worker *w, struct client *c);

/* The answer under way cannot be completed: reset once what was said is acknowledged. */
void client_cut(struct worker *w, struct client *c);

/* Resets the connection now; cancels the exchange; frees all that is held. */
void client_abort(struct worker *w, struct client *c);

/* A request of it had a valid key. */
void client_note_key(struct client *c);

/* --- for client_tls.c, h1_server.c and h2.c ----------------------------------------------------------- */

enum client_step {
	STEP_AGAIN,
	STEP_WAIT,  /* for an event or the timer */
	STEP_YIELD, /* there is more, for the next turn */
	STEP_GONE,  /* nothing is left to do here, and the client may be gone */
};

void client_set_state(struct worker *w, struct client *c, enum client_state state, uint64_t timer_after_ns);
void client_set_timer(struct worker *w, struct client *c, uint64_t after_ns);

/* Behind the handshake, or at once: the version is what ALPN settled (RFC 7301), or what a clear-text listener
 * speaks. */
void client_begin_http(struct worker *w, struct client *c, struct bytes protocol);

/* Both ways, where nothing is under way; c is gone after it. */
void client_close(struct worker *w, struct client *c);

/* One piece of plaintext, lent until the next call for any client. ERR_OK: *piece is not empty. ERR_MORE: nothing
 * now, and c->eof tells whether ever. Others: the connection is of no use; an alert was sent. */
enum err client_read_plain(struct worker *w, struct client *c, struct bytes *piece);

/* It said that the connection is of no use: what was asked for is given up, and the alert has the time that an
 * answer has, since what is left unread would be answered with a reset that overtakes it. */
void client_fail(struct worker *w, struct client *c, enum err verdict);

/* client_read_plain() said other than ERR_OK where nothing of ours is under way. */
enum client_step client_input_ended(struct worker *w, struct client *c, enum err verdict);

/* Its connection ends behind what is under way: its listener believes others since, or tls_is_worn(). */
bool client_is_leaving(const struct worker *w, const struct client *c);

/* Our side is done: says so, then waits a little for the peer's end, so that no reset overtakes what was
 * sent (RFC 9112 section 9.6). */
void client_end(struct worker *w, struct client *c);

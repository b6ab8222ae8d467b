#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * track: what one direction of a connection does, step by step, as a person writes it.
 *
 *   send:BYTES        sends so much of the stream          send-for:TIME     as much as goes in the time
 *   events:BYTES:COUNT:TIME   COUNT pieces, one each TIME
 *   receive:BYTES     takes so much                         eof               takes all until the end
 *   wait:TIME         does nothing, and reads nothing       shutdown          ends the sending
 *   close, abort      ends the connection
 */
enum track_verb {
	TRACK_SEND,
	TRACK_SEND_FOR,
	TRACK_EVENTS,
	TRACK_RECEIVE,
	TRACK_EOF,
	TRACK_WAIT,
	TRACK_SHUTDOWN,
	TRACK_CLOSE,
	TRACK_ABORT,
};

struct track_step {
	enum track_verb verb;
	uint64_t bytes;
	uint64_t count;
	uint64_t time_ns;
};

#define TRACK_STEPS_MAX 16
#define TRACK_COMPLAINT_BYTES 160

struct track {
	struct track_step steps[TRACK_STEPS_MAX];
	uint32_t count;
	uint32_t at; /* the step that is being done; count: all are */
	/* progress of that step */
	uint64_t done_bytes;
	uint64_t done_count;
	uint64_t began_ns; /* 0: not begun */
};

/* "send:100000,shutdown". False: complaint says why. */
bool track_read(const char *text, struct track *track, char complaint[TRACK_COMPLAINT_BYTES]);

/* The step that is to be done, or NULL; begun at now_ns if it was not. */
struct track_step *track_step(struct track *track, uint64_t now_ns);

void track_next(struct track *track);

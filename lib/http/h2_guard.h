#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * h2_guard: what one HTTP/2 connection may ask of us, counted frame by frame before anything else sees them
 * (tests/README.md T64-T69).
 *
 * Only frame headers are read, and a DATA frame's padding; what they mean is nghttp2's affair. Budgets are of the
 * kind that no honest client meets: the connection that does is told ENHANCE_YOUR_CALM and closed.
 *
 * Owner:  the caller. Thread: any. Time: now_ns of the worker's turn. Memory: the struct.
 */
#define H2_BLOCK_BYTES_MAX (40 * 1024) /* of one header block, as sent; limits.head is 32 KiB at most */
#define H2_UPDATES_FREE 5              /* WINDOW_UPDATEs without any DATA frame of ours, beside 2 per stream */
#define H2_FRAME_HEAD_BYTES 9
#define H2_PREFACE_BYTES 24

/* Of one connection; each at least 1. */
struct h2_guard_limits {
	uint32_t resets;         /* in ten seconds */
	uint32_t resets_percent; /* of the streams, once there were resets_after */
	uint32_t resets_after;
	uint32_t continuations;  /* of one header block */
	uint32_t empty_frames;   /* in a row */
	uint32_t controls;       /* PING, SETTINGS and unknown frames at once, a tenth of it per second */
	uint32_t priorities;     /* per stream */
	uint32_t updates;        /* WINDOW_UPDATEs for a DATA frame of ours */
};

struct h2_guard {
	/* the reader */
	uint32_t preface_left;
	uint32_t payload_left;
	uint32_t frame_bytes; /* of the frame under way */
	uint8_t head[H2_FRAME_HEAD_BYTES];
	uint8_t head_bytes;
	bool pad_expected; /* the next octet is a DATA frame's pad length */
	bool in_block;     /* HEADERS without END_HEADERS came */
	bool preface_done; /* the client's first frame came */

	/* what was counted */
	const struct h2_guard_limits *limits;
	uint32_t last_stream;
	uint32_t streams;
	uint32_t resets;
	uint32_t continuations;
	uint32_t block_bytes;
	uint32_t empty_frames;
	uint32_t empty_ends; /* DATA frames that only end a stream */
	uint32_t trailers;   /* HEADERS on a stream that was begun before */
	uint64_t priorities;
	uint64_t updates;
	uint64_t data_frames; /* ours */
	uint64_t resets_full_at_ns; /* GCRA, as lib/limit */
	uint64_t controls_full_at_ns;
};

/* The limits stay where they are. */
void h2_guard_init(struct h2_guard *guard, const struct h2_guard_limits *limits);

/* The next bytes of the connection, in any cut. ERR_OK, or the verdict that ends it. */
enum err h2_guard_feed(struct h2_guard *guard, struct bytes input, uint64_t now_ns);

/* We sent a DATA frame. */
void h2_guard_data_sent(struct h2_guard *guard);

/* We reset a stream for what the client did: counts as a reset of its own (T65). */
enum err h2_guard_caused_reset(struct h2_guard *guard, uint64_t now_ns);

/* We refused a stream for want of something of ours. */
enum err h2_guard_refused_stream(struct h2_guard *guard, uint64_t now_ns);

/* More than their share of many streams were reset: take no new ones. */
bool h2_guard_is_wasteful(const struct h2_guard *guard);

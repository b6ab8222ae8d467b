#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "segment.h"

/*
 * script: one line of a .pkt file, parsed.
 *
 *   [+TIME] < FLAGS SEQ:END(LEN) [ack N] [win N] [<options>] [words]   a segment to the engine
 *   [+TIME] > FLAGS SEQ:END(LEN) [ack N] [win N] [<options>]           one from it
 *   [+TIME] CALL ...                                                    what an application does
 *   [+TIME] expect ...                                                  what must be true now
 *   option ...                                                          before everything else
 *
 * README.md beside it is the manual.
 */

#define SCRIPT_WORDS_MAX 12
#define SCRIPT_WORD_BYTES 64

enum script_kind {
	SCRIPT_NOTHING, /* empty or a comment */
	SCRIPT_OPTION,
	SCRIPT_INPUT,
	SCRIPT_OUTPUT,
	SCRIPT_CALL,
};

struct script_time {
	bool is_any;   /* "+*" */
	bool is_range; /* "+a~b" */
	uint64_t from_ns;
	uint64_t until_ns;
};

/* A segment in relative numbers. any_*: the script does not care. */
struct script_segment {
	bool any_flags;
	bool any_seq;
	bool any_ack;
	bool any_win;
	bool any_options;
	bool any_ts_val;
	bool any_ts_ecr;
	bool is_new;       /* a new ISN is learned from it */
	bool ecr_last;     /* echo what came last, less s.ts_ecr */
	bool bad_checksum;
	bool has_ecn;
	uint8_t csum;      /* enum pkt_csum, of input */
	int64_t seq;
	uint32_t len;
	int64_t ack;
	uint32_t win_min;
	uint32_t win_max;
	/* flags, options, urgent, ecn; sack blocks relative */
	struct segment s;
	uint8_t raw[SEGMENT_OPTION_BYTES_MAX];
	uint8_t raw_bytes;
};

struct script_line {
	enum script_kind kind;
	struct script_time time;
	struct script_segment segment;
	uint32_t words;
	char word[SCRIPT_WORDS_MAX][SCRIPT_WORD_BYTES];
};

/* NULL, or what is wrong with the text. */
const char *script_parse(const char *text, struct script_line *line);

#pragma once

#include <nghttp2/nghttp2.h>

#include "h2frame.h"
#include "town.h"

/*
 * hand: a town whose client and backends do by hand, octet by octet, what a test tells them; a whole worker in
 * virtual time between them, over wires of 1 ms that lose nothing.
 */

#define MS NSEC_PER_MSEC
#define SEC NSEC_PER_SEC
#define HAND_STREAMS_MAX 1200
#define HAND_SETTINGS_MAX 16
#define HAND_CONNECTION_BYTES (384 * KIB) /* of HTTP/2's memory: the default */
#define HAND_BYTES_MAX (256 * 1024)
#define HAND_KEY "Bearer eco_town0000000000000000"
#define HAND_CHAT \
	"{\"model\":\"town-model\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"
/* Of other accounts. */
#define HAND_KEY_2 "Bearer eco_town1111111111111111"
#define HAND_KEY_3 "Bearer eco_town2222222222222222"

struct hand {
	struct town *town;
	struct town_conn *client; /* NULL: the router ended it */
	uint64_t sent_bytes;
	uint64_t own_bytes;       /* of HTTP/2's memory, without a connection */
	bool opens_windows;
	nghttp2_hd_inflater *inflater;
	/* what the router said */
	struct {
		uint32_t pongs;
		bool goaway;
		uint32_t goaway_code;
		uint64_t connection_window;
		uint32_t settings[HAND_SETTINGS_MAX]; /* by name (RFC 9113 6.5.2) */
		struct {
			uint16_t status;
			uint32_t retry_after; /* seconds; 0: none was told */
			bool is_ended;
			bool is_reset;
			uint32_t code;
			uint32_t bytes;
			uint32_t data_frames; /* with payload */
		} stream[HAND_STREAMS_MAX]; /* by half of its number */
		uint8_t first[HAND_BYTES_MAX]; /* payload of the first stream, as far as it fits */
	} heard;
	struct {
		uint32_t requests;
		struct bytes answer; /* to each; of no bytes: none */
	} backend;
};

extern struct hand hand; /* the one that this program has at a time */

/* A town of one connection of one client. Over HTTP/1.1 what the router says stays in client->in. */
struct town_plan hand_plan(void);
void hand_begin(const struct town_plan *plan);
/* The same, and HTTP/2's preface is said and answered. */
void hand_begin_greeted(void);
void hand_greet(void);
/* All connections are cut; then nothing may be left. */
void hand_finish(void);

void hand_go(uint64_t ns);
/* What was put is with the router, and what it says to it with us. */
void hand_flush(void);
/* Leaves by a reset, or by closing its side and reading no more. */
void hand_leave(bool by_reset);
uint64_t hand_held_bytes(void); /* of HTTP/2's memory */

void hand_assert_goes_on(void);
/* The router has said why, and closed. */
void hand_assert_ended(uint32_t code);

/* Another connection, in clear text, from one of TOWN_NETWORKS networks; it is hand.client from now on. Of the one
 * before nothing is read any more. */
struct town_conn *hand_connect(uint8_t network);

/* Octets of any kind. */
void hand_say(struct bytes text);

/* --- what passes the wire (town.saw) ---------------------------------------------------------- */

struct hand_segment {
	uint16_t src_port;
	uint16_t dst_port;
	uint8_t flags;        /* enum segment_flags */
	struct bytes payload; /* static, until the next one is read */
};

/* False: it is no TCP over IPv4. */
bool hand_read_segment(const struct pkt *frame, struct hand_segment *s);

/* --- frames --------------------------------------------------------------------------------- */

void hand_put(uint8_t type, uint8_t flags, uint32_t stream, struct bytes payload);
void hand_put_word(uint8_t type, uint32_t stream, uint32_t word);
void hand_put_setting(uint8_t name, uint32_t value);
void hand_put_ping(void);

/* --- requests ------------------------------------------------------------------------------- */

/* A request's fields; the next call takes the block back. key may be NULL. */
struct h2frame_block *hand_block(const char *method, const char *path, const char *key);
void hand_put_block(const struct h2frame_block *block, uint32_t stream, bool is_end);
void hand_put_get(uint32_t stream, const char *path);
void hand_put_chat_head(uint32_t stream);
void hand_put_chat(uint32_t stream);

/* --- backends ------------------------------------------------------------------------------- */

/* From now on: an answer of 200 events of a KiB each. Returns the bytes of its payload that the client gets. */
uint32_t hand_answer_with_stream(void);
/* To all connections that backends have; and their end by a reset. */
void hand_backends_say(struct bytes text);
void hand_backends_die(void);
void hand_backends_close(void); /* in order, instead */

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "pkt/pkt.h"

/*
 * segment: a TCP segment as the tests see it.
 *
 * A reader and writer of their own, independent of lib/wire and lib/tcp, so
 * that a mistake made there is not made twice.
 */

enum segment_flags {
	SEGMENT_FIN = 0x01,
	SEGMENT_SYN = 0x02,
	SEGMENT_RST = 0x04,
	SEGMENT_PSH = 0x08,
	SEGMENT_ACK = 0x10,
	SEGMENT_URG = 0x20,
	SEGMENT_ECE = 0x40,
	SEGMENT_CWR = 0x80,
};

/* struct segment.ecn, of the IP header (RFC 3168 section 5). */
enum segment_ecn {
	SEGMENT_ECT0 = 2,
	SEGMENT_CE = 3,
};

#define SEGMENT_OPTION_BYTES_MAX 40
#define SEGMENT_SACKS_MAX 4
/* Header, options and a jumbo payload. */
#define SEGMENT_BYTES_MAX 10000

struct segment_sack {
	uint32_t left;
	uint32_t right;
};

struct segment {
	struct ip_addr src;
	struct ip_addr dst;
	uint16_t src_port;
	uint16_t dst_port;
	uint32_t seq;
	uint32_t ack;
	uint8_t flags;
	uint8_t ecn;
	uint16_t window;
	uint16_t urgent;
	/* options */
	bool has_mss;
	bool has_wscale;
	bool has_sack_ok;
	bool has_ts;
	bool options_bad; /* parse: an option did not fit */
	uint8_t wscale;
	uint16_t mss;
	uint32_t ts_val;
	uint32_t ts_ecr;
	uint8_t sacks;
	struct segment_sack sack[SEGMENT_SACKS_MAX];
	/* Emit: if not empty, these bytes instead of the fields above, padded with `raw_pad`. */
	struct bytes raw_options;
	uint8_t raw_pad;
	/* Parse: the option bytes, inside the caller's memory. */
	struct bytes options;
	struct bytes payload;
};

/* Reads what a packet of meta holds, flattened. False: no TCP header fits. */
bool segment_parse(struct bytes flat, const struct pkt_meta *meta, struct segment *s);

/* Flattens p into `flat` of SEGMENT_BYTES_MAX, then as above. */
bool segment_parse_pkt(const struct pkt *p, uint8_t *flat, struct segment *s);

/* Writes s into `flat` of SEGMENT_BYTES_MAX with a right checksum; returns its length. */
size_t segment_emit(const struct segment *s, uint8_t *flat);

/* As a packet of pool, in one or several buffers, meta filled in. NULL: the pool is empty. */
struct pkt *segment_to_pkt(const struct segment *s, struct pkt_pool *pool);

/* A packet with a copy of the bytes, chained from as many buffers as they need; NULL when the pool
 * is empty. The first buffer holds first_bytes at most (0: as much as fits). */
struct pkt *segment_pkt_from(struct bytes flat, size_t first_bytes, struct pkt_pool *pool);

/* RFC 9293 section 3.1, by bytes. */
bool segment_checksum_is_good(struct bytes flat, const struct ip_addr *src,
			      const struct ip_addr *dst);
void segment_checksum_repair(uint8_t *flat, size_t len, const struct ip_addr *src,
			     const struct ip_addr *dst);

/* Sequence numbers that it takes: payload, SYN, FIN. */
uint32_t segment_seq_len(const struct segment *s);

/* One line, numbers relative to the two bases: "S. 0:0(0) ack 1 win 65535 <mss 1460>". */
void segment_format(const struct segment *s, uint32_t seq_base, uint32_t ack_base, char *text,
		    size_t size);

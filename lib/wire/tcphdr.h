#pragma once

#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * tcphdr: the TCP header and its options (RFC 9293 section 3.1), parse and emit.
 *
 *    0                   1                   2                   3
 *   |          source port          |       destination port        |
 *   |                        sequence number                        |
 *   |                    acknowledgment number                      |
 *   | offset| rsrvd |C|E|U|A|P|R|S|F|             window            |
 *   |            checksum           |         urgent pointer        |
 *   |                    options, padded with 0                     |
 *
 * Memory: none. Everything in struct tcphdr is in host order.
 */
enum tcphdr_flags {
	TCPHDR_FIN = 0x01,
	TCPHDR_SYN = 0x02,
	TCPHDR_RST = 0x04,
	TCPHDR_PSH = 0x08,
	TCPHDR_ACK = 0x10,
	TCPHDR_URG = 0x20,
	TCPHDR_ECE = 0x40,
	TCPHDR_CWR = 0x80,
};

/* Which options are present. */
enum tcphdr_options {
	TCPHDR_HAS_MSS = 0x01,     /* RFC 9293 section 3.2 */
	TCPHDR_HAS_SHIFT = 0x02,   /* window scale, RFC 7323 section 2 */
	TCPHDR_HAS_SACK_OK = 0x04, /* SACK permitted, RFC 2018 section 2 */
	TCPHDR_HAS_TIMES = 0x08,   /* timestamps, RFC 7323 section 3 */
};

#define TCPHDR_BYTES 20
#define TCPHDR_BYTES_MAX 60
#define TCPHDR_FLAGS_OFFSET 13
#define TCPHDR_CHECKSUM_OFFSET 16
#define TCPHDR_SACK_MAX 4
#define TCPHDR_SHIFT_MAX 14

struct tcphdr_sack {
	uint32_t start;
	uint32_t end;
};

struct tcphdr {
	uint16_t src_port;
	uint16_t dst_port;
	uint32_t seq;
	uint32_t ack;
	uint16_t window;
	uint8_t flags;        /* enum tcphdr_flags */
	uint8_t header_bytes; /* parse only */
	uint8_t options;      /* enum tcphdr_options */
	uint8_t shift;        /* as sent, not limited to TCPHDR_SHIFT_MAX */
	uint16_t mss;
	uint32_t ts_value;
	uint32_t ts_echo;
	uint8_t sack_count;
	struct tcphdr_sack sack[TCPHDR_SACK_MAX];
};

/*
 * Reads the header in front of segment, which must hold it whole. Unknown options are skipped; one
 * whose length is below 2, or beyond the header, ends the options and keeps those before it (RFC 9293
 * MUST-7). Known options of a wrong length are skipped. ERR_TCP_HEADER: shorter than its header
 * says, or the header shorter than 20; *h is untouched then.
 */
enum err tcphdr_parse(struct bytes segment, struct tcphdr *h);

/* Bytes that tcphdr_emit() will write: a multiple of 4, at most TCPHDR_BYTES_MAX, which is the
 * caller's to see to: MSS, shift, SACK permitted and times leave room for 2 SACK blocks,
 * times alone for 3. */
uint32_t tcphdr_bytes(const struct tcphdr *h);

/* Writes tcphdr_bytes(h) bytes with checksum and urgent pointer 0. */
void tcphdr_emit(const struct tcphdr *h, uint8_t *to);

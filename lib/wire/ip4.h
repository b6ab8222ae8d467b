#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * ip4: the IPv4 header (RFC 791, RFC 6864).
 *
 *   | 4, length | DSCP, ECN | total length | identification | flags, fragment offset |
 *   | TTL | protocol | checksum | source 4 | destination 4 | options |
 */
#define IP4_HEADER_BYTES 20

#define IP4_OFFSET_MASK 0x1fff /* of the field at byte 6, in units of 8 bytes */

enum ip_protocol { IP_ICMP = 1, IP_TCP = 6, IP_UDP = 17, IP_ICMP6 = 58, IP_NO_NEXT_HEADER = 59 };

struct ip4 {
	uint8_t header_bytes;
	uint8_t ecn;
	uint8_t ttl;
	uint8_t protocol;
	uint16_t total_bytes;
	bool is_fragment;
	bool more_fragments;
	uint16_t fragment_offset; /* in bytes */
	uint16_t id;
	uint8_t src[4];
	uint8_t dst[4];
};

/*
 * head: the bytes in one piece at the front of a packet of packet_bytes, which may be longer than the
 * datagram (Ethernet padding). verify: the port has not. ERR_IP_HEADERS_SPLIT: the header goes on behind head.
 */
enum err ip4_parse(struct bytes head, size_t packet_bytes, bool verify, struct ip4 *ip);

/* Makes a datagram of the fragments whose first one has this header: new length, no offset, checksum. */
void ip4_make_whole(uint8_t *header, uint8_t header_bytes, uint16_t total_bytes);

/* Atomic datagrams only: DF set, identification 0. total_bytes includes the header. */
void ip4_emit(const struct ip4 *ip, uint8_t to[IP4_HEADER_BYTES]);

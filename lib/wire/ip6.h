#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * ip6: the IPv6 header and the walk over its extension headers (RFC 8200).
 *
 *   | 6, class, flow label | payload length | next header | hop limit | source 16 | destination 16 |
 */
#define IP6_HEADER_BYTES 40
#define IP6_FRAGMENT_BYTES 8     /* the fragment header */
#define IP6_EXTENSIONS_MAX 8       /* headers of one packet */
#define IP6_EXTENSION_BYTES_MAX 256 /* all of them together */

struct ip6 {
	uint16_t upper_offset;  /* from the start of the IPv6 header */
	uint16_t total_bytes;   /* header and payload */
	uint8_t ecn;
	uint8_t hop_limit;
	uint8_t upper_protocol; /* behind the extension headers */
	uint16_t upper_next_at; /* the byte that names it */
	bool is_fragment;       /* not atomic: RFC 6946 */
	bool has_extensions;
	bool has_router_alert; /* RFC 2711 */
	/* of a fragment */
	bool more_fragments;
	uint16_t fragment_at;     /* its header, from the start of the IPv6 header */
	uint16_t fragment_next_at; /* the byte before it that names it */
	uint16_t fragment_offset; /* in bytes */
	uint32_t fragment_id;
	uint8_t src[16];
	uint8_t dst[16];
	/* with a verdict that the sender should hear of (RFC 4443 section 3.4); problem_at 0: it should not */
	uint8_t problem_code; /* enum icmp6_problem of wire/icmp.h */
	uint16_t problem_at;
};

/* head: the bytes in one piece at the front of a packet of packet_bytes. ERR_IP_HEADERS_SPLIT: the headers
 * go on behind head. Behind the header of a first fragment the chain is walked to its end (RFC 7112); that of
 * a later fragment ends the walk. Addresses and problem are set with every verdict but
 * ERR_IP_HEADERS_SPLIT and ERR_IP_MALFORMED of the first 40 bytes. */
enum err ip6_parse(struct bytes head, size_t packet_bytes, struct ip6 *ip);

/* A next header that ip6_parse() walks over: behind a later fragment's it is not known what the packet is. */
bool ip6_is_extension(uint8_t protocol);

/* True unless head shows that the packet is no ICMPv6 error; options are not looked at. */
bool ip6_may_be_error(struct bytes head);

/* Without extension headers: upper_protocol follows; total_bytes includes the header. */
void ip6_emit(const struct ip6 *ip, uint8_t to[IP6_HEADER_BYTES]);

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
#define IP6_EXTENSIONS_MAX 8       /* headers of one packet */
#define IP6_EXTENSION_BYTES_MAX 256 /* all of them together */

struct ip6 {
	uint16_t upper_offset;  /* from the start of the IPv6 header */
	uint16_t total_bytes;   /* header and payload */
	uint8_t ecn;
	uint8_t hop_limit;
	uint8_t upper_protocol; /* behind the extension headers */
	bool is_fragment;       /* not atomic: RFC 6946 */
	bool has_extensions;
	uint8_t src[16];
	uint8_t dst[16];
};

/* head: the bytes in one piece at the front of a packet of packet_bytes. ERR_IP_HEADERS_SPLIT: the headers
 * go on behind head. */
enum err ip6_parse(struct bytes head, size_t packet_bytes, struct ip6 *ip);

/* Without extension headers: upper_protocol follows; total_bytes includes the header. */
void ip6_emit(const struct ip6 *ip, uint8_t to[IP6_HEADER_BYTES]);

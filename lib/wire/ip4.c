/* RFC 791 with what a host of today accepts of it: options are skipped, source routes refused. */
#include "wire/ip4.h"

#include "wire/csum.h"
#include "wire/order.h"

#define FLAG_DONT_FRAGMENT 0x4000
#define FLAG_MORE_FRAGMENTS 0x2000
#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_LOOSE_ROUTE 131
#define OPTION_STRICT_ROUTE 137

static enum err
check_options(struct bytes options)
{
	while (options.len > 0) {
		uint8_t kind = options.ptr[0];
		size_t len = kind == OPTION_NOP ? 1 : options.len > 1 ? options.ptr[1] : 0;

		if (kind == OPTION_END)
			return ERR_OK;
		if (kind == OPTION_LOOSE_ROUTE || kind == OPTION_STRICT_ROUTE)
			return ERR_IP_SOURCE_ROUTE;
		if ((kind != OPTION_NOP && len < 2) || len > options.len)
			return ERR_IP_MALFORMED;
		bytes_advance(&options, len);
	}
	return ERR_OK;
}

enum err
ip4_parse(struct bytes head, size_t packet_bytes, bool verify, struct ip4 *ip)
{
	const uint8_t *at = head.ptr;

	if (head.len < IP4_HEADER_BYTES)
		return packet_bytes < IP4_HEADER_BYTES ? ERR_IP_MALFORMED : ERR_IP_HEADERS_SPLIT;
	ip->header_bytes = (uint8_t)((at[0] & 15) * 4);
	ip->total_bytes = order_get16(at + 2);
	if (at[0] >> 4 != 4 || ip->header_bytes < IP4_HEADER_BYTES ||
	    ip->total_bytes < ip->header_bytes || ip->total_bytes > packet_bytes)
		return ERR_IP_MALFORMED;
	if (ip->header_bytes > head.len)
		return ERR_IP_HEADERS_SPLIT;
	if (verify && !csum_is_good(csum_add(0, at, ip->header_bytes)))
		return ERR_IP_CHECKSUM;
	ip->ecn = at[1] & 3;
	ip->id = order_get16(at + 4);
	ip->more_fragments = (order_get16(at + 6) & FLAG_MORE_FRAGMENTS) != 0;
	ip->fragment_offset = (uint16_t)((order_get16(at + 6) & IP4_OFFSET_MASK) * 8);
	ip->is_fragment = ip->more_fragments || ip->fragment_offset != 0;
	ip->ttl = at[8];
	ip->protocol = at[9];
	memcpy(ip->src, at + 12, 4);
	memcpy(ip->dst, at + 16, 4);
	return check_options(bytes_make(at + IP4_HEADER_BYTES, ip->header_bytes - IP4_HEADER_BYTES));
}

void
ip4_emit(const struct ip4 *ip, uint8_t to[IP4_HEADER_BYTES])
{
	uint16_t checksum;

	to[0] = 4 << 4 | IP4_HEADER_BYTES / 4;
	to[1] = ip->ecn;
	order_put16(to + 2, ip->total_bytes);
	order_put16(to + 4, 0);
	order_put16(to + 6, FLAG_DONT_FRAGMENT);
	to[8] = ip->ttl;
	to[9] = ip->protocol;
	order_put16(to + 10, 0);
	memcpy(to + 12, ip->src, 4);
	memcpy(to + 16, ip->dst, 4);
	checksum = csum_finish(csum_add(0, to, IP4_HEADER_BYTES));
	memcpy(to + 10, &checksum, sizeof(checksum));
}

void
ip4_make_whole(uint8_t *header, uint8_t header_bytes, uint16_t total_bytes)
{
	uint16_t checksum;

	order_put16(header + 2, total_bytes);
	order_put16(header + 6, 0);
	order_put16(header + 10, 0);
	checksum = csum_finish(csum_add(0, header, header_bytes));
	memcpy(header + 10, &checksum, sizeof(checksum));
}

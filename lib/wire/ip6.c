/* RFC 8200: the chain is walked within two bounds; a routing header of type 0 is refused (RFC 5095). */
#include "wire/ip6.h"

#include "wire/order.h"

enum next_header {
	NEXT_HOP_BY_HOP = 0,
	NEXT_ROUTING = 43,
	NEXT_FRAGMENT = 44,
	NEXT_OPTIONS = 60,
};

#define ROUTING_TYPE_0 0
#define FRAGMENT_BYTES 8

/* One extension header at the front of rest; sets its length. */
static enum err
take_extension(uint8_t kind, struct bytes rest, struct ip6 *ip, size_t *len)
{
	if (rest.len < FRAGMENT_BYTES)
		return ERR_IP_MALFORMED;
	if (kind == NEXT_FRAGMENT) {
		/* Offset and more-fragments both zero: an atomic fragment, taken as a whole packet. */
		ip->is_fragment = (order_get16(rest.ptr + 2) & 0xfff9) != 0;
		*len = FRAGMENT_BYTES;
		return ERR_OK;
	}
	*len = ((size_t)rest.ptr[1] + 1) * 8;
	if (*len > rest.len)
		return ERR_IP_MALFORMED;
	/* Segments left in a routing header of type 0: refused. Unknown types with none left are skipped. */
	if (kind == NEXT_ROUTING && (rest.ptr[2] == ROUTING_TYPE_0 || rest.ptr[3] != 0))
		return ERR_IP_SOURCE_ROUTE;
	return ERR_OK;
}

static bool
is_extension(uint8_t kind)
{
	return kind == NEXT_HOP_BY_HOP || kind == NEXT_ROUTING || kind == NEXT_FRAGMENT ||
	       kind == NEXT_OPTIONS;
}

enum err
ip6_parse(struct bytes packet, struct ip6 *ip)
{
	const uint8_t *at = packet.ptr;
	struct bytes rest;
	uint8_t next;

	if (packet.len < IP6_HEADER_BYTES || at[0] >> 4 != 6)
		return ERR_IP_MALFORMED;
	if ((size_t)order_get16(at + 4) + IP6_HEADER_BYTES > packet.len)
		return ERR_IP_MALFORMED;
	ip->total_bytes = (uint16_t)(order_get16(at + 4) + IP6_HEADER_BYTES);
	ip->ecn = at[1] >> 4 & 3;
	ip->hop_limit = at[7];
	ip->is_fragment = false;
	ip->has_extensions = false;
	memcpy(ip->src, at + 8, 16);
	memcpy(ip->dst, at + 24, 16);
	next = at[6];
	rest = bytes_make(at + IP6_HEADER_BYTES, (size_t)ip->total_bytes - IP6_HEADER_BYTES);
	for (int count = 0; is_extension(next); count++) {
		size_t len;
		enum err verdict = take_extension(next, rest, ip, &len);

		if (verdict != ERR_OK)
			return verdict;
		/* Hop-by-hop options stand first or not at all (RFC 8200 4.1). */
		if ((next == NEXT_HOP_BY_HOP && count > 0) || count == IP6_EXTENSIONS_MAX ||
		    (size_t)(rest.ptr - at) + len > IP6_HEADER_BYTES + IP6_EXTENSION_BYTES_MAX)
			return ERR_IP_MALFORMED;
		ip->has_extensions = true;
		next = rest.ptr[0];
		bytes_advance(&rest, len);
		if (ip->is_fragment)
			break;
	}
	ip->upper_protocol = next;
	ip->upper_offset = (uint16_t)(rest.ptr - at);
	return ERR_OK;
}

void
ip6_emit(const struct ip6 *ip, uint8_t to[IP6_HEADER_BYTES])
{
	to[0] = 6 << 4;
	to[1] = (uint8_t)(ip->ecn << 4);
	order_put16(to + 2, 0);
	order_put16(to + 4, (uint16_t)(ip->total_bytes - IP6_HEADER_BYTES));
	to[6] = ip->upper_protocol;
	to[7] = ip->hop_limit;
	memcpy(to + 8, ip->src, 16);
	memcpy(to + 24, ip->dst, 16);
}

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
#define FRAGMENT_BYTES 8 /* also the smallest of the others */
#define OPTION_PAD1 0

/* Options that we do not know may be skipped if their two highest bits are zero (RFC 8200 section 4.2). */
static enum err
check_options(struct bytes options)
{
	while (options.len > 0) {
		uint8_t kind = options.ptr[0];
		size_t len = kind == OPTION_PAD1 ? 1 : options.len > 1 ? (size_t)options.ptr[1] + 2 : 0;

		if (len == 0 || len > options.len)
			return ERR_IP_MALFORMED;
		if (kind >> 6 != 0)
			return ERR_IP_OPTION;
		bytes_advance(&options, len);
	}
	return ERR_OK;
}

/* One extension header at the front of rest, which has FRAGMENT_BYTES at least; sets its length. */
static enum err
take_extension(uint8_t kind, struct bytes rest, struct ip6 *ip, size_t *len)
{
	if (kind == NEXT_FRAGMENT) {
		/* Offset and more-fragments both zero: an atomic fragment, taken as a whole packet. */
		ip->is_fragment = (order_get16(rest.ptr + 2) & 0xfff9) != 0;
		*len = FRAGMENT_BYTES;
		return ERR_OK;
	}
	*len = ((size_t)rest.ptr[1] + 1) * 8;
	if (*len > IP6_EXTENSION_BYTES_MAX)
		return ERR_IP_MALFORMED;
	if (*len > rest.len)
		return ERR_OK; /* the caller says what that is */
	/* Segments left in a routing header of type 0: refused. Unknown types with none left are skipped. */
	if (kind == NEXT_ROUTING)
		return rest.ptr[2] == ROUTING_TYPE_0 || rest.ptr[3] != 0 ? ERR_IP_SOURCE_ROUTE : ERR_OK;
	return check_options(bytes_make(rest.ptr + 2, *len - 2));
}

static bool
is_extension(uint8_t kind)
{
	return kind == NEXT_HOP_BY_HOP || kind == NEXT_ROUTING || kind == NEXT_FRAGMENT ||
	       kind == NEXT_OPTIONS;
}

/* Sets what lies behind the extension headers. */
static enum err
walk(struct bytes head, uint8_t next, struct ip6 *ip)
{
	size_t used = IP6_HEADER_BYTES;

	for (int count = 0; is_extension(next) && !ip->is_fragment; count++) {
		struct bytes rest = bytes_after(head, used);
		/* What is missing is behind head, or behind the packet. */
		enum err cut = ip->total_bytes > head.len ? ERR_IP_HEADERS_SPLIT : ERR_IP_MALFORMED;
		enum err verdict;
		size_t len;

		/* Hop-by-hop options stand first or not at all (RFC 8200 4.1). */
		if (count == IP6_EXTENSIONS_MAX || (next == NEXT_HOP_BY_HOP && count > 0))
			return ERR_IP_MALFORMED;
		if (rest.len < FRAGMENT_BYTES)
			return cut;
		verdict = take_extension(next, rest, ip, &len);
		if (verdict != ERR_OK)
			return verdict;
		if (used + len > IP6_HEADER_BYTES + IP6_EXTENSION_BYTES_MAX)
			return ERR_IP_MALFORMED;
		if (len > rest.len)
			return cut;
		ip->has_extensions = true;
		next = rest.ptr[0];
		used += len;
	}
	ip->upper_protocol = next;
	ip->upper_offset = (uint16_t)used;
	return ERR_OK;
}

enum err
ip6_parse(struct bytes head, size_t packet_bytes, struct ip6 *ip)
{
	const uint8_t *at = head.ptr;
	size_t total_bytes;

	if (head.len < IP6_HEADER_BYTES)
		return packet_bytes < IP6_HEADER_BYTES ? ERR_IP_MALFORMED : ERR_IP_HEADERS_SPLIT;
	total_bytes = (size_t)order_get16(at + 4) + IP6_HEADER_BYTES;
	if (at[0] >> 4 != 6 || total_bytes > packet_bytes || total_bytes > UINT16_MAX)
		return ERR_IP_MALFORMED;
	ip->total_bytes = (uint16_t)total_bytes;
	ip->ecn = at[1] >> 4 & 3;
	ip->hop_limit = at[7];
	ip->is_fragment = false;
	ip->has_extensions = false;
	memcpy(ip->src, at + 8, 16);
	memcpy(ip->dst, at + 24, 16);
	if (head.len > total_bytes)
		head.len = total_bytes;
	return walk(head, at[6], ip);
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

/* RFC 8200: the chain is walked within two bounds; a routing header of type 0 is refused (RFC 5095). */
#include "wire/ip6.h"

#include "wire/icmp.h"
#include "wire/ip4.h"
#include "wire/order.h"

#define NEXT_HEADER_AT 6

enum next_header {
	NEXT_HOP_BY_HOP = 0,
	NEXT_ROUTING = 43,
	NEXT_FRAGMENT = 44,
	NEXT_OPTIONS = 60,
};

#define ROUTING_TYPE_0 0
#define EXTENSION_BYTES_MIN 8
#define FRAGMENT_OFFSET_MASK 0xfff8
#define FRAGMENT_MORE 1
#define OPTION_PAD1 0
#define OPTION_ROUTER_ALERT 5

/* The two highest bits of an option that we do not know (RFC 8200 section 4.2). */
enum unknown_option { UNKNOWN_SKIP, UNKNOWN_DROP, UNKNOWN_REPORT, UNKNOWN_REPORT_UNLESS_GROUP };

/* The sender should be told, at which byte. */
static enum err
problem(struct ip6 *ip, enum icmp6_problem code, size_t at, enum err verdict)
{
	ip->problem_code = (uint8_t)code;
	ip->problem_at = (uint16_t)at;
	return verdict;
}

/* The options of head that lie from..end. */
static enum err
check_options(struct bytes head, size_t from, size_t end, struct ip6 *ip)
{
	while (from < end) {
		const uint8_t *option = head.ptr + from;
		size_t room = end - from;
		size_t len = option[0] == OPTION_PAD1 ? 1 : room > 1 ? (size_t)option[1] + 2 : 0;
		enum unknown_option unknown = (enum unknown_option)(option[0] >> 6);

		if (len == 0 || len > room)
			return ERR_IP_MALFORMED;
		if (option[0] == OPTION_ROUTER_ALERT)
			ip->has_router_alert = true;
		if (unknown == UNKNOWN_REPORT ||
		    (unknown == UNKNOWN_REPORT_UNLESS_GROUP && ip->dst[0] != 0xff))
			return problem(ip, ICMP6_PROBLEM_OPTION, from, ERR_IP_OPTION);
		if (unknown != UNKNOWN_SKIP)
			return ERR_IP_OPTION;
		from += len;
	}
	return ERR_OK;
}

/* The fragment header at `at`, named by the byte at next_at. */
static enum err
take_fragment(const uint8_t *header, size_t at, size_t next_at, struct ip6 *ip)
{
	uint16_t field = order_get16(header + 2);

	ip->fragment_offset = field & FRAGMENT_OFFSET_MASK;
	ip->more_fragments = (field & FRAGMENT_MORE) != 0;
	/* Offset and more-fragments both zero: an atomic fragment, taken as a whole packet. */
	ip->is_fragment = ip->fragment_offset != 0 || ip->more_fragments;
	ip->fragment_at = (uint16_t)at;
	ip->fragment_next_at = (uint16_t)next_at;
	ip->fragment_id = order_get32(header + 4);
	return ERR_OK;
}

/* One extension header at `at`, where head has EXTENSION_BYTES_MIN at least; sets its length. */
static enum err
take_extension(uint8_t kind, struct bytes head, size_t at, size_t next_at, struct ip6 *ip, size_t *len)
{
	const uint8_t *header = head.ptr + at;

	if (kind == NEXT_FRAGMENT) {
		*len = IP6_FRAGMENT_BYTES;
		/* A fragment of a fragment, or atomic twice: nobody sends that. */
		return ip->fragment_at != 0 ? ERR_IP_MALFORMED : take_fragment(header, at, next_at, ip);
	}
	*len = ((size_t)header[1] + 1) * 8;
	if (*len > IP6_EXTENSION_BYTES_MAX)
		return ERR_IP_MALFORMED;
	if (*len > head.len - at)
		return ERR_OK; /* the caller says what that is */
	if (kind != NEXT_ROUTING)
		return check_options(head, at + 2, at + *len, ip);
	/* Type 0 is refused (RFC 5095), others too while they have segments left; with none they are skipped. */
	if (header[2] == ROUTING_TYPE_0 || header[3] != 0)
		return problem(ip, ICMP6_PROBLEM_FIELD, at + 2, ERR_IP_SOURCE_ROUTE);
	return ERR_OK;
}

bool
ip6_is_extension(uint8_t kind)
{
	return kind == NEXT_HOP_BY_HOP || kind == NEXT_ROUTING || kind == NEXT_FRAGMENT ||
	       kind == NEXT_OPTIONS;
}

/* What is missing of the headers lies behind head, in another fragment, or nowhere. */
static enum err
cut_short(struct bytes head, const struct ip6 *ip)
{
	if (ip->total_bytes > head.len)
		return ERR_IP_HEADERS_SPLIT;
	return ip->is_fragment ? ERR_IP_FRAGMENT_TINY : ERR_IP_MALFORMED;
}

/* Sets what lies behind the extension headers. */
static enum err
walk(struct bytes head, struct ip6 *ip)
{
	size_t used = IP6_HEADER_BYTES;
	size_t next_at = NEXT_HEADER_AT;

	for (int count = 0; ip6_is_extension(head.ptr[next_at]) && ip->fragment_offset == 0; count++) {
		uint8_t kind = head.ptr[next_at];
		enum err verdict;
		size_t len;

		if (count == IP6_EXTENSIONS_MAX)
			return ERR_IP_MALFORMED;
		/* Hop-by-hop options stand first or not at all (RFC 8200 4.1). */
		if (kind == NEXT_HOP_BY_HOP && count > 0)
			return problem(ip, ICMP6_PROBLEM_NEXT_HEADER, next_at, ERR_IP_MALFORMED);
		if (head.len - used < EXTENSION_BYTES_MIN)
			return cut_short(head, ip);
		verdict = take_extension(kind, head, used, next_at, ip, &len);
		if (verdict != ERR_OK)
			return verdict;
		if (used + len > IP6_HEADER_BYTES + IP6_EXTENSION_BYTES_MAX)
			return ERR_IP_MALFORMED;
		if (len > head.len - used)
			return cut_short(head, ip);
		ip->has_extensions = true;
		next_at = used;
		used += len;
	}
	ip->upper_protocol = head.ptr[next_at];
	ip->upper_next_at = (uint16_t)next_at;
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
	ip->has_router_alert = false;
	ip->more_fragments = false;
	ip->fragment_offset = 0;
	ip->fragment_at = 0;
	ip->problem_at = 0;
	memcpy(ip->src, at + 8, 16);
	memcpy(ip->dst, at + 24, 16);
	if (head.len > total_bytes)
		head.len = total_bytes;
	return walk(head, ip);
}

bool
ip6_may_be_error(struct bytes head)
{
	size_t next_at = NEXT_HEADER_AT, at = IP6_HEADER_BYTES;

	for (int count = 0; count <= IP6_EXTENSIONS_MAX; count++) {
		uint8_t kind = head.ptr[next_at];

		if (!ip6_is_extension(kind))
			return kind == IP_ICMP6 && (at >= head.len || head.ptr[at] < ICMP6_ECHO);
		if (head.len < at + EXTENSION_BYTES_MIN)
			return true;
		next_at = at;
		at += kind == NEXT_FRAGMENT ? IP6_FRAGMENT_BYTES : ((size_t)head.ptr[at + 1] + 1) * 8;
	}
	return true;
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

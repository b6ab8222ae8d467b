/* Echo, and errors about our own segments (RFC 792, RFC 4443). Answers are made within a rate. */
#include "ip/internal.h"
#include "wire/csum.h"
#include "wire/icmp.h"
#include "wire/ip6.h"
#include "wire/order.h"

#define HOP_LIMIT 64
#define ND_HOP_LIMIT 255
#define QUOTED_TCP_BYTES 8 /* ports and sequence number */


static uint64_t
sum_chain(const struct pkt *p, uint64_t sum)
{
	bool odd = false;

	for (; p != NULL; p = pkt_next(p)) {
		sum = odd ? csum_add_odd(sum, pkt_data(p), pkt_len(p)) :
			    csum_add(sum, pkt_data(p), pkt_len(p));
		odd ^= pkt_len(p) & 1;
	}
	return sum;
}

/* Turns a request into its reply, in place, and sends it back. */
static enum ip_what
echo(struct ip *ip, struct pkt *p, bool v4, uint64_t now_ns)
{
	struct pkt_meta *meta = pkt_meta(p);
	struct ip_addr asked = meta->dst;
	uint64_t sum = 0;
	uint16_t checksum;

	if (!ip_is_local(ip, &asked) || ip_is_bad_source(ip, &meta->src) ||
	    !ip_rate_allows(&ip->echoes_full_at_ns, now_ns))
		return ip_drop(ip, p, ERR_ICMP_NOT_ANSWERED);
	meta->dst = meta->src;
	meta->src = asked;
	meta->ecn = 0;
	pkt_data(p)[0] = v4 ? (uint8_t)ICMP4_ECHO_REPLY : (uint8_t)ICMP6_ECHO_REPLY;
	memset(pkt_data(p) + 2, 0, 2);
	if (!v4)
		sum = csum_pseudo(meta->src.byte, meta->dst.byte, IP_ICMP6, pkt_total(p));
	checksum = csum_finish(sum_chain(p, sum));
	memcpy(pkt_data(p) + 2, &checksum, sizeof(checksum));
	ip_send(ip, p, v4 ? IP_ICMP : IP_ICMP6, HOP_LIMIT, now_ns);
	return IP_NOTHING;
}

bool
icmp_quoted(struct bytes quote, bool is_v6, struct ip_received *received)
{
	size_t header_bytes;

	if (is_v6) {
		if (quote.len < IP6_HEADER_BYTES + QUOTED_TCP_BYTES || quote.ptr[0] >> 4 != 6 ||
		    quote.ptr[6] != IP_TCP)
			return false;
		header_bytes = IP6_HEADER_BYTES;
		received->local = ip_from_v6(quote.ptr + 8);
		received->remote = ip_from_v6(quote.ptr + 24);
	} else {
		if (quote.len < IP4_HEADER_BYTES || quote.ptr[0] >> 4 != 4 || quote.ptr[9] != IP_TCP)
			return false;
		header_bytes = (size_t)(quote.ptr[0] & 15) * 4;
		if (header_bytes < IP4_HEADER_BYTES || quote.len < header_bytes + QUOTED_TCP_BYTES)
			return false;
		received->local = ip_from_v4(quote.ptr + 12);
		received->remote = ip_from_v4(quote.ptr + 16);
	}
	received->local_port = order_get16(quote.ptr + header_bytes);
	received->remote_port = order_get16(quote.ptr + header_bytes + 2);
	received->quoted_seq = order_get32(quote.ptr + header_bytes + 4);
	return true;
}

enum ip_what
icmp4_input(struct ip *ip, struct pkt *p, bool listen_only, uint64_t now_ns,
	    struct ip_received *received)
{
	struct bytes message = bytes_make(pkt_data(p), pkt_len(p));
	uint8_t type, code;

	if (message.len < ICMP_HEADER_BYTES || !csum_is_good(sum_chain(p, 0)))
		return ip_drop(ip, p, ERR_ICMP_MALFORMED);
	type = message.ptr[0];
	code = message.ptr[1];
	if (type == ICMP4_ECHO && !listen_only)
		return echo(ip, p, true, now_ns);
	if (!ip_is_local(ip, &pkt_meta(p)->dst) ||
	    (type != ICMP4_UNREACHABLE && type != ICMP4_TIME_EXCEEDED) ||
	    !icmp_quoted(bytes_after(message, ICMP_HEADER_BYTES), false, received))
		return ip_drop(ip, p, ERR_ICMP_NOT_ANSWERED);
	received->hard = type == ICMP4_UNREACHABLE && (code == ICMP4_CODE_PROTOCOL || code == ICMP4_CODE_PORT);
	received->mtu_bytes = type == ICMP4_UNREACHABLE && code == ICMP4_CODE_TOO_BIG ?
				      order_get16(message.ptr + 6) :
				      0;
	pkt_free(p);
	return IP_ERROR;
}

static enum ip_what
icmp6_error(struct ip *ip, struct pkt *p, struct ip_received *received)
{
	struct bytes message = bytes_make(pkt_data(p), pkt_len(p));
	uint8_t type = message.ptr[0];

	if (!ip_is_local(ip, &pkt_meta(p)->dst) || type < ICMP6_UNREACHABLE || type > ICMP6_PARAMETER ||
	    !icmp_quoted(bytes_after(message, ICMP_HEADER_BYTES), true, received))
		return ip_drop(ip, p, ERR_ICMP_NOT_ANSWERED);
	received->hard = (type == ICMP6_UNREACHABLE && message.ptr[1] == ICMP6_CODE_PORT) ||
			 (type == ICMP6_PARAMETER && message.ptr[1] == ICMP6_CODE_NEXT_HEADER);
	received->mtu_bytes = type == ICMP6_TOO_BIG ? order_get32(message.ptr + 4) : 0;
	pkt_free(p);
	return IP_ERROR;
}

enum ip_what
icmp6_input(struct ip *ip, struct pkt *p, const struct eth *eth, const struct ip6 *header,
	    bool listen_only, uint64_t now_ns, struct ip_received *received)
{
	const struct pkt_meta *meta = pkt_meta(p);
	struct bytes message = bytes_make(pkt_data(p), pkt_len(p));
	uint64_t sum = csum_pseudo(meta->src.byte, meta->dst.byte, IP_ICMP6, pkt_total(p));

	if (message.len < ICMP_HEADER_BYTES || !csum_is_good(sum_chain(p, sum)))
		return ip_drop(ip, p, ERR_ICMP_MALFORMED);
	if (message.ptr[0] >= ICMP6_ROUTER_SOLICITATION && message.ptr[0] <= ICMP6_REDIRECT) {
		/* From this link only, and whole (RFC 4861 7.1, RFC 6980). */
		if (header->hop_limit != ND_HOP_LIMIT || header->has_extensions)
			return ip_drop(ip, p, ERR_ND_MALFORMED);
		nd_input(ip, meta->port, message, &meta->src, &eth->src, listen_only, now_ns);
		pkt_free(p);
		return IP_NOTHING;
	}
	if (message.ptr[0] == ICMP6_ECHO && !listen_only)
		return echo(ip, p, false, now_ns);
	return icmp6_error(ip, p, received);
}

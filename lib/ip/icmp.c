/* Echo, and errors about our own segments (RFC 792, RFC 4443). Answers are made within a rate. */
#include "base/check.h"
#include "ip/internal.h"
#include "wire/csum.h"
#include "wire/icmp.h"
#include "wire/ip6.h"
#include "wire/order.h"

#define HOP_LIMIT 64
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
echo(struct ip *ip, struct pkt *p, const struct eth *eth, bool v4, uint64_t now_ns)
{
	struct pkt_meta *meta = pkt_meta(p);
	struct ip_addr asked = meta->dst;
	uint64_t sum = 0;
	uint16_t checksum;

	if (eth_is_group(&eth->dst) || !ip_is_local(ip, &asked) || ip_is_bad_source(ip, &meta->src))
		return ip_drop(ip, p, ERR_ICMP_NOT_ANSWERED);
	if (!ip_rate_allows(ip, &ip->echoes_full_at_ns, now_ns))
		return ip_drop(ip, p, ERR_ICMP_RATE);
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

/* --- errors that quote a segment of ours ------------------------------------------------------- */

bool
icmp_quoted(struct bytes quote, bool is_v6, struct ip_received *received)
{
	size_t header_bytes;

	if (is_v6) {
		/* We send no extension headers. */
		if (quote.len < IP6_HEADER_BYTES + QUOTED_TCP_BYTES || quote.ptr[0] >> 4 != 6 ||
		    quote.ptr[6] != IP_TCP)
			return false;
		header_bytes = IP6_HEADER_BYTES;
		received->local = ip_from_v6(quote.ptr + 8);
		received->remote = ip_from_v6(quote.ptr + 24);
	} else {
		/* Ports are in the first fragment only. */
		if (quote.len < IP4_HEADER_BYTES || quote.ptr[0] >> 4 != 4 || quote.ptr[9] != IP_TCP ||
		    (order_get16(quote.ptr + 6) & IP4_OFFSET_MASK) != 0)
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

/* The MTU of a router that does not say it: the next of the usual ones below what it refused (RFC 1191
 * section 7.1). */
static uint32_t
plateau_below(uint32_t refused_bytes)
{
	static const uint16_t plateaus[] = { 32000, 17914, 8166, 4352, 2002, 1492, 1006, IP_PATH_MTU_MIN_V4 };
	size_t i = 0;

	while (i < sizeof(plateaus) / sizeof(plateaus[0]) - 1 && plateaus[i] >= refused_bytes)
		i++;
	return plateaus[i];
}

/* For whom the quote could be: we sent it, and the error came to where we sent it from. */
static bool
is_of_ours(const struct ip *ip, const struct pkt *p, bool is_v6, struct ip_received *received)
{
	struct bytes message = bytes_make(pkt_data(p), pkt_len(p));

	return icmp_quoted(bytes_after(message, ICMP_HEADER_BYTES), is_v6, received) &&
	       ip_equal(&received->local, &pkt_meta(p)->dst) && ip_is_local(ip, &received->local);
}

static enum ip_what
icmp4_error(struct ip *ip, struct pkt *p, struct ip_received *received)
{
	const uint8_t *message = pkt_data(p);
	uint8_t type = message[0], code = message[1];
	bool unreachable = type == ICMP4_UNREACHABLE;

	if (!unreachable && type != ICMP4_TIME_EXCEEDED && type != ICMP4_PARAMETER)
		return ip_drop(ip, p, ERR_ICMP_NOT_ANSWERED);
	if (!is_of_ours(ip, p, false, received))
		return ip_drop(ip, p, ERR_ICMP_QUOTE);
	received->hard = unreachable && (code == ICMP4_CODE_PROTOCOL || code == ICMP4_CODE_PORT);
	received->mtu_bytes = 0;
	if (unreachable && code == ICMP4_CODE_TOO_BIG) {
		received->mtu_bytes = order_get16(message + 6);
		if (received->mtu_bytes == 0)
			received->mtu_bytes = plateau_below(order_get16(message + ICMP_HEADER_BYTES + 2));
	}
	pkt_free(p);
	return IP_ERROR;
}

enum ip_what
icmp4_input(struct ip *ip, struct pkt *p, const struct eth *eth, bool listen_only, uint64_t now_ns,
	    struct ip_received *received)
{
	if (pkt_len(p) < ICMP_HEADER_BYTES || !csum_is_good(sum_chain(p, 0)))
		return ip_drop(ip, p, ERR_ICMP_MALFORMED);
	if (pkt_data(p)[0] == ICMP4_ECHO && !listen_only)
		return echo(ip, p, eth, true, now_ns);
	return icmp4_error(ip, p, received);
}

static enum ip_what
icmp6_error(struct ip *ip, struct pkt *p, struct ip_received *received)
{
	const uint8_t *message = pkt_data(p);
	uint8_t type = message[0], code = message[1];

	if (type < ICMP6_UNREACHABLE || type > ICMP6_PARAMETER)
		return ip_drop(ip, p, ERR_ICMP_NOT_ANSWERED);
	/* No link of IPv6 is that narrow (RFC 8201 section 4). */
	if (type == ICMP6_TOO_BIG && order_get32(message + 4) < IP_PATH_MTU_MIN_V6)
		return ip_drop(ip, p, ERR_ICMP_MALFORMED);
	if (!is_of_ours(ip, p, true, received))
		return ip_drop(ip, p, ERR_ICMP_QUOTE);
	received->hard = (type == ICMP6_UNREACHABLE && code == ICMP6_CODE_PORT) ||
			 (type == ICMP6_PARAMETER && code == ICMP6_PROBLEM_NEXT_HEADER);
	received->mtu_bytes = type == ICMP6_TOO_BIG ? order_get32(message + 4) : 0;
	pkt_free(p);
	return IP_ERROR;
}

bool
icmp6_is_discovery(uint8_t type)
{
	return type >= ICMP6_ROUTER_SOLICITATION && type <= ICMP6_REDIRECT;
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
	if (icmp6_is_discovery(message.ptr[0])) {
		/* From this link only, and whole (RFC 4861 7.1, RFC 6980). */
		if (header->hop_limit != ND_HOP_LIMIT || header->has_extensions)
			return ip_drop(ip, p, ERR_ND_MALFORMED);
		nd_input(ip, meta->port, message, &meta->src, &eth->src, listen_only, now_ns);
		pkt_free(p);
		return IP_NOTHING;
	}
	if (message.ptr[0] == ICMP6_ECHO && !listen_only)
		return echo(ip, p, eth, false, now_ns);
	if (message.ptr[0] == ICMP6_MLD_QUERY && !listen_only) {
		mld_query(ip, meta->port, message, &meta->src, header, now_ns);
		pkt_free(p);
		return IP_NOTHING;
	}
	return icmp6_error(ip, p, received);
}

/* --- errors of ours ---------------------------------------------------------------------------- */

/*
 * The rules of RFC 4443 section 2.4 e: no error about an error, about what was for a group or for many stations
 * of the link, from an address that is not of one station, or about a later fragment (whose headers are not
 * looked at). The caller has seen to the stations.
 */
void
icmp6_send_problem(struct ip *ip, const struct pkt *p, const struct ip6 *header, uint64_t now_ns)
{
	const struct pkt_meta *meta = pkt_meta(p);
	uint32_t quote_bytes = header->total_bytes;
	struct pkt *answer;
	uint8_t *at;
	uint16_t checksum;
	uint64_t sum;

	if (ip6_may_be_error(bytes_make(pkt_data(p), pkt_len(p))))
		return;
	if (!ip_rate_allows(ip, &ip->problems_full_at_ns, now_ns)) {
		ip->drops[ERR_ICMP_RATE]++;
		return;
	}
	/* As much as fits what every link carries. */
	if (quote_bytes > IP_PATH_MTU_MIN_V6 - IP6_HEADER_BYTES - ICMP_HEADER_BYTES)
		quote_bytes = IP_PATH_MTU_MIN_V6 - IP6_HEADER_BYTES - ICMP_HEADER_BYTES;
	answer = pkt_alloc(ip->pool);
	if (answer == NULL) {
		ip->drops[ERR_POOL_EMPTY]++;
		return;
	}
	at = pkt_append(answer, ICMP_HEADER_BYTES + quote_bytes);
	CHECK(at != NULL);
	memset(at, 0, ICMP_HEADER_BYTES);
	at[0] = ICMP6_PARAMETER;
	at[1] = header->problem_code;
	order_put32(at + 4, header->problem_at);
	pkt_copy_out(p, 0, at + ICMP_HEADER_BYTES, quote_bytes);
	pkt_meta(answer)->src = meta->dst;
	pkt_meta(answer)->dst = meta->src;
	sum = csum_pseudo(meta->dst.byte, meta->src.byte, IP_ICMP6, pkt_total(answer));
	checksum = csum_finish(csum_add(sum, at, pkt_total(answer)));
	memcpy(at + 2, &checksum, sizeof(checksum));
	ip->drops[ERR_ICMP_PROBLEM]++;
	ip_send(ip, answer, IP_ICMP6, HOP_LIMIT, now_ns);
}

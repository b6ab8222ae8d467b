/* A frame's way up: Ethernet, then ARP or one of the IPs, then ICMP or a segment. */
#include "base/check.h"
#include "ip/internal.h"
#include "wire/icmp.h"
#include "wire/ip6.h"
#include "wire/order.h"
#include "wire/tcphdr.h"

/* Cuts Ethernet padding off and the IP header away; what is left starts at the upper header. */
static void
unwrap(struct pkt *p, uint32_t total_bytes, uint32_t header_bytes)
{
	pkt_trim(p, pkt_total(p) - total_bytes);
	pkt_pull(p, header_bytes);
}

/* A source that we can answer, to one of us alone: for what is of one station whatever its IP header says. */
static enum err
check_stations(const struct ip *ip, const struct pkt_meta *meta, const struct eth *eth)
{
	if (!ip_is_local(ip, &meta->dst))
		return ERR_IP_NOT_OURS;
	if (ip_is_bad_source(ip, &meta->src))
		return ERR_IP_BAD_SOURCE;
	/* RFC 9293 MUST-57, RFC 1122 section 3.3.6. */
	return eth_is_group(&eth->dst) ? ERR_TCP_ADDRESS : ERR_OK;
}

static enum ip_what
give_segment(struct ip *ip, struct pkt *p, const struct eth *eth, bool listen_only,
	     struct ip_received *received)
{
	enum err verdict = listen_only ? ERR_IP_NOT_OURS : check_stations(ip, pkt_meta(p), eth);

	if (verdict != ERR_OK)
		return ip_drop(ip, p, verdict);
	received->segment = p;
	return IP_SEGMENT;
}

/* --- fragments ----------------------------------------------------------------------------- */

/* The first piece has the upper header as a whole, so that what is looked at in it can not be rewritten by
 * another piece (RFC 1858, RFC 7112). front: what the piece has of it in its first buffer. */
static enum err
check_upper(uint8_t protocol, struct bytes front, size_t total_bytes)
{
	size_t need = protocol == IP_TCP ? TCPHDR_BYTES : ICMP_HEADER_BYTES;

	if (protocol == IP_TCP && front.len >= TCPHDR_BYTES)
		need = (size_t)(front.ptr[12] >> 4) * 4;
	if (front.len >= need)
		/* Discovery of neighbours never comes in pieces (RFC 6980). */
		return protocol == IP_ICMP6 && icmp6_is_discovery(front.ptr[0]) ? ERR_ND_MALFORMED : ERR_OK;
	return total_bytes >= need ? ERR_IP_HEADERS_SPLIT : ERR_IP_FRAGMENT_TINY;
}

static enum ip_what
ip4_fragment(struct ip *ip, struct pkt *p, const struct eth *eth, const struct ip4 *header,
	     uint64_t now_ns, struct ip_received *received)
{
	struct fragment fragment = { .id = header->id,
				     .protocol = header->protocol,
				     .more = header->more_fragments,
				     .offset = header->fragment_offset,
				     .eth_bytes = eth->header_bytes,
				     .ip_bytes = header->header_bytes };
	enum err verdict = ERR_OK;

	if (header->protocol != IP_TCP && header->protocol != IP_ICMP)
		return ip_drop(ip, p, ERR_IP_FRAGMENT);
	unwrap(p, header->total_bytes, header->header_bytes);
	if (fragment.offset == 0)
		verdict = check_upper(header->protocol, bytes_make(pkt_data(p), pkt_len(p)), pkt_total(p));
	else if (header->protocol == IP_TCP && fragment.offset < TCPHDR_BYTES)
		verdict = ERR_IP_FRAGMENT_TINY; /* RFC 3128 */
	if (verdict != ERR_OK)
		return ip_drop(ip, p, verdict);
	return fragment_input(ip, p, &fragment, now_ns, received);
}

static enum ip_what
ip6_fragment(struct ip *ip, struct pkt *p, const struct eth *eth, const struct ip6 *header,
	     uint64_t now_ns, struct ip_received *received)
{
	struct fragment fragment = { .id = header->fragment_id,
				     .more = header->more_fragments,
				     .offset = header->fragment_offset,
				     .eth_bytes = eth->header_bytes,
				     .ip_bytes = (uint16_t)(header->fragment_at + IP6_FRAGMENT_BYTES),
				     .header_at = header->fragment_at,
				     .next_at = header->fragment_next_at };
	struct bytes front;
	enum err verdict;

	/* Of later pieces the protocol may be that of an extension header: only the first one's counts. */
	if (fragment.offset == 0 && header->upper_protocol != IP_TCP && header->upper_protocol != IP_ICMP6)
		return ip_drop(ip, p, ERR_IP_FRAGMENT);
	unwrap(p, header->total_bytes, fragment.ip_bytes);
	if (fragment.offset == 0) {
		uint32_t chain_bytes = (uint32_t)header->upper_offset - fragment.ip_bytes;

		front = bytes_after(bytes_make(pkt_data(p), pkt_len(p)), chain_bytes);
		verdict = check_upper(header->upper_protocol, front, pkt_total(p) - chain_bytes);
		if (verdict != ERR_OK)
			return ip_drop(ip, p, verdict);
	}
	return fragment_input(ip, p, &fragment, now_ns, received);
}

/* --- packets --------------------------------------------------------------------------------- */

static enum ip_what
ip4_input(struct ip *ip, struct pkt *p, const struct eth *eth, bool listen_only, uint64_t now_ns,
	  struct ip_received *received)
{
	struct pkt_meta *meta = pkt_meta(p);
	struct ip4 header;
	enum err verdict;

	if (meta->l3_csum == PKT_CSUM_BAD)
		return ip_drop(ip, p, ERR_IP_CHECKSUM);
	verdict = ip4_parse(bytes_make(pkt_data(p), pkt_len(p)), pkt_total(p),
			    meta->l3_csum == PKT_CSUM_UNKNOWN, &header);
	if (verdict == ERR_OK && header.ttl == 0)
		verdict = ERR_IP_HOP_LIMIT;
	if (verdict != ERR_OK)
		return ip_drop(ip, p, verdict);
	meta->src = ip_from_v4(header.src);
	meta->dst = ip_from_v4(header.dst);
	meta->ecn = header.ecn;
	if (header.is_fragment) {
		verdict = listen_only ? ERR_IP_FRAGMENT : check_stations(ip, meta, eth);
		return verdict != ERR_OK ? ip_drop(ip, p, verdict) :
					   ip4_fragment(ip, p, eth, &header, now_ns, received);
	}
	unwrap(p, header.total_bytes, header.header_bytes);
	if (header.protocol == IP_TCP)
		return give_segment(ip, p, eth, listen_only, received);
	if (header.protocol == IP_ICMP)
		return icmp4_input(ip, p, eth, listen_only, now_ns, received);
	return ip_drop(ip, p, ERR_IP_PROTOCOL);
}

/* Drops p for its headers; tells the sender if that is asked for and he can be told. */
static enum ip_what
ip6_refuse(struct ip *ip, struct pkt *p, const struct eth *eth, const struct ip6 *header,
	   bool listen_only, enum err why, uint64_t now_ns)
{
	struct pkt_meta *meta = pkt_meta(p);

	if (header->problem_at == 0)
		return ip_drop(ip, p, why);
	meta->src = ip_from_v6(header->src);
	meta->dst = ip_from_v6(header->dst);
	if (!listen_only && check_stations(ip, meta, eth) == ERR_OK && !ip_is_v4(&meta->src))
		icmp6_send_problem(ip, p, header, now_ns);
	return ip_drop(ip, p, why);
}

static enum ip_what
ip6_input(struct ip *ip, struct pkt *p, const struct eth *eth, bool listen_only, uint64_t now_ns,
	  struct ip_received *received)
{
	struct pkt_meta *meta = pkt_meta(p);
	struct ip6 header = { .problem_at = 0 };
	enum err verdict = ip6_parse(bytes_make(pkt_data(p), pkt_len(p)), pkt_total(p), &header);

	if (verdict == ERR_OK && header.hop_limit == 0)
		verdict = ERR_IP_HOP_LIMIT;
	if (verdict != ERR_OK)
		return ip6_refuse(ip, p, eth, &header, listen_only, verdict, now_ns);
	meta->src = ip_from_v6(header.src);
	meta->dst = ip_from_v6(header.dst);
	/* An IPv4-mapped address has no business on the wire (RFC 4942 2.2). */
	if (ip_is_v4(&meta->src) || ip_is_v4(&meta->dst))
		return ip_drop(ip, p, ERR_IP_BAD_SOURCE);
	meta->ecn = header.ecn;
	if (header.is_fragment) {
		verdict = listen_only ? ERR_IP_FRAGMENT : check_stations(ip, meta, eth);
		return verdict != ERR_OK ? ip_drop(ip, p, verdict) :
					   ip6_fragment(ip, p, eth, &header, now_ns, received);
	}
	if (header.upper_protocol != IP_TCP && header.upper_protocol != IP_ICMP6) {
		/* What we know and do not serve is dropped in silence, what we do not know is refused. */
		if (header.upper_protocol != IP_UDP && header.upper_protocol != IP_NO_NEXT_HEADER) {
			header.problem_code = ICMP6_PROBLEM_NEXT_HEADER;
			header.problem_at = header.upper_next_at;
		}
		return ip6_refuse(ip, p, eth, &header, listen_only, ERR_IP_PROTOCOL, now_ns);
	}
	unwrap(p, header.total_bytes, header.upper_offset);
	if (header.upper_protocol == IP_TCP)
		return give_segment(ip, p, eth, listen_only, received);
	return icmp6_input(ip, p, eth, &header, listen_only, now_ns, received);
}

enum ip_what
ip_input(struct ip *ip, struct pkt *frame, bool listen_only, uint64_t now_ns,
	 struct ip_received *received)
{
	const struct ip_port *port = &ip->config.ports[pkt_meta(frame)->port];
	struct eth eth;

	CHECK(pkt_meta(frame)->port < ip->config.port_count);
	if (!eth_parse(bytes_make(pkt_data(frame), pkt_len(frame)), &eth))
		return ip_drop(ip, frame, ERR_ETH_MALFORMED);
	if (eth_is_group(&eth.src) || eth_equal(&eth.src, &port->mac))
		return ip_drop(ip, frame, ERR_ETH_BAD_SOURCE);
	if ((!eth_is_group(&eth.dst) && !eth_equal(&eth.dst, &port->mac)) || eth.vlan != port->vlan)
		return ip_drop(ip, frame, ERR_ETH_NOT_OURS);
	pkt_pull(frame, eth.header_bytes);
	switch (eth.type) {
	case ETH_TYPE_ARP:
		return arp_input(ip, frame, &eth, listen_only, now_ns);
	case ETH_TYPE_IP4:
		return ip4_input(ip, frame, &eth, listen_only, now_ns, received);
	case ETH_TYPE_IP6:
		return ip6_input(ip, frame, &eth, listen_only, now_ns, received);
	default:
		return ip_drop(ip, frame, ERR_ETH_TYPE);
	}
}

/* --- who should have it -------------------------------------------------------------------- */

static void
peek_flow(struct ip_peek *peek, struct bytes upper)
{
	if (upper.len < 4)
		return;
	peek->kind = IP_PEEK_FLOW;
	peek->src_port = order_get16(upper.ptr);
	peek->dst_port = order_get16(upper.ptr + 2);
}

/* The flow that an ICMP error is about, as its received segments look. */
static void
peek_quote(struct ip_peek *peek, struct bytes message, bool is_v6)
{
	struct ip_received quoted;

	if (!icmp_quoted(bytes_after(message, ICMP_HEADER_BYTES), is_v6, &quoted))
		return;
	*peek = (struct ip_peek){ IP_PEEK_FLOW, quoted.remote, quoted.local, quoted.remote_port,
				  quoted.local_port };
}

/* Pieces meet where a flow of their datagram's number would. */
static void
peek_fragment(struct ip_peek *peek, uint32_t id)
{
	peek->kind = IP_PEEK_FLOW;
	peek->src_port = (uint16_t)(id >> 16);
	peek->dst_port = (uint16_t)id;
}

static void
peek_ip4(struct bytes packet, size_t packet_bytes, struct ip_peek *peek)
{
	struct ip4 header;
	struct bytes upper;

	if (ip4_parse(packet, packet_bytes, false, &header) != ERR_OK)
		return;
	peek->src = ip_from_v4(header.src);
	peek->dst = ip_from_v4(header.dst);
	upper = bytes_after(packet, header.header_bytes);
	if (header.is_fragment)
		peek_fragment(peek, header.id);
	else if (header.protocol == IP_TCP)
		peek_flow(peek, upper);
	else if (header.protocol == IP_ICMP && upper.len > 0 && upper.ptr[0] != ICMP4_ECHO)
		peek_quote(peek, upper, false);
}

static void
peek_ip6(struct bytes packet, size_t packet_bytes, struct ip_peek *peek)
{
	struct ip6 header;
	struct bytes upper;

	if (ip6_parse(packet, packet_bytes, &header) != ERR_OK)
		return;
	peek->src = ip_from_v6(header.src);
	peek->dst = ip_from_v6(header.dst);
	upper = bytes_after(packet, header.upper_offset);
	if (header.is_fragment)
		peek_fragment(peek, header.fragment_id);
	else if (header.upper_protocol == IP_TCP)
		peek_flow(peek, upper);
	else if (header.upper_protocol == IP_ICMP6 && upper.len > 0 && upper.ptr[0] < ICMP6_ECHO)
		peek_quote(peek, upper, true);
	else if (header.upper_protocol == IP_ICMP6 && header.hop_limit == ND_HOP_LIMIT && upper.len > 0 &&
		 (upper.ptr[0] == ICMP6_SOLICITATION || upper.ptr[0] == ICMP6_ADVERTISEMENT))
		peek->kind = IP_PEEK_EVERYONE;
}

void
ip_peek(const struct pkt *frame, struct ip_peek *peek)
{
	struct bytes head = bytes_make(pkt_data(frame), pkt_len(frame));
	size_t packet_bytes;
	struct eth eth;

	*peek = (struct ip_peek){ .kind = IP_PEEK_LOCAL };
	if (!eth_parse(head, &eth))
		return;
	bytes_advance(&head, eth.header_bytes);
	packet_bytes = pkt_total(frame) - eth.header_bytes;
	if (eth.type == ETH_TYPE_ARP)
		peek->kind = IP_PEEK_EVERYONE;
	else if (eth.type == ETH_TYPE_IP4)
		peek_ip4(head, packet_bytes, peek);
	else if (eth.type == ETH_TYPE_IP6)
		peek_ip6(head, packet_bytes, peek);
}

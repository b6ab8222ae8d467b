/* A frame's way up: Ethernet, then ARP or one of the IPs, then ICMP or a segment. */
#include "base/check.h"
#include "ip/internal.h"
#include "wire/icmp.h"
#include "wire/ip6.h"
#include "wire/order.h"

/* Cuts Ethernet padding off and the IP header away; what is left starts at the upper header. */
static void
unwrap(struct pkt *p, uint32_t total_bytes, uint32_t header_bytes)
{
	pkt_trim(p, pkt_total(p) - total_bytes);
	pkt_pull(p, header_bytes);
}

static enum ip_what
give_segment(struct ip *ip, struct pkt *p, const struct eth *eth, bool listen_only,
	     struct ip_received *received)
{
	const struct pkt_meta *meta = pkt_meta(p);

	if (listen_only || !ip_is_local(ip, &meta->dst))
		return ip_drop(ip, p, ERR_IP_NOT_OURS);
	if (ip_is_bad_source(ip, &meta->src))
		return ip_drop(ip, p, ERR_IP_BAD_SOURCE);
	/* A segment is for one station, whatever its IP header says (RFC 9293 MUST-57, RFC 1122 3.3.6). */
	if (eth_is_group(&eth->dst))
		return ip_drop(ip, p, ERR_TCP_ADDRESS);
	received->segment = p;
	return IP_SEGMENT;
}

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
	if (verdict != ERR_OK)
		return ip_drop(ip, p, verdict);
	if (header.is_fragment)
		return ip_drop(ip, p, ERR_IP_FRAGMENT);
	meta->src = ip_from_v4(header.src);
	meta->dst = ip_from_v4(header.dst);
	meta->ecn = header.ecn;
	unwrap(p, header.total_bytes, header.header_bytes);
	if (header.protocol == IP_TCP)
		return give_segment(ip, p, eth, listen_only, received);
	if (header.protocol == IP_ICMP)
		return icmp4_input(ip, p, listen_only, now_ns, received);
	return ip_drop(ip, p, ERR_IP_PROTOCOL);
}

static enum ip_what
ip6_input(struct ip *ip, struct pkt *p, const struct eth *eth, bool listen_only, uint64_t now_ns,
	  struct ip_received *received)
{
	struct pkt_meta *meta = pkt_meta(p);
	struct ip6 header;
	enum err verdict = ip6_parse(bytes_make(pkt_data(p), pkt_len(p)), pkt_total(p), &header);

	if (verdict != ERR_OK)
		return ip_drop(ip, p, verdict);
	if (header.is_fragment)
		return ip_drop(ip, p, ERR_IP_FRAGMENT);
	meta->src = ip_from_v6(header.src);
	meta->dst = ip_from_v6(header.dst);
	/* An IPv4-mapped address has no business on the wire (RFC 4942 2.2). */
	if (ip_is_v4(&meta->src) || ip_is_v4(&meta->dst))
		return ip_drop(ip, p, ERR_IP_BAD_SOURCE);
	meta->ecn = header.ecn;
	unwrap(p, header.total_bytes, header.upper_offset);
	if (header.upper_protocol == IP_TCP)
		return give_segment(ip, p, eth, listen_only, received);
	if (header.upper_protocol == IP_ICMP6)
		return icmp6_input(ip, p, eth, &header, listen_only, now_ns, received);
	return ip_drop(ip, p, ERR_IP_PROTOCOL);
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

static void
peek_ip4(struct bytes packet, size_t packet_bytes, struct ip_peek *peek)
{
	struct ip4 header;
	struct bytes upper;

	if (ip4_parse(packet, packet_bytes, false, &header) != ERR_OK || header.is_fragment)
		return;
	peek->src = ip_from_v4(header.src);
	peek->dst = ip_from_v4(header.dst);
	upper = bytes_after(packet, header.header_bytes);
	if (header.protocol == IP_TCP)
		peek_flow(peek, upper);
	else if (header.protocol == IP_ICMP && upper.len > 0 && upper.ptr[0] != ICMP4_ECHO)
		peek_quote(peek, upper, false);
}

static void
peek_ip6(struct bytes packet, size_t packet_bytes, struct ip_peek *peek)
{
	struct ip6 header;
	struct bytes upper;

	if (ip6_parse(packet, packet_bytes, &header) != ERR_OK || header.is_fragment)
		return;
	peek->src = ip_from_v6(header.src);
	peek->dst = ip_from_v6(header.dst);
	upper = bytes_after(packet, header.upper_offset);
	if (header.upper_protocol == IP_TCP)
		peek_flow(peek, upper);
	else if (header.upper_protocol == IP_ICMP6 && upper.len > 0 && upper.ptr[0] < ICMP6_ECHO)
		peek_quote(peek, upper, true);
	else if (header.upper_protocol == IP_ICMP6 && upper.len > 0 &&
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

/* From the outside in: station, protocol, address, then port or quoted port. */
#include "dataplane/exception.h"

#include "wire/arp.h"
#include "wire/icmp.h"
#include "wire/ip6.h"
#include "wire/order.h"

#define ETH_TYPE_MIN 0x0600 /* below it the field is a length: IS-IS, spanning tree */
#define ARP_ASKS 1
#define ARP_BYTES 28

static bool
is_for_this_station(const struct ip_port *port, const struct eth *eth)
{
	return eth->vlan == port->vlan && !eth_is_group(&eth->src) && !eth_equal(&eth->src, &port->mac) &&
	       (eth_is_group(&eth->dst) || eth_equal(&eth->dst, &port->mac));
}

/* Who asks for an address of ours asks us; the kernel has the same MAC and need not say it again. */
static enum exception_owner
judge_arp(const struct ip *ip, struct bytes packet)
{
	struct ip_addr target;

	if (packet.len < ARP_BYTES)
		return EXCEPTION_OURS;
	target = ip_from_v4(packet.ptr + 24);
	return order_get16(packet.ptr + 6) == ARP_ASKS && ip_is_local(ip, &target) ? EXCEPTION_OURS :
										     EXCEPTION_BOTH;
}

/* A TCP segment, or an ICMP error that quotes one. */
static enum exception_owner
judge_flow(const struct tcp *tcp, const struct pkt *frame)
{
	struct tcp_tuple tuple;
	struct ip_peek peek;

	ip_peek(frame, &peek);
	if (peek.kind != IP_PEEK_FLOW)
		return EXCEPTION_KERNEL;
	tuple = (struct tcp_tuple){ peek.dst, peek.src, peek.dst_port, peek.src_port };
	return tcp_owns(tcp, &tuple) ? EXCEPTION_OURS : EXCEPTION_KERNEL;
}

static enum exception_owner
judge_ip4(const struct ip *ip, const struct tcp *tcp, const struct pkt *frame, struct bytes packet,
	  size_t packet_bytes)
{
	struct ip_addr dst;
	struct bytes upper;
	struct ip4 header;

	if (ip4_parse(packet, packet_bytes, false, &header) != ERR_OK)
		return EXCEPTION_OURS; /* dropped by name */
	dst = ip_from_v4(header.dst);
	if (!ip_is_local(ip, &dst))
		return EXCEPTION_KERNEL;
	/* Pieces become one frame first, which is judged again. */
	if (header.is_fragment)
		return header.protocol == IP_TCP || header.protocol == IP_ICMP ? EXCEPTION_OURS : EXCEPTION_KERNEL;
	upper = bytes_after(packet, header.header_bytes);
	if (header.protocol == IP_ICMP && upper.len > 0 && upper.ptr[0] == ICMP4_ECHO)
		return EXCEPTION_OURS;
	return header.protocol == IP_TCP || header.protocol == IP_ICMP ? judge_flow(tcp, frame) :
									 EXCEPTION_KERNEL;
}

/* Neighbour discovery, whoever it is addressed to. */
static enum exception_owner
judge_nd(const struct ip *ip, struct bytes message)
{
	struct ip_addr target;

	if (message.ptr[0] != ICMP6_SOLICITATION || message.len < ICMP_HEADER_BYTES + 16)
		return EXCEPTION_BOTH;
	target = ip_from_v6(message.ptr + ICMP_HEADER_BYTES);
	return ip_is_local(ip, &target) ? EXCEPTION_OURS : EXCEPTION_BOTH;
}

/* Options in front of the payload stand in the first piece, and only there it can be seen whose the packet is. So
 * both get the later ones; who does not get the first one forgets them. */
static enum exception_owner
judge_piece6(const struct ip6 *header)
{
	if (header->upper_protocol == IP_TCP || header->upper_protocol == IP_ICMP6)
		return EXCEPTION_OURS;
	return ip6_is_extension(header->upper_protocol) ? EXCEPTION_BOTH : EXCEPTION_KERNEL;
}

static enum exception_owner
judge_ip6(const struct ip *ip, const struct tcp *tcp, const struct pkt *frame, struct bytes packet,
	  size_t packet_bytes)
{
	struct ip_addr dst;
	struct bytes upper;
	struct ip6 header;

	if (ip6_parse(packet, packet_bytes, &header) != ERR_OK)
		return EXCEPTION_OURS; /* dropped by name */
	dst = ip_from_v6(header.dst);
	upper = bytes_after(packet, header.upper_offset);
	if (header.upper_protocol == IP_ICMP6 && !header.is_fragment && upper.len > 0 &&
	    (upper.ptr[0] == ICMP6_SOLICITATION || upper.ptr[0] == ICMP6_ADVERTISEMENT ||
	     upper.ptr[0] == ICMP6_MLD_QUERY))
		return judge_nd(ip, upper);
	if (!ip_is_local(ip, &dst))
		return EXCEPTION_KERNEL;
	if (header.is_fragment)
		return judge_piece6(&header);
	if (header.upper_protocol == IP_ICMP6 && upper.len > 0 && upper.ptr[0] == ICMP6_ECHO)
		return EXCEPTION_OURS;
	return header.upper_protocol == IP_TCP || header.upper_protocol == IP_ICMP6 ? judge_flow(tcp, frame) :
										      EXCEPTION_KERNEL;
}

enum exception_owner
exception_judge(const struct ip *ip, const struct tcp *tcp, const struct pkt *frame)
{
	const struct ip_port *port = &ip->config.ports[pkt_meta(frame)->port];
	struct bytes head = bytes_make(pkt_data(frame), pkt_len(frame));
	size_t packet_bytes;
	struct eth eth;
	bool has_type = eth_parse(head, &eth);

	if (head.len < ETH_HEADER_BYTES + ETH_VLAN_BYTES || !is_for_this_station(port, &eth))
		return EXCEPTION_OURS; /* dropped by name */
	if (!has_type)
		return eth.type < ETH_TYPE_MIN ? EXCEPTION_KERNEL : EXCEPTION_OURS;
	bytes_advance(&head, eth.header_bytes);
	packet_bytes = pkt_total(frame) - eth.header_bytes;
	switch (eth.type) {
	case ETH_TYPE_ARP:
		return judge_arp(ip, head);
	case ETH_TYPE_IP4:
		return judge_ip4(ip, tcp, frame, head, packet_bytes);
	case ETH_TYPE_IP6:
		return judge_ip6(ip, tcp, frame, head, packet_bytes);
	default:
		return EXCEPTION_KERNEL;
	}
}

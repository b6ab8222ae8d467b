/*
 * Neighbour solicitation and advertisement (RFC 4861 section 4.3 and 4.4).
 *
 *   | type 1 | code 0 | checksum 2 | flags or reserved 4 | target 16 | options |
 *   option 1 or 2: | kind | 1 | MAC 6 |
 */
#include "base/check.h"
#include "ip/internal.h"
#include "wire/csum.h"
#include "wire/icmp.h"
#include "wire/ip6.h"
#include "wire/order.h"

#define MESSAGE_BYTES 24
#define OPTION_BYTES 8
#define OPTION_SOURCE_MAC 1
#define OPTION_TARGET_MAC 2
#define FLAG_SOLICITED 0x40
#define FLAG_OVERRIDE 0x20

static const struct ip_addr all_nodes = { { 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 } };

struct ip_addr
nd_group_of(const struct ip_addr *address)
{
	struct ip_addr group = { { 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff } };

	memcpy(group.byte + 13, address->byte + 13, 3);
	return group;
}

struct eth_addr
nd_group_mac(const struct ip_addr *group)
{
	struct eth_addr mac = { { 0x33, 0x33 } };

	memcpy(mac.byte + 2, group->byte + 12, 4);
	return mac;
}

/* Sends a message past the neighbour cache, with our MAC as an option, unless nobody asks. */
static void
send(struct ip *ip, uint8_t port, const struct ip_addr *src, const struct ip_addr *dst,
     const struct eth_addr *dst_mac, uint8_t type, uint8_t flags, const struct ip_addr *target)
{
	uint32_t option_bytes = ip_is_zero(src) ? 0 : OPTION_BYTES;
	uint32_t message_bytes = MESSAGE_BYTES + option_bytes;
	struct ip6 header = { .hop_limit = ND_HOP_LIMIT,
			      .upper_protocol = IP_ICMP6,
			      .total_bytes = (uint16_t)(IP6_HEADER_BYTES + message_bytes) };
	struct pkt *p = pkt_alloc(ip->pool);
	uint8_t *at;
	uint16_t checksum;

	if (p == NULL) {
		ip->drops[ERR_POOL_EMPTY]++;
		return;
	}
	at = pkt_append(p, message_bytes);
	CHECK(at != NULL);
	memset(at, 0, message_bytes);
	at[0] = type;
	at[4] = flags;
	memcpy(at + 8, target->byte, 16);
	if (option_bytes > 0) {
		at[MESSAGE_BYTES] = type == ICMP6_SOLICITATION ? OPTION_SOURCE_MAC : OPTION_TARGET_MAC;
		at[MESSAGE_BYTES + 1] = 1;
		memcpy(at + MESSAGE_BYTES + 2, ip->config.ports[port].mac.byte, 6);
	}
	checksum = csum_finish(csum_add(csum_pseudo(src->byte, dst->byte, IP_ICMP6, message_bytes), at,
					message_bytes));
	memcpy(at + 2, &checksum, sizeof(checksum));
	memcpy(header.src, src->byte, 16);
	memcpy(header.dst, dst->byte, 16);
	ip6_emit(&header, pkt_prepend(p, IP6_HEADER_BYTES));
	frame_send(ip, port, dst_mac, ETH_TYPE_IP6, p);
}

void
nd_ask(struct ip *ip, uint8_t port, const struct ip_addr *address, const struct eth_addr *to)
{
	const struct ip_addr *own = port_address(ip, port, false);
	struct ip_addr group = nd_group_of(address);
	struct eth_addr mac = nd_group_mac(&group);

	if (own == NULL)
		return;
	send(ip, port, own, to != NULL ? address : &group, to != NULL ? to : &mac, ICMP6_SOLICITATION,
	     0, address);
}

void
nd_announce(struct ip *ip, uint8_t port, const struct ip_addr *address)
{
	struct eth_addr mac = nd_group_mac(&all_nodes);

	send(ip, port, address, &all_nodes, &mac, ICMP6_ADVERTISEMENT, FLAG_OVERRIDE, address);
}

/* Is somebody there already? Asked as nobody (RFC 4862 section 5.4.2). */
void
nd_probe(struct ip *ip, uint8_t port, const struct ip_addr *address)
{
	struct ip_addr nobody = { { 0 } };
	struct ip_addr group = nd_group_of(address);
	struct eth_addr mac = nd_group_mac(&group);

	send(ip, port, &nobody, &group, &mac, ICMP6_SOLICITATION, 0, address);
}

/* The MAC in the option of that kind. False: there is none. An option of length 0 ends the walk. */
static bool
find_option(struct bytes options, uint8_t kind, struct eth_addr *mac)
{
	while (options.len >= OPTION_BYTES) {
		size_t len = (size_t)options.ptr[1] * 8;

		if (len == 0 || len > options.len)
			return false;
		if (options.ptr[0] == kind) {
			memcpy(mac->byte, options.ptr + 2, 6);
			return !eth_is_group(mac);
		}
		bytes_advance(&options, len);
	}
	return false;
}

static void
solicited(struct ip *ip, uint8_t port, const struct ip_addr *target, const struct ip_addr *src,
	  const struct eth_addr *src_mac)
{
	struct eth_addr all_mac = nd_group_mac(&all_nodes);
	/* An anycast address is had by whom a station heard of first (RFC 4861 section 7.2.7). */
	uint8_t override = ip_is_anycast(ip, target) ? 0 : FLAG_OVERRIDE;

	/* From nobody: somebody tests whether the address is free (RFC 4862 5.4.3). */
	if (ip_is_zero(src))
		send(ip, port, target, &all_nodes, &all_mac, ICMP6_ADVERTISEMENT, override, target);
	else
		send(ip, port, target, src, src_mac, ICMP6_ADVERTISEMENT, FLAG_SOLICITED | override,
		     target);
}

static void
solicitation(struct ip *ip, struct neighbour_claim *claim, struct bytes options,
	     const struct ip_addr *target, const struct eth_addr *src_mac, bool listen_only,
	     uint64_t now_ns)
{
	if (!ip_is_local(ip, target))
		return;
	claim->create = true;
	if (ip_is_local(ip, &claim->address)) {
		ip_conflict(ip, &claim->address, true, now_ns);
		return;
	}
	if (!ip_is_zero(&claim->address)) {
		if (ip_is_bad_source(ip, &claim->address)) {
			ip->drops[ERR_ND_MALFORMED]++;
			return;
		}
		if (find_option(options, OPTION_SOURCE_MAC, &claim->mac))
			neighbour_learn(ip, claim, now_ns);
	}
	if (listen_only)
		return;
	if (neighbour_may_be_answered(ip, claim->port, &claim->address, src_mac, now_ns))
		solicited(ip, claim->port, target, &claim->address, src_mac);
	else
		ip->drops[ERR_IP_NEIGHBOUR_RATE]++;
}

static void
advertisement(struct ip *ip, struct neighbour_claim *claim, struct bytes options, uint8_t flags,
	      bool listen_only, uint64_t now_ns)
{
	if (ip_is_local(ip, &claim->address)) {
		if (ip_conflict(ip, &claim->address, listen_only, now_ns))
			nd_announce(ip, claim->port, &claim->address);
		return;
	}
	claim->solicited = (flags & FLAG_SOLICITED) != 0;
	claim->override = (flags & FLAG_OVERRIDE) != 0;
	if (find_option(options, OPTION_TARGET_MAC, &claim->mac))
		neighbour_learn(ip, claim, now_ns);
}

void
nd_input(struct ip *ip, uint8_t port, struct bytes message, const struct ip_addr *src,
	 const struct eth_addr *src_mac, bool listen_only, uint64_t now_ns)
{
	struct bytes options = bytes_after(message, MESSAGE_BYTES);
	struct neighbour_claim claim = { .port = port };
	struct ip_addr target;

	/* Routers' messages are of no interest: routes are configured (RFC 4861 section 6.3.4 asks hosts). */
	if (message.ptr[0] != ICMP6_SOLICITATION && message.ptr[0] != ICMP6_ADVERTISEMENT) {
		ip->drops[ERR_ND_ROUTER]++;
		return;
	}
	if (message.len < MESSAGE_BYTES || message.ptr[1] != 0) {
		ip->drops[ERR_ND_MALFORMED]++;
		return;
	}
	target = ip_from_v6(message.ptr + 8);
	claim.address = message.ptr[0] == ICMP6_SOLICITATION ? *src : target;
	if (message.ptr[0] == ICMP6_SOLICITATION)
		solicitation(ip, &claim, options, &target, src_mac, listen_only, now_ns);
	else
		advertisement(ip, &claim, options, message.ptr[4], listen_only, now_ns);
}

/* RFC 826 and the announcements of RFC 5227. */
#include "ip/internal.h"
#include "wire/arp.h"

static const struct eth_addr broadcast = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };

static void
send(struct ip *ip, uint8_t port, const struct eth_addr *to, const struct arp *arp)
{
	struct pkt *p = pkt_alloc(ip->pool);

	if (p == NULL) {
		ip->drops[ERR_POOL_EMPTY]++;
		return;
	}
	arp_emit(arp, pkt_append(p, ARP_BYTES));
	frame_send(ip, port, to, ETH_TYPE_ARP, p);
}

void
arp_ask(struct ip *ip, uint8_t port, const struct ip_addr *address, const struct eth_addr *to)
{
	const struct ip_addr *own = port_address(ip, port, true);
	struct arp arp = { .operation = ARP_REQUEST, .sender_mac = ip->config.ports[port].mac };

	if (own == NULL)
		return;
	memcpy(arp.sender_ip, own->byte + 12, 4);
	memcpy(arp.target_ip, address->byte + 12, 4);
	send(ip, port, to != NULL ? to : &broadcast, &arp);
}

void
arp_announce(struct ip *ip, uint8_t port, const struct ip_addr *address)
{
	struct arp arp = { .operation = ARP_REQUEST, .sender_mac = ip->config.ports[port].mac };

	memcpy(arp.sender_ip, address->byte + 12, 4);
	memcpy(arp.target_ip, address->byte + 12, 4);
	send(ip, port, &broadcast, &arp);
}

/* Is somebody there already? Asked as nobody, so that no cache changes (RFC 5227 section 2.1.1). */
void
arp_probe(struct ip *ip, uint8_t port, const struct ip_addr *address)
{
	struct arp arp = { .operation = ARP_REQUEST, .sender_mac = ip->config.ports[port].mac };

	memcpy(arp.target_ip, address->byte + 12, 4);
	send(ip, port, &broadcast, &arp);
}

static void
answer(struct ip *ip, uint8_t port, const struct arp *request)
{
	struct arp arp = { .operation = ARP_REPLY,
			   .sender_mac = ip->config.ports[port].mac,
			   .target_mac = request->sender_mac };

	memcpy(arp.sender_ip, request->target_ip, 4);
	memcpy(arp.target_ip, request->sender_ip, 4);
	send(ip, port, &request->sender_mac, &arp);
}

enum ip_what
arp_input(struct ip *ip, struct pkt *frame, const struct eth *eth, bool listen_only, uint64_t now_ns)
{
	uint8_t port = pkt_meta(frame)->port;
	struct neighbour_claim claim = { .port = port, .override = true };
	struct ip_addr target;
	struct arp arp;
	bool for_us;

	/* A sender that is a group, ourselves, or not who the frame says, teaches nothing (T16). */
	if (!arp_parse(bytes_make(pkt_data(frame), pkt_len(frame)), &arp) ||
	    eth_is_group(&arp.sender_mac) || !eth_equal(&arp.sender_mac, &eth->src))
		return ip_drop(ip, frame, ERR_ARP_MALFORMED);
	claim.address = ip_from_v4(arp.sender_ip);
	claim.mac = arp.sender_mac;
	target = ip_from_v4(arp.target_ip);
	pkt_free(frame);
	for_us = ip_is_local(ip, &target);
	claim.create = for_us && arp.operation == ARP_REQUEST;
	claim.solicited = for_us && arp.operation == ARP_REPLY;
	if (ip_is_local(ip, &claim.address)) {
		if (ip_conflict(ip, &claim.address, listen_only, now_ns))
			arp_announce(ip, port, &claim.address);
		return IP_NOTHING;
	}
	neighbour_learn(ip, &claim, now_ns);
	if (arp.operation != ARP_REQUEST || !for_us || listen_only)
		return IP_NOTHING;
	if (neighbour_may_be_answered(ip, port, &claim.address, &claim.mac, now_ns))
		answer(ip, port, &arp);
	else
		ip->drops[ERR_IP_NEIGHBOUR_RATE]++;
	return IP_NOTHING;
}

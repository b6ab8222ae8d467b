/* RFC 826 for one hardware and one protocol. */
#include "wire/arp.h"

#include "wire/order.h"

#define HARDWARE_ETHERNET 1

bool
arp_parse(struct bytes packet, struct arp *arp)
{
	const uint8_t *at = packet.ptr;

	if (packet.len < ARP_BYTES || order_get16(at) != HARDWARE_ETHERNET ||
	    order_get16(at + 2) != ETH_TYPE_IP4 || at[4] != 6 || at[5] != 4)
		return false;
	arp->operation = order_get16(at + 6);
	memcpy(arp->sender_mac.byte, at + 8, 6);
	memcpy(arp->sender_ip, at + 14, 4);
	memcpy(arp->target_mac.byte, at + 18, 6);
	memcpy(arp->target_ip, at + 24, 4);
	return arp->operation == ARP_REQUEST || arp->operation == ARP_REPLY;
}

void
arp_emit(const struct arp *arp, uint8_t to[ARP_BYTES])
{
	order_put16(to, HARDWARE_ETHERNET);
	order_put16(to + 2, ETH_TYPE_IP4);
	to[4] = 6;
	to[5] = 4;
	order_put16(to + 6, arp->operation);
	memcpy(to + 8, arp->sender_mac.byte, 6);
	memcpy(to + 14, arp->sender_ip, 4);
	memcpy(to + 18, arp->target_mac.byte, 6);
	memcpy(to + 24, arp->target_ip, 4);
}

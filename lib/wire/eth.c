/* Two octets at a time, in network order. */
#include "wire/eth.h"

#include "wire/order.h"

#define VLAN_ID_MASK 0x0fff
/* Below it the field is a length (IEEE 802.3 section 3.2.6). */
#define TYPE_MIN 0x0600

bool
eth_parse(struct bytes frame, struct eth *eth)
{
	uint16_t type;

	if (frame.len < ETH_HEADER_BYTES)
		return false;
	memcpy(eth->dst.byte, frame.ptr, 6);
	memcpy(eth->src.byte, frame.ptr + 6, 6);
	type = order_get16(frame.ptr + 12);
	eth->vlan = 0;
	eth->header_bytes = ETH_HEADER_BYTES;
	if (type == ETH_TYPE_VLAN) {
		if (frame.len < ETH_HEADER_BYTES + ETH_VLAN_BYTES)
			return false;
		eth->vlan = order_get16(frame.ptr + 14) & VLAN_ID_MASK;
		eth->header_bytes = ETH_HEADER_BYTES + ETH_VLAN_BYTES;
		type = order_get16(frame.ptr + 16);
	}
	eth->type = type;
	return type >= TYPE_MIN && type != ETH_TYPE_VLAN;
}

uint8_t
eth_emit(const struct eth *eth, uint8_t to[ETH_HEADER_BYTES + ETH_VLAN_BYTES])
{
	memcpy(to, eth->dst.byte, 6);
	memcpy(to + 6, eth->src.byte, 6);
	if (eth->vlan == 0) {
		order_put16(to + 12, eth->type);
		return ETH_HEADER_BYTES;
	}
	order_put16(to + 12, ETH_TYPE_VLAN);
	order_put16(to + 14, eth->vlan);
	order_put16(to + 16, eth->type);
	return ETH_HEADER_BYTES + ETH_VLAN_BYTES;
}

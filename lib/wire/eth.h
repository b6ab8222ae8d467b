#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * eth: Ethernet II frames with at most one VLAN tag (IEEE 802.3, 802.1Q).
 *
 *   | destination 6 | source 6 | [0x8100 2 | tag 2] | type 2 | payload
 */
#define ETH_HEADER_BYTES 14
#define ETH_VLAN_BYTES 4

enum eth_type {
	ETH_TYPE_IP4 = 0x0800,
	ETH_TYPE_ARP = 0x0806,
	ETH_TYPE_VLAN = 0x8100,
	ETH_TYPE_IP6 = 0x86dd,
};

struct eth_addr {
	uint8_t byte[6];
};

struct eth {
	struct eth_addr dst;
	struct eth_addr src;
	uint16_t type;    /* behind the tag, if there is one */
	uint16_t vlan;    /* identifier 1-4094; 0: untagged */
	uint8_t header_bytes;
};

/* False: too short, two tags, or a length instead of a type. */
bool eth_parse(struct bytes frame, struct eth *eth);

/* Writes header_bytes at to, by vlan; returns them. */
uint8_t eth_emit(const struct eth *eth, uint8_t to[ETH_HEADER_BYTES + ETH_VLAN_BYTES]);

static inline bool
eth_is_group(const struct eth_addr *address)
{
	return (address->byte[0] & 1) != 0;
}

static inline bool
eth_equal(const struct eth_addr *a, const struct eth_addr *b)
{
	return memcmp(a->byte, b->byte, sizeof(a->byte)) == 0;
}

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "wire/eth.h"

/*
 * arp: Ethernet and IPv4 only (RFC 826).
 *
 *   | 1 | 0x0800 | 6 | 4 | operation | sender MAC, IP | target MAC, IP |   28 bytes
 */
#define ARP_BYTES 28

enum arp_operation { ARP_REQUEST = 1, ARP_REPLY = 2 };

struct arp {
	uint16_t operation;
	struct eth_addr sender_mac;
	uint8_t sender_ip[4];
	struct eth_addr target_mac;
	uint8_t target_ip[4];
};

bool arp_parse(struct bytes packet, struct arp *arp);
void arp_emit(const struct arp *arp, uint8_t to[ARP_BYTES]);

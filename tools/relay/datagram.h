#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "impair.h"

/* datagram: the IP packet in an Ethernet frame, as far as the relay has to look at it or change it. */

/* Where a bit may flip: behind the addresses that the two ends find each other by. */
#define DATAGRAM_CORRUPT_FROM 14

/* Room for the answer to a frame that is too big: 576 bytes of IPv4 or 1280 of IPv6, and the frame's header. */
#define DATAGRAM_ERROR_BYTES_MAX 1300

/* What the model wants to know; ARP and other protocols have no IP bytes. */
struct impair_frame datagram_look(struct bytes frame);

/* Sets "congestion experienced" (RFC 3168 section 5). */
void datagram_mark(uint8_t *frame, uint32_t len);

/* Makes the IPv4 header's checksum and TCP's fit what the frame says now, if lengths in it still make sense. */
void datagram_repair(uint8_t *frame, uint32_t len);

/*
 * The frame that a router with this MTU would answer to its sender: RFC 1191 section 4, RFC 4443 section 3.2.
 * It speaks as the frame's destination, since the relay has no address. 0: no answer is due (ICMP errors, no
 * IP, fragmentation allowed).
 */
uint32_t datagram_too_big(struct bytes frame, uint32_t mtu_bytes, uint8_t to[DATAGRAM_ERROR_BYTES_MAX]);

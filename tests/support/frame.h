#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "pkt/pkt.h"

/*
 * frame: Ethernet frames as the tests see them.
 *
 * A reader and writer of their own, byte by byte, independent of lib/wire, so that a mistake made there is
 * not made twice. Addresses are texts: "10.0.0.1", "fd00::1", "02:00:00:00:00:01".
 */
#define FRAME_BYTES_MAX 10000

struct frame {
	uint8_t bytes[FRAME_BYTES_MAX];
	size_t len;
};

struct ip_addr frame_address(const char *text);

/* Empties f and writes 14 bytes. type 0x86dd and so on. */
void frame_ethernet(struct frame *f, const char *dst, const char *src, uint16_t type);
void frame_append(struct frame *f, const void *data, size_t len);
void frame_append_hex(struct frame *f, const char *hex);

/* operation 1 asks, 2 answers. Sender and target as in the packet, to: of Ethernet. */
void frame_arp(struct frame *f, const char *to, uint16_t operation, const char *sender_mac,
	       const char *sender, const char *target);

/* Starts an IPv4 or IPv6 packet behind Ethernet; its lengths and checksums are filled in by frame_end(). */
void frame_ip(struct frame *f, const char *src, const char *dst, uint8_t protocol);

/* Right lengths, IPv4 header checksum, and checksum of TCP, ICMP and ICMPv6. For packets without options. */
void frame_end(struct frame *f);

/* From src to dst, right in every respect. */
void frame_echo(struct frame *f, const char *dst_mac, const char *src_mac, const char *src,
		const char *dst, size_t payload_bytes);
void frame_tcp(struct frame *f, const char *dst_mac, const char *src_mac, const char *src,
	       uint16_t src_port, const char *dst, uint16_t dst_port, size_t payload_bytes);
/* type 135 or 136; option_mac NULL: none. Hop limit 255. */
void frame_nd(struct frame *f, const char *dst_mac, const char *src_mac, const char *src,
	      const char *dst, uint8_t type, uint8_t flags, const char *target, const char *option_mac);

/* A piece of whole, which has no IPv4 options: len bytes from offset behind its IPv4 header, or behind that and
 * front_bytes of extension headers of IPv6, with the headers that a fragment has. */
void frame_fragment(struct frame *f, const struct frame *whole, size_t front_bytes, size_t offset,
		    size_t len, bool more, uint32_t id);

/* As a packet in pieces of first_bytes and the rest (0: in one), from port 0. */
struct pkt *frame_to_pkt(const struct frame *f, size_t first_bytes, struct pkt_pool *pool);

/* Flattens p, and frees it. */
void frame_from_pkt(struct frame *f, struct pkt *p);

/* "arp ask 10.0.0.1 for 10.0.0.2 to ff:ff:ff:ff:ff:ff", "echo-reply a > b", "ns", "na", "tcp a:1 > b:2",
 * "mld to-exclude :: > ff02::16 group ff02::1:ff00:1",
 * with " bad" behind it if a length or a checksum is wrong. */
void frame_describe(const struct frame *f, char *text, size_t room);

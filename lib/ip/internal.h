#pragma once

#include "ip/ip.h"

/* internal: what the files of lib/ip say to each other. */

/* Drops a packet with a name; every drop goes through here. */
enum ip_what ip_drop(struct ip *ip, struct pkt *p, enum err why);

/* --- neighbours (neighbour.c) ------------------------------------------------------------ */

/* What a peer said of itself. create: it may become a new entry. solicited: it answered us. */
void neighbour_learn(struct ip *ip, uint8_t port, const struct ip_addr *address,
		     const struct eth_addr *mac, bool create, bool solicited, uint64_t now_ns);

/* Sends p, which starts at its IP header, to the next hop; or keeps it until that has answered. */
void neighbour_send(struct ip *ip, uint8_t port, const struct ip_addr *next_hop, struct pkt *p,
		    uint64_t now_ns);
void neighbour_advance(struct ip *ip, uint64_t now_ns);

/* Puts Ethernet in front and queues the frame. */
void frame_send(struct ip *ip, uint8_t port, const struct eth_addr *dst, enum eth_type type,
		struct pkt *p);

/* --- questions and answers about neighbours ------------------------------------------------ */

/* "Who has address?" on the port; to NULL asks everyone, else that station. */
void arp_ask(struct ip *ip, uint8_t port, const struct ip_addr *address, const struct eth_addr *to);
void arp_announce(struct ip *ip, uint8_t port, const struct ip_addr *address);
enum ip_what arp_input(struct ip *ip, struct pkt *frame, const struct eth *eth, bool listen_only,
		       uint64_t now_ns);
void nd_ask(struct ip *ip, uint8_t port, const struct ip_addr *address, const struct eth_addr *to);
void nd_announce(struct ip *ip, uint8_t port, const struct ip_addr *address);

/* message: the ICMPv6 message, checksum and hop limit verified. */
void nd_input(struct ip *ip, uint8_t port, struct bytes message, const struct ip_addr *src,
	      const struct eth_addr *src_mac, bool listen_only, uint64_t now_ns);

/* --- icmp.c ---------------------------------------------------------------------------------- */

/* p starts at the ICMP header; takes it. */
enum ip_what icmp4_input(struct ip *ip, struct pkt *p, bool listen_only, uint64_t now_ns,
			 struct ip_received *received);
enum ip_what icmp6_input(struct ip *ip, struct pkt *p, const struct eth *eth, uint8_t hop_limit,
			 bool has_extensions, bool listen_only, uint64_t now_ns,
			 struct ip_received *received);

/* The segment that an ICMP error quotes. False: not one of TCP. */
bool icmp_quoted(struct bytes quote, bool is_v6, struct ip_received *received);

/* True if one more message may be made now. */
bool icmp_allowed(struct ip *ip, uint64_t now_ns);

/* Puts an IP header in front and sends it by route; p starts at its upper header. */
void ip_send(struct ip *ip, struct pkt *p, enum ip_protocol protocol, uint8_t hop_limit,
	     uint64_t now_ns);

/* A port's own address of the family, or NULL. */
const struct ip_addr *port_address(const struct ip *ip, uint8_t port, bool v4);

/* ff02::1:ffXX:XXXX of an address (RFC 4291 2.7.1). */
struct ip_addr nd_group_of(const struct ip_addr *address);

#pragma once

#include "ip/ip.h"
#include "wire/ip6.h"

/* internal: what the files of lib/ip say to each other. */

/* Drops a packet with a name; every drop goes through here. */
enum ip_what ip_drop(struct ip *ip, struct pkt *p, enum err why);

/* True if one more message of that kind may be made now. */
bool ip_rate_allows(const struct ip *ip, uint64_t *full_at_ns, uint64_t now_ns);

/* Another station says that it has an address of ours. Counts it, unless others may have it too; true if it
 * should be contradicted. */
bool ip_conflict(struct ip *ip, const struct ip_addr *address, bool listen_only, uint64_t now_ns);

/* An address of ours that others have too: nobody is asked or told about it. */
bool ip_is_anycast(const struct ip *ip, const struct ip_addr *address);

/* A source that nobody can answer, or that is ours. */
bool ip_is_bad_source(const struct ip *ip, const struct ip_addr *address);

/* Addresses that others choose spread over a table by this. */
uint64_t ip_hash(const struct ip *ip, const struct ip_addr *address);

/* The port towards dst. False: no route. */
bool ip_port_to(const struct ip *ip, const struct ip_addr *dst, uint8_t *port);

/* A station of that address could be reached over the port without a gateway, or is the gateway. */
bool ip_is_neighbour(const struct ip *ip, uint8_t port, const struct ip_addr *address);
bool ip_is_gateway(const struct ip *ip, const struct ip_addr *address);

/* --- neighbours (neighbour.c) ------------------------------------------------------------ */

/* What a station said of itself. */
struct neighbour_claim {
	struct ip_addr address;
	struct eth_addr mac;
	uint8_t port;
	bool create;    /* it may become a new entry: it wants to speak with us */
	bool solicited; /* it says that it answers us */
	bool override;  /* an answer may replace another MAC (RFC 4861 section 4.4) */
};

void neighbour_learn(struct ip *ip, const struct neighbour_claim *claim, uint64_t now_ns);

/* Sends p, which starts at its IP header, to the next hop; or keeps it until that has answered. */
void neighbour_send(struct ip *ip, uint8_t port, const struct ip_addr *next_hop, struct pkt *p,
		    uint64_t now_ns);
void neighbour_advance(struct ip *ip, uint64_t now_ns);

/* Whether a question from address, which mac asks on the port, may be answered now. */
bool neighbour_may_be_answered(struct ip *ip, uint8_t port, const struct ip_addr *address,
			       const struct eth_addr *mac, uint64_t now_ns);

/* What was sent over it has arrived. */
void neighbour_confirm(struct ip *ip, const struct ip_addr *address, uint64_t now_ns);
void neighbour_link_up(struct ip *ip, uint8_t port);

/* Puts Ethernet in front and queues the frame. */
void frame_send(struct ip *ip, uint8_t port, const struct eth_addr *dst, enum eth_type type,
		struct pkt *p);

/* --- questions and answers about neighbours ------------------------------------------------ */

/* "Who has address?" on the port; to NULL asks everyone, else that station. */
void arp_ask(struct ip *ip, uint8_t port, const struct ip_addr *address, const struct eth_addr *to);
void arp_announce(struct ip *ip, uint8_t port, const struct ip_addr *address);
void arp_probe(struct ip *ip, uint8_t port, const struct ip_addr *address);
enum ip_what arp_input(struct ip *ip, struct pkt *frame, const struct eth *eth, bool listen_only,
		       uint64_t now_ns);
void nd_ask(struct ip *ip, uint8_t port, const struct ip_addr *address, const struct eth_addr *to);
void nd_announce(struct ip *ip, uint8_t port, const struct ip_addr *address);
void nd_probe(struct ip *ip, uint8_t port, const struct ip_addr *address);

/* message: the ICMPv6 message, checksum and hop limit verified. */
void nd_input(struct ip *ip, uint8_t port, struct bytes message, const struct ip_addr *src,
	      const struct eth_addr *src_mac, bool listen_only, uint64_t now_ns);

/* --- fragments (fragment.c) ------------------------------------------------------------------ */

/* What the headers say of a fragment. */
struct fragment {
	uint32_t id;
	uint8_t protocol; /* of IPv4; else 0 */
	bool more;
	uint16_t offset; /* in bytes */
	/* Headers pulled away from in front of it: Ethernet's, and IP's with IPv6's fragment header, which
	 * stands at header_at of these and is named by the byte at next_at. */
	uint16_t eth_bytes;
	uint16_t ip_bytes;
	uint16_t header_at;
	uint16_t next_at;
};

/* Takes p, which starts at its piece of the datagram; meta has src and dst, checked. */
enum ip_what fragment_input(struct ip *ip, struct pkt *p, const struct fragment *fragment,
			    uint64_t now_ns, struct ip_received *received);
void fragment_advance(struct ip *ip, uint64_t now_ns);
void fragment_forget_all(struct ip *ip);

/* --- icmp.c ---------------------------------------------------------------------------------- */

/* p starts at the ICMP header; takes it. */
enum ip_what icmp4_input(struct ip *ip, struct pkt *p, const struct eth *eth, bool listen_only,
			 uint64_t now_ns, struct ip_received *received);
enum ip_what icmp6_input(struct ip *ip, struct pkt *p, const struct eth *eth,
			 const struct ip6 *header, bool listen_only, uint64_t now_ns,
			 struct ip_received *received);

/* Tells who sent p, which starts at its IPv6 header, what is wrong there; p stays the caller's. meta has src
 * and dst, from one station to one of ours. */
void icmp6_send_problem(struct ip *ip, const struct pkt *p, const struct ip6 *header, uint64_t now_ns);

/* The segment that an ICMP error quotes. False: not one of TCP. */
bool icmp_quoted(struct bytes quote, bool is_v6, struct ip_received *received);

/* --- multicast listeners (mld.c) ----------------------------------------------------------------- */

enum mld_record { MLD_IS_EXCLUDE = 2, MLD_TO_EXCLUDE = 4 };

/* Says in which groups the port is: those that questions about its addresses go to. */
void mld_report(struct ip *ip, uint8_t port, enum mld_record kind);

/* message: a query, checksum verified. It is answered in a while. */
void mld_query(struct ip *ip, uint8_t port, struct bytes message, const struct ip_addr *src,
	       const struct ip6 *header, uint64_t now_ns);
void mld_advance(struct ip *ip, uint64_t now_ns);

/* --- sending ---------------------------------------------------------------------------------- */

/* Puts an IP header in front and sends it by route; p starts at its upper header. */
void ip_send(struct ip *ip, struct pkt *p, enum ip_protocol protocol, uint8_t hop_limit,
	     uint64_t now_ns);

/* A port's own address of the family, not a link-local one if there is another; or NULL. */
const struct ip_addr *port_address(const struct ip *ip, uint8_t port, bool v4);

/* ff02::1:ffXX:XXXX of an address (RFC 4291 2.7.1), and a group's MAC (RFC 2464 section 7). */
struct ip_addr nd_group_of(const struct ip_addr *address);
struct eth_addr nd_group_mac(const struct ip_addr *group);

#define ND_HOP_LIMIT 255 /* routers make it less: who sent it is on this link (RFC 4861 section 6.1.1) */

/* Discovery never passes a router and never comes in pieces (RFC 4861 section 6.1, RFC 6980). */
bool icmp6_is_discovery(uint8_t type);

bool ip_is_link_local(const struct ip_addr *address);

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/units.h"
#include "pkt/pkt.h"
#include "wire/eth.h"
#include "wire/ip4.h"

/*
 * ip: Ethernet, ARP, ND, IPv4, IPv6 and ICMP of one worker: frames in, TCP segments up; segments down,
 * frames out. Static addresses and routes.
 *
 * Owner:  one struct ip per worker, in the caller's memory. Workers do not share neighbours: a frame that
 *         teaches one is shown to all (ip_peek).
 * Thread: that worker only.
 * Time:   now_ns is the worker's loop clock, monotonic.
 * Memory: fixed, below; packets wait for a neighbour, and pieces of datagrams for each other, in bounded numbers.
 *         What is made here comes from the pool given at start.
 * Errors: none are returned. What is dropped is counted in drops[] by the name of the reason.
 * Order:  addresses are in network order, as bytes; IPv4's are mapped (pkt.h). All numbers are in host order.
 */

#define IP_PORTS_MAX 4
#define IP_ADDRESSES_MAX 8      /* per port */
#define IP_NEIGHBOURS 1024      /* slots; a power of two */
#define IP_NEIGHBOUR_PROBES 8   /* slots that an address may stand in */
#define IP_NEIGHBOUR_QUEUE_MAX 4 /* packets that wait for one (RFC 4861 7.2.2 asks for one at least) */
#define IP_ANNOUNCEMENTS 3      /* gratuitous ARP and unsolicited NA at start */
/* No path is taken to be narrower, whatever is said of it (RFC 8200 section 5; RFC 1191 section 3 lets IPv4's be
 * 68, which would make of each message a flood of its own; 552 is what others take). */
#define IP_PATH_MTU_MIN_V4 552
#define IP_PATH_MTU_MIN_V6 1280

/* Destinations whose path is known to be narrower than its port, of one worker. */
#define IP_PATHS 256      /* a power of two */
#define IP_PATH_PROBES 4  /* slots that a destination may stand in */
#define IP_PATH_NS (600 * NSEC_PER_SEC) /* then it is tried wide again (RFC 8201 section 4) */

/* Datagrams that arrive in fragments, of one worker. Held pieces are receive buffers. */
#define IP_DATAGRAMS 64
#define IP_DATAGRAM_BYTES_MAX 16384 /* behind its headers: a jumbo frame's content and more */
#define IP_FRAGMENTS_MAX 16         /* of one datagram */
#define IP_FRAGMENT_BUFFERS_MAX 256 /* of all */
#define IP_DATAGRAM_WAIT_NS (5 * NSEC_PER_SEC)
/* Of each kind that others can make us send: echo replies, ICMP errors, answers and questions about neighbours.
 * As many may go at once. */
#define IP_RATE_PER_SECOND 1000

struct ip_address {
	struct ip_addr address;
	uint8_t prefix_bits; /* of 128: an IPv4 /24 is 120 */
};

struct ip_port {
	struct eth_addr mac;
	uint16_t vlan; /* 0: untagged */
	uint16_t mtu_bytes;
	uint32_t address_count;
	struct ip_address addresses[IP_ADDRESSES_MAX];
	/* Bit i: others have addresses[i] too: no duplicate detection, no announcements, no conflicts. */
	uint32_t anycast;
	struct ip_addr gateway_v4; /* all zero: none */
	struct ip_addr gateway_v6;
};

struct ip_config {
	uint32_t port_count;
	struct ip_port ports[IP_PORTS_MAX];
	uint64_t hash_key; /* random: neighbours are chosen by peers */
	uint32_t rate_per_second; /* 0: IP_RATE_PER_SECOND */
	uint16_t path_mtu_min_v4; /* 0: IP_PATH_MTU_MIN_V4 */
	bool announce;     /* this worker says at start where we are, and asks whether somebody else is */
};

enum ip_neighbour_state {
	IP_NEIGHBOUR_FREE,
	IP_NEIGHBOUR_INCOMPLETE,
	IP_NEIGHBOUR_REACHABLE,
	IP_NEIGHBOUR_STALE,
	IP_NEIGHBOUR_DELAY,
	IP_NEIGHBOUR_PROBE,
	IP_NEIGHBOUR_SILENT, /* never answered: not asked again for a while */
};

struct ip_neighbour {
	struct ip_addr address;
	struct eth_addr mac;
	uint8_t state; /* enum ip_neighbour_state */
	uint8_t port;
	uint8_t tries;
	bool is_doubted;  /* someone else claims the address: mac is asked, then everyone */
	uint64_t at_ns;   /* when the state's time is over; NEVER_NS: it has none */
	uint64_t used_ns; /* last time a packet went there; 0: none did */
	uint64_t believe_until_ns; /* other claims are not looked at before */
	uint64_t answer_at_ns;     /* it is answered beside the rate from then on */
	struct pkt_queue waiting;
};

struct ip_path {
	struct ip_addr dst;
	uint64_t until_ns; /* 0: free */
	uint16_t mtu_bytes;
};

/* Next hops that were confirmed lately: another time within a second changes nothing. */
#define IP_CONFIRMED 16 /* a power of two */
struct ip_confirmed {
	struct ip_addr next_hop;
	uint64_t until_ns;
};

/* A datagram of which some pieces are here. */
struct ip_datagram {
	struct ip_addr src;
	struct ip_addr dst;
	uint32_t id;
	uint8_t protocol; /* of IPv4, where it belongs to the key (RFC 791); else 0 */
	uint8_t count;
	bool is_dead;         /* its pieces contradicted each other: what else comes is dropped */
	uint32_t total_bytes; /* of all pieces; 0: the last one is not here */
	uint32_t have_bytes;
	uint64_t until_ns;    /* 0: free */
	struct pkt *pieces;   /* by offset, in meta.mark; linked by meta.queue_next */
	/* of the first piece */
	uint16_t eth_bytes;
	uint16_t ip_bytes;  /* in front of it, a fragment header of IPv6 included */
	uint16_t header_at; /* IPv6: the fragment header in these, and the byte that names it */
	uint16_t next_at;
};

struct ip_datagrams {
	uint32_t buffers; /* held by all */
	uint64_t next_at_ns;
	struct ip_datagram each[IP_DATAGRAMS];
};

struct ip {
	struct ip_config config;
	struct pkt_pool *pool; /* for what we make ourselves */
	struct pkt_queue out;
	uint64_t announce_at_ns;
	uint32_t announcements;
	/* Rates of what others can make us send, each as the theoretical arrival time of GCRA. */
	uint64_t echoes_full_at_ns;
	uint64_t problems_full_at_ns;
	uint64_t answers_full_at_ns;
	uint64_t questions_full_at_ns;
	uint64_t defended_at_ns; /* last time we contradicted who claims an address of ours */
	uint64_t report_at_ns[IP_PORTS_MAX]; /* a query about multicast groups is answered then */
	uint64_t next_at_ns;      /* earliest of all neighbours' moments, or earlier */
	struct ip_neighbour neighbours[IP_NEIGHBOURS];
	struct ip_datagrams datagrams;
	struct ip_path paths[IP_PATHS];
	struct ip_confirmed confirmed[IP_CONFIRMED];
	uint64_t drops[ERR_COUNT];
};

/* config is copied; it has at least one port. pool: for questions, answers and errors of ours, whose frames fit
 * into one of its packets. */
void ip_init(struct ip *ip, const struct ip_config *config, struct pkt_pool *pool, uint64_t now_ns);

/* Frees the packets that wait: to be sent, for a neighbour, for their other pieces. */
void ip_fini(struct ip *ip);

/* --- input --------------------------------------------------------------------------- */

/* What a frame is to a set of workers, seen without changing anything. */
enum ip_peek_kind {
	IP_PEEK_LOCAL,    /* any worker may handle it */
	IP_PEEK_FLOW,     /* belongs to the owner of `src`, `dst`, ports (as on received segments); those of
			   * a fragment are its datagram's number, so that all of them meet */
	IP_PEEK_EVERYONE, /* teaches a neighbour: one worker answers, all listen */
};

struct ip_peek {
	enum ip_peek_kind kind;
	struct ip_addr src;
	struct ip_addr dst;
	uint16_t src_port;
	uint16_t dst_port;
};

/* Reads the first segment of frame. What does not parse is IP_PEEK_LOCAL: any worker may drop it. */
void ip_peek(const struct pkt *frame, struct ip_peek *peek);

enum ip_what {
	IP_NOTHING, /* consumed or dropped */
	IP_SEGMENT, /* a TCP segment for tcp_input() */
	IP_ERROR,   /* an ICMP error about a segment of ours, for tcp_icmp() */
	IP_FRAME,   /* fragments became a whole frame: to be received again, maybe by another worker */
};

struct ip_received {
	struct pkt *segment; /* with IP_SEGMENT: starts at the TCP header, meta filled */
	struct pkt *frame;   /* with IP_FRAME: as if it had come from meta.port; never a fragment */
	/* with IP_ERROR: the quoted segment, as we sent it */
	struct ip_addr local;
	struct ip_addr remote;
	uint16_t local_port;
	uint16_t remote_port;
	uint32_t quoted_seq;
	bool hard;
	uint32_t mtu_bytes; /* 0: not about that */
};

/* Takes the frame; meta.port says where it came from. listen_only: learn from it, answer nothing (another
 * worker does). */
enum ip_what ip_input(struct ip *ip, struct pkt *frame, bool listen_only, uint64_t now_ns,
		      struct ip_received *received);

/* --- output ---------------------------------------------------------------------------- */

/* Takes a packet that starts at its TCP header, with meta.src, dst, ecn; the frame follows in
 * ip_transmit_next(), maybe after the neighbour has answered. */
void ip_output(struct ip *ip, struct pkt *segment, uint64_t now_ns);

/* The next frame to send, meta.port set; NULL when there is none. */
struct pkt *ip_transmit_next(struct ip *ip);

/* What was sent to dst has arrived there, so its next hop is alive (RFC 4861 section 7.3.1). Cheap enough
 * for each acknowledgment. */
void ip_confirm(struct ip *ip, const struct ip_addr *dst, uint64_t now_ns);

/* A port's link came up, maybe to another switch: addresses are announced again, neighbours checked. */
void ip_link_up(struct ip *ip, uint8_t port, uint64_t now_ns);

/* Timers and announcements; what they say follows in ip_transmit_next(). Once per loop. */
void ip_advance(struct ip *ip, uint64_t now_ns);

/* When ip_advance() must run next; NEVER_NS if nothing is due. */
uint64_t ip_next_at(const struct ip *ip);

/* --- questions --------------------------------------------------------------------------- */

/* One of the addresses of our ports. */
bool ip_is_local(const struct ip *ip, const struct ip_addr *address);

/* The address of ours that a connection to dst starts from; false: no route. */
bool ip_source_for(const struct ip *ip, const struct ip_addr *dst, struct ip_addr *source);

/* What the port towards dst carries, and what the whole path is known to carry. Without a route, the least. */
struct ip_mtu {
	uint16_t link_bytes;
	uint16_t path_bytes; /* <= link_bytes */
};

struct ip_mtu ip_mtu_to(const struct ip *ip, const struct ip_addr *dst, uint64_t now_ns);

/* Packets to dst of more than mtu_bytes get lost: believed for IP_PATH_NS, but not below IP_PATH_MTU_MIN_*. The
 * caller has checked that who says so has seen a packet of ours (RFC 5927). */
void ip_path_narrowed(struct ip *ip, const struct ip_addr *dst, uint32_t mtu_bytes, uint64_t now_ns);

static inline bool
ip_is_v4(const struct ip_addr *a)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

	return memcmp(a->byte, mapped, sizeof(mapped)) == 0;
}

static inline struct ip_addr
ip_from_v4(const uint8_t v4[4])
{
	struct ip_addr a = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff } };

	memcpy(a.byte + 12, v4, 4);
	return a;
}

static inline struct ip_addr
ip_from_v6(const uint8_t v6[16])
{
	struct ip_addr a;

	memcpy(a.byte, v6, 16);
	return a;
}

static inline bool
ip_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return memcmp(a->byte, b->byte, sizeof(a->byte)) == 0;
}

static inline bool
ip_is_zero(const struct ip_addr *a)
{
	static const struct ip_addr zero;

	return ip_equal(a, &zero);
}

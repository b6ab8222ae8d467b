#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/units.h"
#include "pkt/pkt.h"

/*
 * tcp: the connection engine of one worker (RFC 9293 and the list in README.md).
 *
 * Segments and time come in, segments and events come out. Input never sends,
 * but an ACK for each segment out of order, and never calls up: consequences are
 * collected, tcp_output_ready() sends once per touched connection,
 * tcp_event_next() then tells what happened.
 *
 * Owner:  one struct tcp per worker; all of it lives in the caller's memory.
 * Thread: that worker only; the calls that struct tcp_config has for the layers below are made on it too.
 * Time:   now_ns is the worker's loop clock, monotonic. Calls without it take that of the call before.
 * Memory: sized once from struct tcp_config (tcp_bytes); nothing is allocated later but
 *         packets, from the two pools given at start.
 * Errors: calls return the verdicts named beside them; TCP_EVENT_ERROR has one of ERR_TCP_RESET, _REFUSED,
 *         _TIMEOUT, _UNREACHABLE (as ICMP said) and _SHED. Everything else that is wrong
 *         with a call is our mistake, and a CHECK.
 * Limits: struct tcp_config, and the first part of internal.h; the table "Bounds" of README.md.
 */
struct tcp;

/* A connection: index and generation. 0 is no connection. Stale handles fail a CHECK in the
 * calls below, except where they say otherwise. */
typedef uint64_t tcp_conn_t;

struct tcp_tuple {
	struct ip_addr local;
	struct ip_addr remote;
	uint16_t local_port;
	uint16_t remote_port;
};

/*
 * What connections of one kind of peer are granted. Each connection has the number of one of these:
 * TCP_POLICY_ACCEPTED or TCP_POLICY_CONNECTED until tcp_set_policy() chooses another. 0 takes what struct
 * tcp_config says for all, or the default named there.
 */
struct tcp_policy {
	uint32_t recv_bytes_start; /* window at first: 64 KiB accepted, 256 KiB connected */
	uint32_t recv_bytes_max;   /* grows to this while the owner keeps up */
	uint64_t user_timeout_ns;
	uint64_t keepalive_ns;
	uint64_t keepalive_step_ns; /* between unanswered probes: 15 s */
	uint32_t keepalive_probes;  /* unanswered ones that end the connection: 4; at most 255 */
};

enum {
	TCP_POLICY_ACCEPTED,
	TCP_POLICY_CONNECTED,
	TCP_POLICIES_MAX = 4,
};

/* A pool whose emptiness is pressure. */
struct tcp_watched_pool {
	struct pkt_pool *pool; /* NULL: none */
	uint32_t held;         /* packets that the rings of ports have at all times */
};

#define TCP_WATCHED_POOLS_MAX 4

enum tcp_congestion {
	TCP_CONGESTION_CUBIC,
	TCP_CONGESTION_NEWRENO, /* a yardstick for tests */
};

/* Bytes of an IP packet. */
struct tcp_mtu {
	uint16_t link_bytes;
	uint16_t path_bytes; /* <= link_bytes */
};

struct tcp_config {
	/* capacity */
	uint32_t conns_max;     /* full connections */
	uint32_t half_open_max; /* SYN received; beyond it cookies alone carry the handshake */
	uint32_t time_wait_max; /* beyond it the oldest leaves early, counted */
	uint32_t ranges_max;    /* sent or queued pieces, and received runs, of all connections */
	/* what is in flight, 256 bytes each: one per connection with data in flight and one per 15 segments of it.
	 * 0: two per connection, but no more than ranges can use, and one per 15 ranges */
	uint32_t blocks_max;
	/* segment sizes: MTU minus IP and TCP headers of the egress interface, no options */
	uint16_t mss_v4;
	uint16_t mss_v6;
	/* Ports that finish what we begin. checksum_offload: segments leave with PKT_CSUM_PSEUDO. tso_bytes_max: a
	 * packet may have this much payload, and meta.tso_mss says where it is cut; in at most tso_pieces_max
	 * pieces behind its header. 0: one packet per segment. */
	bool checksum_offload;
	uint32_t tso_bytes_max;
	uint16_t tso_pieces_max;
	/* per connection */
	uint32_t recv_bytes_max; /* largest window, <= 32 MiB; it begins smaller */
	uint32_t send_bytes_max; /* tcp_send_room() at most: unsent + unacknowledged */
	uint8_t window_shift;    /* RFC 7323 shift that we offer, <= 14 */
	/* policy; 0 means the default beside it */
	uint64_t user_timeout_ns;  /* no ACK progress with data out: 30 s */
	uint64_t delayed_ack_ns;   /* 25 ms */
	uint64_t keepalive_ns;     /* idle before the first probe; 0 = off */
	uint64_t time_wait_ns;     /* 60 s */
	uint64_t fin_wait_ns;      /* orphan FIN-WAIT-2: 60 s */
	uint64_t rto_min_ns;       /* 200 ms */
	uint32_t syn_acks_max;     /* retransmissions of a half-open SYN-ACK: 5 */
	uint16_t path_mtu_min_v4;  /* no ICMP error is believed below it: 552 */
	enum tcp_congestion congestion;
	uint16_t peer_mss_min;     /* a SYN that offers less is dropped (CVE-2019-11479): none, it counts as 48 */
	uint32_t orphans_max;      /* closed here, not yet there; beyond it the oldest is reset: conns_max / 4 */
	bool ecn_connect;          /* ask for ECN when we open (RFC 3168): not; who asks us gets it */
	uint16_t ephemeral_port_min; /* 16384 */
	uint16_t ephemeral_port_max; /* 65535 */
	struct tcp_policy policies[TCP_POLICIES_MAX];
	/* pressure (pressure.c): the pool that is fullest, or memory pinned by received data; 0: not watched */
	struct tcp_watched_pool watched_pools[TCP_WATCHED_POOLS_MAX];
	uint64_t recv_truesize_max;
	/* secrets: random per boot. cookie_key must be equal in all workers of a process. */
	uint8_t hash_key[16];   /* table, RFC 6528 ISN, timestamps */
	uint8_t cookie_key[16]; /* SYN cookies */
	uint64_t seed;          /* of the generator that picks ports */
	/* Added to each initial number that we choose. Tests begin where numbers wrap; 0 elsewhere, or equal
	 * in all workers, since cookies carry it. */
	uint32_t isn_offset;
	/* Steering: true if this worker will receive packets of the tuple. NULL: every tuple is ours.
	 * Asked for each candidate port of an active open. */
	bool (*is_mine)(const struct tcp_tuple *tuple, void *owner);
	/* Paths, each NULL or the layer below. mtu: what the way to remote carries; its link decides the MSS that
	 * we announce, all of it how large a new connection's segments are. NULL: mss_v4 and mss_v6 do both. */
	struct tcp_mtu (*mtu)(const struct ip_addr *remote, uint64_t now_ns, void *owner);
	/* Packets of more than mtu_bytes get lost on the way to remote: an error that quotes what is in flight
	 * says so. Silence after large segments narrows their own connection only: it may have been an outage. */
	void (*path_narrowed)(const struct ip_addr *remote, uint32_t mtu_bytes, uint64_t now_ns, void *owner);
	/* What was sent to remote has arrived: for each acknowledgment of something new. */
	void (*path_works)(const struct ip_addr *remote, uint64_t now_ns, void *owner);
	void *owner;
};

/* Bytes that tcp_init() needs, 64-byte aligned. */
size_t tcp_bytes(const struct tcp_config *config);

/* The same as a sum that can be printed: what is held, how many, how large each, and all of them with what
 * their pool keeps for each. Returns tcp_bytes(). What an object costs all in is its size, 4 bytes of its pool
 * and a share of the table: TCP_REF_SHARE_BYTES. */
enum tcp_part_index {
	TCP_PART_ENGINE,
	TCP_PART_TABLE,
	TCP_PART_CONNS,
	TCP_PART_HALF_OPEN,
	TCP_PART_TIME_WAIT,
	TCP_PART_RANGES,
	TCP_PART_BLOCKS,
	TCP_PARTS
};

struct tcp_part {
	const char *name;
	uint32_t count;
	uint32_t each_bytes;
	size_t bytes;
};

#define TCP_REF_SHARE_BYTES 9.6

size_t tcp_parts(const struct tcp_config *config, struct tcp_part parts[TCP_PARTS]);

/* Builds a stack inside memory of tcp_bytes(config). header_pool gives packets with room for
 * headers and small payloads, bare_pool gives bodies for pkt_attach(). */
struct tcp *tcp_init(void *memory, const struct tcp_config *config, struct pkt_pool *header_pool,
		     struct pkt_pool *bare_pool, uint64_t now_ns);

/* Drops every connection without a word on the wire and frees all packets held. */
void tcp_fini(struct tcp *t);

/* --- packets ------------------------------------------------------------ */

/*
 * One received segment. p's data starts at the TCP header and ends with its payload (padding
 * already trimmed); pkt_meta has src, dst, ecn and l4_csum. Takes p. The verdict names why it was
 * dropped (already counted by tcp) or is ERR_OK.
 */
enum err tcp_input(struct tcp *t, struct pkt *p, uint64_t now_ns);

/* The same for each of up to TCP_INPUT_BURST_MAX, in their order: what a loop received at once is handled at a
 * fraction of the cost when there are many connections. */
#define TCP_INPUT_BURST_MAX 64
void tcp_input_burst(struct tcp *t, struct pkt *const *packets, uint32_t count, uint64_t now_ns);

/* An ICMP error quoting a segment of ours (addresses as we sent it), believed if that is in flight (RFC 5927
 * section 4.1). hard: port or protocol unreachable, which ends a connection in SYN-SENT; anything else is only
 * remembered as the reason of a later timeout (RFC 5461). mtu_bytes: 0 or the path MTU that the error reports. */
void tcp_icmp(struct tcp *t, const struct tcp_tuple *tuple, uint32_t quoted_seq, bool hard,
	      uint32_t mtu_bytes, uint64_t now_ns);

/* Fires what is due. Call once per loop, before tcp_output_ready(). */
void tcp_advance(struct tcp *t, uint64_t now_ns);

/* Runs output once for each connection touched since the last call. */
void tcp_output_ready(struct tcp *t, uint64_t now_ns);

/* Next segment to send, TCP header in front and checksum filled in (or as meta.l4_csum says), meta has src,
 * dst, ecn, l4_bytes and tso_mss. The caller owns it. NULL when there is none. */
struct pkt *tcp_transmit_next(struct tcp *t);

/* When tcp_advance() must run next; NEVER_NS if nothing is armed. */
uint64_t tcp_next_at(const struct tcp *t);

/* --- connections --------------------------------------------------------- */

/* Accepts connections to a local port on a local address (all zero: any). user comes back in
 * tcp_event.listener_user. ERR_TCP_IN_USE: port 0, or one that is listened on there already. ERR_TCP_LISTENERS:
 * there are TCP_LISTENERS_MAX. */
#define TCP_LISTENERS_MAX 16
enum err tcp_listen(struct tcp *t, const struct ip_addr *local, uint16_t port, uint64_t user);

/* The end of that: handshakes that are not complete are given up, connections stay. ERR_TCP_NO_LISTENER. */
enum err tcp_unlisten(struct tcp *t, const struct ip_addr *local, uint16_t port);

/* Active open. tuple->local_port 0: a port is chosen (random, free, is_mine; RFC 6056). On success *conn is
 * set; TCP_EVENT_CONNECTED or TCP_EVENT_ERROR follows. ERR_TCP_ADDRESS: an address that nobody can have, or
 * port 0. ERR_TCP_IN_USE: that tuple is. ERR_TCP_NO_PORT: TCP_PORT_TRIES_MAX candidates are. ERR_POOL_EMPTY:
 * there are conns_max. */
enum err tcp_connect(struct tcp *t, const struct tcp_tuple *tuple, uint64_t user, tcp_conn_t *conn,
		     uint64_t now_ns);

/* The connection follows config.policies[policy] from now on. A window that was larger stays: what was promised
 * is kept. */
void tcp_set_policy(struct tcp *t, tcp_conn_t conn, uint32_t policy);

/* The caller's word that comes back in each event of the connection. */
void tcp_set_user(struct tcp *t, tcp_conn_t conn, uint64_t user);

/* Next piece of received, in-order stream, or NULL. The caller owns the packet; its data is payload
 * only. The window opens by tcp_consumed(), not by this. */
struct pkt *tcp_take(struct tcp *t, tcp_conn_t conn);

/* What was taken last and has not been consumed, or its rest, is given back in front of what is there: memory
 * pressure sees it again, and may end the connection for it. Takes p. */
void tcp_untake(struct tcp *t, tcp_conn_t conn, struct pkt *p);

/* n bytes taken earlier have been used; the window may open by as much. */
void tcp_consumed(struct tcp *t, tcp_conn_t conn, uint32_t n);

/* In order, received, and not consumed yet: what tcp_take() has, and what was taken. */
uint32_t tcp_unconsumed(const struct tcp *t, tcp_conn_t conn);

/* The owner can use nothing of what is unconsumed before there is more, TCP_NEED_BYTES at most: memory pressure
 * below TCP_PRESSURE_SHED leaves it so much of a window. Without pressure one is at least recv_bytes_start. */
#define TCP_NEED_BYTES (17u * 1024)
void tcp_set_need(struct tcp *t, tcp_conn_t conn, bool needs_more);

/* Queues a payload chain. Takes p only on ERR_OK. ERR_TCP_CLOSING: after tcp_shutdown(), or the connection has
 * ended. ERR_TCP_SEND_FULL: more than tcp_send_room(), or than tcp_send_pieces() of this connection.
 * ERR_POOL_EMPTY: no range descriptor. more: another call follows in this loop turn, do not
 * push yet. */
enum err tcp_send(struct tcp *t, tcp_conn_t conn, struct pkt *p, bool more);

/* While it is held, the owner is about to say more. New data of less than a segment waits for that,
 * TCP_OVERRIDE_NS at most once all before it is acknowledged; what comes in order is acknowledged with it,
 * delayed_ack_ns later at most. A FIN waits for nothing. tcp_push(): what waits goes. So it does when it is held
 * no longer. */
#define TCP_OVERRIDE_NS (200 * NSEC_PER_MSEC)
void tcp_hold(struct tcp *t, tcp_conn_t conn, bool holds);
void tcp_push(struct tcp *t, tcp_conn_t conn);

/* Bytes that tcp_send() would take now. */
uint32_t tcp_send_room(const struct tcp *t, tcp_conn_t conn);

/* Pieces, which are segments of packet chains, that tcp_send() would take now: each needs a descriptor until it
 * is acknowledged. */
uint32_t tcp_send_pieces(const struct tcp *t, tcp_conn_t conn);

/* Bytes queued and never yet sent. */
uint32_t tcp_unsent(const struct tcp *t, tcp_conn_t conn);

/* Bytes queued and not yet acknowledged, unsent ones included. */
uint32_t tcp_unacked(const struct tcp *t, tcp_conn_t conn);

/* Asks for one TCP_EVENT_WRITABLE when tcp_unacked() has fallen to at most `bytes` and there is room
 * for another piece. */
void tcp_notify_below(struct tcp *t, tcp_conn_t conn, uint32_t bytes);

/* No more to send: FIN after what is queued. Receiving goes on. */
void tcp_shutdown(struct tcp *t, tcp_conn_t conn);

/* The owner is done: FIN after what is queued, or RST if received data was not taken (RFC 9293
 * SHLD-3). The handle is dead at once; no further event comes. */
void tcp_close(struct tcp *t, tcp_conn_t conn);

/* RST now. The handle is dead at once; no further event comes. */
void tcp_abort(struct tcp *t, tcp_conn_t conn);

/* False for a dead or stale handle; never a CHECK. */
bool tcp_is_live(const struct tcp *t, tcp_conn_t conn);

/* Open both ways, and nothing came that its owner has not consumed. Who keeps connections for later asks before
 * using one: the event that says it is of no use may still be behind the one that is handled now. */
bool tcp_is_quiet(const struct tcp *t, tcp_conn_t conn);

/* The addresses and ports of a connection, also of one that has ended. */
void tcp_tuple_of(const struct tcp *t, tcp_conn_t conn, struct tcp_tuple *tuple);

/* True if a segment of the tuple is ours to judge: a listener, or a connection in any state. */
bool tcp_owns(const struct tcp *t, const struct tcp_tuple *tuple);

/* --- events -------------------------------------------------------------- */

enum tcp_event_bits {
	TCP_EVENT_ACCEPTED = 1 << 0,  /* passive open done; set the user word now */
	TCP_EVENT_CONNECTED = 1 << 1, /* active open done */
	TCP_EVENT_READABLE = 1 << 2,  /* tcp_take() has something */
	TCP_EVENT_WRITABLE = 1 << 3,  /* see tcp_notify_below() */
	TCP_EVENT_EOF = 1 << 4,       /* peer's FIN reached in order, after all its data */
	TCP_EVENT_ERROR = 1 << 5,     /* reset, refused, timed out: reason says; call tcp_close() */
};

struct tcp_event {
	tcp_conn_t conn;
	uint64_t user;
	uint64_t listener_user; /* with ACCEPTED */
	uint32_t bits;          /* enum tcp_event_bits, several at once */
	enum err reason;        /* with ERROR */
};

/* Level state collected since the connection's last event; each connection appears once per call
 * round. False when there is none left. */
bool tcp_event_next(struct tcp *t, struct tcp_event *event);

/* Stops the process if an invariant of README.md does not hold. For tests: it walks over everything.
 * Holds between any two calls. */
void tcp_check(const struct tcp *t);

/* --- what it counts -------------------------------------------------------- */

/* Levels of memory pressure, in tcp_stats.pressure; each adds to what the one before does. */
enum tcp_pressure {
	TCP_PRESSURE_NONE,
	TCP_PRESSURE_GROWTH,  /* windows do not grow */
	TCP_PRESSURE_EDGE,    /* nor open; nothing is kept beyond a hole */
	TCP_PRESSURE_COOKIES, /* no half-open entries */
	TCP_PRESSURE_SHED,    /* connections that go nowhere end with ERR_TCP_SHED */
	TCP_PRESSURE_LEVELS
};

struct tcp_stats {
	uint64_t segments_in;
	uint64_t segments_out;     /* as on the wire: what a port cuts is several */
	uint64_t retransmits;      /* of them: numbers sent before */
	uint64_t rtos;             /* timeouts */
	uint64_t fast_retransmits; /* recoveries that needed no timeout */
	uint64_t ecn_marks;        /* received */
	uint64_t ecn_reductions;   /* of our window */
	uint64_t black_holes;      /* segments made smaller after timeouts */
	uint64_t undone;           /* times that a retransmission proved unnecessary */
	uint64_t accepted;         /* passive opens done */
	uint64_t connected;        /* active opens done */
	uint64_t cookies_sent;     /* SYN-ACKs: each is one */
	uint64_t cookies_accepted; /* handshakes completed by nothing else */
	uint64_t challenge_acks;   /* RFC 5961 */
	uint64_t resets_out;
	uint64_t pressure_rises;   /* times that the level rose */
	uint64_t shed;             /* connections ended for memory */
	uint64_t drops[ERR_COUNT]; /* by verdict, what was dropped or is worth a note */
	/* gauges */
	uint32_t conns;
	uint32_t orphans; /* of conns */
	uint32_t half_open;
	uint32_t time_wait;
	uint32_t ranges;        /* queued to be sent; runs not counted */
	uint32_t blocks;        /* of what is in flight */
	uint32_t pressure;      /* enum tcp_pressure */
	uint64_t recv_truesize; /* memory that received data pins until it is taken */
};

/* Of the moment; the pointer stays the same. */
const struct tcp_stats *tcp_stats(const struct tcp *t);

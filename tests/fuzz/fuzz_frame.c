/*
 * A link, a clock and a tight memory, all of them the fuzzer's, around two workers on two ports.
 *
 * The input is a list of operations. Frames are raw bytes, or right ones of each kind with a few bytes changed
 * and, if the input wants, their lengths and checksums made right again, so that most of them get past the
 * first check. Each frame goes to three readers:
 *
 *   a worker, by net_receive(): who owns it, TCP, answers;
 *   an ip of its own in one piece and one in two: what ip_peek() says of a frame is what ip_input() finds in it;
 *   an ip that only listens: it never hands up a segment and never answers, it only asks.
 *
 * Whatever goes out parses, has right checksums, our MAC and an address of ours; IPv4 goes to one station; one
 * operation brings a bounded number out. In the end every packet is back in its pool.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "dataplane/net.h"
#include "frame.h"
#include "stack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OPS_MAX 100
#define WORKERS 2
#define PORTS 2
#define MTU_BYTES 1500
#define RAW_BYTES_MAX 2000
#define LISTEN_PORT 443
#define TAGGED_PORT 1
#define VLAN 7
/* One operation: what waited for a neighbour, an answer, what TCP says, and the timers of all of them. */
#define OUT_PER_OP_MAX 200

#define US "02:00:00:00:00:01"
#define US_TOO "02:00:00:00:01:01"
#define ALL "ff:ff:ff:ff:ff:ff"

struct input {
	const uint8_t *at;
	size_t left;
};

struct worker_of_fuzz {
	struct net net;
	struct stack stack;
};

struct fuzz {
	struct steering steering;
	struct worker_of_fuzz workers[WORKERS];
	struct ring rings[WORKERS][WORKERS]; /* from, to */
	struct pkt_pool pool;                /* of what follows */
	struct ip whole;
	struct ip split;
	struct ip listener;
	uint64_t now_ns;
	uint32_t out;
	struct frame frame;
	struct frame seen;
};

static uint8_t
byte(struct input *in)
{
	uint8_t value = 0;

	if (in->left > 0) {
		value = *in->at++;
		in->left--;
	}
	return value;
}

static uint16_t
word(struct input *in)
{
	uint8_t high = byte(in);

	return (uint16_t)(high << 8 | byte(in));
}

/* --- the two workers ------------------------------------------------------------------- */

static struct ip_config
ip_config(void)
{
	struct ip_config config = { .port_count = PORTS, .hash_key = 0x1234567, .announce = true };

	config.ports[0] = (struct ip_port){
		.mac = { { 2, 0, 0, 0, 0, 1 } },
		.mtu_bytes = MTU_BYTES,
		.address_count = 2,
		.addresses = { { frame_address("10.0.0.1"), 120 }, { frame_address("fd00::1"), 64 } },
		.gateway_v4 = frame_address("10.0.0.254"),
		.gateway_v6 = frame_address("fe80::254"),
	};
	config.ports[TAGGED_PORT] = (struct ip_port){
		.mac = { { 2, 0, 0, 0, 1, 1 } },
		.vlan = VLAN,
		.mtu_bytes = MTU_BYTES,
		.address_count = 2,
		.addresses = { { frame_address("10.1.0.1"), 120 }, { frame_address("fd01::1"), 64 } },
	};
	return config;
}

static struct fuzz *
start(void)
{
	struct stack_pools pools = { 300, 300, 300, 300 };
	struct tcp_config tcp = stack_config();
	struct ip_config ip = ip_config();
	struct ip_config quiet = ip;
	struct ip_addr any = { { 0 } };
	struct fuzz *f = aligned_alloc(CACHE_LINE_BYTES, sizeof(*f));

	CHECK(f != NULL);
	memset(f, 0, sizeof(*f));
	f->now_ns = 1000 * NSEC_PER_SEC;
	steering_init(&f->steering, WORKERS, 42);
	for (uint16_t i = 0; i < WORKERS; i++) {
		struct worker_of_fuzz *w = &f->workers[i];
		struct net_config config = { .index = i,
					     .count = WORKERS,
					     .steering = &f->steering,
					     .ip = ip };

		stack_open(&w->stack, &tcp, &pools, f->now_ns);
		CHECK(tcp_listen(w->stack.tcp, &any, LISTEN_PORT, 0) == ERR_OK);
		config.tcp = w->stack.tcp;
		config.pool = w->stack.payload_pool;
		config.ip.announce = i == 0;
		net_init(&w->net, &config, f->now_ns);
		w->net.to[1 - i] = &f->rings[i][1 - i];
		w->net.from[1 - i] = &f->rings[1 - i][i];
	}
	quiet.announce = false;
	pkt_pool_init(&f->pool, 300);
	ip_init(&f->whole, &quiet, &f->pool, f->now_ns);
	ip_init(&f->split, &quiet, &f->pool, f->now_ns);
	ip_init(&f->listener, &quiet, &f->pool, f->now_ns);
	return f;
}

static void
stop(struct fuzz *f)
{
	/* A forwarded packet belongs to the other's pool: the pools are counted after both have let go. */
	for (int i = 0; i < WORKERS; i++) {
		net_fini(&f->workers[i].net);
		tcp_fini(f->workers[i].stack.tcp);
	}
	for (int i = 0; i < WORKERS; i++) {
		CHECK(stack_pools_are_full(&f->workers[i].stack));
		free(f->workers[i].stack.memory);
	}
	ip_fini(&f->whole);
	ip_fini(&f->split);
	ip_fini(&f->listener);
	CHECK(f->pool.used == 0);
	free(f);
}

/* --- what comes out ---------------------------------------------------------------------- */

static bool
is_ours_or_nobody(const struct ip *ip, const struct frame *f)
{
	bool v6 = f->bytes[12] == 0x86;
	bool arp = f->bytes[13] == 0x06;
	struct ip_addr src;

	if (v6)
		src = ip_from_v6(f->bytes + 22);
	else
		src = ip_from_v4(f->bytes + (arp ? 28 : 26));
	return ip_is_local(ip, &src) || (v6 && ip_is_zero(&src)) ||
	       (arp && memcmp(f->bytes + 28, "\0\0\0\0", 4) == 0);
}

/* Takes the frame; leaves its text in text. */
static void
check_out(struct fuzz *f, const struct ip *ip, struct pkt *p, char *text, size_t room)
{
	const struct ip_port *port = &ip->config.ports[pkt_meta(p)->port];
	struct frame *seen = &f->seen;

	CHECK(pkt_meta(p)->port < PORTS && ++f->out <= OUT_PER_OP_MAX);
	frame_from_pkt(seen, p);
	if (port->vlan != 0) {
		CHECK(seen->len >= 18 && memcmp(seen->bytes + 12, "\x81\0\0\x07", 4) == 0);
		memmove(seen->bytes + 12, seen->bytes + 16, seen->len - 16);
		seen->len -= 4;
	}
	CHECK(seen->len >= 42 && seen->len <= MTU_BYTES + 14);
	CHECK(memcmp(seen->bytes + 6, port->mac.byte, 6) == 0);
	frame_describe(seen, text, room);
	CHECK(strstr(text, " bad") == NULL);
	CHECK(is_ours_or_nobody(ip, seen));
	/* A peer that could name a group as its MAC would have us shout. */
	if (seen->bytes[12] == 0x08 && seen->bytes[13] == 0x00)
		CHECK((seen->bytes[0] & 1) == 0);
}

static void
refuse_connections(struct tcp *tcp)
{
	struct tcp_event event;

	while (tcp_event_next(tcp, &event))
		if (tcp_is_live(tcp, event.conn))
			tcp_abort(tcp, event.conn);
}

static void
turn(struct fuzz *f)
{
	char text[300];
	struct pkt *p;

	for (int i = 0; i < WORKERS; i++) {
		struct worker_of_fuzz *w = &f->workers[i];

		net_receive_forwarded(&w->net, f->now_ns);
		tcp_advance(w->stack.tcp, f->now_ns);
		refuse_connections(w->stack.tcp);
		tcp_output_ready(w->stack.tcp, f->now_ns);
		net_output(&w->net, f->now_ns);
		while ((p = net_transmit_next(&w->net)) != NULL)
			check_out(f, &w->net.ip, p, text, sizeof(text));
		tcp_check(w->stack.tcp);
	}
}

/* --- the three readers ------------------------------------------------------------------- */

/* The frame as the port gives it: from packets of pool, in one piece or two. NULL: no packet left. */
static struct pkt *
arrive(const struct frame *frame, uint8_t port, uint8_t l3_csum, size_t first_bytes,
       struct pkt_pool *pool)
{
	struct pkt *p;

	if (pool->total - pool->used < 2)
		return NULL;
	p = frame_to_pkt(frame, first_bytes, pool);
	pkt_meta(p)->port = port;
	pkt_meta(p)->l3_csum = l3_csum;
	return p;
}

static void
drain(struct fuzz *f, struct ip *ip, bool listens)
{
	char text[300];
	struct pkt *p;

	ip_advance(ip, f->now_ns);
	while ((p = ip_transmit_next(ip)) != NULL) {
		check_out(f, ip, p, text, sizeof(text));
		if (listens)
			CHECK(strncmp(text, "ns ", 3) == 0 || strncmp(text, "arp ask ", 8) == 0);
	}
}

static void
check_peek(const struct ip_peek *peek, enum ip_what what, const struct ip_received *received,
	   bool in_one_piece)
{
	if (what == IP_SEGMENT) {
		const struct pkt *p = received->segment;

		CHECK(ip_equal(&peek->src, &pkt_meta(p)->src) && ip_equal(&peek->dst, &pkt_meta(p)->dst));
		if (peek->kind == IP_PEEK_FLOW && pkt_len(p) >= 4) {
			CHECK(peek->src_port == (pkt_data(p)[0] << 8 | pkt_data(p)[1]));
			CHECK(peek->dst_port == (pkt_data(p)[2] << 8 | pkt_data(p)[3]));
		}
		CHECK(peek->kind == IP_PEEK_FLOW || pkt_len(p) < 4 || !in_one_piece);
	}
	if (what == IP_ERROR) {
		CHECK(peek->kind == IP_PEEK_FLOW);
		CHECK(ip_equal(&peek->src, &received->remote) && ip_equal(&peek->dst, &received->local));
		CHECK(peek->src_port == received->remote_port && peek->dst_port == received->local_port);
	}
}

static void
read_alone(struct fuzz *f, struct ip *ip, struct pkt *p, bool listens)
{
	struct ip_received received;
	struct ip_peek peek;
	enum ip_what what;
	bool in_one_piece;

	if (p == NULL)
		return;
	in_one_piece = pkt_next(p) == NULL;
	ip_peek(p, &peek);
	what = ip_input(ip, p, listens, f->now_ns, &received);
	CHECK(ip->datagrams.buffers <= IP_FRAGMENT_BUFFERS_MAX);
	if (what == IP_FRAME) {
		/* Whole now: it never becomes a frame again. */
		CHECK(!listens && pkt_meta(received.frame)->port < PORTS);
		in_one_piece = false;
		ip_peek(received.frame, &peek);
		what = ip_input(ip, received.frame, listens, f->now_ns, &received);
		CHECK(what != IP_FRAME);
	}
	check_peek(&peek, what, &received, in_one_piece);
	CHECK(!listens || what != IP_SEGMENT);
	if (what == IP_SEGMENT)
		pkt_free(received.segment);
	drain(f, ip, listens);
}

static void
deliver(struct fuzz *f, struct input *in)
{
	struct worker_of_fuzz *w;
	uint8_t how = byte(in);
	uint8_t port = how >> 1 & 1;
	/* Unknown mostly; good and bad as some ports say it. */
	uint8_t csum = (how & 0x1c) == 0x04 ? PKT_CSUM_GOOD :
		       (how & 0x1c) == 0x08 ? PKT_CSUM_BAD :
					      PKT_CSUM_UNKNOWN;
	size_t first_bytes = 1 + word(in) % 200u;
	struct pkt *p;

	if (f->frame.len == 0)
		return;
	w = &f->workers[how & 1];
	p = arrive(&f->frame, port, csum, (how & 0x20) != 0 ? first_bytes : 0, w->stack.receive_pool);
	if (p != NULL)
		net_receive(&w->net, p, f->now_ns);
	read_alone(f, &f->whole, arrive(&f->frame, port, csum, 0, &f->pool), false);
	read_alone(f, &f->split, arrive(&f->frame, port, csum, first_bytes, &f->pool), false);
	read_alone(f, &f->listener, arrive(&f->frame, port, csum, 0, &f->pool), true);
}

/* --- frames ---------------------------------------------------------------------------------- */

static void
quote(struct frame *f, bool v6)
{
	frame_ethernet(f, US, "02:00:00:00:00:02", v6 ? 0x86dd : 0x0800);
	if (v6) {
		frame_ip(f, "fd00::2", "fd00::1", 58);
		frame_append_hex(f, "01 04 0000 00000000 60000000 0014 06 40");
		frame_append(f, frame_address("fd00::1").byte, 16);
		frame_append(f, frame_address("fd00::9").byte, 16);
	} else {
		frame_ip(f, "10.0.0.2", "10.0.0.1", 1);
		frame_append_hex(f, "03 04 0000 0000 0500 45000028 00004000 4006 0000 0a000001 0a000009");
	}
	frame_append_hex(f, "01bb 3039 00000001 00000000 5010 ffff 0000 0000");
	frame_end(f);
}

/* About multicast groups. */
static void
query(struct frame *f)
{
	frame_ethernet(f, "33:33:00:00:00:01", "02:00:00:00:00:fe", 0x86dd);
	frame_ip(f, "fe80::254", "ff02::1", 0);
	f->bytes[21] = 1;
	frame_append_hex(f, "3a00 0502 0000 0100 8200 0000 03e8 0000");
	frame_append(f, frame_address("::").byte, 16);
	frame_append_hex(f, "027d 0000");
	frame_end(f);
}

/* A right frame of one kind, from one of four stations. */
static void
make(struct frame *f, uint8_t kind, struct input *in)
{
	static const char *const macs[] = { "02:00:00:00:00:02", "02:00:00:00:00:03", "02:00:00:00:00:fe",
					    "03:00:00:00:00:02" };
	static const char *const v4[] = { "10.0.0.2", "10.0.0.3", "10.0.0.254", "10.0.0.1" };
	static const char *const v6[] = { "fd00::2", "fd00::3", "fe80::254", "fd00::1" };
	uint8_t who = byte(in);
	const char *mac = macs[who & 3], *from4 = v4[who >> 2 & 3], *from6 = v6[who >> 2 & 3];

	switch (kind % 11) {
	case 0:
		frame_arp(f, ALL, 1, mac, from4, (who & 16) != 0 ? "10.0.0.1" : "10.0.0.2");
		return;
	case 1:
		frame_arp(f, US, 2, mac, from4, "10.0.0.1");
		return;
	case 2:
		frame_echo(f, US, mac, from4, "10.0.0.1", word(in) % 1473u);
		return;
	case 3:
		frame_echo(f, US, mac, from6, "fd00::1", word(in) % 1453u);
		return;
	case 4:
		frame_tcp(f, US, mac, from4, 5000, "10.0.0.1", LISTEN_PORT, byte(in));
		return;
	case 5:
		frame_tcp(f, US, mac, from6, 5000, "fd00::1", LISTEN_PORT, byte(in));
		return;
	case 6:
		frame_nd(f, US, mac, (who & 16) != 0 ? "::" : from6, "fd00::1", 135, 0, "fd00::1",
			 (who & 32) != 0 ? NULL : mac);
		return;
	case 7:
		frame_nd(f, US, mac, from6, "fd00::1", 136, byte(in), from6, (who & 32) != 0 ? NULL : mac);
		return;
	case 8:
	case 9:
		quote(f, kind % 11 == 9);
		return;
	default:
		query(f);
		return;
	}
}

/* For the port behind the other MAC and tag: the same frame as that network has it. */
static void
move_to_tagged_port(struct frame *f)
{
	struct frame tagged = { .len = 0 };

	frame_append(&tagged, f->bytes, 12);
	if (memcmp(f->bytes, "\x02\0\0\0\0\x01", 6) == 0)
		tagged.bytes[4] = 1;
	frame_append_hex(&tagged, "8100 0007");
	frame_append(&tagged, f->bytes + 12, f->len - 12);
	*f = tagged;
}

/* An extension header in front of what an IPv6 frame carries. */
static void
extend(struct frame *frame, struct input *in)
{
	static const uint8_t kinds[] = { 0, 43, 44, 60 };
	uint8_t how = byte(in);
	uint8_t len = (uint8_t)(8 * (1 + (how >> 2 & 7)));

	if (frame->len < 54 || frame->bytes[12] != 0x86)
		return;
	memmove(frame->bytes + 54 + len, frame->bytes + 54, frame->len - 54);
	frame->len += len;
	frame->bytes[54] = frame->bytes[20];
	frame->bytes[55] = len / 8 - 1;
	frame->bytes[20] = kinds[how & 3];
	for (uint8_t i = 2; i < len; i++)
		frame->bytes[54 + i] = byte(in);
	frame->bytes[18] = (uint8_t)((frame->len - 54) >> 8);
	frame->bytes[19] = (uint8_t)(frame->len - 54);
}

/* A right frame in pieces, in the order that the input wants, some twice, late, overlapping or never. */
static void
op_pieces(struct fuzz *f, struct input *in, uint8_t kind)
{
	struct frame whole;
	uint8_t how = byte(in);
	uint32_t id = how & 3;
	size_t front, len;

	make(&whole, 2 + kind % 4u, in);
	if ((how & 4) != 0)
		extend(&whole, in);
	front = whole.bytes[12] == 0x86 ? 54 : 34;
	len = (whole.len - front) / 8;
	for (int i = 0; i < 6 && in->left > 0; i++) {
		uint8_t cut = byte(in);
		size_t from = (cut & 7) * len / 8;
		size_t to = (1 + (cut & 7) + (cut >> 3 & 3)) * len / 8;
		bool last = to >= len;

		to = last ? (whole.len - front) : to * 8;
		from *= 8;
		if (to <= from)
			continue;
		frame_fragment(&f->frame, &whole, 0, from, to - from, !last, id);
		if ((cut & 0x80) != 0) {
			uint16_t at = word(in);

			f->frame.bytes[at % f->frame.len] = byte(in);
		}
		deliver(f, in);
	}
}

static void
op_frame(struct fuzz *f, struct input *in, uint8_t kind)
{
	struct frame *frame = &f->frame;
	uint8_t how = byte(in);

	make(frame, kind, in);
	for (int i = (how & 128) != 0 ? 1 + byte(in) % 9 : 0; i > 0; i--)
		extend(frame, in);
	for (int i = how & 7; i > 0; i--) {
		uint16_t at = word(in);

		frame->bytes[at % frame->len] = byte(in);
	}
	if ((how & 8) != 0)
		frame->len -= byte(in) % frame->len;
	if ((how & 16) != 0 && frame->len >= 74 && frame->bytes[12] != 0x81)
		frame_end(frame);
	if ((how & 32) != 0) /* Ethernet's padding */
		frame_append_hex(frame, "00000000 0000");
	if ((how & 64) != 0 && frame->len >= 14)
		move_to_tagged_port(frame);
	deliver(f, in);
}

static void
op_raw(struct fuzz *f, struct input *in)
{
	size_t n = word(in) % RAW_BYTES_MAX;

	f->frame.len = 0;
	if (n > in->left)
		n = in->left;
	frame_append(&f->frame, in->at, n);
	in->at += n;
	in->left -= n;
	deliver(f, in);
}

/* A segment of ours to some station: neighbours are asked and remembered. */
static void
op_send(struct fuzz *f, struct input *in)
{
	static const char *const to[] = { "10.0.0.2", "10.0.0.3", "192.0.2.1", "10.1.0.9",
					  "fd00::2",  "fd01::9",  "2001:db8::1", "fe80::9" };
	uint8_t how = byte(in);
	struct worker_of_fuzz *w = &f->workers[how & 1];
	struct ip_addr dst = frame_address(to[byte(in) % 8]);
	struct pkt *p = pkt_alloc(w->stack.payload_pool);
	struct frame segment;
	const char *peer = ip_is_v4(&dst) ? "10.0.0.2" : "fd00::2";
	size_t at = ip_is_v4(&dst) ? 34 : 54;
	struct ip_addr src;

	/* What was sent there has arrived; a link came up. */
	if ((how & 6) == 2)
		ip_confirm(&w->net.ip, &dst, f->now_ns);
	if ((how & 30) == 30)
		ip_link_up(&w->net.ip, how >> 5 & 1, f->now_ns);
	if (p == NULL)
		return;
	if (!ip_source_for(&w->net.ip, &dst, &src)) {
		pkt_free(p);
		return;
	}
	/* The checksum of the addresses that it will have. */
	frame_tcp(&segment, ALL, US, peer, LISTEN_PORT, peer, 5000, byte(in));
	memcpy(segment.bytes + (ip_is_v4(&dst) ? 26 : 22), ip_is_v4(&dst) ? src.byte + 12 : src.byte,
	       ip_is_v4(&dst) ? 4 : 16);
	memcpy(segment.bytes + (ip_is_v4(&dst) ? 30 : 38), ip_is_v4(&dst) ? dst.byte + 12 : dst.byte,
	       ip_is_v4(&dst) ? 4 : 16);
	frame_end(&segment);
	memcpy(pkt_append(p, (uint32_t)(segment.len - at)), segment.bytes + at, segment.len - at);
	pkt_meta(p)->src = src;
	pkt_meta(p)->dst = dst;
	ip_output(&w->net.ip, p, f->now_ns);
}

/* An allocation of a worker fails soon; what arrives has its packet already. */
static void
op_fail(struct fuzz *f, struct input *in, uint8_t op)
{
	struct stack *stack = &f->workers[op & 1].stack;
	struct pkt_pool *pools[] = { stack->header_pool, stack->bare_pool, stack->payload_pool,
				     stack->payload_pool };

	pools[op >> 1 & 3]->fail_in = 1 + byte(in) % 4u;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct fuzz *f = start();

	turn(f);
	for (int ops = 0; ops < OPS_MAX && in.left > 0; ops++) {
		uint8_t op = byte(&in);

		f->out = 0;
		if (op < 130)
			op_frame(f, &in, op);
		else if (op < 160)
			op_pieces(f, &in, op);
		else if (op < 190)
			op_raw(f, &in);
		else if (op < 220)
			op_send(f, &in);
		else if (op < 240)
			f->now_ns += NSEC_PER_MSEC << byte(&in) % 18;
		else if (op < 250)
			op_fail(f, &in, op);
		else
			deliver(f, &in); /* the last one again */
		turn(f);
	}
	stop(f);
	return 0;
}

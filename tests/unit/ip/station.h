#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "frame.h"
#include "ip/ip.h"

/*
 * station: one struct ip at 10.0.0.1/24 and fd00::1/64 behind 10.0.0.254 and fe80::254, a peer beside it, and
 * what goes out as text.
 */
#define US "02:00:00:00:00:01"
#define PEER "02:00:00:00:00:02"
#define OTHER "02:00:00:00:00:03"
#define GATEWAY "02:00:00:00:00:fe"
#define ALL "ff:ff:ff:ff:ff:ff"

struct station {
	struct ip ip;
	struct pkt_pool pool;
	uint64_t now_ns;
	struct ip_received received;
	char said[200];
};

static inline void
station_config(struct ip_config *config, bool announce)
{
	struct ip_port port = {
		.mac = { { 2, 0, 0, 0, 0, 1 } },
		.mtu_bytes = 1500,
		.address_count = 2,
		.addresses = { { frame_address("10.0.0.1"), 120 }, { frame_address("fd00::1"), 64 } },
		.gateway_v4 = frame_address("10.0.0.254"),
		.gateway_v6 = frame_address("fe80::254"),
	};

	*config = (struct ip_config){ .port_count = 1, .hash_key = 0x1234567, .announce = announce };
	config->ports[0] = port;
}

static inline void
station_start(struct station *s, bool announce)
{
	struct ip_config config;

	station_config(&config, announce);
	memset(s, 0, sizeof(*s));
	s->now_ns = 1000 * NSEC_PER_SEC;
	pkt_pool_init(&s->pool, 5000);
	ip_init(&s->ip, &config, &s->pool, s->now_ns);
}

/* Everything must be back. */
static inline void
station_stop(struct station *s)
{
	ip_fini(&s->ip);
	assert_int_equal(s->pool.used, 0);
}

static inline enum ip_what
station_give_in_pieces(struct station *s, const struct frame *f, size_t first_bytes, bool listen_only)
{
	enum ip_what what = ip_input(&s->ip, frame_to_pkt(f, first_bytes, &s->pool), listen_only,
				     s->now_ns, &s->received);

	if (what == IP_SEGMENT)
		pkt_free(s->received.segment);
	return what;
}

static inline enum ip_what
station_give(struct station *s, const struct frame *f)
{
	return station_give_in_pieces(s, f, 0, false);
}

/* The next frame out, in words; "" if there is none. */
static inline const char *
station_says(struct station *s)
{
	struct pkt *p = ip_transmit_next(&s->ip);
	struct frame f;

	s->said[0] = '\0';
	if (p != NULL) {
		frame_from_pkt(&f, p);
		frame_describe(&f, s->said, sizeof(s->said));
	}
	return s->said;
}

static inline void
station_sleep(struct station *s, uint64_t ns)
{
	s->now_ns += ns;
	ip_advance(&s->ip, s->now_ns);
}

/* A segment of ours on its way to dst. */
static inline void
station_send(struct station *s, const char *dst)
{
	struct pkt *p = pkt_alloc(&s->pool);
	struct frame f;

	frame_tcp(&f, US, PEER, strchr(dst, ':') != NULL ? "fd00::1" : "10.0.0.1", 443, dst, 5000, 4);
	/* With its checksum: below TCP it counts as payload. */
	memcpy(pkt_append(p, 24), f.bytes + f.len - 24, 24);
	pkt_meta(p)->src = frame_address(strchr(dst, ':') != NULL ? "fd00::1" : "10.0.0.1");
	pkt_meta(p)->dst = frame_address(dst);
	ip_output(&s->ip, p, s->now_ns);
}

/* The MAC that packets to dst leave with. */
static inline const char *
station_route(struct station *s, const char *dst)
{
	struct frame f;
	struct pkt *p;

	station_send(s, dst);
	p = ip_transmit_next(&s->ip);
	s->said[0] = '\0';
	if (p == NULL)
		return s->said;
	frame_from_pkt(&f, p);
	snprintf(s->said, sizeof(s->said), "%02x:%02x:%02x:%02x:%02x:%02x", f.bytes[0], f.bytes[1],
		 f.bytes[2], f.bytes[3], f.bytes[4], f.bytes[5]);
	return s->said;
}

/* Asks for 10.0.0.1 as a station would that wants to speak with us, and is answered. */
static inline void
station_is_asked_by(struct station *s, const char *mac, const char *address)
{
	struct frame f;

	frame_arp(&f, ALL, 1, mac, address, "10.0.0.1");
	assert_int_equal(station_give(s, &f), IP_NOTHING);
	assert_string_not_equal(station_says(s), "");
	assert_string_equal(station_says(s), "");
}
